"""Stack traces, stored under a hash of themselves.

An element is an array of addresses; programs get its number and user space reads it. Mirrors
kernel/bpf/stackmap.c.
"""

from __future__ import annotations

import struct
import zlib
from errno import E2BIG, EEXIST, EFAULT, EINVAL, ENOENT
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.kernel.errnos import failure
from minibcc.kernel.maps.base import Map, power_of_two

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.btf.types import Type
    from minibcc.kernel.kernel import Kernel

STRUCT_SIZE = 320
BUCKET_SIZE = 16
BUILD_ID_SIZE = 32
"""Bytes of ``struct bpf_stack_build_id``: status, build id, offset or address."""
BUILD_ID_IP = 2
"""Status: no build id, only the address."""
MAX_DEPTH = 127
"""kernel.perf_event_max_stack."""
SKIP_MASK, USER_STACK, FAST_STACK_CMP, REUSE_STACKID = 0xFF, 1 << 8, 1 << 9, 1 << 10


class StackTraceMap(Map):
    """BPF_MAP_TYPE_STACK_TRACE."""

    types = (MapType.STACK_TRACE,)
    flags_allowed = MapFlags.NUMA_NODE | MapFlags.RDONLY | MapFlags.WRONLY | MapFlags.STACK_BUILD_ID
    key_sizes = (4,)
    described = False

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``stack_map_alloc``."""
        super().check(request)
        unit = BUILD_ID_SIZE if request.map_flags & MapFlags.STACK_BUILD_ID else 8
        if request.value_size % unit or request.value_size // unit > MAX_DEPTH:
            raise failure(EINVAL)
        if request.max_entries > 1 << 31:
            raise failure(E2BIG)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.buckets = power_of_two(self.max_entries)
        self.traces: dict[int, bytes] = {}
        self.unit = BUILD_ID_SIZE if self.flags & MapFlags.STACK_BUILD_ID else 8

    @property
    def memlock(self) -> int:
        return STRUCT_SIZE + 8 * self.buckets + (BUCKET_SIZE + self.value_size) * self.max_entries

    def key_fits(self, key: Type | None) -> bool:
        return True

    def add(self, stack: tuple[int, ...], flags: int) -> int:
        """The number of a trace (``__bpf_get_stackid``), or a negative errno."""
        skip = flags & SKIP_MASK
        kept = stack[skip:][: self.value_size // self.unit]
        if not kept:
            return -EFAULT
        trace = struct.pack(f"<{len(kept)}Q", *kept)
        number = zlib.crc32(trace) & self.buckets - 1
        if self.unit == BUILD_ID_SIZE:
            trace = b"".join(struct.pack("<I20xQ", BUILD_ID_IP, address) for address in kept)
        old = self.traces.get(number)
        if old is not None:
            if flags & FAST_STACK_CMP or old == trace:
                return number
            if not flags & REUSE_STACKID:
                return -EEXIST
        elif len(self.traces) >= self.max_entries:
            return -ENOENT
        self.traces[number] = trace
        return number

    def find(self, key: bytes) -> int:
        return 0

    def read(self, key: bytes, flags: int) -> bytes:
        trace = self.traces.get(int.from_bytes(key, "little"))
        if trace is None:
            raise failure(ENOENT)
        return trace.ljust(self.value_size, b"\0")

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        raise failure(EINVAL)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        return -EINVAL

    def delete(self, key: bytes) -> int:
        number = int.from_bytes(key, "little")
        if number >= self.buckets:
            return -E2BIG
        return 0 if self.traces.pop(number, None) is not None else -ENOENT

    def take(self, key: bytes, flags: int) -> bytes:
        value = self.read(key, 0)
        del self.traces[int.from_bytes(key, "little")]
        return value

    def next_key(self, key: bytes | None) -> bytes:
        number = 0 if key is None else int.from_bytes(key, "little") + 1
        if number > self.buckets:
            number = 0
        later = [found for found in self.traces if found >= number]
        if not later:
            raise failure(ENOENT)
        return min(later).to_bytes(4, "little")
