"""Helpers that read memory that is not the program's own.

An address leads to one of three places: the arena (what programs see of the kernel: stacks, map
values, contexts), kernel memory from 0xffff... on, or the current task's own memory. A failed read
clears the destination and is -EFAULT. Mirrors ``bpf_probe_read_*`` of kernel/trace/bpf_trace.c and
mm/maccess.c.
"""

from __future__ import annotations

from errno import EFAULT, EINVAL, EPERM, ERANGE
from typing import TYPE_CHECKING, TypeAlias

from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.vm.execution import Fault
from minibcc.machine.memory import BadAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.kernel.vm.execution import Run

KERNEL_START = 1 << 63
MASK32 = 0xFFFF_FFFF
KERNEL_MAPPED = 0xFFFF_8000_0000_0000
"""What lies below, and above what is the user's, is no address (x86-64, four levels of pages)."""
TASK_END = (1 << 47) - 4096
VSYSCALL = 0xFFFF_FFFF_FF60_0000
"""A page of the kernel's for user space."""
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


def _refusal(run: Run, read: Reader, address: int) -> int:
    """The errno with which an address is refused before anything is read, be it of no bytes, or 0:
    what is not the kernel's (``copy_from_kernel_nofault_allowed``), or not the user's."""
    arena = run.memory.base <= address < run.memory.base + run.memory.size
    kernel = arena or (address >= KERNEL_MAPPED and address >> 12 != VSYSCALL >> 12)
    if read is read_user:
        return -EFAULT if arena or address > TASK_END else 0
    if read is read_either and not arena and address < TASK_END:
        return 0
    return 0 if kernel else -ERANGE


Reader: TypeAlias = "Callable[[Run, int, int], bytes]"


FAMILY: dict[str, tuple[Reader, bool]] = {
    "probe_read_kernel": (read_kernel, False),
    "probe_read_user": (read_user, False),
    "probe_read": (read_either, False),
    "copy_from_user": (read_user, False),
    "probe_read_kernel_str": (read_kernel, True),
    "probe_read_user_str": (read_user, True),
    "probe_read_str": (read_either, True),
}
"""Helper to what it reads from, and whether it reads up to a NUL and answers how much."""


def _reads(name: str, read: Reader, text: bool) -> None:
    """Registers one of the family: R1 the target, R2 its size, R3 the source."""

    @helper(name)
    def copy(run: Run, target: int, size: int, source: int, r4: int, r5: int) -> int:
        size &= MASK32
        if not size and (text or name == "copy_from_user"):
            return 0
        view = run.memory.view(target, size)
        error = _refusal(run, read, source)
        try:
            if error:
                raise BadAddress(source, size)
            data = read_string(run, read, source, size) if text else read(run, source, size)
        except BadAddress:
            view[:] = bytes(size)
            return error or -EFAULT
        view[: len(data)] = data
        return len(data) if text else 0


for _name, (_reader, _text) in FAMILY.items():
    _reads(_name, _reader, _text)


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
