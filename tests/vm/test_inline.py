"""Look-ups and updates that native code does itself give what the helpers give."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.isa.instruction import LD_IMM64, Instruction
from minibcc.isa.text import assemble
from minibcc.kernel.vm.execution import Image, Run
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.layouts import ArrayLayout, LookupCache
from minibcc.kernel.vm.memory import Arena

CPUS = 2


class Table:
    """A map of either kind, as its Python operations define it; it counts their calls."""

    def __init__(self, arena, key_size, value_size, per_cpu, count=0):
        self.arena, self.key_size, self.value_size = arena, key_size, value_size
        self.stride = -(-value_size // 8) * 8
        self.planes = CPUS if per_cpu else 1
        self.address = arena.allocate(64, private=True)
        self.calls = 0
        self.elements: dict[bytes, int] = {}
        self.count = count
        if count:
            values = arena.allocate(self.stride * count * self.planes)
            plane = self.stride * count if per_cpu else 0
            self.plane = self.stride * count
            self.layout = ArrayLayout(values, self.stride, count, value_size, plane)
        else:
            plane = self.stride if per_cpu else 0
            self.plane = self.stride
            self.layout = LookupCache(arena, key_size, value_size, 64, plane)

    def find(self, key, cpu):
        if self.count:
            index = int.from_bytes(key, "little")
            base = self.layout.values + index * self.stride if index < self.count else 0
        else:
            base = self.elements.get(key, 0)
        return base and base + (cpu * self.plane if self.planes > 1 else 0)

    def lookup(self, run, map, key, *rest):
        self.calls += 1
        return self.find(bytes(run.memory.view(key, self.key_size)), run.cpu)

    def update(self, run, map, key, value, flags, *rest):
        self.calls += 1
        key = bytes(run.memory.view(key, self.key_size))
        where = self.find(key, run.cpu)
        if not where:
            if self.count or flags == 2:
                return -2
            self.elements[key] = self.arena.allocate(self.stride * self.planes)
            where = self.find(key, run.cpu)
        elif flags == 1:
            return -17
        self.arena.view(where, self.value_size)[:] = run.memory.view(value, self.value_size)
        return 0

    def delete(self, run, map, key, *rest):
        self.calls += 1
        key = bytes(run.memory.view(key, self.key_size))
        if key not in self.elements:
            return -2
        self.arena.free(self.elements.pop(key))
        self.layout.forget(key)
        return 0


def image(table, call):
    """A program that does one thing with the key and value in its memory."""
    slots = [
        *assemble("r6 = r1\nr2 = r1\nr3 = r1\nr3 += 64"),
        Instruction(LD_IMM64, 1, imm=table.address & 0xFFFF_FFFF),
        Instruction(0, imm=table.address >> 32),
        *assemble(call),
    ]
    helpers = {1: table.lookup, 2: table.update, 3: table.delete, 8: lambda run, *rest: run.cpu}
    return Image("map", slots, helpers, layouts={table.address: table.layout})


PROGRAMS = {
    "lookup": """
        r4 = 0
        call lookup#1
        if r0 == 0 goto pc+4
        r0 = *(u8 *)(r0 +0)
        call cpu#8
        r0 += 256
        exit
        r0 = -1
        exit
        """,
    "add": """
        call lookup#1
        if r0 == 0 goto pc+3
        r1 = *(u8 *)(r0 +0)
        r1 += 1
        *(u8 *)(r0 +0) = r1
        exit
        """,
    "any": "r4 = 0\ncall update#2\nexit",
    "noexist": "r4 = 1\ncall update#2\nexit",
    "exist": "r4 = 2\ncall update#2\nexit",
    "delete": "call delete#3\nexit",
}

SHAPES = [
    # key size, value size, per CPU, elements of an array
    (4, 8, False, 5),
    (4, 3, True, 5),
    (4, 8, False, 0),
    (8, 300, False, 0),
    (13, 12, True, 0),
    (64, 1, False, 0),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_native_operations_do_what_helpers_do(shape):
    arenas = [Arena(), Arena()]
    engines = [Interpreter(), Jit()]
    tables = [Table(arena, *shape) for arena in arenas]
    images = [{name: image(table, text) for name, text in PROGRAMS.items()} for table in tables]
    memories = [arena.allocate(512) for arena in arenas]
    key_size, value_size = shape[:2]

    def do(which, name, key, value, cpu):
        arena, memory, table = arenas[which], memories[which], tables[which]
        arena.view(memory, key_size)[:] = key.to_bytes(key_size, "little")
        arena.view(memory + 64, value_size)[:] = bytes([value]) * value_size
        result = engines[which].run(images[which][name], Run(arena, cpu=cpu), (memory,))
        content = [
            where and bytes(arena.view(where, value_size))
            for known in range(8)
            for each in range(CPUS)
            for where in [table.find(known.to_bytes(key_size, "little"), each)]
        ]
        if name == "add" and result:  # an address, of another arena
            result -= arena.base
        return result, content

    operations = st.tuples(
        st.sampled_from(list(PROGRAMS)), st.integers(0, 7), st.integers(0, 255), st.integers(0, 1)
    )

    @settings(max_examples=40, deadline=None)
    @given(st.lists(operations, max_size=30))
    def agree(operations):
        for operation in operations:
            assert do(0, *operation) == do(1, *operation)

    agree()
    assert tables[1].calls < tables[0].calls
    for arena in arenas:
        arena.close()


def test_what_is_known_costs_no_call():
    arena, jit = Arena(), Jit()
    table = Table(arena, 4, 8, False)
    memory = arena.allocate(128)
    update, add = image(table, PROGRAMS["any"]), image(table, PROGRAMS["add"])
    assert jit.run(update, Run(arena), (memory,)) == 0
    assert table.calls == 2  # the update, and the look-up that remembers
    for _ in range(10):
        assert jit.run(add, Run(arena), (memory,))
        assert jit.run(update, Run(arena), (memory,)) == 0
    assert table.calls == 2
    table.layout.clear()
    assert jit.run(add, Run(arena), (memory,))
    assert table.calls == 3
    del update.helpers[1]
    update.native = None
    arena.store(memory, 4, 9)
    for number in range(3):  # without the look-up's helper nothing is remembered
        assert jit.run(update, Run(arena), (memory,)) == 0
        assert table.calls == 4 + number
    arena.close()


def test_forgetting():
    arena = Arena()
    cache = LookupCache(arena, 12, 8, 100)
    with pytest.raises(ValueError, match="no cache for keys of 65 bytes"):
        LookupCache(arena, 65, 8, 100)
    cache.forget(b"never there!")
    cache.clear()
    cache.release()
    arena.close()
