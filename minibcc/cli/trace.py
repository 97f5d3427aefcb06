"""Run a program once in the interpreter and show each instruction's effect.

The program runs when the simulated computer passes what it attaches to: by its name
(``kprobe__do_sys_openat2``), or by ``--event``. A plain function without an event runs once on an
empty context.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from minibcc import boot
from minibcc.abi.bpf import STACK_SIZE, ProgType
from minibcc.abi.helpers import helper
from minibcc.abi.requests import ProgTestRun
from minibcc.bcc.loader import Module, prefix_of
from minibcc.bcc.output import TracePipe
from minibcc.bcc.probes import PerfProbes
from minibcc.cli import source
from minibcc.errors import AttachError, UsageError
from minibcc.isa import text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from minibcc.compiler.object import BpfObject, ProgramSpec
    from minibcc.isa.instruction import Instruction

CALL, EXIT = 0x85, 0x95
COLUMN = 48
"""Where effects begin."""


class Done(Exception):
    """The program has run; nothing more is to be played."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source.add_arguments(parser)
    parser.add_argument("--program", metavar="NAME", help="which function (default: the first)")
    parser.add_argument(
        "--event", metavar="EVENT", help="a kernel function, or a tracepoint category:event"
    )
    parser.add_argument("--scenario", default="shell", metavar="NAME", help="what happens")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random")


def main(arguments: argparse.Namespace) -> int:
    options = boot.Options(scenario=arguments.scenario, seed=arguments.seed, engine="interpreter")
    system: Any = boot.system(options)
    boot.use(system)
    made = source.compiled(arguments, system)
    spec = _program(made, arguments.program)
    kind, event = _event(spec, arguments.event)
    module = Module(system, made)
    fd = module.load(spec.name, kind)
    engine = Traced(system.kernel.engine, Printer(spec))
    system.kernel.engine = engine
    try:
        if event:
            _attach(system, fd, kind, spec, event)
            system.wait(None)
        else:
            system.bpf(ProgTestRun(fd))
    except (Done, KeyboardInterrupt):
        pass
    if not engine.ran:
        raise UsageError(f"scenario {arguments.scenario!r} never passes {event}")
    pipe = TracePipe(system, nonblocking=True)
    while line := pipe.readline():
        print(f"trace_pipe: {line.decode(errors='replace').rstrip()}")
    return 0


def _program(made: BpfObject, name: str | None) -> ProgramSpec:
    if not made.programs:
        raise UsageError("the file defines no program")
    found = made.programs[0] if name is None else made.program(name)
    if found is None:
        known = ", ".join(program.name for program in made.programs)
        raise UsageError(f"no program {name!r}: the file defines {known}")
    return found


def _event(spec: ProgramSpec, wanted: str | None) -> tuple[ProgType, str]:
    """Type and event of a program: as its name says, or as was asked for."""
    kind = spec.prog_type
    event = wanted or spec.attach_to or ""
    prefix = prefix_of(spec.name)
    if prefix and not wanted:
        event = spec.name.removeprefix(prefix)
        if prefix == "tracepoint__":
            event = event.replace("__", ":", 1)
    if kind is None:
        kind = ProgType.TRACEPOINT if ":" in event else ProgType.KPROBE
    return kind, event


def _attach(system: Any, fd: int, kind: ProgType, spec: ProgramSpec, event: str) -> None:
    probes = PerfProbes(system)
    try:
        if kind is ProgType.TRACEPOINT:
            category, _, name = event.partition(":")
            probes.tracepoint(fd, category, name)
        elif kind is ProgType.KPROBE:
            at_return = prefix_of(spec.name) == "kretprobe__"
            probes.probe(fd, "kprobe", event, 0, at_return)
        else:
            from minibcc.abi.requests import RawTracepointOpen

            name = event if kind is ProgType.RAW_TRACEPOINT else ""
            system.bpf(RawTracepointOpen(name, fd))
    except OSError as wrong:
        number = wrong.errno or errno.EINVAL
        reason = "there is no such event" if number == errno.ENOENT else wrong.strerror
        raise AttachError(number, f"cannot attach {spec.name} to {event}: {reason}") from None


class Traced:
    """An engine that lets one run be watched, and then ends the play."""

    name = "interpreter"

    def __init__(self, engine: Any, printer: Printer) -> None:
        self._engine = engine
        self._printer = printer
        self.ran = False

    def run(self, image: Any, run: Any, arguments: tuple[int, ...] = ()) -> int:
        if self.ran:
            return 0
        self.ran = True
        self._printer.begin(image, run, arguments)
        result = int(self._engine.run(image, run, arguments, self._printer))
        self._printer.end(result)
        if run.event is not None:
            raise Done
        return result


