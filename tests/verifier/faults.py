"""A mistake of each kind: for every template of `templates.txt` instructions that earn it.

`RECIPES` maps a template to functions of a chance that give instructions; they go to the end of a
program whose R6 is the context, in which nothing else is taken for granted. Where the mistake
needs a type of program, it stands beside it. `program(template, rng)` is a whole program: now and
then one in which the mistake does no harm, as on a branch that is never taken.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

from minibcc.abi.bpf import MapFlags, MapType, ProgType
from minibcc.isa.instruction import Instruction
from minibcc.kernel.verifier.contract import MapFacts, Source
from minibcc.records import replace
from tests.verifier import careful
from tests.verifier.generate import MAPS

I = Instruction  # noqa: E741  # programs are written in it, many on a line
Insns: TypeAlias = list[Instruction]
Recipe: TypeAlias = Callable[[random.Random], Insns]

READ_ONLY = MapFacts(MapType.ARRAY, 4, 16, 2, MapFlags.RDONLY_PROG)
WITH_READ_ONLY = {**MAPS, 8: READ_ONLY}
RESULT = (I(0xB7, 0), I(0x95))
FORM, TRACED, PACKETS = "form", ProgType.KPROBE, ProgType.SCHED_CLS


def unknown(dst: int) -> Insns:
    return [I(0x85, imm=14), I(0xBF, dst, 0)]


def value(rng: random.Random, number: int = 2, check: bool = True) -> Insns:
    """R0: a value of 32 bytes (map 2) or 16 (map 1)."""
    out = [I(0x62, 10, 0, -4, rng.randrange(4)), I(0xBF, 2, 10), I(0x07, 2, imm=-4)]
    out += [I(0x18, 1, 1, 0, number), I(0), I(0x85, imm=1)]
    return [*out, I(0x55, 0, 0, 2, 0), *RESULT] if check else out


def packet(length: int) -> Insns:
    """R2: a packet (of a SCHED_CLS program) of at least `length` bytes."""
    out = [I(0x61, 2, 6, 76), I(0x61, 3, 6, 80), I(0xBF, 1, 2), I(0x07, 1, imm=length)]
    return [*out, I(0xBD, 1, 3, 2), *RESULT]


def record(size: int = 16) -> Insns:
    """R0: a record of a ring buffer."""
    out = [I(0x18, 1, 1, 0, 4), I(0), I(0xB7, 2, imm=size), I(0xB7, 3), I(0x85, imm=131)]
    return [*out, I(0x55, 0, 0, 2, 0), *RESULT]


SUBMIT = [I(0xBF, 1, 0), I(0xB7, 2), I(0x85, imm=132)]
LOADS = (0x71, 0x69, 0x61, 0x79)


def _variable(rng: random.Random, mask: int) -> Insns:
    """R7: some number of the bits in `mask`."""
    return [*unknown(7), I(0x57, 7, imm=mask)]


def _deep(rng: random.Random) -> Insns:
    """Nine functions, each of which calls the next; they follow an exit."""
    out = [I(0x85, src=1, imm=1), I(0x95)]
    for _ in range(8):
        out += [I(0x85, src=1, imm=1), I(0x95)]
    return [*out, *RESULT]


def _stacks(rng: random.Random) -> Insns:
    first, second = rng.choice(((300, 300), (512, 64), (256, 320)))
    out = [I(0x72, 10, 0, -first, 1), I(0x85, src=1, imm=1), I(0x95)]
    return [*out, I(0x72, 10, 0, -second, 1), *RESULT]


def _many(rng: random.Random) -> Insns:
    """More instructions than are walked: cheap ones, many to a round."""
    body = [I(0xB7, 1 + n % 3, imm=n % 7) for n in range(rng.choice((3000, 5000)))]
    return [I(0xB7, 7), *body, I(0x07, 7, imm=1), I(0xA5, 7, 0, -len(body) - 2, 1000)]


def _two_kinds(rng: random.Random) -> Insns:
    """One load of the context on one path and of a map's value on the other."""
    out = [*value(rng), I(0xBF, 1, 6), *unknown(7)[:0], I(0x61, 7, 6, rng.choice((0, 8)))]
    return [*out, I(0x15, 7, 0, 1, 3), I(0xBF, 1, 0), I(0x61, 3, 1, rng.choice((0, 8)))]


def _loop(rng: random.Random) -> Insns:
    register = rng.choice((7, 8))
    return [*unknown(register), I(0x55, register, 0, -1, rng.choice((1, 9, 77)))]


