"""Tasks: what `current` is when a probe fires.

Mirrors ``struct task_struct`` as far as the simulation needs it; the bytes that a program sees
through a pointer are laid out from a `Task` by `structures`.
"""

from __future__ import annotations

from minibcc.machine.memory import AddressSpace
from minibcc.records import Record

USER_BOTTOM = 0x7F00_0000_0000
"""Where a process's data starts, in the simulation."""


class Task(Record, frozen=False):
    """A thread. `pid` is the thread's id and `tgid` the process's (Linux's words; user space says
    tid and pid); `address` is where its ``struct task_struct`` lies in kernel memory, `stack` the
    top of its kernel stack. `files` maps its descriptors to paths. Tasks of one process share
    `memory` and `files`."""

    pid: int
    tgid: int
    comm: str
    memory: AddressSpace
    files: dict[int, str]
    parent: Task | None = None
    uid: int = 0
    gid: int = 0
    cgroup_id: int = 1
    start_time: int = 0
    exit_code: int = 0
    cpu: int = 0
    executable: str = ""

    @property
    def ppid(self) -> int:
        """The parent process's id; 0 for the first one."""
        return self.parent.tgid if self.parent else 0

    @property
    def address(self) -> int:
        """Follows from the pid, so that it is the same in every run, looked at or not."""
        return 0xFFFF_8881_0000_0000 + self.pid * 0x4000

    @property
    def stack(self) -> int:
        """The address just above the task's 16 KiB kernel stack."""
        return 0xFFFF_C900_0000_0000 + self.pid * 0x8000 + 0x4000

    @property
    def registers(self) -> int:
        """Where the user registers of a running system call are saved (``struct pt_regs``)."""
        return self.stack - 168
