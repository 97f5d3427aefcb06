"""What all maps have in common: creation checks, two surfaces, batches.

A map has two surfaces. Programs reach it through helpers: `lookup` answers the *address* of a
value in the arena, `update` and `delete` an errno. User space reaches it through bpf(2): `read`,
`write`, `remove`, `next_key` and batches deal in bytes and raise `OSError`; per-CPU maps show
user space the values of all CPUs in one, each padded to eight bytes.

The defaults below are Linux's for a type that lacks an operation. Mirrors kernel/bpf/syscall.c
(``map_create``, ``map_lookup_elem``, ``generic_map_*_batch``) and ``struct bpf_map_ops``.
"""

from __future__ import annotations

from errno import EACCES, EEXIST, EINVAL, ENOENT, EOPNOTSUPP
from typing import TYPE_CHECKING, ClassVar

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.abi.requests import Batch
from minibcc.btf.types import POINTER_SIZE, Struct, size_of
from minibcc.kernel.errnos import ENOTSUPP, checked, failure
from minibcc.kernel.objects import KernelObject
from minibcc.kernel.verifier import fields
from minibcc.kernel.verifier.contract import MapFacts

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.btf.types import Type
    from minibcc.kernel.events import PerfEvent
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.objects import BtfObject, Program
    from minibcc.kernel.verifier.fields import Field
    from minibcc.kernel.vm.layouts import Layout

ACCESS_FLAGS = MapFlags.RDONLY | MapFlags.WRONLY | MapFlags.RDONLY_PROG | MapFlags.WRONLY_PROG
PER_CPU_LIMIT = 32 << 10
"""``PCPU_MIN_UNIT_SIZE``: bytes of a per-CPU value."""
KMALLOC_LIMIT = 4 << 20
"""``KMALLOC_MAX_SIZE``."""
HEADER_SIZE = 304
"""Bytes at a map's address: what stands for ``struct bpf_map``."""

TIMER_SIZE = 16
"""Bytes of ``struct bpf_timer``."""
_RELEASABLE = ("task_struct", "cgroup", "bpf_cpumask", "bpf_crypto_ctx")
"""Structures that a map may hold references to."""
_KEEPERS = (
    *(MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH),
    *(MapType.ARRAY, MapType.PERCPU_ARRAY, MapType.SK_STORAGE, MapType.INODE_STORAGE),
    *(MapType.TASK_STORAGE, MapType.CGRP_STORAGE),
)
"""Types of maps whose values may hold pointers of the kernel's."""
ANY, NOEXIST, EXIST, LOCK = 0, 1, 2, 4
"""`UpdateFlags` as plain numbers: an inverted IntFlag forgets the bits that have no name."""
ACCESS_MODES = int(MapFlags.RDONLY | MapFlags.WRONLY)
"""Flags that are the first descriptor's and not the map's."""


def round_up(value: int, to: int) -> int:
    return (value + to - 1) // to * to


def power_of_two(value: int) -> int:
    """The lowest power of two that is not below `value` (at least 1)."""
    return 1 << max(0, value - 1).bit_length()


FAMILIES: dict[int, type[Map]] = {}
"""The classes that were imported so far, by map type; `registry.family` imports the others."""


