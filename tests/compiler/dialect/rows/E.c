/// E1 BPF_TABLE, a type of string each
/// load RAW_TRACEPOINT
/// returns 1
BPF_TABLE("hash", u32, u64, a_hash, 16);
BPF_TABLE("array", int, u64, an_array, 16);
BPF_TABLE("percpu_hash", u32, u64, a_percpu_hash, 16);
BPF_TABLE("percpu_array", int, u64, a_percpu_array, 16);
BPF_TABLE("lru_hash", u32, u64, an_lru_hash, 16);
BPF_TABLE("lru_percpu_hash", u32, u64, an_lru_percpu_hash, 16);
BPF_TABLE("histogram", int, u64, a_histogram, 16);
BPF_TABLE("histgram", u64, u64, a_histgram, 16);
BPF_TABLE("prog", int, int, a_prog, 16);
BPF_TABLE("perf_output", int, u32, a_perf_output, 0);
BPF_TABLE("perf_array", int, u32, a_perf_array, 4);
BPF_TABLE("stacktrace", int, struct bpf_stacktrace, a_stacktrace, 16);
BPF_TABLE("devmap", int, int, a_devmap, 16);
BPF_TABLE("cgroup_array", int, u32, a_cgroup_array, 4);
int f(void *ctx)
{
    u32 key = 1;
    u64 value = 0;
    int slot = 1;
    a_hash.update(&key, &value);
    an_array.update(&slot, &value);
    a_percpu_hash.update(&key, &value);
    a_percpu_array.update(&slot, &value);
    an_lru_hash.update(&key, &value);
    an_lru_percpu_hash.update(&key, &value);
    a_histogram.increment(1);
    a_histgram.increment(1);
    a_prog.call(ctx, 3);
    return a_hash.lookup(&key) && an_lru_hash.lookup(&key) && a_percpu_hash.lookup(&key);
}

/// E1 BPF_F_TABLE with flags
/// load RAW_TRACEPOINT
/// returns 8
struct key_t { u32 prefixlen; u32 address; };
BPF_F_TABLE("lpm_trie", struct key_t, int, routes, 16, BPF_F_NO_PREALLOC);
BPF_F_TABLE("hash", u32, u64, lazy, 16, BPF_F_NO_PREALLOC);
int f(void *ctx)
{
    struct key_t net = { 8, 10 }, host = { 32, 0x0100000a };
    int eight = 8;
    u32 key = 1;
    lazy.increment(key);
    routes.update(&net, &eight);
    int *found = routes.lookup(&host);
    return found ? *found : 0;
}

/// E2 BPF_TABLE_PINNED
/// load RAW_TRACEPOINT
/// returns 5
/// pinned /sys/fs/bpf/minibcc-test-pinned
BPF_TABLE_PINNED("hash", u32, u64, pinned, 16, "/sys/fs/bpf/minibcc-test-pinned");
int f(void *ctx)
{
    u32 key = 1;
    u64 value = 5, *found;
    pinned.update(&key, &value);
    found = pinned.lookup(&key);
    return found ? *found : 0;
}

/// E3 BPF_HASH with each number of arguments
/// load RAW_TRACEPOINT
/// returns 4
struct name_t { char text[16]; };
BPF_HASH(one);
BPF_HASH(two, struct name_t);
BPF_HASH(three, u32, struct name_t);
BPF_HASH(four, u32, u8, 5);
int f(void *ctx)
{
    u64 key = 1;
    u32 small = 1;
    u8 byte = 2;
    struct name_t name = { "x" };
    one.increment(key);
    two.increment(name);
    three.update(&small, &name);
    four.update(&small, &byte);
    u64 *a = one.lookup(&key), *b = two.lookup(&name);
    u8 *d = four.lookup(&small);
    return (a ? *a : 0) + (b ? *b : 0) + (d ? *d : 0);
}

/// E4 BPF_ARRAY
/// load RAW_TRACEPOINT
/// returns 3
BPF_ARRAY(one);
BPF_ARRAY(two, u32);
BPF_ARRAY(three, struct { u64 a, b; }, 2);
int f(void *ctx)
{
    int last = 10239, over = 10240, zero = 0;
    one.increment(last, 2);
    u64 *a = one.lookup(&last);
    u32 *b = two.lookup(&zero);
    return (a ? *a : 0) + (b ? *b : 9) + (one.lookup(&over) == 0)
        + (three.lookup(&zero) ? 0 : 9) + (one.delete(&zero) ? 0 : 9);
}

