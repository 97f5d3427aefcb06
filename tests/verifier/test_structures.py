"""Pointers to the kernel's own structures: fields, traced arguments, and who may follow them."""

from __future__ import annotations

import pytest

from minibcc.abi.bpf import AttachType, ProgType
from minibcc.btf.types import Func, FuncProto, Int, Member, Param, Ptr, Struct, Type
from minibcc.isa.text import assemble
from minibcc.kernel.verifier.contract import Environment, Source, Verdict
from minibcc.kernel.verifier.verify import verify

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
        ("r1 = *(u64 *)(r0 +16)\nr2 = *(u64 *)(r1 +0)", "R1 invalid mem access 'scalar'"),
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
