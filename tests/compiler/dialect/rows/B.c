/// B1 bpf_probe_read_kernel
/// load RAW_TRACEPOINT
/// returns 1
int f(struct bpf_raw_tracepoint_args *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 tgid = 0;
    if (bpf_probe_read_kernel(&tgid, sizeof(tgid), &task->tgid))
        return 0;
    return tgid == bpf_get_current_pid_tgid() >> 32;
}

/// B1 what cannot be read is zero
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    u64 value = 77;
    int error = bpf_probe_read_kernel(&value, sizeof(value), (void *)8);
    return error < 0 && value == 0;
}

/// B2 bpf_probe_read_kernel_str
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    char own[16] = {}, read[16] = {};
    bpf_get_current_comm(own, sizeof(own));
    int length = bpf_probe_read_kernel_str(read, sizeof(read), task->comm);
    return length > 1 && read[15] == 0 && read[0] == own[0] && read[1] == own[1];
}

/// B2 a string is cut
/// load RAW_TRACEPOINT
/// returns 2
int f(void *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    char read[2] = {};
    int length = bpf_probe_read_kernel_str(read, sizeof(read), task->comm);
    return read[1] ? 0 : length;
}

/// B3 bpf_ktime_get_ns
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    u64 first = bpf_ktime_get_ns();
    return first > 0 && bpf_ktime_get_ns() >= first;
}

/// B4 bpf_get_current_pid_tgid
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    u64 both = bpf_get_current_pid_tgid();
    u32 tid = both;
    struct task_struct *task = (void *)bpf_get_current_task();
    return tid == task->pid && both >> 32 == task->tgid;
}

/// B5 bpf_get_current_uid_gid
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    u32 uid = bpf_get_current_uid_gid();
    struct task_struct *task = (void *)bpf_get_current_task();
    return uid == task->cred->uid.val;
}

/// B6 bpf_get_current_comm
/// load RAW_TRACEPOINT
/// returns 1
struct data_t { u32 pid; char comm[TASK_COMM_LEN]; };
int f(void *ctx)
{
    struct data_t data = {};
    int error = bpf_get_current_comm(&data.comm, sizeof(data.comm));
    struct task_struct *task = (void *)bpf_get_current_task();
    return error == 0 && data.comm[0] == task->comm[0] && data.comm[0] != 0;
}

/// B7 bpf_get_current_task
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    return task->tgid == task->group_leader->pid;
}

/// B7 names of kernel headers
/// load RAW_TRACEPOINT
/// returns 1
#define randomized_struct_fields_start  struct {
#define randomized_struct_fields_end    };
#include <linux/sched.h>
int f(void *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    return task->real_parent != 0;
}

/// B8 bpf_log2l
/// load RAW_TRACEPOINT
/// returns 83
int f(void *ctx)
{
    return bpf_log2l(0x1000) + bpf_log2l(1) + bpf_log2l(1ULL << 40) + bpf_log2(1U << 28);
}

/// B9 bpf_get_prandom_u32
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    u32 a = bpf_get_prandom_u32(), b = bpf_get_prandom_u32(), c = bpf_get_prandom_u32();
    return a != b || b != c;
}

/// B10 bpf_probe_read_user
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    u64 value = 1;
    return bpf_probe_read_user(&value, sizeof(value), (void *)8) < 0 && value == 0;
}

/// B11 bpf_probe_read_user_str
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    char text[8] = "x";
    return bpf_probe_read_user_str(text, sizeof(text), (void *)8) < 0;
}

/// B12 bpf_get_ns_current_pid_tgid
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    struct bpf_pidns_info info = {};
    return bpf_get_ns_current_pid_tgid(0, 0, &info, sizeof(info)) == -22 && info.pid == 0;
}

/// B8 the network's byte order
/// load RAW_TRACEPOINT
/// returns 15
int f(void *ctx)
{
    u16 a = bpf_get_prandom_u32() | 1;
    u32 b = a;
    u64 c = a;
    unsigned __int128 d = (unsigned __int128)a << 64 | 5;
    return (bpf_ntohs(bpf_htons(a)) == a && bpf_htons(a) == (u16)(a << 8 | a >> 8))
        | (bpf_ntohl(bpf_htonl(b)) == b && bpf_htonl(b) >> 16 == htons(a)) << 1
        | (bpf_ntohll(bpf_htonll(c)) == c && bpf_htonll(c) >> 48 == ntohs(a)) << 2
        | ((u64)bpf_ntoh128(d) == bpf_htonll(a) && bpf_hton128(bpf_ntoh128(d)) == d) << 3;
}
