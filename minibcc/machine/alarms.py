"""Alarms: what is to happen at a time, whatever tasks do then. Mirrors the high-resolution timers
of kernel/time/hrtimer.c."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarm:
    """One that is set; `cancel` says whether it still was."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    @property
    def pending(self) -> bool:
        return self._act is not None

    def cancel(self) -> bool:
        act, self._act = self._act, None
        return act is not None

    def ring(self) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()


class Alarms:
    """Those of one machine, in the order of their times (ns), then of their setting."""

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, Alarm]] = []
        self._set = 0

    def set(self, time: int, act: Callable[[], None]) -> Alarm:
        alarm = Alarm(act)
        self._set += 1
        heapq.heappush(self._queue, (time, self._set, alarm))
        return alarm

    def next(self) -> int | None:
        """When the first one rings; None if none is set."""
        while self._queue and not self._queue[0][2].pending:
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def ring(self) -> None:
        """The first one rings."""
        heapq.heappop(self._queue)[2].ring()
