"""Ring buffers: records that programs write in place, in one order for all processors.

Four stretches: a page of the buffer's own, and, as user space maps them, a page with the consumer's
position, a page with the producer's, and the data twice in a row. A record may run over the end of
the first copy into the second; writer and reader both go on from the same place, so the copies need
not be kept alike. Each record is preceded by eight bytes: length with two marks, and by how many
pages the buffer begins before it. `vm/natives.c` has the same operations for native code.

Mirrors kernel/bpf/ringbuf.c.
"""

from __future__ import annotations

from errno import E2BIG, EAGAIN, EINVAL, ENODATA, EPERM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.kernel.errnos import ENOTSUPP, failure
from minibcc.kernel.maps.base import Map, round_up
from minibcc.kernel.vm.layouts import RingLayout

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.btf.types import Type
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.vm.layouts import Layout
    from minibcc.kernel.vm.memory import Arena

PAGE = 4096
STRUCT_SIZE = 304
META_PAGES = 3
HEADER = 8
BUSY, DISCARD = 1 << 31, 1 << 30
NO_WAKEUP, FORCE_WAKEUP = 1, 2
AVAIL_DATA, RING_SIZE, CONS_POS, PROD_POS = range(4)
MAP, SIZE, WAKEUPS = 0, 8, 16
"""Words of the buffer's own page: the map's address, the size, how often sleepers were woken."""
CONSUMER, PRODUCER, DATA = PAGE, 2 * PAGE, META_PAGES * PAGE
MASK = (1 << 64) - 1
MAX_RECORD = (1 << 32) // 4 - 1
MAX_SIZE = 64 << 30
MAX_GIVEN = (1 << 24) - 1
"""Bytes of a record that a dynptr can speak of."""


def ring_of(memory: Arena, record: int) -> int:
    """The address of the map that a record lies in (``bpf_ringbuf_restore_from_rec``)."""
    header = record - HEADER
    base = header // PAGE * PAGE - memory.load(header + 4, 4) * PAGE
    return memory.load(base + MAP, 8)


