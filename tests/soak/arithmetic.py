"""Random expressions through the compiler's back end, on the live kernel against a native
compiler: `count` programs from `seed`, at each cpu level in turn."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from minibcc.compiler.codegen import CPUS
from tests.compiler.back import build, live
from tests.compiler.back.random_c import case
from tests.compiler.back.test_arithmetic import COUNT, native


def run(count: int, seed: int) -> dict[str, Any]:
    """How many expressions, and those whose value differs or that the kernel refused."""
    cases = {number: case(number, COUNT) for number in range(seed << 20, (seed << 20) + count)}
    with tempfile.TemporaryDirectory() as folder:
        expected = native(cases, Path(folder))
    failures = []
    for number, one in cases.items():
        cpu = CPUS[number % len(CPUS)]
        try:
            _, values = live.result_of(build.build(one.unit, cpu), COUNT)
        except OSError as refused:
            failures.append(f"case {number} at {cpu}: {str(refused)[-200:]}")
            continue
        if values != expected[number]:
            failures.append(f"case {number} at {cpu} differs")
    return {"programs": count, "expressions": count * COUNT, "failures": failures}
