"""The second body behind the door: the real Linux kernel, by system calls.

Everything but bpf(2) is passed on plainly to the operating system; bpf(2) requests are packed by
`system.attributes`. Descriptors are the process's own.

A map's key and value sizes are asked once per descriptor and remembered until `close`, so close
descriptors here and not with `os.close`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from minibcc.errors import NotPermitted, SystemUnavailable

if TYPE_CHECKING:
    import mmap
    from collections.abc import Sequence

    from minibcc.abi.perf import PerfEventAttr
    from minibcc.abi.requests import Request
    from minibcc.system.attributes import Shape
    from minibcc.system.call import Memory

R = TypeVar("R")

_SYS_BPF: Final = 321
_PROG_LOAD: Final = 5
_TRIES: Final = 5
"""How often a program is loaded where the verifier gives up because a signal waits (EAGAIN)."""

_SYS_PERF_EVENT_OPEN: Final = 298
_MEMLOCK_FREE_SINCE: Final = (5, 11)  # before, maps counted against RLIMIT_MEMLOCK

_PERF_ATTR_SIZE: Final = 112  # PERF_ATTR_SIZE_VER5: every kernel that has BPF probes takes it

_NAMELESS: Final = {524: "Operation is not supported"}  # ENOTSUPP, which no C library knows

_CURE: Final = (
    "run it as root (sudo), or give the process CAP_BPF and CAP_PERFMON; "
    "the simulated kernel needs no permission"
)


class LinuxSystem:
    """The running kernel. Raises SystemUnavailable where there is none that may be used: with
    `loads`, NotPermitted where it takes no programs from this process."""

    name = "linux"

    def __init__(self, *, loads: bool = True) -> None:
        machine = os.uname().machine if hasattr(os, "uname") else ""
        if sys.platform != "linux" or machine not in ("x86_64", "amd64"):
            raise SystemUnavailable(
                f"a real kernel is only supported on Linux on x86-64, not on {sys.platform} "
                f"{machine}; use the simulated kernel"
            )
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._shapes: dict[int, Shape] = {}
        self._mappings: dict[int, list[tuple[mmap.mmap, memoryview]]] = {}
        if _release() < _MEMLOCK_FREE_SINCE:
            _lift_memory_limit()
        if loads:
            self._probe()

    def _probe(self) -> None:
        """Loads the smallest program there is, to learn at once whether programs may be loaded."""
        from minibcc.abi.bpf import ProgType
        from minibcc.abi.requests import ProgLoad

        nothing = bytes.fromhex("b700000000000000 9500000000000000")
        try:
            self.close(self.bpf(ProgLoad(ProgType.TRACEPOINT, nothing)).fd)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise NotPermitted(f"this process may not load BPF programs: {_CURE}") from None
            raise SystemUnavailable(
                f"this kernel cannot load BPF programs ({error.strerror}); use the simulated kernel"
            ) from None

    # --- bpf(2) and its like ------------------------------------------------------------------

    def bpf(self, request: Request[R], /) -> R:
        from minibcc.system.attributes import perform

        result: R = perform(self, request)
        return result

    def bpf_call(self, command: int, attributes: bytearray) -> int:
        """The bare system call: ``union bpf_attr`` as bytes, written back where the kernel answers
        in it. Raises OSError."""
        size = len(attributes)
        buffer = (ctypes.c_char * size).from_buffer(attributes)
        result = self._libc.syscall(_SYS_BPF, command, buffer, size)
        for _ in range(_TRIES - 1):
            if result >= 0 or command != _PROG_LOAD or ctypes.get_errno() != errno.EAGAIN:
                break
            result = self._libc.syscall(_SYS_BPF, command, buffer, size)
        return self._checked(result)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, _NAMELESS.get(number) or os.strerror(number))
        return result

    def shape(self, fd: int) -> Shape:
        """Sizes of the map behind a descriptor."""
        shape = self._shapes.get(fd)
        if shape is None:
            from minibcc.system.attributes import map_shape

            shape = self._shapes[fd] = map_shape(self, fd)
        return shape

    def perf_event_open(
        self, attr: PerfEventAttr, pid: int = -1, cpu: int = 0, group_fd: int = -1, flags: int = 8
    ) -> int:
        packed, keep = _pack_perf_event(attr)
        buffer = ctypes.create_string_buffer(packed, len(packed))
        fd = self._libc.syscall(
            _SYS_PERF_EVENT_OPEN, buffer, pid, cpu, group_fd, ctypes.c_ulong(flags)
        )
        del keep
        return self._checked(fd)

    # --- files and memory -----------------------------------------------------------------------

    def ioctl(self, fd: int, request: int, argument: int = 0, /) -> int:
        import fcntl

        return fcntl.ioctl(fd, request, argument)

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = False) -> memoryview:
        import mmap

        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        mapping = mmap.mmap(fd, length, mmap.MAP_SHARED, protection, offset=offset)
        view = memoryview(mapping)
        self._mappings.setdefault(fd, []).append((mapping, view))
        return view

    def poll(self, fds: Sequence[int], timeout: int | None = None) -> list[int]:
        import select

        poll = select.poll()
        for fd in fds:
            poll.register(fd, select.POLLIN)
        # Rounded up: who waits for a nanosecond must not spin.
        milliseconds = None if timeout is None else -(-timeout // 1_000_000)
        ready = {fd for fd, _ in poll.poll(milliseconds)}
        return [fd for fd in fds if fd in ready]

    def open(self, path: str, flags: int = 0) -> int:
        return os.open(path, flags | os.O_CLOEXEC)

    def read(self, fd: int, size: int) -> bytes:
        return os.read(fd, size)

    def write(self, fd: int, data: bytes) -> int:
        return os.write(fd, data)

    def listdir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def close(self, fd: int) -> None:
        self._shapes.pop(fd, None)
        for mapping, view in self._mappings.pop(fd, ()):
            try:
                view.release()
                mapping.close()
            except BufferError:
                continue  # the caller still looks into it: it goes with the last view
        os.close(fd)

    # --- time -----------------------------------------------------------------------------------

    def now(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def wait(self, until: int | None) -> None:
        while until is None:
            time.sleep(3600)  # a signal (Ctrl-C) ends it
        remaining = until - self.now()
        if remaining > 0:
            time.sleep(remaining / 1e9)


def _release() -> tuple[int, int]:
    """The kernel's version, ``(6, 18)``."""
    import re

    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _lift_memory_limit() -> None:
    import resource

    limit: Any = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, limit)
    except (ValueError, OSError):
        return  # then the kernel says what is too much


def _pack_perf_event(attr: PerfEventAttr) -> tuple[bytes, Memory]:
    """``struct perf_event_attr``, and the memory that it points to (hold it over the call)."""
    from minibcc.system.call import Memory

    memory = Memory()
    bits = attr.disabled << 0 | attr.inherit << 1 | attr.exclude_kernel << 5 | attr.freq << 10
    packed = struct.pack(
        "<2I5Q2I2Q",
        attr.type, _PERF_ATTR_SIZE, attr.config, attr.sample_period, attr.sample_type, 0, bits,
        attr.wakeup_events, 0, memory.text(attr.target) if attr.target else 0, attr.offset,
    )  # fmt: skip
    return packed.ljust(_PERF_ATTR_SIZE, b"\0"), memory
