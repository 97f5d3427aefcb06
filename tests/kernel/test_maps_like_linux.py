"""The simulated kernel's maps against Linux's: the same requests, the same answers.

Nothing is expected here by hand: every request goes to both bodies.
"""

from __future__ import annotations

import itertools
import os
import random
import struct

import pytest

from minibcc.abi.bpf import AttachType, MapFlags, MapType, ProgType
from minibcc.abi.requests import (
    Batch,
    BtfLoad,
    MapCreate,
    MapDelete,
    MapDeleteBatch,
    MapFreeze,
    MapGetInfo,
    MapLookup,
    MapLookupAndDelete,
    MapLookupAndDeleteBatch,
    MapLookupBatch,
    MapNextKey,
    MapUpdate,
    MapUpdateBatch,
    ProgLoad,
    Request,
)
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.machine import Machine
from minibcc.system.interface import System
from tests.kernel.support import possible_cpus
from tests.machine.fakes import FakeKernel

pytestmark = pytest.mark.kernel


@pytest.fixture
def bodies():
    from minibcc.system.linux import LinuxSystem

    return LinuxSystem(), SimulatedSystem(
        Machine(FakeKernel(), cpus=possible_cpus()), engine="interpreter"
    )


def ask(system: System, request: Request) -> object:
    """The answer, or the errno."""
    try:
        return system.bpf(request)
    except OSError as error:
        return f"errno {error.errno}"


NOT_COMPARED = {
    MapType.STRUCT_OPS,  # needs the kernel's BTF
    MapType.ARENA,  # not simulated
}
KEYS = (0, 1, 4, 5, 8, 16, 64)
VALUES = (0, 1, 4, 8, 12, 16, 32, 1016, 1024, 40_000)
COUNTS = (0, 1, 3, 4096)
FLAGS = (0, 1, *(1 << bit for bit in range(1, 12)), 1 << 12, 1 << 17, 0x18, 0x180, 1 | 0x180)


@pytest.mark.parametrize("map_type", [t for t in MapType if t not in NOT_COMPARED], ids=str)
def test_what_may_be_created(bodies, map_type):
    """Sizes, lengths and flags, in all combinations of a few."""
    wrong = []
    shapes = itertools.product(KEYS, VALUES, COUNTS, (0, int(MapFlags.NO_PREALLOC)))
    flags = ((4, 8, 4, flag) for flag in FLAGS)
    others = ((4, 4, 4, flag) for flag in FLAGS)
    none = ((0, size, count, flag) for size in (0, 8) for count in (4096,) for flag in FLAGS)
    tries = ((8, 8, 4, flag | 1) for flag in FLAGS)
    for key, value, count, flag in itertools.chain(shapes, flags, others, none, tries):
        if value == 40_000 and count > 3:
            continue  # large
        if flag & MapFlags.NUMA_NODE:
            continue  # a node is a matter of the machine
        request = MapCreate(map_type, key, value, count, map_flags=flag)
        answers = []
        for system in bodies:
            answer = ask(system, request)
            if isinstance(answer, int):
                info = system.bpf(MapGetInfo(answer))
                system.close(answer)
                answer = ("created", info.max_entries, info.map_flags, info.memlock)
            answers.append(answer)
        if answers[0] != answers[1]:
            wrong.append((request, *answers))
    assert not wrong, wrong


@pytest.mark.parametrize("flag", [0, int(MapFlags.NO_PREALLOC), int(MapFlags.NO_COMMON_LRU)])
@pytest.mark.parametrize(
    "map_type",
    (MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH),
    ids=str,
)
def test_tables_of_too_many_buckets(bodies, map_type, flag):
    """Linux refuses these before it looks for memory."""
    for count in ((1 << 27) + 1, 1 << 28, 1 << 31, (1 << 31) + 1, (1 << 32) - 1):
        request = MapCreate(map_type, 4, 4, count, map_flags=flag)
        linux, simulated = (ask(system, request) for system in bodies)
        assert simulated == linux, request
        assert isinstance(linux, str)


