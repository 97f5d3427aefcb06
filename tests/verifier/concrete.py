"""A run against the states that the verifier held: soundness, looked at instruction by instruction.

`Checker` watches the interpreter. Before each instruction it asks whether the registers and stacks
of all frames lie in one of the states that the verifier kept there (`contract.Witness`): numbers
inside their ranges and tnums and as far apart as their ids say, pointers into the object and at the
offset held, packet pointers with the room held, zeroes where bytes were held to be zero. Of an
`exact` witness all of that is asked; of any other what is live and, if it is a number, marked
precise. `Unsound` says what did not lie anywhere.

`Bench` is a simulated kernel with the generator's maps in which programs run on inputs of chance.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import STACK_SIZE, MapType, ProgType
from minibcc.abi.requests import MapCreate, MapUpdate, ProgLoad
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel import images
from minibcc.kernel.packets import PACKET_TYPES, Packet
from minibcc.kernel.testrun import CONTEXT_SIZES
from minibcc.kernel.verifier.branches import AT_END, BEYOND_END
from minibcc.kernel.verifier.contract import Environment, Source, Witness
from minibcc.kernel.verifier.log import register_text
from minibcc.kernel.verifier.state import (
    BASE,
    CTX,
    MAP,
    MAP_VALUE,
    MAYBE_NULL,
    MEMORY,
    NOT_INIT,
    PACKET,
    PACKET_END,
    PACKET_META,
    SCALAR,
    SPILL,
    STACK,
    ZEROED,
    Register,
    State,
)
from minibcc.kernel.verifier.tnum import U32, U64
from minibcc.kernel.verifier.values import signed32, signed64, truncate
from minibcc.kernel.verifier.verify import verify
from minibcc.kernel.vm import interpreter
from minibcc.kernel.vm.execution import FRAME_PITCH, Image
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.records import replace
from tests.kernel.support import boot

if TYPE_CHECKING:
    from minibcc.kernel.maps.base import Map
    from minibcc.kernel.verifier.contract import MapFacts, Verdict
    from minibcc.kernel.verifier.values import Range

_LOOKUPS = (1, 195)
"""Helpers that give a value of the map in R1 (map_lookup_elem, map_lookup_percpu_elem)."""
_RESERVE = 131
"""ringbuf_reserve."""
_ANSWER = "r0 = 77777\nexit"
_ELSEWHERE = {
    ProgType.XDP: f"r2 = 4\ncall bpf_xdp_adjust_head#44\n{_ANSWER}",
    ProgType.SCHED_CLS: f"r2 = 14\nr3 = 0\ncall bpf_skb_change_tail#38\n{_ANSWER}",
}
"""What tail calls lead to: the packet changes, and the answer is none of the program's own."""


class Unsound(Exception):
    """A run was where the verifier held no state that contains it."""


def lies(value: int, held: Range) -> bool:
    """Whether an unsigned 64-bit number lies in every view of a range."""
    bits, smin, smax, umin, umax, smin32, smax32, umin32, umax32 = held
    if value & ~bits[1] != bits[0] or not umin <= value <= umax:
        return False
    low = value & U32
    return (
        smin <= signed64(value) <= smax
        and umin32 <= low <= umax32
        and smin32 <= signed32(low) <= smax32
    )


