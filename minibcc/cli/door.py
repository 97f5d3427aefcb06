"""A door behind which nothing is attached and nobody waits, for ``minibcc check``.

Everything that a script asks or loads reaches the kernel as ever. Attaching and pinning succeed
without effect: the descriptors that this yields are of this door's own and stand for nothing. The
first call that would wait for the kernel raises `Waited` instead.

Where the kernel loads nothing for this process, maps are such descriptors too, and empty, and every
program is refused.

Mirrors: nothing of Linux; it is a `System` in front of another, as `system.recording` is.
"""

from __future__ import annotations

import errno
import os
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from minibcc.abi.requests import (
    BtfLoad,
    IterCreate,
    LinkCreate,
    MapCreate,
    MapFreeze,
    MapUpdate,
    ObjPin,
    ProgAttach,
    ProgDetach,
    RawTracepointOpen,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minibcc.abi.perf import PerfEventAttr
    from minibcc.abi.requests import Request
    from minibcc.system.interface import System

R = TypeVar("R")

FIRST: Final = 1 << 20
"""Descriptors of no kernel: no process may open as many files as that."""


LACKING: Final = {"id": b"0\n", "type": b"0\n", "retprobe": b"config:0\n"}
"""What the files say that attaching reads (of a tracepoint, of a PMU), where the kernel lacks
what they stand for."""

PATIENCE: Final = 1000
"""How often a script may swallow `Waited` before it counts as stuck."""


class Waited(BaseException):  # not to be caught by a script's `except Exception`
    """The script has come to where it would wait for events."""


class QuietDoor:
    """A `System` in front of another, which `loads` programs or does not. `waits` counts how often
    the script would have waited; `stuck` is called for one that catches everything and never
    ends."""

    def __init__(self, system: System, stuck: Callable[[], None], *, loads: bool = True) -> None:
        self._system = system
        self.loads = loads
        self._stuck = stuck
        self.waits = 0
        self._numbers = count(FIRST)
        self._contents: dict[int, bytes] = {}

    @property
    def name(self) -> str:
        return self._system.name

    def descriptor(self, content: bytes = b"") -> int:
        """One that stands for nothing; reading from it gives `content` once."""
        fd = next(self._numbers)
        self._contents[fd] = content
        return fd

    def waited(self) -> NoReturn:
        """Says that the script has come to where it would wait. Raises Waited."""
        self.waits += 1
        if self.waits > PATIENCE:
            self._stuck()
        raise Waited

    def bpf(self, request: Request[R], /) -> R:
        answer: Any
        match request:
            case RawTracepointOpen() | LinkCreate() | IterCreate():
                answer = self.descriptor()
            case ProgAttach() | ProgDetach() | ObjPin():
                answer = None
            case MapUpdate() if self._names_ours(request.value):
                answer = None
            case BtfLoad() | MapCreate() if not self.loads:
                answer = self.descriptor()
            case MapUpdate() | MapFreeze() if not self.loads:
                answer = None
            case _ if getattr(request, "fd", 0) >= FIRST:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            case _:
                answer = self._system.bpf(request)
        return answer  # type: ignore[no-any-return]  # what the request promises

    def _names_ours(self, value: bytes) -> bool:
        """Whether a map's new value is a descriptor of this door's."""
        return len(value) == 4 and int.from_bytes(value, "little") in self._contents

    def perf_event_open(
        self, attr: PerfEventAttr, pid: int = -1, cpu: int = 0, group_fd: int = -1, flags: int = 8
    ) -> int:
        return self.descriptor()

    def ioctl(self, fd: int, request: int, argument: int = 0, /) -> int:
        return 0 if fd >= FIRST else self._system.ioctl(fd, request, argument)

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = False) -> memoryview:
        if fd >= FIRST:
            return memoryview(bytearray(length))
        return self._system.mmap(fd, length, offset, writable=writable)

    def poll(self, fds: Sequence[int], timeout: int | None = None) -> list[int]:
        self.waited()

    def open(self, path: str, flags: int = 0) -> int:
        if path.endswith("/trace_pipe"):
            self.waited()
        try:
            return self._system.open(path, flags)
        except OSError:
            content = LACKING.get(path.rpartition("/")[2])
            if content is None:
                raise
            return self.descriptor(content)

    def read(self, fd: int, size: int) -> bytes:
        if fd < FIRST:
            return self._system.read(fd, size)
        content, self._contents[fd] = self._contents.get(fd, b""), b""
        return content

    def write(self, fd: int, data: bytes) -> int:
        return self._system.write(fd, data)

    def listdir(self, path: str) -> list[str]:
        return self._system.listdir(path)

    def close(self, fd: int) -> None:
        if fd >= FIRST:
            self._contents.pop(fd, None)
        else:
            self._system.close(fd)

    def now(self) -> int:
        return self._system.now()

    def wait(self, until: int | None) -> None:
        self.waited()
