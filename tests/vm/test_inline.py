"""Map operations that native code does itself give what the Python operations give.

Two kernels get the same operations: one runs programs in the interpreter, whose helpers are the
maps' Python operations; the other in native code. User space works on both maps in between, by
Python in either kernel, so the second one's bytes are written by turns by both implementations.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.abi.requests import MapCreate
from minibcc.isa.instruction import LD_IMM64, Instruction
from minibcc.isa.text import assemble
from minibcc.kernel.helpers.registry import implementation
from minibcc.kernel.maps.hash import HashMap
from minibcc.kernel.maps.table import BITS, CHANGES, COUNT, COUNTS, NEWEST, OLDER, OLDEST
from minibcc.kernel.maps.trie import PrefixTrie
from minibcc.kernel.system import SimulatedSystem
from minibcc.kernel.vm.execution import Image, Run
from minibcc.machine.machine import Machine
from tests.machine.fakes import FakeKernel

CPUS = 2
KEY, VALUE = 0, 512
"""Where a program finds them behind its first argument."""

PROGRAMS = {
    "lookup": "call map_lookup_elem#1\nif r0 == 0 goto pc+2\nr0 = *(u8 *)(r0 +0)\nr0 += 1\nexit",
    "address": "call map_lookup_elem#1\nexit",
    "add": """
        call map_lookup_elem#1
        if r0 == 0 goto pc+3
        r1 = *(u8 *)(r0 +0)
        r1 += 1
        *(u8 *)(r0 +0) = r1
        exit
        """,
    "any": "r4 = 0\ncall map_update_elem#2\nexit",
    "noexist": "r4 = 1\ncall map_update_elem#2\nexit",
    "exist": "r4 = 2\ncall map_update_elem#2\nexit",
    "wrong": "r4 = 3\ncall map_update_elem#2\nexit",
    "locked": "r4 = 4\ncall map_update_elem#2\nexit",
    "delete": "call map_delete_elem#3\nexit",
}
WRITES = ("any", "noexist", "exist", "wrong", "delete")
NATIVE = {"lookup", "address", "add", "delete"}
"""What never needs Python where the map lies as `natives.c` knows it."""


class Side:
    """One of the kernels, with a map and programs that work on it."""

    def __init__(self, engine: str, request: MapCreate, programs: dict[str, str]) -> None:
        self.system = SimulatedSystem(Machine(FakeKernel(), cpus=CPUS), engine=engine)
        self.kernel = self.system.kernel
        self.memory = self.kernel.memory
        self.map = self.kernel.map_of(self.system.bpf(request))
        self.calls: Counter[int] = Counter()
        self.images = {name: self.image(text) for name, text in programs.items()}
        self.context = self.memory.allocate(1024)

    def image(self, text: str) -> Image:
        address = self.map.address
        slots = [
            *assemble(f"r6 = r1\nr2 = r1\nr3 = r1\nr3 += {VALUE}"),
            Instruction(LD_IMM64, 1, imm=address & 0xFFFF_FFFF),
            Instruction(0, imm=address >> 32),
            *assemble(text),
        ]
        helpers = {number: self.counted(number) for number in (1, 2, 3, 130, 131, 132, 133)}
        layout = self.map.layout()
        return Image("map", slots, helpers, layouts={address: layout} if layout else {})

    def counted(self, number: int):
        function = implementation(number)

        def helper(run, *arguments):
            self.calls[number] += 1
            return function(run, *arguments)

        return helper

    def run(self, name: str, key: bytes, value: bytes, cpu: int = 0) -> int:
        """R0, with addresses counted from the arena's start."""
        self.memory.view(self.context + KEY, len(key))[:] = key
        self.memory.view(self.context + VALUE, len(value))[:] = value
        run = Run(self.memory, kernel=self.kernel, cpu=cpu)
        result = self.kernel.engine.run(self.images[name], run, (self.context,))
        return self.relative(result)

    def relative(self, value: int) -> int:
        base = self.memory.base
        return value - base if base <= value < base + self.memory.size else value

    def user(self, name: str, key: bytes, value: bytes):
        """The same by user space; the errno where it fails."""
        flags = {"noexist": 1, "exist": 2, "wrong": 3, "locked": 4}.get(name, 0)
        try:
            if name == "delete":
                return self.map.remove(key)
            if name in NATIVE:
                return self.map.read(key, 0)
            parts = self.map.user_value_size // self.map.stride if self.map.per_cpu else 1
            padded = value.ljust(self.map.stride, b"\0") if self.map.per_cpu else value
            return self.map.write(key, padded * parts, flags)
        except OSError as error:
            return error.errno

    def content(self) -> list:
        """All there is to see: elements in their order, and the order of their use."""
        found, key = [], None
        try:
            while len(found) < 100:
                key = self.map.next_key(key)
                value = self.map.find(key)
                found.append((key, value - self.memory.base, self.map.read(key, 0)))
        except OSError:
            pass
        if isinstance(self.map, HashMap):
            table = self.map.entries
            found.append([table.get(field) for field in (COUNT, BITS, CHANGES)])
            element, order = table.get(NEWEST), []
            while element:
                order.append(table.slot(element))
                element = self.memory.load(element + OLDER, 8)
            assert not order or order[-1] == table.slot(table.get(OLDEST))
            found.append(order)
        if isinstance(self.map, PrefixTrie):
            counts = bytes(self.memory.view(table.get(COUNTS), 8 * (table.get(BITS) + 1)))
            found.append((self.map.lengths(), counts))
        return found


