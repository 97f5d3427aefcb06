"""Does the state grant a helper its arguments?

`abi.helpers` says what each argument must be; here each of those kinds is a check. A memory
argument is judged when its size is known (the argument behind it); a map argument tells how large
keys and values are. What a helper may write stays on a list that `calls` acts on. Mirrors
``check_func_arg`` and ``check_helper_mem_access`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapType
from minibcc.kernel.verifier import context, dynptrs, grants, kptrs, locks, stack, structures
from minibcc.kernel.verifier.form import MAX_OFFSET
from minibcc.kernel.verifier.operands import source
from minibcc.kernel.verifier.state import (
    BASE,
    BTF,
    CTX,
    DYNPTR,
    EMPTY,
    FUNCTION,
    MAP,
    MAP_KEY,
    MAP_VALUE,
    MAYBE_NULL,
    MEMORY,
    PACKET,
    PACKET_META,
    RCU,
    READ_ONLY,
    RINGBUF,
    SCALAR,
    SOCKET,
    SOCKETS,
    SPILL,
    STACK,
    TCP_SOCK,
    TRUSTED,
    ZEROED,
    Refused,
    Register,
    is_null,
    kind_name,
    undecided,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.abi.helpers import Helper, ValueType
    from minibcc.kernel.verifier.contract import MapFacts
    from minibcc.kernel.verifier.explore import Walk
    from minibcc.kernel.verifier.fields import Field
    from minibcc.kernel.verifier.state import Frame

_MEMORY_WORDS = "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_"
SOCKET_MAPS = (MapType.SOCKMAP, MapType.SOCKHASH)
_MEMORY_KINDS = (STACK, PACKET, PACKET_META, MAP_KEY, MAP_VALUE, MEMORY, MEMORY | RINGBUF)
_SOCKETS = "sock_common, sock, tcp_sock, xdp_sock"
_KINDS: dict[str, tuple[tuple[int, ...], str]] = {
    "ctx": ((CTX,), "ctx"),
    "map_ptr": ((MAP,), "map_ptr"),
    "map_key": (_MEMORY_KINDS, _MEMORY_WORDS),
    "map_value": (_MEMORY_KINDS, _MEMORY_WORDS),
    "mem": (_MEMORY_KINDS, _MEMORY_WORDS),
    "const_size": ((SCALAR,), "scalar"),
    "const_size_or_zero": ((SCALAR,), "scalar"),
    "const_alloc_size_or_zero": ((SCALAR,), "scalar"),
    "ringbuf_mem": ((MEMORY | RINGBUF,), "ringbuf_mem"),
    "stack": ((STACK,), "fp"),
    "const_str": ((MAP_VALUE,), "map_value"),
    "timer": ((MAP_VALUE,), "map_value"),
    "func": ((FUNCTION,), "func"),
    "spin_lock": ((MAP_VALUE,), "map_value, ptr_"),
    "kptr_xchg_dest": ((MAP_VALUE,), "map_value, ptr_"),
    "dynptr": ((STACK, DYNPTR), "fp, dynptr_ptr"),
    "btf_id": ((BTF, BTF | TRUSTED, BTF | RCU), "ptr_, trusted_ptr_, rcu_ptr_"),
    "percpu_btf_id": ((), "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_"),
    "sock_common": (SOCKETS, _SOCKETS),
    "socket": ((SOCKET, TCP_SOCK), "sock, tcp_sock"),
    "btf_id_sock_common": (
        (*SOCKETS, BTF, BTF | TRUSTED),
        f"{_SOCKETS}, ptr_, trusted_ptr_",
    ),
}
"""The kinds of register that an argument may be, and the kernel's list of them for its message."""

_STRUCTURES = {"btf_id_sock_common": "sock_common"}
"""The structure that a pointer must be to, where the helper's row does not name it."""
_UNDECIDED = {
    "percpu_btf_id": "per-CPU kernel variables",
}
FREE_OFFSET = {STACK, PACKET, PACKET_META, MAP_KEY, MAP_VALUE, MEMORY, SCALAR}


