"""Builtins, 128-bit integers and signed division, on the live kernel against Python."""

from __future__ import annotations

import pytest

from minibcc.btf.types import Array, Ptr, Type
from minibcc.compiler import tree
from minibcc.errors import CompileError
from tests.compiler.back import build as c
from tests.compiler.back.test_forms import add, local, opaque, run

kernel = pytest.mark.kernel
VALUES = (1, 2, 0x80, 0xF0F0, 0x12345678, -1, -(2**31))


def wide(value: int, type: Type) -> tree.Expr:
    return c.convert(opaque(value), type)


def low(e: tree.Expr) -> tree.Stmt:
    return c.give(c.convert(e, c.INT))


def u32(value: int) -> int:
    return value & 0xFFFF_FFFF


@kernel
@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clz", lambda v: 32 - v.bit_length()),
        ("ctz", lambda v: (v & -v).bit_length() - 1),
        ("popcount", lambda v: v.bit_count()),
        ("parity", lambda v: v.bit_count() & 1),
        ("ffs", lambda v: (v & -v).bit_length()),
        ("bswap32", lambda v: int.from_bytes(v.to_bytes(4, "little"), "big")),
        ("bswap16", lambda v: int.from_bytes((v & 0xFFFF).to_bytes(2, "little"), "big")),
    ],
)
def test_bits(name: str, expected: object, value: int) -> None:
    type = {"bswap16": c.U16}.get(name, c.UINT)
    answer = run(low(c.builtin(f"__builtin_{name}", type, wide(value, type))))
    assert answer == expected(u32(value))  # type: ignore[operator]  # a function


@kernel
@pytest.mark.parametrize("value", (0, 1, 0x80, 0xF1, 0x8001, 0xDEAD_BEEF, 0x8000_0000))
@pytest.mark.parametrize(
    ("bits", "type"), ((8, c.U8), (16, c.U16), (32, c.UINT), (64, c.U64)), ids=repr
)
def test_rotations_and_the_other_order(bits: int, type: Type, value: int) -> None:
    """A count may be larger than the width."""
    value &= (1 << bits) - 1
    if value >> 31:
        value, shown = value - (1 << 32), value | (0xFFFF_FFFF_0000_0000 if bits == 64 else 0)
    else:
        shown = value
    for count in (0, 1, 5, bits - 1, bits, bits + 3):
        for side, by in (("left", count % bits), ("right", -count % bits)):
            name = f"__builtin_rotate{side}{bits}"
            turned = c.builtin(name, type, wide(value, type), wide(count, type))
            expected = (shown << by | shown >> (bits - by)) & ((1 << bits) - 1)
            assert run(low(turned)) == u32(expected), (side, count)
    reversed_ = int(f"{shown:0{bits}b}"[::-1], 2)
    swapped = c.builtin(f"__builtin_bitreverse{bits}", type, wide(value, type))
    assert run(low(swapped)) == u32(reversed_)


@kernel
def test_bits_of_64() -> None:
    value = c.op("|", c.op("<<", wide(5, c.U64), c.number(40)), wide(0, c.U64))
    total = c.op(
        "+",
        c.convert(c.builtin("__builtin_ctzll", c.INT, value), c.INT),
        c.op("*", c.builtin("__builtin_clzll", c.INT, value), c.number(100)),
    )
    assert run(c.give(total)) == 40 + 100 * 21


@kernel
@pytest.mark.parametrize("cpu", ["v1", "v2", "v3", "v4"])
@pytest.mark.parametrize(("a", "b"), [(7, 2), (-7, 2), (7, -2), (-7, -2), (-(2**31), 3), (5, 1000)])
def test_signed_division(cpu: str, a: int, b: int) -> None:
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    remainder = a - quotient * b
    x, y = c.variable("x", c.INT), c.variable("y", c.INT)
    start = (c.declare(x, opaque(a)), c.declare(y, opaque(b)))
    assert run(*start, c.give(c.op("/", c.get(x), c.get(y))), cpu=cpu) == u32(quotient)
    assert run(*start, c.give(c.op("%", c.get(x), c.get(y))), cpu=cpu) == u32(remainder)
    long = [c.convert(c.get(v), c.S64) for v in (x, y)]
    assert run(*start, low(c.op("/", *long)), cpu=cpu) == u32(quotient)
    assert run(*start, c.give(c.op("/", c.get(x), c.number(b))), cpu=cpu) == u32(quotient)


