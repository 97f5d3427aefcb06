; Made of natives.c by python -m tests.build natives.
define dso_local i64 @hash_lookup(ptr %p0, ptr %p1, i64 %p2) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  store i64 %p2, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %0 = load ptr, ptr %s0, align 8
  %1 = load ptr, ptr %s1, align 8
  %2 = call ptr @find(ptr %0, ptr %1)
  store ptr %2, ptr %s3, align 8
  %3 = load ptr, ptr %s3, align 8
  %4 = icmp ne ptr %3, null
  br i1 %4, label %L2, label %L1
L1:
  ret i64 0
L2:
  %5 = load ptr, ptr %s0, align 8
  %6 = load ptr, ptr %s3, align 8
  call void @use(ptr %5, ptr %6)
  %7 = load ptr, ptr %s3, align 8
  %8 = ptrtoint ptr %7 to i64
  %9 = load ptr, ptr %s0, align 8
  %10 = getelementptr inbounds i8, ptr %9, i64 104
  %11 = load i64, ptr %10, align 8
  %12 = add i64 %8, %11
  %13 = load i64, ptr %s2, align 8
  %14 = load ptr, ptr %s0, align 8
  %15 = getelementptr inbounds i8, ptr %14, i64 112
  %16 = load i64, ptr %15, align 8
  %17 = mul i64 %13, %16
  %18 = add i64 %12, %17
  ret i64 %18
}
define dso_local i64 @hash_update(ptr %p0, ptr %p1, ptr %p2, i64 %p3, i64 %p4) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca ptr, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca i64, align 8
  %s5 = alloca ptr, align 8
  %s6 = alloca ptr, align 8
  %s7 = alloca i64, align 8
  %s8 = alloca ptr, align 8
  %s9 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  store ptr %p2, ptr %s2, align 8
  store i64 %p3, ptr %s3, align 8
  store i64 %p4, ptr %s4, align 8
  call void @llvm.lifetime.start.p0(ptr %s5)
  %0 = load ptr, ptr %s0, align 8
  %1 = load ptr, ptr %s1, align 8
  %2 = call ptr @find(ptr %0, ptr %1)
  store ptr %2, ptr %s5, align 8
  call void @llvm.lifetime.start.p0(ptr %s6)
  %3 = load i64, ptr %s3, align 8
  %4 = and i64 %3, 18446744073709551611
  %5 = icmp ugt i64 %4, 2
  br i1 %5, label %L1, label %L3
L3:
  %6 = load i64, ptr %s3, align 8
  %7 = and i64 %6, 4
  %8 = icmp ne i64 %7, 0
  br i1 %8, label %L4, label %L2
L4:
  %9 = load ptr, ptr %s0, align 8
  %10 = getelementptr inbounds i8, ptr %9, i64 136
  %11 = load i64, ptr %10, align 8
  %12 = icmp ne i64 %11, 0
  br i1 %12, label %L2, label %L1
L1:
  ret i64 18446744073709551594
L2:
  %13 = load ptr, ptr %s5, align 8
  %14 = icmp ne ptr %13, null
  br i1 %14, label %L5, label %L7
L5:
  %15 = load i64, ptr %s3, align 8
  %16 = and i64 %15, 1
  %17 = icmp ne i64 %16, 0
  br i1 %17, label %L8, label %L9
L8:
  ret i64 18446744073709551599
L9:
  %18 = load ptr, ptr %s0, align 8
  %19 = load ptr, ptr %s5, align 8
  call void @use(ptr %18, ptr %19)
  br label %L6
L7:
  call void @llvm.lifetime.start.p0(ptr %s7)
  %20 = load i64, ptr %s3, align 8
  %21 = and i64 %20, 2
  %22 = icmp ne i64 %21, 0
  br i1 %22, label %L10, label %L11
L10:
  ret i64 18446744073709551614
L11:
  %23 = load ptr, ptr %s0, align 8
  %24 = call i64 @take(ptr %23)
  store i64 %24, ptr %s7, align 8
  %25 = load i64, ptr %s7, align 8
  %26 = icmp ule i64 %25, 1
  br i1 %26, label %L12, label %L13
L12:
  %27 = load i64, ptr %s7, align 8
  %28 = icmp ne i64 %27, 0
  br i1 %28, label %L14, label %L15
L14:
  br label %L16
L15:
  br label %L16
L16:
  %29 = phi i64 [ 1, %L14 ], [ 18446744073709551609, %L15 ]
  ret i64 %29
L13:
  %30 = load i64, ptr %s7, align 8
  %31 = inttoptr i64 %30 to ptr
  store ptr %31, ptr %s5, align 8
  %32 = load ptr, ptr %s0, align 8
  %33 = load ptr, ptr %s5, align 8
  %34 = load ptr, ptr %s1, align 8
  call void @insert(ptr %32, ptr %33, ptr %34)
  %35 = load ptr, ptr %s0, align 8
  %36 = getelementptr inbounds i8, ptr %35, i64 112
  %37 = load i64, ptr %36, align 8
  %38 = icmp ne i64 %37, 0
  br i1 %38, label %L17, label %L18
L17:
  call void @llvm.lifetime.start.p0(ptr %s8)
  %39 = load ptr, ptr %s5, align 8
  %40 = load ptr, ptr %s0, align 8
  %41 = getelementptr inbounds i8, ptr %40, i64 104
  %42 = load i64, ptr %41, align 8
  %43 = getelementptr inbounds i8, ptr %39, i64 %42
  store ptr %43, ptr %s8, align 8
  call void @llvm.lifetime.start.p0(ptr %s9)
  store i64 0, ptr %s9, align 8
  br label %L22
L22:
  %44 = load i64, ptr %s9, align 8
  %45 = load ptr, ptr %s0, align 8
  %46 = getelementptr inbounds i8, ptr %45, i64 112
  %47 = load i64, ptr %46, align 8
  %48 = load ptr, ptr %s0, align 8
  %49 = getelementptr inbounds i8, ptr %48, i64 120
  %50 = load i64, ptr %49, align 8
  %51 = mul i64 %47, %50
  %52 = icmp ult i64 %44, %51
  br i1 %52, label %L19, label %L21
L19:
  %53 = load ptr, ptr %s8, align 8
  %54 = load i64, ptr %s9, align 8
  %55 = getelementptr inbounds i8, ptr %53, i64 %54
  store i64 0, ptr %55, align 8
  br label %L20
L20:
  %56 = load i64, ptr %s9, align 8
  %57 = add i64 %56, 8
  store i64 %57, ptr %s9, align 8
  br label %L22
L21:
  call void @llvm.lifetime.end.p0(ptr %s9)
  call void @llvm.lifetime.end.p0(ptr %s8)
  br label %L18
L18:
  call void @llvm.lifetime.end.p0(ptr %s7)
  br label %L6
L6:
  %58 = load ptr, ptr %s5, align 8
  %59 = load ptr, ptr %s0, align 8
  %60 = getelementptr inbounds i8, ptr %59, i64 104
  %61 = load i64, ptr %60, align 8
  %62 = getelementptr inbounds i8, ptr %58, i64 %61
  %63 = load i64, ptr %s4, align 8
  %64 = load ptr, ptr %s0, align 8
  %65 = getelementptr inbounds i8, ptr %64, i64 112
  %66 = load i64, ptr %65, align 8
  %67 = mul i64 %63, %66
  %68 = getelementptr inbounds i8, ptr %62, i64 %67
  store ptr %68, ptr %s6, align 8
  %69 = load ptr, ptr %s6, align 8
  %70 = load ptr, ptr %s2, align 8
  %71 = load ptr, ptr %s0, align 8
  %72 = getelementptr inbounds i8, ptr %71, i64 96
  %73 = load i64, ptr %72, align 8
  call void @copy(ptr %69, ptr %70, i64 %73)
  ret i64 0
}
define dso_local i64 @hash_delete(ptr %p0, ptr %p1) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  call void @llvm.lifetime.start.p0(ptr %s2)
  %0 = load ptr, ptr %s0, align 8
  %1 = load ptr, ptr %s1, align 8
  %2 = call ptr @find(ptr %0, ptr %1)
  store ptr %2, ptr %s2, align 8
  %3 = load ptr, ptr %s2, align 8
  %4 = icmp ne ptr %3, null
  br i1 %4, label %L2, label %L1
L1:
  ret i64 18446744073709551614
L2:
  %5 = load ptr, ptr %s0, align 8
  %6 = load ptr, ptr %s2, align 8
  call void @drop(ptr %5, ptr %6)
  ret i64 0
}
define dso_local i64 @prefix_lookup(ptr %p0, ptr %p1) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca i64, align 8
  %s5 = alloca i64, align 8
  %s6 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  call void @llvm.lifetime.start.p0(ptr %s2)
  %0 = load ptr, ptr %s1, align 8
  %1 = load i32, ptr %0, align 1
  %2 = zext i32 %1 to i64
  store i64 %2, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %3 = load i64, ptr %s2, align 8
  %4 = load ptr, ptr %s0, align 8
  %5 = getelementptr inbounds i8, ptr %4, i64 160
  %6 = load i64, ptr %5, align 8
  %7 = icmp ugt i64 %3, %6
  br i1 %7, label %L1, label %L2
L1:
  ret i64 0
L2:
  %8 = load ptr, ptr %s0, align 8
  %9 = getelementptr inbounds i8, ptr %8, i64 160
  %10 = load i64, ptr %9, align 8
  %11 = icmp ule i64 %10, 56
  br i1 %11, label %L3, label %L4
