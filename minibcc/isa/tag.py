"""A program's tag: eight bytes of a hash over its instructions, the same wherever it is loaded.

Linux hashes what the program does, not where its maps happen to be: both halves of a 64-bit load
that names a map (by descriptor or index, its address or its values') count as zero. Linux up to
6.17 used SHA-1, 6.18 uses SHA-256.

Mirrors bpf_prog_calc_tag in kernel/bpf/core.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.abi.bpf import TAG_SIZE, Pseudo
from minibcc.isa.instruction import LD_IMM64, Instruction, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAPS = (Pseudo.MAP_FD, Pseudo.MAP_VALUE)


def tag_sha256(insns: Sequence[Instruction]) -> bytes:
    """The tag as Linux 6.18 computes it: 8 bytes."""
    from minibcc.digest import sha256

    return sha256(_without_maps(insns)).digest()[:TAG_SIZE]


def tag_sha1(insns: Sequence[Instruction]) -> bytes:
    """The tag as Linux before 6.18 computed it: 8 bytes."""
    from hashlib import sha1

    return sha1(_without_maps(insns), usedforsecurity=False).digest()[:TAG_SIZE]


def _without_maps(insns: Sequence[Instruction]) -> bytes:
    plain = list(insns)
    for slot, insn in enumerate(insns):
        if insn.code == LD_IMM64 and insn.src in _MAPS:
            plain[slot] = insn._replace(imm=0)
            if slot + 1 < len(plain):
                plain[slot + 1] = plain[slot + 1]._replace(imm=0)
    return encode(plain)
