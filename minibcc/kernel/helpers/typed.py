"""Helpers that print values by their types. Mirrors ``bpf_snprintf_btf`` and
``bpf_seq_printf_btf`` of kernel/trace/bpf_trace.c."""

from __future__ import annotations

import struct
from errno import EFAULT, EINVAL, ENOENT
from typing import TYPE_CHECKING

from minibcc.btf.rendering import Renderer, Unreadable
from minibcc.kernel.helpers.copying import read_kernel
from minibcc.kernel.helpers.formatting import hashed
from minibcc.kernel.helpers.registry import helper
from minibcc.kernel.helpers.sequence import write
from minibcc.machine.memory import BadAddress

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF
POINTER_SIZE = 16
"""Bytes of ``struct btf_ptr``: address, type id, flags."""
FLAGS = 0xF


def _show(run: Run, pointer: int, size: int, flags: int, write: Callable[[str], None]) -> int:
    """0 or a negative errno."""
    if size & MASK32 != POINTER_SIZE or flags & ~FLAGS:
        return -EINVAL
    address, number, reserved = struct.unpack("<QII", run.memory.view(pointer, POINTER_SIZE))
    if reserved or not 0 < number < 1 << 31:
        return -EINVAL
    try:
        type = run.kernel.vmlinux.types().type(number)
    except (KeyError, IndexError, ValueError):
        type = None
    if type is None:
        return -ENOENT

    def read(address: int, size: int) -> bytes:
        try:
            return read_kernel(run, address, size)
        except BadAddress:
            raise Unreadable from None

    try:
        Renderer(write, read, hashed, flags).show(type, address)
    except Unreadable:
        return -EFAULT
    return 0


@helper("snprintf_btf")
def snprintf_btf(run: Run, target: int, size: int, pointer: int, length: int, flags: int) -> int:
    """The length that the whole text needs, without its NUL."""
    parts: list[str] = []
    error = _show(run, pointer, length, flags, parts.append)
    text = "".join(parts).encode()
    size &= MASK32
    if text and size:
        cut = text[: size - 1] + b"\0"
        run.memory.view(target, size)[: len(cut)] = cut
    return error or len(text)


@helper("seq_printf_btf")
def seq_printf_btf(run: Run, sequence: int, pointer: int, size: int, flags: int, r5: int) -> int:
    def add(text: str) -> None:
        write(run, sequence, text.encode())

    return _show(run, pointer, size, flags, add)