PLAIN = MapFlags(0)
SHAPES = [
    # type, key size, value size, flags
    (MapType.ARRAY, 4, 8, PLAIN),
    (MapType.ARRAY, 4, 300, PLAIN),
    (MapType.PERCPU_ARRAY, 4, 3, PLAIN),
    (MapType.HASH, 4, 8, PLAIN),
    (MapType.HASH, 8, 300, MapFlags.NO_PREALLOC),
    (MapType.HASH, 3, 1, PLAIN),
    (MapType.HASH, 16, 16, PLAIN),
    (MapType.HASH, 61, 9, PLAIN),
    (MapType.PERCPU_HASH, 4, 8, PLAIN),
    (MapType.PERCPU_HASH, 13, 12, PLAIN),
    (MapType.LRU_HASH, 4, 8, PLAIN),
    (MapType.LRU_HASH, 20, 5, PLAIN),
    (MapType.LRU_PERCPU_HASH, 8, 12, PLAIN),
]


@pytest.mark.parametrize(
    "shape", SHAPES, ids=lambda shape: f"{shape[0].name}-{shape[1]}-{shape[2]}"
)
def test_native_operations_do_what_python_does(shape):
    kind, key_size, value_size, flags = shape
    request = MapCreate(kind, key_size, value_size, 11, flags)
    sides = [Side(engine, request, PROGRAMS) for engine in ("interpreter", "jit")]
    operations = st.tuples(
        st.sampled_from(list(PROGRAMS)),
        st.integers(0, 15),
        st.integers(0, 255),
        st.integers(0, CPUS - 1),
        st.booleans(),
    )

    @settings(max_examples=30, deadline=None)
    @given(st.lists(operations, max_size=40))
    def agree(operations):
        for name, number, byte, cpu, by_user in operations:
            # The number lies at the key's end too, so that all its words differ.
            key = bytes([number]).ljust(key_size - 1, b"\0") + bytes(
                [number if key_size > 4 else 0]
            )
            value = bytes([byte]) * value_size
            if by_user:
                assert sides[0].user(name, key, value) == sides[1].user(name, key, value)
            else:
                results = [side.run(name, key, value, cpu) for side in sides]
                assert results[0] == results[1]
            assert sides[0].content() == sides[1].content()

    agree()
    calls = sides[1].calls
    assert not calls[1], "no look-up needs Python"
    if kind not in (MapType.ARRAY, MapType.PERCPU_ARRAY):
        assert calls[2] <= 2, "only a chunk of new elements does"
        assert not calls[3]


