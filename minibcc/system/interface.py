"""The door between user space and a kernel: one protocol, two bodies behind it.

Everything above (the library, the command line) reaches a kernel through a `System` and never asks
which one it talks to: the simulated kernel (`kernel.system`), the real Linux (`system.linux`), a
recording of either, or the kernel of another process (`system.remote`). Failures are `OSError`
with the kernel's errno. Descriptors are plain integers in the body's own space.

Time passes behind the door only while user space waits: `wait`, `poll` and a `read` that would
block let a simulated machine advance; nothing runs behind the caller's back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minibcc.abi.perf import PerfEventAttr
    from minibcc.abi.requests import Request

R = TypeVar("R")


class Files(Protocol):
    """The files that a kernel makes (/sys, /proc, tracefs): all that a compiler asks of it."""

    def open(self, path: str, flags: int = 0) -> int:
        """open(2). Flags are os.O_*."""
        ...

    def read(self, fd: int, size: int) -> bytes:
        """read(2); b"" at end of file. Blocks unless the file was opened with O_NONBLOCK."""
        ...

    def listdir(self, path: str) -> list[str]: ...

    def close(self, fd: int) -> None: ...


class System(Files, Protocol):
    """What a kernel offers to user space."""

    @property
    def name(self) -> str:
        """ "simulated" or "linux", for messages only."""
        ...

    def bpf(self, request: Request[R], /) -> R:
        """bpf(2). Raises OSError; `ProgramRefused` for a program that does not pass."""
        ...

    def perf_event_open(
        self, attr: PerfEventAttr, pid: int = -1, cpu: int = 0, group_fd: int = -1, flags: int = 8
    ) -> int:
        """perf_event_open(2): a descriptor. `flags` defaults to PERF_FLAG_FD_CLOEXEC."""
        ...

    def ioctl(self, fd: int, request: int, argument: int = 0, /) -> int:
        """ioctl(2) with an integer argument (`PerfIoctl`)."""
        ...

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = False) -> memoryview:
        """mmap(2), shared: bytes that the kernel and the caller both see. Released with the
        descriptor's `close`."""
        ...

    def poll(self, fds: Sequence[int], timeout: int | None = None) -> list[int]:
        """poll(2) for reading: the ready descriptors; `timeout` in ns, None waits for ever."""
        ...

    def write(self, fd: int, data: bytes) -> int: ...

    def now(self) -> int:
        """CLOCK_MONOTONIC in ns."""
        ...

    def wait(self, until: int | None) -> None:
        """Sleeps until `until` on `now`'s scale; None: until something ends the wait."""
        ...


def read_file(system: Files, path: str) -> bytes:
    """The whole of a file behind the door."""
    fd = system.open(path)
    try:
        parts = []
        while part := system.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        system.close(fd)
