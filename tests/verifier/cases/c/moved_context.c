int program(struct xdp_md *ctx) {
    volatile u32 *fields = (u32 *)ctx;
    fields += 1;
    asm volatile("" : "+r"(fields));
    return *fields;
}
