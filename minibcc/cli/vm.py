"""``minibcc vm``: raw bytecode on a bare virtual machine, without verifier, maps or kernel.

For conformance suites and fuzzers. One program is run as the plugin protocol of bpf_conformance
has it: memory as hex in the first argument (or none), the program as hex on standard input, R0 as
hex on standard output. With ``--batch`` standard input is JSON lines ``{"id", "prog", "mem"}`` and
standard output ``{"id", "r0"}`` (in hex too) or ``{"id", "error"}``.

R1 is the memory's address (0 without memory) and R2 its length. Helper 5 tells the time, as Linux's
bpf_ktime_get_ns does; there are no others.

The interpreter checks every access; native code does not, so it runs in a child process, whose
death is reported as the program's error.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    import argparse

ENGINES = ("interpreter", "jit")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("memory", nargs="?", default="", help="memory for the program, as hex")
    parser.add_argument("--engine", choices=ENGINES, default="interpreter")
    parser.add_argument("--program", help="the program as hex, instead of on standard input")
    parser.add_argument("--batch", action="store_true", help="run programs given as JSON lines")
    parser.add_argument(
        "--timeout", type=float, default=0, metavar="SECONDS", help="stop a program after that"
    )


def main(arguments: argparse.Namespace) -> int:
    """The exit status: 0 if the program (each line, with --batch) was run."""
    guard = _Guard(arguments.engine, arguments.timeout)
    if arguments.batch:
        for line in sys.stdin:
            if line.strip():
                print(json.dumps(_answer(guard, line)), flush=True)
        return 0
    program = sys.stdin.read() if arguments.program is None else arguments.program
    result = guard.run(program, arguments.memory)
    if isinstance(result, str):
        print(f"minibcc: error: {result}", file=sys.stderr)
        return 1
    print(f"{result:x}")
    return 0


def _answer(guard: _Guard, line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
        program, memory = str(request["prog"]), str(request.get("mem") or "")
    except (ValueError, TypeError, KeyError, AttributeError):
        return {"id": None, "error": "a line must be an object with 'id', 'prog' and 'mem'"}
    result = guard.run(program, memory)
    name = request.get("id")
    if isinstance(result, str):
        return {"id": name, "error": result}
    return {"id": name, "r0": f"{result:#x}"}


class _Guard:
    """Runs programs one by one, in a child process where they may do harm."""

    def __init__(self, engine: str, timeout: float) -> None:
        from minibcc.kernel.vm import engines
        from minibcc.kernel.vm.memory import Arena

        self.engine = engines.make(engine)
        self.arena = Arena()
        self.timeout = timeout
        self.forks = (engine == "jit" or timeout > 0) and hasattr(os, "fork")
        if engine == "jit":
            from minibcc.kernel.vm.native import session

            session()  # children inherit it

    def run(self, program: str, memory: str) -> int | str:
        """R0, or what went wrong."""
        if not self.forks:
            return self._run(program, memory)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            self._run_and_exit(writer, program, memory)
        os.close(writer)
        with open(reader, "rb") as answer:
            text = answer.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            if os.WTERMSIG(status) == signal.SIGALRM:
                return f"stopped after {self.timeout:g} s"
            return f"native code ended by {signal.Signals(os.WTERMSIG(status)).name}"
        result: int | str = json.loads(text)
        return result

    def _run_and_exit(self, writer: int, program: str, memory: str) -> NoReturn:
        """The child's life; nobody's handlers see how it dies."""
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
            signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, self.timeout)
        try:
            os.write(writer, json.dumps(self._run(program, memory)).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(3)

    def _run(self, program: str, memory: str) -> int | str:
        from minibcc.isa.instruction import decode
        from minibcc.kernel.vm.decode import starts
        from minibcc.kernel.vm.execution import Fault, Image, Run

        try:
            instructions = decode(bytes.fromhex(program))
            data = bytes.fromhex(memory)
        except ValueError as error:
            return str(error)
        if not instructions:
            return "an empty program"
        functions = starts(instructions)
        helpers = {5: lambda run, *_: time.monotonic_ns()}
        image = Image("raw", instructions, helpers, functions, (512,) * len(functions))
        address = self.arena.allocate(len(data)) if data else 0
        if data:
            self.arena.view(address, len(data))[:] = data
        try:
            return self.engine.run(image, Run(self.arena), (address, len(data)))
        except Fault as fault:
            return f"at instruction {fault.insn}: {fault}"
        finally:
            if data:
                self.arena.free(address)
