"""Perf buffers: how records reach a script from BPF_PERF_OUTPUT, one ring per CPU.

A ring is one metadata page and a power of two of data pages, mapped from a perf event of type
"BPF output". The kernel moves `data_head`, the reader moves `data_tail`; between them lie records
with an 8-byte header. Callbacks get an address, as BCC's do: scripts cast it (``ct.cast(data,
...)``) or hand it to ``table.event(data)``.

Mirrors: libbcc's perf_reader.c; kernel/events/ring_buffer.c of Linux for the layout.
"""

from __future__ import annotations

import ctypes as ct
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from minibcc.abi.perf import PerfEventAttr, PerfIoctl, PerfSample, PerfSoftware, PerfType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minibcc.system.interface import System

PAGE = 4096
DATA_HEAD = 1024  # offsets in struct perf_event_mmap_page
DATA_TAIL = 1032
RECORD_LOST = 2  # PERF_RECORD_*
RECORD_SAMPLE = 9

_HEADER = struct.Struct("<IHH")  # type, misc, size with the header
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class Records:
    """Bytes lent to callbacks by address; each stays valid until many more have come."""

    def __init__(self) -> None:
        self._kept: deque[Any] = deque(maxlen=64)

    def lend(self, data: bytes) -> int:
        # Scripts cast to structures that may be longer than a short record, so room follows it.
        buffer = ct.create_string_buffer(data, len(data) + PAGE)
        self._kept.append(buffer)
        return ct.addressof(buffer)


class PerfReader:
    """One CPU's ring. `callback(cpu, address, size)` per record, `lost(count)` where the kernel
    had to drop some."""

    def __init__(
        self,
        system: System,
        cpu: int,
        pages: int,
        callback: Callable[[int, int, int], object],
        lost: Callable[[int], object] | None,
        wakeup_events: int = 1,
    ) -> None:
        self.cpu = cpu
        self._system = system
        self._callback = callback
        self._lost = lost
        self._records = Records()
        self._size = pages * PAGE
        attr = PerfEventAttr(
            type=PerfType.SOFTWARE,
            config=PerfSoftware.BPF_OUTPUT,
            sample_type=PerfSample.RAW,
            sample_period=1,
            wakeup_events=wakeup_events,
        )
        self.fd = system.perf_event_open(attr, -1, cpu, -1)
        try:
            self._ring = system.mmap(self.fd, PAGE + self._size, 0, writable=True)
            system.ioctl(self.fd, PerfIoctl.ENABLE, 0)
        except BaseException:
            system.close(self.fd)
            raise

    def close(self) -> None:
        self._system.close(self.fd)

    def consume(self) -> None:
        """Hands over what lies in the ring; each record is given back before its callback runs."""
        for kind, record in self._take():
            if kind == RECORD_SAMPLE:
                (size,) = _U32.unpack_from(record)
                data = record[4 : 4 + size]
                self._callback(self.cpu, self._records.lend(data), size)
            elif kind == RECORD_LOST and self._lost is not None:
                self._lost(_U64.unpack_from(record, 8)[0])

    def _take(self) -> Iterator[tuple[int, bytes]]:
        """Type and content of each record up to the head as it is now."""
        (head,) = _U64.unpack_from(self._ring, DATA_HEAD)
        (tail,) = _U64.unpack_from(self._ring, DATA_TAIL)
        while tail < head:
            kind, _, size = _HEADER.unpack(self._read(tail, _HEADER.size))
            content = self._read(tail + _HEADER.size, size - _HEADER.size)
            tail += size
            _U64.pack_into(self._ring, DATA_TAIL, tail)
            yield kind, content

    def _read(self, position: int, size: int) -> bytes:
        start = position % self._size
        first = min(size, self._size - start)
        data = bytes(self._ring[PAGE + start : PAGE + start + first])
        return data + bytes(self._ring[PAGE : PAGE + size - first]) if first < size else data


class Perf:
    """What ``attach_perf_event_raw`` is given: attributes by the kernel's names (BCC's class)."""

    class perf_event_attr:  # noqa: N801  # BCC's name
        """``struct perf_event_attr``; a field that is not set is 0."""

        type = 0
        config = 0
        sample_period = 0
        sample_freq = 0
        freq = 0
        sample_type = 0
        wakeup_events = 0
        inherit = 0
        disabled = 0
        exclude_kernel = 0

        def request(self) -> PerfEventAttr:
            """The same as the door wants it."""
            return PerfEventAttr(
                type=self.type,
                config=self.config,
                sample_period=self.sample_freq or self.sample_period,
                freq=bool(self.freq or self.sample_freq),
                sample_type=self.sample_type,
                wakeup_events=self.wakeup_events,
                inherit=bool(self.inherit),
                disabled=bool(self.disabled),
                exclude_kernel=bool(self.exclude_kernel),
            )
