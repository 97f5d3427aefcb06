"""Helpers against Linux's: the same program on the same data gives the same bytes.

Each case is a program in assembly that leaves what it found in the map `out` (and in R0); both
kernels run it by BPF_PROG_TEST_RUN. The simulated one believes its programs, so that only what
helpers do is compared.
"""

from __future__ import annotations

import struct

import pytest

from minibcc.abi.bpf import MapFlags, MapType, ProgType
from minibcc.abi.requests import (
    MapCreate,
    MapFreeze,
    MapLookup,
    MapUpdate,
    ProgLoad,
    ProgramRefused,
    ProgTestRun,
)
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel import programs
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.machine import Machine
from tests.kernel.support import accept, possible_cpus
from tests.machine.fakes import FakeKernel

pytestmark = pytest.mark.kernel

OUT = 256
"""Bytes of the map that programs write to."""


@pytest.fixture
def strict():
    """Both kernels as they are."""
    from minibcc.system.linux import LinuxSystem

    return LinuxSystem(), SimulatedSystem(
        Machine(FakeKernel(), cpus=possible_cpus()), engine="interpreter"
    )


@pytest.fixture
def bodies(monkeypatch, strict):
    """The simulated one believes."""
    monkeypatch.setattr(programs, "verify", accept)
    return strict


def observe(system, prog_type, text, *, packet=b"", format=b"", map=None):
    """What the program answered, the helper's result and the bytes that it wrote, and the packet;
    the errno where it was not loaded or run."""
    opened = []

    def keep(fd):
        opened.append(fd)
        return fd

    try:
        out = keep(system.bpf(MapCreate(MapType.ARRAY, 4, OUT, 1)))
        symbols = {"out": out}
        if map is not None:
            symbols["map"] = keep(system.bpf(map))
        if format:
            flags = MapFlags.RDONLY_PROG
            constant = keep(system.bpf(MapCreate(MapType.ARRAY, 4, 64, 1, map_flags=flags)))
            system.bpf(MapUpdate(constant, bytes(4), format.ljust(64, b"\0")))
            system.bpf(MapFreeze(constant))
            symbols["format"] = constant
        insns = encode(assemble(text, symbols))
        program = keep(system.bpf(ProgLoad(prog_type, insns)).fd)
        if packet:
            run = system.bpf(ProgTestRun(program, packet, data_size_out=512))
        else:
            run = system.bpf(ProgTestRun(program))
        left = system.bpf(MapLookup(out, bytes(4)))
        (result,) = struct.unpack_from("<q", left)
        return run.retval, result, left[8:].rstrip(b"\0"), run.data_out
    except ProgramRefused as refused:
        return f"refused: {refused.errno}"
    except OSError as error:
        return f"errno {error.errno}"
    finally:
        for fd in opened:
            system.close(fd)


def compare(bodies, *arguments, **named):
    linux, simulated = (observe(system, *arguments, **named) for system in bodies)
    assert simulated == linux
    return linux


# --- format strings ----------------------------------------------------------------------------

