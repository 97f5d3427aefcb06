"""Perf buffers and ring buffers: records as the kernel lays them, also around the end."""

import ctypes as ct
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibcc.bcc.perf import DATA_HEAD, DATA_TAIL, PAGE, PerfReader
from minibcc.bcc.ringbuf import BUSY, DISCARD, RingReader


class Memory:
    """A kernel that only maps memory."""

    def __init__(self):
        self.maps = {}

    def perf_event_open(self, attr, pid, cpu, group):
        return 7

    def ioctl(self, fd, request, argument=0):
        return 0

    def close(self, fd):
        pass

    def mmap(self, fd, length, offset=0, *, writable=False):
        return memoryview(self.maps.setdefault(offset, bytearray(length)))


def fill(ring, position, data):
    """Writes into the data pages, modulo their size; where it ends."""
    size = len(ring) - PAGE
    for byte in data:
        ring[PAGE + position % size] = byte
        position += 1
    return position


def perf_record(data):
    size = len(data) + 4 + 8
    padded = size + 7 & ~7
    return struct.pack("<IHHI", 9, 0, padded, padded - 12) + data.ljust(padded - 12, b"\0")


@given(st.integers(0, 5000), st.lists(st.binary(min_size=4, max_size=300), max_size=8))
def test_perf_records(start, records):
    memory = Memory()
    seen = []

    def callback(cpu, data, size):
        seen.append((cpu, ct.string_at(data, size)))

    reader = PerfReader(memory, 2, 1, callback, None)
    ring = memory.maps[0]
    start = start // 8 * 8
    end = start
    for record in records:
        if end + len(perf_record(record)) - start > PAGE:
            break
        end = fill(ring, end, perf_record(record))
    struct.pack_into("<QQ", ring, DATA_HEAD, end, start)
    reader.consume()
    assert struct.unpack_from("<Q", ring, DATA_TAIL) == (end,)
    assert all(cpu == 2 for cpu, _ in seen)
    assert [data[: len(r)] for (_, data), r in zip(seen, records, strict=False)] == records[
        : len(seen)
    ]


def test_lost_records_are_counted():
    memory = Memory()
    lost = []
    reader = PerfReader(memory, 0, 1, lambda *_: None, lost.append)
    ring = memory.maps[0]
    end = fill(ring, 0, struct.pack("<IHHQQ", 2, 0, 24, 1, 17))
    struct.pack_into("<QQ", ring, DATA_HEAD, end, 0)
    reader.consume()
    assert lost == [17]


def test_a_callback_that_raises_has_taken_its_record():
    memory = Memory()

    def callback(cpu, data, size):
        raise KeyError

    reader = PerfReader(memory, 0, 1, callback, None)
    ring = memory.maps[0]
    end = fill(ring, 0, perf_record(b"data"))
    struct.pack_into("<QQ", ring, DATA_HEAD, end, 0)
    with pytest.raises(KeyError):
        reader.consume()
    assert struct.unpack_from("<Q", ring, DATA_TAIL) == (end,)


def ring_reader(records, callback, start=0):
    """A reader of a 4096-byte ring that holds (length word, data) records from `start` on."""
    memory = Memory()
    reader = RingReader(memory, 3, 4096, callback, "ctx")
    ring, position = memory.maps[PAGE], start
    for word, data in records:
        header = struct.pack("<II", len(data) | word, 0)
        position = fill(ring, position, header + data.ljust(len(data) + 7 & ~7, b"\0"))
    struct.pack_into("<Q", ring, 0, position)
    struct.pack_into("<Q", memory.maps[0], 0, start)
    return reader, memory


def test_ring_records_wrap():
    seen = []
    records = [(0, b"one"), (DISCARD, b"gone"), (0, bytes(range(100)))]
    reader, memory = ring_reader(
        records, lambda ctx, data, size: seen.append((ctx, ct.string_at(data, size))), 4080
    )
    assert reader.consume()
    assert seen == [("ctx", b"one"), ("ctx", bytes(range(100)))]
    assert memory.maps[0][:8] == memory.maps[PAGE][:8]


def test_a_busy_record_stops_the_reader():
    seen = []
    reader, _ = ring_reader([(0, b"one"), (BUSY, b"two"), (0, b"three")], lambda *_: seen.append(1))
    reader.consume()
    assert len(seen) == 1


def test_a_negative_answer_stops_the_reader():
    seen = []
    reader, _ = ring_reader([(0, b"one"), (0, b"two")], lambda *_: seen.append(1) or -1)
    assert not reader.consume()
    assert len(seen) == 1
