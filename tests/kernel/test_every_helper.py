"""Every helper of the table is implemented or refused by its name when a program is loaded."""

from __future__ import annotations

import struct
from functools import cache

import pytest

from minibcc.abi.bpf import MapType, ProgType
from minibcc.abi.helpers import Helper, helpers
from minibcc.abi.requests import MapCreate, MapLookup, ProgLoad, ProgramRefused, ProgTestRun
from minibcc.isa.instruction import Instruction, encode
from minibcc.isa.text import assemble
from minibcc.kernel import programs
from minibcc.kernel.helpers.registry import implementations
from minibcc.kernel.system import SimulatedSystem
from minibcc.kernel.vm.execution import TAIL_CALL
from minibcc.machine.linux618 import Linux618
from minibcc.machine.machine import Machine
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


# --- both engines ask the same function

MAP_TYPES = {
    "ringbuf": MapCreate(MapType.RINGBUF, 0, 0, 4096),
    "user_ringbuf": MapCreate(MapType.USER_RINGBUF, 0, 0, 4096),
    "perf_event": MapCreate(MapType.PERF_EVENT_ARRAY, 4, 4, 2),
    "map_push": MapCreate(MapType.QUEUE, 0, 8, 2),
    "map_pop": MapCreate(MapType.QUEUE, 0, 8, 2),
    "map_peek": MapCreate(MapType.QUEUE, 0, 8, 2),
    "get_stackid": MapCreate(MapType.STACK_TRACE, 4, 80, 2),
    "get_local": MapCreate(MapType.CGROUP_STORAGE, 8, 8, 0),
    "": MapCreate(MapType.HASH, 4, 8, 2),
}
"""Maps by the beginning of the helper's name."""
STACK = ("mem", "map_key", "map_value", "const_str", "timer", "spin_lock", "dynptr", "stack")
PLAIN = ("ctx", "map_ptr", "anything")
SIZES = ("const_size", "const_size_or_zero", "const_alloc_size_or_zero")


def calling(row: Helper) -> str:
    """A program that calls a helper with what fits its arguments, and keeps what it leaves."""
    lines = ["r6 = r1", *(f"*(u64 *)(r10 -{at}) = 0" for at in range(8, 65, 8))]
    for number, argument in enumerate(row.arguments, 1):
        register = f"r{number}"
        if argument.kind == "ctx":
            lines.append(f"{register} = r6")
        elif argument.kind == "map_ptr":
            lines.append(f"{register} = map[map]")
        elif argument.kind in STACK:
            lines += [f"{register} = r10", f"{register} += -64"]
        else:
            lines.append(f"{register} = {8 if argument.kind in SIZES else 0}")
    lines += [f"call {row.name}#{row.number}", "r1 = map[out][0]+0", "*(u64 *)(r1 +64) = r0"]
    for at in range(0, 64, 8):
        lines += [f"r2 = *(u64 *)(r10 -{64 - at})", f"*(u64 *)(r1 +{at}) = r2"]
    return "\n".join([*lines, "r0 = 0", "exit"])


@cache
def engine(name: str) -> SimulatedSystem:
    return SimulatedSystem(Machine(Linux618(), cpus=2), engine=name)


def outcome(system: SimulatedSystem, row: Helper) -> tuple[tuple[int, ...], bytes]:
    """What the helper left, and the packet."""
    request = next(made for start, made in MAP_TYPES.items() if row.name.startswith(start))
    maps = {"map": system.bpf(request), "out": system.bpf(MapCreate(MapType.ARRAY, 4, 72, 1))}
    opened = list(maps.values())
    kind = ProgType.XDP if row.name.startswith("xdp") else ProgType.SCHED_CLS
    try:
        code = encode(assemble(calling(row), maps))
        opened.append(system.bpf(ProgLoad(kind, code)).fd)
        data = system.bpf(ProgTestRun(opened[-1], bytes(64), data_size_out=4096)).data_out
        words = struct.unpack("<9Q", system.bpf(MapLookup(maps["out"], bytes(4))))
        arena = system.kernel.memory  # two kernels' lie at different addresses
        inside = range(arena.base, arena.base + arena.size)
        return tuple(word - arena.base if word in inside else word for word in words), data
    finally:
        for fd in opened:
            system.close(fd)


ASKED = [
    row
    for row in ROWS.values()
    if row.name in SIMULATED - {"tail_call", "sys_close"}
    and all(argument.kind in {*STACK, *SIZES, *PLAIN} for argument in row.arguments)
]
"""Those whose arguments can be made up: no records, callbacks or kernel structures."""


def test_nearly_every_helper_is_asked():
    assert len(ASKED) > len(SIMULATED) * 3 // 4


@pytest.mark.parametrize("row", ASKED, ids=lambda row: row.name)
def test_both_engines_ask_it_alike(row, monkeypatch):
    monkeypatch.setattr(programs, "verify", accept)
    wanted = outcome(engine("interpreter"), row)
    assert outcome(engine("jit"), row) == wanted


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
