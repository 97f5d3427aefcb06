"""Ring buffers: records that programs write in place, in one order for all processors.

Three stretches, as user space maps them: a page with the consumer's position, a page with the
producer's, and the data twice in a row. A record may run over the end of the first copy into the
second; writer and reader both go on from the same place, so the copies need not be kept alike.
Each record is preceded by eight bytes: length with two marks, and how far the buffer's start is.

Mirrors kernel/bpf/ringbuf.c.
"""

from __future__ import annotations

from errno import EINVAL, EPERM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.kernel.errnos import ENOTSUPP, failure
from minibcc.kernel.maps.base import Map

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.btf.types import Type
    from minibcc.kernel.kernel import Kernel

PAGE = 4096
STRUCT_SIZE = 304
META_PAGES = 3
HEADER = 8
BUSY, DISCARD = 1 << 31, 1 << 30
NO_WAKEUP, FORCE_WAKEUP = 1, 2
AVAIL_DATA, RING_SIZE, CONS_POS, PROD_POS = range(4)
MAX_RECORD = (1 << 32) // 4 - 1
MAX_SIZE = 64 << 30


class RingBuffer(Map):
    """BPF_MAP_TYPE_RINGBUF and BPF_MAP_TYPE_USER_RINGBUF. `max_entries` is the size in bytes."""

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
        # The producer's page lies before the data, in one piece, because user space maps both in
        # one. No program gets an address there: `reserve` gives out those of records.
        self.consumer_page = self.memory.allocate(PAGE, align=PAGE, private=True)
        self.producer_page = self.memory.allocate(PAGE + 2 * self.size, align=PAGE)
        self.data = self.producer_page + PAGE
        self.position = 0
        """The producer's position: bytes ever reserved."""

    def release(self) -> None:
        self.memory.free(self.consumer_page)
        self.memory.free(self.producer_page)
        super().release()

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
        return self.memory.load(self.consumer_page, 8)

    def reserve(self, size: int) -> int:
        """The address of a record of `size` bytes, 0 if there is no room."""
        total = (size + HEADER + 7) // 8 * 8
        if size > MAX_RECORD or total > self.size:
            return 0
        if self.position + total - self.consumed > self.size - 1:
            return 0
        header = self.data + self.position % self.size
        self.memory.store(header, 4, size | BUSY)
        self.memory.store(header + 4, 4, (header - self.data) // PAGE + META_PAGES)
        self.position += total
        self.memory.store(self.producer_page, 8, self.position)
        return header + HEADER

    def commit(self, record: int, flags: int, *, discard: bool) -> None:
        """Gives a record to the consumer, or takes it back. Who sleeps is woken if the record is
        the one that they wait for, or if `flags` say so."""
        header = record - HEADER
        length = self.memory.load(header, 4) & ~BUSY
        self.memory.store(header, 4, length | (DISCARD if discard else 0))
        place = header - self.data
        if flags & FORCE_WAKEUP or (place == self.consumed % self.size and not flags & NO_WAKEUP):
            self.wakeups += 1

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
        if writable and (offset or length != PAGE):
            raise failure(EPERM)
        if offset + length > 2 * PAGE + 2 * self.size:
            raise failure(EINVAL)
        if offset == 0 and length == PAGE:
            view = self.memory.view(self.consumer_page, PAGE)
            return view if writable else view.toreadonly()
        if offset < PAGE:
            raise failure(EINVAL)
        return self.memory.view(self.producer_page + offset - PAGE, length).toreadonly()

    def read(self, key: bytes, flags: int) -> bytes:
        raise failure(ENOTSUPP)

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        raise failure(ENOTSUPP)

    def remove(self, key: bytes) -> None:
        raise failure(ENOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise failure(ENOTSUPP)
