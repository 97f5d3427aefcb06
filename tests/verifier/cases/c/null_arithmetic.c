struct slots { u64 one, two; };
BPF_HASH(start, u32, struct slots);
int probe(struct pt_regs *ctx) {
    u32 pid = bpf_get_current_pid_tgid();
    struct slots *then = start.lookup(&pid);
    u64 *second = &then->two;
    if (second)
        *second += 1;
    return 0;
}