class Checker:
    """Watches one run (`interpreter.Observer`)."""

    def __init__(self, witness: Witness, maps: dict[int, Map], direct: dict[int, int]) -> None:
        """`maps` are the program's by the address that it holds, `direct` the address of the first
        value of some, by the identity of their facts."""
        walk = witness.walk
        assert walk is not None
        self.witness = witness
        self.held = witness.held
        self.points = walk.shape.prune
        self.insns = walk.shape.insns
        self.live = walk.live
        self.notes = walk.stack_notes
        self.exact = witness.exact
        self.maps = maps
        self.addresses = {id(map.facts): address for address, map in maps.items()}
        self.direct = direct
        self.checked = 0
        self.masks: dict[int, tuple[list[int], list[int]]] = {}

    def begin(self, context: int, top: int, packet: Packet | None, load: Any) -> None:
        """A run begins: `top` is the end of the first frame, `load` reads memory."""
        self.context = context
        self.top = top
        self.packet = packet
        self.load = load
        self.callers: list[tuple[int, list[int]]] = []
        self.call: tuple[int, list[int]] = (-1, [])
        self.values: dict[int, set[int]] = {key: {address} for key, address in self.direct.items()}
        self.records: set[int] = set()
        self.inner: dict[int, MapFacts] = {}
        self.good: set[tuple[int, int]] = set()
        self.image: Image | None = None
        self.entries: dict[int, int] = {}

    # --- the observer ---------------------------------------------------------------------------

    def before(self, image: Image, slot: int, registers: list[int]) -> None:
        if self.image is None:
            self.image = image
        if image is not self.image:
            return  # a tail call led to another program
        depth = (registers[10] - self.top) // FRAME_PITCH
        callers = self.callers
        if depth > len(callers):
            callers.append(self.call)
        elif depth < len(callers):
            del callers[depth:]
        insn = self.insns[slot]
        if insn.code == 0x85 and insn.src == 1:
            self.call = slot, registers.copy()
        if not self.points[slot]:
            return
        held = self.held.get(slot)
        if held:
            last = self.entries.get(slot, 0)
            if self.contains(held[last], registers):
                self.checked += 1
                return
            for number, state in enumerate(held):
                if number != last and self.contains(state, registers):
                    self.entries[slot] = number
                    self.checked += 1
                    return
        raise Unsound(self.why(slot, registers, held or []))

    def after(self, image: Image, slot: int, registers: list[int]) -> None:
        pass

    def wrote(self, address: int, size: int, value: int) -> None:
        pass

    def called(self, number: int, arguments: tuple[int, ...], result: int) -> None:
        if number in _LOOKUPS and result:
            facts = self.facts_at(arguments[0])
            if facts is None:
                return
            self.values.setdefault(id(facts), set()).add(result)
            if facts.inner is not None:
                self.inner[result] = facts.inner
        elif number == _RESERVE and result:
            self.records.add(result)

    def facts_at(self, address: int) -> MapFacts | None:
        map = self.maps.get(address)
        return map.facts if map is not None else self.inner.get(address)

    # --- containment ----------------------------------------------------------------------------

    def contains(self, state: State, registers: list[int]) -> bool:
        """Whether all of the run lies in one state."""
        return self.outside(state, registers) == ""

    def outside(self, state: State, registers: list[int]) -> str:
        """What does not lie in the state, "" if all does."""
        callers = self.callers
        frames = state.frames
        if len(frames) != len(callers) + 1:
            return "another depth of calls"
        live, used = self.masks_of(state)
        good = self.good
        linked: dict[tuple[int, int], int] = {}
        for number, frame in enumerate(frames):
            if number < len(callers):
                callsite, values = callers[number]
                if frames[number + 1].callsite != callsite:
                    return "another caller"
            else:
                values = registers
            mask = live[number]
            for index, register in enumerate(frame.registers):
                if not mask >> index & 1 and index != 10:
                    continue
                if number < len(callers) and index < 6:
                    continue  # a call has taken them
                value = values[index]
                key = id(register), value
                if key not in good:
                    if not self.holds(register, value):
                        return f"frame {number} R{index}={value:#x} ({register_text(register)})"
                    good.add(key)
                if register.id and not self.linked(register, value, linked):
                    return f"frame {number} R{index}={value:#x} is no copy"
            stack = frame.stack
            if not stack:
                continue
            mask = used[number]
            top = self.top + number * FRAME_PITCH
            for index, slot in stack.items():
                if not mask >> index & 1:
                    continue
                value = self.load(top - 8 * index - 8, 8)
                key = id(slot), value
                if key not in good:
                    if not self.slot_holds(slot, value):
                        return f"frame {number} fp-{8 * index + 8}={value:#x} ({slot})"
                    good.add(key)
                spilled = slot[1]
                if spilled is not None and spilled.id and slot[0][7] == SPILL:
                    value &= (1 << 8 * slot[0].count(SPILL)) - 1
                    if not self.linked(spilled, value, linked):
                        return f"frame {number} fp-{8 * index + 8}={value:#x} is no copy"
        return ""

    def masks_of(self, state: State) -> tuple[list[int], list[int]]:
        """Registers and stack slots of each frame that a state speaks of."""
        found = self.masks.get(id(state))
        if found is None:
            slots = [frame.callsite for frame in state.frames[1:]] + [state.slot]
            live = [self.live[slot] for slot in slots]
            used = [-1] * len(slots) if self.exact else self.notes.live(state)
            found = self.masks[id(state)] = live, used
        return found

    def linked(self, register: Register, value: int, seen: dict[tuple[int, int], int]) -> bool:
        """Whether what shares an id fits together."""
        kind = register.kind
        if kind == SCALAR:
            if not (self.exact or register.precise):
                return True
            known = seen.get((SCALAR, register.id))
            base = (value - register.off if register.ahead else value) & U64
            if known is None:
                if register.ahead != 32:
                    seen[SCALAR, register.id] = base
                return True
            return not (base ^ known) & (U32 if register.ahead == 32 else U64)
        if kind & MAYBE_NULL:
            base = int(value == 0)
        elif kind in (PACKET, PACKET_META):
            base = (value - register.off) & U64
        else:
            return True
        return seen.setdefault((kind, register.id), base) == base

    def slot_holds(self, slot: tuple[bytes, Register | None], value: int) -> bool:
        types, register = slot
        for place, kind in enumerate(types):
            if kind == ZEROED and value >> 8 * (7 - place) & 0xFF:
                return False
        if register is None or types[7] != SPILL:
            return True
        size = types.count(SPILL)
        if size == 8:
            return self.holds(register, value)
        if register.kind != SCALAR or not (self.exact or register.precise):
            return register.kind == SCALAR
        return lies(value & (1 << 8 * size) - 1, truncate(register.range, size))

    def holds(self, register: Register, value: int) -> bool:
        kind = register.kind
        if kind == SCALAR:
            return not (self.exact or register.precise) or lies(value, register.range)
        if kind == NOT_INIT:
            return True
        if kind & MAYBE_NULL and not value:
            return True
        base = kind & BASE
        place = value - register.off & U64
        if base == STACK:
            return self.at(register, place, (self.top + register.frame * FRAME_PITCH,))
        if base == CTX:
            return self.at(register, place, (self.context,))
        if base == MAP_VALUE:
            return self.at(register, place, self.values.get(id(register.object), ()))
        if base == MAP:
            address = self.addresses.get(id(register.object))
            if address is not None:
                return value == address
            return self.inner.get(value) is register.object
        if base == MEMORY:
            return self.at(register, place, self.records)
        if base in (PACKET, PACKET_META, PACKET_END):
            return self.in_packet(register, base, value, place)
        return True  # the kernel's own structures: what is read there may fault

    def at(self, register: Register, place: int, bases: Any) -> bool:
        """Whether `place` is one of the bases, plus what the range allows."""
        held = register.range
        if held.known:
            return (place - held.value) & U64 in bases
        return any(lies(place - base & U64, held) for base in bases)

    def in_packet(self, register: Register, base: int, value: int, place: int) -> bool:
        packet = self.packet
        assert packet is not None
        if base == PACKET_END:
            return value == packet.end
        start, end = (packet.start, packet.end) if base == PACKET else (packet.meta, packet.start)
        if not self.at(register, place, (start,)):
            return False
        if register.room == AT_END:
            return value >= end
        if register.room == BEYOND_END:
            return value > end
        return not register.room or place + register.room <= end

    def why(self, slot: int, registers: list[int], held: list[State]) -> str:
        reasons = [self.outside(state, registers) for state in held[:4]]
        values = " ".join(f"R{index}={value:#x}" for index, value in enumerate(registers))
        return f"slot {slot}: {values}; {len(held)} states: {reasons}"


