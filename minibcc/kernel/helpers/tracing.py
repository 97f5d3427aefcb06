"""Helpers of traced functions: their arguments and results. Mirrors kernel/trace/bpf_trace.c.

An event at the return of a function carries its result behind its arguments.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT, EOPNOTSUPP
from typing import TYPE_CHECKING

from minibcc.abi.bpf import AttachType
from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF


def _arguments(run: Run) -> tuple[tuple[int, ...], int | None]:
    """The function's arguments, and its result where it has one already."""
    values: tuple[int, ...] = run.event.arguments if run.event is not None else ()
    program = run.image.program if run.image is not None else None
    if program is not None and program.request.expected_attach_type == AttachType.TRACE_FEXIT:
        return values[:-1], values[-1] if values else 0
    return values, None


@helper("get_func_arg_cnt")
def get_func_arg_cnt(run: Run, context: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return len(_arguments(run)[0])


@helper("get_func_arg")
def get_func_arg(run: Run, context: int, number: int, value: int, r4: int, r5: int) -> int:
    arguments, _ = _arguments(run)
    number &= MASK32
    if number >= len(arguments):
        return -EINVAL
    run.memory.store(value, 8, arguments[number])
    return 0


@helper("get_func_ret")
def get_func_ret(run: Run, context: int, value: int, r3: int, r4: int, r5: int) -> int:
    _, result = _arguments(run)
    if result is None:
        return -EOPNOTSUPP
    run.memory.store(value, 8, result)
    return 0


@helper("get_branch_snapshot")
def get_branch_snapshot(run: Run, entries: int, size: int, flags: int, r4: int, r5: int) -> int:
    """The simulated processor records no branches."""
    return -EINVAL if flags else -ENOENT


@helper("read_branch_records")
def read_branch_records(run: Run, context: int, buffer: int, size: int, flags: int, r5: int) -> int:
    return -EINVAL if flags & ~1 else -ENOENT
