/// F1 lookup
/// load RAW_TRACEPOINT
/// returns 43
BPF_HASH(table, u32, u64);
int f(void *ctx)
{
    u32 key = 1, other = 2;
    u64 value = 42, *found;
    table.update(&key, &value);
    found = table.lookup(&key);
    return (found ? *found : 0) + (table.lookup(&other) == NULL);
}

/// F2 lookup_or_try_init
/// load RAW_TRACEPOINT
/// returns 12
BPF_HASH(table, u32, u64);
int f(void *ctx)
{
    u32 key = 1;
    u64 zero = 5, *value = table.lookup_or_try_init(&key, &zero);
    if (value)
        *value += 2;
    value = table.lookup_or_try_init(&key, &zero);
    return value ? *value + 5 : 0;
}

/// F2 lookup_or_try_init of a full table
/// load RAW_TRACEPOINT
/// returns 1
BPF_HASH(table, u32, u64, 1);
int f(void *ctx)
{
    u32 a = 1, b = 2;
    u64 zero = 0;
    return table.lookup_or_try_init(&a, &zero) && !table.lookup_or_try_init(&b, &zero);
}

/// F2 lookup_or_init leaves the program
/// load RAW_TRACEPOINT
/// returns 0
BPF_HASH(table, u32, u64, 1);
int f(void *ctx)
{
    u32 a = 1, b = 2;
    u64 zero = 0;
    *table.lookup_or_init(&a, &zero) += 1;
    *table.lookup_or_init(&b, &zero) += 1;
    return 1;
}

/// F3 delete
/// load RAW_TRACEPOINT
/// returns 1
BPF_HASH(table, u32, u64);
int f(void *ctx)
{
    u32 key = 1;
    u64 value = 42;
    table.update(&key, &value);
    int error = table.delete(&key);
    return error == 0 && !table.lookup(&key) && table.delete(&key) == -ENOENT;
}

/// F4 update
/// load RAW_TRACEPOINT
/// returns 3
struct key_t { u32 a; char name[12]; };
BPF_HASH(table, struct key_t, struct key_t);
int f(void *ctx)
{
    struct key_t key = { 1, "one" }, value = { 3 }, *found;
    value.a = table.update(&key, &key) + 3;
    table.update(&key, &value);
    found = table.lookup(&key);
    return found ? found->a : 0;
}

/// F5 insert
/// load RAW_TRACEPOINT
/// returns 17
BPF_HASH(table, u32, u64);
int f(void *ctx)
{
    u32 key = 1;
    u64 value = 42;
    return -(table.insert(&key, &value) + table.insert(&key, &value));
}

/// F6 increment
/// load RAW_TRACEPOINT
/// returns 7
BPF_HASH(table, u32, u64);
int f(void *ctx)
{
    u32 key = 1;
    table.increment(key);
    table.increment(key, 5);
    table.increment(1);
    u64 *value = table.lookup(&key);
    return value ? *value : 0;
}

/// F6 increment of a struct's key and of an array
/// load RAW_TRACEPOINT
/// returns 5
struct key_t { u32 pid; u64 slot; };
BPF_HASH(table, struct key_t);
BPF_ARRAY(array, u32, 8);
int f(void *ctx)
{
    struct key_t key = { .pid = 1, .slot = 2 };
    int three = 3;
    table.increment(key);
    table.increment(key, -3);
    array.increment(3, 7);
    u64 *value = table.lookup(&key);
    u32 *cell = array.lookup(&three);
    return value && cell ? *value + *cell : 0;
}

/// F7 atomic_increment
/// load RAW_TRACEPOINT
/// returns 6
BPF_HASH(table, u32, u64);
BPF_ARRAY(array, u64, 1);
int f(void *ctx)
{
    u32 key = 1, zero = 0;
    table.atomic_increment(key);
    table.atomic_increment(key, 2);
    array.atomic_increment(0, 3);
    u64 *value = table.lookup(&key), *cell = array.lookup(&zero);
    return value && cell ? *value + *cell : 0;
}

