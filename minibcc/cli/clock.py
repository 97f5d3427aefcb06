"""The kernel's clock as a script's clock.

A script that sleeps waits behind the door, which lets a simulated machine advance; one that asks
for the time gets the machine's. The script sees modules `time` and `datetime` of its own, in which
only the clock differs; everybody else keeps the real ones.

The date is the same in every run, so that a run's output is: at its start it is the first of
January 2026, 00:00 UTC.
"""

from __future__ import annotations

import datetime as real_datetime
import sys
import time as real_time
from types import ModuleType
from typing import TYPE_CHECKING, Any

from minibcc import boot

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_767_225_600
"""Seconds since 1970 at the start of a run."""


class VirtualClock:
    """The functions of module `time` that look at the clock, on the kernel's time."""

    def __init__(self) -> None:
        self._system = boot.current()
        self._offset = START * 1_000_000_000 - self._system.now()

    def install(self) -> None:
        """From now on ``import time`` and ``import datetime`` give this clock."""
        sys.modules["time"] = _copy(real_time, self._functions())
        sys.modules["datetime"] = _copy(real_datetime, self._classes())

    # --- time ---

    def time_ns(self) -> int:
        return self._system.now() + self._offset

    def time(self) -> float:
        return self.time_ns() / 1e9

    def monotonic_ns(self) -> int:
        return self._system.now()

    def monotonic(self) -> float:
        return self._system.now() / 1e9

    def sleep(self, seconds: float, /) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self._system.wait(self._system.now() + round(seconds * 1e9))

    def clock_gettime_ns(self, clock: int, /) -> int:
        if clock == real_time.CLOCK_REALTIME:
            return self.time_ns()
        if clock in (real_time.CLOCK_MONOTONIC, real_time.CLOCK_BOOTTIME):
            return self.monotonic_ns()
        return real_time.clock_gettime_ns(clock)

    def clock_gettime(self, clock: int, /) -> float:
        return self.clock_gettime_ns(clock) / 1e9

    def localtime(self, seconds: float | None = None, /) -> real_time.struct_time:
        return real_time.localtime(self.time() if seconds is None else seconds)

    def gmtime(self, seconds: float | None = None, /) -> real_time.struct_time:
        return real_time.gmtime(self.time() if seconds is None else seconds)

    def ctime(self, seconds: float | None = None, /) -> str:
        return real_time.ctime(self.time() if seconds is None else seconds)

    def asctime(self, moment: Any = None, /) -> str:
        return real_time.asctime(self.localtime() if moment is None else moment)

    def strftime(self, format: str, moment: Any = None, /) -> str:
        return real_time.strftime(format, self.localtime() if moment is None else moment)

    def _functions(self) -> dict[str, Callable[..., Any]]:
        names = (
            "time", "time_ns", "monotonic", "monotonic_ns", "sleep", "clock_gettime",
            "clock_gettime_ns", "localtime", "gmtime", "ctime", "asctime", "strftime",
        )  # fmt: skip
        functions = {name: getattr(self, name) for name in names}
        # A script that measures how long something takes means the same clock.
        functions["perf_counter"] = self.monotonic
        functions["perf_counter_ns"] = self.monotonic_ns
        return functions

    # --- datetime ---

    def _classes(self) -> dict[str, type]:
        clock = self

        class datetime(real_datetime.datetime):  # noqa: N801  # the name that scripts import
            @classmethod
            def now(cls, tz: real_datetime.tzinfo | None = None) -> Any:
                return cls.fromtimestamp(clock.time(), tz)

            @classmethod
            def utcnow(cls) -> Any:
                moment = cls.fromtimestamp(clock.time(), real_datetime.UTC)
                return moment.replace(tzinfo=None)

            @classmethod
            def today(cls) -> Any:
                return cls.now()

        class date(real_datetime.date):  # noqa: N801  # datetime's name
            @classmethod
            def today(cls) -> Any:
                return cls.fromtimestamp(clock.time())

        return {"datetime": datetime, "date": date}


def _copy(module: ModuleType, changes: dict[str, Any]) -> ModuleType:
    """A module that differs from another in some names."""
    made = ModuleType(module.__name__, module.__doc__)
    made.__dict__.update({**module.__dict__, **changes})
    return made
