"""The simulated computer: tasks, processors, memory, files and a virtual clock.

It plays a scenario and fires hooks (`hooks`) where a real kernel would pass a function or a
tracepoint. It knows nothing of BPF: `kernel` attaches there. Time is virtual, in ns since boot,
and nothing happens outside `advance`: a run depends on the scenario, the seed and the kernel's
data (`KernelData`), never on the computer that it runs on.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from minibcc.machine import pseudofiles, tasks
from minibcc.machine.alarms import Alarms
from minibcc.machine.calls import Kernel
from minibcc.machine.files import Files
from minibcc.machine.hooks import Hooks
from minibcc.machine.memory import AddressSpace
from minibcc.machine.objects import Objects
from minibcc.machine.process import Process, user_memory
from minibcc.machine.sampling import Sampler
from minibcc.machine.scenario import SCENARIOS, furnish
from minibcc.machine.scheduler import Scheduler, Sleep
from minibcc.machine.stacks import Stacks
from minibcc.machine.switching import Switching
from minibcc.machine.tasks import TASK_DEAD, Task

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
FOREVER = 1_000_000 * 1_000_000_000
"""How long a task sleeps that has nothing left to do, ns."""


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
        self.objects = Objects(self)
        self.stacks = Stacks(self.address_of)
        self.kernel_memory = AddressSpace(0xFFFF_8880_0400_0000)
        self.tasks: dict[int, Task] = {}
        self.idle = [
            Task(0, 0, f"swapper/{cpu}", user_memory(), {}, cpu=cpu) for cpu in range(cpus)
        ]
        self.current = self.idle[0]
        self.switching = Switching(self)
        self.finished = False
        self.pace = pace
        self.alarms = Alarms()
        self._sampler = Sampler(self)
        self._all_tasks: dict[int, Task] = {}
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
        self.tasks.clear()
        self._all_tasks.clear()
        self._scheduler.forget()
        SCENARIOS[self._scenario](self)

    # --- time --------------------------------------------------------------------------------

    def now(self) -> int:
        """ns since boot, CLOCK_MONOTONIC."""
        return self._clock

    def spend(self, ns: int) -> None:
        """Time passes while the current task's processor is busy."""
        end = self._clock + ns
        while True:
            tick, alarm = self._sampler.next(self._clock), self.alarms.next()
            if alarm is not None and alarm <= min(end, tick or end):
                self._clock = max(alarm, self._clock)
                self.alarms.ring()
            elif tick is not None and tick <= end:
                self._clock = tick
                self._sampler.sample()
            else:
                break
        self._clock = end
        self._scheduler.busy[self.cpu] = max(self._scheduler.busy[self.cpu], end)

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
            tick = self._sampler.next(self._clock)
            if tick is not None:
                due = min(due, tick)
            alarm = self.alarms.next()
            rings = alarm is not None and alarm <= due
            if alarm is not None and rings:
                due = max(alarm, self._clock)
            if until is not None and due > until:
                self._move(until)
                return True
            self._move(due)
            if rings:
                self.alarms.ring()
            elif due == tick:
                self._sampler.sample()
                self.hooks.raise_failure()
            elif turn is None or over:
                break
            else:
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
        task = turn.task
        try:
            if turn.wakes:
                self.switching.wake(task)
            else:
                self.switching.switch(turn.cpu, task)
                self.current = task
                self._run(turn)
        finally:
            self.current = self.idle[task.cpu]
        self.hooks.raise_failure()

    def _run(self, turn: Turn) -> None:
        """The current task goes on, up to its next yield."""
        task = turn.task
        try:
            step = next(turn.behaviour)
        except BaseException as end:
            # Whatever else than its end came out of the behaviour killed it.
            killed = not isinstance(end, StopIteration)
            self._end_of(task, killed=killed)
            if killed:
                raise
        else:
            if self._scheduler.yielded(self._clock, task, turn.behaviour, step):
                self.switching.block(task, step)
                self._vacate(turn.cpu)

    def _end_of(self, task: Task, *, killed: bool) -> None:
        """The task exited (or was killed); one that did not has nothing left to do."""
        waiters = self._scheduler.ended(self._clock, task)
        if task.state == TASK_DEAD or killed:
            self.tasks.pop(task.pid, None)
            for child in self.tasks.values():
                if child.parent is task:
                    child.parent = self.tasks.get(1)
            for waiter in waiters:
                self.switching.wake(waiter, task)
            self.switching.die(task)
        else:
            self.switching.block(task, Sleep(FOREVER))
        self._vacate(task.cpu)

    def _vacate(self, cpu: int) -> None:
        """Nobody runs on the processor, unless somebody takes it over at once."""
        turn = self._scheduler.next()
        if turn is None or turn.wakes or turn.cpu != cpu or turn.at > self._clock:
            self.switching.switch(cpu, None)

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
            argv=(executable or comm,),
        )
        self.tasks[pid] = self._all_tasks[pid] = task
        if executable:
            self.files.number(executable)
        return task

    def start(self, task: Task, behaviour: Callable[[Process], Behaviour]) -> None:
        """The task begins to run, now."""
        self._scheduler.add(self._clock, task, behaviour(Process(self, task)))

    # --- memory ------------------------------------------------------------------------------

    def read_kernel(self, address: int, size: int) -> bytes:
        """Kernel memory (0xffff...). Raises `memory.BadAddress`."""
        found = self.objects.read(address, size)
        return self.kernel_memory.read(address, size) if found is None else found

    def task_of(self, slot: int) -> Task | None:
        """The task whose structures lie in that place (`Task.slot`); the dead stay readable."""
        cpu = slot - tasks.IDLE_SLOT
        if cpu < 0:
            return self._all_tasks.get(slot)
        return self.idle[cpu] if cpu < self.cpus else None

    def task_at(self, address: int) -> Task | None:
        """The task whose ``struct task_struct`` holds the address."""
        slot, _ = divmod(address - tasks.TASKS, tasks.TASK_STRIDE)
        return self.task_of(slot) if 0 <= slot < tasks.IDLE_SLOT + self.cpus else None

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
