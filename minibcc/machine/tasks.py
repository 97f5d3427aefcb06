"""Tasks: what `current` is when a probe fires."""

from __future__ import annotations

from minibcc.records import Record


class Task(Record, frozen=False):
    """A thread. `pid` is the thread's id and `tgid` the process's (Linux's words; user space says
    tid and pid); `address` is where its ``struct task_struct`` lies in kernel memory."""

    pid: int
    tgid: int
    comm: str
    uid: int = 0
    gid: int = 0
    ppid: int = 0
    cgroup_id: int = 1
    address: int = 0
