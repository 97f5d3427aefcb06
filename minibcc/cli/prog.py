"""``minibcc prog``: the programs of running scripts, listed and dumped as bpftool does it.

Mirrors: prog.c, xlated_dumper.c and jit_disasm.c of tools/bpf/bpftool.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import (
    BtfGetFdById,
    BtfGetInfo,
    ProgGetFdById,
    ProgGetInfo,
    ProgGetNextId,
)
from minibcc.btf.decode import Btf
from minibcc.btf.types import Func
from minibcc.cli.ctext import prototype
from minibcc.cli.show import Kernel, Look, ShowError, no_such, number
from minibcc.errors import UsageError
from minibcc.isa import text
from minibcc.isa.instruction import Instruction, decode
from minibcc.records import Record, replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.abi.requests import ProgInfo

USAGE = """usage: minibcc prog { show | list } [PROG]
       minibcc prog dump xlated PROG [{ opcodes | linum }]
       minibcc prog dump jited  PROG [{ opcodes | linum }]
       minibcc prog help

       PROG := { id PROG_ID | tag PROG_TAG | name PROG_NAME }
       OPTIONS := { {-j|--json} [{-p|--pretty}] | --linux }"""

LINE_INFO = struct.Struct("<4I")
FUNC_INFO = struct.Struct("<2I")


class Found(Record):
    """A program and the kernel that it is in."""

    kernel: Kernel
    info: ProgInfo
    memlock: int = 0
    tag_sha1: str = ""

    def told(self, *, both_tags: bool) -> Found:
        """The same with what its descriptor says."""
        rows = self.kernel.descriptor_info(ProgGetFdById(self.info.id))
        older = rows.get("prog_tag_sha1", "") if both_tags else ""
        return replace(self, memlock=int(rows.get("memlock", "0")), tag_sha1=older)


# --- list ----------------------------------------------------------------------------------------


def show(look: Look) -> None:
    """With both tags, if the kernel knows the one that kernels before 6.18 would give."""
    _print(look, both_tags=True)


def list_(look: Look) -> None:
    _print(look, both_tags=False)


def _print(look: Look, *, both_tags: bool) -> None:
    one = bool(look.words)
    found = [item.told(both_tags=both_tags) for item in (_find(look) if one else _all(look))]
    look.end()
    if look.json:
        objects = [_as_json(item) for item in found]
        look.print_json(objects[0] if one and len(objects) == 1 else objects)
        return
    for item in found:
        print(_as_text(item))


def _all(look: Look) -> list[Found]:
    return [
        Found(kernel, _info(kernel, each))
        for kernel in look.kernels
        for each in kernel.ids(ProgGetNextId)
    ]


def _info(kernel: Kernel, wanted: int) -> ProgInfo:
    """With the native code: the simulated kernel makes it when somebody asks."""
    return kernel.look(ProgGetFdById(wanted), lambda fd: ProgGetInfo(fd, jited=True))


def _find(look: Look) -> list[Found]:
    """The programs that ``id N``, ``tag T`` or ``name S`` means. Raises ShowError."""
    kind, word = look.choice(("id", "tag", "name"))
    if kind == "id":
        wanted = number(word)
        for kernel in look.kernels:
            try:
                return [Found(kernel, _info(kernel, wanted))]
            except FileNotFoundError:
                continue
        raise no_such("get", wanted)
    return [
        item
        for item in _all(look)
        if word == (item.info.tag.hex() if kind == "tag" else item.info.name)
        or (kind == "name" and len(word) > 15 and word[:15] == item.info.name)
    ]


def _size(info: ProgInfo) -> int:
    """Bytes of native code; how much there is may be known without it."""
    return info.jited_prog_len or len(info.jited_prog_insns)


def _as_json(item: Found) -> dict[str, Any]:
    info, kernel = item.info, item.kernel
    row: dict[str, Any] = {"id": info.id, "type": _type(info)}
    if info.name:
        row["name"] = info.name
    row["tag"] = info.tag.hex()
    if item.tag_sha1:
        row["tag_sha1"] = item.tag_sha1
    row["gpl_compatible"] = info.gpl_compatible
    if info.run_time_ns:
        row |= {"run_time_ns": info.run_time_ns, "run_cnt": info.run_cnt}
    if info.recursion_misses:
        row["recursion_misses"] = info.recursion_misses
    row["loaded_at"] = int(kernel.wall_time(info.load_time))
    row["uid"] = info.created_by_uid
    row["bytes_xlated"] = len(info.xlated_prog_insns)
    row["jited"] = bool(_size(info))
    if _size(info):
        row["bytes_jited"] = _size(info)
    row["bytes_memlock"] = item.memlock
    if info.map_ids:
        row["map_ids"] = list(info.map_ids)
    if info.btf_id:
        row["btf_id"] = info.btf_id
    if kernel.owners():
        row["pids"] = kernel.owners()
    return row


def _as_text(item: Found) -> str:
    info, kernel = item.info, item.kernel
    name = f"name {info.name}  " if info.name else ""
    gpl = "  gpl" if info.gpl_compatible else ""
    runs = f" run_time_ns {info.run_time_ns} run_cnt {info.run_cnt}" if info.run_time_ns else ""
    runs += f" recursion_misses {info.recursion_misses}" if info.recursion_misses else ""
    loaded = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(kernel.wall_time(info.load_time)))
    jited = f"jited {_size(info)}B" if _size(info) else "not jited"
    maps = "  map_ids " + ",".join(map(str, info.map_ids)) if info.map_ids else ""
    lines = [
        f"{info.id}: {_type(info)}  {name}tag {info.tag.hex()}{gpl}{runs}",
        f"\tloaded_at {loaded}  uid {info.created_by_uid}",
        f"\txlated {len(info.xlated_prog_insns)}B  {jited}  memlock {item.memlock}B{maps}",
    ]
    if item.tag_sha1:
        lines.append(f"\ttag_sha1 {item.tag_sha1}")
    if info.btf_id:
        lines.append(f"\tbtf_id {info.btf_id}")
    owners = [f"{owner['comm']}({owner['pid']})" for owner in kernel.owners()]
    if owners:
        lines.append(f"\tpids {', '.join(owners)}")
    return "\n".join(lines)


def _type(info: ProgInfo) -> str:
    return ProgType(info.type).name.lower()


# --- dump ----------------------------------------------------------------------------------------


def dump(look: Look) -> None:
    kind = look.word("what to dump: xlated or jited")
    if kind not in ("xlated", "jited"):
        raise UsageError(f"{kind!r} cannot be dumped: xlated or jited can")
    found = _find(look)
    opcodes = linum = False
    while look.words:
        word = look.word("opcodes or linum")
        if word not in ("opcodes", "linum"):
            raise UsageError(f"did not expect {word!r}\n{USAGE}")
        opcodes, linum = opcodes or word == "opcodes", linum or word == "linum"
    for item in found:
        view = Xlated(item, linum=linum) if kind == "xlated" else Jited(item, linum=linum)
        rows = view.rows()
        if look.json:
            look.print_json([row.as_json(opcodes=opcodes, linum=linum) for row in rows])
        else:
            for row in rows:
                print(row.as_text(opcodes=opcodes))


class Row(Record):
    """An instruction with what stands above it: the function's head, a source line."""

    head: str
    source: dict[str, Any] | None
    label: str
    words: str
    hexadecimal: str
    opcodes: Any
    linum: bool

    def as_text(self, *, opcodes: bool) -> str:
        lines = [self.head] if self.head else []
        if self.source is not None:
            place = (
                f" [file:{self.source['file']} line_num:{self.source['line']} "
                f"line_col:{self.source['column']}]"
                if self.linum
                else ""
            )
            lines.append(f"; {self.source['text']}{place}")
        lines.append(self.label + self.words)
        if opcodes:
            lines.append(self.hexadecimal)
        return "\n".join(lines)

    def as_json(self, *, opcodes: bool, linum: bool) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self.head:
            out["proto"] = self.head.removesuffix(":").split(":\n")[0]
        if self.source is not None:
            out["src"] = self.source["text"]
            if linum:
                out["file"] = self.source["file"]
                out |= {"line_num": self.source["line"]} if self.source["line"] else {}
                out |= {"line_col": self.source["column"]} if self.source["column"] else {}
        if self.label.strip().endswith(":") and not isinstance(self.opcodes, dict):
            out["pc"] = f"0x{self.label.strip().removesuffix(':')}"
        out["disasm"] = self.words
        if opcodes:
            out["opcodes"] = self.opcodes
        return out


