"""A ``.bpf.o`` file, as clang or `export` writes it, as a `BpfObject`.

libbpf's conventions, read: a section's name says a program's type and what it attaches to,
functions that programs call lie in ``.text``, maps are variables in ``.maps`` whose BTF spells out
their definition (or records in ``maps``, the older way), globals are sections that become maps of
one element. What would have to be adapted to a kernel first (CO-RE relocations, externs) is refused
with its name. Mirrors what tools/lib/bpf/libbpf.c takes apart.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import AttachType, MapFlags, MapType, ProgType, Pseudo, PseudoCall
from minibcc.btf.decode import Btf
from minibcc.btf.types import Array, DataSec, Ptr, Struct, size_of, strip
from minibcc.compiler import elf
from minibcc.compiler.object import BpfObject, Line, MapSpec, ProgramSpec, Relocation
from minibcc.errors import MinibccError
from minibcc.isa.instruction import LD_IMM64, SIZE, Instruction, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.btf.types import Type

_CALL = 0x85
_TEXT = ".text"

SECTIONS: tuple[tuple[str, ProgType, AttachType | int], ...] = (
    ("kprobe.multi", ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI),
    ("kretprobe.multi", ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI),
    *(
        (name, ProgType.KPROBE, 0)
        for name in ("kprobe", "kretprobe", "uprobe", "uretprobe", "ksyscall", "kretsyscall")
    ),
    ("usdt", ProgType.KPROBE, 0),
    ("tracepoint", ProgType.TRACEPOINT, 0),
    ("tp_btf", ProgType.TRACING, AttachType.TRACE_RAW_TP),
    ("tp", ProgType.TRACEPOINT, 0),
    ("raw_tracepoint", ProgType.RAW_TRACEPOINT, 0),
    ("raw_tp", ProgType.RAW_TRACEPOINT, 0),
    ("perf_event", ProgType.PERF_EVENT, 0),
    ("fentry", ProgType.TRACING, AttachType.TRACE_FENTRY),
    ("fexit", ProgType.TRACING, AttachType.TRACE_FEXIT),
    ("fmod_ret", ProgType.TRACING, AttachType.MODIFY_RETURN),
    ("iter", ProgType.TRACING, AttachType.TRACE_ITER),
    ("lsm", ProgType.LSM, AttachType.LSM_MAC),
    ("socket", ProgType.SOCKET_FILTER, 0),
    ("classifier", ProgType.SCHED_CLS, 0),
    ("tcx/ingress", ProgType.SCHED_CLS, AttachType.TCX_INGRESS),
    ("tcx/egress", ProgType.SCHED_CLS, AttachType.TCX_EGRESS),
    ("tc", ProgType.SCHED_CLS, 0),
    ("action", ProgType.SCHED_ACT, 0),
    ("xdp", ProgType.XDP, AttachType.XDP),
    ("cgroup_skb/ingress", ProgType.CGROUP_SKB, AttachType.CGROUP_INET_INGRESS),
    ("cgroup_skb/egress", ProgType.CGROUP_SKB, AttachType.CGROUP_INET_EGRESS),
    ("cgroup/skb", ProgType.CGROUP_SKB, 0),
    ("cgroup/sock", ProgType.CGROUP_SOCK, AttachType.CGROUP_INET_SOCK_CREATE),
    ("cgroup/dev", ProgType.CGROUP_DEVICE, AttachType.CGROUP_DEVICE),
    ("cgroup/connect4", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_CONNECT),
    ("cgroup/connect6", ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET6_CONNECT),
    ("cgroup/getsockopt", ProgType.CGROUP_SOCKOPT, AttachType.CGROUP_GETSOCKOPT),
    ("cgroup/setsockopt", ProgType.CGROUP_SOCKOPT, AttachType.CGROUP_SETSOCKOPT),
    ("lwt_in", ProgType.LWT_IN, 0),
    ("lwt_out", ProgType.LWT_OUT, 0),
    ("lwt_xmit", ProgType.LWT_XMIT, 0),
    ("sockops", ProgType.SOCK_OPS, AttachType.CGROUP_SOCK_OPS),
    ("sk_skb", ProgType.SK_SKB, 0),
    ("sk_msg", ProgType.SK_MSG, AttachType.SK_MSG_VERDICT),
    ("syscall", ProgType.SYSCALL, 0),
)
"""A section's name (what it attaches to follows after a slash, a dot begins a variant)."""


