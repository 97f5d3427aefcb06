#pragma once
#define SG_CHAIN 0x01UL
#define SG_END 0x02UL
#define SG_PAGE_LINK_MASK (SG_CHAIN | SG_END)

static __always_inline unsigned int __sg_flags(struct scatterlist *sg)
{
    return sg->page_link & SG_PAGE_LINK_MASK;
}

static __always_inline struct scatterlist *sg_chain_ptr(struct scatterlist *sg)
{
    return (struct scatterlist *)(sg->page_link & ~SG_PAGE_LINK_MASK);
}

static __always_inline _Bool sg_is_chain(struct scatterlist *sg)
{
    return __sg_flags(sg) & SG_CHAIN;
}

static __always_inline _Bool sg_is_last(struct scatterlist *sg)
{
    return __sg_flags(sg) & SG_END;
}
