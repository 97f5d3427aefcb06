"""The little of ELF that LLVM's BPF objects use: sections, symbols, relocations.

A reader of our own because it is what stands between a compile and its bytecode: pyelftools takes
longer to import than LLVM to compile (95 ms against 5). Little-endian 64-bit relocatable objects
only, which is what ``bpfel`` emits; anything else is a ValueError.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

SHT_PROGBITS = 1
SHT_SYMTAB = 2
SHT_NOBITS = 8
SHT_REL = 9
SHF_WRITE = 1
SHF_ALLOC = 2
SHF_EXECINSTR = 4
STT_FUNC = 2

R_BPF_64_64 = 1
"""A 64-bit immediate load: a map, a variable, a function's address."""
R_BPF_64_32 = 10
"""A call."""


class Section(NamedTuple):
    """`number` is its index in the object's table, `link` and `info` as the type says."""

    number: int
    name: str
    type: int
    flags: int
    size: int
    link: int
    info: int
    data: bytes


class Symbol(NamedTuple):
    """`section` is an index, 0 for what is not defined here."""

    name: str
    value: int
    size: int
    type: int
    section: int


class Reloc(NamedTuple):
    offset: int
    type: int
    symbol: Symbol


class Object(NamedTuple):
    """`relocations` by the index of the section that they patch."""

    sections: list[Section]
    symbols: list[Symbol]
    relocations: dict[int, list[Reloc]]

    def section(self, name: str) -> Section | None:
        return next((section for section in self.sections if section.name == name), None)


_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_REL = struct.Struct("<QQ")


def read(data: bytes) -> Object:
    """Takes an object apart. Raises ValueError if it is no such object."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a little-endian 64-bit ELF object")
    header = _HEADER.unpack_from(data)
    table, count, names = header[6], header[12], header[13]
    rows = [_SECTION.unpack_from(data, table + index * _SECTION.size) for index in range(count)]
    strings = _content(data, rows[names])
    sections = [
        Section(
            number,
            _string(strings, row[0]),
            type=row[1],
            flags=row[2],
            size=row[5],
            link=row[6],
            info=row[7],
            data=_content(data, row),
        )
        for number, row in enumerate(rows)
    ]
    symbols: list[Symbol] = []
    for section in sections:
        if section.type == SHT_SYMTAB:
            strings = sections[section.link].data
            symbols = [
                Symbol(_string(strings, name), value, size, info & 15, index)
                for name, info, _, index, value, size in _SYMBOL.iter_unpack(section.data)
            ]
    relocations = {
        section.info: [
            Reloc(offset, info & 0xFFFF_FFFF, symbols[info >> 32])
            for offset, info in _REL.iter_unpack(section.data)
        ]
        for section in sections
        if section.type == SHT_REL
    }
    return Object(sections, symbols, relocations)


def _content(data: bytes, row: tuple[int, ...]) -> bytes:
    if row[1] == SHT_NOBITS:
        return bytes(row[5])
    return data[row[4] : row[4] + row[5]]


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode()
