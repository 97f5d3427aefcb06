"""Tables on a simulated kernel: what BCC's scripts rely on, for every family of maps."""

import ctypes as ct

import pytest

from minibcc.abi.bpf import MapType
from minibcc.bcc import BPF
from minibcc.bcc import table as tables

TEXT = """
struct who { u32 pid; char comm[16]; };
BPF_HASH(counts, struct who);
BPF_HASH(numbers, u32, u64, 8);
BPF_ARRAY(slots, u32, 4);
BPF_PERCPU_ARRAY(each, u64, 2);
BPF_PERCPU_HASH(each_hash, u32, u32);
BPF_HISTOGRAM(dist, int, 65);
BPF_STACK_TRACE(stacks, 64);
BPF_QUEUE(queue, u32, 3);
BPF_STACK(stack, u32, 3);
BPF_TABLE("lru_hash", u32, u32, recent, 2);
struct prefix { u32 length; u32 address; };
BPF_LPM_TRIE(routes, struct prefix, u32, 16);
BPF_PROG_ARRAY(programs, 4);
BPF_PERF_OUTPUT(events);

int other(void *ctx) { return 7; }
"""


@pytest.fixture
def b(system):
    with BPF(text=TEXT) as made:
        yield made


def test_each_table_is_of_its_class(b):
    kinds = {
        "counts": tables.HashTable, "slots": tables.Array, "each": tables.PerCpuArray,
        "each_hash": tables.PerCpuHash, "stacks": tables.StackTrace, "queue": tables.QueueStack,
        "recent": tables.LruHash, "routes": tables.LpmTrie, "programs": tables.ProgArray,
        "events": tables.PerfEventArray,
    }  # fmt: skip
    assert {name: type(b[name]) for name in kinds} == kinds


def test_a_table_is_the_same_object_each_time(b):
    assert b["counts"] is b["counts"]
    assert list(b) == ["counts"]


def test_hash(b):
    counts = b["counts"]
    who = counts.Key(42, b"bash")
    with pytest.raises(KeyError):
        counts[who]
    counts[who] = counts.Leaf(3)
    assert (counts[who].value, len(counts), who in counts) == (3, 1, True)
    ((key, leaf),) = counts.items()
    assert (key.pid, key.comm, leaf.value) == (42, b"bash", 3)
    del counts[who]
    with pytest.raises(KeyError):
        del counts[who]
    assert counts.values() == []


def test_clear_zero_and_keys(b):
    numbers = b["numbers"]
    for number in range(5):
        numbers[ct.c_uint(number)] = ct.c_ulonglong(number * 10)
    assert sorted(key.value for key in numbers.keys()) == [0, 1, 2, 3, 4]  # noqa: SIM118  # BCC's
    numbers.zero()
    assert {leaf.value for leaf in numbers.values()} == {0}
    numbers.clear()
    assert len(numbers) == 0


def test_a_full_map_says_so(b):
    numbers = b["numbers"]
    with pytest.raises(OSError, match="Could not update table: Argument list too long"):
        for number in range(9):
            numbers[number] = number


def test_batches(b):
    numbers = b["numbers"]
    keys = (numbers.Key * 3)(1, 2, 3)
    numbers.items_update_batch(keys, (numbers.Leaf * 3)(10, 20, 30))
    found = {key.value: leaf.value for key, leaf in numbers.items_lookup_batch()}
    assert found == {1: 10, 2: 20, 3: 30}
    numbers.items_delete_batch((numbers.Key * 1)(2))
    assert sorted(key.value for key, _ in numbers.items_lookup_and_delete_batch()) == [1, 3]
    assert len(numbers) == 0
    with pytest.raises(TypeError, match="ctypes array"):
        numbers.items_delete_batch([1, 2])
    with pytest.raises(ValueError, match="differ"):
        numbers.items_update_batch(keys, (numbers.Leaf * 2)(1, 2))


def test_arrays(b):
    slots = b["slots"]
    slots[1] = slots.Leaf(5)
    slots[-1] = 9
    assert [leaf.value for leaf in slots.values()] == [0, 5, 0, 9]
    assert (slots[ct.c_int(1)].value, len(slots)) == (5, 4)
    del slots[1]
    assert slots[1].value == 0
    for wrong in (4, -5, "one"):
        with pytest.raises(IndexError):
            slots[wrong]


def test_per_cpu(b, system):
    each = b["each"]
    each[0] = each.Leaf(1, 2, 3, 4)
    assert list(each[0]) == [1, 2, 3, 4]
    assert (each.sum(0).value, each.max(0).value, each.average(0)) == (10, 4, 2.5)
    reduced = b.get_table("each", reducer=lambda a, b: a + b)
    assert reduced[0] == 10
    small = b["each_hash"]
    small[3] = small.Leaf(7, 0, 0, 1)
    assert [(key.value, list(leaf)) for key, leaf in small.items()] == [(3, [7, 0, 0, 1])]


def test_queue_and_stack(b):
    queue, stack = b["queue"], b["stack"]
    for number in (1, 2, 3):
        queue.push(ct.c_uint(number))
        stack.push(number)
    with pytest.raises(OSError, match="Could not push to table"):
        queue.push(4)
    queue.push(4, queue.BPF_EXIST)
    assert (queue.peek().value, stack.peek().value) == (2, 3)
    assert [leaf.value for leaf in queue.values()] == [2, 3, 4]
    assert [stack.pop().value for _ in range(3)] == [3, 2, 1]
    with pytest.raises(KeyError):
        stack.pop()


def test_prefix_trie(b):
    routes = b["routes"]
    routes[routes.Key(8, 10)] = routes.Leaf(1)
    assert routes[routes.Key(32, 10 | 5 << 8)].value == 1


def test_a_program_array_takes_functions(b):
    programs = b["programs"]
    programs[2] = b.load_func("other", BPF.KPROBE)
    programs[ct.c_int(3)] = ct.c_int(b.funcs[b"other"].fd)
    del programs[2]
    with pytest.raises(KeyError):
        del programs[2]


def test_types_of_the_callers_own(b):
    class Mine(ct.Structure):
        _fields_ = (("number", ct.c_uint),)

    mine = b.get_table("numbers", keytype=Mine)
    mine[Mine(7)] = ct.c_ulonglong(1)
    assert [key.number for key in mine] == [7]


def test_an_unknown_table_names_those_that_are_there(b):
    with pytest.raises(KeyError, match="no map 'count'"):
        b["count"]


def test_text_forms(b):
    counts = b["counts"]
    assert counts.key_sprintf(counts.Key(10, b"sh")) == b'{ 0xa "sh" }'
    assert counts.leaf_scanf("0x10").value == 16


def test_layout(b):
    assert b.decode_table("numbers").startswith("Layout of BPF map numbers (type HASH")


def test_every_map_type_that_programs_may_define_has_a_table():
    without = {
        MapType.UNSPEC, MapType.QUEUE, MapType.STACK, MapType.CGROUP_STORAGE,
        MapType.REUSEPORT_SOCKARRAY, MapType.PERCPU_CGROUP_STORAGE, MapType.DEVMAP_HASH,
        MapType.STRUCT_OPS, MapType.BLOOM_FILTER, MapType.USER_RINGBUF, MapType.CGRP_STORAGE,
        MapType.ARENA,
    }  # fmt: skip
    assert set(MapType) - set(tables.CLASSES) == without
