"""Random programs that a verifier accepts, by construction: of any type, on maps of every type.

R6 is the context, R7 to R9 are numbers. The frame holds 64 bytes of numbers, a key, a value and a
place for a pointer. What is tracked beside that is which registers hold numbers (`numbers`), so
every piece of a program may begin at any place. Arguments of helpers come from the table of
helpers; what a map is for comes from `MAPS`. At its end a program mixes its numbers and its stack
into R0, or into a map where its type leaves R0 no freedom.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import ClassVar, NamedTuple

from minibcc.abi.bpf import AttachType, MapFlags, MapType, ProgType, Pseudo
from minibcc.abi.contexts import Field, context_of
from minibcc.abi.helpers import Helper, allowed, helper_for, number_of
from minibcc.abi.requests import MapCreate
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64, Instruction
from minibcc.isa.opcodes import OPCODES, Opcode
from minibcc.kernel.helpers.registry import implementations
from minibcc.kernel.packets import PACKET_TYPES
from tests.vm.generator import NUMBERS

DATA, KEY, VALUE, POINTER, DYNPTR = -64, -96, -160, -168, -184
"""Where things lie in the main function's frame; a called function has only DATA."""

T = MapType
NO_PREALLOC = int(MapFlags.NO_PREALLOC)
ANY_MAP = "lookup update delete each"
MAPS: dict[str, tuple[MapCreate, str]] = {
    "hash": (MapCreate(T.HASH, 4, 16, 6), ANY_MAP),
    "hash-odd": (MapCreate(T.HASH, 7, 5, 3, map_flags=NO_PREALLOC), ANY_MAP),
    "hash-long": (MapCreate(T.HASH, 20, 8, 4), ANY_MAP),
    "percpu-hash": (MapCreate(T.PERCPU_HASH, 8, 12, 4), ANY_MAP + " percpu"),
    "array": (MapCreate(T.ARRAY, 4, 32, 4), ANY_MAP),
    "array-odd": (MapCreate(T.ARRAY, 4, 3, 5), ANY_MAP),
    "globals": (MapCreate(T.ARRAY, 4, 64, 1), "direct"),
    "percpu-array": (MapCreate(T.PERCPU_ARRAY, 4, 24, 3), ANY_MAP + " percpu"),
    "lru": (MapCreate(T.LRU_HASH, 4, 8, 4), ANY_MAP),
    "lru-percpu": (MapCreate(T.LRU_PERCPU_HASH, 4, 8, 4), ANY_MAP + " percpu"),
    "timed": (MapCreate(T.ARRAY, 4, 24, 2), "timed"),
    "locked": (MapCreate(T.HASH, 4, 16, 4), "locked"),
    "trie": (MapCreate(T.LPM_TRIE, 8, 8, 6, map_flags=NO_PREALLOC), "lookup update delete"),
    "queue": (MapCreate(T.QUEUE, 0, 8, 4), "push pop peek"),
    "stack": (MapCreate(T.STACK, 0, 12, 4), "push pop peek"),
    "bloom": (MapCreate(T.BLOOM_FILTER, 0, 8, 8), "push peek"),
    "stacks": (MapCreate(T.STACK_TRACE, 4, 64, 8), "stackid"),
    "programs": (MapCreate(T.PROG_ARRAY, 4, 4, 4), "tail"),
    "events": (MapCreate(T.PERF_EVENT_ARRAY, 4, 4, 4), "perf"),
    "cgroups": (MapCreate(T.CGROUP_ARRAY, 4, 4, 2), "cgroup"),
    "array-of-maps": (MapCreate(T.ARRAY_OF_MAPS, 4, 4, 4), "outer"),
    "hash-of-maps": (MapCreate(T.HASH_OF_MAPS, 4, 4, 4), "outer"),
    "devices": (MapCreate(T.DEVMAP, 4, 4, 4), "redirect"),
    "devices-hash": (MapCreate(T.DEVMAP_HASH, 4, 8, 4), "redirect"),
    "processors": (MapCreate(T.CPUMAP, 4, 8, 4), "redirect"),
    "xsk": (MapCreate(T.XSKMAP, 4, 4, 4), "redirect"),
    "sockmap": (MapCreate(T.SOCKMAP, 4, 4, 4), "sockmap"),
    "sockhash": (MapCreate(T.SOCKHASH, 4, 8, 4), "sockhash"),
    "ring": (MapCreate(T.RINGBUF, 0, 0, 4096), "ring"),
    "cgroup-storage": (MapCreate(T.CGROUP_STORAGE, 16, 16, 0), "local"),
    "percpu-cgroup-storage": (MapCreate(T.PERCPU_CGROUP_STORAGE, 16, 16, 0), "local"),
    "task-storage": (MapCreate(T.TASK_STORAGE, 4, 8, 0, map_flags=NO_PREALLOC), "task"),
    "sk-storage": (MapCreate(T.SK_STORAGE, 4, 8, 0, map_flags=NO_PREALLOC), "sk"),
    "inode-storage": (MapCreate(T.INODE_STORAGE, 4, 8, 0, map_flags=NO_PREALLOC), "inode"),
    "cgrp-storage": (MapCreate(T.CGRP_STORAGE, 4, 8, 0, map_flags=NO_PREALLOC), "cgrp"),
    "text": (MapCreate(T.ARRAY, 4, 32, 1, map_flags=int(MapFlags.RDONLY_PROG)), "text"),
}
"""A map of each type that a BCC program can declare, some in several shapes, and what it is for."""

