"""Kernel structures in simulated memory, laid out by the kernel's BTF.

`fill` writes values at named members, wherever this kernel's layout puts them, so that another
kernel version is another BTF and no other code. What has which values is said in `objects`.
"""

from __future__ import annotations

from typing import TypeAlias

from minibcc.btf.types import Array, Member, Struct, find_member, size_of, strip

Values: TypeAlias = "dict[str, int | bytes]"
"""Values by the paths of their members."""


Places: TypeAlias = "dict[str, tuple[int, int, int] | None]"
"""Where members lie, by their paths: offset in bits, size in bytes, width in bits (0: whole)."""


def fill(struct: Struct, values: Values, places: Places | None = None) -> bytearray:
    """The bytes of `struct` with `values` at their members, zero elsewhere.

    A name is a path (``se.sum_exec_runtime``). A member that this kernel lacks is left out: its
    layout decides what a program can find. `places` keeps what was found for the next time. Raises
    OverflowError for a number that does not fit.
    """
    content = bytearray(struct.size)
    places = {} if places is None else places
    for path, value in values.items():
        if path not in places:
            found = locate(struct, path)
            places[path] = found and (found[1], size_of(found[0].type), found[0].bits or 0)
        place = places[path]
        if place is None:
            continue
        offset, size, bits = place
        start = offset // 8
        if isinstance(value, bytes):
            content[start : start + min(size, len(value))] = value[:size]
        elif bits:
            word = int.from_bytes(content[start : start + 8], "little")
            word |= (value & ((1 << bits) - 1)) << offset % 8
            content[start : start + 8] = word.to_bytes(8, "little")
        else:
            mask = (1 << size * 8) - 1
            content[start : start + size] = (value & mask).to_bytes(size, "little")
    return content


def locate(struct: Struct, path: str) -> tuple[Member, int] | None:
    """The member at a dotted path and its offset in bits from the start of `struct`."""
    offset = 0
    member = None
    current: object = struct
    for name in path.split("."):
        while isinstance(current, Array):
            current = strip(current.of)
        if not isinstance(current, Struct):
            return None
        found = find_member(current, name)
        if found is None:
            return None
        member, inside = found
        offset += inside
        current = strip(member.type)
    return (member, offset) if member is not None else None
