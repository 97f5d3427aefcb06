"""Iterators: programs that turn kernel objects into text, one object a run.

A link of an iterator says what it goes over; BPF_ITER_CREATE opens a file whose reading runs the
program on one object after the other, as many as fill a read, and gives what the program wrote
with ``bpf_seq_printf`` and its like. After the last object the program runs once more, with NULL
for the object. Mirrors ``bpf_seq_read`` of kernel/bpf/bpf_iter.c and kernel/bpf/{task,map,prog,
link}_iter.c.
"""

from __future__ import annotations

import struct
from errno import E2BIG, EAGAIN, EBADF, EINVAL, ENOENT
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import AttachType, LinkType, MapType
from minibcc.kernel import structures
from minibcc.kernel.descriptors import Description
from minibcc.kernel.errnos import failure
from minibcc.kernel.objects import Link
from minibcc.machine.areas import areas

if TYPE_CHECKING:
    from minibcc.abi.requests import IterCreate, LinkCreate
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map
    from minibcc.kernel.objects import IdTable, KernelObject, Program
    from minibcc.machine.tasks import Task

BUFFER = 8 * 4096
"""Bytes of text that one object may make, and one read gives at most."""
PREFIX = "bpf_iter_"
"""What precedes a target's name in the name of the function that programs attach to."""
ITERABLE = frozenset(
    (
        *(MapType.HASH, MapType.LRU_HASH, MapType.ARRAY),
        *(MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY),
    )
)
"""Types of maps whose elements can be gone over."""


class Sequence:
    """``struct seq_file``: text on its way to who reads it. `number` counts the objects."""

    size = BUFFER

    def __init__(self) -> None:
        self._data = bytearray()
        self.overflowed = False
        self.number = 0

    @property
    def count(self) -> int:
        return self.size if self.overflowed else len(self._data)

    def write(self, data: bytes) -> bool:
        """Whether there was room for all of it; nothing has any more, once something had not."""
        if self.overflowed or len(self._data) + len(data) >= self.size:
            self.overflowed = True
        else:
            self._data += data
        return not self.overflowed

    def cut(self, count: int) -> None:
        """Forgets what came behind `count` bytes."""
        del self._data[count:]
        self.overflowed = False

    def take(self, size: int) -> bytes:
        data = bytes(self._data[:size])
        del self._data[:size]
        return data


class Items:
    """What an iterator goes over. A cursor stands for an object; objects are looked up when it is
    their turn, so that they may come and go between two reads."""

    def __init__(self, kernel: Kernel, request: LinkCreate) -> None:
        self.kernel = kernel

    def after(self, cursor: Any) -> Any:
        """The cursor that follows (None: the first one); None at the end."""
        return None

    def arguments(self, cursor: Any) -> tuple[int, ...]:
        """What follows ``meta`` in the program's context; `cursor` is None after the end."""
        return ()

    def held(self, cursor: Any) -> KernelObject | None:
        """What must not go while the program runs on it."""
        return None

    def close(self) -> None:
        """The link went."""


class _Objects(Items):
    """BPF's objects of one kind, by id."""

    base = 0

    def table(self) -> IdTable[Any]:
        raise NotImplementedError

    def after(self, cursor: Any) -> Any:
        try:
            return self.table().after(cursor or 0)
        except OSError:
            return None

    def arguments(self, cursor: Any) -> tuple[int, ...]:
        return (0 if cursor is None else self.base + cursor * structures.STRIDE,)

    def held(self, cursor: Any) -> KernelObject | None:
        return None if cursor is None else self.table().find(cursor)


class Maps(_Objects):
    base = structures.MAPS

    def table(self) -> IdTable[Any]:
        return self.kernel.maps


class Programs(_Objects):
    base = structures.PROGRAMS

    def table(self) -> IdTable[Any]:
        return self.kernel.programs


class Links(_Objects):
    base = structures.LINKS

    def table(self) -> IdTable[Any]:
        return self.kernel.links


