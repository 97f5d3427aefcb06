"""Walks over a map's elements, of which some go meanwhile."""

from __future__ import annotations

import struct

import pytest

from minibcc import boot
from minibcc.abi.bpf import AttachType, MapType, ProgType
from minibcc.abi.requests import (
    IterCreate,
    LinkCreate,
    MapCreate,
    MapLookup,
    MapUpdate,
    ProgLoad,
    ProgTestRun,
)
from minibcc.bcc.kerneltypes import function_id
from minibcc.bcc.loader import Module
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from minibcc.kernel import programs
from tests import live
from tests.kernel.support import accept, possible_cpus

TEXT = """
BPF_TABLE("KIND", u32, u64, walked, 64);
BPF_ARRAY(calls, u32, 64);

static int each(void *map, u32 *key, u64 *value, void *context)
{
    u32 number = *key;
    u32 *seen = calls.lookup(&number);
    if (seen)
        *seen += 1;
    if (GOES)
        walked.delete(&number);
    return 0;
}

int walk(struct __sk_buff *skb)
{
    return bpf_for_each_map_elem(&walked, each, 0, 0);
}
"""
COUNT = 10


@pytest.fixture(params=["interpreter", "jit"])
def system(request):
    return boot.system(boot.Options(engine=request.param))


def walk(system, kind: str, goes: str) -> tuple[int, tuple[int, ...], set[int]]:
    """How many calls there were, for which keys, and which keys are left."""
    text = TEXT.replace("KIND", kind).replace("GOES", goes)
    obj = compile(text, Target.from_system(system), file="walk.c", cache=False)
    module = Module(system, obj)
    fd, _ = module.verify("walk", ProgType.SCHED_CLS)
    walked, calls = module.maps["walked"].fd, module.maps["calls"].fd
    cpus = possible_cpus() if system.name == "linux" else system.machine.cpus
    size = 8 * cpus if "percpu" in kind else 8
    left = set()
    try:
        for key in range(COUNT):
            system.bpf(MapUpdate(walked, struct.pack("<I", key), bytes(size)))
        count = system.bpf(ProgTestRun(fd, bytes(64))).retval
        keys = [struct.pack("<I", key) for key in range(COUNT)]
        seen = tuple(system.bpf(MapLookup(calls, key))[0] for key in keys)
        for number, key in enumerate(keys):
            try:
                system.bpf(MapLookup(walked, key))
            except OSError:
                continue
            left.add(number)
    finally:
        system.close(fd)
        module.close()
    return count, seen, left


WALKS = {
    (kind, goes): (COUNT, (1,) * COUNT, left)
    for kind in ("hash", "lru_hash", "percpu_hash", "lru_percpu_hash")
    for goes, left in (
        ("number & 1", {0, 2, 4, 6, 8}),
        ("number == 4", {0, 1, 2, 3, 5, 6, 7, 8, 9}),
        ("1", set()),
    )
}


@pytest.mark.parametrize(("kind", "goes"), WALKS)
def test_each_element_is_seen_once_though_some_go(system, kind, goes):
    assert walk(system, kind, goes) == WALKS[kind, goes]


@pytest.mark.kernel
@pytest.mark.parametrize(("kind", "goes"), WALKS)
def test_linux_sees_each_once(kind, goes):
    assert walk(live.kernel(), kind, goes) == WALKS[kind, goes]


DELETE = """
r6 = r1
*(u64 *)(r10 -8) = 0
r7 = *(u64 *)(r6 +16)
if r7 == 0 goto out
r3 = *(u64 *)(r6 +0)
r1 = r10
r1 += -8
r2 = 8
call probe_read_kernel#113
r1 = *(u64 *)(r10 -8)
r2 = r7
r3 = 4
call seq_write#127
r8 = *(u32 *)(r7 +0)
r8 &= 1
if r8 == 0 goto out
r1 = map[walked]
r2 = r7
call map_delete_elem#3
out:
r0 = 0
exit
"""


def test_an_iterator_shows_each_element_once(system, monkeypatch):
    monkeypatch.setattr(programs, "verify", accept)
    walked = system.bpf(MapCreate(MapType.HASH, 4, 8, 64))
    for key in range(COUNT):
        system.bpf(MapUpdate(walked, struct.pack("<I", key), bytes(8)))
    program = system.bpf(
        ProgLoad(
            ProgType.TRACING,
            encode(assemble(DELETE, {"walked": walked})),
            expected_attach_type=AttachType.TRACE_ITER,
            attach_btf_id=function_id(system, "bpf_map_elem", AttachType.TRACE_ITER),
        )
    ).fd
    link = system.bpf(LinkCreate(program, 0, AttachType.TRACE_ITER, map_fd=walked))
    opened = system.bpf(IterCreate(link))
    shown = b""
    while data := system.read(opened, 4):
        shown += data
    assert sorted(struct.unpack(f"<{len(shown) // 4}I", shown)) == list(range(COUNT))
    for fd in (opened, link, program, walked):
        system.close(fd)
