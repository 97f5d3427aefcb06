"""Stack traces: which functions a task is in, as addresses.

A kernel stack is computed, when somebody looks, from the names of the functions that the task is
in (`Task.calls`): each frame is an address inside its function, which follows from who is called
there, as a call's place in the code does. A user stack is a few frames of the C library and of the
program; it follows from the program's name and from the call that it makes.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.machine.tasks import Task

LIBC = 0x7F00_0020_0000
PROGRAM = 0x40_1000
STACK = 0x7FFF_FFFF_E000
"""A program's stack pointer, always."""
IDLE = ("cpu_startup_entry", "do_idle", "default_idle")
"""What an idle processor is in."""


class Stacks:
    """Kernel stacks of a kernel whose functions lie where `address_of` says."""

    def __init__(self, address_of: Callable[[str], int | None]) -> None:
        self._address_of = address_of
        self._sites: dict[tuple[str, str], int] = {}

    def kernel(self, calls: tuple[str, ...], inside: str, *, at_start: int = 0) -> tuple[int, ...]:
        """Addresses, innermost first, of a task that is in `calls` and there at `inside`: a
        function, a tracepoint, the work of its own. `at_start` is the address of a function whose
        first instruction it is at. Functions without an address are left out."""
        addresses = [at_start] if at_start else []
        for name in reversed(calls):
            site = self._site(name, inside)
            if site:
                addresses.append(site)
            inside = name
        return tuple(addresses)

    def _site(self, caller: str, callee: str) -> int:
        """The address behind the call of `callee` in `caller`; 0 if there is no such caller."""
        known = self._sites.get((caller, callee))
        if known is None:
            start = self._address_of(caller)
            known = start + 0x15 + crc32(f"{caller} {callee}".encode()) % 0xE0 if start else 0
            self._sites[caller, callee] = known
        return known


def user(task: Task, inside: str = "") -> tuple[int, ...]:
    """Addresses, innermost first, in a task's program: in its system call, or at `inside`, work
    of its own. A kernel's task has none."""
    if task.pid == 0:
        return ()
    return _user(task.executable or task.comm, task.system_call, inside)


@cache
def _user(program: str, system_call: str, inside: str) -> tuple[int, ...]:
    def place(start: int, size: int, *what: str) -> int:
        return start + crc32(" ".join(what).encode()) % size

    start = place(LIBC, 0x1_0000, "__libc_start_main")
    main = place(PROGRAM + 0x100, 0x200, program, "main")
    caller = place(PROGRAM + 0x400, 0x8000, program, system_call or inside)
    if system_call:
        return (place(LIBC + 0x10_0000, 0x8_0000, system_call), caller, main, start, PROGRAM)
    return (caller, main, start, PROGRAM)
