"""Maps for redirecting packets: to devices, processors and sockets.

Device and processor maps check what user space writes and give it back. The simulated machine has
no sockets to put into the others; they can be created, and stay empty. Mirrors
kernel/bpf/devmap.c, kernel/bpf/cpumap.c, net/xdp/xskmap.c, net/core/sock_map.c and
kernel/bpf/reuseport_array.c.
"""

from __future__ import annotations

import struct
from errno import (
    E2BIG,
    EEXIST,
    EINVAL,
    ENODEV,
    ENOENT,
    ENOMEM,
    ENOSPC,
    ENOTSOCK,
    EOPNOTSUPP,
    EOVERFLOW,
)
from typing import TYPE_CHECKING, ClassVar

from minibcc.abi.bpf import AttachType, MapFlags, MapType, ProgType
from minibcc.kernel.errnos import failure
from minibcc.kernel.maps.array import INT_MAX, IndexedMap
from minibcc.kernel.maps.base import EXIST, NOEXIST, Map, power_of_two
from minibcc.kernel.packets import DEVICES

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.objects import Program

MAX_CPUS = 512
QUEUE_MAX = 16384
KEY_MAX = 512
"""Bytes of a SOCKHASH key (``MAX_BPF_STACK``)."""
ACCESS = int(MapFlags.NUMA_NODE | MapFlags.RDONLY | MapFlags.WRONLY)

STRUCT_SIZES = {
    MapType.DEVMAP: 344,
    MapType.DEVMAP_HASH: 344,
    MapType.CPUMAP: 304,
    MapType.XSKMAP: 304,
    MapType.SOCKMAP: 376,
    MapType.SOCKHASH: 384,
    MapType.REUSEPORT_SOCKARRAY: 296,
}
"""Bytes of each type's structure in Linux 6.18."""
DEVICE_SIZE = 64
"""Bytes of an element of a device map (``struct bpf_dtab_netdev``)."""


class Redirection(Map):
    """What these maps share: elements by key, and the sizes that Linux would say they take."""

    key_sizes = (4,)
    value_sizes: ClassVar[tuple[int, ...] | None] = (4,)
    flags_allowed = ACCESS
    described = False

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.elements: dict[bytes, int] = {}
        """Key to the address of the element's value."""
        self.programs: dict[bytes, Program] = {}

    @property
    def counted(self) -> int:
        """Bytes of elements that Linux counts."""
        return 0

    def release(self) -> None:
        for key in tuple(self.elements):
            self._remove(key)
        super().release()

    @property
    def memlock(self) -> int:
        usage = STRUCT_SIZES[self.type]
        if self.type == MapType.SOCKHASH:
            return usage + 16 * power_of_two(self.max_entries)
        places = self.max_entries
        if self.type == MapType.DEVMAP_HASH:
            places = power_of_two(places)
        return usage + 8 * places + self.counted

    def _remove(self, key: bytes) -> None:
        address = self.elements.pop(key, 0)
        if address:
            self.memory.free(address)
        program = self.programs.pop(key, None)
        if program is not None:
            program.put()

    def _put(self, key: bytes, number: int, program: Program | None) -> None:
        """An element: a number and the id of its program."""
        self._remove(key)
        address = self.memory.allocate(self.stride, writable=False)
        value = struct.pack("<II", number, program.id if program is not None else 0)
        self.memory.view(address, self.value_size)[:] = value[: self.value_size]
        self.elements[key] = address
        if program is not None:
            program.hold()
            self.programs[key] = program

    def _program(self, value: bytes, attach_type: AttachType, wrong: int) -> Program | None:
        """The XDP program that a value names behind its number, loaded for such a map. Raises the
        errno `wrong` if it is another one, or none."""
        if self.value_size < 8:
            return None
        fd = struct.unpack_from("<i", value, 4)[0]
        if fd <= 0:
            return None
        try:
            program = self.kernel.program_of(fd)
        except OSError:
            raise failure(wrong) from None
        asked = program.request
        if (asked.prog_type, asked.expected_attach_type) != (ProgType.XDP, attach_type):
            raise failure(wrong)
        return program

    def lookup(self, key: bytes, cpu: int) -> int:
        return self.elements.get(key, 0)

    def next_key(self, key: bytes | None) -> bytes:
        return IndexedMap.next_key(self, key)  # type: ignore[arg-type]  # it needs max_entries alone

    def remove(self, key: bytes) -> None:
        if int.from_bytes(key, "little") >= self.max_entries:
            raise failure(EINVAL)
        self._remove(key)


