"""Instructions for hypothesis: any well-formed one, from the table's rows."""

from __future__ import annotations

from hypothesis import strategies as st

from minibcc.isa.instruction import Instruction
from minibcc.isa.opcodes import OPCODES, Opcode

IMM = st.integers(-0x8000_0000, 0x7FFF_FFFF)
OFF = st.integers(-0x8000, 0x7FFF)
REGISTER = st.integers(0, 10)
ROWS = tuple(row for row in OPCODES if row.valid)


@st.composite
def instructions(draw: st.DrawFn, row: Opcode | None = None) -> list[Instruction]:
    """The one or two slots of some instruction."""
    row = row or draw(st.sampled_from(ROWS))
    field = {"dst": REGISTER, "src": REGISTER, "off": OFF, "imm": IMM}
    values = {
        name: draw(strategy) if getattr(row, name) is None else getattr(row, name)
        for name, strategy in field.items()
    }
    if row.kind == "imm64":
        # The words of a map's descriptor hold no second half.
        high = draw(IMM) if row.op in ("value", "map_value", "btf_id", "map_idx_value") else 0
        return [Instruction(row.code, **values), Instruction(0, imm=high)]
    if row.op == "kfunc":
        values["off"] = 0  # the words do not show it
    return [Instruction(row.code, **values)]
