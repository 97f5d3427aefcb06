"""Arrays: every element exists from the start, zeroed, at a fixed address.

The values lie in one stretch of the arena, `stride` bytes apart; a per-CPU array has one such
stretch per CPU, one behind the other. Mirrors kernel/bpf/arraymap.c.
"""

from __future__ import annotations

from errno import E2BIG, EEXIST, EINVAL, ENODEV, ENOENT, EPERM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.btf.types import Int, strip
from minibcc.kernel.errnos import checked, failure
from minibcc.kernel.maps.base import (
    ACCESS_FLAGS,
    EXIST,
    LOCK,
    NOEXIST,
    PER_CPU_LIMIT,
    Map,
    round_up,
)
from minibcc.kernel.vm.layouts import ArrayLayout

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.btf.types import Type
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.vm.layouts import Layout

STRUCT_SIZE = 312
"""Bytes of ``struct bpf_array`` in Linux 6.18."""
PAGE = 4096
INT_MAX = (1 << 31) - 1


class IndexedMap(Map):
    """What all array-like types share: 4-byte indexes from 0 and their order."""

    key_sizes = (4,)
    flags_allowed = (
        MapFlags.NUMA_NODE
        | MapFlags.MMAPABLE
        | ACCESS_FLAGS
        | MapFlags.PRESERVE_ELEMS
        | MapFlags.INNER_MAP
    )

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``array_map_alloc_check``."""
        super().check(request)
        flags = request.map_flags
        if request.map_type != MapType.ARRAY and flags & (MapFlags.MMAPABLE | MapFlags.INNER_MAP):
            raise failure(EINVAL)
        if request.map_type != MapType.PERF_EVENT_ARRAY and flags & MapFlags.PRESERVE_ELEMS:
            raise failure(EINVAL)
        if request.value_size > INT_MAX:
            raise failure(E2BIG)
        if request.map_type == MapType.PERCPU_ARRAY:
            if flags & MapFlags.NUMA_NODE:
                raise failure(EINVAL)
            if round_up(request.value_size, 8) > PER_CPU_LIMIT:
                raise failure(E2BIG)

    def key_fits(self, key: Type | None) -> bool:
        """``array_map_check_btf``: a number of 32 bits, or none for a section of variables."""
        if key is None:
            return self.max_entries == 1 and self.type == MapType.ARRAY
        number = strip(key)
        return isinstance(number, Int) and number.size == 4

    def next_key(self, key: bytes | None) -> bytes:
        index = self.max_entries if key is None else int.from_bytes(key, "little")
        if index >= self.max_entries:
            return bytes(4)
        if index == self.max_entries - 1:
            raise failure(ENOENT)
        return (index + 1).to_bytes(4, "little")

    def update_error(self, index: int, flags: int) -> int:
        """What ``array_map_update_elem`` checks first: 0 or a negative errno."""
        if flags & ~LOCK > EXIST:
            return -EINVAL
        if index >= self.max_entries:
            return -E2BIG
        if flags & NOEXIST:
            return -EEXIST
        if flags & LOCK and self.lock_offset is None:
            return -EINVAL
        return 0


class ArrayMap(IndexedMap):
    """BPF_MAP_TYPE_ARRAY and BPF_MAP_TYPE_PERCPU_ARRAY.

    `values` is the address of element 0; `plane` the bytes from one CPU's elements to the next's.
    """

    types = (MapType.ARRAY, MapType.PERCPU_ARRAY)
    batches = True

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.plane = self.stride * self.max_entries
        planes = self.cpus if self.per_cpu else 1
        mapped = bool(self.flags & MapFlags.MMAPABLE)
        size = self.plane * planes
        self.mapped_size = round_up(size, PAGE) if mapped else 0
        # One value, as globals are, needs no look at where elements begin.
        single = planes * self.max_entries == 1 and not mapped
        self.values = self.memory.allocate(
            self.value_size if single else self.mapped_size or size,
            align=PAGE if mapped else 8,
            writable=not self.flags & MapFlags.RDONLY_PROG,
            stride=0 if single else self.stride,
            window=(0, self.value_size),
        )

    def release(self) -> None:
        self.memory.free(self.values)
        super().release()

    def layout(self) -> Layout | None:
        plane = self.plane if self.per_cpu else 0
        return ArrayLayout(self.values, self.stride, self.max_entries, self.value_size, plane)

    @property
    def memlock(self) -> int:
        if self.per_cpu:
            return STRUCT_SIZE + self.max_entries * (8 + self.stride * self.cpus)
        if self.flags & MapFlags.MMAPABLE:
            return round_up(STRUCT_SIZE, PAGE) + self.mapped_size
        return STRUCT_SIZE + self.max_entries * self.stride

    def lookup(self, key: bytes, cpu: int) -> int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return 0
        address = self.values + index * self.stride
        return address + cpu * self.plane if self.per_cpu else address

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        index = int.from_bytes(key, "little")
        error = self.update_error(index, flags)
        if error:
            return error
        self.store(self.lookup(key, cpu), value)
        return 0

    def key_of(self, address: int) -> bytes:
        return ((address - self.values) // self.stride).to_bytes(4, "little")

    def delete(self, key: bytes) -> int:
        return -EINVAL

    def element(self, place: int, cpu: int = 0) -> tuple[int, bytes, int] | None:
        if place >= self.max_entries:
            return None
        key = place.to_bytes(4, "little")
        return place, key, self.lookup(key, cpu)

    def read(self, key: bytes, flags: int) -> bytes:
        if not self.per_cpu:
            return super().read(key, flags)
        address = self.lookup(key, 0)
        if not address:
            raise failure(ENOENT)
        return b"".join(
            self.shown(bytes(self.memory.view(address + cpu * self.plane, self.stride)))
            for cpu in range(self.cpus)
        )

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        if not self.per_cpu:
            return super().write(key, value, flags)
        checked(self.update_error(int.from_bytes(key, "little"), flags))
        address = self.lookup(key, 0)
        for cpu in range(self.cpus):
            part = value[cpu * self.stride : (cpu + 1) * self.stride]
            self.memory.view(address + cpu * self.plane, self.stride)[:] = part
            self.drop_fields(address + cpu * self.plane)

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        """``array_map_mmap``."""
        if not self.mapped_size:
            raise failure(ENODEV)
        if writable and (self.frozen or self.flags & MapFlags.RDONLY_PROG):
            raise failure(EPERM)
        if offset + length > self.mapped_size:
            raise failure(EINVAL)
        view = self.memory.view(self.values + offset, length)
        return view if writable else view.toreadonly()
