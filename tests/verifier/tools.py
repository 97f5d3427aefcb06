"""The functions of Debian's BCC tools, as the verifier gets them: compiled by ``minibcc check``.

Each tool runs in a process of its own, in front of the simulated kernel, up to where it would
wait. What its programs need of BTF is left out, so that the live kernel can be given the same.
"""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tools.test_tools import PLACE, ROOT, SUFFIX, rows

if TYPE_CHECKING:
    from minibcc.kernel.verifier.contract import Source

VARIABLE = "MINIBCC_TEST_TOOLS"
"""Where the children of a campaign find what `keep` wrote."""


def commands(limit: int | None = None) -> list[tuple[str, list[str]]]:
    """Each tool that makes programs, with the arguments of its first such line."""
    found: dict[str, list[str]] = {}
    for tool, words, outcome in rows():
        if outcome[0].isdigit() and (PLACE / f"{tool}{SUFFIX}").exists():
            found.setdefault(tool, shlex.split(words))
    return list(found.items())[:limit]


def sources(limit: int | None = None) -> list[tuple[str, Source]]:
    """(tool and number, program), those that differ only."""
    found: dict[Any, tuple[str, Source]] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        chosen = commands(limit)
        for label, made in pool.map(lambda one: _of_tool(*one, Path(folder)), chosen):
            for number, source in enumerate(made):
                key = source.instructions, source.prog_type
                found.setdefault(key, (f"{label} {number}", source))
    return list(found.values())


def _of_tool(tool: str, words: list[str], folder: Path) -> tuple[str, list[Source]]:
    path = folder / tool
    command = [sys.executable, "-m", "tests.verifier.tools", str(path), str(PLACE / tool) + SUFFIX]
    subprocess.run(
        [*command, *words], capture_output=True, cwd=ROOT, timeout=300, stdin=subprocess.DEVNULL
    )
    return tool, pickle.loads(path.read_bytes()) if path.exists() else []


def keep(path: str) -> None:
    """Writes all sources to a file, and its name where `kept` looks for it."""
    Path(path).write_bytes(pickle.dumps(sources()))
    os.environ[VARIABLE] = path


def kept() -> list[tuple[str, Source]]:
    """What `keep` wrote, else made anew."""
    path = os.environ.get(VARIABLE)
    return pickle.loads(Path(path).read_bytes()) if path else sources()


def record(path: str, script: str, words: list[str]) -> None:
    """In a process of its own: rehearses a tool and writes what the verifier was asked."""
    from minibcc import boot
    from minibcc.abi.bpf import ProgType
    from minibcc.cli.rehearsal import Rehearsal
    from minibcc.kernel import programs
    from minibcc.records import replace

    seen: list[Source] = []
    verify = programs.verify

    def watched(source: Source, *rest: Any) -> Any:
        if source.prog_type is not ProgType.TRACING:
            maps = {
                fd: replace(facts, read=None, value_type=None) for fd, facts in source.maps.items()
            }
            seen.append(
                replace(source, maps=maps, functions=(), lines=(), has_btf=False, log_level=0)
            )
        return verify(source, *rest)

    programs.verify = watched  # type: ignore[assignment]  # looks on

    def end() -> None:
        Path(path).write_bytes(pickle.dumps(seen))
        os._exit(0)

    try:
        Rehearsal(script, words).rehearse(boot.system(boot.Options()), end, simulated=True)
    finally:
        end()


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2], sys.argv[3:])