A, B = 0x7FFF_FFF1_0123_4567_89AB_CDEF_0000_0001, -0x1234_5677_8000_0000_0000_0000_FFFF_0123


def wide128(value: int, type: Type = c.S128) -> tree.Expr:
    """Any 128-bit number that LLVM does not know, from four pieces."""
    total: tree.Expr = c.number(0, type)
    for shift in (0, 32, 64, 96):
        piece = value >> shift & 0xFFFF_FFFF
        part = c.convert(c.convert(opaque(piece), c.UINT), type)
        total = c.op("|", total, c.op("<<", part, c.number(shift)))
    return total


@kernel
@pytest.mark.parametrize(
    ("operator", "result"),
    [("+", A + B), ("-", A - B), ("&", A & B), ("|", A | B), ("^", A ^ B)],
)
@pytest.mark.parametrize("cpu", ["v2", "v4"])
def test_128_bits(operator: str, result: int, cpu: str) -> None:
    whole = c.op(operator, wide128(A), wide128(B))
    for shift in (0, 32, 64, 96):
        assert run(low(c.op(">>", whole, c.number(shift))), cpu=cpu) == u32(result >> shift)


@kernel
def test_128_bit_product() -> None:
    whole = c.op("*", wide128(A), wide128(B))
    low_half = c.op("^", whole, c.op(">>", whole, c.number(32)))
    product = A * B % 2**128
    assert run(low(low_half)) == u32(product ^ product >> 32)
    assert run(low(c.op(">>", whole, c.number(96)))) == u32(product >> 96)


@kernel
@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize("type", [c.U128, c.S128])
def test_128_bit_comparison(operator: str, type: Type) -> None:
    a, b = (A, B) if type is c.S128 else (A % 2**128, B % 2**128)
    expected = {
        "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b, "==": False, "!=": True,
    }[operator]  # fmt: skip
    assert run(c.give(c.compare(operator, wide128(A, type), wide128(B, type)))) == expected


@kernel
@pytest.mark.parametrize("count", [0, 1, 31, 63, 64, 65, 100, 127])
@pytest.mark.parametrize("type", [c.U128, c.S128])
@pytest.mark.parametrize("operator", ["<<", ">>"])
def test_128_bits_shifted_by_what_is_not_known(operator: str, type: Type, count: int) -> None:
    value = B if type is c.S128 else B % 2**128
    result = value << count if operator == "<<" else value >> count
    shifted = c.op(operator, wide128(B, type), opaque(count))
    for part in (0, 64, 96):
        assert run(low(c.op(">>", shifted, c.number(part)))) == u32(result >> part)


@kernel
def test_128_bits_through_a_function() -> None:
    n = c.variable("n", c.U128, "parameter")
    f = c.function("f", c.U128, (n,), c.give(c.op("+", c.get(n), c.get(n))), inline="never")
    assert run(low(c.call(f, c.U128, wide(21, c.U128))), more=(f,)) == 42


def test_128_bit_division_is_refused() -> None:
    with pytest.raises(CompileError, match="type/wide-arithmetic"):
        c.build(c.unit(c.program(low(c.op("/", wide(5, c.U128), wide(2, c.U128))))))


# --- memory ---


def buffers(size: int) -> tuple[tree.Variable, tree.Variable, list[tree.Stmt]]:
    """Two arrays, the first filled with 1, 2, 3, ..."""
    a, b = c.variable("a", Array(c.U8, size)), c.variable("b", Array(c.U8, size))
    parts = tuple((8 * n, 0, c.U8, c.number(n + 1, c.U8)) for n in range(size))
    return a, b, [
        tree.Declare(c.SPAN, a, tree.Initializer(c.SPAN, parts)),
        tree.Declare(c.SPAN, b, tree.Initializer(c.SPAN, ())),
    ]  # fmt: skip


