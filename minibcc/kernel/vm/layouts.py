"""What native code may know of a map, to do its operations without asking Python.

A map's Python operations are its definition. Where the map says how its values lie (an array), the
JIT makes a few instructions of a look-up or an update; where it says that it lies as `natives.c`
knows it, a native function does what Python would; everything else still calls the helper.
Mirrors what Linux's verifier does with ``map_gen_lookup`` (kernel/bpf/arraymap.c, hashtab.c).

An image names its maps' layouts by the address that programs hold (`Image.layouts`).
"""

from __future__ import annotations

from typing import Any

from minibcc.records import Record

LARGEST_VALUE = 256
"""Bytes: longer values of arrays are copied by the helper."""
LONGEST_KEY = 16
"""Bytes: longer keys of hash tables are left to `natives.c` altogether."""
MULTIPLIER = 0x9E37_79B9_7F4A_7C15
"""2^64 divided by the golden ratio: multiplying by it spreads keys (Knuth, volume 3, 6.4)."""


class ArrayLayout(Record):
    """Element `i` of `count` lies at ``values + i * stride``, and CPU `c`'s part of it `c * plane`
    bytes on (0 if it is not per CPU). Keys are 4 bytes."""

    values: int
    stride: int
    count: int
    value_size: int
    plane: int = 0


class HashLayout(Record):
    """A hash table, plain, per CPU or in order of use: `maps.table.HashTable` at `table`, whose
    fields that never change the rest are. `plane` is as in `ArrayLayout`."""

    table: int
    buckets: int
    shift: int
    key_size: int
    key_at: int
    value_at: int
    plane: int
    ordered: bool


class TrieLayout(Record):
    """A prefix trie: a table of prefixes."""

    table: int


class RingLayout(Record):
    """A ring buffer, whose own page is at `base` (`maps.ringbuf`)."""

    base: int


class ProgramLayout(Record):
    """A program array: the native entry of program `i` lies at ``entries + 8 * i``, 0 where it is
    not known. Whoever writes one there puts what keeps it alive into `kept`, under `i`; the map
    forgets both when the element changes."""

    entries: int
    count: int
    kept: dict[int, Any]


Layout = ArrayLayout | HashLayout | TrieLayout | RingLayout | ProgramLayout
