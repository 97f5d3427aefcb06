"""What only the real kernel does."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from types import SimpleNamespace

import pytest

from minibcc.abi import requests as r
from minibcc.abi.bpf import AttachType, Command, LinkType, MapType, ProgType
from minibcc.abi.perf import PerfEventAttr
from minibcc.btf.decode import Btf
from minibcc.btf.layout import Kind
from minibcc.errors import SystemUnavailable
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.system import linux as module
from minibcc.system.attributes import HANDLERS
from minibcc.system.interface import read_file
from minibcc.system.linux import LinuxSystem
from tests.system.test_contract_maps import created, refused


def _requests(of: type) -> list[type]:
    return [leaf for child in of.__subclasses__() for leaf in (child, *_requests(child))]


def test_every_request_has_a_handler() -> None:
    assert set(HANDLERS) == set(_requests(r.Request))
    for request in HANDLERS:
        assert isinstance(request.command, Command)


def test_not_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "uname", lambda: SimpleNamespace(machine="aarch64"))
    with pytest.raises(SystemUnavailable, match="use the simulated kernel"):
        LinuxSystem()


def test_not_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(LinuxSystem, "bpf_call", forbidden)
    with pytest.raises(SystemUnavailable, match="run it as root"):
        LinuxSystem()


def test_the_layout_of_perf_event_attr() -> None:
    attr = PerfEventAttr(
        6, 1, "do_exit", 4, sample_period=99, freq=True, sample_type=1024,
        wakeup_events=2, disabled=True, exclude_kernel=True,
    )  # fmt: skip
    packed, memory = module._pack_perf_event(attr)
    words = [int.from_bytes(packed[at : at + 8], "little") for at in range(0, len(packed), 8)]
    assert words[0] == 6 | 112 << 32
    assert words[1:4] == [1, 99, 1024]
    assert words[5] == 1 | 1 << 5 | 1 << 10
    assert words[6] == 2
    assert ctypes.string_at(words[7]) == b"do_exit"
    assert words[8] == 4
    assert len(packed) == 112
    del memory


@pytest.mark.kernel
def test_pinning(linux: LinuxSystem) -> None:
    """Only a file system of BPF objects takes pins; elsewhere it is EPERM."""
    with tempfile.TemporaryDirectory() as folder, created(linux, MapType.ARRAY, 4, 8, 1) as fd:
        with refused(errno.EPERM):
            linux.bpf(r.ObjPin(os.path.join(folder, "pin"), fd))
        with refused(errno.ENOENT):
            linux.bpf(r.ObjGet(os.path.join(folder, "pin")))


@pytest.mark.kernel
def test_info_of_another_kind(linux: LinuxSystem) -> None:
    with created(linux, MapType.ARRAY, 4, 8, 1) as fd:
        for request in (r.ProgGetInfo, r.BtfGetInfo, r.LinkGetInfo):
            with refused(errno.EINVAL):
                linux.bpf(request(fd))
    with refused(errno.EBADF):
        linux.bpf(r.MapGetInfo(12345))


@pytest.mark.kernel
def test_sizes_are_forgotten_with_the_descriptor(linux: LinuxSystem) -> None:
    with created(linux, MapType.ARRAY, 4, 8, 1) as first:
        assert len(linux.bpf(r.MapLookup(first, bytes(4)))) == 8
    with created(linux, MapType.ARRAY, 4, 16, 1) as second:
        assert second == first
        assert len(linux.bpf(r.MapLookup(second, bytes(4)))) == 16


@pytest.mark.kernel
def test_a_log_of_a_given_size(linux: LinuxSystem) -> None:
    insns = encode(assemble("r0 = 0\n" + "r0 += 1\n" * 100 + "exit"))
    with refused(errno.ENOSPC):
        linux.bpf(r.ProgLoad(ProgType.KPROBE, insns, log_level=2, log_size=128))


@pytest.mark.kernel
def test_a_link(linux: LinuxSystem) -> None:
    """An iterator's link hangs on nothing until somebody reads it."""
    types = Btf(read_file(linux, "/sys/kernel/btf/vmlinux"))
    target = types.find_id(Kind.FUNC, "bpf_iter_task")
    assert target is not None
    prog = linux.bpf(
        r.ProgLoad(
            ProgType.TRACING, encode(assemble("r0 = 0\nexit")),
            expected_attach_type=AttachType.TRACE_ITER, attach_btf_id=target,
        )
    ).fd  # fmt: skip
    link = linux.bpf(r.LinkCreate(prog, 0, AttachType.TRACE_ITER))
    info = linux.bpf(r.LinkGetInfo(link))
    assert info.type == LinkType.ITER
    assert info.prog_id == linux.bpf(r.ProgGetInfo(prog)).id
    assert linux.bpf(r.LinkGetNextId(info.id - 1)) == info.id
    linux.close(linux.bpf(r.LinkGetFdById(info.id)))
    linux.close(link)
    linux.close(prog)
