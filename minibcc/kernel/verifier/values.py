"""What may be in a register: a `Range`, ten numbers that each bound the same 64 bits.

A tnum says which bits are known; four intervals bound the value as an unsigned and as a signed
number, at 64 bits and of its low 32 bits. Each view knows something that the others do not, and
`deduce` carries what one learns over to the rest. Ranges are immutable tuples: states share them,
and the arithmetic of the same operands is remembered.

Soundness is the contract: whatever values lie in the operands, the result of the instruction lies
in the result's range. Mirrors ``reg_bounds_sync`` and what it calls in kernel/bpf/verifier.c.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from minibcc.kernel.verifier import tnum
from minibcc.kernel.verifier.tnum import U32, U64

if TYPE_CHECKING:
    from minibcc.kernel.verifier.tnum import Tnum

S64_MIN, S64_MAX = -(1 << 63), (1 << 63) - 1
S32_MIN, S32_MAX = -(1 << 31), (1 << 31) - 1
HIGH = U64 ^ U32
_B32, _B64 = 1 << 32, 1 << 64
_REMEMBER = 1 << 15


class Range(NamedTuple):
    """`bits` is the tnum; `smin`..`smax` and `umin`..`umax` bound the 64-bit value, `smin32`.. the
    low half. All signed bounds are Python's signed numbers."""

    bits: Tnum
    smin: int
    smax: int
    umin: int
    umax: int
    smin32: int
    smax32: int
    umin32: int
    umax32: int

    @property
    def known(self) -> bool:
        return not self.bits[1]

    @property
    def value(self) -> int:
        """The value, unsigned, where it is `known`."""
        return self.bits[0]

    @property
    def known32(self) -> bool:
        return not self.bits[1] & U32


def signed64(value: int) -> int:
    value &= U64
    return value - (1 << 64) if value >> 63 else value


def signed32(value: int) -> int:
    value &= U32
    return value - (1 << 32) if value >> 31 else value


ANY = Range(tnum.UNKNOWN, S64_MIN, S64_MAX, 0, U64, S32_MIN, S32_MAX, 0, U32)


@lru_cache(_REMEMBER)
def constant(value: int) -> Range:
    """Exactly `value` (any Python integer, taken modulo 2**64)."""
    value &= U64
    s64, s32, u32 = signed64(value), signed32(value), value & U32
    return Range((value, 0), s64, s64, value, value, s32, s32, u32, u32)


ZERO = constant(0)


@lru_cache(_REMEMBER)
def between(low: int, high: int) -> Range:
    """All signed values low..high."""
    return deduce(ANY._replace(smin=low, smax=high))


@lru_cache(64)
def unsigned_of(size: int) -> Range:
    """Anything that `size` bytes hold, zero-extended."""
    return truncate(ANY, size)


# --- deduction -------------------------------------------------------------------------------


def _from_bits(
    bits: Tnum,
    smin: int,
    smax: int,
    umin: int,
    umax: int,
    smin32: int,
    smax32: int,
    umin32: int,
    umax32: int,
) -> tuple[int, int, int, int, int, int, int, int]:
    """Intervals narrowed by what the known bits allow."""
    value, mask = bits
    low, high = value & U32, (value | mask) & U32
    sign = mask & (1 << 31)
    smin32 = max(smin32, signed32(low | sign))
    smax32 = min(smax32, signed32(high & ~sign if sign else high))
    umin32, umax32 = max(umin32, low), min(umax32, high)
    sign = mask & (1 << 63)
    smin = max(smin, signed64(value | sign))
    top = value | mask
    smax = min(smax, signed64(top & ~sign if sign else top))
    umin, umax = max(umin, value), min(umax, top)
    return smin, smax, umin, umax, smin32, smax32, umin32, umax32


