// Many mistakes in one text, each reported at its line, none hiding another.
BPF_HASH(start, u32, u64);

int first(struct pt_regs *ctx)
{
    u32 pid = bpf_get_current_pid_tgid();
    start.lookup(&pid);
    u64 now = bpf_ktime_get_ns(1);  // error: type/argument-count
    delta = now - 1;  // error: type/undeclared
    printf("hello");  // error: dialect/no-library
    return delta;
}

int second(struct pt_regs *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    return task->pdi;  // error: type/no-member
}
