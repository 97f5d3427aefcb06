"""Helpers that call back into the program. Mirrors kernel/bpf/bpf_iter.c (``bpf_loop``) and
kernel/bpf/task_iter.c."""

from __future__ import annotations

from errno import E2BIG, EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

MAX_LOOPS = 1 << 23


@helper("loop")
def loop(run: Run, count: int, function: int, context: int, flags: int, r5: int) -> int:
    """Calls ``function(index, context)`` until it answers 1; how many calls were made. Linux puts
    the loop in place of the call: all 64 bits of `count` count, and an errno has 32."""
    if flags:
        return -EINVAL
    if count > MAX_LOOPS:
        return -E2BIG & 0xFFFF_FFFF
    assert run.call is not None
    for index in range(count):
        if run.call(function, index, context):
            return index + 1
    return count
