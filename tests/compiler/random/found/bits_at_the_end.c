// The unit around the last field would end behind the struct: a byte of the variable beside it.
// inputs: 82 0x7fea 0x1122334455667788
struct ends { s64 a[4]; u8 b; u32 c; u64 d : 15; } __attribute__((packed));
int prog(struct __sk_buff *ctx)
{
    u32 zero = 0;
    struct words_in *given = in.lookup(&zero);
    struct words_out *results = out.lookup(&zero);
    if (!given || !results)
        return 1;
    struct ends x = { { 1 }, given->v[0], 2, given->v[1] };
    struct ends y = x;
    y.d += given->v[2];
    results->v[0] = x.d;
    results->v[1] = y.d;
    results->v[2] = y.c;
    return sizeof(x);
}
