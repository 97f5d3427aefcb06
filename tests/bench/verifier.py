"""The verifier's speed: ours beside the live kernel's, in one run.

Milliseconds a program of Debian's BCC tools (``python -m tests.bench verifier [COUNT]`` takes the
first COUNT tools only), the least of three; instructions that are walked in a second; and a program
that comes to the limit of a million instructions, in a process of its own: its time, its peak
memory and how it ends. The kernel's figures are its own (``verification time`` in its log).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from minibcc.kernel.verifier.verify import verify
from tests.bench.tables import table, where
from tests.verifier import generate, oracle, tools

ROOT = Path(__file__).parent.parent.parent
ROUNDS = 3

LIMIT = """
import json, resource, time
from minibcc.kernel.verifier.verify import verify
from tests.bench.verifier import limit
start, used = time.perf_counter(), time.process_time()
verdict = verify(limit())
figures = time.perf_counter() - start, time.process_time() - used
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([*figures, memory, verdict.refusal.message]))
"""


def limit() -> generate.Source:
    """Counts further than the verifier walks."""
    I = generate.Instruction  # noqa: E741, N806  # as everywhere where programs are written
    code = (I(0xB7, 6), I(0xB7, 0), I(0x07, 6, imm=1), I(0xA5, 6, 0, -2, 1_000_000), I(0x95))
    return generate.Source(code, generate.ProgType.KPROBE)


def main(arguments: list[str]) -> None:
    found = tools.sources(int(arguments[0]) if arguments else None)
    reason = oracle.available()
    ours, theirs, walked, used = [], [], [], 0.0
    for _, source in found:
        best, least = [], []
        for _ in range(ROUNDS):
            start, cpu = time.perf_counter(), time.process_time()
            verdict = verify(source, generate.HERE)
            best.append(time.perf_counter() - start)
            least.append(time.process_time() - cpu)
        ours.append(1e3 * min(best))
        used += min(least)
        walked.append(verdict.facts.processed if verdict.facts is not None else 0)
        if not reason:
            theirs.append(1e3 * min(oracle.verification_time(source) for _ in range(ROUNDS)))
    print(f"{len(found)} programs of BCC's tools; {where()}")
    if reason:
        print(f"the live kernel is not measured: {reason}")
    rows = [_spread("ms a program", ours), _spread("instructions walked", walked)]
    if theirs:
        rows.append(_spread("Linux: ms a program", theirs))
    print(table(("", "median", "p90", "max"), rows))
    rate, of_cpu = 1e3 * sum(walked) / sum(ours), sum(walked) / used
    print(f"instructions walked in a second: {rate:,.0f}, of the processor: {of_cpu:,.0f}")
    done = subprocess.run(
        [sys.executable, "-c", LIMIT], capture_output=True, text=True, cwd=ROOT, check=True
    )
    took, used, memory, message = json.loads(done.stdout)
    spent = f"{took:.1f} s ({used:.1f} s of CPU), {memory:.0f} MiB"
    print(f"a million instructions: {spent}: {message}")
    if not reason:
        print(f"  Linux: {oracle.verification_time(limit()):.2f} s")


def _spread(name: str, values: list[float] | list[int]) -> tuple[str, ...]:
    ordered = sorted(values)
    ninth = ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]
    return (name, *(f"{n:.2f}" for n in (statistics.median(ordered), ninth, ordered[-1])))
