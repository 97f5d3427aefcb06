"""Arithmetic with a pointer: what may be added to what, and where it then points.

A known number moves a pointer's fixed offset; an unknown one becomes part of its variable offset
(and makes a packet pointer a new one, of whose room nothing is known). All else is refused.
Mirrors ``adjust_ptr_min_max_vals`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.isa.opcodes import ALU64
from minibcc.kernel.verifier import tnum
from minibcc.kernel.verifier.arithmetic import ADD, AND, OR, SUB, XOR
from minibcc.kernel.verifier.form import MAX_OFFSET
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    BASE,
    BTF,
    CTX,
    DYNPTR,
    FLOW_KEYS,
    FUNCTION,
    MAP,
    MAP_KEY,
    MAP_VALUE,
    MAYBE_NULL,
    MEMORY,
    PACKET,
    PACKET_META,
    STACK,
    UNTRUSTED,
    Refused,
    Register,
    kind_name,
)
from minibcc.kernel.verifier.tnum import U64
from minibcc.kernel.verifier.values import ANY, S64_MAX, S64_MIN, Range, deduce, signed64

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk

SYMBOLS = (
    "+=",
    "-=",
    "*=",
    "/=",
    "|=",
    "&=",
    "<<=",
    ">>=",
    "neg",
    "%=",
    "^=",
    "=",
    "s>>=",
    "endian",
)
_MOVABLE = {CTX, MAP_KEY, MAP_VALUE, STACK, PACKET, PACKET_META, BTF, MEMORY, FUNCTION, DYNPTR}


def refused(message: str, errno: int = EACCES) -> Refused:
    return Refused(errno, "verify/pointer-arithmetic", message)


def _sane(kind: int, register: Register) -> None:
    """An offset that cannot overflow when a pointer of `kind` is moved by it."""
    name = kind_name(kind)
    value = register.range
    known = signed64(value.value)
    if value.known and abs(known) >= MAX_OFFSET:
        message = f"math between {name} pointer and {known} is not allowed"
    elif abs(register.off) >= MAX_OFFSET:
        message = f"{name} pointer offset {register.off} is not allowed"
    elif value.smin == S64_MIN:
        message = (
            f"math between {name} pointer and register with unbounded min value is not allowed"
        )
        raise refused(message, EINVAL)
    elif abs(value.smin) >= MAX_OFFSET:
        message = f"value {value.smin} makes {name} pointer be out of bounds"
    else:
        return
    raise refused(message, EINVAL)


def move(
    walk: Walk, insn: Instruction, pointer: Register, by: Register, reversed_: bool
) -> Register:
    """The pointer that ``pointer op by`` is; `reversed_` where the number stood on the left."""
    number, operation = insn.dst, insn.code & 0xF0
    value = by.range
    if (
        value.smin > value.smax
        or value.umin > value.umax
        or (value.known and (value.smin != value.smax or value.umin != value.umax))
    ):
        return ANY_NUMBER  # only on a path that cannot be
    if insn.code & 7 != ALU64:
        if operation == SUB:
            return ANY_NUMBER
        raise refused(f"R{number} 32-bit pointer arithmetic prohibited")
    name = kind_name(pointer.kind)
    if pointer.kind & MAYBE_NULL:
        raise Refused(
            EACCES,
            "verify/null-deref",
            f"R{number} pointer arithmetic on {name} prohibited, null-check it first",
        )
    base = pointer.kind & BASE
    if base == MEMORY and pointer.kind & UNTRUSTED:
        if reversed_:
            # Linux 6.18 takes the sum for the number that stood on the left, which it is not.
            return ANY_NUMBER
        return pointer  # loads there may fault, so that it does not matter where it points
    if base not in _MOVABLE and not (
        (base == MAP and value.known and not value.value and operation == ADD)
        or (base == FLOW_KEYS and value.known)
    ):
        raise refused(f"R{number} pointer arithmetic on {name} prohibited")
    _sane(pointer.kind, by)
    _sane(pointer.kind, pointer)
    if operation == ADD:
        moved = _add(walk, pointer, value)
    elif operation == SUB:
        if reversed_:
            message = f"R{number} tried to subtract pointer from scalar"
            raise refused(message)
        if base == STACK:
            message = f"R{number} subtraction from stack pointer prohibited"
            raise refused(message)
        moved = _subtract(walk, pointer, value)
    elif operation in (AND, OR, XOR):
        symbol = SYMBOLS[operation >> 4]
        message = f"R{number} bitwise operator {symbol} on pointer prohibited"
        raise refused(message)
    else:
        symbol = SYMBOLS[operation >> 4]
        message = f"R{number} pointer arithmetic with {symbol} operator prohibited"
        raise refused(message)
    _sane(pointer.kind, moved)
    return moved._replace(range=deduce(moved.range), precise=False)


def _add(walk: Walk, pointer: Register, value: Range) -> Register:
    if value.known and -(1 << 31) <= pointer.off + value.smin < 1 << 31:
        return pointer._replace(off=pointer.off + value.smin)
    old = pointer.range
    smin, smax = old.smin + value.smin, old.smax + value.smax
    if smin < S64_MIN or smax > S64_MAX:
        smin, smax = S64_MIN, S64_MAX
    umin, umax = old.umin + value.umin, old.umax + value.umax
    if umax > U64:
        umin, umax = 0, U64
    whole = Range(tnum.add(old.bits, value.bits), smin, smax, umin, umax, *ANY[5:])
    moved = pointer._replace(range=whole)
    if pointer.kind & BASE in (PACKET, PACKET_META):
        return moved._replace(id=walk.new_id(), room=0)
    return moved


def _subtract(walk: Walk, pointer: Register, value: Range) -> Register:
    if value.known and -(1 << 31) <= pointer.off - value.smin < 1 << 31:
        return pointer._replace(off=pointer.off - value.smin)
    old = pointer.range
    smin, smax = old.smin - value.smax, old.smax - value.smin
    if smin < S64_MIN or smax > S64_MAX:
        smin, smax = S64_MIN, S64_MAX
    if old.umin < value.umax:
        umin, umax = 0, U64
    else:
        umin, umax = old.umin - value.umax, old.umax - value.umin
    whole = Range(tnum.sub(old.bits, value.bits), smin, smax, umin, umax, *ANY[5:])
    moved = pointer._replace(range=whole)
    if pointer.kind & BASE in (PACKET, PACKET_META):
        # What was there stays there only if the pointer moved back.
        return moved._replace(id=walk.new_id(), room=0 if value.smin < 0 else pointer.room)
    return moved