/// E5 BPF_HISTOGRAM
/// load RAW_TRACEPOINT
/// returns 2
struct slot_t { u32 pid; u64 slot; };
BPF_HISTOGRAM(one);
BPF_HISTOGRAM(two, struct slot_t);
BPF_HISTOGRAM(three, struct slot_t, 128);
int f(void *ctx)
{
    struct slot_t slot = { .slot = bpf_log2l(300) };
    int nine = 9;
    one.increment(bpf_log2l(300));
    two.increment(slot);
    three.atomic_increment(slot);
    u64 *a = one.lookup(&nine), *b = two.lookup(&slot);
    return (a ? *a : 0) + (b ? *b : 0);
}

/// E6 BPF_STACK_TRACE
/// load KPROBE
BPF_STACK_TRACE(stacks, 128);
struct key_t { u32 pid; int kernel, user; };
BPF_HASH(counts, struct key_t);
int f(struct pt_regs *ctx)
{
    struct key_t key = { bpf_get_current_pid_tgid() >> 32 };
    key.kernel = stacks.get_stackid(ctx, 0);
    key.user = stacks.get_stackid(ctx, BPF_F_USER_STACK);
    if (key.kernel >= 0)
        counts.increment(key);
    return sizeof(struct bpf_stacktrace) == 127 * 8 && BPF_MAX_STACK_DEPTH == 127;
}

/// E7 BPF_PERF_ARRAY
/// load KPROBE
BPF_PERF_ARRAY(clock, 64);
int f(struct pt_regs *ctx)
{
    u64 value = clock.perf_read(bpf_get_smp_processor_id());
    return value != 0;
}

/// E8 BPF_PERCPU_HASH
/// load RAW_TRACEPOINT
/// returns 3
BPF_PERCPU_HASH(one);
BPF_PERCPU_HASH(two, u32);
BPF_PERCPU_HASH(three, u32, u32);
BPF_PERCPU_HASH(four, u32, u32, 7);
int f(void *ctx)
{
    u64 key = 1;
    u32 small = 2;
    one.increment(key);
    two.increment(small);
    three.increment(small);
    u64 *a = one.lookup(&key), *b = two.lookup(&small);
    u32 *c = three.lookup(&small);
    return (a ? *a : 0) + (b ? *b : 0) + (c ? *c : 0);
}

/// E9 BPF_PERCPU_ARRAY
/// load RAW_TRACEPOINT
/// returns 8
struct big_t { u8 bytes[2000]; };
BPF_PERCPU_ARRAY(one);
BPF_PERCPU_ARRAY(two, u32);
BPF_PERCPU_ARRAY(three, struct big_t, 1);
int f(void *ctx)
{
    int zero = 0;
    struct big_t *big = three.lookup(&zero);
    if (!big)
        return 0;
    big->bytes[1999] = 7;
    one.increment(0);
    u64 *a = one.lookup(&zero);
    u32 *b = two.lookup(&zero);
    return big->bytes[1999] + (a ? *a : 0) + (b ? *b : 9);
}

/// E10 BPF_LPM_TRIE
/// load RAW_TRACEPOINT
/// returns 24
struct key_t { u32 prefixlen; u8 bytes[4]; };
BPF_LPM_TRIE(tiny);
BPF_LPM_TRIE(routes, struct key_t, int, 16);
int f(void *ctx)
{
    struct key_t wide = { 8, { 10 } }, narrow = { 24, { 10, 1, 2 } }, host = { 32, { 10, 1, 2, 3 } };
    int a = 8, b = 24;
    routes.update(&wide, &a);
    routes.update(&narrow, &b);
    int *found = routes.lookup(&host);
    return found ? *found : 0;
}

/// E11 BPF_PROG_ARRAY
/// load XDP
/// returns 2
BPF_PROG_ARRAY(jumps, 10);
int f(struct xdp_md *ctx)
{
    jumps.call(ctx, 2);
    return XDP_PASS;
}

/// E12 BPF_DEVMAP
/// load XDP
/// returns 0
BPF_DEVMAP(devices, 8);
int f(struct xdp_md *ctx) { return devices.redirect_map(0, 0); }

/// E13 BPF_CPUMAP
/// load XDP
/// returns 0
BPF_CPUMAP(cpus, 1);
int f(struct xdp_md *ctx) { return cpus.redirect_map(0, 0); }

/// E14 BPF_XSKMAP
/// load XDP
/// returns 2
BPF_XSKMAP(sockets, 8);
int f(struct xdp_md *ctx)
{
    int index = ctx->rx_queue_index;
    if (sockets.lookup(&index))
        return sockets.redirect_map(index, 0);
    return XDP_PASS;
}

/// E14 BPF_XSKMAP that is pinned
/// load XDP
/// returns 2
/// pinned /sys/fs/bpf/minibcc-test-xskmap
BPF_XSKMAP(sockets, 8, "/sys/fs/bpf/minibcc-test-xskmap");
int f(struct xdp_md *ctx) { return sockets.redirect_map(ctx->rx_queue_index, XDP_PASS); }

