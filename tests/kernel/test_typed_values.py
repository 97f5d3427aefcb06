"""Values printed by their types: the same text from the same bytes as Linux's.

A program has the bytes of a map printed as a structure that both kernels know.
"""

from __future__ import annotations

from functools import cache

import pytest

from minibcc import boot
from minibcc.abi.bpf import MapType, ProgType
from minibcc.abi.requests import MapCreate, MapLookup, MapUpdate, ProgLoad, ProgTestRun
from minibcc.btf.decode import Btf
from minibcc.btf.layout import Kind
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.system.interface import read_file
from tests import live

ROOM, DATA = 12000, 512
PRINT = """
*(u64 *)(r10 -8) = {type}
r1 = map[data][0]+0
*(u64 *)(r10 -16) = r1
r1 = map[out][0]+8
r2 = {room}
r3 = r10
r3 += -16
r4 = 16
r5 = {flags}
call bpf_snprintf_btf
r1 = map[out][0]+0
*(u64 *)(r1 +0) = r0
r0 = 0
exit
"""


@cache
def simulated():
    return boot.system(boot.Options(engine="interpreter"))


@cache
def types(system) -> Btf:
    return Btf(read_file(system, "/sys/kernel/btf/vmlinux"))


def printed(system, number: int, data: bytes, flags: int, room: int = ROOM):
    """The helper's answer and the text."""
    maps = {
        "out": system.bpf(MapCreate(MapType.ARRAY, 4, ROOM + 8, 1)),
        "data": system.bpf(MapCreate(MapType.ARRAY, 4, DATA, 1)),
    }
    opened = list(maps.values())
    try:
        system.bpf(MapUpdate(maps["data"], bytes(4), data.ljust(DATA, b"\0")))
        text = PRINT.format(type=number, room=room, flags=flags)
        opened.append(
            system.bpf(ProgLoad(ProgType.RAW_TRACEPOINT, encode(assemble(text, maps)))).fd
        )
        system.bpf(ProgTestRun(opened[-1]))
        found = system.bpf(MapLookup(maps["out"], bytes(4)))
        return int.from_bytes(found[:8], "little", signed=True), found[8:].partition(b"\0")[0]
    finally:
        for fd in opened:
            system.close(fd)


COUNT = bytes(range(1, 200))
STRUCT, UNION, INT, ENUM, TYPEDEF = Kind.STRUCT, Kind.UNION, Kind.INT, Kind.ENUM, Kind.TYPEDEF
VALUES = [
    (STRUCT, "qstr", COUNT[:16]),
    (STRUCT, "qstr", bytes(16)),
    (STRUCT, "list_head", COUNT[:8] + bytes(8)),
    (STRUCT, "upid", COUNT[:16]),
    (STRUCT, "path", bytes(16)),
    (STRUCT, "path", bytes(8) + b"\xff" * 8),
    (STRUCT, "iphdr", COUNT[:20]),
    (STRUCT, "iphdr", bytes(8) + b"\1" + bytes(11)),
    (STRUCT, "in6_addr", COUNT[:16]),
    (STRUCT, "in6_addr", bytes(15) + b"\1"),
    (TYPEDEF, "kuid_t", b"\1\2\3\4"),
    (TYPEDEF, "u64", b"\xff" * 8),
    (TYPEDEF, "s64", b"\xff" * 8),
    (TYPEDEF, "atomic_t", b"\xff" * 4),
    (TYPEDEF, "bool", b"\1"),
    (INT, "int", bytes(4)),
    (INT, "int", b"\xfe\xff\xff\xff"),
    (INT, "unsigned char", b"A"),
    (ENUM, "bpf_prog_type", b"\1"),
    (ENUM, "bpf_prog_type", bytes(4)),
    (ENUM, "bpf_prog_type", b"\xff\0\0\0"),
    (STRUCT, "bpf_iter_meta", COUNT[:24]),
    (STRUCT, "bpf_insn", COUNT[:8]),
    (STRUCT, "vm_area_struct", COUNT[:192]),
    (STRUCT, "file_system_type", COUNT[:72]),
    (STRUCT, "cred", COUNT[:184]),
    (STRUCT, "sched_avg", COUNT[:64]),
    (STRUCT, "pt_regs", b"\1" + bytes(150) + b"\2"),
    (STRUCT, "kernfs_node", COUNT[:120]),
    (STRUCT, "upid", bytes(16)),
    (STRUCT, "rb_root_cached", COUNT[:16]),
    (STRUCT, "tcphdr", COUNT[:20]),
    (STRUCT, "flow_keys", COUNT[:72]),
]
FLAGS = (0, 1, 2, 3, 4, 8, 9, 11, 15)


def cases():
    for number, (kind, name, data) in enumerate(VALUES):
        yield pytest.param(kind, name, data, id=f"{number} {name}")


@pytest.mark.kernel
@pytest.mark.parametrize(("kind", "name", "data"), list(cases()))
def test_the_text_is_linuxs(kind, name, data):
    bodies = (simulated(), live.kernel())
    known = [(system, types(system).find_id(kind, name)) for system in bodies]
    for flags in FLAGS:
        if printed(*known[0], data, flags) != printed(*known[0], data, flags | 4):
            flags |= 4  # a hashed pointer is another one on each computer
        ours, theirs = (printed(system, number, data, flags) for system, number in known)
        assert ours == theirs


@pytest.mark.kernel
@pytest.mark.parametrize(("value", "kept"), [(0, True), (-1, True), (-4095, True), (-4096, False)])
def test_what_is_no_pointer_is_not_hashed(value, kept):
    word = (value & (1 << 64) - 1).to_bytes(8, "little")
    for system in (simulated(), live.kernel()):
        number = types(system).find_id(STRUCT, "list_head")
        text = printed(system, number, word, 8 | 1)[1]
        assert (f"*)0x{int.from_bytes(word, 'little'):016x}".encode() in text) == kept


@pytest.mark.kernel
@pytest.mark.parametrize("room", [1, 2, 10, 27, 28, 29])
def test_text_is_cut_as_linux_cuts_it(room):
    ours, theirs = (
        printed(system, types(system).find_id(STRUCT, "upid"), COUNT[:4], 1, room)
        for system in (simulated(), live.kernel())
    )
    assert ours == theirs


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
def test_a_structure(engine):
    system = boot.system(boot.Options(engine=engine))
    number = types(system).find_id(STRUCT, "upid")
    assert number is not None
    text = b"(struct upid){.nr = (int)7,}"
    assert printed(system, number, b"\7", 1) == (len(text), text)
    assert printed(system, number, b"\7", 16)[0] == -22
    assert printed(system, 0, b"\7", 0)[0] == -22
    assert printed(system, 1 << 30, b"\7", 0)[0] == -2
