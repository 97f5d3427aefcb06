// Two constants in .rodata, of which LLVM may merge one: it makes two sections of that name.
// inputs: 0 1 0 7
static const struct { u16 a; s8 b; u8 c[2]; u8 d[2]; } table = { 63, -63, { 255 }, { 4, 9 } };
int prog(struct __sk_buff *ctx)
{
    u32 zero = 0;
    struct words_in *given = in.lookup(&zero);
    struct words_out *results = out.lookup(&zero);
    if (!given || !results)
        return 1;
    struct { u16 a; u8 b[6]; u64 c; } copied = { 0x1234, { 1, 2, 3, 4, 5, 6 }, 7 };
    copied.b[given->v[3] & 3]++;
    results->v[0] = table.d[given->v[1] & 1];
    results->v[1] = table.c[given->v[1] & 1];
    results->v[2] = copied.b[given->v[0] & 3] + copied.b[3];
    return table.d[given->v[0] & 1];
}
