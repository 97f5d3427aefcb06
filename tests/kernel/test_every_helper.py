"""Every helper of the table is implemented or refused by its name when a program is loaded."""

from __future__ import annotations

import pytest

from minibcc.abi.bpf import ProgType
from minibcc.abi.helpers import helpers
from minibcc.abi.requests import ProgLoad, ProgramRefused, ProgTestRun
from minibcc.isa.instruction import Instruction, encode
from minibcc.isa.text import assemble
from minibcc.kernel import programs
from minibcc.kernel.helpers.registry import implementations
from minibcc.kernel.vm.execution import TAIL_CALL
from minibcc.system.interface import System
from tests import live
from tests.kernel.support import accept, boot

SIMULATED = set(implementations()) | {"tail_call"}
ROWS = helpers()


def test_what_is_implemented_is_in_the_table():
    assert {row.name for row in ROWS.values()} >= SIMULATED
    assert ROWS[TAIL_CALL].name == "tail_call"


@pytest.mark.parametrize("number", ROWS, ids=lambda number: ROWS[number].name)
def test_a_helper_is_there_or_refused_by_its_name(number, monkeypatch):
    """With a verifier that believes everything, so that nothing else refuses the call."""
    monkeypatch.setattr(programs, "verify", accept)
    system = boot()
    code = encode([Instruction(0x85, imm=number), *assemble("r0 = 0\nexit")])
    name = ROWS[number].name
    if name in SIMULATED:
        system.close(system.bpf(ProgLoad(ProgType.KPROBE, code)).fd)
        return
    with pytest.raises(ProgramRefused, match=f"helper bpf_{name}#{number} is not simulated") as no:
        system.bpf(ProgLoad(ProgType.KPROBE, code))
    assert no.value.refusal is not None
    assert no.value.refusal.code == "load/helper-not-simulated"


TUNNEL = """
r6 = r1
*(u64 *)(r10 -8) = 0
*(u64 *)(r10 -16) = 0
*(u64 *)(r10 -24) = 0
*(u64 *)(r10 -32) = 0
*(u64 *)(r10 -40) = 0
*(u64 *)(r10 -48) = 77
r1 = r6
r2 = r10
r2 += -48
r3 = SIZE
r4 = FLAGS
call skb_set_tunnel_key#21
if r0 != 0 goto out
*(u64 *)(r10 -48) = 0
r1 = r6
r2 = r10
r2 += -48
r3 = 44
r4 = GET
call skb_get_tunnel_key#20
if r0 != 0 goto out
r0 = *(u32 *)(r10 -48)
out:
exit
"""


TUNNELS = {
    # size, flags of set, flags of get: R0
    (44, 0, 0): 77,
    (28, 0, 0): 77,
    (43, 0, 0): -22,
    (44, 1 << 5, 0): -22,
    (44, 1, 0): -71,
    (44, 1, 1): 77,
    (44, 0, 2): -22,
}
FIB = """
*(u8 *)(r10 -64) = {}
*(u32 *)(r10 -56) = {}
r2 = r10
r2 += -64
r3 = {}
r4 = {}
call fib_lookup#69
exit
"""
ROUTES = {
    # family, device, size, flags: R0
    (3, 1, 64, 0): -97,
    (2, 99, 64, 0): -19,
    (2, 1, 60, 0): -22,
    (2, 1, 64, 1 << 6): -22,
}
ZEROS = "\n".join(f"*(u64 *)(r10 -{offset}) = 0" for offset in range(8, 65, 8))


def tunnel(size: int, flags: int, get: int) -> str:
    return TUNNEL.replace("SIZE", str(size)).replace("FLAGS", str(flags)).replace("GET", str(get))


PROGRAMS = {
    **{
        f"tunnel {case}": (ProgType.SCHED_CLS, tunnel(*case), answer)
        for case, answer in TUNNELS.items()
    },
    **{
        f"route {case}": (ProgType.XDP, ZEROS + FIB.format(*case), answer)
        for case, answer in ROUTES.items()
    },
}


def result(system: System, kind: ProgType, text: str) -> int:
    fd = system.bpf(ProgLoad(kind, encode(assemble(text)))).fd
    try:
        return system.bpf(ProgTestRun(fd, bytes(64))).retval
    finally:
        system.close(fd)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_tunnel_that_was_set_is_read_and_what_no_route_is_refused(name):
    kind, text, answer = PROGRAMS[name]
    assert result(boot(), kind, text) == answer & 0xFFFF_FFFF


@pytest.mark.kernel
@pytest.mark.parametrize("name", PROGRAMS)
def test_linux_answers_so(name):
    kind, text, answer = PROGRAMS[name]
    assert result(live.kernel(), kind, text) == answer & 0xFFFF_FFFF


@pytest.mark.parametrize(("family", "device"), [(2, 1), (10, 2)])
def test_nothing_is_forwarded(family, device):
    text = ZEROS + FIB.format(family, device, 64, 0)
    assert result(boot(), ProgType.XDP, text) == 5
