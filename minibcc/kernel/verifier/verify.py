"""The verifier's front door: may this program run?

The passes, in the kernel's order: form and control flow, liveness of registers, the walk over all
paths from the first instruction (and from each global function's), and what the whole of it needs
of stack. The first refusal ends it. Mirrors ``bpf_check`` of kernel/bpf/verifier.c (Linux 6.18).
"""

from __future__ import annotations

from minibcc.abi.requests import Refusal
from minibcc.kernel.verifier import context, depth, prototypes
from minibcc.kernel.verifier.contract import Environment, Facts, Source, Verdict, Witness
from minibcc.kernel.verifier.explore import Walk
from minibcc.kernel.verifier.form import Shape, prepare
from minibcc.kernel.verifier.log import Log
from minibcc.kernel.verifier.state import Frame, Refused, kind_name


def verify(
    program: Source, environment: Environment | None = None, witness: Witness | None = None
) -> Verdict:
    """Walks every path of `program`; raises nothing for whatever bytes it is given."""
    log = Log(program.log_level)
    walk: Walk | None = None
    try:
        shape = prepare(program, log)
        walk = Walk(program, environment or Environment(), shape, log, witness)
        if log.keep:
            walk.show_live()
        frame = Frame(0)
        context.entry(walk, frame)
        prototypes.main(walk)
        walk.start(frame, 0)
        walk.run()
        if not log.keep:
            log.reset(0)
        _global_functions(walk)
        deepest = depth.check(walk)
    except Refused as refused:
        return _refused(refused, log, walk)
    _statistics(log, walk)
    return Verdict(True, log.text(), 0, _facts(walk, shape, deepest))


def _global_functions(walk: Walk) -> None:
    """Each global function that was called, on its own."""
    done: set[int] = set()
    while waiting := sorted(walk.called - done):
        for start in waiting:
            walk.start(prototypes.entry(walk, start), start)
            walk.run()
            if not walk.log.keep:
                walk.log.reset(0)
            number, name = walk.shape.function_at(start), walk.functions[start].name
            walk.log.write(
                f"Func#{number} ('{name}') is safe for any args that match its prototype\n"
            )
            done.add(start)


def _facts(walk: Walk, shape: Shape, deepest: int) -> Facts:
    dead = frozenset(
        slot
        for slot, insn in enumerate(shape.insns)
        if not walk.seen[slot] and not (insn.code == 0 and slot and walk.seen[slot - 1])
    )
    return Facts(
        starts=tuple(shape.starts[:-1]),
        stacks=tuple((depth_ + 7) & ~7 for depth_ in walk.depths),
        stack=deepest,
        dead=dead,
        accesses={slot: kind_name(kind) for slot, kind in walk.accesses.items()},
        maps=shape.maps,
        processed=walk.processed,
        states=walk.checkpoints,
    )


def _refused(refused: Refused, log: Log, walk: Walk | None) -> Verdict:
    slot = refused.slot
    if slot is None:
        slot = walk.slot if walk is not None else -1
    text = refused.message + (f"\n{refused.lead}" if refused.lead else "")
    if text:
        log.write(text + "\n")
    _statistics(log, walk)
    refusal = Refusal(
        refused.code,
        slot,
        refused.message,
    )
    return Verdict(False, log.text(), refused.errno, None, refusal)


def _statistics(log: Log, walk: Walk | None) -> None:
    processed = walk.processed if walk is not None else 0
    states = walk.checkpoints if walk is not None else 0
    most = max(map(len, walk.explored.values()), default=0) if walk is not None else 0
    log.write(
        f"processed {processed} insns (limit 1000000) max_states_per_insn {max(most - 1, 0)} "
        f"total_states {states} peak_states {states} mark_read 0\n"
    )
