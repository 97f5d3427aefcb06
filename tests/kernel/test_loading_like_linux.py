"""BPF_PROG_LOAD, BPF_PROG_TEST_RUN and descriptors against Linux's: the same request, the same
errno."""

from __future__ import annotations

import os
import struct

import pytest

from minibcc.abi.bpf import AttachType, MapType, ProgType
from minibcc.abi.requests import (
    LinkCreate,
    LinkGetInfo,
    MapCreate,
    MapFreeze,
    MapGetFdById,
    MapGetInfo,
    MapLookup,
    ObjGet,
    ObjPin,
    ProgAttach,
    ProgDetach,
    ProgGetFdById,
    ProgGetInfo,
    ProgLoad,
    ProgTestRun,
    RawTracepointOpen,
)
from minibcc.isa.instruction import decode, encode
from minibcc.isa.text import assemble
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.linux618 import Linux618
from minibcc.machine.machine import Machine
from minibcc.records import replace
from tests.kernel.test_maps_stateful import can_pin
from tests.live import DEFAULT_ATTACH

pytestmark = pytest.mark.kernel

RETURN = encode(assemble("r0 = 0\nexit"))


@pytest.fixture
def bodies():
    from minibcc.system.linux import LinuxSystem

    return LinuxSystem(), SimulatedSystem(Machine(Linux618(), cpus=2), engine="interpreter")


def answer(system, request):
    """What kind of answer, or the errno. Descriptors are closed."""
    try:
        result = system.bpf(request)
    except OSError as error:
        return f"errno {error.errno}"
    fd = getattr(result, "fd", result)
    if isinstance(fd, int):
        system.close(fd)
        return "a descriptor"
    return type(result).__name__


def compare(bodies, request):
    linux, simulated = (answer(system, request) for system in bodies)
    assert simulated == linux, request


FORBIDDEN = (ProgType.TRACING, ProgType.EXT, ProgType.LSM, ProgType.LIRC_MODE2)
"""Types that the kernel of a test machine may lack, or refuse to everybody."""


@pytest.mark.parametrize("others", (255, 256))
def test_number_of_functions(bodies, others):
    code = "".join(f"call other{n}\n" for n in range(others)) + "r0 = 0\nexit\n"
    code += "".join(f"other{n}:\nr0 = 0\nexit\n" for n in range(others))
    compare(bodies, ProgLoad(ProgType.KPROBE, encode(assemble(code))))


@pytest.mark.parametrize("prog_type", [n for n in range(36) if n not in FORBIDDEN])
def test_program_and_attach_types(bodies, prog_type):
    unlike = []
    for attach_type in (0, *AttachType, 99):
        for extra in ({}, {"attach_btf_id": 1}):
            request = ProgLoad(prog_type, RETURN, expected_attach_type=attach_type, **extra)
            linux, simulated = (answer(system, request) for system in bodies)
            if linux != simulated:
                unlike.append((int(attach_type), extra, linux, simulated))
    assert not unlike


@pytest.mark.parametrize(
    "change",
    [
        {"insns": b""},
        {"insns": RETURN * 500_001},
        {"prog_name": "a-b"},
        {"prog_name": "a b"},
        {"prog_name": "a.b_c9"},
        {"prog_name": "fifteen_letters"},
        {"prog_name": "sixteen__letters"},
        {"prog_name": "a_name_of_24_letters_all"},
        {"prog_type": 77},
        {"prog_type": 0},
        {"prog_type": 77, "prog_name": "a-b"},
        {"prog_type": 77, "insns": b""},
        {"prog_flags": 1 << 30, "insns": b""},
        {"prog_flags": 1},
        {"prog_flags": 2},
        {"prog_flags": 4},
        {"prog_flags": 8},
        {"prog_flags": 16},
        {"prog_flags": 32},
        {"prog_flags": 64},
        {"prog_flags": 128},
        {"prog_flags": 256},
        {"attach_btf_id": 1},
        {"attach_prog_fd": 9999},
        {"prog_btf_fd": 9999},
        {"prog_btf_fd": 9999, "func_info": struct.pack("<II", 0, 1)},
        {"log_level": 16, "log_size": 4096},
        {"license": "Proprietary"},
        {"license": ""},
        {"license": "GPL" * 100},
        {"kern_version": 5},
    ],
    ids=lambda change: str(change)[:60],
)
@pytest.mark.parametrize("prog_type", [ProgType.SOCKET_FILTER, ProgType.KPROBE, ProgType.XDP])
def test_requests_that_cannot_be_meant(bodies, prog_type, change):
    compare(bodies, replace(ProgLoad(prog_type, RETURN), **change))


