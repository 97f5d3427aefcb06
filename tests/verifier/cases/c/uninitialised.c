int probe(struct pt_regs *ctx) {
    int result;
    return result;
}
