"""perf_event_open(2): events that programs hang on or write to.

A `PerfEvent` is a place to watch (kprobe, uprobe, tracepoint, a clock or counter) or, of type
BPF_OUTPUT, a buffer that user space maps and ``bpf_perf_event_output`` fills. Mirrors
kernel/events/core.c, kernel/events/ring_buffer.c and kernel/trace/trace_event_perf.c.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from errno import EINVAL, ENODEV, ENOENT, ENOSPC, ENOTTY, ESRCH
from typing import TYPE_CHECKING

from minibcc.abi.perf import PerfEventAttr, PerfIoctl, PerfSample, PerfSoftware, PerfType
from minibcc.kernel.descriptors import Description
from minibcc.kernel.errnos import failure
from minibcc.machine.hooks import Point
from minibcc.machine.sampling import nanoseconds

if TYPE_CHECKING:
    from minibcc.kernel.attach import Attachment
    from minibcc.kernel.kernel import Kernel

KPROBE_TYPE = 6
UPROBE_TYPE = 7
"""Dynamic types, as /sys/bus/event_source/devices/{kprobe,uprobe}/type says them."""
PAGE = 4096
DATA_HEAD, DATA_TAIL, DATA_OFFSET, DATA_SIZE = 1024, 1032, 1040, 1048
"""Places in ``struct perf_event_mmap_page``."""
RECORD_LOST, RECORD_SAMPLE = 2, 9


class PerfBuffer:
    """The pages that user space maps: one of positions, then the ring of records.

    `head` only grows; user space moves the tail. A record that does not fit is counted, and
    reported by a lost record as soon as one fits.
    """

    def __init__(self, kernel: Kernel, length: int) -> None:
        self._memory = kernel.memory
        self.address = kernel.memory.allocate(length, align=PAGE, private=True)
        self.length = length
        self.size = length - PAGE
        self.view = kernel.memory.view(self.address, length)
        self.head = 0
        self.lost = 0
        struct.pack_into("<QQ", self.view, DATA_OFFSET, PAGE, self.size)

    def output(self, data: bytes, event_id: int) -> int:
        """Appends a sample; 0, or -ENOSPC."""
        tail = struct.unpack_from("<Q", self.view, DATA_TAIL)[0]
        body = (len(data) + 4 + 7) // 8 * 8
        sample = struct.pack("<IHHI", RECORD_SAMPLE, 1, 8 + body, body - 4) + data
        sample = sample.ljust(8 + body, b"\0")
        if self.lost:
            sample = struct.pack("<IHHQQ", RECORD_LOST, 0, 24, event_id, self.lost) + sample
        if len(sample) > self.size - (self.head - tail):
            self.lost += 1
            return -ENOSPC
        self.lost = 0
        at = self.head % self.size
        first = min(len(sample), self.size - at)
        self.view[PAGE + at : PAGE + at + first] = sample[:first]
        self.view[PAGE : PAGE + len(sample) - first] = sample[first:]
        self.head += len(sample)
        struct.pack_into("<Q", self.view, DATA_HEAD, self.head)
        return 0

    def close(self) -> None:
        self.view = memoryview(b"")
        self._memory.free(self.address)


class PerfEvent(Description):
    """An open event. `cpu` -1 stands for all of them, `pid` -1 for all tasks."""

    def __init__(
        self, kernel: Kernel, attr: PerfEventAttr, pid: int, cpu: int, points: tuple[Point, ...]
    ) -> None:
        self.kernel = kernel
        self.attr = attr
        self.pid = pid
        self.cpu = cpu
        self.points = points
        self.enabled = not attr.disabled
        self.buffer: PerfBuffer | None = None
        self.attachments: list[Attachment] = []
        self.count = 0
        self.id = kernel.next_event_id()
        self.on_close: list[Callable[[], None]] = []
        self._samples = 0
        self._pending = 0
        self._wakeups = 0

    @property
    def is_output(self) -> bool:
        """Whether programs may write to it."""
        return self.attr.type == PerfType.SOFTWARE and self.attr.config == PerfSoftware.BPF_OUTPUT

    # --- what programs write ------------------------------------------------------------------

    def output(self, data: bytes) -> int:
        """A sample with `data`: 0 or a negative errno."""
        if self.buffer is None:
            return -ENOSPC
        if not self.enabled:
            return 0
        result = self.buffer.output(data, self.id)
        if result == 0:
            self._samples += 1
            if self._samples >= max(1, self.attr.wakeup_events):
                self._samples = 0
                self._pending += 1
                self._wakeups += 1
        return result

    def woken(self) -> int:
        return self._wakeups

    def ready(self) -> bool:
        """``perf_poll``: whether there was a wake-up since somebody last asked."""
        pending, self._pending = self._pending, 0
        return pending > 0

    # --- what user space does with it ---------------------------------------------------------

    def read(self, size: int) -> bytes:
        """The count, as with no read format."""
        if size < 8:
            raise failure(ENOSPC)
        return struct.pack("<Q", self.count)

    def ioctl(self, request: int, argument: int) -> int:
        match request:
            case PerfIoctl.ENABLE:
                self.enabled = True
            case PerfIoctl.DISABLE:
                self.enabled = False
            case PerfIoctl.RESET:
                self.count = 0
            case PerfIoctl.SET_BPF:
                from minibcc.kernel.attach import attach_event

                attach_event(self.kernel, self, self.kernel.program_of(argument))
            case _:
                raise failure(ENOTTY)
        return 0

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        """One page and a power of two of pages."""
        pages, rest = divmod(length, PAGE)
        if rest or pages < 2 or (pages - 1) & (pages - 2) or offset:
            raise failure(EINVAL)
        if self.buffer is None:
            self.buffer = PerfBuffer(self.kernel, length)
        elif self.buffer.length != length:
            raise failure(EINVAL)
        view = self.buffer.view
        return view if writable else view.toreadonly()

    def close(self) -> None:
        for callback in self.on_close:
            callback()
        for attachment in self.attachments:
            attachment.detach()
        if self.buffer is not None:
            self.buffer.close()
            self.buffer = None


def open_event(kernel: Kernel, attr: PerfEventAttr, pid: int, cpu: int) -> PerfEvent:
    """``perf_event_open``'s checks, and the event."""
    if pid == -1 and cpu == -1:
        raise failure(EINVAL)
    if cpu >= kernel.cpus:
        raise failure(ENODEV)
    if pid > 0 and not kernel.task_exists(pid):
        raise failure(ESRCH)
    if attr.freq and attr.sample_period > MAX_SAMPLE_RATE:
        raise failure(EINVAL)
    return PerfEvent(kernel, attr, pid, cpu, _points(kernel, attr))


