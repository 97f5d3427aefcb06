"""The simulated computer: tasks, processors, memory, files and a virtual clock.

It plays a scenario and fires hooks (`hooks`) where a real kernel would pass a function or a
tracepoint. It knows nothing of BPF: `kernel` attaches there. Time is virtual, in ns since boot,
and nothing happens outside `advance`: a run depends on the scenario, the seed and the kernel's
data (`KernelData`), never on the computer that it runs on.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from minibcc.btf.types import Struct
from minibcc.machine import pseudofiles
from minibcc.machine.calls import Kernel
from minibcc.machine.files import Files
from minibcc.machine.hooks import Hooks
from minibcc.machine.memory import AddressSpace
from minibcc.machine.process import Process, user_memory
from minibcc.machine.scenario import SCENARIOS, furnish
from minibcc.machine.scheduler import Scheduler
from minibcc.machine.structures import fill, task_values
from minibcc.machine.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.btf.types import Type
    from minibcc.machine.hooks import Point
    from minibcc.machine.kerneldata import KernelData
    from minibcc.machine.scheduler import Behaviour, Turn

UPTIME = 1_000_000_000_000
"""The clock when a scenario starts: ns since boot."""
FIRST_PID = 301
"""What the second process gets; the first one is 1."""


class Machine:
    """A computer with `cpus` processors that plays `scenario`.

    `duration` ends the scenario after so many ns (None: when nothing is left to do). `pace` is
    called with the virtual time before each step: a realtime run sleeps there. `endless`: when
    nothing is left to do, the scenario begins anew.
    """

    def __init__(
        self,
        data: KernelData,
        *,
        scenario: str = "shell",
        seed: int = 0,
        cpus: int = 4,
        duration: int | None = None,
        pace: Callable[[int], None] | None = None,
        endless: bool = False,
    ) -> None:
        self.data: KernelData = data
        self.cpus = cpus
        self.random = Random(seed)
        self.hooks = Hooks()
        self.kernel = Kernel(self)
        self.files = Files()
        self.kernel_memory = AddressSpace(0xFFFF_8880_0400_0000)
        self.tasks: dict[int, Task] = {}
        self.idle = [
            Task(0, 0, f"swapper/{cpu}", user_memory(), {}, cpu=cpu) for cpu in range(cpus)
        ]
        self.current = self.idle[0]
        self.finished = False
        self.pace = pace
        self._clock = UPTIME
        self._end = None if duration is None else UPTIME + duration
        self._scheduler = Scheduler(cpus)
        self._scenario = scenario
        self._endless = endless
        furnish(self)
        self._begin()

    def _begin(self) -> None:
        """The scenario starts, on a computer where no process is left."""
        self._next_pid = 1
        SCENARIOS[self._scenario](self)

    # --- time --------------------------------------------------------------------------------

    def now(self) -> int:
        """ns since boot, CLOCK_MONOTONIC."""
        return self._clock

    def spend(self, ns: int) -> None:
        """Time passes while the current task's processor is busy."""
        self._clock += ns
        self._scheduler.busy[self.cpu] = max(self._scheduler.busy[self.cpu], self._clock)

    def advance(self, until: int | None, stop: Callable[[], bool] | None = None) -> bool:
        """Plays the scenario up to time `until` (None: to its end), or until `stop()` is true
        after a step. False if it came to its end, where the clock then stands; if it was over
        before, the clock goes to `until`."""
        if self.finished:
            self._clock = max(self._clock, until or 0)
            return False
        while True:
            turn = self._scheduler.next()
            if turn is None and self._endless:
                self._begin()
                continue
            due = self._end if turn is None else max(turn.at, self._clock)
            over = turn is None or (self._end is not None and turn.at >= self._end)
            if over and self._end is not None:
                due = self._end
            if due is None:
                break
            if until is not None and due > until:
                self._move(until)
                return True
            self._move(due)
            if turn is None or over:
                break
            self._step(turn)
            if stop is not None and stop():
                return True
        self.finished = True
        return False

    @property
    def cpu(self) -> int:
        """The processor that the current task runs on."""
        return self.current.cpu

    def _move(self, time: int) -> None:
        """The clock goes on to `time`. Where `pace` raises, nothing has happened yet."""
        if time > self._clock:
            if self.pace is not None:
                self.pace(time)
            self._clock = time

    def _step(self, turn: Turn) -> None:
        """A task wakes, or runs until it next yields."""
        self._scheduler.take(turn)
        if turn.wakes:
            return
        task = self.current = turn.task
        try:
            step = next(turn.behaviour)
        except BaseException as end:
            # Whatever else than its end came out of the behaviour killed it.
            self._scheduler.ended(self._clock, task)
            self.tasks.pop(task.pid, None)
            if not isinstance(end, StopIteration):
                raise
        else:
            self._scheduler.yielded(self._clock, task, turn.behaviour, step)
        finally:
            self.current = self.idle[task.cpu]
        self.hooks.raise_failure()

    # --- tasks -------------------------------------------------------------------------------

    def new_task(
        self, comm: str, *, parent: Task | None = None, uid: int | None = None, executable: str = ""
    ) -> Task:
        """A process of one thread; it does nothing before `start`."""
        pid = self._next_pid
        self._next_pid = max(FIRST_PID, pid + 1)
        user = uid if uid is not None else parent.uid if parent else 0
        task = Task(
            pid=pid,
            tgid=pid,
            comm=comm,
            memory=user_memory(),
            files={},
            parent=parent,
            uid=user,
            gid=user,
            start_time=self._clock,
            cpu=pid % self.cpus,
            executable=executable,
        )
        self.tasks[pid] = task
        return task

    def start(self, task: Task, behaviour: Callable[[Process], Behaviour]) -> None:
        """The task begins to run, now."""
        self._scheduler.add(self._clock, task, behaviour(Process(self, task)))

    # --- memory ------------------------------------------------------------------------------

    def read_kernel(self, address: int, size: int) -> bytes:
        """Kernel memory (0xffff...). Raises `memory.BadAddress`."""
        task = self.task_at(address)
        if task is not None:
            # Laid out anew at each read: a task changes its name and its processor.
            struct = self.type("task_struct")
            content = fill(struct, task_values(task)) if isinstance(struct, Struct) else b""
            offset = address - task.address
            if offset + size <= len(content):
                return bytes(content[offset : offset + size])
        return self.kernel_memory.read(address, size)

    def task_at(self, address: int) -> Task | None:
        """The task whose ``struct task_struct`` holds the address."""
        first = self.idle[0].address
        if not first <= address < first + (1 << 36):
            return None
        pid = (address - first) // 0x4000
        return self.tasks.get(pid) or (self.idle[0] if pid == 0 else None)

    def read_user(self, task: Task, address: int, size: int) -> bytes:
        """A process's memory. Raises `memory.BadAddress`."""
        return task.memory.read(address, size)

    def write_user(self, task: Task, address: int, data: bytes) -> None:
        task.memory.write(address, data)

    # --- what the kernel is made of ------------------------------------------------------------

    def type(self, name: str) -> Type | None:
        """A struct, union, enum or typedef of the kernel's BTF, by name."""
        return self.data.type(name)

    def exists(self, point: Point) -> bool:
        """Whether the point is a place in this kernel (a function that may be probed, a known
        tracepoint)."""
        return self.data.exists(point.kind, point.name)

    def address_of(self, function: str) -> int | None:
        """Where a kernel function starts; None if there is none of that name."""
        return self.data.address_of(function)

    def read_file(self, path: str) -> bytes | memoryview:
        """A file that Linux makes and that holds no BPF state: /sys/kernel/btf/vmlinux,
        /proc/kallsyms, /sys/kernel/tracing/events/..., /sys/devices/system/cpu/online, ...
        Raises FileNotFoundError."""
        return pseudofiles.read(self, path)

    def list_directory(self, path: str) -> list[str]:
        """Raises FileNotFoundError."""
        return pseudofiles.listdir(self.data, path)
