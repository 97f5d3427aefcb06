// What every program may use without an include: BCC's probe macros, access to registers, small
// functions. Shipped headers are data: one declaration per paragraph, no conditionals, and nothing
// costs anything before it is used.
#pragma once
#include <linux/errno.h>

#define NULL ((void *)0)
#define true 1
#define false 0
#define bool _Bool
#define offsetof(type, member) __builtin_offsetof(type, member)

#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __packed __attribute__((packed))
#define __aligned(x) __attribute__((aligned(x)))
#define __unused __attribute__((unused))
#define __maybe_unused __attribute__((unused))
#define __weak
#define __force
#define __user
#define __kernel
#define __iomem
#define __rcu
#define __percpu
#define __must_check
#define __init
#define __read_mostly
#define __randomize_layout
#define randomized_struct_fields_start
#define randomized_struct_fields_end
#define BPF_PACKET_HEADER __attribute__((packed)) __attribute__((deprecated("packet")))
#define SEC(name) __attribute__((section(name), used))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define barrier() asm volatile("" ::: "memory")
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), "BUILD_BUG_ON")

#define min(a, b) ({ typeof(a) _a = (a); typeof(b) _b = (b); _a < _b ? _a : _b; })
#define max(a, b) ({ typeof(a) _a = (a); typeof(b) _b = (b); _a > _b ? _a : _b; })
#define min_t(type, a, b) ({ type _a = (a); type _b = (b); _a < _b ? _a : _b; })
#define max_t(type, a, b) ({ type _a = (a); type _b = (b); _a > _b ? _a : _b; })

// Probes by their macros: a function whose name says what it attaches to.
#define TRACEPOINT_PROBE(category, event) int tracepoint__##category##__##event(struct tracepoint__##category##__##event *args)
#define RAW_TRACEPOINT_PROBE(event) int raw_tracepoint__##event(struct bpf_raw_tracepoint_args *ctx)
#define KFUNC_PROBE(event, ...) int kfunc__vmlinux__##event(unsigned long long *ctx __VA_OPT__(,) __VA_ARGS__)
#define KRETFUNC_PROBE(event, ...) int kretfunc__vmlinux__##event(unsigned long long *ctx __VA_OPT__(,) __VA_ARGS__)
#define MODULE_KFUNC_PROBE(module, event, ...) int kfunc__##module##__##event(unsigned long long *ctx __VA_OPT__(,) __VA_ARGS__)
#define MODULE_KRETFUNC_PROBE(module, event, ...) int kretfunc__##module##__##event(unsigned long long *ctx __VA_OPT__(,) __VA_ARGS__)
#define KMOD_RET(event, ...) int kmod_ret__vmlinux__##event(unsigned long long *ctx __VA_OPT__(,) __VA_ARGS__)
#define LSM_PROBE(event, ...) int lsm__##event(unsigned long long *ctx __VA_OPT__(,) __VA_ARGS__)
#define BPF_ITER(target) int bpf_iter__##target(struct bpf_iter__##target *ctx)

#define bpf_target_defined
#define bpf_target_x86

// x86-64's registers by their part in a call.
#define PT_REGS_PARM1(ctx) ((ctx)->di)
#define PT_REGS_PARM2(ctx) ((ctx)->si)
#define PT_REGS_PARM3(ctx) ((ctx)->dx)
#define PT_REGS_PARM4(ctx) ((ctx)->cx)
#define PT_REGS_PARM5(ctx) ((ctx)->r8)
#define PT_REGS_PARM6(ctx) ((ctx)->r9)
#define PT_REGS_FP(ctx) ((ctx)->bp)
#define PT_REGS_RC(ctx) ((ctx)->ax)
#define PT_REGS_IP(ctx) ((ctx)->ip)
#define PT_REGS_SP(ctx) ((ctx)->sp)
#define PT_REGS_RET(ctx) ((ctx)->sp)
#define PT_REGS_SYSCALL_CTX(ctx) ((struct pt_regs *)PT_REGS_PARM1(ctx))
#define PT_REGS_PARM1_SYSCALL(ctx) PT_REGS_PARM1(ctx)
#define PT_REGS_PARM2_SYSCALL(ctx) PT_REGS_PARM2(ctx)
#define PT_REGS_PARM3_SYSCALL(ctx) PT_REGS_PARM3(ctx)
#define PT_REGS_PARM4_SYSCALL(ctx) ((ctx)->r10)
#define PT_REGS_PARM5_SYSCALL(ctx) PT_REGS_PARM5(ctx)
#define PT_REGS_PARM6_SYSCALL(ctx) PT_REGS_PARM6(ctx)

// A tracepoint's field of variable length: its low 16 bits say where in the record it lies.
#define TP_DATA_LOC_READ_CONST(dst, field, length) bpf_probe_read_kernel((void *)(dst), length, (char *)args + (args->data_loc_##field & 0xFFFF))
#define TP_DATA_LOC_READ(dst, field) bpf_probe_read_kernel((void *)(dst), args->data_loc_##field >> 16, (char *)args + (args->data_loc_##field & 0xFFFF))
#define TP_DATA_LOC_READ_STR(dst, field, length) bpf_probe_read_kernel_str((void *)(dst), length, (char *)args + (args->data_loc_##field & 0xFFFF))

