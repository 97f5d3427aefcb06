"""A kernel full of maps and random verified programs, run once in each engine.

The programs are loaded into one kernel, which then splits: a child process, with everything as it
is here to the byte, runs them in native code while this one interprets them. Either says of each
program R0, the packet, the context and what its maps hold afterwards; what the interpreter's
observer sees is counted.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import traceback
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from random import Random
from typing import Any

from minibcc.abi.bpf import AttachType, MapType, ProgType
from minibcc.abi.helpers import name_of
from minibcc.abi.perf import PerfEventAttr, PerfSample, PerfSoftware, PerfType
from minibcc.abi.requests import (
    BtfLoad,
    MapFreeze,
    MapUpdate,
    ProgLoad,
    ProgramRefused,
)
from minibcc.btf.encode import encode as encode_types
from minibcc.btf.layout import Kind
from minibcc.btf.types import Array, Func, FuncProto, Int, Member, Param, Ptr, Struct, Type, strip
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64, encode
from minibcc.kernel import programs
from minibcc.kernel.maps.base import Map
from minibcc.kernel.packets import PACKET_TYPES, Packet
from minibcc.kernel.system import SimulatedSystem
from minibcc.kernel.vm.decode import rows
from minibcc.kernel.vm.execution import Image
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.native import BEST, GOOD
from minibcc.machine.linux618 import Linux618
from minibcc.machine.machine import Machine
from minibcc.records import replace
from tests.vm import verified

LEVELS = (GOOD,) * 7 + (BEST,)
"""The share of programs that native code is made for at each level."""
INT, U64 = Int("int", 4, True), Int("u64", 8, False)
LOCK = Struct("bpf_spin_lock", 4, (Member("val", Int("u32", 4, False), 0),))
TIMER = Struct("bpf_timer", 16, (Member("__opaque", Array(U64, 2), 0),))
TIMED = Struct("timed", 24, (Member("n", U64, 0), Member("timer", TIMER, 64)))
LOCKED = Struct("locked", 16, (Member("lock", LOCK, 0), Member("value", U64, 64)))
LONG = Int("long", 8, True)


def _function(name: str, *parameters: Type, linkage: int = 0) -> Func:
    named = (Param(f"r{number}", type) for number, type in enumerate(parameters, 1))
    return Func(name, FuncProto(LONG, tuple(named)), linkage)


FUNCTIONS = {
    "main": _function("main", Ptr(None), linkage=1),
    "function": _function("function", U64, U64, U64, U64, U64),
    "timer": _function("timer", Ptr(None), Ptr(None), Ptr(None)),
    "loop": _function("loop", U64, Ptr(None)),
    "each": _function("each", Ptr(None), Ptr(None), Ptr(None), Ptr(None)),
}
"""What the functions of programs are, by what `verified` calls them."""
TYPES = encode_types([INT, U64, LOCKED, TIMED, *FUNCTIONS.values()])
CONTEXT = 1 << 16
"""Bytes of a context that is no packet's: as far as any program may read."""
TRACED = "do_sys_openat2"
HOOK = "bpf_lsm_file_open"
ITERATOR = "bpf_iter_task"
RAW = "btf_trace_sched_process_exec"
TARGETS: dict[int, str] = {
    AttachType.TRACE_ITER: ITERATOR,
    AttachType.TRACE_RAW_TP: RAW,
    AttachType.LSM_MAC: HOOK,
}
STORAGES = (
    MapType.TASK_STORAGE,
    MapType.SK_STORAGE,
    MapType.INODE_STORAGE,
    MapType.CGRP_STORAGE,
)


