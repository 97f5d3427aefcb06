"""Before any path is walked: is this a program at all, and what is its shape?

`prepare` splits a program into functions, checks that jumps stay inside their function, resolves
64-bit loads, refuses unknown opcodes, and walks the control flow graph: every slot must be
reachable. What it finds (functions, maps, points at which states are compared) is a `Shape`, which
the rest works on. Mirrors ``add_subprog_and_kfunc``, ``check_subprogs``,
``resolve_pseudo_ldimm64`` and ``check_cfg`` of kernel/bpf/verifier.c, in their order.
"""

from __future__ import annotations

from bisect import bisect_right
from errno import E2BIG, EBADF, EINVAL, EPROTO
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MAX_SUBPROGS, MapType, ProgFlags, Pseudo
from minibcc.btf.types import Enum, Int, strip
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64
from minibcc.kernel.verifier.fields import compatible
from minibcc.kernel.verifier.state import Refused, undecided
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.btf.types import Func
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.contract import MapFacts, Source
    from minibcc.kernel.verifier.log import Log

MAX_OFFSET = 1 << 29  # BPF_MAX_VAR_OFF
_ENOTSUPP = 524
_CALL = opcodes.JMP | opcodes.CALL
_EXIT = opcodes.JMP | opcodes.EXIT
_JA = opcodes.JMP | opcodes.JA
_JA32 = opcodes.JMP32 | opcodes.JA
_MAY_GOTO = opcodes.JMP | opcodes.JCOND
TAIL_CALL = 12
COMPARED, REACHED = 1, 2
CALLBACKS = {164: "for_each_map_elem", 180: "find_vma", 181: "loop", 209: "user_ringbuf_drain"}
"""Helpers that call back before they return."""
TIMER_CALLBACK = 170
"""``bpf_timer_set_callback``: the function is called when the program is long over."""


class Shape(Record, frozen=False):
    """A program's anatomy.

    `starts` are the functions' first slots and, at the end, the number of slots. `maps` and
    `functions` say what a 64-bit load at a slot stands for. `prune` marks the slots at which
    states are compared (`COMPARED`) and those to which jumps and calls lead (`REACHED`, too),
    `force` those where one is always kept. `following` are the slots that may come after each
    inside its function, the next one first. `order` lists each function's
    slots so that most come after what they lead to. `callbacks` are the calls of helpers that call
    back before they return. `tail` and `packet` are the functions that
    make tail calls, and that load from the packet by LD_ABS.
    """

    insns: tuple[Instruction, ...]
    starts: list[int]
    maps: dict[int, MapFacts]
    functions: dict[int, int]
    prune: bytearray
    force: set[int]
    following: list[tuple[int, ...]]
    order: list[int]
    tail: set[int]
    packet: set[int]
    callbacks: set[int]

    def function_at(self, slot: int) -> int:
        """The index of the function that holds a slot."""
        return bisect_right(self.starts, slot) - 1


def malformed(slot: int, message: str, code: str = "verify/bad-insn") -> Refused:
    return Refused(EINVAL, code, message, slot=slot)


def is_wide(insn: Instruction) -> bool:
    return insn.code == LD_IMM64


def target(slot: int, insn: Instruction) -> int:
    """Where a jump goes (of an ``exit`` or ``call`` it is not asked)."""
    return slot + 1 + (insn.imm if insn.code == _JA32 else insn.off)


def is_jump(insn: Instruction) -> bool:
    """Whether it may go elsewhere than to the next slot, other than by a call or an exit."""
    return insn.code & 7 in (opcodes.JMP, opcodes.JMP32) and insn.code & 0xF0 not in (
        opcodes.CALL,
        opcodes.EXIT,
    )


def prepare(program: Source, log: Log) -> Shape:
    """The shape of a program; raises `Refused` for what is none."""
    insns = program.instructions
    if not insns:
        raise Refused(E2BIG, "verify/bad-insn", "")
    prune = bytearray(len(insns) + 1)
    shape = Shape(insns, [], {}, {}, prune, set(), [], [], set(), set(), set())
    shape.starts = _functions(insns)
    if log.keep:
        for number, start in enumerate(shape.starts[:-1]):
            log.write(f"func#{number} @{start}\n")
    _check_jumps(shape)
    _check_functions(shape, program)
    _resolve(shape, program)
    shape.following = [_successors(slot, insn) for slot, insn in enumerate(insns)]
    _flow(shape)
    return shape


