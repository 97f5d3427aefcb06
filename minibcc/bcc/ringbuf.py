"""Ring buffers: how records reach a script from BPF_RINGBUF_OUTPUT, one ring for all CPUs.

The map itself is mapped: a page with the consumer's position, which the reader writes, a page with
the producer's, then the data (Linux maps it twice in a row; reading modulo its size needs one). A
record starts with its length and two bits: busy (not submitted yet: the reader stops) and
discarded (skipped).

Mirrors: ring_buffer__poll of libbpf; kernel/bpf/ringbuf.c of Linux for the layout.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from minibcc.bcc.perf import PAGE, Records

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.system.interface import System

BUSY = 1 << 31
DISCARD = 1 << 30
HEADER = 8  # length with the two bits, and the record's page offset

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class RingReader:
    """One ring. `callback(ctx, address, size)` per record; a negative answer stops the reading."""

    def __init__(
        self,
        system: System,
        fd: int,
        size: int,
        callback: Callable[[object, int, int], object],
        ctx: object,
    ) -> None:
        self.fd = fd
        self._size = size
        self._callback = callback
        self._ctx = ctx
        self._records = Records()
        self._consumer = system.mmap(fd, PAGE, 0, writable=True)
        self._producer = system.mmap(fd, PAGE + size, PAGE)

    def consume(self) -> bool:
        """Hands over what lies in the ring. False if a callback asked to stop."""
        (position,) = _U64.unpack_from(self._consumer)
        while position < _U64.unpack_from(self._producer)[0]:
            (word,) = _U32.unpack(self._read(position, 4))
            if word & BUSY:
                break
            size = word & ~(BUSY | DISCARD)
            data = self._read(position + HEADER, size)
            position += HEADER + (size + 7 & ~7)
            _U64.pack_into(self._consumer, 0, position)
            if word & DISCARD:
                continue
            answer = self._callback(self._ctx, self._records.lend(data), size)
            if isinstance(answer, int) and answer < 0:
                return False
        return True

    def _read(self, position: int, size: int) -> bytes:
        start = position % self._size
        first = min(size, self._size - start)
        data = bytes(self._producer[PAGE + start : PAGE + start + first])
        return data + bytes(self._producer[PAGE : PAGE + size - first]) if first < size else data
