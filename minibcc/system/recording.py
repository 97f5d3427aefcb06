"""Any `System` with every call printed as strace(1) prints it.

What the door carries has no pointers, so where strace shows an address this shows what is there:
the name of a probed function, a key's bytes. Numbers get strace's names; long calls stand on
several lines, a field or an instruction each, as people quote them.

    bpf(BPF_PROG_LOAD,
        {
            prog_type=BPF_PROG_TYPE_KPROBE,
            ...
        },
        128) = 4
    openat(AT_FDCWD, "/sys/bus/event_source/devices/kprobe/type", O_RDONLY) = 5
    ioctl(5, PERF_EVENT_IOC_SET_BPF, 4) = 0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from minibcc.abi.perf import PerfIoctl
from minibcc.system.strace import (
    SIZES,
    attributes,
    call,
    failure,
    open_flags,
    perf_attributes,
    result,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from minibcc.abi.perf import PerfEventAttr
    from minibcc.abi.requests import Request
    from minibcc.system.interface import System

R = TypeVar("R")


class Recording:
    """Prints each call of `system` by `write`; with `only_bpf` only bpf(2)."""

    def __init__(
        self, system: System, write: Callable[[str], None], *, only_bpf: bool = False
    ) -> None:
        self._system = system
        self._write = write
        self._only_bpf = only_bpf

    @property
    def name(self) -> str:
        return self._system.name

    def bpf(self, request: Request[R], /) -> R:
        head = f"bpf(BPF_{request.command.name}"
        size = SIZES.get(request.command, 32)
        arguments: list[Any] = [attributes(request), str(size)]
        try:
            answer = self._system.bpf(request)
        except OSError as wrong:
            self._write(f"{call(head, arguments)} = {failure(wrong)}")
            raise
        arguments[0] = attributes(request, answer)
        self._write(f"{call(head, arguments)} = {result(answer)}")
        return answer

    def perf_event_open(
        self, attr: PerfEventAttr, pid: int = -1, cpu: int = 0, group_fd: int = -1, flags: int = 8
    ) -> int:
        words: list[Any] = [
            perf_attributes(attr), str(pid), str(cpu), str(group_fd),
            "PERF_FLAG_FD_CLOEXEC" if flags == 8 else hex(flags),
        ]  # fmt: skip
        return self._plain(
            "perf_event_open(", words, self._system.perf_event_open, attr, pid, cpu, group_fd, flags
        )

    def ioctl(self, fd: int, request: int, argument: int = 0, /) -> int:
        names = {int(known): f"PERF_EVENT_IOC_{known.name}" for known in PerfIoctl}
        words = [str(fd), names.get(request, hex(request)), str(argument)]
        return self._plain("ioctl(", words, self._system.ioctl, fd, request, argument)

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = False) -> memoryview:
        access = "PROT_READ|PROT_WRITE" if writable else "PROT_READ"
        words = ["NULL", str(length), access, "MAP_SHARED", str(fd), hex(offset) if offset else "0"]
        try:
            view = self._system.mmap(fd, length, offset, writable=writable)
        except OSError as wrong:
            self._other(f"{call('mmap(', words)} = {failure(wrong)}")
            raise
        self._other(f"{call('mmap(', words)} = <{len(view)} bytes>")
        return view

    def poll(self, fds: Sequence[int], timeout: int | None = None) -> list[int]:
        events = ", ".join(f"{{fd={fd}, events=POLLIN}}" for fd in fds)
        wait = -1 if timeout is None else timeout // 1_000_000
        words = [f"[{events}]", str(len(fds)), str(wait)]
        try:
            ready = self._system.poll(fds, timeout)
        except KeyboardInterrupt:
            self._other(f"{call('poll(', words)} = ? ERESTART_RESTARTBLOCK (Interrupted)")
            raise
        found = ", ".join(f"{{fd={fd}, revents=POLLIN}}" for fd in ready)
        result = f"{len(ready)} ([{found}])" if ready else "0 (Timeout)"
        self._other(f"{call('poll(', words)} = {result}")
        return ready

    def open(self, path: str, flags: int = 0) -> int:
        words = ["AT_FDCWD", string(path.encode(), 4096), open_flags(flags)]
        return self._plain("openat(", words, self._system.open, path, flags)

    def read(self, fd: int, size: int) -> bytes:
        try:
            data = self._system.read(fd, size)
        except KeyboardInterrupt:
            self._other(f"read({fd}, {size}) = ? ERESTARTSYS (Interrupted)")
            raise
        except OSError as wrong:
            self._other(f"read({fd}, {size}) = {failure(wrong)}")
            raise
        self._other(f"read({fd}, {string(data)}, {size}) = {len(data)}")
        return data

    def write(self, fd: int, data: bytes) -> int:
        words = [str(fd), string(data), str(len(data))]
        return self._plain("write(", words, self._system.write, fd, data)

    def listdir(self, path: str) -> list[str]:
        names = self._system.listdir(path)
        self._other(f"getdents64({string(path.encode(), 4096)}) = {len(names)} entries")
        return names

    def close(self, fd: int) -> None:
        self._system.close(fd)
        self._other(f"close({fd}) = 0")

    def now(self) -> int:
        # The C library answers from the vDSO: there is no call to be seen.
        return self._system.now()

    def wait(self, until: int | None) -> None:
        if until is None:
            words = "pause()"
        else:
            seconds, rest = divmod(until, 1_000_000_000)
            moment = f"{{tv_sec={seconds}, tv_nsec={rest}}}"
            words = f"clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, {moment}, NULL)"
        try:
            self._system.wait(until)
        except KeyboardInterrupt:
            self._other(f"{words} = ? ERESTARTNOHAND (Interrupted)")
            raise
        self._other(f"{words} = 0")

    def _other(self, text: str) -> None:
        if not self._only_bpf:
            self._write(text)

    def _plain(
        self, head: str, words: Sequence[Any], make: Callable[..., int], *arguments: Any
    ) -> int:
        try:
            answer = make(*arguments)
        except OSError as wrong:
            self._other(f"{call(head, words)} = {failure(wrong)}")
            raise
        self._other(f"{call(head, words)} = {answer}")
        return answer
