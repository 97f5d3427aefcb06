"""Integer C on the live kernel gives what a native compiler's gives, at each cpu level."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.compiler.back import build, live
from tests.compiler.back.random_c import BITS_TEXT, Case, case

COUNT = 12
CASES = 10


def native(cases: dict[int, Case], folder: Path) -> dict[int, list[int]]:
    """What a native compiler makes of the cases."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    assert compiler
    calls = []
    for seed, one in cases.items():
        values = ", ".join(f"{value}ull" for value in one.inputs)
        calls.append(f"{{ unsigned long long in[] = {{ {values} }}; f{seed}(in, out); show(); }}")
    text = "\n".join(
        [
            "#include <stdio.h>",
            BITS_TEXT,
            *(one.text for one in cases.values()),
            f"unsigned long long out[{COUNT}];",
            f'void show(void) {{ for (int i = 0; i < {COUNT}; i++) printf("%llu ", out[i]); '
            'printf("\\n"); }',
            "int main(void) {",
            *calls,
            "}",
        ]
    )
    source, program = folder / "cases.c", folder / "cases"
    source.write_text(text)
    subprocess.run([compiler, "-w", "-O1", "-o", program, source], check=True)
    done = subprocess.run([program], check=True, capture_output=True, text=True)
    return {
        seed: [int(word) for word in line.split()]
        for seed, line in zip(cases, done.stdout.splitlines(), strict=True)
    }


@pytest.mark.kernel
@pytest.mark.native
@pytest.mark.parametrize("cpu", ["v1", "v2", "v3", "v4"])
def test_random_expressions(cpu: str, tmp_path: Path) -> None:
    start = 1000 * int(cpu[1])
    cases = {seed: case(seed, COUNT) for seed in range(start, start + CASES)}
    expected = native(cases, tmp_path)
    for seed, one in cases.items():
        answer, values = live.result_of(build.build(one.unit, cpu), COUNT)
        assert answer == 0, seed
        assert values == expected[seed], f"seed {seed}\n{one.text}"
