int program(struct xdp_md *ctx) {
    u8 *data = (u8 *)(long)ctx->data;
    u8 *end = (u8 *)(long)ctx->data_end;
    return data[0];
}
