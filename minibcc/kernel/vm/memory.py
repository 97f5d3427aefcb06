"""The arena: the one address space that programs see, the same numbers in every engine and run.

Stack frames, contexts, packets and map values are allocations in one block of real memory,
reserved at a fixed address where the system grants it (and at whatever address it grants
otherwise). Addresses are handed out deterministically. The interpreter reaches it through
`view`, `load` and `store`; native code by the address itself.

An allocation says who may touch it: `writable` by programs or only readable, or, with `private`,
neither (a map's bookkeeping). `check` is what makes the interpreter the definition: an access must
lie inside one live allocation, or, where it has a `stride`, inside one element of it.
"""

from __future__ import annotations

from typing import Protocol


class Memory(Protocol):
    base: int
    size: int

    def allocate(
        self,
        size: int,
        *,
        align: int = 8,
        writable: bool = True,
        private: bool = False,
        stride: int = 0,
    ) -> int:
        """Zeroed bytes; their address. Raises MemoryError when the arena is full."""
        ...

    def free(self, address: int) -> None: ...

    def view(self, address: int, size: int) -> memoryview:
        """The bytes, writable, whatever a program may do with them (for the kernel's own use).
        Raises `Fault` outside the arena."""
        ...

    def load(self, address: int, size: int) -> int:
        """An unsigned little-endian number of 1, 2, 4 or 8 bytes."""
        ...

    def store(self, address: int, size: int, value: int) -> None: ...

    def check(self, address: int, size: int, *, write: bool) -> None:
        """Raises `Fault` unless a program may do this."""
        ...
