"""From LLVM's object to a `BpfObject`: one program per function that is one.

LLVM leaves each function in a section of its own. A program is such a function with the ones that
it calls put behind it; calls among them become distances, as the kernel wants them, and loads of
maps and of globals stay relocations by name. Globals live in maps, one per section, as libbpf has
them. Types and lines are written here in the kernel's encodings, BTF from the tree's own types.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import (
    MAX_INSNS,
    MAX_SUBPROGS,
    STACK_SIZE,
    MapFlags,
    MapType,
    Pseudo,
    PseudoCall,
)
from minibcc.btf.types import size_of
from minibcc.compiler import elf
from minibcc.compiler.lower.module import SECTION, Lowered
from minibcc.compiler.object import BpfObject, Line, MapSpec, ProgramSpec, Relocation
from minibcc.compiler.typeinfo import TypeInfo
from minibcc.diagnostics import Span, error
from minibcc.errors import CompileError
from minibcc.isa.instruction import LD_IMM64, SIZE, Instruction, decode, encode

if TYPE_CHECKING:
    from minibcc.compiler.tree import Function, Unit
    from minibcc.diagnostics import Diagnostic, Sources

DATA_ALIGN = 64
"""A multiple of what anything in a section of globals is aligned to."""
_FRAME = 10
_MOV64_X, _ADD64_K, _OR64_X = 0xBF, 0x07, 0x4F
_LDX, _STORES = 1, (2, 3)
_TRAP = "__bpf_trap"


class Position(NamedTuple):
    """One of LLVM's line records: `insn` counts slots from the function's start."""

    insn: int
    file: str
    line: int
    column: int


class Code(NamedTuple):
    """A function as LLVM left it."""

    insns: list[Instruction]
    relocations: list[elf.Reloc]
    positions: list[Position]
    stack: int


class Draft(NamedTuple):
    """A program in the making; `starts` says where each function begins, the main one first."""

    main: Function
    insns: list[Instruction]
    relocations: list[Relocation]
    starts: dict[str, int]
    lines: list[Line]


def link(
    code: bytes, lowered: Lowered, unit: Unit, sources: Sources, warnings: tuple[str, ...] = ()
) -> BpfObject:
    """Everything that `unit` compiled to. Raises CompileError for what no kernel would take."""
    return _Linker(elf.read(code), lowered, unit, sources).link(warnings)


class _Linker:
    def __init__(self, file: elf.Object, lowered: Lowered, unit: Unit, sources: Sources) -> None:
        self.file = file
        self.lowered = lowered
        self.unit = unit
        self.sources = sources
        self.problems: list[Diagnostic] = []
        self.maps = {map.name: map for map in unit.maps}
        self.data: dict[str, MapSpec] = {}
        self.starts, self.contents = data_sections(file)
        self.types = TypeInfo(unit.maps)
        lines = positions(file)
        self.codes = {
            section.name.removeprefix(SECTION): self._code(section, lines.get(section.name, []))
            for section in file.sections
            if section.name.startswith(SECTION) and section.type == elf.SHT_PROGBITS
        }

    def link(self, warnings: tuple[str, ...]) -> BpfObject:
        roots = [
            function
            for function in self.unit.functions
            if function.name in self.codes and (function.linkage == "global" or function.probe)
        ]
        drafts = [self._assemble(function) for function in roots]
        self._check_data()
        if self.problems:
            raise CompileError(self.problems, self.sources)
        self.types.encode()
        programs = tuple(self._program(draft) for draft in drafts)
        names = {position.file for code in self.codes.values() for position in code.positions}
        return BpfObject(
            programs,
            (*(self._map(spec.name) for spec in self.unit.maps), *self.data.values()),
            self.unit.license,
            self.types.data,
            {name: self._source(name) for name in sorted(names)},
            warnings,
        )

    # --- one function ---

    def _code(self, section: elf.Section, lines: list[Position]) -> Code:
        insns = decode(section.data)
        if any(insn.code == _OR64_X for insn in insns):
            from minibcc.compiler.frame import add_to_frame

            add_to_frame(insns)
        stack = stack_of(insns)
        name = section.name.removeprefix(SECTION)
        if stack > STACK_SIZE:
            self._refuse_stack(name, stack)
        return Code(insns, self.file.relocations.get(section.number, []), lines, stack)

    def _refuse_stack(self, name: str, stack: int) -> None:
        objects = sorted(self.lowered.objects(name).items(), key=lambda item: -item[1])
        largest = ", ".join(f"{variable} ({size} bytes)" for variable, size in objects[:3])
        self.problems.append(
            error(
                "type/stack",
                f"{name} needs {stack} bytes of stack, and BPF has {STACK_SIZE}",
                self.lowered.functions[name].span,
                notes=(f"the largest variables are {largest}",) if objects else (),
                help=("keep large structures in a per-CPU array map of one element",),
            )
        )

    def _refuse_size(self, main: Function, needed: str, most: str) -> None:
        self.problems.append(
            error(
                "type/program-size",
                f"{main.name} has {needed}, and Linux takes {most} in a program",
                main.span,
                help=("write what is alike as a loop, or go on in another program by a tail call",),
            )
        )

    # --- one program ---

    def _assemble(self, main: Function) -> Draft:
        """The slots of a program, and what is to be said about them."""
        insns: list[Instruction] = []
        starts: dict[str, int] = {}
        pending: list[tuple[int, str]] = []
        relocations: list[Relocation] = []
        waiting = [main.name]
        for name in waiting:
            start = starts[name] = len(insns)
            code = self.codes[name]
            insns += code.insns
            for relocation in code.relocations:
                at = start + relocation.offset // SIZE
                callee = self._apply(insns, at, relocation, relocations, name)
                if callee is not None:
                    pending.append((at, callee))
                    if callee not in waiting:
                        waiting.append(callee)
        for count, most, what in (
            (len(waiting), MAX_SUBPROGS, "functions"),
            (len(insns), MAX_INSNS, "instructions"),
        ):
            if count > most:
                self._refuse_size(main, f"{count:,} {what}", f"{most:,}")
        for at, callee in pending:
            imm = starts[callee] - at - 1
            src = Pseudo.FUNC if insns[at].code == LD_IMM64 else PseudoCall.CALL
            insns[at] = insns[at]._replace(src=src, imm=imm)
        for name in waiting:
            self.types.add_function(self.lowered.functions[name], main=name == main.name)
        return Draft(main, insns, relocations, starts, self._lines(starts))

    def _apply(
        self,
        insns: list[Instruction],
        at: int,
        reloc: elf.Reloc,
        out: list[Relocation],
        function: str,
    ) -> str | None:
        """Resolves one relocation; a function's name if it refers to one."""
        symbol, insn = reloc.symbol, insns[at]
        section = self.file.sections[symbol.section] if symbol.section else None
        if section is None and symbol.name in self.maps and insn.code == LD_IMM64:
            insns[at] = insn._replace(src=Pseudo.MAP_FD, imm=0)
            out.append(Relocation(at, symbol.name))
            return None
        if section is not None and section.name.startswith(SECTION):
            return section.name.removeprefix(SECTION)
        if section is not None and section.flags & elf.SHF_ALLOC and insn.code == LD_IMM64:
            offset = self.starts[section.number] + symbol.value + insn.imm
            insns[at] = insn._replace(src=Pseudo.MAP_VALUE, imm=0)
            insns[at + 1] = insns[at + 1]._replace(imm=offset)
            out.append(Relocation(at, self._data_map(section), True, offset))
            return None
        self.problems.append(_missing(symbol.name, self._span(function, reloc.offset // SIZE)))
        return None

    def _span(self, function: str, insn: int) -> Span:
        """The place of a slot of a function."""
        before = [row for row in self.codes[function].positions if row.insn <= insn and row.line]
        if not before:
            return self.lowered.functions[function].span
        _, file, line, column = before[-1]
        return Span(file, line, max(column, 1))

    def _program(self, draft: Draft) -> ProgramSpec:
        types, function = self.types, draft.main
        functions = tuple(
            (start, name, types.function(name, main=name == function.name))
            for name, start in draft.starts.items()
        )
        line_info = b"".join(
            struct.pack(
                "<IIII",
                line.insn,
                types.string(line.file),
                types.string(line.text),
                line.line << 10 | min(line.column, 1023),
            )
            for line in draft.lines
        )
        probe = function.probe
        return ProgramSpec(
            name=function.name,
            section=probe.section if probe else function.section or function.name,
            prog_type=probe.prog_type if probe else None,
            insns=encode(draft.insns),
            relocations=tuple(draft.relocations),
            functions=functions,
            lines=tuple(draft.lines),
            func_info=b"".join(struct.pack("<II", start, id) for start, _, id in functions),
            line_info=line_info,
            stack=self.codes[function.name].stack,
            attach_to=probe.attach_to if probe else "",
            attach_type=int(probe.attach_type) if probe else 0,
        )

    def _lines(self, starts: dict[str, int]) -> list[Line]:
        """Line records of a program: each function's in turn, each beginning at its start."""
        lines: list[Line] = []
        for name, start in starts.items():
            span = self.lowered.functions[name].span
            known = [position for position in self.codes[name].positions if position.line]
            if not known or known[0].insn:
                known.insert(0, Position(0, span.file, span.line, span.column))
            for insn, file, line, column in known:
                column = column or span.column
                text = self.sources.line(file, line) or ""
                if not lines or lines[-1].insn != start + insn:
                    lines.append(Line(start + insn, file, line, column, text))
                elif insn:
                    lines[-1] = Line(start + insn, file, line, column, text)
        for entry in lines:
            self.types.add_string(entry.file)
            self.types.add_string(entry.text)
        return lines

    def _source(self, name: str) -> str:
        text, line = [], 1
        while (row := self.sources.line(name, line)) is not None:
            text.append(row)
            line += 1
        return "\n".join(text)

    # --- maps ---

    def _map(self, name: str) -> MapSpec:
        map = self.maps[name]
        key, value, output = (self.types.id_of(t) for t in (map.key, map.value, map.output))
        return MapSpec(
            name=map.name,
            type=map.type,
            key_size=0 if map.key is None else size_of(map.key),
            value_size=0 if map.value is None else size_of(map.value),
            max_entries=map.max_entries,
            flags=map.flags,
            key_type=key,
            value_type=value,
            output_type=output,
            inner=map.inner,
            pin=map.pin,
            scope=map.scope,
            initial=map.data,
        )

    def _data_map(self, section: elf.Section) -> str:
        """The map that holds a section of globals."""
        if section.name not in self.data:
            read_only = section.name.startswith(".rodata")
            content = bytes(self.contents[section.name])
            self.data[section.name] = MapSpec(
                name=section.name,
                type=MapType.ARRAY,
                key_size=4,
                value_size=len(content),
                max_entries=1,
                flags=MapFlags.RDONLY_PROG if read_only else 0,
                initial=content,
                read_only=read_only,
            )
        return section.name

    def _check_data(self) -> None:
        """No kernel fixes addresses inside of a map's value."""
        for section in self.file.sections:
            relocations = self.file.relocations.get(section.number)
            if section.name in self.data and relocations:
                self.problems.append(
                    error(
                        "type/not-constant",
                        "a static or global variable holds an address, which BPF cannot load",
                        self._variable_at(section.number, relocations[0].offset),
                        help=("keep the index of an array or the text itself instead",),
                    )
                )

    def _variable_at(self, section: int, offset: int) -> Span | None:
        """Where the variable stands that holds a byte of a section."""
        for symbol in self.file.symbols:
            if symbol.section == section and 0 <= offset - symbol.value < symbol.size:
                variable = self.lowered.variables.get(symbol.name)
                if variable is not None:
                    return variable.span
        return None


def data_sections(file: elf.Object) -> tuple[dict[int, int], dict[str, bytearray]]:
    """The content of each map of globals, by name, and where in it each section starts, by number:
    LLVM makes several sections of one name where constants differ in what may be merged."""
    starts: dict[int, int] = {}
    contents: dict[str, bytearray] = {}
    for section in file.sections:
        if section.flags & elf.SHF_ALLOC and not section.name.startswith(SECTION):
            content = contents.setdefault(section.name, bytearray())
            content += bytes(-len(content) % DATA_ALIGN)
            starts[section.number] = len(content)
            content += section.data.ljust(section.size, b"\0")
    return starts, contents


def _missing(name: str, span: Span) -> Diagnostic:
    """What LLVM calls that no program has."""
    if name == _TRAP:
        return error(
            "type/undefined",
            "C gives no meaning to what happens here, and LLVM has made a trap of it",
            span,
            notes=[
                "a shift by more than the width, a division by zero, a variable that has no value"
            ],
            help=["look at what this line and the ones before it compute"],
        )
    return error(
        "type/undefined-function",
        f"the program needs {name or 'a function'}, which BPF does not have",
        span,
        help=["write the loop out, or use a helper of the kernel"],
    )


def stack_of(insns: list[Instruction]) -> int:
    """Bytes of stack that a function touches or points to, in whole words: the lowest offset
    from the frame pointer, in an access or where an address is computed."""
    lowest = 0
    copies: set[int] = set()
    for code, dst, src, off, imm in insns:
        kind = code & 7
        if (kind == _LDX and src == _FRAME) or (kind in _STORES and dst == _FRAME):
            lowest = min(lowest, off)
        elif code == _ADD64_K and dst in copies:
            lowest = min(lowest, imm)
        copies.discard(dst)
        if code == _MOV64_X and src == _FRAME:
            copies.add(dst)
    return (-lowest + 7) // 8 * 8


def positions(file: elf.Object) -> dict[str, list[Position]]:
    """The line records of ``.BTF.ext``, by section."""
    ext, btf = file.section(".BTF.ext"), file.section(".BTF")
    if ext is None or btf is None:
        return {}
    head, _, _, str_off, _ = struct.unpack_from("<IIIII", btf.data, 4)
    names = btf.data[head + str_off :]

    def string(offset: int) -> str:
        return names[offset : names.index(b"\0", offset)].decode()

    header, _, _, start, length = struct.unpack_from("<IIIII", ext.data, 4)
    at = header + start
    stop = at + length
    found: dict[str, list[Position]] = {}
    if length:
        at += 4
    while at < stop:
        section, count = struct.unpack_from("<II", ext.data, at)
        at += 8
        rows = struct.iter_unpack("<IIII", ext.data[at : at + 16 * count])
        at += 16 * count
        found[string(section)] = [
            Position(offset // SIZE, string(file_name), place >> 10, place & 1023)
            for offset, file_name, _, place in rows
        ]
    return found
