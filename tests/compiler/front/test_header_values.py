"""The constants of shipped headers are the kernel's: the real BCC, with the kernel's own headers,
finds each of them equal, where those headers have it."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from minibcc import boot
from minibcc.compiler.compile import compile
from minibcc.compiler.preprocess.headers import folder, shipped
from minibcc.compiler.target import Target

OURS = {"HZ", "PAGE_OFFSET"}
"""Of the kernel's configuration, and what is a variable there."""
HEADERS = sorted(str(path.relative_to(folder())) for path in Path(folder()).glob("[ln]*/*.h"))
SCRIPT = """
import sys
from bcc import BPF
BPF(text=sys.stdin.read())
"""


def constants() -> list[str]:
    """Macros without parameters whose bodies are numbers, operators, and other such macros."""
    macros = {name: macro for header in HEADERS for name, macro in shipped_macros(header).items()}
    found: set[str] = set()
    while more := {
        name
        for name, macro in macros.items()
        if name not in found and macro.parameters is None and macro.body
        if all(token.value in found or not token.value[0].isalpha() for token in macro.body)
        and not any(token.value[0] in "\"'{_" for token in macro.body)
    }:
        found |= more
    return sorted(found - OURS)


def shipped_macros(name: str):
    header = shipped(name)
    assert header is not None
    return header.macros


@pytest.mark.bcc
def test_values():
    names = constants()
    assert len(names) > 300
    includes = "".join(f"#include <{name}>\n" for name in [*HEADERS, "linux/unistd.h"])
    array = "u64 values[] = {" + ", ".join(f"(u64)({name})" for name in names) + "};\n"
    text = includes + array + "int f(void *ctx) { return values[0]; }"
    obj = compile(text, Target.from_system(boot.files()), cflags=["-w"], cache=False)
    (data,) = (spec.initial for spec in obj.maps if spec.name == ".data")
    values = struct.unpack(f"<{len(names)}Q", data[: 8 * len(names)])
    checks = "".join(
        f'#ifdef {name}\n_Static_assert((u64)({name}) == {value}ULL, "{name}");\n#endif\n'
        for name, value in zip(names, values, strict=True)
    )
    there = "".join(f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n" for name in HEADERS)
    done = subprocess.run(
        ["/usr/bin/python3", "-c", SCRIPT], input=there + checks, capture_output=True, text=True
    )
    wrong = [line for line in done.stderr.splitlines() if "error:" in line]
    assert not wrong and not done.returncode, done.stderr[-3000:]
