/// D1 bpf_trace_printk
/// load RAW_TRACEPOINT
/// returns 25
int f(void *ctx)
{
    char comm[16] = "me";
    return bpf_trace_printk("tests: %s %d %x.......\n", comm, 4095, 255);
}

/// D1 in the kernel's own style
/// load RAW_TRACEPOINT
/// returns 3
int f(void *ctx)
{
    char format[] = "%d\n";
    return bpf_trace_printk(format, sizeof(format), 42);
}

/// D2 BPF_PERF_OUTPUT
/// load KPROBE
BPF_PERF_OUTPUT(events);
struct event { u64 when; u32 pid; char comm[TASK_COMM_LEN]; };
int f(struct pt_regs *ctx)
{
    struct event event = { .when = bpf_ktime_get_ns(), .pid = bpf_get_current_pid_tgid() };
    bpf_get_current_comm(&event.comm, sizeof(event.comm));
    return events.perf_submit(ctx, &event, sizeof(event));
}

/// D3 perf_submit of what a map holds
/// load RAW_TRACEPOINT
/// returns -2
BPF_PERF_OUTPUT(events);
struct event { u64 row[100]; };
BPF_PERCPU_ARRAY(scratch, struct event, 1);
int f(void *ctx)
{
    int zero = 0;
    struct event *event = scratch.lookup(&zero);
    if (!event)
        return 0;
    event->row[7] = 7;
    return events.perf_submit(ctx, event, sizeof(*event));
}

/// D4 perf_submit_skb
/// load SCHED_CLS
/// returns -2
BPF_PERF_OUTPUT(events);
struct event { u32 magic; };
int f(struct __sk_buff *skb)
{
    struct event event = { 0xfaceb00c };
    return events.perf_submit_skb(skb, skb->len, &event, sizeof(event));
}

/// D5 BPF_RINGBUF_OUTPUT
/// load RAW_TRACEPOINT
/// returns 0
BPF_RINGBUF_OUTPUT(ring, 8);
struct event { u64 when; };
int f(void *ctx)
{
    struct event event = { bpf_ktime_get_ns() };
    return ring.ringbuf_output(&event, sizeof(event), 0);
}

/// D6 ringbuf_output's flags
/// load RAW_TRACEPOINT
/// returns 0
BPF_RINGBUF_OUTPUT(ring, 1);
int f(void *ctx)
{
    u64 value = 1;
    int error = ring.ringbuf_output(&value, sizeof(value), BPF_RB_NO_WAKEUP);
    return error + ring.ringbuf_output(&value, sizeof(value), BPF_RB_FORCE_WAKEUP);
}

/// D7 ringbuf_reserve
/// load RAW_TRACEPOINT
/// returns 5
BPF_RINGBUF_OUTPUT(ring, 1);
struct event { u64 a, b; };
int f(void *ctx)
{
    struct event *event = ring.ringbuf_reserve(sizeof(struct event));
    if (!event)
        return 1;
    event->a = 2;
    event->b = 3;
    int sum = event->a + event->b;
    ring.ringbuf_submit(event, 0);
    return sum;
}

/// D8 ringbuf_submit
/// load RAW_TRACEPOINT
/// returns 32
BPF_RINGBUF_OUTPUT(ring, 1);
struct event { u64 a, b, c; };
int f(void *ctx)
{
    struct event *event = ring.ringbuf_reserve(sizeof(*event));
    if (!event)
        return 1;
    event->a = event->b = event->c = 1;
    ring.ringbuf_submit(event, BPF_RB_NO_WAKEUP);
    return ring.ringbuf_query(BPF_RB_PROD_POS);
}

/// D9 ringbuf_discard
/// load RAW_TRACEPOINT
/// returns 16
BPF_RINGBUF_OUTPUT(ring, 1);
int f(void *ctx)
{
    u64 *event = ring.ringbuf_reserve(sizeof(u64));
    if (!event)
        return 1;
    *event = 1;
    ring.ringbuf_discard(event, 0);
    return ring.ringbuf_query(BPF_RB_PROD_POS);
}

/// D10 ringbuf_query
/// load RAW_TRACEPOINT
/// returns 8192
BPF_RINGBUF_OUTPUT(ring, 2);
int f(void *ctx)
{
    return ring.ringbuf_query(BPF_RB_RING_SIZE) + ring.ringbuf_query(BPF_RB_AVAIL_DATA)
        + ring.ringbuf_query(BPF_RB_CONS_POS) + ring.ringbuf_query(BPF_RB_PROD_POS);
}