RECIPES: dict[str, tuple[ProgType | str | None, Recipe]] = {
    "invalid access to map value, value_size=N off=N size=N": (
        None,
        lambda r: [*value(r), I(r.choice(LOADS[1:]), 3, 0, r.choice((31, 32, 64, -4)))],
    ),
    "R# !read_ok": (
        None,
        lambda r: [*unknown(7), I(0xBF, 7, r.choice((1, 2, 3, 4, 5)))],
    ),
    "invalid write to stack R# off=N size=N": (
        None,
        lambda r: [I(r.choice((0x7A, 0x62)), 10, 0, r.choice((0, 8, -520, -1024)), 1)],
    ),
    "invalid access to packet, off=N size=N, R#(id=N,off=N,r=N)": (
        PACKETS,
        lambda r: [*packet(14), I(r.choice(LOADS[1:]), 1, 2, r.choice((13, 14, 20)))],
    ),
    "math between map_value pointer and register with unbounded min value is not allowed": (
        None,
        lambda r: [*unknown(7), *value(r), I(0x0F, 0, 7)],
    ),
    "R# invalid mem access 'scalar'": (
        None,
        lambda r: [*unknown(7), I(r.choice(LOADS), 1, 7, r.choice((0, 8)))],
    ),
    "invalid bpf_context access off=N size=N": (
        None,
        lambda r: [I(0x79, 1, 6, r.choice((8192, 9000, 16384)))],
    ),
    "R# type=T expected=T": (
        None,
        lambda r: [
            I(0x18, 1, 1, 0, r.choice((1, 2))), I(0), I(0xB7, 2, imm=r.choice((0, 1))),
            I(0x85, imm=1),
        ],
    ),
    "misaligned stack access off N+N+N size N": (
        None,
        lambda r: [I(r.choice((0x7A, 0x62)), 10, 0, r.choice((-9, -13, -15, -17)), 1)],
    ),
    "invalid read from stack R# off=N size=N": (
        None,
        lambda r: [I(r.choice(LOADS[2:]), 1, 10, r.choice((0, 8, -520)))],
    ),
    "R# N-bit pointer arithmetic prohibited": (
        None,
        lambda r: [I(0xBF, 1, 10), I(r.choice((0x04, 0x54, 0x44)), 1, imm=8)],
    ),
    "R# unbounded memory access, make sure to bounds check any such access": (
        None,
        lambda r: [*unknown(7), I(0x77, 7, imm=r.choice((8, 16, 32))), *value(r), I(0x0F, 0, 7),
                   I(r.choice(LOADS), 1, 0)],
    ),
    "R# min value is negative, either use unsigned or 'var &= const'": (
        None,
        lambda r: [*unknown(2), *([I(0xC7, 2, imm=8)] if r.random() < 0.5 else []),
                   I(0xBF, 1, 10), I(0x07, 1, imm=-16), I(0xB7, 3), I(0x85, imm=113)],
    ),
    "R# invalid mem access 'map_value_or_null'": (
        None,
        lambda r: [*value(r, 1, False), I(r.choice(LOADS), 1, 0, r.choice((0, 8)))],
    ),
    "unreachable insn N": (
        FORM,
        lambda r: [I(0x05, off=1), I(0xB7, 1, imm=r.choice((0, 1)))],
    ),
    "R# invalid zero-sized read: u64=[N,N]": (
        None,
        lambda r: [I(0xBF, 1, 10), I(0x07, 1, imm=-16), *_variable(r, 15)[:0], I(0xB7, 2),
                   I(0x85, imm=16)],
    ),
    "jump out of range from insn N to N": (
        FORM,
        lambda r: [I(0xB7, 1), I(r.choice((0x05, 0x15)), 1, 0, r.choice((100, 2000, -3000)))],
    ),
    "invalid shift N": (
        None,
        lambda r: [*unknown(7), I(r.choice((0x67, 0x77, 0xC7)), 7, imm=r.choice((64, 65, -1)))],
    ),
    "infinite loop detected at insn N": (
        None,
        lambda r: [*unknown(7), I(0x55, 7, 0, -1, r.choice((1, 9, 77)))],
    ),
    "R# tried to subtract pointer from scalar": (
        None,
        lambda r: [I(0xB7, 7, imm=r.choice((0, 8))), I(0x1F, 7, r.choice((6, 10)))],
    ),
    "invalid size of register fill": (
        None,
        lambda r: [I(0x7B, 10, r.choice((6, 10)), -8), I(r.choice(LOADS[:3]), 1, 10, -8)],
    ),
    "div by zero": (
        None,
        lambda r: [*unknown(7), I(r.choice((0x37, 0x97, 0x34, 0x94)), 7)],
    ),
    "invalid bpf_ld_imm64 insn": (
        FORM,
        lambda r: [I(0x18, 1, imm=5), r.choice((I(0xB7, 1), I(0, 1), I(0, 0, 1), I(0, 0, 0, 4)))],
    ),
    "math between map_value pointer and N is not allowed": (
        None,
        lambda r: [*value(r), I(0x07, 0, imm=r.choice((0x20000000, 0x7FFFFFFF, -0x20000000)))],
    ),
    "R# pointer arithmetic on map_value_or_null prohibited, null-check it first": (
        None,
        lambda r: [*value(r, 1, False), I(0x07, 0, imm=r.choice((0, 4, 8)))],
    ),
    "invalid access to memory, mem_size=N off=N size=N": (
        None,
        lambda r: [*record(), I(r.choice((0x7A, 0x62)), 0, 0, r.choice((13, 16, 24)), 1), *SUBMIT],
    ),
    "value N makes map_value pointer be out of bounds": (
        None,
        lambda r: [*unknown(7), I(0x67, 7, imm=32), I(0xC7, 7, imm=r.choice((32, 33))),
                   *value(r), I(0x0F, 0, 7)],
    ),
    "R# offset is outside of the packet": (
        PACKETS,
        lambda r: [I(0x61, 2, 6, 76), I(0x61, 3, 6, 80), I(0xBF, 1, 2), I(0x07, 1, imm=14),
                   I(r.choice((0x2D, 0x3D)), 1, 3, 2), *RESULT, I(r.choice(LOADS), 4, 1)],
    ),
    "frame pointer is read only": (
        None,
        lambda r: [r.choice((I(0x07, 10, imm=-8), I(0xB7, 10), I(0xBF, 10, 6)))],
    ),
    "BPF program is too large. Processed N insn": (FORM, _many),
    "last insn is not an exit or jmp": (
        FORM,
        lambda r: [I(0xB7, 0), I(0x95), I(0xB7, 0)],
    ),
    "unknown opcode N": (
        FORM,
        lambda r: [I(r.choice((0x8F, 0x9F, 0xEF, 0xFF, 0x00, 0x02, 0x60, 0xF5)), 1)],
    ),
    "R# min value is negative, either use unsigned index or do a if (index >=N) check.": (
        None,
        lambda r: [*unknown(7), I(0x57, 7, imm=7), I(0x17, 7, imm=r.choice((1, 3, 8))), *value(r),
                   I(0x0F, 0, 7), I(r.choice(LOADS), 1, 0)],
    ),
    "dereference of modified ctx ptr R# off=N disallowed": (
        TRACED,
        lambda r: [I(0x07, 6, imm=r.choice((8, 16))), I(0x79, 1, 6, r.choice((0, 8)))],
    ),
    "same insn cannot be used with different pointers": (PACKETS, _two_kinds),
    "math between fp pointer and N is not allowed": (
        None,
        lambda r: [I(0xBF, 1, 10), I(0x07, 1, imm=r.choice((0x20000000, -0x7FFFFFFF)))],
    ),
    "program of this type cannot use helper H#N": (
        TRACED,
        lambda r: [I(0x85, imm=r.choice((9, 10, 13, 160, 44)))],
    ),
    "misaligned value access off N+N+N size N": (
        None,
        lambda r: [*value(r), I(0xB7, 1, imm=1), I(0xDB, 0, 1, r.choice((1, 4, 9, 20)))],
    ),
    "math between fp pointer and register with unbounded min value is not allowed": (
        None,
        lambda r: [*unknown(7), I(0xBF, 1, 10), I(0x0F, 1, 7)],
    ),
    "misaligned context access off N+N+N size N": (
        FORM,
        lambda r: [I(0x79, 1, 6, r.choice((1, 3, 12)))],
    ),
    "R# pointer += pointer prohibited": (
        None,
        lambda r: [I(0xBF, 1, 10), I(0x0F, 1, r.choice((6, 10)))],
    ),
    "Unreleased reference id=N alloc_insn=N": (
        None,
        lambda r: [*record(), I(0x7A, 0, 0, 0, r.choice((0, 1)))],
    ),
    "R# is invalid": (
        FORM,
        lambda r: [r.choice((I(0xB7, 11), I(0xBF, 12, 6), I(0xBF, 1, 13), I(0x79, 1, 15)))],
    ),
    "invalid access to map value pointer, value_size=N off=N": (
        FORM,
        lambda r: [I(0x18, 1, 2, 0, 7), I(0, imm=r.choice((64, 65, 1000)))],
    ),
    "write into map forbidden, value_size=N off=N size=N": (
        None,
        lambda r: [*value(r, 8), I(r.choice((0x7A, 0x62, 0x72)), 0, 0, r.choice((0, 8)), 1)],
    ),
    "BPF_JA uses reserved fields": (
        None,
        lambda r: [r.choice((I(0x05, 1), I(0x05, 0, 1), I(0x05, imm=3)))],
    ),
    "misaligned access off (N; N)+N+N size N": (
        None,
        lambda r: [*_variable(r, r.choice((3, 5, 7))), *record(), I(0xB7, 1, imm=1),
                   I(0xBF, 8, 0), I(0x0F, 8, 7), I(0xDB, 8, 1), *SUBMIT],
    ),
    "BPF_CALL uses reserved fields": (
        None,
        lambda r: [r.choice((I(0x85, 1, 0, 0, 7), I(0x85, 3, 0, 0, 5), I(0x85, 0, 4, 0, 7)))],
    ),
    "negative offset ctx ptr R# off=N disallowed": (
        TRACED,
        lambda r: [I(0x07, 6, imm=r.choice((-8, -16))), I(0x79, 1, 6, 24)],
    ),
    "BPF_ATOMIC stores into R# ctx is not allowed": (
        None,
        lambda r: [I(0xB7, 1, imm=1), I(r.choice((0xDB, 0xC3)), 6, 1, r.choice((0, 8)))],
    ),
    "R# pointer arithmetic on pkt_end prohibited": (
        PACKETS,
        lambda r: [I(0x61, 3, 6, 80), I(r.choice((0x07, 0x17)), 3, imm=r.choice((1, 8)))],
    ),
    "fp pointer offset N is not allowed": (
        None,
        lambda r: [I(0xBF, 1, 10)] + [I(0x07, 1, imm=r.choice((0x1FFFFFFF, 0x1FFF0000)))] * 2,
    ),
    "R# bitwise operator &= on pointer prohibited": (
        None,
        lambda r: [I(0xBF, 1, 10), I(0x57, 1, imm=r.choice((-8, 7, 255)))],
    ),
    "the call stack of N frames is too deep": (FORM, _deep),
    "BPF_LD_IMM64 uses reserved fields": (
        FORM,
        lambda r: [I(0x18, 1, 0, r.choice((1, 8)), 5), I(0)],
    ),
    "R# bitwise operator ^= on pointer prohibited": (
        None,
        lambda r: [I(0xBF, 1, 10), I(0xA7, 1, imm=r.choice((-8, 7, 255)))],
    ),
    "misaligned value access off (N; N)+N+N size N": (
        None,
        lambda r: [*_variable(r, r.choice((3, 5, 7))), *value(r), I(0x0F, 0, 7), I(0xB7, 1),
                   I(0xDB, 0, 1)],
    ),
    "combined stack size of N calls is N. Too large": (FORM, _stacks),
    "R# unbounded memory access, use 'var &= const' or 'if (var < const)'": (
        None,
        lambda r: [*unknown(2), I(0x77, 2, imm=r.choice((1, 8, 32))), I(0xBF, 1, 10),
                   I(0x07, 1, imm=-16), I(0xB7, 3), I(0x85, imm=113)],
    ),
    "invalid variable-offset read from stack R# var_off=V off=N size=N": (
        None,
        lambda r: [*_variable(r, r.choice((31, 63, 255))), I(0xBF, 1, 10), I(0x0F, 1, 7),
                   I(0x71, 1, 1, r.choice((-8, -16)))],
    ),
}  # fmt: skip
"""Template to (type of program, "form" for a program of its own, None for any) and recipe."""

