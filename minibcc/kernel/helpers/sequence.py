"""Helpers with which iterators write text. Mirrors ``bpf_seq_*`` of kernel/trace/bpf_trace.c."""

from __future__ import annotations

from errno import EINVAL, EOVERFLOW
from typing import TYPE_CHECKING

from minibcc.kernel.helpers.formatting import BadFormat
from minibcc.kernel.helpers.printing import arguments_in, message
from minibcc.kernel.helpers.registry import helper

if TYPE_CHECKING:
    from minibcc.kernel.iterators import Sequence
    from minibcc.kernel.vm.execution import Run

MASK32 = 0xFFFF_FFFF


def write(run: Run, address: int, data: bytes) -> int:
    """0, or -EOVERFLOW where the text has become too long."""
    sequence: Sequence = run.kernel.sequences[address]
    return 0 if sequence.write(data) else -EOVERFLOW


@helper("seq_printf")
def seq_printf(run: Run, sequence: int, format: int, size: int, data: int, length: int) -> int:
    try:
        return write(run, sequence, message(run, format, size, arguments_in(run, data, length)))
    except BadFormat:
        return -EINVAL


@helper("seq_write")
def seq_write(run: Run, sequence: int, data: int, size: int, r4: int, r5: int) -> int:
    return write(run, sequence, bytes(run.memory.view(data, size & MASK32)))
