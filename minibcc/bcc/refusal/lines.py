"""Where in the C an instruction comes from, by a program's line information."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

from minibcc.diagnostics import Span
from minibcc.isa import opcodes

if TYPE_CHECKING:
    from minibcc.compiler.object import Line
    from minibcc.isa.instruction import Instruction


class Lines:
    """Where in the C a slot comes from."""

    def __init__(self, lines: tuple[Line, ...], code: list[Instruction]) -> None:
        self._lines = [line for line in lines if line.line > 0]
        self._starts = [line.insn for line in self._lines]
        self._targets = sorted(
            {
                slot + 1 + (insn.imm if row.op == "ja32" else insn.off)
                for slot, insn in enumerate(code)
                if (row := opcodes.find(insn)) is not None and row.kind in ("jump", "goto")
            }
        )

    def near(self, slot: int) -> Span | None:
        """The last line that starts at or before a slot."""
        line = self._before(slot)
        return _span(line) if line is not None else None

    def at(self, slot: int) -> Span | None:
        """The line of a slot, None where no line was written down since the last place that jumps
        lead to: what stands before that may be of another line."""
        line = self._before(slot)
        if line is None:
            return None
        since = bisect_right(self._targets, slot)
        if since and line.insn < self._targets[since - 1]:
            return None
        return _span(line)

    def variable(self, slot: int, refused: int) -> str:
        """The variable that gets its value in the line of a slot, "" if it names none, or if the
        refused slot is of that line: the variable has no value yet, then."""
        line, last = self._before(slot), self._before(refused)
        if line is None or (last and (last.file, last.line) == (line.file, line.line)):
            return ""
        before = line.text[: max(0, line.column - 1)]
        names = list(re.finditer(r"([A-Za-z_]\w*)\s*=(?!=)", before))
        if not names:
            return ""
        between = before[names[-1].end() :]  # an argument of a call is not what it gets
        return names[-1][1] if between.count("(") == between.count(")") else ""

    def _before(self, slot: int) -> Line | None:
        place = bisect_right(self._starts, slot) - 1
        return self._lines[place] if slot >= 0 and place >= 0 else None


def _span(line: Line) -> Span:
    """The word at a line's column: debug information has only its start."""
    start = max(0, line.column - 1)
    end = start
    while end < len(line.text) and (line.text[end].isalnum() or line.text[end] == "_"):
        end += 1
    return Span(line.file, line.line, start + 1, 0, max(end, start + 1) + 1)


def conditional(insn: Instruction) -> bool:
    row = opcodes.find(insn)
    return row is not None and row.kind == "jump"