def _across(
    bounds: tuple[int, int, int, int, int, int, int, int],
) -> tuple[int, int, int, int, int, int, int, int]:
    """Each interval narrowed by the others: 32 bits, then 64, then between the two.

    Written out in comparisons: this is where the verifier spends its time.
    """
    smin, smax, umin, umax, smin32, smax32, umin32, umax32 = bounds
    high, low, top = umin >> 32, umin & U32, umax & U32
    slow = low - _B32 if low >> 31 else low
    stop = top - _B32 if top >> 31 else top
    # Where the upper halves agree, the lower halves are bounded as the whole is.
    if high == umax >> 32:
        umin32 = low if low > umin32 else umin32
        umax32 = top if top < umax32 else umax32
        if slow <= stop:
            smin32 = slow if slow > smin32 else smin32
            smax32 = stop if stop < smax32 else smax32
    # Neighbouring upper halves, the lower one passing through zero: a small signed range.
    elif (high + 1) & U32 == umax >> 32 and slow < 0 <= stop:
        smin32 = slow if slow > smin32 else smin32
        smax32 = stop if stop < smax32 else smax32
    high, low, top = smin >> 32, smin & U32, smax & U32
    slow = low - _B32 if low >> 31 else low
    stop = top - _B32 if top >> 31 else top
    if high == smax >> 32:
        if low <= top:
            umin32 = low if low > umin32 else umin32
            umax32 = top if top < umax32 else umax32
        if slow <= stop:
            smin32 = slow if slow > smin32 else smin32
            smax32 = stop if stop < smax32 else smax32
    elif (high + 1) & U32 == (smax >> 32) & U32 and slow < 0 <= stop:
        smin32 = slow if slow > smin32 else smin32
        smax32 = stop if stop < smax32 else smax32
    slow = umin32 - _B32 if umin32 >> 31 else umin32
    stop = umax32 - _B32 if umax32 >> 31 else umax32
    if slow <= stop:
        smin32 = slow if slow > smin32 else smin32
        smax32 = stop if stop < smax32 else smax32
    low, top = smin32 & U32, smax32 & U32
    if low <= top:
        umin32 = low if low > umin32 else umin32
        umax32 = top if top < umax32 else umax32
    slow = umin - _B64 if umin >> 63 else umin
    stop = umax - _B64 if umax >> 63 else umax
    if slow <= stop:
        smin = slow if slow > smin else smin
        smax = stop if stop < smax else smax
    low, top = smin & U64, smax & U64
    if low <= top:
        umin = low if low > umin else umin
        umax = top if top < umax else umax
    elif umax < low:  # the negative part is beyond the unsigned range
        smin = 0
        umax = top if top < umax else umax
    elif umin > top:  # the positive part is below it
        smax = -1
        umin = low if low > umin else umin
    low, top = umin & HIGH | umin32, umax & HIGH | umax32
    umin = low if low > umin else umin
    umax = top if top < umax else umax
    slow, stop = smin & ~U32 | umin32, smax & ~U32 | umax32
    smin = slow if slow > smin else smin
    smax = stop if stop < smax else smax
    if smin >= S32_MIN and smax <= S32_MAX:
        smin = smin32 if smin32 > smin else smin
        smax = smax32 if smax32 < smax else smax
    return smin, smax, umin, umax, smin32, smax32, umin32, umax32


@lru_cache(_REMEMBER)
def deduce(value: Range) -> Range:
    """The same values, every view as narrow as the others make it.

    A contradiction (no value at all, on a path that cannot happen) gives a range that is not
    `sane`.
    """
    bits = value[0]
    bounds = _from_bits(*value)
    for _ in range(3):
        before = bounds
        bounds = _across(bounds)
        if bounds == before:
            break
    bits = tnum.intersect(bits, tnum.span(bounds[2] & U64, bounds[3] & U64))
    low = tnum.intersect(tnum.cast(bits, 4), tnum.span(bounds[6] & U32, bounds[7] & U32))
    bits = (bits[0] & HIGH | low[0], bits[1] & HIGH | low[1])
    known = Range(bits, *_from_bits(bits, *bounds))
    return value if known == value else known  # the same object, so that it is found the same


def sane(value: Range) -> bool:
    """Whether some value can lie in all views."""
    bits, smin, smax, umin, umax, smin32, smax32, umin32, umax32 = value
    if smin > smax or umin > umax or smin32 > smax32 or umin32 > umax32:
        return False
    if not bits[1] and not (umin == umax == bits[0] and smin == smax == signed64(bits[0])):
        return False
    low = bits[0] & U32
    return bool(bits[1] & U32) or (umin32 == umax32 == low and smin32 == smax32 == signed32(low))