class Tasks(Items):
    """Threads, by id: all, one, or those of one process."""

    def __init__(self, kernel: Kernel, request: LinkCreate) -> None:
        if request.tid and request.pid:
            raise failure(EINVAL)
        super().__init__(kernel, request)
        self._tid, self._pid = request.tid, request.pid

    def _wanted(self, task: Task) -> bool:
        return self._tid in (0, task.pid) and self._pid in (0, task.tgid)

    def tasks(self, last: int) -> list[Task]:
        """Those with an id above `last`."""
        found = self.kernel.machine.tasks
        return [found[pid] for pid in sorted(found) if pid > last and self._wanted(found[pid])]

    def task(self, pid: int) -> int:
        return self.kernel.machine.tasks[pid].address

    def after(self, cursor: Any) -> Any:
        return next((task.pid for task in self.tasks(cursor or 0)), None)

    def arguments(self, cursor: Any) -> tuple[int, ...]:
        return (0 if cursor is None else self.task(cursor),)


class _Belongings(Tasks):
    """What tasks have several of; a cursor is a task's id and a number."""

    def numbers(self, task: Task) -> list[int]:
        raise NotImplementedError

    def after(self, cursor: Any) -> Any:
        pid, last = cursor or (0, -1)
        for task in self.tasks(pid - 1):
            for number in self.numbers(task):
                if (task.pid, number) > (pid, last):
                    return task.pid, number
        return None


class TaskFiles(_Belongings):
    def _files(self, task: Task) -> dict[int, int]:
        """Addresses of open files, by descriptor."""
        terminal = self.kernel.machine.files.terminal
        return {
            fd: file.address
            for fd, file in {0: terminal, 1: terminal, 2: terminal, **task.files}.items()
        }

    def numbers(self, task: Task) -> list[int]:
        return sorted(self._files(task))

    def arguments(self, cursor: Any) -> tuple[int, ...]:
        if cursor is None:
            return 0, 0, 0
        pid, fd = cursor
        return self.task(pid), fd, self._files(self.kernel.machine.tasks[pid])[fd]


class TaskAreas(_Belongings):
    def numbers(self, task: Task) -> list[int]:
        return [area.number for area in areas(task)]

    def arguments(self, cursor: Any) -> tuple[int, ...]:
        if cursor is None:
            return 0, 0
        pid, number = cursor
        machine = self.kernel.machine
        task = machine.tasks[pid]
        return task.address, machine.objects.area_address(task, areas(task)[number])


class MapElements(Items):
    """The elements of the map that the link names, by their places. Their keys, and the values of
    all processors of per-CPU maps, lie in buffers of the iterator's."""

    def __init__(self, kernel: Kernel, request: LinkCreate) -> None:
        super().__init__(kernel, request)
        if not request.map_fd:
            raise failure(EBADF)
        self.map: Map = kernel.map_of(request.map_fd)
        if self.map.type not in ITERABLE:
            raise failure(EINVAL)
        self.map.add_user()
        memory = kernel.memory
        self._key = memory.allocate(self.map.key_size, writable=False)
        self._values = memory.allocate(self.map.user_value_size) if self.map.per_cpu else 0

    def after(self, cursor: Any) -> Any:
        found = self.map.element(0 if cursor is None else cursor + 1)
        return None if found is None else found[0]

    def arguments(self, cursor: Any) -> tuple[int, ...]:
        map = structures.map_address(self.map)
        found = None if cursor is None else self.map.element(cursor)
        if found is None:
            return map, 0, 0
        _, key, address = found
        view = self.kernel.memory.view
        view(self._key, len(key))[:] = key
        if not self._values:
            return map, self._key, address
        values = self.map.read(key, 0)
        view(self._values, len(values))[:] = values
        return map, self._key, self._values

    def close(self) -> None:
        self.kernel.memory.free(self._key)
        if self._values:
            self.kernel.memory.free(self._values)
        self.map.drop_user()


class Symbols(Items):
    """The lines of /proc/kallsyms."""

    def after(self, cursor: Any) -> Any:
        following = 0 if cursor is None else cursor + 1
        return following if following < len(self.kernel.symbols.lines) else None

    def arguments(self, cursor: Any) -> tuple[int, ...]:
        return (0 if cursor is None else structures.SYMBOLS + cursor * structures.STRIDE,)


