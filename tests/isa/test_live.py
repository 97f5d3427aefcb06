"""The table and the words, compared with the running kernel, bpftool and strace."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from minibcc.abi import requests as r
from minibcc.abi.bpf import MapType, ProgType
from minibcc.isa import opcodes
from minibcc.isa.instruction import Instruction, decode, encode
from minibcc.isa.opcodes import OPCODES, Opcode
from minibcc.isa.text import assemble, dump, instruction, kernel_imm, strace
from tests.live import kernel, verdict

EXIT = Instruction(0x95)
ZERO = Instruction(0xB7)


def sample(row: Opcode) -> list[Instruction]:
    """An instruction of that row, with unlike numbers in its free fields."""
    chosen = {"dst": 1, "src": 2, "off": 0, "imm": -5}
    chosen["imm"] = {"ja32": 0, "helper": 0, "function": 2}.get(row.op, -5)
    values = {
        name: value if getattr(row, name) is None else getattr(row, name)
        for name, value in chosen.items()
    }
    return [Instruction(row.code, **values)]


@pytest.mark.kernel
@pytest.mark.parametrize(
    "row",
    [row for row in OPCODES if row.valid and row.op != "kfunc" and row.kind != "imm64"],
    ids=lambda row: f"{row.name}{'_reg' * row.by_reg}",
)
def test_words_are_the_kernels(row: Opcode) -> None:
    """The verifier prints what it comes to, also if it then refuses it."""
    insns, where = [*sample(row), EXIT], 0
    if row.op == "exit":
        insns, where = [ZERO, EXIT], 1
    elif row.op == "function":
        insns = [*sample(row), ZERO, EXIT, ZERO, EXIT]
    _, log = verdict(insns, log_level=2)
    found = re.search(
        rf"^{where}: (\S.*?)(?:\s+;.*)?$", log.replace("0: R1=ctx() R10=fp0\n", ""), re.M
    )
    assert found, log
    assert found[1] == instruction(insns[where])


@pytest.mark.kernel
def test_opcode_bytes_are_the_kernels() -> None:
    known = {row.code for row in OPCODES if row.valid}
    for code in range(256):
        _, log = verdict([Instruction(code, 1, 0, 0, 0), ZERO, EXIT])
        # A load with an unknown mode is refused for its fields before its code is looked at.
        unknown = "unknown opcode" in log or "BPF_LDX uses reserved fields" in log
        assert unknown == (code not in known), f"{code:#x}: {log}"


@pytest.mark.kernel
@pytest.mark.parametrize(
    "insn",
    [
        Instruction(0x3F, 1, 2, 5, 0),
        Instruction(0xBF, 1, 2, 3, 7),
        Instruction(0xDC, 1, 0, 0, 24),
        Instruction(0xDB, 1, 2, 8, 0x10),
        Instruction(0xE5, 1, 0, 0, 0),
        Instruction(0xB7, 1, 2, 3, 7),
        Instruction(0x18, 1, 0, 0, 1),
        Instruction(0x95, 1, 2, 3, 4),
    ],
    ids=lambda insn: instruction(insn, ZERO),
)
def test_words_of_the_ill_formed(insn: Instruction) -> None:
    """Reserved fields do not show, as in Linux."""
    second = [Instruction(0)] if insn.code == 0x18 else []
    _, log = verdict([insn, *second, ZERO, EXIT], log_level=2)
    found = re.search(r"^0: (?!R)(\S.*?)(?:\s+;.*)?$", log, re.M)
    if found:  # some are refused before anything is printed
        assert found[1] == instruction(insn, *second, imm=kernel_imm)


@pytest.mark.kernel
@pytest.mark.tool
@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
def test_dump_is_bpftools() -> None:
    system = kernel()
    m = system.bpf(r.MapCreate(MapType.ARRAY, 4, 16, 1))
    text = """
        r1 = map[m]
        r2 = map[m][0]+8
        r3 = 0x123456789abcdef0
        call f
        if r0 == 0 goto pc+1
        r0 += 1
        call bpf_ktime_get_ns
        exit
      f:
        *(u8 *)(r10 -1) = 7
        r0 = *(u8 *)(r10 -1)
        exit
    """
    fd = system.bpf(r.ProgLoad(ProgType.SOCKET_FILTER, encode(assemble(text, {"m": m})))).fd
    info = system.bpf(r.ProgGetInfo(fd))
    printed = subprocess.run(
        ["bpftool", "prog", "dump", "xlated", "id", str(info.id)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    system.close(fd)
    system.close(m)
    # Calls are shown with what the kernel made of them, an address or the name of native code.
    theirs = [re.sub(r"#\S+$", "", line.strip()) for line in printed.splitlines()]
    ours = [
        re.sub(r"#\S+$", "", f"{slot}: {words}")
        for slot, words in dump(decode(info.xlated_prog_insns), call=_symbol)
    ]
    assert ours == theirs


def _symbol(insn: Instruction) -> str | None:
    """A loaded program's calls hold addresses: of the one helper, and, for functions, the distance
    in another field."""
    return f"{insn.off:+}" if insn.src else "bpf_ktime_get_ns"


@pytest.mark.tool
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_strace_is_straces() -> None:
    """strace prints a program before the kernel refuses it, so every byte can be asked."""
    insns = [Instruction(code, code % 16, code // 16, code - 9, code - 5) for code in range(256)]
    child = f"""
import ctypes, struct
code = ctypes.create_string_buffer(bytes.fromhex({encode(insns).hex()!r}))
attr = struct.pack("<2I2Q", 1, 256, ctypes.addressof(code), 0).ljust(120, b"\\0")
ctypes.CDLL(None).syscall(321, 5, attr, len(attr))
"""
    run = subprocess.run(
        ["strace", "-v", "-e", "trace=bpf", sys.executable, "-c", child],
        capture_output=True, text=True,
    )  # fmt: skip
    if run.returncode:
        pytest.skip(f"strace may not trace here: {run.stderr[-200:]}")
    printed = re.findall(r"\{code=.*?\}", run.stderr)
    assert len(printed) == 256
    for insn, theirs in zip(insns, printed, strict=True):
        if not _newer_than_strace(insn.code, theirs):
            assert strace(insn) == theirs


def _newer_than_strace(code: int, printed: str) -> bool:
    """Whether this strace does not know the class or the mode yet, and prints bits or its old
    name."""
    kind = code & 7
    if kind <= opcodes.STX:
        mode = code & 0xE0
        return mode == opcodes.MEMSX or (mode == opcodes.ATOMIC and "BPF_XADD" in printed)
    jump = kind in (opcodes.JMP, opcodes.JMP32)
    return (kind == opcodes.JMP32 and "|BPF_" not in printed.split(",")[0]) or (
        jump and code & 0xF0 == opcodes.JCOND
    )
