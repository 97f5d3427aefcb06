"""From an accepted program to what runs: maps become addresses, helpers functions, dead code goes.

What user space is shown of the program is made here too: the same instructions with map ids.
Mirrors the fix-ups at the end of ``bpf_check`` (kernel/bpf/verifier.c) and
``bpf_insn_prepare_dump`` (kernel/bpf/syscall.c).
"""

from __future__ import annotations

from errno import EOPNOTSUPP
from typing import TYPE_CHECKING

from minibcc.abi.bpf import Pseudo, PseudoCall
from minibcc.abi.helpers import name_of
from minibcc.abi.requests import ProgramRefused, Refusal
from minibcc.isa.instruction import LD_IMM64, Instruction, encode
from minibcc.isa.tag import tag_sha256
from minibcc.kernel.contexts import convert_context_accesses
from minibcc.kernel.helpers.registry import implementation
from minibcc.kernel.objects import Program
from minibcc.kernel.rewrite import Compaction, is_kernel_memory
from minibcc.kernel.vm.decode import may_fault
from minibcc.kernel.vm.execution import TAIL_CALL, Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minibcc.abi.requests import ProgLoad
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map
    from minibcc.kernel.objects import BtfObject
    from minibcc.kernel.verifier.contract import Facts
    from minibcc.kernel.vm.execution import HelperFunction
    from minibcc.kernel.vm.layouts import Layout

CALL, EXIT = 0x85, 0x95
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
"""Bytes of an access, by the size bits of its opcode."""


def build(
    kernel: Kernel,
    request: ProgLoad,
    instructions: Sequence[Instruction],
    maps: Mapping[int, Map],
    facts: Facts,
    btf: BtfObject | None,
) -> Program:
    """The program object with its image."""
    converted = convert_context_accesses(request.prog_type, instructions, facts)
    compact = Compaction(converted, facts.dead)
    by_facts: dict[int, Map] = {id(map.facts): map for map in maps.values()}
    if "map_ptr" in facts.accesses.values():
        for map in maps.values():
            map.expose()
    alive = compact.starts(facts.starts)
    starts = tuple(compact.moved[facts.starts[index]] for index in alive)
    resolved, shown = _resolve(compact, starts, facts, by_facts)
    image = Image(
        name=request.prog_name,
        instructions=resolved,
        helpers=_helpers(resolved),
        starts=starts,
        stacks=tuple(facts.stacks[index] for index in alive),
        layouts=_layouts(kernel, maps),
    )
    used = {id(map): map for map in maps.values()}
    program = Program(request, image, facts, tuple(used.values()), btf)
    image.program = program
    program.reach = _reach(instructions, facts)
    program.tag = tag_sha256(instructions)
    program.xlated = encode(shown)
    program.func_info = compact.records(request.func_info, 8)
    program.line_info = compact.records(request.line_info, 16)
    program.load_time = kernel.machine.now()
    program.uid = kernel.uid
    program.attach_btf_id = request.attach_btf_id
    return program


def _reach(instructions: Sequence[Instruction], facts: Facts) -> int:
    """Up to where the program reads its context."""
    touched = (instructions[slot] for slot, kind in facts.accesses.items() if kind == "ctx")
    return max((insn.off + SIZES[insn.code & 0x18] for insn in touched), default=0)


def _layouts(kernel: Kernel, maps: Mapping[int, Map]) -> dict[int, Layout]:
    """What native code may know of the program's maps, by their addresses."""
    if kernel.engine.name == "interpreter":
        return {}
    # What the kernel looks after goes with its element: native code does not know of that.
    plain = (map for map in maps.values() if not map.managed)
    known = ((map.address, map.layout()) for map in plain)
    return {address: layout for address, layout in known if layout is not None}


def _resolve(
    compact: Compaction,
    starts: Sequence[int],
    facts: Facts,
    maps: Mapping[int, Map],
) -> tuple[list[Instruction], list[Instruction]]:
    """The instructions for engines, with addresses and loads that may fault, and for views, with
    map ids and plain loads."""
    run = list(compact.instructions)
    shown = list(compact.instructions)
    for slot, old in enumerate(compact.kept):
        insn = run[slot]
        if is_kernel_memory(facts.accesses.get(old, "")):
            run[slot] = may_fault(insn)  # the verifier accepts no stores there
            continue
        if insn.code == EXIT:
            run[slot] = insn._replace(off=0)  # which the verifier lets be anything
            continue
        if insn.code == CALL and insn.src == PseudoCall.CALL:
            # Linux shows the distance in `off` and the function's number in `imm`.
            number = starts.index(slot + 1 + insn.imm)
            shown[slot] = insn._replace(off=insn.imm, imm=number)
            continue
        if insn.code != LD_IMM64 or insn.src not in (Pseudo.MAP_FD, Pseudo.MAP_VALUE):
            continue
        map = maps[id(facts.maps[old])]
        high = run[slot + 1]
        address = map.address
        if insn.src == Pseudo.MAP_VALUE:
            address = map.lookup(bytes(map.key_size), 0) + (high.imm & 0xFFFF_FFFF)
        run[slot] = insn._replace(src=0, imm=_signed(address))
        run[slot + 1] = high._replace(imm=_signed(address >> 32))
        shown[slot] = insn._replace(imm=map.id)
    return run, shown


def _signed(value: int) -> int:
    """The low 32 bits as a signed immediate."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def _helpers(instructions: Sequence[Instruction]) -> dict[int, HelperFunction]:
    """The functions that the program calls, by number. What is accepted but not implemented is
    refused here, by its name."""
    found: dict[int, HelperFunction] = {}
    skip = False
    for slot, insn in enumerate(instructions):
        if skip:
            skip = False
            continue
        skip = insn.code == LD_IMM64
        if (
            insn.code == CALL
            and insn.src == PseudoCall.HELPER
            and insn.imm not in (TAIL_CALL, *found)
        ):
            function = implementation(insn.imm)
            if function is None:
                raise _not_simulated(insn.imm, slot)
            found[insn.imm] = function
    return found


def _not_simulated(number: int, slot: int) -> ProgramRefused:
    """For a helper that Linux has and this kernel has not."""
    name = name_of(number)
    message = f"helper {name}#{number} is not simulated"
    refusal = Refusal("load/helper-not-simulated", slot, message)
    return ProgramRefused(EOPNOTSUPP, message, message, refusal)
