"""Storage that hangs on other objects: tasks, sockets, inodes, cgroups.

The map has no keys of its own: programs name the owner by its address, user space by a descriptor
of it. A value comes to be when a program first asks for it with BPF_LOCAL_STORAGE_GET_F_CREATE.
Mirrors kernel/bpf/bpf_local_storage.c and kernel/bpf/local_storage.c.
"""

from __future__ import annotations

from errno import E2BIG, EBADF, EINVAL, ENOENT, ENOTSOCK
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.kernel.errnos import ENOTSUPP, failure
from minibcc.kernel.maps.base import ACCESS_FLAGS, EXIST, PER_CPU_LIMIT, Map, power_of_two

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.kernel.kernel import Kernel

CREATE = 1
"""``BPF_LOCAL_STORAGE_GET_F_CREATE``."""
VALUE_MAX = 0xFFFF - 64
STRUCT_SIZE = 448
"""Bytes of ``struct bpf_local_storage_map`` in Linux 6.18."""
BUCKET_SIZE = 16
CGROUP_STRUCT_SIZE = 328
"""Bytes of ``struct bpf_cgroup_storage_map`` in Linux 6.18."""


class StorageMap(Map):
    """BPF_MAP_TYPE_TASK_STORAGE, SK_STORAGE, INODE_STORAGE and CGRP_STORAGE."""

    types = (
        MapType.TASK_STORAGE,
        MapType.SK_STORAGE,
        MapType.INODE_STORAGE,
        MapType.CGRP_STORAGE,
    )

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``bpf_local_storage_map_alloc_check``."""
        flags = request.map_flags
        if (
            flags & ~int(MapFlags.NO_PREALLOC | MapFlags.CLONE)
            or not flags & MapFlags.NO_PREALLOC
            or request.max_entries
            or request.key_size != 4
            or not request.value_size
            or not request.btf_key_type_id
            or not request.btf_value_type_id
        ):
            raise failure(EINVAL)
        if request.value_size > VALUE_MAX:
            raise failure(E2BIG)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.values: dict[int, int] = {}
        """The owner's address to that of its value."""

    @property
    def memlock(self) -> int:
        """``bpf_local_storage_map_mem_usage``: owners' values are not counted."""
        return STRUCT_SIZE + BUCKET_SIZE * max(2, power_of_two(self.cpus))

    def release(self) -> None:
        for address in self.values.values():
            self.memory.free(address)
        super().release()

    def get(self, owner: int, initial: bytes | None, flags: int) -> int:
        """The address of the owner's value, made if `flags` say so; 0 if there is none."""
        if flags & ~CREATE:
            return 0
        address = self.values.get(owner, 0)
        if not address and flags & CREATE:
            address = self.memory.allocate(self.value_size)
            if initial is not None:
                self.store(address, initial)
            self.values[owner] = address
        return address

    def forget(self, owner: int) -> int:
        """0, or -ENOENT."""
        address = self.values.pop(owner, 0)
        if not address:
            return -ENOENT
        self.memory.free(address)
        return 0

    def _not_an_owner(self, key: bytes) -> OSError:
        """User space names the owner by a descriptor: here none is of a socket or a process."""
        if self.type == MapType.SK_STORAGE:
            self.kernel.descriptors.get(int.from_bytes(key, "little"))
            return failure(ENOTSOCK)
        return failure(EBADF)

    def read(self, key: bytes, flags: int) -> bytes:
        raise self._not_an_owner(key)

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        raise self._not_an_owner(key)

    def remove(self, key: bytes) -> None:
        raise self._not_an_owner(key)

    def next_key(self, key: bytes | None) -> bytes:
        raise failure(ENOTSUPP)


class CgroupStorage(Map):
    """BPF_MAP_TYPE_CGROUP_STORAGE and its per-CPU form: one value per attached cgroup.

    Nothing can be attached to a cgroup here, so a program always sees the one value that a test
    run gives it.
    """

    types = (MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE)
    key_sizes = (8, 16)
    flags_allowed = MapFlags.NUMA_NODE | ACCESS_FLAGS

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``cgroup_storage_map_alloc``."""
        if request.key_size not in cls.key_sizes or not request.value_size:
            raise failure(EINVAL)
        per_cpu = request.map_type in cls.per_cpu_types
        if request.value_size > min(VALUE_MAX, PER_CPU_LIMIT if per_cpu else VALUE_MAX):
            raise failure(E2BIG)
        if request.map_flags & ~int(cls.flags_allowed) or request.max_entries:
            raise failure(EINVAL)
        both = MapFlags.RDONLY_PROG | MapFlags.WRONLY_PROG
        if request.map_flags & both == both:
            raise failure(EINVAL)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.value = self.memory.allocate(
            self.stride * self.cpus, stride=self.stride, window=(0, self.value_size)
        )

    @property
    def memlock(self) -> int:
        return CGROUP_STRUCT_SIZE

    def release(self) -> None:
        self.memory.free(self.value)
        super().release()

    def local(self, cpu: int) -> int:
        """The address of the value of the cgroup that a program runs for."""
        return self.value + (cpu * self.stride if self.per_cpu else 0)

    def delete(self, key: bytes) -> int:
        return -EINVAL

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """``cgroup_storage_update_elem``: values come with cgroups and not otherwise."""
        return -EINVAL if flags & ~EXIST else -ENOENT

    def next_key(self, key: bytes | None) -> bytes:
        raise failure(ENOENT)
