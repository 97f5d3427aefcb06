"""Tristate numbers: 64 bits, each known to be 0, known to be 1, or unknown.

A tnum is a pair (value, mask): bits in `mask` are unknown, the others are those of `value`, and no
bit is in both. Every operation is sound: if x is a member of a and y of b, then x op y is a member
of ``op(a, b)``.

Mirrors kernel/bpf/tnum.c; see Vishwanathan et al., "Sound, Precise, and Fast Abstract
Interpretation with Tristate Numbers", CGO 2022.
"""

from __future__ import annotations

from typing import TypeAlias

U64 = (1 << 64) - 1
U32 = (1 << 32) - 1

Tnum: TypeAlias = tuple[int, int]

UNKNOWN: Tnum = (0, U64)


def span(low: int, high: int) -> Tnum:
    """The smallest tnum that holds all of low..high (unsigned)."""
    changing = (low ^ high).bit_length()
    if changing > 63:
        return UNKNOWN
    delta = (1 << changing) - 1
    return low & ~delta, delta


def add(a: Tnum, b: Tnum) -> Tnum:
    masks = a[1] + b[1]
    values = a[0] + b[0]
    unknown = ((masks + values) ^ values | a[1] | b[1]) & U64
    return values & ~unknown & U64, unknown


def sub(a: Tnum, b: Tnum) -> Tnum:
    difference = a[0] - b[0]
    unknown = ((difference + a[1]) ^ (difference - b[1]) | a[1] | b[1]) & U64
    return difference & ~unknown & U64, unknown


def negate(a: Tnum) -> Tnum:
    return sub((0, 0), a)


def and_(a: Tnum, b: Tnum) -> Tnum:
    ones = a[0] & b[0]
    return ones, (a[0] | a[1]) & (b[0] | b[1]) & ~ones


def or_(a: Tnum, b: Tnum) -> Tnum:
    ones = a[0] | b[0]
    return ones, (a[1] | b[1]) & ~ones


def xor(a: Tnum, b: Tnum) -> Tnum:
    unknown = a[1] | b[1]
    return (a[0] ^ b[0]) & ~unknown, unknown


def union(a: Tnum, b: Tnum) -> Tnum:
    """Holds the members of both."""
    unknown = (a[0] ^ b[0]) | a[1] | b[1]
    return a[0] & b[0] & ~unknown, unknown


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """Holds what both hold; where their known bits disagree there is no such member."""
    unknown = a[1] & b[1]
    return (a[0] | b[0]) & ~unknown, unknown


def multiply(a: Tnum, b: Tnum) -> Tnum:
    """Long multiplication: each bit of `a` adds `b`, or perhaps adds it, or not."""
    total: Tnum = (0, 0)
    value, mask = a
    while value or mask:
        if value & 1:
            total = add(total, b)
        elif mask & 1:
            total = union(total, add(total, b))
        value >>= 1
        mask >>= 1
        b = (b[0] << 1 & U64, b[1] << 1 & U64)
    return total


def shift_left(a: Tnum, by: int) -> Tnum:
    return a[0] << by & U64, a[1] << by & U64


def shift_right(a: Tnum, by: int) -> Tnum:
    return a[0] >> by, a[1] >> by


def shift_right_signed(a: Tnum, by: int, bits: int) -> Tnum:
    """Of the low `bits` (32 or 64); an unknown sign bit fills with unknown bits."""
    full, sign = (1 << bits) - 1, 1 << (bits - 1)
    value, mask = a[0] & full, a[1] & full
    value = (value - (1 << bits) if value & sign else value) >> by
    mask = (mask - (1 << bits) if mask & sign else mask) >> by
    return value & full, mask & full


def cast(a: Tnum, size: int) -> Tnum:
    """The low `size` bytes, zero-extended."""
    keep = (1 << 8 * size) - 1
    return a[0] & keep, a[1] & keep


def within(outer: Tnum, inner: Tnum) -> bool:
    """Whether every member of `inner` is one of `outer`."""
    return not inner[1] & ~outer[1] and outer[0] == inner[0] & ~outer[1]


def aligned(a: Tnum, size: int) -> bool:
    """Whether every member is a multiple of `size` (a power of two)."""
    return not (a[0] | a[1]) & (size - 1)
