"""Each row of BCC's interface to C compiles, loads, and means what it should: in the simulated
kernel and, where it loads such programs, in the running one."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import ProgTestRun
from minibcc.bcc.kerneltypes import function_id
from minibcc.bcc.loader import Module
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.errors import LoadError
from tests.compiler.dialect.rows import PACKETS, Row, rows
from tests.live import DEFAULT_ATTACH, kernel

SECTIONS = {"A": 12, "B": 12, "C": 1, "D": 10, "E": 19, "F": 17, "G": 2, "Q": 16}
"""Rows by section of the interface's table: what a C text may say."""
PACKET_TYPES = (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.XDP)
ROWS = rows()
IDS = [f"{row.id} {row.title}" for row in ROWS]


def test_every_row_is_here():
    wanted = {f"{section}{n + 1}" for section, count in SECTIONS.items() for n in range(count)}
    assert {row.id for row in ROWS} == wanted


def test_the_table_has_no_more_rows():
    table = Path(__file__).parents[4] / "shared" / "facts" / "bcc-api.md"
    if not table.exists():
        pytest.skip("the table is not here")
    found = re.findall(r"^\| ([A-Z])(\d+) \|", table.read_text(), re.MULTILINE)
    for section, count in SECTIONS.items():
        assert sum(letter == section for letter, _ in found) == count, section


@cache
def simulated():
    return boot.system(boot.Options())


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_simulated(row: Row):
    if not row.lacks:
        return check(row, simulated())
    with pytest.raises(LoadError, match=row.lacks) as caught:
        check(row, simulated())
    codes = {found.code for found in caught.value.diagnostics}
    assert codes <= {"verify/not-decided", "load/helper-not-simulated"}


@pytest.mark.kernel
@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.load not in ("TRACING", "LSM", "nothing") and not row.absent],
    ids=lambda row: f"{row.id} {row.title}",
)  # fmt: skip
def test_running_kernel(row: Row):
    check(row, kernel())


def check(row: Row, system) -> None:
    obj = compile(row.text, Target.from_system(system), file=f"{row.id}.c", cache=False)
    assert not obj.warnings
    assert obj.license == (row.license or "GPL")
    if row.load == "nothing":
        assert all(program.attach_to for program in obj.programs)
        return
    module = Module(system, obj)
    try:
        for program in obj.programs:
            assert program.prog_type in (None, row.prog_type)
            if row.refused:
                with pytest.raises(LoadError, match=row.refused):
                    load(module, row, program, system)
                continue
            fd = load(module, row, program, system)
            try:
                if row.returns:
                    assert run(system, fd, row) == int(row.returns)
            finally:
                system.close(fd)
    finally:
        module.close()
        if row.pinned and os.path.exists(row.pinned):
            os.unlink(row.pinned)


def load(module: Module, row: Row, program, system) -> int:
    def kernel_function(name: str, attach_type: int) -> int:
        return function_id(system, name, attach_type)

    attach = DEFAULT_ATTACH.get(row.prog_type)
    fd, _ = module.verify(
        program.name, row.prog_type, attach_type=attach, kernel_function=kernel_function
    )
    return fd


def run(system, fd: int, row: Row) -> int:
    """The program's answer as a signed number."""
    if row.prog_type in PACKET_TYPES:
        request = ProgTestRun(fd, data_in=PACKETS[row.packet])
    else:
        request = ProgTestRun(fd, ctx_in=bytes(96))
    answer = system.bpf(request).retval
    return answer - (1 << 32) if answer >> 31 else answer