INNER = MapCreate(T.ARRAY, 4, 16, 2)
"""What the maps of maps hold."""
TEXT = b"%d %x %llu\0"

USES = {
    "map_lookup_elem": "lookup",
    "map_update_elem": "update",
    "map_delete_elem": "delete",
    "map_push_elem": "push",
    "map_pop_elem": "pop",
    "map_peek_elem": "peek",
    "map_lookup_percpu_elem": "percpu",
    "for_each_map_elem": "each",
    "get_stackid": "stackid",
    "perf_event_output": "perf",
    "perf_event_read": "perf",
    "perf_event_read_value": "perf",
    "skb_output": "perf",
    "xdp_output": "perf",
    "current_task_under_cgroup": "cgroup",
    "skb_under_cgroup": "cgroup",
    "redirect_map": "redirect",
    "sk_redirect_map": "sockmap",
    "msg_redirect_map": "sockmap",
    "sock_map_update": "sockmap",
    "sk_redirect_hash": "sockhash",
    "msg_redirect_hash": "sockhash",
    "sock_hash_update": "sockhash",
    "ringbuf_output": "ring",
    "ringbuf_reserve": "ring",
    "ringbuf_query": "ring",
    "ringbuf_reserve_dynptr": "ring",
    "get_local_storage": "local",
    "task_storage_get": "task",
    "task_storage_delete": "task",
    "sk_storage_get": "sk",
    "sk_storage_delete": "sk",
    "inode_storage_get": "inode",
    "inode_storage_delete": "inode",
    "cgrp_storage_get": "cgrp",
    "cgrp_storage_delete": "cgrp",
}
"""What a helper that takes a map needs it for."""

SPECIAL_KINDS = {"func", "dynptr", "spin_lock", "timer", "kptr_xchg_dest", "percpu_btf_id"}
SPECIAL_KINDS |= {"sock_common", "socket", "btf_id_sock_common"}
"""Kinds of arguments that `Writer` has no general way to make."""

RETURN_SOCKETS = ("sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp")
"""What a program must give back by ``sk_release``."""

USUAL = {
    # What sensible programs give where the table only says "anything".
    "map_update_elem": (0, 0, 0, 0, 1, 2),
    "map_push_elem": (0, 0, 0, 2),
    "perf_event_output": (0xFFFF_FFFF, 0xFFFF_FFFF, 0, 1, 9),
    "perf_event_read_value": (0xFFFF_FFFF, 0, 1, 9),
    "get_stackid": (0, 1 << 8, 1 << 9, 1 << 10, 3),
    "task_storage_get": (1, 1, 0),
    "dynptr_from_mem": (0,),
    "ringbuf_reserve": (0, 0, 0, 1),
    "ringbuf_output": (0, 0, 1, 2),
    "strtol": (0, 0, 10, 16, 8),
    "strtoul": (0, 0, 10, 16, 8),
    "redirect_map": (0, 1, 2, 3),
}
UNLOCKED = (
    ProgType.SOCKET_FILTER,
    ProgType.KPROBE,
    ProgType.TRACEPOINT,
    ProgType.PERF_EVENT,
    ProgType.RAW_TRACEPOINT,
    ProgType.RAW_TRACEPOINT_WRITABLE,
)
"""Types that may not use a map whose values have a lock."""
SMALL = (0, 0, 0, 1, 2, 3, 4, 8, 14, 20, 34)

TYPES: dict[tuple[ProgType, int], int] = {
    (ProgType.SOCKET_FILTER, 0): 12,
    (ProgType.SCHED_CLS, 0): 16,
    (ProgType.XDP, 0): 14,
    (ProgType.KPROBE, 0): 14,
    (ProgType.TRACEPOINT, 0): 4,
    (ProgType.PERF_EVENT, 0): 6,
    (ProgType.RAW_TRACEPOINT, 0): 5,
    (ProgType.RAW_TRACEPOINT_WRITABLE, 0): 1,
    (ProgType.CGROUP_SKB, 0): 5,
    (ProgType.SCHED_ACT, 0): 1,
    (ProgType.LWT_IN, 0): 2,
    (ProgType.LWT_OUT, 0): 2,
    (ProgType.LWT_XMIT, 0): 2,
    (ProgType.SK_SKB, 0): 3,
    (ProgType.SK_MSG, 0): 3,
    (ProgType.SOCK_OPS, 0): 3,
    (ProgType.CGROUP_SOCK, int(AttachType.CGROUP_INET_SOCK_CREATE)): 2,
    (ProgType.CGROUP_DEVICE, 0): 1,
    (ProgType.CGROUP_SYSCTL, 0): 1,
    (ProgType.CGROUP_SOCK_ADDR, int(AttachType.CGROUP_INET4_CONNECT)): 2,
    (ProgType.CGROUP_SOCKOPT, int(AttachType.CGROUP_GETSOCKOPT)): 1,
    (ProgType.SK_LOOKUP, int(AttachType.SK_LOOKUP)): 1,
    (ProgType.SK_REUSEPORT, int(AttachType.SK_REUSEPORT_SELECT)): 2,
    (ProgType.FLOW_DISSECTOR, 0): 1,
    (ProgType.SYSCALL, 0): 2,
    (ProgType.TRACING, int(AttachType.TRACE_FENTRY)): 4,
    (ProgType.TRACING, int(AttachType.TRACE_FEXIT)): 4,
    (ProgType.TRACING, int(AttachType.TRACE_RAW_TP)): 2,
    (ProgType.TRACING, int(AttachType.TRACE_ITER)): 2,
    (ProgType.LSM, int(AttachType.LSM_MAC)): 2,
}
"""How often programs of a type are made, by type and what they attach to."""