MAX_SAMPLE_RATE = 100_000
"""kernel.perf_event_max_sample_rate, Hz."""


def _points(kernel: Kernel, attr: PerfEventAttr) -> tuple[Point, ...]:
    """Where the event is noticed. Raises ENOENT for a place that does not exist."""
    machine = kernel.machine
    match attr.type:
        case 6 | 7:
            name = "kprobe" if attr.type == KPROBE_TYPE else "uprobe"
            kind = name.replace("probe", "retprobe") if attr.config & 1 else name
            point = Point(kind, attr.target, attr.offset)
            if not machine.exists(point):
                raise failure(ENOENT)
            return (point,)
        case PerfType.TRACEPOINT:
            point = Point("tracepoint", kernel.tracepoint_name(attr.config))
            return (point,)
        case PerfType.SOFTWARE:
            if attr.config not in tuple(PerfSoftware):
                raise failure(ENOENT)
            if attr.config == PerfSoftware.BPF_OUTPUT:
                if attr.sample_type & ~(PerfSample.RAW | SAMPLES_ALLOWED):
                    raise failure(EINVAL)
                return ()
            return (sampling_point(attr),)
        case PerfType.HARDWARE | PerfType.HW_CACHE | PerfType.RAW:
            return (sampling_point(attr),)
    raise failure(ENOENT)


def sampling_point(attr: PerfEventAttr) -> Point:
    """Where a clock or counter is sampled: ``TYPE:CONFIG`` (``1:0`` is the clock of a processor),
    with the period in ns as offset: 0 if it only counts."""
    counter = f"{attr.type}:{attr.config}"
    if not attr.sample_period:
        return Point("perf", counter)
    if attr.freq:
        return Point("perf", counter, 1_000_000_000 // attr.sample_period)
    return Point("perf", counter, nanoseconds(counter, attr.sample_period))


SAMPLES_ALLOWED = sum(PerfSample)
