"""How much stack a program needs, over all chains of its calls.

Mirrors ``check_max_stack_depth`` of kernel/bpf/verifier.c: with a private stack (tracing programs
on x86-64, unless they make tail calls) each function of 64 bytes or more has a stack of its own;
otherwise the frames of a chain share 512 bytes.
"""

from __future__ import annotations

from errno import E2BIG, EACCES
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MAX_CALL_FRAMES, STACK_SIZE, AttachType, ProgType
from minibcc.isa.opcodes import CALL, JMP
from minibcc.kernel.verifier.state import Refused

if TYPE_CHECKING:
    from minibcc.kernel.verifier.explore import Walk

_PRIVATE = {
    ProgType.KPROBE,
    ProgType.TRACEPOINT,
    ProgType.PERF_EVENT,
    ProgType.RAW_TRACEPOINT,
}
_PRIVATE_MINIMUM = 64
_TAIL_LIMIT = 256


def check(walk: Walk) -> int:
    """The bytes that the deepest chain of calls takes of one stack; raises `Refused`."""
    shape = walk.shape
    calls: list[set[int]] = []
    for number, start in enumerate(shape.starts[:-1]):
        called = set()
        for slot in range(start, shape.starts[number + 1]):
            insn = shape.insns[slot]
            if (insn.code == JMP | CALL and insn.src == 1) or (
                slot in shape.functions and slot + insn.imm + 1 not in walk.later
            ):
                called.add(shape.function_at(slot + insn.imm + 1))
        calls.append(called)
    alone = [0, *(shape.function_at(start) for start in sorted(walk.later))]
    return max(_deepest(walk, calls, number, 0, ()) for number in alone)


def _deepest(
    walk: Walk, calls: list[set[int]], number: int, above: int, chain: tuple[int, ...]
) -> int:
    if number and number in walk.shape.tail and above >= _TAIL_LIMIT:
        raise Refused(
            EACCES,
            "verify/stack-size",
            f"tail_calls are not allowed when call stack of previous frames is {above} bytes. "
            "Too large",
            slot=walk.shape.starts[number],
        )
    size = max(1, walk.depths[number]) + 15 & ~15 if walk.depths[number] else 0
    program = walk.program
    private = (
        size >= _PRIVATE_MINIMUM
        and not walk.shape.tail
        and (
            program.prog_type in _PRIVATE
            or (
                program.prog_type == ProgType.TRACING
                and program.attach_type != AttachType.TRACE_ITER
            )
        )
    )
    total = above if private else above + size
    if total > STACK_SIZE or size > STACK_SIZE:
        raise Refused(
            EACCES,
            "verify/stack-size",
            f"combined stack size of {len(chain) + 1} calls is {total}. Too large",
            slot=walk.shape.starts[number],
        )
    deepest = total
    for called in sorted(calls[number]):
        if len(chain) + 1 >= MAX_CALL_FRAMES:
            raise Refused(
                E2BIG,
                "verify/call-depth",
                f"the call stack of {MAX_CALL_FRAMES} frames is too deep !",
                slot=walk.shape.starts[number],
            )
        deepest = max(deepest, _deepest(walk, calls, called, total, (*chain, number)))
    return deepest