class Call:
    """What the arguments of one call say together.

    `map` is the map it is about, `key` the constant key where known (-1 if not), `size` the
    largest size given, `memory` the fixed size of what it returns, `reference` the reference among
    its arguments, `release` the register whose reference it gives back, `function` the first
    slot of the function that it calls back, `dynptr` the dynptr among its arguments, `kptr` the
    kernel pointer in a map's value that it exchanges, `text` the constant string that it takes.
    `fills` are (frame, lowest offset, the one behind the highest) of stack that it fills whole,
    from before: uninitialised stack becomes initialised.
    """

    def __init__(self, helper: Helper) -> None:
        self.helper = helper
        self.map: MapFacts | None = None
        self.key = -1
        self.size = 0
        self.memory = 0
        self.reference = 0
        self.release = 0
        self.function = 0
        self.dynptr: Register | None = None
        self.kptr: Field | None = None
        self.text = b""
        self.fills: tuple[Frame, int, int] | None = None
        self.raw = False


def check(walk: Walk, call: Call, position: int, wanted: ValueType) -> None:
    """Argument `position` (0 is R1)."""
    number = position + 1
    register = source(walk, number)
    kind = wanted.kind
    if kind == "anything":
        return
    if kind == "map_value" and call.map is not None and call.map.type in SOCKET_MAPS:
        if "uninit" in wanted.flags:
            message = "invalid arg_type for sockmap/sockhash"
            raise Refused(EINVAL, "verify/argument-type", message)
        kind = "btf_id_sock_common"  # their values are sockets, given by pointers
        wanted = wanted._replace(kind=kind)
    if register.kind in (PACKET, PACKET_META) and not (
        call.helper.pkt_access and context.packet_helpers(walk)
    ):
        raise Refused(EACCES, "verify/argument-type", "helper access to the packet is not allowed")
    if not (wanted.null and is_null(register)):
        _right_kind(walk, call, register, number, wanted)
        _right_offset(register, number, wanted)
    if "release" in wanted.flags:
        if kind == "dynptr":
            dynptrs.acquired(walk, number, register)
        elif not register.ref and not is_null(register):
            message = f"R{number} must be referenced when passed to release function"
            raise Refused(EINVAL, "verify/argument-type", message)
        call.release = number
    if register.ref:
        if call.reference:
            message = f"more than one arg with ref_obj_id R{number} {register.ref} {call.reference}"
            raise Refused(EACCES, "verify/argument-type", message)
        call.reference = register.ref
    if kind in _UNDECIDED and not (wanted.null and is_null(register)):
        raise undecided(f"{_UNDECIDED[kind]} (bpf_{call.helper.name})")
    judge = _JUDGES.get(kind)
    if judge is not None:
        judge(walk, call, number, register, wanted)


def _right_kind(walk: Walk, call: Call, register: Register, number: int, wanted: ValueType) -> None:
    kinds, words = _KINDS[wanted.kind]
    kind = register.kind
    if "rdonly" in wanted.flags or (wanted.kind in ("map_key",)):
        kind &= ~READ_ONLY
    if wanted.null:
        kind &= ~MAYBE_NULL
    if kind in kinds:
        name = wanted.btf or _STRUCTURES.get(wanted.kind)
        if kind & BASE == BTF and (name or call.kptr is not None):
            _right_structure(walk, call, register, number, wanted, name)
        return
    name = kind_name(register.kind)
    message = f"R{number} type={name} expected={words}"
    if register.kind & MAYBE_NULL and register.kind & ~MAYBE_NULL in kinds:
        raise Refused(EACCES, "verify/null-argument", message)
    if kind == BTF | TRUSTED and wanted.kind in ("mem", "map_value", "map_key"):
        if "rdonly" in wanted.flags:
            raise undecided("kernel structures as memory of helpers")
        message = f"bpf_{call.helper.name}() may write into memory pointed by R{number} type={name}"
        raise Refused(EACCES, "verify/argument-type", message)
    raise Refused(EACCES, "verify/argument-type", message)


