"""Programs for completeness: every row of the instruction set, every type of map."""

from __future__ import annotations

import random

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.isa.instruction import Instruction
from minibcc.isa.opcodes import OPCODES
from minibcc.kernel.verifier.contract import MapFacts, Source
from minibcc.records import replace
from tests.verifier import careful

I = Instruction  # noqa: E741  # programs are written in it, many on a line
INNER = MapFacts(MapType.ARRAY, 4, 8, 2)


OF_TYPE = {
    kind: MapFacts(kind, *sizes)
    for kind, sizes in {
        MapType.HASH: (4, 16, 8),
        MapType.ARRAY: (4, 32, 4),
        MapType.PROG_ARRAY: (4, 4, 4),
        MapType.PERF_EVENT_ARRAY: (4, 4, 4),
        MapType.PERCPU_HASH: (4, 16, 8),
        MapType.PERCPU_ARRAY: (4, 16, 4),
        MapType.STACK_TRACE: (4, 8 * 127, 16),
        MapType.CGROUP_ARRAY: (4, 4, 4),
        MapType.LRU_HASH: (4, 16, 8),
        MapType.LRU_PERCPU_HASH: (4, 16, 8),
        MapType.LPM_TRIE: (8, 16, 8, MapFlags.NO_PREALLOC),
        MapType.DEVMAP: (4, 4, 4),
        MapType.SOCKMAP: (4, 4, 4),
        MapType.CPUMAP: (4, 4, 2),
        MapType.XSKMAP: (4, 4, 4),
        MapType.SOCKHASH: (4, 4, 4),
        MapType.CGROUP_STORAGE: (16, 8, 0),
        MapType.REUSEPORT_SOCKARRAY: (4, 8, 4),
        MapType.PERCPU_CGROUP_STORAGE: (16, 8, 0),
        MapType.QUEUE: (0, 8, 4),
        MapType.STACK: (0, 8, 4),
        MapType.DEVMAP_HASH: (4, 4, 4),
        MapType.RINGBUF: (0, 0, 4096),
        MapType.BLOOM_FILTER: (0, 8, 8),
        MapType.USER_RINGBUF: (0, 0, 4096),
    }.items()
} | {
    MapType.ARRAY_OF_MAPS: MapFacts(MapType.ARRAY_OF_MAPS, 4, 4, 2, inner=INNER),
    MapType.HASH_OF_MAPS: MapFacts(MapType.HASH_OF_MAPS, 4, 4, 2, inner=INNER),
}
"""Those that can be made without BTF; ARENA and STRUCT_OPS and the storages need more."""

HELPERS = (1, 1, 1, 2, 3, 12, 25, 27, 51, 87, 88, 89, 115, 130, 131, 195)


def opcode(rng: random.Random, number: int) -> Source:
    """A program with an instruction of row `number` of the instruction set."""
    row = OPCODES[number % len(OPCODES)]
    source = careful.beginning(rng)
    slots = list(source.instructions)
    slots += [I(0xB7, register, imm=rng.choice((0, 1, 8))) for register in (0, 1, 2, 3, 4, 5)]
    slots += [I(0x7A, 10, 0, -8, 5), I(0xBF, 2, 10)]
    dst, src = rng.choice((1, 3, 7, 8)), rng.choice((1, 3, 7, 8))
    if row.kind in ("store", "atomic"):
        dst = 2 if row.op != "load_acquire" else dst
        src = 2 if row.op == "load_acquire" else src
    if row.kind == "load":
        src = 2
    off, imm = 0, rng.choice((1, 2, 8, 31))
    if row.kind in ("load", "store", "atomic"):
        off = -8
    if row.op == "function":
        imm = 1
    if row.op == "helper":
        imm = rng.choice((5, 7, 8, 14))
    if row.kind == "goto":
        off = imm = 0 if row.op != "may_goto" else 1
    wanted = (row.dst, row.src, row.off, row.imm)
    free = (dst, src, off, imm)
    fields = [b if a is None else a for a, b in zip(wanted, free, strict=True)]
    insn = I(row.code, *fields)
    if row.kind == "jump":
        insn = insn._replace(off=1)
    slots.append(insn)
    if row.kind == "imm64":
        slots.append(I(0))
    slots += [I(0xB7, 0), I(0x95)]
    if row.op == "function":
        slots += [I(0xB7, 0), I(0x95)]
    return replace(source, instructions=tuple(slots), maps={1: MapFacts(MapType.ARRAY, 4, 8, 1)})


def map_type(rng: random.Random, number: int, helper: int = 0) -> Source:
    """A program that does something with a map of the type that comes at `number`."""
    kinds = list(OF_TYPE)
    facts = OF_TYPE[kinds[number % len(kinds)]]
    helper = helper or rng.choice(HELPERS)
    source = careful.beginning(rng)
    slots = [*source.instructions, I(0x7A, 10, 0, -8, rng.choice((0, 1))), I(0x7A, 10, 0, -16, 0)]
    slots += [I(0x7A, 10, 0, -24, 3), I(0x18, 1, 1, 0, 20), I(0), I(0xBF, 2, 10)]
    slots += [I(0x07, 2, imm=-16), I(0xBF, 3, 10), I(0x07, 3, imm=-24), I(0xB7, 4), I(0xB7, 5)]
    if helper in (12, 25, 27):
        slots += [I(0xBF, 2, 1), I(0xBF, 1, 6), *([I(0xB7, 3)] if helper != 25 else [])]
        slots += [I(0xBF, 4, 10), I(0x07, 4, imm=-8), I(0xB7, 5, imm=8)] * (helper == 25)
    elif helper in (51, 131):
        slots += [I(0xB7, 2, imm=8), I(0xB7, 3)]
    elif helper == 130:
        slots += [I(0xB7, 3, imm=8)]
    elif helper in (87, 115, 195):
        slots += [I(0xB7, 3)]
    slots.append(I(0x85, imm=helper))
    if helper in (1, 195) and rng.random() < 0.85:
        slots += [I(0x55, 0, 0, 2, 0), I(0xB7, 0), I(0x95), I(0x71, 1, 0, rng.choice((0, 7, 8)))]
    if helper == 131 and rng.random() < 0.8:
        slots += [I(0x55, 0, 0, 2, 0), I(0xB7, 0), I(0x95), I(0xBF, 1, 0), I(0xB7, 2)]
        slots += [I(0x85, imm=132)]
    slots += [I(0xB7, 0), I(0x95)]
    return replace(source, instructions=tuple(slots), maps={**source.maps, 20: facts})
