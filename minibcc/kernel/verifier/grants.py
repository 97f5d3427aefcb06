"""Does the state grant it? Loads and stores: bounds, alignment, and what may be touched at all.

Each function takes what an instruction (or a helper's argument) requires of memory, and returns if
the state grants it on every value the registers may hold; otherwise it raises `Refused` with the
kernel's words. Nothing here changes a state. Mirrors ``check_mem_access`` and what it calls in
kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import STACK_SIZE, MapFlags, MapType
from minibcc.kernel.verifier import tnum
from minibcc.kernel.verifier.form import MAX_OFFSET
from minibcc.kernel.verifier.log import tnum_text
from minibcc.kernel.verifier.state import (
    BASE,
    CTX,
    MAP_KEY,
    MAP_VALUE,
    MAYBE_NULL,
    PACKET,
    PACKET_META,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    XDP_SOCK,
    Refused,
    Register,
    kind_name,
)
from minibcc.kernel.verifier.tnum import U64
from minibcc.kernel.verifier.values import S64_MIN, signed64

if TYPE_CHECKING:
    from minibcc.kernel.verifier.contract import MapFacts

_ALIGNED_NAMES = {
    MAP_VALUE: "value ",
    CTX: "context ",
    STACK: "stack ",
    SOCKET: "sock ",
    SOCK_COMMON: "sock_common ",
    TCP_SOCK: "tcp_sock ",
    XDP_SOCK: "xdp_sock ",
}
FLOW_KEYS_SIZE = 56
"""Bytes of ``struct bpf_flow_keys``."""
_DEVICES = (MapType.DEVMAP, MapType.DEVMAP_HASH)
_BOUNDS_CODES = {
    MAP_VALUE: "verify/map-value-bounds",
    PACKET: "verify/packet-bounds",
    PACKET_META: "verify/packet-bounds",
}


def alignment(register: Register, offset: int, size: int, strict: bool) -> None:
    """An access of `size` bytes at `offset` from what the register points to."""
    base = register.kind & BASE
    if size == 1 or not (strict or base == STACK):
        return
    # A packet starts two bytes before a multiple of four (NET_IP_ALIGN) for a strict check.
    shift = 2 if base in (PACKET, PACKET_META) else 0
    whole = tnum.add(register.range.bits, ((shift + register.off + offset) & U64, 0))
    if tnum.aligned(whole, size):
        return
    where = tnum_text(register.range.bits)
    if shift:
        message = (
            f"misaligned packet access off {shift}+{where}+{register.off}+{offset} size {size}"
        )
    else:
        name = _ALIGNED_NAMES.get(register.kind, "")
        message = f"misaligned {name}access off {where}+{register.off}+{offset} size {size}"
    raise Refused(EACCES, "verify/misaligned", message)


def unmodified(register: Register, number: int, *, fixed: bool = False) -> None:
    """The pointer still points where it was made to (``__check_ptr_off_reg``); with `fixed` it may
    have moved by a constant."""
    name = kind_name(register.kind)
    if register.off < 0:
        message = f"negative offset {name} ptr R{number} off={register.off} disallowed"
    elif register.off and not fixed:
        message = f"dereference of modified {name} ptr R{number} off={register.off} disallowed"
    elif not register.range.known or register.range.value:
        where = tnum_text(register.range.bits)
        message = f"variable {name} access var_off={where} disallowed"
    else:
        return
    raise Refused(EACCES, "verify/modified-pointer", message)


def _inside(
    register: Register, number: int, offset: int, size: int, room: int, zero: bool
) -> Refused | None:
    """One access at a fixed offset into `room` bytes."""
    if offset >= 0 and (size or zero) and offset + size <= room:
        return None
    base = register.kind & BASE
    if base == MAP_VALUE:
        message = f"invalid access to map value, value_size={room} off={offset} size={size}"
    elif base == MAP_KEY:
        message = f"invalid access to map key, key_size={room} off={offset} size={size}"
    elif base in (PACKET, PACKET_META):
        message = (
            f"invalid access to packet, off={offset} size={size}, "
            f"R{number}(id={register.id},off={offset},r={room})"
        )
    elif base == CTX:
        message = f"invalid access to context, ctx_size={room} off={offset} size={size}"
    else:
        message = f"invalid access to memory, mem_size={room} off={offset} size={size}"
    return Refused(EACCES, _BOUNDS_CODES.get(base, "verify/memory-bounds"), message)


def region(
    register: Register, number: int, offset: int, size: int, room: int, zero: bool = False
) -> None:
    """All of ``[offset, offset + size)`` from the pointer lies in `room` bytes, for the least and
    the greatest value it may hold; `offset` includes the register's own."""
    value = register.range
    lowest = value.smin + offset
    if value.smin < 0 and (
        value.smin == S64_MIN or not -(1 << 31) <= lowest < 1 << 31 or lowest < 0
    ):
        raise Refused(
            EACCES,
            "verify/negative-offset",
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0)"
            " check.",
        )
    refusal = _inside(register, number, lowest, size, room, zero)
    if refusal is not None:
        refusal.lead = f"R{number} min value is outside of the allowed memory range"
        raise refusal
    if value.umax >= MAX_OFFSET:
        raise Refused(
            EACCES,
            "verify/unbounded-access",
            f"R{number} unbounded memory access, make sure to bounds check any such access",
        )
    refusal = _inside(register, number, value.umax + offset, size, room, zero)
    if refusal is not None:
        refusal.lead = f"R{number} max value is outside of the allowed memory range"
        raise refusal