class _Sockets(Items):
    """The simulated computer has no sockets: there is only the end."""

    count = 2

    def arguments(self, cursor: Any) -> tuple[int, ...]:
        return (0,) * self.count


class _DatagramSockets(_Sockets):
    count = 3


class _NetlinkSockets(_Sockets):
    count = 1


TARGETS: dict[str, type[Items]] = {
    "task": Tasks,
    "task_file": TaskFiles,
    "task_vma": TaskAreas,
    "bpf_map": Maps,
    "bpf_map_elem": MapElements,
    "bpf_prog": Programs,
    "bpf_link": Links,
    "ksym": Symbols,
    "tcp": _Sockets,
    "udp": _DatagramSockets,
    "unix": _Sockets,
    "netlink": _NetlinkSockets,
}


class IteratorLink(Link):
    """A program and what it goes over."""

    def __init__(self, program: Program, target: str, items: Items) -> None:
        super().__init__(LinkType.ITER, program, target, items.close, AttachType.TRACE_ITER)
        self.items = items


def create_link(kernel: Kernel, program: Program, request: LinkCreate) -> int:
    """``bpf_iter_link_attach``: a descriptor of a link."""
    if request.target_fd or request.flags:
        raise failure(EINVAL)
    name = program.attach_to.removeprefix(PREFIX)
    target = TARGETS.get(name)
    if target is None:
        raise failure(ENOENT)
    link = IteratorLink(program, name, target(kernel, request))
    kernel.links.add(link)
    fd = kernel.descriptors.add_object(link)
    link.put()
    return fd


def create(kernel: Kernel, request: IterCreate) -> int:
    """BPF_ITER_CREATE: a descriptor of a file."""
    if request.flags:
        raise failure(EINVAL)
    return kernel.descriptors.add(
        Iterator(kernel, kernel.descriptors.object(request.link_fd, IteratorLink))
    )


class Iterator(Description):
    """An open iterator."""

    def __init__(self, kernel: Kernel, link: IteratorLink) -> None:
        self._kernel = kernel
        self._link = link
        self._sequence = Sequence()
        self._shown: Any = None  # the cursor of the last object
        self._ended = False
        link.hold()
        kernel.sessions += 1
        self._address = structures.SEQUENCES + kernel.sessions * structures.STRIDE
        kernel.sequences[self._address] = self._sequence
        structures.serve(kernel)

    def close(self) -> None:
        del self._kernel.sequences[self._address]
        self._link.put()

    def read(self, size: int) -> bytes:
        """Raises E2BIG where an object makes more text than there is room, EAGAIN where the program
        asks for it, unless something else can be given first."""
        text = self._sequence
        if not text.count:
            self._fill(size)
        return text.take(size)

    def _fill(self, size: int) -> None:
        text, items = self._sequence, self._link.items
        if self._ended:
            return
        cursor = items.after(self._shown)
        while cursor is not None:
            if text.count >= size or not self._show(cursor):
                return
            self._shown = cursor
            cursor = items.after(cursor)
            text.number += cursor is not None
        self._ended = self._show(None)

    def _show(self, cursor: Any) -> bool:
        """Whether the text of this object is there now; what of it there is not is for the next
        read. Raises OSError if there is nothing else to read."""
        text = self._sequence
        before = text.count
        held = self._link.items.held(cursor)
        if held is not None:
            held.hold()
        try:
            answer = self._run(self._link.items.arguments(cursor)) & 0xFFFF_FFFF
        finally:
            if held is not None:
                held.put()
        # At the end the program's answer does not count.
        error = EAGAIN if answer and cursor is not None else E2BIG if text.overflowed else 0
        if error:
            text.cut(before)
            if not before:
                raise failure(error)
        return not error

    def _run(self, values: tuple[int, ...]) -> int:
        kernel = self._kernel
        data = struct.pack(f"<{1 + len(values)}Q", self._address + structures.META, *values)
        address = kernel.contexts.place(data)
        try:
            return kernel.run(self._link.program, (address,))
        finally:
            kernel.contexts.give_back(address, len(data))
