int probe(struct pt_regs *ctx) {
    char buffer[64];
    long size = PT_REGS_PARM2(ctx);
    bpf_probe_read_user(buffer, size, (void *)PT_REGS_PARM1(ctx));
    return 0;
}