class Map(KernelObject):
    """One map. Subclasses say which types they are in `types` and override what they can do."""

    types: ClassVar[tuple[MapType, ...]] = ()
    flags_allowed: ClassVar[int] = 0
    """Flags of BPF_MAP_CREATE that the type takes."""
    key_sizes: ClassVar[tuple[int, ...] | None] = None
    """Key sizes that the type takes; None: any but 0."""
    value_sizes: ClassVar[tuple[int, ...] | None] = None
    per_cpu_types: ClassVar[tuple[MapType, ...]] = (
        MapType.PERCPU_HASH,
        MapType.PERCPU_ARRAY,
        MapType.LRU_PERCPU_HASH,
        MapType.PERCPU_CGROUP_STORAGE,
    )
    described: ClassVar[bool] = True
    """Whether BTF may describe its keys and values."""
    batches: ClassVar[bool] = False
    """Whether the BPF_MAP_*_BATCH commands work on it."""
    batch_deletes: ClassVar[bool] = False
    """Whether BPF_MAP_DELETE_BATCH does."""

    def __init_subclass__(cls) -> None:
        FAMILIES.update(dict.fromkeys(cls.__dict__.get("types", ()), cls))

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        super().__init__()
        self.kernel = kernel
        self.memory = kernel.memory
        self.type = MapType(request.map_type)
        self.key_size = request.key_size
        self.value_size = request.value_size
        self.max_entries = request.max_entries
        self.flags = request.map_flags & ~ACCESS_MODES
        self.name = request.map_name
        self.request = request
        self.frozen = False
        self.btf: BtfObject | None = None
        self.lock_offset: int | None = None
        """Where in its values a ``struct bpf_spin_lock`` lies, where there is one."""
        self.timer_offset: int | None = None
        """Where a ``struct bpf_timer`` lies."""
        self.pointers: tuple[int, ...] = ()
        """Where pointers to the kernel's structures lie."""
        self.per_cpu = self.type in self.per_cpu_types
        self.stride = round_up(self.value_size, 8)
        self.cpus = kernel.cpus
        self.facts = MapFacts(
            self.type, self.key_size, self.value_size, self.max_entries, self.flags, name=self.name
        )
        self.address = self.memory.allocate(HEADER_SIZE, private=True)

    def expose(self) -> None:
        """Writes ``struct bpf_map``, as it is now and as far as it is known, at the map's address,
        for programs that read its fields."""
        from minibcc.kernel.structures import map_values
        from minibcc.machine.structures import fill

        struct = self.kernel.machine.type("bpf_map")
        if isinstance(struct, Struct):
            data = fill(struct, map_values(self))[:HEADER_SIZE]
            self.memory.view(self.address, len(data))[:] = data

    # --- creation -----------------------------------------------------------------------------

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``map_alloc_check``: raises for attributes that the type does not take."""
        flags = request.map_flags
        if request.max_entries == 0 or flags & ~int(cls.flags_allowed):
            raise failure(EINVAL)
        keys, values = cls.key_sizes, cls.value_sizes
        if request.key_size == 0 if keys is None else request.key_size not in keys:
            raise failure(EINVAL)
        if request.value_size == 0 if values is None else request.value_size not in values:
            raise failure(EINVAL)
        if flags & MapFlags.RDONLY_PROG and flags & MapFlags.WRONLY_PROG:
            raise failure(EINVAL)

    def describe(self, btf: BtfObject) -> None:
        """``map_check_btf``: takes the types of keys and values if they fit, else EINVAL; ENOTSUPP
        for a type of map that cannot be described."""
        try:
            types = btf.types()
            key = types.type(self.request.btf_key_type_id)
            value = types.type(self.request.btf_value_type_id)
            sizes = (0 if key is None else size_of(key), size_of(value))
        except (KeyError, ValueError):
            raise failure(EINVAL) from None
        fits = self.key_fits(key) if key is None or sizes[0] == self.key_size else False
        if value is None or not fits or sizes[1] != self.value_size:
            raise failure(EINVAL)
        found = fields.find(value)
        self._check_pointers([field for field in found if field.tag])
        if not self.described:
            raise failure(ENOTSUPP)
        self.facts.value_type = value
        places = {field.name: field.offset for field in found}
        self.lock_offset = places.get("bpf_spin_lock")
        self.timer_offset = places.get("bpf_timer")
        self.pointers = tuple(field.offset for field in found if field.tag)
        self.btf = btf
        btf.hold()

    def _check_pointers(self, found: list[Field]) -> None:
        """What `map_check_btf` asks of a map whose values hold pointers of the kernel's: a
        reference must be to something that Linux can release (``btf_find_dtor_kfunc``)."""
        for field in found:
            name = field.target.name if field.target is not None else ""
            held = field.tag == fields.KPTR and self.kernel.machine.type(name) is not None
            if held and name not in _RELEASABLE:
                raise failure(ENOENT)
        if found and self.flags & (MapFlags.RDONLY_PROG | MapFlags.WRONLY_PROG):
            raise failure(EACCES)
        if found and self.type not in _KEEPERS:
            raise failure(EOPNOTSUPP)
        if self.type != MapType.TASK_STORAGE and any(field.tag == "uptr" for field in found):
            raise failure(EOPNOTSUPP)

    def key_fits(self, key: Type | None) -> bool:
        """Whether the key may be of that type; None is void. The size is right."""
        return key is not None or not self.described

    def release(self) -> None:
        self.kernel.forget_map(self)
        self.memory.free(self.address)
        if self.btf is not None:
            self.btf.put()

    @property
    def memlock(self) -> int:
        """Bytes that Linux would say the map takes (``map_mem_usage``)."""
        return 0

    def abandoned(self) -> None:
        if self.timer_offset is not None:
            self.kernel.timers.drop_all(self)

    def store(self, address: int, value: bytes) -> None:
        """Gives an element its value: what it had of the kernel's goes, and none comes with the
        value."""
        self.memory.view(address, self.value_size)[:] = value
        if self.managed:
            self.drop_fields(address)

    @property
    def managed(self) -> bool:
        """Whether its values hold what the kernel looks after: a timer, or pointers."""
        return self.timer_offset is not None or bool(self.pointers)

    def shown(self, value: bytes) -> bytes:
        """A value as user space sees it: without pointers of the kernel's."""
        for place in self.pointers:
            value = value[:place] + bytes(POINTER_SIZE) + value[place + POINTER_SIZE :]
        return value

    def drop_fields(self, address: int) -> None:
        """The value at `address` has no timer any more, and no pointers."""
        for place in self.pointers:
            self.memory.store(address + place, POINTER_SIZE, 0)
        if self.timer_offset is not None:
            place = address + self.timer_offset
            self.memory.view(place, TIMER_SIZE)[:] = bytes(TIMER_SIZE)
            self.kernel.timers.drop(place)

    def key_of(self, address: int) -> bytes:
        """The key of the element whose value lies at an address."""
        raise NotImplementedError

    # --- the surface for programs -------------------------------------------------------------

    def lookup(self, key: bytes, cpu: int) -> int:
        """The address of the value (of this CPU's), 0 if there is none."""
        return 0

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        """0 or a negative errno."""
        return -EOPNOTSUPP

    def delete(self, key: bytes) -> int:
        return -EOPNOTSUPP

    def push(self, value: bytes, flags: int) -> int:
        return -EOPNOTSUPP

    def pop(self) -> tuple[int, bytes]:
        """0 or a negative errno, and the value (zeros on failure)."""
        return -EOPNOTSUPP, bytes(self.value_size)

    def peek(self, value: bytes) -> tuple[int, bytes]:
        """Like `pop` without taking; `value` is what the caller's buffer held."""
        return -EOPNOTSUPP, bytes(self.value_size)

    def layout(self) -> Layout | None:
        """What native code may know of the map, if anything."""
        return None

    # What only some types hold, for the helpers that ask for it.

    def program_at(self, index: int) -> Program | None:
        """The program at an index of a program array."""
        return None

    def event_at(self, index: int) -> PerfEvent | None:
        """The event at an index of a perf event array."""
        return None

    def cgroup_at(self, index: int) -> int:
        """The id of the cgroup at an index of a cgroup array, or a negative errno."""
        return -EINVAL

    def element(self, place: int, cpu: int = 0) -> tuple[int, bytes, int] | None:
        """The first element at or behind a place (0: of all): where it is, its key, the address of
        its value (of this CPU's). For walks on which elements come and go; looking is no use."""
        return None

    # --- the surface for user space -----------------------------------------------------------

    @property
    def user_value_size(self) -> int:
        """Bytes of a value in bpf(2)."""
        return self.stride * self.cpus if self.per_cpu else self.value_size

    def read(self, key: bytes, flags: int) -> bytes:
        """BPF_MAP_LOOKUP_ELEM."""
        address = self.find(key)
        if not address:
            raise failure(ENOENT)
        return self.value_at(address)

    def lookup_key(self, key: bytes) -> bytes:
        """The key of a look-up, checked. Raises EINVAL for one of another length."""
        if len(key) != self.key_size:
            raise failure(EINVAL)
        return key

    def find(self, key: bytes) -> int:
        """`lookup` as bpf(2) does it: without leaving a trace of use."""
        return self.lookup(key, 0)

    def value_at(self, address: int) -> bytes:
        return self.shown(bytes(self.memory.view(address, self.value_size)))

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        """BPF_MAP_UPDATE_ELEM; per-CPU maps get the values of all CPUs."""
        checked(self.update(key, value, flags, 0))

    def remove(self, key: bytes) -> None:
        """BPF_MAP_DELETE_ELEM."""
        checked(self.delete(key))

    def next_key(self, key: bytes | None) -> bytes:
        """BPF_MAP_GET_NEXT_KEY; ENOENT at the end."""
        raise failure(EOPNOTSUPP)

    def take(self, key: bytes, flags: int) -> bytes:
        """BPF_MAP_LOOKUP_AND_DELETE_ELEM."""
        raise failure(ENOTSUPP)

    def freeze(self) -> None:
        """BPF_MAP_FREEZE: no more writes through bpf(2)."""
        self.frozen = True
        if self.flags & MapFlags.RDONLY_PROG:
            self.facts.read = self.first_value

    def first_value(self, offset: int, size: int) -> bytes:
        """Bytes of the first element, for what the verifier may take as constant."""
        return self.read(bytes(self.key_size), 0)[offset : offset + size]

    # --- batches ------------------------------------------------------------------------------

    def read_batch(self, cursor: bytes | None, count: int, flags: int, *, take: bool) -> Batch:
        """``generic_map_lookup_batch``: the cursor is the last key that was read."""
        if not self.batches or take:
            raise failure(ENOTSUPP)
        self.check_batch_flags(flags)
        keys: list[bytes] = []
        values: list[bytes] = []
        key = cursor
        while len(keys) < count:
            try:
                key = self.next_key(key)
            except OSError:
                return Batch(tuple(keys), tuple(values), None)
            try:
                values.append(self.read(key, 0))
            except OSError as error:
                if error.errno == ENOENT:  # an array's place that holds nothing
                    continue
                raise
            keys.append(key)
        return Batch(tuple(keys), tuple(values), key)

    def check_batch_flags(self, flags: int) -> None:
        if flags & ~LOCK or (flags & LOCK and self.lock_offset is None):
            raise failure(EINVAL)

    def write_batch(self, keys: tuple[bytes, ...], values: tuple[bytes, ...], flags: int) -> int:
        if not self.batches:
            raise failure(ENOTSUPP)
        self.check_batch_flags(flags)
        for key, value in zip(keys, values, strict=True):
            self.write(key, value, flags)
        return len(keys)

    def remove_batch(self, keys: tuple[bytes, ...], flags: int) -> int:
        if not self.batch_deletes:
            raise failure(ENOTSUPP)
        self.check_batch_flags(flags)
        for key in keys:
            self.remove(key)
        return len(keys)


def update_flags_error(flags: int, *, exists: bool, lock: bool = False) -> int:
    """0, or what an update with `flags` fails with where the key exists (or not); `lock` says
    whether BPF_F_LOCK may be among them."""
    if flags & ~LOCK > EXIST or (flags & LOCK and not lock):
        return -EINVAL
    if exists and flags & NOEXIST:
        return -EEXIST
    if not exists and flags & EXIST:
        return -ENOENT
    return 0
