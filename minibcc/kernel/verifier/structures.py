"""Pointers to the kernel's own structures: where they come from, and what loads through them give.

A traced function's arguments (and result), a tracepoint's arguments and the current task are such
pointers, with their type from BTF. A load of a field gives a number, or, where the field is a
pointer to a structure, a pointer again; it may fault and then reads 0, so the kernel runs it as a
load of its own kind. Mirrors ``btf_ctx_access``, ``btf_struct_access`` of kernel/bpf/btf.c and
``check_ptr_to_btf_access`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, TypeAlias

from minibcc.abi.bpf import AttachType, ProgType
from minibcc.abi.tracepoints import nullable
from minibcc.btf.types import Array, Enum, Int, Ptr, Struct, TypeTag, size_of, strip
from minibcc.kernel.verifier import grants
from minibcc.kernel.verifier.log import tnum_text
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    BTF,
    MAYBE_NULL,
    MEMORY,
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
        if found is None:
            return ANY_NUMBER
        target, certain = found
        if not isinstance(target, Struct):
            return pointer(MEMORY | READ_ONLY | UNTRUSTED)
        flags = base.kind & UNTRUSTED if certain else UNTRUSTED
        return pointer(BTF | flags, object=target)
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


def _bad_field(message: str, errno: int = EACCES) -> Refused:
    return Refused(errno, "verify/memory-bounds", message)


_Target: TypeAlias = "tuple[Type | None, bool] | None"
"""What a pointer found points to, and whether that is certain (in a union it is not); None: a
number."""


def _field(struct: Struct, offset: int, size: int, certain: bool = True) -> _Target:
    """What the field at `offset` is; `certain` is False below a union."""
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


def _behind(struct: Struct, offset: int, size: int, certain: bool) -> _Target:
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


def _member(name: str, member: Member, offset: int, size: int, certain: bool) -> _Target:
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
        return strip(kind.to), certain
    end = member.offset // 8 + size_of(member.type)
    if offset + size > end and certain:
        raise _bad_field(
            f"access beyond the end of member {member.name} (mend:{end}) in struct {name}"
            f" with off {offset} size {size}"
        )
    return None