class World:
    """A kernel with a map of each kind. `loaded` are the programs and how they were let in."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.system = SimulatedSystem(Machine(Linux618(), seed=seed), engine="jit", seed=seed)
        self.kernel = self.system.kernel
        self.fds: dict[str, int] = {}
        self.arrays: dict[tuple[int, int], int] = {}
        self.loaded: list[tuple[verified.Program, int]] = []
        self.counts: Counter[str] = Counter()
        self.refusals: list[str] = []
        verified.TASK_FIELDS[:] = task_fields(self.system.machine)
        self._make_maps()

    def close(self) -> None:
        self.system.shut_down()
        self.kernel.memory.close()

    def _make_maps(self) -> None:
        bpf = self.system.bpf
        btf = bpf(BtfLoad(TYPES.data))
        self.btf = btf
        number, value, locked, timed = map(TYPES.id_of, (INT, U64, LOCKED, TIMED))
        inner = bpf(verified.INNER)
        for name, (create, uses) in verified.MAPS.items():
            if create.map_type in STORAGES:
                create = replace(
                    create, btf_fd=btf, btf_key_type_id=number, btf_value_type_id=value
                )
            elif name in ("locked", "timed"):
                create = replace(
                    create,
                    btf_fd=btf,
                    btf_key_type_id=number,
                    btf_value_type_id=locked if name == "locked" else timed,
                )
            elif "outer" in uses:
                create = replace(create, inner_map_fd=inner)
            if uses != "tail":
                self.fds[name] = bpf(create)
        for key in verified.TYPES:
            self.arrays[key] = bpf(verified.MAPS["programs"][0])
        self._fill(inner)

    def _fill(self, inner: int) -> None:
        bpf, fds = self.system.bpf, self.fds

        def number(value: int, size: int = 4) -> bytes:
            return value.to_bytes(size, "little")

        bpf(MapUpdate(fds["globals"], bytes(4), self.random.randbytes(64)))
        bpf(MapUpdate(fds["text"], bytes(4), verified.TEXT.ljust(32, b"\0")))
        bpf(MapFreeze(fds["text"]))
        for name in ("array-of-maps", "hash-of-maps"):
            for index in (0, 2):
                bpf(MapUpdate(fds[name], number(index), number(inner)))
        for name, size in (("devices", 4), ("devices-hash", 8)):
            bpf(MapUpdate(fds[name], number(1), number(2, size)))
        bpf(MapUpdate(fds["processors"], number(1), number(64, 8)))
        for cpu in range(self.kernel.cpus):
            attr = PerfEventAttr(
                PerfType.SOFTWARE, PerfSoftware.BPF_OUTPUT, sample_type=int(PerfSample.RAW),
                sample_period=1, wakeup_events=1,
            )  # fmt: skip
            event = self.system.perf_event_open(attr, -1, cpu)
            self.system.mmap(event, 2 * 4096, writable=True)
            if cpu != 1:
                bpf(MapUpdate(fds["events"], number(cpu), number(event)))

    # --- programs -------------------------------------------------------------------------------

    def add(self) -> bool:
        """One more program, if the kernel takes it."""
        made = verified.program(self.random, self.fds | {"programs": -1})
        key = made.kind, made.attach
        slots = [
            insn._replace(imm=self.arrays[key])
            if insn.code == LD_IMM64 and insn.src == 1 and insn.imm == -1
            else insn
            for insn in made.instructions
        ]
        made = made._replace(instructions=slots)
        target = TARGETS.get(made.attach, TRACED)
        needs = made.kind in (ProgType.TRACING, ProgType.LSM)
        request = ProgLoad(
            made.kind,
            encode(slots),
            expected_attach_type=made.attach,
            attach_btf_id=self._type_id(target) if needs else 0,
            prog_flags=16 if made.kind == ProgType.SYSCALL else 0,
            prog_btf_fd=self.btf,
            func_info=b"".join(
                struct.pack("<II", start, TYPES.id_of(FUNCTIONS[what.rstrip("0123456789")]))
                for start, what in made.functions
            ),
        )
        try:
            fd = programs.load(self.kernel, request).fd
        except ProgramRefused as refused:
            self.counts["refused"] += 1
            reason = refused.refusal.message if refused.refusal is not None else str(refused)
            self.refusals.append(f"{made.kind.name}: {reason}")
            return False
        self.counts["verified"] += 1
        self.loaded.append((made, fd))
        array = self.arrays[key]
        if self.random.random() < 0.5:
            self.system.bpf(MapUpdate(array, self.random.randrange(4).to_bytes(4, "little"),
                                      fd.to_bytes(4, "little")))  # fmt: skip
        return True

    def _type_id(self, name: str) -> int:
        ids = _ids(self.kernel)
        return ids[name]

    # --- runs -----------------------------------------------------------------------------------

    def results(self, engine: Any, levels: Random | None) -> Iterator[tuple[Any, ...]]:
        """What each program leaves behind. `levels` chooses how well it is compiled."""
        kernel = self.kernel
        recorder = Recorder(engine)
        kernel.engine = recorder
        chance = Random(1)
        for made, fd in self.loaded:
            program = kernel.program_of(fd)
            if levels is not None:
                engine.compile(program.image, levels.choice(LEVELS))
            data = chance.randbytes(chance.choice((14, 34, 60, 64, 128)))
            state = chance.getrandbits(32)
            kernel.random.seed(state)
            try:
                seen = self._run(program, made.kind, data)
            except Exception as error:
                seen = (type(error).__name__, str(error))
            maps = tuple(content(map) for map in program.maps)
            yield (recorder.result, *seen, maps)
            recorder.result = None

    def _run(self, program: Any, kind: ProgType, data: bytes) -> tuple[Any, ...]:
        kernel = self.kernel
        if kind in PACKET_TYPES:
            packet = Packet(kernel, kind, data)
            try:
                packet.run(program)
                return packet.whole(), packet.context_bytes(), packet.target
            finally:
                packet.close()
        size = CONTEXT
        address = kernel.memory.allocate(size)
        try:
            kernel.memory.view(address, len(data))[:] = data
            kernel.run(program, (address,))
            return (bytes(kernel.memory.view(address, size)).rstrip(b"\0"),)
        finally:
            kernel.memory.free(address)


_known_ids: dict[str, int] = {}


def _ids(kernel: Any) -> dict[str, int]:
    """Ids of what programs attach to, in the kernel's BTF."""
    if not _known_ids:
        types = kernel.vmlinux.types()
        for name in (TRACED, HOOK, ITERATOR, RAW):
            kind = Kind.TYPEDEF if name == RAW else Kind.FUNC
            _known_ids[name] = types.find_id(kind, name) or 0
    return _known_ids


