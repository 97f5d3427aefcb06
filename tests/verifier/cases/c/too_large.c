int probe(struct pt_regs *ctx) {
    u64 n = ctx->ip, sum = 0;
    for (u64 i = 0; i < n; i++)
        sum += bpf_get_prandom_u32() ^ i;
    return sum;
}
