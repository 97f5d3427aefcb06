"""The prefix trie: the longest stored prefix of a key wins.

A key is a length in bits and data; only that many bits of the data count. Elements are filed in a
`HashTable` under the length, as a word, and the masked data, and have the key as it was last
written besides. A look-up tries the lengths that occur, longest first: the table has them as a set
of bits, and how many prefixes there are of each. All of that is bytes of the arena, which
`vm/natives.c` works on too.
Iteration is in Linux's order, longer prefixes before the shorter ones that hold them. Mirrors
kernel/bpf/lpm_trie.c.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT, ENOSPC
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapFlags, MapType
from minibcc.abi.requests import Batch
from minibcc.btf.types import Struct, strip
from minibcc.kernel.errnos import ENOTSUPP, failure
from minibcc.kernel.maps.base import ACCESS_FLAGS, EXIST, KMALLOC_LIMIT, Map, update_flags_error
from minibcc.kernel.maps.hash import HashMap
from minibcc.kernel.maps.table import BITS, CHANGES, COUNTS, FIELDS, HashTable
from minibcc.kernel.vm.layouts import TrieLayout

if TYPE_CHECKING:
    from minibcc.abi.requests import MapCreate
    from minibcc.btf.types import Type
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.vm.layouts import Layout

NODE_SIZE = 24
"""Bytes of ``struct lpm_trie_node``."""
DATA_MAX = 256
LENGTHS = 8 * len(FIELDS)
"""Where a table has the set of lengths."""


class PrefixTrie(HashMap):
    """BPF_MAP_TYPE_LPM_TRIE."""

    types = (MapType.LPM_TRIE,)

    @classmethod
    def check(cls, request: MapCreate) -> None:
        """``trie_alloc``."""
        flags = request.map_flags
        allowed = MapFlags.NO_PREALLOC | MapFlags.NUMA_NODE | ACCESS_FLAGS
        both = MapFlags.RDONLY_PROG | MapFlags.WRONLY_PROG
        if (
            not request.max_entries
            or not flags & MapFlags.NO_PREALLOC
            or flags & ~int(allowed)
            or flags & both == both
            or not 5 <= request.key_size <= 4 + DATA_MAX
            or not 1 <= request.value_size <= KMALLOC_LIMIT - NODE_SIZE - DATA_MAX
        ):
            raise failure(EINVAL)

    def __init__(self, kernel: Kernel, request: MapCreate) -> None:
        self.bits = 8 * (request.key_size - 4)
        super().__init__(kernel, request)
        self._ordered: list[bytes] = []
        self._stamp = -1

    def make_table(self) -> HashTable:
        made: HashTable | None = None
        try:
            made = HashTable(
                self.memory,
                8 + self.key_size - 4,
                self.value_size,
                self.max_entries,
                writable=not self.flags & MapFlags.RDONLY_PROG,
                extra=self.key_size,
                words=self.bits // 64 + 1,
            )
            self._counts = self.memory.allocate(8 * (self.bits + 1), private=True)
        except MemoryError:
            if made is not None:
                made.release()
            self.memory.free(self.address)
            raise
        made.set(BITS, self.bits)
        made.set(COUNTS, self._counts)
        return made

    def release(self) -> None:
        self.memory.free(self._counts)
        super().release()

    def key_fits(self, key: Type | None) -> bool:
        """``trie_check_btf``: a struct of length and data."""
        return isinstance(strip(key), Struct)

    @property
    def memlock(self) -> int:
        return (NODE_SIZE + self.key_size - 4 + self.value_size) * len(self.entries)

    def _masked(self, key: bytes, length: int) -> bytes:
        """The key under which a prefix is filed: its length, and data with zeros behind it."""
        number = int.from_bytes(key[4:], "big") >> self.bits - length << self.bits - length
        return length.to_bytes(8, "little") + number.to_bytes(self.key_size - 4, "big")

    def layout(self) -> Layout | None:
        return TrieLayout(self.entries.address)

    def _count(self, length: int, change: int) -> None:
        """There is one prefix more, or less, of a length."""
        memory, table = self.memory, self.entries
        place = self._counts + 8 * length
        count = memory.load(place, 8) + change
        memory.store(place, 8, count)
        word, bit = table.address + LENGTHS + 8 * (length // 64), 1 << length % 64
        known = memory.load(word, 8) & ~bit
        memory.store(word, 8, known | bit if count else known)
        table.set(CHANGES, table.get(CHANGES) + 1)

    def lengths(self) -> list[int]:
        """The lengths that occur, longest first."""
        words = self.memory.view(self.entries.address + LENGTHS, 8 * (self.bits // 64 + 1))
        known = int.from_bytes(words, "little")
        found = []
        while known:
            found.append(known.bit_length() - 1)
            known ^= 1 << found[-1]
        return found

    def _given(self, element: int) -> memoryview:
        """An element's key as it was last written, with the bits that do not count."""
        return self.memory.view(element + self.entries.extra_at, self.key_size)

    def find(self, key: bytes) -> int:
        most = int.from_bytes(key[:4], "little")
        if most > self.bits:
            return 0
        for length in self.lengths():
            if length <= most:
                element = self.entries.find(self._masked(key, length))
                if element:
                    return self.entries.value(element)
        return 0

    def lookup(self, key: bytes, cpu: int) -> int:
        return self.find(key)

    def update(self, key: bytes, value: bytes, flags: int, cpu: int) -> int:
        length = int.from_bytes(key[:4], "little")
        if flags > EXIST or length > self.bits:
            return -EINVAL
        filed = self._masked(key, length)
        table = self.entries
        element = table.find(filed)
        error = update_flags_error(flags, exists=element != 0)
        if error:
            return error
        if not element:
            element = table.insert(filed)
            if not element:
                return -ENOSPC
            self._count(length, 1)
        self._given(element)[:] = key
        self.memory.view(table.value(element), self.value_size)[:] = value
        return 0

    def write(self, key: bytes, value: bytes, flags: int) -> None:
        Map.write(self, key, value, flags)

    def delete(self, key: bytes) -> int:
        length = int.from_bytes(key[:4], "little")
        if length > self.bits:
            return -EINVAL
        filed = self._masked(key, length)
        element = self.entries.find(filed)
        if not element:
            return -ENOENT
        self.entries.drop(element)
        self._count(length, -1)
        return 0

    def next_key(self, key: bytes | None) -> bytes:
        table = self.entries
        if self._stamp != table.get(CHANGES):
            self._stamp = table.get(CHANGES)
            self._ordered = sorted(map(table.key, table.in_use()), key=self._rank)
        ordered = self._ordered
        if not ordered:
            raise failure(ENOENT)
        length = int.from_bytes(key[:4], "little") if key is not None else self.bits + 1
        position = 0
        if key is not None and length <= self.bits:
            filed = self._masked(key, length)
            position = ordered.index(filed) + 1 if table.find(filed) else 0
        if position == len(ordered):
            raise failure(ENOENT)
        return bytes(self._given(table.find(ordered[position])))

    def _rank(self, key: bytes) -> str:
        """Sorts as a walk of the tree that leaves a node last: bits, then a mark above both."""
        length = int.from_bytes(key[:8], "little")
        bits = int.from_bytes(key[8:], "big")
        return f"{bits:0{self.bits}b}"[:length] + "2"

    def take(self, key: bytes, flags: int) -> bytes:
        raise failure(ENOTSUPP)

    def read_batch(self, cursor: bytes | None, count: int, flags: int, *, take: bool) -> Batch:
        return Map.read_batch(self, cursor, count, flags, take=take)
