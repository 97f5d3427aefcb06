"""The tables that ``b["name"]`` answers: a class per family of map types, named as BCC names them.

What scripts rely on is BCC's: arrays take plain integers (negative ones count from the end) and
deleting from them writes zeros; per-CPU tables answer one value per CPU, or what a reducer makes
of them; perf and ring buffers hand records to callbacks.
"""

from __future__ import annotations

import contextlib
import ctypes as ct
import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.abi.perf import PerfEventAttr, PerfIoctl
from minibcc.abi.requests import MapLookup, MapLookupAndDelete, MapUpdate
from minibcc.bcc.mapping import TableBase
from minibcc.bcc.perf import PerfReader
from minibcc.bcc.ringbuf import RingReader
from minibcc.bcc.utils import get_online_cpus, get_possible_cpus
from minibcc.bcc.values import scan, show, to_kernel

if TYPE_CHECKING:
    from minibcc.bcc.bpf import BPF
    from minibcc.bcc.loader import LoadedMap


class HashTable(TableBase):
    pass


class LruHash(HashTable):
    pass


class LpmTrie(TableBase):
    """A prefix trie; its key is a structure that begins with the prefix length."""


class MapInMapHash(HashTable):
    """Maps by key: a value is the descriptor of the inner map."""


class ArrayBase(TableBase):
    """Keys are 0 to max_entries - 1; plain integers will do, negative ones count from the end."""

    def _key(self, key: Any) -> bytes:
        index = key.value if isinstance(key, ct._SimpleCData) else key
        if not isinstance(index, int):
            raise IndexError("Array index must be an integer type")
        if index < 0:
            index += self.max_entries
        if not 0 <= index < self.max_entries:
            raise IndexError("Array index out of range")
        return index.to_bytes(4, "little")

    def __len__(self) -> int:
        return self.max_entries

    def __iter__(self) -> Iterator[Any]:
        return (self.Key(index) for index in range(self.max_entries))

    def clearitem(self, key: Any) -> None:
        """Writes zeros."""
        self[key] = self.Leaf()


class Array(ArrayBase):
    def __delitem__(self, key: Any) -> None:
        self.clearitem(key)


class ProgArray(ArrayBase):
    """Programs for tail calls; a value is a function of `BPF.load_func`, or a descriptor."""

    def __setitem__(self, key: Any, leaf: Any) -> None:
        super().__setitem__(key, getattr(leaf, "fd", leaf))


class CgroupArray(ArrayBase):
    """Cgroups; a value is a directory's path, or a descriptor."""

    def __setitem__(self, key: Any, leaf: Any) -> None:
        if not isinstance(leaf, str | bytes):
            super().__setitem__(key, leaf)
            return
        fd = self._system.open(os.fsdecode(leaf), os.O_RDONLY)
        try:
            super().__setitem__(key, fd)
        finally:
            self._system.close(fd)


class DevMap(ArrayBase):
    pass


class CpuMap(ArrayBase):
    pass


class XskMap(ArrayBase):
    pass


class MapInMapArray(ArrayBase):
    """Maps by index: a value is the descriptor of the inner map."""


