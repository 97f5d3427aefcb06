"""``minibcc vm``: raw bytecode on a bare virtual machine, without verifier, maps or kernel.

For conformance suites and fuzzers. One program is run as the plugin protocol of bpf_conformance
has it: memory as hex in the first argument (or none), the program as hex on standard input, R0 as
hex on standard output. With ``--batch`` standard input is JSON lines ``{"id", "prog", "mem"}`` and
standard output ``{"id", "r0"}`` (in hex too) or ``{"id", "error"}``.

R1 is the memory's address (0 without memory) and R2 its length. Helper 5 tells the time, as Linux's
bpf_ktime_get_ns does; there are no others.

The interpreter checks every access; native code does not, so it runs in a child process, whose
death is reported as the program's error. Raw bytecode may loop for ever, so a program has some
seconds (``--timeout``): an alarm ends the interpreter, a kill the child.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import minibcc
from minibcc.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

SECONDS = 10
"""How long a program may run if nothing else is said."""
ENGINES = ("interpreter", "jit")
_PR_SET_PDEATHSIG = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("memory", nargs="?", default="", help="memory for the program, as hex")
    parser.add_argument("--engine", choices=ENGINES, default="interpreter")
    parser.add_argument("--program", help="the program as hex, instead of on standard input")
    parser.add_argument("--batch", action="store_true", help="run programs given as JSON lines")
    parser.add_argument(
        "--timeout",
        type=float,
        default=SECONDS,
        metavar="SECONDS",
        help=f"stop a program after that (default {SECONDS}; 0: never)",
    )
    parser.add_argument("--unguarded", action="store_true", help="do without a child process")


def main(arguments: argparse.Namespace) -> int:
    """The exit status: 0 if the program (each line, with --batch) was run."""
    if not 0 <= arguments.timeout <= threading.TIMEOUT_MAX:
        raise UsageError("--timeout wants a number of seconds")
    machine: _Child | _Bare
    if arguments.unguarded:
        _end_with_parent()
        machine = _Bare(arguments.engine, 0)
    elif arguments.engine == "jit" or (arguments.timeout and not _has_alarm()):
        machine = _Child(arguments.engine, arguments.timeout)
    else:
        machine = _Bare(arguments.engine, arguments.timeout)
    given = sys.stdin or io.StringIO()  # there is none where the shell has closed it
    if isinstance(given, io.TextIOWrapper):
        given.reconfigure(errors="replace")  # what is no text is no hex either
    try:
        if arguments.batch:
            for line in given:
                if line.strip():
                    print(json.dumps(_answer(machine.run, line)), flush=True)
            return 0
        program = given.read() if arguments.program is None else arguments.program
        result = machine.run(program, arguments.memory)
    finally:
        machine.close()
    if isinstance(result, str):
        print(f"minibcc: error: {result}", file=sys.stderr)
        return 1
    print(f"{result:x}")
    return 0


def _answer(run: Callable[[str, str], int | str], line: str) -> dict[str, Any]:
    name = None
    try:
        request = json.loads(line)
        name = request.get("id")
        program, memory = str(request["prog"]), str(request.get("mem") or "")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {"id": name, "error": "a line must be an object with 'id', 'prog' and 'mem'"}
    result = run(program, memory)
    if isinstance(result, str):
        return {"id": name, "error": result}
    return {"id": name, "r0": f"{result:#x}"}


class _Child:
    """A process that runs programs for this one, and is replaced when one of them ends it."""

    def __init__(self, engine: str, timeout: float) -> None:
        self.engine = engine
        self.timeout = timeout
        self.process: subprocess.Popen[str] | None = None

    def run(self, program: str, memory: str) -> int | str:
        """R0, or what went wrong."""
        if self.process is not None and self.process.poll() is not None:
            self.close()  # it died of what an earlier program left behind
        if self.process is None:
            self.process = self._start()
            # What is to be loaded is loaded outside the time that the program has.
            ready = self._ask(self.process, "9500000000000000", "", 0)
            if isinstance(ready, str):
                return ready
        return self._ask(self.process, program, memory, self.timeout)

    def _ask(
        self, process: subprocess.Popen[str], program: str, memory: str, timeout: float
    ) -> int | str:
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout, stop) if timeout else None
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            process.stdin.write(json.dumps({"id": 0, "prog": program, "mem": memory}) + "\n")
            process.stdin.flush()
        if timer:
            timer.start()
        try:
            line = process.stdout.readline()
        finally:
            if timer:
                timer.cancel()
        if line.endswith("\n"):
            if late.is_set():
                self.close()
            try:
                answer = json.loads(line)
                return str(answer["error"]) if "error" in answer else int(answer["r0"], 16)
            except (ValueError, TypeError, KeyError):
                self.close()
                return "native code spoilt the process that it ran in"
        self.close()
        if late.is_set():
            return _stopped(timeout)
        return f"native code ended by {_death(process.returncode)}"

    def _start(self) -> subprocess.Popen[str]:
        home = str(Path(minibcc.__file__).parent.parent)
        path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "minibcc", "vm", "--batch", "--unguarded"]
        return subprocess.Popen(
            [*command, "--engine", self.engine],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def close(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()  # the program in it may run for ever
            process.communicate()


def _end_with_parent() -> None:
    """Native code that runs for ever ends with whoever started this process, also if that is
    killed. Mirrors prctl(2); other systems than Linux have no such thing."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _stopped(timeout: float) -> str:
    return f"stopped after {timeout:g} s"


def _death(status: int) -> str:
    """A signal by its name; an exit status as a number."""
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


class _Bare:
    """Programs run here, whatever they may do, for `timeout` seconds (0: for ever)."""

    def __init__(self, engine: str, timeout: float) -> None:
        from minibcc.kernel.vm import engines
        from minibcc.kernel.vm.memory import Arena

        self.engine = engines.make(engine)
        self.timeout = timeout
        self.arena = Arena()

    def close(self) -> None:
        self.arena.close()

    def run(self, program: str, memory: str) -> int | str:
        """R0, or what went wrong."""
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
            with _alarm(self.timeout):
                return self.engine.run(image, Run(self.arena), (address, len(data)))
        except Fault as fault:
            return f"at instruction {fault.insn}: {fault}"
        except _Late:
            return _stopped(self.timeout)
        finally:
            if data:
                self.arena.free(address)


# --- the clock --------------------------------------------------------------------------------


class _Late(Exception):
    """The time is over."""


def _has_alarm() -> bool:
    """Whether this thread can be interrupted."""
    return hasattr(signal, "setitimer") and (threading.current_thread() is threading.main_thread())


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises `_Late` in what runs longer; 0 for no bound."""
    if not seconds:
        yield
        return

    def over(number: int, frame: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
