"""The texts that Debian's BCC tools give to `BPF`, harvested: what `compile` measures.

Each tool runs under `minibcc.cli.rehearsal` with its first command line of tests/tools/tools.txt
that makes a BPF object, in front of the running kernel, whose answers decide what the text says:
so the real BCC gets what it would have got here. Where the running kernel stops a tool early (it
lacks ext4, say) the simulated one answers instead. Two tools ask more of the machine than any
kernel here has, and get it from `ANSWERS`.

``python -m tests.bench.texts KERNEL`` answers lines of JSON (a tool, its words) with its texts.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import IO, Any, NamedTuple, NoReturn

from minibcc import boot
from minibcc.cli.rehearsal import Rehearsal
from minibcc.cli.terminal import Terminal
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.system.interface import System
from tests.tools.test_tools import PLACE, ROOT, SUFFIX, rows
from tests.tools.worker import SECONDS

ANSWERS = {"debugfs": b"/sys/kernel/debug\n", "vendor_id": b"vendor_id : GenuineIntel\n"}
"""What commands with these words print: criticalstat looks for debugfs, kvmexit for the processor.
They start a process for it, which no rehearsed script may."""
THERE = ("/dev/kvm", "/tracing/events/preemptirq/")
"""And the files that these two want to see."""


class Harvested(NamedTuple):
    """A text; `types` are the program types of its functions by name, as far as the tool or the
    function says them."""

    label: str
    text: str
    cflags: list[str]
    types: dict[str, int]


def tools() -> dict[str, list[str]]:
    """The words of each tool's first command line that makes a BPF object; of its first where
    none does."""
    found: dict[str, tuple[bool, list[str]]] = {}
    for tool, words, outcome in rows():
        makes = outcome[0].isdigit()
        if tool not in found or makes > found[tool][0]:
            found[tool] = makes, shlex.split(words)
    return {tool: words for tool, (_, words) in found.items()}


def harvest(limit: int | None, kernels: Sequence[str]) -> tuple[list[Harvested], list[str]]:
    """The texts of the first `limit` tools (None: all), and the tools that give none; the first of
    `kernels` in front of which a tool gives any answers it."""
    chosen = dict(list(tools().items())[:limit])
    found: dict[str, list[Harvested]] = {tool: [] for tool in chosen}
    for kernel in kernels:
        found |= texts_of({tool: chosen[tool] for tool in chosen if not found[tool]}, kernel)
    return [text for texts in found.values() for text in texts], [t for t in found if not found[t]]


def texts_of(commands: Mapping[str, list[str]], kernel: str) -> dict[str, list[Harvested]]:
    """The texts by tool in front of one kernel, from as many processes as there are processors."""
    items = list(commands.items())
    share = os.cpu_count() or 1
    found: dict[str, list[Harvested]] = {}
    with ThreadPoolExecutor(share) as pool:
        for texts in pool.map(lambda part: _ask(items[part::share], kernel), range(share)):
            found |= texts
    return {tool: found[tool] for tool in commands}


def _ask(items: list[tuple[str, list[str]]], kernel: str) -> dict[str, list[Harvested]]:
    if not items:
        return {}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.texts", kernel],
        input="".join(json.dumps(item) + "\n" for item in items),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, check=True,
    )  # fmt: skip
    lines = zip(items, done.stdout.splitlines(), strict=True)
    return {tool: [Harvested(*row) for row in json.loads(line)] for (tool, _), line in lines}


def _stand_in() -> None:
    """Puts `ANSWERS` and `THERE` where the tools ask."""

    def answer(command: Any) -> bytes | None:
        return next((said for words, said in ANSWERS.items() if words in str(command)), None)

    def there(asked: Callable[..., bool]) -> Callable[..., bool]:
        return lambda path, *how: any(w in str(path) for w in THERE) or asked(path, *how)

    start = subprocess.Popen

    def popen(command: Any, *arguments: Any, **options: Any) -> Any:
        said = answer(command)
        if said is None:
            return start(command, *arguments, **options)
        return SimpleNamespace(stdout=io.BytesIO(said))

    subprocess.Popen = popen  # type: ignore[assignment,misc]
    subprocess.check_output = lambda command, **options: answer(command) or b""
    os.path.exists, os.access = there(os.path.exists), there(os.access)


def _rehearse(system: System, tool: str, words: list[str], out: IO[str]) -> NoReturn:
    """Writes the tool's texts to `out`, and ends the process."""
    script = Rehearsal(str(PLACE / f"{tool}{SUFFIX}"), words)
    terminal = Terminal()

    def tell() -> NoReturn:
        found = []
        for number, text in enumerate(script.texts):
            types = {v.name: int(v.type) for v in text.verdicts if v.type is not None}
            label = f"{tool} {number + 1}" if len(script.texts) > 1 else tool
            found.append(Harvested(label, text.source, list(text.cflags), types))
        json.dump(found, out)
        out.flush()
        os._exit(0)

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    _stand_in()
    terminal.open()
    sys.stdin, sys.stdout = open(os.devnull), open(os.devnull, "w")  # noqa: SIM115  # for good
    try:
        script.rehearse(system, tell, simulated=system.name != "linux")
    finally:
        tell()


def _answer(kernel: str) -> None:
    """A line of texts for each line with a tool and its words, made by a child: warm, and each
    without a trace of the one before."""
    system = boot.system(boot.Options(kernel=kernel))
    compile("int f(void *ctx) { return 0; }", Target.from_system(system), cache=False)
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as out:
            child = os.fork()
            if not child:
                _rehearse(system, *json.loads(line), out)
            os.waitpid(child, 0)
            out.seek(0)
            print(out.read() or "[]", flush=True)


if __name__ == "__main__":
    _answer(sys.argv[1])
