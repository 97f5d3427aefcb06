"""Every case on every engine; and every row of the opcode table has a case."""

from __future__ import annotations

import re

import pytest

from minibcc.isa import opcodes
from minibcc.isa.text import assemble
from minibcc.kernel.vm.decode import may_fault
from minibcc.kernel.vm.execution import Fault
from minibcc.kernel.vm.interpreter import Interpreter
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.memory import Arena
from tests.vm import rig

OPERATIONS = {
    f"{text}, {before:#x}, {operand:#x}": {
        "program": f"r1 = {before:#x}\nr2 = {operand:#x}\n{text}\nr0 = r1\nexit",
        "r0": after,
    }
    for text, values in rig.cases("operations").items()
    for before, operand, after in values
}
JUMPS = {
    f"{text}, {left:#x}, {right:#x}": {
        "program": f"""
            r1 = {left:#x}
            r2 = {right:#x}
            r0 = 1
            if {text} goto taken
            r0 = 0
            taken:
            exit
            """,
        "r0": int(way == "taken"),
    }
    for text, ways in rig.cases("jumps").items()
    for way, values in ways.items()
    for left, right in values
}
CASES = OPERATIONS | JUMPS | rig.cases("programs")


@pytest.fixture(scope="module")
def arena():
    arena = Arena()
    yield arena
    arena.close()


ENGINES = {engine.name: engine() for engine in (Interpreter, Jit)}
PAIRS = [
    (name, engine)
    for engine in ENGINES
    for name, case in CASES.items()
    # Native code checks no access: it is for verified programs.
    if engine == "interpreter" or not re.match("(read|write) of", case.get("fault", ""))
]


@pytest.mark.parametrize(("name", "engine"), PAIRS)
def test_case(name, engine, arena):
    case, engine = CASES[name], ENGINES[engine]
    if "fault" in case:
        with pytest.raises(Fault, match=case["fault"]) as caught:
            rig.execute(engine, case, arena)
        assert caught.value.insn == case["at"]
    elif "error" in case:
        with pytest.raises(rig.Failure, match=case["error"]):
            rig.execute(engine, case, arena)
    else:
        result, memory = rig.execute(engine, case, arena)
        assert hex(result) == hex(case["r0"])
        if "after" in case:
            assert memory.hex() == bytes.fromhex(case["after"]).hex()


def test_every_row_of_the_opcode_table_has_a_case():
    tested = {
        opcodes.find(insn)
        for case in CASES.values()
        if "r0" in case
        for insn in assemble(case["program"])
    }
    undefined = {"addr_space_cast"}  # needs an arena map, which nobody has
    missing = {row for row in opcodes.OPCODES if row.op not in undefined} - tested
    assert not missing


def test_only_loads_may_fault():
    load, extended, store = assemble("r0 = *(u8 *)(r1 +0)\nr0 = *(s8 *)(r1 +0)\n*(u8 *)(r1 +0) = 1")
    assert (may_fault(load).code, may_fault(extended).code) == (0x31, 0x51)
    with pytest.raises(ValueError, match="code 0x72 is no load"):
        may_fault(store)