TEXT = 0x0021_6F6C_6C65_68  # "hello!"
ARGUMENTS = (
    0,
    1,
    42,
    0xFFFF_FFFF,
    0xFFFF_FFFF_FFFF_FFFF,
    0x8000_0000,
    0x1234_5678_9ABC_DEF0,
    ord("A"),
)
FORMATS = (
    "plain",
    "",
    "%d",
    "%i|%u",
    "%x %X",
    "%ld %lu",
    "%lld|%llu|%llx|%llX",
    "%lx",
    "[%5d][%-5d][%05d][%+d][% d]",
    "[%8x][%-8x][%08x]",
    "[%20lld][%-20llu][%020llx]",
    "%c%c",
    "[%3c][%-3c]",
    "100%%",
    "%%%d%%",
    "%px",
    "%d %d %d %d %d %d %d %d",
    "line\n\ttab",
    "%",
    "%d %",
    "%z",
    "%hd",
    "%hhx",
    "%f",
    "%5",
    "%*d",
    "%.3d",
    "%#x",
    "%n",
    "%p4",
    "%pi",
    "%pI5",
    "%pz",
    "%sx",
    "%lllx",
    "%ls",
    "%lc",
    "caf\xe9",
    "%d\xe9",
    "%d\xa0",
    "%d\x80",
    "\x80\x9f",
    "\x7f",
    "[%20px]",
    "[%-20px]",
    "[%020px]",
    "%dx",
    "%d-%d",
    "[%00d]",
    "[%+u][% x][%+x]",
    "[%+-8d][%-08d][%0-8d]",
    "[%099d]",
    "%d\x01",
    "%pxyz %d",
    "%px\xc3\xa9%d",
    "%d\xd7%c\xa0%c\xb5",
    "%ps%d",
    "%12pS:",
    "%-30pB:",
)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("first", ARGUMENTS, ids=hex)
def test_formats(strict, format, first):
    """A format that is none is refused when the program is loaded."""
    count = format.replace("%%", "").count("%")
    numbers = [first, *ARGUMENTS, 7, 8][:count]
    stores = "\n".join(
        f"r1 = {number:#x} ll\n*(u64 *)(r10 -{8 * (8 - place)}) = r1".replace(" ll", "")
        for place, number in enumerate(numbers)
    )
    text = f"""
        {stores}
        r1 = map[out][0]+8
        r2 = 200
        r3 = map[format][0]+0
        r4 = r10
        r4 += -64
        r5 = {8 * count}
        {"r4 = 0" if not count else ""}
        call bpf_snprintf
        r6 = map[out][0]+0
        *(u64 *)(r6 +0) = r0
        r0 = 0
        exit
    """
    compare(strict, ProgType.RAW_TRACEPOINT, text, format=format.encode("latin-1") + b"\0")


STRINGS = (
    *("%s", "[%10s]", "[%-10s]", "[%3s]", "%pks", "[%8pks]", "%s and %s", "%s%%"),
    *("%pksx9:%s", "[%20pI4]%s", "%pi4z:%pI4", "%-50pI4.%pi4", "%s\xb5%s\xa0", "%s\xe9"),
)


@pytest.mark.parametrize("format", STRINGS)
def test_strings_in_formats(strict, format):
    count = format.replace("%%", "").count("%")
    text = f"""
        r1 = {TEXT:#x}
        *(u64 *)(r10 -8) = r1
        r1 = r10
        r1 += -8
        *(u64 *)(r10 -32) = r1
        *(u64 *)(r10 -24) = r1
        r1 = map[out][0]+8
        r2 = 200
        r3 = map[format][0]+0
        r4 = r10
        r4 += -32
        r5 = {8 * count}
        call bpf_snprintf
        r6 = map[out][0]+0
        *(u64 *)(r6 +0) = r0
        r0 = 0
        exit
    """
    compare(strict, ProgType.RAW_TRACEPOINT, text, format=format.encode("latin-1") + b"\0")


