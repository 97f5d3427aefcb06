#pragma once

static __always_inline u64 div_u64(u64 dividend, u32 divisor)
{
    return dividend / divisor;
}

static __always_inline u64 div64_u64(u64 dividend, u64 divisor)
{
    return dividend / divisor;
}

static __always_inline u64 div_u64_rem(u64 dividend, u32 divisor, u32 *remainder)
{
    *remainder = dividend % divisor;
    return dividend / divisor;
}

static __always_inline u64 div64_u64_rem(u64 dividend, u64 divisor, u64 *remainder)
{
    *remainder = dividend % divisor;
    return dividend / divisor;
}
