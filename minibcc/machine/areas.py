"""A process's memory areas: what /proc/PID/maps would list, as ``struct vm_area_struct``.

All processes are laid out alike: the program's file, data, the C library's file, more data, the
stack. Where these lie is what `stacks` makes user addresses of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.machine.stacks import LIBC
from minibcc.machine.tasks import USER_BOTTOM
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.machine.tasks import Task

VM_READ, VM_WRITE, VM_EXEC, VM_GROWSDOWN = 0x1, 0x2, 0x4, 0x100
VM_MAY = 0x70
"""``VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC``: what mprotect(2) might make of an area."""
LIBRARY = "/lib/x86_64-linux-gnu/libc.so.6"
PROGRAM_BASE, PROGRAM_SIZE = 0x40_0000, 0x1_0000
LIBRARY_SIZE = 0x20_0000
DATA_SIZE = 0x4000_0000
STACK_START, STACK_END = 0x7FFF_FFDF_F000, 0x7FFF_FFFF_F000
PAGE_SHIFT = 12


class Area(Record):
    """Addresses from `start` up to `end`. `path` is the file that is mapped there, if any."""

    number: int
    start: int
    end: int
    flags: int
    path: str = ""


def areas(task: Task) -> tuple[Area, ...]:
    """By address. A kernel's task has none."""
    if not task.pid:
        return ()
    code, data = VM_READ | VM_EXEC | VM_MAY, VM_READ | VM_WRITE | VM_MAY
    rows = [
        (LIBC + LIBRARY_SIZE, LIBC + LIBRARY_SIZE + DATA_SIZE, data, ""),
        (LIBC, LIBC + LIBRARY_SIZE, code, LIBRARY),
        (USER_BOTTOM, LIBC, data, ""),
        (STACK_START, STACK_END, data | VM_GROWSDOWN, ""),
    ]
    if task.executable:
        rows.append((PROGRAM_BASE, PROGRAM_BASE + PROGRAM_SIZE, code, task.executable))
    return tuple(Area(number, *row) for number, row in enumerate(sorted(rows)))


def area_at(task: Task, address: int) -> Area | None:
    """The area that holds a user address."""
    return next((area for area in areas(task) if area.start <= address < area.end), None)
