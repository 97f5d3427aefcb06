"""The programs that the virtual machine is measured by, as C for both kernels.

Each is an XDP program over a packet of 1500 bytes. What it computes depends on the packet and goes
to its result, so that no compiler can see through it; a loop's count is fixed, so that a verifier
can. A row names the program, its group, and its body; `PROLOGUE` gives it `data`, `end` and a
first number `seed` from the packet.
"""

from __future__ import annotations

from minibcc.records import Record

PACKET = bytes.fromhex("020000000001020000000002" + "0800") + bytes.fromhex(
    "450005ce000040004006" + "0000" + "0a000001" + "0a000002"
    "0050c35000000001000000025018ffff00000000"
) + bytes((n * 7 + 3) & 0xFF for n in range(1500 - 54))  # fmt: skip
"""Ethernet, IPv4, TCP, and a payload of some pattern: 1500 bytes."""

PROLOGUE = """
int program(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data;
    unsigned char *end = (void *)(long)ctx->data_end;
    if (data + 1500 > end)
        return 0;
    u64 seed = *(u64 *)(data + 64);
"""


class Program(Record):
    """`maps` are the declarations before it; `group` "alu" (no map), "hash", "ring", "map" (all
    others), or "apart" for what counts in no mean. `most` is how often it may run before what it
    wrote has to be read, 0 for any number. `answer` is what it must return, where that tells that
    it did its work."""

    name: str
    group: str
    body: str
    maps: str = ""
    most: int = 0
    answer: int | None = None

    @property
    def text(self) -> str:
        return f"{self.maps}\n{PROLOGUE}{self.body}\n}}\n"