def checked(value: Range) -> Range:
    """`value`, or anything at all where it contradicts itself (``reg_bounds_sanity_check``)."""
    if sane(value):
        return value
    return Range(value.bits, *ANY[1:])


def only_low(value: Range) -> Range:
    """Zero-extension of the low 32 bits, the 64-bit view taken from the 32-bit one."""
    bits, _, _, _, _, smin32, smax32, umin32, umax32 = value
    if smin32 >= 0 and smax32 >= 0:
        smin, smax = smin32, smax32
    else:
        smin, smax = 0, U32
    return Range(tnum.cast(bits, 4), smin, smax, umin32, umax32, smin32, smax32, umin32, umax32)


@lru_cache(_REMEMBER)
def zero_extend(value: Range) -> Range:
    """After a 32-bit move."""
    return deduce(only_low(value))


@lru_cache(_REMEMBER)
def truncate(value: Range, size: int) -> Range:
    """The low `size` bytes, zero-extended (``coerce_reg_to_size``)."""
    keep = (1 << 8 * size) - 1
    umin, umax = value.umin, value.umax
    if umin & ~keep == umax & ~keep:
        umin, umax = umin & keep, umax & keep
    else:
        umin, umax = 0, keep
    bits = tnum.cast(value.bits, size)
    low = value[5:] if size >= 4 else ANY[5:]
    return deduce(Range(bits, signed64(umin), signed64(umax), umin, umax, *low))


@lru_cache(_REMEMBER)
def sign_extend(value: Range, size: int) -> Range:
    """The low `size` bytes, sign-extended to 64 bits (``coerce_reg_to_size_sx``)."""
    width = 8 * size
    half = 1 << (width - 1)

    def extended(number: int) -> int:
        number &= (1 << width) - 1
        return number - (1 << width) if number & half else number

    if not value.bits[1]:
        return constant(extended(value.bits[0]))
    if value.smin >> width == value.smax >> width:
        low, high = sorted((extended(value.smin), extended(value.smax)))
        # The bounds keep their order only if nothing between them changes sign.
        if (low >= 0) == (high >= 0):
            return Range(
                tnum.span(low & U64, high & U64),
                low,
                high,
                low & U64,
                high & U64,
                low if size < 8 else S32_MIN,
                high if size < 8 else S32_MAX,
                low & U32,
                high & U32,
            )
    return Range(
        tnum.UNKNOWN, -half, half - 1, 0, U64, max(-half, S32_MIN), min(half - 1, S32_MAX), 0, U32
    )


@lru_cache(_REMEMBER)
def sign_extend32(value: Range, size: int) -> Range:
    """The low `size` bytes, sign-extended to 32 bits, zero above (``coerce_subreg_to_size_sx``)."""
    wide = sign_extend(value, size)
    return deduce(only_low(wide))


# --- narrowing -------------------------------------------------------------------------------


@lru_cache(_REMEMBER)
def narrowed(
    value: Range,
    bits: Tnum | None,
    smin: int,
    smax: int,
    umin: int,
    umax: int,
    wide: bool,
) -> Range:
    """`value` and-ed with bounds, at 64 bits or (not `wide`) of its low half; `bits` replace its
    own where given."""
    if wide:
        value = value._replace(
            smin=max(value.smin, smin),
            smax=min(value.smax, smax),
            umin=max(value.umin, umin),
            umax=min(value.umax, umax),
        )
    else:
        value = value._replace(
            smin32=max(value.smin32, smin),
            smax32=min(value.smax32, smax),
            umin32=max(value.umin32, umin),
            umax32=min(value.umax32, umax),
        )
    if bits is not None:
        value = value._replace(bits=bits)
    return deduce(value)


def within(outer: Range, inner: Range) -> bool:
    """Whether all values of `inner` are values of `outer`, in every view (``range_within``)."""
    return outer is inner or (
        outer.smin <= inner.smin
        and outer.smax >= inner.smax
        and outer.umin <= inner.umin
        and outer.umax >= inner.umax
        and outer.smin32 <= inner.smin32
        and outer.smax32 >= inner.smax32
        and outer.umin32 <= inner.umin32
        and outer.umax32 >= inner.umax32
        and tnum.within(outer.bits, inner.bits)
    )
