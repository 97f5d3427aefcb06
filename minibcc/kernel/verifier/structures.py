"""Pointers to the kernel's own structures: where they come from, and what loads through them give.

A traced function's arguments (and result), a tracepoint's arguments and the current task are such
pointers, with their type from BTF. A load of a field gives a number, or, where the field is a
pointer to a structure, a pointer again; it may fault and then reads 0, so the kernel runs it as a
load of its own kind. Mirrors ``btf_ctx_access``, ``btf_struct_access`` of kernel/bpf/btf.c and
``check_ptr_to_btf_access`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import AttachType, ProgFlags, ProgType
from minibcc.abi.tracepoints import nullable
from minibcc.btf.types import Array, Enum, Int, Ptr, Struct, TypeTag, size_of, strip
from minibcc.kernel.verifier import grants, locks
from minibcc.kernel.verifier.log import tnum_text
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    BTF,
    MAYBE_NULL,
    MEMORY,
    RCU,
    READ_ONLY,
    TRUSTED,
    UNTRUSTED,
    Refused,
    Register,
    pointer,
    undecided,
)

if TYPE_CHECKING:
    from minibcc.btf.types import Func, Member, Param, Type
    from minibcc.kernel.verifier.explore import Walk

_FENTRY_RETURNS = (AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN)
_MAX_ARGUMENTS = 12
_UNTRUSTED_HOOKS = {
    f"bpf_lsm_{name}"
    for name in (
        *("bpf_map_free", "bpf_prog_free", "file_alloc_security", "file_free_security"),
        *("sk_alloc_security", "sk_free_security", "task_free"),
    )
}
"""``untrusted_lsm_hooks`` of kernel/bpf/bpf_lsm.c: what they get is not whole."""


def ready(walk: Walk) -> None:
    """Pointers to structures are decided only where the kernel runs their loads as such."""
    if not walk.environment.probe_loads or walk.environment.types is None:
        raise undecided("pointers to kernel structures")


def argument(walk: Walk, func: Func, offset: int, size: int) -> Register:
    """The value at `offset` in the array of a traced function's arguments."""
    ready(walk)
    raw = walk.program.attach_type == AttachType.TRACE_RAW_TP
    params: tuple[Param, ...] = func.proto.params
    if raw and params:
        params = params[1:]  # the tracepoint's own data comes first
    number = offset >> 3
    if offset % 8 or not 0 <= offset < 8 * _MAX_ARGUMENTS:
        raise grants.no_field(offset, size)
    if number < len(params):
        kind = params[number].type
    elif number == len(params) and walk.program.attach_type in _FENTRY_RETURNS:
        kind = func.proto.result
    else:
        raise grants.no_field(offset, size)
    stripped = strip(kind)
    if isinstance(stripped, Int | Enum | Struct):
        return ANY_NUMBER
    if not isinstance(stripped, Ptr) or size != 8:
        raise grants.no_field(offset, size)
    target = strip(stripped.to)
    iterates = walk.program.attach_type == AttachType.TRACE_ITER
    if target is None or isinstance(target, Int):
        if iterates:
            raise undecided("buffers of iterators")
        return ANY_NUMBER
    if not isinstance(target, Struct) or not target.complete:
        raise grants.no_field(offset, size)
    hook = walk.program.prog_type == ProgType.LSM
    trusted = raw or iterates or (hook and func.name not in _UNTRUSTED_HOOKS)
    base = BTF | (TRUSTED if trusted else 0)
    if (raw and number in nullable(func.name)) or (iterates and number):
        # What is iterated over is null at the end.
        return pointer(base | MAYBE_NULL, object=target, id=walk.new_id())
    return pointer(base, object=target)


def named(walk: Walk, name: str, flags: int) -> Register:
    """A pointer to a structure that a helper returns."""
    ready(walk)
    types = walk.environment.types
    found = types.find(name) if types is not None else None
    if not isinstance(found, Struct):
        raise undecided(f"struct {name}, of which this kernel's BTF says nothing")
    return pointer(BTF | flags, object=found)


