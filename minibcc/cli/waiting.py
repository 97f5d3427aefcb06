"""What a script that is only checked may wait in besides the kernel: its keyboard, a lock, a
signal, another thread. All of them end as waiting for the kernel does, by `Waited`.
"""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from minibcc.cli.door import Waited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from minibcc.cli.door import QuietDoor


class Keyboard(io.RawIOBase):
    """Where nobody types: a script's input is at its end before the first `BPF`; after that, the
    script has come to where it would wait."""

    def __init__(self, waited: Callable[[], object]) -> None:
        super().__init__()
        self._waited = waited
        self._fd = os.dup(0)  # for `select`; were it 0 itself, input() would ask the terminal

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()

    def readinto(self, buffer: object, /) -> int:
        self._waited()
        return 0


class Idle:
    """Notices that a script waits for something else than the kernel (a lock, a signal, its
    keyboard): for `TICKS` ticks the process has used no processor time, outside of minibcc. A tick
    is a signal to the main thread, so that it comes out of what it waits in; one that scripts have
    no use for."""

    TICK = 0.25
    TICKS = 4
    SIGNAL = getattr(signal, "SIGRTMAX", signal.SIGURG)

    def __init__(self, door: QuietDoor) -> None:
        self._door = door
        self._used = 0.0
        self._ticks = 0
        self._over = threading.Event()
        self._waiting = threading.get_ident()

    def __enter__(self) -> None:
        # Our own ticks would end a pause.
        self._pause, signal.pause = signal.pause, self._door.waited
        signal.signal(self.SIGNAL, self._tick)
        self._clock = threading.Thread(target=self._run, daemon=True)
        self._clock.start()

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._clock.join()
        signal.pause = self._pause

    def _run(self) -> None:
        while not self._over.wait(self.TICK):
            signal.pthread_kill(self._waiting, self.SIGNAL)

    @classmethod
    @contextmanager
    def still(cls) -> Iterator[None]:
        """No ticks meanwhile: Linux gives up verifying a program when a signal comes."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {cls.SIGNAL})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {cls.SIGNAL})

    def _tick(self, number: int, frame: FrameType | None) -> None:
        used = time.process_time()
        idle = used - self._used < self.TICK / 100 and not _ours(frame)
        self._used = used
        self._ticks = self._ticks + 1 if idle else 0
        if self._ticks >= self.TICKS:
            self._door.waited()


def _ours(frame: FrameType | None) -> bool:
    """Whether minibcc itself is at work (it may wait for LLVM in a process apart)."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("minibcc."):
            return not module.startswith("minibcc.cli.")
        frame = frame.f_back
    return False


@contextmanager
def replaced(module: Any, name: str, stand_in: object) -> Iterator[None]:
    """Something else by a module's name, meanwhile."""
    real = getattr(module, name)
    setattr(module, name, stand_in)
    try:
        yield
    finally:
        setattr(module, name, real)


def quiet(hook: Callable[[Any], object]) -> Callable[[Any], None]:
    """A hook of Python's that is not told of a thread or function that came to where it would
    wait."""

    def told(arguments: Any) -> None:
        if not issubclass(arguments.exc_type, Waited):
            hook(arguments)

    return told
