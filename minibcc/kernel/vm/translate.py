"""What each kind of instruction becomes in LLVM IR: a method per kind.

A `Translator` holds the registers of one function as values of SSA form while its instructions are
translated one after the other. `lift` gives it blocks and joins their values.
"""

from __future__ import annotations

from platform import machine
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MAX_TAIL_CALLS
from minibcc.kernel.vm.dataflow import Function, known_value
from minibcc.kernel.vm.decode import fetches, target
from minibcc.kernel.vm.execution import FRAME_PITCH, TAIL_CALL
from minibcc.kernel.vm.inline import inline, map_layout
from minibcc.kernel.vm.ir import Writer, literal
from minibcc.kernel.vm.layouts import ProgramLayout

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.isa.opcodes import Opcode

(
    ABORT, SLOT, FAULTY, FRAME, LIMIT, TAIL_CALLS, CPU, PROGRAM, R1, _, _, _, R5, TOP, COUNT, CELLS
) = range(16)  # fmt: skip
"""The cells at ``state``: the run must end; 1 + the slot where, if no helper ended it, and of which
program; R10 at the last call of a helper (for callbacks); the end of the chain of frames; tail
calls so far; the CPU; the program that runs (first: what to start), with which registers, and how
often. A program is its entry's address. And how many cells there are."""
_OWN = "ptrtoint (ptr @f0 to i64)"
KEEPING = "preserve_mostcc " if machine() in ("x86_64", "AMD64", "aarch64", "arm64") else ""
"""The calling convention of ``tail_call``, where LLVM has it: who calls it, rarely, need not save
registers for the sake of it, which every tail call would pay for."""
_PREDICATES = {
    "jeq": "eq", "jne": "ne", "jgt": "ugt", "jge": "uge", "jlt": "ult", "jle": "ule",
    "jsgt": "sgt", "jsge": "sge", "jslt": "slt", "jsle": "sle", "jset": "ne",
}  # fmt: skip
_SIGNATURES = {
    "probe": "i64 (i64, i64)",
    "packet": "i64 (i64, i64)",
    "callx": "i64 (i64, i64, i64, i64, i64, i64)",
    "tail_call": f"{KEEPING}i64 (i64, i64, i64)",
}
_HELPER = "i64 (i64, i64, i64, i64, i64)"
NATIVE = "native_"
"""What a symbol is called that stands for a function of `natives.c`, before its name."""


