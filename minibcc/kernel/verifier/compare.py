"""What a comparison of two ranges decides, and what either outcome teaches of both.

`taken` says whether a conditional jump must or cannot happen; `refine` narrows both sides for the
branch on which the comparison holds. ``>`` and ``>=`` are ``<`` and ``<=`` with the sides swapped.
Mirrors ``is_scalar_branch_taken`` and ``regs_refine_cond_op`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from minibcc.isa.opcodes import JEQ, JGE, JGT, JLE, JLT, JNE, JSET, JSGE, JSGT, JSLE, JSLT
from minibcc.kernel.verifier import tnum
from minibcc.kernel.verifier.tnum import U32, Tnum
from minibcc.kernel.verifier.values import HIGH, Range, checked, deduce, signed32, signed64

JCLEAR = JSET | 8
"""The opposite of JSET, which no instruction is."""

OPPOSITE = {
    JEQ: JNE,
    JNE: JEQ,
    JGT: JLE,
    JLE: JGT,
    JGE: JLT,
    JLT: JGE,
    JSGT: JSLE,
    JSLE: JSGT,
    JSGE: JSLT,
    JSLT: JSGE,
    JSET: JCLEAR,
    JCLEAR: JSET,
}
SWAPPED = {
    JEQ: JEQ,
    JNE: JNE,
    JSET: JSET,
    JCLEAR: JCLEAR,
    JGT: JLT,
    JLT: JGT,
    JGE: JLE,
    JLE: JGE,
    JSGT: JSLT,
    JSLT: JSGT,
    JSGE: JSLE,
    JSLE: JSGE,
}


@lru_cache(1 << 15)
def taken(operation: int, wide: bool, a: Range, b: Range) -> bool | None:
    """Whether ``a op b`` holds for all values, for none (False), or it depends (None)."""
    if wide:
        x, y = a.bits, b.bits
        smin1, smax1, umin1, umax1 = a[1:5]
        smin2, smax2, umin2, umax2 = b[1:5]
    else:
        x, y = tnum.cast(a.bits, 4), tnum.cast(b.bits, 4)
        smin1, smax1, umin1, umax1 = a[5:]
        smin2, smax2, umin2, umax2 = b[5:]
    if operation in (JEQ, JNE):
        equal = None
        if not x[1] and not y[1]:
            equal = x[0] == y[0]
        elif (
            (x[0] ^ y[0]) & ~(x[1] | y[1])
            or umin1 > umax2
            or umax1 < umin2
            or smin1 > smax2
            or smax1 < smin2
            or (
                wide
                and (
                    a.umin32 > b.umax32
                    or a.umax32 < b.umin32
                    or a.smin32 > b.smax32
                    or a.smax32 < b.smin32
                )
            )
        ):
            equal = False
        return equal if operation == JEQ or equal is None else not equal
    if operation == JSET:
        if y[1]:
            x, y = y, x
        if y[1]:
            return None
        if x[0] & y[0]:
            return True
        return None if (x[0] | x[1]) & y[0] else False
    if operation in (JSGT, JSGE, JSLT, JSLE):
        umin1, umax1, umin2, umax2 = smin1, smax1, smin2, smax2
    if operation in (JLT, JSLT, JLE, JSLE):
        umin1, umax1, umin2, umax2 = umin2, umax2, umin1, umax1
    if operation in (JGT, JSGT, JLT, JSLT):
        return True if umin1 > umax2 else False if umax1 <= umin2 else None
    return True if umin1 >= umax2 else False if umax1 < umin2 else None


def _low_bits(whole: Tnum, low: Tnum) -> Tnum:
    return whole[0] & HIGH | low[0], whole[1] & HIGH | low[1]


@lru_cache(1 << 15)
def refine(operation: int, wide: bool, a: Range, b: Range) -> tuple[Range, Range]:
    """Both ranges where ``a op b`` holds."""
    if operation in (JGT, JGE, JSGT, JSGE):
        b, a = refine(SWAPPED[operation], wide, b, a)
        return a, b
    if operation == JEQ:
        x, y = _equal(wide, a, b)
    elif operation == JNE:
        x, y = _unequal(wide, a, b)
    elif operation in (JSET, JCLEAR):
        x, y = _masked(operation, wide, a, b)
    else:
        x, y = _below(operation, wide, a, b)
    return a if x == a else checked(deduce(x)), b if y == b else checked(deduce(y))


def _equal(wide: bool, a: Range, b: Range) -> tuple[Range, Range]:
    if wide:
        bits = tnum.intersect(a.bits, b.bits)
        bounds = (
            max(a.smin, b.smin),
            min(a.smax, b.smax),
            max(a.umin, b.umin),
            min(a.umax, b.umax),
        )
        return Range(bits, *bounds, *a[5:]), Range(bits, *bounds, *b[5:])
    low = tnum.intersect(tnum.cast(a.bits, 4), tnum.cast(b.bits, 4))
    bounds = (
        max(a.smin32, b.smin32),
        min(a.smax32, b.smax32),
        max(a.umin32, b.umin32),
        min(a.umax32, b.umax32),
    )
    return (
        Range(_low_bits(a.bits, low), *a[1:5], *bounds),
        Range(_low_bits(b.bits, low), *b[1:5], *bounds),
    )


def _without(value: Range, number: int, wide: bool) -> Range:
    """Without one number, where that is the edge of an interval."""
    if wide:
        signed = signed64(number)
        return value._replace(
            umin=value.umin + (value.umin == number),
            umax=value.umax - (value.umax == number),
            smin=value.smin + (value.smin == signed),
            smax=value.smax - (value.smax == signed),
        )
    number &= U32
    signed = signed32(number)
    return value._replace(
        umin32=value.umin32 + (value.umin32 == number),
        umax32=value.umax32 - (value.umax32 == number),
        smin32=value.smin32 + (value.smin32 == signed),
        smax32=value.smax32 - (value.smax32 == signed),
    )


def _unequal(wide: bool, a: Range, b: Range) -> tuple[Range, Range]:
    if b.known if wide else b.known32:
        return _without(a, b.value, wide), b
    if a.known if wide else a.known32:
        return a, _without(b, a.value, wide)
    return a, b


def _masked(operation: int, wide: bool, a: Range, b: Range) -> tuple[Range, Range]:
    """``a & b`` is not zero (JSET), or is (JCLEAR), where one of them is a number."""
    if not (b.known if wide else b.known32):
        if not (a.known if wide else a.known32):
            return a, b
        b, a = _masked(operation, wide, b, a)
        return a, b
    mask = b.value if wide else b.value & U32
    if operation == JSET:
        if mask & (mask - 1) or not mask:
            return a, b
        value, unknown = a.bits[0] | mask, a.bits[1] & ~mask
    else:
        value, unknown = a.bits[0] & ~mask, a.bits[1] & ~mask
    return a._replace(bits=(value, unknown)), b


def _below(operation: int, wide: bool, a: Range, b: Range) -> tuple[Range, Range]:
    """``a < b`` or ``a <= b``, signed or not."""
    less = operation in (JLT, JSLT)
    index = (1 if operation in (JSLT, JSLE) else 3) + (0 if wide else 4)
    below: list[Any] = list(a)
    above: list[Any] = list(b)
    below[index + 1] = min(a[index + 1], b[index + 1] - less)  # type: ignore[operator]  # numbers
    above[index] = max(a[index] + less, b[index])  # type: ignore[operator]  # numbers
    return Range._make(below), Range._make(above)
