"""Runs a benchmark by name; without one, lists them."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import tests.bench

PARTS = ("costs", "programs", "tables")
"""Modules that are part of a benchmark and none themselves."""


def main() -> int:
    names = sorted(
        module.name
        for module in pkgutil.iter_modules(tests.bench.__path__)
        if not module.name.startswith("_") and module.name not in PARTS
    )
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print(f"usage: python -m tests.bench NAME   (NAME: {', '.join(names)})", file=sys.stderr)
        return 2
    importlib.import_module(f"tests.bench.{sys.argv[1]}").main(sys.argv[2:])
    return 0


sys.exit(main())
