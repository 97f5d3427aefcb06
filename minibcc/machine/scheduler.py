"""Who runs when: a queue of what is due in virtual time, over a few processors.

A task's behaviour is a generator that yields what it does with time: `Work` occupies a processor,
`Sleep` does not, `Wait` sleeps until a child has exited. Between two yields it calls the kernel
(`calls`), which fires hooks. Order is decided by time and, at the same time, by who asked first: a
run depends on nothing but the scenario's seed. What a switch shows to watchers is in `switching`.
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


class Turn(Record):
    """What is due next: `task` wakes, or runs on processor `cpu`, at time `at` (ns)."""

    at: int
    task: Task
    behaviour: Behaviour
    wakes: bool
    cpu: int


class Scheduler:
    """The queue. `busy` is, per processor, the time at which it is next free."""

    def __init__(self, cpus: int) -> None:
        self.busy = [0] * cpus
        self._queue: list[tuple[int, int, Task, Behaviour, bool]] = []
        self._order = 0
        self._waiting: dict[int, list[tuple[Task, Behaviour]]] = {}
        self._ended: set[int] = set()

    def add(self, time: int, task: Task, behaviour: Behaviour, *, wakes: bool = False) -> None:
        """`task` goes on with `behaviour` at `time`; `wakes` if it sleeps until then."""
        self._order += 1
        heappush(self._queue, (time, self._order, task, behaviour, wakes))

    def next(self) -> Turn | None:
        """What is due next; it stays in the queue until `take`. None if nothing is left. A task
        runs at its time, or when its processor is free."""
        if not self._queue:
            return None
        time, _, task, behaviour, wakes = self._queue[0]
        if wakes:
            return Turn(time, task, behaviour, True, task.cpu)
        cpu = self._choose(task, time)
        return Turn(max(time, self.busy[cpu]), task, behaviour, False, cpu)

    def take(self, turn: Turn) -> None:
        """What `next` said happens now. Who woke stays first in the queue, to run."""
        time, order, task, behaviour, wakes = heappop(self._queue)
        if wakes:
            heappush(self._queue, (time, order, task, behaviour, False))
        else:
            task.cpu = turn.cpu

    def yielded(self, now: int, task: Task, behaviour: Behaviour, step: Step) -> bool:
        """The task ran and says what it does next; whether it leaves its processor for that."""
        match step:
            case Sleep(ns):
                self.add(now + ns, task, behaviour, wakes=True)
            case Work(ns):
                self.busy[task.cpu] = now + ns
                self.add(now + ns, task, behaviour)
                return False
            case Wait(child):
                if child.pid in self._ended:
                    self.add(now, task, behaviour)
                    return False
                self._waiting.setdefault(child.pid, []).append((task, behaviour))
        return True

    def ended(self, now: int, task: Task) -> list[Task]:
        """The task is no more: whoever waited for it goes on, and is returned."""
        self._ended.add(task.pid)
        waiters = self._waiting.pop(task.pid, [])
        for waiter, behaviour in waiters:
            self.add(now, waiter, behaviour)
        return [waiter for waiter, _ in waiters]

    def forget(self) -> None:
        """Pids are used anew."""
        self._ended.clear()
        self._waiting.clear()

    def _choose(self, task: Task, time: int) -> int:
        """The processor it ran on last if that is free, otherwise the one that is free first."""
        if self.busy[task.cpu] <= time:
            return task.cpu
        return min(range(len(self.busy)), key=lambda cpu: (self.busy[cpu], cpu))
