"""Runs a campaign by name, in child processes; exit status 1 if anything failed."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import subprocess
import sys

import tests.soak

CHUNK = 500
"""Cases a child, where the campaign does not say."""


def campaigns() -> list[str]:
    return sorted(
        module.name
        for module in pkgutil.iter_modules(tests.soak.__path__)
        if not module.name.startswith("_")
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("name", choices=campaigns())
    parser.add_argument("--count", type=int, default=10_000, help="cases in all")
    parser.add_argument("--seed", type=int, default=0, help="the first child's seed")
    parser.add_argument("--jobs", type=int, default=2, help="children at a time")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        module = importlib.import_module(f"tests.soak.{options.name}")
        print(json.dumps(module.run(options.count, options.seed)))
        return 0
    return parent(options)


def parent(options: argparse.Namespace) -> int:
    """Adds up what the children report; a child that died is a failure with its seed."""
    module = importlib.import_module(f"tests.soak.{options.name}")
    chunk = getattr(module, "CHUNK", CHUNK)
    if hasattr(module, "prepare"):
        module.prepare()
    waiting = [
        (min(chunk, options.count - first), options.seed + first // chunk)
        for first in range(0, options.count, chunk)
    ]
    running: list[tuple[int, int, subprocess.Popen[str]]] = []
    totals: dict[str, int] = {}
    failures: list[str] = []
    done = 0
    while waiting or running:
        while waiting and len(running) < options.jobs:
            count, seed = waiting.pop(0)
            command = [sys.executable, "-m", "tests.soak", options.name, "--child"]
            command += ["--count", str(count), "--seed", str(seed)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            running.append((count, seed, child))
        count, seed, child = running.pop(0)
        output, _ = child.communicate()
        if child.returncode:
            failures.append(f"seed {seed}: the child ended with status {child.returncode}")
            continue
        report = json.loads(output.splitlines()[-1])
        for what in report.pop("failures", []):
            failures.append(f"seed {seed}: {what}")
            print(f"  FAILED {failures[-1]}", file=sys.stderr)
        for key, value in report.items():
            totals[key] = totals.get(key, 0) + value
        done += count
        state = f"seed {seed}: {done:,} of {options.count:,} cases, {len(failures)} failures so far"
        if hasattr(module, "summary"):
            state += f"; {module.summary(totals)}"
        print(state, file=sys.stderr, flush=True)
    print(f"{options.name}: {options.count} cases from seed {options.seed}", flush=True)
    if hasattr(module, "conclude"):
        failures += module.conclude(totals)
    else:
        for key, value in sorted(totals.items()):
            print(f"  {key}: {value}")
    if hasattr(module, "expected"):
        missing = [f"never ran: {name}" for name in sorted(module.expected() - totals.keys())]
        print("\n".join(f"  {line}" for line in missing or ["everything that is expected ran"]))
        if options.count >= module.FULL:
            failures += missing
    for failure in failures:
        print(f"  FAILED {failure}")
    return 1 if failures else 0


sys.exit(main())
