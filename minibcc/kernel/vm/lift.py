"""From bytecode to LLVM IR: each function of an image becomes a function of LLVM's.

Registers are values in SSA form from the start: a block begins with a phi for each register that
is live and may come from several places. `translate` says what each instruction becomes, with
everything that LLVM leaves undefined spelt out. Addresses are numbers, as in BPF, except those
known to lie in the function's own frame, which are offsets from it, so that a frame whose address
stays inside its function becomes an `alloca`.

    define i64 @f0(i64 %r1, i64 %r2, i64 %r3, i64 %r4, i64 %r5, i64 %fp)

`%fp` is R10, a number in the arena. What a function calls are symbols that the engine binds:
``helper_6``, ``kernel_1234``, ``probe``, ``packet``, ``callx``, ``tail_call``, and ``native_NAME``
for the functions of `natives.c`.
The cells at ``state`` carry what must not cross native frames as an exception: a call that may fail
is followed by a test of the first cell, and leads out of the program if it is set.

The IR is text: building it costs a tenth of what objects cost, and it can be read. Atomic
operations are plain ones here, since nothing else runs while the program does (the engine holds
the interpreter lock of Python).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.kernel.vm.dataflow import Block, Function
from minibcc.kernel.vm.decode import rows, target
from minibcc.kernel.vm.execution import MAX_LOOPS
from minibcc.kernel.vm.ir import debug_header
from minibcc.kernel.vm.translate import (
    ABORT,
    CELLS,
    COUNT,
    KEEPING,
    PROGRAM,
    R1,
    R5,
    TAIL_CALLS,
    TOP,
    Translator,
)
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Image

_PARAMETERS = ", ".join(f"i64 %r{number}" for number in range(1, 6))


class Lifted(Record):
    """A module of LLVM IR. `symbols` are those it imports, `functions` the slots of the functions
    that it exports (``f0``, ...), `loops` whether a function may go on at what it came from."""

    text: str
    symbols: tuple[str, ...]
    functions: tuple[int, ...]
    loops: bool


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
    text = [header, _STATE, *map(_declare, symbols.items())]
    text += [*bodies, _ATTRIBUTES, *(debug_header(metadata) if debug else [])]
    imports = "state", "memset", "memmove", "memcpy", *symbols
    return Lifted("\n".join(text), imports, image.starts, any(map(_loops, functions)))


_STATE = f"@state = external global [{CELLS} x i64]"
_ATTRIBUTES = """declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
attributes #0 = { nounwind null_pointer_is_valid "no-builtins" }
!0 = !{!"branch_weights", i32 1, i32 2000}
!1 = !{!"branch_weights", i32 2000, i32 1}"""


def stubs() -> str:
    """A module with ``start`` and ``repeat``: how Python gets into programs. Arguments are in the
    cells, since each one that ctypes passes costs more than a hundred instructions of a program.
    ``repeat`` stops at the first run that fails. ``tail_call`` is how programs ask Python."""
    registers = range(R1, R5 + 1)
    names = [f"%r{number}" for number in range(1, 6)]
    cell = "getelementptr (i64, ptr @state, i64 {})".format
    load = "\n".join(
        f"  {name} = load {kind}, ptr {cell(number)}"
        for name, number, kind in (
            ("%program", PROGRAM, "ptr"),
            ("%fp", TOP, "i64"),
            *((name, number, "i64") for name, number in zip(names, registers, strict=True)),
        )
    )
    call = f"call i64 %program({', '.join(f'i64 {name}' for name in names)}, i64 %fp)"
    return f"""{_STATE}
define i64 @start() {{
{load}
  %result = {call}
  ret i64 %result
}}
define i64 @repeat() {{
entry:
{load}
  %count = load i64, ptr {cell(COUNT)}
  br label %again
again:
  %left = phi i64 [ %count, %entry ], [ %less, %good ]
  store i64 0, ptr {cell(TAIL_CALLS)}
  store ptr %program, ptr {cell(PROGRAM)}
  %result = {call}
  %flag = load i64, ptr {cell(ABORT)}
  %failed = icmp ne i64 %flag, 0
  br i1 %failed, label %done, label %good
good:
  %less = sub i64 %left, 1
  %over = icmp eq i64 %less, 0
  br i1 %over, label %done, label %again
done:
  ret i64 %result
}}
declare i64 @ask(i64, i64, i64)
define {KEEPING}i64 @tail_call(i64 %context, i64 %map, i64 %index) {{
  %there = call i64 @ask(i64 %context, i64 %map, i64 %index)
  ret i64 %there
}}"""


def _declare(symbol: tuple[str, str]) -> str:
    name, signature = symbol
    result, _, parameters = signature.partition("(")
    return f"declare {result}@{name}({parameters} #0"


def _loops(function: Function) -> bool:
    """Whether a block goes on at one that does not come after it in reverse postorder, as in every
    loop one does."""
    places = {leader: place for place, leader in enumerate(function.blocks)}
    return any(
        places[following] <= places[leader]
        for leader, block in function.blocks.items()
        for following in block.successors
    )


def _needs_depth_check(functions: list[Function]) -> bool:
    """Whether calls could nest deeper than verified programs may: recursion, or long chains."""
    calls = {
        function.start: {
            target(function.image, slot, row)
            for block in function.blocks.values()
            for slot, _, row, *_ in block.steps
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


class _Lifter(Translator):
    """One function: its blocks, and what joins them."""

    def text(self) -> str:
        function = self.function
        attached = self.describe(function.start)
        self.at(function.start)
        self.prologue()
        ends: dict[int, tuple[str, list[str | int]]] = {}
        phis: list[tuple[int, int, int, str]] = []  # line, block, register, name
        for block in function.blocks.values():
            self.begin_block(block, ends, phis)
            for slot, insn, row, *_ in block.steps:
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
        before = next(ends[leader][1] for leader in block.predecessors if leader in ends)
        if len(block.predecessors) == 1:
            self.values = list(before)
            return
        values: list[str | int] = ["0"] * 10
        values.append(0)
        for register in range(10):
            if block.live & 1 << register:
                known = block.known[register]
                if known is None and not block.joins & 1 << register:
                    known = before[register]
                if known is not None:
                    values[register] = known
                    continue
                name = values[register] = f"%{self.names}"
                self.names += 1
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
