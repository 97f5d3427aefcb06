"""Tasks: what `current` is when a probe fires.

Mirrors ``struct task_struct`` as far as the simulation needs it; the bytes that a program sees
through a pointer are laid out from a `Task` by `objects`.
"""

from __future__ import annotations

from minibcc.machine.files import OpenFile
from minibcc.machine.memory import AddressSpace
from minibcc.records import Record

USER_BOTTOM = 0x7F00_0000_0000
"""Where a process's data starts, in the simulation."""
TASKS = 0xFFFF_8881_0000_0000
TASK_STRIDE = 0x4000
IDLE_SLOT = 0x3_F000
"""Where the structures of idle tasks lie, whose pid is 0, counted as pids are."""
TASK_RUNNING, TASK_INTERRUPTIBLE, TASK_DEAD = 0, 1, 0x80
"""States, of ``__state`` and of sched_switch (include/linux/sched.h)."""


class Task(Record, frozen=False):
    """A thread. `pid` is the thread's id and `tgid` the process's (Linux's words; user space says
    tid and pid); `address` is where its ``struct task_struct`` lies in kernel memory, `stack` the
    top of its kernel stack. `files` are its open files by descriptor. Tasks of one process share
    `memory` and `files`.

    `calls` names the kernel functions that it is in, outermost first, and `system_call` the call
    that it makes; `blocked` are functions and arguments that it is in while it does not run, to be
    left when it runs again; `transfer` is the file that it reads or writes now, `child_seen` the
    child that it waited for last."""

    pid: int
    tgid: int
    comm: str
    memory: AddressSpace
    files: dict[int, OpenFile]
    parent: Task | None = None
    uid: int = 0
    gid: int = 0
    cgroup_id: int = 1
    start_time: int = 0
    exit_code: int = 0
    cpu: int = 0
    executable: str = ""
    argv: tuple[str, ...] = ()
    state: int = TASK_RUNNING
    calls: tuple[str, ...] = ()
    system_call: str = ""
    blocked: tuple[tuple[str, tuple[int, ...]], ...] = ()
    transfer: OpenFile | None = None
    child_seen: int = 0

    @property
    def ppid(self) -> int:
        """The parent process's id; 0 for the first one."""
        return self.parent.tgid if self.parent else 0

    @property
    def slot(self) -> int:
        """Counts the places of tasks' structures. It follows from the pid, so that addresses are
        the same in every run, looked at or not."""
        return self.pid or IDLE_SLOT + self.cpu

    @property
    def address(self) -> int:
        return TASKS + self.slot * TASK_STRIDE

    @property
    def stack(self) -> int:
        """The address just above the task's 16 KiB kernel stack."""
        return 0xFFFF_C900_0000_0000 + self.slot * 0x8000 + 0x4000

    @property
    def registers(self) -> int:
        """Where the user registers of a running system call are saved (``struct pt_regs``)."""
        return self.stack - 168
