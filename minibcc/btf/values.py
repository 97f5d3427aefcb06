"""Bytes and their type to a value: what a map holds, as nested Python data or as text.

`value` gives plain data: numbers, True and False, the names of enumerators, strings for arrays of
``char`` that hold text, lists, and a dict for a struct or union, with the members of unnamed ones
among its own. `text` writes what ``bpftool map dump`` prints, in its plain form or, with `json`, in
the one of ``-p``.

Mirrors bpftool's btf_dumper.c.
"""

from __future__ import annotations

import json as json_text
import struct
from collections.abc import Iterator
from typing import TypeAlias

from minibcc.btf.types import (
    Array,
    DataSec,
    Enum,
    Float,
    Int,
    Ptr,
    Struct,
    Type,
    Var,
    size_of,
    strip,
)

Value: TypeAlias = "int | bool | float | str | list[Value] | dict[str, Value]"

_FLOATS = {2: "<e", 4: "<f", 8: "<d"}


def value(type: Type, data: bytes | memoryview) -> Value:
    """Raises ValueError if `data` is shorter than the type, or the type has no values."""
    return _value(type, bytes(data), 0, 0)


def text(type: Type, data: bytes | memoryview, indent: int = 0, *, json: bool = False) -> str:
    """Several lines, `indent` levels of four spaces deep, the first line not indented. Pointers
    and bit fields are hexadecimal; with `json`, all is JSON. Raises ValueError as `value`."""
    return _Writer(bytes(data), json).write(type, 0, 0, indent)


# --- scalars and strings -----------------------------------------------------------------------


def _scalar(type: Int | Enum | Ptr, data: bytes, offset: int, bits: int) -> int:
    """The number that lies `offset` bits into the data; `bits` wide if it is a bit field."""
    bits = bits or 8 * size_of(type)
    first, last = offset // 8, -(-(offset + bits) // 8)
    _check(data, last)
    number = int.from_bytes(data[first:last], "little") >> offset % 8 & (1 << bits) - 1
    if not isinstance(type, Ptr) and type.signed and number >> bits - 1:
        number -= 1 << bits
    return number


def _float(type: Float, data: bytes, offset: int) -> float:
    if type.size not in _FLOATS:
        raise ValueError(f"{type!r} has no values here")
    _check(data, offset // 8 + type.size)
    number: float = struct.unpack_from(_FLOATS[type.size], data, offset // 8)[0]
    return number


def _check(data: bytes, last: int) -> None:
    if last > len(data):
        raise ValueError(f"a value is cut off: it has {len(data)} bytes of at least {last}")


def _string(type: Array, data: bytes, offset: int) -> str | None:
    """What an array of ``char`` holds up to its first NUL, if that is printable ASCII."""
    of = strip(type.of)
    if not isinstance(of, Int) or of.size != 1 or of.name != "char":
        return None
    start = offset // 8
    string, nul, _ = data[start : start + type.count].partition(b"\0")
    return string.decode() if nul and all(0x1F < byte < 0x7F for byte in string) else None


def _name(type: Enum, number: int) -> str | None:
    return next((name for name, known in type.values.items() if known == number), None)


def _items(type: Array, offset: int) -> Iterator[int]:
    """The places of an array's elements, in bits; elements without a size are none."""
    size = 8 * size_of(type.of)
    return (offset + size * place for place in range(type.count if size else 0))


# --- Python data -------------------------------------------------------------------------------


def _value(type: Type | None, data: bytes, offset: int, bits: int) -> Value:
    type = strip(type)
    match type:
        case Int() | Ptr():
            number = _scalar(type, data, offset, bits)
            return bool(number) if isinstance(type, Int) and type.bool else number
        case Enum():
            number = _scalar(type, data, offset, bits)
            return _name(type, number) or number
        case Float():
            return _float(type, data, offset)
        case Array():
            _check(data, offset // 8 + size_of(type))
            string = _string(type, data, offset)
            if string is not None:
                return string
            return [_value(type.of, data, place, 0) for place in _items(type, offset)]
        case Struct() if type.complete:
            fields: dict[str, Value] = {}
            for member in type.members:
                inner = _value(member.type, data, offset + member.offset, member.bits)
                if member.name:
                    fields[member.name] = inner
                elif isinstance(inner, dict):
                    fields |= inner
            return fields
        case DataSec():
            return {
                entry.var.name: _value(entry.var.type, data, offset + 8 * entry.offset, 0)
                for entry in type.vars
            }
        case Var():
            return _value(type.type, data, offset, bits)
    raise ValueError(f"{type!r} has no values")


# --- text --------------------------------------------------------------------------------------


class _Writer:
    def __init__(self, data: bytes, json: bool) -> None:
        self._data = data
        self._json = json

    def write(self, type: Type | None, offset: int, bits: int, depth: int) -> str:
        type = strip(type)
        match type:
            case Int() | Enum() | Ptr():
                return self._number(type, _scalar(type, self._data, offset, bits), bits)
            case Float():
                return repr(_float(type, self._data, offset))
            case Array():
                _check(self._data, offset // 8 + size_of(type))
                string = _string(type, self._data, offset)
                if string is not None:
                    return json_text.dumps(string)
                items = [self.write(type.of, at, 0, depth + 1) for at in _items(type, offset)]
                return self._list(items, depth)
            case Struct() if type.complete:
                return self._object(
                    [
                        (m.name, self.write(m.type, offset + m.offset, m.bits, depth + 1))
                        for m in type.members
                    ],
                    depth,
                )
            case DataSec():
                return self._section(type, offset, depth)
            case Var():
                return self.write(type.type, offset, bits, depth)
        raise ValueError(f"{type!r} has no values")

    def _number(self, type: Int | Enum | Ptr, number: int, bits: int) -> str:
        if isinstance(type, Enum):
            name = _name(type, number)
            return str(number) if name is None else json_text.dumps(name)
        if isinstance(type, Ptr):
            return str(number) if self._json else f"{number:#x}" if number else "(nil)"
        if bits or type.size == 16:
            number &= (1 << (bits or 128)) - 1
            return f'"{number:#x}"' if self._json else f"{number:#x}"
        if type.bool:
            return "true" if number else "false"
        if type.char and not type.signed and 0x1F < number < 0x7F:
            return json_text.dumps(chr(number))
        return str(number)

    def _list(self, items: list[str], depth: int) -> str:
        return "[" + ",".join(items) + (_line(depth) if items else "") + "]"

    def _object(self, fields: list[tuple[str, str]], depth: int) -> str:
        lines = [f'{_line(depth + 1)}"{name}": {written}' for name, written in fields]
        return "{" + ",".join(lines) + (_line(depth) if lines else "") + "}"

    def _section(self, section: DataSec, offset: int, depth: int) -> str:
        """An object with the section's name, which holds a list of an object per variable."""
        variables = []
        for entry in section.vars:
            place = offset + 8 * entry.offset
            written = self.write(entry.var.type, place, 0, depth + 3)
            variables.append(self._object([(entry.var.name, written)], depth + 2))
        return self._object([(section.name, self._list(variables, depth + 1))], depth)


def _line(depth: int) -> str:
    return "\n" + "    " * depth