L3:
  %12 = load ptr, ptr %s0, align 8
  %13 = load ptr, ptr %s1, align 8
  %14 = getelementptr inbounds i8, ptr %13, i64 4
  %15 = load ptr, ptr %s0, align 8
  %16 = getelementptr inbounds i8, ptr %15, i64 80
  %17 = load i64, ptr %16, align 8
  %18 = sub i64 %17, 8
  %19 = call i64 @part(ptr %14, i64 %18)
  %20 = load i64, ptr %s2, align 8
  %21 = call i64 @short_prefix(ptr %12, i64 %19, i64 %20)
  ret i64 %21
L4:
  %22 = load i64, ptr %s2, align 8
  %23 = zext i32 6 to i64
  %24 = lshr i64 %22, %23
  store i64 %24, ptr %s3, align 8
  br label %L8
L8:
  br label %L5
L5:
  call void @llvm.lifetime.start.p0(ptr %s4)
  %25 = load ptr, ptr %s0, align 8
  %26 = getelementptr inbounds i8, ptr %25, i64 184
  %27 = load i64, ptr %s3, align 8
  %28 = getelementptr inbounds [8 x i8], ptr %26, i64 %27
  %29 = load i64, ptr %28, align 8
  store i64 %29, ptr %s4, align 8
  %30 = load i64, ptr %s3, align 8
  %31 = load i64, ptr %s2, align 8
  %32 = zext i32 6 to i64
  %33 = lshr i64 %31, %32
  %34 = icmp eq i64 %30, %33
  br i1 %34, label %L9, label %L10
L9:
  %35 = load i64, ptr %s2, align 8
  %36 = and i64 %35, 63
  %37 = sub i64 63, %36
  %38 = lshr i64 18446744073709551615, %37
  %39 = load i64, ptr %s4, align 8
  %40 = and i64 %39, %38
  store i64 %40, ptr %s4, align 8
  br label %L10
L10:
  br label %L14
L14:
  %41 = load i64, ptr %s4, align 8
  %42 = icmp ne i64 %41, 0
  br i1 %42, label %L11, label %L13
L11:
  call void @llvm.lifetime.start.p0(ptr %s5)
  %43 = load i64, ptr %s4, align 8
  %44 = call i64 @llvm.ctlz.i64(i64 %43, i1 true)
  %45 = trunc i64 %44 to i32
  %46 = sub nsw i32 63, %45
  %47 = sext i32 %46 to i64
  store i64 %47, ptr %s5, align 8
  call void @llvm.lifetime.start.p0(ptr %s6)
  %48 = load ptr, ptr %s0, align 8
  %49 = load ptr, ptr %s1, align 8
  %50 = getelementptr inbounds i8, ptr %49, i64 4
  %51 = load i64, ptr %s3, align 8
  %52 = mul i64 64, %51
  %53 = load i64, ptr %s5, align 8
  %54 = add i64 %52, %53
  %55 = call ptr @find_prefix(ptr %48, ptr %50, i64 %54)
  store ptr %55, ptr %s6, align 8
  %56 = load ptr, ptr %s6, align 8
  %57 = icmp ne ptr %56, null
  br i1 %57, label %L15, label %L16
L15:
  %58 = load ptr, ptr %s6, align 8
  %59 = ptrtoint ptr %58 to i64
  %60 = load ptr, ptr %s0, align 8
  %61 = getelementptr inbounds i8, ptr %60, i64 104
  %62 = load i64, ptr %61, align 8
  %63 = add i64 %59, %62
  ret i64 %63
L16:
  %64 = load i64, ptr %s5, align 8
  %65 = shl i64 1, %64
  %66 = xor i64 %65, -1
  %67 = load i64, ptr %s4, align 8
  %68 = and i64 %67, %66
  store i64 %68, ptr %s4, align 8
  call void @llvm.lifetime.end.p0(ptr %s6)
  call void @llvm.lifetime.end.p0(ptr %s5)
  br label %L12
L12:
  br label %L14
L13:
  %69 = load i64, ptr %s3, align 8
  %70 = icmp ne i64 %69, 0
  br i1 %70, label %L18, label %L17
L17:
  ret i64 0
L18:
  %71 = load i64, ptr %s3, align 8
  %72 = sub i64 %71, 1
  store i64 %72, ptr %s3, align 8
  call void @llvm.lifetime.end.p0(ptr %s4)
  br label %L6
L6:
  br label %L8
L7:
  call void @llvm.lifetime.end.p0(ptr %s3)
  call void @llvm.lifetime.end.p0(ptr %s2)
  ret i64 0
}
define dso_local i64 @prefix_update(ptr %p0, ptr %p1, ptr %p2, i64 %p3) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca ptr, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca i64, align 8
  %s5 = alloca i64, align 8
  %s6 = alloca ptr, align 8
  %s7 = alloca ptr, align 8
  %s8 = alloca ptr, align 8
  %s9 = alloca ptr, align 8
  %s10 = alloca i64, align 8
  %s11 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  store ptr %p2, ptr %s2, align 8
  store i64 %p3, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  %0 = load ptr, ptr %s1, align 8
  %1 = load i32, ptr %0, align 1
  %2 = zext i32 %1 to i64
  store i64 %2, ptr %s4, align 8
  call void @llvm.lifetime.start.p0(ptr %s5)
  %3 = load ptr, ptr %s0, align 8
  %4 = getelementptr inbounds i8, ptr %3, i64 80
  %5 = load i64, ptr %4, align 8
  %6 = sub i64 %5, 8
  store i64 %6, ptr %s5, align 8
  call void @llvm.lifetime.start.p0(ptr %s6)
  call void @llvm.lifetime.start.p0(ptr %s7)
  call void @llvm.lifetime.start.p0(ptr %s8)
  call void @llvm.lifetime.start.p0(ptr %s9)
  %7 = load i64, ptr %s3, align 8
  %8 = icmp ugt i64 %7, 2
  br i1 %8, label %L1, label %L3
L3:
  %9 = load i64, ptr %s4, align 8
  %10 = load ptr, ptr %s0, align 8
  %11 = getelementptr inbounds i8, ptr %10, i64 160
  %12 = load i64, ptr %11, align 8
  %13 = icmp ugt i64 %9, %12
  br i1 %13, label %L1, label %L2
L1:
  ret i64 18446744073709551594
L2:
  %14 = load ptr, ptr %s0, align 8
  %15 = load ptr, ptr %s1, align 8
  %16 = getelementptr inbounds i8, ptr %15, i64 4
  %17 = load i64, ptr %s4, align 8
  %18 = call ptr @find_prefix(ptr %14, ptr %16, i64 %17)
  store ptr %18, ptr %s9, align 8
  %19 = load ptr, ptr %s9, align 8
  %20 = icmp ne ptr %19, null
  br i1 %20, label %L4, label %L6
L4:
  %21 = load i64, ptr %s3, align 8
  %22 = icmp eq i64 %21, 1
  br i1 %22, label %L7, label %L8
L7:
  ret i64 18446744073709551599
L8:
  br label %L5
L6:
  call void @llvm.lifetime.start.p0(ptr %s10)
  %23 = load i64, ptr %s3, align 8
  %24 = icmp eq i64 %23, 2
  br i1 %24, label %L9, label %L10
L9:
  ret i64 18446744073709551614
L10:
  %25 = load ptr, ptr %s0, align 8
  %26 = call i64 @take(ptr %25)
  store i64 %26, ptr %s10, align 8
  %27 = load i64, ptr %s10, align 8
  %28 = icmp ule i64 %27, 1
  br i1 %28, label %L11, label %L12
L11:
  %29 = load i64, ptr %s10, align 8
  %30 = icmp ne i64 %29, 0
  br i1 %30, label %L13, label %L14
L13:
  br label %L15
L14:
  br label %L15
L15:
  %31 = phi i64 [ 1, %L13 ], [ 18446744073709551588, %L14 ]
  ret i64 %31
L12:
  %32 = load i64, ptr %s10, align 8
  %33 = inttoptr i64 %32 to ptr
  store ptr %33, ptr %s9, align 8
  %34 = load ptr, ptr %s9, align 8
  %35 = load ptr, ptr %s0, align 8
  %36 = getelementptr inbounds i8, ptr %35, i64 88
  %37 = load i64, ptr %36, align 8
  %38 = getelementptr inbounds i8, ptr %34, i64 %37
  store ptr %38, ptr %s6, align 8
  %39 = load i64, ptr %s4, align 8
  %40 = load ptr, ptr %s6, align 8
  store i64 %39, ptr %40, align 8
  call void @llvm.lifetime.start.p0(ptr %s11)
  store i64 0, ptr %s11, align 8
  br label %L19
L19:
  %41 = load i64, ptr %s11, align 8
  %42 = load i64, ptr %s5, align 8
  %43 = icmp ult i64 %41, %42
  br i1 %43, label %L16, label %L18
L16:
  %44 = load ptr, ptr %s1, align 8
  %45 = getelementptr inbounds i8, ptr %44, i64 4
  %46 = load i64, ptr %s11, align 8
  %47 = getelementptr inbounds i8, ptr %45, i64 %46
  %48 = load i64, ptr %s11, align 8
  %49 = mul i64 8, %48
  %50 = load i64, ptr %s5, align 8
  %51 = load i64, ptr %s11, align 8
  %52 = sub i64 %50, %51
  %53 = load i64, ptr %s4, align 8
  %54 = call i64 @prefix_part(ptr %47, i64 %49, i64 %52, i64 %53)
  %55 = load ptr, ptr %s6, align 8
  %56 = getelementptr inbounds i8, ptr %55, i64 8
  %57 = load i64, ptr %s11, align 8
  %58 = getelementptr inbounds i8, ptr %56, i64 %57
  store i64 %54, ptr %58, align 8
  br label %L17
