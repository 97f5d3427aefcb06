"""Queues, stacks and Bloom filters: maps without keys.

Programs push, pop and peek copies of values; no address is ever given out, so the values are plain
bytes here. Mirrors kernel/bpf/queue_stack_maps.c and kernel/bpf/bloom_filter.c.
"""

from __future__ import annotations

from collections import deque
from errno import E2BIG, EINVAL, ENOENT, EOPNOTSUPP
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.kernel.errnos import checked, failure
from minibcc.kernel.maps.base import (
    ACCESS_FLAGS,
    ANY,
    EXIST,
    KMALLOC_LIMIT,
    NOEXIST,
    Map,
    power_of_two,
)

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.btf.types import Type
    from minibcc.kernel.kernel import Kernel

STRUCT_SIZE = 312
"""Bytes of ``struct bpf_queue_stack`` and of ``struct bpf_bloom_filter`` in Linux 6.18."""


class QueueMap(Map):
    """BPF_MAP_TYPE_QUEUE (first in, first out) and BPF_MAP_TYPE_STACK (last in, first out)."""

    types = (MapType.QUEUE, MapType.STACK)
    flags_allowed = MapFlags.NUMA_NODE | ACCESS_FLAGS
    key_sizes = (0,)

    @classmethod
    def check(cls, request: MapCreate) -> None:
        super().check(request)
        if request.value_size > KMALLOC_LIMIT:
            raise failure(E2BIG)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.values: deque[bytes] = deque()

    @property
    def memlock(self) -> int:
        return STRUCT_SIZE + (self.max_entries + 1) * self.value_size

    def key_fits(self, key: Type | None) -> bool:
        return False

    def push(self, value: bytes, flags: int) -> int:
        """BPF_EXIST makes room by dropping the oldest value."""
        if flags & NOEXIST or flags > EXIST:
            return -EINVAL
        if len(self.values) == self.max_entries:
            if not flags & EXIST:
                return -E2BIG
            self.values.popleft()
        self.values.append(value)
        return 0

    def pop(self) -> tuple[int, bytes]:
        if not self.values:
            return -ENOENT, bytes(self.value_size)
        return 0, self.values.popleft() if self.type == MapType.QUEUE else self.values.pop()

    def peek(self, value: bytes) -> tuple[int, bytes]:
        if not self.values:
            return -ENOENT, bytes(self.value_size)
        return 0, self.values[0 if self.type == MapType.QUEUE else -1]

    def delete(self, key: bytes) -> int:
        return -EINVAL

    def read(self, key: bytes, flags: int) -> bytes:
        error, value = self.peek(b"")
        checked(error)
        return value

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        checked(self.push(value, flags))

    def take(self, key: bytes, flags: int) -> bytes:
        error, value = self.pop()
        checked(error)
        return value

    def next_key(self, key: bytes | None) -> bytes:
        raise failure(EINVAL)


class BloomFilter(Map):
    """BPF_MAP_TYPE_BLOOM_FILTER: remembers that a value was pushed, perhaps too generously.

    ``map_extra`` is the number of hash functions (5 if 0). bpf(2)'s look-up asks whether the value
    in its buffer was pushed; here that value comes as the key.
    """

    types = (MapType.BLOOM_FILTER,)
    flags_allowed = MapFlags.NUMA_NODE | MapFlags.ZERO_SEED | ACCESS_FLAGS
    key_sizes = (0,)

    @classmethod
    def check(cls, request: MapCreate) -> None:
        super().check(request)
        if request.map_extra & ~15:
            raise failure(EINVAL)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.hashes = request.map_extra or 5
        self.size = power_of_two(max(64, self.max_entries * self.hashes // 5 * 7))
        self.bits = bytearray(self.size // 8)

    @property
    def memlock(self) -> int:
        return STRUCT_SIZE + len(self.bits)

    def key_fits(self, key: Type | None) -> bool:
        return key is None

    def _places(self, value: bytes) -> list[int]:
        from hashlib import blake2b

        return [
            int.from_bytes(blake2b(value, digest_size=8, salt=bytes([n])).digest(), "little")
            % self.size
            for n in range(self.hashes)
        ]

    def push(self, value: bytes, flags: int) -> int:
        if flags != ANY:
            return -EINVAL
        for place in self._places(value):
            self.bits[place >> 3] |= 1 << (place & 7)
        return 0

    def pop(self) -> tuple[int, bytes]:
        return -EOPNOTSUPP, bytes(self.value_size)

    def peek(self, value: bytes) -> tuple[int, bytes]:
        known = all(self.bits[place >> 3] >> (place & 7) & 1 for place in self._places(value))
        return 0 if known else -ENOENT, value

    def lookup_key(self, key: bytes) -> bytes:
        if len(key) != self.value_size:
            raise failure(EINVAL)
        return key

    def read(self, key: bytes, flags: int) -> bytes:
        checked(self.peek(key)[0])
        return key

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        checked(self.push(value, flags))
