"""Descriptors: small numbers in a space of their own, counting from 3.

A number stands for a `Description`, Linux's open file description: a kernel object, a virtual file
or a perf event. Mirrors ``struct file`` with its operations, and ``bpf_map_get`` and its like,
which say EBADF for a number that is not open and EINVAL for one that is something else.
"""

from __future__ import annotations

import heapq
from errno import EACCES, EBADF, EINVAL, ENODEV, ENOTTY
from typing import TypeVar

from minibcc.kernel.errnos import failure
from minibcc.kernel.objects import KernelObject

FIRST = 3
O = TypeVar("O", bound=KernelObject)  # noqa: E741  # the object's type; no variable
D = TypeVar("D", bound="Description")


class Description:
    """What an open descriptor stands for; by default nothing can be done with it. Maps may hold one
    too: it closes with its last holder."""

    holders = 1

    def hold(self) -> None:
        self.holders += 1

    def put(self) -> None:
        self.holders -= 1
        if self.holders == 0:
            self.close()

    def woken(self) -> int:
        """How often those who sleep on it have been woken, ever."""
        return 0

    def ready(self) -> bool:
        """Whether reading would not block."""
        return True

    def blocks(self) -> bool:
        """Whether a read that finds nothing waits for more."""
        return False

    def read(self, size: int) -> bytes:
        raise failure(EINVAL)

    def write(self, data: bytes) -> int:
        raise failure(EINVAL)

    def ioctl(self, request: int, argument: int) -> int:
        raise failure(ENOTTY)

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        raise failure(ENODEV)

    def close(self) -> None:
        """The last holder went."""


class ObjectDescription(Description):
    """A descriptor of a program, a map, BTF or a link; it holds the object."""

    def __init__(self, item: KernelObject, *, readable: bool = True, writable: bool = True) -> None:
        self.item = item
        self.readable = readable
        self.writable = writable
        item.add_user()

    def woken(self) -> int:
        return self.item.wakeups

    def ready(self) -> bool:
        return self.item.ready()

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        if writable and not self.writable:
            raise failure(EACCES)
        return self.item.mmap(length, offset, writable=writable)

    def close(self) -> None:
        self.item.drop_user()


class Descriptors:
    """The table of what is open."""

    def __init__(self) -> None:
        self._open: dict[int, Description] = {}
        self._free: list[int] = []

    def add(self, description: Description) -> int:
        """The lowest free number for it."""
        number = heapq.heappop(self._free) if self._free else FIRST + len(self._open)
        self._open[number] = description
        return number

    def add_object(self, item: KernelObject, **modes: bool) -> int:
        return self.add(ObjectDescription(item, **modes))

    def close(self, number: int) -> None:
        description = self.get(number)
        del self._open[number]
        heapq.heappush(self._free, number)
        description.put()

    def get(self, number: int) -> Description:
        """Raises EBADF."""
        found = self._open.get(number)
        if found is None:
            raise failure(EBADF)
        return found

    def description(self, number: int, kind: type[D]) -> D:
        """The description, of that kind: raises EBADF, or EINVAL for another kind."""
        found = self.get(number)
        if not isinstance(found, kind):
            raise failure(EINVAL)
        return found

    def object(self, number: int, kind: type[O]) -> O:
        """The object behind a descriptor: raises EBADF, or EINVAL for another kind."""
        item = self.description(number, ObjectDescription).item
        if not isinstance(item, kind):
            raise failure(EINVAL)
        return item

    def __len__(self) -> int:
        return len(self._open)

    def close_all(self) -> None:
        for number in sorted(self._open):
            self.close(number)
