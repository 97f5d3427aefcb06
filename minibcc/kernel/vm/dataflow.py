"""What native code needs to know about a program before it is written: blocks, lives, frames.

A function is the code that can be reached from where it starts. Its blocks are listed in reverse
postorder, so that a block comes after one of its predecessors. For each block the analysis says
which registers are read later (`live`), and which are known to hold an address in the function's
own frame (`frame`). A function whose frame is only ever loaded from and stored to at known places
has a `private` frame: nobody sees its address, and LLVM may keep it in registers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.abi.bpf import STACK_SIZE
from minibcc.kernel.vm.decode import fetches, target
from minibcc.kernel.vm.execution import TAIL_CALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minibcc.isa.instruction import Instruction
    from minibcc.isa.opcodes import Opcode
    from minibcc.kernel.vm.execution import Image

ARGUMENTS = 0b111110
"""Registers as a set of bits: R1 to R5."""


class Block:
    """Slots `start` to `end` (exclusive), entered only at `start`."""

    __slots__ = ("end", "frame", "live", "predecessors", "start", "successors")

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self.successors: list[int] = []
        self.predecessors: list[int] = []
        self.live = 0
        self.frame: list[int | None] = []


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
        _find_lives(self)
        _find_frames(self)


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
    leaders, seen, work = {start}, set(), [start]
    while work:
        slot = work.pop()
        if slot >= len(rows):
            leaders.add(slot)
        if slot in seen or slot >= len(rows):
            continue
        seen.add(slot)
        following = successors(image, slot, rows[slot])
        row = rows[slot]
        if not isinstance(row, str) and row.kind in ("jump", "goto"):
            leaders.update(following)
        work.extend(following)
    blocks = {}
    for leader in leaders:
        block = blocks[leader] = Block(leader)
        slot = leader
        while slot < len(rows):
            following = successors(image, slot, rows[slot])
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
        case "call":
            return ARGUMENTS | (dst if row.op == "callx" else 0), 1
    return 0, 0


def _atomic_reads_writes(row: Opcode, dst: int, src: int) -> tuple[int, int]:
    if row.op == "load_acquire":
        return src, dst
    if row.op == "cmpxchg":
        return dst | src | 1, 1
    return dst | src, src if fetches(row) else 0


def _find_lives(function: Function) -> None:
    """Fills in `live`, backward to the fixed point."""
    gained: dict[int, tuple[int, int]] = {}
    for block in function.blocks.values():
        read = written = 0
        for _, insn, row in steps(function, block):
            reads, writes = reads_writes(insn, row)
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


def steps(function: Function, block: Block) -> list[tuple[int, Instruction, Opcode]]:
    """The instructions of a block, up to the first that is none."""
    out = []
    slot = block.start
    while slot < block.end:
        row = function.rows[slot]
        if isinstance(row, str):
            break
        out.append((slot, function.image.instructions[slot], row))
        slot += 2 if row.kind == "imm64" else 1
    return out


# --- frames --------------------------------------------------------------------------------------


def _find_frames(function: Function) -> None:
    """Fills in `frame` of each block, and `private`."""
    entry = [*[None] * 10, 0]
    blocks = function.blocks
    blocks[function.start].frame = entry
    work = [function.start]
    while work:
        block = blocks[work.pop()]
        state = list(block.frame)
        for _, insn, row in steps(function, block):
            _move(state, insn, row)
        for leader in block.successors:
            successor = blocks[leader]
            before = successor.frame
            merged = (
                [old if old == new else None for old, new in zip(before, state, strict=True)]
                if before
                else state
            )
            if merged != before:
                successor.frame = merged
                work.append(leader)
    for block in blocks.values():
        state = list(block.frame)
        for _, insn, row in steps(function, block):
            _look(function, state, insn, row)
            _move(state, insn, row)
        for leader in block.successors:
            _look_at_edge(function, state, blocks[leader])


def _moves(row: Opcode) -> bool:
    """Whether an instruction takes a frame address to a frame address: a copy, or a step by a
    constant."""
    if row.kind != "alu" or row.bits != 64:
        return False
    return row.op == "mov" if row.by_reg else row.op in ("add", "sub")


def frame_offset(values: Sequence[object], insn: Instruction, row: Opcode) -> int | None:
    """The offset from the frame's end that an instruction puts into `dst`, None if it puts there
    anything else. `values` are registers; those that are integers are such offsets."""
    if not _moves(row):
        return None
    value = values[insn.src if row.by_reg else insn.dst]
    if not isinstance(value, int):
        return None
    if row.by_reg:
        return value
    return value + (insn.imm if row.op == "add" else -insn.imm)


def _move(state: list[int | None], insn: Instruction, row: Opcode) -> None:
    """What an instruction does to the knowledge of which register holds which frame address."""
    offset = frame_offset(state, insn, row)
    _, writes = reads_writes(insn, row)
    if writes:
        state[writes.bit_length() - 1] = offset


def _look(function: Function, state: list[int | None], insn: Instruction, row: Opcode) -> None:
    """Whether an instruction lets a frame address out of sight."""
    reads, _ = reads_writes(insn, row)
    harmless = 0
    if row.kind in ("load", "store", "atomic"):
        by_src = row.kind == "load" or row.op == "load_acquire"
        base = state[insn.src if by_src else insn.dst]
        if base is not None:
            low = base + insn.off
            if -STACK_SIZE <= low <= -row.size:
                function.deepest = min(function.deepest, low)
                values = 0 if by_src or not row.by_reg else 1 << insn.src
                if row.op == "cmpxchg":
                    values |= 1
                harmless = reads & ~values
    elif _moves(row):
        harmless = reads
    for register in range(11):
        if reads & ~harmless & 1 << register and state[register] is not None:
            function.private = False


def _look_at_edge(function: Function, state: list[int | None], successor: Block) -> None:
    """A register that holds a frame address here and something else on another way."""
    for register in range(10):
        if (
            successor.live & 1 << register
            and state[register] is not None
            and successor.frame[register] is None
        ):
            function.private = False
