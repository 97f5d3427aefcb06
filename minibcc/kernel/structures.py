"""BPF's own structures in kernel memory: maps, programs and links as programs see them.

Iterators hand programs pointers to them. They are laid out like the machine's (`machine.objects`),
at each read from what the kernel knows then. Mirrors ``struct bpf_map``, ``struct bpf_prog``,
``struct bpf_prog_aux`` and ``struct bpf_link`` of include/linux/bpf.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from minibcc.machine.objects import Family

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map
    from minibcc.machine.objects import Objects, Parts
    from minibcc.machine.structures import Values

MAPS = 0xFFFF_8895_0000_0000
PROGRAMS = 0xFFFF_8896_0000_0000
PROGRAM_DETAILS = 0xFFFF_8897_0000_0000
LINKS = 0xFFFF_8898_0000_0000
SEQUENCES = 0xFFFF_8899_0000_0000
SYMBOLS = 0xFFFF_889A_0000_0000
STRIDE = 0x1000
META = 0x100
"""Where a sequence's ``struct bpf_iter_meta`` lies behind its ``struct seq_file``."""


def map_address(map: Map) -> int:
    return MAPS + map.id * STRIDE


def serve(kernel: Kernel) -> None:
    """Makes the structures readable."""
    for bottom, layout in FAMILIES.items():

        def parts(objects: Objects, number: int, layout: Layout = layout) -> Parts:
            return layout(kernel, number)

        kernel.machine.objects.serve(Family(bottom, STRIDE, parts))


def _map(kernel: Kernel, number: int) -> Parts:
    map = kernel.maps.find(number)
    return None if map is None else [("bpf_map", map_values(map))]


def map_values(map: Map) -> Values:
    """What is known of a map, by the fields of ``struct bpf_map``."""
    return {
        "map_type": map.type,
        "key_size": map.key_size,
        "value_size": map.value_size,
        "max_entries": map.max_entries,
        "map_flags": map.flags,
        "map_extra": map.request.map_extra,
        "id": map.id,
        "numa_node": (1 << 32) - 1,
        "btf_key_type_id": map.request.btf_key_type_id if map.btf else 0,
        "btf_value_type_id": map.request.btf_value_type_id if map.btf else 0,
        "name": map.name.encode(),
        "refcnt.counter": map.references,
        "usercnt.counter": map.users,
        "frozen": map.frozen,
    }


def _program(kernel: Kernel, number: int) -> Parts:
    program = kernel.programs.find(number)
    if program is None:
        return None
    values: Values = {
        "jited": kernel.engine.name != "interpreter",
        "jit_requested": kernel.engine.name != "interpreter",
        "gpl_compatible": program.gpl,
        "type": program.request.prog_type,
        "expected_attach_type": program.request.expected_attach_type,
        "len": len(program.xlated) // 8,
        "tag": program.tag,
        "aux": PROGRAM_DETAILS + number * STRIDE,
    }
    return [("bpf_prog", values)]


def _program_details(kernel: Kernel, number: int) -> Parts:
    """``struct bpf_prog_aux``, and behind it the name of the function it is attached to."""
    program = kernel.programs.find(number)
    if program is None:
        return None
    behind = PROGRAM_DETAILS + number * STRIDE + 0x800
    values: Values = {
        "refcnt.counter": program.references,
        "used_map_cnt": len(program.maps),
        "max_ctx_offset": program.reach,
        "id": program.id,
        "func_cnt": len(program.image.starts),
        "attach_btf_id": program.attach_btf_id,
        "attach_func_name": behind if program.attach_to else 0,
        "prog": PROGRAMS + number * STRIDE,
        "load_time": program.load_time,
        "verified_insns": program.facts.processed,
        "name": program.name.encode(),
    }
    size = kernel.machine.objects.size("bpf_prog_aux")
    filler = bytes(0x800 - size)
    return [("bpf_prog_aux", values), filler, program.attach_to.encode() + b"\0"]


def _link(kernel: Kernel, number: int) -> Parts:
    link = kernel.links.find(number)
    if link is None:
        return None
    values: Values = {
        "refcnt.counter": link.references,
        "id": link.id,
        "type": link.type,
        "prog": PROGRAMS + link.program.id * STRIDE,
        "attach_type": link.attach_type,
    }
    return [("bpf_link", values)]


def _sequence(kernel: Kernel, number: int) -> Parts:
    sequence = kernel.sequences.get(SEQUENCES + number * STRIDE)
    if sequence is None:
        return None
    values: Values = {"size": sequence.size, "count": sequence.count}
    filler = bytes(META - kernel.machine.objects.size("seq_file"))
    meta: Values = {
        "seq": SEQUENCES + number * STRIDE,
        "session_id": number,
        "seq_num": sequence.number,
    }
    return [("seq_file", values), filler, ("bpf_iter_meta", meta)]


def _symbol(kernel: Kernel, number: int) -> Parts:
    """``struct kallsym_iter``: a line of /proc/kallsyms."""
    if number >= len(kernel.symbols.lines):
        return None
    address, kind, name = kernel.symbols.lines[number]
    values: Values = {
        "pos": number,
        "value": address,
        "type": ord(kind),
        "name": name.encode(),
        "exported": kind.isupper(),
        "show_value": 1,
    }
    return [("kallsym_iter", values)]


Layout: TypeAlias = "Callable[[Kernel, int], Parts]"
FAMILIES: dict[int, Layout] = {
    MAPS: _map,
    PROGRAMS: _program,
    PROGRAM_DETAILS: _program_details,
    LINKS: _link,
    SEQUENCES: _sequence,
    SYMBOLS: _symbol,
}
