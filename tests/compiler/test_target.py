"""Targets: what the compiler learns of a kernel, all of it through the door."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from minibcc.btf.layout import Kind
from minibcc.btf.show import spell
from minibcc.btf.types import Struct
from minibcc.cache import Cache
from minibcc.compiler.target import BTF, RELEASE, Target, version
from minibcc.errors import SystemUnavailable
from minibcc.machine.tracefs import Tracefs
from minibcc.records import replace
from tests.btf.kernel import BLOB, kernel_btf, kernel_target


class Files:
    """A system that is nothing but files."""

    name = "files"

    def __init__(self, files: dict[str, bytes], tracefs: str = "") -> None:
        self._files = files
        self._tracefs = tracefs
        self._tree = Tracefs(kernel_btf())
        self._open: dict[int, tuple[bytes, int]] = {}
        self.opened: list[str] = []

    def open(self, path: str, flags: int = 0) -> int:
        self.opened.append(path)
        if self._tracefs and path.startswith(self._tracefs + "/"):
            content = self._tree.read(path.removeprefix(self._tracefs))
        elif path in self._files:
            content = self._files[path]
        else:
            raise FileNotFoundError(2, "No such file or directory", path)
        self._open[len(self.opened)] = (content, 0)
        return len(self.opened)

    def read(self, fd: int, size: int) -> bytes:
        content, at = self._open[fd]
        self._open[fd] = (content, at + size)
        return content[at : at + size]

    def listdir(self, path: str) -> list[str]:
        if not self._tracefs or not path.startswith(self._tracefs):
            raise FileNotFoundError(2, "No such file or directory", path)
        return self._tree.listdir(path.removeprefix(self._tracefs))

    def close(self, fd: int) -> None:
        del self._open[fd]


def files(btf: bytes | None = None, tracefs: str = "") -> Files:
    content = BLOB.read_bytes() if btf is None else btf
    return Files({BTF: content, RELEASE: b"6.18.3-generic\n"}, tracefs)


def target_of(system: object, cpu: str = "v2", cache: Cache | bool = False) -> Target:
    return Target.from_system(system, cpu, cache)  # type: ignore[arg-type]  # a part of a System


@pytest.mark.parametrize("tracefs", ["", "/sys/kernel/tracing", "/sys/kernel/debug/tracing"])
def test_a_kernel_tells_everything_through_the_door(tracefs: str) -> None:
    """With tracefs at either place, or without it from BTF, a target is the same."""
    system = files(tracefs=tracefs)
    target = target_of(system)
    assert target.version == (6, 18, 3)
    assert target.version_code == 6 << 16 | 18 << 8 | 3
    assert (target.cpu, target.arch) == ("v2", "x86_64")
    assert isinstance(target.btf.find(Kind.STRUCT, "task_struct"), Struct)
    args = target.tracepoint("sched", "sched_switch")
    assert args is not None and args.name == "tracepoint__sched__sched_switch"
    fields = {m.name: (spell(m.type), m.offset // 8) for m in args.members}
    assert fields["prev_comm"] == ("char[16]", 8)
    assert fields["next_pid"] == ("pid_t", 56)
    for category, event in [("sched", "none"), ("none", "sched_switch"), ("..", "x"), ("", "")]:
        assert target.tracepoint(category, event) is None
    assert target.tracepoint("sched/sched_switch/..", "sched_switch") is None
    assert not system._open
    read = f"{tracefs}/events/sched/sched_switch/format" in system.opened
    assert read == bool(tracefs)


def test_types_are_read_once_per_system() -> None:
    system = files(tracefs="/sys/kernel/tracing")
    target = target_of(system)
    other = target_of(system, "v3")
    assert other.cpu == "v3" and other.btf is target.btf
    assert system.opened.count(BTF) == 1
    gone = weakref.ref(system)
    del system, target, other
    gc.collect()
    assert gone() is None


def test_fingerprints_differ_where_anything_does() -> None:
    target = kernel_target()
    same = target_of(files())
    assert len(target.fingerprint) == 32
    assert replace(same, version=target.version).fingerprint == target.fingerprint
    variants = [
        same,
        replace(target, cpu="v3"),
        replace(target, arch="arm64"),
        target,
    ]
    assert len({variant.fingerprint for variant in variants}) == len(variants)


def test_an_index_that_the_kernel_lacks_is_kept(tmp_path: Path) -> None:
    cache = Cache(str(tmp_path / "cache"))
    bare = bytes(kernel_btf().data)
    first = target_of(files(bare), cache=cache)
    (entry,) = (tmp_path / "cache").glob("[!.]*")
    second = target_of(files(bare), cache=cache)
    assert second.btf.indexed and second.btf.index == first.btf.index == kernel_btf().index
    assert second.fingerprint == first.fingerprint
    entry.write_bytes(b"damaged")
    third = target_of(files(bare), cache=cache)
    assert third.btf.find(Kind.FUNC, "vfs_read") is not None
    assert entry.stat().st_size > 100_000


@pytest.mark.parametrize(
    ("content", "message"),
    [({}, "does not show its types"), ({BTF: b"no BTF", RELEASE: b"6.1.0"}, "cannot be read")],
)
def test_a_kernel_without_types_is_no_target(content: dict[str, bytes], message: str) -> None:
    with pytest.raises(SystemUnavailable, match=message):
        target_of(Files(content))


@pytest.mark.parametrize(
    ("release", "numbers"),
    [
        ("6.18.44-fc-v657\n", (6, 18, 44)),
        ("6.1.0-31-amd64", (6, 1, 0)),
        ("5.15", (5, 15, 0)),
        ("6.19.0rc3+", (6, 19, 0)),
        ("", (0, 0, 0)),
    ],
)
def test_versions(release: str, numbers: tuple[int, int, int]) -> None:
    assert version(release) == numbers


@pytest.mark.kernel
@pytest.mark.skipif(not Path(BTF).exists(), reason="this kernel shows no BTF")
def test_the_live_kernel_is_a_target(tmp_path: Path) -> None:
    import os

    from minibcc.system.linux import LinuxSystem

    if os.geteuid():
        pytest.skip("needs root")
    target = Target.from_system(LinuxSystem(), cache=Cache(str(tmp_path)))
    assert target.version >= (5, 2, 0)
    args = target.tracepoint("sched", "sched_process_exec")
    assert args is not None
    assert {"data_loc_filename", "pid", "old_pid"} <= {member.name for member in args.members}
