"""Kernel functions as the simulation models them: what a system call passes on its way.

A modelled kernel function is entered and left through `Kernel.function`, which fires what may be
watched there: kprobe and fentry before, kretprobe and fexit after. `Kernel.tracepoint` fires a
tracepoint and its raw twin. `system_call` goes the way of x86-64 Linux: the tracepoints
``raw_syscalls:sys_enter`` and ``syscalls:sys_enter_NAME``, the function ``__x64_sys_NAME`` with a
pointer to the saved user registers, what the call does, and the tracepoints of its exit.

Functions take time: `spend` moves the clock while the task's processor is busy with them. Which
ones a task is in stands in `Task.calls`: an event brings the stack that follows from it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from minibcc.machine import stacks
from minibcc.machine.hooks import Event, Point

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from minibcc.machine.machine import Machine
    from minibcc.machine.tasks import Task

U64 = (1 << 64) - 1

ARGUMENT_REGISTERS = ("di", "si", "dx", "cx", "r8", "r9")
"""Where the C calling convention of x86-64 passes arguments."""
SYSCALL_REGISTERS = ("di", "si", "dx", "r10", "r8", "r9")
"""Where a system call's arguments are."""
PT_REGS = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx"),
    *("si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"),
)
"""``struct pt_regs``: 21 registers of 8 bytes, in this order."""

SYSTEM_CALLS: dict[str, tuple[int, tuple[str, ...]]] = {
    "read": (0, ("fd", "buf", "count")),
    "write": (1, ("fd", "buf", "count")),
    "open": (2, ("filename", "flags", "mode")),
    "close": (3, ("fd",)),
    "nanosleep": (35, ("rqtp", "rmtp")),
    "clone": (56, ("clone_flags", "newsp", "parent_tidptr", "child_tidptr", "tls")),
    "execve": (59, ("filename", "argv", "envp")),
    "exit": (60, ("error_code",)),
    "wait4": (61, ("upid", "stat_addr", "options", "ru")),
    "unlink": (87, ("pathname",)),
    "sync": (162, ()),
    "exit_group": (231, ("error_code",)),
    "clock_nanosleep": (230, ("which_clock", "flags", "rqtp", "rmtp")),
    "openat": (257, ("dfd", "filename", "flags", "mode")),
    "unlinkat": (263, ("dfd", "pathname", "flag")),
}
"""Number and argument names of the calls that scenarios make (x86-64)."""


ENTRY = ("entry_SYSCALL_64_after_hwframe", "do_syscall_64")
"""What a system call passes before its number is looked at."""