def load(walk: Walk, base: Register, register: int, offset: int, size: int) -> Register:
    """What a load of `size` bytes at `offset` of a structure gives."""
    ready(walk)
    struct: Struct = base.object
    if not walk.program.gpl:
        message = f"Cannot access kernel 'struct {struct.name}' from non-GPL compatible program"
        raise Refused(EINVAL, "verify/gpl-only", message)
    if offset < 0:
        message = f"R{register} is ptr_{struct.name} invalid negative access: off={offset}"
    elif not base.range.known or base.range.value:
        where = tnum_text(base.range.bits)
        message = (
            f"R{register} is ptr_{struct.name} invalid variable offset: off={offset},"
            f" var_off={where}"
        )
    else:
        found = _field(struct, offset, size)
        flags = _trust(walk, base, found) if found is not None else 0
        return _loaded(walk, found, flags)
    raise Refused(EACCES, "verify/modified-pointer", message)


def holds(struct: Struct, offset: int, name: str) -> bool:
    """Whether a structure of that name lies at `offset` of `struct` (``btf_struct_ids_match``)."""
    found: Type | None = struct
    while isinstance(found, Struct):
        if not offset and found.name == name:
            return True
        if not 0 <= offset < found.size:
            return False
        found, offset = _inside(found, offset)
    return False


def why_not(struct: Struct, offset: int) -> str:
    """What the kernel writes down while it looks for a structure at `offset` and finds none."""
    try:
        _field(struct, offset, 1)
    except Refused as refused:
        return f"{refused.message}\n"
    return ""


def _inside(struct: Struct, offset: int) -> tuple[Type | None, int]:
    """What begins at or before `offset` of a structure and reaches beyond, and how far in."""
    for member in struct.members:
        inside, kind = offset - member.offset // 8, strip(member.type)
        if not member.bits and 0 <= inside < size_of(member.type):
            while isinstance(kind, Array):
                kind = strip(kind.of)
                inside %= size_of(kind) or 1
            return kind, inside
    return None, 0


def field(walk: Walk, name: str, offset: int, size: int) -> Register:
    """What a load through a pointer to a map gives; `name` is the structure that is behind it."""
    ready(walk)
    types = walk.environment.types
    found = types.find(name) if types is not None else None
    if not isinstance(found, Struct):
        start = types.find("bpf_map") if types is not None else None
        if not isinstance(start, Struct) or offset + size > start.size:
            raise undecided(f"struct {name}, of which this kernel's BTF says nothing")
        found = start  # with which each of them begins
    got = _field(found, offset, size)
    return _loaded(walk, got, UNTRUSTED if got is not None and not got.certain else 0)


def _loaded(walk: Walk, found: _Target | None, flags: int) -> Register:
    if found is None:
        return ANY_NUMBER
    if not isinstance(found.type, Struct):
        return pointer(MEMORY | READ_ONLY | UNTRUSTED)
    number = walk.new_id() if flags & MAYBE_NULL else 0
    return pointer(BTF | flags, object=found.type, id=number)


_SAFE: dict[tuple[str, str], int] = {
    ("task_struct", "cpus_ptr"): RCU,
    ("task_struct", "cgroups"): RCU,
    ("task_struct", "real_parent"): RCU,
    ("task_struct", "group_leader"): RCU,
    ("cgroup", "kn"): RCU,
    ("css_set", "dfl_cgrp"): RCU,
    ("cgroup_subsys_state", "cgroup"): RCU,
    ("mm_struct", "exe_file"): RCU | MAYBE_NULL,
    ("sk_buff", "sk"): RCU | MAYBE_NULL,
    ("request_sock", "sk"): RCU | MAYBE_NULL,
    ("bpf_iter_meta", "seq"): TRUSTED,
    ("bpf_iter__task", "meta"): TRUSTED,
    ("bpf_iter__task", "task"): TRUSTED,
    ("linux_binprm", "file"): TRUSTED,
    ("file", "f_inode"): TRUSTED,
    ("dentry", "d_inode"): TRUSTED | MAYBE_NULL,
    ("socket", "sk"): TRUSTED | MAYBE_NULL,
    ("vm_area_struct", "vm_mm"): TRUSTED | MAYBE_NULL,
    ("vm_area_struct", "vm_file"): TRUSTED | MAYBE_NULL,
}
"""What a pointer in a structure that is trusted, or guarded by RCU, is itself; those under RCU only
where the program does not sleep (``BTF_TYPE_SAFE_*``)."""


