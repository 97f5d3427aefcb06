struct slots { u8 bytes[16]; };
BPF_ARRAY(table, struct slots, 1);
int probe(struct pt_regs *ctx) {
    int key = 0;
    struct slots *slots = table.lookup(&key);
    if (!slots)
        return 0;
    long index = PT_REGS_PARM1(ctx);
    if (index < 16)
        slots->bytes[index] = 1;
    return 0;
}
