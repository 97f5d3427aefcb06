/// A1 kprobe, its context only
/// load KPROBE
int kprobe__vfs_read(struct pt_regs *ctx) { return PT_REGS_PARM1(ctx) != 0; }

/// A1 kprobe, typed arguments
/// load KPROBE
BPF_HASH(sizes, u32, u64);
int kprobe__vfs_read(struct pt_regs *ctx, struct file *file, char *buf, size_t count, loff_t *pos)
{
    u32 flags = file->f_flags;
    u64 size = count + (pos ? 1 : 0) + (buf ? 1 : 0);
    sizes.update(&flags, &size);
    return 0;
}

/// A1 kprobe, six arguments, named by the script
/// load KPROBE
int entry(struct pt_regs *ctx, int a, long b, u64 c, void *d, char e, u16 f)
{
    return a + b + c + (d != 0) + e + f;
}

/// A2 kretprobe
/// load KPROBE
BPF_HISTOGRAM(results);
int kretprobe__vfs_read(struct pt_regs *ctx)
{
    int result = PT_REGS_RC(ctx);
    if (result > 0)
        results.increment(bpf_log2l(result));
    return 0;
}

/// A3 tracepoint
/// load TRACEPOINT
BPF_PERF_OUTPUT(events);
struct event { u32 prev, next; char comm[16]; };
TRACEPOINT_PROBE(sched, sched_switch)
{
    struct event event = {};
    event.prev = args->prev_pid;
    event.next = args->next_pid;
    __builtin_memcpy(event.comm, args->next_comm, sizeof(event.comm));
    events.perf_submit(args, &event, sizeof(event));
    return 0;
}

/// A3 tracepoint of a system call
/// load TRACEPOINT
TRACEPOINT_PROBE(syscalls, sys_enter_openat)
{
    char name[32];
    bpf_probe_read_user_str(name, sizeof(name), args->filename);
    bpf_trace_printk("%s %d\n", name, args->flags);
    return 0;
}

/// A4 uprobe
/// load KPROBE
BPF_HASH(lengths, u64, u64);
int on_strlen(struct pt_regs *ctx)
{
    char text[16];
    u64 key = PT_REGS_PARM1(ctx), length;
    length = bpf_probe_read_user_str(text, sizeof(text), (void *)PT_REGS_PARM1(ctx));
    lengths.update(&key, &length);
    return 0;
}

/// A4 uprobe, typed arguments that point to the user's memory
/// load KPROBE
struct request { int kind; char *name; };
int on_request(struct pt_regs *ctx, struct request *request)
{
    char name[16];
    bpf_probe_read_user(name, sizeof(name), request->name);
    bpf_trace_printk("%d %s\n", request->kind, name);
    return 0;
}

/// A5 uretprobe
/// load KPROBE
int on_return(struct pt_regs *ctx)
{
    char text[64] = {};
    if (!PT_REGS_RC(ctx))
        return 0;
    bpf_probe_read_user(&text, sizeof(text), (void *)PT_REGS_RC(ctx));
    bpf_trace_printk("%s\n", text);
    return 0;
}

/// A6 USDT probe
/// load KPROBE
static __always_inline int _bpf_readarg_on_request_1(struct pt_regs *ctx, void *dest, size_t len)
{
    if (len != sizeof(u64))
        return -1;
    *(u64 *)dest = ctx->di;
    return 0;
}
int on_request(struct pt_regs *ctx)
{
    u64 address;
    char path[32];
    if (bpf_usdt_readarg(1, ctx, &address))
        return 0;
    bpf_probe_read_user(&path, sizeof(path), (void *)address);
    bpf_trace_printk("%s\n", path);
    return 0;
}

/// A7 raw tracepoint
/// load RAW_TRACEPOINT
/// returns 0
BPF_HASH(seen, u32, u64);
RAW_TRACEPOINT_PROBE(sched_switch)
{
    struct task_struct *prev = (struct task_struct *)ctx->args[1];
    struct task_struct *next = (struct task_struct *)ctx->args[2];
    u32 pid = next->pid;
    u64 state = prev->__state;
    seen.update(&pid, &state);
    return pid;
}

/// A8 system call's kprobe
/// load KPROBE
BPF_PERF_OUTPUT(events);
struct event { int fd, flags; char name[32]; };
int syscall__openat(struct pt_regs *ctx, int fd, const char __user *name, int flags, umode_t mode)
{
    struct event event = { .fd = fd, .flags = flags | mode };
    bpf_probe_read_user_str(&event.name, sizeof(event.name), name);
    events.perf_submit(ctx, &event, sizeof(event));
    return 0;
}

