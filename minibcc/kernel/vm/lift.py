"""From bytecode to LLVM IR: each function of an image becomes a function of LLVM's.

Registers are values in SSA form from the start: a block begins with a phi for each register that
is live and may come from several places. Everything that LLVM leaves undefined is spelt out:
division by zero and of the smallest number by -1, the masking of shift counts, zeros above a
32-bit result, zeroed frames, unaligned access. Addresses are numbers, as in BPF, except those
known to lie in the function's own frame, which are offsets from it, so that a frame whose address
stays inside its function becomes an `alloca`.

    define i64 @f0(i64 %r1, i64 %r2, i64 %r3, i64 %r4, i64 %r5, i64 %fp)

`%fp` is R10, a number in the arena. What a function calls are symbols that the engine binds:
``helper_6``, ``kernel_1234``, ``probe``, ``packet``, ``callx``, ``tail_call``, ``tail_return``.
The cells at ``state`` carry what must not cross native frames as an exception: a call that may fail
is followed by a test of the first cell, and leads out of the program if it is set.

The IR is text: building it costs a tenth of what objects cost, and it can be read. Atomic
operations are plain ones here, since nothing else runs while the program does (the engine holds
the interpreter lock of Python).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.isa.instruction import imm64
from minibcc.kernel.vm.dataflow import Block, Function, frame_offset, steps
from minibcc.kernel.vm.decode import fetches, rows, target
from minibcc.kernel.vm.execution import CODE, FRAME_PITCH, MAX_LOOPS, TAIL_CALL
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.isa.opcodes import Opcode
    from minibcc.kernel.vm.execution import Image

ABORT, SLOT, FRAME, LIMIT = range(4)
"""The cells at ``state``: the run must end; 1 + the slot where, if nothing was called; R10 at the
last call of a helper (for callbacks); the end of the chain of frames."""

_PARAMETERS = ", ".join(f"i64 %r{number}" for number in range(1, 6))
_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "or": "or", "and": "and", "xor": "xor"}
_SHIFTS = {"lsh": "shl", "rsh": "lshr", "arsh": "ashr"}
_DIVISIONS = {"div": "udiv", "mod": "urem", "sdiv": "sdiv", "smod": "srem"}
_PREDICATES = {
    "jeq": "eq", "jne": "ne", "jgt": "ugt", "jge": "uge", "jlt": "ult", "jle": "ule",
    "jsgt": "sgt", "jsge": "sge", "jslt": "slt", "jsle": "sle", "jset": "ne",
}  # fmt: skip
_SIGNATURES = {
    "probe": "i64 (i64, i64)",
    "packet": "i64 (i64, i64)",
    "callx": "i64 (i64, i64, i64, i64, i64, i64)",
    "tail_call": "i64 (i64, i64, i64)",
    "tail_return": "void ()",
}
_HELPER = "i64 (i64, i64, i64, i64, i64)"


class Lifted(Record):
    """A module of LLVM IR. `symbols` are those it imports, `functions` the slots of the functions
    that it exports (``f0``, ...)."""

    text: str
    symbols: tuple[str, ...]
    functions: tuple[int, ...]


def lift(image: Image, header: str = "", *, debug: bool = False) -> Lifted:
    """The whole image as a module; with `debug`, line N of its line table is slot N - 1."""
    decoded = rows(image)
    symbols: dict[str, str] = {}
    metadata: list[str] = []
    functions = [Function(image, decoded, start) for start in image.starts]
    checked = _needs_depth_check(functions)
    bodies = [
        _Lifter(function, stack, symbols, checked, metadata if debug else None).text()
        for function, stack in zip(functions, image.stacks, strict=True)
    ]
    text = [header, "@state = external global [4 x i64]", *map(_declare, symbols.items())]
    text += [*bodies, _ATTRIBUTES, *_debug_header(metadata, functions if debug else [])]
    return Lifted("\n".join(text), ("state", "memset", *symbols), image.starts)


_ATTRIBUTES = """declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
attributes #0 = { nounwind null_pointer_is_valid }
!0 = !{!"branch_weights", i32 1, i32 2000}"""


def _declare(symbol: tuple[str, str]) -> str:
    name, signature = symbol
    result, parameters = signature.split(" ", 1)
    return f"declare {result} @{name}{parameters} #0"


def _needs_depth_check(functions: list[Function]) -> bool:
    """Whether calls could nest deeper than verified programs may: recursion, or long chains."""
    calls = {
        function.start: {
            target(function.image, slot, row)
            for block in function.blocks.values()
            for slot, _, row in steps(function, block)
            if row.op == "function"
        }
        for function in functions
    }
    reached = {0}
    for _ in range(8):
        reached = {callee for caller in reached for callee in calls[caller]}
    starts = set(calls)
    for _ in starts:  # what callbacks may add: is there a cycle anywhere?
        starts = {callee for caller in starts for callee in calls[caller]}
    return bool(reached or starts)


def _debug_header(metadata: list[str], functions: list[Function]) -> list[str]:
    """Line tables only: a compile unit, a subprogram per function, a location per slot."""
    if not functions:
        return []
    return [
        "!llvm.dbg.cu = !{!1}",
        "!llvm.module.flags = !{!2, !3}",
        '!1 = distinct !DICompileUnit(language: DW_LANG_C99, file: !4, producer: "",'
        " isOptimized: true, runtimeVersion: 0, emissionKind: LineTablesOnly)",
        '!2 = !{i32 2, !"Debug Info Version", i32 3}',
        '!3 = !{i32 7, !"Dwarf Version", i32 4}',
        '!4 = !DIFile(filename: "program", directory: "")',
        "!5 = !DISubroutineType(types: !6)",
        "!6 = !{}",
        *metadata,
    ]


class _Lifter:
    """One function. A register's value is an operand's text, or an integer: that offset from the
    end of the frame."""

    def __init__(
        self,
        function: Function,
        stack: int,
        symbols: dict[str, str],
        checked: bool,
        metadata: list[str] | None,
    ) -> None:
        self.function = function
        self.stack = stack
        self.symbols = symbols
        self.checked = checked
        self.metadata = metadata
        self.instructions = function.image.instructions
        self.lines: list[str] = []
        self.names = 0
        self.label = "entry"
        self.values: list[str | int] = []
        self.suffix = ""
        self.scope = 0
        self.aborts = False
        kinds = [row for row in function.rows if not isinstance(row, str)]
        self.callbacks = any(row.op == "func" for row in kinds)
        self.loops = any(row.op == "may_goto" for row in kinds)

    def text(self) -> str:
        function = self.function
        attached = ""
        if self.metadata is not None:
            self.scope = 7 + len(self.metadata)
            attached = f" !dbg !{self.scope}"
            self.metadata.append(
                f'!{self.scope} = distinct !DISubprogram(name: "f{function.start}", scope: !4,'
                f" file: !4, line: {function.start + 1}, type: !5, unit: !1,"
                " spFlags: DISPFlagDefinition | DISPFlagOptimized)"
            )
        self.at(function.start)
        self.prologue()
        ends: dict[int, tuple[str, list[str | int]]] = {}
        phis: list[tuple[int, int, int, str]] = []  # line, block, register, name
        for block in function.blocks.values():
            self.begin_block(block, ends, phis)
            for slot, insn, row in steps(function, block):
                self.at(slot)
                getattr(self, f"_{row.kind}")(insn, row, slot)
            self.end_block(block)
            ends[block.start] = self.label, self.values
        for line, leader, register, name in phis:
            self.lines[line] = self.phi(function.blocks[leader], register, name, ends)
        if self.aborts:
            self.lines += ["abort:", f"  ret i64 0{self.suffix}"]
        return "\n".join(
            [
                f"define dso_local i64 @f{function.start}({_PARAMETERS}, i64 %fp) #0{attached} {{",
                *self.lines,
                "}",
            ]
        )

    # --- writing lines ------------------------------------------------------------------------

    def at(self, slot: int) -> None:
        """What follows comes from this slot."""
        if self.metadata is not None:
            number = 7 + len(self.metadata)
            self.metadata.append(
                f"!{number} = !DILocation(line: {slot + 1}, column: 1, scope: !{self.scope})"
            )
            self.suffix = f", !dbg !{number}"

    def emit(self, text: str) -> None:
        self.lines.append(f"  {text}{self.suffix}")

    def new(self, text: str) -> str:
        """An instruction with a result; its name."""
        self.names += 1
        name = f"%v{self.names}"
        self.lines.append(f"  {name} = {text}{self.suffix}")
        return name

    def begin(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.label = label

    def fresh(self) -> str:
        self.names += 1
        return f"n{self.names}"

    def cell(self, number: int) -> str:
        return f"getelementptr (i64, ptr @state, i64 {number})"

    # --- blocks -------------------------------------------------------------------------------

    def prologue(self) -> None:
        function = self.function
        self.begin("entry")
        size = self.stack + 7 & ~7
        if function.private:
            size = -function.deepest + 7 & ~7
            self.size = size
            if size:
                self.emit(f"%frame = alloca [{size} x i8], align 8")
                self.clear("%frame", size)
        else:
            self.emit("%frame = inttoptr i64 %fp to ptr")
            self.clear(self.new(f"getelementptr i8, ptr %frame, i64 {-size}"), size)
        if self.loops:
            self.emit("%loops = alloca i64, align 8")
            self.emit(f"store i64 {MAX_LOOPS}, ptr %loops")
        self.values = ["0", *(f"%r{number}" for number in range(1, 6)), *["0"] * 4, 0]
        self.emit(f"br label %b{function.start}")

    def clear(self, where: str, size: int) -> None:
        if size:
            self.emit(
                f"call void @llvm.memset.p0.i64(ptr align 8 {where}, i8 0, i64 {size}, i1 false)"
            )

    def begin_block(
        self,
        block: Block,
        ends: dict[int, tuple[str, list[str | int]]],
        phis: list[tuple[int, int, int, str]],
    ) -> None:
        self.begin(f"b{block.start}")
        if block.start == self.function.start:
            entry = self.values
            ends[-1] = "entry", entry
            block.predecessors.append(-1)
        if len(block.predecessors) == 1:
            self.values = list(ends[block.predecessors[0]][1])
            return
        values: list[str | int] = ["0"] * 10
        values.append(0)
        for register in range(10):
            if block.live & 1 << register:
                known = block.frame[register]
                if known is not None:
                    values[register] = known
                    continue
                self.names += 1
                name = values[register] = f"%v{self.names}"
                phis.append((len(self.lines), block.start, register, name))
                self.lines.append("")
        self.values = values

    def phi(
        self,
        block: Block,
        register: int,
        name: str,
        ends: dict[int, tuple[str, list[str | int]]],
    ) -> str:
        incoming = ", ".join(
            f"[ {ends[leader][1][register]}, %{ends[leader][0]} ]" for leader in block.predecessors
        )
        return f"  {name} = phi i64 {incoming}"

    def end_block(self, block: Block) -> None:
        """The jump that ends a block; or what stops a program that runs into no instruction."""
        function = self.function
        slot = max(block.end - 1, block.start)
        row = function.rows[slot] if slot < len(function.rows) else ""
        if isinstance(row, str):
            self.at(slot)
            self.fault(slot)
            return
        if row.kind in ("exit", "jump") or row.op == "may_goto":
            return
        self.settle(*block.successors)
        self.emit(f"br label %b{block.successors[0]}")

    def settle(self, *successors: int) -> None:
        """Makes numbers of frame offsets that a successor takes as such."""
        for leader in successors:
            successor = self.function.blocks[leader]
            for register in range(10):
                value = self.values[register]
                if (
                    isinstance(value, int)
                    and successor.live & 1 << register
                    and successor.frame[register] is None
                ):
                    self.values[register] = self.number(register)

    def fault(self, slot: int) -> None:
        self.emit(f"store i64 {slot + 1}, ptr {self.cell(SLOT)}")
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
        return self.new(f"add i64 %fp, {value}") if value else "%fp"

    def low(self, register: int) -> str:
        """A register's low half as an i32."""
        return self.narrow(self.number(register), 4)

    def narrow(self, value: str, size: int) -> str:
        if size == 8:
            return value
        if not value.startswith("%"):
            return _literal(int(value), size * 8)
        return self.new(f"trunc i64 {value} to i{size * 8}")

    def widen(self, value: str, size: int, how: str = "zext") -> str:
        return value if size == 8 else self.new(f"{how} i{size * 8} {value} to i64")

    def address(self, register: int, off: int) -> str:
        """A pointer to where a register points, `off` bytes on."""
        value = self.values[register]
        if isinstance(value, int):
            base = self.size if self.function.private else 0
            return self.new(f"getelementptr i8, ptr %frame, i64 {base + value + off}")
        if off:
            value = self.new(f"add i64 {value}, {off}")
        return self.new(f"inttoptr i64 {value} to ptr")

    def load(self, pointer: str, size: int) -> str:
        return self.new(f"load i{size * 8}, ptr {pointer}, align 1")

    def store(self, value: str, pointer: str, size: int) -> None:
        self.emit(f"store i{size * 8} {value}, ptr {pointer}, align 1")

    def call(self, symbol: str, *arguments: str) -> str:
        """The result of an imported function."""
        self.symbols.setdefault(symbol, _SIGNATURES.get(symbol, _HELPER))
        if self.callbacks:
            self.emit(f"store i64 %fp, ptr {self.cell(FRAME)}")
        passed = ", ".join(f"i64 {argument}" for argument in arguments)
        return self.new(f"call i64 @{symbol}({passed})")

    # --- a method per kind --------------------------------------------------------------------

    def _alu(self, insn: Instruction, row: Opcode, slot: int) -> None:
        values, size = self.values, row.size if row.op != "movsx" else row.bits // 8
        offset = frame_offset(values, insn, row)
        if offset is not None:
            values[insn.dst] = offset
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
            if row.by_reg:
                values[insn.dst] = self.widen(right, size)
            else:
                values[insn.dst] = _literal(insn.imm & (1 << row.bits) - 1, 64)
            return
        left = self.narrow(self.number(insn.dst), size)
        values[insn.dst] = self.widen(self.operation(row, left, right), size)

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
        arguments = [self.number(register) for register in range(1, 6)]
        if row.op == "function":
            self.call_function(target(self.function.image, slot, row), arguments, slot)
        elif row.op == "callx":
            self.values[0] = self.call("callx", self.number(insn.dst), *arguments)
        elif row.op == "kfunc":
            self.values[0] = self.call(f"kernel_{insn.imm}", *arguments)
        elif insn.imm == TAIL_CALL:
            self.tail_call(arguments)
            return
        else:
            self.values[0] = self.call(f"helper_{insn.imm}", *arguments)
        self.check()

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
        there = self.call("tail_call", *arguments[:3])
        self.check()
        none = self.new(f"icmp eq i64 {there}, 0")
        leave, stay = self.fresh(), self.fresh()
        self.emit(f"br i1 {none}, label %{stay}, label %{leave}")
        self.begin(leave)
        pointer = self.new(f"inttoptr i64 {there} to ptr")
        rest = "i64 0, i64 0, i64 0, i64 0"
        result = self.new(f"call i64 {pointer}(i64 {arguments[0]}, {rest}, i64 %fp)")
        if self.function.start:
            self.symbols.setdefault("tail_return", _SIGNATURES["tail_return"])
            self.emit("call void @tail_return()")
        self.emit(f"ret i64 {result}")
        self.begin(stay)

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
            value = _literal(insn.imm, row.size * 8)
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
        self.store(new, pointer, size)
        if fetches(row):
            self.values[insn.src] = self.widen(old, size)

    def _imm64(self, insn: Instruction, row: Opcode, slot: int) -> None:
        value = imm64(insn, self.instructions[slot + 1])
        if row.op == "func":
            value = CODE + 8 * target(self.function.image, slot, row)
        self.values[insn.dst] = _literal(value, 64)

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


def _literal(value: int, bits: int) -> str:
    """A number as LLVM writes it: signed."""
    value &= (1 << bits) - 1
    return str(value - (1 << bits) if value >> bits - 1 else value)
