// Mistakes of syntax: each statement is given up alone.
int first(struct pt_regs *ctx)
{
    u64 now = bpf_ktime_get_ns()  // error: parse/missing-semicolon
    u64 later = now + ;  // error: parse/unexpected-token
    foo_t x;  // error: parse/unknown-type
    if (now > 1 {  // error: parse/missing-token
        now = 2;
    }
    return 0;
}

int second(struct pt_regs *ctx)
{
    return (1 + 2;  // error: parse/missing-token
}
