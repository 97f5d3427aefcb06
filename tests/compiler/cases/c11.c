// C as eBPF can carry it.
#include <linux/types.h>

typedef struct {
    unsigned int low : 3, high : 5;
    union {
        u32 word;
        u8 bytes[4];
    };
} __attribute__((packed)) mixed;

struct flexible {
    u16 count;
    u64 values[];
};

enum color { RED = 1, GREEN, BLUE = 1 << 4 };

static const int table[] = {[2] = 3, 4, [0 ... 1] = 7};
static int calls;

_Static_assert(sizeof(mixed) == 5 && sizeof(struct flexible) == 8, "layout");
_Static_assert(sizeof(table) == 16 && __builtin_offsetof(mixed, bytes[2]) == 3, "layout");
_Static_assert(_Generic(1UL, int: 1, unsigned long: 2) == 2, "generic");
_Static_assert(-1 < 0u ? 0 : 1, "unsigned");
_Static_assert((s8)200 == -56 && (u16)-1 == 65535 && (_Bool)2 == 1, "conversion");
_Static_assert('\n' == 10 && sizeof("ab" "c") == 4 && 0b101 == 5 && 017 == 15, "literals");

static inline long sum(const int *p, int n)
{
    long total = 0;
#pragma unroll
    for (int i = 0; i < n; i++)
        total += p[i];
    return total;
}

int run(void *ctx)
{
    mixed m = {.low = 1, .high = 2, .bytes = {1, 2}};
    static u64 seen;
    int a[3] = {1, 2}, *p = &a[1];
    char text[8] = "abc";
    __int128 wide = (__int128)1 << 100;
    u64 x = m.word ?: ({ u64 y = a[0]; y + 1; });
    typeof(x) z = x > 3 ? (u8)x : -1;
    seen++;
    calls += p - a;
    p += 1;
    m.high |= 3;
    m.low++;
    switch (x & 7) {
    case RED ... BLUE - 10:
        z = 1;
        break;
    case 0:
        z <<= 2;
    default:
        z = (z, 5);
    }
    do {
        if (x-- == 3)
            continue;
        if (!x)
            goto out;
    } while (x > 1 && calls);
out:
    __builtin_memset(text, 0, sizeof(text));
    __sync_fetch_and_add(&seen, 1);
    asm volatile("" : "+r"(z));
    return sum(table, 4) + text[0] + (wide >> 99) + *p + ((mixed){.word = 3}).word + z;
}