def at(array: tree.Variable, position: int) -> tree.Expr:
    start = c.decay(c.use(array))
    return tree.Arithmetic(c.SPAN, start.type, "+", start, c.number(position, c.LONG))


def total_of(array: tree.Variable, *positions: int) -> tree.Expr:
    """The bytes at these positions as digits of base 256 (four fit an int)."""
    total: tree.Expr = c.number(0)
    for position in positions:
        byte = c.convert(c.load(c.index(c.use(array), c.number(position))), c.INT)
        total = c.op("|", c.op("<<", total, c.number(8)), byte)
    return total


def pointer(e: tree.Expr) -> tree.Expr:
    return c.convert(e, Ptr(None))


@kernel
@pytest.mark.parametrize("name", ["memcpy", "memmove"])
@pytest.mark.parametrize("size", [0, 1, 7, 16, 60, 130])
def test_copies_of_known_size(name: str, size: int) -> None:
    a, b, body = buffers(130)
    copied = c.builtin(
        f"__builtin_{name}", Ptr(None), pointer(at(b, 0)), pointer(at(a, 0)), c.number(size, c.U64)
    )
    body += [c.do(copied), c.give(total_of(b, 0, size // 2, max(size - 1, 0), 129))]
    image = [n + 1 if n < size else 0 for n in range(130)]
    expected = [image[n] for n in (0, size // 2, max(size - 1, 0), 129)]
    assert run(*body) == int.from_bytes(bytes(expected), "big")


@kernel
@pytest.mark.parametrize("name", ["memcpy", "memmove", "memset"])
def test_unknown_sizes_become_loops(name: str) -> None:
    a, b, body = buffers(16)
    size = c.convert(c.op("&", opaque(5), c.number(7)), c.U64)
    source = c.number(1) if name == "memset" else pointer(at(a, 0))
    called = c.builtin(f"__builtin_{name}", Ptr(None), pointer(at(b, 0)), source, size)
    body += [c.do(called), c.give(total_of(b, 0, 4, 5, 15))]
    assert run(*body) == (0x01010000 if name == "memset" else 0x01050000)


@kernel
@pytest.mark.parametrize(("to", "source"), [(0, 3), (3, 0)])
@pytest.mark.parametrize("known", [True, False])
def test_memmove_of_what_overlaps(to: int, source: int, known: bool) -> None:
    a, _, body = buffers(16)
    size = c.number(6, c.U64) if known else c.convert(c.op("&", opaque(6), c.number(7)), c.U64)
    moved = c.builtin(
        "__builtin_memmove", Ptr(None), pointer(at(a, to)), pointer(at(a, source)), size
    )
    body += [c.do(moved), c.give(total_of(a, to, to + 1, to + 4, to + 5))]
    assert run(*body) == int.from_bytes(bytes([source + 1, source + 2, source + 5, source + 6]))


@kernel
@pytest.mark.parametrize("size", [1, 8, 13, 16])
@pytest.mark.parametrize("change", [None, 0, 5, 12])
@pytest.mark.parametrize("known", [True, False])
def test_memcmp(size: int, change: int | None, known: bool) -> None:
    a, b, body = buffers(16)
    body.append(c.do(c.assign(c.use(b), c.get(a))))
    if change is not None:
        body.append(c.do(c.assign(c.index(c.use(b), c.number(change)), c.number(200, c.U8))))
    count: tree.Expr = c.number(size, c.U64)
    if not known:
        count = c.convert(c.op("&", opaque(size), c.number(31)), c.U64)
    result = c.builtin("__builtin_memcmp", c.INT, pointer(at(a, 0)), pointer(at(b, 0)), count)
    body.append(c.give(c.compare("<", result, c.number(0))))
    if not known:
        body[-1] = c.give(c.compare("!=", result, c.number(0)))
        if size > 16:
            return
    assert run(*body) == int(change is not None and change < size)


@kernel
@pytest.mark.parametrize(("left", "right"), [(b"abc", b"abc"), (b"abc", b"abd"), (b"ab", b"abc")])
def test_text(left: bytes, right: bytes) -> None:
    def text(name: str, data: bytes) -> tuple[tree.Variable, tree.Stmt]:
        v = c.variable(name, Array(c.CHAR, 8))
        literal = tree.Literal(c.SPAN, Array(c.CHAR, len(data) + 1), data + b"\0")
        return v, tree.Declare(c.SPAN, v, tree.Initializer(c.SPAN, ((0, 0, v.type, literal),)))

    (a, a_declared), (b, b_declared) = text("a", left), text("b", right)
    order = c.builtin("__builtin_strncmp", c.INT, at(a, 0), at(b, 0), c.number(8, c.U64))
    known = c.decay(tree.Literal(c.SPAN, Array(c.CHAR, len(left) + 1), left + b"\0"))
    length = c.builtin("__builtin_strlen", c.U64, known)
    total = c.op("+", c.op("*", c.convert(length, c.INT), c.number(10)), order)
    expected = len(left) * 10 + (left > right) - (left < right)
    assert run(a_declared, b_declared, c.give(total)) == expected


@kernel
@pytest.mark.parametrize(("text", "answer"), [(b"abc", 0), (b"abb", 1), (b"abcd", -1), (b"", 1)])
def test_comparison_with_a_literal(text: bytes, answer: int) -> None:
    a = c.variable("a", Array(c.CHAR, 8))
    parts = ((0, 0, a.type, tree.Literal(c.SPAN, Array(c.CHAR, 4), b"abc\0")),)
    literal = c.decay(tree.Literal(c.SPAN, Array(c.CHAR, len(text) + 1), text + b"\0"))
    order = c.builtin("__builtin_strcmp", c.INT, at(a, 0), literal)
    assert run(tree.Declare(c.SPAN, a, tree.Initializer(c.SPAN, parts)), c.give(order)) == u32(
        answer
    )


@pytest.mark.parametrize("name", ["strlen", "strcmp"])
def test_text_without_a_bound_is_refused(name: str) -> None:
    a, a_declared = local("a", 0)
    text = c.convert(c.address(c.use(a)), Ptr(c.CHAR))
    called = c.builtin(f"__builtin_{name}", c.INT, *[text] * (2 if name == "strcmp" else 1))
    with pytest.raises(CompileError, match="type/unbounded-text"):
        c.build(c.unit(c.program(a_declared, c.give(called))))


# --- atomics ---


@kernel
@pytest.mark.parametrize("type", [c.UINT, c.U64])
@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("__sync_fetch_and_add", 12, 15),
        ("__sync_fetch_and_sub", 12, 9),
        ("__sync_fetch_and_and", 12, 0),
        ("__sync_fetch_and_or", 12, 15),
        ("__sync_fetch_and_xor", 12, 15),
        ("__sync_add_and_fetch", 15, 15),
        ("__sync_and_and_fetch", 0, 0),
        ("__atomic_fetch_or", 12, 15),
        ("__atomic_or_fetch", 15, 15),
        ("__sync_lock_test_and_set", 12, 3),
        ("__atomic_exchange_n", 12, 3),
        ("__atomic_load_n", 12, 12),
    ],
)
def test_atomics(name: str, old: int, new: int, type: Type) -> None:
    v, declared = local("v", 12, type)
    p = c.address(c.use(v))
    result = c.builtin(name, type, p, c.number(3, type))
    if name == "__atomic_load_n":
        result = c.builtin(name, type, p, c.number(0))
    kept, kept_declared = local("kept", 0)
    body = (declared, kept_declared, add(kept, c.convert(result, c.INT)))
    total = c.op("+", c.op("*", c.get(kept), c.number(100)), c.convert(c.get(v), c.INT))
    assert run(*body, c.give(total), cpu="v3") == old * 100 + new


@kernel
@pytest.mark.parametrize(("old", "answer"), [(12, 1007), (11, 12)])
def test_compare_and_swap(old: int, answer: int) -> None:
    v, declared = local("v", 12, c.UINT)
    p = c.address(c.use(v))
    args = (p, c.number(old, c.UINT), c.number(7, c.UINT))
    swapped = c.convert(c.builtin("__sync_bool_compare_and_swap", c.BOOL, *args), c.INT)
    kept, kept_declared = local("kept", 0)
    body = (declared, kept_declared, add(kept, swapped))
    total = c.op("+", c.op("*", c.get(kept), c.number(1000)), c.convert(c.get(v), c.INT))
    assert run(*body, c.give(total), cpu="v3") == answer


@kernel
def test_adding_without_a_result_works_everywhere() -> None:
    v, declared = local("v", 12, c.U64)
    added = c.builtin("__sync_fetch_and_add", c.U64, c.address(c.use(v)), c.number(3, c.U64))
    less = c.builtin("__sync_fetch_and_sub", c.U64, c.address(c.use(v)), c.number(1, c.U64))
    for cpu in ("v1", "v2", "v3", "v4"):
        assert run(declared, c.do(added), c.do(less), low(c.get(v)), cpu=cpu) == 14


@pytest.mark.parametrize("name", ["__sync_fetch_and_add", "__sync_fetch_and_or"])
def test_results_below_v3_are_refused(name: str) -> None:
    v, declared = local("v", 12, c.U64)
    result = c.builtin(name, c.U64, c.address(c.use(v)), c.number(3, c.U64))
    with pytest.raises(CompileError, match="type/atomic-result"):
        c.build(c.unit(c.program(declared, low(result))))


@pytest.mark.parametrize("type", [c.U8, c.U16, c.U128])
def test_atomics_of_other_sizes_are_refused(type: Type) -> None:
    v, declared = local("v", 12, type)
    added = c.builtin("__sync_fetch_and_add", type, c.address(c.use(v)), c.number(3, type))
    with pytest.raises(CompileError, match="type/bad-atomic"):
        c.build(c.unit(c.program(declared, c.do(added), c.give(c.number(0)))))


# --- hints and overflow ---


@kernel
@pytest.mark.parametrize(
    ("name", "type", "a", "b", "wrong"),
    [
        ("add", c.INT, 2**31 - 1, 1, 1),
        ("add", c.INT, 2**31 - 2, 1, 0),
        ("sub", c.UINT, 1, 2, 1),
        ("mul", c.INT, 2**20, 2**10, 0),
        ("mul", c.INT, 2**20, 2**11, 1),
        ("mul", c.U64, 2**31 - 1, 2**31 - 1, 0),
        ("umulll", c.U64, -1, 2, 1),
        ("smulll", c.S64, -1, 2, 0),
        ("uaddll", c.U64, -1, 1, 1),
    ],
)
def test_overflow(name: str, type: Type, a: int, b: int, wrong: int) -> None:
    v, declared = local("v", 0, type)
    called = c.builtin(
        f"__builtin_{name}_overflow", c.BOOL, wide(a, type), wide(b, type), c.address(c.use(v))
    )
    operation = {"a": a + b, "s": a - b, "m": a * b}[name.strip("us")[0] if name != "sub" else "s"]
    kept, kept_declared = local("kept", 0)
    body = (declared, kept_declared, add(kept, c.convert(called, c.INT)))
    assert run(*body, c.give(c.get(kept))) == wrong
    assert run(*body, low(c.get(v))) == u32(operation)


@kernel
def test_hints_change_nothing() -> None:
    expected = c.builtin(
        "__builtin_expect", c.LONG, c.convert(opaque(3), c.LONG), c.number(0, c.LONG)
    )
    test = tree.If(c.SPAN, expected, c.give(c.number(7)))
    constant = c.builtin("__builtin_constant_p", c.INT, c.number(4))
    absolute = c.builtin("__builtin_abs", c.INT, opaque(-9))
    assert run(test, c.give(c.number(0))) == 7
    assert run(c.give(c.op("+", constant, absolute))) == 10


def test_an_unknown_builtin_is_an_error_at_its_place() -> None:
    with pytest.raises(CompileError, match=r"test.c:1:1: error: __builtin_frob is not supported"):
        c.build(c.unit(c.program(c.give(c.builtin("__builtin_frob", c.INT)))))
