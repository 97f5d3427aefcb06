"""Exported objects, as the tools of LLVM and libbpf see them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from minibcc.abi.bpf import MapType
from minibcc.btf.types import Ptr
from minibcc.compiler import elf, tree
from minibcc.compiler.compile import compile
from minibcc.compiler.object import BpfObject
from minibcc.compiler.target import Target
from tests.compiler.back import build as c
from tests.compiler.back.test_forms import opaque
from tests.compiler.back.test_hello import TEXT, hello
from tests.live import kernel


def sample() -> BpfObject:
    """Two programs, one function behind both, a callback, two maps and a global."""
    counts = tree.Map("counts", MapType.HASH, c.UINT, c.U64, 16, c.SPAN)
    events = tree.Map("events", MapType.PERF_EVENT_ARRAY, c.INT, c.UINT, 0, c.SPAN)
    total = c.variable("total", c.INT, "global", initial=c.whole(c.INT, c.number(5)))
    n = c.variable("n", c.INT, "parameter")
    twice = c.function(
        "twice", c.INT, (n,), c.give(c.op("+", c.get(n), c.get(total))), inline="never"
    )
    i, ctx = c.variable("i", c.UINT, "parameter"), c.variable("ctx", Ptr(c.INT), "parameter")
    step = c.function("step", c.LONG, (i, ctx), c.give(c.number(0, c.LONG)))
    loop = c.call(
        c.helper("bpf_loop", 181, c.LONG),
        c.LONG,
        c.number(5, c.UINT),
        tree.FunctionPointer(c.SPAN, Ptr(step.type), step),
        c.number(0, Ptr(None)),
        c.number(0, c.U64),
    )
    key = c.variable("key", c.UINT)
    found = c.compare("!=", c.lookup(counts, c.use(key)), c.number(0, Ptr(c.U64)))
    one = c.program(c.do(loop), c.give(c.call(twice, c.INT, opaque(1))), name="one")
    two = c.program(
        c.declare(key, c.number(1, c.UINT)),
        tree.If(c.SPAN, found, c.give(c.call(twice, c.INT, opaque(2)))),
        c.give(c.number(0)),
        name="two",
    )
    return c.build(c.unit(one, two, twice, step, maps=(counts, events)), text=TEXT)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "sample.bpf.o"
    path.write_bytes(elf.write(sample()))
    return str(path)


def tool(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_our_reader_takes_it_apart() -> None:
    made = elf.read(elf.write(sample()))
    functions = [symbol.name for symbol in made.symbols if symbol.type == elf.STT_FUNC]
    assert sorted(functions) == ["one", "step", "twice", "two"]
    names = {section.name for section in made.sections}
    assert {".text", "kprobe", ".maps", ".data", "license", ".BTF", ".BTF.ext"} <= names


@pytest.mark.tool("llvm-objdump")
def test_objdump_prints_each_function_once(file: str) -> None:
    listing = tool("llvm-objdump", "-dr", file)
    for name in ("one", "two", "twice", "step"):
        assert listing.count(f"<{name}>:") == 1
    assert "R_BPF_64_64\tcounts" in listing
    assert "R_BPF_64_64\t.data" in listing
    assert "R_BPF_64_32\t.text" in listing


@pytest.mark.tool("bpftool")
def test_libbpf_opens_it(file: str) -> None:
    skeleton = tool("bpftool", "gen", "skeleton", file)
    assert "*counts;" in skeleton
    assert "*events;" in skeleton
    assert 'progs[1].name = "two"' in skeleton.replace("s->", "") or "*two;" in skeleton


@pytest.mark.tool("bpftool")
def test_bpftool_prints_its_types(file: str) -> None:
    types = tool("bpftool", "btf", "dump", "file", file)
    assert "VAR 'counts'" in types
    assert "FUNC 'twice'" in types
    assert "DATASEC '.maps'" in types


@pytest.mark.tool("bpftool")
def test_a_program_without_maps(tmp_path: Path) -> None:
    path = tmp_path / "hello.bpf.o"
    path.write_bytes(elf.write(c.build(hello(), text=TEXT)))
    assert "*hello_world;" in tool("bpftool", "gen", "skeleton", str(path))


LOADED = """
#include <linux/sched.h>
BPF_HASH(seen, u32, u64);
BPF_PERF_OUTPUT(events);
static u64 total = 3;
static __noinline int count(u32 key)
{
    u64 *found = seen.lookup(&key);
    return found ? *found : 0;
}
TRACEPOINT_PROBE(sched, sched_switch)
{
    u32 key = ((struct task_struct *)bpf_get_current_task())->tgid;
    seen.increment(key);
    total++;
    return count(key);
}
int kprobe__vfs_read(struct pt_regs *ctx)
{
    u64 value = 1;
    return events.perf_submit(ctx, &value, sizeof(value));
}
"""


@pytest.mark.kernel
@pytest.mark.tool("bpftool")
def test_bpftool_loads_it(tmp_path: Path) -> None:
    """Into the running kernel, which then knows the lines of C."""
    system = kernel()
    path, pins = tmp_path / "loaded.bpf.o", Path(f"/sys/fs/bpf/minibcc-test-{os.getpid()}")
    made = compile(LOADED, Target.from_system(system), file="loaded.c", cache=False)
    path.write_bytes(elf.write(made))
    try:
        tool("bpftool", "prog", "loadall", str(path), str(pins))
        names = {"tracepoint__sched__sched_switch", "kprobe__vfs_read"}
        assert {pin.name for pin in pins.iterdir()} == names
        pinned = str(pins / "tracepoint__sched__sched_switch")
        shown = tool("bpftool", "prog", "dump", "xlated", "pinned", pinned, "linum")
        assert "seen.increment(key); [file:loaded.c line_num:14" in shown
        assert "int count(u32 key)" in shown
    finally:
        shutil.rmtree(pins, ignore_errors=True)