#define lock_xadd(pointer, value) ((void)__sync_fetch_and_add(pointer, value))
#define cursor_advance(cursor, length) ({ void *_before = (void *)(cursor); (cursor) = (void *)((char *)(cursor) + (length)); _before; })

// Memory orders, by their numbers in GNU C.
#define __ATOMIC_RELAXED 0
#define __ATOMIC_CONSUME 1
#define __ATOMIC_ACQUIRE 2
#define __ATOMIC_RELEASE 3
#define __ATOMIC_ACQ_REL 4
#define __ATOMIC_SEQ_CST 5

// Stacks by id: what a table of them holds.
#define BPF_MAX_STACK_DEPTH 127
#define BPF_STACK_TRACE(name, size) BPF_TABLE("stacktrace", int, struct bpf_stacktrace, name, size)
#define BPF_STACK_TRACE_BUILDID(name, size) BPF_F_TABLE("stacktrace", int, struct bpf_stacktrace_buildid, name, size, BPF_F_STACK_BUILD_ID)

struct bpf_stacktrace {
    unsigned long long ip[BPF_MAX_STACK_DEPTH];
};

struct bpf_stacktrace_buildid {
    struct bpf_stack_build_id trace[BPF_MAX_STACK_DEPTH];
};

// Flags of helpers that are macros, not enumerators, or that older kernels lack.
#define BPF_ANY 0
#define BPF_NOEXIST 1
#define BPF_EXIST 2
#define BPF_F_LOCK 4
#define BPF_F_INDEX_MASK 0xffffffffULL
#define BPF_F_CURRENT_CPU BPF_F_INDEX_MASK
#define BPF_F_USER_STACK (1ULL << 8)
#define BPF_F_FAST_STACK_CMP (1ULL << 9)
#define BPF_F_REUSE_STACKID (1ULL << 10)
#define BPF_F_USER_BUILD_ID (1ULL << 11)
#define BPF_F_SKIP_FIELD_MASK 0xffULL
#define CUR_CPU_IDENTIFIER BPF_F_CURRENT_CPU
#define BPF_RB_NO_WAKEUP (1ULL << 0)
#define BPF_RB_FORCE_WAKEUP (1ULL << 1)
#define BPF_LOCAL_STORAGE_GET_F_CREATE (1ULL << 0)
#define BPF_SK_STORAGE_GET_F_CREATE BPF_LOCAL_STORAGE_GET_F_CREATE

#define ___constant_swab16(x) __builtin_bswap16(x)
#define ntohs(x) __builtin_bswap16(x)
#define htons(x) __builtin_bswap16(x)
#define ntohl(x) __builtin_bswap32(x)
#define htonl(x) __builtin_bswap32(x)
#define be16_to_cpu(x) __builtin_bswap16(x)
#define be32_to_cpu(x) __builtin_bswap32(x)
#define be64_to_cpu(x) __builtin_bswap64(x)
#define cpu_to_be16(x) __builtin_bswap16(x)
#define cpu_to_be32(x) __builtin_bswap32(x)
#define cpu_to_be64(x) __builtin_bswap64(x)
#define le16_to_cpu(x) (x)
#define le32_to_cpu(x) (x)
#define le64_to_cpu(x) (x)
#define __be16_to_cpu(x) __builtin_bswap16(x)
#define __be32_to_cpu(x) __builtin_bswap32(x)
#define __constant_htons(x) __builtin_bswap16(x)
#define __constant_ntohs(x) __builtin_bswap16(x)
#define __constant_htonl(x) __builtin_bswap32(x)
#define bpf_ntohs(x) __builtin_bswap16(x)
#define bpf_htons(x) __builtin_bswap16(x)
#define bpf_ntohl(x) __builtin_bswap32(x)
#define bpf_htonl(x) __builtin_bswap32(x)
#define bpf_ntohll(x) __builtin_bswap64(x)
#define bpf_htonll(x) __builtin_bswap64(x)
#define bpf_be64_to_cpu(x) __builtin_bswap64(x)

static __always_inline unsigned __int128 bpf_ntoh128(unsigned __int128 v)
{
    return (unsigned __int128)bpf_ntohll(v) << 64 | bpf_ntohll(v >> 64);
}

static __always_inline unsigned __int128 bpf_hton128(unsigned __int128 v)
{
    return bpf_ntoh128(v);
}

static __always_inline unsigned int bpf_log2(unsigned int v)
{
    unsigned int r;
    unsigned int shift;
    r = (v > 0xFFFF) << 4;
    v >>= r;
    shift = (v > 0xFF) << 3;
    v >>= shift;
    r |= shift;
    shift = (v > 0xF) << 2;
    v >>= shift;
    r |= shift;
    shift = (v > 0x3) << 1;
    v >>= shift;
    r |= shift;
    r |= v >> 1;
    return r;
}

static __always_inline unsigned int bpf_log2l(unsigned long v)
{
    unsigned int high = v >> 32;
    if (high)
        return bpf_log2(high) + 32 + 1;
    return bpf_log2(v) + 1;
}
