"""What native code needs to know about a program before it is written: blocks, lives, frames.

A function is the code that can be reached from where it starts. Its blocks are listed in reverse
postorder, so that a block comes after one of its predecessors. For each block the analysis says
which registers are read later (`live`), which hold a constant or an address in the function's own
frame (`known`), and which may have been written in several places (`joins`). A function whose frame
is only ever loaded from and stored to at known places has a `private` frame: nobody sees its
address, and LLVM may keep it in registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.abi.bpf import STACK_SIZE
from minibcc.isa.instruction import imm64
from minibcc.kernel.vm import inline
from minibcc.kernel.vm.decode import fetches, target
from minibcc.kernel.vm.execution import CODE, TAIL_CALL
from minibcc.kernel.vm.ir import literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minibcc.isa.instruction import Instruction
    from minibcc.isa.opcodes import Opcode
    from minibcc.kernel.vm.execution import Image

ARGUMENTS = 0b111110
"""Registers as a set of bits: R1 to R5."""


Known = int | str | None
"""What is known of a register's value: an offset from the frame's end, a number as LLVM writes it,
or nothing."""


class Block:
    """Slots `start` to `end` (exclusive), entered only at `start`. `steps` are the instructions, up
    to the first that is none, each with the registers that it reads and overwrites."""

    __slots__ = ("end", "joins", "known", "live", "predecessors", "start", "steps", "successors")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.steps: list[tuple[int, Instruction, Opcode, int, int]] = []
        self.successors: list[int] = []
        self.predecessors: list[int] = []
        self.live = 0
        self.known: list[Known] = []
        self.joins = 0


class Function:
    """One function of an image. `deepest` is the lowest byte of a private frame in use, counted
    from its end: 0 or negative."""

    def __init__(self, image: Image, rows: list[Opcode | str], start: int) -> None:
        self.image = image
        self.rows = rows
        self.start = start
        self.blocks = _reverse_postorder(_cut(image, rows, start), start)
        self.private = True
        self.deepest = 0
        for block in self.blocks.values():
            block.steps = _steps(self, block)
        _find_lives(self)
        _find_values(self)


def successors(image: Image, slot: int, row: Opcode | str) -> tuple[int, ...]:
    """Where control goes after a slot; the number of slots means past the end."""
    if isinstance(row, str) or row.kind == "exit":
        return ()
    match row.kind:
        case "jump":
            return slot + 1, target(image, slot, row)
        case "goto" if row.op == "may_goto":
            return slot + 1, target(image, slot, row)
        case "goto":
            return (target(image, slot, row),)
        case "imm64":
            return (slot + 2,)
    return (slot + 1,)


def _cut(image: Image, rows: list[Opcode | str], start: int) -> dict[int, Block]:
    """The blocks of the function at `start`, by first slot."""
    leaders, work = {start}, [start]
    seen: dict[int, tuple[int, ...]] = {}
    while work:
        slot = work.pop()
        if slot >= len(rows):
            leaders.add(slot)
        if slot in seen or slot >= len(rows):
            continue
        row = rows[slot]
        following = seen[slot] = successors(image, slot, row)
        if not isinstance(row, str) and row.kind in ("jump", "goto"):
            leaders.update(following)
        work.extend(following)
    blocks = {}
    for leader in leaders:
        block = blocks[leader] = Block(leader)
        slot = leader
        while slot < len(rows):
            following = seen[slot]
            block.end = slot + 1
            if len(following) != 1 or following[0] in leaders:
                block.successors = list(dict.fromkeys(following))
                break
            slot = following[0]
    for block in blocks.values():
        for successor in block.successors:
            blocks[successor].predecessors.append(block.start)
    return blocks


def _reverse_postorder(blocks: dict[int, Block], start: int) -> dict[int, Block]:
    order: list[int] = []
    seen = {start}
    stack = [(start, iter(blocks[start].successors))]
    while stack:
        leader, rest = stack[-1]
        for successor in rest:
            if successor not in seen:
                seen.add(successor)
                stack.append((successor, iter(blocks[successor].successors)))
                break
        else:
            order.append(leader)
            stack.pop()
    return {leader: blocks[leader] for leader in reversed(order)}


# --- lives ---------------------------------------------------------------------------------------


def reads_writes(insn: Instruction, row: Opcode) -> tuple[int, int]:
    """The registers that an instruction reads and those that it overwrites, as sets of bits."""
    dst, src = 1 << insn.dst, 1 << insn.src if row.by_reg else 0
    match row.kind:
        case "alu":
            return src | (0 if row.op in ("mov", "movsx") else dst), dst
        case "swap":
            return dst, dst
        case "jump":
            return dst | src, 0
        case "exit":
            return 1, 0
        case "load" | "probe":
            return 1 << insn.src, dst
        case "store":
            return dst | src, 0
        case "atomic":
            return _atomic_reads_writes(row, dst, src)
        case "imm64":
            return 0, dst
        case "packet":
            return src, 1
        case "call" if row.op == "helper" and insn.imm == TAIL_CALL:
            return 0b1110, 0
        case "call" if row.op == "helper":
            return inline.READS.get(insn.imm, ARGUMENTS), 1
        case "call":
            return ARGUMENTS | (dst if row.op == "callx" else 0), 1
    return 0, 0


def _atomic_reads_writes(row: Opcode, dst: int, src: int) -> tuple[int, int]:
    if row.op == "load_acquire":
        return src, dst
    if row.op == "cmpxchg":
        return dst | src | 1, 1
    return dst | src, src if fetches(row) else 0


def _steps(function: Function, block: Block) -> list[tuple[int, Instruction, Opcode, int, int]]:
    out = []
    slot = block.start
    while slot < block.end:
        row = function.rows[slot]
        if isinstance(row, str):
            break
        insn = function.image.instructions[slot]
        out.append((slot, insn, row, *reads_writes(insn, row)))
        slot += 2 if row.kind == "imm64" else 1
    return out


def _find_lives(function: Function) -> None:
    """Fills in `live`, backward to the fixed point."""
    gained: dict[int, tuple[int, int]] = {}
    for block in function.blocks.values():
        read = written = 0
        for _, _, _, reads, writes in block.steps:
            read |= reads & ~written
            written |= writes
        gained[block.start] = read, written
    changed = True
    while changed:
        changed = False
        for block in reversed(function.blocks.values()):
            out = 0
            for successor in block.successors:
                out |= function.blocks[successor].live
            read, written = gained[block.start]
            live = read | out & ~written
            if live != block.live:
                block.live = live
                changed = True


# --- values --------------------------------------------------------------------------------------

ENTRY = -1
"""Where the values that a function begins with were written."""


def _find_values(function: Function) -> None:
    """Fills in `known` and `joins` of each block, forward to the fixed point, and `private`. A
    register's value is where it was written: a slot, or the block (as ``~start``) where what was
    written in several places meets."""
    image = function.image
    ends: dict[int, tuple[list[Known], list[int]]] = {}
    begin: tuple[list[Known], list[int]] = [*[None] * 10, 0], [ENTRY] * 11
    loops, changed = False, True
    while changed:
        changed = False
        for block in function.blocks.values():
            ways = [ends[leader] for leader in block.predecessors if leader in ends]
            loops |= len(ways) < len(block.predecessors)
            if block.start == function.start:
                ways.append(begin)
            known, places = list(ways[0][0]), list(ways[0][1])
            for other, elsewhere in ways[1:]:
                if known != other:
                    for register in range(10):
                        if known[register] != other[register]:
                            known[register] = None
                if places != elsewhere:
                    for register in range(10):
                        if places[register] != elsewhere[register]:
                            block.joins |= 1 << register
            if block.joins:
                for register in range(10):
                    if block.joins & 1 << register:
                        places[register] = ~block.start - 1
            block.known = list(known)
            for slot, insn, row, reads, writes in block.steps:
                _look(function, known, insn, row, reads)
                if writes:
                    register = writes.bit_length() - 1
                    known[register] = known_value(image, slot, insn, row, known)
                    places[register] = slot
            changed |= loops and ends.get(block.start) != (known, places)
            ends[block.start] = known, places
    for block in function.blocks.values():
        for leader in block.successors:
            _look_at_edge(function, ends[block.start][0], function.blocks[leader])


def _moves(row: Opcode) -> bool:
    """Whether an instruction takes a frame address to a frame address: a copy, or a step by a
    constant."""
    if row.kind != "alu" or row.bits != 64:
        return False
    return row.op == "mov" if row.by_reg else row.op in ("add", "sub")


def known_value(
    image: Image, slot: int, insn: Instruction, row: Opcode, values: Sequence[Known]
) -> Known:
    """What is known of the value that an instruction puts into its register. `values` are the
    registers before; a text that begins with ``%`` tells nothing."""
    if row.kind == "imm64":
        if row.op == "func":
            return literal(CODE + 8 * target(image, slot, row), 64)
        return literal(imm64(insn, image.instructions[slot + 1]), 64)
    if row.op == "mov" and not row.by_reg:
        return literal(insn.imm & (1 << row.bits) - 1, 64)
    if not _moves(row):
        return None
    value = values[insn.src if row.by_reg else insn.dst]
    if not isinstance(value, int):
        return None
    if row.by_reg:
        return value
    return value + (insn.imm if row.op == "add" else -insn.imm)


def _look(
    function: Function, known: list[Known], insn: Instruction, row: Opcode, reads: int
) -> None:
    """Whether an instruction lets a frame address out of sight."""
    addresses = _addresses(known, reads)
    if not addresses:
        return
    harmless = 0
    if row.kind in ("load", "store", "atomic"):
        by_src = row.kind == "load" or row.op == "load_acquire"
        if _inside(function, known[insn.src if by_src else insn.dst], insn.off, row.size):
            values = 0 if by_src or not row.by_reg else 1 << insn.src
            if row.op == "cmpxchg":
                values |= 1
            harmless = reads & ~values
    elif row.kind == "call" and row.op == "helper":
        size = inline.key_read(function.image, insn.imm, known)
        if size and _inside(function, known[2], 0, size):
            harmless = 1 << 2
    elif _moves(row):
        harmless = reads
    if addresses & ~harmless:
        function.private = False


def _addresses(known: list[Known], registers: int) -> int:
    """Those of the registers (a set of bits) that hold addresses in the frame."""
    found = 0
    while registers:
        register = registers.bit_length() - 1
        registers ^= 1 << register
        if isinstance(known[register], int):
            found |= 1 << register
    return found


def _inside(function: Function, base: Known, off: int, size: int) -> bool:
    """Whether a place is in the frame; if so, it is in use."""
    if not isinstance(base, int) or not -STACK_SIZE <= base + off <= -size:
        return False
    function.deepest = min(function.deepest, base + off)
    return True


def _look_at_edge(function: Function, known: list[Known], successor: Block) -> None:
    """A register that holds a frame address here and something else on another way."""
    for register in range(10):
        if (
            successor.live & 1 << register
            and isinstance(known[register], int)
            and successor.known[register] is None
        ):
            function.private = False