class Kernel:
    """The modelled kernel functions of one machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def function(
        self,
        name: str,
        arguments: Sequence[int],
        body: Callable[[], int] = lambda: 0,
        *,
        spend: int = 0,
    ) -> int:
        """Calls kernel function `name`: 64-bit arguments, signed result. `spend` ns pass in it.
        Where a watcher wants another result (an injected error), the body is not run."""
        override = self.enter(name, arguments)
        self.machine.spend(spend)
        result = body() if override is None else override
        self.leave(name, arguments, result)
        return result

    def enter(self, name: str, arguments: Sequence[int] = ()) -> int | None:
        """The current task is in `name` from now on; the result that a watcher imposes."""
        hooks = self.machine.hooks
        task = self.machine.current
        task.calls = (*task.calls, name)
        if name not in hooks.names:
            return None
        answers: list[int | None] = []
        if hooks.watched(point := Point("kprobe", name)):
            registers = {
                register: argument & U64
                for register, argument in zip(ARGUMENT_REGISTERS, arguments, strict=False)
            }
            answers = hooks.pass_by(self._event(point, registers=registers))
        if hooks.watched(point := Point("fentry", name)):
            hooks.pass_by(self._event(point, arguments=_words(arguments)))
        wanted = next((answer for answer in answers if answer is not None), None)
        return None if wanted is None else (wanted & U64 ^ 1 << 63) - (1 << 63)

    def leave(self, name: str, arguments: Sequence[int] = (), result: int = 0) -> None:
        """The current task returns from `name`, where it was last."""
        hooks = self.machine.hooks
        task = self.machine.current
        task.calls = task.calls[:-1]
        if name not in hooks.names:
            return
        if hooks.watched(point := Point("kretprobe", name)):
            hooks.pass_by(self._event(point, registers={"ax": result & U64}))
        if hooks.watched(point := Point("fexit", name)):
            hooks.pass_by(self._event(point, arguments=_words((*arguments, result))))

    def tracepoint(
        self, category: str, name: str, fields: dict[str, Any], raw: Sequence[int] = ()
    ) -> None:
        """Fires ``category:name`` with its fields, and the raw tracepoint with its arguments."""
        hooks = self.machine.hooks
        if not hooks.names:
            return
        full_name = f"{category}:{name}"
        if full_name in hooks.names and hooks.watched(point := Point("tracepoint", full_name)):
            hooks.pass_by(self._event(point, fields=fields))
        if name in hooks.names and hooks.watched(point := Point("raw_tracepoint", name)):
            hooks.pass_by(self._event(point, arguments=_words(raw)))

    def system_call(
        self, name: str, arguments: Sequence[int], body: Callable[[], int], *, spend: int = 500
    ) -> int:
        """System call `name` of the current task; its result (negative: an errno)."""
        override = self.enter_call(name, arguments)
        self.machine.spend(spend)
        result = body() if override is None else override
        self.leave_call(result)
        return result

    def enter_call(self, name: str, arguments: Sequence[int]) -> int | None:
        """The current task is in a system call from now on."""
        number, names = SYSTEM_CALLS[name]
        task = self.machine.current
        task.system_call = name
        task.calls = ENTRY
        values = _words(arguments)
        self._save_registers(task, number, values)
        padded = (*values, *(0,) * (6 - len(values)))
        self.tracepoint(
            "raw_syscalls", "sys_enter", {"id": number, "args": padded}, (task.registers, number)
        )
        self.tracepoint(
            "syscalls",
            f"sys_enter_{name}",
            {"__syscall_nr": number, **dict(zip(names, values, strict=True))},
        )
        task.calls = (*ENTRY, "x64_sys_call")
        return self.enter(f"__x64_sys_{name}", (task.registers,))

    def leave_call(self, result: int) -> None:
        """The current task returns from its system call."""
        task = self.machine.current
        name = task.system_call
        number, _ = SYSTEM_CALLS[name]
        self.leave(f"__x64_sys_{name}", (task.registers,), result)
        task.calls = ENTRY
        self.tracepoint(
            "raw_syscalls", "sys_exit", {"id": number, "ret": result}, (task.registers, result)
        )
        self.tracepoint("syscalls", f"sys_exit_{name}", {"__syscall_nr": number, "ret": result})
        task.calls, task.system_call = (), ""

    def _event(self, point: Point, **what: Any) -> Event:
        machine = self.machine
        task = machine.current
        start = 0
        if point.kind == "kprobe":
            start = machine.address_of(point.name) or 0
        calls = task.calls[:-1] if point.kind in ("kprobe", "fentry") else task.calls
        kernel_stack = machine.stacks.kernel(calls, point.name, at_start=start)
        registers = what.get("registers")
        if registers is not None:
            registers["ip"] = start or machine.address_of(point.name) or 0
            registers["sp"] = task.stack - 256
            registers["bp"] = task.stack - 224
        return Event(
            point=point,
            time=machine.now(),
            cpu=machine.cpu,
            task=task,
            kernel_stack=kernel_stack,
            user_stack=stacks.user(task, point.name),
            **what,
        )

    def _save_registers(self, task: Task, number: int, arguments: Sequence[int]) -> None:
        """What the entry of a system call pushes: the user registers, read by whoever follows
        the argument of ``__x64_sys_*``."""
        values = dict(zip(SYSCALL_REGISTERS, arguments, strict=False))
        values.update(orig_ax=number, ax=U64 - 37, ip=stacks.user(task)[0], sp=stacks.STACK)
        values.update(cs=0x33, ss=0x2B, flags=0x246)
        packed = struct.pack("<21Q", *(values.get(register, 0) for register in PT_REGS))
        self.machine.kernel_memory.map(task.registers, bytearray(packed), len(packed))


def _words(values: Sequence[int]) -> tuple[int, ...]:
    """Numbers as they lie in registers."""
    return tuple(value & U64 for value in values)
