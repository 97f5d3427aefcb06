"""Pointers to the kernel's own structures: fields, traced arguments, and who may follow them."""

from __future__ import annotations

import errno
from pathlib import Path
from random import Random

import pytest

from minibcc.abi.bpf import AttachType, MapType, ProgType
from minibcc.abi.tracepoints import nullable
from minibcc.btf.layout import Kind
from minibcc.btf.types import Array, Func, FuncProto, Int, Member, Param, Ptr, Struct, Type, Typedef
from minibcc.isa.text import assemble
from minibcc.kernel.verifier.contract import Environment, MapFacts, Source, Verdict
from minibcc.kernel.verifier.verify import verify
from tests import live
from tests.verifier import oracle

U32 = Int("unsigned int", 4, False)
U64 = Int("unsigned long", 8, False)
FILE = Struct("file", 16, (Member("flags", U32, 0), Member("owner", U64, 64)))
TASK = Struct(
    "task_struct",
    40,
    (Member("pid", U32, 0), Member("file", Ptr(FILE), 64), Member("buffer", Ptr(U64), 128)),
)
OPEN = Func("do_open", FuncProto(Int("int", 4, True), (Param("file", Ptr(FILE)), Param("n", U64))))


class Types:
    def find(self, name: str, /) -> Type | None:
        return TASK if name == "task_struct" else None


KERNEL = Environment(Types(), 2, True)
RAW = "btf_trace_"
CURRENT = "call bpf_get_current_task_btf#158\n"
EXIT = "\nr0 = 0\nexit"


def judge(text: str, environment: Environment = KERNEL, **fields: object) -> Verdict:
    source = {"prog_type": ProgType.KPROBE, **fields}
    return verify(Source(tuple(assemble(text + EXIT)), **source), environment)  # type: ignore[arg-type]  # fields of Source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r1 = *(u32 *)(r0 +0)", ""),
        ("r1 = *(u64 *)(r0 +8)\nr2 = *(u32 *)(r1 +0)", ""),
        (
            "r1 = *(u64 *)(r0 +8)\nr2 = *(u64 *)(r1 +16)",
            "access beyond struct file at off 16 size 8",
        ),
        ("r1 = *(u64 *)(r0 +16)\nr2 = *(u64 *)(r1 +80)", ""),
        (
            "r1 = *(u64 *)(r0 +16)\n*(u64 *)(r1 +0) = 1",
            "R1 cannot write into rdonly_untrusted_mem",
        ),
        ("r1 = *(u64 *)(r0 +16)\nr2 = 5\nr2 += r1", ""),
        (
            # Linux takes r2 for 5.
            "r1 = *(u64 *)(r0 +16)\nr2 = 5\nr2 += r1\nr3 = r10\nr3 += r2\nr3 = *(u8 *)(r3 -8)",
            "math between fp pointer and register with unbounded min value is not allowed",
        ),
        ("r1 = *(u32 *)(r0 +4)", "struct task_struct doesn't have field at offset 4"),
        (
            "r1 = *(u32 *)(r0 +8)",
            "cannot access ptr member file with moff 8 in struct task_struct with off 8 size 4",
        ),
        ("r1 = *(u64 *)(r0 -8)", "R0 is ptr_task_struct invalid negative access: off=-8"),
        ("*(u64 *)(r0 +0) = 1", "only read is supported"),
    ],
)
def test_fields(text: str, message: str) -> None:
    verdict = judge(CURRENT + text)
    assert (verdict.refusal.message if verdict.refusal else "") == message


def test_accesses_name_the_loads_that_may_fault() -> None:
    verdict = judge(CURRENT + "r1 = *(u64 *)(r0 +8)\nr2 = *(u32 *)(r1 +0)")
    assert verdict.facts is not None
    assert verdict.facts.accesses == {1: "trusted_ptr_", 2: "ptr_"}


def test_a_kernel_that_does_not_run_such_loads_gets_none() -> None:
    verdict = judge(CURRENT, Environment(Types(), 2, False))
    assert verdict.refusal is not None
    assert verdict.refusal.code == "verify/not-decided"


