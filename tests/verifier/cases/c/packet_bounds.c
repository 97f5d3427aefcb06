int program(struct xdp_md *ctx) {
    u8 *data = (u8 *)(long)ctx->data;
    u8 *end = (u8 *)(long)ctx->data_end;
    if (data + 14 > end)
        return XDP_PASS;
    return data[23] == 6 ? XDP_DROP : XDP_PASS;
}
