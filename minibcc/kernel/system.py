"""The simulated Linux behind the door: `System`, in front of a `Kernel` on a `Machine`.

bpf(2) is a table from the type of a request to the function that answers it; a request that is not
in it is EINVAL, as in Linux. Files that Linux makes come from the kernel where they speak of BPF
and from the machine otherwise.

Time passes only while a call waits: `wait`, `poll` and a `read` that finds nothing let the machine
play on. When its scenario is over, the call that waits raises KeyboardInterrupt, once, as Ctrl-C
would; after that, waiting ends at once and reading finds the end of the file.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from errno import EACCES, EINVAL, EISDIR
from typing import TYPE_CHECKING, TypeVar, cast

from minibcc.errors import ScenarioEnd
from minibcc.kernel import commands
from minibcc.kernel.descriptors import Description
from minibcc.kernel.errnos import failure
from minibcc.kernel.events import open_event
from minibcc.kernel.files import TextFile, TracePipe
from minibcc.kernel.kernel import EVENTS, Kernel
from minibcc.kernel.pseudofiles import FILES, StatsFile, descriptor_info
from minibcc.kernel.vm import engines
from minibcc.kernel.vm.memory import Arena

if TYPE_CHECKING:
    from minibcc.abi.perf import PerfEventAttr
    from minibcc.abi.requests import Request
    from minibcc.machine.machine import Machine

R = TypeVar("R")
TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
STATS = "/proc/sys/kernel/bpf_stats_enabled"
DESCRIPTOR_INFO = "/proc/self/fdinfo/"


class SimulatedSystem:
    """The simulated kernel. `engine` is "auto", "interpreter" or "jit"; `catch_up` lets the machine
    advance at each call by the wall time that has passed since the last one; `owner` is pid and
    name of the process that user space is; ids of objects count from `first_id`."""

    name = "simulated"

    def __init__(
        self,
        machine: Machine,
        *,
        engine: str = "auto",
        catch_up: bool = False,
        seed: int = 0,
        uid: int = 0,
        owner: tuple[int, str] | None = None,
        first_id: int = 1,
    ) -> None:
        self.machine = machine
        self.kernel = Kernel(
            machine,
            Arena(),
            engines.make(engine),
            seed=seed,
            uid=uid,
            owner=owner or (os.getpid(), "python3"),
            first_id=first_id,
        )
        self.lock = self.kernel.lock
        self._descriptors = self.kernel.descriptors
        self._interrupted = False
        self._thread = threading.get_ident()
        self._wall = time.monotonic_ns() if catch_up else None

    # --- bpf(2) and what programs hang on -----------------------------------------------------

    def bpf(self, request: Request[R], /) -> R:
        self._catch_up()
        answer = commands.COMMANDS.get(type(request))
        if answer is None:
            raise failure(EINVAL)
        with self.lock:
            return cast("R", answer(self.kernel, request))

    def perf_event_open(
        self, attr: PerfEventAttr, pid: int = -1, cpu: int = 0, group_fd: int = -1, flags: int = 8
    ) -> int:
        self._catch_up()
        with self.lock:
            return self._descriptors.add(open_event(self.kernel, attr, pid, cpu))

    def ioctl(self, fd: int, request: int, argument: int = 0, /) -> int:
        self._catch_up()
        with self.lock:
            return self._descriptors.get(fd).ioctl(request, argument)

    def mmap(self, fd: int, length: int, offset: int = 0, *, writable: bool = False) -> memoryview:
        with self.lock:
            if length <= 0 or offset % 4096:
                raise failure(EINVAL)
            return self._descriptors.get(fd).mmap(length, offset, writable=writable)

    # --- files --------------------------------------------------------------------------------

    def open(self, path: str, flags: int = 0) -> int:
        with self.lock:
            return self._descriptors.add(self._file(path, flags))

    def _file(self, path: str, flags: int) -> Description:
        for place in TRACEFS:
            if path == f"{place}/trace_pipe":
                return TracePipe(self.kernel.trace, flags)
        if path.startswith(DESCRIPTOR_INFO):
            return TextFile(descriptor_info(self.kernel, path.removeprefix(DESCRIPTOR_INFO)))
        if path == STATS:
            return StatsFile(self.kernel)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise failure(EACCES)
        made = FILES.get(path)
        if made is not None:
            return TextFile(made(self.kernel))
        try:
            content = self.machine.read_file(path)
        except IsADirectoryError:
            raise failure(EISDIR) from None
        for place in TRACEFS:
            head = f"{place}/{EVENTS.rpartition('/')[2]}/"
            if path.startswith(head) and path.endswith("/id"):
                category, _, event = path.removeprefix(head).removesuffix("/id").partition("/")
                self.kernel.saw_tracepoint(int(bytes(content)), f"{category}:{event}")
        return TextFile(content)

    def read(self, fd: int, size: int) -> bytes:
        description = self._descriptors.get(fd)
        if description.blocks() and not description.ready():
            before = description.woken()
            self._sleep(lambda: description.woken() != before, None)
        with self.lock:
            return description.read(size)

    def write(self, fd: int, data: bytes) -> int:
        with self.lock:
            return self._descriptors.get(fd).write(data)

    def listdir(self, path: str) -> list[str]:
        with self.lock:
            folder = path.rstrip("/") + "/"
            names = {
                known.removeprefix(folder).partition("/")[0]
                for known in (*FILES, *self.kernel.pins)
                if known.startswith(folder)
            }
            try:
                names.update(self.machine.list_directory(path))
            except FileNotFoundError:
                if not names and folder != "/sys/fs/bpf/":
                    raise
            return sorted(names)

    def close(self, fd: int) -> None:
        with self.lock:
            self._descriptors.close(fd)

    # --- time ---------------------------------------------------------------------------------

    def poll(self, fds: Sequence[int], timeout: int | None = None) -> list[int]:
        self._catch_up()
        files = [(fd, self._descriptors.get(fd)) for fd in fds]
        with self.lock:
            ready = [fd for fd, file in files if file.ready()]
            before = [file.woken() for _, file in files]
        if ready or timeout == 0:
            return ready
        self._sleep(
            lambda: any(file.woken() != old for (_, file), old in zip(files, before, strict=True)),
            None if timeout is None else self.now() + timeout,
        )
        with self.lock:
            return [fd for fd, file in files if file.ready()]

    def now(self) -> int:
        self._catch_up()
        return self.machine.now()

    def wait(self, until: int | None) -> None:
        self._sleep(lambda: False, until)

    def _sleep(self, woken: Callable[[], bool], until: int | None) -> None:
        """Lets the machine play on until `woken()`, or until the time `until`."""
        over = self.machine.finished
        if (not over or self._interrupted) and self.machine.advance(until, woken):
            return
        if not over and woken():
            return
        if not self._interrupted:
            self._interrupted = True
            raise ScenarioEnd

    def _catch_up(self) -> None:
        """Virtual time follows the wall's, where that was asked for. Only the thread that made the
        system moves it: others merely look."""
        if self._wall is None or threading.get_ident() != self._thread:
            return
        wall = time.monotonic_ns()
        passed, self._wall = wall - self._wall, wall
        self.machine.advance(self.machine.now() + passed)

    def shut_down(self) -> None:
        """Closes every descriptor and forgets every pin."""
        with self.lock:
            self.kernel.close()
