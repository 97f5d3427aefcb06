"""Who runs when: a queue of wake-ups in virtual time, over a few processors.

A task's behaviour is a generator that yields what it does with time: `Work` occupies a processor,
`Sleep` does not, `Wait` sleeps until a child has exited. Between two yields it calls the kernel
(`calls`), which fires hooks; time stands still meanwhile. Order is decided by time and, at the
same time, by who asked first: a run depends on nothing but the scenario's seed.
"""

from __future__ import annotations

from collections.abc import Generator
from heapq import heappop, heappush
from typing import TypeAlias

from minibcc.machine.tasks import Task
from minibcc.records import Record


class Sleep(Record):
    """Not runnable for so many ns."""

    ns: int


class Work(Record):
    """Keeps a processor busy for so many ns."""

    ns: int


class Wait(Record):
    """Until `child` has exited."""

    child: Task


Step: TypeAlias = Sleep | Work | Wait
Behaviour: TypeAlias = Generator[Step, None, None]


class Scheduler:
    """The run queue. `busy` is, per processor, the time at which it is next free."""

    def __init__(self, cpus: int) -> None:
        self.busy = [0] * cpus
        self._queue: list[tuple[int, int, Task, Behaviour]] = []
        self._order = 0
        self._waiting: dict[int, list[tuple[Task, Behaviour]]] = {}
        self._ended: set[int] = set()

    def add(self, time: int, task: Task, behaviour: Behaviour) -> None:
        """`task` goes on with `behaviour` at `time`."""
        self._order += 1
        heappush(self._queue, (time, self._order, task, behaviour))

    def next_time(self) -> int | None:
        """When the next step is due; None if nothing is left."""
        return self._queue[0][0] if self._queue else None

    def pop(self) -> tuple[int, Task, Behaviour]:
        """The next step: when it runs (at its time, or when its processor is free), and whose."""
        time, _, task, behaviour = heappop(self._queue)
        cpu = self._choose(task, time)
        task.cpu = cpu
        return max(time, self.busy[cpu]), task, behaviour

    def yielded(self, now: int, task: Task, behaviour: Behaviour, step: Step) -> None:
        """The task ran and says what it does next."""
        match step:
            case Sleep(ns):
                self.add(now + ns, task, behaviour)
            case Work(ns):
                self.busy[task.cpu] = now + ns
                self.add(now + ns, task, behaviour)
            case Wait(child):
                if child.pid in self._ended:
                    self.add(now, task, behaviour)
                else:
                    self._waiting.setdefault(child.pid, []).append((task, behaviour))

    def ended(self, now: int, task: Task) -> None:
        """The task is no more: whoever waited for it goes on."""
        self._ended.add(task.pid)
        for waiter, behaviour in self._waiting.pop(task.pid, ()):
            self.add(now, waiter, behaviour)

    def _choose(self, task: Task, time: int) -> int:
        """The processor it ran on last if that is free, otherwise the one that is free first."""
        if self.busy[task.cpu] <= time:
            return task.cpu
        return min(range(len(self.busy)), key=lambda cpu: (self.busy[cpu], cpu))
