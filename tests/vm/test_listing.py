"""Native code to look at, and which bytecode it comes from."""

from __future__ import annotations

import platform

import pytest

from minibcc.isa.text import assemble
from minibcc.kernel.vm.disassembly import disassemble
from minibcc.kernel.vm.execution import Run
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.listing import native_code, native_listing
from minibcc.kernel.vm.memory import Arena
from tests.vm import rig

PROGRAM = """
r6 = r1
r0 = *(u32 *)(r6 +4)
if r0 > 100 goto big
r1 = r0
call sum#5
exit
big:
r0 *= 3
call other
exit
other:
r0 = 7
*(u64 *)(r1 +0) = r0
exit
"""

x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 assembly")


@x86
def test_a_listing_says_which_slot_each_instruction_is_from():
    lines = native_listing(Jit(), rig.image(assemble(PROGRAM)))
    (load,) = [line for line in lines if line.text.startswith("mov    0x4(")]
    assert load.slot == 1
    (call,) = [line for line in lines if line.symbol == "helper_5"]
    assert (call.slot, call.text.split()[0]) == (4, "call")
    assert [line.offset for line in lines if not line.offset] == [0, 0]
    (store,) = [line for line in lines if line.text.startswith("movq   $0x7,(")]
    assert store.slot == 10


def test_functions_and_their_lines():
    jit, image = Jit(), rig.image(assemble(PROGRAM))
    first, second = native_code(jit, image)
    assert (first.slot, second.slot) == (0, 9)
    assert first.slot_at(0) == 0
    assert first.slot_at(first.offset_of(4)) == 4
    assert second.offset_of(99) == len(second.code)
    assert sum(len(code) for _, code, _ in disassemble(first.code)) == len(first.code)


def test_looking_changes_nothing():
    jit, image, arena = Jit(), rig.image(assemble(PROGRAM)), Arena()
    address = arena.allocate(8)
    arena.store(address, 8, 40 << 32)
    before = jit.run(image, Run(arena), (address,)), len(native_code(jit, image)[0].code)
    after = jit.run(image, Run(arena), (address,)), len(native_code(jit, image)[0].code)
    assert before == after
    arena.close()