class Listing:
    """A program with its types and lines, for either form of code."""

    def __init__(self, item: Found, *, linum: bool) -> None:
        self.kernel = item.kernel
        self.info = item.info
        self.linum = linum
        self.btf = self._types()
        self.symbols: dict[int, str] | None = None

    def _types(self) -> Btf | None:
        if not self.info.btf_id:
            return None
        return Btf(self.kernel.look(BtfGetFdById(self.info.btf_id), BtfGetInfo).data)

    def heads(self) -> dict[int, str]:
        """Slot to the prototype of the function that begins there."""
        if self.btf is None:
            return {}
        heads = {}
        for slot, type_id in FUNC_INFO.iter_unpack(self.info.func_info):
            function = self.btf.type(type_id)
            if isinstance(function, Func):
                heads[slot] = prototype(function)
        return heads

    def lines(self) -> dict[int, dict[str, Any]]:
        """Slot to the source line that begins there."""
        if self.btf is None:
            return {}
        lines = {}
        for slot, file, words, place in LINE_INFO.iter_unpack(self.info.line_info):
            lines[slot] = {
                "file": self._string(file),
                "text": self._string(words).lstrip(),
                "line": place >> 10,
                "column": place & 1023,
            }
        return lines

    def _string(self, offset: int) -> str:
        return self.btf.raw.name(offset, 0) if self.btf else ""

    def symbol(self, address: int) -> str | None:
        """The kernel function at an address."""
        if self.symbols is None:
            self.symbols = {}
            try:
                fd = self.kernel.system.open("/proc/kallsyms")
            except OSError:
                return None
            content = bytearray()
            while part := self.kernel.system.read(fd, 1 << 20):
                content += part
            self.kernel.system.close(fd)
            for line in content.decode().splitlines():
                place, _, name = line.split(None, 2)
                self.symbols.setdefault(int(place, 16), name.split("\t")[0])
        return self.symbols.get(address & (1 << 64) - 1)


