"""The simulated kernel's own state: what its parts find each other through.

A `Kernel` owns the arena, the tables of objects, the descriptors, the trace buffer and the engine,
and runs programs. It has no door: `system.SimulatedSystem` takes requests and calls what it finds
here. Helpers get the kernel as ``run.kernel``.
"""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from errno import EACCES, EINVAL, ENOENT
from typing import TYPE_CHECKING, cast

from minibcc.kernel.contexts import ContextPool, TraceFormat
from minibcc.kernel.descriptors import Descriptors
from minibcc.kernel.errnos import failure
from minibcc.kernel.files import TraceBuffer
from minibcc.kernel.objects import BtfObject, IdTable, KernelObject, Link, Program
from minibcc.kernel.verifier.contract import Environment
from minibcc.kernel.vm.execution import Fault, Run
from minibcc.machine.memory import BadAddress

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.kernel.iterators import Sequence
    from minibcc.kernel.maps.base import Map
    from minibcc.kernel.packets import Packet
    from minibcc.kernel.timers import Timers
    from minibcc.kernel.vm.execution import Engine, Image
    from minibcc.kernel.vm.jit import Jit
    from minibcc.kernel.vm.memory import Arena
    from minibcc.machine.hooks import Event
    from minibcc.machine.machine import Machine


class Symbols:
    """Names of kernel addresses, from the text of /proc/kallsyms."""

    def __init__(self, text: bytes) -> None:
        rows = []
        self._addresses: dict[str, int] = {}
        self.lines: list[tuple[int, str, str]] = []
        """Address, kind and name, in the file's order."""
        for line in text.decode().splitlines():
            address, kind, name = line.split()[:3]
            self.lines.append((int(address, 16), kind, name))
            self._addresses.setdefault(name, self.lines[-1][0])
            if kind in "tTwW":
                rows.append((int(address, 16), name))
        rows.sort()
        self._starts = [address for address, _ in rows]
        self._names = [name for _, name in rows]

    def address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def name(self, address: int, *, offset: bool) -> str:
        position = bisect_right(self._starts, address) - 1
        if position < 0 or not address >> 63:
            return f"{address:#x}"
        start = self._starts[position]
        end = self._starts[position + 1] if position + 1 < len(self._starts) else start + 1
        if address >= end:  # the last symbol is the end of the kernel's code
            return f"{address:#x}"
        if not offset:
            return self._names[position]
        return f"{self._names[position]}+{address - start:#x}/{end - start:#x}"


EVENTS = "/sys/kernel/tracing/events"


