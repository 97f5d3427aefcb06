/*
 * Map operations as native code: what the Python operations of kernel/maps do, on the same bytes.
 *
 * The Python operations define each type; these here are for programs in native code, which call
 * them instead of a helper. `python -m tests.build natives` compiles this file with minibcc's own
 * compiler to natives.ll, which is what the JIT reads. Restricted C: no library, no globals, at
 * most five arguments. Whatever is rare (more memory for elements) is left to Python: ASK says so.
 *
 * One program runs at a time (the lock of Python is held), so nothing here is atomic.
 */

typedef unsigned char byte;
typedef unsigned int half;
typedef unsigned long long word;

/* Keys and values lie where a program put them: nothing is known of their alignment. */
struct loose_half { half value; } __attribute__((packed));
struct loose_word { word value; } __attribute__((packed));

#define HALF(at) (((struct loose_half *)(at))->value)
#define WORD(at) (((struct loose_word *)(at))->value)

#define ENOENT 2
#define E2BIG 7
#define EAGAIN 11
#define EEXIST 17
#define EINVAL 22
#define ENOSPC 28
#define ASK 1
#define MULTIPLIER 0x9E3779B97F4A7C15ULL

enum { NOEXIST = 1, EXIST = 2, LOCK = 4 };

static void copy(byte *to, const byte *from, word size)
{
    while (size >= 8) {
        ((struct loose_word *)to)->value = WORD(from);
        to += 8;
        from += 8;
        size -= 8;
    }
    while (size) {
        *to++ = *from++;
        size--;
    }
}

/* --- hash tables: kernel/maps/table.py ---------------------------------------------------- */

struct element {
    struct element *next;
    word slot;
    struct element *older, *newer; /* only in a table that keeps order */
};

/* In the order of table.FIELDS. */
struct table {
    struct element **buckets;
    word shift;
    struct element *free;
    byte *fresh, *end;
    word slots;
    byte *used;
    word count, limit;
    word element_size, key_size, key_at, value_size, value_at, plane, planes;
    word ordered, locks;
    struct element *oldest, *newest;
    /* What follows is a prefix trie's. */
    word bits, changes;
    word *counts;
    word lengths[];
};

/* Up to eight bytes of a key as a number. */
static word part(const byte *at, word size)
{
    word value = 0, shift = 0;

    if (size >= 8)
        return WORD(at);
    if (size >= 4) {
        value = HALF(at);
        shift = 32;
    }
    while (shift < 8 * size) {
        value |= (word)at[shift >> 3] << shift;
        shift += 8;
    }
    return value;
}

static word hash_of(const byte *key, word size)
{
    word hash = 0;

    for (word at = 0; at < size; at += 8)
        hash = (hash ^ part(key + at, size - at)) * MULTIPLIER;
    return hash;
}

static int has_key(struct table *table, struct element *element, const byte *key)
{
    byte *own = (byte *)element + table->key_at;
    word size = table->key_size;

    for (word at = 0; at < size; at += 8)
        if (*(word *)(own + at) != part(key + at, size - at))
            return 0;
    return 1;
}

static struct element *find(struct table *table, const byte *key)
{
    struct element *element;
    word size = table->key_size;

    if (size <= 8) {
        word number = size == 4 ? HALF(key) : part(key, size);
        word key_at = table->key_at;

        element = table->buckets[number * MULTIPLIER >> table->shift];
        while (element && *(word *)((byte *)element + key_at) != number)
            element = element->next;
        return element;
    }
    element = table->buckets[hash_of(key, size) >> table->shift];
    while (element && !has_key(table, element, key))
        element = element->next;
    return element;
}

static void leave_order(struct table *table, struct element *element)
{
    if (element->older)
        element->older->newer = element->newer;
    else
        table->oldest = element->newer;
    if (element->newer)
        element->newer->older = element->older;
    else
        table->newest = element->older;
}

static void enter_order(struct table *table, struct element *element)
{
    element->older = table->newest;
    element->newer = 0;
    if (table->newest)
        table->newest->newer = element;
    else
        table->oldest = element;
    table->newest = element;
}

static void use(struct table *table, struct element *element)
{
    if (table->ordered && table->newest != element) {
        leave_order(table, element);
        enter_order(table, element);
    }
}

static struct element **bucket(struct table *table, const byte *key)
{
    return &table->buckets[hash_of(key, table->key_size) >> table->shift];
}

static void drop(struct table *table, struct element *element)
{
    struct element **link = bucket(table, (byte *)element + table->key_at);

    while (*link != element)
        link = &(*link)->next;
    *link = element->next;
    table->used[element->slot] = 0;
    element->next = table->free;
    table->free = element;
    table->count--;
    if (table->ordered)
        leave_order(table, element);
}

