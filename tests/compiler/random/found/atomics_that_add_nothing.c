// Below cpu v3 LLVM had no instruction for adding what it knows to be 0, nor for subtracting.
// inputs: 5 7
static u32 small = 3;
static u64 large = 4;
int prog(struct __sk_buff *ctx)
{
    u32 zero = 0;
    struct words_in *given = in.lookup(&zero);
    struct words_out *results = out.lookup(&zero);
    if (!given || !results)
        return 1;
    __sync_fetch_and_add(&small, 0);
    __sync_fetch_and_sub(&small, (u32)given->v[0]);
    __atomic_fetch_sub(&small, 0, __ATOMIC_RELAXED);
    __sync_fetch_and_add(&large, 0);
    __sync_fetch_and_sub(&large, given->v[1]);
    __atomic_fetch_add(&large, given->v[0] - given->v[0], __ATOMIC_SEQ_CST);
    results->v[0] = small;
    results->v[1] = large;
    return 0;
}