def _functions(insns: tuple[Instruction, ...]) -> list[int]:
    """First slots of all functions: the program's, and every target of a call."""
    starts = {0}
    for slot, insn in enumerate(insns):
        if (insn.code == _CALL and insn.src == 1) or (
            insn.code == LD_IMM64 and insn.src == Pseudo.FUNC
        ):
            start = slot + insn.imm + 1
            if not 0 <= start < len(insns):
                raise malformed(slot, "call to invalid destination", "verify/bad-jump")
            starts.add(start)
            if len(starts) > MAX_SUBPROGS:
                raise Refused(E2BIG, "verify/call-depth", "too many subprograms")
        elif insn.code == _CALL and insn.src == 2:
            raise undecided("kernel functions (kfuncs)")
    return [*sorted(starts), len(insns)]


def _check_jumps(shape: Shape) -> None:
    """Jumps stay in their function, and no function runs into the next."""
    insns = shape.insns
    for number, start in enumerate(shape.starts[:-1]):
        end = shape.starts[number + 1]
        for slot in range(start, end):
            insn = insns[slot]
            if insn.code == _CALL and insn.src == 0 and insn.imm == TAIL_CALL:
                shape.tail.add(number)
            if insn.code & 7 == opcodes.LD and insn.code & 0xE0 in (opcodes.ABS, opcodes.IND):
                shape.packet.add(number)
            if is_jump(insn) and not start <= target(slot, insn) < end:
                raise malformed(
                    slot,
                    f"jump out of range from insn {slot} to {target(slot, insn)}",
                    "verify/bad-jump",
                )
        if insns[end - 1].code not in (_EXIT, _JA, _JA32):
            raise malformed(end - 1, "last insn is not an exit or jmp", "verify/falls-off")


def _check_functions(shape: Shape, program: Source) -> None:
    """func_info, where there is one, names the very functions that there are; it is needed for
    functions whose caller may see a result that they did not give."""
    early = (("LD_ABS", shape.packet - {0}), ("tail_call", shape.tail - {0}))
    if not program.functions:
        for number in sorted(shape.packet | shape.tail):
            for name, where in early:
                if number in where:
                    message = f"{name} is not allowed in subprogs without BTF"
                    raise Refused(EINVAL, "verify/bad-function", message)
        return
    starts = [start for start, _ in program.functions]
    message = ""
    if len(starts) != len(shape.starts) - 1:
        message = "number of funcs in func_info doesn't match number of subprogs"
    elif starts != shape.starts[:-1]:
        message = "func_info BTF section doesn't match subprog layout in BPF program"
    if message:
        raise Refused(EINVAL, "verify/bad-function", message)
    for number, (_, func) in enumerate(program.functions):
        for name, where in early:
            if number in where and not _gives_number(func):
                message = f"{name} is only allowed in functions that return 'int'."
                raise Refused(EINVAL, "verify/bad-function", message)


def _gives_number(func: Func) -> bool:
    """``btf_type_is_small_int`` or an enum."""
    result = strip(func.proto.result)
    return isinstance(result, Enum) or (isinstance(result, Int) and result.size <= 8)


def _resolve(shape: Shape, program: Source) -> None:
    """Every opcode is one, and 64-bit loads refer to maps and functions that there are."""
    insns = shape.insns
    slot = 0
    while slot < len(insns):
        insn = insns[slot]
        code = insn.code
        if code & 7 == opcodes.LDX and (
            code & 0xE0 not in (opcodes.MEM, opcodes.MEMSX) or insn.imm
        ):
            raise malformed(slot, "BPF_LDX uses reserved fields")
        if is_wide(insn):
            high = insns[slot + 1] if slot + 1 < len(insns) else None
            if high is None or high.code or high.dst or high.src or high.off:
                raise malformed(slot, "invalid bpf_ld_imm64 insn")
            _resolve_wide(shape, program, slot, insn, high.imm)
            slot += 2
            continue
        if not opcodes.BY_CODE[code] or not any(row.valid for row in opcodes.BY_CODE[code]):
            raise malformed(slot, f"unknown opcode {code:02x}")
        slot += 1


