#include <linux/sched.h>
#include <net/sock.h>

// Where a pointer comes from decides how it is read, not how the expression is written.
struct value {
    struct file *file;
    u64 count;
};
BPF_HASH(files, u32, struct value);
BPF_HASH(sockets, u32, struct sock *);

#define PARENT(task) ((task)->real_parent)

static inline int tgid_of(struct task_struct *task)
{
    return task->tgid;
}

int kprobe__do_exit(struct pt_regs *ctx, long code)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    return tgid_of(PARENT(task)) + PARENT(task)->comm[0] + (ctx->ip > 0);
}

int kprobe__tcp_connect(struct pt_regs *ctx, struct sock *sk)
{
    u32 pid = 1;
    struct sock **held = sockets.lookup(&pid);
    struct value *value = files.lookup(&pid);
    u16 family = sk->sk_family, port = sk->__sk_common.skc_dport;
    if (held)
        port = (*held)->__sk_common.skc_dport;
    if (value) {
        struct qstr name = value->file->f_path.dentry->d_name;
        value->count += name.len;
    }
    u8 bit = ((struct tcp_sock *)sk)->nonagle;
    return family + port + bit;
}

TRACEPOINT_PROBE(sched, sched_process_exit)
{
    return args->pid + args->prio;
}

KFUNC_PROBE(vfs_fsync, struct file *file)
{
    return file->f_inode->i_ino;
}

int pass(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *header = data;
    if ((void *)(header + 1) > end)
        return XDP_DROP;
    return header->h_proto == htons(0x0800) ? XDP_PASS : XDP_DROP;
}