class Printer:
    """Watches a run and prints it: a row per instruction, with its effects beside it."""

    def __init__(self, spec: ProgramSpec) -> None:
        self._lines = {line.insn: line for line in spec.lines}
        self._maps = {r.insn: r.symbol for r in spec.relocations}
        self._names: dict[int, str] = {}
        self._line: tuple[str, int] | None = None
        self._before: list[int] = []
        self._stack = b""
        self._effects: list[str] = []
        self._row = ""
        self._jump = False
        self._run: Any = None

    # --- the run ---

    def begin(self, image: Any, run: Any, arguments: tuple[int, ...]) -> None:
        self._run = run
        self._names[run.context] = "ctx"
        event = f" at {run.event.point.kind} {run.event.point.name}" if run.event else ""
        task = f" in {run.task.comm} ({run.task.pid}) on CPU {run.cpu}" if run.task else ""
        first = f", r1 = {self._value(arguments[0])}" if arguments else ""
        print(f"{image.name}{event}{task}{first}")

    def end(self, result: int) -> None:
        self._print_row(-1)
        print(f"\nreturned {self._value(result)}")

    # --- what the interpreter says ---

    def before(self, image: Any, slot: int, registers: list[int]) -> None:
        self._print_row(slot)
        line = self._lines.get(slot)
        if line is not None and (line.file, line.line) != self._line and line.line:
            self._line = (line.file, line.line)
            print(f"\n{line.file}:{line.line}: {line.text.strip()}")
        self._before = registers.copy()
        self._effects = []
        insn = image.instructions[slot]
        self._jump = insn.code & 7 in (5, 6) and insn.code & 0xF0 not in (0x00, 0x80, 0x90)
        # A helper writes by itself: what it changed on the stack shows afterwards.
        self._stack = self._frame() if insn.code == CALL and insn.src == 0 else b""

    def after(self, image: Any, slot: int, registers: list[int]) -> None:
        insn = image.instructions[slot]
        words = text.instruction(insn, _high(image, slot))
        if slot in self._maps:
            words = words.partition(" = ")[0] + f" = map[{self._maps[slot]}]"
            self._names.setdefault(registers[insn.dst], self._maps[slot])
        self._row = f"{slot:4d}: {words}"
        if self._stack:
            self._effects += self._changes(self._stack, self._frame())
        if insn.code not in (CALL, EXIT):
            self._effects += [
                f"r{number} = {self._value(new)}"
                for number, (old, new) in enumerate(zip(self._before, registers, strict=True))
                if old != new and number < 10
            ]

    def wrote(self, address: int, size: int, value: int) -> None:
        data = value.to_bytes(size, "little")
        self._effects.append(f"{self._place(address)}: {_bytes(data)}")

    def called(self, number: int, arguments: tuple[int, ...], result: int) -> None:
        row = helper(number)
        count = len(row.arguments) if row is not None else 5
        name = f"bpf_{row.name}" if row is not None else f"helper {number}"
        shown = ", ".join(self._value(argument) for argument in arguments[:count])
        self._effects.insert(0, f"{name}({shown}) = {self._value(result & (1 << 64) - 1)}")

    # --- words ---

    def _print_row(self, following: int) -> None:
        """The instruction that is done; where a jump went is known only now."""
        if not self._row:
            return
        if self._jump:
            here = int(self._row.partition(":")[0])
            self._effects.append("goes on" if following == here + 1 else f"goes to {following}")
        first, *rest = self._effects or [""]
        print(f"{self._row:<{COLUMN}} {first}".rstrip())
        for effect in rest:
            print(f"{'':<{COLUMN}} {effect}")
        self._row = ""

    def _frame(self) -> bytes:
        return bytes(self._run.memory.view(self._before[10] - STACK_SIZE, STACK_SIZE))

    def _changes(self, old: bytes, new: bytes) -> Iterator[str]:
        """The stretches of the stack that differ."""
        position = 0
        while position < STACK_SIZE:
            if old[position] == new[position]:
                position += 1
                continue
            end = position
            while end < STACK_SIZE and old[end] != new[end]:
                end += 1
            yield f"fp{position - STACK_SIZE}: {_bytes(new[position:end])}"
            position = end

    def _place(self, address: int) -> str:
        top = self._before[10]
        if top - STACK_SIZE <= address < top:
            return f"fp{address - top}"
        return f"{address:#x}"

    def _value(self, value: int) -> str:
        """A number as one would write it: small ones in decimal, addresses by what they are."""
        if value in self._names:
            return self._names[value]
        top = self._before[10] if self._before else 0
        if top and top - STACK_SIZE <= value <= top:
            return f"fp{value - top}" if value != top else "fp"
        if value >= 1 << 63:
            signed = value - (1 << 64)
            return str(signed) if signed >= -4096 else f"{value:#x}"
        return str(value) if value < 4096 else f"{value:#x}"


def _high(image: Any, slot: int) -> Instruction | None:
    instructions: list[Instruction] = image.instructions
    return instructions[slot + 1] if slot + 1 < len(instructions) else None


def _bytes(data: bytes) -> str:
    """Bytes in hexadecimal, and as text where they look like it."""
    readable = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    likely = sum(32 <= byte < 127 for byte in data) * 2 > len(data)
    return data.hex(" ") + (f'  "{readable}"' if likely else "")