class PerCpu(TableBase):
    """A value per possible CPU. `sLeaf` is the type of one, `Leaf` the array of all."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.sLeaf = self.Leaf
        self.total_cpu = len(get_possible_cpus())
        self.Leaf = self.sLeaf * self.total_cpu
        self._stride = ct.sizeof(self.sLeaf) + 7 & ~7

    def _pack(self, leaf: Any) -> bytes:
        if isinstance(leaf, int):
            leaf = self.Leaf(*[leaf] * self.total_cpu)
        one = ct.sizeof(self.sLeaf)
        data = bytes(leaf)
        parts = [data[i * one : (i + 1) * one] for i in range(len(data) // one)]
        return b"".join(part.ljust(self._stride, b"\0") for part in parts)

    def _unpack(self, value: bytes) -> Any:
        one, stride = ct.sizeof(self.sLeaf), self._stride
        parts = [value[i * stride : i * stride + one] for i in range(self.total_cpu)]
        return self.Leaf.from_buffer_copy(b"".join(parts))

    def getvalue(self, key: Any) -> Any:
        """The values of all CPUs, as a ctypes array."""
        return super().__getitem__(key)

    def __getitem__(self, key: Any) -> Any:
        values = self.getvalue(key)
        return functools.reduce(self.reducer, values) if self.reducer else values

    def _numbers(self, key: Any) -> list[int]:
        if issubclass(self.sLeaf, ct.Structure | ct.Union):
            raise IndexError("the values are structures: give the table a reducer")
        return list(self.getvalue(key))

    def sum(self, key: Any) -> Any:
        return self.sLeaf(sum(self._numbers(key)))

    def max(self, key: Any) -> Any:
        return self.sLeaf(max(self._numbers(key)))

    def average(self, key: Any) -> float:
        return sum(self._numbers(key)) / self.total_cpu


class PerCpuHash(PerCpu, HashTable):
    pass


class LruPerCpuHash(PerCpuHash):
    pass


class PerCpuArray(PerCpu, ArrayBase):
    def __delitem__(self, key: Any) -> None:
        self.clearitem(key)


class StackTrace(TableBase):
    """Stacks by id, as ``get_stackid`` stored them."""

    MAX_DEPTH = 127
    BPF_F_STACK_BUILD_ID = int(MapFlags.STACK_BUILD_ID)
    BPF_STACK_BUILD_ID_EMPTY = 0
    BPF_STACK_BUILD_ID_VALID = 1
    BPF_STACK_BUILD_ID_IP = 2

    def walk(self, stack_id: int, resolve: Callable[[Any], Any] | None = None) -> Iterator[Any]:
        """The addresses of a stack, innermost first, each passed through `resolve` if given.
        KeyError if there is no such stack."""
        stack = self[self.Key(stack_id)]
        with_build_ids = bool(self.flags & self.BPF_F_STACK_BUILD_ID)
        return self._walk(stack, with_build_ids, resolve)

    def _walk(
        self, stack: Any, with_build_ids: bool, resolve: Callable[[Any], Any] | None
    ) -> Iterator[Any]:
        # An element is an array, or a structure around it where a program declares one.
        for address in getattr(stack, "trace" if with_build_ids else "ip", stack):
            if with_build_ids and address.status != self.BPF_STACK_BUILD_ID_VALID:
                return
            if not with_build_ids and not address:
                return
            yield resolve(address) if resolve else address

    def clear(self) -> None:
        """Stacks stay: their ids may still be in use."""


class Events(TableBase):
    """What perf buffers and ring buffers share: records of a C type."""

    _event_class: Any = None

    def event(self, data: Any) -> Any:
        """The record at an address that a callback was given, as the C type that the program
        submits. The object is a copy and may be kept."""
        if self._event_class is None:
            self._event_class = self.bpf.event_class(self._loaded)
        address = data if isinstance(data, int) else ct.cast(data, ct.c_void_p).value or 0
        content = ct.string_at(address, ct.sizeof(self._event_class))
        return self._event_class.from_buffer_copy(content)


class PerfEventArray(Events, ArrayBase):
    """Perf buffers (`open_perf_buffer`), or counters that programs read (`open_perf_event`)."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._events: dict[int, int] = {}

    def open_perf_buffer(
        self,
        callback: Callable[[int, int, int], object],
        page_cnt: int = 8,
        lost_cb: Callable[[int], object] | None = None,
        wakeup_events: int = 1,
    ) -> None:
        """Opens a ring of `page_cnt` pages (a power of two) on each CPU. ``perf_buffer_poll`` then
        calls `callback(cpu, data, size)` per record and `lost_cb(count)` for records lost."""
        if page_cnt < 1 or page_cnt & (page_cnt - 1):
            raise ValueError("Perf buffer page_cnt must be a power of two")
        call = _until_pipe_closes(callback)
        for cpu in get_online_cpus():
            reader = PerfReader(self._system, cpu, page_cnt, call, lost_cb, wakeup_events)
            self[cpu] = reader.fd
            self.bpf.perf_buffers[id(self), cpu] = reader

    def open_perf_event(self, typ: int, config: int, pid: int = -1) -> None:
        """Opens a counter on each CPU, which ``perf_read(cpu)`` reads in the program."""
        for cpu in get_online_cpus():
            fd = self._system.perf_event_open(PerfEventAttr(typ, config), pid, cpu, -1)
            self._system.ioctl(fd, PerfIoctl.ENABLE, 0)
            self._events[cpu] = fd
            self[cpu] = fd

    def __delitem__(self, key: Any) -> None:
        index = int.from_bytes(self._key(key), "little")
        reader = self.bpf.perf_buffers.pop((id(self), index), None)
        fd = self._events.pop(index, None)
        if reader is not None or fd is not None:
            with contextlib.suppress(KeyError):
                super().__delitem__(key)
        if reader is not None:
            reader.close()
        if fd is not None:
            self._system.close(fd)

    def close(self) -> None:
        """Closes all rings and counters."""
        for owner, cpu in list(self.bpf.perf_buffers):
            if owner == id(self):
                del self[cpu]
        for cpu in list(self._events):
            del self[cpu]


