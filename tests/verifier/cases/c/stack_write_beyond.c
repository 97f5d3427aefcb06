int probe(struct pt_regs *ctx) {
    char name[16] = {};
    bpf_probe_read_kernel(name, 32, (void *)ctx->ip);
    return name[0];
}