L17:
  %59 = load i64, ptr %s11, align 8
  %60 = add i64 %59, 8
  store i64 %60, ptr %s11, align 8
  br label %L19
L18:
  call void @llvm.lifetime.end.p0(ptr %s11)
  %61 = load ptr, ptr %s0, align 8
  %62 = load ptr, ptr %s9, align 8
  %63 = load ptr, ptr %s6, align 8
  call void @insert(ptr %61, ptr %62, ptr %63)
  %64 = load ptr, ptr %s0, align 8
  %65 = load i64, ptr %s4, align 8
  call void @count(ptr %64, i64 %65, i64 1)
  call void @llvm.lifetime.end.p0(ptr %s10)
  br label %L5
L5:
  %66 = load ptr, ptr %s9, align 8
  %67 = load ptr, ptr %s0, align 8
  %68 = getelementptr inbounds i8, ptr %67, i64 88
  %69 = load i64, ptr %68, align 8
  %70 = getelementptr inbounds i8, ptr %66, i64 %69
  %71 = load ptr, ptr %s0, align 8
  %72 = getelementptr inbounds i8, ptr %71, i64 80
  %73 = load i64, ptr %72, align 8
  %74 = add i64 %73, 7
  %75 = and i64 %74, 18446744073709551608
  %76 = getelementptr inbounds i8, ptr %70, i64 %75
  store ptr %76, ptr %s7, align 8
  %77 = load ptr, ptr %s7, align 8
  %78 = load ptr, ptr %s1, align 8
  %79 = load i64, ptr %s5, align 8
  %80 = add i64 %79, 4
  call void @copy(ptr %77, ptr %78, i64 %80)
  %81 = load ptr, ptr %s9, align 8
  %82 = load ptr, ptr %s0, align 8
  %83 = getelementptr inbounds i8, ptr %82, i64 104
  %84 = load i64, ptr %83, align 8
  %85 = getelementptr inbounds i8, ptr %81, i64 %84
  store ptr %85, ptr %s8, align 8
  %86 = load ptr, ptr %s8, align 8
  %87 = load ptr, ptr %s2, align 8
  %88 = load ptr, ptr %s0, align 8
  %89 = getelementptr inbounds i8, ptr %88, i64 96
  %90 = load i64, ptr %89, align 8
  call void @copy(ptr %86, ptr %87, i64 %90)
  ret i64 0
}
define dso_local i64 @prefix_delete(ptr %p0, ptr %p1) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  call void @llvm.lifetime.start.p0(ptr %s2)
  %0 = load ptr, ptr %s1, align 8
  %1 = load i32, ptr %0, align 1
  %2 = zext i32 %1 to i64
  store i64 %2, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %3 = load i64, ptr %s2, align 8
  %4 = load ptr, ptr %s0, align 8
  %5 = getelementptr inbounds i8, ptr %4, i64 160
  %6 = load i64, ptr %5, align 8
  %7 = icmp ugt i64 %3, %6
  br i1 %7, label %L1, label %L2
L1:
  ret i64 18446744073709551594
L2:
  %8 = load ptr, ptr %s0, align 8
  %9 = load ptr, ptr %s1, align 8
  %10 = getelementptr inbounds i8, ptr %9, i64 4
  %11 = load i64, ptr %s2, align 8
  %12 = call ptr @find_prefix(ptr %8, ptr %10, i64 %11)
  store ptr %12, ptr %s3, align 8
  %13 = load ptr, ptr %s3, align 8
  %14 = icmp ne ptr %13, null
  br i1 %14, label %L4, label %L3
L3:
  ret i64 18446744073709551614
L4:
  %15 = load ptr, ptr %s0, align 8
  %16 = load ptr, ptr %s3, align 8
  call void @drop(ptr %15, ptr %16)
  %17 = load ptr, ptr %s0, align 8
  %18 = load i64, ptr %s2, align 8
  call void @count(ptr %17, i64 %18, i64 18446744073709551615)
  ret i64 0
}
define dso_local i64 @ring_reserve(ptr %p0, i64 %p1, i64 %p2) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  %s2 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  store i64 %p2, ptr %s2, align 8
  %0 = load i64, ptr %s2, align 8
  %1 = icmp ne i64 %0, 0
  br i1 %1, label %L1, label %L2
L1:
  br label %L3
L2:
  %2 = load ptr, ptr %s0, align 8
  %3 = load i64, ptr %s1, align 8
  %4 = call i64 @reserve(ptr %2, i64 %3)
  br label %L3
L3:
  %5 = phi i64 [ 0, %L1 ], [ %4, %L2 ]
  ret i64 %5
}
define dso_local i64 @ring_submit(ptr %p0, i64 %p1) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  %0 = load ptr, ptr %s0, align 8
  %1 = load i64, ptr %s1, align 8
  call void @commit(ptr %0, i64 %1, i32 0)
  ret i64 0
}
define dso_local i64 @ring_discard(ptr %p0, i64 %p1) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  %0 = load ptr, ptr %s0, align 8
  %1 = load i64, ptr %s1, align 8
  call void @commit(ptr %0, i64 %1, i32 1073741824)
  ret i64 0
}
define dso_local i64 @ring_output(ptr %p0, ptr %p1, i64 %p2, i64 %p3) #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  store i64 %p2, ptr %s2, align 8
  store i64 %p3, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  %0 = load i64, ptr %s3, align 8
  %1 = and i64 %0, 18446744073709551612
  %2 = icmp ne i64 %1, 0
  br i1 %2, label %L1, label %L2
L1:
  ret i64 18446744073709551594
L2:
  %3 = load ptr, ptr %s0, align 8
  %4 = load i64, ptr %s2, align 8
  %5 = call i64 @reserve(ptr %3, i64 %4)
  store i64 %5, ptr %s4, align 8
  %6 = load i64, ptr %s4, align 8
  %7 = icmp ne i64 %6, 0
  br i1 %7, label %L4, label %L3
L3:
  ret i64 18446744073709551605
