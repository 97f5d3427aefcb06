"""Kernel functions as the simulation models them: what a system call passes on its way.

A modelled kernel function is entered and left through `Kernel.function`, which fires what may be
watched there: kprobe and fentry before, kretprobe and fexit after. `Kernel.tracepoint` fires a
tracepoint and its raw twin. `system_call` goes the way of x86-64 Linux: the tracepoints
``raw_syscalls:sys_enter`` and ``syscalls:sys_enter_NAME``, the function ``__x64_sys_NAME`` with a
pointer to the saved user registers, what the call does, and the tracepoints of its exit.

Functions take time: `spend` moves the clock while the task's processor is busy with them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

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
    "openat": (257, ("dfd", "filename", "flags", "mode")),
    "unlinkat": (263, ("dfd", "pathname", "flag")),
}
"""Number and argument names of the calls that scenarios make (x86-64)."""


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
        """Calls kernel function `name`: 64-bit arguments, signed result. `spend` ns pass in it."""
        machine = self.machine
        hooks = machine.hooks
        arguments = tuple(argument & U64 for argument in arguments)
        if hooks.watched(point := Point("kprobe", name)):
            registers = dict(zip(ARGUMENT_REGISTERS, arguments, strict=False))
            hooks.pass_by(self._event(point, registers=registers))
        if hooks.watched(point := Point("fentry", name)):
            hooks.pass_by(self._event(point, arguments=arguments))
        machine.spend(spend)
        result = body()
        if hooks.watched(point := Point("kretprobe", name)):
            hooks.pass_by(self._event(point, registers={"ax": result & U64}))
        if hooks.watched(point := Point("fexit", name)):
            hooks.pass_by(self._event(point, arguments=(*arguments, result & U64)))
        return result

    def tracepoint(
        self, category: str, name: str, fields: dict[str, Any], raw: Sequence[int] = ()
    ) -> None:
        """Fires ``category:name`` with its fields, and the raw tracepoint with its arguments."""
        hooks = self.machine.hooks
        if hooks.watched(point := Point("tracepoint", f"{category}:{name}")):
            hooks.pass_by(self._event(point, fields=fields))
        if hooks.watched(point := Point("raw_tracepoint", name)):
            hooks.pass_by(self._event(point, arguments=tuple(value & U64 for value in raw)))

    def system_call(
        self, name: str, arguments: Sequence[int], body: Callable[[], int], *, spend: int = 500
    ) -> int:
        """System call `name` of the current task; its result (negative: an errno)."""
        number, names = SYSTEM_CALLS[name]
        task = self.machine.current
        values = [argument & U64 for argument in arguments]
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
        result = self.function(f"__x64_sys_{name}", (task.registers,), body, spend=spend)
        self.tracepoint(
            "raw_syscalls", "sys_exit", {"id": number, "ret": result}, (task.registers, result)
        )
        self.tracepoint("syscalls", f"sys_exit_{name}", {"__syscall_nr": number, "ret": result})
        return result

    def _event(self, point: Point, **what: Any) -> Event:
        machine = self.machine
        task = machine.current
        registers = what.get("registers")
        if registers is not None:
            registers.setdefault("ip", machine.address_of(point.name) or 0)
            registers.setdefault("sp", task.stack - 256)
            registers.setdefault("bp", task.stack - 224)
        return Event(point=point, time=machine.now(), cpu=machine.cpu, task=task, **what)

    def _save_registers(self, task: Task, number: int, arguments: Sequence[int]) -> None:
        """What the entry of a system call pushes: the user registers, read by whoever follows
        the argument of ``__x64_sys_*``."""
        values = dict(zip(SYSCALL_REGISTERS, arguments, strict=False))
        values.update(orig_ax=number, ax=U64 - 37, ip=0x401000, sp=0x7FFF_FFFF_E000, cs=0x33)
        values.update(ss=0x2B, flags=0x246)
        packed = struct.pack("<21Q", *(values.get(register, 0) for register in PT_REGS))
        self.machine.kernel_memory.map(task.registers, bytearray(packed), len(packed))
