#include <uapi/linux/ptrace.h>
#include <linux/sched.h>

struct key_t {
    u32 pid;
    char comm[TASK_COMM_LEN];
};

BPF_HASH(counts, struct key_t);
BPF_HASH(start, u32);
BPF_HISTOGRAM(latency);
BPF_PERF_OUTPUT(events);

int kprobe__vfs_read(struct pt_regs *ctx, struct file *file, char *buffer, size_t count)
{
    struct key_t key = {.pid = bpf_get_current_pid_tgid() >> 32};
    u64 zero = 0, *value, now = bpf_ktime_get_ns();
    bpf_get_current_comm(&key.comm, sizeof(key.comm));
    value = counts.lookup_or_try_init(&key, &zero);
    if (value)
        (*value) += count;
    counts.atomic_increment(key, 2);
    start.update(&key.pid, &now);
    return 0;
}

int kretprobe__vfs_read(struct pt_regs *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 *before = start.lookup(&pid);
    if (!before)
        return 0;
    latency.increment(bpf_log2l((bpf_ktime_get_ns() - *before) / 1000));
    events.perf_submit(ctx, &pid, sizeof(pid));
    start.delete(&pid);
    bpf_trace_printk("%d read %d\n", pid, PT_REGS_RC(ctx));
    return 0;
}
