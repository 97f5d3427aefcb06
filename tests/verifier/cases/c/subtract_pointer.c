BPF_ARRAY(table, u64, 1);
int probe(struct pt_regs *ctx) {
    int key = 0;
    u64 *value = table.lookup(&key);
    if (!value)
        return 0;
    u64 rest = ctx->ip - (u64)value;
    return rest;
}
