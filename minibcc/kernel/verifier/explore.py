"""The walk over every path of a program.

One path is followed at a time. Where a jump may go both ways the other way is put aside, and taken
up when this path has ended. At marked slots the state is compared with those of earlier visits:
what an earlier, finished visit covers needs no second look. The walk ends when nothing is left, at
``pop_stack`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from bisect import bisect_right
from errno import E2BIG, EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MAX_INSNS, ProgFlags
from minibcc.isa import text
from minibcc.isa.instruction import LD_IMM64
from minibcc.isa.opcodes import CALL, EXIT, JA, JCOND, JMP, JMP32, LD
from minibcc.kernel.verifier import branches, calls, context, frames, precision, prune
from minibcc.kernel.verifier.effects import EFFECTS
from minibcc.kernel.verifier.form import REACHED, is_jump, malformed, target
from minibcc.kernel.verifier.liveness import StackNotes, live_registers, loops_of
from minibcc.kernel.verifier.log import state_text
from minibcc.kernel.verifier.operands import source
from minibcc.kernel.verifier.requires import members, reads, reserved, writes
from minibcc.kernel.verifier.state import (
    BASE,
    BTF,
    CTX,
    MAP,
    SOCKETS,
    UNTRUSTED,
    Frame,
    Link,
    Refused,
    Register,
    State,
    undecided,
)

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.contract import Environment, Line, Source, Witness
    from minibcc.kernel.verifier.fields import Field
    from minibcc.kernel.verifier.form import Shape
    from minibcc.kernel.verifier.log import Log
    from minibcc.kernel.verifier.prototypes import Prototype

_MAX_ASIDE = 8192
ALL_REGISTERS = 0x3FF
_CONVERTED = {CTX, *SOCKETS, BTF}
_CALL = JMP | CALL
_EXIT = JMP | EXIT


class Walk:
    """The state of the search; the other modules read and change it.

    `slot` is where the walk is, `previous` where it came from, `state` what holds there,
    `registers` the current frame's. `link` is what the current instruction tells precision.
    `functions` are the program's with BTF, by first slot; `called` those global ones that were
    called, `unreliable` those whose calls do not fit their BTF, `later` those that timers call.
    `fields` are those of maps, for `fields.of_map`.
    """

    def __init__(
        self,
        program: Source,
        environment: Environment,
        shape: Shape,
        log: Log,
        witness: Witness | None = None,
    ) -> None:
        self.program = program
        self.environment = environment
        self.shape = shape
        self.log = log
        self.live = live_registers(shape, lambda insn: calls.argument_count(program, insn))
        self.stack_notes = StackNotes(shape)
        self.written = 0
        self.matters = [precision.matters(insn) for insn in shape.insns]
        self.strict = bool(program.prog_flags & ProgFlags.STRICT_ALIGNMENT)
        self.often = bool(program.prog_flags & ProgFlags.TEST_STATE_FREQ)
        self.state = State([])
        self.registers: list[Register] = []
        self.slot = 0
        self.previous = -1
        self.link: Link | None = None
        self.aside: list[tuple[State, int, int, int]] = []
        self.explored: dict[int, list[prune.Checkpoint]] = {}
        self.seen = bytearray(len(shape.insns))
        self.accesses: dict[int, int] = {}
        self.depths = [0] * (len(shape.starts) - 1)
        self.processed = 0
        self.jumps = 0
        self.checkpoints = 0
        self.last_checkpoint = (0, 0)
        self.looped = False
        self.functions = dict(program.functions)
        self.prototypes: dict[int, Prototype] = {}
        self.unreliable: set[int] = set()
        self.called: set[int] = set()
        self.later: set[int] = set()
        self.fields: dict[int, tuple[Field, ...]] = {}
        self._ids = 0
        self._show = False
        self._back = False
        self._whole = False
        self._last: Instruction | None = None
        self._touched: set[tuple[int, int]] = set()
        self.witness = witness
        self.exact = False
        self.limit = MAX_INSNS
        if witness is not None:
            self._testify(witness)

    def _testify(self, witness: Witness) -> None:
        """Keeps and compares states as the witness asks."""
        witness.walk, witness.held = self, {}
        self.often = True
        self.limit = witness.limit
        if witness.every:
            for slot in self.shape.order:
                self.shape.prune[slot] = 1
        if witness.exact:
            self.exact = True
            self.live = [ALL_REGISTERS] * len(self.live)

    # --- what the other modules ask for -----------------------------------------------------

    def new_id(self) -> int:
        self._ids += 1
        return self._ids

    def mark_precise(self, register: int) -> None:
        """The exact value of a register of the current frame mattered."""
        precision.mark(self, register)

    def mark_slot_precise(self, frame: Frame, index: int) -> None:
        """The exact value in a stack slot mattered."""
        precision.mark_slot(self, frame, index)

    def is_global(self, start: int) -> bool:
        """Whether the function at a slot is verified on its own, not for each of its callers."""
        func = self.functions.get(start)
        return func is not None and func.linkage == 1

    def returned(self) -> None:
        """The walk came back from a function: the log shows where it is."""
        self._show = self._back = True

    def opened(self) -> None:
        """A frame was made for another path: the log shows all of this one."""
        self._whole = True

    def note_link(self) -> None:
        """Keeps `link` with the instruction before the state is copied."""
        state = self.state
        place = len(state.history) - 1
        if self.link is not None:
            if place not in state.links:
                state.noted += not self.shape.prune[self.previous] & REACHED
            state.links[place] = self.link

    def fork(self, slot: int) -> State:
        """Puts a copy of the state aside, to go on at `slot`."""
        state = self.state
        other = state.copy()
        other.branches = 0
        if state.parent is not None:
            state.parent.branches += 1
        self.put_aside(other, slot)
        return other

    def put_aside(self, state: State, slot: int) -> None:
        """A path to be walked later, from `slot` on."""
        self.aside.append((state, slot, self.slot, self.log.position))
        if len(self.aside) > _MAX_ASIDE:
            raise Refused(
                E2BIG,
                "verify/too-complex",
                f"The sequence of {_MAX_ASIDE + 1} jumps is too complex.",
            )

    def grow(self, number: int, low: int) -> Frame:
        """The frame that an access at `low` bytes from its top goes to."""
        frame = self.state.frames[number]
        if -low > frame.depth:
            frame.depth = -low
            if -low > self.depths[frame.function]:
                self.depths[frame.function] = -low
        return frame

    def read_stack(self, frame: Frame, index: int, show: bool = True) -> None:
        """A stack slot was read; `show`: by the instruction itself, not by a helper."""
        if show:
            self._touched.add((frame.number, index))
        self.stack_notes.read(self.state, self.slot, frame.number, index)

    def wrote_stack(self, frame: Frame, index: int, whole: bool) -> None:
        """A stack slot was written, all of it if `whole`."""
        self._touched.add((frame.number, index))
        if whole and frame is self.state.frame:
            self.written = 1 << index

    def touch(self, frame: Frame, index: int) -> None:
        self._touched.add((frame.number, index))

    def save_access(self, kind: int) -> None:
        """One load or store cannot be of the context on one path and of a map on another: the
        kernel rewrites the instruction for what it found."""
        before = self.accesses.setdefault(self.slot, kind)
        if before == kind or before & BASE == kind & BASE == BTF:
            return
        if (before | kind) & UNTRUSTED or (before != kind and MAP in (before, kind)):
            raise undecided("one load of memory that is trusted on one path and not on another")
        if before & BASE in _CONVERTED or kind & BASE in _CONVERTED:
            raise Refused(
                EINVAL, "verify/mixed-pointers", "same insn cannot be used with different pointers"
            )

    def may_goto(self, insn: Instruction) -> None:
        """Jumps, or (a bounded number of times) goes on: what a loop changes is forgotten."""
        other = self.fork(self.slot + 1)
        other.goto_depth += 1
        here = self.state.parent or self.state  # what was kept at this very visit
        earlier = prune.earlier_visit(here, self.slot)
        if earlier is not None:
            prune.widen(earlier, other)
        self.slot += insn.off + 1

    # --- the walk ----------------------------------------------------------------------------

    def start(self, frame: Frame, slot: int) -> None:
        """Begins at a function's first slot."""
        self.state = State([frame])
        self.explored = {}
        self.registers = frame.registers
        self.slot = slot
        self.previous = -1
        self._show = False
        self._touched.clear()
        if self.log.detail:
            self.log.after(slot, state_text(self.state, frame))

    def run(self) -> None:
        """Walks all paths from where `start` began; raises `Refused`."""
        insns = self.shape.insns
        points = self.shape.prune
        detail = self.log.detail
        seen, limit = self.seen, self.limit
        while True:
            slot = self.slot
            insn = insns[slot]
            self.processed += 1
            if self.processed > limit:
                self._too_large()
            state = self.state
            if points[slot] and prune.visited(self):
                if detail:
                    where = f"from {self.previous} to {slot}" if self._show else f"{slot}"
                    self.log.write(f"\n{where}: safe\n" if self._show else f"{where}: safe\n")
                if not self._next_path():
                    return
                continue
            if detail:
                self._log_insn(insn)
            state.history.append(slot)
            if not seen[slot]:
                message = reserved(insn)
                if message:
                    self._before_form(insn)
                    raise malformed(slot, message)
                seen[slot] = 1
            self.previous = slot
            self.link = None
            effect = EFFECTS[insn.code]
            if effect is not None:
                effect(self, insn)
                self.slot = slot + (2 if insn.code == LD_IMM64 else 1)
            elif self._jump(insn):
                if not self._next_path():
                    return
                continue
            if self.link is not None:
                self.note_link()

    def _before_form(self, insn: Instruction) -> None:
        """What the kernel refuses before it looks at an instruction's reserved fields."""
        if is_jump(insn) and insn.code & 0xF0 not in (JA, JCOND):
            source(self, insn.dst)
        elif insn.code & 7 == LD and insn.code != LD_IMM64:
            context.legacy(self)

    def _jump(self, insn: Instruction) -> bool:
        """A jump, call or exit, or a load that may be an exit; whether its path ends there."""
        if insn.code & 7 == LD:
            context.packet_load(self, insn)
            return False
        self.jumps += 1
        if insn.code == _CALL:
            calls.call(self, insn)
        elif insn.code == _EXIT:
            return frames.leave(self)
        elif insn.code in (JMP | JA, JMP32 | JA):
            self.slot = target(self.slot, insn)
        else:
            branches.branch(self, insn)
        return False

    def enter(self, state: State) -> None:
        """Goes on with another state, or with another frame of this one."""
        self.state = state
        self.registers = state.frames[-1].registers

    def _next_path(self) -> bool:
        """Takes up what was put aside last; False at the end."""
        prune.finished(self.state.parent)
        if not self.aside:
            return False
        state, self.slot, self.previous, position = self.aside.pop()
        if self.log.detail and not self.log.keep:
            self.log.reset(position)
        self.enter(state)
        self._show = True
        self._back = self._whole = False
        self._touched.clear()
        return True

    def _too_large(self) -> None:
        raise Refused(
            E2BIG,
            "verify/too-complex",
            f"BPF program is too large. Processed {self.processed} insn",
        )

    def refuse_loop(self, old: State) -> None:
        """The state is the same as at an earlier visit that this path grew from."""
        lead = ""
        if self.log.detail:
            now, then = self.state, old
            lead = (
                f"cur state:{state_text(now, now.frame)}\nold state:{state_text(then, then.frame)}"
            )
        raise Refused(
            EINVAL, "verify/infinite-loop", f"infinite loop detected at insn {self.slot}", lead=lead
        )

    # --- the log -----------------------------------------------------------------------------

    def show_live(self) -> None:
        """The registers that are live before each instruction, and the loop that it is in."""
        loops = loops_of(self.shape)
        self.log.write("Live regs before insn:\n")
        for slot, insn in enumerate(self.shape.insns):
            if slot and self.shape.insns[slot - 1].code == LD_IMM64 and not insn.code:
                continue
            mask = self.live[slot]
            names = "".join(str(index) if mask >> index & 1 else "." for index in range(10))
            number = f"{loops[slot]:3d} " if slot in loops else "    "
            self.log.write(f"{number}{slot:3d}: {names} {self.insn_text(slot)}\n")

    def _log_insn(self, insn: Instruction) -> None:
        log, state = self.log, self.state
        if self._show:
            whole = state_text(state, state.frame)
            if log.keep:
                log.write(f"\nfrom {self.previous} to {self.slot}:{whole}\n")
            if not self._back:
                log.after(self.slot, whole)
        elif self._last is not None:
            self.show_effect(self._last)
        self._show = self._back = False
        log.source_line(self._line(self.slot))
        log.insn(self.slot, self.insn_text(self.slot))
        self._last = insn

    def insn_text(self, slot: int) -> str:
        """The instruction at a slot, in the log's words."""
        insns = self.shape.insns
        insn = insns[slot]
        high = insns[slot + 1] if insn.code == 0x18 else None
        return text.instruction(insn, high, imm=text.kernel_imm)

    def _line(self, slot: int) -> Line | None:
        """The last C line that begins at or before a slot."""
        lines = self.program.lines
        index = bisect_right(lines, slot, key=lambda line: line.slot)
        return lines[index - 1] if index else None

    def show_effect(self, insn: Instruction) -> None:
        """Logs the registers and stack slots that an instruction used or changed."""
        if not self.log.detail:
            return
        state = self.state
        self._last = None
        if insn.code == _EXIT:
            return
        if insn.code == _CALL and insn.src == 1:
            if not self.is_global(self.previous + insn.imm + 1):
                return
        elif self._whole:
            self._whole = False
            self.log.after(self.slot, state_text(state, state.frame))
            return
        count = reads(insn, lambda call: calls.argument_count(self.program, call))
        mask = writes(insn) if insn.code != _CALL else 1
        shown = members((count if insn.code != _CALL else 0) | mask)
        slots = [index for _, index in self._touched]  # Linux notes no frame with them
        self._touched.clear()
        if shown or slots:
            self.log.after(self.slot, state_text(state, state.frame, shown, slots))
