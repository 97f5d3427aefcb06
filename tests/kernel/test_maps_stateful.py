"""Maps of every type through any sequence of operations: the simulated kernel and Linux agree.

A run makes one map on either body and then does the same to both: elements one by one and in
batches, whole iterations, freezing, pinning, opening again by path and by id, and looking at what
the kernel says of the map. Where an element is another object, descriptors differ between the
bodies and ids too, so either is translated to the object's name. What is Linux's own affair is left
out: the order of a hash table's keys.
"""

from __future__ import annotations

import itertools
import os
from functools import cache
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from minibcc.abi.bpf import MapFlags, MapType, ProgType
from minibcc.abi.perf import PerfEventAttr, PerfSample, PerfSoftware, PerfType
from minibcc.abi.requests import (
    Batch,
    BtfLoad,
    MapCreate,
    MapDelete,
    MapDeleteBatch,
    MapFreeze,
    MapGetFdById,
    MapGetInfo,
    MapLookup,
    MapLookupAndDelete,
    MapLookupAndDeleteBatch,
    MapLookupBatch,
    MapNextKey,
    MapUpdate,
    MapUpdateBatch,
    ObjGet,
    ObjPin,
    ProgLoad,
    Request,
)
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.machine import Machine
from minibcc.records import replace
from minibcc.system.interface import System
from tests import live
from tests.kernel.support import possible_cpus
from tests.kernel.test_maps_like_linux import BTF, OPERATED, UNORDERED
from tests.machine.fakes import FakeKernel

pytestmark = pytest.mark.kernel

T = MapType
NO_PREALLOC = int(MapFlags.NO_PREALLOC)
RDONLY_PROG, WRONLY_PROG = int(MapFlags.RDONLY_PROG), int(MapFlags.WRONLY_PROG)
SHAPES: dict[str, MapCreate] = {
    **OPERATED,
    "hash-wide": MapCreate(T.HASH, 12, 20, 5),
    "hash-program-reads": MapCreate(T.HASH, 4, 8, 3, map_flags=RDONLY_PROG),
    "array-program-writes": MapCreate(T.ARRAY, 4, 8, 3, map_flags=WRONLY_PROG),
    "array-mapped": MapCreate(T.ARRAY, 4, 8, 3, map_flags=int(MapFlags.MMAPABLE)),
    "percpu-hash-odd": MapCreate(T.PERCPU_HASH, 4, 11, 3, map_flags=NO_PREALLOC),
    "lru-own-lists": MapCreate(T.LRU_HASH, 4, 8, 1000, map_flags=int(MapFlags.NO_COMMON_LRU)),
    "bloom": MapCreate(T.BLOOM_FILTER, 0, 8, 1000),
    "array-of-maps": MapCreate(T.ARRAY_OF_MAPS, 4, 4, 3),
    "hash-of-maps": MapCreate(T.HASH_OF_MAPS, 4, 4, 3),
    "devmap-8": MapCreate(T.DEVMAP, 4, 8, 3),
    "cpumap-8": MapCreate(T.CPUMAP, 4, 8, 3),
    "stack-trace-build-id": MapCreate(
        T.STACK_TRACE, 4, 64, 3, map_flags=int(MapFlags.STACK_BUILD_ID)
    ),
    "task-storage": MapCreate(T.TASK_STORAGE, 4, 8, 0, map_flags=NO_PREALLOC),
    "sk-storage": MapCreate(T.SK_STORAGE, 4, 8, 0, map_flags=NO_PREALLOC),
    "inode-storage": MapCreate(T.INODE_STORAGE, 4, 8, 0, map_flags=NO_PREALLOC),
    "cgrp-storage": MapCreate(T.CGRP_STORAGE, 4, 8, 0, map_flags=NO_PREALLOC),
    "cgroup-storage": MapCreate(T.CGROUP_STORAGE, 16, 8, 0),
    "percpu-cgroup-storage": MapCreate(T.PERCPU_CGROUP_STORAGE, 16, 8, 0),
    "user-ring": MapCreate(T.USER_RINGBUF, 0, 0, 4096),
}
"""A map of each type that BCC can declare (and some more), in several shapes."""
STORAGES = (T.TASK_STORAGE, T.SK_STORAGE, T.INODE_STORAGE, T.CGRP_STORAGE)
OF_MAPS = (T.ARRAY_OF_MAPS, T.HASH_OF_MAPS)
OF_OBJECTS = (
    *(T.PROG_ARRAY, T.PERF_EVENT_ARRAY, T.CGROUP_ARRAY, *OF_MAPS),
    *(T.XSKMAP, T.SOCKMAP, T.SOCKHASH, T.REUSEPORT_SOCKARRAY),
)
"""Types whose values are descriptors."""
PER_CPU = (T.PERCPU_HASH, T.PERCPU_ARRAY, T.LRU_PERCPU_HASH, T.PERCPU_CGROUP_STORAGE)
KEYS = (0, 1, 2, 3, 4, 0xFF)
FLAGS = (0, 0, 0, 0, 0, 1, 2, 3, 4, 8, 1 << 40)
OBJECTS = ("filter", "xdp", "event", "like", "longer", "hash", "none")
CHANCE = st.randoms(use_true_random=False)
ROOM = 100
"""More than any map here holds."""
PIN = "/sys/fs/bpf/minibcc-test-{}"
_serial = itertools.count()