/// A8 system call's arguments by hand
/// load KPROBE
int entry(struct pt_regs *ctx)
{
    struct pt_regs *inner = PT_REGS_SYSCALL_CTX(ctx);
    int fd = PT_REGS_PARM1_SYSCALL(inner);
    int flags = PT_REGS_PARM4_SYSCALL(inner);
    return fd + flags;
}

/// A9 fentry
/// load TRACING
KFUNC_PROBE(vfs_open, const struct path *path, struct file *file)
{
    bpf_trace_printk("%s %d\n", path->dentry->d_name.name, file->f_flags);
    return 0;
}

/// A9 fentry without arguments
/// load TRACING
BPF_ARRAY(count, u64, 1);
KFUNC_PROBE(vfs_fsync_range)
{
    count.atomic_increment(0);
    return 0;
}

/// A9 fentry of a system call
/// load TRACING
KFUNC_PROBE(__x64_sys_openat, struct pt_regs *regs)
{
    const char *name = (char *)PT_REGS_PARM2_SYSCALL(regs);
    char text[16];
    bpf_probe_read_user_str(text, sizeof(text), name);
    return 0;
}

/// A9 fentry in a module
/// load nothing
MODULE_KFUNC_PROBE(nf_tables, nft_do_chain, void *pkt, void *priv)
{
    return pkt == priv;
}

/// A10 fexit
/// load TRACING
BPF_HASH(results, u64, int);
KRETFUNC_PROBE(vfs_read, struct file *file, char *buf, size_t count, loff_t *pos, ssize_t ret)
{
    u64 size = count;
    int result = ret;
    results.update(&size, &result);
    return 0;
}

/// A10 fexit in a module
/// load nothing
MODULE_KRETFUNC_PROBE(nf_tables, nft_do_chain, void *pkt, void *priv, unsigned int ret)
{
    return ret;
}

/// A11 LSM
/// load LSM
LSM_PROBE(file_open, struct file *file)
{
    u32 uid = bpf_get_current_uid_gid();
    if (uid == 1234 && file->f_flags)
        return -1;
    return 0;
}

/// A12 iterator
/// load TRACING
BPF_ITER(task)
{
    struct seq_file *seq = ctx->meta->seq;
    struct task_struct *task = ctx->task;
    if (!task)
        return 0;
    u32 pid = task->tgid;
    bpf_seq_write(seq, &pid, sizeof(pid));
    return 0;
}

/// A12 iterator that counts
/// load TRACING
BPF_ARRAY(counts, u64, 1);
BPF_ITER(task)
{
    struct task_struct *task = ctx->task;
    int zero = 0;
    u64 *count = counts.lookup(&zero);
    if (task && count)
        *count += task->tgid > 1;
    return 0;
}

/// A12 iterator of open files
/// load TRACING
BPF_ITER(task_file)
{
    struct task_struct *task = ctx->task;
    struct file *file = ctx->file;
    if (task == 0 || file == 0)
        return 0;
    u64 row[2] = { task->pid, ctx->fd };
    bpf_seq_write(ctx->meta->seq, row, sizeof(row));
    return 0;
}

/// A11 LSM, a result that no hook may give
/// load LSM
/// refused smin=1
LSM_PROBE(file_open, struct file *file)
{
    return bpf_get_current_uid_gid() & 1 ? 1 : 2;
}

/// A11 LSM, a hook without a result
/// load LSM
BPF_HASH(freed, u64, u64);
LSM_PROBE(task_free, struct task_struct *task)
{
    u64 pid = task->pid;
    freed.increment(pid);
    return 77;
}

/// A12 iterator that forgets the end
/// load TRACING
/// refused null
BPF_ITER(task)
{
    return ctx->task->pid & 1;
}

/// A9 fentry, named by hand as an older BCC names it
/// load TRACING
int kfunc__vfs_open(unsigned long long *ctx)
{
    struct file *file = (struct file *)ctx[1];
    return file->f_flags & 0;
}
int kretfunc____x64_sys_openat(unsigned long long *ctx) { return ctx[1] == 0 ? 0 : 0; }

/// A9 fentry, arguments of all kinds
/// load TRACING
KFUNC_PROBE(vfs_read, struct file *file, char __user *buf, size_t count, loff_t *pos)
{
    char byte = 0;
    loff_t where = pos ? *pos : 0;
    bpf_probe_read_user(&byte, 1, buf);
    struct inode *inode = file->f_inode;
    bpf_trace_printk("%d %d %d\n", (int)count, byte + (int)where, (int)inode->i_ino);
    return 0;
}

/// A9 fentry, what the verifier does not follow is read
/// load TRACING
KFUNC_PROBE(vfs_open, const struct path *path, struct file *file)
{
    u32 i = bpf_get_prandom_u32() & 7;
    char letter = path->dentry->d_shortname.string[i];
    const unsigned char *name = path->dentry->d_name.name;
    return (letter + name[0] + name[i]) & 0;
}
