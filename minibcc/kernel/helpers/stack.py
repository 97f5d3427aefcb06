"""Helpers that take stack traces. The stacks are those that the event brought with it.

Mirrors the helpers of kernel/bpf/stackmap.c.
"""

from __future__ import annotations

import struct
from errno import EFAULT, EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.maps.stacks import (
    BUILD_ID_IP,
    FAST_STACK_CMP,
    REUSE_STACKID,
    SKIP_MASK,
    USER_STACK,
)

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

USER_BUILD_ID = 1 << 11
MASK32 = 0xFFFF_FFFF


def _stack(run: Run, flags: int) -> tuple[int, ...]:
    if run.event is None:
        return ()
    stack: tuple[int, ...] = run.event.user_stack if flags & USER_STACK else run.event.kernel_stack
    return stack


@helper("get_stackid")
def get_stackid(run: Run, context: int, map: int, flags: int, r4: int, r5: int) -> int:
    if flags & ~(SKIP_MASK | USER_STACK | FAST_STACK_CMP | REUSE_STACKID):
        return -EINVAL
    number: int = run.kernel.map_at[map].add(_stack(run, flags), flags)
    return number


def _copy(run: Run, stack: tuple[int, ...], buffer: int, size: int, flags: int) -> int:
    """Bytes written, or a negative errno; the rest of the buffer is cleared."""
    size &= MASK32
    view = run.memory.view(buffer, size)
    unit = 32 if flags & USER_BUILD_ID else 8
    error = 0
    kernel_build_id = flags & USER_BUILD_ID and not flags & USER_STACK
    if flags & ~(SKIP_MASK | USER_STACK | USER_BUILD_ID) or kernel_build_id or size % unit:
        error = -EINVAL
    kept = stack[flags & SKIP_MASK :][: size // unit]
    if not error and not stack[flags & SKIP_MASK :]:
        error = -EFAULT
    if error:
        view[:] = bytes(size)
        return error
    if unit == 8:
        data = struct.pack(f"<{len(kept)}Q", *kept)
    else:
        data = b"".join(struct.pack("<I20xQ", BUILD_ID_IP, address) for address in kept)
    view[:] = data.ljust(size, b"\0")
    return len(data)


@helper("get_stack")
def get_stack(run: Run, context: int, buffer: int, size: int, flags: int, r5: int) -> int:
    return _copy(run, _stack(run, flags), buffer, size, flags)


@helper("get_task_stack")
def get_task_stack(run: Run, task: int, buffer: int, size: int, flags: int, r5: int) -> int:
    """Only the current task's stack is known."""
    stack = _stack(run, flags) if run.task is not None and task == run.task.address else ()
    return _copy(run, stack, buffer, size, flags)
