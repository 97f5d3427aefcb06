"""The arena: who may touch what, where things lie, what becomes of freed memory."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.abi.requests import MapCreate
from minibcc.kernel.maps.registry import create as create_map
from minibcc.kernel.vm.execution import FRAME_PITCH, Fault
from minibcc.kernel.vm.memory import Arena
from tests.kernel.support import boot

FIXED = """
from minibcc.kernel.vm.memory import Arena
first, second = Arena(), Arena()
print(hex(first.base), hex(second.base), hex(first.allocate(8) - first.base))
"""


@pytest.fixture
def arena():
    arena = Arena(1 << 28)
    yield arena
    arena.close()


def faults(arena, address, size, write=False):
    with pytest.raises(Fault) as caught:
        arena.check(address, size, write=write)
    assert (caught.value.address, caught.value.size) == (address, size)
    return str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="fixed addresses are asked of Linux only")
def test_the_first_two_arenas_of_a_process_have_the_first_two_slots():
    lines = {
        subprocess.run([sys.executable, "-c", FIXED], capture_output=True, text=True).stdout
        for _ in range(2)
    }
    assert lines == {"0x1000000000 0x1400000000 0x10000\n"}


def test_a_closed_arena_gives_its_slot_back():
    first = Arena(1 << 28)
    base = first.base
    view = first.view(first.allocate(8), 8)
    first.close()
    second = Arena(1 << 28)
    assert second.base != base
    assert bytes(view) == bytes(8)  # still there while somebody looks
    second.close()
    del view, first, second
    third = Arena(1 << 28)
    assert third.base == base
    third.close()


def test_numbers_are_little_endian(arena):
    address = arena.allocate(16)
    arena.store(address, 8, 0x0123456789ABCDEF)
    assert bytes(arena.view(address, 8)).hex() == "efcdab8967452301"
    assert [arena.load(address, size) for size in (1, 2, 4, 8)] == [
        0xEF, 0xCDEF, 0x89ABCDEF, 0x0123456789ABCDEF,
    ]  # fmt: skip
    arena.store(address + 1, 2, 0xABC1234)
    assert arena.load(address, 4) == 0x891234EF


def test_an_access_stays_inside_its_allocation(arena):
    address = arena.allocate(20)
    neighbour = arena.allocate(20)
    assert neighbour - address == 24
    arena.check(address, 8, write=True)
    arena.check(address + 16, 4, write=True)
    assert "4 beyond the end of its memory" in faults(arena, address + 16, 8)
    assert "no memory of the program's" in faults(arena, address + 20, 1)
    assert "no memory of the program's" in faults(arena, address - 8, 8)
    faults(arena, 0, 8)
    faults(arena, arena.base, 1)
    faults(arena, 0xFFFF_8880_0000_0000, 8)
    faults(arena, (1 << 64) - 1, 8)


def test_who_may_touch_it(arena):
    reading = arena.allocate(8, writable=False)
    arena.check(reading, 8, write=False)
    assert "only for reading" in faults(arena, reading, 8, write=True)
    private = arena.allocate(8, private=True)
    assert "the kernel's own" in faults(arena, private, 8)
    assert "the kernel's own" in faults(arena, private, 8, write=True)
    arena.store(private, 8, 1)
    assert arena.load(private, 8) == 1
    with pytest.raises(Fault):
        arena.read(private, 8)
    with pytest.raises(Fault):
        arena.write(reading, 1, 0)


def test_elements_and_windows(arena):
    address = arena.allocate(64, stride=16)
    arena.check(address + 16, 16, write=True)
    assert "not inside one element" in faults(arena, address + 12, 8)
    address = arena.allocate(64, stride=16, window=(8, 6))
    arena.check(address + 24, 4, write=True)
    arena.check(address + 28, 2, write=True)
    faults(arena, address + 28, 4)
    faults(arena, address + 16, 8)


def test_freed_memory_is_nobodys_and_comes_back_zero(arena):
    for size in (24, 4096, 300_000):
        address = arena.allocate(size)
        arena.view(address, size)[:] = b"x" * size
        arena.free(address)
        faults(arena, address, 1)
        with pytest.raises(ValueError, match="no allocation"):
            arena.free(address)
        assert arena.allocate(size) == address
        assert bytes(arena.view(address, size)) == bytes(size)


def test_outside_the_arena_there_are_no_views(arena):
    for address in (arena.base - 8, arena.base + arena.size, 0, 1 << 63):
        for touch in (
            lambda address=address: arena.view(address, 8),
            lambda address=address: arena.load(address, 8),
            lambda address=address: arena.store(address, 8, 0),
        ):
            with pytest.raises(Fault):
                touch()


def test_a_full_arena_says_so(arena):
    arena.allocate(arena.size // 2)
    with pytest.raises(MemoryError):
        arena.allocate(arena.size // 2)
    assert arena.allocate(8)


def test_nested_runs_have_chains_of_their_own(arena):
    outer = arena.push_stack()
    inner = arena.push_stack()
    assert inner != outer
    for chain in (outer, inner):
        arena.check(chain, 512, write=True)
        arena.check(chain + 7 * FRAME_PITCH + 504, 8, write=True)
        faults(arena, chain - 8, 8)
        faults(arena, chain + 512, 8)
        faults(arena, chain + FRAME_PITCH - 8, 8)
    arena.pop_stack()
    assert arena.push_stack() == inner


sizes = st.integers(1, 70_000)
requests = st.lists(st.tuples(sizes, st.sampled_from([1, 8, 64, 4096])) | st.integers(0, 99))


@given(requests)
def test_allocations_are_deterministic_disjoint_and_aligned(requests):
    def play():
        arena = Arena(1 << 28)
        live: list[tuple[int, int]] = []
        history = []
        for request in requests:
            if isinstance(request, int):
                if live:
                    arena.free(live.pop(request % len(live))[0])
                continue
            size, align = request
            address = arena.allocate(size, align=align)
            assert address % align == 0
            arena.check(address, size, write=True)
            assert all(
                address + size <= other or other + length <= address for other, length in live
            )
            live.append((address, size))
            history.append(address - arena.base)
        arena.close()
        return history

    assert play() == play()


def test_a_window_may_come_again_within_an_element(arena):
    """The values of two processors, 12 bytes each, behind a head of 16."""
    start = arena.allocate(96, stride=48, window=(16, 12), pitch=16)
    for element in (start, start + 48):
        for value in (element + 16, element + 32):
            arena.check(value, 8, write=True)
            arena.check(value + 8, 4, write=True)
            assert "not inside one element" in faults(arena, value + 8, 8)
            assert "not inside one element" in faults(arena, value + 12, 1)
        assert "not inside one element" in faults(arena, element + 8, 8)


VALUES = {
    **{
        kind: MapCreate(kind, 4, 12, 3)
        for kind in (
            *(MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH),
            *(MapType.ARRAY, MapType.PERCPU_ARRAY),
        )
    },
    "one": MapCreate(MapType.ARRAY, 4, 12, 1),
    "one per processor": MapCreate(MapType.PERCPU_ARRAY, 4, 12, 1),
    "mapped": MapCreate(MapType.ARRAY, 4, 12, 3, map_flags=int(MapFlags.MMAPABLE)),
    "trie": MapCreate(MapType.LPM_TRIE, 8, 12, 3, map_flags=int(MapFlags.NO_PREALLOC)),
}


@pytest.mark.parametrize("create", VALUES.values(), ids=[str(name) for name in VALUES])
def test_no_access_strays_from_a_value_into_the_next(create):
    """Neither into another element nor into another processor's value nor into the padding."""
    kernel = boot().kernel
    map = create_map(kernel, create)
    for number in (0, 1, 2):
        map.update(bytes([number]).ljust(create.key_size, b"\0"), bytes(12), 0, 0)
    check = kernel.memory.check
    for cpu in range(kernel.cpus if map.per_cpu else 1):
        value = map.lookup(bytes(create.key_size), cpu)
        check(value, 8, write=True)
        check(value + 11, 1, write=True)
        for offset, size in ((-1, 1), (-8, 8), (8, 8), (12, 1), (12, 4), (-4, 8)):
            faults(kernel.memory, value + offset, size)
