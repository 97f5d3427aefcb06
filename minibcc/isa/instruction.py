"""One BPF instruction: eight bytes, five fields, as Linux's ``struct bpf_insn`` holds them.

A program is a sequence of slots. The 64-bit immediate load is the one instruction of two slots;
as in Linux, its second slot is an `Instruction` of its own, with code 0 and the high half of the
immediate, so that positions in a list are the positions that jumps and logs count in.

Source: RFC 9669, section 3 (instruction encoding).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

SIZE = 8
"""Bytes a slot."""

_SLOT = struct.Struct("<BBhi")


class Instruction(NamedTuple):
    """A slot. `off` and `imm` are signed (16 and 32 bits); `dst` and `src` are 0..15."""

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0

    def encode(self) -> bytes:
        return _SLOT.pack(self.code, self.src << 4 | self.dst, self.off, self.imm)


def decode(code: bytes | memoryview) -> list[Instruction]:
    """Bytes to slots. Raises ValueError unless the length is a multiple of eight."""
    if len(code) % SIZE:
        raise ValueError(f"{len(code)} bytes are no whole number of 8-byte instructions")
    return [
        Instruction(op, registers & 15, registers >> 4, off, imm)
        for op, registers, off, imm in _SLOT.iter_unpack(code)
    ]


def encode(instructions: Iterable[Instruction]) -> bytes:
    """Slots to bytes."""
    return b"".join([insn.encode() for insn in instructions])


LD_IMM64 = 0x18


def imm64(low: Instruction, high: Instruction) -> int:
    """The unsigned 64-bit immediate of a two-slot load."""
    return (low.imm & 0xFFFF_FFFF) | (high.imm & 0xFFFF_FFFF) << 32
