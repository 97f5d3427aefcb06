"""Helpers on packets, a few in a row with odd arguments: Linux and both engines agree.

A case is a seed: a type of program, a packet, perhaps a context, and calls whose arguments come
from the pools of their row. What is compared: each call's result, the fields and bytes that the
program sees then, the packet and the context that come back.
"""

from __future__ import annotations

import struct
from functools import cache
from random import Random

import pytest

from minibcc.abi.bpf import MapType, ProgType
from minibcc.abi.requests import MapCreate, MapLookup, MapUpdate, ProgLoad, ProgTestRun
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.linux618 import Linux618
from minibcc.machine.machine import Machine
from minibcc.system.interface import System
from tests import live
from tests.kernel.support import possible_cpus

pytestmark = pytest.mark.kernel

SEEDS = range(60)
"""Cases of each type of program."""
CALLS = 5
OUT, LOADED = 2048, 1024
"""Bytes of the map that programs write to, and where in it they put what they load."""
TCP = bytes.fromhex(
    "020000000001" "020000000002" "0800"  # Ethernet
    "4502003c" "1c460000" "40067d20" "0a000001" "0a000002"  # IPv4, ECN-capable
    "0050d431" "00000001" "00000002" "a0022000" "91f70000"  # TCP
) + bytes(range(26))  # fmt: skip
PACKETS = (
    TCP,
    TCP[:34],
    TCP + bytes(200),
    TCP[:12] + bytes.fromhex("81002064") + TCP[12:],
    TCP[:12] + bytes.fromhex("88a8000181002064") + TCP[12:],
    TCP[:12] + bytes.fromhex("86dd6020000000201140") + bytes(range(64)),
    bytes.fromhex("ffffffffffff02000000000288b5") + bytes(50),
    TCP[:12] + bytes.fromhex("0010ffff") + bytes(20),
    TCP[:12] + bytes.fromhex("88b500"),
)
LENGTHS = (0, 1, 2, 4, 8, 13, 14, 15, 20, 28, 34, 40, 54, 60, 79, 80, 81, 100, 300, 4000)
WIDE = (*LENGTHS, -1, -4, -14, 0xFFFF, 0x10000, 0x7FFF_FFFF, -0x8000_0000, 1 << 32, (1 << 32) + 14)
CHANGES = (*LENGTHS, *(-number for number in LENGTHS), -212, -216, -217, -252, -256, 3000)
SIZES = (1, 4, 14, 20, 64, 80, 128)
FLAGS = (*(0,) * 6, *(1 << bit for bit in range(9)), 0x21, 1 << 32, 1 << 63)
SUMS = (0, 0x1234, 0xFFFF, 0x1234_5678, 0xFFFF_FFFF, 0x1234_5678_9ABC_DEF0)
SUM_FLAGS = (0, 2, 4, 2, 4, 1, 3, 0x10, 0x12, 0x14, 0x22, 0x24, 0x62, 0x64, 0x82, 0x102)
ROOM_FLAGS = (
    *(0, 0, 0, 1, 2, 4, 6, 2 | 8, 2 | 16, 4 | 8, 2 | 8 | 16, 32, 64, 128, 256, 384, 512, 1 << 62),
    *(2 | 64 | 14 << 56, 2 | 64 | 8 << 56, 2 | 14 << 56, 128 | 1, 2 | 8 | 32),
)
TEXT, LOAD, STACK = ("r8",), (f"map[out][0]+{LOADED}",), ("r7",)
ANY: dict[str, tuple[tuple[object, ...], ...]] = {
    "csum_diff": (STACK, (0, 4, 8, 16, 64), TEXT, (0, 4, 12, 32, 64), SUMS),
    "check_mtu": (("r6",), (0, 1, 1, 99), STACK, (0, 1, -1, 20, -100, 70_000, -70_000), FLAGS),
    "redirect": ((0, 1, 9999), FLAGS),
}
ON_XDP = {
    **ANY,
    "xdp_adjust_head": (("r6",), CHANGES),
    "xdp_adjust_tail": (("r6",), CHANGES),
    "xdp_adjust_meta": (("r6",), CHANGES),
    "xdp_load_bytes": (("r6",), WIDE, LOAD, SIZES),
    "xdp_store_bytes": (("r6",), WIDE, TEXT, SIZES),
    "xdp_get_buff_len": (("r6",),),
    "redirect_map": (("map[devices]", "map[processors]"), (0, 1, 2, 100), FLAGS),
}
ON_SKB = {
    **ANY,
    "skb_load_bytes": (("r6",), WIDE, LOAD, SIZES),
    "skb_load_bytes_relative": (("r6",), WIDE, LOAD, SIZES, (0, 0, 1, 1, 2, 1 << 32)),
    "skb_store_bytes": (("r6",), WIDE, TEXT, SIZES, FLAGS),
    "l3_csum_replace": (("r6",), (24, 24, *WIDE), SUMS, SUMS, SUM_FLAGS),
    "l4_csum_replace": (("r6",), (50, 50, *WIDE), SUMS, SUMS, SUM_FLAGS),
    "skb_pull_data": (("r6",), WIDE),
    "skb_change_tail": (("r6",), WIDE, FLAGS),
    "skb_change_head": (("r6",), WIDE, FLAGS),
    "csum_update": (("r6",), SUMS),
    "csum_level": (("r6",), (0, 1, 1, 2, 3, 4, 1 << 32)),
    "skb_change_type": (("r6",), (0, 1, 2, 3, 4, -1)),
    "skb_vlan_push": (("r6",), (0x0081, 0xA888, 8, 0, 0x10081), (0, 1, 0xFFF, 0x1000, 0x12345)),
    "skb_vlan_pop": (("r6",),),
    "skb_adjust_room": (("r6",), CHANGES, (0, 1, 0, 1, 2, -1), ROOM_FLAGS),
    "skb_change_proto": (("r6",), (0xDD86, 8, 0xDD86, 8, 0, 0x100DD86), (0, 0, 0, 1)),
    "skb_ecn_set_ce": (("r6",),),
    "redirect_peer": ((0, 1, 9999), FLAGS),
    "clone_redirect": (("r6",), (0, 9999), FLAGS),
    "skb_set_tstamp": (("r6",), (0, 0, 7, 1 << 60), (0, 1, 2, 3, 1 << 32)),
    "skb_get_tunnel_key": (("r6",), STACK, (1, 24, 28, 40, 43, 44, 48), FLAGS),
}
SEEN_ON_XDP = (12, 16)
SEEN_ON_SKB = (0, 4, 8, 16, 20, 24, 28, 36, 40, 44, 48, 160, 164, 176)
"""Fields of the context to look at."""
TYPES = {
    # helpers, fields, where the context has the ends of the packet
    ProgType.XDP: (ON_XDP, SEEN_ON_XDP, (0, 4)),
    ProgType.SCHED_CLS: (ON_SKB, SEEN_ON_SKB, (76, 80)),
    ProgType.SCHED_ACT: (ON_SKB, SEEN_ON_SKB, (76, 80)),
}


