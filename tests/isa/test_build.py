"""The hand-written form says the same as the text."""

from __future__ import annotations

import pytest

from minibcc.abi.bpf import Pseudo
from minibcc.isa import build as b
from minibcc.isa.build import program, r0, r1, r2, r10, w0, w1, w2
from minibcc.isa.text import assemble, dump
from tests.isa.test_text import HELLO


def test_hello() -> None:
    assert program(
        b.mov(r1, 33),
        b.store(r10, -4, r1, size=2),
        b.mov(r1, 1684828783),
        b.store(r10, -8, r1, size=4),
        b.imm64(r1, 0x57202C6F6C6C6548),
        b.store(r10, -16, r1),
        b.mov(r1, r10),
        b.add(r1, -16),
        b.mov(r2, 14),
        b.call("bpf_trace_printk"),
        b.mov(r0, 0),
        b.exit_(),
    ) == assemble(HELLO)


def test_every_form() -> None:
    built = program(
        b.map_fd(r1, 4),
        b.imm64(r2, 4, 8, Pseudo.MAP_VALUE),
        b.jump("jsgt", w1, w2, "out"),
        b.jump("jne", r1, 5, 1),
        b.call_function("f"),
        "back:",
        b.goto("out", "ja32"),
        b.goto("back", "may_goto"),
        b.goto("back"),
        "out:",
        b.exit_(),
        "f:",
        b.movsx(w0, r1, 2),
        b.alu("sdiv", r0, r1),
        b.neg(r0),
        b.swap("be", r0, 8),
        b.load(r1, r2, 4, size=4, signed=True),
        b.store(r2, 8, -1, size=1),
        b.atomic("fetch_add", r2, 8, r1),
        b.atomic("cmpxchg", r2, 8, r1, size=4),
        b.atomic("store_release", r2, 8, r1, size=1),
        b.exit_(),
    )
    assert [words[5:] for _, words in dump(built)] == [
        "r1 = map[id:4]",
        "r2 = map[id:4][0]+8",
        "if w1 s> w2 goto pc+5",
        "if r1 != 0x5 goto pc+1",
        "call pc+4",
        "gotol pc+2",
        "may_goto pc-2",
        "goto pc-3",
        "exit",
        "w0 = (s16)w1",
        "r0 s/= r1",
        "r0 = -r0",
        "r0 = be64 r0",
        "r1 = *(s32 *)(r2 +4)",
        "*(u8 *)(r2 +8) = -1",
        "r1 = atomic64_fetch_add((u64 *)(r2 +8), r1)",
        "r0 = atomic_cmpxchg((u32 *)(r2 +8), r0, r1)",
        "store_release((u8 *)(r2 +8), r1)",
        "exit",
    ]


def test_what_is_not_there() -> None:
    with pytest.raises(KeyError):
        b.alu("nonsense", r1, 1)
    with pytest.raises(KeyError):
        b.call("nonsense")
    with pytest.raises(KeyError):
        program(b.goto("nowhere"))