/// F8 get_stackid
/// load KPROBE
BPF_STACK_TRACE(stacks, 1024);
BPF_HASH(counts, int, u64);
int f(struct pt_regs *ctx)
{
    int user = stacks.get_stackid(ctx, BPF_F_USER_STACK);
    int kernel = stacks.get_stackid(ctx, 0);
    int fast = stacks.get_stackid(ctx, BPF_F_REUSE_STACKID | BPF_F_FAST_STACK_CMP);
    counts.increment(user);
    counts.increment(kernel);
    return fast;
}

/// F9 perf_read
/// load KPROBE
BPF_PERF_ARRAY(cycles, 4);
BPF_HASH(values, u32, u64);
int f(struct pt_regs *ctx)
{
    u32 cpu = bpf_get_smp_processor_id();
    u64 value = cycles.perf_read(CUR_CPU_IDENTIFIER);
    if ((s64)value < 0 && (s64)value > -256)
        return 0;
    values.update(&cpu, &value);
    return 0;
}

/// F9 perf_counter_value
/// load KPROBE
BPF_PERF_ARRAY(cycles, 4);
int f(struct pt_regs *ctx)
{
    struct bpf_perf_event_value value = {};
    if (cycles.perf_counter_value(CUR_CPU_IDENTIFIER, &value, sizeof(value)))
        return 0;
    return value.counter + value.enabled + value.running;
}

/// F10 call
/// load RAW_TRACEPOINT
/// returns 9
BPF_PROG_ARRAY(programs, 4);
int f(void *ctx)
{
    programs.call(ctx, 2);
    return 9;
}

/// F11 redirect_map
/// load XDP
/// returns 4
BPF_DEVMAP(devices, 4);
BPF_CPUMAP(cpus, 4);
int f(struct xdp_md *ctx)
{
    return devices.redirect_map(0, 0) + cpus.redirect_map(1, XDP_TX) + (XDP_PASS - 1);
}

/// F12 push
/// load RAW_TRACEPOINT
/// returns 1
BPF_QUEUE(queue, u64, 1);
int f(void *ctx)
{
    u64 a = 3, b = 4, out = 0;
    if (queue.push(&a, 0) || queue.push(&b, 0) != -E2BIG || queue.push(&b, BPF_EXIST))
        return 0;
    return queue.pop(&out) == 0 && out == 4;
}

/// F13 pop
/// load RAW_TRACEPOINT
/// returns 21
BPF_STACK(stack, u64, 4);
int f(void *ctx)
{
    u64 a = 1, b = 2, first = 0, second = 0;
    stack.push(&a, 0);
    stack.push(&b, 0);
    stack.pop(&first);
    stack.pop(&second);
    return first * 10 + second;
}

/// F14 peek
/// load RAW_TRACEPOINT
/// returns 11
BPF_QUEUE(queue, u64, 4);
int f(void *ctx)
{
    u64 a = 1, b = 2, first = 0, second = 0;
    queue.push(&a, 0);
    queue.push(&b, 0);
    queue.peek(&first);
    queue.peek(&second);
    return first * 10 + second;
}

/// F15 sock_hash_update
/// load SOCK_OPS
BPF_SOCKHASH(sockets, u32, 16);
int f(struct bpf_sock_ops *ops)
{
    u32 key = ops->local_port;
    sockets.sock_hash_update(ops, &key, BPF_NOEXIST);
    return 0;
}

/// F16 msg_redirect_hash
/// load SK_MSG
BPF_SOCKHASH(sockets, u32, 16);
int f(struct sk_msg_md *msg)
{
    u32 key = msg->local_port;
    return sockets.msg_redirect_hash(msg, &key, BPF_F_INGRESS);
}

/// F17 sk_redirect_hash
/// load SK_SKB
BPF_SOCKHASH(sockets, u32, 16);
int f(struct __sk_buff *skb)
{
    u32 key = skb->local_port;
    return sockets.sk_redirect_hash(skb, &key, 0);
}