class Recorder:
    """An engine that keeps R0 of the last run."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.name = engine.name
        self.result: int | None = None

    def run(self, image: Image, run: Any, arguments: tuple[int, ...] = ()) -> int:
        self.result = self.engine.run(image, run, arguments)
        return self.result


class Counting(Interpreter):
    """The interpreter, with what it runs counted: rows of the opcode table, helpers, map types."""

    def __init__(self, kernel: Any, counts: Counter[str]) -> None:
        self.kernel = kernel
        self.counts = counts
        self.steps: Counter[tuple[int, int]] = Counter()
        self.images: dict[int, tuple[Image, list[Any]]] = {}

    def run(
        self, image: Image, run: Any, arguments: tuple[int, ...] = (), observer: Any = None
    ) -> int:
        return super().run(image, run, arguments, self)

    def before(self, image: Image, slot: int, registers: list[int]) -> None:
        self.steps[id(image), slot] += 1
        self.images.setdefault(id(image), (image, []))
        insn = image.instructions[slot]
        if insn.code == 0x85 and not insn.src and insn.imm == 12:
            self.called(12, tuple(registers[1:6]), 0)

    def after(self, image: Image, slot: int, registers: list[int]) -> None:
        pass

    def wrote(self, address: int, size: int, value: int) -> None:
        pass

    def called(self, number: int, arguments: tuple[int, ...], result: int) -> None:
        if self.kernel is None:
            return
        self.counts[f"helper {(name_of(number) or str(number)).removeprefix('bpf_')}"] += 1
        for argument in arguments[:2]:
            map = self.kernel.map_at.get(argument)
            if map is not None:
                self.counts[f"map {map.type.name.lower()}"] += 1

    def total(self) -> None:
        """Adds the steps to the counts, by row."""
        for image, known in self.images.values():
            known[:] = rows(image)
        for (number, slot), count in self.steps.items():
            self.counts[opcode(self.images[number][1][slot])] += count


def opcode(row: Any) -> str:
    """A row's name in the counts."""
    if isinstance(row, str):
        return f"opcode {row}"
    source = "reg" if row.by_reg else "imm"
    return f"opcode {row.kind} {row.name} {source}"