def ethernet(protocol: int, size: int) -> bytes:
    """A frame to somebody else, of bytes that differ."""
    head = struct.pack(">6s6sH", b"\2" * 6, b"\4" * 6, protocol)
    return head + bytes(range(1, size - len(head) + 1))


def words(size: int, *places: int) -> bytes:
    """Zeros but for 32-bit numbers: offset, number, offset, number."""
    data = bytearray(size)
    for offset, number in zip(places[::2], places[1::2], strict=True):
        struct.pack_into("<I", data, offset, number)
    return bytes(data)


TEST_RUNS = [
    {},
    {"data_in": bytes(13)},
    {"data_in": bytes(14)},
    {"data_in": bytes(64)},
    {"data_in": bytes(64), "data_size_out": 64},
    {"data_in": bytes(64), "data_size_out": 10},
    {"data_in": bytes(4000)},
    {"data_in": bytes(3000)},
    {"data_in": bytes(64), "ctx_in": bytes(192)},
    {"data_in": bytes(64), "ctx_in": b"\x01" + bytes(191)},
    {"data_in": bytes(64), "ctx_in": bytes(8) + b"\x01" + bytes(183)},
    {"data_in": bytes(64), "ctx_in": bytes(500)},
    {"data_in": bytes(64), "ctx_in": bytes(24)},
    {"data_in": bytes(64), "flags": 1},
    {"data_in": bytes(64), "flags": 4},
    {"data_in": bytes(64), "cpu": 1},
    {"ctx_in": bytes(8)},
    {"ctx_in": bytes(96)},
    {"ctx_in": bytes(104)},
    {"ctx_in": bytes(96), "repeat": 1},
    {"ctx_in": bytes(96), "cpu": 1},
    {"ctx_in": bytes(96), "cpu": 1, "flags": 1},
    {"ctx_in": bytes(96), "cpu": 10_000, "flags": 1},
    {"ctx_in": bytes(96), "flags": 2},
    {"ctx_in": bytes(96), "ctx_size_out": 96},
    *({"data_in": bytes(size)} for size in (3520, 3521, 3712, 3713, 73152, 73153)),
    {"data_in": bytes(64), "ctx_size_out": 10},
    *({"data_in": bytes(size), "ctx_size_out": 192} for size in (14, 3712, 3713, 4096, 4097)),
    *({"data_in": ethernet(0x800, size)} for size in (33, 34)),
    *({"data_in": ethernet(0x86DD, size)} for size in (53, 54)),
    {"data_in": ethernet(5, 60), "data_size_out": 60, "ctx_size_out": 192},
    {"data_in": ethernet(0x800, 60), "data_size_out": 60, "ctx_size_out": 8},
    {"data_in": ethernet(0x800, 60), "data_size_out": 60, "ctx_in": bytes(4096) + b"\1"},
    *(
        {"data_in": bytes(60), "ctx_in": words(192, *place), "ctx_size_out": 192}
        for place in ((40, 2), (40, 99), (160, 59), (160, 99), (164, 65535), (164, 65536), (8, 7))
    ),
    *(
        {
            "data_in": bytes(60),
            "data_size_out": 99,
            "ctx_in": words(24, 4, *at),
            "ctx_size_out": 24,
        }
        for at in ((59,), (60,), (61,), (8, 0, 8), (60, 16, 1), (60, 20, 1), (60, 12, 1, 16, 1))
    ),
    {"data_in": bytes(20), "ctx_in": words(24, 0, 8, 4, 20), "data_size_out": 20},
    *({"data_in": bytes(60), "ctx_in": words(56, place, 1)} for place in (0, 48, 52)),
    *({"ctx_in": words(72, 8, 2, *rest)} for rest in ((), (0, 1), (60, 65536), (64, 1), (68, 1))),
    {"ctx_in": words(12, 8, 10), "ctx_size_out": 72},
    {"ctx_in": words(12, 8, 3), "ctx_size_out": 72},
    {"ctx_in": words(12, 8, 2), "ctx_size_out": 71},
]

