"""Whatever user space asks, the kernel answers or refuses with an errno; it never falls over."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.abi import requests
from minibcc.abi.bpf import MapFlags, MapType, ProgType
from minibcc.abi.perf import PerfEventAttr, PerfIoctl
from minibcc.abi.requests import MapCreate, ProgLoad, Request
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel.commands import COMMANDS
from tests.kernel.support import HELLO, boot

NUMBERS = st.one_of(
    st.integers(0, 12), st.sampled_from((-1, 255, 4096, 1 << 20, 1 << 31, (1 << 32) - 1))
)
SMALL = st.integers(0, 12)
BYTES = st.binary(max_size=24)
FIELDS: dict[str, st.SearchStrategy[object]] = {
    "key": st.one_of(BYTES, st.binary(min_size=4, max_size=4)),
    "value": st.one_of(BYTES, st.binary(min_size=8, max_size=8)),
    "keys": st.lists(st.binary(min_size=4, max_size=4), max_size=3).map(tuple),
    "values": st.lists(st.binary(min_size=8, max_size=8), max_size=3).map(tuple),
    "cursor": st.one_of(st.none(), BYTES),
    "map_name": st.text(max_size=20),
    "prog_name": st.text(max_size=20),
    "license": st.text(max_size=20),
    "name": st.sampled_from(("", "sys_enter", "nothing")),
    "pathname": st.sampled_from(("/sys/fs/bpf/a", "/sys/fs/bpf/b", "/tmp/x", "")),
    "insns": st.one_of(BYTES, st.just(encode(HELLO)), st.just(encode(assemble("r0 = 0\nexit")))),
    "btf": BYTES,
    "func_info": BYTES,
    "line_info": BYTES,
    "data_in": st.binary(max_size=80),
    "ctx_in": BYTES,
    "count": SMALL,
    "repeat": SMALL,
    "max_entries": st.sampled_from((0, 1, 3, 4096)),
    "key_size": st.sampled_from((0, 4, 8)),
    "value_size": st.sampled_from((0, 4, 8, 16, 1016)),
    "jited": st.just(False),
}
OPTIONAL = ("inner_map_fd", "btf_fd", "prog_btf_fd", "attach_prog_fd", "attach_bpf_fd")


def field(name: str) -> st.SearchStrategy[object]:
    if name in OPTIONAL:
        return st.one_of(st.none(), SMALL)
    if name in FIELDS:
        return FIELDS[name]
    return SMALL if name.endswith(("fd", "_id", "type")) else NUMBERS


def any_request() -> st.SearchStrategy[Request]:
    kinds = sorted(COMMANDS, key=lambda kind: kind.__name__)
    return st.sampled_from(kinds).flatmap(
        lambda kind: st.builds(kind, **{name: field(name) for name in kind.__match_args__})
    )


def furnished():
    """A kernel with something behind most small descriptors."""
    system = boot()
    for kind, value in ((MapType.HASH, 8), (MapType.ARRAY, 8), (MapType.PROG_ARRAY, 4)):
        system.bpf(MapCreate(kind, 4, value, 3))
    system.bpf(MapCreate(MapType.LPM_TRIE, 8, 8, 3, map_flags=MapFlags.NO_PREALLOC))
    for kind in (ProgType.KPROBE, ProgType.XDP):
        system.bpf(ProgLoad(kind, encode(assemble("r0 = 0\nexit"))))
    system.perf_event_open(PerfEventAttr(6, 0, "do_sys_openat2"), -1, 0)
    return system


@settings(max_examples=300, deadline=None)
@given(st.lists(any_request(), min_size=1, max_size=12))
def test_any_requests(asked):
    system = furnished()
    for request in asked:
        try:
            system.bpf(request)
        except OSError as refused:
            assert refused.errno in errno.errorcode or refused.errno == 524, request
    system.wait(system.now() + 1_000_000_000)
    system.shut_down()
    kernel = system.kernel
    assert (len(kernel.maps), len(kernel.programs), len(kernel.links)) == (0, 0, 0)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        PerfEventAttr,
        st.integers(0, 9),
        NUMBERS,
        st.sampled_from(("do_sys_openat2", "nothing", "/bin/bash", "")),
        NUMBERS,
        NUMBERS,
        st.booleans(),
        NUMBERS,
    ),
    st.sampled_from((-1, 0, 1, 5)),
    st.sampled_from((-1, 0, 1, 99)),
    st.sampled_from([*PerfIoctl, 99]),
    SMALL,
)
def test_any_event(attr, pid, cpu, request, argument):
    system = furnished()
    try:
        fd = system.perf_event_open(attr, pid, cpu)
        system.ioctl(fd, request, argument)
        system.mmap(fd, 8192, writable=True)
    except OSError as refused:
        assert refused.errno in errno.errorcode
    system.shut_down()


def test_every_request_has_a_command():
    kinds = {
        kind
        for kind in vars(requests).values()
        if isinstance(kind, type) and issubclass(kind, Request) and kind is not Request
    }
    assert kinds == set(COMMANDS)


def test_what_is_no_request_is_refused():
    with pytest.raises(OSError) as raised:
        boot().bpf(Request())
    assert raised.value.errno == errno.EINVAL
