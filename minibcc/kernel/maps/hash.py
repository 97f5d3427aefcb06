"""Hash tables: plain, per-CPU, and the two that forget what was not used lately.

Elements live in numbered slots; a freed one is the next to be handed out. Slots are carved from
chunks of the arena as the table fills, so a value's address stays the same as long as its element
lives, and beyond. Which slot a key has is a Python dict's business. Iteration goes by slot: it is
the same in every run, unlike Linux's, whose order is that of a seeded hash. An LRU table evicts
exactly the least recently used element; Linux approximates that.

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
from minibcc.kernel.vm.layouts import LONGEST_KEY, LookupCache

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.vm.layouts import Layout

STRUCT_SIZE = 896
"""Bytes of ``struct bpf_htab`` with its locks in Linux 6.18."""
ELEMENT_SIZE = 48
"""Bytes of ``struct htab_elem`` without key and value."""
BUCKET_SIZE = 16
CHUNK = 128
"""Slots carved from the arena at a time, at most."""


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
        if request.max_entries > 1 << 31:
            raise failure(E2BIG)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.lru = self.type in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH)
        if self.flags & MapFlags.NO_COMMON_LRU:
            self.max_entries = round_up(self.max_entries, self.cpus)
        self.preallocated = not self.flags & MapFlags.NO_PREALLOC
        self.slots: dict[bytes, int] = {}
        """Key to slot; in an LRU table in the order of use, the least recent first."""
        self.keys: list[bytes] = []
        """Slot to key, of free slots the last one."""
        self.used = bytearray()
        """Slot to whether it is in use, searchable at C's speed."""
        self.addresses: list[int] = []
        """Slot to the address of its value (CPU 0's)."""
        self.free: list[int] = []
        """Slots to hand out, the next one last."""
        self.chunks: list[int] = []
        self.cache: LookupCache | None = None

    def release(self) -> None:
        for chunk in self.chunks:
            self.memory.free(chunk)
        if self.cache is not None:
            self.cache.release()
        super().release()

    @property
    def memlock(self) -> int:
        """``htab_map_mem_usage``."""
        values = self.stride * self.cpus
        element = ELEMENT_SIZE + round_up(self.key_size, 8) + (8 if self.per_cpu else self.stride)
        usage = STRUCT_SIZE + BUCKET_SIZE * power_of_two(self.max_entries)
        if not self.preallocated:
            each = element + 8 + (16 + values if self.per_cpu else 0)
            return usage + each * len(self.slots)
        plain = not (self.per_cpu or self.lru)
        spare = self.cpus if plain and self.type == MapType.HASH else 0
        usage += element * (self.max_entries + spare)
        if self.per_cpu:
            usage += values * self.max_entries
        elif not self.lru:
            usage += 8 * self.cpus
        return usage

    def layout(self) -> Layout | None:
        """Native code may remember where values lie; an LRU table must see each look-up."""
        if self.cache is None and not self.lru and self.key_size <= LONGEST_KEY:
            plane = self.stride if self.per_cpu else 0
            self.cache = LookupCache(
                self.memory, self.key_size, self.value_size, self.max_entries, plane
            )
        return self.cache

    # --- slots --------------------------------------------------------------------------------

    def _slot(self) -> int:
        """A free slot, -1 if the table is full."""
        if len(self.slots) >= self.max_entries:
            return -1
        if self.free:
            return self.free.pop()
        first = len(self.used)
        count = min(max(8, first), CHUNK, self.max_entries - first)
        size = self.stride * (self.cpus if self.per_cpu else 1)
        try:
            chunk = self.memory.allocate(
                size * count,
                stride=self.stride,
                writable=not self.flags & MapFlags.RDONLY_PROG,
            )
        except MemoryError:
            return -1
        self.chunks.append(chunk)
        self.addresses.extend(chunk + size * index for index in range(count))
        self.used.extend(bytes(count))
        self.keys.extend([b""] * count)
        self.free.extend(range(first + count - 1, first, -1))
        return first

    def _insert(self, key: bytes) -> int:
        """A slot for a new key, zeroed; -1 if there is no room."""
        slot = self._slot()
        if slot < 0 and self.lru and self.slots:
            self._drop(next(iter(self.slots)))
            slot = self.free.pop()
        if slot < 0:
            return -1
        self.slots[key] = slot
        self.keys[slot] = key
        self.used[slot] = 1
        return slot

    def _drop(self, key: bytes) -> None:
        """Forgets a key."""
        slot = self.slots.pop(key)
        if self.cache is not None:
            self.cache.forget(key)
        self.used[slot] = 0
        self.free.append(slot)

    # --- the surface for programs -------------------------------------------------------------

    def find(self, key: bytes) -> int:
        slot = self.slots.get(key)
        return 0 if slot is None else self.addresses[slot]

    def lookup(self, key: bytes, cpu: int) -> int:
        slot = self.slots.get(key)
        if slot is None:
            return 0
        if self.lru:
            self.slots[key] = self.slots.pop(key)
        return self.addresses[slot] + (cpu * self.stride if self.per_cpu else 0)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        error = self._prepare(key, flags)
        if error < 0:
            return error
        address = self.addresses[error]
        if self.per_cpu:
            address += cpu * self.stride
        self.memory.view(address, self.value_size)[:] = value
        return 0

    def _prepare(self, key: bytes, flags: int) -> int:
        """The slot that an update writes to, or a negative errno."""
        slot = self.slots.get(key)
        error = update_flags_error(
            flags, exists=slot is not None, lock=self.lock_offset is not None
        )
        if error:
            return error
        if slot is not None:
            if self.lru:
                self.slots[key] = self.slots.pop(key)
            return slot
        slot = self._insert(key)
        if slot < 0:
            return -E2BIG
        if self.per_cpu:
            # The other CPUs' values start at zero (pcpu_init_value).
            size = self.stride * self.cpus
            self.memory.view(self.addresses[slot], size)[:] = bytes(size)
        return slot

    def delete(self, key: bytes) -> int:
        if key not in self.slots:
            return -ENOENT
        self._drop(key)
        return 0

    # --- the surface for user space -----------------------------------------------------------

    def value_at(self, address: int) -> bytes:
        return bytes(self.memory.view(address, self.user_value_size))

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        address = self.addresses[checked(self._prepare(key, flags))]
        self.memory.view(address, len(value))[:] = value

    def next_key(self, key: bytes | None) -> bytes:
        """An unknown key starts over, as in Linux."""
        slot = -1 if key is None else self.slots.get(key, -1)
        slot = self.used.find(1, slot + 1)
        if slot < 0:
            raise failure(ENOENT)
        return self.keys[slot]

    def take(self, key: bytes, flags: int) -> bytes:
        value = self.read(key, 0)
        self._drop(key)
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
        slot = self.used.find(1, slot)
        while slot >= 0 and len(keys) < count:
            key = self.keys[slot]
            keys.append(key)
            values.append(self.value_at(self.addresses[slot]))
            if take:
                self._drop(key)
            slot = self.used.find(1, slot + 1)
        after = None if slot < 0 else slot.to_bytes(4, "little")
        return Batch(tuple(keys), tuple(values), after)
