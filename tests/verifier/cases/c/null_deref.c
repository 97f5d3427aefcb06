BPF_HASH(start, u32, u64);
int probe(void *ctx) {
    u32 pid = bpf_get_current_pid_tgid();
    u64 *then = start.lookup(&pid);
    u64 delta = bpf_ktime_get_ns() - *then;
    bpf_trace_printk("%d\n", delta);
    return 0;
}
