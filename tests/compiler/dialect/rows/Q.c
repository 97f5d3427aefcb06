/// Q1 PT_REGS_PARM1 to PARM6, RC, IP, SP, FP, RET
/// load KPROBE
int f(struct pt_regs *ctx)
{
    u64 sum = PT_REGS_PARM1(ctx) + PT_REGS_PARM2(ctx) + PT_REGS_PARM3(ctx) + PT_REGS_PARM4(ctx)
        + PT_REGS_PARM5(ctx) + PT_REGS_PARM6(ctx) + PT_REGS_RC(ctx) + PT_REGS_IP(ctx)
        + PT_REGS_SP(ctx) + PT_REGS_FP(ctx) + PT_REGS_RET(ctx);
    return sum != 0;
}

/// Q2 PT_REGS_PARMn_SYSCALL, PT_REGS_SYSCALL_CTX
/// load KPROBE
int f(struct pt_regs *ctx)
{
    struct pt_regs *inner = PT_REGS_SYSCALL_CTX(ctx);
    return PT_REGS_PARM1_SYSCALL(inner) + PT_REGS_PARM2_SYSCALL(inner)
        + PT_REGS_PARM3_SYSCALL(inner) + PT_REGS_PARM4_SYSCALL(inner)
        + PT_REGS_PARM5_SYSCALL(inner) + PT_REGS_PARM6_SYSCALL(inner);
}

/// Q3 TP_DATA_LOC_READ_STR
/// load TRACEPOINT
TRACEPOINT_PROBE(sched, sched_process_exec)
{
    char name[64];
    TP_DATA_LOC_READ_STR(&name, filename, sizeof(name));
    bpf_trace_printk("%s\n", name);
    return 0;
}

/// Q3 TP_DATA_LOC_READ_CONST
/// load TRACEPOINT
TRACEPOINT_PROBE(sched, sched_process_exec)
{
    char name[16];
    TP_DATA_LOC_READ_CONST(name, filename, sizeof(name));
    bpf_trace_printk("%s\n", name);
    return 0;
}

/// Q4 KMOD_RET
/// load TRACING
KMOD_RET(should_failslab, struct kmem_cache *cache, unsigned int flags, int ret)
{
    return ret ? ret : 0;
}

/// Q5 bpf_usdt_readarg_p
/// load KPROBE
static __always_inline int _bpf_readarg_on_query_2(struct pt_regs *ctx, void *dest, size_t len)
{
    if (len != sizeof(u64))
        return -1;
    *(u64 *)dest = ctx->si;
    return 0;
}
int on_query(struct pt_regs *ctx)
{
    char text[32] = {};
    bpf_usdt_readarg_p(2, ctx, &text, sizeof(text));
    bpf_trace_printk("%s\n", text);
    return 0;
}

/// Q6 lock_xadd
/// load RAW_TRACEPOINT
/// returns 3
BPF_HASH(table, u32, u64);
int f(void *ctx)
{
    u32 key = 0;
    u64 zero = 1, *value = table.lookup_or_try_init(&key, &zero);
    if (!value)
        return 0;
    lock_xadd(value, 2);
    return *value;
}

/// Q6 bpf_num_cpus
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx)
{
    return bpf_num_cpus() > 0 && bpf_get_smp_processor_id() < bpf_num_cpus();
}

/// Q6 cursor_advance
/// load SCHED_CLS
/// packet tcp
/// returns 14
#include <bcc/proto.h>
int f(struct __sk_buff *skb)
{
    u8 *cursor = 0;
    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
    return ethernet->type == 0x0800 ? (u64)cursor : 0;
}

/// Q6 incr_cksum_l3
/// load SCHED_CLS
/// packet tcp
/// returns 1
#include <bcc/proto.h>
int f(struct __sk_buff *skb)
{
    u8 *cursor = 0;
    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
    u32 before = ip->src, after = 0x0a000063;
    u16 sum = ip->hchecksum;
    if (incr_cksum_l3(&ip->hchecksum, before, after))
        return 0;
    ip->src = after;
    return ip->src == after && ip->hchecksum != sum;
}

/// Q6 incr_cksum_l4
/// load SCHED_CLS
/// packet tcp
/// returns 1
#include <bcc/proto.h>
int f(struct __sk_buff *skb)
{
    u8 *cursor = 0;
    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
    struct tcp_t *tcp = cursor_advance(cursor, sizeof(*tcp));
    u16 sum = tcp->cksum, port = 8080;
    u32 address = 0x0a000063;
    if (incr_cksum_l4(&tcp->cksum, ip->src, address, 1))
        return 0;
    if (incr_cksum_l4(&tcp->cksum, (u16)tcp->dst_port, port, 0))
        return 0;
    return tcp->cksum != sum;
}

