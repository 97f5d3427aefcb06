"""What goes into the verifier and what comes out: the seam between it and `kernel.programs`.

A `Source` is a program as BPF_PROG_LOAD brings it, with everything its descriptors and ids stand
for already looked up, so that the verifier itself asks no kernel anything. A `Verdict` says yes,
with the facts that engines and views use, or no, with an errno, the log and a `Refusal`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from minibcc.abi.bpf import MAX_INSNS
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.abi.bpf import AttachType, MapType, ProgType
    from minibcc.abi.requests import Refusal
    from minibcc.btf.types import Func, Type
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk
    from minibcc.kernel.verifier.state import State


class MapFacts(Record, frozen=False):
    """A map as the verifier sees it; one object per map (it compares by identity).

    Sizes are bytes; `flags` those of its creation (`MapFlags`). `read` gives the bytes of the
    first element for a map whose content can no longer change (frozen and BPF_F_RDONLY_PROG), and
    is None for all others. `inner` describes the elements of a map of maps. `value_type` is the
    BTF type of its values where known.
    """

    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    read: Callable[[int, int], bytes] | None = None
    inner: MapFacts | None = None
    name: str = ""
    id: int = 0
    value_type: Type | None = None


class Line(Record):
    """From slot `slot` on, code comes from `line` (from 1) of `file`, whose text is `text`."""

    slot: int
    file: str
    line: int
    text: str


class Source(Record):
    """A program to verify.

    `instructions` are its slots with descriptors in place; `maps` says what map a descriptor
    names (one that is missing is refused with EBADF, as in Linux, one in `others`, which is of
    something else, with EINVAL). `gpl` is whether its licence is
    compatible. `functions` are (first slot, BTF function) of func_info, `lines` those of
    line_info; `has_btf` is whether the program came with BTF. `log_level` is `LogLevel`.
    `attach_func` is the kernel's function or tracepoint that it is for, `attach_id` that one's
    number in the kernel's BTF.
    """

    instructions: tuple[Instruction, ...]
    prog_type: ProgType
    attach_type: AttachType | int = 0
    maps: Mapping[int, MapFacts] = {}
    gpl: bool = True
    prog_flags: int = 0
    functions: tuple[tuple[int, Func], ...] = ()
    lines: tuple[Line, ...] = ()
    has_btf: bool = False
    log_level: int = 0
    attach_func: Func | None = None
    attach_id: int = 0
    others: frozenset[int] = frozenset()


class KernelTypes(Protocol):
    """The BTF of the kernel that verifies."""

    def find(self, name: str, /) -> Type | None:
        """The struct, union, typedef or function of that name."""
        ...


class Environment(Record):
    """The kernel that verifies: its own types, None where it has no BTF; the number of CPUs it may
    have, 0 where that is open; whether it runs loads through pointers to its structures (in `Facts`
    of the kinds "ptr_" and "trusted_ptr_") as loads that may fault: only then are they allowed;
    the numbers of helpers that it was built without."""

    types: KernelTypes | None = None
    cpus: int = 0
    probe_loads: bool = False
    lacks: frozenset[int] = frozenset()


class Facts(Record):
    """What is known of an accepted program.

    `starts` are the first slots of its functions (0 first), `stacks` the bytes of stack each
    uses, beside it, and `stack` the deepest chain of calls. `dead` are the slots that no path
    reaches. `accesses` says of each load, store and atomic what kind of memory it touches
    ("ctx", "fp", "map_value", "pkt", "mem", "ptr_", ...; Linux's words for pointer types).
    `maps` is what map each 64-bit load at a slot refers to. `processed` counts the instructions
    that were walked, `states` the checkpoints that were kept.
    """

    starts: tuple[int, ...]
    stacks: tuple[int, ...]
    stack: int
    dead: frozenset[int]
    accesses: Mapping[int, str]
    maps: Mapping[int, MapFacts]
    processed: int
    states: int


class Witness(Record, frozen=False):
    """Asks `verify` to keep the states that it held, for tests that compare them with runs.

    With `every`, states are kept and compared at every instruction, else only where they always
    may be; each visit that needs a walk of its own is kept. With `exact`, one state stands in for
    another only if it holds all of it, so that every register of a kept state speaks for every
    run; without, only registers that are live and, if they are numbers, marked precise do.
    The walk ends after `limit` instructions. `walk` is the finished search; `held` are the states
    by slot, in the order of the visits.
    """

    every: bool = True
    exact: bool = False
    limit: int = MAX_INSNS
    walk: Walk | None = None
    held: dict[int, list[State]] = {}  # noqa: RUF012  # the walk puts its own there


class Verdict(Record):
    """`facts` where accepted; `errno`, `refusal` where not (its `message` is the log's main line).
    `log` is the kernel's text, as far as `log_level` asked for one."""

    accepted: bool
    log: str = ""
    errno: int = 0
    facts: Facts | None = None
    refusal: Refusal | None = None