class Translator(Writer):
    """A register's value is an operand's text, or an integer: that offset from the end of the
    frame. `symbols` collects what is imported, name to LLVM's function type. `checked` says whether
    calls of functions must look for the end of the chain of frames."""

    def __init__(
        self,
        function: Function,
        stack: int,
        symbols: dict[str, str],
        checked: bool,
        metadata: list[str] | None,
    ) -> None:
        super().__init__(metadata)
        self.function = function
        self.stack = stack
        self.symbols = symbols
        self.checked = checked
        self.instructions = function.image.instructions
        self.values: list[str | int] = []
        self.size = 0  # of a private frame
        self.aborts = False
        kinds = [row for row in function.rows if not isinstance(row, str)]
        self.callbacks = any(row.op == "func" for row in kinds)
        self.loops = any(row.op == "may_goto" for row in kinds)

    def settle(self, *successors: int) -> None:
        """Makes numbers of frame offsets that a successor takes as such."""
        for leader in successors:
            successor = self.function.blocks[leader]
            for register in range(10):
                value = self.values[register]
                if (
                    isinstance(value, int)
                    and successor.live & 1 << register
                    and successor.known[register] is None
                ):
                    self.values[register] = self.number(register)

    def cell(self, number: int) -> str:
        return f"getelementptr (i64, ptr @state, i64 {number})"

    def fault(self, slot: int) -> None:
        self.emit(f"store i64 {slot + 1}, ptr {self.cell(SLOT)}")
        self.emit(f"store i64 {_OWN}, ptr {self.cell(FAULTY)}")
        self.emit("store i64 1, ptr @state")
        self.emit("br label %abort")
        self.aborts = True

    def check(self) -> None:
        """Out of the program if a call failed."""
        flag = self.new("load i64, ptr @state")
        failed = self.new(f"icmp ne i64 {flag}, 0")
        label = self.fresh()
        self.emit(f"br i1 {failed}, label %abort, label %{label}, !prof !0")
        self.begin(label)
        self.aborts = True

    # --- values -------------------------------------------------------------------------------

    def number(self, register: int) -> str:
        """A register as an i64."""
        value = self.values[register]
        if isinstance(value, str):
            return value
        return self.once(f"add i64 %fp, {value}") if value else "%fp"

    def address(self, register: int, off: int) -> str:
        """A pointer to where a register points, `off` bytes on."""
        value = self.values[register]
        if isinstance(value, int):
            base = self.size if self.function.private else 0
            return self.once(f"getelementptr i8, ptr %frame, i64 {base + value + off}")
        if off:
            value = self.once(f"add i64 {value}, {off}")
        return self.once(f"inttoptr i64 {value} to ptr")

    def call(self, symbol: str, *arguments: str) -> str:
        """The result of an imported function."""
        signature = self.symbols.setdefault(symbol, _SIGNATURES.get(symbol, _HELPER))
        if self.callbacks:
            self.emit(f"store i64 %fp, ptr {self.cell(FRAME)}")
        passed = ", ".join(f"i64 {argument}" for argument in arguments)
        return self.new(f"call {signature.partition('(')[0]}@{symbol}({passed})")

    # --- a method per kind --------------------------------------------------------------------

    def _alu(self, insn: Instruction, row: Opcode, slot: int) -> None:
        values, size = self.values, row.size if row.op != "movsx" else row.bits // 8
        known = known_value(self.function.image, slot, insn, row, values)
        if known is not None:
            values[insn.dst] = known
            return
        if row.op == "movsx":
            part = self.narrow(self.number(insn.src), row.size)
            value = self.new(f"sext i{row.size * 8} {part} to i{row.bits}")
            values[insn.dst] = self.widen(value, size)
            return
        if row.by_reg:
            right = self.narrow(self.number(insn.src), size)
        else:
            right = str(insn.imm)
        if row.op == "mov":
            values[insn.dst] = self.widen(right, size)
            return
        left = self.narrow(self.number(insn.dst), size)
        values[insn.dst] = self.widen(self.operation(row, left, right), size)

    def _swap(self, insn: Instruction, row: Opcode, slot: int) -> None:
        kind = f"i{row.size * 8}"
        part = self.narrow(self.number(insn.dst), row.size)
        if row.op != "le":
            part = self.new(f"call {kind} @llvm.bswap.{kind}({kind} {part})")
        self.values[insn.dst] = self.widen(part, row.size)

    def _jump(self, insn: Instruction, row: Opcode, slot: int) -> None:
        kind = f"i{row.bits}"
        left = self.narrow(self.number(insn.dst), row.size)
        right = self.narrow(self.number(insn.src), row.size) if row.by_reg else str(insn.imm)
        if row.op == "jset":
            left, right = self.new(f"and {kind} {left}, {right}"), "0"
        taken, following = target(self.function.image, slot, row), slot + 1
        self.settle(taken, following)
        if taken == following:
            self.emit(f"br label %b{following}")
            return
        holds = self.new(f"icmp {_PREDICATES[row.op]} {kind} {left}, {right}")
        self.emit(f"br i1 {holds}, label %b{taken}, label %b{following}")

    def _goto(self, insn: Instruction, row: Opcode, slot: int) -> None:
        taken, following = target(self.function.image, slot, row), slot + 1
        if row.op != "may_goto":
            return  # the end of the block is the jump
        self.settle(taken, following)
        left = self.new("load i64, ptr %loops")
        over = self.new(f"icmp eq i64 {left}, 0")
        less = self.new(f"sub i64 {left}, 1")
        kept = self.new(f"select i1 {over}, i64 0, i64 {less}")
        self.emit(f"store i64 {kept}, ptr %loops")
        if taken == following:
            self.emit(f"br label %b{following}")
        else:
            self.emit(f"br i1 {over}, label %b{taken}, label %b{following}")

    def _call(self, insn: Instruction, row: Opcode, slot: int) -> None:
        if row.op == "helper" and insn.imm != TAIL_CALL:
            if not inline(self, insn.imm):
                self.values[0] = self.call_helper(insn.imm)
            return
        arguments = [self.number(register) for register in range(1, 6)]
        if row.op == "helper":
            self.tail_call(arguments)
            return
        if row.op == "function":
            self.call_function(target(self.function.image, slot, row), arguments, slot)
        elif row.op == "callx":
            self.emit(f"store i64 {slot + 1}, ptr {self.cell(SLOT)}")
            self.values[0] = self.call("callx", self.number(insn.dst), *arguments)
        else:
            self.values[0] = self.call(f"kernel_{insn.imm}", *arguments)
        self.check()

    def call_helper(self, number: int) -> str:
        """R0 of helper `number`, as long as it did not fail."""
        arguments = [self.number(register) for register in range(1, 6)]
        result = self.call(f"helper_{number}", *arguments)
        self.check()
        return result

    def native(self, name: str, *arguments: str) -> str:
        """The result of a function of `natives.c`: such neither fail nor call."""
        symbol = NATIVE + name
        self.symbols.setdefault(symbol, f"i64 ({', '.join(['i64'] * len(arguments))})")
        passed = ", ".join(f"i64 {argument}" for argument in arguments)
        return self.new(f"call i64 @{symbol}({passed})")

    def cpu(self) -> str:
        """Where the program runs."""
        return self.new(f"load i64, ptr {self.cell(CPU)}")

    def call_function(self, start: int, arguments: list[str], slot: int) -> None:
        frame = self.new(f"add i64 %fp, {FRAME_PITCH}")
        if self.checked:
            limit = self.new(f"load i64, ptr {self.cell(LIMIT)}")
            beyond = self.new(f"icmp ugt i64 {frame}, {limit}")
            full, free = self.fresh(), self.fresh()
            self.emit(f"br i1 {beyond}, label %{full}, label %{free}")
            self.begin(full)
            self.fault(slot)
            self.begin(free)
        passed = ", ".join(f"i64 {argument}" for argument in (*arguments, frame))
        self.values[0] = self.new(f"call i64 @f{start}({passed})")

    def tail_call(self, arguments: list[str]) -> None:
        """On to another program, at its native entry where the map knows it; Python knows else."""
        ask, leave, stay = self.fresh(), self.fresh(), self.fresh()
        known = self.known_entry(arguments[2], ask, leave, stay)
        self.begin(ask)
        asked = self.call("tail_call", *arguments[:3])
        self.check()
        none = self.new(f"icmp eq i64 {asked}, 0")
        ways = [f"[ {asked}, %{self.label} ]", *known]
        self.emit(f"br i1 {none}, label %{stay}, label %{leave}")
        self.begin(leave)
        there = self.new(f"phi i64 {', '.join(ways)}")
        self.emit(f"store i64 {there}, ptr {self.cell(PROGRAM)}")
        pointer = self.new(f"inttoptr i64 {there} to ptr")
        rest = "i64 0, i64 0, i64 0, i64 0"
        passed = f"(i64 {arguments[0]}, {rest}, i64 %fp)"
        if self.function.start == 0:  # nothing of this program comes after
            result = self.new(f"musttail call i64 {pointer}{passed}")
            self.emit(f"ret i64 {result}")
        else:
            result = self.new(f"call i64 {pointer}{passed}")
            self.emit(f"store i64 {_OWN}, ptr {self.cell(PROGRAM)}")
            self.emit(f"ret i64 {result}")
        self.begin(stay)

    def known_entry(self, number: str, ask: str, leave: str, stay: str) -> list[str]:
        """Goes on at `leave` with the entry that the map has at an index, at `stay` if the call
        fails, at `ask` if Python must say. The ways to `leave`, as a phi wants them."""
        layout = map_layout(self, 2)
        if not isinstance(layout, ProgramLayout):
            self.emit(f"br label %{ask}")
            return []
        inside, few, found = self.fresh(), self.fresh(), self.fresh()
        index = self.new(f"and i64 {number}, {0xFFFF_FFFF}")
        holds = self.new(f"icmp ult i64 {index}, {layout.count}")
        self.emit(f"br i1 {holds}, label %{inside}, label %{stay}")
        self.begin(inside)
        calls = self.new(f"load i64, ptr {self.cell(TAIL_CALLS)}")
        holds = self.new(f"icmp ult i64 {calls}, {MAX_TAIL_CALLS}")
        self.emit(f"br i1 {holds}, label %{few}, label %{stay}")
        self.begin(few)
        start = f"inttoptr (i64 {layout.entries} to ptr)"
        place = self.new(f"getelementptr i64, ptr {start}, i64 {index}")
        entry = self.new(f"load i64, ptr {place}")
        unknown = self.new(f"icmp eq i64 {entry}, 0")
        self.emit(f"br i1 {unknown}, label %{ask}, label %{found}")
        self.begin(found)
        more = self.new(f"add i64 {calls}, 1")
        self.emit(f"store i64 {more}, ptr {self.cell(TAIL_CALLS)}")
        self.emit(f"br label %{leave}")
        return [f"[ {entry}, %{found} ]"]

    def _exit(self, insn: Instruction, row: Opcode, slot: int) -> None:
        self.emit(f"ret i64 {self.number(0)}")

    def _load(self, insn: Instruction, row: Opcode, slot: int) -> None:
        value = self.load(self.address(insn.src, insn.off), row.size)
        how = "sext" if row.op == "memsx" else "zext"
        self.values[insn.dst] = self.widen(value, row.size, how)

    def _probe(self, insn: Instruction, row: Opcode, slot: int) -> None:
        base = self.number(insn.src)
        where = self.new(f"add i64 {base}, {insn.off}") if insn.off else base
        value = self.call("probe", where, str(row.size))
        self.check()
        how = "sext" if row.op == "memsx" else "zext"
        self.values[insn.dst] = self.widen(self.narrow(value, row.size), row.size, how)

    def _store(self, insn: Instruction, row: Opcode, slot: int) -> None:
        if row.by_reg:
            value = self.narrow(self.number(insn.src), row.size)
        else:
            value = literal(insn.imm, row.size * 8)
        self.store(value, self.address(insn.dst, insn.off), row.size)

    def _atomic(self, insn: Instruction, row: Opcode, slot: int) -> None:
        size = row.size
        if row.op == "load_acquire":
            self._load(insn, row, slot)
            return
        if row.op == "store_release":
            self._store(insn, row, slot)
            return
        kind = f"i{size * 8}"
        operand = self.narrow(self.number(insn.src), size)
        pointer = self.address(insn.dst, insn.off)
        old = self.load(pointer, size)
        if row.op == "cmpxchg":
            expected = self.narrow(self.number(0), size)
            equal = self.new(f"icmp eq {kind} {old}, {expected}")
            new = self.new(f"select i1 {equal}, {kind} {operand}, {kind} {old}")
            self.values[0] = self.widen(old, size)
        elif row.op == "xchg":
            new = operand
        else:
            new = self.new(f"{row.op.removeprefix('fetch_')} {kind} {old}, {operand}")
        if fetches(row):
            self.values[insn.src] = self.widen(old, size)
        self.store(new, pointer, size)

    def _imm64(self, insn: Instruction, row: Opcode, slot: int) -> None:
        value = known_value(self.function.image, slot, insn, row, self.values)
        assert value is not None
        self.values[insn.dst] = value

    def _packet(self, insn: Instruction, row: Opcode, slot: int) -> None:
        offset = str(insn.imm)
        if row.by_reg:
            total = self.new(f"add i64 {self.number(insn.src)}, {insn.imm}")
            offset = self.new(f"sext i32 {self.narrow(total, 4)} to i64")
        value = self.call("packet", offset, str(row.size))
        self.check()
        missing = self.new(f"icmp eq i64 {value}, -1")
        leave, stay = self.fresh(), self.fresh()
        self.emit(f"br i1 {missing}, label %{leave}, label %{stay}")
        self.begin(leave)
        self.emit("ret i64 0")
        self.begin(stay)
        self.values[0] = value
