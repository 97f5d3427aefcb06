"""What an engine runs, and what a run carries: the seam between kernel, helpers and engines.

An `Image` is a program after verification, with every map pointer resolved to an address; an
engine (`interpreter.Interpreter`, `jit.Jit`) runs it. A `Run` is one execution: the helpers get it
as their first argument and find in it whatever the kernel gave them.

All values are unsigned 64-bit Python integers. Helpers are plain functions

    def map_lookup_elem(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int

that take unsigned values and may return negative ones (errnos); engines mask the result. An
exception in a helper ends the run, in either engine, and comes out of `Engine.run` unchanged.

A helper that loops calls a function of the program by ``run.call(function, r1, r2, ...)``, where
`function` is the value that the program passed it (a `FUNC` load's).

What a program does not see of the instruction set, but an image holds, as in Linux after
verification: loads of kernel memory through BTF pointers have mode `PROBE_MEM` (`PROBE_MEMSX` if
sign extended; `decode.may_fault` makes them), and read 0 where there is nothing to read.

Frames: a run gets a chain of `FRAMES` frames from the arena, one every `FRAME_PITCH` bytes; after
the `STACK_SIZE` bytes of each comes a gap that is nobody's. R10 is the frame's end. All registers
but the arguments and R10 are 0 at the start of a function; R1 to R5 survive a call as they were (no
verified program can tell).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from minibcc.abi.bpf import MAX_CALL_FRAMES, MAX_TAIL_CALLS
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.vm.layouts import Layout
    from minibcc.kernel.vm.memory import Arena

PROBE_MEM = 0x20
"""Mode of a load that may fault and then reads 0 (include/linux/filter.h, BPF_PROBE_MEM)."""
PROBE_MEMSX = 0x40
FRAME_PITCH = 1024
FRAMES = MAX_CALL_FRAMES * (MAX_TAIL_CALLS + 1)
"""Functions that can be under way at once: every tail call may be made by a called function."""
TAIL_CALL = 12
"""The helper that engines do themselves."""
MAX_LOOPS = 1 << 23
"""How often a function's frame may pass its may_gotos (include/linux/bpf.h, BPF_MAX_LOOPS)."""
CODE = 0xFFFF_FFFF_C000_0000
"""Where functions of a program seem to lie: a `FUNC` load gives CODE + 8 * slot."""

HelperFunction: TypeAlias = Callable[["Run", int, int, int, int, int], int]


class Image(Record, frozen=False):
    """A program as engines run it.

    `instructions` are its slots, with descriptors replaced by addresses; `starts` are the slots at
    which functions begin (0 first); `stacks` the bytes of stack of each, beside it. `helpers` are
    the functions it may call, by number, and `kfuncs` the kernel's, by BTF id; number 12, the tail
    call, is the engine's own. `layouts` are what native code may know of its maps, by address
    (with helper 1 among `helpers`, updates too make it remember).
    `program` is the kernel's own object, for helpers. `steps` is the interpreter's and `native`
    the JIT's, once they have prepared the image; `runs` counts for the engine that chooses between
    them (-1: it has chosen), and `spent` are the nanoseconds of its runs in native code.
    """

    name: str
    instructions: list[Instruction]
    helpers: dict[int, HelperFunction]
    starts: tuple[int, ...] = (0,)
    stacks: tuple[int, ...] = (512,)
    program: Any = None
    native: Any = None
    kfuncs: dict[int, HelperFunction] = {}  # noqa: RUF012  # never mutated
    layouts: dict[int, Layout] = {}  # noqa: RUF012  # never changed
    steps: Any = None
    runs: int = 0
    spent: int = 0


class Run(Record, frozen=False):
    """One execution of a program.

    `memory` is the arena; `kernel` the kernel that runs it (helpers alone look into it); `task`
    and `cpu` where it runs; `event` what fired it (a `machine.hooks.Event`), None for a test run.
    `context` is the address of its context. `tail_call` asks the kernel for the program that
    ``bpf_tail_call(ctx, map, index)`` goes on with: None lets the call fail; `image` is the program
    that runs at the moment. `references` are the records reserved and not yet submitted.

    `probe` reads kernel memory for `PROBE_MEM`: address and size to an unsigned value, 0 where
    there is nothing. `packet` serves the legacy packet loads: signed offset (negative ones are
    SKF_AD_OFF and its like) and size to the number in host order, None to end the program with
    R0 = 0. `call` is the engine's: it calls back into the program.
    """

    memory: Arena
    kernel: Any = None
    task: Any = None
    cpu: int = 0
    event: Any = None
    context: int = 0
    image: Image | None = None
    tail_call: Callable[[int, int, int], Image | None] | None = None
    references: Any = None
    probe: Callable[[int, int], int] | None = None
    packet: Callable[[int, int], int | None] | None = None
    call: Callable[..., int] | None = None


class Engine(Protocol):
    name: str

    def run(self, image: Image, run: Run, arguments: tuple[int, ...] = ()) -> int:
        """R0 at the end, unsigned 64 bits. `arguments` go to R1 and on (usually the context).
        Raises `Fault` where the program does what the verifier should have refused."""
        ...

    def repeat(self, image: Image, run: Run, arguments: tuple[int, ...], count: int) -> int:
        """`run`, `count` times (at least once) with only R1 given; the last one's R0. Native code
        repeats without coming up to Python in between, as BPF_PROG_TEST_RUN does."""
        ...


class Observer(Protocol):
    """Watches an interpreted run, instruction by instruction."""

    def before(self, image: Image, slot: int, registers: list[int]) -> None:
        """The instruction at `slot` comes next. `registers` are the eleven, not to be changed."""
        ...

    def after(self, image: Image, slot: int, registers: list[int]) -> None:
        """It is done; a call of a function is done as soon as the function is entered."""
        ...

    def wrote(self, address: int, size: int, value: int) -> None:
        """It wrote memory."""
        ...

    def called(self, number: int, arguments: tuple[int, ...], result: int) -> None:
        """It called helper `number` (a kernel function: minus its BTF id)."""
        ...


class Fault(Exception):
    """The program touched memory that is not its own, or ran into what is no instruction."""

    def __init__(self, message: str, insn: int = -1, address: int = 0, size: int = 0) -> None:
        super().__init__(message)
        self.insn = insn
        self.address = address
        self.size = size