OPERATED = {
    "array": MapCreate(MapType.ARRAY, 4, 8, 3),
    "array-5": MapCreate(MapType.ARRAY, 4, 5, 3),
    "hash": MapCreate(MapType.HASH, 4, 8, 3),
    "hash-long-key": MapCreate(MapType.HASH, 7, 3, 3),
    "hash-no-prealloc": MapCreate(MapType.HASH, 4, 8, 3, map_flags=1),
    "hash-read-only": MapCreate(MapType.HASH, 4, 8, 3, map_flags=MapFlags.RDONLY),
    "hash-write-only": MapCreate(MapType.HASH, 4, 8, 3, map_flags=MapFlags.WRONLY),
    "percpu-hash": MapCreate(MapType.PERCPU_HASH, 4, 4, 3),
    "percpu-array": MapCreate(MapType.PERCPU_ARRAY, 4, 12, 3),
    "lru-hash": MapCreate(MapType.LRU_HASH, 4, 8, 1000),
    "lru-percpu-hash": MapCreate(MapType.LRU_PERCPU_HASH, 4, 8, 1000),
    "lpm": MapCreate(MapType.LPM_TRIE, 5, 8, 4, map_flags=1),
    "lpm-long": MapCreate(MapType.LPM_TRIE, 8, 1, 4, map_flags=1),
    "queue": MapCreate(MapType.QUEUE, 0, 8, 3),
    "stack": MapCreate(MapType.STACK, 0, 8, 3),
    "stack-trace": MapCreate(MapType.STACK_TRACE, 4, 16, 3),
    "prog-array": MapCreate(MapType.PROG_ARRAY, 4, 4, 3),
    "perf-array": MapCreate(MapType.PERF_EVENT_ARRAY, 4, 4, 3),
    "cgroup-array": MapCreate(MapType.CGROUP_ARRAY, 4, 4, 3),
    "devmap": MapCreate(MapType.DEVMAP, 4, 4, 3),
    "devmap-hash": MapCreate(MapType.DEVMAP_HASH, 4, 4, 3),
    "cpumap": MapCreate(MapType.CPUMAP, 4, 4, 3),
    "xskmap": MapCreate(MapType.XSKMAP, 4, 4, 3),
    "sockmap": MapCreate(MapType.SOCKMAP, 4, 4, 3),
    "sockmap-8": MapCreate(MapType.SOCKMAP, 4, 8, 3),
    "sockhash": MapCreate(MapType.SOCKHASH, 4, 8, 3),
    "reuseport": MapCreate(MapType.REUSEPORT_SOCKARRAY, 4, 8, 3),
    "ring": MapCreate(MapType.RINGBUF, 0, 0, 4096),
}
UNORDERED = ("hash", "percpu-hash", "lru", "devmap-hash", "sockhash")
"""Maps whose order of keys is Linux's own affair."""
NUMBERS = (MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP)
PLAIN = (
    *(MapType.ARRAY, MapType.HASH, MapType.PERCPU_ARRAY, MapType.PERCPU_HASH),
    *(MapType.LRU_HASH, MapType.LRU_PERCPU_HASH, MapType.LPM_TRIE),
    *(MapType.QUEUE, MapType.STACK, MapType.STACK_TRACE, MapType.RINGBUF),
)
STEPS = 120


