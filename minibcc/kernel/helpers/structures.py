"""Helpers on the kernel's own structures: paths, memory areas, pointers kept in maps, names.

Mirrors ``bpf_d_path`` of kernel/trace/bpf_trace.c, ``bpf_find_vma`` of kernel/bpf/task_iter.c,
``bpf_kptr_xchg`` of kernel/bpf/helpers.c and the helpers of kernel/bpf/syscall.c and btf.c that
look for names.
"""

from __future__ import annotations

from errno import EBADF, EFAULT, EINVAL, ENAMETOOLONG, ENOENT
from typing import TYPE_CHECKING

from minibcc.btf.layout import Kind
from minibcc.kernel.helpers.copying import read_kernel
from minibcc.kernel.helpers.packet import signed32
from minibcc.kernel.helpers.registry import helper
from minibcc.machine.areas import area_at
from minibcc.machine.memory import BadAddress

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF
KINDS = frozenset(int(kind) for kind in Kind)


@helper("d_path")
def d_path(run: Run, path: int, buffer: int, size: int, r4: int, r5: int) -> int:
    """The length of the path with its NUL. It is made at the buffer's end and then moved, which
    leaves its traces there."""
    size &= MASK32
    if not size:
        return 0
    objects = run.kernel.machine.objects
    try:
        address = read_kernel(run, path + objects.offset("path", "dentry"), 8)
    except BadAddress:
        return -EFAULT
    name = objects.path_of(int.from_bytes(address, "little"))
    if name is None:
        return -EFAULT
    text = name.encode(errors="surrogateescape") + b"\0"
    if len(text) > size:
        return -ENAMETOOLONG
    view = run.memory.view(buffer, size)
    view[size - len(text) :] = text
    view[: len(text)] = text
    return len(text)


@helper("find_vma")
def find_vma(run: Run, task: int, address: int, function: int, context: int, flags: int) -> int:
    """Calls ``function(task, area, context)`` for the area that holds an address of a process."""
    if flags:
        return -EINVAL
    machine = run.kernel.machine
    found = machine.task_at(task)
    area = area_at(found, address) if found is not None else None
    if area is None:
        return -ENOENT
    assert run.call is not None
    run.call(function, task, machine.objects.area_address(found, area), context)
    return 0


@helper("kptr_xchg")
def kptr_xchg(run: Run, place: int, pointer: int, r3: int, r4: int, r5: int) -> int:
    """What was kept there before."""
    old = run.memory.load(place, 8)
    run.memory.store(place, 8, pointer)
    return old


def _name(run: Run, name: int, size: int) -> str | None:
    """A C string that fills its buffer; None for anything else."""
    size &= MASK32
    data = bytes(run.memory.view(name, size)) if 1 < size < 1 << 31 else b"?"
    if data[-1]:
        return None
    return data.partition(b"\0")[0].decode(errors="surrogateescape")


@helper("kallsyms_lookup_name")
def kallsyms_lookup_name(run: Run, name: int, size: int, flags: int, result: int, r5: int) -> int:
    run.memory.store(result, 8, 0)
    text = _name(run, name, size)
    if text is None or flags & MASK32:
        return -EINVAL
    address = run.kernel.address_of(text)
    run.memory.store(result, 8, address)
    return 0 if address else -ENOENT


@helper("btf_find_by_name_kind")
def btf_find_by_name_kind(run: Run, name: int, size: int, kind: int, flags: int, r5: int) -> int:
    """The type's number; the simulated kernel has no modules with types of their own."""
    text = _name(run, name, size)
    kind &= MASK32
    if text is None or flags & MASK32:
        return -EINVAL
    number: int | None = None
    if kind in KINDS:
        number = run.kernel.vmlinux.types().find_id(Kind(kind), text)
    return -ENOENT if number is None else number


@helper("sys_close")
def sys_close(run: Run, fd: int, r2: int, r3: int, r4: int, r5: int) -> int:
    try:
        run.kernel.descriptors.close(fd & MASK32)
    except OSError:
        return -EBADF
    return 0


@helper("get_retval")
def get_retval(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """What the system call that a cgroup's program is asked about is to give so far."""
    result: int = run.kernel.retval
    return result


@helper("set_retval")
def set_retval(run: Run, result: int, r2: int, r3: int, r4: int, r5: int) -> int:
    run.kernel.retval = signed32(result)
    return 0


SECURE_EXEC = 1


@helper("bprm_opts_set")
def bprm_opts_set(run: Run, program: int, flags: int, r3: int, r4: int, r5: int) -> int:
    """Whether the program that starts is to run as a secure one: the simulated tasks do not ask."""
    return -EINVAL if flags & ~SECURE_EXEC else 0
