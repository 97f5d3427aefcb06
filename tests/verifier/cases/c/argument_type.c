BPF_HASH(counts, u64, u64);
int probe(struct pt_regs *ctx) {
    u64 *value = bpf_map_lookup_elem((void *)&counts, (void *)ctx->ip);
    return value != 0;
}
