"""`minibcc vm`: the plugin protocol of bpf_conformance, batches, and harm kept in a child."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from minibcc.cli import vm
from minibcc.errors import UsageError
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble

ADD = encode(assemble("r0 = *(u8 *)(r1 +0)\nr0 += r2\nexit")).hex()
WILD = encode(assemble("r1 = 0x10\nr0 = *(u8 *)(r1 +0)\nexit")).hex()
ENDLESS = encode(assemble("again:\ngoto again")).hex()
SHARED = Path(__file__).parents[3] / "shared" / "data" / "conformance.json"
CONFORMANCE = os.environ.get("BPF_CONFORMANCE") or (str(SHARED) if SHARED.exists() else "")
"""A file of bpf_conformance's tests, where there is one: a JSON list of objects with name, prog,
mem and result."""


@pytest.fixture(params=vm.ENGINES)
def run(request, monkeypatch, capsys):
    """A command line and standard input to (status, output, errors)."""

    def run(*arguments, stdin=""):
        parser = argparse.ArgumentParser()
        vm.add_arguments(parser)
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = vm.main(parser.parse_args([*arguments, "--engine", request.param]))
        output = capsys.readouterr()
        return status, output.out, output.err

    run.engine = request.param
    return run


def test_the_plugin_protocol(run):
    assert run("2a00ff", stdin=ADD) == (0, "2d\n", "")
    spaced = " ".join(ADD[at : at + 2] for at in range(0, len(ADD), 2))
    assert run("2a 00 ff", "--program", spaced) == (0, "2d\n", "")


def test_without_memory_r1_is_null(run):
    program = encode(assemble("r0 = r1\nr0 += r2\nexit")).hex()
    assert run(stdin=program) == (0, "0\n", "")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("95", "1 bytes are no whole number of 8-byte instructions"),
        ("zz", "non-hexadecimal"),
        ("", "an empty program"),
        ("ff00000000000000", "at instruction 0: code 0xff with these fields is no instruction"),
    ],
)
def test_what_is_wrong_with_a_program_is_said(run, program, message):
    status, output, errors = run(stdin=program)
    assert (status, output) == (1, "")
    assert message in errors


def test_a_wild_access_is_an_error_of_the_program_only(run):
    status, output, errors = run(stdin=WILD)
    assert (status, output) == (1, "")
    if run.engine == "jit":
        assert "native code ended by SIGSEGV" in errors
    else:
        assert "at instruction 2: read of 1 byte at 0x10" in errors


def test_an_endless_program_is_stopped(run):
    status, _, errors = run("--timeout", "0.05", stdin=ENDLESS)
    assert status == 1
    assert "stopped after 0.05 s" in errors


def test_an_endless_program_is_stopped_though_nobody_asked(run, monkeypatch):
    monkeypatch.setattr(vm, "SECONDS", 0.2)
    status, _, errors = run(stdin=ENDLESS)
    assert status == 1
    assert "stopped after 0.2 s" in errors


def test_batch(run):
    lines = [
        {"id": 1, "prog": ADD, "mem": "01"},
        {"id": "two", "prog": WILD},
        {"id": 3, "prog": ADD, "mem": "ff"},
    ]
    status, output, _ = run("--batch", stdin="".join(json.dumps(line) + "\n" for line in lines))
    first, second, third = map(json.loads, output.splitlines())
    assert status == 0
    assert first == {"id": 1, "r0": "0x2"}
    assert second["id"] == "two"
    assert "error" in second
    assert third == {"id": 3, "r0": "0x100"}


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "1e300"])
def test_what_is_no_time(run, seconds):
    with pytest.raises(UsageError):
        run(f"--timeout={seconds}", stdin=ADD)


def test_a_child_that_died_in_between_is_replaced():
    child = vm._Child("jit", 10)
    try:
        assert child.run(ADD, "01") == 2
        child.process.kill()
        child.process.wait()
        assert child.run(ADD, "02") == 3
    finally:
        child.close()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("death", [signal.SIGINT, signal.SIGKILL])
def test_no_endless_program_outlives_the_command(death):
    command = [sys.executable, "-m", "minibcc", "vm", "--engine=jit", "--timeout=0", "--batch"]
    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as process:
        for program in (ADD, ENDLESS):
            process.stdin.write(json.dumps({"id": 1, "prog": program, "mem": "01"}) + "\n")
            process.stdin.flush()
        process.stdout.readline()
        process.send_signal(death)
        assert process.stderr.read() == "", "which ends when the child has ended, too"
        assert process.wait() == (130 if death == signal.SIGINT else -death)


def test_an_answer_that_is_none_is_the_programs_doing(monkeypatch):
    answers = "print(input() and '{\"r0\": \"0\"}'); print(input() and '[')"
    babbling = [sys.executable, "-uc", answers]
    start = partial(Popen, babbling, stdin=PIPE, stdout=PIPE, text=True)
    monkeypatch.setattr(vm._Child, "_start", lambda self: start())
    child = vm._Child("jit", 10)
    assert child.run(ADD, "") == "native code spoilt the process that it ran in"
    assert child.process is None


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"id": 5}', "[" * 100_000])
def test_a_batch_goes_on_after_a_line_that_is_none(run, line):
    good = json.dumps({"id": 1, "prog": ADD, "mem": "01"})
    status, output, _ = run("--batch", stdin=f"{line}\n{good}\n")
    bad, answer = map(json.loads, output.splitlines())
    assert status == 0
    assert "must be an object" in bad["error"]
    assert bad["id"] == (5 if "5" in line else None)
    assert answer["r0"] == "0x2"


if CONFORMANCE:

    def test_conformance(run):
        tests = json.loads(Path(CONFORMANCE).read_text())
        lines = [
            json.dumps({"id": number, "prog": test["prog"], "mem": test["mem"]})
            for number, test in enumerate(tests)
        ]
        _, output, _ = run("--batch", stdin="\n".join(lines))
        answers = {answer["id"]: answer for answer in map(json.loads, output.splitlines())}
        wrong = {
            test["name"]: answers[number]
            for number, test in enumerate(tests)
            if answers[number].get("r0") != test["result"]
        }
        assert len(answers) == len(tests)
        assert not wrong