def packet(register: Register, number: int, offset: int, size: int, zero: bool = False) -> None:
    """Bytes of the packet that a comparison with its end has shown to be there."""
    if register.range.smin < 0:
        raise Refused(
            EACCES,
            "verify/negative-offset",
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0)"
            " check.",
        )
    if register.room < 0:
        raise Refused(EINVAL, "verify/packet-bounds", f"R{number} offset is outside of the packet")
    refusal = _inside(register, number, offset, size, register.room, zero)
    if refusal is not None:
        refusal.lead = f"R{number} offset is outside of the packet"
        raise refusal


def flow_keys(offset: int, size: int) -> None:
    """Bytes of what a flow dissector fills."""
    if not 0 <= offset <= FLOW_KEYS_SIZE - size:
        message = f"invalid access to flow keys off={offset} size={size}"
        raise Refused(EACCES, "verify/memory-bounds", message)


def read_only(facts: MapFacts) -> bool:
    """Whether programs may only read its values; a map of devices gives the kernel's own."""
    return bool(facts.flags & MapFlags.RDONLY_PROG) or facts.type in _DEVICES


def map_rights(facts: MapFacts, offset: int, size: int, write: bool) -> None:
    """A map's creator may have reserved its values for reading or for writing."""
    if write and read_only(facts):
        verb = "write into"
    elif not write and facts.flags & MapFlags.WRONLY_PROG:
        verb = "read from"
    else:
        return
    raise Refused(
        EACCES,
        "verify/map-rights",
        f"{verb} map forbidden, value_size={facts.value_size} off={offset} size={size}",
    )


def stack(register: Register, number: int, offset: int, size: int, write: bool) -> tuple[int, int]:
    """The lowest and highest offset from the frame pointer that an access may start at;
    ``[lowest, highest + size)`` lies in the stack. `offset` includes the register's own."""
    verb = "invalid write to" if write else "invalid read from"
    value = register.range
    if value.known:
        lowest = highest = signed64(value.value) + offset
    else:
        if value.smax >= MAX_OFFSET or value.smin <= -MAX_OFFSET:
            raise Refused(
                EACCES,
                "verify/unbounded-access",
                f"invalid unbounded variable-offset {verb[8:]} stack R{number}",
            )
        lowest, highest = value.smin + offset, value.smax + offset
    outside = not -STACK_SIZE <= lowest < 0
    if not outside and highest + size <= 0:
        return lowest, highest
    if value.known:
        message = f"{verb} stack R{number} off={lowest} size={size}"
    else:
        where = tnum_text(value.bits)
        kind = verb.replace("invalid", "invalid variable-offset")
        message = f"{kind} stack R{number} var_off={where} off={offset} size={size}"
    raise Refused(EACCES if outside else EINVAL, "verify/stack-bounds", message)


def no_memory(register: Register, number: int) -> Refused:
    """What is no pointer to memory, or may be null."""
    name = kind_name(register.kind)
    message = f"R{number} invalid mem access '{name}'"
    if register.kind & MAYBE_NULL:
        return Refused(EACCES, "verify/null-deref", message)
    return Refused(EACCES, "verify/bad-pointer", message)


def no_field(offset: int, size: int) -> Refused:
    """What is no field of the context."""
    message = f"invalid bpf_context access off={offset} size={size}"
    return Refused(EACCES, "verify/context-access", message)
