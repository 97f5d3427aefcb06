"""The simulated computer: what the kernel above it may ask and do.

This module will hold the machine itself; the protocol below is what `kernel` relies on. Time is
virtual, ns since boot. `advance` runs the scenario's activity up to a time; nothing happens
outside it. The machine knows nothing of BPF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from minibcc.btf.types import Struct, Type
    from minibcc.machine.hooks import Hooks, Point
    from minibcc.machine.tasks import Task


class Machine(Protocol):
    hooks: Hooks
    cpus: int
    current: Task
    """The task whose activity is being simulated (an idle task between events)."""
    cpu: int
    """Where it runs."""
    finished: bool
    """The scenario is over: no event will come."""

    def now(self) -> int:
        """ns since boot, CLOCK_MONOTONIC."""
        ...

    def advance(self, until: int | None, stop: object = None) -> bool:
        """Runs activity until time `until` (None: to the end), or until `stop()` is true after an
        event. False if the scenario ended first (the clock then stands at `until`, if given)."""
        ...

    def exists(self, point: Point) -> bool:
        """Whether the point is a place in this kernel (a function that may be probed, a known
        tracepoint)."""
        ...

    def read_kernel(self, address: int, size: int) -> bytes:
        """Kernel memory (0xffff...). Raises `machine.memory.BadAddress`."""
        ...

    def read_user(self, task: Task, address: int, size: int) -> bytes: ...

    def write_user(self, task: Task, address: int, data: bytes) -> None: ...

    def type(self, name: str) -> Struct | Type | None:
        """A kernel type from the machine's BTF, by name (``struct task_struct`` or a typedef)."""
        ...

    def read_file(self, path: str) -> bytes | memoryview:
        """A file that Linux makes and that holds no BPF state: /sys/kernel/btf/vmlinux,
        /proc/kallsyms, /sys/kernel/tracing/events/..., /sys/devices/system/cpu/online, ...
        Raises FileNotFoundError."""
        ...

    def list_directory(self, path: str) -> list[str]: ...
