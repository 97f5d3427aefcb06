"""Lines of LLVM IR: the part of lifting that knows LLVM's language and nothing of BPF programs.

A `Writer` collects the lines of one function and names values and labels. Its operations are BPF's
arithmetic on operands, with every corner that LLVM leaves undefined spelt out: division by zero,
the smallest number by -1, shift counts. Operands are texts, the name of a value or a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minibcc.isa.opcodes import Opcode

_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "or": "or", "and": "and", "xor": "xor"}
_SHIFTS = {"lsh": "shl", "rsh": "lshr", "arsh": "ashr"}
_DIVISIONS = {"div": "udiv", "mod": "urem", "sdiv": "sdiv", "smod": "srem"}


def literal(value: int, bits: int) -> str:
    """A number as LLVM writes it: signed."""
    value &= (1 << bits) - 1
    return str(value - (1 << bits) if value >> bits - 1 else value)


FIRST = 8
"""The first number of metadata that is free for locations."""


def debug_header(metadata: list[str]) -> list[str]:
    """What makes a line table of the metadata that writers have left."""
    return [
        "!llvm.dbg.cu = !{!7}",
        "!llvm.module.flags = !{!2, !3}",
        '!7 = distinct !DICompileUnit(language: DW_LANG_C99, file: !4, producer: "",'
        " isOptimized: true, runtimeVersion: 0, emissionKind: LineTablesOnly)",
        '!2 = !{i32 2, !"Debug Info Version", i32 3}',
        '!3 = !{i32 7, !"Dwarf Version", i32 4}',
        '!4 = !DIFile(filename: "program", directory: "")',
        "!5 = !DISubroutineType(types: !6)",
        "!6 = !{}",
        *metadata,
    ]


class Writer:
    """The lines of one function. `metadata`, if not None, is the module's list of debug metadata,
    to which locations are added."""

    def __init__(self, metadata: list[str] | None) -> None:
        self.metadata = metadata
        self.lines: list[str] = []
        self.names = self.labels = 0
        self.done: dict[str, str] = {}
        self.parts: dict[str, tuple[str, int]] = {}
        self.label = "entry"
        self.suffix = ""
        self.scope = 0

    def describe(self, start: int) -> str:
        """Opens the function's scope of locations; what attaches it to its definition."""
        if self.metadata is None:
            return ""
        self.scope = FIRST + len(self.metadata)
        self.metadata.append(
            f'!{self.scope} = distinct !DISubprogram(name: "f{start}", scope: !4, file: !4,'
            f" line: {start + 1}, scopeLine: {start + 1}, type: !5, unit: !7,"
            " spFlags: DISPFlagDefinition | DISPFlagOptimized)"
        )
        return f" !dbg !{self.scope}"

    def at(self, slot: int) -> None:
        """What follows comes from this slot."""
        if self.metadata is not None:
            number = FIRST + len(self.metadata)
            self.metadata.append(
                f"!{number} = !DILocation(line: {slot + 1}, column: 1, scope: !{self.scope})"
            )
            self.suffix = f", !dbg !{number}"

    def emit(self, text: str) -> None:
        self.lines.append(f"  {text}{self.suffix}")

    def new(self, text: str) -> str:
        """An instruction with a result; its name."""
        name = f"%{self.names}"
        self.names += 1
        self.lines.append(f"  {name} = {text}{self.suffix}")
        return name

    def once(self, text: str) -> str:
        """An instruction whose result depends on its operands only: in a block, it is done once."""
        name = self.done.get(text)
        if name is None:
            name = self.done[text] = self.new(text)
        return name

    def begin(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.label = label
        self.done.clear()

    def fresh(self) -> str:
        self.labels += 1
        return f"n{self.labels}"

    def narrow(self, value: str, size: int) -> str:
        if size == 8:
            return value
        if not value.startswith("%"):
            return literal(int(value), size * 8)
        part, width = self.parts.get(value, ("", 0))
        if width == size:
            return part
        return self.once(f"trunc i64 {value} to i{size * 8}")

    def widen(self, value: str, size: int, how: str = "zext") -> str:
        if size == 8:
            return value
        wide = self.once(f"{how} i{size * 8} {value} to i64")
        self.parts[wide] = value, size
        return wide

    def load(self, pointer: str, size: int) -> str:
        return self.new(f"load i{size * 8}, ptr {pointer}, align 1")

    def store(self, value: str, pointer: str, size: int) -> None:
        self.emit(f"store i{size * 8} {value}, ptr {pointer}, align 1")

    def operation(self, row: Opcode, left: str, right: str) -> str:
        kind = f"i{row.bits}"
        if row.op in _BINARY:
            return self.new(f"{_BINARY[row.op]} {kind} {left}, {right}")
        if row.op == "neg":
            return self.new(f"sub {kind} 0, {left}")
        if row.op in _SHIFTS:
            if right.startswith("%"):
                right = self.new(f"and {kind} {right}, {row.bits - 1}")
            else:
                right = str(int(right) & row.bits - 1)
            return self.new(f"{_SHIFTS[row.op]} {kind} {left}, {right}")
        return self.divide(row, kind, left, right)

    def divide(self, row: Opcode, kind: str, left: str, right: str) -> str:
        """Quotient or remainder, with BPF's answers where LLVM has none."""
        instruction = _DIVISIONS[row.op]
        by_zero = "0" if row.op in ("div", "sdiv") else left
        by_minus_one = "" if row.op in ("div", "mod") else "0"
        if row.op == "sdiv":
            by_minus_one = "negated"
        if not right.startswith("%"):
            if right == "0":
                return by_zero
            if right == "-1" and by_minus_one:
                return "0" if by_minus_one == "0" else self.new(f"sub {kind} 0, {left}")
            return self.new(f"{instruction} {kind} {left}, {right}")
        zero = self.new(f"icmp eq {kind} {right}, 0")
        unsafe = zero
        if by_minus_one:
            minus_one = self.new(f"icmp eq {kind} {right}, -1")
            unsafe = self.new(f"or i1 {zero}, {minus_one}")
        divisor = self.new(f"select i1 {unsafe}, {kind} 1, {kind} {right}")
        result = self.new(f"{instruction} {kind} {left}, {divisor}")
        if by_minus_one == "negated":
            negated = self.new(f"sub {kind} 0, {left}")
            result = self.new(f"select i1 {minus_one}, {kind} {negated}, {kind} {result}")
        # The remainder by 1, which stood in for -1, is the 0 that is wanted.
        return self.new(f"select i1 {zero}, {kind} {by_zero}, {kind} {result}")