def setting(register: str, value: object) -> str:
    """An instruction for an argument, which may need all 64 bits."""
    if isinstance(value, int) and not -(1 << 31) <= value < 1 << 31:
        value = f"{value & (1 << 64) - 1:#x}"
    return f"{register} = {value}"


def calling(chance: Random, kind: ProgType) -> str:
    helpers, fields, ends = TYPES[kind]
    lines = ["r6 = r1", "r9 = map[out][0]+0"]
    for place in range(8, 257, 8):
        lines += [f"r1 = {chance.getrandbits(64):#x}", f"*(u64 *)(r10 -{place}) = r1"]
    kept = 0

    def keep(register: str) -> None:
        nonlocal kept
        lines.append(f"*(u64 *)(r9 +{kept}) = {register}")
        kept += 8

    for number in range(chance.randint(1, CALLS)):
        name = chance.choice(list(helpers))
        lines += ["r7 = r10", "r7 += -128", "r8 = r10", "r8 += -256"]
        if name == "check_mtu":
            lines.append(f"*(u32 *)(r7 +0) = {chance.choice((0, 1, 60, 1500, 70_000))}")
        for register, pool in enumerate(helpers[name], 1):
            lines.append(setting(f"r{register}", chance.choice(pool)))
        lines.append(f"call bpf_{name}")
        keep("r0")
        lines.append("r1 = *(u32 *)(r7 +0)")
        keep("r1")
        if chance.random() < 0.5:
            lines += [f"r2 = *(u32 *)(r6 +{ends[0]})", f"r3 = *(u32 *)(r6 +{ends[1]})", "r1 = r3"]
            lines.append("r1 -= r2")
            keep("r1")
            size = chance.choice((1, 14, 34))
            lines += ["r4 = r2", f"r4 += {size}", f"if r4 > r3 goto short{number}"]
            lines += [f"r5 = *(u8 *)(r2 +{size - 1})", f"*(u8 *)(r2 +{size - 1}) = 171"]
            keep("r5")
            lines.append(f"short{number}:")
    for field in fields:
        lines.append(f"r1 = *(u32 *)(r6 +{field})")
        keep("r1")
    return "\n".join([*lines, "r0 = 0", "exit"])