/// Q7 headers of bcc/proto.h
/// load SCHED_CLS
/// packet tcp
/// returns -1
#include <net/sock.h>
#include <bcc/proto.h>
int f(struct __sk_buff *skb)
{
    u8 *cursor = 0;
    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
    if (!(ethernet->type == 0x0800))
        goto DROP;
    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
    if (ip->nextp != IPPROTO_TCP)
        goto DROP;
    u32 header = ip->hlen << 2;
    if (header < sizeof(*ip))
        goto DROP;
    void *_ = cursor_advance(cursor, (header - sizeof(*ip)));
    struct tcp_t *tcp = cursor_advance(cursor, sizeof(*tcp));
    u32 payload = ETH_HLEN + header + (tcp->offset << 2);
    if (load_byte(skb, payload) != 'G')
        goto DROP;
    return -1;
DROP:
    return 0;
}

/// Q7 a socket filter in static functions
/// load SOCKET_FILTER
#include <bcc/proto.h>
static inline int is_udp(struct __sk_buff *packet, struct ip_t *ip) { return ip->nextp == 17; }
int f(struct __sk_buff *skb)
{
    u8 *cursor = 0;
    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
    if (ethernet->type != ETH_P_IP)
        return 0;
    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
    return is_udp(skb, ip) ? 0 : -1;
}

/// Q8 BPF_CGROUP_ARRAY
/// load KPROBE
BPF_CGROUP_ARRAY(groups, 1);
int f(struct pt_regs *ctx)
{
    if (groups.check_current_task(0) <= 0)
        return 0;
    return 1;
}

/// Q9 BPF_STACK_TRACE_BUILDID
/// load KPROBE
BPF_STACK_TRACE_BUILDID(stacks, 128);
int f(struct pt_regs *ctx) { return stacks.get_stackid(ctx, BPF_F_USER_STACK); }

/// Q10 BPF_TABLE_PUBLIC and extern
/// load RAW_TRACEPOINT
/// returns 2
BPF_TABLE_PUBLIC("hash", u32, u64, shared_counts, 16);
BPF_TABLE_SHARED("array", int, u64, shared_cells, 16);
int f(void *ctx)
{
    u32 key = 0;
    shared_counts.increment(key, 2);
    u64 *value = shared_counts.lookup(&key);
    return value ? *value : 0;
}

/// Q11 BPF_SK_STORAGE
/// load CGROUP_SKB
BPF_SK_STORAGE(marks, u64);
int f(struct __sk_buff *skb)
{
    struct bpf_sock *sk = skb->sk;
    if (!sk)
        return 1;
    sk = bpf_sk_fullsock(sk);
    if (!sk)
        return 1;
    u64 *mark = marks.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (mark)
        *mark += 1;
    marks.sk_storage_delete(sk);
    return 1;
}

