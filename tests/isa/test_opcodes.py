"""The table of opcodes: its rows exclude each other, and lookups find them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibcc.isa import opcodes
from minibcc.isa.instruction import Instruction
from minibcc.isa.opcodes import BY_CODE, OPCODES
from tests.isa.strategies import IMM, OFF, instructions


def test_rows_by_kind() -> None:
    assert Counter(row.kind for row in OPCODES) == {
        "alu": 64, "swap": 9, "jump": 44, "goto": 3, "call": 4, "exit": 1,
        "load": 7, "store": 8, "atomic": 28, "packet": 6, "imm64": 7,
    }  # fmt: skip


def test_names_are_unique() -> None:
    names = Counter((row.kind, row.name, row.by_reg) for row in OPCODES)
    assert [name for name, count in names.items() if count > 1] == []


@given(st.integers(0, 255), st.integers(0, 15), st.integers(0, 15), OFF, IMM)
def test_at_most_one_row_matches(code: int, dst: int, src: int, off: int, imm: int) -> None:
    insn = Instruction(code, dst, src, off, imm)
    rows = [row for row in BY_CODE[code] if row.matches(insn)]
    assert len(rows) <= 1
    assert opcodes.find(insn) == (rows[0] if rows else None)


@given(instructions())
def test_every_well_formed_instruction_has_a_row(slots: list[Instruction]) -> None:
    row = opcodes.find(slots[0])
    assert row is not None
    assert row is opcodes.nearest(slots[0])


@pytest.mark.parametrize(
    ("insn", "name"),
    [
        (Instruction(0xB7, 1, 0, 0, 33), "mov64"),
        (Instruction(0xBF, 1, 2, 8, 0), "movsx8_64"),
        (Instruction(0xBC, 1, 2, 16, 0), "movsx16_32"),
        (Instruction(0x3F, 1, 2, 1, 0), "sdiv64"),
        (Instruction(0xDB, 1, 2, 0, 0xE1), "xchg64"),
        (Instruction(0xC3, 1, 2, 0, 0), "add32"),
        (Instruction(0xD3, 1, 2, 0, 0x110), "store_release8"),
        (Instruction(0x81, 1, 2, 0, 0), "memsx32"),
        (Instruction(0x18, 1, 2, 0, 5), "map_value"),
        (Instruction(0x85, 0, 0, 0, 6), "helper"),
        (Instruction(0x85, 0, 1, 0, 6), "function"),
        (Instruction(0x06, 0, 0, 0, 6), "ja32"),
        (Instruction(0xE5, 0, 0, 6, 0), "may_goto"),
        (Instruction(0xDC, 3, 0, 0, 64), "be64"),
    ],
)
def test_find(insn: Instruction, name: str) -> None:
    row = opcodes.find(insn)
    assert row is not None
    assert row.name == name


@pytest.mark.parametrize(
    ("insn", "name"),
    [
        (Instruction(0xB7, 1, 3, 0, 33), "mov64"),  # src is reserved
        (Instruction(0x3F, 1, 2, 5, 0), "div64"),  # off is neither 0 nor 1
        (Instruction(0xDC, 3, 0, 0, 24), "be16"),
        (Instruction(0x95, 0, 0, 0, 1), "exit"),
    ],
)
def test_ill_formed_instructions(insn: Instruction, name: str) -> None:
    assert opcodes.find(insn) is None
    row = opcodes.nearest(insn)
    assert row is not None
    assert row.name == name


def test_callx_is_known_and_not_valid() -> None:
    row = opcodes.find(Instruction(0x8D, 2))
    assert row is not None
    assert not row.valid
    assert [row.name for row in OPCODES if not row.valid] == ["callx"]


def test_of_finds_a_row_by_meaning() -> None:
    assert opcodes.of("alu", "add", bits=32, by_reg=True).code == 0x0C
    assert opcodes.of("load", "mem", size=2).code == 0x69
    assert opcodes.of("atomic", "xchg", bits=32, size=4, by_reg=True).code == 0xC3
    with pytest.raises(KeyError):
        opcodes.of("alu", "nonsense")


def test_cpu_versions() -> None:
    newer = {(row.kind, row.op) for row in OPCODES if row.cpu == 4}
    assert newer == {
        ("alu", "sdiv"), ("alu", "smod"), ("alu", "movsx"), ("swap", "bswap"), ("goto", "ja32"),
        ("load", "memsx"), ("atomic", "load_acquire"), ("atomic", "store_release"),
    }  # fmt: skip