class MachineTypes:
    """The machine's BTF as the verifier asks for it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def find(self, name: str, /) -> Type | None:
        return self._machine.type(name)


class Kernel:
    """Everything that lives behind the door.

    `machine` is the computer it runs on, `memory` the arena, `engine` what runs programs. `uid` and
    `owner` (pid, comm) are those of the one process that user space is. `seed` makes what is random
    repeatable.
    """

    def __init__(
        self,
        machine: Machine,
        memory: Arena,
        engine: Engine,
        *,
        seed: int = 0,
        uid: int = 0,
        owner: tuple[int, str] = (1, "python3"),
        first_id: int = 1,
    ) -> None:
        self.machine = machine
        self.memory = memory
        self.engine = engine
        self.cpus = machine.cpus
        self.uid = uid
        self.owner = owner
        self.random = random.Random(seed)
        self.programs: IdTable[Program] = IdTable(first_id)
        self.maps: IdTable[Map] = IdTable(first_id)
        self.btfs: IdTable[BtfObject] = IdTable(first_id)
        self.links: IdTable[Link] = IdTable(first_id)
        self.descriptors = Descriptors()
        self.pins: dict[str, KernelObject] = {}
        self.trace = TraceBuffer()
        self.contexts = ContextPool(memory)
        self.packets: dict[int, Packet] = {}
        """Packets under way, by the address of their context."""
        self.sequences: dict[int, Sequence] = {}
        """What open iterators write to, by address; `sessions` counts them."""
        self.sessions = 0
        self._timers: Timers | None = None
        self.environment = Environment(MachineTypes(machine), machine.cpus, probe_loads=True)
        self.map_at: dict[int, Map] = {}
        """Maps by the address that programs hold."""
        self.lock = threading.RLock()
        """Held while anything here changes: another thread may take it to look."""
        self.override: int | None = None
        self.retval = 0
        """What the system call that a cgroup's program is asked about is to give."""
        self.stats = 0
        """How many want runs of programs to be counted and timed: the switch, open descriptors."""
        self.stats_switch = False
        """kernel.bpf_stats_enabled."""
        self._event_ids = 0
        self._tracepoints: dict[int, str] = {}
        self._tracepoints_read = False
        self._symbols: Symbols | None = None
        self._jit: Jit | None = None
        self._know_own_types()

    def _know_own_types(self) -> None:
        """The kernel's own BTF is an object like any other, the first; nothing is read yet."""
        own = BtfObject(lambda: self.machine.read_file("/sys/kernel/btf/vmlinux"), "vmlinux")
        own.kernel = True
        self.vmlinux = own
        self.btfs.add(own)

    def add_map(self, map: Map) -> None:
        """Makes a new map known: by id, and by address."""
        map.facts.id = self.maps.add(map)
        self.map_at[map.address] = map

    def forget_map(self, map: Map) -> None:
        self.map_at.pop(map.address, None)

    def map_of(self, fd: int) -> Map:
        """The map behind a descriptor: EBADF, or EINVAL for something else."""
        from minibcc.kernel.maps.base import Map

        return self.descriptors.object(fd, Map)

    def program_of(self, fd: int) -> Program:
        return self.descriptors.object(fd, Program)

    # --- running ------------------------------------------------------------------------------

    def run(
        self,
        program: Program,
        arguments: tuple[int, ...],
        event: Event | None = None,
        packet: Callable[[int, int], int | None] | None = None,
        repeat: int = 1,
    ) -> int:
        """Executes a program, `repeat` times: the last R0, unsigned 64 bits. `arguments[0]` is the
        context's address; `packet` serves legacy packet loads."""
        image = program.image
        run = self.new_run(image, arguments[0] if arguments else 0, event, packet)
        started = time.perf_counter_ns() if self.stats else 0
        try:
            if repeat == 1:
                return self.engine.run(image, run, arguments)
            return self.engine.repeat(image, run, arguments, repeat)
        finally:
            if started:
                program.run_count += repeat
                program.run_time += time.perf_counter_ns() - started

    def new_run(
        self,
        image: Image,
        context: int = 0,
        event: Event | None = None,
        packet: Callable[[int, int], int | None] | None = None,
    ) -> Run:
        """A `Run`, field by field: this happens at every event."""
        run = Run.__new__(Run)
        run.memory = self.memory
        run.kernel = self
        machine = self.machine
        run.task, run.cpu = (
            (machine.current, machine.cpu) if event is None else (event.task, event.cpu)
        )
        run.event = event
        run.context = context
        run.image = image
        run.tail_call = self._tail_call
        run.references = None
        run.probe = self._probe
        run.packet = packet
        run.call = None
        return run

    def _tail_call(self, context: int, map: int, index: int) -> Image | None:
        """The program at `index` of a program array."""
        target = self.map_at[map].program_at(index & 0xFFFF_FFFF)
        return None if target is None else target.image

    def _probe(self, address: int, size: int) -> int:
        """Kernel memory behind a BTF pointer; 0 where there is nothing."""
        try:
            if address >> 63:
                return int.from_bytes(self.machine.read_kernel(address, size), "little")
            return self.memory.load(address, size)
        except (BadAddress, Fault):
            return 0

    def native_engine(self) -> Jit | None:
        """What compiles programs, for views of native code; None where that cannot be."""
        from minibcc.errors import UsageError
        from minibcc.kernel.vm import engines

        if self._jit is None:
            if isinstance(self.engine, engines.Auto):
                self._jit = self.engine.jit()
            elif self.engine.name == "jit":
                self._jit = cast("Jit", self.engine)
            else:
                try:
                    self._jit = cast("Jit", engines.make("jit"))
                except UsageError:
                    return None
        return self._jit

    @property
    def timers(self) -> Timers:
        if self._timers is None:
            from minibcc.kernel.timers import Timers

            self._timers = Timers(self)
        return self._timers

    # --- pins ---------------------------------------------------------------------------------

    def pin(self, path: str, item: KernelObject) -> None:
        item.add_user()
        self.pins[path] = item

    def descriptor_for(self, item: KernelObject, flags: int = 0) -> int:
        """A new descriptor of an object; `flags` are BPF_F_RDONLY or BPF_F_WRONLY."""
        from minibcc.abi.bpf import MapFlags

        if flags & MapFlags.RDONLY and flags & MapFlags.WRONLY:
            raise failure(EINVAL)
        if flags & (MapFlags.RDONLY | MapFlags.WRONLY) and isinstance(item, Program):
            raise failure(EACCES)
        return self.descriptors.add_object(
            item,
            readable=not flags & MapFlags.WRONLY,
            writable=not flags & MapFlags.RDONLY,
        )

    def close(self) -> None:
        """Ends everything: descriptors and pins."""
        self.descriptors.close_all()
        pins, self.pins = self.pins, {}
        for item in pins.values():
            item.drop_user()

    # --- what events need ---------------------------------------------------------------------

    def next_event_id(self) -> int:
        self._event_ids += 1
        return self._event_ids

    def task_exists(self, pid: int) -> bool:
        """Whether a thread of that id lives."""
        return pid == self.owner[0] or pid in self.machine.tasks

    def tracepoint_name(self, number: int) -> str:
        """``category:event`` of a tracepoint's id. Raises ENOENT."""
        known = self._tracepoints.get(number)
        if known is None and not self._tracepoints_read:
            self._tracepoints_read = True
            self._read_tracepoints()
            known = self._tracepoints.get(number)
        if known is None:
            raise failure(ENOENT)
        return known

    def saw_tracepoint(self, number: int, name: str) -> None:
        """User space read the id of a tracepoint: it is about to open it."""
        self._tracepoints[number] = name

    def _read_tracepoints(self) -> None:
        machine = self.machine
        for category in machine.list_directory(EVENTS):
            try:
                names = machine.list_directory(f"{EVENTS}/{category}")
            except OSError:
                continue
            for name in names:
                try:
                    text = bytes(machine.read_file(f"{EVENTS}/{category}/{name}/id"))
                except OSError:
                    continue
                self._tracepoints[int(text)] = f"{category}:{name}"

    def trace_format(self, name: str) -> TraceFormat:
        """The record layout of a ``category:event``. Raises ENOENT."""
        category, _, event = name.partition(":")
        text = bytes(self.machine.read_file(f"{EVENTS}/{category}/{event}/format"))
        return TraceFormat(text.decode())

    def take_override(self) -> int | None:
        """The result that bpf_override_return asked for in the last run, if it did."""
        override, self.override = self.override, None
        return override

    @property
    def symbols(self) -> Symbols:
        if self._symbols is None:
            self._symbols = Symbols(bytes(self.machine.read_file("/proc/kallsyms")))
        return self._symbols

    def symbol(self, address: int, *, offset: bool) -> str:
        """The kernel function that holds `address` (``%ps`` and ``%pS``), or the address."""
        return self.symbols.name(address, offset=offset)

    def address_of(self, symbol: str) -> int:
        """Where a symbol of /proc/kallsyms lies; 0 for none."""
        return self.symbols.address(symbol)