class Side:
    """One of the bodies, with the map and the objects that may go into it."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.bpf = system.bpf
        self.open: list[int] = []
        program = encode(assemble("r0 = 0\nexit"))
        array = self.keep(self.bpf(MapCreate(T.ARRAY, 4, 8, 3)))
        attr = PerfEventAttr(
            PerfType.SOFTWARE, PerfSoftware.BPF_OUTPUT, sample_type=int(PerfSample.RAW)
        )
        self.objects = {
            "filter": self.keep(self.bpf(ProgLoad(ProgType.SOCKET_FILTER, program)).fd),
            "xdp": self.keep(self.bpf(ProgLoad(ProgType.XDP, program)).fd),
            "event": self.keep(system.perf_event_open(attr, -1, 0)),
            "like": array,
            "longer": self.keep(self.bpf(MapCreate(T.ARRAY, 4, 8, 4))),
            "hash": self.keep(self.bpf(MapCreate(T.HASH, 4, 8, 3))),
            "none": 9999,
        }
        self.btf = self.keep(self.bpf(BtfLoad(BTF)))
        self.ids = {self.bpf(MapGetInfo(fd)).id: name for name, fd in self.maps()}

    def maps(self) -> list[tuple[str, int]]:
        return [(name, self.objects[name]) for name in ("like", "longer", "hash")]

    def keep(self, fd: int) -> int:
        self.open.append(fd)
        return fd

    def close(self) -> None:
        for fd in self.open:
            self.system.close(fd)

    def create(self, shape: MapCreate) -> None:
        if shape.map_type in STORAGES:
            shape = replace(shape, btf_fd=self.btf, btf_key_type_id=1, btf_value_type_id=2)
        if shape.map_type in OF_MAPS:
            shape = replace(shape, inner_map_fd=self.objects["like"])
        self.fd = self.keep(self.bpf(shape))
        self.id = self.bpf(MapGetInfo(self.fd)).id

    def value(self, value: bytes | str, size: int) -> bytes:
        """A value, or the descriptor of the object of that name."""
        if isinstance(value, bytes):
            return value
        return self.objects[value].to_bytes(4, "little").ljust(size, b"\0")

    def ask(self, request: Request[Any]) -> Any:
        try:
            return self.bpf(request)
        except OSError as error:
            return f"errno {error.errno}"

    def name(self, data: Random) -> Any:
        """The object whose id user space read."""
        if isinstance(data, bytes) and len(data) == 4:
            return self.ids.get(int.from_bytes(data, "little"), "another")
        return data


def simulated() -> SimulatedSystem:
    return SimulatedSystem(Machine(FakeKernel(), cpus=possible_cpus()), engine="interpreter")


@cache
def can_pin() -> bool:
    """Whether the file system for pins is there."""
    try:
        with open("/proc/mounts") as mounts:
            return any(line.split()[1:3] == ["/sys/fs/bpf", "bpf"] for line in mounts)
    except OSError:
        return False


class Maps(RuleBasedStateMachine):
    """The same steps on both bodies."""

    @initialize(name=st.sampled_from(sorted(SHAPES)))
    def begin(self, name: str) -> None:
        self.name, self.shape = name, SHAPES[name]
        self.sides = [
            Side(live.kernel()),
            Side(
                SimulatedSystem(Machine(FakeKernel(), cpus=possible_cpus()), engine="interpreter")
            ),
        ]
        for side in self.sides:
            side.create(self.shape)
        self.ordered = not name.startswith(UNORDERED)
        self.pins: list[str] = []

    def teardown(self) -> None:
        for path in getattr(self, "pins", []):
            os.unlink(path)
        for side in getattr(self, "sides", []):
            side.close()

    def both(self, request: Any, *, entries: bool = False) -> list[Any]:
        """`request` is a function of a side; the answers must be equal."""
        answers = [side.ask(request(side)) for side in self.sides]
        looks = isinstance(request(self.sides[0]), MapLookup | MapLookupAndDelete)
        if looks and self.shape.map_type in (*OF_MAPS, T.PROG_ARRAY):
            answers = [side.name(answer) for side, answer in zip(self.sides, answers, strict=True)]
        if not entries:
            assert answers[0] == answers[1], (self.name, answers, request(self.sides[1]))
        return answers

    # --- what goes in ---------------------------------------------------------------------------

    def key(self, data: Random) -> bytes:
        shape = self.shape
        if shape.map_type == T.BLOOM_FILTER:
            return b""
        if shape.map_type == T.LPM_TRIE:
            bits = data.choice((0, 1, 3, 7, 8, 9, 32, 33))
            rest = data.choices((0, 0x80, 0xC0, 0xFF), k=4)
            return bits.to_bytes(4, "little") + bytes(rest)[: shape.key_size - 4]
        if shape.map_type in STORAGES:  # a descriptor: none that is open
            return data.choice((9999, 1 << 20)).to_bytes(4, "little")
        number = data.choice(KEYS)
        return number.to_bytes(4, "little").ljust(shape.key_size, b"\0")[: shape.key_size]

    def value(self, data: Random) -> bytes | str:
        shape = self.shape
        size = shape.value_size
        if shape.map_type in OF_OBJECTS:
            return data.choice(OBJECTS)
        if shape.map_type in (T.DEVMAP, T.DEVMAP_HASH, T.CPUMAP):
            number = data.choice((0, 1, 1000, 20_000))
            return number.to_bytes(4, "little").ljust(size, b"\0")
        if shape.map_type in PER_CPU:
            stride = -(-size // 8) * 8
            return data.randbytes(stride * possible_cpus())
        return data.randbytes(size)

    def looked_up(self, data: Random) -> bytes:
        """A Bloom filter is asked for a value."""
        if self.shape.map_type == T.BLOOM_FILTER:
            return data.randbytes(8)
        return self.key(data)

    # --- steps ----------------------------------------------------------------------------------

    @rule(data=CHANCE, flags=st.sampled_from(FLAGS))
    def update(self, data: Random, flags: int) -> None:
        key, value = self.key(data), self.value(data)
        size = self.shape.value_size
        self.both(lambda side: MapUpdate(side.fd, key, side.value(value, size), flags))

    @rule(data=CHANCE, flags=st.sampled_from(FLAGS))
    def look_up(self, data: Random, flags: int) -> None:
        key = self.looked_up(data)
        self.both(lambda side: MapLookup(side.fd, key, flags))

    @rule(data=CHANCE)
    @precondition(lambda self: self.shape.map_type == T.BLOOM_FILTER)
    def remember(self, data: Random) -> None:
        """What was pushed is known; what was not is, at this size, not."""
        value = self.value(data)
        self.both(lambda side: MapLookup(side.fd, value, 0))
        self.both(lambda side: MapUpdate(side.fd, b"", value, 0))
        self.both(lambda side: MapLookup(side.fd, value, 0))

    @rule(data=CHANCE)
    def delete(self, data: Random) -> None:
        key = self.key(data)
        self.both(lambda side: MapDelete(side.fd, key))

    @rule(data=CHANCE, flags=st.sampled_from(FLAGS))
    def look_up_and_delete(self, data: Random, flags: int) -> None:
        key = self.key(data)
        self.both(lambda side: MapLookupAndDelete(side.fd, key, flags))

    @rule()
    def iterate(self) -> None:
        """All keys, in Linux's order where there is one."""
        found = []
        for side in self.sides:
            keys: list[Any] = []
            key = None
            while len(keys) < ROOM:
                key = side.ask(MapNextKey(side.fd, key))
                keys.append(key)
                if isinstance(key, str):
                    break
            found.append(keys if self.ordered else sorted(keys, key=repr))
        assert found[0] == found[1], self.name

    @rule(data=CHANCE)
    def next_key(self, data: Random) -> None:
        key = self.key(data)
        if self.ordered:
            self.both(lambda side: MapNextKey(side.fd, key))

    @rule(
        data=CHANCE,
        count=st.integers(0, 4),
        flags=st.sampled_from(FLAGS),
    )
    def update_batch(self, data: Random, count: int, flags: int) -> None:
        keys = tuple(self.key(data) for _ in range(count))
        values = [self.value(data) for _ in range(count)]
        size = self.shape.value_size
        if not self.shape.key_size:
            return  # the length of nothing is not to be told
        self.both(
            lambda side: MapUpdateBatch(
                side.fd, keys, tuple(side.value(value, size) for value in values), flags
            )
        )

    @rule(flags=st.sampled_from((0, 0, 0, 0, 1, 4)), take=st.booleans())
    def look_up_batch(self, flags: int, take: bool) -> None:
        kind = MapLookupAndDeleteBatch if take else MapLookupBatch
        answers = self.both(lambda side: kind(side.fd, ROOM, elem_flags=flags), entries=True)
        shown = []
        for side, answer in zip(self.sides, answers, strict=True):
            if isinstance(answer, Batch):
                values = answer.values
                if self.shape.map_type in OF_MAPS:  # by ids
                    values = tuple(side.name(value) for value in values)
                entries = list(zip(answer.keys, values, strict=True))
                answer = entries if self.ordered else sorted(entries), answer.cursor is None
            shown.append(answer)
        assert shown[0] == shown[1], self.name

    @rule(
        data=CHANCE,
        count=st.integers(0, 3),
        flags=st.sampled_from((0, 0, 0, 1, 4)),
    )
    def delete_batch(self, data: Random, count: int, flags: int) -> None:
        keys = tuple(self.key(data) for _ in range(count))
        if self.shape.key_size:
            self.both(lambda side: MapDeleteBatch(side.fd, keys, flags))

    @rule(sure=st.integers(0, 9))
    def freeze(self, sure: int) -> None:
        if not sure:
            self.both(lambda side: MapFreeze(side.fd))

    @rule()
    def describe(self) -> None:
        """What the kernel says of the map, with the bytes that it takes."""
        infos = [side.bpf(MapGetInfo(side.fd)) for side in self.sides]
        said = [
            (info.type, info.key_size, info.value_size, info.max_entries, info.map_flags,
             info.frozen, info.memlock)
            for info in infos
        ]  # fmt: skip
        assert said[0] == said[1], (self.name, said)

    @rule()
    def open_again(self) -> None:
        """By id, which gives all rights."""
        for side in self.sides:
            side.fd = side.keep(side.bpf(MapGetFdById(side.id)))

    @rule(flags=st.sampled_from((0, 0, int(MapFlags.RDONLY), int(MapFlags.WRONLY), 0x18, 1)))
    def pin(self, flags: int) -> None:
        """Pinned, pinned again, and opened, perhaps with fewer rights."""
        if not can_pin():
            return
        path = PIN.format(f"{os.getpid()}-{next(_serial)}")
        self.pins.append(path)
        for _ in range(2):
            self.both(lambda side: ObjPin(path, side.fd))
        answers = [side.ask(ObjGet(path, flags)) for side in self.sides]
        if isinstance(answers[0], int) and isinstance(answers[1], int):
            for side, fd in zip(self.sides, answers, strict=True):
                side.fd = side.keep(fd)
        else:
            assert answers[0] == answers[1], self.name


class TestMaps(Maps.TestCase):
    settings = settings(
        max_examples=int(os.environ.get("MINIBCC_EXAMPLES", "40")),
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
