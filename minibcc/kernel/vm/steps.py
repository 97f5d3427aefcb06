"""What each instruction does: a builder per kind, from a row of the opcode table to a step.

A step is a small function of (registers, state) that does one instruction and answers the slot to
go on with. Preparing an image makes a step per slot, so that running decodes nothing twice. Steps
look at the state only for memory, calls and loops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from minibcc.abi.bpf import MAX_TAIL_CALLS
from minibcc.isa.instruction import imm64
from minibcc.kernel.vm.decode import fetches, rows, target
from minibcc.kernel.vm.execution import CODE, TAIL_CALL, Fault
from minibcc.kernel.vm.semantics import (
    ARITHMETIC,
    ATOMICS,
    CONDITIONS,
    MASK32,
    MASK64,
    sign_extend,
    swap,
)

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.isa.opcodes import Opcode
    from minibcc.kernel.vm.execution import HelperFunction, Image
    from minibcc.kernel.vm.interpreter import State

END = -1  # what `State.leave` answers when the function that was to be run is done
SWITCH = -2  # a step's answer: go on at `state.next` of `state.steps`

Step: TypeAlias = "Callable[[list[int], State], int]"


def prepare(image: Image) -> list[Step]:
    """A step per slot, and one for whoever runs off the end; made once per image."""
    if image.steps is None:
        image.steps = [
            _fault(row) if isinstance(row, str) else _STEPS[row.kind](insn, row, slot, image)
            for slot, (insn, row) in enumerate(zip(image.instructions, rows(image), strict=True))
        ]
        image.steps.append(_fault("the program runs past its end"))
    steps: list[Step] = image.steps
    return steps


def _fault(message: str) -> Step:
    def step(registers: list[int], state: State) -> int:
        raise Fault(message)

    return step


def _operand(insn: Instruction, row: Opcode) -> int:
    """The immediate as an unsigned number of the operation's width."""
    return insn.imm & (MASK32 if row.bits == 32 else MASK64)


# --- a builder per kind ------------------------------------------------------------------------


