"""Helpers that tell the time. All clocks are the machine's virtual one.

Mirrors kernel/bpf/helpers.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

HZ = 250
INITIAL_JIFFIES = (1 << 32) - 300 * HZ
TAI_OFFSET = 37_000_000_000
WALL = 1_700_000_000_000_000_000
"""The wall clock at boot, ns since 1970."""


@helper("ktime_get_ns", "ktime_get_boot_ns")
def ktime_get_ns(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    now: int = run.kernel.machine.now()
    return now


@helper("ktime_get_coarse_ns")
def ktime_get_coarse_ns(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    now: int = run.kernel.machine.now()
    return now - now % (1_000_000_000 // HZ)


@helper("ktime_get_tai_ns")
def ktime_get_tai_ns(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    now: int = run.kernel.machine.now()
    return WALL + now + TAI_OFFSET


@helper("jiffies64")
def jiffies64(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    ticks: int = run.kernel.machine.now() // (1_000_000_000 // HZ)
    return INITIAL_JIFFIES + ticks