ROWS = {kind: [row for row in OPCODES if row.kind == kind] for kind in {r.kind for r in OPCODES}}
ALU = [row for row in ROWS["alu"] if row.op != "addr_space_cast"] + ROWS["swap"]
WITHOUT_OLD = ("mov", "movsx")
LDX8 = opcodes.of("load", "mem", size=8)
STX8 = opcodes.of("store", "mem", size=8, by_reg=True)
ADD = opcodes.of("alu", "add")
ADD_REG = opcodes.of("alu", "add", by_reg=True)
AND = opcodes.of("alu", "and")
MOV = opcodes.of("alu", "mov")
MOV_REG = opcodes.of("alu", "mov", by_reg=True)
MUL = opcodes.of("alu", "mul")
XOR_REG = opcodes.of("alu", "xor", by_reg=True)
JEQ = opcodes.of("jump", "jeq")
JNE = opcodes.of("jump", "jne")
JGT_REG = opcodes.of("jump", "jgt", by_reg=True)
EXIT = Instruction(0x95)
CALL = 0x85
SPARE_SHARE = 0.08
"""Programs that leave their context alone and give NULL for what they cannot have."""
FAR = 4096
"""Bytes of a context that are read of; a tracepoint's may be larger."""


class Program(NamedTuple):
    """`functions` are the slots at which functions begin, and what they are."""

    kind: ProgType
    attach: int
    instructions: list[Instruction]
    functions: list[tuple[int, str]]


def callable_helpers(kind: ProgType, attach: int, spare: bool) -> list[Helper]:
    """What such a program may call and `Writer` knows to give arguments to."""
    found = []
    for name in sorted(allowed(kind, attach) & implementations().keys()):
        row = helper_for(number_of(name) or 0, kind, attach)
        if row is None or name in Writer.SPECIAL:
            continue
        if row.might_sleep and kind != ProgType.SYSCALL:
            continue
        if kind == ProgType.SK_REUSEPORT and name.startswith("skb_"):
            continue  # there is no packet without a socket to send it to
        if row.result.kind not in ("integer", "void", "map_value") and not spare:
            continue
        if all(_givable(row, number, spare) for number in range(len(row.arguments))):
            found.append(row)
    return found


def _givable(row: Helper, number: int, spare: bool) -> bool:
    wanted = row.arguments[number]
    if wanted.kind in SPECIAL_KINDS or wanted.kind == "btf_id":
        task = wanted.btf == "task_struct" and not spare
        null = wanted.null and (spare or wanted.kind == "btf_id")
        return task or null
    if wanted.kind == "map_ptr":
        return row.name in USES
    return wanted.kind not in ("ringbuf_mem", "func")


_helpers: dict[tuple[ProgType, int, bool], list[Helper]] = {}


