"""Native code to look at: bytes, assembly, and which BPF instruction each piece comes from.

What ``bpftool prog dump jited`` shows. `native_code` compiles an image with a line table in which
line N stands for slot N - 1, and reads the table back; the code is the same with and without it.
"""

from __future__ import annotations

import ctypes
import io
from typing import TYPE_CHECKING

from minibcc.kernel.vm.disassembly import disassemble
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Image
    from minibcc.kernel.vm.jit import Jit


class NativeFunction(Record):
    """One function of a program. `slot` is where it starts in BPF, `address` and `code` where and
    what it is natively. `lines` are (offset into `code`, slot), by offset: from there on code comes
    from that slot. `calls` names what is called: offset of the call to symbol (``helper_6``)."""

    slot: int
    address: int
    code: bytes
    lines: tuple[tuple[int, int], ...]
    calls: dict[int, str]

    def slot_at(self, offset: int) -> int:
        """The slot that the code at `offset` comes from."""
        found = self.slot
        for start, slot in self.lines:
            if start > offset:
                break
            found = slot
        return found

    def offset_of(self, slot: int) -> int:
        """The first offset whose code comes from `slot`, or, where none does, from the next slot
        that has some; the end of the code if none has."""
        after = [(other, offset) for offset, other in self.lines if other >= slot]
        return min(after)[1] if after else len(self.code)


class NativeLine(Record):
    """One native instruction: `text` is as `disassembly` spells it, `symbol` what it calls, if
    known."""

    offset: int
    code: bytes
    text: str
    slot: int
    symbol: str = ""


def native_code(jit: Jit, image: Image) -> tuple[NativeFunction, ...]:
    """The image's native code, function by function in the order of `image.starts`; it is compiled
    now (again, if it was without a line table)."""
    native = jit.compile(image, debug=True)
    object_file = _Object(native.object)
    functions = []
    for start in image.starts:
        offset, size = object_file.symbols[f"f{start}"]
        address = native.library[f"f{start}"]
        functions.append(
            NativeFunction(
                start,
                address,
                ctypes.string_at(address, size),
                tuple(
                    (place - offset, line - 1)
                    for place, line in object_file.lines
                    if offset <= place < offset + size
                ),
                {
                    place - offset: name
                    for place, name in object_file.calls.items()
                    if offset <= place < offset + size
                },
            )
        )
    return tuple(functions)


def native_listing(jit: Jit, image: Image) -> list[NativeLine]:
    """Every native instruction of the image. Offsets count from 0 in each function."""
    lines = []
    for function in native_code(jit, image):
        for offset, code, text in disassemble(function.code):
            called = [
                name
                for place, name in function.calls.items()
                if offset <= place < offset + len(code)
            ]
            symbol = called[0] if called else ""
            lines.append(NativeLine(offset, code, text, function.slot_at(offset), symbol))
    return lines


class _Object:
    """What an object file says of its code: `symbols` name to (offset, size), `lines` (offset,
    line) by offset, `calls` offset of a call's operand to the name called."""

    def __init__(self, data: bytes) -> None:
        from elftools.elf.elffile import ELFFile

        file = ELFFile(io.BytesIO(data))
        table = file.get_section_by_name(".symtab")
        names = [symbol.name for symbol in table.iter_symbols()]
        self.symbols = {
            symbol.name: (symbol["st_value"], symbol["st_size"])
            for symbol in table.iter_symbols()
            if symbol["st_info"]["type"] == "STT_FUNC"
        }
        self.calls: dict[int, str] = {}
        relocations = file.get_section_by_name(".rela.text")
        if relocations is not None:
            for relocation in relocations.iter_relocations():
                name = names[relocation["r_info_sym"]]
                if name and name != "state":
                    self.calls[relocation["r_offset"]] = name
        self.lines: list[tuple[int, int]] = []
        dwarf = file.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            for entry in program.get_entries() if program else ():
                state = entry.state
                if state is not None and not state.end_sequence and state.line:
                    self.lines.append((state.address, state.line))
        self.lines.sort(key=lambda line: line[0])