def _right_structure(
    walk: Walk, call: Call, register: Register, number: int, wanted: ValueType, name: str | None
) -> None:
    """A pointer to the structure that the helper takes, or to one that begins with it; without a
    name it is what the map's value may hold."""
    release = "release" in wanted.flags
    if register.kind & MAYBE_NULL and release:
        message = f"Possibly NULL pointer passed to helper arg{number}"
        raise Refused(EACCES, "verify/null-argument", message)
    if call.kptr is not None:
        kptrs.fits(walk, call.kptr, register, number)
    elif name and not structures.holds(register.object, register.off, name):
        walk.log.write(structures.why_not(register.object, register.off))
        message = f"R{number} is of type {register.object.name} but {name} is expected"
        raise Refused(EACCES, "verify/argument-type", message)


def _right_offset(register: Register, number: int, wanted: ValueType) -> None:
    if "release" in wanted.flags and register.kind != STACK:
        if register.off:
            message = (
                f"R{number} must have zero offset when passed to release func or trusted arg to"
                " kfunc"
            )
            raise Refused(EINVAL, "verify/modified-pointer", message)
        grants.unmodified(register, number)
    elif register.kind & BASE not in FREE_OFFSET:
        grants.unmodified(register, number, fixed=register.kind & BASE == BTF)


# --- memory -----------------------------------------------------------------------------------


def memory(
    walk: Walk, call: Call | None, number: int, size: int, *, write: bool, zero: bool, raw: bool
) -> None:
    """The helper reads (and, with `write`, changes) `size` bytes at register `number`; with `raw`
    it fills them from whatever they were."""
    register = walk.registers[number]
    kind = register.kind & BASE
    if kind in (PACKET, PACKET_META):
        if write:
            context.packet_write(walk)
        grants.packet(register, number, register.off, size, zero)
    elif kind == MAP_KEY:
        if write:
            message = f"R{number} cannot write into {kind_name(register.kind)}"
            raise Refused(EACCES, "verify/read-only", message)
        grants.region(register, number, register.off, size, register.object.key_size, zero)
    elif kind == MAP_VALUE:
        facts = register.object
        grants.map_rights(facts, register.off, size, write)
        grants.region(register, number, register.off, size, facts.value_size, zero)
        if facts.value_type is not None:
            locks.untouched(walk, register, register.off, size, helper=True)
    elif kind == MEMORY:
        if register.kind & READ_ONLY and write:
            message = f"R{number} cannot write into {kind_name(register.kind)}"
            raise Refused(EACCES, "verify/read-only", message)
        grants.region(register, number, register.off, size, register.room, zero)
    elif kind == STACK:
        _stack(walk, call, number, register, size, write, zero, raw)
    elif not (zero and not size and is_null(register)):
        message = f"R{number} type={kind_name(register.kind)} expected=fp"
        raise Refused(EACCES, "verify/argument-type", message)


def _stack(
    walk: Walk,
    call: Call | None,
    number: int,
    register: Register,
    size: int,
    write: bool,
    zero: bool,
    raw: bool,
) -> None:
    if not size and not zero:
        raise Refused(EACCES, "verify/zero-size", "invalid zero-sized read")
    low, high = grants.stack(register, number, register.off, size, write)
    frame = walk.grow(register.frame, low)
    if raw and call is not None and register.range.known:
        if (found := dynptrs.overlapped(frame, low, low + size)) is not None:
            message = f"potential write to dynptr at off={found} disallowed"
            raise Refused(EACCES, "verify/dynptr", message)
        call.fills = frame, low, high + size
        return
    dynptrs.unread(frame, number, register, low, high + size, size)
    stack.use(walk, frame, low, high + size, write)


