"""Random programs, asked of this verifier and of the live kernel's.

`programs(seed)` yields endless programs of a few dozen instructions that look like what people
write (lookups with and without checks, spills, bounded and unbounded offsets, helper calls, loops,
functions) with mistakes in them; `run(count, seed)` says how often the two verdicts agree and keeps
the programs on which they do not.
"""

from __future__ import annotations

import random
from errno import ENOSPC
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapType, ProgType
from minibcc.isa.instruction import Instruction
from minibcc.kernel.kernel import MachineTypes
from minibcc.kernel.verifier.contract import Environment, MapFacts, Source
from minibcc.kernel.verifier.verify import verify
from minibcc.machine.linux618 import Linux618
from minibcc.machine.machine import Machine
from minibcc.records import Record, replace
from tests.verifier import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from minibcc.kernel.verifier.contract import Verdict

I = Instruction  # noqa: E741  # programs are written in it, many on a line

HASH = MapFacts(MapType.HASH, 4, 16, 8)
ARRAY = MapFacts(MapType.ARRAY, 4, 32, 4)
PERF = MapFacts(MapType.PERF_EVENT_ARRAY, 4, 4, 4)
RINGBUF = MapFacts(MapType.RINGBUF, 0, 0, 4096)
TAILS = MapFacts(MapType.PROG_ARRAY, 4, 4, 4)
STACKS = MapFacts(MapType.STACK_TRACE, 4, 8 * 127, 16)
GLOBALS = MapFacts(MapType.ARRAY, 4, 64, 1)
MAPS = {1: HASH, 2: ARRAY, 3: PERF, 4: RINGBUF, 5: TAILS, 6: STACKS, 7: GLOBALS}
TYPES = (
    ProgType.KPROBE,
    ProgType.TRACEPOINT,
    ProgType.RAW_TRACEPOINT,
    ProgType.PERF_EVENT,
    ProgType.SOCKET_FILTER,
    ProgType.SCHED_CLS,
    ProgType.XDP,
)
_ALU = (0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xC0, 0x30, 0x90, 0x80)
_JUMPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 255, -1, -8, 4096, 0x7FFFFFFF, -0x80000000)
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}


class Disagreement(Record):
    """A program on which the verdicts differ."""

    source: Source
    kernel: tuple[int, str]
    verdict: Verdict


class Report(Record):
    """How often which outcome: "agree" (same verdict), "message" (both refuse, other words),
    "undecided", "accepts" (only this verifier does: a hole), "refuses" (only it does)."""

    counts: dict[str, int]
    disagreements: tuple[Disagreement, ...]