L4:
  %8 = load i64, ptr %s4, align 8
  %9 = inttoptr i64 %8 to ptr
  %10 = load ptr, ptr %s1, align 8
  %11 = load i64, ptr %s2, align 8
  call void @copy(ptr %9, ptr %10, i64 %11)
  %12 = load i64, ptr %s4, align 8
  %13 = inttoptr i64 %12 to ptr
  %14 = load i64, ptr %s3, align 8
  call void @commit(ptr %13, i64 %14, i32 0)
  ret i64 0
}
define internal ptr @find(ptr %p0, ptr %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca ptr, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca i64, align 8
  %s5 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  call void @llvm.lifetime.start.p0(ptr %s2)
  call void @llvm.lifetime.start.p0(ptr %s3)
  %0 = load ptr, ptr %s0, align 8
  %1 = getelementptr inbounds i8, ptr %0, i64 80
  %2 = load i64, ptr %1, align 8
  store i64 %2, ptr %s3, align 8
  %3 = load i64, ptr %s3, align 8
  %4 = icmp ule i64 %3, 8
  br i1 %4, label %L1, label %L2
L1:
  call void @llvm.lifetime.start.p0(ptr %s4)
  %5 = load i64, ptr %s3, align 8
  %6 = icmp eq i64 %5, 4
  br i1 %6, label %L3, label %L4
L3:
  %7 = load ptr, ptr %s1, align 8
  %8 = load i32, ptr %7, align 1
  %9 = zext i32 %8 to i64
  br label %L5
L4:
  %10 = load ptr, ptr %s1, align 8
  %11 = load i64, ptr %s3, align 8
  %12 = call i64 @part(ptr %10, i64 %11)
  br label %L5
L5:
  %13 = phi i64 [ %9, %L3 ], [ %12, %L4 ]
  store i64 %13, ptr %s4, align 8
  call void @llvm.lifetime.start.p0(ptr %s5)
  %14 = load ptr, ptr %s0, align 8
  %15 = getelementptr inbounds i8, ptr %14, i64 88
  %16 = load i64, ptr %15, align 8
  store i64 %16, ptr %s5, align 8
  %17 = load ptr, ptr %s0, align 8
  %18 = load ptr, ptr %17, align 8
  %19 = load i64, ptr %s4, align 8
  %20 = mul i64 %19, 11400714819323198485
  %21 = load ptr, ptr %s0, align 8
  %22 = getelementptr inbounds i8, ptr %21, i64 8
  %23 = load i64, ptr %22, align 8
  %24 = lshr i64 %20, %23
  %25 = getelementptr inbounds [8 x i8], ptr %18, i64 %24
  %26 = load ptr, ptr %25, align 8
  store ptr %26, ptr %s2, align 8
  br label %L9
L9:
  %27 = load ptr, ptr %s2, align 8
  %28 = icmp ne ptr %27, null
  br i1 %28, label %L10, label %L8
L10:
  %29 = load ptr, ptr %s2, align 8
  %30 = load i64, ptr %s5, align 8
  %31 = getelementptr inbounds i8, ptr %29, i64 %30
  %32 = load i64, ptr %31, align 8
  %33 = load i64, ptr %s4, align 8
  %34 = icmp ne i64 %32, %33
  br i1 %34, label %L6, label %L8
L6:
  %35 = load ptr, ptr %s2, align 8
  %36 = load ptr, ptr %35, align 8
  store ptr %36, ptr %s2, align 8
  br label %L7
L7:
  br label %L9
L8:
  %37 = load ptr, ptr %s2, align 8
  ret ptr %37
L2:
  %38 = load ptr, ptr %s0, align 8
  %39 = load ptr, ptr %38, align 8
  %40 = load ptr, ptr %s1, align 8
  %41 = load i64, ptr %s3, align 8
  %42 = call i64 @hash_of(ptr %40, i64 %41)
  %43 = load ptr, ptr %s0, align 8
  %44 = getelementptr inbounds i8, ptr %43, i64 8
  %45 = load i64, ptr %44, align 8
  %46 = lshr i64 %42, %45
  %47 = getelementptr inbounds [8 x i8], ptr %39, i64 %46
  %48 = load ptr, ptr %47, align 8
  store ptr %48, ptr %s2, align 8
  br label %L14
L14:
  %49 = load ptr, ptr %s2, align 8
  %50 = icmp ne ptr %49, null
  br i1 %50, label %L15, label %L13
L15:
  %51 = load ptr, ptr %s0, align 8
  %52 = load ptr, ptr %s2, align 8
  %53 = load ptr, ptr %s1, align 8
  %54 = call i32 @has_key(ptr %51, ptr %52, ptr %53)
  %55 = icmp ne i32 %54, 0
  br i1 %55, label %L13, label %L11
L11:
  %56 = load ptr, ptr %s2, align 8
  %57 = load ptr, ptr %56, align 8
  store ptr %57, ptr %s2, align 8
  br label %L12
L12:
  br label %L14
L13:
  %58 = load ptr, ptr %s2, align 8
  ret ptr %58
}
define internal void @use(ptr %p0, ptr %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  %0 = load ptr, ptr %s0, align 8
  %1 = getelementptr inbounds i8, ptr %0, i64 128
  %2 = load i64, ptr %1, align 8
  %3 = icmp ne i64 %2, 0
  br i1 %3, label %L3, label %L2
L3:
  %4 = load ptr, ptr %s0, align 8
  %5 = getelementptr inbounds i8, ptr %4, i64 152
  %6 = load ptr, ptr %5, align 8
  %7 = load ptr, ptr %s1, align 8
  %8 = icmp ne ptr %6, %7
  br i1 %8, label %L1, label %L2
L1:
  %9 = load ptr, ptr %s0, align 8
  %10 = load ptr, ptr %s1, align 8
  call void @leave_order(ptr %9, ptr %10)
  %11 = load ptr, ptr %s0, align 8
  %12 = load ptr, ptr %s1, align 8
  call void @enter_order(ptr %11, ptr %12)
  br label %L2
L2:
  ret void
}
define internal i64 @take(ptr %p0) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  call void @llvm.lifetime.start.p0(ptr %s1)
  %0 = load ptr, ptr %s0, align 8
  %1 = getelementptr inbounds i8, ptr %0, i64 56
  %2 = load i64, ptr %1, align 8
  %3 = load ptr, ptr %s0, align 8
  %4 = getelementptr inbounds i8, ptr %3, i64 64
  %5 = load i64, ptr %4, align 8
  %6 = icmp uge i64 %2, %5
  br i1 %6, label %L1, label %L2
L1:
  %7 = load ptr, ptr %s0, align 8
  %8 = getelementptr inbounds i8, ptr %7, i64 128
  %9 = load i64, ptr %8, align 8
  %10 = icmp ne i64 %9, 0
  br i1 %10, label %L4, label %L3
L3:
  ret i64 0
L4:
  %11 = load ptr, ptr %s0, align 8
  %12 = load ptr, ptr %s0, align 8
  %13 = getelementptr inbounds i8, ptr %12, i64 144
  %14 = load ptr, ptr %13, align 8
  call void @drop(ptr %11, ptr %14)
  br label %L2
L2:
  %15 = load ptr, ptr %s0, align 8
  %16 = getelementptr inbounds i8, ptr %15, i64 16
  %17 = load ptr, ptr %16, align 8
  store ptr %17, ptr %s1, align 8
  %18 = load ptr, ptr %s1, align 8
  %19 = icmp ne ptr %18, null
  br i1 %19, label %L5, label %L7
L5:
  %20 = load ptr, ptr %s1, align 8
  %21 = load ptr, ptr %20, align 8
  %22 = load ptr, ptr %s0, align 8
  %23 = getelementptr inbounds i8, ptr %22, i64 16
  store ptr %21, ptr %23, align 8
  br label %L6
L7:
  %24 = load ptr, ptr %s0, align 8
  %25 = getelementptr inbounds i8, ptr %24, i64 24
  %26 = load ptr, ptr %25, align 8
  %27 = load ptr, ptr %s0, align 8
  %28 = getelementptr inbounds i8, ptr %27, i64 32
  %29 = load ptr, ptr %28, align 8
  %30 = icmp eq ptr %26, %29
  br i1 %30, label %L8, label %L9
L8:
  ret i64 1
L9:
  %31 = load ptr, ptr %s0, align 8
  %32 = getelementptr inbounds i8, ptr %31, i64 24
  %33 = load ptr, ptr %32, align 8
  store ptr %33, ptr %s1, align 8
  %34 = load ptr, ptr %s0, align 8
  %35 = getelementptr inbounds i8, ptr %34, i64 72
  %36 = load i64, ptr %35, align 8
  %37 = load ptr, ptr %s0, align 8
  %38 = getelementptr inbounds i8, ptr %37, i64 24
  %39 = load ptr, ptr %38, align 8
  %40 = getelementptr inbounds i8, ptr %39, i64 %36
  store ptr %40, ptr %38, align 8
  %41 = load ptr, ptr %s0, align 8
  %42 = getelementptr inbounds i8, ptr %41, i64 40
  %43 = load i64, ptr %42, align 8
  %44 = add i64 %43, 1
  store i64 %44, ptr %42, align 8
  %45 = load ptr, ptr %s1, align 8
  %46 = getelementptr inbounds i8, ptr %45, i64 8
  store i64 %43, ptr %46, align 8
  br label %L6
L6:
  %47 = load ptr, ptr %s1, align 8
  %48 = ptrtoint ptr %47 to i64
  ret i64 %48
}
define internal void @insert(ptr %p0, ptr %p1, ptr %p2) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca ptr, align 8
  %s3 = alloca ptr, align 8
  %s4 = alloca ptr, align 8
  %s5 = alloca i64, align 8
  %s6 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  store ptr %p2, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %0 = load ptr, ptr %s0, align 8
  %1 = load ptr, ptr %s2, align 8
  %2 = call ptr @bucket(ptr %0, ptr %1)
  store ptr %2, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  %3 = load ptr, ptr %s1, align 8
  %4 = load ptr, ptr %s0, align 8
  %5 = getelementptr inbounds i8, ptr %4, i64 88
  %6 = load i64, ptr %5, align 8
  %7 = getelementptr inbounds i8, ptr %3, i64 %6
  store ptr %7, ptr %s4, align 8
  call void @llvm.lifetime.start.p0(ptr %s5)
  %8 = load ptr, ptr %s0, align 8
  %9 = getelementptr inbounds i8, ptr %8, i64 80
  %10 = load i64, ptr %9, align 8
  store i64 %10, ptr %s5, align 8
  call void @llvm.lifetime.start.p0(ptr %s6)
  store i64 0, ptr %s6, align 8
  br label %L4
L4:
  %11 = load i64, ptr %s6, align 8
  %12 = load i64, ptr %s5, align 8
  %13 = icmp ult i64 %11, %12
  br i1 %13, label %L1, label %L3
L1:
  %14 = load ptr, ptr %s2, align 8
  %15 = load i64, ptr %s6, align 8
  %16 = getelementptr inbounds i8, ptr %14, i64 %15
  %17 = load i64, ptr %s5, align 8
  %18 = load i64, ptr %s6, align 8
  %19 = sub i64 %17, %18
  %20 = call i64 @part(ptr %16, i64 %19)
  %21 = load ptr, ptr %s4, align 8
  %22 = load i64, ptr %s6, align 8
  %23 = getelementptr inbounds i8, ptr %21, i64 %22
  store i64 %20, ptr %23, align 8
  br label %L2
L2:
  %24 = load i64, ptr %s6, align 8
  %25 = add i64 %24, 8
  store i64 %25, ptr %s6, align 8
  br label %L4
L3:
  call void @llvm.lifetime.end.p0(ptr %s6)
  %26 = load ptr, ptr %s3, align 8
  %27 = load ptr, ptr %26, align 8
  %28 = load ptr, ptr %s1, align 8
  store ptr %27, ptr %28, align 8
  %29 = load ptr, ptr %s1, align 8
  %30 = load ptr, ptr %s3, align 8
  store ptr %29, ptr %30, align 8
  %31 = load ptr, ptr %s0, align 8
  %32 = getelementptr inbounds i8, ptr %31, i64 48
  %33 = load ptr, ptr %32, align 8
  %34 = load ptr, ptr %s1, align 8
  %35 = getelementptr inbounds i8, ptr %34, i64 8
  %36 = load i64, ptr %35, align 8
  %37 = getelementptr inbounds i8, ptr %33, i64 %36
  store i8 1, ptr %37, align 1
  %38 = load ptr, ptr %s0, align 8
  %39 = getelementptr inbounds i8, ptr %38, i64 56
  %40 = load i64, ptr %39, align 8
  %41 = add i64 %40, 1
  store i64 %41, ptr %39, align 8
  %42 = load ptr, ptr %s0, align 8
  %43 = getelementptr inbounds i8, ptr %42, i64 128
  %44 = load i64, ptr %43, align 8
  %45 = icmp ne i64 %44, 0
  br i1 %45, label %L5, label %L6
