"""LLVM assembly to BPF machine code, by LLVM's own optimiser and BPF back end.

LLVM is loaded here and nowhere else in the compiler, in a thread beside the front end, because that
takes as long as the front end does and mostly needs no Python; its target machine and pass builder
are made once a process and cpu. Its BPF back end *ends the process* for what it cannot do, so
lowering refuses all such forms that it knows, and a module that it calls doubtful is compiled by a
child process, whose end is an error here. The stack is checked later, on the emitted code, which
alone knows how objects came to share it: LLVM's own limit is raised out of the way first.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import STACK_SIZE
from minibcc.errors import CompileError

if TYPE_CHECKING:
    from threading import Thread

CPUS = ("v1", "v2", "v3", "v4")
_STACK = 32_000
"""What LLVM may use of the stack without ending the process (offsets are 16 bits)."""


@lru_cache(maxsize=1)
def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.set_option("minibcc", f"-bpf-stack-size={_STACK}")
    return llvm


@lru_cache(maxsize=len(CPUS))
def _tools(cpu: str) -> tuple[Any, Any]:
    """The target machine and the pass builder (level 2) for a cpu."""
    llvm = _llvm()
    machine = llvm.Target.from_triple("bpfel").create_target_machine(cpu=cpu, opt=2)
    return machine, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(2))


_loading: list[Thread] = []


def begin(cpu: str) -> None:
    """Starts to load LLVM for `cpu`, once a process. It neither ends nor forks before that is
    done: LLVM would be taken down, or copied, while it is being set up."""
    if _loading:
        return
    from threading import Thread

    _loading.append(Thread(target=_load, args=(cpu,), name="loading LLVM"))
    _loading[0].start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_loading[0].join)


def _load(cpu: str) -> None:
    with suppress(Exception):  # whoever needs it meets the same, and can tell
        _tools(cpu)


def optimize(text: str, cpu: str) -> Any:
    """The module after LLVM's O2 pipeline. Raises RuntimeError for malformed assembly."""
    for thread in _loading:
        thread.join()
    _, builder = _tools(cpu)
    module = _llvm().parse_assembly(text)
    module.verify()
    # A module's pass manager runs once: a second run aborts the process.
    builder.getModulePassManager().run(module, builder)
    return module


def emit(text: str, cpu: str, *, doubtful: bool = False) -> bytes:
    """The ELF object of a module. With `doubtful` LLVM runs in a process of its own, and a
    CompileError tells how that ended if it did."""
    if doubtful:
        return _emit_apart(text, cpu)
    module = optimize(text, cpu)
    code: bytes = _tools(cpu)[0].emit_object(module)
    return code


def assembly(text: str, cpu: str) -> str:
    """The module as BPF assembly, for reading."""
    module = optimize(text, cpu)
    code: str = _tools(cpu)[0].emit_assembly(module)
    return code


def _emit_apart(text: str, cpu: str) -> bytes:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "minibcc.compiler.codegen", cpu],
        input=text.encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout
    from minibcc.diagnostics import Sources, Span, error

    said = done.stderr.decode(errors="replace").strip().splitlines() or ["it says nothing"]
    found = re.match(r"error: (?:(.*?):(\d+):(\d+): )?(?:in function (\S+).*?: )?(.*)", said[0])
    if found is None:
        file, line, column, function, message = "", 0, 0, "", said[0]
    else:
        file, function, message = found[1], found[4], found[5]
        line, column = int(found[2] or 0), int(found[3] or 0)
    span = Span(file, line, column) if line else None
    code, what = "type/wide-arithmetic", f"LLVM cannot compile this for BPF: {message}"
    help = "write it with operations of 64 bits or less"
    if "stack limit" in message:
        code, what = "type/stack", f"{function} needs far more stack than BPF's {STACK_SIZE} bytes"
        help = "keep large structures in a per-CPU array map of one element"
    raise CompileError([error(code, what, span, help=(help,))], Sources())


def _main() -> None:
    sys.stdout.buffer.write(emit(sys.stdin.read(), sys.argv[1]))


if __name__ == "__main__":
    _main()