def test_a_load_is_of_one_kind_of_memory() -> None:
    """Loads that may fault are other instructions than those of a program's own memory."""
    text = """
        r6 = r10
        r6 += -8
        *(u64 *)(r6 +0) = 0
        call bpf_get_prandom_u32#7
        r7 = r0
        call bpf_get_current_task_btf#158
        r1 = r6
        if r7 == 0 goto pc+1
        r1 = *(u64 *)(r0 +16)
        r2 = *(u64 *)(r1 +0)
    """
    verdict = judge(text)
    assert verdict.refusal is not None
    assert verdict.refusal.code == "verify/not-decided"


@pytest.mark.parametrize(
    ("text", "attach", "accepted"),
    [
        ("r1 = *(u64 *)(r1 +0)\nr2 = *(u32 *)(r1 +0)", AttachType.TRACE_FENTRY, True),
        ("r1 = *(u64 *)(r1 +8)", AttachType.TRACE_FENTRY, True),
        ("r1 = *(u64 *)(r1 +16)", AttachType.TRACE_FENTRY, False),
        ("r1 = *(u64 *)(r1 +16)", AttachType.TRACE_FEXIT, True),
        ("r1 = *(u32 *)(r1 +0)", AttachType.TRACE_FENTRY, False),
    ],
)
def test_traced_arguments(text: str, attach: AttachType, accepted: bool) -> None:
    verdict = judge(text, prog_type=ProgType.TRACING, attach_type=attach, attach_func=OPEN)
    assert verdict.accepted == accepted


HOOK = Func("bpf_lsm_file_open", FuncProto(Int("int", 4, True), (Param("file", Ptr(FILE)),)))
VOID_HOOK = Func("bpf_lsm_file_free_security", FuncProto(None, (Param("file", Ptr(FILE)),)))


@pytest.mark.parametrize(
    ("hook", "text", "message"),
    [
        (HOOK, "r1 = *(u64 *)(r1 +0)\nr1 = *(u32 *)(r1 +0)\nr0 = 0", ""),
        (HOOK, "r0 = -1", ""),
        (
            HOOK,
            "r0 = 1",
            "At program exit the register R0 has smin=1 smax=1 should have been in [-4095, 0]",
        ),
        (
            HOOK,
            "r0 = *(u64 *)(r1 +0)",
            "At program exit the register R0 is not a known value (trusted_ptr_)",
        ),
        (VOID_HOOK, "r0 = 1", ""),
        (VOID_HOOK, "r1 = 1", ""),
    ],
)
def test_security_hooks(hook: Func, text: str, message: str) -> None:
    source = Source(
        tuple(assemble(text + "\nexit")),
        ProgType.LSM,
        AttachType.LSM_MAC,
        attach_func=hook,
    )
    verdict = verify(source, KERNEL)
    assert (verdict.refusal.message if verdict.refusal else "") == message


@pytest.mark.parametrize(
    ("func", "gpl", "message"),
    [
        (OPEN, True, "attach_btf_id 7 points to wrong type name do_open"),
        (OPEN, False, "LSM programs must have a GPL compatible license"),
        (HOOK, False, "LSM programs must have a GPL compatible license"),
    ],
)
def test_what_is_no_security_hook(func: Func, gpl: bool, message: str) -> None:
    """The live kernel is built without them: the words are those of Linux's source."""
    code = tuple(assemble("r0 = 0\nexit"))
    source = Source(code, ProgType.LSM, AttachType.LSM_MAC, gpl=gpl, attach_func=func, attach_id=7)
    verdict = verify(source, KERNEL)
    assert verdict.refusal is not None
    assert (verdict.errno, verdict.refusal.message) == (errno.EINVAL, message)


class Live:
    """The types of the kernel that this machine runs."""

    def __init__(self) -> None:
        from minibcc.btf.decode import Btf

        self.types = Btf(Path("/sys/kernel/btf/vmlinux").read_bytes())

    def find(self, name: str, /) -> Type | None:
        return self.types.find(Kind.STRUCT, name)


SIZES = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}
USES = ("", "if r1 == 0 goto pc+1\n", "r1 += 8\n", "r1 *= 3\n", "r1 -= r0\n")


