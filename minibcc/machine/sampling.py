"""Clocks and counters of processors, and when they overflow.

Whoever watches a point of kind "perf" (its name ``TYPE:CONFIG`` as in ``perf_event_attr``, its
offset a period in ns) hears of each processor at each multiple of the period: of its task, the
registers and the stacks. Counters of hardware go at a steady rate while a processor is busy, so
that a period in events is one in ns. A clock ticks on idle processors too; nothing else does.
Mirrors the software clocks and the overflow of kernel/events/core.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.machine import stacks
from minibcc.machine.hooks import Event, Point

if TYPE_CHECKING:
    from minibcc.machine.machine import Machine
    from minibcc.machine.tasks import Task

SHORTEST = 1_000
"""ns between two overflows, at least."""
CLOCK = "1:0"
RATES: dict[str, float] = {
    # Software: the clocks of a processor and of a task, page faults (all, minor, major),
    # switches, migrations.
    CLOCK: 1.0,
    "1:1": 1.0,
    "1:2": 2e-6,
    "1:5": 2e-6,
    "1:6": 1e-8,
    "1:3": 2e-6,
    "1:4": 1e-7,
    # Hardware: cycles, instructions, cache references and misses, branches and misses, bus and
    # reference cycles, stalls.
    "0:0": 3.0,
    "0:1": 4.0,
    "0:2": 0.02,
    "0:3": 0.003,
    "0:4": 0.6,
    "0:5": 0.006,
    "0:6": 0.1,
    "0:9": 3.0,
    "0:7": 0.5,
    "0:8": 0.5,
}
"""Events in a ns, by ``TYPE:CONFIG``."""
OTHER = 0.01
"""The rate of every other counter."""


def nanoseconds(counter: str, period: int) -> int:
    """How long a busy processor needs for `period` events."""
    return max(SHORTEST, round(period / RATES.get(counter, OTHER)))


class Sampler:
    """The clocks and counters of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def next(self, time: int) -> int | None:
        """When the first of those that are watched overflows after `time`; None without any."""
        points = self._machine.hooks.sampled
        if points and not any(task.pid for task in self._machine.switching.on):
            points = [point for point in points if point.name == CLOCK]
        if not points:
            return None
        return min((time // point.offset + 1) * point.offset for point in points)

    def sample(self) -> None:
        """What overflows now, on each processor."""
        machine = self._machine
        now = machine.now()
        for point in tuple(machine.hooks.sampled):
            if now % point.offset == 0:
                for cpu, task in enumerate(machine.switching.on):
                    if task.pid or point.name == CLOCK:
                        machine.hooks.pass_by(self._event(point, now, cpu, task))

    def _event(self, point: Point, now: int, cpu: int, task: Task) -> Event:
        calls = task.calls if task.pid else stacks.IDLE
        kernel = self._machine.stacks.kernel(calls, "work")
        user = stacks.user(task, f"work {now // 5_000_000 % 4}")
        in_kernel = bool(kernel) or not user
        registers = {"ip": (kernel or (0,))[0], "sp": task.stack - 256, "bp": task.stack - 224}
        if not in_kernel:
            registers = {"ip": user[0], "sp": stacks.STACK, "bp": stacks.STACK + 64}
            registers.update(cs=0x33, ss=0x2B)
        return Event(
            point=point,
            time=now,
            cpu=cpu,
            task=task,
            registers=registers,
            kernel_stack=kernel,
            user_stack=user,
        )
