"""What link reads out of bytecode, and what it refuses."""

from __future__ import annotations

import pytest

from minibcc.btf.types import Array, Ptr
from minibcc.compiler import elf, tree
from minibcc.compiler.frame import add_to_frame
from minibcc.compiler.link import stack_of
from minibcc.errors import CompileError
from minibcc.isa.text import assemble
from tests.compiler.back import build as c
from tests.compiler.back.test_forms import opaque


@pytest.mark.parametrize(
    ("text", "stack"),
    [
        ("r0 = 0\nexit", 0),
        ("*(u64 *)(r10 -16) = r1\nexit", 16),
        ("r1 = *(u8 *)(r10 -3)\nexit", 8),
        ("r1 = r10\nr1 += -24\nexit", 24),
        ("r1 = r2\nr1 += -24\nexit", 0),
    ],
)
def test_stack(text: str, stack: int) -> None:
    assert stack_of(assemble(text)) == stack


SUMS = {
    "index": "r3 = r10\nr3 += -16\nr2 &= 7\nr2 |= r3",
    "copied address": "r3 = r10\nr3 += -8\nr4 = r3\nr1 &= 7\nr4 |= r1",
    "behind a call": "r6 = r10\nr6 += -8\ncall get_prandom_u32#7\nr0 &= 3\nr6 |= r0",
    "scaled index": "r3 = r10\nr3 += -64\nr2 &= 3\nr2 <<= 2\nr2 |= r3",
    "high bits": "r3 = r10\nr3 += -16\nr2 >>= 60\nr3 |= r2",
    "word": "r3 = r10\nr3 += -16\nw2 &= 15\nr3 |= r2",
    "both ways": "r3 = r10\nr2 &= 7\nif r1 > 3 goto pc+1\nr2 = 8\nr3 |= r2",
    "round a loop": "r3 = r10\nr2 = 0\nr4 = r3\nr4 |= r2\nr2 += 1\nr2 &= 7\nif r1 > 3 goto pc-5",
    "a byte in a slot of 16": "r3 = r10\nr3 += -256\nr2 = *(u8 *)(r1 +0)\nr2 &= 8\nr3 |= r2",
}
"""What LLVM makes of a sum: the index stays below the alignment of the address."""
BITS = {
    "unknown number": "r3 = r10\nr3 += -16\nr2 |= r3",
    "odd address": "r3 = r10\nr3 += -12\nr2 &= 7\nr2 |= r3",
    "too large": "r3 = r10\nr3 += -8\nr2 &= 15\nr3 |= r2",
    "no address": "r3 = r10\nr3 = 0\nr2 |= r3",
    "after a call": "r3 = r10\ncall get_prandom_u32#7\nr2 &= 7\nr2 |= r3",
    "one of two ways": "r3 = r10\nr2 &= 7\nif r1 > 3 goto pc+1\nr2 = r1\nr3 |= r2",
    "growing round a loop": "r3 = r10\nr2 = 0\nr4 = r3\nr4 |= r2\nr2 += 1\nif r1 > 3 goto pc-4",
    "swapped": "r3 = r10\nr2 = be64 r2\nr3 |= r2",
    "neither": "r2 |= r3",
    "sign": "r3 = r10\nr2 = -1\nr3 |= r2",
    "frame twice": "r3 = r10\nr2 = r10\nr3 |= r2",
}
"""An OR that may be none: of these the verifier decides."""


@pytest.mark.parametrize("case", SUMS)
def test_an_or_that_is_a_sum_becomes_one(case: str) -> None:
    insns = assemble(SUMS[case])
    add_to_frame(insns)
    assert insns == assemble(SUMS[case].replace("|=", "+="))


@pytest.mark.parametrize("case", BITS)
def test_any_other_or_of_an_address_stays(case: str) -> None:
    insns = assemble(BITS[case])
    add_to_frame(insns)
    assert insns == assemble(BITS[case])


def test_too_much_stack_names_the_variables() -> None:
    big = c.variable("big", Array(c.U8, 600))
    small = c.variable("small", Array(c.U8, 30))
    read = c.helper("bpf_probe_read_kernel", 113, c.LONG)
    body = [
        c.do(
            c.call(read, c.LONG, c.decay(c.use(v)), c.number(size, c.UINT), c.number(0, Ptr(None)))
        )
        for v, size in ((big, 600), (small, 30))
    ]
    with pytest.raises(CompileError) as caught:
        c.build(c.unit(c.program(c.declare(big), c.declare(small), *body)))
    (problem,) = caught.value.diagnostics
    assert problem.code == "type/stack"
    assert "main_program needs 632 bytes" in problem.message
    assert "big (600 bytes), small (30 bytes)" in problem.notes[0]


def test_objects_of_different_scopes_share_the_stack() -> None:
    read = c.helper("bpf_probe_read_kernel", 113, c.LONG)
    blocks = []
    for number in range(3):
        v = c.variable(f"v{number}", Array(c.U8, 400))
        called = c.call(
            read, c.LONG, c.decay(c.use(v)), c.number(400, c.UINT), c.number(0, Ptr(None))
        )
        blocks.append(c.block(c.declare(v), c.do(called)))
    assert c.build(c.unit(c.program(*blocks))).programs[0].stack == 400


def test_temporaries_of_expressions_share_the_stack() -> None:
    read = c.helper("bpf_probe_read_kernel", 113, c.LONG)
    total: tree.Expr = c.number(0, c.LONG)
    for number in range(8):
        v = c.variable(f"v{number}", Array(c.LONG, 12))
        called = c.call(
            read, c.LONG, c.decay(c.use(v)), c.number(96, c.UINT), c.number(0, Ptr(None))
        )
        value = c.load(c.index(c.use(v), c.number(3)))
        body = (c.declare(v), c.do(called))
        total = c.op("+", total, tree.StatementExpr(c.SPAN, c.LONG, body, value))
    made = c.build(c.unit(c.program(c.give(c.convert(total, c.INT)))))
    assert made.programs[0].stack < 2 * 96


def test_too_many_arguments_are_refused_where_they_stand() -> None:
    parameters = tuple(c.variable(f"p{n}", c.INT, "parameter") for n in range(6))
    f = c.function("f", c.INT, parameters, c.give(c.number(0)), inline="never")
    called = tree.Call(c.at(7, 3), c.INT, f, tuple(opaque(n) for n in range(6)))
    with pytest.raises(CompileError, match=r"test.c:7:3: error: 6 arguments.*too-many-parameters"):
        c.build(c.unit(c.program(c.give(called)), f))


def test_undefined_functions_are_refused() -> None:
    f = c.function("f", c.INT, (), c.give())
    f.body = None
    with pytest.raises(CompileError, match="type/undefined-function"):
        c.build(c.unit(c.program(c.give(c.call(f, c.INT))), f))


def test_addresses_in_data_are_refused() -> None:
    target = c.variable("target", c.INT, "static")
    initial = c.whole(Ptr(c.INT), c.address(c.use(target)))
    holder = c.variable("holder", Array(Ptr(c.INT), 2), "global", initial=initial)
    read = c.load(c.deref(c.load(c.index(c.use(holder), c.op("&", opaque(1), c.number(1))))))
    with pytest.raises(CompileError, match="type/not-constant"):
        c.build(c.unit(c.program(c.give(read))))


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x01\x01" + bytes(60), b"MZ"])
def test_no_elf_object_is_no_object(data: bytes) -> None:
    with pytest.raises(ValueError, match="ELF"):
        elf.read(data)
