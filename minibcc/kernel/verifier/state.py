"""What the verifier holds at one instruction of one path: registers, stack, frames, references.

A `Register` is an immutable tuple, shared by every state that holds it; a `Frame` is eleven of
them and the stack slots in use; a `State` is the frames of a call chain and what was acquired and
must be released. Copying a state copies small lists and dictionaries, never registers.

Stack slots are 8 bytes, numbered from 0 just below the frame pointer. A slot is the kind of each of
its bytes, one letter each as the kernel's log prints them (the byte at the highest address first),
and the register that was spilled into it, if one was. Mirrors ``struct bpf_reg_state``,
``bpf_func_state`` and ``bpf_verifier_state`` of include/linux/bpf_verifier.h.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from minibcc.kernel.verifier.values import ANY, ZERO, Range, constant

if TYPE_CHECKING:
    from collections.abc import Iterator

# Kinds of value: a base in the low byte, flags above it.
(
    NOT_INIT,
    SCALAR,
    CTX,
    MAP,
    MAP_VALUE,
    STACK,
    PACKET_META,
    PACKET,
    PACKET_END,
    SOCKET,
    SOCK_COMMON,
    TCP_SOCK,
    BTF,
    MEMORY,
    FUNCTION,
    MAP_KEY,
    XDP_SOCK,
    DYNPTR,
    FLOW_KEYS,
) = range(19)
BASE = 0xFF
MAYBE_NULL = 1 << 8
READ_ONLY = 1 << 9
RINGBUF = 1 << 10
TRUSTED = 1 << 11
UNTRUSTED = 1 << 12
RCU = 1 << 13

_NAMES = {
    NOT_INIT: "?",
    SCALAR: "scalar",
    CTX: "ctx",
    MAP: "map_ptr",
    MAP_VALUE: "map_value",
    STACK: "fp",
    PACKET_META: "pkt_meta",
    PACKET: "pkt",
    PACKET_END: "pkt_end",
    SOCKET: "sock",
    SOCK_COMMON: "sock_common",
    TCP_SOCK: "tcp_sock",
    BTF: "ptr_",
    MEMORY: "mem",
    FUNCTION: "func",
    MAP_KEY: "map_key",
    XDP_SOCK: "xdp_sock",
    DYNPTR: "dynptr_ptr",
    FLOW_KEYS: "flow_keys",
}
_PREFIXES = (
    (READ_ONLY, "rdonly_"),
    (RINGBUF, "ringbuf_"),
    (RCU, "rcu_"),
    (UNTRUSTED, "untrusted_"),
    (TRUSTED, "trusted_"),
)


SOCKETS = (SOCK_COMMON, SOCKET, TCP_SOCK, XDP_SOCK)


@cache
def kind_name(kind: int) -> str:
    """As the kernel writes it: ``map_value_or_null``."""
    base = kind & BASE
    name = "".join(text for flag, text in _PREFIXES if kind & flag) + _NAMES[base]
    if kind & MAYBE_NULL:
        name += "or_null_" if base == BTF else "_or_null"
    return name


class Register(NamedTuple):
    """A value. `kind` is a base and flags.

    A pointer points `off` + (a value of `range`) bytes into its object; for a scalar, `range` is
    the value, and `off` what it is ahead of the others of its `id` where `ahead` is 64 (or, cut to
    32 bits, where it is 32). `id` links copies of one scalar, pointers of one null check, packet
    pointers of one variable part.
    `ref` is the reference that must be released, `object` the map (`MapFacts`) or the BTF type,
    `room` the size of the memory, the bytes of packet known to be there (negative: beyond or at
    its end) or the first slot of a function, `frame` whose stack it points into
    (or, of memory, the id of the dynptr that it is a slice of). `precise` says
    that pruning may not generalise its range.
    """

    kind: int
    range: Range = ANY
    off: int = 0
    id: int = 0
    ref: int = 0
    object: Any = None
    room: int = 0
    frame: int = 0
    precise: bool = False
    ahead: int = 0

    def ranged(self, value: Range) -> Register:
        """The same with that `range`."""
        return self if value is self[1] else Register(self[0], value, *self[2:])


UNINITIALISED = Register(NOT_INIT)


def scalar(value: Range) -> Register:
    return Register(SCALAR, value)


ANY_NUMBER = scalar(ANY)
"""A number of which nothing is known."""


@lru_cache(1 << 12)
def number(value: int) -> Register:
    return Register(SCALAR, constant(value))


def pointer(kind: int, **fields: Any) -> Register:
    """At the start of its object."""
    return Register(kind, ZERO, **fields)


def same_value(a: Register, b: Register) -> bool:
    """Equal but for where they come from and how precisely they were needed."""
    return a[:8] == b[:8] and a.ahead == b.ahead


def is_null(register: Register) -> bool:
    return register.kind == SCALAR and register.range.bits == (0, 0)


# Bytes of the stack.
INVALID, SPILL, MISC, ZEROED, DYNPTR_BYTE = b"?rm0d"

Slot: TypeAlias = tuple[bytes, Register | None]
EMPTY: Slot = (b"????????", None)


def spilled(slot: Slot) -> Register | None:
    """The register in a slot, if its low byte still is that register's."""
    return slot[1] if slot[0][7] == SPILL else None