_OWN = {
    "the call stack of N frames is too deep": ProgType.KPROBE,
    "combined stack size of N calls is N. Too large": ProgType.SOCKET_FILTER,
    "misaligned context access off N+N+N size N": ProgType.SCHED_CLS,
}


def program(wanted: str, rng: random.Random) -> Source:
    """A program with the mistake that earns the template `wanted`."""
    kind, recipe = RECIPES[wanted]
    flags = 1 if wanted == "misaligned context access off N+N+N size N" else 0
    if kind == FORM:
        prog_type = _OWN.get(wanted, ProgType.KPROBE)
        slots = [I(0xBF, 6, 1), *recipe(rng)]
        if slots[-1] != I(0x95) and wanted != "last insn is not an exit or jmp":
            slots += RESULT
        return Source(tuple(slots), prog_type, maps=WITH_READ_ONLY, prog_flags=flags)
    source = careful.beginning(rng, None if kind is None else ProgType(kind))
    slots = [*source.instructions, *recipe(rng)]
    if rng.random() < 0.1:  # on a branch that is never taken
        slots = [*source.instructions, I(0xB7, 0, imm=1), *recipe(rng)]
        skipped = len(slots) - len(source.instructions) - 1
        slots.insert(len(source.instructions) + 1, I(0x15, 0, 0, skipped, 1))
    slots += RESULT
    return replace(source, instructions=tuple(slots), maps=WITH_READ_ONLY)