class RingBuf(Events):
    """A ring buffer; it has no keys."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def open_ring_buffer(
        self, callback: Callable[[Any, int, int], object], ctx: object = None
    ) -> None:
        """``ring_buffer_poll`` then calls `callback(ctx, data, size)` per record."""
        self.bpf.ring_buffers.append(
            RingReader(
                self._system, self.map_fd, self.max_entries, _until_pipe_closes(callback), ctx
            )
        )


class QueueStack:
    """A queue or a stack: values without keys."""

    BPF_EXIST = 2

    def __init__(self, bpf: BPF, loaded: LoadedMap, leaftype: Any) -> None:
        self.bpf = bpf
        self.map_id = loaded.index
        self.map_fd = loaded.fd
        self.ttype = int(loaded.spec.type)
        self.flags = loaded.spec.flags
        self.max_entries = loaded.max_entries
        self.Leaf = leaftype
        self._system = bpf.system

    def push(self, leaf: Any, flags: int = 0) -> None:
        """Adds a value; with BPF_EXIST a full map drops its oldest."""
        data = to_kernel(leaf, self.Leaf, ct.sizeof(self.Leaf))
        try:
            self._system.bpf(MapUpdate(self.map_fd, b"", data, flags))
        except OSError as error:
            raise OSError(error.errno, f"Could not push to table: {error.strerror}") from None

    def pop(self) -> Any:
        """Takes a value; KeyError if there is none."""
        try:
            return self.Leaf.from_buffer_copy(
                self._system.bpf(MapLookupAndDelete(self.map_fd, b""))
            )
        except OSError:
            raise KeyError("Could not pop from table") from None

    def peek(self) -> Any:
        """The value that `pop` would take."""
        try:
            return self.Leaf.from_buffer_copy(self._system.bpf(MapLookup(self.map_fd, b"")))
        except OSError:
            raise KeyError("Could not peek table") from None

    def itervalues(self) -> Iterator[Any]:
        """Takes all values, at most as many as fit."""
        for _ in range(self.max_entries):
            try:
                yield self.pop()
            except KeyError:
                return

    def values(self) -> list[Any]:
        return list(self.itervalues())

    def leaf_sprintf(self, leaf: Any) -> bytes:
        return show(leaf)

    def leaf_scanf(self, leaf_str: str | bytes) -> Any:
        return scan(self.Leaf, leaf_str)


CLASSES: dict[MapType, type[TableBase]] = {
    MapType.HASH: HashTable,
    MapType.ARRAY: Array,
    MapType.PROG_ARRAY: ProgArray,
    MapType.PERF_EVENT_ARRAY: PerfEventArray,
    MapType.PERCPU_HASH: PerCpuHash,
    MapType.PERCPU_ARRAY: PerCpuArray,
    MapType.STACK_TRACE: StackTrace,
    MapType.CGROUP_ARRAY: CgroupArray,
    MapType.LRU_HASH: LruHash,
    MapType.LRU_PERCPU_HASH: LruPerCpuHash,
    MapType.LPM_TRIE: LpmTrie,
    MapType.ARRAY_OF_MAPS: MapInMapArray,
    MapType.HASH_OF_MAPS: MapInMapHash,
    MapType.DEVMAP: DevMap,
    MapType.CPUMAP: CpuMap,
    MapType.XSKMAP: XskMap,
    MapType.SOCKMAP: ArrayBase,
    MapType.SOCKHASH: HashTable,
    MapType.RINGBUF: RingBuf,
    MapType.SK_STORAGE: HashTable,
    MapType.INODE_STORAGE: HashTable,
    MapType.TASK_STORAGE: HashTable,
}


def Table(  # noqa: N802  # BCC's name
    bpf: BPF, loaded: LoadedMap, keytype: Any, leaftype: Any, reducer: Any = None
) -> Any:
    """The table object for a map."""
    if loaded.spec.type in (MapType.QUEUE, MapType.STACK):
        return QueueStack(bpf, loaded, leaftype)
    kind = CLASSES.get(loaded.spec.type)
    if kind is None:
        raise ValueError(f"no table for a map of type {loaded.spec.type.name.lower()}")
    return kind(bpf, loaded, keytype, leaftype, reducer)


def _until_pipe_closes(callback: Callable[..., Any]) -> Callable[..., Any]:
    """`callback`, but a reader of our output that went away (``| head``) ends the script."""

    @functools.wraps(callback)
    def call(*args: Any) -> Any:
        try:
            return callback(*args)
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            sys.exit()

    return call
