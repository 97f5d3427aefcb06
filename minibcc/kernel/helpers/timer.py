"""Helpers of timers in maps. Mirrors ``bpf_timer_*`` of kernel/bpf/helpers.c."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.timers import Timers
    from minibcc.kernel.vm.execution import Run


def _timers(run: Run) -> Timers:
    timers: Timers = run.kernel.timers
    return timers


@helper("timer_init")
def timer_init(run: Run, timer: int, map: int, flags: int, r4: int, r5: int) -> int:
    return _timers(run).init(timer, run.kernel.map_at[map], flags)


@helper("timer_set_callback")
def timer_set_callback(run: Run, timer: int, function: int, r3: int, r4: int, r5: int) -> int:
    assert run.image is not None
    return _timers(run).set_callback(timer, run.image, function)


@helper("timer_start")
def timer_start(run: Run, timer: int, time: int, flags: int, r4: int, r5: int) -> int:
    return _timers(run).start(timer, time, flags)


@helper("timer_cancel")
def timer_cancel(run: Run, timer: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _timers(run).cancel(timer)