L5:
  %46 = load ptr, ptr %s0, align 8
  %47 = load ptr, ptr %s1, align 8
  call void @enter_order(ptr %46, ptr %47)
  br label %L6
L6:
  call void @llvm.lifetime.end.p0(ptr %s5)
  call void @llvm.lifetime.end.p0(ptr %s4)
  call void @llvm.lifetime.end.p0(ptr %s3)
  ret void
}
define internal void @copy(ptr %p0, ptr %p1, i64 %p2) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  store i64 %p2, ptr %s2, align 8
  br label %L4
L4:
  %0 = load i64, ptr %s2, align 8
  %1 = icmp uge i64 %0, 8
  br i1 %1, label %L1, label %L3
L1:
  %2 = load ptr, ptr %s1, align 8
  %3 = load i64, ptr %2, align 1
  %4 = load ptr, ptr %s0, align 8
  store i64 %3, ptr %4, align 1
  %5 = load ptr, ptr %s0, align 8
  %6 = getelementptr inbounds i8, ptr %5, i64 8
  store ptr %6, ptr %s0, align 8
  %7 = load ptr, ptr %s1, align 8
  %8 = getelementptr inbounds i8, ptr %7, i64 8
  store ptr %8, ptr %s1, align 8
  %9 = load i64, ptr %s2, align 8
  %10 = sub i64 %9, 8
  store i64 %10, ptr %s2, align 8
  br label %L2
L2:
  br label %L4
L3:
  br label %L8
L8:
  %11 = load i64, ptr %s2, align 8
  %12 = icmp ne i64 %11, 0
  br i1 %12, label %L5, label %L7
L5:
  %13 = load ptr, ptr %s1, align 8
  %14 = getelementptr inbounds i8, ptr %13, i64 1
  store ptr %14, ptr %s1, align 8
  %15 = load i8, ptr %13, align 1
  %16 = load ptr, ptr %s0, align 8
  %17 = getelementptr inbounds i8, ptr %16, i64 1
  store ptr %17, ptr %s0, align 8
  store i8 %15, ptr %16, align 1
  %18 = load i64, ptr %s2, align 8
  %19 = sub i64 %18, 1
  store i64 %19, ptr %s2, align 8
  br label %L6
L6:
  br label %L8
L7:
  ret void
}
define internal void @drop(ptr %p0, ptr %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  call void @llvm.lifetime.start.p0(ptr %s2)
  %0 = load ptr, ptr %s0, align 8
  %1 = load ptr, ptr %s1, align 8
  %2 = load ptr, ptr %s0, align 8
  %3 = getelementptr inbounds i8, ptr %2, i64 88
  %4 = load i64, ptr %3, align 8
  %5 = getelementptr inbounds i8, ptr %1, i64 %4
  %6 = call ptr @bucket(ptr %0, ptr %5)
  store ptr %6, ptr %s2, align 8
  br label %L4
L4:
  %7 = load ptr, ptr %s2, align 8
  %8 = load ptr, ptr %7, align 8
  %9 = load ptr, ptr %s1, align 8
  %10 = icmp ne ptr %8, %9
  br i1 %10, label %L1, label %L3
L1:
  %11 = load ptr, ptr %s2, align 8
  %12 = load ptr, ptr %11, align 8
  store ptr %12, ptr %s2, align 8
  br label %L2
L2:
  br label %L4
L3:
  %13 = load ptr, ptr %s1, align 8
  %14 = load ptr, ptr %13, align 8
  %15 = load ptr, ptr %s2, align 8
  store ptr %14, ptr %15, align 8
  %16 = load ptr, ptr %s0, align 8
  %17 = getelementptr inbounds i8, ptr %16, i64 48
  %18 = load ptr, ptr %17, align 8
  %19 = load ptr, ptr %s1, align 8
  %20 = getelementptr inbounds i8, ptr %19, i64 8
  %21 = load i64, ptr %20, align 8
  %22 = getelementptr inbounds i8, ptr %18, i64 %21
  store i8 0, ptr %22, align 1
  %23 = load ptr, ptr %s0, align 8
  %24 = getelementptr inbounds i8, ptr %23, i64 16
  %25 = load ptr, ptr %24, align 8
  %26 = load ptr, ptr %s1, align 8
  store ptr %25, ptr %26, align 8
  %27 = load ptr, ptr %s1, align 8
  %28 = load ptr, ptr %s0, align 8
  %29 = getelementptr inbounds i8, ptr %28, i64 16
  store ptr %27, ptr %29, align 8
  %30 = load ptr, ptr %s0, align 8
  %31 = getelementptr inbounds i8, ptr %30, i64 56
  %32 = load i64, ptr %31, align 8
  %33 = sub i64 %32, 1
  store i64 %33, ptr %31, align 8
  %34 = load ptr, ptr %s0, align 8
  %35 = getelementptr inbounds i8, ptr %34, i64 128
  %36 = load i64, ptr %35, align 8
  %37 = icmp ne i64 %36, 0
  br i1 %37, label %L5, label %L6
L5:
  %38 = load ptr, ptr %s0, align 8
  %39 = load ptr, ptr %s1, align 8
  call void @leave_order(ptr %38, ptr %39)
  br label %L6
L6:
  call void @llvm.lifetime.end.p0(ptr %s2)
  ret void
}
define internal i64 @short_prefix(ptr %p0, i64 %p1, i64 %p2) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca ptr, align 8
  %s4 = alloca i64, align 8
  %s5 = alloca i64, align 8
  %s6 = alloca i64, align 8
  %s7 = alloca i64, align 8
  %s8 = alloca i64, align 8
  %s9 = alloca ptr, align 8
  %s10 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  store i64 %p2, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %0 = load ptr, ptr %s0, align 8
  %1 = load ptr, ptr %0, align 8
  store ptr %1, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  %2 = load ptr, ptr %s0, align 8
  %3 = getelementptr inbounds i8, ptr %2, i64 88
  %4 = load i64, ptr %3, align 8
  store i64 %4, ptr %s4, align 8
  call void @llvm.lifetime.start.p0(ptr %s5)
  %5 = load ptr, ptr %s0, align 8
  %6 = getelementptr inbounds i8, ptr %5, i64 8
  %7 = load i64, ptr %6, align 8
  store i64 %7, ptr %s5, align 8
  call void @llvm.lifetime.start.p0(ptr %s6)
  %8 = load ptr, ptr %s0, align 8
  %9 = getelementptr inbounds i8, ptr %8, i64 184
  %10 = getelementptr inbounds [8 x i8], ptr %9, i64 0
  %11 = load i64, ptr %10, align 8
  store i64 %11, ptr %s6, align 8
  %12 = load i64, ptr %s2, align 8
  %13 = sub i64 63, %12
  %14 = lshr i64 18446744073709551615, %13
  %15 = load i64, ptr %s6, align 8
  %16 = and i64 %15, %14
  store i64 %16, ptr %s6, align 8
  br label %L4
L4:
  %17 = load i64, ptr %s6, align 8
  %18 = icmp ne i64 %17, 0
  br i1 %18, label %L1, label %L3
L1:
  call void @llvm.lifetime.start.p0(ptr %s7)
  %19 = load i64, ptr %s6, align 8
  %20 = call i64 @llvm.ctlz.i64(i64 %19, i1 true)
  %21 = trunc i64 %20 to i32
  %22 = sub nsw i32 63, %21
  %23 = sext i32 %22 to i64
  store i64 %23, ptr %s7, align 8
  call void @llvm.lifetime.start.p0(ptr %s8)
  %24 = load i64, ptr %s7, align 8
  %25 = icmp ne i64 %24, 0
  br i1 %25, label %L5, label %L6
L5:
  %26 = load i64, ptr %s1, align 8
  %27 = load i64, ptr %s7, align 8
  %28 = sub i64 64, %27
  %29 = shl i64 18446744073709551615, %28
  %30 = call i64 @llvm.bswap.i64(i64 %29)
  %31 = and i64 %26, %30
  br label %L7
L6:
  br label %L7
L7:
  %32 = phi i64 [ %31, %L5 ], [ 0, %L6 ]
  store i64 %32, ptr %s8, align 8
  call void @llvm.lifetime.start.p0(ptr %s9)
  %33 = load ptr, ptr %s3, align 8
  %34 = load i64, ptr %s7, align 8
  %35 = mul i64 %34, 11400714819323198485
  %36 = load i64, ptr %s8, align 8
  %37 = xor i64 %35, %36
  %38 = mul i64 %37, 11400714819323198485
  %39 = load i64, ptr %s5, align 8
  %40 = lshr i64 %38, %39
  %41 = getelementptr inbounds [8 x i8], ptr %33, i64 %40
  %42 = load ptr, ptr %41, align 8
  store ptr %42, ptr %s9, align 8
  br label %L11
L11:
  %43 = load ptr, ptr %s9, align 8
  %44 = icmp ne ptr %43, null
  br i1 %44, label %L8, label %L10
