"""Helpers that make numbers. Chance is the kernel's seeded source: runs repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run


@helper("get_prandom_u32")
def get_prandom_u32(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    number: int = run.kernel.random.getrandbits(32)
    return number
