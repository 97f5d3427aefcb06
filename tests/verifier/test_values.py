"""The arithmetic of the unknown is sound: what concrete numbers do stays inside the ranges."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.isa.opcodes import JEQ, JGE, JGT, JLE, JLT, JNE, JSET, JSGE, JSGT, JSLE, JSLT
from minibcc.kernel.verifier import arithmetic, compare, tnum, values
from minibcc.kernel.verifier.tnum import U32, U64
from minibcc.kernel.verifier.values import ANY, S32_MAX, S32_MIN, S64_MAX, S64_MIN, Range

INTERESTING = st.sampled_from(
    [
        (base + delta) & U64
        for base in (0, 1 << 15, 1 << 31, 1 << 32, 1 << 63)
        for delta in range(-3, 4)
    ]
)
NUMBERS = st.integers(0, U64) | st.integers(0, 64) | INTERESTING


def holds(value: Range, number: int) -> bool:
    """Whether a number lies in every view of a range."""
    low = number & U32
    return (
        number & ~value.bits[1] == value.bits[0]
        and value.smin <= values.signed64(number) <= value.smax
        and value.umin <= number <= value.umax
        and value.smin32 <= values.signed32(low) <= value.smax32
        and value.umin32 <= low <= value.umax32
    )


@st.composite
def members(draw: st.DrawFn) -> tuple[Range, int]:
    """A range, as comparisons and masks would have made it, and a number in it."""
    number = draw(NUMBERS)
    value = ANY
    for kind in draw(st.lists(st.integers(0, 4), max_size=4)):
        other = draw(NUMBERS)
        if kind == 0:
            known = tnum.intersect(value.bits, (number & ~other, other))
            value = values.deduce(value._replace(bits=known))
        elif kind == 1:
            low, high = sorted((number, other))
            value = values.narrowed(value, None, S64_MIN, S64_MAX, low, high, True)
        elif kind == 2:
            low, high = sorted((values.signed64(number), values.signed64(other)))
            value = values.narrowed(value, None, low, high, 0, U64, True)
        elif kind == 3:
            low, high = sorted((number & U32, other & U32))
            value = values.narrowed(value, None, S32_MIN, S32_MAX, low, high, False)
        else:
            low, high = sorted((values.signed32(number), values.signed32(other)))
            value = values.narrowed(value, None, low, high, 0, U32, False)
    return value, number


def signed(number: int, bits: int) -> int:
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


CONCRETE = {
    arithmetic.ADD: lambda a, b, bits: a + b,
    arithmetic.SUB: lambda a, b, bits: a - b,
    arithmetic.MUL: lambda a, b, bits: a * b,
    arithmetic.AND: lambda a, b, bits: a & b,
    arithmetic.OR: lambda a, b, bits: a | b,
    arithmetic.XOR: lambda a, b, bits: a ^ b,
    arithmetic.NEG: lambda a, b, bits: -a,
    arithmetic.LSH: lambda a, b, bits: a << b,
    arithmetic.RSH: lambda a, b, bits: a >> b,
    arithmetic.ARSH: lambda a, b, bits: signed(a, bits) >> b,
}
SHIFTS = (arithmetic.LSH, arithmetic.RSH, arithmetic.ARSH)


@settings(max_examples=400, deadline=None)
@given(members())
def test_a_range_holds_what_it_was_made_for(pair: tuple[Range, int]) -> None:
    assert holds(*pair)
    assert values.sane(pair[0])


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(sorted(CONCRETE)), st.booleans(), members(), members())
def test_arithmetic(
    operation: int, wide: bool, left: tuple[Range, int], right: tuple[Range, int]
) -> None:
    bits = 64 if wide else 32
    (a, x), (b, y) = left, right
    if operation in SHIFTS:
        y %= bits
        b = values.constant(y)
    result = arithmetic.compute(operation, wide, a, b)
    full = (1 << bits) - 1
    assert result is not None
    assert holds(result, CONCRETE[operation](x & full, y & full, bits) & full)


@settings(max_examples=500, deadline=None)
@given(members(), st.sampled_from((1, 2, 4)))
def test_extension(pair: tuple[Range, int], size: int) -> None:
    value, number = pair
    assert holds(values.truncate(value, size), number & ((1 << 8 * size) - 1))
    assert holds(values.sign_extend(value, size), signed(number, 8 * size) & U64)
    assert holds(values.zero_extend(value), number & U32)
    if size < 4:
        assert holds(values.sign_extend32(value, size), signed(number, 8 * size) & U32)


@settings(max_examples=300, deadline=None)
@given(members(), st.sampled_from((2, 4, 8)), st.booleans())
def test_byte_order(pair: tuple[Range, int], size: int, reverse: bool) -> None:
    value, number = pair
    number &= (1 << 8 * size) - 1
    data = number.to_bytes(size, "little")
    expected = int.from_bytes(data, "big" if reverse else "little")
    assert holds(arithmetic.swap(value, size * 8, reverse), expected)


COMPARE = {
    JEQ: lambda a, b, bits: a == b,
    JNE: lambda a, b, bits: a != b,
    JGT: lambda a, b, bits: a > b,
    JGE: lambda a, b, bits: a >= b,
    JLT: lambda a, b, bits: a < b,
    JLE: lambda a, b, bits: a <= b,
    JSET: lambda a, b, bits: bool(a & b),
    JSGT: lambda a, b, bits: signed(a, bits) > signed(b, bits),
    JSGE: lambda a, b, bits: signed(a, bits) >= signed(b, bits),
    JSLT: lambda a, b, bits: signed(a, bits) < signed(b, bits),
    JSLE: lambda a, b, bits: signed(a, bits) <= signed(b, bits),
}


@settings(max_examples=1500, deadline=None)
@given(st.sampled_from(sorted(COMPARE)), st.booleans(), members(), members())
def test_comparison(
    operation: int, wide: bool, left: tuple[Range, int], right: tuple[Range, int]
) -> None:
    bits = 64 if wide else 32
    (a, x), (b, y) = left, right
    full = (1 << bits) - 1
    happened = COMPARE[operation](x & full, y & full, bits)
    decided = compare.taken(operation, wide, a, b)
    assert decided is None or decided == happened
    outcome = operation if happened else compare.OPPOSITE[operation]
    narrower_a, narrower_b = compare.refine(outcome, wide, a, b)
    assert holds(narrower_a, x)
    assert holds(narrower_b, y)
    assert values.within(a, narrower_a)
    assert values.within(b, narrower_b)


@settings(max_examples=300, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_tnums_hold_products_and_unions(a: int, b: int, mask_a: int, mask_b: int) -> None:
    x, y = (a & ~mask_a, mask_a), (b & ~mask_b, mask_b)
    value, unknown = tnum.multiply(x, y)
    assert (a * b) & U64 & ~unknown == value
    both = tnum.union(x, y)
    assert tnum.within(both, x)
    assert tnum.within(both, y)
