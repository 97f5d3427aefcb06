"""A process as a scenario plays it: system calls, and what they do to the machine.

A scenario's behaviour calls these methods as a program calls libc; each goes through the modelled
kernel (`calls`), so that whoever watches sees it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.machine.files import directory, file_system
from minibcc.machine.memory import AddressSpace
from minibcc.machine.objects import (
    ARGUMENTS,
    EXECUTION_STRIDE,
    EXECUTIONS,
    TRANSFER_STRIDE,
    TRANSFERS,
    argument_block,
)
from minibcc.machine.tasks import TASK_DEAD, USER_BOTTOM, Task

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
PAGE = 4096
FILE_SYSTEM_FUNCTIONS = {
    (0, "read"): "ext4_file_read_iter",
    (0, "write"): "ext4_file_write_iter",
    (2, "write"): "tty_write",
}
"""What vfs_read and vfs_write go on to, by file system."""


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

        def opened() -> int:
            return self.kernel.function(
                "do_sys_openat2",
                (AT_FDCWD, filename, how),
                lambda: self._open_file(path, flags, mode),
                spend=self.random.randrange(1_500, 12_000),
            )

        try:
            return self.kernel.system_call("openat", (AT_FDCWD, filename, flags, mode), opened)
        finally:
            self.machine.kernel_memory.unmap(how)
            self.task.memory.unmap(filename)

    def _open_file(self, path: str, flags: int, mode: int) -> int:
        """What finds or makes the file, and opens it."""
        kernel, files, objects = self.kernel, self.machine.files, self.machine.objects
        made = files.size(path) is None
        if not files.openable(path, flags):
            return -ENOENT
        if made:
            parent = objects.inode(directory(path))
            kernel.function("vfs_create", (0, parent, objects.dentry(path), mode))
        file = files.open(path, flags)
        fd = next(fd for fd in range(3, 1 << 20) if fd not in self.task.files)
        self.task.files[fd] = file

        def vfs_open() -> int:
            if file_system(path) == 0:
                kernel.function("ext4_file_open", (objects.inode(path), file.address))
            return 0

        where = file.address + objects.offset("file", "f_path")
        kernel.function("vfs_open", (where, file.address), vfs_open)
        return fd

    def close(self, fd: int) -> int:
        def close_file() -> int:
            file = self.task.files.pop(fd, None)
            if file is None:
                return -EBADF
            return self.kernel.function("filp_close", (file.address, 0))

        return self.kernel.system_call("close", (fd,), close_file)

    def read(self, fd: int, count: int) -> int:
        """How many bytes were read."""
        return self._transfer("read", fd, count)

    def write(self, fd: int, count: int) -> int:
        """How many bytes were written."""
        return self._transfer("write", fd, count)

    def fork(self, behaviour: Callable[[Process], Behaviour], comm: str | None = None) -> Task:
        """clone() of a child that goes on with `behaviour`; `comm` renames it later, at exec."""
        machine, kernel = self.machine, self.kernel
        child: list[Task] = []

        def copy_process() -> int:
            new = machine.new_task(comm or self.task.comm, parent=self.task)
            new.executable, new.argv = self.task.executable, self.task.argv
            child.append(new)
            kernel.function("sched_fork", (CLONE_FLAGS, new.address))
            machine.switching.forked(self.task, new, CLONE_FLAGS)
            machine.start(new, behaviour)
            machine.switching.started(new)
            return new.pid

        def kernel_clone() -> int:
            return kernel.function(
                "kernel_clone", (self.task.stack - 512,), copy_process, spend=30_000
            )

        kernel.system_call("clone", (CLONE_FLAGS, 0, 0, 0, 0), kernel_clone)
        return child[0]

    def execve(self, path: str, *arguments: str, comm: str | None = None) -> int:
        """The task becomes the program at `path` with argv ``(path, *arguments)``: its name
        changes, its descriptors stay."""
        machine, task = self.machine, self.task
        argv = (path, *arguments)
        strings = [self._user_string(text) for text in argv]
        pointers = b"".join(text.to_bytes(8, "little") for text in (*strings, 0))
        vector = task.memory.place(pointers.ljust(PAGE, b"\0"))
        program = EXECUTIONS + task.slot * EXECUTION_STRIDE

        def replace_image() -> int:
            if not machine.files.openable(path, 0):
                return -ENOENT
            task.executable, task.argv = path, argv
            block = argument_block(task)
            task.memory.map(ARGUMENTS, bytearray(block), len(block))
            name = (comm or path.rpartition("/")[2])[: TASK_COMM_LEN - 1]
            machine.switching.renamed(task, name)
            machine.switching.executed(task, program)
            return 0

        try:
            return self.kernel.system_call(
                "execve",
                (strings[0], vector, 0),
                lambda: self.kernel.function("bprm_execve", (program,), replace_image),
                spend=self.random.randrange(90_000, 400_000),
            )
        finally:
            for address in (*strings, vector):
                task.memory.unmap(address)

    def exit(self, code: int = 0) -> None:
        """exit_group(): the behaviour should end behind it."""
        self.task.exit_code = code
        kernel = self.kernel
        kernel.enter_call("exit_group", (code,))
        kernel.enter("do_group_exit", (code << 8,))
        kernel.enter("do_exit", (code << 8,))
        self.machine.spend(500)
        self.machine.switching.exited(self.task)
        self.task.state = TASK_DEAD

    def look_at(self, *paths: str, size: int = 4096) -> None:
        """Opens, reads and closes each file, as most short commands do with most files."""
        for path in paths:
            fd = self.open(path)
            if fd >= 0:
                self.read(fd, size)
                self.close(fd)

    def _transfer(self, call: str, fd: int, count: int) -> int:
        """read() or write() of so many bytes."""
        kernel, task = self.kernel, self.task
        file = task.files.get(fd) or (self.machine.files.terminal if fd <= 2 else None)

        def transfer() -> int:
            if file is None:
                return -EBADF
            task.transfer = file
            position = file.address + self.machine.objects.offset("file", "f_pos")
            function = FILE_SYSTEM_FUNCTIONS.get((file_system(file.path), call))
            arguments = (TRANSFERS + task.slot * TRANSFER_STRIDE, 0)

            def in_file_system() -> int:
                return kernel.function(function, arguments, lambda: count) if function else count

            result = kernel.function(
                f"vfs_{call}",
                (file.address, USER_BOTTOM, count, position),
                in_file_system,
                spend=self.random.randrange(400, 9_000),
            )
            file.position += count
            task.transfer = None
            return result

        arguments = (fd, USER_BOTTOM, count)
        return kernel.system_call(
            call, arguments, lambda: kernel.function(f"ksys_{call}", arguments, transfer)
        )

    def _user_string(self, text: str) -> int:
        """The address of a C string in the process's memory. It has its pages to itself: a program
        may read behind its end, as from the memory of any process."""
        data = text.encode() + b"\0"
        return self.task.memory.place(data.ljust(-(-len(data) // PAGE) * PAGE, b"\0"))


def user_memory() -> AddressSpace:
    """An empty address space of a new process."""
    return AddressSpace(USER_BOTTOM + 0x10_0000)
