"""The contract of the door, maps: the same on every body."""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from minibcc.abi import requests as r
from minibcc.abi.bpf import MapFlags, MapType, UpdateFlags
from minibcc.system.interface import System, read_file


def key(number: int) -> bytes:
    return struct.pack("<I", number)


def value(number: int) -> bytes:
    return struct.pack("<Q", number)


@contextmanager
def created(system: System, map_type: MapType, *sizes: int, flags: int = 0) -> Iterator[int]:
    fd = system.bpf(r.MapCreate(map_type, *sizes, map_flags=flags, map_name="a_map"))
    try:
        yield fd
    finally:
        system.close(fd)


@contextmanager
def refused(number: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == number


@pytest.mark.parametrize("map_type", [MapType.HASH, MapType.LRU_HASH])
def test_hash(system: System, map_type: MapType) -> None:
    with created(system, map_type, 4, 8, 16) as fd:
        with refused(errno.ENOENT):
            system.bpf(r.MapLookup(fd, key(1)))
        system.bpf(r.MapUpdate(fd, key(1), value(11)))
        assert system.bpf(r.MapLookup(fd, key(1))) == value(11)
        with refused(errno.EEXIST):
            system.bpf(r.MapUpdate(fd, key(1), value(12), UpdateFlags.NOEXIST))
        with refused(errno.ENOENT):
            system.bpf(r.MapUpdate(fd, key(2), value(12), UpdateFlags.EXIST))
        with refused(errno.EINVAL):
            system.bpf(r.MapUpdate(fd, key(2), value(12), 99))
        system.bpf(r.MapUpdate(fd, key(1), value(12), UpdateFlags.EXIST))
        assert system.bpf(r.MapLookupAndDelete(fd, key(1))) == value(12)
        with refused(errno.ENOENT):
            system.bpf(r.MapDelete(fd, key(1)))


def test_a_full_hash(system: System) -> None:
    with created(system, MapType.HASH, 4, 8, 2) as fd:
        for number in range(2):
            system.bpf(r.MapUpdate(fd, key(number), value(number)))
        with refused(errno.E2BIG):
            system.bpf(r.MapUpdate(fd, key(2), value(2)))


def test_array(system: System) -> None:
    with created(system, MapType.ARRAY, 4, 8, 3) as fd:
        assert system.bpf(r.MapLookup(fd, key(2))) == value(0)
        with refused(errno.ENOENT):
            system.bpf(r.MapLookup(fd, key(3)))
        with refused(errno.E2BIG):
            system.bpf(r.MapUpdate(fd, key(3), value(1)))
        with refused(errno.EEXIST):
            system.bpf(r.MapUpdate(fd, key(1), value(1), UpdateFlags.NOEXIST))
        with refused(errno.EINVAL):
            system.bpf(r.MapDelete(fd, key(1)))
        assert keys(system, fd) == [key(0), key(1), key(2)]


def keys(system: System, fd: int) -> list[bytes]:
    found: list[bytes] = []
    try:
        while True:
            found.append(system.bpf(r.MapNextKey(fd, found[-1] if found else None)))
    except OSError as error:
        assert error.errno == errno.ENOENT
    return found


def test_next_key(system: System) -> None:
    with created(system, MapType.HASH, 4, 8, 64) as fd:
        assert keys(system, fd) == []
        for number in range(20):
            system.bpf(r.MapUpdate(fd, key(number), value(number)))
        assert sorted(keys(system, fd)) == sorted(map(key, range(20)))


@pytest.mark.parametrize("map_type", [MapType.PERCPU_HASH, MapType.PERCPU_ARRAY])
def test_per_cpu_values_are_padded_to_eight_bytes(system: System, map_type: MapType) -> None:
    with created(system, map_type, 4, 4, 2) as fd:
        system.bpf(r.MapUpdate(fd, key(0), _same(system, fd, 5)))
        found = system.bpf(r.MapLookup(fd, key(0)))
        assert len(found) % 8 == 0
        assert struct.unpack(f"<{len(found) // 8}Q", found) == (5,) * (len(found) // 8)


def _same(system: System, fd: int, number: int) -> bytes:
    possible = read_file(system, "/sys/devices/system/cpu/possible").decode().strip()
    return value(number) * (int(possible.split("-")[-1]) + 1)


def test_queue_and_stack(system: System) -> None:
    for map_type, expected in ((MapType.QUEUE, [1, 2]), (MapType.STACK, [2, 1])):
        with created(system, map_type, 0, 8, 2) as fd:
            system.bpf(r.MapUpdate(fd, b"", value(1)))
            system.bpf(r.MapUpdate(fd, b"", value(2)))
            with refused(errno.E2BIG):
                system.bpf(r.MapUpdate(fd, b"", value(3)))
            assert system.bpf(r.MapLookup(fd, b"")) == value(expected[0])
            popped = [system.bpf(r.MapLookupAndDelete(fd, b"")) for _ in expected]
            assert popped == list(map(value, expected))
            with refused(errno.ENOENT):
                system.bpf(r.MapLookupAndDelete(fd, b""))


def test_longest_prefix(system: System) -> None:
    def prefix(length: int, address: str) -> bytes:
        return struct.pack("<I", length) + bytes(map(int, address.split(".")))

    with created(system, MapType.LPM_TRIE, 8, 8, 16, flags=MapFlags.NO_PREALLOC) as fd:
        system.bpf(r.MapUpdate(fd, prefix(8, "10.0.0.0"), value(8)))
        system.bpf(r.MapUpdate(fd, prefix(24, "10.1.2.0"), value(24)))
        assert system.bpf(r.MapLookup(fd, prefix(32, "10.1.2.3"))) == value(24)
        assert system.bpf(r.MapLookup(fd, prefix(32, "10.9.2.3"))) == value(8)
        with refused(errno.ENOENT):
            system.bpf(r.MapLookup(fd, prefix(32, "11.0.0.0")))
    with refused(errno.EINVAL):
        system.bpf(r.MapCreate(MapType.LPM_TRIE, 8, 8, 16))


def test_batches(system: System) -> None:
    entries = {key(number): value(number * 2) for number in range(50)}
    with created(system, MapType.HASH, 4, 8, 64) as fd:
        written = system.bpf(r.MapUpdateBatch(fd, tuple(entries), tuple(entries.values())))
        assert written == 50
        assert collect(system, r.MapLookupBatch, fd, 16) == entries
        assert system.bpf(r.MapDeleteBatch(fd, (key(0), key(1)))) == 2
        del entries[key(0)], entries[key(1)]
        assert collect(system, r.MapLookupAndDeleteBatch, fd, 64) == entries
        assert keys(system, fd) == []


def collect(
    system: System,
    request: type[r.MapLookupBatch] | type[r.MapLookupAndDeleteBatch],
    fd: int,
    count: int,
) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    cursor = None
    while True:
        batch = system.bpf(request(fd, count, cursor))
        found.update(zip(batch.keys, batch.values, strict=True))
        cursor = batch.cursor
        if cursor is None:
            return found


def test_a_batch_of_an_array(system: System) -> None:
    with created(system, MapType.ARRAY, 4, 8, 5) as fd:
        system.bpf(r.MapUpdateBatch(fd, (key(1), key(4)), (value(1), value(4))))
        assert collect(system, r.MapLookupBatch, fd, 2) == {
            key(number): value(number if number in (1, 4) else 0) for number in range(5)
        }


def test_freeze(system: System) -> None:
    with created(system, MapType.ARRAY, 4, 8, 1) as fd:
        system.bpf(r.MapUpdate(fd, key(0), value(7)))
        assert not system.bpf(r.MapGetInfo(fd)).frozen
        system.bpf(r.MapFreeze(fd))
        assert system.bpf(r.MapGetInfo(fd)).frozen
        with refused(errno.EPERM):
            system.bpf(r.MapUpdate(fd, key(0), value(8)))
        assert system.bpf(r.MapLookup(fd, key(0))) == value(7)


def test_info_and_ids(system: System) -> None:
    with created(system, MapType.HASH, 4, 8, 16) as fd:
        info = system.bpf(r.MapGetInfo(fd))
        assert (info.type, info.key_size, info.value_size, info.max_entries, info.name) == (
            MapType.HASH, 4, 8, 16, "a_map",
        )  # fmt: skip
        assert info.map_flags == 0
        assert system.bpf(r.MapGetNextId(info.id - 1)) == info.id
        other = system.bpf(r.MapGetFdById(info.id))
        assert other != fd
        system.bpf(r.MapUpdate(other, key(1), value(1)))
        assert system.bpf(r.MapLookup(fd, key(1))) == value(1)
        system.close(other)
    with refused(errno.ENOENT):
        system.bpf(r.MapGetNextId(0x7FFF_FFFE))
    with refused(errno.ENOENT):
        system.bpf(r.MapGetFdById(0x7FFF_FFFF))


def test_a_map_of_maps(system: System) -> None:
    with created(system, MapType.ARRAY, 4, 8, 1) as inner:
        outer = system.bpf(r.MapCreate(MapType.ARRAY_OF_MAPS, 4, 4, 2, inner_map_fd=inner))
        system.bpf(r.MapUpdate(outer, key(0), key(inner)))
        found = struct.unpack("<I", system.bpf(r.MapLookup(outer, key(0))))[0]
        assert found == system.bpf(r.MapGetInfo(inner)).id
        system.close(outer)


@pytest.mark.parametrize(
    "request_",
    [
        r.MapCreate(MapType.UNSPEC, 4, 8, 16),
        r.MapCreate(MapType.HASH, 0, 8, 16),
        r.MapCreate(MapType.HASH, 4, 0, 16),
        r.MapCreate(MapType.ARRAY, 8, 8, 16),
        r.MapCreate(MapType.HASH, 4, 8, 0),
        r.MapCreate(MapType.RINGBUF, 0, 0, 100),
        r.MapCreate(MapType.HASH, 4, 8, 16, map_name="no spaces"),
    ],
    ids=["unspec", "no-key", "no-value", "array-key", "no-entries", "ringbuf-size", "name"],
)
def test_maps_that_cannot_be(system: System, request_: r.MapCreate) -> None:
    with refused(errno.EINVAL):
        system.bpf(request_)


def test_a_descriptor_that_is_no_map(system: System) -> None:
    with refused(errno.EBADF):
        system.bpf(r.MapLookup(12345, key(0)))


def test_a_key_of_the_wrong_size(system: System) -> None:
    with created(system, MapType.HASH, 4, 8, 16) as fd:
        with refused(errno.EINVAL):
            system.bpf(r.MapLookup(fd, b"12345"))
        with refused(errno.EINVAL):
            system.bpf(r.MapUpdate(fd, key(1), b"1"))
