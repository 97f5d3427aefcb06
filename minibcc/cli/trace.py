"""Run a program once in the interpreter and show each instruction's effect.

The program runs when the simulated computer passes what it attaches to: by its name
(``kprobe__do_sys_openat2``), or by ``--event``. A plain function without an event runs once on an
empty context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc import boot
from minibcc.abi.bpf import STACK_SIZE, ProgType
from minibcc.abi.helpers import helpers
from minibcc.abi.requests import ProgTestRun
from minibcc.bcc.loader import Module, prefix_of
from minibcc.bcc.probes import PerfProbes
from minibcc.cli import source
from minibcc.errors import AttachError, UsageError
from minibcc.isa import text
from minibcc.isa.instruction import decode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from minibcc.compiler.object import BpfObject, ProgramSpec

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
    engine = Traced(system.kernel.engine, Printer(spec, system))
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
        raise AttachError(
            wrong.errno or 0, f"cannot attach {spec.name} to {event}: {wrong.strerror}"
        ) from None


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
    """Watches a run and prints it."""

    def __init__(self, spec: ProgramSpec, system: Any) -> None:
        self._system = system
        self._lines = {line.insn: line for line in spec.lines}
        self._original = decode(spec.insns)
        self._maps = {r.insn: r.symbol for r in spec.relocations}
        self._line: tuple[str, int] | None = None
        self._before: list[int] = []
        self._written: list[tuple[int, int, int]] = []
        self._call = ""
        self._run: Any = None

    # --- the run ---

    def begin(self, image: Any, run: Any, arguments: tuple[int, ...]) -> None:
        self._run = run
        task = run.task
        where = f"in {task.comm} ({task.pid}) on CPU {run.cpu}" if task is not None else ""
        event = f" at {run.event.point.kind} {run.event.point.name}" if run.event else ""
        first = f", r1 = {arguments[0]:#x} (the context)" if arguments else ""
        print(f"{image.name}{event} {where}{first}".replace("  ", " "))

    def end(self, result: int) -> None:
        print(f"\nreturned {result} ({result:#x})" if result > 9 else f"\nreturned {result}")

    # --- what the interpreter says ---

    def before(self, image: Any, slot: int, registers: list[int]) -> None:
        line = self._lines.get(slot)
        if line is not None and (line.file, line.line) != self._line and line.line:
            self._line = (line.file, line.line)
            print(f"\n{line.file}:{line.line}: {line.text.strip()}")
        self._before = registers.copy()
        self._written.clear()
        self._call = ""

    def after(self, image: Any, slot: int, registers: list[int]) -> None:
        high = image.instructions[slot + 1] if slot + 1 < len(image.instructions) else None
        words = text.instruction(image.instructions[slot], high)
        if slot in self._maps:
            words = words.partition(" = ")[0] + f" = map[{self._maps[slot]}]"
        effects = list(self._effects(registers))
        head = f"{slot:4d}: {words}"
        print(f"{head:<{COLUMN}} {effects[0]}" if effects else head)
        for effect in effects[1:]:
            print(f"{'':<{COLUMN}} {effect}")

    def wrote(self, address: int, size: int, value: int) -> None:
        self._written.append((address, size, value))

    def called(self, number: int, arguments: tuple[int, ...], result: int) -> None:
        row = helpers().get(number)
        count = len(row.arguments) if row is not None else 5
        name = f"bpf_{row.name}" if row is not None else f"helper {number}"
        shown = ", ".join(self._value(argument) for argument in arguments[:count])
        self._call = f"{name}({shown})"

    # --- words ---

    def _effects(self, registers: list[int]) -> Iterator[str]:
        if self._call:
            yield f"{self._call} = {self._value(registers[0])}"
        for address, size, value in self._written:
            data = value.to_bytes(size, "little")
            readable = "".join(chr(b) if 32 <= b < 127 else "." for b in data)
            hint = f'  "{readable}"' if any(32 <= b < 127 for b in data) else ""
            yield f"{self._place(address)}: {data.hex(' ')}{hint}"
        for number, (old, new) in enumerate(zip(self._before, registers, strict=True)):
            if old != new and number < 10 and not (self._call and number <= 5):
                yield f"r{number} = {self._value(new)}"

    def _place(self, address: int) -> str:
        top = self._before[10]
        if top - STACK_SIZE <= address < top:
            return f"fp{address - top}"
        return f"{address:#x}"

    def _value(self, value: int) -> str:
        """A number as one would write it: small ones in decimal, addresses by what they are."""
        top = self._before[10] if self._before else 0
        if top and top - STACK_SIZE <= value <= top:
            return f"fp{value - top}" if value != top else "fp"
        if value == self._run.context:
            return "ctx"
        if value >= 1 << 63:
            signed = value - (1 << 64)
            return str(signed) if signed >= -4096 else f"{value:#x}"
        return str(value) if value < 4096 else f"{value:#x}"
