"""A map as a Python mapping: what all tables have in common.

Keys and values are ctypes objects (see `values`); every access is one bpf(2) request, and the
batch calls are the kernel's. A missing key is a KeyError; a key that vanishes while a table is
read is left out.
"""

from __future__ import annotations

import contextlib
import ctypes as ct
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from minibcc.abi.requests import (
    MapDelete,
    MapDeleteBatch,
    MapLookup,
    MapLookupAndDeleteBatch,
    MapLookupBatch,
    MapNextKey,
    MapUpdate,
    MapUpdateBatch,
)
from minibcc.bcc.histogram import Histogram
from minibcc.bcc.values import scan, show, to_kernel

if TYPE_CHECKING:
    from minibcc.bcc.bpf import BPF
    from minibcc.bcc.loader import LoadedMap


class TableBase(Histogram, MutableMapping[Any, Any]):
    """What all tables have. `Key` and `Leaf` are the ctypes classes, `map_fd` the descriptor."""

    def __init__(
        self,
        bpf: BPF,
        loaded: LoadedMap,
        keytype: Any,
        leaftype: Any,
        reducer: Callable[[Any, Any], Any] | None = None,
    ) -> None:
        self.bpf = bpf
        self.map_id = loaded.index
        self.map_fd = loaded.fd
        self.ttype = int(loaded.spec.type)
        self.flags = loaded.spec.flags
        self.max_entries = loaded.max_entries
        self.Key = keytype
        self.Leaf = leaftype
        self.reducer = reducer
        self._name = loaded.spec.name
        self._loaded = loaded
        self._system = bpf.system

    def get_fd(self) -> int:
        return self.map_fd

    def _key(self, key: Any) -> bytes:
        return to_kernel(key, self.Key, self._loaded.spec.key_size)

    def _pack(self, leaf: Any) -> bytes:
        return to_kernel(leaf, self.Leaf, ct.sizeof(self.Leaf))

    def _unpack(self, value: bytes) -> Any:
        return self.Leaf.from_buffer_copy(value.ljust(ct.sizeof(self.Leaf), b"\0"))

    def __getitem__(self, key: Any) -> Any:
        data = self._key(key)
        try:
            return self._unpack(self._system.bpf(MapLookup(self.map_fd, data)))
        except OSError as error:
            raise KeyError(key) from error

    def __setitem__(self, key: Any, leaf: Any) -> None:
        try:
            self._system.bpf(MapUpdate(self.map_fd, self._key(key), self._pack(leaf)))
        except OSError as error:
            raise OSError(error.errno, f"Could not update table: {error.strerror}") from None

    def __delitem__(self, key: Any) -> None:
        data = self._key(key)
        try:
            self._system.bpf(MapDelete(self.map_fd, data))
        except OSError as error:
            raise KeyError(key) from error

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Any]:
        key: bytes | None = None
        while True:
            try:
                key = self._system.bpf(MapNextKey(self.map_fd, key))
            except OSError:
                return
            yield self.Key.from_buffer_copy(key)

    def iter(self) -> Iterator[Any]:
        return iter(self)

    def next(self, key: Any) -> Any:
        """The key after `key` (None: the first); StopIteration at the end."""
        data = None if key is None else self._key(key)
        try:
            return self.Key.from_buffer_copy(self._system.bpf(MapNextKey(self.map_fd, data)))
        except OSError as error:
            raise StopIteration from error

    # Lists and iterators where a mapping has views: a program may change the map meanwhile, so
    # entries that are gone when they are read are left out.

    def keys(self) -> Iterator[Any]:  # type: ignore[override]  # BCC's keys() is an iterator
        return iter(self)

    def iteritems(self) -> Iterator[tuple[Any, Any]]:
        for key in self:
            with contextlib.suppress(KeyError):
                yield key, self[key]

    def itervalues(self) -> Iterator[Any]:
        return (value for _, value in self.iteritems())

    def items(self) -> list[tuple[Any, Any]]:  # type: ignore[override]  # BCC's is a list
        return list(self.iteritems())

    def values(self) -> list[Any]:  # type: ignore[override]  # BCC's is a list
        return list(self.itervalues())

    def clear(self) -> None:
        """Deletes all entries (arrays: zeroes them)."""
        for key in list(self):
            with contextlib.suppress(KeyError):
                del self[key]

    def zero(self) -> None:
        """Writes zeros to all entries."""
        for key in list(self):
            self[key] = self.Leaf()

    # --- many entries by one request ---

    def items_lookup_batch(self) -> Iterator[tuple[Any, Any]]:
        """All entries, read by BPF_MAP_LOOKUP_BATCH."""
        return self._batch("BPF_MAP_LOOKUP_BATCH", MapLookupBatch)

    def items_lookup_and_delete_batch(self) -> Iterator[tuple[Any, Any]]:
        """All entries, read and deleted by BPF_MAP_LOOKUP_AND_DELETE_BATCH."""
        return self._batch("BPF_MAP_LOOKUP_AND_DELETE_BATCH", MapLookupAndDeleteBatch)

    def _batch(
        self, name: str, request: type[MapLookupBatch] | type[MapLookupAndDeleteBatch]
    ) -> Iterator[tuple[Any, Any]]:
        found: list[tuple[bytes, bytes]] = []
        cursor: bytes | None = None
        while len(found) < self.max_entries:
            with _named(name):
                part = self._system.bpf(request(self.map_fd, self.max_entries - len(found), cursor))
            found += zip(part.keys, part.values, strict=True)
            cursor = part.cursor
            if cursor is None or not part.keys:
                break
        for key, value in found:
            yield self.Key.from_buffer_copy(key), self._unpack(value)

    def items_update_batch(self, ct_keys: Any, ct_values: Any) -> None:
        """Writes entries from two ctypes arrays of one length."""
        self._check(ct_keys, ct_values)
        keys = tuple(bytes(key) for key in _elements(ct_keys))
        values = tuple(self._pack(value) for value in _elements(ct_values))
        with _named("BPF_MAP_UPDATE_BATCH"):
            self._system.bpf(MapUpdateBatch(self.map_fd, keys, values))

    def items_delete_batch(self, ct_keys: Any = None) -> None:
        """Deletes the keys of a ctypes array, or all entries."""
        if ct_keys is None:
            for _ in self.items_lookup_and_delete_batch():
                pass
            return
        self._check(ct_keys)
        with _named("BPF_MAP_DELETE_BATCH"):
            keys = tuple(bytes(key) for key in _elements(ct_keys))
            self._system.bpf(MapDeleteBatch(self.map_fd, keys))

    def _check(self, *arrays: Any) -> None:
        for array in arrays:
            if not isinstance(array, ct.Array):
                raise TypeError(f"wants a ctypes array, not {array!r}")
            if not 1 <= len(array) <= self.max_entries:
                raise ValueError(f"{len(array)} entries for a map of {self.max_entries}")
        if len({len(array) for array in arrays}) > 1:
            raise ValueError("the array of keys and the array of values differ in length")

    # --- as text, in BCC's form: numbers in hex, structures in braces ---

    def key_sprintf(self, key: Any) -> bytes:
        return show(key)

    def leaf_sprintf(self, leaf: Any) -> bytes:
        return show(leaf)

    def key_scanf(self, key_str: str | bytes) -> Any:
        return scan(self.Key, key_str)

    def leaf_scanf(self, leaf_str: str | bytes) -> Any:
        return scan(self.Leaf, leaf_str)


def _elements(array: Any) -> Iterable[Any]:
    """The elements of a ctypes array as ctypes objects (indexing would make plain numbers)."""
    one, size = array._type_, ct.sizeof(array._type_)
    data = bytes(array)
    return (one.from_buffer_copy(data, i * size) for i in range(len(array)))


@contextlib.contextmanager
def _named(command: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"{command} has failed: {error.strerror}") from None
