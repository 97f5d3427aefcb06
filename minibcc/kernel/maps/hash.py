"""Hash tables: plain, per-CPU, and the two that forget what was not used lately.

Where elements live and are found is `table`'s business. Iteration goes by slot: it is the same in
every run, unlike Linux's, whose order is that of a seeded hash. An LRU table evicts exactly the
least recently used element; Linux approximates that.

Mirrors kernel/bpf/hashtab.c.
"""

from __future__ import annotations

from errno import E2BIG, EINVAL, ENOENT
from typing import TYPE_CHECKING, ClassVar

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.abi.requests import Batch
from minibcc.kernel.errnos import ENOTSUPP, checked, failure
from minibcc.kernel.maps.base import (
    ACCESS_FLAGS,
    KMALLOC_LIMIT,
    PER_CPU_LIMIT,
    Map,
    power_of_two,
    round_up,
    update_flags_error,
)
from minibcc.kernel.maps.table import LOCKS, HashTable

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.objects import BtfObject
    from minibcc.kernel.vm.layouts import Layout

STRUCT_SIZE = 896
"""Bytes of ``struct bpf_htab`` with its locks in Linux 6.18."""
ELEMENT_SIZE = 48
"""Bytes of ``struct htab_elem`` without key and value."""
BUCKET_SIZE = 16


