"""The interpreter: what every instruction means, said once in Python.

This is the definition that the JIT and the verifier are tested against, and it is tested against
RFC 9669 and Linux. `steps` says what one instruction does, and `semantics` what arithmetic means;
here is what holds a run together: registers, frames, calls and returns, the loop. Every access to
memory asks the arena whether a program may do that.

Mirrors kernel/bpf/core.c (___bpf_prog_run) as far as semantics go; what is not specified there is
in `execution`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import STACK_SIZE
from minibcc.kernel.vm.execution import (
    CODE,
    FRAME_PITCH,
    FRAMES,
    MAX_LOOPS,
    Fault,
    Image,
    Observer,
    Run,
)
from minibcc.kernel.vm.semantics import MASK64
from minibcc.kernel.vm.steps import END, SWITCH, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.kernel.vm.steps import Step

_ZERO_FRAME = bytes(STACK_SIZE)


class Frame(NamedTuple):
    """A caller, suspended."""

    image: Image
    back: int
    registers: list[int]
    loops: int


class State:
    """A run in progress: what steps need beside the registers."""

    __slots__ = (
        "frames", "image", "loops", "memory", "next", "observer",
        "read", "registers", "run", "steps", "tail_calls", "write",
    )  # fmt: skip

    def __init__(self, image: Image, run: Run, observer: Observer | None) -> None:
        self.run = run
        self.memory = run.memory
        self.read = run.memory.read
        self.write = run.memory.write if observer is None else _reported(run, observer)
        self.observer = observer
        self.image = image
        self.steps: list[Step] = prepare(image)
        self.next = 0
        self.registers = [0] * 11
        self.frames: list[Frame] = []
        self.loops = MAX_LOOPS
        self.tail_calls = 0

    def enter(self, back: int, arguments: list[int]) -> None:
        """Suspends the current function, to be resumed at `back`, and clears the stage for
        another."""
        registers = self.registers
        frames = self.frames
        if len(frames) + 1 == FRAMES:
            raise Fault(f"more than {FRAMES} functions deep")
        frames.append(Frame(self.image, back, registers.copy(), self.loops))
        self.begin(arguments, registers[10] + FRAME_PITCH)

    def begin(self, arguments: list[int], top: int) -> None:
        """The state at a function's first instruction; `top` is the end of its frame."""
        self.memory.view(top - STACK_SIZE, STACK_SIZE)[:] = _ZERO_FRAME
        count = len(arguments)
        self.registers[:] = [0, *arguments, *[0] * (9 - count), top]
        self.loops = MAX_LOOPS

    def leave(self) -> int:
        """Resumes the caller; R0 stays."""
        if not self.frames:
            return END
        image, back, registers, self.loops = self.frames.pop()
        self.registers[1:] = registers[1:]
        if image is not self.image:  # a tail call came between
            self.run.image = self.image = image
            self.steps = prepare(image)
            self.next = back
            return back if back == END else SWITCH
        return back

    def call(self, function: int, *arguments: int) -> int:
        """`Run.call`: a helper calls back into the program."""
        slot, rest = divmod(function - CODE, 8)
        if rest or slot not in self.image.starts:
            raise Fault(f"{function:#x} is no function of the program")
        steps, position, depth = self.steps, self.next, len(self.frames)
        self.enter(END, [argument & MASK64 for argument in arguments])
        try:
            return _execute(self, slot)
        except BaseException:
            # Whoever called back may know what to do: the caller must be as it was.
            del self.frames[depth + 1 :]
            self.leave()
            raise
        finally:
            self.steps, self.next = steps, position


def _reported(run: Run, observer: Observer) -> Callable[[int, int, int], None]:
    def write(address: int, size: int, value: int) -> None:
        run.memory.write(address, size, value)
        observer.wrote(address, size, value & (1 << 8 * size) - 1)

    return write


class Interpreter:
    """The engine that checks everything."""

    name = "interpreter"

    def run(
        self,
        image: Image,
        run: Run,
        arguments: tuple[int, ...] = (),
        observer: Observer | None = None,
    ) -> int:
        """R0 at the end. Raises `Fault` (with the slot in `insn`) as `Engine` says; `observer`
        is told of every step."""
        run.image = image
        state = State(image, run, observer)
        run.call = state.call
        chain = run.memory.push_stack()
        try:
            state.begin([argument & MASK64 for argument in arguments], chain + STACK_SIZE)
            return _execute(state, 0)
        finally:
            run.call = None
            run.memory.pop_stack()

    def repeat(self, image: Image, run: Run, arguments: tuple[int, ...], count: int) -> int:
        """R0 of the last of `count` executions."""
        for _ in range(count):
            result = self.run(image, run, arguments)
        return result


def _execute(state: State, position: int) -> int:
    """Runs from `position` until the function that is there returns; its R0."""
    registers = state.registers
    try:
        while True:
            steps = state.steps
            if state.observer is None:
                while position >= 0:
                    position = steps[position](registers, state)
            else:
                observer = state.observer
                while position >= 0:
                    image, slot = state.image, position
                    observer.before(image, slot, registers)
                    position = steps[slot](registers, state)
                    observer.after(image, slot, registers)
            if position == END:
                return registers[0]
            position = state.next
    except Fault as fault:
        if fault.insn < 0:
            fault.insn = position
        raise
