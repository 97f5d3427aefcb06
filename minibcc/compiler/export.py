"""A `BpfObject` as a ``.bpf.o`` file, which llvm-objdump prints and libbpf and bpftool load.

libbpf's conventions: a program's section says its type; functions that programs call lie in
``.text`` once; maps are variables in ``.maps`` whose BTF spells out their definition; globals are
sections of their own names. Types, lines and functions go to ``.BTF`` and ``.BTF.ext`` with ids
and strings of their own. Mirrors what tools/lib/bpf/libbpf.c takes apart.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import MapType, ProgType, Pseudo, PseudoCall
from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode as encode_types
from minibcc.btf.types import Array, DataSec, Int, Member, Ptr, SecVar, Struct, Var
from minibcc.compiler import elf
from minibcc.compiler.typeinfo import with_strings
from minibcc.isa.instruction import LD_IMM64, SIZE, Instruction, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.btf.types import Type
    from minibcc.compiler.object import BpfObject, MapSpec, ProgramSpec

SECTIONS = {
    ProgType.SOCKET_FILTER: "socket",
    ProgType.KPROBE: "kprobe",
    ProgType.SCHED_CLS: "tc",
    ProgType.SCHED_ACT: "action",
    ProgType.TRACEPOINT: "tracepoint",
    ProgType.XDP: "xdp",
    ProgType.PERF_EVENT: "perf_event",
    ProgType.CGROUP_SKB: "cgroup/skb",
    ProgType.CGROUP_SOCK: "cgroup/sock",
    ProgType.LWT_IN: "lwt_in",
    ProgType.LWT_OUT: "lwt_out",
    ProgType.LWT_XMIT: "lwt_xmit",
    ProgType.SOCK_OPS: "sockops",
    ProgType.SK_SKB: "sk_skb",
    ProgType.CGROUP_DEVICE: "cgroup/dev",
    ProgType.SK_MSG: "sk_msg",
    ProgType.RAW_TRACEPOINT: "raw_tp",
    ProgType.CGROUP_SOCK_ADDR: "cgroup/connect4",
    ProgType.CGROUP_SOCKOPT: "cgroup/setsockopt",
    ProgType.TRACING: "fentry",
    ProgType.LSM: "lsm",
}
"""What libbpf reads a program's type from; what it attaches to follows after a slash."""

_TEXT = ".text"
_CALL = 0x85
_INT = Int("int", 4, signed=True)
_GLOBAL, _LOCAL = 1 << 4, 0
_OBJECT, _FUNC, _SECTION = 1, elf.STT_FUNC, 3
_NO_BTF = {
    MapType.PERF_EVENT_ARRAY,
    MapType.PROG_ARRAY,
    MapType.STACK_TRACE,
    MapType.RINGBUF,
    MapType.DEVMAP,
    MapType.CPUMAP,
    MapType.SOCKHASH,
    MapType.SOCKMAP,
    MapType.XSKMAP,
    MapType.ARRAY_OF_MAPS,
    MapType.HASH_OF_MAPS,
    MapType.CGROUP_ARRAY,
}
"""Map types that take no key and value types: their sizes are given as numbers."""


class _Piece(NamedTuple):
    """A function on its own: slots of `program` from `start` to `stop`, at `offset` of the
    section."""

    program: ProgramSpec
    name: str
    start: int
    stop: int
    section: str
    offset: int


def export(obj: BpfObject) -> bytes:
    """The object as an ELF file."""
    return _Exporter(obj).file()


