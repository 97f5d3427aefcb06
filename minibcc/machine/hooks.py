"""Where a simulated kernel can be watched: points, events, and the table that joins them.

The machine fires an `Event` at a `Point` whenever modelled (or recorded, or ptraced) activity
passes it; whoever attached there is called, in the order of attachment, with the event. The
machine knows nothing of BPF: a callback's answer is only handed back to whoever fired (an
overridden return value, a packet's verdict).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.machine.tasks import Task


class Point(Record):
    """A place to watch.

    `kind` is "kprobe", "kretprobe", "tracepoint", "raw_tracepoint", "fentry", "fexit", "lsm",
    "uprobe", "uretprobe", "perf", "xdp", "tc", "socket". `name` is a kernel function, a
    ``category:event``, an executable's path, a device, a clock or counter (``TYPE:CONFIG``);
    `offset` is in bytes into a function, or a clock's period in ns.
    """

    kind: str
    name: str
    offset: int = 0


class Event(Record):
    """Something passed a point.

    `time` is ns since boot; `registers` (probes) maps x86-64 names ("di", "si", "dx", "r10",
    "ax", "ip", "sp", "bp", ...) to unsigned 64-bit values; `fields` (tracepoints) names to values;
    `arguments` (raw tracepoints, fentry) raw 64-bit values; `data` a packet. `origin` is
    "modelled", "recorded" or "ptraced".
    """

    point: Point
    time: int
    cpu: int
    task: Task
    registers: dict[str, int] = {}  # noqa: RUF012  # never mutated
    fields: dict[str, Any] = {}  # noqa: RUF012  # never changed
    arguments: tuple[int, ...] = ()
    kernel_stack: tuple[int, ...] = ()
    user_stack: tuple[int, ...] = ()
    data: bytes = b""
    origin: str = "modelled"


Callback: TypeAlias = Callable[[Event], int | None]


class Hooks:
    """Who watches what."""

    def __init__(self) -> None:
        self._watchers: dict[Point, list[Callback]] = {}
        self._failure: BaseException | None = None
        self.names: dict[str, int] = {}
        """Names of points that are watched, whatever their kind, and how many: most activity
        passes where nobody is, and asks no more than this."""
        self.sampled: list[Point] = []
        """Points of kind "perf" that are watched: clocks that somebody has to read."""

    def attach(self, point: Point, callback: Callback) -> Callable[[], None]:
        """Calls `callback` at each event of `point` until the returned function is called."""
        if point not in self._watchers:
            self._watchers[point] = []
            self.names[point.name] = self.names.get(point.name, 0) + 1
        self._watchers[point].append(callback)
        if point.kind == "perf" and point.offset and point not in self.sampled:
            self.sampled.append(point)

        def detach() -> None:
            watchers = self._watchers.get(point, [])
            if callback in watchers:
                watchers.remove(callback)
            if not watchers and self._watchers.pop(point, None) is not None:
                self.sampled = [other for other in self.sampled if other != point]
                self.names[point.name] -= 1
                if not self.names[point.name]:
                    del self.names[point.name]

        return detach

    def watched(self, point: Point) -> bool:
        """Whether anybody is there: firing costs nothing where nobody watches."""
        return point in self._watchers

    def fire(self, event: Event) -> list[int | None]:
        """Calls whoever watches the event's point; their answers. All are called, whatever one
        of them raises: that comes out behind the last."""
        answers = self._call(event)
        self.raise_failure()
        return answers

    def pass_by(self, event: Event) -> list[int | None]:
        """`fire` for whoever is in the middle of something: what a callback raises (Ctrl-C comes
        anywhere) is kept for `raise_failure`."""
        return self._call(event)

    def raise_failure(self) -> None:
        """Raises what the first callback raised since the last time, if one did."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _call(self, event: Event) -> list[int | None]:
        answers = []
        for callback in tuple(self._watchers.get(event.point, ())):
            try:
                answers.append(callback(event))
            except BaseException as wrong:
                self._failure = self._failure or wrong
        return answers

    def points(self) -> Iterator[Point]:
        return iter(tuple(self._watchers))