TESTED = [
    (ProgType.SOCKET_FILTER, "r0 = 0\nexit"),
    (ProgType.SCHED_CLS, "r0 = *(u32 *)(r1 +0)\nexit"),
    (ProgType.SCHED_CLS, "r0 = *(u32 *)(r1 +160)\nr2 = *(u32 *)(r1 +4)\nr0 <<= 8\nr0 |= r2\nexit"),
    (ProgType.LWT_XMIT, "r0 = *(u32 *)(r1 +16)\n*(u32 *)(r1 +48) = r0\nexit"),
    (ProgType.XDP, "r0 = 2\nexit"),
    (ProgType.XDP, "r0 = *(u32 *)(r1 +4)\nr2 = *(u32 *)(r1 +0)\nr0 -= r2\nexit"),
    (ProgType.XDP, "r2 = 3000\ncall bpf_xdp_adjust_tail\nexit"),
    (ProgType.XDP, "r2 = -50\ncall bpf_xdp_adjust_tail\nexit"),
    (
        ProgType.FLOW_DISSECTOR,
        """
        r2 = *(u32 *)(r1 +76)
        r3 = *(u32 *)(r1 +80)
        r3 -= r2
        r1 = *(u64 *)(r1 +144)
        r4 = *(u16 *)(r1 +10)
        *(u16 *)(r1 +2) = r3
        *(u16 *)(r1 +0) = r4
        r0 = 0
        exit
        """,
    ),
    (ProgType.SK_LOOKUP, "r0 = 1\nexit"),
    (ProgType.RAW_TRACEPOINT, "r0 = 0\nexit"),
    (ProgType.RAW_TRACEPOINT, "r0 = *(u64 *)(r1 +16)\nexit"),
]


@pytest.mark.parametrize(("prog_type", "text"), TESTED)
def test_test_runs(bodies, prog_type, text):
    attach = DEFAULT_ATTACH.get(prog_type, 0)
    load = ProgLoad(prog_type, encode(assemble(text)), expected_attach_type=attach)
    programs = [(system, system.bpf(load).fd) for system in bodies]
    for run in TEST_RUNS:
        answers = []
        for system, fd in programs:
            try:
                result = system.bpf(ProgTestRun(fd, **run))
                answers.append((result.retval, result.data_out, result.ctx_out))
            except OSError as error:
                answers.append(f"errno {error.errno}")
        assert answers[1] == answers[0], run
    for system, fd in programs:
        system.close(fd)


def test_descriptors_of_another_kind(bodies):
    for make in (
        lambda program, map: ProgGetInfo(map),
        lambda program, map: MapGetInfo(9999),
        lambda program, map: LinkGetInfo(9999),
        lambda program, map: MapLookup(program, bytes(4)),
        lambda program, map: ProgTestRun(map, bytes(64)),
        lambda program, map: RawTracepointOpen("sys_enter", map),
        lambda program, map: RawTracepointOpen("sys_enter", program),
        lambda program, map: RawTracepointOpen("no_such", 9999),
        lambda program, map: MapFreeze(program),
        lambda program, map: ProgGetFdById(1 << 30),
        lambda program, map: MapGetFdById(1 << 30),
        lambda program, map: ObjPin("/sys/fs/nowhere/x", 9999),
        lambda program, map: ObjGet("/sys/fs/bpf/there_is_no_such_pin"),
        lambda program, map: LinkCreate(map, 1, AttachType.XDP),
        lambda program, map: LinkCreate(program, 1, AttachType.XDP),
        lambda program, map: LinkCreate(program, 9999, AttachType.PERF_EVENT),
        lambda program, map: ProgAttach(9999, program, AttachType.CGROUP_INET_INGRESS),
        lambda program, map: ProgDetach(9999, AttachType.CGROUP_INET_INGRESS),
    ):
        answers = []
        for system in bodies:
            map = system.bpf(MapCreate(MapType.ARRAY, 4, 4, 1))
            program = system.bpf(ProgLoad(ProgType.SOCKET_FILTER, RETURN)).fd
            request = make(program, map)
            answers.append(answer(system, request))
            system.close(program)
            system.close(map)
        assert answers[0] == answers[1], request