L8:
  call void @llvm.lifetime.start.p0(ptr %s10)
  %45 = load ptr, ptr %s9, align 8
  %46 = load i64, ptr %s4, align 8
  %47 = getelementptr inbounds i8, ptr %45, i64 %46
  store ptr %47, ptr %s10, align 8
  %48 = load ptr, ptr %s10, align 8
  %49 = getelementptr inbounds [8 x i8], ptr %48, i64 0
  %50 = load i64, ptr %49, align 8
  %51 = load i64, ptr %s7, align 8
  %52 = icmp eq i64 %50, %51
  br i1 %52, label %L14, label %L13
L14:
  %53 = load ptr, ptr %s10, align 8
  %54 = getelementptr inbounds [8 x i8], ptr %53, i64 1
  %55 = load i64, ptr %54, align 8
  %56 = load i64, ptr %s8, align 8
  %57 = icmp eq i64 %55, %56
  br i1 %57, label %L12, label %L13
L12:
  %58 = load ptr, ptr %s9, align 8
  %59 = ptrtoint ptr %58 to i64
  %60 = load ptr, ptr %s0, align 8
  %61 = getelementptr inbounds i8, ptr %60, i64 104
  %62 = load i64, ptr %61, align 8
  %63 = add i64 %59, %62
  ret i64 %63
L13:
  %64 = load ptr, ptr %s9, align 8
  %65 = load ptr, ptr %64, align 8
  store ptr %65, ptr %s9, align 8
  call void @llvm.lifetime.end.p0(ptr %s10)
  br label %L9
L9:
  br label %L11
L10:
  %66 = load i64, ptr %s7, align 8
  %67 = shl i64 1, %66
  %68 = xor i64 %67, -1
  %69 = load i64, ptr %s6, align 8
  %70 = and i64 %69, %68
  store i64 %70, ptr %s6, align 8
  call void @llvm.lifetime.end.p0(ptr %s9)
  call void @llvm.lifetime.end.p0(ptr %s8)
  call void @llvm.lifetime.end.p0(ptr %s7)
  br label %L2
L2:
  br label %L4
L3:
  ret i64 0
}
define internal i64 @part(ptr %p0, i64 %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  call void @llvm.lifetime.start.p0(ptr %s2)
  store i64 0, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  store i64 0, ptr %s3, align 8
  %0 = load i64, ptr %s1, align 8
  %1 = icmp uge i64 %0, 8
  br i1 %1, label %L1, label %L2
L1:
  %2 = load ptr, ptr %s0, align 8
  %3 = load i64, ptr %2, align 1
  ret i64 %3
L2:
  %4 = load i64, ptr %s1, align 8
  %5 = icmp uge i64 %4, 4
  br i1 %5, label %L3, label %L4
L3:
  %6 = load ptr, ptr %s0, align 8
  %7 = load i32, ptr %6, align 1
  %8 = zext i32 %7 to i64
  store i64 %8, ptr %s2, align 8
  store i64 32, ptr %s3, align 8
  br label %L4
L4:
  br label %L8
L8:
  %9 = load i64, ptr %s3, align 8
  %10 = load i64, ptr %s1, align 8
  %11 = mul i64 8, %10
  %12 = icmp ult i64 %9, %11
  br i1 %12, label %L5, label %L7
L5:
  %13 = load ptr, ptr %s0, align 8
  %14 = load i64, ptr %s3, align 8
  %15 = zext i32 3 to i64
  %16 = lshr i64 %14, %15
  %17 = getelementptr inbounds i8, ptr %13, i64 %16
  %18 = load i8, ptr %17, align 1
  %19 = zext i8 %18 to i64
  %20 = load i64, ptr %s3, align 8
  %21 = shl i64 %19, %20
  %22 = load i64, ptr %s2, align 8
  %23 = or i64 %22, %21
  store i64 %23, ptr %s2, align 8
  %24 = load i64, ptr %s3, align 8
  %25 = add i64 %24, 8
  store i64 %25, ptr %s3, align 8
  br label %L6
L6:
  br label %L8
L7:
  %26 = load i64, ptr %s2, align 8
  ret i64 %26
}
define internal ptr @find_prefix(ptr %p0, ptr %p1, i64 %p2) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca i64, align 8
  %s5 = alloca i64, align 8
  %s6 = alloca ptr, align 8
  %s7 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  store i64 %p2, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %0 = load ptr, ptr %s0, align 8
  %1 = getelementptr inbounds i8, ptr %0, i64 80
  %2 = load i64, ptr %1, align 8
  %3 = sub i64 %2, 8
  store i64 %3, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  %4 = load i64, ptr %s2, align 8
  %5 = mul i64 %4, 11400714819323198485
  store i64 %5, ptr %s4, align 8
  call void @llvm.lifetime.start.p0(ptr %s5)
  call void @llvm.lifetime.start.p0(ptr %s6)
  store i64 0, ptr %s5, align 8
  br label %L4
L4:
  %6 = load i64, ptr %s5, align 8
  %7 = load i64, ptr %s3, align 8
  %8 = icmp ult i64 %6, %7
  br i1 %8, label %L1, label %L3
L1:
  %9 = load i64, ptr %s4, align 8
  %10 = load ptr, ptr %s1, align 8
  %11 = load i64, ptr %s5, align 8
  %12 = getelementptr inbounds i8, ptr %10, i64 %11
  %13 = load i64, ptr %s5, align 8
  %14 = mul i64 8, %13
  %15 = load i64, ptr %s3, align 8
  %16 = load i64, ptr %s5, align 8
  %17 = sub i64 %15, %16
  %18 = load i64, ptr %s2, align 8
  %19 = call i64 @prefix_part(ptr %12, i64 %14, i64 %17, i64 %18)
  %20 = xor i64 %9, %19
  %21 = mul i64 %20, 11400714819323198485
  store i64 %21, ptr %s4, align 8
  br label %L2
L2:
  %22 = load i64, ptr %s5, align 8
  %23 = add i64 %22, 8
  store i64 %23, ptr %s5, align 8
  br label %L4
L3:
  %24 = load ptr, ptr %s0, align 8
  %25 = load ptr, ptr %24, align 8
  %26 = load i64, ptr %s4, align 8
  %27 = load ptr, ptr %s0, align 8
  %28 = getelementptr inbounds i8, ptr %27, i64 8
  %29 = load i64, ptr %28, align 8
  %30 = lshr i64 %26, %29
  %31 = getelementptr inbounds [8 x i8], ptr %25, i64 %30
  %32 = load ptr, ptr %31, align 8
  store ptr %32, ptr %s6, align 8
  br label %L8
L8:
  %33 = load ptr, ptr %s6, align 8
  %34 = icmp ne ptr %33, null
  br i1 %34, label %L5, label %L7
L5:
  call void @llvm.lifetime.start.p0(ptr %s7)
  %35 = load ptr, ptr %s6, align 8
  %36 = load ptr, ptr %s0, align 8
  %37 = getelementptr inbounds i8, ptr %36, i64 88
  %38 = load i64, ptr %37, align 8
  %39 = getelementptr inbounds i8, ptr %35, i64 %38
  store ptr %39, ptr %s7, align 8
  %40 = load ptr, ptr %s7, align 8
  %41 = load i64, ptr %40, align 8
  %42 = load i64, ptr %s2, align 8
  %43 = icmp eq i64 %41, %42
  br i1 %43, label %L9, label %L10
L9:
  store i64 0, ptr %s5, align 8
  br label %L14
L14:
  %44 = load i64, ptr %s5, align 8
  %45 = load i64, ptr %s3, align 8
  %46 = icmp ult i64 %44, %45
  br i1 %46, label %L11, label %L13
L11:
  %47 = load ptr, ptr %s7, align 8
  %48 = getelementptr inbounds [8 x i8], ptr %47, i64 1
  store ptr %48, ptr %s7, align 8
  %49 = load i64, ptr %48, align 8
  %50 = load ptr, ptr %s1, align 8
  %51 = load i64, ptr %s5, align 8
  %52 = getelementptr inbounds i8, ptr %50, i64 %51
  %53 = load i64, ptr %s5, align 8
  %54 = mul i64 8, %53
  %55 = load i64, ptr %s3, align 8
  %56 = load i64, ptr %s5, align 8
  %57 = sub i64 %55, %56
  %58 = load i64, ptr %s2, align 8
  %59 = call i64 @prefix_part(ptr %52, i64 %54, i64 %57, i64 %58)
  %60 = icmp ne i64 %49, %59
  br i1 %60, label %L15, label %L16
L15:
  br label %L13
L16:
  br label %L12
L12:
  %61 = load i64, ptr %s5, align 8
  %62 = add i64 %61, 8
  store i64 %62, ptr %s5, align 8
  br label %L14
L13:
  %63 = load i64, ptr %s5, align 8
  %64 = load i64, ptr %s3, align 8
  %65 = icmp uge i64 %63, %64
  br i1 %65, label %L17, label %L18
L17:
  %66 = load ptr, ptr %s6, align 8
  ret ptr %66
L18:
  br label %L10
L10:
  %67 = load ptr, ptr %s6, align 8
  %68 = load ptr, ptr %67, align 8
  store ptr %68, ptr %s6, align 8
  call void @llvm.lifetime.end.p0(ptr %s7)
  br label %L6
L6:
  br label %L8
L7:
  ret ptr null
}
define internal i64 @prefix_part(ptr %p0, i64 %p1, i64 %p2, i64 %p3) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  store i64 %p2, ptr %s2, align 8
  store i64 %p3, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  %0 = load i64, ptr %s3, align 8
  %1 = load i64, ptr %s1, align 8
  %2 = icmp ule i64 %0, %1
  br i1 %2, label %L1, label %L2
