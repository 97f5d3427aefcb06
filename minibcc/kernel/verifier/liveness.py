"""Which registers and stack slots can still matter at each slot of the program.

Registers: a backward pass over each function, without regard to values; a register is live where
some way on reads it before it is written. Stack slots: which instructions touch them is only known
from the walk, so it notes reads and whole writes by function and chain of calls, and the same pass
is made over those notes when a comparison of states asks. States that differ only in what is dead
are the same state. Mirrors ``compute_live_registers`` of kernel/bpf/verifier.c, and
kernel/bpf/liveness.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.isa.opcodes import IMM, LD
from minibcc.kernel.verifier.form import is_wide
from minibcc.kernel.verifier.requires import reads, writes

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.form import Shape
    from minibcc.kernel.verifier.state import Frame, State


_EVERY = 0x3FF


def _from_packet(insn: Instruction) -> bool:
    """The packet loads of classic BPF: the kernel takes every register for live before them."""
    return insn.code & 7 == LD and insn.code & 0xE0 != IMM


def live_registers(shape: Shape, arguments: Callable[[Instruction], int]) -> list[int]:
    """For each slot the mask of registers live before it, of R0 to R9."""
    live = [0] * len(shape.insns)
    facts = [
        (
            slot,
            _EVERY if _from_packet(insn) else reads(insn, arguments) & _EVERY,
            ~writes(insn),
            shape.following[slot],
        )
        for slot in shape.order
        for insn in (shape.insns[slot],)
    ]
    changed = True
    while changed:
        changed = False
        for slot, used, kept, following in facts:
            after = 0
            for other in following:
                after |= live[other]
            before = after & kept | used
            if before != live[slot]:
                live[slot] = before
                changed = True
    return live


def loops_of(shape: Shape) -> dict[int, int]:
    """Which instructions lie on a cycle of their function's graph, with the number of the cycle
    (Tarjan's strongly connected components, numbered as they are closed). Mirrors
    ``compute_scc`` of kernel/bpf/verifier.c."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    found: dict[int, int] = {}
    open_: list[int] = []
    closed = len(shape.insns)
    count = 0
    for root in range(len(shape.insns)):
        if root in order or (root - 1 in order and is_wide(shape.insns[root - 1])):
            continue
        path = [root]
        while path:
            slot = path[-1]
            if slot not in order:
                order[slot] = low[slot] = len(order)
                open_.append(slot)
            following = shape.following[slot]
            fresh = None
            for other in following:
                if other in order:
                    low[slot] = min(low[slot], low[other])
                else:
                    fresh = other
                    break
            if fresh is not None:
                path.append(fresh)
                continue
            path.pop()
            if low[slot] < order[slot]:
                continue
            cycle = open_[-1] != slot or slot in following
            count += cycle
            while True:
                member = open_.pop()
                low[member] = closed
                if cycle:
                    found[member] = count
                if member == slot:
                    break
    return found


class _Instance:
    """A function, called along one chain: masks of the stack slots that its instructions read, and
    of those that they write whole on every visit."""

    def __init__(self) -> None:
        self.reads: dict[int, int] = {}
        self.writes: dict[int, int] = {}
        self.live: dict[int, int] | None = None


class StackNotes:
    """What the walk has seen of stack accesses."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._instances: dict[tuple[int, ...], _Instance] = {}
        self._orders: dict[int, list[tuple[int, tuple[int, ...]]]] = {}

    def _instance(self, frames: list[Frame], number: int) -> _Instance:
        chain = frames[number].chain
        found = self._instances.get(chain)
        if found is None:
            found = self._instances[chain] = _Instance()
        return found

    def read(self, state: State, slot: int, number: int, index: int) -> None:
        """The instruction at `slot` reads stack slot `index` of frame `number`; of a caller's
        frame, its call does."""
        frames = state.frames
        if number + 1 < len(frames):
            slot = frames[number + 1].callsite
        instance = self._instance(frames, number)
        before = instance.reads.get(slot, 0)
        if not before >> index & 1:
            instance.reads[slot] = before | 1 << index
            instance.live = None

    def wrote(self, state: State, slot: int, mask: int) -> None:
        """The store at `slot` writes these slots of the current frame whole, this time."""
        instance = self._instance(state.frames, len(state.frames) - 1)
        before = instance.writes.get(slot)
        if before is None:
            instance.writes[slot] = mask
        elif before & ~mask:
            instance.writes[slot] = before & mask
        else:
            return
        instance.live = None

    def live(self, state: State) -> list[int]:
        """For each frame of a kept state, the slots that may still be read."""
        frames = state.frames
        slots = [frame.callsite for frame in frames[1:]] + [state.slot]
        return [
            self._solved(self._instance(frames, number), frames[number].function).get(slot, 0)
            for number, slot in enumerate(slots)
        ]

    def _solved(self, instance: _Instance, function: int) -> dict[int, int]:
        """The slots live before each instruction of a function."""
        if instance.live is not None:
            return instance.live
        order = self._orders.get(function)
        if order is None:
            shape = self._shape
            first, last = shape.starts[function], shape.starts[function + 1]
            order = [(slot, shape.following[slot]) for slot in shape.order if first <= slot < last]
            self._orders[function] = order
        live: dict[int, int] = {}
        reads, writes = instance.reads, instance.writes
        changed = bool(reads)
        while changed:
            changed = False
            for slot, following in order:
                after = 0
                for other in following:
                    after |= live.get(other, 0)
                before = after & ~writes.get(slot, 0) | reads.get(slot, 0)
                if before != live.get(slot, 0):
                    live[slot] = before
                    changed = True
        instance.live = live
        return live
