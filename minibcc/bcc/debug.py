"""What ``BPF(debug=...)``, ``disassemble_func`` and ``decode_table`` print."""

from __future__ import annotations

import ctypes as ct
import sys
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import MapType
from minibcc.bcc import constants
from minibcc.isa import text
from minibcc.isa.instruction import decode

if TYPE_CHECKING:
    from minibcc.compiler.object import BpfObject, ProgramSpec

STAGES = {constants.DEBUG_PREPROCESSOR: "pp", constants.DEBUG_LLVM_IR: "ir"}
"""Debug flag to the stage of the compiler that it prints."""


def show(
    debug: int, source: str, name: str, cflags: list[str], target: Any, compiled: BpfObject
) -> None:
    """Prints to standard error what the flags ask for."""
    for flag, stage in STAGES.items():
        if debug & flag:
            from minibcc.compiler.compile import stages

            found = stages(source, target, file=name, cflags=cflags)
            print(found[stage], file=sys.stderr)
    if debug & constants.DEBUG_SOURCE:
        for program in compiled.programs:
            print(f"Disassembly of {program.name}:", file=sys.stderr)
            print(with_source(program), file=sys.stderr)


def disassemble(program: ProgramSpec) -> str:
    """A program's bytecode as text, an instruction a line."""
    lines = [f"Disassemble of BPF program {program.name}:"]
    lines += [f"{slot:4d}: {words}" for slot, words in text.dump(decode(program.insns))]
    return "\n".join(lines)


def with_source(program: ProgramSpec) -> str:
    """The same with a comment line where the C line changes."""
    at = {line.insn: line for line in program.lines}
    lines = []
    for slot, words in text.dump(decode(program.insns)):
        if slot in at:
            lines.append(f"; {at[slot].text.strip()}  // line {at[slot].line}")
        lines.append(f"{slot:4d}: {words}")
    return "\n".join(lines)


def layout(table: Any, name: str, sizeinfo: bool) -> str:
    """The fields of a table's keys and values; with `sizeinfo` with their offsets and sizes."""
    kind = MapType(table.ttype).name
    lines = [f"Layout of BPF map {name} (type {kind}, FD {table.map_fd}, ID {table.map_id}):"]
    for word, part in (("key", getattr(table, "Key", None)), ("value", table.Leaf)):
        if part is not None:
            lines += _fields(part, word, "  ", 0, sizeinfo)
    return "\n".join(lines)


def _fields(kind: Any, name: str, indent: str, offset: int, sizeinfo: bool) -> list[str]:
    size = f"[{offset}:{ct.sizeof(kind)}] " if sizeinfo else ""
    if not issubclass(kind, ct.Structure | ct.Union):
        return [f"{indent}{size}{_name(kind)} {name};"]
    word = "union" if issubclass(kind, ct.Union) else "struct"
    lines = [f"{indent}{size}{word} {kind.__name__} {{"]
    for label, part, *_ in kind._fields_:
        lines += _fields(part, label, indent + "  ", offset + getattr(kind, label).offset, sizeinfo)
    return [*lines, f"{indent}}} {name};"]


def _name(kind: Any) -> str:
    if issubclass(kind, ct.Array):
        return f"{_name(kind._type_)}[{kind._length_}]"
    return str(kind.__name__).removeprefix("c_")