/// Q11 BPF_INODE_STORAGE
/// load LSM
BPF_INODE_STORAGE(marks, u64);
LSM_PROBE(inode_rename, struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
          struct dentry *new_dentry, unsigned int flags)
{
    u64 *mark = marks.inode_storage_get(old_dentry->d_inode, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (mark)
        *mark += 1;
    marks.inode_storage_delete(old_dentry->d_inode);
    return 0;
}

/// Q11 BPF_TASK_STORAGE
/// load LSM
BPF_TASK_STORAGE(marks, u64);
LSM_PROBE(file_open, struct file *file)
{
    struct task_struct *task = bpf_get_current_task_btf();
    u64 *mark = marks.task_storage_get(task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
    if (mark)
        *mark += 1;
    marks.task_storage_delete(task);
    return 0;
}

/// Q11 BPF_CGROUP_STORAGE
/// load CGROUP_SKB
BPF_CGROUP_STORAGE(bytes, u64);
BPF_PERCPU_CGROUP_STORAGE(packets, u64);
int f(struct __sk_buff *skb)
{
    u64 *total = bytes.get_local_storage(0);
    u64 *count = packets.get_local_storage(0);
    lock_xadd(total, skb->len);
    *count += 1;
    return 1;
}

/// Q11 BPF_SOCKMAP
/// load SOCK_OPS
BPF_SOCKMAP(sockets, 16);
int f(struct bpf_sock_ops *ops)
{
    u32 key = 0;
    sockets.sock_map_update(ops, &key, BPF_ANY);
    return 1;
}

/// Q12 bpf_probe_read and bpf_probe_read_str
/// load KPROBE
int f(struct pt_regs *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    u32 pid = 0;
    char name[16];
    bpf_probe_read(&pid, sizeof(pid), &task->pid);
    bpf_probe_read_str(name, sizeof(name), task->comm);
    bpf_trace_printk("%d %s\n", pid, name);
    return 0;
}

/// Q13 bpf_get_smp_processor_id
/// load RAW_TRACEPOINT
/// returns 1
int f(void *ctx) { return bpf_get_smp_processor_id() < 4096; }

/// Q14 perf_event programs
/// load PERF_EVENT
#include <uapi/linux/bpf_perf_event.h>
BPF_HASH(counts, u64, u64);
int f(struct bpf_perf_event_data *ctx)
{
    u64 ip = PT_REGS_IP(&ctx->regs);
    counts.increment(ip, ctx->sample_period);
    return ctx->addr != 0;
}

/// Q15 load_byte, load_half, load_word, load_dword
/// load SCHED_CLS
/// packet tcp
/// returns 1
int f(struct __sk_buff *skb)
{
    u64 at = 14;
    return load_byte(skb, at) == 0x45 && load_half(skb, 12) == 0x0800
        && load_word(skb, 26) == 0x0a000001 && load_dword(skb, 26) == 0x0a0000010a000002ULL;
}

/// Q15 bpf_dext_pkt and bpf_dins_pkt
/// load SCHED_CLS
/// packet tcp
/// returns 9
int f(struct __sk_buff *skb)
{
    bpf_dins_pkt(skb, 14, 4, 4, 9);
    return bpf_dext_pkt(skb, 14, 4, 4) + (bpf_dext_pkt(skb, 14, 0, 4) == 4 ? 0 : 100);
}

/// Q15 data and data_end of XDP
/// load XDP
/// packet tcp
/// returns 1
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/in.h>
int f(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data;
    void *data_end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    if (data + sizeof(*eth) > data_end)
        return XDP_PASS;
    if (eth->h_proto != htons(ETH_P_IP))
        return XDP_PASS;
    struct iphdr *ip = data + sizeof(*eth);
    if ((void *)&ip[1] > data_end)
        return XDP_PASS;
    ip->ttl--;
    return ip->protocol == IPPROTO_TCP ? XDP_DROP : XDP_PASS;
}

/// Q15 packets of the traffic control
/// load SCHED_CLS
/// packet tcp
/// returns 6
#include <uapi/linux/bpf.h>
#include <uapi/linux/pkt_cls.h>
int f(struct __sk_buff *skb)
{
    u8 protocol;
    if (bpf_skb_load_bytes(skb, 23, &protocol, 1))
        return TC_ACT_SHOT;
    skb->mark = protocol;
    bpf_skb_store_bytes(skb, 0, &protocol, 1, 0);
    return skb->mark;
}

/// Q16 static functions, initialisers, builtins, loops
/// load RAW_TRACEPOINT
/// returns 118
struct pair_t { int a; char name[8]; int b; };
static const int primes[] = { 2, 3, 5, 7 };
static inline int sum(const int *values, int count)
{
    int total = 0;
    #pragma unroll
    for (int i = 0; i < 4; i++)
        total += i < count ? values[i] : 0;
    return total;
}
static int bounded(int n)
{
    int i = 0;
    while (i < n && i < 100)
        i++;
    return i;
}
int f(void *ctx)
{
    struct pair_t pair = { .b = 1, .name = "xyz" }, copy;
    __builtin_memset(&copy, 0, sizeof(copy));
    __builtin_memcpy(&copy, &pair, sizeof(pair));
    return sum(primes, 4) + bounded(100) + copy.b + (copy.name[1] == 'y') - copy.a - (copy.name[3]) - 1;
}

/// Q15 packet pointers kept in structures and stored through pointers
/// load XDP
/// packet tcp
/// returns 63
#include <linux/if_ether.h>
struct cursor { void *pos; void *end; };
static __always_inline int ether(struct cursor *nh, struct ethhdr **out)
{
    struct ethhdr *eth = nh->pos;
    if ((void *)(eth + 1) > nh->end)
        return -1;
    nh->pos = eth + 1;
    *out = eth;
    return eth->h_proto;
}
static __always_inline int ipv4(struct cursor *nh, struct iphdr **out)
{
    struct iphdr *ip = nh->pos;
    if ((void *)(ip + 1) > nh->end)
        return -1;
    *out = ip;
    return ip->protocol;
}
int f(struct xdp_md *ctx)
{
    struct cursor nh = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
    struct ethhdr *eth;
    struct iphdr *ip;
    if (ether(&nh, &eth) != htons(ETH_P_IP) || ipv4(&nh, &ip) < 0)
        return XDP_PASS;
    eth->h_dest[0] ^= 1;
    return ip->ttl;
}

/// Q15 implicit reads in XDP, of types of the kernel and of the text
/// load XDP
/// returns 76
struct mine { char letter; };
int f(struct xdp_md *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    struct mine *name = (struct mine *)task->nsproxy->uts_ns->name.sysname;
    return name->letter;
}