@pytest.mark.parametrize("size", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("format", [b"hello world", b"%pI4", b"1.2%pI4", b"%pks", b"%d%s"])
def test_texts_are_cut_to_their_buffer(strict, size, format):
    """What Linux makes into text beforehand does not count behind the end."""
    count = format.count(b"%")
    text = f"""
        r1 = 0x1022300332004
        *(u64 *)(r10 -8) = r1
        r1 = r10
        r1 += -8
        *(u64 *)(r10 -16) = r1
        *(u64 *)(r10 -24) = r1
        r1 = map[out][0]+8
        r2 = {size}
        r3 = map[format][0]+0
        r4 = r10
        r4 += -24
        {"r4 = 0" if not count else ""}
        r5 = {8 * count}
        call bpf_snprintf
        r6 = map[out][0]+0
        *(u64 *)(r6 +0) = r0
        r0 = 0
        exit
    """
    if b"%d" in format:  # not an address, which is another in each kernel
        text = text.replace("*(u64 *)(r10 -24) = r1", "*(u64 *)(r10 -24) = 7")
    compare(strict, ProgType.RAW_TRACEPOINT, text, format=format + b"\0")


# --- numbers in texts --------------------------------------------------------------------------

NUMBERS = (
    *("0", "42", "-42", "+42", " 42", "-  4", "", " ", "x", "0x", "0x1f", "0X1F", "017", "08"),
    *("123abc", "99999999999999999999", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775808", "-9223372036854775809", "18446744073709551615", "--1", "-0"),
    *("\t7", "1f", "fF", "\xa07", "\xb57"),
)


@pytest.mark.parametrize("helper", ["strtol", "strtoul"])
@pytest.mark.parametrize("base", [0, 8, 10, 16, 2])
def test_numbers(bodies, helper, base):
    for number in NUMBERS:
        padded = number.encode("latin-1").ljust(24, b"\0")
        words = struct.unpack("<3Q", padded)
        stores = "\n".join(
            f"r1 = {word:#x}\n*(u64 *)(r10 -{24 - 8 * place}) = r1"
            for place, word in enumerate(words)
        )
        text = f"""
            {stores}
            *(u64 *)(r10 -32) = 5
            r1 = r10
            r1 += -24
            r2 = 24
            r3 = {base}
            r4 = r10
            r4 += -32
            call bpf_{helper}
            r6 = map[out][0]+0
            *(u64 *)(r6 +0) = r0
            r1 = *(u64 *)(r10 -32)
            *(u64 *)(r6 +8) = r1
            r0 = 0
            exit
        """
        linux, simulated = (observe(system, ProgType.RAW_TRACEPOINT, text) for system in bodies)
        assert simulated == linux, number


# --- packets -----------------------------------------------------------------------------------

PACKET = bytes.fromhex(
    "020000000001" "020000000002" "0800"  # Ethernet
    "4502003c" "1c460000" "40067d20" "0a000001" "0a000002"  # IPv4, ECN-capable
    "0050d431" "00000001" "00000002" "a0022000" "91f70000"  # TCP
) + bytes(range(26))  # fmt: skip


def skb(body: str) -> str:
    """A program that keeps its context in R6, does `body`, and stores R0 as a 64-bit number."""
    return f"""
        r6 = r1
        {body}
        r7 = map[out][0]+0
        *(u64 *)(r7 +0) = r0
        r0 = 0
        exit
    """


def call(name: str, *arguments: object) -> str:
    lines = [f"r{index + 1} = {argument}" for index, argument in enumerate(arguments)]
    return "\n".join([*lines, f"call bpf_{name}"])


ON_SKB = {
    "load 0": call("skb_load_bytes", "r6", 0, "map[out][0]+8", 14),
    "load 12": call("skb_load_bytes", "r6", 12, "map[out][0]+8", 40),
    "load end": call("skb_load_bytes", "r6", 79, "map[out][0]+8", 1),
    "load past": call("skb_load_bytes", "r6", 80, "map[out][0]+8", 1),
    "load minus": call("skb_load_bytes", "r6", -1, "map[out][0]+8", 4),
    "load mac": call("skb_load_bytes_relative", "r6", 0, "map[out][0]+8", 14, 0),
    "load net": call("skb_load_bytes_relative", "r6", 0, "map[out][0]+8", 20, 1),
    "load what": call("skb_load_bytes_relative", "r6", 0, "map[out][0]+8", 20, 2),
    "store": "*(u64 *)(r10 -8) = -1\nr8 = r10\nr8 += -8\n"
    + call("skb_store_bytes", "r6", 20, "r8", 8, 0),
    "store past": "*(u64 *)(r10 -8) = -1\nr8 = r10\nr8 += -8\n"
    + call("skb_store_bytes", "r6", 76, "r8", 8, 0),
    "store flags": "*(u64 *)(r10 -8) = -1\nr8 = r10\nr8 += -8\n"
    + call("skb_store_bytes", "r6", 20, "r8", 8, 4),
    "l3 csum 2": call("l3_csum_replace", "r6", 24, 0x0640, 0x0610, 2),
    "l3 csum 4": call("l3_csum_replace", "r6", 24, 0x0100000A, 0x0900000A, 4),
    "l3 csum diff": call("l3_csum_replace", "r6", 24, 0, 0x1234, 0),
    "l3 csum odd": call("l3_csum_replace", "r6", 25, 0, 1, 2),
    "l3 csum size": call("l3_csum_replace", "r6", 24, 0, 1, 3),
    "l3 csum past": call("l3_csum_replace", "r6", 80, 0, 1, 2),
    "l4 csum 2": call("l4_csum_replace", "r6", 50, 0x5000, 0x901F, 2),
    "l4 csum 4": call("l4_csum_replace", "r6", 50, 0x0100000A, 0x0900000A, 0x14),
    "l4 csum mangled": call("l4_csum_replace", "r6", 52, 1, 2, 0x22),
    "l4 csum flags": call("l4_csum_replace", "r6", 50, 1, 2, 0x102),
    "pull": call("skb_pull_data", "r6", 40),
    "pull too much": call("skb_pull_data", "r6", 4000),
    "cut": call("skb_change_tail", "r6", 60, 0),
    "lengthen": call("skb_change_tail", "r6", 90, 0),
    "cut flags": call("skb_change_tail", "r6", 60, 1),
    "head": call("skb_change_head", "r6", 8, 0),
    "head flags": call("skb_change_head", "r6", 8, 1),
    "csum update": call("csum_update", "r6", 0x1234),
    "csum level": call("csum_level", "r6", 0),
    "type": call("skb_change_type", "r6", 3),
    "type wrong": call("skb_change_type", "r6", 9),
    "ecn": call("skb_ecn_set_ce", "r6"),
    "room net": call("skb_adjust_room", "r6", 8, 0, 0),
    "room mac": call("skb_adjust_room", "r6", 8, 1, 0),
    "less room net": call("skb_adjust_room", "r6", -8, 0, 0),
    "less room mac": call("skb_adjust_room", "r6", -20, 1, 0),
    "room flags": call("skb_adjust_room", "r6", 8, 1, 1024),
    "room mode": call("skb_adjust_room", "r6", 8, 2, 0),
    "room much": call("skb_adjust_room", "r6", 5000, 1, 0),
    "less room much": call("skb_adjust_room", "r6", -70, 1, 0),
    "classid": call("get_cgroup_classid", "r6"),
    "realm": call("get_route_realm", "r6"),
    "redirect": call("redirect", 1, 0),
    "redirect flags": call("redirect", 1, 2),
    "redirect ingress": call("redirect", 1, 1),
    "clone flags": call("clone_redirect", "r6", 1, 2),
    "clone nowhere": call("clone_redirect", "r6", 9999, 0),
    "redirect neighbour": call("redirect_neigh", 1, 0, 0, 1),
    "uid": call("get_socket_uid", "r6"),
    "to the other IP": call("skb_change_proto", "r6", 0xDD86, 0),
    "to the same IP": call("skb_change_proto", "r6", 0x0008, 0),
    "to what is no IP": call("skb_change_proto", "r6", 0x1234, 0),
    "to the other IP, flags": call("skb_change_proto", "r6", 0xDD86, 1),
    "there and back": call("skb_change_proto", "r6", 0xDD86, 0)
    + "\n"
    + call("skb_change_proto", "r6", 0x0008, 0),
    **{
        f"time {time} of clock {clock}": call("skb_set_tstamp", "r6", time, clock)
        + "\nr0 <<= 32\nr1 = *(u64 *)(r6 +152)\nr0 += r1\nr1 = *(u8 *)(r6 +180)\nr0 += r1\n"
        for time, clock in ((0, 0), (0, 1), (0, 2), (7, 0), (7, 1), (7, 2), (7, 3))
    },
    "no IPsec": "r3 = r10\nr3 += -32\n" + call("skb_get_xfrm_state", "r6", 0, "r3", 28, 0),
    "perf output nowhere": "*(u64 *)(r10 -8) = 5\nr0 = 0",
}


@pytest.mark.parametrize("name", ON_SKB)
def test_on_skb(bodies, name):
    compare(bodies, ProgType.SCHED_CLS, skb(ON_SKB[name]), packet=PACKET)


ON_XDP = {
    "head in": call("xdp_adjust_head", "r6", 14),
    "head out": call("xdp_adjust_head", "r6", -14),
    "head too far": call("xdp_adjust_head", "r6", -1000),
    "head past": call("xdp_adjust_head", "r6", 70),
    "tail in": call("xdp_adjust_tail", "r6", -10),
    "tail out": call("xdp_adjust_tail", "r6", 20),
    "tail past": call("xdp_adjust_tail", "r6", -70),
    "meta": call("xdp_adjust_meta", "r6", -8),
    "meta odd": call("xdp_adjust_meta", "r6", -7),
    "meta most": call("xdp_adjust_meta", "r6", -216),
    "meta over": call("xdp_adjust_meta", "r6", -220),
    "head most": call("xdp_adjust_head", "r6", -216),
    "head over": call("xdp_adjust_head", "r6", -217),
    "meta past": call("xdp_adjust_meta", "r6", 4),
    "meta much": call("xdp_adjust_meta", "r6", -256),
    "length": call("xdp_get_buff_len", "r6"),
    "load": call("xdp_load_bytes", "r6", 12, "map[out][0]+8", 20),
    "load past": call("xdp_load_bytes", "r6", 79, "map[out][0]+8", 2),
    "store": "*(u64 *)(r10 -8) = -1\nr8 = r10\nr8 += -8\n"
    + call("xdp_store_bytes", "r6", 20, "r8", 8),
    "redirect": call("redirect", 1, 0),
    "redirect flags": call("redirect", 1, 1),
}


@pytest.mark.parametrize("name", ON_XDP)
def test_on_xdp(bodies, name):
    text = skb(ON_XDP[name]).replace("r0 = 0\n        exit", "r0 = 2\n        exit")
    compare(bodies, ProgType.XDP, text, packet=PACKET)


DYNPTRS = {
    "read": call("dynptr_read", "r7", 8, "r8", 4, 0),
    "read end": call("dynptr_read", "r7", 8, "r8", 24, 0),
    "read past": call("dynptr_read", "r7", 8, "r8", 25, 0),
    "read flags": call("dynptr_read", "r7", 8, "r8", 0, 1),
    "write": call("dynptr_write", "r8", 3, "r7", 8, 0),
    "write past": call("dynptr_write", "r8", 30, "r7", 8, 0),
    "write flags": call("dynptr_write", "r8", 3, "r7", 8, 1),
    "write past, flags": call("dynptr_write", "r8", 30, "r7", 8, 1),
    "read past, flags": call("dynptr_read", "r7", 8, "r8", 25, 1),
}


@pytest.mark.parametrize("name", DYNPTRS)
def test_dynamic_pointers(bodies, name):
    """Over 32 bytes of the map behind the result."""
    text = f"""
        r1 = 0x1122334455667788
        r7 = r10
        r7 += -8
        *(u64 *)(r7 +0) = r1
        r9 = map[out][0]+16
        r1 = 0x0102030405060708
        *(u64 *)(r9 +0) = r1
        *(u64 *)(r9 +8) = 77
        r1 = r9
        r2 = 32
        r3 = 0
        r8 = r10
        r8 += -32
        r4 = r8
        call bpf_dynptr_from_mem
        {DYNPTRS[name]}
        r9 = map[out][0]+0
        *(u64 *)(r9 +0) = r0
        r1 = *(u64 *)(r10 -8)
        *(u64 *)(r9 +8) = r1
        r0 = 0
        exit
    """
    compare(bodies, ProgType.RAW_TRACEPOINT, text)


@pytest.mark.parametrize(
    ("old", "new", "seed"),
    [(0, 8, 0), (8, 0, 0), (8, 8, 0), (4, 16, 0x1234), (16, 4, 0xFFFF_FFFF), (3, 4, 0), (0, 0, 7)],
)
def test_checksum_differences(bodies, old, new, seed):
    stores = "\n".join(
        f"r1 = {0x9E37_79B9_7F4A_7C15 * (place + 1) & (1 << 64) - 1:#x}\n"
        f"*(u64 *)(r10 -{8 * (place + 1)}) = r1"
        for place in range(4)
    )
    body = f"""
        {stores}
        r1 = r10
        r1 += -16
        r2 = {old}
        r3 = r10
        r3 += -32
        r4 = {new}
        r5 = {seed}
        call bpf_csum_diff
    """
    compare(bodies, ProgType.SCHED_CLS, skb(body), packet=PACKET)


# --- what programs of any kind call --------------------------------------------------------------

READ_FROM = (
    *(0, 0x1000, 0x7FFF_FFFF_F000, 0x7FFF_FFFF_FFFF, 0x8000_0000_0000, 1 << 63, 0xFF00 << 48),
    *(0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FF60_0000, 0xFFFF_FFFF_FFFF_FFF8),
)
ANYWHERE = {
    "probe read null": "*(u64 *)(r10 -8) = -1\nr8 = r10\nr8 += -8\n"
    + call("probe_read_kernel", "r8", 8, 0)
    + "\nr1 = *(u64 *)(r10 -8)\nr9 = map[out][0]+8\n*(u64 *)(r9 +0) = r1",
    "probe read str null": "*(u64 *)(r10 -8) = -1\nr8 = r10\nr8 += -8\n"
    + call("probe_read_kernel_str", "r8", 8, 0)
    + "\nr1 = *(u64 *)(r10 -8)\nr9 = map[out][0]+8\n*(u64 *)(r9 +0) = r1",
    "probe read user null": "*(u64 *)(r10 -8) = -1\nr8 = r10\nr8 += -8\n"
    + call("probe_read_user", "r8", 8, 16)
    + "\nr1 = *(u64 *)(r10 -8)\nr9 = map[out][0]+8\n*(u64 *)(r9 +0) = r1",
    "probe read stack": "*(u64 *)(r10 -8) = -1\n*(u64 *)(r10 -16) = 77\nr8 = r10\nr8 += -8\n"
    "r9 = r10\nr9 += -16\n"
    + call("probe_read_kernel", "r8", 8, "r9")
    + "\nr1 = *(u64 *)(r10 -8)\nr9 = map[out][0]+8\n*(u64 *)(r9 +0) = r1",
    "probe read str stack": f"r1 = {TEXT:#x}\n*(u64 *)(r10 -16) = r1\n*(u64 *)(r10 -8) = -1\n"
    "r8 = r10\nr8 += -8\nr9 = r10\nr9 += -16\n"
    + call("probe_read_kernel_str", "r8", 4, "r9")
    + "\nr1 = *(u64 *)(r10 -8)\nr9 = map[out][0]+8\n*(u64 *)(r9 +0) = r1",
    "probe read str fits": f"r1 = {TEXT:#x}\n*(u64 *)(r10 -16) = r1\n*(u64 *)(r10 -8) = -1\n"
    "r8 = r10\nr8 += -8\nr9 = r10\nr9 += -16\n"
    + call("probe_read_kernel_str", "r8", 8, "r9")
    + "\nr1 = *(u64 *)(r10 -8)\nr9 = map[out][0]+8\n*(u64 *)(r9 +0) = r1",
    **{
        f"{name} {size} of {address:#x}": "r1 = r10\nr1 += -8\n*(u64 *)(r1 +0) = -1\n"
        f"r2 = {size}\nr3 = {address:#x}\ncall bpf_{name}"
        for name in ("probe_read", "probe_read_kernel", "probe_read_user", "probe_read_user_str")
        for size in (0, 4)
        for address in READ_FROM
    },
    "stack flags": call("get_stack", "r6", "map[out][0]+8", 64, 1 << 20),
    "stack odd": call("get_stack", "r6", "map[out][0]+8", 60, 0),
}


@pytest.mark.parametrize("name", ANYWHERE)
def test_anywhere(bodies, name):
    compare(bodies, ProgType.RAW_TRACEPOINT, skb(ANYWHERE[name]))


EVENTS = MapCreate(MapType.PERF_EVENT_ARRAY, 4, 4, 4)
CGROUPS = MapCreate(MapType.CGROUP_ARRAY, 4, 4, 4)
RING = MapCreate(MapType.RINGBUF, 0, 0, 4096)
FLAGGED = (0, 3, 4, 100, 0xFFFF_FFFF, 1 << 32, 1 << 52)
ON_MAPS = {
    **{
        f"{name} {at:#x}": (EVENTS, f"r1 = map[map]\nr2 = {at:#x}\n{buffer}\ncall bpf_{name}")
        for name, buffer in (
            ("perf_event_read", ""),
            ("perf_event_read_value", "r3 = map[out][0]+8\nr4 = 24"),
        )
        for at in FLAGGED
    },
    **{
        f"cgroup {at}": (CGROUPS, call("current_task_under_cgroup", "map[map]", at))
        for at in (0, 3, 4)
    },
    **{
        f"packet of cgroup {at}": (CGROUPS, call("skb_under_cgroup", "r6", "map[map]", at))
        for at in (0, 3, 4)
    },
    **{
        f"reserve {size}, {flags}": (
            RING,
            call("ringbuf_reserve_dynptr", "map[map]", size, flags, "r10").replace(
                "call", "r4 += -16\ncall"
            )
            + "\nr7 = r0\nr1 = r10\nr1 += -16\nr2 = 0\ncall bpf_ringbuf_discard_dynptr\nr0 = r7",
        )
        for size in (0, 8, 4088, 4089, 5000, 1 << 24)
        for flags in (0, 1)
    },
}


@pytest.mark.parametrize("name", ON_MAPS)
def test_on_maps(bodies, name):
    map, body = ON_MAPS[name]
    compare(bodies, ProgType.SCHED_CLS, skb(body), packet=PACKET, map=map)
