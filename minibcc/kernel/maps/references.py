"""Maps whose elements are other objects: programs, perf events, cgroups, maps.

User space writes a descriptor; the map holds the object behind it; reading back gives the object's
id where Linux gives it. Mirrors the ``fd_array_map_*`` functions of kernel/bpf/arraymap.c,
kernel/bpf/map_in_map.c and the end of kernel/bpf/hashtab.c.
"""

from __future__ import annotations

from errno import E2BIG, EAGAIN, EBADF, EINVAL, ENOENT
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.kernel.errnos import ENOTSUPP, checked, failure
from minibcc.kernel.events import PerfEvent
from minibcc.kernel.maps.array import STRUCT_SIZE, IndexedMap
from minibcc.kernel.maps.base import ANY, Map
from minibcc.kernel.maps.hash import HashMap
from minibcc.kernel.vm.layouts import ProgramLayout

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.btf.types import Type
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.objects import Program
    from minibcc.kernel.vm.layouts import Layout

UNCOMMON = (
    MapType.PROG_ARRAY,
    MapType.CGROUP_STORAGE,
    MapType.PERCPU_CGROUP_STORAGE,
    MapType.STRUCT_OPS,
)
"""Types that no map of maps may hold (without ``map_meta_equal``)."""


class ReferenceArray(IndexedMap):
    """What the arrays share whose elements are descriptors for user space."""

    value_sizes = (4,)

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``fd_array_map_alloc_check``."""
        if request.map_flags & (MapFlags.RDONLY_PROG | MapFlags.WRONLY_PROG):
            raise failure(EINVAL)
        super().check(request)

    def key_fits(self, key: Type | None) -> bool:
        return not self.described or super().key_fits(key)

    @property
    def memlock(self) -> int:
        return STRUCT_SIZE + 8 * self.max_entries

    def index(self, key: bytes, flags: int = ANY) -> int:
        """The index that an update names. Raises EINVAL, E2BIG."""
        if flags != ANY:
            raise failure(EINVAL)
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            raise failure(E2BIG)
        return index

    def read(self, key: bytes, flags: int) -> bytes:
        raise failure(ENOTSUPP)


class ProgramArray(ReferenceArray):
    """BPF_MAP_TYPE_PROG_ARRAY: what tail calls go through. All programs are of one type."""

    types = (MapType.PROG_ARRAY,)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.programs: dict[int, Program] = {}
        self.owner: int | None = None
        """The type of the first program that was put in or that used the map."""
        self.known: ProgramLayout | None = None
        """Native entries of programs, once native code may ask."""

    def abandoned(self) -> None:
        """Programs and the map would hold each other: out of user space's reach, it empties."""
        programs, self.programs = self.programs, {}
        for index, program in programs.items():
            self._forget_entry(index)
            program.put()

    def release(self) -> None:
        self.abandoned()
        if self.known is not None:
            self.memory.free(self.known.entries)
        super().release()

    def layout(self) -> Layout | None:
        if self.known is None:
            try:
                entries = self.memory.allocate(8 * self.max_entries, private=True)
            except MemoryError:
                return None
            self.known = ProgramLayout(entries, self.max_entries, {})
        return self.known

    def _forget_entry(self, index: int) -> None:
        """Another program is at the index now, or none."""
        if self.known is not None and self.known.kept.pop(index, None) is not None:
            self.memory.store(self.known.entries + 8 * index, 8, 0)

    def program_at(self, index: int) -> Program | None:
        return self.programs.get(index)

    def read(self, key: bytes, flags: int) -> bytes:
        found = self.programs.get(int.from_bytes(key, "little"))
        if found is None:
            raise failure(ENOENT)
        return found.id.to_bytes(4, "little")

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        index = self.index(key, flags)
        program = self.kernel.program_of(int.from_bytes(value, "little"))
        if self.owner is None:
            self.owner = program.request.prog_type
        if self.owner != program.request.prog_type:
            raise failure(EINVAL)
        program.hold()
        old = self.programs.get(index)
        self.programs[index] = program
        self._forget_entry(index)
        if old is not None:
            old.put()

    def remove(self, key: bytes) -> None:
        index = self.index(key)
        found = self.programs.pop(index, None)
        if found is None:
            raise failure(ENOENT)
        self._forget_entry(index)
        found.put()


class PerfEventArray(ReferenceArray):
    """BPF_MAP_TYPE_PERF_EVENT_ARRAY: an event per processor, to write to or to read."""

    types = (MapType.PERF_EVENT_ARRAY,)
    described = False

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__(kernel, request)
        self.events: dict[int, PerfEvent] = {}

    def abandoned(self) -> None:
        """Without BPF_F_PRESERVE_ELEMS, events go with the map's last descriptor."""
        if not self.flags & MapFlags.PRESERVE_ELEMS:
            self._empty()

    def release(self) -> None:
        self._empty()
        super().release()

    def _empty(self) -> None:
        events, self.events = self.events, {}
        for event in events.values():
            event.put()

    def event_at(self, index: int) -> PerfEvent | None:
        return self.events.get(index)

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        index = self.index(key, flags)
        event = self.kernel.descriptors.get(int.from_bytes(value, "little"))
        if not isinstance(event, PerfEvent):
            raise failure(EBADF)
        event.hold()
        old = self.events.get(index)
        self.events[index] = event
        if old is not None:
            old.put()

    def remove(self, key: bytes) -> None:
        found = self.events.pop(self.index(key), None)
        if found is None:
            raise failure(ENOENT)
        found.put()