/// E15 BPF_ARRAY_OF_MAPS
/// load RAW_TRACEPOINT
/// returns 6
BPF_HASH(inner_a, u32, u32, 8);
BPF_ARRAY_OF_MAPS(outer, "inner_a", 4);
int f(void *ctx)
{
    int slot = 1;
    u32 key = 2, *found;
    void *inner = outer.lookup(&slot);
    if (!inner)
        return 6;
    found = bpf_map_lookup_elem(inner, &key);
    return found ? *found : 0;
}

/// E16 BPF_HASH_OF_MAPS
/// load RAW_TRACEPOINT
/// returns 4
struct key_t { int a; };
BPF_ARRAY(inner_a, int, 8);
BPF_HASH_OF_MAPS(two, "inner_a");
BPF_HASH_OF_MAPS(three, struct key_t, "inner_a");
BPF_HASH_OF_MAPS(four, struct key_t, "inner_a", 10);
int f(void *ctx)
{
    struct key_t key = { 1 };
    int zero = 0, *found;
    void *inner = four.lookup(&key);
    if (!inner)
        return 4;
    found = bpf_map_lookup_elem(inner, &zero);
    return found ? *found : 0;
}

/// E17 BPF_STACK
/// load RAW_TRACEPOINT
/// returns 2
struct item_t { u64 a, b; };
BPF_STACK(three, struct item_t, 10);
BPF_STACK(four, u32, 10, 0);
int f(void *ctx)
{
    struct item_t item = { 1, 2 }, out = {};
    three.push(&item, 0);
    three.pop(&out);
    return out.b;
}

/// E18 BPF_QUEUE
/// load RAW_TRACEPOINT
/// returns 2
struct item_t { u64 a, b; };
BPF_QUEUE(three, struct item_t, 10);
BPF_QUEUE(four, u32, 10, 0);
int f(void *ctx)
{
    struct item_t item = { 1, 2 }, out = {};
    three.push(&item, 0);
    three.pop(&out);
    return out.b;
}

/// E19 BPF_SOCKHASH
/// load SOCK_OPS
struct tuple_t { u32 remote, local; u16 ports[2]; };
BPF_SOCKHASH(one);
BPF_SOCKHASH(two, struct tuple_t);
BPF_SOCKHASH(three, struct tuple_t, 100);
int f(struct bpf_sock_ops *ops)
{
    struct tuple_t tuple = { ops->remote_ip4, ops->local_ip4 };
    u32 key = ops->family;
    one.sock_hash_update(ops, &key, BPF_ANY);
    three.sock_hash_update(ops, &tuple, BPF_ANY);
    return 1;
}

/// E18 BPF_QUEUESTACK and its like
/// load RAW_TRACEPOINT
/// returns 9
/// pinned /sys/fs/bpf/minibcc-test-queue
BPF_QUEUESTACK("queue", one, u64, 4, 0);
BPF_QUEUESTACK_PUBLIC("stack", two, u64, 4, 0);
BPF_QUEUESTACK_SHARED("stack", three, u64, 4, 0);
BPF_QUEUESTACK_PINNED("queue", four, u64, 4, 0, "/sys/fs/bpf/minibcc-test-queue");
int f(void *ctx)
{
    u64 value = 4, out = 0, more = 0;
    one.push(&value, 0);
    four.push(&value, 0);
    one.pop(&out);
    four.pop(&more);
    return out + more + (two.pop(&value) == -ENOENT);
}

/// E1 BPF_TABLE, types that other macros write
/// load RAW_TRACEPOINT
/// returns 12
BPF_TABLE("queue", int, u64, a_queue, 4);
BPF_TABLE("stack", int, u64, a_stack, 4);
BPF_TABLE("ringbuf", int, int, a_ring, 1);
BPF_TABLE("cpumap", u32, u32, a_cpumap, 2);
BPF_TABLE("sockmap", u32, u32, a_sockmap, 4);
BPF_TABLE("sockhash", u32, u32, a_sockhash, 4);
BPF_TABLE("array", int, u64, inner, 4);
BPF_TABLE("array_of_maps$inner", int, int, an_array_of_maps, 4);
BPF_TABLE("hash_of_maps$inner", u32, int, a_hash_of_maps, 4);
int f(void *ctx)
{
    u64 in = 3, more = 4, out = 0, last = 0;
    int slot = 1;
    u32 key = 1;
    a_queue.push(&in, 0);
    a_queue.push(&more, 0);
    a_stack.push(&in, 0);
    a_stack.push(&more, 0);
    a_queue.pop(&out);
    a_stack.pop(&last);
    if (a_ring.ringbuf_output(&in, sizeof(in), 0))
        return 0;
    return out * last + !!an_array_of_maps.lookup(&slot) + !!a_hash_of_maps.lookup(&key);
}