class Writer:
    """Writes one program. `fds` are the maps' descriptors by name."""

    SPECIAL: ClassVar = {
        *("map_lookup_elem", "map_lookup_percpu_elem", "for_each_map_elem", "tail_call", "loop"),
        *("ringbuf_reserve", "ringbuf_submit", "ringbuf_discard", "spin_lock", "spin_unlock"),
        *("dynptr_from_mem", "dynptr_read", "dynptr_write", "dynptr_data"),
        *("ringbuf_reserve_dynptr", "ringbuf_submit_dynptr", "ringbuf_discard_dynptr"),
        *("timer_init", "timer_set_callback", "timer_start", "timer_cancel"),
        *("get_current_task_btf", "sk_release", "task_pt_regs"),
    }
    """Helpers with a piece of their own, or that are for another one's results."""

    def __init__(self, random: Random, fds: dict[str, int]) -> None:
        self.random = random
        self.fds = fds
        self.kind, self.attach = random.choices(list(TYPES), list(TYPES.values()))[0]
        self.context = context_of(self.kind, self.attach)
        self.spare = random.random() < SPARE_SHARE
        self.slots: list[Instruction] = []
        self.numbers: set[int] = set()
        self.reserved: set[int] = set()
        self.functions: list[tuple[int, str]] = []  # slot of the call, what is called
        self.bodies = 0
        self.main = True
        key = self.kind, self.attach, self.spare
        if key not in _helpers:
            _helpers[key] = callable_helpers(*key)
        self.helpers = _helpers[key]

    def program(self) -> Program:
        self.put(MOV_REG, dst=6, src=1)
        self.numbers = set()
        self.point(1, "globals")
        for register in (7, 8, 9):
            self.put(LDX8, dst=register, src=1, off=8 * (register - 7))
        self.numbers = {7, 8, 9}
        self.fill(DATA, VALUE)
        self.block(self.random.randrange(2, 14), 0)
        self.finish((0, 0) if self.kind == ProgType.LSM else self.context.returns)
        starts = [(0, "main")]
        for slot, what in self.functions:  # bodies add to it
            starts.append((len(self.slots), what))
            self.slots[slot] = self.slots[slot]._replace(imm=len(self.slots) - slot - 1)
            self.body(what)
        return Program(self.kind, self.attach, self.slots, starts)

    def body(self, what: str) -> None:
        """A called function."""
        self.main = False
        if what == "function":
            self.numbers = {1, 2, 3, 4, 5}
            for register in (7, 8, 9):
                self.put(MOV_REG, dst=register, src=self.number())
        else:
            self.numbers = set()
            for register in (7, 8, 9):
                self.put(MOV, dst=register, imm=self.immediate())
            if what == "loop":
                self.put(MOV_REG, dst=8, src=1)
        self.numbers |= {7, 8, 9}
        self.fill(DATA)
        if what.startswith("each"):
            self.memory(3, 0, int(what[4:]), read_only=False)
        self.block(self.random.randrange(1, 5), 1)
        returns = {"function": None, "timer": (0, 0)}
        self.finish(returns.get(what, (0, 1)))

    def fill(self, *areas: int) -> None:
        """Numbers into some words of 64 bytes of the frame; the others are 0."""
        for area in areas:
            for word in self.random.sample(range(8), 3):
                self.put(STX8, dst=10, src=self.number(), off=area + 8 * word)

    def finish(self, returns: tuple[int, int] | None) -> None:
        """Mixes all numbers into R0, or into the map of globals where R0 is not free."""
        if 0 not in self.numbers:
            self.put(MOV, dst=0, imm=7)
        for register in sorted(self.numbers - {0}):
            self.put(MUL, dst=0, imm=31)
            self.put(XOR_REG, dst=0, src=register)
        self.put(MOV, dst=2, imm=1)
        for offset in (
            [*range(VALUE, KEY, 8), *range(DATA, 0, 8)] if self.main else range(DATA, 0, 8)
        ):
            self.put(LDX8, dst=1, src=10, off=offset)
            self.put(ADD_REG, dst=2, src=1)
            self.put(MUL, dst=2, imm=31)
        self.put(XOR_REG, dst=0, src=2)
        if returns is not None:
            self.point(1, "globals")
            self.put(STX8, dst=1, src=0, off=56)
            low, high = returns
            if high > low and low == 0:
                self.put(AND, dst=0, imm=(high + 1 >> 1) * 2 - 1 if high & high + 1 == 0 else 1)
            else:
                self.put(MOV, dst=0, imm=low)
        self.slots.append(EXIT)

    # --- what pieces are made of ----------------------------------------------------------------

    def number(self) -> int:
        """A register that holds a number."""
        return self.random.choice(sorted(self.numbers))

    def target(self) -> int:
        """A register that may be written."""
        return self.random.choice([r for r in range(10) if r != 6 and r not in self.reserved])

    def immediate(self) -> int:
        chance = self.random
        return (
            chance.choice(NUMBERS) if chance.random() < 0.6 else chance.getrandbits(32) - (1 << 31)
        )

    def put(self, row: Opcode, **fields: int) -> None:
        """An instruction of that row; the fields that are not given are 0."""
        values = {"dst": 0, "src": 0, "off": 0, "imm": 0} | fields
        for name in values:
            fixed = getattr(row, name)
            if fixed is not None:
                values[name] = fixed
        self.slots.append(Instruction(row.code, **values))

    def wide(self, register: int, value: int, high: int = 0, src: int = 0) -> None:
        self.slots += [Instruction(LD_IMM64, register, src, 0, value), Instruction(0, imm=high)]

    def point(self, register: int, name: str, offset: int = 0) -> None:
        """The address of a map's first value."""
        self.wide(register, self.fds[name], offset, Pseudo.MAP_VALUE)

    def map(self, register: int, name: str) -> None:
        self.wide(register, self.fds[name], 0, Pseudo.MAP_FD)

    def frame(self, register: int, offset: int) -> None:
        self.put(MOV_REG, dst=register, src=10)
        self.put(ADD, dst=register, imm=offset)

    def helper(self, name: str, *, number: bool = True) -> None:
        """The call; R0 holds a number then, unless it says otherwise."""
        self.slots.append(Instruction(CALL, imm=number_of(name) or 0))
        self.numbers -= {0, 1, 2, 3, 4, 5}
        if number:
            self.numbers.add(0)

    def aim(self, slot: int) -> None:
        """The jump at `slot` goes to what comes next."""
        insn = self.slots[slot]
        distance = len(self.slots) - slot - 1
        self.slots[slot] = (
            insn._replace(imm=distance) if insn.code == 0x06 else insn._replace(off=distance)
        )

    def unless(self, row: Opcode, piece: Callable[[], None], **fields: int) -> None:
        """The piece, jumped over if the condition holds; what both ways know remains known."""
        at = len(self.slots)
        self.put(row, **fields)
        before = set(self.numbers)
        piece()
        self.aim(at)
        self.numbers &= before

    def block(self, items: int, depth: int) -> None:
        pieces = [
            (30, self.alu), (4, self.constant), (22, self.data), (7, self.branch),
            (3, self.loop), (14, self.element), (14, self.any_helper), (4, self.function),
            (4, self.field), (5, self.map_helper), (3, self.reserve), (2, self.direct),
            (2, self.goto),
        ]  # fmt: skip
        if self.main:
            pieces += [(4, self.tail), (3, self.outer), (3, self.callback), (1, self.lock)]
            pieces.append((2, self.timer))
            pieces.append((3, self.dynptr))
            if self.context.packet:
                pieces.append((6, self.packet))
            if self.context.legacy and not self.spare:
                pieces.append((6, self.legacy))
            if not self.spare:
                pieces.append((4, self.task))
        weights, functions = zip(*pieces, strict=True)
        for _ in range(items):
            piece = self.random.choices(functions, weights)[0]
            if piece in (self.branch, self.loop):
                if depth < 2:
                    piece(depth + 1)
            elif self.main or piece not in (
                self.element,
                self.any_helper,
                self.map_helper,
                self.field,
            ):
                piece()

    # --- pieces ---------------------------------------------------------------------------------

    def alu(self) -> None:
        chance = self.random
        row = chance.choice(ALU)
        fresh = row.op in WITHOUT_OLD
        usable = sorted(self.numbers - self.reserved - {6})
        dst = self.target() if fresh else chance.choice(usable)
        imm = self.immediate()
        if row.op in ("lsh", "rsh", "arsh"):
            imm = chance.randrange(row.bits)
        elif row.op in ("div", "mod", "sdiv", "smod") and not imm:
            imm = 3
        self.put(row, dst=dst, src=self.number() if row.by_reg else 0, imm=0 if row.by_reg else imm)
        self.numbers.add(dst)

    def constant(self) -> None:
        dst = self.target()
        self.wide(dst, self.immediate(), self.immediate())
        self.numbers.add(dst)

    def data(self) -> None:
        """An access to the frame, direct or through a copy of R10."""
        if self.random.random() < 0.6:
            self.memory(10, DATA, 0, aligned=True)
            return
        pointer = self.random.choice([r for r in range(6) if r not in self.reserved])
        down = self.random.randrange(1, 9) * 8
        self.numbers.discard(pointer)
        self.frame(pointer, -down)
        self.memory(pointer, DATA + down, down, aligned=True)

    def memory(
        self,
        base: int,
        low: int,
        high: int,
        *,
        read_only: bool = False,
        atomic: bool = True,
        aligned: bool = False,
    ) -> None:
        """An access between two offsets from a pointer."""
        chance = self.random
        self.numbers.discard(base)
        outer, self.reserved = self.reserved, self.reserved | {base}
        rows = ROWS["load"] + ([] if read_only else ROWS["store"])
        if atomic and not read_only:
            rows = rows + ROWS["atomic"]
        row = chance.choice([row for row in rows if row.size <= high - low])
        off = chance.randrange(low, high - row.size + 1)
        if row.kind == "atomic" or aligned:
            off = max(off - off % row.size, low)
        if row.kind == "load" or row.op == "load_acquire":
            dst = self.target()
            self.put(row, dst=dst, src=base, off=off)
            self.numbers.add(dst)
        elif row.kind == "store":
            imm = 0 if row.by_reg else self.immediate()
            self.put(row, dst=base, src=self.number() if row.by_reg else 0, off=off, imm=imm)
        else:
            fetched = row.op.startswith("fetch_") or row.op == "xchg"
            usable = self.numbers - self.reserved - {6} if fetched else self.numbers
            if row.op == "cmpxchg":
                if 0 in self.reserved:
                    self.reserved = outer
                    return
                if 0 not in self.numbers:
                    self.put(MOV, dst=0, imm=self.immediate())
                    self.numbers.add(0)
            self.put(row, dst=base, src=chance.choice(sorted(usable)), off=off)
        self.reserved = outer

    def branch(self, depth: int) -> None:
        chance = self.random
        row = chance.choice(ROWS["jump"])
        at = len(self.slots)
        self.put(row, dst=self.number(), src=self.number() if row.by_reg else 0,
                 imm=0 if row.by_reg else self.immediate())  # fmt: skip
        before = set(self.numbers)
        self.block(chance.randrange(0, 3), depth)
        if chance.random() < 0.5:
            middle = len(self.slots)
            self.slots.append(Instruction(chance.choice((0x05, 0x06))))
            self.aim(at)
            one, self.numbers = self.numbers, before
            self.block(chance.randrange(1, 3), depth)
            self.numbers = self.numbers & one
            self.aim(middle)
        else:
            self.aim(at)
            self.numbers &= before

    def goto(self) -> None:
        """A jump that is always taken, far or near, to what comes next."""
        self.slots.append(Instruction(self.random.choice((0x05, 0x06))))

    def loop(self, depth: int) -> None:
        free = [r for r in (7, 8, 9) if r not in self.reserved]
        if len(free) < 2:
            return
        chance = self.random
        counter = chance.choice(free)
        self.put(MOV, dst=counter, imm=chance.randrange(1, 4))
        self.reserved.add(counter)
        self.numbers &= {7, 8, 9}  # what the second time round still is one
        start = len(self.slots)
        guard = chance.random() < 0.4
        if guard:
            self.slots.append(Instruction(0xE5))
        for _ in range(chance.randrange(1, 4)):
            chance.choice((self.alu, self.alu, self.data))()
        self.put(ADD, dst=counter, imm=-1)
        self.put(JNE, dst=counter, imm=0, off=start - len(self.slots) - 1)
        if guard:
            self.aim(start)
            self.numbers &= {7, 8, 9}
        self.reserved.discard(counter)

    def key(self, name: str) -> None:
        """A key of the map on the stack."""
        create = MAPS[name][0]
        if create.map_type == T.LPM_TRIE:
            length = self.random.choice((0, 1, 7, 8, 9, 16, 31, 32, 33))
            self.put(opcodes.of("store", "mem", size=4), dst=10, off=KEY, imm=length)
            self.put(opcodes.of("store", "mem", size=4), dst=10, off=KEY + 4,
                     imm=self.random.choice((0, 0x80, 0x8001, 0xFF, 0x01FF)))  # fmt: skip
            return
        for offset in range(0, create.key_size, 4):
            imm = self.random.randrange(7) if not offset else 0
            self.put(opcodes.of("store", "mem", size=4), dst=10, off=KEY + offset, imm=imm)

    def named(self, use: str) -> str:
        return self.random.choice([n for n, (_, uses) in MAPS.items() if use in uses.split()])

    def element(self) -> None:
        """A look-up, and accesses to the value if there is one."""
        name = self.named("lookup")
        create, uses = MAPS[name]
        self.key(name)
        self.map(1, name)
        self.frame(2, KEY)
        if "percpu" in uses and self.random.random() < 0.5:
            self.put(MOV, dst=3, imm=self.random.randrange(6))
            self.helper("map_lookup_percpu_elem", number=False)
        else:
            self.helper("map_lookup_elem", number=False)
        self.value(create.value_size)

    def value(self, size: int, *, read_only: bool = False) -> None:
        """What R0 points to, if it does."""
        self.numbers.discard(0)

        def access() -> None:
            self.put(MOV_REG, dst=1, src=0)
            self.put(MOV, dst=0, imm=self.immediate())
            self.numbers.add(0)
            self.reserved.add(1)
            low, high = 0, size
            if size >= 16 and self.random.random() < 0.4:
                mask = self.random.choice((1, 3, 7))
                self.put(MOV_REG, dst=2, src=self.number())
                self.put(AND, dst=2, imm=mask)
                self.put(ADD_REG, dst=1, src=2)
                self.numbers.add(2)
                high = size - mask
            for _ in range(self.random.randrange(1, 4)):
                self.memory(1, low, high, read_only=read_only, atomic=high == size)
            self.reserved.discard(1)
            self.numbers.discard(1)

        self.unless(JEQ, access, dst=0, imm=0)
        self.numbers.discard(0)

    def lock(self) -> None:
        """An element under its lock."""
        if "spin_lock" not in allowed(self.kind, self.attach) or self.kind in UNLOCKED:
            return
        self.key("locked")
        if self.random.random() < 0.5:
            self.map(1, "locked")
            self.frame(2, KEY)
            self.frame(3, VALUE)
            self.put(MOV, dst=4, imm=0)
            self.helper("map_update_elem")
        self.map(1, "locked")
        self.frame(2, KEY)
        self.helper("map_lookup_elem", number=False)

        def locked() -> None:
            self.put(STX8, dst=10, src=0, off=POINTER)
            self.put(MOV_REG, dst=1, src=0)
            self.helper("spin_lock", number=False)
            self.put(LDX8, dst=1, src=10, off=POINTER)
            self.memory(1, 8, 16)
            self.put(LDX8, dst=1, src=10, off=POINTER)
            self.helper("spin_unlock", number=False)

        self.unless(JEQ, locked, dst=0, imm=0)
        self.numbers -= {0, 1, 2, 3, 4, 5}

    def timer(self) -> None:
        """An element's timer: nothing advances the clock, so it never rings."""
        if "timer_init" not in allowed(self.kind, self.attach) or self.kind in UNLOCKED:
            return
        if self.bodies >= 4:
            return
        self.bodies += 1
        self.key("timed")
        self.map(1, "timed")
        self.frame(2, KEY)
        self.helper("map_lookup_elem", number=False)

        def timed() -> None:
            self.put(ADD, dst=0, imm=8)
            self.put(STX8, dst=10, src=0, off=POINTER)
            self.put(MOV_REG, dst=1, src=0)
            self.map(2, "timed")
            self.put(MOV, dst=3, imm=self.random.choice((0, 1, 7)))
            self.helper("timer_init")
            self.put(LDX8, dst=1, src=10, off=POINTER)
            self.functions.append((len(self.slots), "timer"))
            self.wide(2, 0, 0, Pseudo.FUNC)
            self.helper("timer_set_callback")
            self.put(LDX8, dst=1, src=10, off=POINTER)
            self.wide(2, 1 << 20)
            self.put(MOV, dst=3, imm=0)
            self.helper("timer_start")
            if self.random.random() < 0.5:
                self.put(LDX8, dst=1, src=10, off=POINTER)
                self.helper("timer_cancel")

        self.unless(JEQ, timed, dst=0, imm=0)
        self.numbers -= {0, 1, 2, 3, 4, 5}

    def outer(self) -> None:
        """A map of maps, and an element of the map in it."""
        name = self.named("outer")
        self.key(name)
        self.map(1, name)
        self.frame(2, KEY)
        self.helper("map_lookup_elem", number=False)

        def inner() -> None:
            self.put(opcodes.of("store", "mem", size=4), dst=10, off=KEY,
                     imm=self.random.randrange(3))  # fmt: skip
            self.put(MOV_REG, dst=1, src=0)
            self.frame(2, KEY)
            if self.random.random() < 0.3:
                self.frame(3, VALUE)
                self.put(MOV, dst=4, imm=0)
                self.helper("map_update_elem")
                return
            self.helper("map_lookup_elem", number=False)
            self.value(INNER.value_size)

        self.unless(JEQ, inner, dst=0, imm=0)
        self.numbers.discard(0)

    def direct(self) -> None:
        """The globals, by address."""
        register = self.random.randrange(1, 6)
        offset = self.random.randrange(0, 4) * 8
        self.numbers.discard(register)
        self.point(register, "globals", offset)
        self.memory(register, -offset, 56 - offset)

    def any_helper(self) -> None:
        """A call with arguments as the table wants them."""
        self.call(self.random.choice(self.helpers))

    def map_helper(self) -> None:
        """One of those that work on a map."""
        self.call(self.random.choice([row for row in self.helpers if row.name in USES]))

    def call(self, row: Helper) -> None:
        use = USES.get(row.name, "")
        name = self.named(use) if use else ""
        if any(wanted.btf == "task_struct" for wanted in row.arguments):
            self.helper("get_current_task_btf", number=False)
            self.put(STX8, dst=10, src=0, off=POINTER)
        if any(wanted.kind == "map_key" for wanted in row.arguments):
            self.key(name)
        sizes = [self.size(row, number) for number in range(len(row.arguments))]
        for number in range(len(row.arguments)):
            self.argument(row, number, name, sizes)
        result = row.result
        self.helper(row.name, number=result.kind == "integer")
        if row.name in RETURN_SOCKETS:
            self.release()
            return
        if result.kind == "map_value":
            size = MAPS[name][0].value_size
            if result.null:
                self.value(size)
            else:
                self.memory(0, 0, size)
        elif self.random.random() < 0.5 and 0 in self.numbers:
            dst = self.random.choice([r for r in (7, 8, 9) if r not in self.reserved] or [0])
            self.put(MOV_REG, dst=dst, src=0)

    def release(self) -> None:
        """A socket, if R0 is one, is given back."""

        def give_back() -> None:
            self.put(MOV_REG, dst=1, src=0)
            self.helper("sk_release")

        self.unless(JEQ, give_back, dst=0, imm=0)
        self.numbers -= {0, 1, 2, 3, 4, 5}

    def size(self, row: Helper, number: int) -> int:
        """The size behind a memory argument, if one is."""
        if number + 1 < len(row.arguments) and "const_size" in row.arguments[number + 1].kind:
            return self.random.choice((8, 8, 16, 24, 32, 64, 4, 1))
        return 0

    def argument(self, row: Helper, number: int, name: str, sizes: list[int]) -> None:
        chance, register = self.random, number + 1
        wanted = row.arguments[number]
        match wanted.kind:
            case "ctx":
                self.put(MOV_REG, dst=register, src=6)
            case "map_ptr":
                self.map(register, name)
            case "map_key":
                self.frame(register, KEY)
            case "map_value" if wanted.null and chance.random() < 0.5:
                self.put(MOV, dst=register, imm=0)
            case "map_value":
                self.frame(register, VALUE)
            case "mem" if sizes[number]:
                if sizes[number] <= 32 and chance.random() < 0.3:
                    self.frame(register, DATA)
                else:
                    self.frame(register, VALUE)
            case "mem" | "stack":
                self.frame(register, DATA)
            case "const_size" | "const_size_or_zero":
                self.put(MOV, dst=register, imm=sizes[number - 1])
            case "const_str":
                self.point(register, "text")
            case "btf_id" if wanted.btf == "task_struct" and not self.spare:
                self.put(LDX8, dst=register, src=10, off=POINTER)
            case "anything" if chance.random() < 0.15 and self.numbers & {6, 7, 8, 9}:
                self.put(MOV_REG, dst=register, src=chance.choice(sorted(self.numbers & {7, 8, 9})))
            case "anything":
                imm = chance.choice(USUAL.get(row.name, SMALL))
                if imm >> 31:
                    self.wide(register, imm - (1 << 32))
                else:
                    self.put(MOV, dst=register, imm=imm)
            case _:
                self.put(MOV, dst=register, imm=0)
        self.numbers.discard(register)

    def function(self) -> None:
        if self.bodies >= 4 or 1 in self.reserved:
            return
        self.bodies += 1
        for register in range(1, 6):
            self.put(MOV_REG, dst=register, src=self.number())
            self.numbers.add(register)
        self.functions.append((len(self.slots), "function"))
        self.slots.append(Instruction(CALL, src=1))
        self.numbers = self.numbers - {1, 2, 3, 4, 5} | {0}

    def callback(self) -> None:
        if self.bodies >= 4:
            return
        self.bodies += 1
        if self.random.random() < 0.5:
            self.put(MOV, dst=1, imm=self.random.randrange(8))
            self.functions.append((len(self.slots), "loop"))
            self.wide(2, 0, 0, Pseudo.FUNC)
            self.frame(3, DATA)
            self.put(MOV, dst=4, imm=int(self.random.random() < 0.1))
            self.helper("loop")
            return
        name = self.named("each")
        self.map(1, name)
        self.functions.append((len(self.slots), f"each{MAPS[name][0].value_size}"))
        self.wide(2, 0, 0, Pseudo.FUNC)
        self.frame(3, DATA)
        self.put(MOV, dst=4, imm=int(self.random.random() < 0.1))
        self.helper("for_each_map_elem")

    def dynptr(self) -> None:
        """A dynamic pointer's life."""
        ring = self.random.random() < 0.5
        if ring:
            self.map(1, "ring")
            self.put(MOV, dst=2, imm=self.random.choice((8, 16, 64)))
            self.put(MOV, dst=3, imm=0)
            self.frame(4, DYNPTR)
            self.helper("ringbuf_reserve_dynptr")
        else:
            self.point(1, "globals", 24)
            self.put(MOV, dst=2, imm=self.random.choice((0, 8, 24)))
            self.put(MOV, dst=3, imm=int(self.random.random() < 0.1))
            self.frame(4, DYNPTR)
            self.helper("dynptr_from_mem")
        for _ in range(self.random.randrange(1, 4)):
            offset, size = self.random.choice((0, 1, 8, 20)), self.random.choice((0, 4, 8, 16))
            match self.random.randrange(3):
                case 0:
                    self.frame(1, DATA)
                    self.put(MOV, dst=2, imm=size)
                    self.frame(3, DYNPTR)
                    self.put(MOV, dst=4, imm=offset)
                    self.put(MOV, dst=5, imm=0)
                    self.helper("dynptr_read")
                case 1:
                    self.frame(1, DYNPTR)
                    self.put(MOV, dst=2, imm=offset)
                    self.frame(3, VALUE)
                    self.put(MOV, dst=4, imm=size)
                    self.put(MOV, dst=5, imm=0)
                    self.helper("dynptr_write")
                case _ if size:
                    self.frame(1, DYNPTR)
                    self.put(MOV, dst=2, imm=offset)
                    self.put(MOV, dst=3, imm=size)
                    self.helper("dynptr_data", number=False)
                    self.value(size)
        if ring:
            self.frame(1, DYNPTR)
            self.put(MOV, dst=2, imm=0)
            done = self.random.choice(("ringbuf_submit_dynptr", "ringbuf_discard_dynptr"))
            self.helper(done, number=False)

    def reserve(self) -> None:
        """A record of the ring buffer, written and given up."""
        size = self.random.choice((8, 16, 40))
        self.map(1, "ring")
        self.put(MOV, dst=2, imm=size)
        self.put(MOV, dst=3, imm=0)
        self.helper("ringbuf_reserve", number=False)

        def fill() -> None:
            for offset in range(0, size, 8):
                self.put(STX8, dst=0, src=self.number(), off=offset)
            self.put(MOV_REG, dst=1, src=0)
            self.put(MOV, dst=2, imm=self.random.choice((0, 1, 2)))
            done = self.random.choice(("ringbuf_submit", "ringbuf_submit", "ringbuf_discard"))
            self.helper(done, number=False)

        self.unless(JEQ, fill, dst=0, imm=0)
        self.numbers -= {0, 1, 2, 3, 4, 5}

    def tail(self) -> None:
        self.put(MOV_REG, dst=1, src=6)
        self.map(2, "programs" if "programs" in self.fds else "")
        if self.random.random() < 0.5:
            self.put(MOV, dst=3, imm=self.random.randrange(6))
        else:
            self.put(MOV_REG, dst=3, src=self.random.choice((7, 8, 9)))
        self.helper("tail_call", number=False)

    def field(self) -> None:
        """An access to the context."""
        fields = [f for f in self.context.fields if f.yields == "scalar" and (f.read or f.write)]
        if not fields or self.spare:
            return
        field: Field = self.random.choice(fields)
        write = bool(field.write) and (not field.read or self.random.random() < 0.4)
        size = self.random.choice(field.write if write else field.read)
        off = field.off
        if not field.head:
            off += self.random.randrange(min(field.size, FAR) // size) * size
        if write:
            row = opcodes.of("store", "mem", size=size, by_reg=True)
            self.put(row, dst=6, src=self.number(), off=off)
        else:
            dst = self.target()
            self.put(opcodes.of("load", "mem", size=size), dst=dst, src=6, off=off)
            self.numbers.add(dst)

    def packet(self) -> None:
        """Direct access to the packet, behind a test of its end."""
        ends = {f.yields: f for f in self.context.fields}
        if self.spare or self.kind not in PACKET_TYPES:
            return
        room = self.random.choice((1, 8, 14, 34, 60))
        load = opcodes.of("load", "mem", size=ends["pkt"].size)
        self.numbers -= {1, 2, 3}
        self.put(load, dst=1, src=6, off=ends["pkt"].off)
        self.put(load, dst=2, src=6, off=ends["pkt_end"].off)
        self.put(MOV_REG, dst=3, src=1)
        self.put(ADD, dst=3, imm=room)

        def access() -> None:
            self.reserved.add(1)
            for _ in range(self.random.randrange(1, 4)):
                self.memory(1, 0, room, read_only=self.context.packet == "r", atomic=False)
            self.reserved.discard(1)

        self.unless(JGT_REG, access, dst=3, src=2)
        self.numbers -= {1, 2, 3}

    def legacy(self) -> None:
        """The old packet loads: outside of the packet they end the program."""
        row = self.random.choice(ROWS["packet"])
        src = self.random.choice((7, 8, 9)) if row.by_reg else 0
        if row.by_reg:
            if src in self.reserved:
                return
            self.put(AND, dst=src, imm=7)
        self.put(row, src=src, imm=self.random.choice((0, 1, 4, 12, 30, 50, 70, -0x100000)))
        self.numbers = self.numbers - {1, 2, 3, 4, 5} | {0}

    def task(self) -> None:
        """Loads of kernel memory through a pointer to a structure."""
        self.helper("get_current_task_btf", number=False)
        if self.random.random() < 0.2:
            self.put(MOV_REG, dst=1, src=0)
            self.helper("task_pt_regs", number=False)
            self.put(MOV_REG, dst=1, src=0)
            self.put(LDX8, dst=0, src=1, off=8 * self.random.randrange(21))
            self.numbers.add(0)
            return
        offset, size = self.random.choice(TASK_FIELDS)
        signed = size < 8 and self.random.random() < 0.5
        row = opcodes.of("load", "memsx" if signed else "mem", size=size)
        dst = self.target()
        self.put(row, dst=dst, src=0, off=offset)
        self.numbers.add(dst)
        if dst:
            self.numbers.discard(0)


TASK_FIELDS: list[tuple[int, int]] = []
"""Offset and size of numbers in ``struct task_struct``; `world` fills it from the machine's BTF."""


def program(random: Random, fds: dict[str, int]) -> Program:
    return Writer(random, fds).program()
