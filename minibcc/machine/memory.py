"""Address spaces: what kernel and user pointers of the simulated machine lead to.

An address space is a set of regions of bytes. A region may be made on demand: a task's
``struct task_struct`` is only laid out when somebody first follows a pointer to it, so a run
that never looks pays nothing, and addresses do not depend on who looks.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class BadAddress(Exception):
    """Nothing lies at the address (or not that many bytes)."""

    def __init__(self, address: int, size: int) -> None:
        super().__init__(f"no {size} bytes at {address:#x}")
        self.address = address
        self.size = size


class AddressSpace:
    """Regions by address; they never overlap."""

    def __init__(self, bottom: int) -> None:
        self._starts: list[int] = []
        self._regions: list[bytearray | Callable[[], bytearray]] = []
        self._sizes: list[int] = []
        self._next = bottom

    def map(self, address: int, content: bytearray | Callable[[], bytearray], size: int) -> None:
        """Puts a region of `size` bytes at `address`; a function is asked for its bytes when they
        are first needed. A region that starts at the same address is replaced."""
        position = bisect_right(self._starts, address)
        if position and self._starts[position - 1] == address:
            self._regions[position - 1] = content
            self._sizes[position - 1] = size
            return
        self._starts.insert(position, address)
        self._regions.insert(position, content)
        self._sizes.insert(position, size)

    def place(self, data: bytes, *, align: int = 8) -> int:
        """Puts bytes at the next free address."""
        address = -(-self._next // align) * align
        self._next = address + max(1, len(data))
        self.map(address, bytearray(data), len(data))
        return address

    def unmap(self, address: int) -> None:
        """Takes away the region that starts at `address`."""
        position = bisect_right(self._starts, address) - 1
        if position < 0 or self._starts[position] != address:
            raise BadAddress(address, 1)
        del self._starts[position], self._regions[position], self._sizes[position]

    def region(self, address: int, size: int) -> tuple[bytearray, int]:
        """The region that holds all `size` bytes, and the offset of the first in it."""
        position = bisect_right(self._starts, address) - 1
        if position < 0:
            raise BadAddress(address, size)
        offset = address - self._starts[position]
        if offset + size > self._sizes[position]:
            raise BadAddress(address, size)
        content = self._regions[position]
        if not isinstance(content, bytearray):
            content = self._regions[position] = content()
        return content, offset

    def read(self, address: int, size: int) -> bytes:
        """Raises BadAddress."""
        if size == 0:
            return b""
        content, offset = self.region(address, size)
        return bytes(content[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        """Raises BadAddress."""
        if data:
            content, offset = self.region(address, len(data))
            content[offset : offset + len(data)] = data
