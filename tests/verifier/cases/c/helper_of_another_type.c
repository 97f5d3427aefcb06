int program(struct xdp_md *ctx) {
    char name[16];
    bpf_skb_load_bytes(ctx, 0, name, sizeof(name));
    return name[0];
}