def _alu(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    dst, src, following = insn.dst, insn.src, slot + 1
    if row.op == "movsx":
        size, bits = row.size, row.bits

        def step(registers: list[int], state: State) -> int:
            registers[dst] = sign_extend(registers[src], size, bits)
            return following

        return step
    operation = ARITHMETIC[row.bits][row.op]
    immediate = _operand(insn, row)
    match row.bits, row.by_reg:
        case _ if row.op == "mov" and not row.by_reg:

            def step(registers: list[int], state: State) -> int:
                registers[dst] = immediate
                return following

        case 64, True if row.op == "mov":

            def step(registers: list[int], state: State) -> int:
                registers[dst] = registers[src]
                return following

        case 64, True:

            def step(registers: list[int], state: State) -> int:
                registers[dst] = operation(registers[dst], registers[src])
                return following

        case 64, False:

            def step(registers: list[int], state: State) -> int:
                registers[dst] = operation(registers[dst], immediate)
                return following

        case _, True:

            def step(registers: list[int], state: State) -> int:
                registers[dst] = operation(registers[dst] & MASK32, registers[src] & MASK32)
                return following

        case _:

            def step(registers: list[int], state: State) -> int:
                registers[dst] = operation(registers[dst] & MASK32, immediate)
                return following

    return step


def _swap(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    dst, op, size, following = insn.dst, row.op, row.size, slot + 1

    def step(registers: list[int], state: State) -> int:
        registers[dst] = swap(op, registers[dst], size)
        return following

    return step


def _jump(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    dst, src, following = insn.dst, insn.src, slot + 1
    taken = target(image, slot, row)
    condition = CONDITIONS[row.bits][row.op]
    immediate = _operand(insn, row)
    mask = MASK32 if row.bits == 32 else MASK64
    if row.by_reg:

        def step(registers: list[int], state: State) -> int:
            holds = condition(registers[dst] & mask, registers[src] & mask)
            return taken if holds else following

    else:

        def step(registers: list[int], state: State) -> int:
            return taken if condition(registers[dst] & mask, immediate) else following

    return step


def _goto(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    taken, following = target(image, slot, row), slot + 1
    if row.op != "may_goto":
        return lambda registers, state: taken

    def step(registers: list[int], state: State) -> int:
        if not state.loops:
            return taken
        state.loops -= 1
        return following

    return step


def _call(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    following = slot + 1
    if row.op == "function":
        start = target(image, slot, row)

        def step(registers: list[int], state: State) -> int:
            state.enter(following, registers[1:6])
            return start

        return step
    if row.op == "callx":
        register = insn.dst

        def step(registers: list[int], state: State) -> int:
            number = registers[register]
            if number not in image.helpers:
                raise Fault(f"no helper has number {number}")
            return _call_helper(number, image.helpers[number], following)(registers, state)

        return step
    if row.op == "helper" and insn.imm == TAIL_CALL:
        return _tail_call(following)
    if row.op == "kfunc":
        return _call_helper(-insn.imm, image.kfuncs[insn.imm], following)
    return _call_helper(insn.imm, image.helpers[insn.imm], following)


def _call_helper(number: int, function: HelperFunction, following: int) -> Step:
    def step(registers: list[int], state: State) -> int:
        _, r1, r2, r3, r4, r5, *_ = registers
        result = function(state.run, r1, r2, r3, r4, r5) & MASK64
        registers[0] = result
        if state.observer is not None:
            state.observer.called(number, (r1, r2, r3, r4, r5), result)
        return following

    return step


def _tail_call(following: int) -> Step:
    """bpf_tail_call(ctx, map, index): the frame goes to another program, which does not return
    here; or nothing happens, where there is none or it is one too many."""

    def step(registers: list[int], state: State) -> int:
        if state.run.tail_call is None or state.tail_calls >= MAX_TAIL_CALLS:
            return following
        context = registers[1]
        image = state.run.tail_call(context, registers[2], registers[3])
        if image is None:
            return following
        state.tail_calls += 1
        state.run.image = state.image = image
        state.steps, state.next = prepare(image), 0
        state.begin([context], registers[10])
        return SWITCH

    return step


def _exit(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    return lambda registers, state: state.leave()


def _load(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    dst, src, off, size, following = insn.dst, insn.src, insn.off, row.size, slot + 1
    if row.op == "memsx":

        def step(registers: list[int], state: State) -> int:
            value = state.read((registers[src] + off) & MASK64, size)
            registers[dst] = sign_extend(value, size)
            return following

    else:

        def step(registers: list[int], state: State) -> int:
            registers[dst] = state.read((registers[src] + off) & MASK64, size)
            return following

    return step


def _probe(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    dst, src, off, size, following = insn.dst, insn.src, insn.off, row.size, slot + 1
    extend = row.op == "memsx"

    def step(registers: list[int], state: State) -> int:
        probe = state.run.probe
        value = probe((registers[src] + off) & MASK64, size) if probe else 0
        registers[dst] = sign_extend(value, size) if extend else value
        return following

    return step


def _store(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    dst, src, off, size, following = insn.dst, insn.src, insn.off, row.size, slot + 1
    immediate = insn.imm & MASK64
    if row.by_reg:

        def step(registers: list[int], state: State) -> int:
            state.write((registers[dst] + off) & MASK64, size, registers[src])
            return following

    else:

        def step(registers: list[int], state: State) -> int:
            state.write((registers[dst] + off) & MASK64, size, immediate)
            return following

    return step


def _atomic(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    dst, src, off, size, following = insn.dst, insn.src, insn.off, row.size, slot + 1
    mask = (1 << 8 * size) - 1
    if row.op == "load_acquire":
        return _load(insn, row, slot, image)
    if row.op == "store_release":
        return _store(insn, row, slot, image)
    operation = ATOMICS.get(row.op.removeprefix("fetch_"))
    fetch = fetches(row)

    def step(registers: list[int], state: State) -> int:
        address = (registers[dst] + off) & MASK64
        state.memory.check(address, size, write=True)
        old = state.read(address, size)
        operand = registers[src] & mask
        if operation is None:  # cmpxchg
            if old == registers[0] & mask:
                state.write(address, size, operand)
            registers[0] = old
        else:
            state.write(address, size, operation(old, operand))
            if fetch:
                registers[src] = old
        return following

    return step


def _imm64(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    dst, following = insn.dst, slot + 2
    value = imm64(insn, image.instructions[slot + 1])
    if row.op == "func":
        value = CODE + 8 * target(image, slot, row)

    def step(registers: list[int], state: State) -> int:
        registers[dst] = value
        return following

    return step


def _packet(insn: Instruction, row: Opcode, slot: int, image: Image) -> Step:
    src, imm, size, following, by_reg = insn.src, insn.imm, row.size, slot + 1, row.by_reg

    def step(registers: list[int], state: State) -> int:
        offset = sign_extend(registers[src] + imm if by_reg else imm, 4)
        packet = state.run.packet
        value = packet(offset - (offset >> 63 << 64), size) if packet else None
        registers[0] = 0 if value is None else value
        return state.leave() if value is None else following

    return step


_STEPS: dict[str, Callable[[Instruction, Opcode, int, Image], Step]] = {
    "alu": _alu,
    "swap": _swap,
    "jump": _jump,
    "goto": _goto,
    "call": _call,
    "exit": _exit,
    "load": _load,
    "probe": _probe,
    "store": _store,
    "atomic": _atomic,
    "imm64": _imm64,
    "packet": _packet,
}
