"""The native map operations: kernel/vm/natives.c, compiled by minibcc's own compiler.

What is committed is LLVM IR as the compiler's back end writes it, without what says that it is for
BPF (target, sections) and without line information: any 64-bit little-endian computer can take it,
and it does not depend on LLVM's version, whose passes run when the JIT loads it.
"""

from __future__ import annotations

import re
from pathlib import Path

import minibcc.kernel.vm
from minibcc.boot import Options, system
from minibcc.compiler.analyze import analyze
from minibcc.compiler.lower.module import lower
from minibcc.compiler.parse import parse
from minibcc.compiler.preprocess import preprocess
from minibcc.compiler.reporter import Reporter
from minibcc.compiler.target import Target

FOLDER = Path(minibcc.kernel.vm.__file__).parent
SOURCE = FOLDER / "natives.c"
RESULT = FOLDER / "natives.ll"

_FOR_BPF = re.compile(r'^target .*\n|^!.*\n|,? !dbg !\d+|, !llvm\.loop !\d+| section "[^"]*"', re.M)


def text() -> str:
    """What natives.ll should hold. The dialect of BCC has no say: this is plain C."""
    target = Target.from_system(system(Options(engine="interpreter")), cpu="v4")
    reporter = Reporter()
    tokens = preprocess(SOURCE.read_text(), SOURCE.name, target, (), reporter)
    syntax = parse(tokens, target, reporter)
    reporter.check()
    unit = analyze(syntax, target, reporter)
    reporter.check()
    module = _FOR_BPF.sub("", lower(unit, "v4", reporter.sources).text)
    return f"; Made of {SOURCE.name} by python -m tests.build natives.\n{module.strip()}\n"


def build() -> None:
    RESULT.write_text(text())
    print(f"{RESULT}: {RESULT.stat().st_size} bytes")