@pytest.mark.kernel
def test_every_kind_of_field_as_the_kernel() -> None:
    """Loads at random places of the largest structure, and through what they give."""
    if reason := oracle.available():
        pytest.skip(reason)
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("the kernel has no BTF")
    here = Environment(Live(), 0, True)
    task = here.types.find("task_struct") if here.types else None
    assert isinstance(task, Struct)
    rng = Random(1)
    undecided = 0
    for _ in range(400):
        size = rng.choice((1, 2, 4, 8, 8))
        offset = rng.randrange(-8, task.size + 16)
        if rng.random() < 0.7:
            offset &= -size
        if rng.random() < 0.4:
            offset, size = rng.choice(task.members).offset // 8, 8
        text = f"{CURRENT}r1 = *({SIZES[size]} *)(r0 {offset:+d})\n"
        if size == 8 and rng.random() < 0.6:
            text += rng.choice(USES)
            text += f"r2 = *({rng.choice(list(SIZES.values()))} *)(r1 +{rng.randrange(200)})"
        verdict = judge(text, here)
        if verdict.refusal is not None and verdict.refusal.code == "verify/not-decided":
            undecided += 1
            continue
        source = Source(tuple(assemble(text.rstrip() + EXIT)), ProgType.KPROBE)
        number, log = oracle.load(source, 1)
        message = verdict.refusal.message if verdict.refusal else ""
        assert (verdict.errno, message in log) == (number, True), f"{text}\n{message}\n{log}"
    assert undecided < 20


@pytest.mark.kernel
def test_arguments_of_tracepoints_as_the_kernel() -> None:
    """A load through an argument, where it may be null and where it may not."""
    if reason := oracle.available():
        pytest.skip(reason)
    if not Path("/sys/kernel/btf/vmlinux").exists():
        pytest.skip("the kernel has no BTF")
    types = Live()
    here = Environment(types, 0, True)
    rng = Random(2)
    points = [(id, name) for id, name in types.types.named(Kind.TYPEDEF) if name.startswith(RAW)]
    points = [point for point in points if nullable(point[1][len(RAW) :])] + rng.sample(points, 60)
    for id, name in points:
        point = types.types.type(id)
        assert isinstance(point, Typedef)
        assert isinstance(point.of, Ptr)
        proto = point.of.to
        assert isinstance(proto, FuncProto)
        for number in range(len(proto.params)):
            code = assemble(f"r2 = *(u64 *)(r1 +{8 * number})\nr3 = *(u8 *)(r2 +0)" + EXIT)
            source = Source(
                tuple(code),
                ProgType.TRACING,
                AttachType.TRACE_RAW_TP,
                attach_func=Func(name[len(RAW) :], proto),
            )
            verdict = verify(source, here)
            errno, log = live.verdict(
                code, ProgType.TRACING, AttachType.TRACE_RAW_TP, attach_btf_id=id
            )
            message = verdict.refusal.message if verdict.refusal else ""
            assert (verdict.errno, message in log) == (errno, True), f"{name} {number}\n{log}"


def test_lists_in_map_values_are_not_decided() -> None:
    """Plain stores into a list's head would be accepted by one who does not know of it."""
    head = Struct("bpf_list_head", 16, (Member("__opaque", Array(U64, 2), 0),))
    value = Struct("value", 24, (Member("head", head, 0), Member("count", U64, 128)))
    facts = MapFacts(MapType.ARRAY, 4, 8, 1, value_type=value)
    code = tuple(assemble("r1 = map[1]" + EXIT, {"1": 1}))
    verdict = verify(Source(code, ProgType.XDP, maps={1: facts}))
    assert verdict.refusal is not None
    assert verdict.refusal.code == "verify/not-decided"
    facts.value_type = Array(U64, 1)
    assert verify(Source(code, ProgType.XDP, maps={1: facts})).accepted


def test_a_descriptor_of_something_else() -> None:
    code = tuple(assemble("r1 = map[1]" + EXIT, {"1": 1}))
    assert verify(Source(code, ProgType.XDP)).errno == errno.EBADF
    assert verify(Source(code, ProgType.XDP, others=frozenset({1}))).errno == errno.EINVAL
