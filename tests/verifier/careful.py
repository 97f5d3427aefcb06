"""Random programs that are mostly right, for what must hold of accepted ones.

Where `generate` writes what people write, mistakes and all, these programs know what their
registers hold and check it before they use it, but close to the edge: bounds that just fit, numbers
that differ by path and matter later, copies that are compared instead of what they are copies of,
spills that are overwritten in part. About two in three are accepted.

R6 is the context, R7 to R9 hold numbers, R0 to R5 come and go.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.btf.types import Func, FuncProto, Int, Param, Ptr
from minibcc.isa.instruction import Instruction
from minibcc.kernel.verifier.contract import Source
from tests.verifier.generate import ARRAY, HASH, MAPS, TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

I = Instruction  # noqa: E741  # programs are written in it, many on a line

LOADS = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
STORES = {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}
NUMBERS = (7, 8, 9)
_INT = Int("int", 4, signed=True)
PROGRAM = Func("program", FuncProto(_INT, (Param("context", Ptr(None)),)), 1)
CALLED = Func("called", FuncProto(_INT, ()), 0)
"""What `call` calls, so that it may `leave`: without types, functions may not."""
CONTEXT = -64
"""Where on its stack a function keeps the context."""
_OPERATIONS = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xA0, 0xC0)
_SMALL = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 255, -1, -2, -8, 0x7FFFFFFF, -0x80000000)
_SHIFTS = (0x60, 0x70, 0xC0)
_DIVISIONS = (0x30, 0x90)
_COMPARE = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
_EXIT = (I(0xB7, 0), I(0x95))


class _Writer:
    """Writes one program; `spilled` are the stack slots that hold a whole number."""

    def __init__(self, rng: random.Random, prog_type: ProgType | None = None) -> None:
        self.rng = rng
        self.prog_type = rng.choice(TYPES) if prog_type is None else prog_type
        self.out: list[Instruction] = [I(0xBF, 6, 1)]
        self.spilled: set[int] = set()
        self.function: list[Instruction] = []
        self.local = False

    def add(self, *insns: Instruction) -> None:
        self.out += insns

    def any(self) -> int:
        return self.rng.choice(NUMBERS)

    def other(self, register: int) -> int:
        return self.rng.choice([number for number in NUMBERS if number != register])

    # --- numbers --------------------------------------------------------------------------------

    def unknown(self, dst: int | None = None) -> None:
        rng = self.rng
        dst = self.any() if dst is None else dst
        choice = rng.randrange(6)
        if choice < 3 and not self.local:
            if self.prog_type == ProgType.XDP:
                self.add(I(0x61, dst, 6, 12))
            elif self.prog_type in (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS):
                self.add(I(0x61, dst, 6, rng.choice((0, 4, 8, 48, 52))))
            else:
                size = rng.choice((1, 2, 4, 8, 8))
                place = 8 * rng.randrange(1, 9)
                if self.prog_type in (ProgType.RAW_TRACEPOINT, ProgType.PERF_EVENT):
                    size = 8
                self.add(I(LOADS[size], dst, 6, place))
        elif choice < 5:
            self.add(I(0x85, imm=rng.choice((7, 5, 8, 14))), I(0xBF, dst, 0))
        else:
            self.value(0, ARRAY, 2)
            size = rng.choice((1, 2, 4, 8))
            signed = size < 8 and rng.random() < 0.5
            self.add(I(LOADS[size] + (0x20 if signed else 0), dst, 0, 8 * rng.randrange(4)))

    def constant(self) -> None:
        self.add(I(self.rng.choice((0xB7, 0xB4)), self.any(), imm=self.rng.choice(_SMALL)))

    def compute(self, dst: int | None = None) -> None:
        rng = self.rng
        dst = self.any() if dst is None else dst
        wide = rng.choice((7, 7, 4))
        operation = rng.choice(_OPERATIONS)
        off = rng.choice((0, 0, 1)) if operation in _DIVISIONS else 0
        if operation == 0x80:
            self.add(I(0x80 | wide, dst))
        elif rng.random() < 0.6:
            imm = rng.choice(_SMALL)
            if operation in _SHIFTS:
                imm = rng.choice((1, 2, 8, 16, 24, 31) if wide == 4 else (1, 3, 8, 32, 48, 56, 63))
            if operation in _DIVISIONS:
                imm = imm or 3
            self.add(I(operation | wide, dst, 0, off, imm))
        else:
            self.add(I(operation | 8 | wide, dst, self.any(), off))

    def move(self, dst: int | None = None) -> None:
        rng = self.rng
        dst = self.any() if dst is None else dst
        match rng.randrange(5):
            case 0 | 1:
                self.add(I(0xBF, dst, self.any()))
            case 2:
                self.add(I(0xBC, dst, self.any(), rng.choice((0, 0, 8, 16))))
            case 3:
                self.add(I(0xBF, dst, self.any(), rng.choice((8, 16, 32))))
            case 4:
                self.add(I(rng.choice((0xD7, 0xD4, 0xDC)), dst, imm=rng.choice((16, 32, 64))))

    def bound(self, register: int, most: int) -> None:
        """Makes `register` one of 0..most; sometimes of a little more."""
        rng = self.rng
        if rng.random() < 0.08:
            most += rng.choice((1, 2, 8))
        copy = register
        if rng.random() < 0.35:
            copy = rng.choice((1, 2, 3))
            self.add(I(0xBF, copy, register))
            if rng.random() < 0.3:
                delta = rng.choice((1, 2, 5))
                self.add(I(0x57, register, imm=255), I(0xBF, copy, register))
                self.add(I(0x07, copy, imm=delta))
                most += delta
        width = rng.choice((5, 5, 5, 6))
        match rng.choice((2, 3, 4, 6, 7)) if copy != register else rng.randrange(9):
            case 0 | 1:
                mask = (1 << most.bit_length() - 1) - 1 if most & (most + 1) else most
                self.add(I(0x57, register, imm=mask))
            case 2:
                self.add(I(0xB0 | width, copy, 0, 2, most), *_EXIT)
            case 3:
                self.add(I(0xB5, copy, 0, 2, most), *_EXIT)
            case 4:
                self.add(I(0xC0 | width, copy, 0, 2, 0), I(0x60 | width, copy, 0, 1, most))
                self.add(I(0x05, off=2), *_EXIT)
            case 5:
                shift = 64 - max(1, (most + 1).bit_length() - 1)
                self.add(I(0x77, register, imm=min(63, shift)))
            case 6:
                self.add(I(0xB7, 4, imm=most), I(0x3D, 4, copy, 2), *_EXIT)
            case 7:
                self.add(I(0xA0 | width, copy, 0, 2, most + 1), *_EXIT)
            case 8:
                self.add(I(0x97, register, imm=most + 1))

    def branch(self) -> None:
        """Both ways go on; one of them does something more."""
        rng = self.rng
        register = self.any()
        at = len(self.out)
        width = rng.choice((5, 5, 6))
        code = rng.choice(_COMPARE) | width
        if rng.random() < 0.7:
            insn = I(code, register, 0, 0, rng.choice(_SMALL))
        else:
            insn = I(code | 8, register, self.other(register))
        self.add(insn)
        for _ in range(rng.randrange(1, 3)):
            rng.choice((self.compute, self.move, self.constant, self.spill))()
        if rng.random() < 0.3:
            jump = len(self.out)
            self.add(I(0x05))
            self.out[at] = insn._replace(off=len(self.out) - at - 1)
            rng.choice((self.compute, self.move, self.constant))()
            self.out[jump] = I(0x05, off=len(self.out) - jump - 1)
        else:
            self.out[at] = insn._replace(off=len(self.out) - at - 1)

    def join(self) -> None:
        """A number that is one or another, by path, and matters somewhere behind."""
        rng = self.rng
        register = self.any()
        few, many = rng.choice(((1, 2), (3, 8), (0, 24), (8, 16), (4, 12), (0, 1)))
        self.add(I(0xB7, register, imm=few))
        at = rng.choice((0x15, 0x25, 0x65, 0x55, 0x16, 0x26))
        self.add(I(at, self.other(register), 0, 1, rng.choice((0, 1, 3, 8))))
        self.add(I(0xB7, register, imm=many))
        if rng.random() < 0.7:
            for _ in range(rng.randrange(2)):
                self.filler()
            self.use(register, bounded=rng.random() < 0.3)

    def link(self) -> None:
        """A copy on one path, something else on the other; then the copy is compared."""
        rng = self.rng
        register = self.any()
        copy = self.other(register)
        third = next(number for number in NUMBERS if number not in (register, copy))
        self.add(I(0x57, register, imm=rng.choice((15, 31, 255))))
        if rng.random() < 0.5:
            self.add(I(0x57, copy, imm=rng.choice((7, 15, 31))))
        self.add(I(rng.choice((0x15, 0x25, 0x65)), third, 0, 1, rng.choice((0, 1, 8))))
        self.add(I(0xBF, copy, register))
        if rng.random() < 0.3:
            self.filler()
        self.add(I(0xB5, copy, 0, 2, rng.choice((7, 8, 15, 23))), *_EXIT)
        self.use(register, bounded=rng.random() < 0.5)

    # --- memory ---------------------------------------------------------------------------------

    def value(self, key: int, facts: object, number: int) -> None:
        """R0: a value of a map."""
        self.add(I(0x62, 10, 0, -4, key), I(0xBF, 2, 10), I(0x07, 2, imm=-4))
        self.add(I(0x18, 1, 1, 0, number), I(0), I(0x85, imm=1))
        if facts is HASH or key >= ARRAY.max_entries or self.rng.random() < 0.3:
            self.add(I(0x55, 0, 0, 2, 0), *_EXIT)
        self.spilled.discard(-8)

    def use(self, register: int | None = None, bounded: bool = True) -> None:
        """A number as an offset or a size."""
        rng = self.rng
        register = self.any() if register is None else register
        size = rng.choice((1, 1, 2, 4, 8))
        match rng.randrange(5):
            case 0 | 1:
                facts, number, room = rng.choice(((ARRAY, 2, 32), (HASH, 1, 16)))
                off = rng.choice((0, 0, 4, 8))
                if bounded:
                    self.bound(register, room - size - off)
                self.value(rng.randrange(3), facts, number)
                self.add(I(0x0F, 0, register))
                self.touch(0, off, size)
            case 2:
                if bounded:
                    self.bound(register, 31)
                self.add(I(0xBF, 1, 10), I(0x07, 1, imm=-40), I(0x0F, 1, register))
                if rng.random() < 0.6:
                    self.add(I(0x72, 1, 0, 0, rng.choice((0, 1))))
                    self.spilled.clear()
                else:
                    self.add(I(0x71, self.any(), 1, 0))
            case 3:
                if bounded:
                    self.bound(register, 24)
                self.add(I(0xBF, 1, 10), I(0x07, 1, imm=-32), I(0xBF, 2, register))
                self.add(I(0xBF, 3, 6), I(0x85, imm=113))
                if rng.random() < 0.4:
                    self.add(I(0xBF, self.any(), 0))
                self.spilled.clear()
            case 4:
                self.packet(register, bounded)

    def touch(self, base: int, off: int, size: int) -> None:
        """A load, a store or an atomic operation."""
        rng = self.rng
        match rng.randrange(5):
            case 0:
                self.add(I(STORES[size] - 1, base, 0, off, rng.choice(_SMALL)))
            case 1:
                self.add(I(STORES[size], base, self.any(), off))
            case 2 if size >= 4 and rng.random() < 0.5:
                imm = rng.choice((0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0xE1))
                self.add(I(0xC3 | (0x18 if size == 8 else 0), base, self.any(), off, imm))
            case _:
                self.add(I(LOADS[size], self.any(), base, off))

    def packet(self, register: int, bounded: bool) -> None:
        rng = self.rng
        if self.local or self.prog_type not in (ProgType.XDP, ProgType.SCHED_CLS):
            return
        first, last = (0, 4) if self.prog_type == ProgType.XDP else (76, 80)
        length = rng.choice((1, 4, 8, 14))
        self.add(I(0x61, 2, 6, first), I(0x61, 3, 6, last))
        if rng.random() < 0.6:
            if bounded:
                self.add(I(0x57, register, imm=rng.choice((3, 15, 255))))
            self.add(I(0x0F, 2, register))
        self.add(I(0xBF, 1, 2), I(0x07, 1, imm=length))
        match rng.randrange(4):
            case 0:
                self.add(I(0x2D, 1, 3, 1))
            case 1:
                self.add(I(0xAD, 3, 1, 1))
            case 2:
                self.add(I(0x3D, 1, 3, 1))
            case 3:
                self.add(I(0xBD, 3, 1, 1))
        size = rng.choice([size for size in (1, 2, 4, 8) if size <= length])
        self.add(I(LOADS[size], self.any(), 2, length - size))

    def spill(self) -> None:
        rng = self.rng
        place = -8 * rng.randrange(2, 6)
        match rng.randrange(6):
            case 0 | 1:
                self.add(I(0x7B, 10, self.any(), place))
                self.spilled.add(place)
            case 2:
                size = rng.choice((1, 2, 4))
                self.add(I(STORES[size], 10, self.any(), place + rng.choice((0, 0, 8 - size))))
            case 3:
                size = rng.choice((1, 2, 4, 8))
                self.add(I(STORES[size] - 1, 10, 0, place, rng.choice(_SMALL)))
            case 4:
                size = rng.choice((4, 8))
                imm = rng.choice((0x00, 0x01, 0x41, 0xE1, 0xA1))
                self.add(I(0xC3 | (0x18 if size == 8 else 0), 10, self.any(), place, imm))
            case 5:
                self.add(I(0xBF, 1, 10), I(0x07, 1, imm=place + rng.choice((0, 0, 4))))
                self.add(I(0xB7, 2, imm=rng.choice((4, 8))), I(0xBF, 3, 6), I(0x85, imm=113))

    def fill(self) -> None:
        rng = self.rng
        place = rng.choice(sorted(self.spilled) or [-16, -24])
        if rng.random() < 0.7:
            self.add(I(0x79, self.any(), 10, place))
        else:
            size = rng.choice((1, 2, 4))
            signed = 0x20 if rng.random() < 0.3 else 0
            at = place + rng.choice((0, 0, 8 - size))
            self.add(I(LOADS[size] + signed, self.any(), 10, at))

    def through_stack(self) -> None:
        """A number goes to the stack, perhaps its place is partly overwritten, and it returns."""
        rng = self.rng
        register, place = self.any(), -8 * rng.randrange(2, 5)
        size = rng.choice((4, 8, 8))
        self.add(I(STORES[size], 10, register, place))
        match rng.randrange(6):
            case 0:
                self.add(I(0x72, 10, 0, place + rng.choice((0, 3, 7)), rng.choice((0, 1))))
            case 1:
                self.add(I(0xBF, 1, 10), I(0x07, 1, imm=place), I(0xB7, 2, imm=rng.choice((1, 8))))
                self.add(I(0xBF, 3, 6), I(0x85, imm=113))
            case 2:
                self.add(I(0xB5, register, 0, 2, rng.choice((7, 15))), *_EXIT)
            case 3:
                self.branch()
        dst = self.any()
        self.add(I(LOADS[size], dst, 10, place))
        if rng.random() < 0.6:
            self.use(dst, bounded=rng.random() < 0.6)

    # --- structure ------------------------------------------------------------------------------

    def loop(self) -> None:
        rng = self.rng
        counter = self.any()
        if rng.random() < 0.2:
            at = len(self.out)
            self.add(I(0xE5))
            rng.choice((self.compute, self.move))(self.other(counter))
            self.add(I(0x05, off=at - len(self.out) - 1))
            self.out[at] = I(0xE5, off=len(self.out) - at - 1)
            return
        times = rng.choice((2, 3, 4, 6))
        self.add(I(0xB7, counter, imm=0))
        start = len(self.out)
        other = self.other(counter)
        match rng.randrange(4):
            case 0:
                self.compute(other)
            case 1:
                self.add(I(0x0F, other, counter))
            case 2:
                self.add(I(0xBF, 1, 10), I(0x0F, 1, counter), I(0x72, 1, 0, -32, 1))
                self.spilled.clear()
            case 3:
                self.add(I(0xBF, other, counter))
        self.add(I(0x07, counter, imm=1))
        code = rng.choice((0xA5, 0xA5, 0xC5, 0xA6, 0x55))
        self.add(I(code, counter, 0, start - len(self.out) - 1, times))
        if rng.random() < 0.5:
            self.use(rng.choice((counter, other)), bounded=rng.random() < 0.4)

    def call(self) -> None:
        """A function of the program: it gets a number, a place on the stack, and the context."""
        rng = self.rng
        if self.local:
            return
        self.add(I(0xBF, 1, self.any()), I(0xBF, 2, 10), I(0x07, 2, imm=-rng.choice((16, 24))))
        self.add(I(0x7A, 10, 0, -16, 0), I(0x7A, 10, 0, -24, 3))
        self.add(I(0xBF, 3, 6), I(0x85, src=1, imm=0x7FFF))
        self.spilled.clear()
        if rng.random() < 0.7:
            self.add(I(0xBF, self.any(), 0))

    def callee(self) -> list[Instruction]:
        """What `call` calls."""
        rng = self.rng
        outer, self.out, self.local = self.out, [], True
        self.spilled = set()
        self.add(I(0xBF, 7, 1), I(0xBF, 6, 2), I(0xB7, 8, imm=rng.choice(_SMALL)), I(0xBF, 9, 7))
        self.add(I(0x7B, 10, 3, CONTEXT))
        for _ in range(rng.randrange(1, 3)):
            rng.choice((self.compute, self.move, self.through_stack, self.join, self.branch))()
        match rng.randrange(3):
            case 0:
                self.add(I(0x7B, 6, self.any(), 0))
            case 1:
                self.add(I(0x79, self.any(), 6, 0))
        if rng.random() < 0.6:
            self.leave()
        if rng.random() < 0.4:
            self.add(I(0x57, 7, imm=15))
        self.add(I(0xBF, 0, self.any()), I(0x95))
        made, self.out, self.local = self.out, outer, False
        return made

    def leave(self) -> None:
        """What may end a function before its end: a tail call, a packet that is too short."""
        if self.rng.random() < 0.5:
            self.add(I(0x79, 1, 10, CONTEXT), I(0x18, 2, 1, 0, 5), I(0), I(0xBF, 3, self.any()))
            self.add(I(0x85, imm=12))
        else:
            self.add(I(0x7B, 10, 6, CONTEXT - 8), I(0x79, 6, 10, CONTEXT))
            self.legacy()
            self.add(I(0x79, 6, 10, CONTEXT - 8))

    def record(self) -> None:
        """A ring buffer's record: reserved, written, submitted."""
        rng = self.rng
        register, size = self.any(), rng.choice((8, 16))
        if rng.random() < 0.7:
            self.bound(register, size - 1)
        self.add(I(0x18, 1, 1, 0, 4), I(0), I(0xB7, 2, imm=size), I(0xB7, 3), I(0x85, imm=131))
        self.add(I(0x55, 0, 0, 2, 0), *_EXIT, I(0xBF, 1, 0), I(0x0F, 0, register))
        self.add(I(0x72, 0, 0, 0, 1), I(0xB7, 2), I(0x85, imm=rng.choice((132, 133))))

    def pointer_spill(self) -> None:
        """A pointer that may be null goes to the stack and comes back; one copy is checked."""
        rng = self.rng
        if rng.random() < 0.4:
            self.value(rng.randrange(4), ARRAY, 2)
        else:
            self.add(I(0x62, 10, 0, -4, rng.randrange(6)), I(0xBF, 2, 10), I(0x07, 2, imm=-4))
            self.add(I(0x18, 1, 1, 0, rng.choice((1, 2))), I(0), I(0x85, imm=1))
        place = -8 * rng.randrange(2, 5)
        self.add(I(0x7B, 10, 0, place))
        self.spilled.discard(place)
        if rng.random() < 0.5:
            self.add(I(0x55, 0, 0, 2, 0), *_EXIT)
            self.add(I(0x79, 1, 10, place))
        else:
            self.add(I(0x79, 1, 10, place), I(0x55, rng.choice((0, 1)), 0, 2, 0), *_EXIT)
        base = rng.choice((0, 1))
        if rng.random() < 0.5:
            register = self.any()
            self.bound(register, 8)
            self.add(I(0x79, 1, 10, place), I(0x0F, 1, register))
            base = 1
        self.touch(base, 0, rng.choice((1, 4, 8)))

    def other_helper(self) -> None:
        rng = self.rng
        match rng.randrange(4):
            case 0:
                self.add(I(0x62, 10, 0, -4, rng.randrange(3)), I(0xBF, 2, 10), I(0x07, 2, imm=-4))
                self.add(I(0xBF, 3, 10), I(0x07, 3, imm=-48), I(0xB7, 4))
                self.add(I(0x18, 1, 1, 0, 1), I(0), I(0x85, imm=2))
            case 1:
                self.add(I(0xBF, 1, 6), I(0x18, 2, 1, 0, 5), I(0), I(0xBF, 3, self.any()))
                self.add(I(0x85, imm=12))
            case 2:
                self.add(I(0xBF, 1, 10), I(0x07, 1, imm=-32), I(0xB7, 2, imm=16), I(0x85, imm=16))
                self.spilled.clear()
            case 3:
                register = self.any()
                self.bound(register, 56)
                self.add(I(0x18, 1, 2, 0, 7), I(0), I(0x0F, 1, register))
                self.touch(1, 0, rng.choice((1, 2, 4, 8)))
        if rng.random() < 0.3:
            self.add(I(0xB7, 0))

    def legacy(self) -> None:
        if self.prog_type in (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS):
            self.add(I(self.rng.choice((0x20, 0x28, 0x30)), imm=self.rng.choice((0, 1, 12, 20))))
            self.add(I(0xBF, self.any(), 0))

    def filler(self) -> None:
        self.rng.choice((self.compute, self.move, self.spill, self.fill, self.branch))()

    def write(self) -> Source:
        rng = self.rng
        for register in NUMBERS:
            if rng.random() < 0.6:
                self.unknown(register)
            else:
                self.add(I(0xB7, register, imm=rng.choice(_SMALL)))
        kinds: tuple[Callable[[], None], ...] = (
            *(self.compute, self.compute, self.move, self.move, self.branch, self.branch),
            *(self.spill, self.fill, self.use, self.use, self.join, self.join, self.link),
            *(self.through_stack, self.through_stack, self.loop, self.call, self.call, self.record),
            *(self.pointer_spill, self.other_helper, self.legacy, self.unknown),
        )
        for _ in range(rng.randrange(2, 6)):
            rng.choice(kinds)()
        self.add(I(0xB7, 0, imm=rng.choice((0, 1))), I(0x95))
        calls = [n for n, insn in enumerate(self.out) if insn.code == 0x85 and insn.src == 1]
        functions: tuple[tuple[int, Func], ...] = ()
        if calls:
            end = len(self.out)
            functions = (0, PROGRAM), (end, CALLED)
            for slot in calls:
                self.out[slot] = self.out[slot]._replace(imm=end - slot - 1)
            self.out += self.callee()
        return Source(
            tuple(self.out),
            self.prog_type,
            maps=MAPS,
            functions=functions,
            has_btf=bool(functions),
        )


def beginning(rng: random.Random, prog_type: ProgType | None = None) -> Source:
    """A few right instructions without an end, of a program of a type."""
    writer = _Writer(rng, prog_type)
    for register in NUMBERS:
        writer.add(I(0xB7, register, imm=rng.choice(_SMALL)))
    for _ in range(rng.randrange(3)):
        rng.choice((writer.compute, writer.move, writer.branch, writer.use, writer.spill))()
    return Source(tuple(writer.out), writer.prog_type, maps=MAPS)


def programs(seed: int) -> Iterator[Source]:
    """Endless random programs."""
    rng = random.Random(seed)
    while True:
        yield _Writer(rng).write()
