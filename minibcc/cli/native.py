"""Native code as text: x86-64 in AT&T's syntax, as bpftool prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def disassemble(code: bytes, address: int) -> Iterator[tuple[int, int, str]]:
    """Offset, size and text of each instruction of x86-64 code that runs at `address`."""
    import capstone

    reader = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    reader.syntax = capstone.CS_OPT_SYNTAX_ATT
    reader.skipdata = True
    for insn in reader.disasm(code, address):
        words = f"{insn.mnemonic:<6} {insn.op_str}".rstrip() if insn.op_str else insn.mnemonic
        yield insn.address - address, insn.size, words