@pytest.mark.parametrize("size", [1, 4, 7, 8, 16, 17, 41, 256])
def test_native_operations_on_prefixes_do_what_python_does(size):
    """The data has `size` bytes; keys and prefixes share their beginnings, or nothing would hit."""
    request = MapCreate(MapType.LPM_TRIE, 4 + size, 8, 20, MapFlags.NO_PREALLOC)
    names = {name: PROGRAMS[name] for name in ("address", *WRITES)}
    sides = [Side(engine, request, names) for engine in ("interpreter", "jit")]
    lengths = st.integers(0, 8 * size) | st.sampled_from([0, 1, 8 * size, 8 * size + 1, 1 << 31])
    data = st.lists(st.sampled_from([0, 1, 0x80, 0xFF]), min_size=size, max_size=size).map(bytes)
    values = st.integers(0, 255).map(lambda byte: bytes([byte]) * 8)
    operations = st.tuples(st.sampled_from(list(names)), lengths, data, values, st.booleans())

    @settings(max_examples=60, deadline=None)
    @given(st.lists(operations, max_size=40))
    def agree(operations):
        for name, length, bits, value, by_user in operations:
            key = length.to_bytes(4, "little") + bits
            if by_user:
                results = [side.user(name, key, value) for side in sides]
            else:
                results = [side.run(name, key, value) for side in sides]
            assert results[0] == results[1]
            whole = (8 * size).to_bytes(4, "little") + bits
            results = [side.run("address", whole, b"") for side in sides]
            assert results[0] == results[1]
        assert sides[0].content() == sides[1].content()

    agree()
    calls = sides[1].calls
    assert not calls[1] and not calls[3], "no look-up needs Python, nor does deleting"
    assert calls[2] <= 3, "only a chunk of new elements does"


RECORDS = {
    "keep": """
        r2 = *(u32 *)(r6 +0)
        r3 = 0
        call ringbuf_reserve#131
        if r0 == 0 goto pc+1
        *(u8 *)(r0 +0) = 7
        *(u64 *)(r6 +8) = r0
        exit
        """,
    "flags": "r2 = 8\nr3 = 1\ncall ringbuf_reserve#131\nexit",
    "submit": "r1 = *(u64 *)(r6 +8)\nr2 = *(u32 *)(r6 +0)\ncall ringbuf_submit#132\nexit",
    "discard": "r1 = *(u64 *)(r6 +8)\nr2 = *(u32 *)(r6 +0)\ncall ringbuf_discard#133\nexit",
    "output": """
        r4 = *(u32 *)(r6 +4)
        r2 = r3
        r3 = *(u32 *)(r6 +0)
        call ringbuf_output#130
        exit
        """,
}


def test_native_records_are_those_of_python():
    size = 4096
    request = MapCreate(MapType.RINGBUF, 0, 0, size)
    sides = [Side(engine, request, RECORDS) for engine in ("interpreter", "jit")]
    lengths = st.integers(1, 200) | st.sampled_from([1, 8, size - 8, size, (1 << 30) - 1])
    operations = st.lists(
        st.tuples(
            st.just("reserve"), lengths, st.sampled_from(["submit", "discard"]), st.integers(0, 2)
        )
        | st.tuples(st.just("output"), st.integers(0, 400), st.just(""), st.integers(0, 5))
        | st.tuples(st.just("consume"), st.booleans(), st.just(""), st.just(0))
        | st.tuples(st.just("flags"), st.just(0), st.just(""), st.just(0)),
        max_size=30,
    )

    def do(side, what, number, end, flags):
        ring, context = side.map, side.context
        if what == "consume":
            position = ring.position if number else max(ring.consumed, ring.position - 64)
            ring.mmap(4096, 0, writable=True)[:8] = position.to_bytes(8, "little")
            return 0
        if what == "flags":
            return side.run("flags", b"", b"")
        first = number.to_bytes(4, "little") + flags.to_bytes(4, "little")
        if what == "output":
            return side.run("output", first, bytes(range(200)) * 2)
        kept = side.run("keep", first, b"")
        if kept:
            record = side.memory.load(context + 8, 8)
            side.run(
                end, flags.to_bytes(4, "little") + bytes(4) + record.to_bytes(8, "little"), b""
            )
        return kept

    @settings(max_examples=60, deadline=None)
    @given(operations)
    def agree(operations):
        for operation in operations:
            assert do(sides[0], *operation) == do(sides[1], *operation)
            seen = [
                (
                    ring.position,
                    ring.consumed,
                    ring.wakeups,
                    bytes(ring.mmap(4096 + 2 * size, 4096, writable=False)),
                )
                for ring in (side.map for side in sides)
            ]
            assert seen[0] == seen[1]

    agree()
    assert sides[0].calls[131]
    assert not sides[1].calls, "no record needs Python"