class DeviceMap(Redirection):
    """BPF_MAP_TYPE_DEVMAP and DEVMAP_HASH: the index of a device, and a program to run there."""

    types = (MapType.DEVMAP, MapType.DEVMAP_HASH)
    value_sizes = (4, 8)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.flags |= MapFlags.RDONLY_PROG
        self.facts.flags = self.flags
        self.items = 0
        """What Linux takes for the number of elements: writing nothing to an empty place counts,
        and writing nothing over an element does not count back."""

    @property
    def counted(self) -> int:
        return DEVICE_SIZE * self.items

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        hashed = self.type == MapType.DEVMAP_HASH
        if flags > EXIST:
            raise failure(EINVAL)
        if not hashed:
            if int.from_bytes(key, "little") >= self.max_entries:
                raise failure(E2BIG)
            if flags == NOEXIST:
                raise failure(EEXIST)
        elif key in self.elements and flags & NOEXIST:
            raise failure(EEXIST)
        index = struct.unpack_from("<I", value)[0]
        if not index and not hashed:
            if len(value) >= 8 and struct.unpack_from("<i", value, 4)[0] > 0:
                raise failure(EINVAL)
            self.items += key not in self.elements
            self._remove(key)
            return
        if index not in DEVICES:
            raise failure(EINVAL)
        program = self._program(value, AttachType.XDP_DEVMAP, EINVAL)
        if hashed and key not in self.elements and len(self.elements) >= self.max_entries:
            raise failure(E2BIG)
        self.items += key not in self.elements
        self._put(key, index, program)

    def remove(self, key: bytes) -> None:
        held = key in self.elements
        if self.type == MapType.DEVMAP_HASH and not held:
            raise failure(ENOENT)
        if self.type == MapType.DEVMAP_HASH:
            self._remove(key)
        else:
            super().remove(key)
        self.items -= held

    def next_key(self, key: bytes | None) -> bytes:
        if self.type == MapType.DEVMAP:
            return super().next_key(key)
        keys = sorted(self.elements)
        position = keys.index(key) + 1 if key in self.elements else 0
        if position >= len(keys):
            raise failure(ENOENT)
        return keys[position]


class ProcessorMap(Redirection):
    """BPF_MAP_TYPE_CPUMAP: the length of a processor's queue, and a program to run there."""

    types = (MapType.CPUMAP,)
    value_sizes = (4, 8)
    flags_allowed = MapFlags.NUMA_NODE

    @classmethod
    def check(cls, request: MapCreate) -> None:
        super().check(request)
        if request.max_entries > MAX_CPUS:
            raise failure(E2BIG)

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        cpu = int.from_bytes(key, "little")
        if flags > EXIST:
            raise failure(EINVAL)
        if cpu >= self.max_entries:
            raise failure(E2BIG)
        if flags == NOEXIST:
            raise failure(EEXIST)
        length = struct.unpack_from("<I", value)[0]
        if length > QUEUE_MAX:
            raise failure(EOVERFLOW)
        if cpu >= self.cpus:
            raise failure(ENODEV)
        if length:
            self._put(key, length, self._program(value, AttachType.XDP_CPUMAP, ENOMEM))
        else:
            self._remove(key)


def _no_socket(kernel: Kernel, value: bytes, *, signed: bool) -> OSError:
    """What is wrong with a value that is to name a socket: no descriptor, or not a socket's.
    `signed`: four bytes may be negative."""
    fd = int.from_bytes(value, "little")
    if fd > INT_MAX and not (signed and len(value) == 4):
        return failure(EINVAL)
    kernel.descriptors.get(fd)
    return failure(ENOTSOCK)


class SocketMap(Redirection):
    """Maps of sockets: XSKMAP, SOCKMAP, SOCKHASH. They stay empty."""

    types = (MapType.XSKMAP, MapType.SOCKMAP, MapType.SOCKHASH)
    value_sizes = (4, 8)

    @classmethod
    def check(cls, request: MapCreate) -> None:
        if request.map_type == MapType.XSKMAP and request.value_size != 4:
            raise failure(EINVAL)
        if request.map_type == MapType.SOCKHASH:
            if not request.key_size or not request.max_entries:
                raise failure(EINVAL)
            if request.value_size not in (4, 8) or request.map_flags & ~ACCESS:
                raise failure(EINVAL)
            if request.key_size > KEY_MAX:
                raise failure(E2BIG)
            return
        super().check(request)

    def read(self, key: bytes, flags: int) -> bytes:
        if self.type == MapType.XSKMAP:
            raise failure(EOPNOTSUPP)
        if self.value_size != 8:
            raise failure(ENOSPC)
        raise failure(ENOENT)

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        """Nothing that a descriptor may name here is a socket."""
        if self.type == MapType.XSKMAP:
            if flags > EXIST:
                raise failure(EINVAL)
            if int.from_bytes(key, "little") >= self.max_entries:
                raise failure(E2BIG)
        raise _no_socket(self.kernel, value, signed=self.type == MapType.XSKMAP)

    def remove(self, key: bytes) -> None:
        if self.type == MapType.SOCKHASH:
            raise failure(ENOENT)
        if int.from_bytes(key, "little") >= self.max_entries:
            raise failure(EINVAL)
        if self.type != MapType.XSKMAP:
            raise failure(EINVAL)

    def next_key(self, key: bytes | None) -> bytes:
        if self.type == MapType.SOCKHASH:
            raise failure(ENOENT)
        return super().next_key(key)


class ReuseportArray(IndexedMap):
    """BPF_MAP_TYPE_REUSEPORT_SOCKARRAY. It stays empty."""

    types = (MapType.REUSEPORT_SOCKARRAY,)
    value_sizes = (4, 8)

    @property
    def memlock(self) -> int:
        return STRUCT_SIZES[self.type] + 8 * self.max_entries

    def read(self, key: bytes, flags: int) -> bytes:
        if self.value_size != 8:
            raise failure(ENOSPC)
        raise failure(ENOENT)

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > EXIST:
            raise failure(EINVAL)
        if int.from_bytes(key, "little") >= self.max_entries:
            raise failure(E2BIG)
        raise _no_socket(self.kernel, value, signed=True)

    def remove(self, key: bytes) -> None:
        raise failure(E2BIG if int.from_bytes(key, "little") >= self.max_entries else ENOENT)
