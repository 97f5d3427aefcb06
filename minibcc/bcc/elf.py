"""Symbols of executables and libraries, for uprobes and user stacks.

The files are those of the computer that the script runs on: a path is found as the dynamic linker
would find it, symbols come from .symtab and .dynsym, and a uprobe wants the offset in the file,
which the program headers give for an address.
"""

from __future__ import annotations

import bisect
import os
import struct
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


LINKER_CACHE = "/etc/ld.so.cache"
_MAGIC = b"glibc-ld.so.cache1.1"
_HEAD = struct.Struct("<20sI")  # magic, number of entries; more follows up to byte 48
_ENTRY = struct.Struct("<iIIIQ")  # flags, name, path (offsets in the file), version, hardware
_X86_64 = 0x0300

_FOLDERS = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
)


@lru_cache(maxsize=64)
def find_library(name: str) -> str | None:
    """The path of ``lib<name>.so`` in the linker's cache, or else where libraries usually lie;
    None if there is none. Starts no process, unlike `ctypes.util.find_library`."""
    known: list[tuple[str, str]] = []
    with suppress(OSError), open(LINKER_CACHE, "rb") as file:
        known = list(_linker_cache(file.read()))
    wanted = f"lib{name}.so"
    for soname, path in known:
        if (soname == wanted or soname.startswith(f"{wanted}.")) and os.path.exists(path):
            return path
    return next((path for folder in _FOLDERS for path in _libraries(folder, wanted)), None)


def _linker_cache(data: bytes) -> Iterator[tuple[str, str]]:
    """Name and path of each library for this kind of processor (glibc's dl-cache.h). An old
    format may stand before the one that is read."""
    start = data.find(_MAGIC)
    if start < 0:
        return
    _, count = _HEAD.unpack_from(data, start)
    for index in range(count):
        flags, name, path, _, _ = _ENTRY.unpack_from(data, start + 48 + index * _ENTRY.size)
        if flags & 0xFF00 == _X86_64:
            yield _string(data, start + name), _string(data, start + path)


def _string(data: bytes, start: int) -> str:
    return os.fsdecode(data[start : data.index(b"\0", start)])


def _libraries(folder: str, wanted: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [f"{folder}/{n}" for n in names if n == wanted or n.startswith(f"{wanted}.")]


def find_module(name: str) -> str:
    """The file that a probe's `name` means: a path, a program in PATH, or a library by its name.
    Raises FileNotFoundError."""
    import shutil

    if "/" in name:
        found: str | None = name if os.path.exists(name) else None
    else:
        found = find_library(name.removeprefix("lib").partition(".so")[0]) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(2, f"no library or program {name!r} here", name)
    return os.path.realpath(found)


class ElfSymbols:
    """The functions of one file. Raises OSError, or ValueError for what is no ELF file."""

    def __init__(self, path: str) -> None:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile

        self.path = path
        self._names: dict[bytes, int] = {}
        self._rows: list[tuple[int, int, bytes]] = []
        with open(path, "rb") as file:
            try:
                elf = ELFFile(file)
                self._segments = [
                    (part["p_vaddr"], part["p_filesz"], part["p_offset"])
                    for part in elf.iter_segments("PT_LOAD")
                ]
                for section in (".symtab", ".dynsym"):
                    self._read(elf.get_section_by_name(section))
            except ELFError as wrong:
                raise ValueError(f"{path} is no ELF file: {wrong}") from None
        self._rows.sort()
        self._starts = [row[0] for row in self._rows]

    def _read(self, table: object) -> None:
        for symbol in table.iter_symbols() if table else ():  # type: ignore[attr-defined]  # pyelftools has no types
            if symbol["st_info"]["type"] in ("STT_FUNC", "STT_GNU_IFUNC", "STT_LOOS"):
                address, name = symbol["st_value"], symbol.name.encode()
                if address and name not in self._names:
                    self._names[name] = address
                    self._rows.append((address, symbol["st_size"], name))

    def functions(self) -> list[tuple[bytes, int]]:
        """Name and address of each function."""
        return [(name, address) for address, _, name in self._rows]

    def address(self, name: bytes) -> int | None:
        return self._names.get(name)

    def file_offset(self, address: int) -> int:
        """Where the byte that is loaded at `address` lies in the file."""
        for start, size, offset in self._segments:
            if start <= address < start + size:
                return int(address - start + offset)
        return address

    def at_offset(self, offset: int) -> tuple[bytes, int] | None:
        """The function at an offset in the file, and the offset in it; None between functions."""
        for start, size, position in self._segments:
            if position <= offset < position + size:
                address = offset - position + start
                index = bisect.bisect_right(self._starts, address) - 1
                if index >= 0:
                    first, length, name = self._rows[index]
                    if address < first + max(length, 1):
                        return name, address - first
        return None
