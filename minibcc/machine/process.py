"""A process as a scenario plays it: system calls, and what they do to the machine.

A scenario's behaviour calls these methods as a program calls libc; each goes through the modelled
kernel (`calls`), so that whoever watches sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.machine.memory import AddressSpace
from minibcc.machine.tasks import USER_BOTTOM, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.machine.machine import Machine
    from minibcc.machine.scheduler import Behaviour

AT_FDCWD = -100
ENOENT = 2
EBADF = 9
SIGCHLD = 17
CLONE_FLAGS = 0x0120_0000 | SIGCHLD
"""What glibc's fork() passes: CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD."""
TASK_COMM_LEN = 16


class Process:
    """One task's view of the machine. Results are Linux's: a number, or a negative errno."""

    def __init__(self, machine: Machine, task: Task) -> None:
        self.machine = machine
        self.kernel = machine.kernel
        self.task = task
        self.random = machine.random

    def open(self, path: str, flags: int = 0, mode: int = 0) -> int:
        """openat(AT_FDCWD, path, flags, mode): a descriptor."""
        filename = self._user_string(path)
        how = self.machine.kernel_memory.place(
            flags.to_bytes(8, "little") + mode.to_bytes(8, "little") + bytes(8)
        )

        def open_file() -> int:
            if not self.machine.files.openable(path, flags):
                return -ENOENT
            fd = next(fd for fd in range(3, 1 << 20) if fd not in self.task.files)
            self.task.files[fd] = path
            return fd

        def opened() -> int:
            return self.kernel.function(
                "do_sys_openat2",
                (AT_FDCWD, filename, how),
                open_file,
                spend=self.random.randrange(1_500, 12_000),
            )

        try:
            return self.kernel.system_call("openat", (AT_FDCWD, filename, flags, mode), opened)
        finally:
            self.machine.kernel_memory.unmap(how)
            self.task.memory.unmap(filename)

    def close(self, fd: int) -> int:
        def close_file() -> int:
            return 0 if self.task.files.pop(fd, None) is not None else -EBADF

        return self.kernel.system_call("close", (fd,), close_file)

    def read(self, fd: int, count: int) -> int:
        """How many bytes were read."""
        return self._transfer("read", "vfs_read", fd, count)

    def write(self, fd: int, count: int) -> int:
        """How many bytes were written."""
        return self._transfer("write", "vfs_write", fd, count)

    def fork(self, behaviour: Callable[[Process], Behaviour], comm: str | None = None) -> Task:
        """clone() of a child that goes on with `behaviour`; `comm` renames it later, at exec."""
        machine = self.machine
        child: list[Task] = []

        def copy_process() -> int:
            new = machine.new_task(comm or self.task.comm, parent=self.task)
            child.append(new)
            machine.start(new, behaviour)
            return new.pid

        def kernel_clone() -> int:
            return self.kernel.function(
                "kernel_clone", (self.task.stack - 512,), copy_process, spend=30_000
            )

        self.kernel.system_call("clone", (CLONE_FLAGS, 0, 0, 0, 0), kernel_clone)
        return child[0]

    def execve(self, path: str, comm: str | None = None) -> int:
        """The task becomes the program at `path`: its name changes, its descriptors stay."""
        filename = self._user_string(path)

        def replace_image() -> int:
            if not self.machine.files.openable(path, 0):
                return -ENOENT
            self.task.executable = path
            self.task.comm = (comm or path.rpartition("/")[2])[: TASK_COMM_LEN - 1]
            return 0

        result = self.kernel.system_call(
            "execve", (filename, 0, 0), replace_image, spend=self.random.randrange(90_000, 400_000)
        )
        self.task.memory.unmap(filename)
        return result

    def exit(self, code: int = 0) -> None:
        """exit_group(): the behaviour should end behind it."""
        self.task.exit_code = code
        self.kernel.system_call("exit_group", (code,), lambda: 0)

    def look_at(self, *paths: str, size: int = 4096) -> None:
        """Opens, reads and closes each file, as most short commands do with most files."""
        for path in paths:
            fd = self.open(path)
            if fd >= 0:
                self.read(fd, size)
                self.close(fd)

    def _transfer(self, call: str, function: str, fd: int, count: int) -> int:
        def transfer() -> int:
            if fd > 2 and fd not in self.task.files:
                return -EBADF
            return self.kernel.function(
                function, (0, 0, count, 0), lambda: count, spend=self.random.randrange(400, 9_000)
            )

        return self.kernel.system_call(call, (fd, USER_BOTTOM, count), transfer)

    def _user_string(self, text: str) -> int:
        """The address of a C string in the process's memory."""
        return self.task.memory.place(text.encode() + b"\0")


def user_memory() -> AddressSpace:
    """An empty address space of a new process."""
    return AddressSpace(USER_BOTTOM + 0x10_0000)