PIN = "/sys/fs/bpf/minibcc-path-PID"
PATHS = [
    *("", "relative", "/tmp/minibcc", "/sys/fs/bpf", "/sys/fs/bpf/", "/sys/fs/bpf/."),
    *(f"{PIN}.txt", f"{PIN}/below", f"/sys/fs/bpf/{'x' * 256}", f"/sys/fs/bpf/{'x' * 5000}"),
    *(PIN, PIN.replace("/bpf", "//bpf"), f"/{PIN}", PIN.replace("bpf", "../fs/bpf")),
    *(PIN.replace("bpf", "./bpf"), f"{PIN}\0behind"),
]


@pytest.mark.skipif(not can_pin(), reason="no bpf file system is mounted")
@pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path)[:40])
def test_paths_of_pins(bodies, path):
    """Where there is a pin already, a pin can be, and be found again."""
    pin, path = (text.replace("PID", str(os.getpid())) for text in (PIN, path))
    answers = []
    for system in bodies:
        fd = system.bpf(MapCreate(MapType.ARRAY, 4, 4, 1))
        try:
            system.bpf(ObjPin(pin, fd))
            answers.append((answer(system, ObjPin(path, fd)), answer(system, ObjGet(path))))
        finally:
            system.close(fd)
            if os.path.exists(pin):
                os.unlink(pin)
    assert answers[1] == answers[0]


SHOWN = {
    "nothing dead": "r0 = 1\nif r1 == 0 goto pc+1\nr0 = 2\nexit",
    "jump to the next": "r0 = 1\ngoto pc+0\nexit",
    "two jumps to the next": "r0 = 1\ngoto pc+0\ngoto pc+0\nexit",
    "never taken": "r0 = 1\nif r0 == 2 goto pc+2\nr0 = 3\nexit\nr0 = 4\nexit",
    "always taken": "r0 = 1\nif r0 == 1 goto pc+2\nr0 = 3\nexit\nr0 = 4\nexit",
    "over what went": "r0 = 1\nr2 = 2\nif r2 == 3 goto pc+2\nr0 = 3\ngoto pc+2\n"
    "r0 = 4\nr0 = 5\nexit",
    "call": "call pc+3\nr1 = 0\nif r1 == 1 goto pc-2\nexit\nr0 = 1\nexit",
    "function that is never called": "r0 = 0\nif r0 == 1 goto pc+1\nexit\ncall pc+1\nexit\n"
    "r0 = 5\nexit",
    "wide load": "r1 = 0x1122334455667788\nr0 = 0\nexit",
    "loop": "r0 = 0\nr0 += 1\nif r0 != 10 goto pc-2\nexit",
    "32-bit branch": "r0 = 7\nif w0 > 9 goto pc+1\nexit\nr0 = 1\nexit",
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_program_that_remains(bodies, name):
    """What ``prog dump xlated`` shows, for programs whose instructions Linux leaves as they are."""
    shown = []
    for system in bodies:
        loaded = system.bpf(ProgLoad(ProgType.RAW_TRACEPOINT, encode(assemble(SHOWN[name]))))
        shown.append(decode(system.bpf(ProgGetInfo(loaded.fd)).xlated_prog_insns))
        system.close(loaded.fd)
    assert shown[1] == shown[0]