/* A free element, none if the table is full; ASK where Python has to make room. */
static word take(struct table *table)
{
    struct element *element;

    if (table->count >= table->limit) {
        if (!table->ordered)
            return 0;
        drop(table, table->oldest);
    }
    element = table->free;
    if (element) {
        table->free = element->next;
    } else {
        if (table->fresh == table->end)
            return ASK;
        element = (struct element *)table->fresh;
        table->fresh += table->element_size;
        element->slot = table->slots++;
    }
    return (word)element;
}

static void insert(struct table *table, struct element *element, const byte *key)
{
    struct element **first = bucket(table, key);
    byte *own = (byte *)element + table->key_at;
    word size = table->key_size;

    for (word at = 0; at < size; at += 8)
        *(word *)(own + at) = part(key + at, size - at);
    element->next = *first;
    *first = element;
    table->used[element->slot] = 1;
    table->count++;
    if (table->ordered)
        enter_order(table, element);
}

word hash_lookup(struct table *table, const byte *key, word cpu)
{
    struct element *element = find(table, key);

    if (!element)
        return 0;
    use(table, element);
    return (word)element + table->value_at + cpu * table->plane;
}

word hash_update(struct table *table, const byte *key, const byte *value, word flags, word cpu)
{
    struct element *element = find(table, key);
    byte *to;

    if ((flags & ~(word)LOCK) > EXIST || (flags & LOCK && !table->locks))
        return -(word)EINVAL;
    if (element) {
        if (flags & NOEXIST)
            return -(word)EEXIST;
        use(table, element);
    } else {
        word got;

        if (flags & EXIST)
            return -(word)ENOENT;
        got = take(table);
        if (got <= ASK)
            return got ? ASK : -(word)E2BIG;
        element = (struct element *)got;
        insert(table, element, key);
        if (table->plane) {
            byte *values = (byte *)element + table->value_at;

            for (word at = 0; at < table->plane * table->planes; at += 8)
                *(word *)(values + at) = 0;
        }
    }
    to = (byte *)element + table->value_at + cpu * table->plane;
    copy(to, value, table->value_size);
    return 0;
}

word hash_delete(struct table *table, const byte *key)
{
    struct element *element = find(table, key);

    if (!element)
        return -(word)ENOENT;
    drop(table, element);
    return 0;
}

/* --- prefix tries: kernel/maps/trie.py ------------------------------------------------------ */

/* The word of data that starts at bit `at`, of a prefix of `length` bits. */
static word prefix_part(const byte *data, word at, word size, word length)
{
    word value;

    if (length <= at)
        return 0;
    value = part(data, size);
    if (length - at < 64)
        value &= __builtin_bswap64(~0ULL << (64 - (length - at)));
    return value;
}

/* Elements are filed under their length, a word, and the bits that count; here without making
 * that key. */
static struct element *find_prefix(struct table *table, const byte *data, word length)
{
    word size = table->key_size - 8, hash = length * MULTIPLIER, at;
    struct element *element;

    for (at = 0; at < size; at += 8)
        hash = (hash ^ prefix_part(data + at, 8 * at, size - at, length)) * MULTIPLIER;
    element = table->buckets[hash >> table->shift];
    while (element) {
        word *own = (word *)((byte *)element + table->key_at);

        if (*own == length) {
            for (at = 0; at < size; at += 8)
                if (*++own != prefix_part(data + at, 8 * at, size - at, length))
                    break;
            if (at >= size)
                return element;
        }
        element = element->next;
    }
    return 0;
}

/* Data of less than a word, in a key of which `most` bits count. */
static word short_prefix(struct table *table, word data, word most)
{
    struct element **buckets = table->buckets;
    word key_at = table->key_at, shift = table->shift, lengths = table->lengths[0];

    lengths &= ~0ULL >> (63 - most);
    while (lengths) {
        word length = 63 - __builtin_clzll(lengths);
        word counts = length ? data & __builtin_bswap64(~0ULL << (64 - length)) : 0;
        struct element *element = buckets[(length * MULTIPLIER ^ counts) * MULTIPLIER >> shift];

        while (element) {
            word *own = (word *)((byte *)element + key_at);

            if (own[0] == length && own[1] == counts)
                return (word)element + table->value_at;
            element = element->next;
        }
        lengths &= ~(1ULL << length);
    }
    return 0;
}