class CgroupArray(ReferenceArray):
    """BPF_MAP_TYPE_CGROUP_ARRAY. There are no cgroup directories to open: it stays empty."""

    types = (MapType.CGROUP_ARRAY,)
    described = False

    def cgroup_at(self, index: int) -> int:
        return -E2BIG if index >= self.max_entries else -EAGAIN

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        self.index(key, flags)
        self.kernel.descriptors.get(int.from_bytes(value, "little"))
        raise failure(EBADF)

    def remove(self, key: bytes) -> None:
        self.index(key)
        raise failure(ENOENT)


# --- maps of maps ------------------------------------------------------------------------------


def inner_template(kernel: Kernel, request: MapCreate) -> Map:
    """The map that says what the elements are like (``bpf_map_meta_alloc``)."""
    if request.inner_map_fd is None:
        raise failure(EINVAL)
    inner = kernel.map_of(request.inner_map_fd)
    if isinstance(inner, ArrayOfMaps | HashOfMaps):
        raise failure(EINVAL)
    if inner.type in UNCOMMON:
        raise failure(ENOTSUPP)
    return inner


def alike(template: Map, inner: Map) -> bool:
    """``bpf_map_meta_equal``; an array's length counts unless it has BPF_F_INNER_MAP."""
    same = (
        template.type == inner.type
        and template.key_size == inner.key_size
        and template.value_size == inner.value_size
        and template.flags == inner.flags
    )
    if same and template.type == MapType.ARRAY and not template.flags & MapFlags.INNER_MAP:
        return template.max_entries == inner.max_entries
    return same


class ArrayOfMaps(ReferenceArray):
    """BPF_MAP_TYPE_ARRAY_OF_MAPS."""

    types = (MapType.ARRAY_OF_MAPS,)
    batches = True

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        self.template = inner_template(kernel, request)
        super().__init__(kernel, request)
        self.template.hold()
        self.facts.inner = self.template.facts
        self.inner: dict[int, Map] = {}

    def release(self) -> None:
        for map in (self.template, *self.inner.values()):
            map.put()
        self.inner.clear()
        super().release()

    def lookup(self, key: bytes, cpu: int) -> int:
        inner = self.inner.get(int.from_bytes(key, "little"))
        return 0 if inner is None else inner.address

    def read(self, key: bytes, flags: int) -> bytes:
        inner = self.inner.get(int.from_bytes(key, "little"))
        if inner is None:
            raise failure(ENOENT)
        return inner.id.to_bytes(4, "little")

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        index = self.index(key, flags)
        inner = self.kernel.map_of(int.from_bytes(value, "little"))
        if not alike(self.template, inner):
            raise failure(EINVAL)
        inner.hold()
        old = self.inner.get(index)
        self.inner[index] = inner
        if old is not None:
            old.put()

    def remove(self, key: bytes) -> None:
        found = self.inner.pop(self.index(key), None)
        if found is None:
            raise failure(ENOENT)
        found.put()


class HashOfMaps(HashMap):
    """BPF_MAP_TYPE_HASH_OF_MAPS; a slot's value is the address of the inner map."""

    types = (MapType.HASH_OF_MAPS,)

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``fd_htab_map_alloc_check``."""
        if request.value_size != 4:
            raise failure(EINVAL)
        super().check(request)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        self.template = inner_template(kernel, request)
        super().__init__(kernel, request)
        self.template.hold()
        self.facts.inner = self.template.facts

    def release(self) -> None:
        table = self.entries
        slot = -1
        while (slot := table.following(slot + 1)) >= 0:
            self._inner(table.elements[slot]).put()
        self.template.put()
        super().release()

    def layout(self) -> Layout | None:
        return None

    def _inner(self, element: int) -> Map:
        return self.kernel.map_at[self.memory.load(self.entries.value(element), 8)]

    def lookup(self, key: bytes, cpu: int) -> int:
        element = self.entries.find(key)
        return element and self.memory.load(self.entries.value(element), 8)

    def value_at(self, address: int) -> bytes:
        inner = self.kernel.map_at[self.memory.load(address, 8)]
        return inner.id.to_bytes(4, "little")

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        inner = self.kernel.map_of(int.from_bytes(value, "little"))
        if not alike(self.template, inner):
            raise failure(EINVAL)
        old = self.entries.find(key)
        before = self._inner(old) if old else None
        address = checked(self._prepare(key, flags))
        inner.hold()
        self.memory.store(address, 8, inner.address)
        if before is not None:
            before.put()

    def remove(self, key: bytes) -> None:
        element = self.entries.find(key)
        if not element:
            raise failure(ENOENT)
        inner = self._inner(element)
        self.entries.drop(element)
        inner.put()

    def take(self, key: bytes, flags: int) -> bytes:
        raise failure(ENOTSUPP)
