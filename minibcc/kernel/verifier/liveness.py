"""Which registers can still matter at each slot.

A backward pass over each function, without regard to values: a register is live where some way on
reads it before it is written. States that differ only in dead registers are the same state, so
pruning looks at live ones alone. Mirrors ``compute_live_registers`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.kernel.verifier.form import successors
from minibcc.kernel.verifier.requires import reads, writes

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.form import Shape


def live_registers(shape: Shape, arguments: Callable[[Instruction], int]) -> list[int]:
    """For each slot the mask of registers live before it."""
    live = [0] * len(shape.insns)
    facts = {
        slot: (reads(insn, arguments), ~writes(insn), successors(shape, slot))
        for slot in shape.order
        for insn in (shape.insns[slot],)
    }
    changed = True
    while changed:
        changed = False
        for slot in shape.order:
            used, kept, following = facts[slot]
            after = 0
            for other in following:
                after |= live[other]
            before = after & kept | used
            if before != live[slot]:
                live[slot] = before
                changed = True
    return live
