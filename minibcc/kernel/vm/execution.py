"""What an engine runs, and what a run carries: the seam between kernel, helpers and engines.

An `Image` is a program after verification, with every map pointer resolved to an address; an
engine (`interpreter.Interpreter`, `jit.Jit`) runs it. A `Run` is one execution: the helpers get it
as their first argument and find in it whatever the kernel gave them.

All values are unsigned 64-bit Python integers. Helpers are plain functions

    def map_lookup_elem(run: Run, r1: int, r2: int, r3: int, r4: int, r5: int) -> int

that take unsigned values and may return negative ones (errnos); engines mask the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.vm.memory import Memory

HelperFunction: TypeAlias = Callable[["Run", int, int, int, int, int], int]


class Image(Record, frozen=False):
    """A program as engines run it.

    `instructions` are its slots, with descriptors replaced by addresses; `starts` are the slots at
    which functions begin (0 first); `stacks` the bytes of stack of each, beside it. `helpers` are
    the functions it may call, by number. `program` is the kernel's own object, for helpers.
    `native` is the JIT's, once compiled.
    """

    name: str
    instructions: list[Instruction]
    helpers: dict[int, HelperFunction]
    starts: tuple[int, ...] = (0,)
    stacks: tuple[int, ...] = (512,)
    program: Any = None
    native: Any = None


class Run(Record, frozen=False):
    """One execution of a program.

    `memory` is the arena; `kernel` the kernel that runs it (helpers alone look into it); `task`
    and `cpu` where it runs; `event` what fired it (a `machine.hooks.Event`), None for a test run.
    `context` is the address of its context. `tail_call` asks the kernel for the program that
    ``bpf_tail_call(ctx, map, index)`` goes on with: None lets the call fail. `references` are
    the records reserved and not yet submitted.
    """

    memory: Memory
    kernel: Any = None
    task: Any = None
    cpu: int = 0
    event: Any = None
    context: int = 0
    image: Image | None = None
    tail_call: Callable[[int, int, int], Image | None] | None = None
    references: Any = None


class Engine(Protocol):
    name: str

    def run(self, image: Image, run: Run, arguments: tuple[int, ...] = ()) -> int:
        """R0 at the end, unsigned 64 bits. `arguments` go to R1 and on (usually the context).
        Raises `Fault` where the program does what the verifier should have refused."""
        ...


class Fault(Exception):
    """The program touched memory that is not its own, or ran into what is no instruction."""

    def __init__(self, message: str, insn: int = -1, address: int = 0, size: int = 0) -> None:
        super().__init__(message)
        self.insn = insn
        self.address = address
        self.size = size