def opcode_names() -> set[str]:
    """Those that programs can run: casts need an arena, which no BCC program can declare."""
    return {opcode(row) for row in opcodes.OPCODES if row.op != "addr_space_cast"}


def content(map: Map) -> Any:
    """What a map holds, by whatever it is read."""
    memory = map.memory
    found: list[Any] = []
    base = getattr(map, "base", None)
    if base is not None:
        return blake2b(memory.view(base, 3 * 4096 + 2 * map.max_entries)).digest()
    for name in ("values", "bits", "traces", "programs", "inner"):
        part = getattr(map, name, None)
        if name == "values" and isinstance(part, dict):  # a storage map's
            found += [(owner, bytes(memory.view(at, map.stride))) for owner, at in part.items()]
        elif part is not None and not isinstance(part, int):
            found.append([*part.items()] if isinstance(part, dict) else b"".join(map_bytes(part)))
    if isinstance(getattr(map, "value", None), int):  # a cgroup storage's
        found.append(bytes(memory.view(map.value, map.stride * map.cpus)))  # type: ignore[attr-defined]  # a map with values
    for event in getattr(map, "events", {}).values():
        found.append((event.count, event.buffer.head, blake2b(event.buffer.view).digest()))
    key = None
    while len(found) < 200:
        try:
            key = map.next_key(key)
        except OSError as error:
            found.append(error.errno)
            break
        try:
            found.append((key, map.read(key, 0)))
        except OSError as error:
            found.append((key, error.errno))
    return found


def map_bytes(part: Any) -> list[bytes]:
    """Queues hold bytes, a Bloom filter is some."""
    return [bytes(part)] if isinstance(part, bytearray) else [bytes(one) for one in part]


def both(world: World, seed: int) -> tuple[list[str], Counter[str]]:
    """Runs all programs in both engines, native code first, in a child: what differs, and what
    ran how often."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as out:
                for result in world.results(Jit(), Random(seed)):
                    pickle.dump(normal(result), out)
                    out.flush()  # what came before a crash is known
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    native = []
    with os.fdopen(reading, "rb") as source, contextlib.suppress(EOFError):
        while True:
            native.append(pickle.load(source))
    _, status = os.waitpid(child, 0)
    counting = Counting(world.kernel, world.counts)
    failures = []
    for number, result in enumerate(world.results(counting, None)):
        kind = world.loaded[number][0].kind.name
        if number == len(native):
            failures.append(f"program {number} ({kind}): native code died, status {status:#x}")
            break
        wanted, got = normal(result), native[number]
        if got != wanted:
            failures.append(f"program {number} ({kind}): {difference(wanted, got)}")
        elif wanted[0] is None:
            failures.append(f"program {number} ({kind}): {wanted[1:3]}")
    counting.total()
    return failures, world.counts


def normal(result: tuple[Any, ...]) -> tuple[Any, ...]:
    """Comparable and short: programs by their ids."""
    *seen, maps = result
    return (*seen, repr(maps))


def difference(wanted: tuple[Any, ...], got: tuple[Any, ...]) -> str:
    names = ("R0", "packet", "context", "target", "maps")
    return "; ".join(
        f"{name} {one!r:.300} in the interpreter, {other!r:.300} in native code"
        for name, one, other in zip(names, wanted, got, strict=False)
        if one != other
    )


def task_fields(machine: Machine) -> list[tuple[int, int]]:
    """Offset and size of numbers in ``struct task_struct``."""
    task = machine.type("task_struct")
    assert isinstance(task, Struct)
    found = []
    for member in task.members:
        kind = strip(member.type)
        if isinstance(kind, Int) and kind.size in (1, 2, 4, 8) and not member.offset % 8:
            found.append((member.offset // 8, kind.size))
    return found