class NotAnObject(MinibccError):
    """The file is no BPF object, or one that needs more than is done here."""


class _Function(NamedTuple):
    name: str
    section: elf.Section
    start: int
    """Its first slot in the section."""
    stop: int


def program_type(section: str) -> tuple[ProgType | None, AttachType | int, str]:
    """Type, attach type and what it attaches to, by a section's name."""
    for name, kind, attach in SECTIONS:
        if section == name or section.startswith((f"{name}/", f"{name}.")):
            rest = section[len(name) :]
            return kind, attach, rest.partition("/")[2]
    return None, 0, ""


def load(data: bytes) -> BpfObject:
    """Takes a file apart. Raises NotAnObject."""
    try:
        return _Reader(elf.read(data)).object()
    except (ValueError, struct.error, IndexError, KeyError) as wrong:
        raise NotAnObject(f"minibcc: not a BPF object: {wrong}") from None


class _Reader:
    def __init__(self, file: elf.Object) -> None:
        self.file = file
        btf = file.section(".BTF")
        self.btf = Btf(btf.data) if btf is not None else None
        self.functions = sorted(self._functions(), key=lambda one: (one.section.number, one.start))
        self.maps = {spec.name: spec for spec in (*self._maps(), *self._old_maps())}
        self.func_info, self.line_info = self._ext()

    def object(self) -> BpfObject:
        license = self.file.section("license")
        text = license.data.rstrip(b"\0").decode("ascii", "replace") if license else ""
        entries = {
            (symbol.section, symbol.value // SIZE)
            for symbol in self.file.symbols
            if symbol.bind and symbol.type == elf.STT_FUNC
        }
        programs = [
            self._program(function)
            for function in self.functions
            if function.section.name != _TEXT
            and (function.section.number, function.start) in entries
        ]
        if not programs:
            raise NotAnObject("minibcc: the object holds no program")
        btf = bytes(self.btf.data) if self.btf is not None else b""
        return BpfObject(tuple(programs), tuple(self.maps.values()), text, btf, self._sources())

    # --- functions ---

    def _functions(self) -> Iterator[_Function]:
        for symbol in self.file.symbols:
            if symbol.type == elf.STT_FUNC and 0 < symbol.section < len(self.file.sections):
                start = symbol.value // SIZE
                section = self.file.sections[symbol.section]
                yield _Function(symbol.name, section, start, start + symbol.size // SIZE)

    def _function_at(self, section: int, slot: int) -> _Function:
        for function in self.functions:
            if function.section.number == section and function.start == slot:
                return function
        raise NotAnObject(f"minibcc: a call leads to no function (slot {slot})")

    def _program(self, main: _Function) -> ProgramSpec:
        insns: list[Instruction] = []
        relocations: list[Relocation] = []
        calls: list[tuple[int, _Function]] = []
        starts: dict[_Function, int] = {}
        waiting = [main]
        for function in waiting:
            start = starts[function] = len(insns)
            slots = decode(function.section.data)
            insns += slots[function.start : function.stop]
            found = {
                reloc.offset // SIZE: reloc
                for reloc in self.file.relocations.get(function.section.number, [])
            }
            for at in range(function.start, function.stop):
                callee = self._resolve(
                    insns, start + at - function.start, at, function, found.get(at), relocations
                )
                if callee is not None:
                    calls.append((start + at - function.start, callee))
                    if callee not in waiting:
                        waiting.append(callee)
        for at, callee in calls:
            src = Pseudo.FUNC if insns[at].code == LD_IMM64 else PseudoCall.CALL
            insns[at] = insns[at]._replace(src=src, imm=starts[callee] - at - 1)
        kind, attach, event = program_type(main.section.name)
        return ProgramSpec(
            name=main.name,
            section=main.section.name,
            prog_type=kind,
            insns=encode(insns),
            relocations=tuple(relocations),
            functions=self._named(starts),
            lines=tuple(self._lines(starts)),
            func_info=self._records(starts, self.func_info),
            line_info=self._records(starts, self.line_info),
            attach_to=event,
            attach_type=int(attach),
        )

    def _resolve(
        self,
        insns: list[Instruction],
        here: int,
        at: int,
        function: _Function,
        reloc: elf.Reloc | None,
        out: list[Relocation],
    ) -> _Function | None:
        """Resolves what slot `at` of a section refers to; a function if it is one."""
        insn = insns[here]
        if reloc is None:
            if insn.code == _CALL and insn.src == PseudoCall.CALL:
                return self._function_at(function.section.number, at + 1 + insn.imm)
            return None
        symbol = reloc.symbol
        if not 0 < symbol.section < len(self.file.sections):
            raise NotAnObject(f"minibcc: {symbol.name} is not in the object (an extern)")
        section = self.file.sections[symbol.section]
        if section.flags & elf.SHF_EXECINSTR:
            if insn.code == LD_IMM64:
                slot = (symbol.value + insn.imm) // SIZE
            else:
                slot = symbol.value // SIZE + insn.imm + 1
            return self._function_at(section.number, slot)
        if insn.code != LD_IMM64:
            raise NotAnObject(f"minibcc: a relocation at slot {at} of {function.section.name}")
        if section.name in (".maps", "maps"):
            insns[here] = insn._replace(src=Pseudo.MAP_FD, imm=0)
            out.append(Relocation(here, symbol.name or self._map_at(section, insn.imm)))
            return None
        offset = symbol.value + insn.imm
        insns[here] = insn._replace(src=Pseudo.MAP_VALUE, imm=0)
        insns[here + 1] = insns[here + 1]._replace(imm=offset)
        out.append(Relocation(here, self._data_map(section), True, offset))
        return None

    # --- maps ---

    def _map_at(self, section: elf.Section, offset: int) -> str:
        for symbol in self.file.symbols:
            if symbol.name and (symbol.section, symbol.value) == (section.number, offset):
                return symbol.name
        raise NotAnObject(f"minibcc: no map at {offset} of {section.name}")

    def _data_map(self, section: elf.Section) -> str:
        """The map that holds a section of globals."""
        if section.name not in self.maps:
            if self.file.relocations.get(section.number):
                raise NotAnObject(f"minibcc: {section.name} holds addresses")
            read_only = section.name.startswith(".rodata")
            flags = MapFlags.RDONLY_PROG if read_only else 0
            self.maps[section.name] = MapSpec(
                name=section.name,
                type=MapType.ARRAY,
                key_size=4,
                value_size=section.size,
                max_entries=1,
                flags=int(flags),
                initial=section.data,
                read_only=read_only,
            )
        return section.name

    def _maps(self) -> Iterator[MapSpec]:
        for number in range(1, self.btf.count + 1) if self.btf is not None else ():
            assert self.btf is not None
            section = self.btf.type(number)
            if isinstance(section, DataSec) and section.name == ".maps":
                for entry in section.vars:
                    definition = strip(entry.var.type)
                    if not isinstance(definition, Struct):
                        raise NotAnObject(f"minibcc: map {entry.var.name} has no definition")
                    yield from self._defined(entry.var.name, definition)

    def _defined(self, name: str, definition: Struct) -> Iterator[MapSpec]:
        """A map, behind the inner one that it names."""
        assert self.btf is not None
        numbers: dict[str, int] = {}
        types: dict[str, Type | None] = {}
        inner = ""
        for member in definition.members:
            kind = strip(member.type)
            target = kind.to if isinstance(kind, Ptr) else None
            shape = strip(target)
            if member.name == "values" and isinstance(kind, Array):
                of = strip(kind.of)
                template = strip(of.to) if isinstance(of, Ptr) else None
                if not isinstance(template, Struct):
                    raise NotAnObject(f"minibcc: map {name} has no template for its maps")
                inner = f"{name}.inner"
                yield from self._defined(inner, template)
            elif member.name in ("key", "value"):
                types[member.name] = target
            elif isinstance(shape, Array):
                numbers[member.name] = shape.count
        sizes = {
            part: numbers.get(f"{part}_size", 0) or (size_of(types[part]) if part in types else 0)
            for part in ("key", "value")
        }
        ids = {part: self.btf.id_of(type) for part, type in types.items() if type is not None}
        yield MapSpec(
            name=name,
            type=MapType(numbers.get("type", 0)),
            key_size=sizes["key"] or 4 * bool(inner),
            value_size=sizes["value"] or 4 * bool(inner),
            max_entries=numbers.get("max_entries", 0),
            flags=numbers.get("map_flags", 0),
            key_type=ids.get("key", 0),
            value_type=ids.get("value", 0),
            inner=inner,
        )

    def _old_maps(self) -> Iterator[MapSpec]:
        """Maps as ``struct bpf_map_def`` has them: five numbers."""
        section = self.file.section("maps")
        for symbol in self.file.symbols if section is not None else ():
            assert section is not None
            if symbol.section == section.number and symbol.name:
                row = struct.unpack_from("<5I", section.data, symbol.value)
                yield MapSpec(symbol.name, MapType(row[0]), *row[1:])

    # --- types and lines ---

    def _ext(self) -> tuple[dict[str, list[bytes]], dict[str, list[bytes]]]:
        """The records of ``.BTF.ext`` by section: of functions, and of lines."""
        ext = self.file.section(".BTF.ext")
        if ext is None or self.btf is None:
            return {}, {}
        header, func_at, func_size, line_at, line_size = struct.unpack_from("<5I", ext.data, 4)
        if header >= 32:
            core_size = struct.unpack_from("<I", ext.data, 28)[0]
            if core_size > 4:
                raise NotAnObject("minibcc: the object wants CO-RE relocations, which are not done")
        functions = self._table(ext.data[header + func_at :][:func_size])
        return functions, self._table(ext.data[header + line_at :][:line_size])

    def _table(self, data: bytes) -> dict[str, list[bytes]]:
        found: dict[str, list[bytes]] = {}
        if not data:
            return found
        size, at = struct.unpack_from("<I", data)[0], 4
        while at < len(data):
            section, count = struct.unpack_from("<II", data, at)
            at += 8
            rows = found.setdefault(self._string(section), [])
            rows += (data[at + size * row : at + size * (row + 1)] for row in range(count))
            at += size * count
        return found

    def _string(self, offset: int) -> str:
        assert self.btf is not None
        return self.btf.raw.name(offset, 0)

    def _moved(
        self, starts: dict[_Function, int], table: dict[str, list[bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        """Records of a program's functions, with the slots that they are of now."""
        for function, start in starts.items():
            for row in table.get(function.section.name, []):
                slot = struct.unpack_from("<I", row)[0] // SIZE
                if function.start <= slot < function.stop:
                    yield start + slot - function.start, row[4:]

    def _records(self, starts: dict[_Function, int], table: dict[str, list[bytes]]) -> bytes:
        return b"".join(struct.pack("<I", slot) + rest for slot, rest in self._moved(starts, table))

    def _lines(self, starts: dict[_Function, int]) -> Iterator[Line]:
        for slot, rest in self._moved(starts, self.line_info):
            file, text, place = struct.unpack_from("<III", rest)
            yield Line(slot, self._string(file), place >> 10, place & 1023, self._string(text))

    def _named(self, starts: dict[_Function, int]) -> tuple[tuple[int, str, int], ...]:
        ids = {
            slot: struct.unpack_from("<I", rest)[0]
            for slot, rest in self._moved(starts, self.func_info)
        }
        return tuple((at, function.name, ids.get(at, 0)) for function, at in starts.items())

    def _sources(self) -> dict[str, str]:
        """The texts that lines came with, as far as they tell: a file with holes."""
        known: dict[str, dict[int, str]] = {}
        for rows in self.line_info.values():
            for row in rows:
                file, text, place = struct.unpack_from("<III", row, 4)
                known.setdefault(self._string(file), {})[place >> 10] = self._string(text)
        out = {}
        for name, lines in known.items():
            last = max(lines, default=0)
            out[name] = "\n".join(lines.get(number, "") for number in range(1, last + 1))
        return out
