"""Kernel objects: what has an id, is counted, and goes when nobody holds it any more.

Programs, maps, BTF and links live in one `IdTable` each; ids start at 1 and only grow, as with
Linux's ``idr_alloc_cyclic``. Descriptors, pins, attachments and other objects hold references;
at the last `put` an object leaves its table and gives back what it holds. Mirrors the reference
counting of kernel/bpf/syscall.c (``bpf_map_put``, ``bpf_prog_put``, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from errno import ENODEV, ENOENT
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from minibcc.kernel.errnos import failure

if TYPE_CHECKING:
    from minibcc.abi.bpf import LinkType
    from minibcc.abi.requests import ProgLoad
    from minibcc.btf.decode import Btf
    from minibcc.kernel.maps.base import Map
    from minibcc.kernel.verifier.contract import Facts
    from minibcc.kernel.vm.execution import Image


class KernelObject:
    """The base: an id (0 until it is in a table) and a count of those who hold it.

    `wakeups` counts the times that sleepers on its descriptor were woken; `users` counts
    descriptors and pins, the holders outside the kernel.
    """

    wakeups = 0
    users = 0

    def __init__(self) -> None:
        self.id = 0
        self.references = 1
        self.table: IdTable[Any] | None = None

    def hold(self) -> None:
        """One more holder."""
        self.references += 1

    def put(self) -> None:
        """One holder less; the last one ends the object."""
        self.references -= 1
        if self.references == 0:
            if self.table is not None:
                self.table.remove(self)
            self.release()

    def release(self) -> None:
        """Gives back what the object holds."""

    # What a descriptor of the object can do beside bpf(2).

    def ready(self) -> bool:
        """Whether poll(2) calls its descriptor readable."""
        return True

    def mmap(self, length: int, offset: int, *, writable: bool) -> memoryview:
        raise failure(ENODEV)

    def abandoned(self) -> None:
        """The last descriptor or pin went, though the kernel itself may still hold the object."""

    def add_user(self) -> None:
        """One more descriptor or pin."""
        self.hold()
        self.users += 1

    def drop_user(self) -> None:
        self.users -= 1
        if self.users == 0:
            self.abandoned()
        self.put()


T = TypeVar("T", bound=KernelObject)


class IdTable(Generic[T]):
    """Objects of one kind by id."""

    def __init__(self, first: int = 1) -> None:
        self._objects: dict[int, T] = {}
        self._next = first

    def add(self, item: T) -> int:
        item.id = self._next
        item.table = self
        self._next += 1
        self._objects[item.id] = item
        return item.id

    def remove(self, item: T) -> None:
        self._objects.pop(item.id, None)

    def get(self, number: int) -> T:
        """Raises ENOENT."""
        found = self.find(number)
        if found is None:
            raise failure(ENOENT)
        return found

    def find(self, number: int) -> T | None:
        return self._objects.get(number)

    def after(self, number: int) -> int:
        """The lowest id above `number`; raises ENOENT. (Ids only grow: the table is in order.)"""
        for found in self._objects:
            if found > number:
                return found
        raise failure(ENOENT)

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)


class BtfObject(KernelObject):
    """BTF that was loaded, or the kernel's own."""

    def __init__(
        self, data: bytes | memoryview | Callable[[], bytes | memoryview], name: str = ""
    ) -> None:
        super().__init__()
        self._data = data
        self.name = name
        self.kernel = False
        self._types: Btf | None = None

    @property
    def data(self) -> bytes | memoryview:
        """The BTF itself, read when first asked for."""
        if callable(self._data):
            self._data = self._data()
        return self._data

    def types(self) -> Btf:
        """Its types, decoded when first asked for. Raises ValueError if it is malformed."""
        if self._types is None:
            from minibcc.btf.decode import Btf

            self._types = Btf(self.data)
        return self._types

    def check(self) -> None:
        """Raises ValueError if any part of it is malformed."""
        types = self.types()
        for number in range(types.first, types.first + types.count):
            types.type(number)


class Program(KernelObject):
    """An accepted program.

    `request` is how it was loaded; `tag` the hash of its instructions; `xlated` the program after
    verification, with map ids; `image` what engines run. `maps` it holds. Times are ns.
    """

    def __init__(
        self,
        request: ProgLoad,
        image: Image,
        facts: Facts,
        maps: tuple[Map, ...],
        btf: BtfObject | None,
    ) -> None:
        super().__init__()
        self.request = request
        self.image = image
        self.facts = facts
        self.maps = maps
        self.btf = btf
        self.tag = b""
        self.xlated = b""
        self.line_info = b""
        self.func_info = b""
        self.load_time = 0
        self.uid = 0
        self.gpl = False
        self.run_time = 0
        self.run_count = 0
        self.entries: dict[int, Image] = {}
        """Images that start at another function (a timer's), by its slot."""
        self.reach = 0
        """Bytes of its context that it may read (``max_ctx_offset``)."""
        self.attach_btf_id = 0
        self.attach_to = ""
        """The kernel function (or tracepoint) that a tracing program was loaded for."""
        for map in maps:
            map.hold()
        if btf is not None:
            btf.hold()

    @property
    def name(self) -> str:
        return self.request.prog_name

    def release(self) -> None:
        for map in self.maps:
            map.put()
        if self.btf is not None:
            self.btf.put()


class Link(KernelObject):
    """A program attached somewhere, for as long as somebody holds the link."""

    def __init__(
        self,
        type: LinkType,
        program: Program,
        target: str,
        detach: Callable[[], None],
        attach_type: int = 0,
    ) -> None:
        super().__init__()
        self.type = type
        self.program = program
        self.target = target
        self.attach_type = attach_type
        self._detach = detach
        program.hold()

    def release(self) -> None:
        self._detach()
        self.program.put()