class _Writer:
    """Writes one program."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.prog_type = rng.choice(TYPES)
        self.out: list[Instruction] = [I(0xBF, 6, 1)]

    def number(self) -> int:
        return self.rng.choice(_NUMBERS)

    def register(self) -> int:
        return self.rng.choice((0, 1, 2, 3, 7, 7, 8, 8, 9, 9))

    def good(self) -> int:
        return self.rng.choice((7, 8, 9, 7, 8, 9, 0))

    def alu(self) -> None:
        rng = self.rng
        operation = rng.choice(_ALU)
        width = rng.choice((7, 7, 4))
        dst = self.register()
        if operation == 0x80:
            self.out.append(I(0x80 | width, dst))
        elif rng.random() < 0.5:
            imm = self.number()
            if operation in (0x60, 0x70, 0xC0) and rng.random() < 0.9:
                imm = rng.randrange(64 if width == 7 else 32)
            if operation in (0x30, 0x90) and rng.random() < 0.9:
                imm = imm or 1
            self.out.append(I(operation | width, dst, imm=imm))
        else:
            self.out.append(I(operation | 8 | width, dst, self.register()))

    def move(self) -> None:
        rng = self.rng
        match rng.randrange(5):
            case 0:
                self.out.append(I(0xB7, self.register(), imm=self.number()))
            case 1:
                self.out.append(I(0xBF, self.register(), self.register()))
            case 2:
                self.out.append(I(0xBC, self.register(), self.register()))
            case 3:
                self.out.append(
                    I(rng.choice((0xBF, 0xBC)), self.register(), self.good(), rng.choice((8, 16)))
                )
            case 4:
                self.out.append(I(0xD7, self.register(), imm=rng.choice((16, 32, 64))))

    def unknown(self) -> None:
        """A number that nobody knows."""
        dst = self.register()
        if self.rng.random() < 0.5:
            offset, code = (8, 0x79) if self.prog_type != ProgType.XDP else (12, 0x61)
            if self.prog_type in (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS):
                code = 0x61
            self.out.append(I(code, dst, 6, offset))
        else:
            self.out += [I(0x85, imm=7), I(0xBF, dst, 0)]

    def bound(self) -> None:
        """A register between bounds, somehow."""
        register = self.register()
        rng = self.rng
        match rng.randrange(4):
            case 0:
                self.out.append(I(0x57, register, imm=rng.choice((1, 3, 7, 8, 15, 24, 31, 255))))
            case 1:
                self.out += [I(0x25, register, 0, 2, rng.choice((3, 7, 8, 15, 31))), *self.stop()]
            case 2:
                self.out += [I(0xA6, register, 0, 2, rng.choice((1, 8, 16))), *self.stop()]
            case 3:
                self.out += [I(0x77, register, imm=rng.choice((60, 62, 56, 32)))]

    def stop(self) -> list[Instruction]:
        return [I(0xB7, 0), I(0x95)]

    def stack(self) -> None:
        rng = self.rng
        size = rng.choice((1, 2, 4, 8, 8))
        offset = -size * rng.randrange(1, 1 + 64 // size) - (rng.random() < 0.05)
        code = _SIZES[size]
        match rng.randrange(4):
            case 0:
                self.out.append(I(0x62 | code, 10, 0, offset, self.number()))
            case 1:
                self.out.append(I(0x63 | code, 10, self.register(), offset))
            case 2:
                self.out.append(I(0x61 | code, self.register(), 10, offset))
            case 3:
                base = self.register()
                self.out += [I(0xBF, base, 10), I(0x07, base, imm=-rng.choice((8, 16, 24, 32)))]
                if rng.random() < 0.5:
                    self.out.append(I(0x0F, base, self.good()))
                self.out.append(I(0x61 | code, self.register(), base, rng.choice((0, 0, -8))))

    def lookup(self) -> None:
        rng = self.rng
        number = rng.choice((1, 2))
        key = -8 if rng.random() < 0.5 else -4
        if rng.random() < 0.9:
            self.out.append(I(0x62, 10, 0, key, rng.randrange(6)))
        self.out += [I(0xBF, 2, 10), I(0x07, 2, imm=key)]
        self.out += [I(0x18, 1, 1, 0, number), I(0), I(0x85, imm=1)]
        match rng.randrange(6):
            case 0:
                pass
            case 1:
                self.out += [I(0x15, 0, 0, 1, 0), I(0x79, 3, 0, rng.choice((0, 8, 12, 16)))]
            case _:
                self.out += [I(0x55, 0, 0, 2, 0), *self.stop()]
        if rng.random() < 0.5:
            self.out.append(I(0xBF, rng.choice((7, 8, 9)), 0))

    def memory(self) -> None:
        """A load or store through whatever a register is."""
        rng = self.rng
        base, size = self.register(), rng.choice((1, 2, 4, 8))
        offset = rng.choice((0, 0, 4, 8, 12, 15, 16, 24, 32, -1))
        code = _SIZES[size]
        match rng.randrange(5):
            case 0:
                self.out.append(I(0x62 | code, base, 0, offset, 1))
            case 1:
                self.out.append(I(0x63 | code, base, self.register(), offset))
            case 2 if size >= 4:
                imm = rng.choice((0x00, 0x40, 0x01, 0xE1, 0xF1, 0xA0, 0x51))
                self.out.append(I(0xC3 | code, base, self.register(), offset, imm))
            case 3 if size < 8:
                self.out.append(I(0x81 | code, self.register(), base, offset))
            case _:
                self.out.append(I(0x61 | code, self.register(), base, offset))

    def pointer(self) -> None:
        rng = self.rng
        if rng.random() < 0.6:
            self.out.append(I(0x0F, self.good(), self.register()))
        else:
            self.out.append(I(0x07, self.good(), imm=rng.choice((1, 4, 8, 16, -4, -8))))

    def helper(self) -> None:
        rng = self.rng
        match rng.randrange(7):
            case 0:
                self.out.append(I(0x85, imm=rng.choice((5, 7, 8, 14, 15))))
            case 1:
                self.out += [I(0xBF, 1, 10), I(0x07, 1, imm=-16)]
                self.out += [I(0xB7, 2, imm=rng.choice((0, 4, 8, 16, 17)))]
                self.out += [I(0xBF, 3, rng.choice((6, 7))), I(0x85, imm=rng.choice((4, 113, 45)))]
            case 2:
                self.out += [I(0xBF, 1, 10), I(0x07, 1, imm=-16), I(0xB7, 2, imm=16)]
                self.out.append(I(0x85, imm=16))
            case 3:
                self.out += [I(0xBF, 1, 6), I(0x18, 2, 1, 0, 3), I(0), I(0x18, 3), I(0)]
                self.out += [I(0xBF, 4, rng.choice((10, 10, 7)))]
                self.out += [I(0x07, 4, imm=-16), I(0xB7, 5, imm=rng.choice((8, 16, 24)))]
                self.out.append(I(0x85, imm=25))
            case 4:
                self.out += [I(0xBF, 2, 10), I(0x07, 2, imm=-4), I(0xBF, 3, 10)]
                self.out += [I(0x07, 3, imm=-rng.choice((8, 16, 24, 40))), I(0xB7, 4)]
                self.out += [I(0x18, 1, 1, 0, rng.choice((1, 2, 3))), I(0), I(0x85, imm=2)]
            case 5:
                self.out += [I(0x18, 1, 1, 0, 4), I(0), I(0xB7, 2, imm=16), I(0xB7, 3)]
                self.out += [I(0x85, imm=131), I(0x15, 0, 0, 4, 0), I(0x7A, 0, 0, 8, 1)]
                self.out += [I(0xBF, 1, 0), I(0xB7, 2), I(0x85, imm=rng.choice((132, 133, 132, 7)))]
            case 6:
                self.out += [I(0xBF, 1, 10), I(0x07, 1, imm=-16), I(0xBF, 2, self.good())]
                self.out += [I(0xBF, 3, 6), I(0x85, imm=rng.choice((4, 113)))]

    def branch(self) -> None:
        rng = self.rng
        code = rng.choice(_JUMPS) | rng.choice((5, 5, 6))
        distance = rng.randrange(1, 4)
        if rng.random() < 0.6:
            self.out.append(I(code, self.register(), 0, distance, self.number()))
        else:
            self.out.append(I(code | 8, self.register(), self.register(), distance))
        for _ in range(distance):
            rng.choice((self.alu, self.move, self.memory))()
            if len(self.out) > 1 and self.out[-1].code == 0:
                break

    def loop(self) -> None:
        rng = self.rng
        counter, body = rng.choice((8, 9)), rng.randrange(1, 3)
        self.out.append(I(0xB7, counter, imm=0))
        start = len(self.out)
        for _ in range(body):
            rng.choice((self.alu, self.move))()
        self.out.append(I(0x07, counter, imm=1))
        self.out.append(I(0xA5, counter, 0, start - len(self.out) - 1, rng.choice((3, 8, 20))))

    def join(self) -> None:
        """A register gets one number or another, and then matters or does not."""
        rng = self.rng
        value, other = rng.choice(((7, 8), (8, 9), (9, 7)))
        self.unknown()
        self.out.append(I(0xBF, other, 0))
        few, many = rng.choice(((1, 2), (3, 8), (0, 40), (8, 24), (4, 12)))
        self.out += [I(0xB7, value, imm=few), I(rng.choice((0x15, 0x25, 0x65)), other, 0, 1, 3)]
        self.out.append(I(0xB7, value, imm=many))
        for _ in range(rng.randrange(3)):
            match rng.randrange(6):
                case 0:
                    self.out += [I(0x7B, 10, value, -32), I(0x79, value, 10, -32)]
                case 1:
                    self.out += [I(0x63, 10, value, -40), I(0x61, value, 10, -40)]
                case 2:
                    self.out += [I(0xBF, 1, value), I(0xBF, value, 1)]
                case 3:
                    self.out += [I(0x07, value, imm=rng.choice((1, -1, 4)))]
                case 4:
                    self.out += [I(0x15, other, 0, 1, 9), I(0x57, value, imm=7)]
                case 5:
                    self.out += [I(0xBF, 1, value), I(0x25, value, 0, 2, 16), *self.stop()]
        self.out += [I(0x62, 10, 0, -4, 1), I(0xBF, 2, 10), I(0x07, 2, imm=-4)]
        self.out += [I(0x18, 1, 1, 0, rng.choice((1, 2))), I(0), I(0x85, imm=1)]
        self.out += [I(0x55, 0, 0, 2, 0), *self.stop()]
        match rng.randrange(4):
            case 0:
                self.out += [I(0x0F, 0, value), I(rng.choice((0x72, 0x7A)), 0, 0, 0, 1)]
            case 1:
                self.out += [I(0xBF, 1, 10), I(0x1F, 1, value)]
            case 2:
                self.out += [I(0xBF, 1, 10), I(0x07, 1, imm=-16), I(0xBF, 2, value)]
                self.out += [I(0xB7, 3), I(0x85, imm=rng.choice((4, 113, 16)))]
            case 3:
                self.out += [I(0xBF, 1, 10), I(0x0F, 1, value), I(0x72, 1, 0, -32, 1)]

    def packet(self) -> None:
        rng = self.rng
        if self.prog_type == ProgType.XDP:
            first, last = 0, 4
        elif self.prog_type == ProgType.SCHED_CLS:
            first, last = 76, 80
        else:
            return
        self.out += [I(0x61, 7, 6, first), I(0x61, 8, 6, last), I(0xBF, 9, 7)]
        self.out.append(I(0x07, 9, imm=rng.choice((4, 8, 14))))
        code = rng.choice((0x2D, 0x3D, 0x2D, 0xAD, 0xBD))
        pair = (9, 8) if rng.random() < 0.8 else (8, 9)
        self.out += [I(code, *pair, 2), *self.stop()]
        self.out.append(I(rng.choice((0x61, 0x69, 0x71, 0x79)), 1, 7, rng.choice((0, 4, 6, 8, 12))))
        if rng.random() < 0.3:
            self.out += [I(0x57, 1, imm=7), I(0x0F, 7, 1)]

    def function(self) -> None:
        self.out += [I(0xBF, 1, self.good()), I(0xBF, 2, 10), I(0x07, 2, imm=-24)]
        self.out.append(I(0x85, src=1, imm=0x7FFF))

    def write(self) -> Source:
        rng = self.rng
        for register in (7, 8, 9):
            if rng.random() < 0.95:
                self.out.append(I(0xB7, register, imm=self.number()))
        kinds = (
            [self.alu] * 4 + [self.move] * 4 + [self.unknown] * 3 + [self.bound] * 3
            + [self.stack] * 4 + [self.lookup] * 4 + [self.memory] * 3 + [self.pointer] * 2
            + [self.helper] * 3 + [self.branch] * 3 + [self.join] * 3
            + [self.loop, self.packet, self.function]
        )  # fmt: skip
        for register in (0, 1, 2, 3):
            self.out.append(I(0xB7, register, imm=self.number()))
        for _ in range(rng.randrange(2, 9)):
            before = len(self.out)
            rng.choice(kinds)()
            if any(insn.code == 0x85 for insn in self.out[before:]) and rng.random() < 0.93:
                self.out += [I(0xB7, register, imm=self.number()) for register in (1, 2, 3)]
        self.out += [I(0xB7, 0)] if rng.random() < 0.95 else []
        self.out.append(I(0x95))
        end = len(self.out)
        called = False
        for slot, insn in enumerate(self.out):
            if insn.code == 0x85 and insn.src == 1:
                self.out[slot] = insn._replace(imm=end - slot - 1)
                called = True
        if called:
            self.out += [I(0x7B, 10, 1, -8), I(0x79, 0, 10, -8)]
            if rng.random() < 0.5:
                self.out.append(I(0x7B, 2, rng.choice((1, 1, 2, 10)), rng.choice((0, 8))))
            for _ in range(rng.randrange(3)):
                rng.choice((self.alu, self.stack))()
            self.out.append(I(0x95))
        gpl = rng.random() < 0.97
        return Source(tuple(self.out), self.prog_type, maps=MAPS, gpl=gpl)


HERE = Environment(
    MachineTypes(Machine(Linux618())),
    oracle.possible_cpus(),
    probe_loads=True,
    lacks=oracle.lacking(),
)
"""This machine's kernel, as far as the verifier asks; its types are the simulated one's."""


def programs(seed: int) -> Iterator[Source]:
    """Endless random programs."""
    rng = random.Random(seed)
    while True:
        yield _Writer(rng).write()


def _wrapped(value: int, bits: int) -> int:
    """The signed number that a field of so many bits holds of a value."""
    half = 1 << bits - 1
    return (value + half) % (2 * half) - half


def mutant(source: Source, rng: random.Random) -> Source:
    """`source` with one instruction changed, removed or swapped with the next."""
    slots = list(source.instructions)
    place = rng.randrange(len(slots))
    insn = slots[place]
    match rng.randrange(9):
        case 0:
            insn = insn._replace(dst=rng.randrange(11))
        case 1:
            insn = insn._replace(src=rng.randrange(11))
        case 2:
            moved = insn.off + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8))
            insn = insn._replace(off=_wrapped(moved, 16))
        case 3:
            near = rng.choice((insn.imm + 1, insn.imm - 1, _any_number(rng)))
            insn = insn._replace(imm=_wrapped(near, 32))
        case 4:
            insn = insn._replace(code=rng.randrange(256))
        case 5:
            insn = insn._replace(code=insn.code ^ rng.choice((0x10, 0x08, 0x20, 0x40, 0x80)))
        case 6:
            insn = I(0xB7, rng.randrange(10), imm=_any_number(rng))
        case 7 if place + 1 < len(slots):
            insn, slots[place + 1] = slots[place + 1], insn
        case _:
            insn = I(0xBF, rng.randrange(10), rng.randrange(11))
    slots[place] = insn
    return replace(source, instructions=tuple(slots))


def _any_number(rng: random.Random) -> int:
    return rng.choice(_NUMBERS)


def judge(source: Source) -> tuple[str, Disagreement]:
    """The outcome for one program, see `Report`."""
    errno, log = oracle.load(source, 1)
    verdict = verify(source, HERE)
    case = Disagreement(source, (errno, log), verdict)
    if verdict.refusal is not None and verdict.refusal.code == "verify/not-decided":
        return "undecided", case
    if errno == ENOSPC:  # the log was too long to keep
        errno = verdict.errno
    if verdict.accepted:
        return ("accepts" if errno else "agree"), case
    if not errno:
        return "refuses", case
    assert verdict.refusal is not None
    said = any(line.endswith(verdict.refusal.message) for line in log.split("\n"))
    same = said and verdict.errno == errno
    return ("agree" if same else "message"), case


def run(count: int, seed: int) -> Report:
    """Asks about `count` programs."""
    counts = dict.fromkeys(("agree", "message", "undecided", "accepts", "refuses"), 0)
    kept = []
    source = programs(seed)
    for _ in range(count):
        outcome, case = judge(next(source))
        counts[outcome] += 1
        if outcome not in ("agree", "undecided"):
            kept.append(case)
    return Report(counts, tuple(kept))
