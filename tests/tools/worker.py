"""A process that runs ``minibcc check`` again and again: warm, and each time in a child of its own.

Reads a line of JSON per command line (a list of words) and answers a line: [status, standard
output, standard error]. A child may use `MEMORY` bytes and `SECONDS`; it reads
nothing, and what it would keep from one check to the next dies with it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
from importlib import import_module

MEMORY = 2 << 30
SECONDS = 60


def warm() -> None:
    """What every check loads and every child inherits."""
    for name in ("minibcc.cli.check", "minibcc.cli.rehearsal", "minibcc.cli.show"):
        import_module(name)
    from minibcc import boot
    from minibcc.compiler.compile import compile
    from minibcc.compiler.target import Target

    target = Target.from_system(boot.system(boot.Options()))
    compile("int f(void *ctx) { return 0; }", target, cache=False)


def check(words: list[str]) -> tuple[int, str, str]:
    """A check in a child."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            _in_child(words, out.fileno(), err.fileno())
        status = _status(child)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return os.waitstatus_to_exitcode(status), texts[0], texts[1]


def _status(child: int) -> int:
    """What becomes of a child; it is ended when its time is over."""
    end = time.monotonic() + SECONDS
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.005)


def _in_child(words: list[str], out: int, err: int) -> None:
    from minibcc.cli.main import main

    status = 3
    try:
        # Not the address space: the simulated kernel reserves much more than it uses.
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        status = main(["check", "--json", *words])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    warm()
    for line in sys.stdin:
        print(json.dumps(check(json.loads(line))), flush=True)
