/// G1 licence GPL by default
/// load KPROBE
/// license GPL
BPF_STACK_TRACE(stacks, 16);
int f(struct pt_regs *ctx) { return stacks.get_stackid(ctx, 0); }

/// G1 licence GPL
/// load KPROBE
/// license GPL
#define BPF_LICENSE GPL
BPF_STACK_TRACE(stacks, 16);
int f(struct pt_regs *ctx) { return stacks.get_stackid(ctx, 0); }

/// G1 licence Dual BSD/GPL
/// load KPROBE
/// license Dual BSD/GPL
#define BPF_LICENSE Dual BSD/GPL
BPF_STACK_TRACE(stacks, 16);
int f(struct pt_regs *ctx) { return stacks.get_stackid(ctx, 0); }

/// G1 licence Proprietary, a helper for GPL only
/// load KPROBE
/// license Proprietary
/// refused GPL
#define BPF_LICENSE Proprietary
BPF_STACK_TRACE(stacks, 16);
int f(struct pt_regs *ctx) { return stacks.get_stackid(ctx, 0); }

/// G1 licence Proprietary, helpers for all
/// load RAW_TRACEPOINT
/// license Proprietary
/// returns 1
#define BPF_LICENSE Proprietary
BPF_HASH(table, u32, u64);
int f(void *ctx)
{
    u32 key = 1;
    u64 value = bpf_get_current_pid_tgid();
    table.update(&key, &value);
    return table.lookup(&key) != 0;
}

/// G2 implicit reads
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    return task->real_parent->real_parent && task->nsproxy->uts_ns->name.sysname[0] == 'L';
}