class Xlated(Listing):
    """The bytecode after verification."""

    def rows(self) -> list[Row]:
        slots = decode(self.info.xlated_prog_insns)
        heads, lines = self.heads(), self.lines()
        rows = []
        for slot, words in text.dump(slots, call=self._target):
            width = 2 if slots[slot].code == 0x18 else 1
            code = b"".join(insn.encode() for insn in slots[slot : slot + width])
            head = heads.get(slot)
            rows.append(
                Row(
                    f"{head}:" if head else "",
                    lines.get(slot),
                    f"{slot:4d}: ",
                    words,
                    f"       {code.hex(' ')}",
                    _fields(slots[slot], code),
                    self.linum,
                )
            )
        return rows

    def _target(self, insn: Instruction) -> str | None:
        """A helper's name, where the kernel wrote its distance over its number."""
        from minibcc.abi.helpers import name_of

        if insn.src or name_of(insn.imm):
            return None
        base = next((a for a, n in (self._all_symbols()).items() if n == "__bpf_call_base"), None)
        return self.symbol(base + insn.imm) if base is not None else None

    def _all_symbols(self) -> dict[int, str]:
        self.symbol(0)
        return self.symbols or {}


def _fields(insn: Instruction, code: bytes) -> dict[str, Any]:
    """An instruction's bytes by field, as bpftool's JSON has them."""
    imm = code[4:8] + code[8:12] + code[12:16] if len(code) == 16 else code[4:8]
    return {
        "code": f"0x{insn.code:02x}",
        "src_reg": f"0x{insn.src:x}",
        "dst_reg": f"0x{insn.dst:x}",
        "off": [f"0x{byte:02x}" for byte in code[2:4]],
        "imm": [f"0x{byte:02x}" for byte in imm],
    }


class Jited(Listing):
    """The native code, by capstone, in AT&T's syntax."""

    def rows(self) -> list[Row]:
        from minibcc.kernel.vm.disassembly import disassemble

        info = self.info
        if not info.jited_prog_insns:
            raise ShowError("no instructions returned")
        heads = list(self.heads().values())
        slots = [slot for slot, *_ in LINE_INFO.iter_unpack(info.line_info)]
        lines = self.lines()
        native = dict(zip(info.jited_line_info, slots, strict=False))
        lengths = info.jited_func_lens or (len(info.jited_prog_insns),)
        starts = info.jited_ksyms or (0,)
        rows, position = [], 0
        for index, (start, length) in enumerate(zip(starts, lengths, strict=False)):
            code = info.jited_prog_insns[position : position + length]
            position += length
            head = f"{heads[index]}:\n" if index < len(heads) else ""
            tag = (info.prog_tags[index] if index < len(info.prog_tags) else info.tag).hex()
            head += f"bpf_prog_{tag}_{info.name}:"
            for offset, raw, words in disassemble(code, start):
                source = lines.get(native.get(start + offset, -1))
                rows.append(
                    Row(
                        "" if offset else head,
                        source,
                        f"{offset:4x}:\t",
                        words,
                        "\t" + raw.hex(" "),
                        [f"0x{byte:02x}" for byte in raw],
                        self.linum,
                    )
                )
        return rows


COMMANDS: dict[str, Callable[[Look], None]] = {"show": show, "list": list_, "dump": dump}