def operations(create: MapCreate, name: str, source: random.Random):
    """Requests with a descriptor 0 in place of the map's, over few keys, so that they meet."""
    per_cpu = name.startswith(("percpu", "lru-percpu"))
    size = -(-create.value_size // 8) * 8 * possible_cpus() if per_cpu else create.value_size

    def key() -> bytes:
        if create.map_type == MapType.LPM_TRIE:
            bits = source.choice((0, 1, 3, 7, 8, 9, 32, 33))
            return bits.to_bytes(4, "little") + bytes(
                source.choice((0, 0x80, 0xC0, 0xFF)) for _ in range(create.key_size - 4)
            )
        return source.choice((0, 1, 2, 3, 4, 7, 0xFF)).to_bytes(max(1, create.key_size), "little")[
            : create.key_size
        ]

    def value() -> bytes:
        if per_cpu:
            one = source.randbytes(create.value_size).ljust(-(-create.value_size // 8) * 8, b"\0")
            return one * possible_cpus()
        if create.map_type in NUMBERS:
            return source.choice((0, 1, 1000, 20_000)).to_bytes(4, "little")
        if create.map_type not in PLAIN:  # a descriptor: none that is open
            return source.choice((9999, 1 << 20)).to_bytes(create.value_size, "little")
        return source.randbytes(size)

    for _ in range(STEPS):
        flags = source.choice((0, 0, 0, 0, 1, 2, 3, 4, 8, 1 << 40))
        match source.randrange(6):
            case 0 | 1:
                yield MapUpdate(0, key(), value(), flags)
            case 2:
                yield MapLookup(0, key(), source.choice((0, 0, 0, flags)))
            case 3:
                yield MapDelete(0, key())
            case 4:
                yield MapLookupAndDelete(0, key(), source.choice((0, 0, 0, flags)))
            case 5:
                yield MapNextKey(0, source.choice((None, key())))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OPERATED)
def test_operations(bodies, name, seed):
    """The same operations, in the same order, have the same results."""
    create = OPERATED[name]
    descriptors = [system.bpf(create) for system in bodies]
    try:
        for step, request in enumerate(operations(create, name, random.Random(f"{name} {seed}"))):
            answers = [
                ask(system, with_fd(request, fd))
                for system, fd in zip(bodies, descriptors, strict=True)
            ]
            if isinstance(request, MapNextKey) and name.startswith(UNORDERED):
                answers = [isinstance(answer, bytes) or answer for answer in answers]
                if request.key is not None:
                    continue
            assert answers[0] == answers[1], f"step {step}: {request}"
        answers = [ask(s, MapFreeze(fd)) for s, fd in zip(bodies, descriptors, strict=True)]
        assert answers[0] == answers[1]
    finally:
        for system, fd in zip(bodies, descriptors, strict=True):
            system.close(fd)


def with_fd(request: Request, fd: int) -> Request:
    from minibcc.records import replace

    return replace(request, fd=fd)


def test_possible_cpus_are_what_linux_says():
    assert possible_cpus() >= (os.cpu_count() or 1)


BTF = (
    b"\x9f\xeb\x01\x00"
    + (24).to_bytes(4, "little")
    + b"".join(n.to_bytes(4, "little") for n in (0, 32, 32, 9))
    + b"".join(n.to_bytes(4, "little") for n in (1, 1 << 24, 4, 1 << 24 | 32))
    + b"".join(n.to_bytes(4, "little") for n in (5, 1 << 24, 8, 64))
    + b"\0int\0u64\0"
)
"""Type 1 is int, type 2 u64."""


@pytest.mark.parametrize("map_type", [t for t in MapType if t not in NOT_COMPARED], ids=str)
def test_types_of_keys_and_values(bodies, map_type):
    blobs = [system.bpf(BtfLoad(BTF)) for system in bodies]
    shapes = ((4, 8, 4, 0), (4, 4, 4, 0), (8, 8, 4, 1), (0, 8, 4, 0), (0, 0, 4096, 0), (4, 8, 0, 1))
    wrong = []
    for shape, key, value in itertools.product(shapes, (0, 1, 2, 9), (0, 1, 2, 9)):
        key_size, value_size, count, flags = shape
        answers = []
        for system, blob in zip(bodies, blobs, strict=True):
            answer = ask(
                system,
                MapCreate(
                    map_type,
                    key_size,
                    value_size,
                    count,
                    map_flags=flags,
                    btf_fd=blob,
                    btf_key_type_id=key,
                    btf_value_type_id=value,
                ),
            )
            if isinstance(answer, int):
                system.close(answer)
                answer = "created"
            answers.append(answer)
        if answers[0] != answers[1]:
            wrong.append((shape, key, value, *answers))
    for system, blob in zip(bodies, blobs, strict=True):
        system.close(blob)
    assert not wrong, wrong


BATCHED = (
    *("array", "array-5", "hash", "hash-no-prealloc", "percpu-hash", "percpu-array", "lru-hash"),
    *("lru-percpu-hash", "lpm", "queue", "stack-trace", "prog-array", "perf-array", "devmap"),
    *("devmap-hash", "cpumap", "ring", "sockmap"),
)


def ask_batch(system: System, request: Request, *, ordered: bool) -> object:
    """The answer without its cursor, which each kernel makes in its own way."""
    answer = ask(system, request)
    if not isinstance(answer, Batch):
        return answer
    entries = list(zip(answer.keys, answer.values, strict=True))
    return (entries if ordered else sorted(entries)), answer.cursor is None


@pytest.mark.parametrize("name", BATCHED)
def test_batches(bodies, name):
    create = OPERATED[name]
    ordered = not name.startswith(UNORDERED)
    descriptors = [system.bpf(create) for system in bodies]
    size = create.value_size
    if name.startswith(("percpu", "lru-percpu")):
        size = -(-size // 8) * 8 * possible_cpus()
    keys = tuple(bytes([n, 0, 0, 0, 0, 0, 0, 0])[: create.key_size] for n in range(5))
    if name == "lpm":
        keys = tuple(bytes([8, 0, 0, 0, n]) for n in range(5))
    values = tuple(bytes([n + 1]) * size for n in range(5))
    if "percpu" in name:
        one = create.value_size
        padding = bytes(-one % 8)
        values = tuple((bytes([n + 1]) * one + padding) * possible_cpus() for n in range(5))
    requests = [
        MapUpdateBatch(0, keys[:3], values[:3]),
        MapLookupBatch(0, 100),
        MapUpdateBatch(0, keys[1:3], values[2:4]),
        MapLookupBatch(0, 100),
        MapLookupBatch(0, 100, elem_flags=1),
        MapLookupBatch(0, 100, elem_flags=4),
        MapUpdateBatch(0, keys[:1], values[:1], elem_flags=4),
        MapUpdateBatch(0, keys[:1], values[:1], elem_flags=8),
        MapUpdateBatch(0, keys, values),
        MapDeleteBatch(0, keys[:1]),
        MapDeleteBatch(0, keys[:1]),
        MapDeleteBatch(0, keys[1:2], elem_flags=1),
        MapLookupAndDeleteBatch(0, 100),
        MapLookupBatch(0, 100),
        MapLookupAndDeleteBatch(0, 100, elem_flags=4),
        MapUpdateBatch(0, (), ()),
        MapDeleteBatch(0, ()),
    ]
    wrong = []
    for request in requests:
        answers = [
            ask_batch(system, with_fd(request, fd), ordered=ordered)
            for system, fd in zip(bodies, descriptors, strict=True)
        ]
        if answers[0] != answers[1]:
            wrong.append((request, *answers))
    for system, fd in zip(bodies, descriptors, strict=True):
        system.close(fd)
    assert not wrong, wrong


EXIT = encode(assemble("r0 = 0\nexit"))
PROGRAMS = {
    "socket filter": ProgLoad(ProgType.SOCKET_FILTER, EXIT),
    "XDP": ProgLoad(ProgType.XDP, EXIT),
    "XDP of a device map": ProgLoad(ProgType.XDP, EXIT, expected_attach_type=AttachType.XDP_DEVMAP),
    "XDP of a CPU map": ProgLoad(ProgType.XDP, EXIT, expected_attach_type=AttachType.XDP_CPUMAP),
}
DESCRIPTORS = (*PROGRAMS, "map", 0, -1, 9999)


@pytest.mark.parametrize("named", DESCRIPTORS, ids=str)
@pytest.mark.parametrize("map_type", (MapType.CPUMAP, MapType.DEVMAP, MapType.DEVMAP_HASH), ids=str)
def test_descriptors_in_values(bodies, map_type, named):
    """A number and a program to run there; for sockets, what is none."""
    seen = []
    for system in bodies:
        opened = [map := system.bpf(MapCreate(map_type, 4, 8, 4))]
        opened.append(short := system.bpf(MapCreate(MapType.SOCKMAP, 4, 4, 4)))
        fd = named
        if named == "map":
            fd = map
        elif named in PROGRAMS:
            opened.append(fd := system.bpf(PROGRAMS[named]).fd)
        for number in (0, 1, 192):
            value = struct.pack("<Ii", number, fd)
            seen.append([ask(system, MapUpdate(map, bytes(4), value))])
            seen[-1].append(isinstance(ask(system, MapLookup(map, bytes(4))), bytes))
        if fd:  # a file of the process's own
            seen.append(ask(system, MapUpdate(short, bytes(4), struct.pack("<i", fd))))
        for one in opened:
            system.close(one)
    half = len(seen) // 2
    assert seen[half:] == seen[:half]


@pytest.mark.parametrize("name", ["", "a-b", "a.b_1", "sixteen__letters"])
@pytest.mark.parametrize("inner", [None, 9999])
def test_names_of_maps_of_nothing(bodies, name, inner):
    """What an inner map is comes before what a name may be."""
    for kind in (MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS, MapType.ARRAY):
        for shape in ((4, 4, 1), (4, 8, 1), (4, 4, 0)):
            request = MapCreate(kind, *shape, map_name=name, inner_map_fd=inner)
            answers = [ask(system, request) for system in bodies]
            for system, answer in zip(bodies, answers, strict=True):
                if isinstance(answer, int):
                    system.close(answer)
            said = [isinstance(answer, int) or answer for answer in answers]
            assert said[1] == said[0], request


def test_bytes_of_bloom_filters(bodies):
    for count, hashes in itertools.product((1, 2, 9, 10, 16, 46, 47, 100, 1000), (0, 1, 2, 3, 15)):
        taken = []
        for system in bodies:
            fd = system.bpf(MapCreate(MapType.BLOOM_FILTER, 0, 8, count, map_extra=hashes))
            taken.append(system.bpf(MapGetInfo(fd)).memlock)
            system.close(fd)
        assert taken[1] == taken[0], (count, hashes)
