int probe(struct pt_regs *ctx) {
    u64 stack[4] = {};
    u64 index = ctx->ip & 7;
    stack[index] = 1;
    return stack[ctx->sp & 3];
}
