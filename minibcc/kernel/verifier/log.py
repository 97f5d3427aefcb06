"""The verifier's log: Linux's words for a state and for what happened, byte for byte where it can.

A `Log` collects text as ``bpf_verifier_log`` does; with log level 1 the text of a path that ended
well is taken back, with level 2 all is kept. The functions render registers and frames. Mirrors
kernel/bpf/log.c.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

from minibcc.kernel.verifier.state import (
    BASE,
    BTF,
    DYNPTR,
    DYNPTR_BYTE,
    MAP,
    MAP_KEY,
    MAP_VALUE,
    MEMORY,
    NOT_INIT,
    PACKET,
    PACKET_META,
    SCALAR,
    SPILL,
    STACK,
    Frame,
    Register,
    State,
    kind_name,
)
from minibcc.kernel.verifier.tnum import U32, U64
from minibcc.kernel.verifier.values import S32_MAX, S32_MIN, S64_MAX, S64_MIN

if TYPE_CHECKING:
    from collections.abc import Collection

    from minibcc.kernel.verifier.contract import Line
    from minibcc.kernel.verifier.tnum import Tnum
    from minibcc.kernel.verifier.values import Range

_BOUNDS = (
    ("smin", S64_MIN),
    ("smax", S64_MAX),
    ("umin", 0),
    ("umax", U64),
    ("smin32", S32_MIN),
    ("smax32", S32_MAX),
    ("umin32", 0),
    ("umax32", U32),
)
_ALIGNMENT, _STEP = 40, 8


class Log:
    """Text that can be cut back to an earlier `position`, in characters."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.detail = bool(level & 3)
        self.keep = bool(level & 2)
        self._text = StringIO()
        self._line: Line | None = None
        self._insn_end = -1
        self._insn_width = 0

    @property
    def position(self) -> int:
        return self._text.tell()

    def write(self, text: str) -> None:
        """Adds text if any log was asked for."""
        if self.level:
            self._text.write(text)

    def reset(self, position: int) -> None:
        self._text.seek(position)
        self._text.truncate()

    def text(self) -> str:
        return self._text.getvalue()

    def source_line(self, line: Line | None) -> None:
        """The C line that the next instruction comes from, once."""
        last = self._line
        if line is None or line is last:
            return
        if last is not None and (line.file, line.line) == (last.file, last.line):
            return
        name = line.file.rpartition("/")[2]
        self.write(f"; {line.text.lstrip()} @ {name}:{line.line}\n")
        self._line = line

    def insn(self, slot: int, text: str) -> None:
        row = f"{slot}: {text}\n"
        self.write(row)
        self._insn_end = self.position
        self._insn_width = len(row)

    def after(self, slot: int, state: str) -> None:
        """The part of the state that the last instruction touched: behind its text if that still
        ends the log, else on a line of its own, as what holds at `slot`."""
        if self._insn_end == self.position:
            self.reset(self.position - 1)
            width = self._insn_width
            column = max(width + _STEP // 2, _ALIGNMENT)
            column = (column + _STEP - 1) // _STEP * _STEP
            self.write(" " * (column - width - 1) + ";" + state + "\n")
        else:
            self.write(f"{slot}:{state}\n")


def signed_number(value: int) -> str:
    """Decimal where it is short, else the hexadecimal of its 64 bits."""
    value &= U64
    plain = value - (1 << 64) if value >> 63 else value
    return str(plain) if _short(plain) else hex(value)


def _short(value: int) -> bool:
    return -(1 << 15) <= value < 1 << 15


def unsigned_number(value: int) -> str:
    return str(value) if value < 1 << 16 else hex(value)


def tnum_text(bits: Tnum) -> str:
    value, mask = bits
    if not mask:
        return unsigned_number(value)
    return f"({hex(value)}; {hex(mask)})"


def _range_texts(value: Range) -> list[str]:
    """``smin=umin=5``: the bounds that say something, equal ones together."""
    # Hexadecimal digits of 32 bits are eight: such a number is not written with its sign's copies.
    numbers = [
        number if place not in (4, 5) or _short(number) else number & U32
        for place, number in enumerate(value[1:])
    ]
    shown = [number != omit for number, (_, omit) in zip(value[1:], _BOUNDS, strict=True)]
    out = []
    for first in range(8):
        if not shown[first]:
            continue
        signed = _BOUNDS[first][0][0] == "s"
        names = _BOUNDS[first][0] + "="
        for second in range(first + 2, 8, 2):
            if shown[second] and numbers[second] == numbers[first]:
                shown[second] = False
                names += _BOUNDS[second][0] + "="
        number = signed_number(numbers[first]) if signed else unsigned_number(numbers[first])
        out.append(names + number)
    return out


def register_text(register: Register, frame: int = 0) -> str:
    """A register's value as frame number `frame` sees it."""
    kind, value = register.kind, register.range
    base = kind & BASE
    if kind == SCALAR:
        precise = "P" if register.precise else ""
        if value.known:
            return precise + signed_number(value.value)
        out = precise + "scalar"
    else:
        out = kind_name(kind)
    if base == STACK:
        if register.frame != frame:
            out += f"[{register.frame}]"
        if value.known:
            return out + signed_number(value.value + register.off)
    if base == BTF:
        out += register.object.name
    parts = []
    if register.id:
        parts.append(f"id={register.id}" + (f"{register.off:+d}" if register.ahead else ""))
    if register.ref:
        parts.append(f"ref_obj_id={register.ref}")
    if base in (MAP, MAP_KEY, MAP_VALUE):
        facts = register.object
        if facts.name:
            parts.append(f"map={facts.name}")
        parts.append(f"ks={facts.key_size},vs={facts.value_size}")
    if kind != SCALAR and register.off:
        parts.append("off=" + signed_number(register.off))
    if base in (PACKET, PACKET_META):
        parts.append("r=" + unsigned_number(register.room & U64))
    if base == MEMORY:
        parts.append("sz=" + unsigned_number(register.room))
    if base == DYNPTR:
        parts.append(f"type={register.object}")
    if value.known:
        if value.value:
            parts.append("imm=" + signed_number(value.value))
    else:
        parts += _range_texts(value)
        if value.bits != (0, U64):
            parts.append("var_off=" + tnum_text(value.bits))
    return f"{out}({','.join(parts)})"


def _dynptr_text(register: Register) -> str:
    parts = [f"id={register.id}"]
    if register.ref:
        parts.append(f"ref_id={register.ref}")
    parts.append("dynptr_id=1")  # Linux takes "this is the first slot" for an id
    return f"dynptr_{register.object}({','.join(parts)})"


def _slot_text(index: int, slot: tuple[bytes, Register | None], frame: int) -> str:
    types, register = slot
    text = types.decode("ascii")
    if types[7] == SPILL and register is not None:
        text = text[: types.index(SPILL)] + register_text(register, frame)
    return f" fp{-8 * (index + 1)}={text}"


def state_text(
    state: State,
    frame: Frame,
    registers: Collection[int] | None = None,
    slots: Collection[int] | None = None,
) -> str:
    """A frame's registers and stack, only the named ones where names are given, and the references
    held."""
    out = [f" frame{frame.number}:"] if frame.number else []
    for index, register in enumerate(frame.registers):
        if register.kind != NOT_INIT and (registers is None or index in registers):
            out.append(f" R{index}={register_text(register, frame.number)}")
    for index in sorted(frame.stack):
        slot = frame.stack[index]
        if slot[0][7] == DYNPTR_BYTE and slot[1] is not None:
            if not slot[1].room and (slots is None or index in slots):
                out.append(f" fp{-8 * (index + 2)}={_dynptr_text(slot[1])}")
        elif slot[0] != b"????????" and (slots is None or index in slots):
            out.append(_slot_text(index, slot, frame.number))
    if state.references and state.references[0].id:
        ids = [str(reference.id) for reference in state.references if reference.id]
        out.append(" refs=" + ",".join(ids))
    if frame.callback is not None:
        out.append(" async_cb" if frame.callback.entry else " cb")
    return "".join(out)