def _resolve_wide(shape: Shape, program: Source, slot: int, insn: Instruction, high: int) -> None:
    match insn.src:
        case Pseudo.VALUE:
            return
        case Pseudo.BTF_ID:
            raise undecided("addresses of kernel variables")
        case Pseudo.FUNC:
            shape.functions[slot] = shape.starts.index(slot + insn.imm + 1)
            return
        case Pseudo.MAP_FD | Pseudo.MAP_IDX if high:
            raise malformed(slot, "unrecognized bpf_ld_imm64 insn")
        case Pseudo.MAP_IDX | Pseudo.MAP_IDX_VALUE:
            raise Refused(EPROTO, "verify/bad-map", "fd_idx without fd_array is invalid", slot=slot)
        case Pseudo.MAP_FD | Pseudo.MAP_VALUE:
            pass
        case _:
            raise malformed(slot, "unrecognized bpf_ld_imm64 insn")
    facts = program.maps.get(insn.imm)
    if facts is None:
        message = f"fd {insn.imm} is not pointing to valid bpf_map"
        errno = EINVAL if insn.imm in program.others else EBADF
        raise Refused(errno, "verify/bad-map", message, slot=slot)
    sleeps = bool(program.prog_flags & ProgFlags.SLEEPABLE)
    compatible(facts, program.prog_type, sleeps, slot)
    if insn.src == Pseudo.MAP_VALUE:
        _check_value(slot, facts, high & 0xFFFF_FFFF)
    shape.maps[slot] = facts


def _check_value(slot: int, facts: MapFacts, offset: int) -> None:
    """The address of a map's first value, `offset` bytes in."""
    if offset >= MAX_OFFSET:
        raise malformed(slot, f"direct value offset of {offset} is not allowed", "verify/bad-map")
    if facts.type != MapType.ARRAY:
        raise malformed(slot, "no direct value access support for this map type", "verify/bad-map")
    errno = _ENOTSUPP if facts.max_entries != 1 else EINVAL if offset >= facts.value_size else 0
    if errno:
        size = facts.value_size
        message = f"invalid access to map value pointer, value_size={size} off={offset}"
        raise Refused(errno, "verify/map-value-bounds", message, slot=slot)


def _successors(slot: int, insn: Instruction) -> tuple[int, ...]:
    """The slots that may follow inside the function, the next one first."""
    if insn.code & 7 not in (opcodes.JMP, opcodes.JMP32):
        return (slot + (2 if is_wide(insn) else 1),)
    if insn.code == _EXIT:
        return ()
    if insn.code in (_JA, _JA32):
        return (target(slot, insn),)
    if is_jump(insn):
        return slot + 1, target(slot, insn)
    return (slot + 1,)


def _flow(shape: Shape) -> None:
    """A depth-first walk from slot 0, through calls: marks where to compare states, and refuses
    what no path reaches."""
    insns = shape.insns
    seen = bytearray(len(insns) + 1)
    stack = [(0, iter(_edges(shape, 0)))]
    seen[0] = 1
    while stack:
        slot, edges = stack[-1]
        for following in edges:
            if following >= len(insns):
                message = f"jump out of range from insn {slot} to {following}"
                raise malformed(slot, message, "verify/bad-jump")
            if not seen[following]:
                seen[following] = 1
                stack.append((following, iter(_edges(shape, following))))
                break
        else:
            shape.order.append(slot)
            stack.pop()
    slot = 0
    while slot < len(insns):
        if not seen[slot]:
            raise malformed(slot, f"unreachable insn {slot}", "verify/unreachable")
        if is_wide(insns[slot]):
            if seen[slot + 1]:
                message = f"jump into the middle of ldimm64 insn {slot}"
                raise malformed(slot, message, "verify/bad-jump")
            slot += 1
        slot += 1


def _edges(shape: Shape, slot: int) -> list[int]:
    """Where control may go from a slot, into called functions too; marks comparison points."""
    insn = shape.insns[slot]
    following = list(shape.following[slot])
    prune = shape.prune
    if is_wide(insn):
        if insn.src == Pseudo.FUNC:
            prune[slot] |= COMPARED
            following.append(slot + insn.imm + 1)
            prune[slot + 2] = prune[slot + insn.imm + 1] = COMPARED | REACHED
    elif insn.code == _CALL:
        prune[slot + 1] = COMPARED | REACHED
        if insn.src == 1:
            prune[slot] |= COMPARED
            prune[slot + insn.imm + 1] = COMPARED | REACHED
            following.append(slot + insn.imm + 1)
        elif not insn.src and insn.imm in CALLBACKS:
            prune[slot] = COMPARED | REACHED
            shape.force.add(slot)
            shape.callbacks.add(slot)
        elif not insn.src and insn.imm == TIMER_CALLBACK:
            prune[slot] |= COMPARED
    elif insn.code in (_JA, _JA32):
        prune[following[0]] = COMPARED | REACHED
    elif is_jump(insn):
        prune[slot] |= COMPARED
        prune[following[1]] = COMPARED | REACHED
        if insn.code == _MAY_GOTO:
            shape.force.add(slot)
    return following
