int program(struct __sk_buff *skb) {
    return ((volatile u32 *)skb)[100];
}
