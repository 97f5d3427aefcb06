"""The first program: the thirteen instructions that everybody's first BPF text compiles to."""

from __future__ import annotations

import pytest

from minibcc.btf.types import Array, Ptr
from minibcc.compiler import tree
from minibcc.isa.instruction import decode
from tests.compiler.back import build as c
from tests.compiler.back import live

TEXT = """\
int hello_world(void *ctx)
{
    bpf_trace_printk("Hello, World!");
    return 0;
}
"""

INSNS = [
    (0xB7, 1, 0, 0, 33),
    (0x6B, 10, 1, -4, 0),
    (0xB7, 1, 0, 0, 1684828783),
    (0x63, 10, 1, -8, 0),
    (0x18, 1, 0, 0, 0x6C6C6548),
    (0x00, 0, 0, 0, 0x57202C6F),
    (0x7B, 10, 1, -16, 0),
    (0xBF, 1, 10, 0, 0),
    (0x07, 1, 0, 0, -16),
    (0xB7, 2, 0, 0, 14),
    (0x85, 0, 0, 0, 6),
    (0xB7, 0, 0, 0, 0),
    (0x95, 0, 0, 0, 0),
]


def hello() -> tree.Unit:
    """``({ char _fmt[] = "..."; bpf_trace_printk_(_fmt, sizeof(_fmt)); })``, as BCC has it."""
    fmt = c.variable("_fmt", Array(c.CHAR, 14))
    text = tree.Literal(c.at(3, 5), fmt.type, b"Hello, World!\0")
    printk = c.helper("bpf_trace_printk", 6, c.INT, Ptr(c.CHAR), c.UINT)
    call = tree.Call(c.at(3, 5), c.INT, printk, (c.decay(c.use(fmt)), c.number(14, c.UINT)))
    initial = tree.Initializer(c.at(3, 5), ((0, 0, fmt.type, text),), True)
    body = (tree.Declare(c.at(3, 5), fmt, initial),)
    printed = tree.StatementExpr(c.at(3, 5), c.INT, body, call)
    main = c.program(
        tree.Evaluate(c.at(3, 5), printed),
        tree.Return(c.at(4, 5), c.number(0)),
        name="hello_world",
    )
    return c.unit(main)


@pytest.mark.parametrize("cpu", ["v1", "v2"])
def test_the_thirteen_instructions(cpu: str) -> None:
    obj = c.build(hello(), cpu, TEXT)
    assert decode(obj.programs[0].insns) == INSNS
    assert obj.programs[0].stack == 16
    assert obj.programs[0].relocations == ()


def test_lines_follow_the_text() -> None:
    lines = c.build(hello(), "v2", TEXT).programs[0].lines
    assert [(line.insn, line.line) for line in lines] == [(0, 1), (1, 3), (11, 4)]
    assert lines[1].text == '    bpf_trace_printk("Hello, World!");'
    assert all(line.column > 0 for line in lines)


@pytest.mark.kernel
def test_it_loads_with_its_types_and_lines() -> None:
    obj = c.build(hello(), "v2", TEXT)
    assert live.result_of(obj) == (0, [])