L1:
  ret i64 0
L2:
  %3 = load ptr, ptr %s0, align 8
  %4 = load i64, ptr %s2, align 8
  %5 = call i64 @part(ptr %3, i64 %4)
  store i64 %5, ptr %s4, align 8
  %6 = load i64, ptr %s3, align 8
  %7 = load i64, ptr %s1, align 8
  %8 = sub i64 %6, %7
  %9 = icmp ult i64 %8, 64
  br i1 %9, label %L3, label %L4
L3:
  %10 = load i64, ptr %s3, align 8
  %11 = load i64, ptr %s1, align 8
  %12 = sub i64 %10, %11
  %13 = sub i64 64, %12
  %14 = shl i64 18446744073709551615, %13
  %15 = call i64 @llvm.bswap.i64(i64 %14)
  %16 = load i64, ptr %s4, align 8
  %17 = and i64 %16, %15
  store i64 %17, ptr %s4, align 8
  br label %L4
L4:
  %18 = load i64, ptr %s4, align 8
  ret i64 %18
}
define internal void @count(ptr %p0, i64 %p1, i64 %p2) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  store i64 %p2, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %0 = load i64, ptr %s1, align 8
  %1 = and i64 %0, 63
  %2 = shl i64 1, %1
  store i64 %2, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  %3 = load ptr, ptr %s0, align 8
  %4 = getelementptr inbounds i8, ptr %3, i64 184
  %5 = load i64, ptr %s1, align 8
  %6 = zext i32 6 to i64
  %7 = lshr i64 %5, %6
  %8 = getelementptr inbounds [8 x i8], ptr %4, i64 %7
  store ptr %8, ptr %s4, align 8
  %9 = load i64, ptr %s2, align 8
  %10 = load ptr, ptr %s0, align 8
  %11 = getelementptr inbounds i8, ptr %10, i64 176
  %12 = load ptr, ptr %11, align 8
  %13 = load i64, ptr %s1, align 8
  %14 = getelementptr inbounds [8 x i8], ptr %12, i64 %13
  %15 = load i64, ptr %14, align 8
  %16 = add i64 %15, %9
  store i64 %16, ptr %14, align 8
  %17 = icmp ne i64 %16, 0
  br i1 %17, label %L1, label %L3
L1:
  %18 = load i64, ptr %s3, align 8
  %19 = load ptr, ptr %s4, align 8
  %20 = load i64, ptr %19, align 8
  %21 = or i64 %20, %18
  store i64 %21, ptr %19, align 8
  br label %L2
L3:
  %22 = load i64, ptr %s3, align 8
  %23 = xor i64 %22, -1
  %24 = load ptr, ptr %s4, align 8
  %25 = load i64, ptr %24, align 8
  %26 = and i64 %25, %23
  store i64 %26, ptr %24, align 8
  br label %L2
L2:
  %27 = load ptr, ptr %s0, align 8
  %28 = getelementptr inbounds i8, ptr %27, i64 168
  %29 = load i64, ptr %28, align 8
  %30 = add i64 %29, 1
  store i64 %30, ptr %28, align 8
  call void @llvm.lifetime.end.p0(ptr %s4)
  call void @llvm.lifetime.end.p0(ptr %s3)
  ret void
}
define internal i64 @reserve(ptr %p0, i64 %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca i64, align 8
  %s4 = alloca i64, align 8
  %s5 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  call void @llvm.lifetime.start.p0(ptr %s2)
  %0 = load i64, ptr %s1, align 8
  %1 = add i64 %0, 8
  %2 = add i64 %1, 7
  %3 = and i64 %2, 18446744073709551608
  store i64 %3, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %4 = load ptr, ptr %s0, align 8
  %5 = getelementptr inbounds i8, ptr %4, i64 8
  %6 = load i64, ptr %5, align 8
  %7 = sub i64 %6, 1
  store i64 %7, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  call void @llvm.lifetime.start.p0(ptr %s5)
  %8 = load i64, ptr %s1, align 8
  %9 = icmp ugt i64 %8, 1073741823
  br i1 %9, label %L1, label %L4
L4:
  %10 = load i64, ptr %s2, align 8
  %11 = load ptr, ptr %s0, align 8
  %12 = getelementptr inbounds i8, ptr %11, i64 8
  %13 = load i64, ptr %12, align 8
  %14 = icmp ugt i64 %10, %13
  br i1 %14, label %L1, label %L3
L3:
  %15 = load ptr, ptr %s0, align 8
  %16 = getelementptr inbounds i8, ptr %15, i64 8192
  %17 = load i64, ptr %16, align 8
  %18 = load i64, ptr %s2, align 8
  %19 = add i64 %17, %18
  %20 = load ptr, ptr %s0, align 8
  %21 = getelementptr inbounds i8, ptr %20, i64 4096
  %22 = load i64, ptr %21, align 8
  %23 = sub i64 %19, %22
  %24 = load i64, ptr %s3, align 8
  %25 = icmp ugt i64 %23, %24
  br i1 %25, label %L1, label %L2
L1:
  ret i64 0
L2:
  %26 = load ptr, ptr %s0, align 8
  %27 = getelementptr inbounds i8, ptr %26, i64 8192
  %28 = load i64, ptr %27, align 8
  %29 = load i64, ptr %s3, align 8
  %30 = and i64 %28, %29
  store i64 %30, ptr %s4, align 8
  %31 = load ptr, ptr %s0, align 8
  %32 = getelementptr inbounds i8, ptr %31, i64 12288
  %33 = load i64, ptr %s4, align 8
  %34 = getelementptr inbounds i8, ptr %32, i64 %33
  store ptr %34, ptr %s5, align 8
  %35 = load i64, ptr %s1, align 8
  %36 = trunc i64 %35 to i32
  %37 = or i32 %36, 2147483648
  %38 = load ptr, ptr %s5, align 8
  store i32 %37, ptr %38, align 4
  %39 = load i64, ptr %s4, align 8
  %40 = udiv i64 %39, 4096
  %41 = add i64 %40, 3
  %42 = trunc i64 %41 to i32
  %43 = load ptr, ptr %s5, align 8
  %44 = getelementptr inbounds i8, ptr %43, i64 4
  store i32 %42, ptr %44, align 4
  %45 = load i64, ptr %s2, align 8
  %46 = load ptr, ptr %s0, align 8
  %47 = getelementptr inbounds i8, ptr %46, i64 8192
  %48 = load i64, ptr %47, align 8
  %49 = add i64 %48, %45
  store i64 %49, ptr %47, align 8
  %50 = load ptr, ptr %s5, align 8
  %51 = ptrtoint ptr %50 to i64
  %52 = add i64 %51, 8
  ret i64 %52
}
define internal void @commit(ptr %p0, i64 %p1, i32 %p2) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  %s2 = alloca i32, align 4
  %s3 = alloca ptr, align 8
  %s4 = alloca ptr, align 8
  %s5 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  store i32 %p2, ptr %s2, align 4
  call void @llvm.lifetime.start.p0(ptr %s3)
  %0 = load ptr, ptr %s0, align 8
  %1 = sub i64 0, 8
  %2 = getelementptr inbounds i8, ptr %0, i64 %1
  store ptr %2, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  call void @llvm.lifetime.start.p0(ptr %s5)
  %3 = load ptr, ptr %s3, align 8
  %4 = ptrtoint ptr %3 to i64
  %5 = and i64 %4, 18446744073709547520
  %6 = load ptr, ptr %s3, align 8
  %7 = getelementptr inbounds i8, ptr %6, i64 4
  %8 = load i32, ptr %7, align 4
  %9 = zext i32 %8 to i64
  %10 = mul i64 %9, 4096
  %11 = sub i64 %5, %10
  %12 = inttoptr i64 %11 to ptr
  store ptr %12, ptr %s4, align 8
  %13 = load ptr, ptr %s3, align 8
  %14 = load i32, ptr %13, align 4
  %15 = and i32 %14, 2147483647
  %16 = load i32, ptr %s2, align 4
  %17 = or i32 %15, %16
  %18 = load ptr, ptr %s3, align 8
  store i32 %17, ptr %18, align 4
  %19 = load ptr, ptr %s3, align 8
  %20 = ptrtoint ptr %19 to i64
  %21 = load ptr, ptr %s4, align 8
  %22 = ptrtoint ptr %21 to i64
  %23 = add i64 %22, 12288
  %24 = sub i64 %20, %23
  store i64 %24, ptr %s5, align 8
  %25 = load i64, ptr %s1, align 8
  %26 = and i64 %25, 2
  %27 = icmp ne i64 %26, 0
  br i1 %27, label %L1, label %L3
L3:
  %28 = load i64, ptr %s5, align 8
  %29 = load ptr, ptr %s4, align 8
  %30 = getelementptr inbounds i8, ptr %29, i64 4096
  %31 = load i64, ptr %30, align 8
  %32 = load ptr, ptr %s4, align 8
  %33 = getelementptr inbounds i8, ptr %32, i64 8
  %34 = load i64, ptr %33, align 8
  %35 = sub i64 %34, 1
  %36 = and i64 %31, %35
  %37 = icmp eq i64 %28, %36
  br i1 %37, label %L4, label %L2
L4:
  %38 = load i64, ptr %s1, align 8
  %39 = and i64 %38, 1
  %40 = icmp ne i64 %39, 0
  br i1 %40, label %L2, label %L1