class Callback(NamedTuple):
    """A function that the kernel calls: the least and the greatest number that it may return.
    `entry` counts how often it was set going, for one that is called later, by a timer; 0 for one
    that a helper calls before it returns."""

    low: int
    high: int
    entry: int = 0


class Frame:
    """A function's registers and stack.

    `function` is its index, `callsite` the slot of the call (-1 for the main program), `chain` the
    function of the lowest frame and the call sites from there, `depth` how much stack it may use
    in bytes, as far as this path has seen. `callback` is what a callback may return, `rounds` how
    often the helper that this frame calls has called back.
    """

    __slots__ = (
        "callback", "callsite", "chain", "depth", "function", "number", "registers", "rounds",
        "stack",
    )  # fmt: skip

    def __init__(self, function: int, below: Frame | None = None, callsite: int = -1) -> None:
        self.chain: tuple[int, ...] = (*below.chain, callsite) if below else (function,)
        self.number: int = len(self.chain) - 1
        self.function = function
        self.callsite = callsite
        self.registers = [UNINITIALISED] * 10 + [pointer(STACK, frame=self.number)]
        self.stack: dict[int, Slot] = {}
        self.depth = 0
        self.callback: Callback | None = None
        self.rounds = 0

    def copy(self) -> Frame:
        other = Frame.__new__(Frame)
        other.number = self.number
        other.function = self.function
        other.callsite = self.callsite
        other.chain = self.chain
        other.registers = self.registers.copy()
        other.stack = self.stack.copy()
        other.depth = self.depth
        other.callback = self.callback
        other.rounds = self.rounds
        return other

    def put(self, index: int, on_stack: bool, register: Register) -> None:
        """Replaces a register, or (`on_stack`) the one that was spilled into a slot."""
        if on_stack:
            self.stack[index] = self.stack[index][0], register
        else:
            self.registers[index] = register


class Reference(NamedTuple):
    """Something acquired at `slot` that must be released; with `lock`, a map, a lock in that map's
    value `id`."""

    id: int
    slot: int
    lock: Any = None


class State:
    """One point of one path.

    `parent` is the checkpoint it grew from, `branches` how many unfinished paths grow from a
    checkpoint. `goto_depth` and `unrolled` count passed may_gotos and calls of callbacks.
    `history` are the slots walked since the checkpoint, `links` what precision needs to know of
    some of them (by position in `history`), `noted` how many of them Linux would write down:
    those that jumps and calls lead to, and those with links.
    """

    __slots__ = (
        "branches",
        "frames",
        "goto_depth",
        "history",
        "links",
        "noted",
        "parent",
        "previous",
        "references",
        "slot",
        "unrolled",
    )

    def __init__(self, frames: list[Frame]) -> None:
        self.frames = frames
        self.references: tuple[Reference, ...] = ()
        self.parent: State | None = None
        self.branches = 0
        self.history: list[int] = []
        self.links: dict[int, Link] = {}
        self.noted = 0
        self.goto_depth = 0
        self.unrolled = 0
        self.slot = 0
        self.previous = -1

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def copy(self) -> State:
        """The values alone; where it stands in the search is for the search to say."""
        other = State.__new__(State)
        other.frames = [frame.copy() for frame in self.frames]
        other.references = self.references
        other.parent = self.parent
        other.branches = 0
        other.history = self.history.copy()
        other.links = self.links.copy()
        other.noted = self.noted
        other.goto_depth = self.goto_depth
        other.unrolled = self.unrolled
        other.slot = self.slot
        other.previous = self.previous
        return other

    def copies(self, number: int) -> list[tuple[Frame, int, bool, Register]]:
        """The registers of that id, as `each_register` gives them."""
        found = []
        for frame in self.frames:
            for index, register in enumerate(frame.registers):
                if register.id == number:
                    found.append((frame, index, False, register))
            for index, (types, spilled) in frame.stack.items():
                if spilled is not None and spilled.id == number and types[7] == SPILL:
                    found.append((frame, index, True, spilled))
        return found

    def each_register(self) -> Iterator[tuple[Frame, int, bool, Register]]:
        """Every register: (frame, its number or stack slot, whether it is a stack slot, value)."""
        for frame in self.frames:
            for index, register in enumerate(frame.registers):
                yield frame, index, False, register
            for index, slot in frame.stack.items():
                if slot[1] is not None and slot[0][7] == SPILL:
                    yield frame, index, True, slot[1]


class Link(NamedTuple):
    """What an instruction did that its text does not say: the stack slot it spilled to or filled
    from (`frame`, `spill`; -1: none), and the registers and slots that one scalar id linked at a
    branch, as (frame number, register or stack slot, whether it is a stack slot)."""

    frame: int = -1
    spill: int = -1
    linked: tuple[tuple[int, int, bool], ...] = ()


class Refused(Exception):
    """The program may not do this. `errno` and `message` are the kernel's; `slot` is the refused
    one, if it is not where the walk stands. The log gets `lead` after the message, as further
    lines."""

    def __init__(
        self,
        errno: int,
        code: str,
        message: str,
        *,
        slot: int | None = None,
        lead: str = "",
    ) -> None:
        super().__init__(message)
        self.errno = errno
        self.code = code
        self.message = message
        self.slot = slot
        self.lead = lead


def undecided(construct: str) -> Refused:
    """Linux could say; this verifier cannot yet."""
    from errno import EOPNOTSUPP

    return Refused(EOPNOTSUPP, "verify/not-decided", f"not decided: {construct}")