class HashMap(Map):
    """BPF_MAP_TYPE_HASH, PERCPU_HASH, LRU_HASH and LRU_PERCPU_HASH."""

    types: ClassVar[tuple[MapType, ...]] = (
        MapType.HASH,
        MapType.PERCPU_HASH,
        MapType.LRU_HASH,
        MapType.LRU_PERCPU_HASH,
    )
    flags_allowed = (
        MapFlags.NO_PREALLOC
        | MapFlags.NO_COMMON_LRU
        | MapFlags.NUMA_NODE
        | ACCESS_FLAGS
        | MapFlags.ZERO_SEED
    )
    batches = True
    batch_deletes = True

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``htab_map_alloc_check``."""
        flags = request.map_flags
        lru = request.map_type in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
        per_cpu = request.map_type in cls.per_cpu_types
        if flags & ~int(cls.flags_allowed):
            raise failure(EINVAL)
        if flags & MapFlags.RDONLY_PROG and flags & MapFlags.WRONLY_PROG:
            raise failure(EINVAL)
        if not lru and flags & MapFlags.NO_COMMON_LRU:
            raise failure(EINVAL)
        if lru and flags & MapFlags.NO_PREALLOC:
            raise failure(ENOTSUPP)
        if flags & MapFlags.NUMA_NODE and (per_cpu or flags & MapFlags.NO_COMMON_LRU):
            raise failure(EINVAL)
        if not (request.max_entries and request.key_size and request.value_size):
            raise failure(EINVAL)
        if request.key_size + request.value_size >= KMALLOC_LIMIT - ELEMENT_SIZE:
            raise failure(E2BIG)
        if per_cpu and round_up(request.value_size, 8) > PER_CPU_LIMIT:
            raise failure(E2BIG)
        if BUCKET_SIZE * power_of_two(request.max_entries) >= 1 << 32:
            raise failure(E2BIG)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.lru = self.type in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
        if self.flags & MapFlags.NO_COMMON_LRU:
            self.max_entries = round_up(self.max_entries, self.cpus)
        self.preallocated = not self.flags & MapFlags.NO_PREALLOC
        self.entries = self.make_table()

    def make_table(self) -> HashTable:
        try:
            return HashTable(
                self.memory,
                self.key_size,
                self.value_size,
                self.max_entries,
                planes=self.cpus if self.per_cpu else 1,
                ordered=self.lru,
                writable=not self.flags & MapFlags.RDONLY_PROG,
            )
        except MemoryError:
            self.memory.free(self.address)
            raise

    def describe(self, btf: BtfObject) -> None:
        super().describe(btf)
        self.entries.set(LOCKS, self.lock_offset is not None)

    def release(self) -> None:
        self.entries.release()
        super().release()

    @property
    def memlock(self) -> int:
        """``htab_map_mem_usage``."""
        values = self.stride * self.cpus
        element = ELEMENT_SIZE + round_up(self.key_size, 8) + (8 if self.per_cpu else self.stride)
        usage = STRUCT_SIZE + BUCKET_SIZE * power_of_two(self.max_entries)
        if not self.preallocated:
            each = element + 8 + (16 + values if self.per_cpu else 0)
            return usage + each * len(self.entries)
        plain = not (self.per_cpu or self.lru)
        spare = self.cpus if plain and self.type == MapType.HASH else 0
        usage += element * (self.max_entries + spare)
        if self.per_cpu:
            usage += values * self.max_entries
        elif not self.lru:
            usage += 8 * self.cpus
        return usage

    def layout(self) -> Layout | None:
        return self.entries.layout()

    # --- the surface for programs -------------------------------------------------------------

    def find(self, key: bytes) -> int:
        element = self.entries.find(key)
        return element and self.entries.value(element)

    def lookup(self, key: bytes, cpu: int) -> int:
        table = self.entries
        element = table.find(key)
        if not element:
            return 0
        table.use(element)
        return table.value(element) + (cpu * self.stride if self.per_cpu else 0)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        address = self._prepare(key, flags)
        if address < 0:
            return address
        if self.per_cpu:
            address += cpu * self.stride
        self.store(address, value)
        return 0

    def key_of(self, address: int) -> bytes:
        return self.entries.key(address - self.entries.value_at)

    def _drop(self, element: int) -> None:
        self._drop_fields_from(self.entries.value(element))
        self.entries.drop(element)

    def _drop_fields_from(self, first: int) -> None:
        """Of the values of all CPUs, if there are such fields."""
        if self.managed:
            for address in range(first, first + self.user_value_size, self.stride):
                self.drop_fields(address)

    def _prepare(self, key: bytes, flags: int) -> int:
        """The address that an update writes to, or a negative errno."""
        table = self.entries
        element = table.find(key)
        error = update_flags_error(flags, exists=element != 0, lock=self.lock_offset is not None)
        if error:
            return error
        if element:
            table.use(element)
            return table.value(element)
        element = table.insert(key)
        if not element:
            return -E2BIG
        address = table.value(element)
        if self.per_cpu:
            # The other CPUs' values start at zero (pcpu_init_value).
            size = self.stride * self.cpus
            self.memory.view(address, size)[:] = bytes(size)
        return address

    def delete(self, key: bytes) -> int:
        element = self.entries.find(key)
        if not element:
            return -ENOENT
        self._drop(element)
        return 0

    def element(self, place: int, cpu: int = 0) -> tuple[int, bytes, int] | None:
        """A place is a slot, which an element keeps as long as it lives."""
        table = self.entries
        slot = table.following(place)
        if slot < 0:
            return None
        found = table.elements[slot]
        address = table.value(found) + (cpu * self.stride if self.per_cpu else 0)
        return slot, table.key(found), address

    # --- the surface for user space -----------------------------------------------------------

    def value_at(self, address: int) -> bytes:
        value = bytes(self.memory.view(address, self.user_value_size))
        if not self.per_cpu:
            return self.shown(value)
        size = self.stride
        return b"".join(self.shown(value[at : at + size]) for at in range(0, len(value), size))

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        address = checked(self._prepare(key, flags))
        self.memory.view(address, len(value))[:] = value
        self._drop_fields_from(address)

    def next_key(self, key: bytes | None) -> bytes:
        """An unknown key starts over, as in Linux."""
        table = self.entries
        element = 0 if key is None else table.find(key)
        slot = table.following(table.slot(element) + 1 if element else 0)
        if slot < 0:
            raise failure(ENOENT)
        return table.key(table.elements[slot])

    def take(self, key: bytes, flags: int) -> bytes:
        value = self.read(key, 0)
        self._drop(self.entries.find(key))
        return value

    def read_batch(self, cursor: bytes | None, count: int, flags: int, *, take: bool) -> Batch:
        """``__htab_map_lookup_and_delete_batch``: a cursor is a bucket, here a slot."""
        if flags:
            raise failure(EINVAL)
        slot = 0 if cursor is None else int.from_bytes(cursor[:4], "little")
        if cursor is not None and slot >= power_of_two(self.max_entries):
            raise failure(ENOENT)
        keys: list[bytes] = []
        values: list[bytes] = []
        table = self.entries
        slot = table.following(slot)
        while slot >= 0 and len(keys) < count:
            element = table.elements[slot]
            keys.append(table.key(element))
            values.append(self.value_at(table.value(element)))
            if take:
                self._drop(element)
            slot = table.following(slot + 1)
        after = None if slot < 0 else slot.to_bytes(4, "little")
        return Batch(tuple(keys), tuple(values), after)