def context(chance: Random, kind: ProgType, size: int) -> bytes:
    if chance.random() < 0.5:
        return b""
    if kind == ProgType.XDP:  # metadata before the packet, fragments behind it
        start = chance.choice((0, 0, 4, 8, 7))
        ends = (size, size, size - 4, 60, 20, 0)
        return struct.pack("<6I", start, chance.choice(ends), 0, *chance.choice(QUEUES), 0)
    given = bytearray(192)
    for _ in range(2):
        place = chance.choice(GIVEN)
        struct.pack_into("<I", given, place, chance.choice((0, 1, 64, 100, 65536, 65537)))
    return bytes(given) if not given[40] > 1 else b""


GIVEN = (8, 32, 36, 40, 48, 152, 160, 164, 184, 0, 4, 16, 68, 168)
"""Fields to give; some may not be. Not gso_size: packets of several segments are not simulated."""
QUEUES = ((0, 0), (0, 0), (1, 0), (1, 1), (0, 1), (9999, 0))
"""Devices, and queues of theirs that there may be."""


@cache
def engine(name: str) -> SimulatedSystem:
    return SimulatedSystem(Machine(Linux618(), cpus=possible_cpus()), engine=name)


def outcome(system: System, kind: ProgType, text: str, packet: bytes, given: bytes) -> object:
    maps = {
        "out": system.bpf(MapCreate(MapType.ARRAY, 4, OUT, 1)),
        "devices": system.bpf(MapCreate(MapType.DEVMAP, 4, 4, 4)),
        "processors": system.bpf(MapCreate(MapType.CPUMAP, 4, 4, 4)),
    }
    opened = list(maps.values())
    try:
        system.bpf(MapUpdate(maps["devices"], struct.pack("<I", 1), struct.pack("<I", 1)))
        system.bpf(MapUpdate(maps["processors"], bytes(4), struct.pack("<I", 128)))
        opened.append(system.bpf(ProgLoad(kind, encode(assemble(text, maps)))).fd)
        room = len(given) or 192 * (kind != ProgType.XDP)
        run = ProgTestRun(
            opened[-1], packet, data_size_out=1 << 16, ctx_in=given, ctx_size_out=room
        )
        ran = system.bpf(run)
        return ran.data_out, ran.ctx_out, system.bpf(MapLookup(maps["out"], bytes(4)))
    except OSError as error:
        return f"errno {error.errno}"
    finally:
        for fd in opened:
            system.close(fd)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("first", range(0, len(SEEDS), 10))
def test_packets(kind, first):
    for seed in SEEDS[first : first + 10]:
        chance = Random(f"{kind.name} {seed}")
        packet = chance.choice((*PACKETS, bytes(5000) if kind == ProgType.XDP else bytes(3712)))
        case = kind, calling(chance, kind), packet, context(chance, kind, len(packet))
        wanted = outcome(live.kernel(), *case)
        for name in ("interpreter", "jit"):
            assert outcome(engine(name), *case) == wanted, (name, seed, *case[1:])
