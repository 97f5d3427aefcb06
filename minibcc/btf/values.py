"""Bytes and their type to a value: what a map holds, as nested Python data or as text.

`value` gives plain data: numbers, True and False, the names of enumerators, strings for character
arrays that hold text, lists, and a dict for a struct or union (members of unnamed ones count as
its own). `text` prints that as ``bpftool map dump`` does.

Mirrors bpftool's btf_dumper.c.
"""

from __future__ import annotations

from typing import TypeAlias

from minibcc.btf.types import Array, Enum, Float, Int, Ptr, Struct, Type, Var, size_of, strip

Value: TypeAlias = "int | bool | float | str | list[Value] | dict[str, Value]"


def value(type: Type, data: bytes | memoryview) -> Value:
    """Raises ValueError if `data` is shorter than the type, or the type has no values."""
    return _value(type, memoryview(data).cast("B"), 0)


def text(type: Type, data: bytes | memoryview, indent: int = 0) -> str:
    """JSON, but for pointers, which are hexadecimal; `indent` levels of four spaces deep, the first
    line not indented."""
    return _text(type, value(type, data), indent)


def _value(type: Type | None, data: memoryview, offset: int, bits: int = 0) -> Value:
    """The value that lies `offset` bits into the data; `bits` wide if it is a bit field."""
    type = strip(type)
    match type:
        case Int() | Enum() | Ptr():
            number = _number(type, data, offset, bits)
            if isinstance(type, Enum):
                return next(
                    (name for name, known in type.values.items() if known == number), number
                )
            return bool(number) if isinstance(type, Int) and type.bool else number
        case Float(_, size):
            return _float(data[offset // 8 : offset // 8 + size], size)
        case Array():
            return _array(type, data, offset)
        case Struct():
            return _struct(type, data, offset)
        case Var():
            return _value(type.type, data, offset)
    raise ValueError(f"{type!r} has no values")


def _number(type: Int | Enum | Ptr, data: memoryview, offset: int, bits: int) -> int:
    bits = bits or 8 * size_of(type)
    first, last = offset // 8, -(-(offset + bits) // 8)
    if last > len(data):
        raise ValueError(f"a value of {last} bytes is cut off at byte {len(data)}")
    number = int.from_bytes(data[first:last], "little") >> offset % 8 & (1 << bits) - 1
    if not isinstance(type, Ptr) and type.signed and number >> bits - 1:
        number -= 1 << bits
    return number


def _float(data: memoryview, size: int) -> float:
    import struct

    forms = {2: "<e", 4: "<f", 8: "<d"}
    if size not in forms:
        raise ValueError(f"a floating-point number of {size} bytes")
    if len(data) < size:
        raise ValueError(f"a value of {size} bytes is cut off at byte {len(data)}")
    number: float = struct.unpack(forms[size], data)[0]
    return number


def _array(type: Array, data: memoryview, offset: int) -> Value:
    of = strip(type.of)
    size = size_of(type.of)
    if isinstance(of, Int) and of.size == 1 and not of.bool and "char" in of.name and type.count:
        start = offset // 8
        characters = bytes(data[start : start + type.count])
        if len(characters) < type.count:
            raise ValueError(f"a value of {type.count} bytes is cut off at byte {len(data)}")
        string, _, rest = characters.partition(b"\0")
        if not rest.strip(b"\0") and len(string) < type.count and _printable(string):
            return string.decode()
    return [_value(type.of, data, offset + 8 * size * place) for place in range(type.count)]


def _printable(string: bytes) -> bool:
    try:
        return string.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _struct(type: Struct, data: memoryview, offset: int) -> dict[str, Value]:
    if not type.complete:
        raise ValueError(f"{type!r} is only declared")
    fields: dict[str, Value] = {}
    for member in type.members:
        inner = _value(member.type, data, offset + member.offset, member.bits)
        if member.name:
            fields[member.name] = inner
        elif isinstance(inner, dict):
            fields.update(inner)
    return fields


def _text(type: Type | None, value: Value, indent: int) -> str:
    type = strip(type)
    if isinstance(type, Var):
        return _text(type.type, value, indent)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        from json import dumps

        return dumps(value, ensure_ascii=False)
    if isinstance(type, Ptr):
        return f'"0x{value:x}"' if value else "null"
    inside, outside = " " * (4 * indent + 4), " " * (4 * indent)
    if isinstance(value, list) and isinstance(type, Array):
        return "[" + ",".join(_text(type.of, item, indent) for item in value) + "]"
    if isinstance(value, dict) and isinstance(type, Struct):
        types = _types(type)
        lines = [
            f'{inside}"{name}": {_text(types[name], item, indent + 1)}'
            for name, item in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{outside}}}" if lines else "{}"
    return str(value)


def _types(struct: Struct) -> dict[str, Type]:
    """Member names, also of unnamed members, to their types."""
    types: dict[str, Type] = {}
    for member in struct.members:
        inner = strip(member.type)
        if member.name:
            types[member.name] = member.type
        elif isinstance(inner, Struct):
            types |= _types(inner)
    return types
