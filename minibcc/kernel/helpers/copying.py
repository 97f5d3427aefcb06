"""Helpers that read memory that is not the program's own.

An address leads to one of three places: the arena (what programs see of the kernel: stacks, map
values, contexts), kernel memory from 0xffff... on, or the current task's own memory. A failed read
clears the destination and is -EFAULT. Mirrors ``bpf_probe_read_*`` of kernel/trace/bpf_trace.c and
mm/maccess.c.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL, EPERM, ERANGE
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.vm.execution import Fault
from minibcc.machine.memory import BadAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.kernel.vm.execution import Run

KERNEL_START = 1 << 63
MASK32 = 0xFFFF_FFFF
CHUNK = 64


def read_kernel(run: Run, address: int, size: int) -> bytes:
    """Raises BadAddress."""
    if address >= KERNEL_START:
        data: bytes = run.kernel.machine.read_kernel(address, size)
        return data
    if run.memory.base <= address < run.memory.base + run.memory.size:
        try:
            return bytes(run.memory.view(address, size))
        except Fault:
            raise BadAddress(address, size) from None
    raise BadAddress(address, size)


def read_user(run: Run, address: int, size: int) -> bytes:
    """Raises BadAddress."""
    if address >= KERNEL_START:
        raise BadAddress(address, size)
    data: bytes = run.kernel.machine.read_user(run.task, address, size)
    return data


def read_either(run: Run, address: int, size: int) -> bytes:
    """What the helpers of before 5.5 read: whatever the address leads to. Raises BadAddress."""
    try:
        return read_kernel(run, address, size)
    except BadAddress:
        return read_user(run, address, size)


def read_string(run: Run, read: Callable[[Run, int, int], bytes], address: int, size: int) -> bytes:
    """A string of at most `size` bytes with its NUL, cut if it is longer. Raises BadAddress where
    memory ends before the string does."""
    out = b""
    while len(out) < size:
        want = min(CHUNK, size - len(out))
        while True:
            try:
                part = read(run, address + len(out), want)
                break
            except BadAddress:
                if want == 1:
                    raise
                want //= 2
        end = part.find(0)
        if end >= 0:
            return out + part[: end + 1]
        out += part
    return out[: size - 1] + b"\0" if size else b""


def _copy(
    run: Run, read: Callable[[Run, int, int], bytes], target: int, size: int, source: int
) -> int:
    size &= MASK32
    if not size:
        return 0
    view = run.memory.view(target, size)
    try:
        view[:] = read(run, source, size)
    except BadAddress as bad:
        view[:] = bytes(size)
        return _error(read, bad)
    return 0


def _error(read: Callable[[Run, int, int], bytes], bad: BadAddress) -> int:
    """Reading the kernel refuses user addresses with an errno of its own."""
    return -ERANGE if read is read_kernel and bad.address < KERNEL_START else -EFAULT


def _copy_string(
    run: Run, read: Callable[[Run, int, int], bytes], target: int, size: int, source: int
) -> int:
    size &= MASK32
    if not size:
        return 0
    view = run.memory.view(target, size)
    try:
        text = read_string(run, read, source, size)
    except BadAddress as bad:
        view[:] = bytes(size)
        return _error(read, bad)
    view[: len(text)] = text
    return len(text)


@helper("probe_read_kernel")
def probe_read_kernel(run: Run, target: int, size: int, source: int, r4: int, r5: int) -> int:
    return _copy(run, read_kernel, target, size, source)


@helper("probe_read_user")
def probe_read_user(run: Run, target: int, size: int, source: int, r4: int, r5: int) -> int:
    return _copy(run, read_user, target, size, source)


@helper("probe_read")
def probe_read(run: Run, target: int, size: int, source: int, r4: int, r5: int) -> int:
    return _copy(run, read_either, target, size, source)


@helper("probe_read_kernel_str")
def probe_read_kernel_str(run: Run, target: int, size: int, source: int, r4: int, r5: int) -> int:
    return _copy_string(run, read_kernel, target, size, source)


@helper("probe_read_user_str")
def probe_read_user_str(run: Run, target: int, size: int, source: int, r4: int, r5: int) -> int:
    return _copy_string(run, read_user, target, size, source)


@helper("probe_read_str")
def probe_read_str(run: Run, target: int, size: int, source: int, r4: int, r5: int) -> int:
    return _copy_string(run, read_either, target, size, source)


@helper("copy_from_user")
def copy_from_user(run: Run, target: int, size: int, source: int, r4: int, r5: int) -> int:
    return _copy(run, read_user, target, size, source)


@helper("copy_from_user_task")
def copy_from_user_task(
    run: Run, target: int, size: int, source: int, task: int, flags: int
) -> int:
    if flags:
        return -EINVAL
    size &= MASK32
    owner = run.kernel.machine.task_at(task)
    view = run.memory.view(target, size)
    try:
        if owner is None:
            raise BadAddress(source, size)
        view[:] = run.kernel.machine.read_user(owner, source, size)
    except BadAddress:
        view[:] = bytes(size)
        return -EFAULT
    return 0


@helper("probe_write_user")
def probe_write_user(run: Run, target: int, source: int, size: int, r4: int, r5: int) -> int:
    size &= MASK32
    if target >= KERNEL_START:
        return -EPERM
    try:
        run.kernel.machine.write_user(run.task, target, bytes(run.memory.view(source, size)))
    except BadAddress:
        return -EFAULT
    return 0