class Bench:
    """A kernel with maps, to run accepted programs in."""

    def __init__(self, maps: dict[int, MapFacts]) -> None:
        self.system = boot()
        self.kernel = self.system.kernel
        self.engine = Interpreter()
        self.elsewhere: dict[ProgType, Image] = {}
        self.loops = interpreter.MAX_LOOPS
        interpreter.MAX_LOOPS = 5  # of a may_goto, instead of millions
        self.environment = Environment(cpus=self.kernel.cpus)
        self.maps: dict[int, Map] = {}
        self.fds = {number: self._make(facts) for number, facts in maps.items()}
        for number, fd in self.fds.items():
            self.maps[number] = self.kernel.map_of(fd)
        self.facts = {number: map.facts for number, map in self.maps.items()}
        self.by_address = {map.address: map for map in self.maps.values()}
        self.direct = {
            id(map.facts): map.lookup(bytes(map.key_size), 0)
            for map in self.maps.values()
            if map.type == MapType.ARRAY and map.max_entries == 1
        }

    def _make(self, facts: MapFacts) -> int:
        bpf = self.system.bpf
        sizes = facts.type, facts.key_size, facts.value_size, facts.max_entries
        if facts.inner is None:
            return bpf(MapCreate(*sizes, map_flags=facts.flags))
        inner = self._make(facts.inner)
        outer = bpf(MapCreate(*sizes, map_flags=facts.flags, inner_map_fd=inner))
        bpf(MapUpdate(outer, bytes(facts.key_size), inner.to_bytes(4, "little")))
        self.system.close(inner)
        return outer

    def fill(self, rng: random.Random) -> None:
        """Elements of chance in the maps that hold plain values."""
        for number, map in self.maps.items():
            if map.type in _FILLED:
                for key in range(min(2, map.max_entries)):
                    value = content(rng, map.value_size)
                    if map.per_cpu:
                        value = value.ljust(map.stride, b"\0") * self.kernel.cpus
                    place = key.to_bytes(map.key_size, "little")
                    self.system.bpf(MapUpdate(self.fds[number], place, value))

    def judge(self, source: Source, witness: Witness) -> Verdict:
        return verify(replace(source, maps=self.facts), self.environment, witness)

    def try_out(self, source: Source, witness: Witness, verdict: Verdict, seeds: range) -> int:
        """Runs an accepted program once for each seed; how many instructions were compared.
        Raises `Unsound`, or `Fault` for what it may not touch."""
        assert verdict.facts is not None
        request = ProgLoad(source.prog_type, encode(source.instructions))
        facts = replace(verdict.facts, dead=frozenset())
        program = images.build(self.kernel, request, source.instructions, self.maps, facts, None)
        other = self._elsewhere(source.prog_type)
        checker = Checker(witness, self.by_address, self.direct)
        for seed in seeds:
            rng = random.Random(seed)
            self.fill(rng)
            self._run(program.image, source.prog_type, checker, rng, other)
        return checker.checked

    def _elsewhere(self, kind: ProgType) -> Image:
        """What a program's tail calls may lead to."""
        image = self.elsewhere.get(kind)
        if image is None:
            source = Source(tuple(assemble(_ELSEWHERE.get(kind, _ANSWER))), kind)
            request = ProgLoad(kind, encode(source.instructions))
            facts = verify(source, self.environment).facts
            assert facts is not None
            program = images.build(self.kernel, request, source.instructions, {}, facts, None)
            image = self.elsewhere[kind] = program.image
        return image

    def _run(
        self, image: Image, kind: ProgType, checker: Checker, rng: random.Random, other: Image
    ) -> None:
        kernel = self.kernel
        if kind in PACKET_TYPES:
            packet = Packet(kernel, kind, content(rng, rng.choice((14, 15, 18, 22, 34, 64, 200))))
            packet.sync()
            context, load = packet.context, packet.load
        else:
            packet, load = None, None
            data = content(rng, min(256, CONTEXT_SIZES[kind])).ljust(CONTEXT_SIZES[kind], b"\0")
            context = kernel.contexts.place(data)
        run = kernel.new_run(image, context, None, load)
        if rng.random() < 0.5:
            run.tail_call = lambda *_: other
        chain = kernel.memory.push_stack()
        kernel.memory.pop_stack()
        checker.begin(context, chain + STACK_SIZE, packet, kernel.memory.load)
        try:
            self.engine.run(image, run, (context,), checker)
        finally:
            if packet is not None:
                packet.close()
            else:
                kernel.contexts.give_back(context, CONTEXT_SIZES[kind])

    def close(self) -> None:
        interpreter.MAX_LOOPS = self.loops
        for fd in self.fds.values():
            self.system.close(fd)


_FILLED = (
    MapType.HASH,
    MapType.ARRAY,
    MapType.LRU_HASH,
    MapType.PERCPU_ARRAY,
    MapType.PERCPU_HASH,
    MapType.LRU_PERCPU_HASH,
)
_CHUNKS = (
    *(bytes(8), b"\1" + bytes(7), b"\7" + bytes(7), b"\x10" + bytes(7), b"\xff" * 8),
    *(bytes(7) + b"\x80", b"\xff" * 7 + b"\x7f", bytes(3) + b"\x80" + bytes(4)),
    *(b"\xff" * 4 + bytes(4), b"\x08" + bytes(7), b"\x03" + bytes(7), b"\xf8" + b"\xff" * 7),
)


def content(rng: random.Random, size: int) -> bytes:
    """Bytes in which numbers that matter are frequent."""
    out = bytearray()
    while len(out) < size:
        out += rng.choice(_CHUNKS) if rng.random() < 0.6 else rng.randbytes(8)
    return bytes(out[:size])
