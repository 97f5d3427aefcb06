"""Taking dead code out: what remains does the same."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from minibcc.isa.instruction import Instruction
from minibcc.isa.text import assemble
from minibcc.kernel.rewrite import GOTO, Compaction, is_conditional, jump_target


def compact(text, dead=()):
    return Compaction(assemble(text), frozenset(dead)).instructions


def test_nothing_dead_changes_nothing():
    text = "r0 = 1\nif r0 == 1 goto pc+1\nr0 = 2\nexit"
    assert compact(text) == assemble(text)


def test_a_jump_to_what_comes_next_goes():
    assert compact("r0 = 1\ngoto pc+0\ngoto pc+0\nexit") == assemble("r0 = 1\nexit")


def test_a_branch_never_taken_goes():
    text = "r0 = 1\nif r0 == 2 goto pc+2\nr0 = 3\nexit\nr0 = 4\nexit"
    assert compact(text, {4, 5}) == assemble("r0 = 1\nr0 = 3\nexit")


def test_a_branch_always_taken_goes_with_what_it_skips():
    text = "r0 = 1\nif r0 == 1 goto pc+2\nr0 = 3\nexit\nr0 = 4\nexit"
    assert compact(text, {2, 3}) == assemble("r0 = 1\nr0 = 4\nexit")


def test_jumps_over_what_went_become_shorter():
    text = "if r1 == 1 goto pc+5\nif r2 == 2 goto pc+2\nr0 = 3\ngoto pc+2\nr0 = 4\nr0 = 5\nexit"
    kept = compact(text, {4, 5})
    assert kept == assemble("if r1 == 1 goto pc+2\nr0 = 3\ngoto pc+0\nexit") or kept == assemble(
        "if r1 == 1 goto pc+1\nr0 = 3\nexit"
    )


def test_backward_jumps_and_calls_follow():
    text = "call pc+4\nexit\nr0 = 7\nr0 = 7\nr0 = 7\nr0 = 1\nif r0 > 5 goto pc-2\nexit"
    kept = compact(text, {2, 3, 4})
    assert kept == assemble("call pc+1\nexit\nr0 = 1\nif r0 > 5 goto pc-2\nexit")


def test_records_follow_their_code():
    compaction = Compaction(assemble("r0 = 1\nr0 = 2\nr0 = 3\nexit"), {1})
    records = b"".join(struct.pack("<II", slot, 10 + slot) for slot in range(4))
    moved = list(struct.iter_unpack("<II", compaction.records(records, 8)))
    assert moved == [(0, 10), (1, 12), (2, 13)]


def test_functions_that_went_are_not_functions():
    compaction = Compaction(assemble("r0 = 0\nexit\nr0 = 1\nexit\nr0 = 2\nexit"), {2, 3})
    assert compaction.starts((0, 2, 4)) == [0, 2]
    assert compaction.moved[4] == 2


@given(st.data())
def test_every_path_stays_the_same(data):
    """Random forward jumps; what no path reaches is dead; both programs visit the same slots."""
    count = data.draw(st.integers(2, 24))
    program = []
    for slot in range(count - 1):
        kind = data.draw(st.sampled_from(["plain", "plain", "branch", "goto"]))
        reach = data.draw(st.integers(0, count - slot - 2))
        if kind == "branch":
            program.append(Instruction(0x15, 1, off=reach, imm=slot))
        elif kind == "goto":
            program.append(Instruction(GOTO, off=reach))
        else:
            program.append(Instruction(0xB7, 0, imm=slot))
    program.append(Instruction(0x95))
    outcomes = data.draw(st.lists(st.booleans(), min_size=count, max_size=count))
    decided = data.draw(st.sets(st.integers(0, count - 1)))

    def ways(slot):
        insn = program[slot]
        if insn.code == 0x95:
            return []
        target = jump_target(insn, slot)
        if not is_conditional(insn):
            return [slot + 1 if target is None else target]
        if slot in decided:
            return [target if outcomes[slot] else slot + 1]
        return [slot + 1, target]

    alive, todo = set(), [0]
    while todo:
        slot = todo.pop()
        if slot not in alive:
            alive.add(slot)
            todo.extend(ways(slot))
    dead = frozenset(range(count)) - alive
    kept = Compaction(program, dead).instructions

    def walk(code):
        seen, slot = [], 0
        while code[slot].code != 0x95:
            insn = code[slot]
            target = jump_target(insn, slot)
            if is_conditional(insn):
                slot = target if outcomes[insn.imm] else slot + 1
            elif target is not None:
                slot = target
            else:
                seen.append(insn.imm)
                slot += 1
        return seen

    assert walk(kept) == walk(program)
