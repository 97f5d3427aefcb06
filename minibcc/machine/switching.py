"""What the scheduler shows: tasks that wake, leave and get processors, begin and end.

`scheduler` decides who runs when; this fires what Linux passes meanwhile: the tracepoints of
``sched`` and ``task`` with their raw twins, ``try_to_wake_up``, ``schedule``, and
``finish_task_switch`` in the task that comes. A task that leaves a processor stays in the functions
that it left from (`Task.blocked`), which its stack shows, and returns from them when it runs again.
None of this takes time. Mirrors kernel/sched/core.c, kernel/fork.c and kernel/exit.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, TypeAlias

from minibcc.machine.scheduler import Sleep, Wait
from minibcc.machine.tasks import TASK_DEAD, TASK_INTERRUPTIBLE, TASK_RUNNING, Task

if TYPE_CHECKING:
    from minibcc.machine.machine import Machine
    from minibcc.machine.scheduler import Step

Frames: TypeAlias = "tuple[tuple[str, tuple[int, ...]], ...]"
PRIORITY = 120
LEAVING: Frames = (("schedule", ()), ("__schedule", (0,)))
PREEMPTED: Frames = (
    ("asm_sysvec_apic_timer_interrupt", ()),
    ("irqentry_exit_to_user_mode", ()),
    *LEAVING,
)
"""What a task is in that loses its processor while it works."""
TIMER = ("asm_sysvec_apic_timer_interrupt", "hrtimer_interrupt", "__hrtimer_run_queues")
"""What a sleeper is woken from."""
TASK_NORMAL = 3
"""Which states try_to_wake_up looks for."""
TIMESPEC = 0x7FFF_FFFF_DF00
"""Where a program keeps how long it sleeps."""
P_PID_ANY = -1


class Switching:
    """The processors of one machine: `on` is the task on each."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.kernel = machine.kernel
        self.on: list[Task] = list(machine.idle)

    # --- one processor ------------------------------------------------------------------------

    def wake(self, task: Task, waker: Task | None = None) -> None:
        """The task is runnable again: because of `waker`, or of a timer that interrupts its
        processor."""
        machine, kernel = self.machine, self.kernel
        current = machine.current = waker or self.on[task.cpu]
        calls = current.calls
        if waker is None:
            current.calls = (*calls, *TIMER)
        arguments = (task.address, TASK_NORMAL, 0)
        kernel.enter("try_to_wake_up", arguments)
        fields = _fields(task) | {"target_cpu": task.cpu}
        kernel.tracepoint("sched", "sched_waking", fields, (task.address,))
        task.state = TASK_RUNNING
        kernel.tracepoint("sched", "sched_wakeup", fields, (task.address,))
        kernel.leave("try_to_wake_up", arguments, 1)
        current.calls = calls

    def block(self, task: Task, step: Step) -> None:
        """The current task goes to sleep for `step`, by the system call that it would make."""
        match step:
            case Sleep(ns):
                task.memory.map(TIMESPEC, bytearray(struct.pack("<qq", *divmod(ns, 10**9))), 16)
                self.kernel.enter_call("clock_nanosleep", (1, 0, TIMESPEC, 0))
                frames: Frames = (("hrtimer_nanosleep", (ns, 1, 1)), ("do_nanosleep", ()))
            case Wait(child):
                self.kernel.enter_call("wait4", (P_PID_ANY, 0, 0, 0))
                task.child_seen = child.pid
                frames = (("kernel_wait4", (P_PID_ANY, 0, 0, 0)), ("do_wait", ()))
            case _:
                return
        task.state = TASK_INTERRUPTIBLE
        self._leave_by(task, (*frames, *LEAVING))

    def die(self, task: Task) -> None:
        """The current task is about to leave its processor for the last time."""
        task.state = TASK_DEAD
        self._leave_by(task, (("__schedule", (0,)),))

    def _leave_by(self, task: Task, frames: Frames) -> None:
        for name, arguments in frames:
            self.kernel.enter(name, arguments)
        task.blocked += frames

    def switch(self, cpu: int, task: Task | None) -> None:
        """Processor `cpu` goes over to `task` (None: it has nothing to do)."""
        machine, kernel = self.machine, self.kernel
        before, after = self.on[cpu], task or machine.idle[cpu]
        if before is after:
            return
        machine.current = before
        if not before.blocked:
            # Nobody asked it: it worked, or it is idle.
            frames = PREEMPTED if before.pid else LEAVING[1:]
            before.calls = () if before.pid else IDLE_CALLS
            self._leave_by(before, frames)
        fields = {
            **{f"prev_{name}": value for name, value in _fields(before).items()},
            **{f"next_{name}": value for name, value in _fields(after).items()},
            "prev_state": REPORTED.get(before.state, before.state),
        }
        raw = (0, before.address, after.address, before.state)
        kernel.tracepoint("sched", "sched_switch", fields, raw)
        self.on[cpu] = machine.current = after
        if not after.blocked and after.pid:
            after.blocked = NEW
            after.calls = tuple(name for name, _ in NEW)
        kernel.function("finish_task_switch", (before.address,))
        self.resume(after)

    def resume(self, task: Task) -> None:
        """The current task returns from where it had left its processor."""
        frames, task.blocked = task.blocked, ()
        for name, arguments in reversed(frames):
            self.kernel.leave(name, arguments)
        if task.system_call in SLEEPING_CALLS and len(task.calls) == CALL_DEPTH:
            result = 0 if task.system_call == "clock_nanosleep" else task.child_seen
            self.kernel.leave_call(result)
        if not task.pid:
            task.calls = ()

    # --- lives ---------------------------------------------------------------------------------

    def forked(self, parent: Task, child: Task, flags: int) -> None:
        """The current task made another."""
        kernel = self.kernel
        kernel.tracepoint(
            "sched",
            "sched_process_fork",
            {
                "parent_comm": parent.comm,
                "parent_pid": parent.pid,
                "child_comm": child.comm,
                "child_pid": child.pid,
            },
            (parent.address, child.address),
        )
        kernel.tracepoint(
            "task",
            "task_newtask",
            {"pid": child.pid, "comm": child.comm, "clone_flags": flags, "oom_score_adj": 0},
            (child.address, flags),
        )

    def started(self, child: Task) -> None:
        """A new task may run."""
        self.kernel.enter("wake_up_new_task", (child.address,))
        fields = _fields(child) | {"target_cpu": child.cpu}
        self.kernel.tracepoint("sched", "sched_wakeup_new", fields, (child.address,))
        self.kernel.leave("wake_up_new_task", (child.address,))

    def renamed(self, task: Task, comm: str) -> None:
        """The current task gets another name."""
        fields = {"pid": task.pid, "oldcomm": task.comm, "newcomm": comm, "oom_score_adj": 0}
        memory = self.machine.kernel_memory
        name = memory.place(comm.encode() + b"\0")
        self.kernel.tracepoint("task", "task_rename", fields, (task.address, name))
        memory.unmap(name)
        task.comm = comm

    def executed(self, task: Task, program: int) -> None:
        """The current task became another program; `program` is its ``struct linux_binprm``."""
        self.kernel.tracepoint(
            "sched",
            "sched_process_exec",
            {"filename": task.executable, "pid": task.pid, "old_pid": task.pid},
            (task.address, task.pid, program),
        )

    def exited(self, task: Task) -> None:
        """The current task ends."""
        self.kernel.tracepoint(
            "sched", "sched_process_exit", _fields(task) | {"group_dead": 1}, (task.address, 1)
        )


NEW: Frames = (("ret_from_fork_asm", ()), ("ret_from_fork", ()), ("schedule_tail", ()))
"""What a task is in that never ran."""
IDLE_CALLS = ("cpu_startup_entry", "do_idle", "schedule_idle")
SLEEPING_CALLS = ("clock_nanosleep", "wait4")
CALL_DEPTH = 4
"""Functions that a task is in at the start of ``__x64_sys_*``, with that."""
REPORTED = {TASK_DEAD: 0x20}
"""``prev_state`` of the tracepoint, where it is not the state (``task_state_index``)."""


def _fields(task: Task) -> dict[str, Any]:
    return {"comm": task.comm, "pid": task.pid, "prio": PRIORITY}