def _map(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    if call.map is not None and call.map is not register.object:
        message = "timer pointer in R1 map_uid=0 doesn't match map pointer in R2 map_uid=0"
        raise Refused(EINVAL, "verify/map-field", message)
    call.map = register.object


def _key(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    assert call.map is not None
    size = call.map.key_size
    memory(walk, None, number, size, write=False, zero=False, raw=False)
    if call.map.type in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        call.key = _constant_key(walk, register, size)


def _constant_key(walk: Walk, register: Register, size: int) -> int:
    """The key that lies on the stack, -1 if it is not one known number."""
    if register.kind != STACK or not register.range.known:
        return -1
    frame = walk.state.frames[register.frame]
    offset = register.off + register.range.smin
    index, first = (-offset - 1) >> 3, (-offset - 1) % 8
    types, spilled = frame.stack.get(index, EMPTY)
    kinds = types[first::-1]
    if len(kinds) - len(kinds.lstrip(bytes([ZEROED]))) >= size:
        return 0
    run = len(kinds) - len(kinds.lstrip(bytes([SPILL])))
    if spilled is None or types[7] != SPILL or spilled.kind != SCALAR or run != size:
        return -1
    if not spilled.range.known:
        return -1
    walk.mark_slot_precise(frame, index)
    return spilled.range.value


def _value(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    if wanted.null and is_null(register):
        return
    if call.map is None:
        raise undecided(f"a map value without its map (bpf_{call.helper.name})")
    memory(
        walk,
        call,
        number,
        call.map.value_size,
        write="write" in wanted.flags,
        zero=False,
        raw="uninit" in wanted.flags,
    )


def _memory(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    call.raw = "uninit" in wanted.flags
    if "fixed" in wanted.flags:
        write = "write" in wanted.flags
        memory(walk, call, number, wanted.size, write=write, zero=False, raw=call.raw)
        if "aligned" in wanted.flags:
            grants.alignment(register, 0, wanted.size, True)


def _size(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    zero = wanted.kind == "const_size_or_zero"
    value = register.range
    call.size = value.umax
    before = call.helper.arguments[number - 2]
    if value.smin < 0:
        raise Refused(
            EACCES,
            "verify/unbounded-size",
            f"R{number} min value is negative, either use unsigned or 'var &= const'",
        )
    if not value.umin and not zero:
        raise Refused(
            EACCES,
            "verify/zero-size",
            f"R{number} invalid zero-sized read: u64=[{value.umin},{value.umax}]",
        )
    if value.umax >= MAX_OFFSET:
        raise Refused(
            EACCES,
            "verify/unbounded-size",
            f"R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'",
        )
    write = "write" in before.flags
    raw = call.raw and value.known
    memory(walk, call, number - 1, value.umax, write=write, zero=zero, raw=raw)
    walk.mark_precise(number)


def _alloc_size(walk: Walk, call: Call, number: int, register: Register, _: ValueType) -> None:
    if not register.range.known:
        raise Refused(EACCES, "verify/unbounded-size", f"R{number} is not a known constant'")
    call.memory = register.range.value
    walk.mark_precise(number)


def _string(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    """A format or name in a read-only map, with its NUL."""
    facts = register.object
    if facts.read is None:
        message = f"R{number} does not point to a readonly map'"
        raise Refused(EACCES, "verify/argument-type", message)
    if not register.range.known:
        message = f"R{number} is not a constant address'"
        raise Refused(EACCES, "verify/argument-type", message)
    offset = register.off + register.range.smin
    grants.region(register, number, register.off, facts.value_size - offset, facts.value_size)
    text, nul, _ = facts.read(offset, facts.value_size - offset).partition(b"\0")
    if not nul:
        raise Refused(EINVAL, "verify/argument-type", "string is not zero-terminated")
    call.text = text


def _timer(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    locks.pointed_at(walk, number, register, "bpf_timer")
    call.map = register.object


def _lock(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    locks.pointed_at(walk, number, register, "bpf_spin_lock")
    if call.helper.name == "spin_lock":
        locks.lock(walk, register)
    else:
        locks.unlock(walk, register)


def _kptr(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    call.kptr = kptrs.exchanged(walk, number, register)
    call.map = register.object


def _function(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    call.function = register.room


def _dynptr(walk: Walk, call: Call, number: int, register: Register, wanted: ValueType) -> None:
    call.dynptr = dynptrs.argument(walk, number, register, wanted) or call.dynptr


_JUDGES: dict[str, Callable[[Walk, Call, int, Register, ValueType], None]] = {
    "map_ptr": _map,
    "map_key": _key,
    "map_value": _value,
    "mem": _memory,
    "const_size": _size,
    "const_size_or_zero": _size,
    "const_alloc_size_or_zero": _alloc_size,
    "const_str": _string,
    "func": _function,
    "dynptr": _dynptr,
    "timer": _timer,
    "spin_lock": _lock,
    "kptr_xchg_dest": _kptr,
}
