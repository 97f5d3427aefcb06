"""Pointers of the kernel's in the values of maps: which maps may hold them, and what becomes of
them. Each is asked of the simulated kernel, on both engines, and of the live one."""

from __future__ import annotations

from errno import EACCES, ENOENT, EOPNOTSUPP

import pytest

from minibcc import boot
from minibcc.abi.bpf import MapFlags, MapType, ProgFlags, ProgType
from minibcc.abi.requests import (
    BtfLoad,
    MapCreate,
    MapDelete,
    MapLookup,
    MapUpdate,
    ProgLoad,
    ProgTestRun,
)
from minibcc.btf.encode import encode as encode_types
from minibcc.btf.types import Int, Member, Ptr, Struct, TypeTag
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble
from tests import live

U32 = Int("unsigned int", 4, False)
U64 = Int("unsigned long", 8, False)


@pytest.fixture(params=["interpreter", "jit", pytest.param("linux", marks=pytest.mark.kernel)])
def system(request):
    if request.param == "linux":
        return live.kernel()
    return boot.system(boot.Options(engine=request.param))


def keeper(system, tag: str, name: str, kind: MapType = MapType.ARRAY, flags: int = 0) -> int:
    """A map whose values are a number and a tagged pointer to that structure."""
    pointer = Ptr(TypeTag(tag, Struct(name)))
    value = Struct("kept", 16, (Member("n", U64, 0), Member("pointer", pointer, 64)))
    encoded = encode_types([U32, value])
    blob = system.bpf(BtfLoad(encoded.data))
    storage = kind == MapType.TASK_STORAGE
    try:
        return system.bpf(
            MapCreate(
                kind,
                4,
                16,
                0 if storage else 2,
                flags | (MapFlags.NO_PREALLOC if storage else 0),
                btf_fd=blob,
                btf_key_type_id=encoded.id_of(U32),
                btf_value_type_id=encoded.id_of(value),
            )
        )
    finally:
        system.close(blob)


@pytest.mark.parametrize(
    ("tag", "name", "kind", "flags", "errno"),
    [
        ("kptr", "task_struct", MapType.ARRAY, 0, 0),
        ("kptr", "file", MapType.ARRAY, 0, ENOENT),
        ("kptr", "of_the_program", MapType.ARRAY, 0, 0),
        ("kptr", "file", MapType.ARRAY, MapFlags.RDONLY_PROG, ENOENT),
        ("kptr_untrusted", "file", MapType.ARRAY, 0, 0),
        ("kptr_untrusted", "file", MapType.ARRAY, MapFlags.RDONLY_PROG, EACCES),
        ("kptr_untrusted", "file", MapType.HASH, MapFlags.WRONLY_PROG, EACCES),
        ("kptr_untrusted", "file", MapType.LRU_PERCPU_HASH, 0, 0),
        ("kptr_untrusted", "file", MapType.STACK_TRACE, 0, EOPNOTSUPP),
        ("kptr_untrusted", "file", MapType.TASK_STORAGE, 0, 0),
        ("uptr", "of_the_program", MapType.ARRAY, 0, EOPNOTSUPP),
        ("user", "file", MapType.ARRAY, MapFlags.RDONLY_PROG, 0),
    ],
)
def test_which_maps_hold_pointers(system, tag, name, kind, flags, errno):
    if errno:
        with pytest.raises(OSError) as caught:
            keeper(system, tag, name, kind, flags)
        assert caught.value.errno == errno
    else:
        system.close(keeper(system, tag, name, kind, flags))


FIND = """
*(u32 *)(r10 -4) = 1
r1 = map[kept]
r2 = r10
r2 += -4
call bpf_map_lookup_elem
if r0 == 0 goto out
r6 = r0
"""
KEEP = f"""{FIND}
call bpf_get_current_task_btf
*(u64 *)(r6 +8) = r0
out:
r0 = 0
exit
"""
NULL, SAME, OTHER = 5, 6, 7
ASK = f"""{FIND}
r7 = *(u64 *)(r6 +8)
r0 = {NULL}
if r7 == 0 goto out
r1 = *(u64 *)(r7 +0)
call bpf_get_current_task_btf
r1 = r0
r0 = {SAME}
if r1 == r7 goto out
r0 = {OTHER}
out:
exit
"""
UPDATE = """
*(u32 *)(r10 -4) = 1
*(u64 *)(r10 -24) = 9
*(u64 *)(r10 -16) = 8
r1 = map[kept]
r2 = r10
r2 += -4
r3 = r10
r3 += -24
r4 = 0
call bpf_map_update_elem
r0 = 0
exit
"""


@pytest.mark.parametrize("kind", [MapType.ARRAY, MapType.HASH, MapType.LRU_HASH])
def test_a_pointer_is_kept_until_its_element_changes(system, kind):
    map = keeper(system, "kptr_untrusted", "task_struct", kind)
    fds = {}
    for name, text in {"keep": KEEP, "ask": ASK, "update": UPDATE}.items():
        code = encode(assemble(text, {"kept": map}))
        request = ProgLoad(ProgType.SYSCALL, code, prog_flags=ProgFlags.SLEEPABLE)
        fds[name] = system.bpf(request).fd

    def run(name: str) -> int:
        return system.bpf(ProgTestRun(fds[name])).retval

    key, value = (1).to_bytes(4, "little"), b"\1" * 16
    system.bpf(MapUpdate(map, key, value))
    assert run("ask") == NULL  # user space puts no pointers in
    run("keep")
    assert run("ask") == SAME
    assert system.bpf(MapLookup(map, key)) == value[:8] + bytes(8)  # and sees none
    assert run("ask") == SAME
    system.bpf(MapUpdate(map, key, value))
    assert run("ask") == NULL
    run("keep")
    run("update")
    assert run("ask") == NULL
    if kind != MapType.ARRAY:
        run("keep")
        system.bpf(MapDelete(map, key))
        assert run("ask") == 0
        system.bpf(MapUpdate(map, key, value))
        assert run("ask") == NULL
    for fd in (*fds.values(), map):
        system.close(fd)
