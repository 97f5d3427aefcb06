struct value { struct bpf_spin_lock lock; u32 count; };
BPF_HASH(values, u32, struct value);
int program(struct xdp_md *ctx) {
    u32 key = 0;
    struct value *value = values.lookup(&key);
    if (!value)
        return XDP_PASS;
    bpf_spin_lock(&value->lock);
    value->count++;
    bpf_trace_printk("counted\n");
    bpf_spin_unlock(&value->lock);
    return XDP_PASS;
}