PROGRAMS = (
    Program(
        "64-bit LCG loop",
        "alu",
        """
    u64 x = seed;
    for (int i = 0; i < 2000; i++)
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
    return x >> 33;""",
    ),
    Program(
        "32-bit xorshift loop",
        "alu",
        """
    u32 x = seed | 1;
    for (int i = 0; i < 1500; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
    }
    return x;""",
    ),
    Program(
        "primes by division",
        "alu",
        """
    u32 found = 0, from = (seed & 15) + 2;
    for (u32 i = 0; i < 60; i++) {
        u32 n = from + i, prime = 1;
        for (u32 d = 2; d < 20; d++)
            if (d < n && n % d == 0)
                prime = 0;
        found += prime;
    }
    return found;""",
    ),
    Program(
        "Fibonacci",
        "alu",
        """
    u64 a = seed & 1, b = 1;
    for (int i = 0; i < 3000; i++) {
        u64 c = a + b;
        a = b;
        b = c ^ seed;
    }
    return a;""",
    ),
    Program(
        "checksum of 1500 bytes",
        "alu",
        """
    u32 sum = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 1500; i += 2)
            sum += *(u16 *)(data + i);
        sum ^= round;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (u16)~sum;""",
    ),
    Program(
        "744-byte copy",
        "alu",
        """
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 744; i += 8)
            *(u64 *)(data + 750 + i) = *(u64 *)(data + i) + round;
    }
    return *(u32 *)(data + 1400);""",
    ),
    Program(
        "Ethernet/IP/TCP parser",
        "alu",
        """
    u32 sum = 0;
    for (int round = 0; round < 500; round++) {
        unsigned char *at = data;
        if (at[12] != 8 || at[13] != 0)
            return 1;
        unsigned char *ip = at + 14;
        if (ip[0] >> 4 != 4 || ip[9] != 6)
            return 2;
        u32 length = (ip[0] & 15) * 4;
        if (length != 20)
            return 3;
        unsigned char *tcp = ip + 20;
        u16 source = tcp[0] << 8 | tcp[1], dest = tcp[2] << 8 | tcp[3];
        u32 saddr = *(u32 *)(ip + 12), daddr = *(u32 *)(ip + 16);
        u32 offset = (tcp[12] >> 4) * 4;
        if (offset < 20)
            return 4;
        sum += source + dest + (saddr ^ daddr) + offset;
        *(u32 *)(tcp + 4) = sum;
        tcp[13] ^= round;
    }
    return sum;""",
    ),
    Program(
        "string compare",
        "alu",
        """
    unsigned char *a = data + 60, *b = data + 60 + 512;
    u32 equal, sum = 0;
    for (int round = 0; round < 3; round++) {
        for (equal = round; equal < 900; equal++)
            if (a[equal] != b[equal])
                break;
        sum += equal;
    }
    return sum;""",
    ),
    Program(
        "FNV",
        "alu",
        """
    u64 hash = 14695981039346656037ULL;
    for (int i = 0; i < 1400; i++) {
        hash ^= data[i];
        hash *= 1099511628211ULL;
    }
    return hash ^ hash >> 32;""",
    ),
    Program(
        "jhash",
        "alu",
        """
    u32 a = 0xdeadbeef + 1200, b = a, c = a + seed;
    for (int round = 0; round < 2; round++)
    for (int i = 0; i < 1200; i += 12) {
        a += *(u32 *)(data + i);
        b += *(u32 *)(data + i + 4);
        c += *(u32 *)(data + i + 8);
        a -= c; a ^= c << 4 | c >> 28; c += b;
        b -= a; b ^= a << 6 | a >> 26; a += c;
        c -= b; c ^= b << 8 | b >> 24; b += a;
        a -= c; a ^= c << 16 | c >> 16; c += b;
        b -= a; b ^= a << 19 | a >> 13; a += c;
        c -= b; c ^= b << 4 | b >> 28; b += a;
    }
    return c;""",
    ),
    Program(
        "hash increment, 1 key",
        "hash",
        """
    u32 key = seed & 0;
    for (int i = 0; i < 50; i++) {
        u64 *value = counts.lookup(&key);
        if (value)
            *value += 1;
        else {
            u64 one = 1;
            counts.update(&key, &one);
        }
    }
    return 0;""",
        "BPF_HASH(counts, u32, u64, 1024);",
    ),
    Program(
        "hash increment, 10,000 keys",
        "hash",
        """
    u32 zero = 0;
    u64 *state = states.lookup(&zero);
    if (!state)
        return 0;
    u64 x = *state + seed;
    for (int i = 0; i < 50; i++) {
        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
        u32 key = (x >> 33) % 10000;
        u64 *value = counts.lookup(&key);
        if (value)
            *value += 1;
        else {
            u64 one = 1;
            counts.update(&key, &one);
        }
    }
    *state = x;
    return 0;""",
        "BPF_HASH(counts, u32, u64, 20000);\nBPF_ARRAY(states, u64, 1);",
    ),
    Program(
        "per-CPU hash",
        "hash",
        """
    for (u32 i = 0; i < 50; i++) {
        u32 key = (seed + i) & 63;
        u64 *value = counts.lookup(&key);
        if (value)
            *value += 1;
        else {
            u64 one = 1;
            counts.update(&key, &one);
        }
    }
    return 0;""",
        "BPF_PERCPU_HASH(counts, u32, u64, 1024);",
    ),
    Program(
        "array",
        "map",
        """
    for (u32 i = 0; i < 900; i++) {
        u32 key = (seed + i) & 255;
        u64 *value = counts.lookup(&key);
        if (value)
            *value += i;
    }
    return 0;""",
        "BPF_ARRAY(counts, u64, 256);",
    ),
    Program(
        "per-CPU array",
        "map",
        """
    for (u32 i = 0; i < 900; i++) {
        u32 key = (seed + i) & 255;
        u64 *value = counts.lookup(&key);
        if (value)
            *value += i;
    }
    return 0;""",
        "BPF_PERCPU_ARRAY(counts, u64, 256);",
    ),
    Program(
        "hash update",
        "hash",
        """
    for (u32 i = 0; i < 30; i++) {
        u32 key = (seed + i) & 63;
        u64 value = i;
        counts.update(&key, &value);
    }
    return 0;""",
        "BPF_HASH(counts, u32, u64, 1024);",
    ),
    Program(
        "ring buffer",
        "ring",
        """
    u32 kept = 0;
    for (u32 i = 0; i < 60; i++) {
        u64 *record = events.ringbuf_reserve(64);
        if (record) {
            record[0] = seed + i;
            record[7] = i;
            events.ringbuf_submit(record, 1);
            kept++;
        }
    }
    return kept;""",
        "BPF_RINGBUF_OUTPUT(events, 128);",
        most=(128 * 4096) // (60 * 72) - 1,
        answer=60,
    ),
    Program(
        "LRU",
        "map",
        """
    for (u32 i = 0; i < 50; i++) {
        u32 key = (seed + i) & 511;
        u64 *value = counts.lookup(&key);
        if (value)
            *value += 1;
        else {
            u64 one = 1;
            counts.update(&key, &one);
        }
    }
    return 0;""",
        'BPF_TABLE("lru_hash", u32, u64, counts, 1024);',
    ),
    Program(
        "longest prefix",
        "map",
        """
    u32 found = 0;
    for (u32 i = 0; i < 100; i++) {
        struct route key = {.length = 32};
        u32 first = 8 + 4 * ((i + (seed & 7)) % 7);
        key.address = first | 0x0b070300;
        u64 *value = routes.lookup(&key);
        if (value)
            found += *value == first;
    }
    return found;""",
        """
struct route { u32 length; u32 address; };
BPF_LPM_TRIE(routes, struct route, u64, 1024);""",
        answer=100,
    ),
    Program(
        "tail call chain",
        "map",
        """
    u32 zero = 0;
    struct state *state = states.lookup(&zero);
    if (!state)
        return 0;
    for (int i = 0; i < 256; i += 4)
        state->sum += *(u32 *)(data + 512 + i);
    state->depth += 1;
    programs.call(ctx, 0);
    u64 deepest = state->depth;
    state->depth = 0;
    return deepest;""",
        """
struct state { u64 depth, sum; };
BPF_PROG_ARRAY(programs, 1);
BPF_ARRAY(states, struct state, 1);""",
        answer=34,
    ),
    Program(
        "tail calls alone, as many as may be",
        "apart",
        """
    u32 zero = 0;
    u64 *depth = depths.lookup(&zero);
    if (!depth)
        return 0;
    *depth += 1;
    programs.call(ctx, 0);
    u64 deepest = *depth;
    *depth = 0;
    return deepest;""",
        "BPF_PROG_ARRAY(programs, 1);\nBPF_ARRAY(depths, u64, 1);",
        answer=34,
    ),
)
