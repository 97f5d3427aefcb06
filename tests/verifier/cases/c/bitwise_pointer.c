BPF_ARRAY(table, u64, 1);
int probe(struct pt_regs *ctx) {
    int key = 0;
    u64 *value = table.lookup(&key);
    if (!value)
        return 0;
    u64 page = (u64)value & ~4095ul;
    return page;
}
