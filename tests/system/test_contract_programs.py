"""The contract of the door, programs, BTF, files and time: the same on every body."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from minibcc.abi import requests as r
from minibcc.abi.bpf import MapType, ProgType
from minibcc.abi.perf import PerfEventAttr, PerfSample, PerfSoftware, PerfType
from minibcc.isa.instruction import decode, encode
from minibcc.isa.tag import tag_sha256
from minibcc.isa.text import assemble
from minibcc.system.interface import System, read_file
from tests.isa.test_text import HELLO
from tests.system.test_contract_maps import created, key, refused, value


def load(
    system: System, prog_type: ProgType, text: str, symbols: dict[str, int] | None = None
) -> int:
    insns = encode(assemble(text, symbols))
    return system.bpf(r.ProgLoad(prog_type, insns, prog_name="a_program")).fd


def test_hello_world(system: System) -> None:
    fd = load(system, ProgType.KPROBE, HELLO)
    info = system.bpf(r.ProgGetInfo(fd, jited=True))
    assert info.type is ProgType.KPROBE
    assert info.name == "a_program"
    assert info.tag.hex() == "c21893ee8040b45c"
    assert info.gpl_compatible
    assert info.verified_insns == 12
    assert len(info.xlated_prog_insns) == 13 * 8
    assert info.prog_tags == (info.tag,)
    assert info.jited_prog_len == len(info.jited_prog_insns) > 0
    assert system.bpf(r.ProgGetNextId(info.id - 1)) == info.id
    other = system.bpf(r.ProgGetFdById(info.id))
    assert system.bpf(r.ProgGetInfo(other)) == system.bpf(r.ProgGetInfo(fd))
    system.close(other)
    system.close(fd)
    with refused(errno.ENOENT):
        system.bpf(r.ProgGetNextId(0x7FFF_FFFE))


def test_runs_are_counted_while_somebody_wants_it(system: System) -> None:
    if read_file(system, "/proc/sys/kernel/bpf_stats_enabled") != b"0\n":
        pytest.skip("this computer counts always")

    def ran(count: int) -> r.ProgInfo:
        system.bpf(r.ProgTestRun(fd, bytes(64), repeat=count))
        return system.bpf(r.ProgGetInfo(fd))

    fd = load(system, ProgType.SOCKET_FILTER, "r0 = 0\nexit")
    info = ran(3)
    assert (info.run_cnt, info.run_time_ns, info.recursion_misses) == (0, 0, 0)
    first, second = system.bpf(r.EnableStats()), system.bpf(r.EnableStats())
    info = ran(5)
    assert info.run_cnt == 5
    assert info.run_time_ns > 0
    assert read_file(system, "/proc/sys/kernel/bpf_stats_enabled") == b"0\n"
    system.close(first)
    assert ran(1).run_cnt == 6
    system.close(second)
    info = ran(1)
    assert info.run_cnt == 6, "what was counted stays, and grows no more"
    with refused(errno.EINVAL):
        system.bpf(r.EnableStats(1))
    system.close(fd)


def test_the_tag_of_a_program_with_maps(system: System) -> None:
    text = "r1 = map[m]\nr2 = map[m][0]+4\nr0 = 0x123456789\nexit"
    with created(system, MapType.ARRAY, 4, 8, 1) as m:
        fd = load(system, ProgType.SOCKET_FILTER, text, {"m": m})
        info = system.bpf(r.ProgGetInfo(fd))
        assert info.tag == tag_sha256(assemble(text, {"m": m}))
        assert info.map_ids == (system.bpf(r.MapGetInfo(m)).id,)
        xlated = decode(info.xlated_prog_insns)
        assert (xlated[0].src, xlated[0].imm) == (1, info.map_ids[0])
        assert (xlated[2].src, xlated[2].imm, xlated[3].imm) == (2, info.map_ids[0], 4)
        system.close(fd)


def test_a_refused_program(system: System) -> None:
    insns = encode(assemble("r0 = r2\nexit"))
    with pytest.raises(r.ProgramRefused) as caught:
        system.bpf(r.ProgLoad(ProgType.KPROBE, insns, log_level=1))
    assert caught.value.errno == errno.EACCES
    assert "R2 !read_ok\n" in caught.value.log
    with pytest.raises(r.ProgramRefused) as caught:
        system.bpf(r.ProgLoad(ProgType.KPROBE, insns))
    assert caught.value.log == ""


def test_the_log_of_an_accepted_program(system: System) -> None:
    insns = encode(assemble(HELLO))
    loaded = system.bpf(r.ProgLoad(ProgType.KPROBE, insns, log_level=2))
    system.close(loaded.fd)
    for line in HELLO.splitlines():
        if "(18)" not in line:
            assert line in loaded.log
    assert "processed 12 insns" in loaded.log


def test_a_log_of_any_length_is_whole(system: System) -> None:
    text = "r0 = 0\n" + "r0 += 1\n" * 3000 + "exit"
    loaded = system.bpf(r.ProgLoad(ProgType.KPROBE, encode(assemble(text)), log_level=2))
    system.close(loaded.fd)
    assert len(loaded.log) > 70_000
    assert "processed 3002 insns" in loaded.log


def test_licenses(system: System) -> None:
    insns = encode(assemble(HELLO))
    with pytest.raises(r.ProgramRefused) as caught:
        system.bpf(r.ProgLoad(ProgType.KPROBE, insns, license="Proprietary", log_level=1))
    assert "cannot call GPL-restricted function from non-GPL compatible program" in caught.value.log
    fd = system.bpf(r.ProgLoad(ProgType.KPROBE, insns, license="Dual BSD/GPL")).fd
    system.close(fd)


def test_run_on_a_packet(system: System) -> None:
    text = """
        r2 = *(u32 *)(r1 +0)
        r3 = *(u32 *)(r1 +4)
        r0 = r2
        r0 += 14
        if r0 > r3 goto drop
        *(u8 *)(r2 +0) = 171
        r0 = 2
        exit
      drop:
        r0 = 1
        exit
    """
    fd = load(system, ProgType.XDP, text)
    packet = bytes(range(64))
    run = system.bpf(r.ProgTestRun(fd, packet, data_size_out=128, repeat=3))
    assert run.retval == 2
    assert run.data_out == bytes([171]) + packet[1:]
    system.close(fd)


def test_run_a_socket_filter(system: System) -> None:
    fd = load(system, ProgType.SOCKET_FILTER, "r0 = *(u32 *)(r1 +0)\nexit")
    assert system.bpf(r.ProgTestRun(fd, bytes(60))).retval == 60 - 14
    system.close(fd)


def test_run_on_a_context(system: System) -> None:
    fd = load(system, ProgType.RAW_TRACEPOINT, "r0 = *(u64 *)(r1 +8)\nr0 += 1\nexit")
    run = system.bpf(r.ProgTestRun(fd, ctx_in=struct.pack("<2Q", 5, 41)))
    assert run.retval == 42
    system.close(fd)


def test_programs_share_maps_with_user_space(system: System) -> None:
    text = """
        *(u32 *)(r10 -4) = 1
        r1 = map[counts]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r1 = 5
        lock *(u64 *)(r0 +0) += r1
      out:
        r0 = 0
        exit
    """
    with created(system, MapType.ARRAY, 4, 8, 2) as counts:
        fd = load(system, ProgType.RAW_TRACEPOINT, text, {"counts": counts})
        for _ in range(3):
            system.bpf(r.ProgTestRun(fd))
        assert system.bpf(r.MapLookup(counts, key(1))) == value(15)
        system.close(fd)


def test_ring_buffer(system: System) -> None:
    """Records come through shared memory: a page of positions for each side, then the data."""
    text = """
        *(u64 *)(r10 -8) = 0
        r1 = 0x1122334455667788
        *(u64 *)(r10 -8) = r1
        r1 = map[ring]
        r2 = r10
        r2 += -8
        r3 = 8
        r4 = 0
        call bpf_ringbuf_output
        r0 = 0
        exit
    """
    page = os.sysconf("SC_PAGE_SIZE")
    with created(system, MapType.RINGBUF, 0, 0, page) as ring:
        fd = load(system, ProgType.RAW_TRACEPOINT, text, {"ring": ring})
        consumer = system.mmap(ring, page, writable=True)
        producer = system.mmap(ring, page + 2 * page, page)
        assert system.poll([ring], 0) == []
        system.bpf(r.ProgTestRun(fd))
        assert system.poll([ring], 1_000_000_000) == [ring]
        (position,) = struct.unpack_from("<Q", producer, 0)
        assert position == 16
        length, _, data = struct.unpack_from("<2IQ", producer, page)
        assert (length, data) == (8, 0x1122334455667788)
        struct.pack_into("<Q", consumer, 0, position)
        assert system.poll([ring], 0) == []
        system.close(fd)


def test_perf_buffer(system: System) -> None:
    """A software event that programs write to, by way of a map from CPU to event."""
    attr = PerfEventAttr(
        PerfType.SOFTWARE, PerfSoftware.BPF_OUTPUT, sample_type=PerfSample.RAW,
        sample_period=1, wakeup_events=1,
    )  # fmt: skip
    page = os.sysconf("SC_PAGE_SIZE")
    event = system.perf_event_open(attr, pid=-1, cpu=0)
    view = system.mmap(event, 2 * page, writable=True)
    assert len(view) == 2 * page
    with created(system, MapType.PERF_EVENT_ARRAY, 4, 4, 8) as events:
        system.bpf(r.MapUpdate(events, key(0), key(event)))
        with refused(524):  # ENOTSUPP
            system.bpf(r.MapLookup(events, key(0)))
    assert system.poll([event], 0) == []
    system.close(event)


def test_btf(system: System) -> None:
    strings = b"\0int\0"
    types = struct.pack("<4I", 1, 1 << 24, 4, 1 << 24 | 32)
    header = struct.pack("<H2B5I", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    fd = system.bpf(r.BtfLoad(header + types + strings))
    info = system.bpf(r.BtfGetInfo(fd))
    assert info.data == header + types + strings
    assert not info.kernel_btf
    assert system.bpf(r.BtfGetNextId(info.id - 1)) == info.id
    other = system.bpf(r.BtfGetFdById(info.id))
    system.close(other)
    typed = system.bpf(
        r.MapCreate(
            MapType.HASH, 4, 4, 1, btf_fd=fd, btf_key_type_id=1, btf_value_type_id=1
        )
    )  # fmt: skip
    map_info = system.bpf(r.MapGetInfo(typed))
    assert (map_info.btf_id, map_info.btf_key_type_id, map_info.btf_value_type_id) == (
        info.id, 1, 1,
    )  # fmt: skip
    system.close(typed)
    system.close(fd)
    with refused(errno.EINVAL):
        system.bpf(r.BtfLoad(header[:-4]))


def test_links_of_nothing(system: System) -> None:
    with refused(errno.ENOENT):
        system.bpf(r.LinkGetNextId(0x7FFF_FFFE))
    with refused(errno.ENOENT):
        system.bpf(r.LinkGetFdById(0x7FFF_FFFE))


def test_what_is_no_program(system: System) -> None:
    with created(system, MapType.ARRAY, 4, 8, 1) as fd, refused(errno.EINVAL):
        system.bpf(r.ProgTestRun(fd))
    with refused(errno.EBADF):
        system.bpf(r.ProgTestRun(12345))


def test_an_unknown_request(system: System) -> None:
    with refused(errno.EINVAL):
        system.bpf(r.Request())


def test_the_kernels_types_are_a_file(system: System) -> None:
    data = read_file(system, "/sys/kernel/btf/vmlinux")
    assert data[:2] == b"\x9f\xeb"


def test_files(system: System) -> None:
    with pytest.raises(FileNotFoundError):
        system.open("/sys/kernel/btf/nothing")
    assert "vmlinux" in system.listdir("/sys/kernel/btf")
    assert b" T " in read_file(system, "/proc/kallsyms")
    fd = system.open("/sys/kernel/btf/vmlinux")
    assert system.read(fd, 2) == b"\x9f\xeb"
    assert len(system.read(fd, 10)) == 10
    system.close(fd)


def test_time(system: System) -> None:
    before = system.now()
    system.wait(before + 1_000_000)
    assert system.now() >= before + 1_000_000
    system.wait(before)  # the past: at once
    assert system.poll([], 1) == []
