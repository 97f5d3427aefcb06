"""What an arithmetic instruction makes of two ranges.

`compute(operation, wide, a, b)` is the range of ``a op b`` at 64 bits (`wide`) or of its 32-bit
form, whose result is zero-extended. Each operation says what it knows of every view (tnum, four
intervals); `deduce` then lets the views tell one another. Mirrors ``scalar*_min_max_*`` and
``adjust_scalar_min_max_vals`` of kernel/bpf/verifier.c, Linux 6.18.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache

from minibcc.kernel.verifier import tnum
from minibcc.kernel.verifier.tnum import U32, U64
from minibcc.kernel.verifier.values import (
    ANY,
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    ZERO,
    Range,
    checked,
    constant,
    deduce,
    only_low,
    signed32,
    signed64,
)

ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV, ARSH, END = range(0x00, 0xE0, 0x10)


def _interval_add(
    low: int, high: int, low2: int, high2: int, minimum: int, maximum: int
) -> tuple[int, int]:
    """Signed sums, everything if one may overflow."""
    low, high = low + low2, high + high2
    return (low, high) if minimum <= low and high <= maximum else (minimum, maximum)


def _interval_wrap(low: int, high: int, maximum: int) -> tuple[int, int]:
    """Unsigned bounds modulo 2**n, everything if only one of them wraps."""
    if (low > maximum or low < 0) != (high > maximum or high < 0):
        return 0, maximum
    return low & maximum, high & maximum


def _add(a: Range, b: Range) -> Range:
    return Range(
        tnum.add(a.bits, b.bits),
        *_interval_add(a.smin, a.smax, b.smin, b.smax, S64_MIN, S64_MAX),
        *_interval_wrap(a.umin + b.umin, a.umax + b.umax, U64),
        *_interval_add(a.smin32, a.smax32, b.smin32, b.smax32, S32_MIN, S32_MAX),
        *_interval_wrap(a.umin32 + b.umin32, a.umax32 + b.umax32, U32),
    )


def _sub(a: Range, b: Range) -> Range:
    return Range(
        tnum.sub(a.bits, b.bits),
        *_interval_add(a.smin, a.smax, -b.smax, -b.smin, S64_MIN, S64_MAX),
        *_interval_wrap(a.umin - b.umax, a.umax - b.umin, U64),
        *_interval_add(a.smin32, a.smax32, -b.smax32, -b.smin32, S32_MIN, S32_MAX),
        *_interval_wrap(a.umin32 - b.umax32, a.umax32 - b.umin32, U32),
    )


def _negate(a: Range, _: Range) -> Range:
    return _sub(ZERO, a)


def _interval_multiply(
    low: int, high: int, low2: int, high2: int, minimum: int, maximum: int
) -> tuple[int, int]:
    products = (low * low2, low * high2, high * low2, high * high2)
    low, high = min(products), max(products)
    return (low, high) if minimum <= low and high <= maximum else (minimum, maximum)


def _multiply(a: Range, b: Range) -> Range:
    return Range(
        tnum.multiply(a.bits, b.bits),
        *_interval_multiply(a.smin, a.smax, b.smin, b.smax, S64_MIN, S64_MAX),
        *_interval_multiply(a.umin, a.umax, b.umin, b.umax, 0, U64),
        *_interval_multiply(a.smin32, a.smax32, b.smin32, b.smax32, S32_MIN, S32_MAX),
        *_interval_multiply(a.umin32, a.umax32, b.umin32, b.umax32, 0, U32),
    )


def _bitwise(bits: tuple[int, int], low: int, high: int, low32: int, high32: int) -> Range:
    """From unsigned bounds; the signed ones are the same unless they cross the sign."""
    smin, smax = signed64(low), signed64(high)
    if smin > smax:
        smin, smax = S64_MIN, S64_MAX
    smin32, smax32 = signed32(low32), signed32(high32)
    if smin32 > smax32:
        smin32, smax32 = S32_MIN, S32_MAX
    return Range(bits, smin, smax, low, high, smin32, smax32, low32, high32)


def _and(a: Range, b: Range) -> Range:
    bits = tnum.and_(a.bits, b.bits)
    return _bitwise(bits, bits[0], min(a.umax, b.umax), bits[0] & U32, min(a.umax32, b.umax32))


def _or(a: Range, b: Range) -> Range:
    bits = tnum.or_(a.bits, b.bits)
    top = bits[0] | bits[1]
    return _bitwise(bits, max(a.umin, b.umin), top, max(a.umin32, b.umin32), top & U32)


def _xor(a: Range, b: Range) -> Range:
    bits = tnum.xor(a.bits, b.bits)
    top = bits[0] | bits[1]
    return _bitwise(bits, bits[0], top, bits[0] & U32, top & U32)


def _shift_left32(a: Range, by: int) -> tuple[int, int, int, int]:
    if by > 31 or a.umax32 > 1 << (31 - by):
        return S32_MIN, S32_MAX, 0, U32
    return S32_MIN, S32_MAX, a.umin32 << by & U32, a.umax32 << by & U32


def _shift_left(a: Range, b: Range) -> Range:
    by = b.umin
    smin, smax, umin, umax = S64_MIN, S64_MAX, 0, U64
    if by == 32:  # half of a sign extension: the low half's sign becomes the whole's
        smin, smax = a.smin32 << 32, a.smax32 << 32
    if a.umax <= 1 << (63 - by):
        umin, umax = a.umin << by & U64, a.umax << by & U64
    return Range(tnum.shift_left(a.bits, by), smin, smax, umin, umax, *_shift_left32(a, by))


def _shift_left_low(a: Range, b: Range) -> Range:
    by = b.umin32
    bits = tnum.cast(tnum.shift_left(tnum.cast(a.bits, 4), by), 4)
    return Range(bits, *ANY[1:5], *_shift_left32(a, by))


def _shift_right(a: Range, b: Range) -> Range:
    by = b.umin
    bits = tnum.shift_right(a.bits, by)
    return Range(bits, S64_MIN, S64_MAX, a.umin >> by, a.umax >> by, *ANY[5:])


def _shift_right_low(a: Range, b: Range) -> Range:
    by = b.umin32
    bits = tnum.shift_right(tnum.cast(a.bits, 4), by)
    return Range(bits, *ANY[1:5], S32_MIN, S32_MAX, a.umin32 >> by, a.umax32 >> by)


def _shift_signed(a: Range, b: Range) -> Range:
    by = b.umin
    bits = tnum.shift_right_signed(a.bits, by, 64)
    return Range(bits, a.smin >> by, a.smax >> by, 0, U64, *ANY[5:])


def _shift_signed_low(a: Range, b: Range) -> Range:
    by = b.umin32
    bits = tnum.shift_right_signed(a.bits, by, 32)
    return Range(bits, *ANY[1:5], a.smin32 >> by, a.smax32 >> by, 0, U32)


_WIDE: dict[int, Callable[[Range, Range], Range]] = {
    ADD: _add,
    SUB: _sub,
    NEG: _negate,
    MUL: _multiply,
    AND: _and,
    OR: _or,
    XOR: _xor,
    LSH: _shift_left,
    RSH: _shift_right,
    ARSH: _shift_signed,
}
_EXACT: dict[int, Callable[[int, int], int]] = {
    ADD: operator.add,
    SUB: operator.sub,
    MUL: operator.mul,
    AND: operator.and_,
    OR: operator.or_,
    XOR: operator.xor,
}
"""What two numbers make, modulo 2**64."""
_LOW = _WIDE | {LSH: _shift_left_low, RSH: _shift_right_low, ARSH: _shift_signed_low}
_SHIFTS = {LSH, RSH, ARSH}


@lru_cache(1 << 15)
def compute(operation: int, wide: bool, a: Range, b: Range) -> Range | None:
    """The range of ``a op b``, `checked`; None where nothing can be said (division, shifts by what
    is not one number below the width), so that the result is anything, even of a 32-bit
    operation."""
    function = (_WIDE if wide else _LOW).get(operation)
    if function is None:
        return None
    if operation in _SHIFTS and (
        not (b.known if wide else b.known32) or b.umax >= (64 if wide else 32)
    ):
        return None
    if wide and not a.bits[1] | b.bits[1]:
        exact = _EXACT.get(operation)
        if exact is not None:
            return constant(exact(a.bits[0], b.bits[0]))
        return constant(function(a, b).bits[0])
    result = function(a, b)
    return checked(deduce(result if wide else only_low(result)))


@lru_cache(1 << 12)
def swap(a: Range, width: int, reverse: bool) -> Range:
    """The low `width` bits, zero-extended, with their bytes in the other order if `reverse`."""
    size = width // 8
    value, mask = tnum.cast(a.bits, size)
    if reverse:
        value = int.from_bytes(value.to_bytes(size, "little"), "big")
        mask = int.from_bytes(mask.to_bytes(size, "little"), "big")
    return checked(deduce(ANY._replace(bits=(value, mask))))