class RingBuffer(Map):
    """BPF_MAP_TYPE_RINGBUF and BPF_MAP_TYPE_USER_RINGBUF. `max_entries` is the size in bytes."""

    draining = False
    """Whether a program is at the records that user space gave."""
    types = (MapType.RINGBUF, MapType.USER_RINGBUF)
    flags_allowed = MapFlags.NUMA_NODE
    key_sizes = (0,)
    value_sizes = (0,)

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``ringbuf_map_alloc``."""
        super().check(request)
        size = request.max_entries
        if size & (size - 1) or size % PAGE:
            raise failure(EINVAL)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.size = self.max_entries
        # Programs may touch the data alone; `reserve` gives out addresses there.
        length = DATA + 2 * self.size
        window = DATA, 2 * self.size
        try:
            self.base = self.memory.allocate(length, align=PAGE, stride=length, window=window)
        except MemoryError:
            self.memory.free(self.address)
            raise
        self.memory.store(self.base + MAP, 8, self.address)
        self.memory.store(self.base + SIZE, 8, self.size)

    def release(self) -> None:
        self.memory.free(self.base)
        super().release()

    def layout(self) -> Layout | None:
        return RingLayout(self.base)

    @property
    def memlock(self) -> int:
        pages = self.size // PAGE
        return STRUCT_SIZE + (META_PAGES + pages) * PAGE + (META_PAGES + 2 * pages) * 8

    def key_fits(self, key: Type | None) -> bool:
        return False

    # --- records -----------------------------------------------------------------------------

    @property
    def consumed(self) -> int:
        """The consumer's position, as user space last wrote it."""
        return self.memory.load(self.base + CONSUMER, 8)

    @property
    def position(self) -> int:
        """The producer's position: bytes ever reserved."""
        return self.memory.load(self.base + PRODUCER, 8)

    @property
    def wakeups(self) -> int:  # type: ignore[override]  # counted where native code can
        return self.memory.load(self.base + WAKEUPS, 8)

    def reserve(self, size: int) -> int:
        """The address of a record of `size` bytes, 0 if there is no room."""
        total = (size + HEADER + 7) // 8 * 8
        if size > MAX_RECORD or total > self.size:
            return 0
        position = self.position
        if position + total - self.consumed & MASK > self.size - 1:
            return 0
        place = position % self.size
        header = self.base + DATA + place
        self.memory.store(header, 4, size | BUSY)
        self.memory.store(header + 4, 4, place // PAGE + META_PAGES)
        self.memory.store(self.base + PRODUCER, 8, position + total)
        return header + HEADER

    def commit(self, record: int, flags: int, *, discard: bool) -> None:
        """Gives a record to the consumer, or takes it back. Who sleeps is woken if the record is
        the one that they wait for, or if `flags` say so."""
        header = record - HEADER
        length = self.memory.load(header, 4) & ~BUSY
        self.memory.store(header, 4, length | (DISCARD if discard else 0))
        place = header - self.base - DATA
        if flags & FORCE_WAKEUP or (place == self.consumed % self.size and not flags & NO_WAKEUP):
            self.wake()

    def given(self) -> tuple[int, int]:
        """The next record that user space gave: its address and its size, or a negative errno and
        how far to go on (``__bpf_user_ringbuf_peek``)."""
        produced, consumed = self.position, self.consumed
        if produced % 8:
            return -EINVAL, 0
        if consumed >= produced:
            return -ENODATA, 0
        record = self.base + DATA + consumed % self.size
        marked = self.memory.load(record, 4)
        size = marked & ~(BUSY | DISCARD)
        total = round_up(size + HEADER, 8)
        if total > produced - consumed:
            return -EINVAL, 0
        if total > self.size or size > MAX_GIVEN:
            return -E2BIG, 0
        if marked & DISCARD:
            return -EAGAIN, size
        return (-ENODATA, 0) if marked & BUSY else (record + HEADER, size)

    def release_given(self, size: int) -> None:
        """The record of so many bytes was used."""
        end = self.consumed + round_up(size + HEADER, 8)
        self.memory.store(self.base + CONSUMER, 8, end)

    def wake(self) -> None:
        self.memory.store(self.base + WAKEUPS, 8, self.wakeups + 1)

    def query(self, what: int) -> int:
        """``bpf_ringbuf_query``."""
        match what:
            case 0:
                return self.position - self.consumed
            case 1:
                return self.size
            case 2:
                return self.consumed
            case 3:
                return self.position
        return 0

    # --- user space --------------------------------------------------------------------------

    def ready(self) -> bool:
        return self.position != self.consumed

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        """``ringbuf_map_mmap_kern``: only the consumer's page may be written."""
        if self.type == MapType.USER_RINGBUF:
            return self._mmap_of_user(length, offset, writable=writable)
        if writable and (offset or length != PAGE):
            raise failure(EPERM)
        if offset + length > 2 * PAGE + 2 * self.size:
            raise failure(EINVAL)
        if offset == 0 and length == PAGE:
            view = self.memory.view(self.base + CONSUMER, PAGE)
            return view if writable else view.toreadonly()
        if offset < PAGE:
            raise failure(EINVAL)
        return self.memory.view(self.base + CONSUMER + offset, length).toreadonly()

    def _mmap_of_user(self, length: int, offset: int, *, writable: bool) -> memoryview:
        """``ringbuf_map_mmap_user``: all but the consumer's page may be written."""
        if writable and not offset:
            raise failure(EPERM)
        if offset + length > 2 * PAGE + 2 * self.size:
            raise failure(EINVAL)
        view = self.memory.view(self.base + CONSUMER + offset, length)
        return view if writable else view.toreadonly()

    def read(self, key: bytes, flags: int) -> bytes:
        raise failure(ENOTSUPP)

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        raise failure(ENOTSUPP)

    def remove(self, key: bytes) -> None:
        raise failure(ENOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise failure(ENOTSUPP)
