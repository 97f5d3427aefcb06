#pragma once
#include <linux/if_ether.h>
#include <linux/in.h>

static __always_inline unsigned char *skb_network_header(const struct sk_buff *skb)
{
    return skb->head + skb->network_header;
}

static __always_inline unsigned char *skb_transport_header(const struct sk_buff *skb)
{
    return skb->head + skb->transport_header;
}

static __always_inline bool skb_rx_queue_recorded(const struct sk_buff *skb)
{
    return skb->queue_mapping != 0;
}

static __always_inline u16 skb_get_rx_queue(const struct sk_buff *skb)
{
    return skb->queue_mapping - 1;
}
