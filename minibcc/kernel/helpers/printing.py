"""Helpers that print: to the trace buffer, and into memory.

Mirrors kernel/trace/bpf_trace.c (``bpf_trace_printk``) and kernel/bpf/helpers.c
(``bpf_snprintf``).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from errno import EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.copying import read_either, read_kernel, read_string, read_user
from minibcc.kernel.helpers.formatting import BadFormat, format_message
from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.vm.execution import Run

MAX_MESSAGE = 1024
"""``MAX_BPRINTF_BUF``: bytes of a message with its NUL."""
MAX_TEXT = 512
"""Bytes of a string argument with its NUL."""
MAX_ARGUMENTS = 12
MASK32 = 0xFFFF_FFFF


class RunReader:
    """Memory as a run sees it, for `format_message`."""

    _READERS = {"k": read_kernel, "u": read_user, "": read_either}  # noqa: RUF012  # a table

    def __init__(self, run: Run) -> None:
        self._run = run

    def text(self, kind: str, address: int) -> bytes:
        return read_string(self._run, self._READERS[kind], address, MAX_TEXT)[:-1]

    def memory(self, address: int, size: int) -> bytes:
        return read_kernel(self._run, address, size)

    def symbol(self, address: int, *, offset: bool) -> str:
        text: str = self._run.kernel.symbol(address, offset=offset)
        return text


def message(run: Run, format: int, size: int, arguments: Sequence[int]) -> bytes:
    """Raises BadFormat."""
    text, nul, _ = bytes(run.memory.view(format, size & MASK32)).partition(b"\0")
    if not nul:
        raise BadFormat
    return format_message(text, arguments, RunReader(run), MAX_MESSAGE)


def arguments_in(run: Run, data: int, size: int) -> tuple[int, ...]:
    """Arguments that come as an array of 64-bit values. Raises BadFormat."""
    size &= MASK32
    if size % 8 or size > MAX_ARGUMENTS * 8 or (size and not data):
        raise BadFormat
    return struct.unpack(f"<{size // 8}Q", run.memory.view(data, size)) if size else ()


def _trace(run: Run, message: bytes) -> int:
    kernel = run.kernel
    kernel.trace.print(run.task, run.cpu, kernel.machine.now(), message[: MAX_MESSAGE - 1])
    return len(message)


@helper("trace_printk")
def trace_printk(run: Run, format: int, size: int, a: int, b: int, c: int) -> int:
    try:
        return _trace(run, message(run, format, size, (a, b, c)))
    except BadFormat:
        return -EINVAL


@helper("trace_vprintk")
def trace_vprintk(run: Run, format: int, size: int, data: int, length: int, r5: int) -> int:
    try:
        return _trace(run, message(run, format, size, arguments_in(run, data, length)))
    except BadFormat:
        return -EINVAL


@helper("snprintf")
def snprintf(run: Run, target: int, size: int, format: int, data: int, length: int) -> int:
    """The length that the whole text needs, with its NUL."""
    size &= MASK32
    try:
        arguments = arguments_in(run, data, length)
        text = read_string(run, read_kernel, format, MAX_MESSAGE)[:-1]
        message = format_message(text, arguments, RunReader(run), size)
    except BadFormat:
        return -EINVAL
    if size:
        cut = message[: size - 1] + b"\0"
        run.memory.view(target, size)[: len(cut)] = cut
    return len(message) + 1
