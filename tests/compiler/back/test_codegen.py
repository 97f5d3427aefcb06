"""LLVM behind its fence: good modules compile, deadly ones become errors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from minibcc.compiler import elf
from minibcc.compiler.codegen import CPUS, assembly, emit
from minibcc.errors import CompileError

MODULE = """\
target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
target triple = "bpfel"
define i32 @f(i32 %0, i32 %1) section ".bpf.fn.f" {
  %3 = sdiv i32 %0, %1
  ret i32 %3
}
"""


@pytest.mark.parametrize("cpu", CPUS)
def test_each_cpu_emits_an_object(cpu: str) -> None:
    text = MODULE.replace("sdiv", "udiv")
    section = elf.read(emit(text, cpu)).section(".bpf.fn.f")
    assert section is not None
    assert section.size % 8 == 0
    assert "exit" in assembly(text, cpu)


def test_what_ends_llvm_is_an_error_where_it_is_doubtful() -> None:
    with pytest.raises(CompileError, match=r"LLVM cannot compile this.*type/wide-arithmetic"):
        emit(MODULE, "v2", doubtful=True)
    assert emit(MODULE, "v4", doubtful=True) == emit(MODULE, "v4")


def test_malformed_assembly_is_an_exception() -> None:
    with pytest.raises(RuntimeError):
        emit(MODULE.replace("%3 =", "%9 ="), "v2")
    with pytest.raises(RuntimeError):
        emit(MODULE.replace("ret i32 %3", "ret i64 %3"), "v2")


def test_many_modules_in_one_process() -> None:
    first = emit(MODULE, "v4")
    assert all(emit(MODULE, "v4") == first for _ in range(20))


def test_a_process_may_fork_and_end_while_llvm_is_loaded() -> None:
    script = """
import os
from minibcc.compiler.codegen import assembly, begin
begin("v2")
child = os.fork()
if not child:
    assert "exit" in assembly("define i64 @f() { ret i64 7 }", "v2")
    os._exit(7)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == 7
    script = "from minibcc.compiler.codegen import begin; begin('v2'); raise SystemExit(7)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 7
