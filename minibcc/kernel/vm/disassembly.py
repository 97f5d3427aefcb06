"""Native code as text: x86-64 in AT&T's syntax, spelled as binutils (and so bpftool) spells it.

It needs only bytes, so it serves views of any kernel. Capstone decodes; it writes a size on every
mnemonic (``pushq``), binutils only where no register tells the size, and small numbers in decimal
where binutils writes hexadecimal.
"""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = """
adc add and bsf bsr bswap bt btc btr bts call cmp cmpxchg dec div idiv imul inc jmp lea leave mov
movabs mul neg nop not or pop push ret rol ror sar sbb shl shr sub test xadd xchg xor
"""
_SIZED = frozenset(f"{name}{size}" for name in _NAMES.split() for size in "bwlq")
_ALWAYS_PLAIN = frozenset(("callq", "retq", "leaveq", "jmpq", "movabsq", "pushq", "popq"))
_UNSCALED = re.compile(r"\((%\w*,%\w+)\)")
_NEGATIVE = re.compile(r"\$-0x([0-9a-f]+)")
_SMALL = re.compile(r"(?<![\w.])(\$?-?)(\d)(?=\(|,|$)")


def disassemble(code: bytes, address: int = 0) -> Iterator[tuple[int, bytes, str]]:
    """Offset, bytes and text of each instruction of this computer's code that runs at `address`;
    jumps' targets count from there."""
    import capstone

    if platform.machine() in ("aarch64", "arm64"):
        reader = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    else:
        reader = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        reader.syntax = capstone.CS_OPT_SYNTAX_ATT
        reader.detail = True
    reader.skipdata = True
    for insn in reader.disasm(code, address):
        text = f"{insn.mnemonic} {insn.op_str}".rstrip()
        if reader.arch == capstone.CS_ARCH_X86:
            # Data that is no instruction has no detail.
            displaced = bool(insn.id) and insn.disp_size > 0
            sizes = [operand.size for operand in insn.operands] if insn.id else []
            text = spell(
                insn.mnemonic, insn.op_str, displaced=displaced, size=max(sizes, default=8)
            )
            if bytes(insn.bytes) == b"\x66\x90":
                text = "xchg   %ax,%ax"  # the two-byte nop by its other name
        yield insn.address - address, bytes(insn.bytes), text


def spell(mnemonic: str, operands: str, *, displaced: bool = False, size: int = 8) -> str:
    """``push   %rbp`` for pushq and %rbp; `displaced` says that an offset is encoded, even 0,
    `size` how many bytes a negative number has."""
    operands = _SMALL.sub(r"\g<1>0x\2", operands.replace(", ", ","))
    operands = _UNSCALED.sub(r"(\1,1)", operands)
    operands = _NEGATIVE.sub(lambda n: f"${(1 << 8 * size) - int(n[1], 16):#x}", operands)
    if displaced:
        operands = re.sub(r"(?<![\w])\(%", "0x0(%", operands)
    outside = re.sub(r"\([^)]*\)", "", operands)
    if mnemonic in _ALWAYS_PLAIN or (mnemonic in _SIZED and "%" in outside):
        mnemonic = mnemonic[:-1]
    return f"{mnemonic:<6} {operands}" if operands else mnemonic