def _trust(walk: Walk, base: Register, found: _Target) -> int:
    """The flags of a pointer loaded through another."""
    if base.kind & UNTRUSTED:
        return UNTRUSTED
    doubt = 0 if found.certain else UNTRUSTED
    if not base.kind & (TRUSTED | RCU) and not base.ref:
        return doubt
    safe = _SAFE.get((base.object.name, found.member), 0)
    if safe & TRUSTED:
        return doubt | safe
    if walk.program.prog_flags & ProgFlags.SLEEPABLE and not locks.held(walk):
        return UNTRUSTED
    if safe == RCU:
        return doubt | safe
    return safe or doubt


def _bad_field(message: str, errno: int = EACCES) -> Refused:
    return Refused(errno, "verify/memory-bounds", message)


class _Target(NamedTuple):
    """A pointer that was found: to what, whether that is certain (in a union it is not), and the
    member that it is."""

    type: Type | None
    certain: bool
    member: str


def _field(struct: Struct, offset: int, size: int, certain: bool = True) -> _Target | None:
    """The pointer at `offset`, None for a number; `certain` is False below a union."""
    name = struct.name or "(anon)"
    if struct.union and len(struct.members) != 1:
        certain = False
    if offset + size > struct.size:
        return _behind(struct, offset, size, certain)
    for member in struct.members:
        start = member.offset // 8
        if offset + size <= start:
            break
        if member.bits:
            end = (member.offset + member.bits + 7) // 8
            if offset <= start and end <= offset + size:
                return None
            continue
        if offset < start:
            break
        if offset < start + size_of(member.type):
            return _member(name, member, offset, size, certain)
    raise _bad_field(f"struct {name} doesn't have field at offset {offset}", EINVAL)


def _behind(struct: Struct, offset: int, size: int, certain: bool) -> _Target | None:
    """Past a structure's end there may be the elements of its last member, an array without a
    size."""
    last = struct.members[-1] if struct.members else None
    kind = strip(last.type) if last is not None else None
    if last is not None and isinstance(kind, Array) and not kind.count:
        start, element = last.offset // 8, strip(kind.of)
        if offset >= start and isinstance(element, Int):
            return None
        if offset >= start and isinstance(element, Struct) and element.size:
            return _field(element, (offset - start) % element.size, size, certain)
    name = struct.name or "(anon)"
    raise _bad_field(f"access beyond struct {name} at off {offset} size {size}")


def _member(name: str, member: Member, offset: int, size: int, certain: bool) -> _Target | None:
    start = member.offset // 8
    kind = strip(member.type)
    while isinstance(kind, Array):
        length = size_of(kind.of) or 1
        start += (offset - start) // length * length
        kind = strip(kind.of)
    inside = offset - start
    if isinstance(kind, Struct):
        return _field(kind, inside, size, certain)
    if isinstance(kind, Ptr):
        if inside or size != 8:
            raise _bad_field(
                f"cannot access ptr member {member.name} with moff {start} in struct"
                f" {name} with off {offset} size {size}"
            )
        if isinstance(kind.to, TypeTag):
            raise undecided(f"pointers that are tagged {kind.to.name}")
        return _Target(strip(kind.to), certain, member.name)
    end = member.offset // 8 + size_of(member.type)
    if offset + size > end and certain:
        raise _bad_field(
            f"access beyond the end of member {member.name} (mend:{end}) in struct {name}"
            f" with off {offset} size {size}"
        )
    return None