class _Exporter:
    def __init__(self, obj: BpfObject) -> None:
        self.obj = obj
        self.out = elf.Writer()
        self.pieces = list(self._pieces())
        self.strings: dict[str, int] = {}
        self.btf = Btf(obj.btf)
        self.maps = self._maps()

    def file(self) -> bytes:
        self._functions()
        self._data()
        self.out.add("license", self.obj.license.encode() + b"\0", elf.SHF_ALLOC | elf.SHF_WRITE)
        self._types()
        return self.out.file()

    def _pieces(self) -> Iterator[_Piece]:
        """Programs in their sections, and each other function once in ``.text``."""
        sizes: dict[str, int] = {}
        known: set[str] = set()
        for spec in self.obj.programs:
            stops = [start for start, _, _ in spec.functions[1:]] + [len(spec.insns) // SIZE]
            for (start, name, _), stop in zip(spec.functions, stops, strict=True):
                section = _section(spec) if start == 0 else _TEXT
                if section == _TEXT and name in known:
                    continue
                known.add(name if section == _TEXT else "")
                yield _Piece(spec, name, start, stop, section, sizes.get(section, 0))
                sizes[section] = sizes.get(section, 0) + (stop - start) * SIZE

    # --- code ---

    def _functions(self) -> None:
        code: dict[str, list[Instruction]] = {_TEXT: []}
        for piece in self.pieces:
            code.setdefault(piece.section, []).extend(self._slots(piece))
        for name, slots in code.items():
            self.out.add(name, encode(slots), elf.SHF_ALLOC | elf.SHF_EXECINSTR, align=8)
        self.out.symbol("", 0, 0, _LOCAL | _SECTION, _TEXT)
        for map in self.maps:
            self.out.symbol(map.var.name, map.offset, map.size, _GLOBAL | _OBJECT, ".maps")
        for piece in self.pieces:
            bind = _LOCAL if piece.section == _TEXT else _GLOBAL
            size = (piece.stop - piece.start) * SIZE
            self.out.symbol(piece.name, piece.offset, size, bind | _FUNC, piece.section)
            self._relocate(piece)

    def _slots(self, piece: _Piece) -> list[Instruction]:
        """The function's slots, as they are before relocation."""
        starts = {start: name for start, name, _ in piece.program.functions}
        offsets = {other.name: other.offset for other in self.pieces if other.section == _TEXT}
        slots = decode(piece.program.insns)
        values = {
            relocation.insn: relocation.offset
            for relocation in piece.program.relocations
            if relocation.value
        }
        for at in range(piece.start, piece.stop):
            insn = slots[at]
            target = starts.get(at + 1 + insn.imm)
            if insn.code == _CALL and insn.src == PseudoCall.CALL and target is not None:
                slots[at] = insn._replace(imm=offsets[target] // SIZE - 1)
            elif insn.code == LD_IMM64 and insn.src == Pseudo.FUNC and target is not None:
                slots[at] = insn._replace(src=0, imm=offsets[target])
            elif insn.code == LD_IMM64 and insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE):
                slots[at] = insn._replace(src=0, imm=values.get(at, 0))
                slots[at + 1] = slots[at + 1]._replace(imm=0)
        return slots[piece.start : piece.stop]

    def _relocate(self, piece: _Piece) -> None:
        slots = decode(piece.program.insns)
        names = {relocation.insn: relocation for relocation in piece.program.relocations}
        for at in range(piece.start, piece.stop):
            insn, place = slots[at], piece.offset + (at - piece.start) * SIZE
            if at in names:
                symbol = names[at].symbol
                self.out.relocation(piece.section, place, elf.R_BPF_64_64, symbol)
            elif insn.code == LD_IMM64 and insn.src == Pseudo.FUNC:
                self.out.relocation(piece.section, place, elf.R_BPF_64_64, _TEXT)
            elif insn.code == _CALL and insn.src == PseudoCall.CALL:
                self.out.relocation(piece.section, place, elf.R_BPF_64_32, _TEXT)

    # --- data ---

    def _maps(self) -> tuple[SecVar, ...]:
        """``.maps``: a variable per map, whose type's members are its definition."""
        vars, offset = [], 0
        for spec in self.obj.maps:
            if not spec.name.startswith("."):
                type = self._definition(spec)
                vars.append(SecVar(Var(spec.name, type), offset, type.size))
                offset += type.size
        return tuple(vars)

    def _data(self) -> None:
        if self.maps:
            size = self.maps[-1].offset + self.maps[-1].size
            self.out.add(".maps", bytes(size), elf.SHF_ALLOC | elf.SHF_WRITE, align=8)
        for spec in self.obj.maps:
            if spec.name.startswith("."):
                flags = elf.SHF_ALLOC | (0 if spec.read_only else elf.SHF_WRITE)
                empty = spec.name.startswith(".bss")
                self.out.add(spec.name, spec.initial, flags, align=16, empty=empty)
                self.out.symbol("", 0, 0, _LOCAL | _SECTION, spec.name)

    # --- types ---

    def _types(self) -> None:
        ids = range(1, self.btf.count + 1)
        roots = [type for number in ids if (type := self.btf.type(number)) is not None]
        if self.maps:
            last = self.maps[-1]
            roots.append(DataSec(".maps", last.offset + last.size, self.maps))
        encoded = encode_types(roots, lambda type: not type.complete)
        for piece in self.pieces:
            self.strings[piece.section] = 0
            for line in piece.program.lines:
                self.strings[line.file] = self.strings[line.text] = 0
        self.out.add(".BTF", with_strings(encoded.data, self.strings), 0)
        moved = {number: encoded.id_of(self.btf.type(number)) for number in ids}
        self.out.add(".BTF.ext", self._lines(moved), 0)

    def _definition(self, spec: MapSpec) -> Struct:
        numbers = {"type": int(spec.type), "max_entries": spec.max_entries, "map_flags": spec.flags}
        fields: list[tuple[str, Type]] = []
        if spec.key_type and spec.value_type and spec.type not in _NO_BTF:
            fields.append(("key", Ptr(self.btf.type(spec.key_type))))
            fields.append(("value", Ptr(self.btf.type(spec.value_type))))
        else:
            numbers |= {"key_size": spec.key_size, "value_size": spec.value_size}
        fields += [(name, Ptr(Array(_INT, value))) for name, value in numbers.items() if value]
        members = tuple(Member(name, of, 64 * at) for at, (name, of) in enumerate(fields))
        return Struct("", 8 * len(members), members)

    def _lines(self, ids: dict[int, int]) -> bytes:
        """``.BTF.ext``: functions and lines by section."""
        functions: dict[str, list[bytes]] = {}
        lines: dict[str, list[bytes]] = {}
        for piece in self.pieces:
            type_id = next(id for start, _, id in piece.program.functions if start == piece.start)
            functions.setdefault(piece.section, []).append(
                struct.pack("<II", piece.offset, ids[type_id])
            )
            for line in piece.program.lines:
                if piece.start <= line.insn < piece.stop:
                    place = piece.offset + (line.insn - piece.start) * SIZE
                    column = line.line << 10 | min(line.column, 1023)
                    file, text = self.strings[line.file], self.strings[line.text]
                    row = struct.pack("<IIII", place, file, text, column)
                    lines.setdefault(piece.section, []).append(row)
        func_info = self._table(8, functions)
        line_info = self._table(16, lines)
        header = struct.pack(
            "<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(func_info), len(func_info), len(line_info)
        )
        return header + func_info + line_info

    def _table(self, size: int, rows: dict[str, list[bytes]]) -> bytes:
        parts = [struct.pack("<I", size)]
        for section, items in rows.items():
            parts.append(struct.pack("<II", self.strings[section], len(items)))
            parts += items
        return b"".join(parts)


def _section(spec: ProgramSpec) -> str:
    """libbpf's name for what a program is; kprobe, if only loading it will tell."""
    base = SECTIONS.get(spec.prog_type or ProgType.KPROBE, "kprobe")
    return f"{base}/{spec.attach_to.replace(':', '/')}" if spec.attach_to else base
