"""The little of ELF that LLVM's BPF objects use: sections, symbols, relocations.

A `Writer` puts the same things together (`export`).

A reader of our own because it is what stands between a compile and its bytecode: pyelftools takes
longer to import than LLVM to compile (95 ms against 5). Little-endian 64-bit relocatable objects
only, which is what ``bpfel`` emits; anything else is a ValueError.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from minibcc.compiler.object import BpfObject

SHT_PROGBITS = 1
SHT_SYMTAB = 2
SHT_STRTAB = 3
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
    """`section` is an index, 0 for what is not defined here; `bind` 0 is local."""

    name: str
    value: int
    size: int
    type: int
    section: int
    bind: int = 1


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
                Symbol(_string(strings, name), value, size, info & 15, index, info >> 4)
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


class Writer:
    """An object in the making: sections by name, then symbols and relocations between them."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, int, int, bytes]] = {}
        self._symbols: list[tuple[str, int, int, int, str]] = []
        self._relocations: dict[str, list[tuple[int, int, str]]] = {}

    def add(
        self, name: str, data: bytes, flags: int, *, align: int = 1, empty: bool = False
    ) -> None:
        """A section; with `empty` its zeros take no room in the file."""
        self._rows[name] = (SHT_NOBITS if empty else SHT_PROGBITS, flags, align, data)

    def symbol(self, name: str, value: int, size: int, info: int, section: str) -> None:
        """`info` is binding and type; a section's own symbol has no name."""
        self._symbols.append((name, value, size, info, section))

    def relocation(self, section: str, offset: int, type: int, symbol: str) -> None:
        """`symbol` is a symbol's name, or that of a section that has one of its own."""
        self._relocations.setdefault(section, []).append((offset, type, symbol))

    def file(self) -> bytes:
        names = ["", *self._rows]
        number = {name: at for at, name in enumerate(names)}
        # Local symbols come first, as ELF demands.
        symbols = sorted(self._symbols, key=lambda row: row[3] >> 4)
        index = {row[0] or row[4]: at for at, row in enumerate(symbols, 1)}
        strings = bytearray(b"\0")

        def string(text: str) -> int:
            if not text:
                return 0
            strings.extend(text.encode() + b"\0")
            return len(strings) - len(text.encode()) - 1

        table = bytes(_SYMBOL.size) + b"".join(
            _SYMBOL.pack(string(name), info, 0, number[section], value, size)
            for name, value, size, info, section in symbols
        )
        local = 1 + sum(row[3] >> 4 == 0 for row in symbols)
        rows = [(string(name), *row, 0, 0, 0) for name, row in self._rows.items()]
        tables = len(rows) + 1
        for section, entries in self._relocations.items():
            data = b"".join(
                _REL.pack(offset, index[symbol] << 32 | type) for offset, type, symbol in entries
            )
            name = string(f".rel{section}")
            rows.append((name, SHT_REL, 0, 8, data, tables, number[section], _REL.size))
        # The symbol table's number is what relocations link to: it follows the plain sections.
        rows.insert(
            tables - 1,
            (string(".symtab"), SHT_SYMTAB, 0, 8, table, len(rows) + 2, local, _SYMBOL.size),
        )
        rows.append((string(".strtab"), SHT_STRTAB, 0, 1, bytes(strings), 0, 0, 0))
        return _assemble(rows)


def _assemble(rows: list[tuple[int, int, int, int, bytes, int, int, int]]) -> bytes:
    """Header, contents, section table; a row is name, type, flags, alignment, data, link, info,
    size of an entry."""
    body = bytearray(_HEADER.size)
    table = [bytes(_SECTION.size)]
    for name, type, flags, align, data, link, info, entry in rows:
        body += bytes(-len(body) % align)
        table.append(
            _SECTION.pack(name, type, flags, 0, len(body), len(data), link, info, align, entry)
        )
        if type != SHT_NOBITS:
            body += data
    body += bytes(-len(body) % 8)
    machine, relocatable = 247, 1
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = (identity, relocatable, machine, 1, 0, 0, len(body), 0, 64, 0, 0, 64, len(table))
    body[: _HEADER.size] = _HEADER.pack(*header, len(table) - 1)
    return bytes(body) + b"".join(table)


def write(obj: BpfObject) -> bytes:
    """An object of ours as an ELF file that libbpf loads; see `export`."""
    from minibcc.compiler.export import export

    return export(obj)
