"""What native code may know of a map, to do its commonest operations without asking Python.

A map's Python operations are its definition. Where the map says how its values lie (an array) or
lends itself to remembering where they lie (a hash table), the JIT makes a few instructions of a
look-up, and of an update of an element that exists; everything else still calls the helper.
Mirrors what Linux's verifier does with ``map_gen_lookup`` (kernel/bpf/arraymap.c, hashtab.c).

An image names its maps' layouts by the address that programs hold (`Image.layouts`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.kernel.vm.memory import Memory

MULTIPLIER = 0x9E37_79B9_7F4A_7C15
"""2^64 divided by the golden ratio: multiplying by it spreads keys (Knuth, volume 3, 6.4)."""
LONGEST_KEY = 64
MOST_BITS = 16
"""A cache has at most 2^16 entries."""
LARGEST_VALUE = 256
"""Bytes: longer ones are copied by the helper."""


class ArrayLayout(Record):
    """Element `i` of `count` lies at ``values + i * stride``, and CPU `c`'s part of it `c * plane`
    bytes on (0 if it is not per CPU). Keys are 4 bytes."""

    values: int
    stride: int
    count: int
    value_size: int
    plane: int = 0


class LookupCache:
    """Where values of a hash table were found, by key: a table in the arena that native code reads
    and fills. An entry is the key, padded with zeros to whole words, and the address of the value
    (CPU 0's), 0 for an empty entry.

    The map must say `forget` of each key that it removes, and `clear` where it cannot say which
    keys a change concerns (a prefix trie, at any change); a key that is there must have its value
    at one address for as long as it is. A table that must know of each use (LRU) cannot have one.
    `plane` is as in `ArrayLayout`. Raises ValueError for keys too long to be worth it.
    """

    def __init__(
        self, memory: Memory, key_size: int, value_size: int, max_entries: int, plane: int = 0
    ) -> None:
        if not 0 < key_size <= LONGEST_KEY:
            raise ValueError(f"no cache for keys of {key_size} bytes")
        self.memory = memory
        self.key_size = key_size
        self.value_size = value_size
        self.plane = plane
        self.words = -(-key_size // 8)
        self.entry = 8 * self.words + 8
        self.bits = min(MOST_BITS, max(4, (2 * max_entries - 1).bit_length()))
        self.size = self.entry << self.bits
        self.table = memory.allocate(self.size, private=True)

    def release(self) -> None:
        """Gives the table back; no image may use it any more."""
        self.memory.free(self.table)

    def forget(self, key: bytes) -> None:
        """The key is not in the map any more."""
        hashed = 0
        padded = key.ljust(8 * self.words, b"\0")
        for at in range(0, len(padded), 8):
            word = int.from_bytes(padded[at : at + 8], "little")
            hashed = (hashed ^ word) * MULTIPLIER & (1 << 64) - 1
        entry = self.table + (hashed >> 64 - self.bits) * self.entry
        if self.memory.view(entry, 8 * self.words) == padded:
            self.memory.store(entry + 8 * self.words, 8, 0)

    def clear(self) -> None:
        """No key is in the map any more."""
        self.memory.view(self.table, self.size)[:] = bytes(self.size)


Layout = ArrayLayout | LookupCache
