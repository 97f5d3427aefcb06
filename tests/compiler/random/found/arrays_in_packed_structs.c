// An element was taken to be aligned as its type is: the verifier refused that on the stack.
// inputs: 1 0x55 3 0x1122334455667788
struct packed { u8 a; u32 b[2]; u16 c[4]; s64 d : 53; } __attribute__((packed));
int prog(struct __sk_buff *ctx)
{
    u32 zero = 0;
    struct words_in *given = in.lookup(&zero);
    struct words_out *results = out.lookup(&zero);
    if (!given || !results)
        return 1;
    struct packed x = { given->v[1], { given->v[1], given->v[3] }, { 1, 2, 3, 4 }, given->v[3] };
    x.c[given->v[2] & 3] ^= given->v[3];
    x.b[given->v[0] & 1]++;
    results->v[0] = x.b[1];
    results->v[1] = x.b[given->v[0] & 1];
    results->v[2] = x.c[given->v[2] & 3];
    results->v[3] = *x.b;
    results->v[4] = *(x.c + 3);
    return x.a + x.d;
}
