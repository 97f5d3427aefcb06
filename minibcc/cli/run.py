"""Run a script written for BCC in a simulated kernel, without root.

The script says ``from bcc import BPF`` and gets `minibcc.bcc`; time is virtual, so that sleeping
costs nothing and a run with one seed prints the same each time. While it runs, ``minibcc prog
list`` in another terminal shows what it has loaded.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from minibcc import boot
from minibcc.records import replace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from minibcc.system.interface import System
    from minibcc.system.remote import Claim, Server


DEFAULTS: Final = {
    "scenario": "shell", "seed": 0, "duration": None, "realtime": False, "strace": None,
    "engine": "auto", "kernel": "sim",
}  # fmt: skip
"""Where no option is given, the command line is not worth loading argparse."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", metavar="NAME", help="what happens on the computer")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random (default 0)")
    parser.add_argument(
        "--duration", type=float, metavar="SECONDS", help="end the scenario after that time"
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="pace the run by the clock on the wall, until Ctrl-C or --duration",
    )
    parser.add_argument(
        "--strace",
        choices=("all", "bpf"),
        metavar="bpf",
        help="print system calls to standard error as strace does; =bpf: only bpf(2)",
    )
    parser.add_argument("--engine", choices=boot.ENGINES, help="how programs run")
    parser.add_argument("--kernel", choices=boot.KERNELS, help="which kernel")
    parser.add_argument("script", metavar="SCRIPT", help="a Python script")
    parser.add_argument("args", nargs="...", metavar="ARGS", help="its arguments")
    parser.set_defaults(**DEFAULTS)


def prepare(words: Sequence[str]) -> list[str]:
    """``--strace SCRIPT`` means all calls: argparse would take the script for the option's value,
    and would read the script's own options."""
    prepared: list[str] = []
    rest = list(words)
    takes_value = {"--scenario", "--seed", "--duration", "--engine", "--kernel"}
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            return [*prepared, "--", word, *rest]
        prepared.append("--strace=all" if word == "--strace" else word)
        if word in takes_value and rest:
            prepared.append(rest.pop(0))
    return prepared


def main(arguments: argparse.Namespace) -> int:
    from minibcc.cli.script import Script

    script = Script(arguments.script, arguments.args)
    options = boot.Options(
        kernel=arguments.kernel,
        scenario=arguments.scenario,
        seed=arguments.seed,
        duration=arguments.duration,
        realtime=arguments.realtime,
        engine=arguments.engine,
    )
    claim = _claim()
    if claim is not None:
        options = replace(options, first_id=claim.first_id)
    system = boot.system(options)
    server = None if claim is None else _serve(claim, system, arguments.script)
    try:
        boot.use(_recorded(system, arguments.strace) if arguments.strace else system)
        return script.run(virtual=arguments.kernel == "sim")
    finally:
        if server is not None:
            server.stop()


def _print_call(text: str) -> None:
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def _recorded(system: System, what: str) -> System:
    from minibcc.system.recording import Recording

    return Recording(system, _print_call, only_bpf=what == "bpf")


def _claim() -> Claim | None:
    """A place where other terminals can look at this script's kernel. That is a convenience: where
    no socket can be made, the script runs all the same."""
    from minibcc.system.remote import Claim

    try:
        return Claim()
    except OSError:
        return None


def _serve(claim: Claim, system: System, script: str) -> Server:
    from minibcc.cli.clock import START
    from minibcc.system.remote import Server

    facts = {"pid": os.getpid(), "script": script, "boot_time": START - system.now() / 1e9}
    server = Server(claim, system, facts)
    server.start()
    return server