word prefix_lookup(struct table *table, const byte *key)
{
    word most = HALF(key), group;

    if (most > table->bits)
        return 0;
    if (table->bits <= 56)
        return short_prefix(table, part(key + 4, table->key_size - 8), most);
    group = most >> 6;
    for (;;) {
        word lengths = table->lengths[group];

        if (group == most >> 6)
            lengths &= ~0ULL >> (63 - (most & 63));
        while (lengths) {
            word bit = 63 - __builtin_clzll(lengths);
            struct element *element = find_prefix(table, key + 4, 64 * group + bit);

            if (element)
                return (word)element + table->value_at;
            lengths &= ~(1ULL << bit);
        }
        if (!group)
            return 0;
        group--;
    }
}

static void count(struct table *table, word length, word change)
{
    word bit = 1ULL << (length & 63), *lengths = &table->lengths[length >> 6];

    if (table->counts[length] += change)
        *lengths |= bit;
    else
        *lengths &= ~bit;
    table->changes++;
}

word prefix_update(struct table *table, const byte *key, const byte *value, word flags)
{
    word length = HALF(key), size = table->key_size - 8;
    byte *own, *given, *to;
    struct element *element;

    if (flags > EXIST || length > table->bits)
        return -(word)EINVAL;
    element = find_prefix(table, key + 4, length);
    if (element) {
        if (flags == NOEXIST)
            return -(word)EEXIST;
    } else {
        word got;

        if (flags == EXIST)
            return -(word)ENOENT;
        got = take(table);
        if (got <= ASK)
            return got ? ASK : -(word)ENOSPC;
        element = (struct element *)got;
        own = (byte *)element + table->key_at;
        *(word *)own = length;
        for (word at = 0; at < size; at += 8)
            *(word *)(own + 8 + at) = prefix_part(key + 4 + at, 8 * at, size - at, length);
        insert(table, element, own);
        count(table, length, 1);
    }
    given = (byte *)element + table->key_at + ((table->key_size + 7) & ~7ULL);
    copy(given, key, size + 4);
    to = (byte *)element + table->value_at;
    copy(to, value, table->value_size);
    return 0;
}

word prefix_delete(struct table *table, const byte *key)
{
    word length = HALF(key);
    struct element *element;

    if (length > table->bits)
        return -(word)EINVAL;
    element = find_prefix(table, key + 4, length);
    if (!element)
        return -(word)ENOENT;
    drop(table, element);
    count(table, length, -1ULL);
    return 0;
}

/* --- ring buffers: kernel/maps/ringbuf.py ---------------------------------------------------- */

#define PAGE 4096
#define HEADER 8
#define DATA_PAGES 3
#define BUSY 0x80000000u
#define DISCARD 0x40000000u
#define MAX_RECORD 0x3fffffffu

enum { NO_WAKEUP = 1, FORCE_WAKEUP = 2 };

struct ring {
    word map;
    word size;
    word wakeups;
    byte rest[PAGE - 24];
    word consumed;
    byte rest_of_consumer[PAGE - 8];
    word produced;
    byte rest_of_producer[PAGE - 8];
    byte data[];
};

static word reserve(struct ring *ring, word size)
{
    word total = (size + HEADER + 7) & ~7ULL, mask = ring->size - 1, place;
    byte *header;

    if (size > MAX_RECORD || total > ring->size || ring->produced + total - ring->consumed > mask)
        return 0;
    place = ring->produced & mask;
    header = (byte *)ring + DATA_PAGES * PAGE + place;
    *(half *)header = (half)size | BUSY;
    *(half *)(header + 4) = (half)(place / PAGE + DATA_PAGES);
    ring->produced += total;
    return (word)header + HEADER;
}

word ring_reserve(struct ring *ring, word size, word flags)
{
    return flags ? 0 : reserve(ring, size);
}

static void commit(byte *record, word flags, half discard)
{
    byte *header = record - HEADER;
    struct ring *ring;
    word place;

    ring = (struct ring *)(((word)header & ~(word)(PAGE - 1)) - *(half *)(header + 4) * (word)PAGE);
    *(half *)header = (*(half *)header & ~BUSY) | discard;
    place = (word)header - ((word)ring + DATA_PAGES * PAGE);
    if (flags & FORCE_WAKEUP
        || (place == (ring->consumed & (ring->size - 1)) && !(flags & NO_WAKEUP)))
        ring->wakeups++;
}

word ring_submit(byte *record, word flags)
{
    commit(record, flags, 0);
    return 0;
}

word ring_discard(byte *record, word flags)
{
    commit(record, flags, DISCARD);
    return 0;
}

word ring_output(struct ring *ring, const byte *data, word size, word flags)
{
    word record;

    if (flags & ~(word)(NO_WAKEUP | FORCE_WAKEUP))
        return -(word)EINVAL;
    record = reserve(ring, size);
    if (!record)
        return -(word)EAGAIN;
    copy((byte *)record, data, size);
    commit((byte *)record, flags, 0);
    return 0;
}
