int probe(struct pt_regs *ctx) {
    char name[16];
    bpf_get_current_comm(name, ctx->ip & 15);
    return 0;
}
