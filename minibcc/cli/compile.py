"""Compile C, as BCC takes it, to eBPF bytecode, and show what came out.

Prints each program with its tags (SHA-1 as Linux computed them before 6.18, SHA-256 as it does
now), its stack and its instructions under their C lines; ``-o`` writes an object file that bpftool
and libbpf load, ``--show STAGE`` prints what one stage of the compiler made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc import boot
from minibcc.abi.bpf import MapType
from minibcc.cli import source
from minibcc.errors import UsageError
from minibcc.isa import text
from minibcc.isa.instruction import decode
from minibcc.isa.tag import tag_sha1, tag_sha256

if TYPE_CHECKING:
    import argparse

    from minibcc.compiler.object import BpfObject, ProgramSpec
    from minibcc.isa.instruction import Instruction


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source.add_arguments(parser)
    parser.add_argument("-o", dest="output", metavar="FILE.o", help="write an ELF object")
    parser.add_argument(
        "--show",
        metavar="STAGE",
        help="print a stage: pp, tree, plain, ir, optimized, asm, lines or btf",
    )


def main(arguments: argparse.Namespace) -> int:
    files = boot.files()
    if arguments.show:
        from minibcc.compiler.compile import stages

        found = stages(source.read(arguments.file), **source.options(arguments, files))
        if arguments.show not in found:
            raise UsageError(f"no stage {arguments.show!r}: there are {', '.join(found)}")
        print(found[arguments.show].rstrip("\n"))
        return 0
    made = source.compiled(arguments, files)
    if arguments.output:
        from minibcc.compiler.elf import write

        with open(arguments.output, "wb") as file:
            file.write(write(made))
        return 0
    print(listing(made))
    return 0


def listing(made: BpfObject) -> str:
    """Maps and programs as text."""
    parts = []
    if made.maps:
        parts.append("\n".join(_map(spec) for spec in made.maps))
    parts += [program(spec) for spec in made.programs]
    return "\n\n".join(parts)


def _map(spec: object) -> str:
    from minibcc.compiler.object import MapSpec

    assert isinstance(spec, MapSpec)
    return (
        f"map {spec.name}: {MapType(spec.type).name.lower()}  key {spec.key_size}B  "
        f"value {spec.value_size}B  max_entries {spec.max_entries}"
    )


def program(spec: ProgramSpec) -> str:
    """A program's head and its instructions, under the C lines that they come from."""
    slots = decode(spec.insns)
    kind = spec.prog_type.name.lower() if spec.prog_type is not None else "function"
    attached = f"  attaches to {spec.attach_to}" if spec.attach_to else ""
    lines = [
        f"{spec.name}: {kind}{attached}",
        f"\t{len(slots)} instructions  {len(spec.insns)}B  stack {spec.stack}B",
        f"\ttag {tag_sha1(slots).hex()} (SHA-1)  {tag_sha256(slots).hex()} (SHA-256)",
    ]
    at = {line.insn: line for line in spec.lines}
    functions = {slot: name for slot, name, _ in spec.functions}
    relocated = {r.insn: r for r in spec.relocations}

    def map_name(low: Instruction, high: Instruction) -> str:
        relocation = relocated.get(position)
        if relocation is None:
            return text.bpftool_imm(low, high)
        offset = f"[0]+{relocation.offset}" if relocation.value else ""
        return f"map[{relocation.symbol}]{offset}"

    position = 0
    before: tuple[str, int] | None = None
    while position < len(slots):
        if position and position in functions:
            lines.append(f"{functions[position]}:")
        line = at.get(position)
        if line is not None and (line.file, line.line) != before:
            before = (line.file, line.line)
            lines.append(f"; {line.text.strip()}")
        wide = slots[position].code == 0x18
        high = slots[position + 1] if wide else None
        words = text.instruction(slots[position], high, imm=map_name)
        lines.append(f"{position:4d}: {words}")
        position += 2 if wide else 1
    return "\n".join(lines)