L1:
  %41 = load ptr, ptr %s4, align 8
  %42 = getelementptr inbounds i8, ptr %41, i64 16
  %43 = load i64, ptr %42, align 8
  %44 = add i64 %43, 1
  store i64 %44, ptr %42, align 8
  br label %L2
L2:
  call void @llvm.lifetime.end.p0(ptr %s5)
  call void @llvm.lifetime.end.p0(ptr %s4)
  call void @llvm.lifetime.end.p0(ptr %s3)
  ret void
}
define internal i64 @hash_of(ptr %p0, i64 %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca i64, align 8
  %s2 = alloca i64, align 8
  %s3 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store i64 %p1, ptr %s1, align 8
  call void @llvm.lifetime.start.p0(ptr %s2)
  store i64 0, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  store i64 0, ptr %s3, align 8
  br label %L4
L4:
  %0 = load i64, ptr %s3, align 8
  %1 = load i64, ptr %s1, align 8
  %2 = icmp ult i64 %0, %1
  br i1 %2, label %L1, label %L3
L1:
  %3 = load i64, ptr %s2, align 8
  %4 = load ptr, ptr %s0, align 8
  %5 = load i64, ptr %s3, align 8
  %6 = getelementptr inbounds i8, ptr %4, i64 %5
  %7 = load i64, ptr %s1, align 8
  %8 = load i64, ptr %s3, align 8
  %9 = sub i64 %7, %8
  %10 = call i64 @part(ptr %6, i64 %9)
  %11 = xor i64 %3, %10
  %12 = mul i64 %11, 11400714819323198485
  store i64 %12, ptr %s2, align 8
  br label %L2
L2:
  %13 = load i64, ptr %s3, align 8
  %14 = add i64 %13, 8
  store i64 %14, ptr %s3, align 8
  br label %L4
L3:
  call void @llvm.lifetime.end.p0(ptr %s3)
  %15 = load i64, ptr %s2, align 8
  ret i64 %15
}
define internal i32 @has_key(ptr %p0, ptr %p1, ptr %p2) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  %s2 = alloca ptr, align 8
  %s3 = alloca ptr, align 8
  %s4 = alloca i64, align 8
  %s5 = alloca i64, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  store ptr %p2, ptr %s2, align 8
  call void @llvm.lifetime.start.p0(ptr %s3)
  %0 = load ptr, ptr %s1, align 8
  %1 = load ptr, ptr %s0, align 8
  %2 = getelementptr inbounds i8, ptr %1, i64 88
  %3 = load i64, ptr %2, align 8
  %4 = getelementptr inbounds i8, ptr %0, i64 %3
  store ptr %4, ptr %s3, align 8
  call void @llvm.lifetime.start.p0(ptr %s4)
  %5 = load ptr, ptr %s0, align 8
  %6 = getelementptr inbounds i8, ptr %5, i64 80
  %7 = load i64, ptr %6, align 8
  store i64 %7, ptr %s4, align 8
  call void @llvm.lifetime.start.p0(ptr %s5)
  store i64 0, ptr %s5, align 8
  br label %L4
L4:
  %8 = load i64, ptr %s5, align 8
  %9 = load i64, ptr %s4, align 8
  %10 = icmp ult i64 %8, %9
  br i1 %10, label %L1, label %L3
L1:
  %11 = load ptr, ptr %s3, align 8
  %12 = load i64, ptr %s5, align 8
  %13 = getelementptr inbounds i8, ptr %11, i64 %12
  %14 = load i64, ptr %13, align 8
  %15 = load ptr, ptr %s2, align 8
  %16 = load i64, ptr %s5, align 8
  %17 = getelementptr inbounds i8, ptr %15, i64 %16
  %18 = load i64, ptr %s4, align 8
  %19 = load i64, ptr %s5, align 8
  %20 = sub i64 %18, %19
  %21 = call i64 @part(ptr %17, i64 %20)
  %22 = icmp ne i64 %14, %21
  br i1 %22, label %L5, label %L6
L5:
  ret i32 0
L6:
  br label %L2
L2:
  %23 = load i64, ptr %s5, align 8
  %24 = add i64 %23, 8
  store i64 %24, ptr %s5, align 8
  br label %L4
L3:
  call void @llvm.lifetime.end.p0(ptr %s5)
  ret i32 1
}
define internal void @leave_order(ptr %p0, ptr %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  %0 = load ptr, ptr %s1, align 8
  %1 = getelementptr inbounds i8, ptr %0, i64 16
  %2 = load ptr, ptr %1, align 8
  %3 = icmp ne ptr %2, null
  br i1 %3, label %L1, label %L3
L1:
  %4 = load ptr, ptr %s1, align 8
  %5 = getelementptr inbounds i8, ptr %4, i64 24
  %6 = load ptr, ptr %5, align 8
  %7 = load ptr, ptr %s1, align 8
  %8 = getelementptr inbounds i8, ptr %7, i64 16
  %9 = load ptr, ptr %8, align 8
  %10 = getelementptr inbounds i8, ptr %9, i64 24
  store ptr %6, ptr %10, align 8
  br label %L2
L3:
  %11 = load ptr, ptr %s1, align 8
  %12 = getelementptr inbounds i8, ptr %11, i64 24
  %13 = load ptr, ptr %12, align 8
  %14 = load ptr, ptr %s0, align 8
  %15 = getelementptr inbounds i8, ptr %14, i64 144
  store ptr %13, ptr %15, align 8
  br label %L2
L2:
  %16 = load ptr, ptr %s1, align 8
  %17 = getelementptr inbounds i8, ptr %16, i64 24
  %18 = load ptr, ptr %17, align 8
  %19 = icmp ne ptr %18, null
  br i1 %19, label %L4, label %L6
L4:
  %20 = load ptr, ptr %s1, align 8
  %21 = getelementptr inbounds i8, ptr %20, i64 16
  %22 = load ptr, ptr %21, align 8
  %23 = load ptr, ptr %s1, align 8
  %24 = getelementptr inbounds i8, ptr %23, i64 24
  %25 = load ptr, ptr %24, align 8
  %26 = getelementptr inbounds i8, ptr %25, i64 16
  store ptr %22, ptr %26, align 8
  br label %L5
L6:
  %27 = load ptr, ptr %s1, align 8
  %28 = getelementptr inbounds i8, ptr %27, i64 16
  %29 = load ptr, ptr %28, align 8
  %30 = load ptr, ptr %s0, align 8
  %31 = getelementptr inbounds i8, ptr %30, i64 152
  store ptr %29, ptr %31, align 8
  br label %L5
L5:
  ret void
}
define internal void @enter_order(ptr %p0, ptr %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  %0 = load ptr, ptr %s0, align 8
  %1 = getelementptr inbounds i8, ptr %0, i64 152
  %2 = load ptr, ptr %1, align 8
  %3 = load ptr, ptr %s1, align 8
  %4 = getelementptr inbounds i8, ptr %3, i64 16
  store ptr %2, ptr %4, align 8
  %5 = load ptr, ptr %s1, align 8
  %6 = getelementptr inbounds i8, ptr %5, i64 24
  store ptr null, ptr %6, align 8
  %7 = load ptr, ptr %s0, align 8
  %8 = getelementptr inbounds i8, ptr %7, i64 152
  %9 = load ptr, ptr %8, align 8
  %10 = icmp ne ptr %9, null
  br i1 %10, label %L1, label %L3
L1:
  %11 = load ptr, ptr %s1, align 8
  %12 = load ptr, ptr %s0, align 8
  %13 = getelementptr inbounds i8, ptr %12, i64 152
  %14 = load ptr, ptr %13, align 8
  %15 = getelementptr inbounds i8, ptr %14, i64 24
  store ptr %11, ptr %15, align 8
  br label %L2
L3:
  %16 = load ptr, ptr %s1, align 8
  %17 = load ptr, ptr %s0, align 8
  %18 = getelementptr inbounds i8, ptr %17, i64 144
  store ptr %16, ptr %18, align 8
  br label %L2
L2:
  %19 = load ptr, ptr %s1, align 8
  %20 = load ptr, ptr %s0, align 8
  %21 = getelementptr inbounds i8, ptr %20, i64 152
  store ptr %19, ptr %21, align 8
  ret void
}
define internal ptr @bucket(ptr %p0, ptr %p1) alwaysinline #0 {
entry:
  %s0 = alloca ptr, align 8
  %s1 = alloca ptr, align 8
  store ptr %p0, ptr %s0, align 8
  store ptr %p1, ptr %s1, align 8
  %0 = load ptr, ptr %s0, align 8
  %1 = load ptr, ptr %0, align 8
  %2 = load ptr, ptr %s1, align 8
  %3 = load ptr, ptr %s0, align 8
  %4 = getelementptr inbounds i8, ptr %3, i64 80
  %5 = load i64, ptr %4, align 8
  %6 = call i64 @hash_of(ptr %2, i64 %5)
  %7 = load ptr, ptr %s0, align 8
  %8 = getelementptr inbounds i8, ptr %7, i64 8
  %9 = load i64, ptr %8, align 8
  %10 = lshr i64 %6, %9
  %11 = getelementptr inbounds [8 x i8], ptr %1, i64 %10
  ret ptr %11
}
declare i64 @llvm.bswap.i64(i64)
declare i64 @llvm.ctlz.i64(i64, i1 immarg)
declare void @llvm.lifetime.end.p0(ptr)
declare void @llvm.lifetime.start.p0(ptr)
attributes #0 = { nounwind "no-jump-tables"="true" "no-builtins" }
