"""The hash table behind hash maps and prefix tries, as bytes of the arena.

Elements live in numbered slots; a freed one is the next to be handed out. They are carved from
chunks, each as large as all before it, so an element's address stays the same as long as it lives,
and beyond. An element is a link to the next of its bucket, its slot, two links for the order of use
where the table keeps one, its key, padded to words, and its value (per CPU, one after the other);
programs may touch the value alone.

These operations are the definition; `vm/natives.c` has the same ones for programs in native code,
on the same bytes, and turns to Python where a new chunk is needed. Mirrors struct bpf_htab,
struct htab_elem and the exact half of kernel/bpf/bpf_lru_list.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.kernel.vm.layouts import MULTIPLIER, HashLayout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.kernel.vm.memory import Arena

MASK = (1 << 64) - 1
MOST_BITS = 20
"""A table has at most 2^20 buckets."""
FIRST_CHUNK = 8

FIELDS = (
    *("buckets", "shift", "free", "fresh", "end", "slots", "used", "count", "limit"),
    *("element_size", "key_size", "key_at", "value_size", "value_at", "plane", "planes"),
    *("ordered", "locks", "oldest", "newest", "bits", "changes", "counts"),
)
"""The words at a table's address, those of ``struct table`` in `vm/natives.c`; a prefix trie adds
some at the end (`trie.LENGTHS`)."""
(
    BUCKETS, SHIFT, FREE, FRESH, END, SLOTS, USED, COUNT, LIMIT,
    ELEMENT_SIZE, KEY_SIZE, KEY_AT, VALUE_SIZE, VALUE_AT, PLANE, PLANES,
    ORDERED, LOCKS, OLDEST, NEWEST, BITS, CHANGES, COUNTS,
) = range(0, 8 * len(FIELDS), 8)  # fmt: skip
NEXT, SLOT, OLDER, NEWER = 0, 8, 16, 24
"""Where an element has them; its key lies behind."""


class HashTable:
    """`limit` elements at most; with `ordered`, a full table forgets the least recently used one
    for a new one. `plane` is the distance from a CPU's value to the next one's, 0 if there is one
    value for all. An element is known by its address, 0 being none. Between key and value it has
    `extra` bytes, and the table `words` of its own behind its fields, for whoever uses it."""

    def __init__(
        self,
        memory: Arena,
        key_size: int,
        value_size: int,
        limit: int,
        *,
        planes: int = 1,
        ordered: bool = False,
        writable: bool = True,
        extra: int = 0,
        words: int = 0,
    ) -> None:
        self.memory = memory
        self.key_size = key_size
        self.value_size = value_size
        self.limit = limit
        self.ordered = ordered
        self.writable = writable
        self.stride = -(-value_size // 8) * 8
        self.key_at = NEWER + 8 if ordered else SLOT + 8
        self.extra_at = self.key_at + -(-key_size // 8) * 8
        self.value_at = self.extra_at + -(-extra // 8) * 8
        self.size = self.value_at + self.stride * planes
        bits = min(MOST_BITS, max(3, (limit - 1).bit_length()))
        self.shift = 64 - bits
        self.chunks: list[int] = []
        self.elements: list[int] = []
        """The element of each slot."""
        self.address = memory.allocate(8 * (len(FIELDS) + words), private=True)
        try:
            self.buckets = memory.allocate(8 << bits, private=True)
        except MemoryError:
            memory.free(self.address)
            raise
        self.plane = plane = self.stride if planes > 1 else 0
        for field, value in (
            *((BUCKETS, self.buckets), (SHIFT, self.shift), (LIMIT, limit), (PLANE, plane)),
            *((ELEMENT_SIZE, self.size), (KEY_SIZE, key_size), (KEY_AT, self.key_at)),
            *((VALUE_SIZE, value_size), (VALUE_AT, self.value_at), (PLANES, planes)),
            (ORDERED, ordered),
        ):
            self.set(field, value)

    def release(self) -> None:
        """Gives the memory back; no image may use the table any more."""
        used = self.get(USED)
        for address in (*self.chunks, self.buckets, self.address, *([used] if used else [])):
            self.memory.free(address)

    def layout(self) -> HashLayout:
        """What native code may know of it."""
        return HashLayout(
            self.address,
            self.buckets,
            self.shift,
            self.key_size,
            self.key_at,
            self.value_at,
            self.plane,
            self.ordered,
        )

    def get(self, field: int) -> int:
        return self.memory.load(self.address + field, 8)

    def set(self, field: int, value: int) -> None:
        self.memory.store(self.address + field, 8, value)

    def __len__(self) -> int:
        return self.get(COUNT)

    # --- elements -----------------------------------------------------------------------------

    def key(self, element: int) -> bytes:
        return bytes(self.memory.view(element + self.key_at, self.key_size))

    def value(self, element: int) -> int:
        """The address of an element's value (CPU 0's)."""
        return element + self.value_at

    def slot(self, element: int) -> int:
        return self.memory.load(element + SLOT, 8)

    def following(self, slot: int) -> int:
        """The first slot from `slot` on that is in use, -1 if there is none."""
        end = self.get(SLOTS)
        if slot >= end:
            return -1
        return bytes(self.memory.view(self.get(USED), end)).find(1, slot)

    def in_use(self) -> Iterator[int]:
        """The elements, by slot."""
        slot = self.following(0)
        while slot >= 0:
            yield self.elements[slot]
            slot = self.following(slot + 1)

    def find(self, key: bytes) -> int:
        """The element with that key."""
        memory = self.memory
        element = memory.load(self._bucket(key), 8)
        key_at, size = self.key_at, self.key_size
        while element and memory.view(element + key_at, size) != key:
            element = memory.load(element, 8)
        return element

    def use(self, element: int) -> None:
        """The element is now the most recently used one."""
        if self.ordered and self.get(NEWEST) != element:
            self._leave_order(element)
            self._enter_order(element)

    def insert(self, key: bytes) -> int:
        """An element for a new key, its value as the slot's last one was; 0 if there is no room."""
        element = self._take()
        if not element:
            return 0
        memory, first = self.memory, self._bucket(key)
        padded = key.ljust(self.extra_at - self.key_at, b"\0")
        memory.view(element + self.key_at, len(padded))[:] = padded
        memory.store(element + NEXT, 8, memory.load(first, 8))
        memory.store(first, 8, element)
        self._mark(element, 1)
        self.set(COUNT, self.get(COUNT) + 1)
        if self.ordered:
            self._enter_order(element)
        return element

    def drop(self, element: int) -> None:
        """Forgets an element; its slot is the next to be handed out."""
        memory = self.memory
        link = self._bucket(self.key(element))
        while (found := memory.load(link, 8)) != element:
            link = found + NEXT
        memory.store(link, 8, memory.load(element + NEXT, 8))
        self._mark(element, 0)
        memory.store(element + NEXT, 8, self.get(FREE))
        self.set(FREE, element)
        self.set(COUNT, self.get(COUNT) - 1)
        if self.ordered:
            self._leave_order(element)

    # --- inside -------------------------------------------------------------------------------

    def _bucket(self, key: bytes) -> int:
        """The address of the link to the first element with the key's hash."""
        hashed = 0
        for at in range(0, len(key), 8):
            word = int.from_bytes(key[at : at + 8], "little")
            hashed = (hashed ^ word) * MULTIPLIER & MASK
        return self.buckets + 8 * (hashed >> self.shift)

    def _mark(self, element: int, used: int) -> None:
        self.memory.store(self.get(USED) + self.slot(element), 1, used)

    def _take(self) -> int:
        """A free element, 0 if there is no room."""
        full = self.get(COUNT) >= self.limit
        if not full and not self.get(FREE) and self.get(FRESH) == self.get(END):
            full = not self._carve()
        if full:
            if not self.ordered or not self.get(COUNT):
                return 0
            self.drop(self.get(OLDEST))
        element = self.get(FREE)
        if element:
            self.set(FREE, self.memory.load(element + NEXT, 8))
            return element
        element, slot = self.get(FRESH), self.get(SLOTS)
        self.set(FRESH, element + self.size)
        self.set(SLOTS, slot + 1)
        self.memory.store(element + SLOT, 8, slot)
        return element

    def _carve(self) -> bool:
        """Room for more elements, if there is any left in the arena."""
        first, memory = len(self.elements), self.memory
        count = min(max(FIRST_CHUNK, first), self.limit - first)
        window = self.value_at, self.value_size
        try:
            chunk = memory.allocate(
                self.size * count,
                writable=self.writable,
                stride=self.size,
                window=window,
                pitch=self.stride,
            )
        except MemoryError:
            return False
        try:
            used = memory.allocate(first + count, private=True)
        except MemoryError:
            memory.free(chunk)
            return False
        if first:
            memory.view(used, first)[:] = memory.view(self.get(USED), first)
            memory.free(self.get(USED))
        self.set(USED, used)
        self.chunks.append(chunk)
        end = chunk + self.size * count
        self.elements.extend(range(chunk, end, self.size))
        self.set(FRESH, chunk)
        self.set(END, end)
        return True

    def _enter_order(self, element: int) -> None:
        """The element becomes the newest."""
        memory, newest = self.memory, self.get(NEWEST)
        memory.store(element + OLDER, 8, newest)
        memory.store(element + NEWER, 8, 0)
        if newest:
            memory.store(newest + NEWER, 8, element)
        else:
            self.set(OLDEST, element)
        self.set(NEWEST, element)

    def _leave_order(self, element: int) -> None:
        memory = self.memory
        older, newer = memory.load(element + OLDER, 8), memory.load(element + NEWER, 8)
        if older:
            memory.store(older + NEWER, 8, newer)
        else:
            self.set(OLDEST, newer)
        if newer:
            memory.store(newer + OLDER, 8, older)
        else:
            self.set(NEWEST, older)
