"""The live Linux kernel as a judge: load a program by bpf(2), keep its verdict and log, close it.

Nothing is attached or run. It speaks ctypes itself, so that what is judged is the verifier alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cache

from minibcc.isa.instruction import encode
from minibcc.kernel.verifier.contract import MapFacts, Source

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_BPF = 321
_LOG_SIZE = 1 << 24


def _bpf(command: int, attr: bytes) -> int:
    buffer = ctypes.create_string_buffer(attr, 168)
    result = _libc.syscall(_SYS_BPF, command, buffer, 168)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def create_map(facts: MapFacts) -> int:
    """A descriptor of a real map like `facts`."""
    inner = create_map(facts.inner) if facts.inner is not None else 0
    try:
        fields = struct.pack(
            "<6I",
            facts.type,
            facts.key_size,
            facts.value_size,
            facts.max_entries,
            facts.flags,
            inner,
        )
        fd = _bpf(0, fields)
    finally:
        if inner:
            os.close(inner)
    if facts.read is not None:
        content = ctypes.create_string_buffer(facts.read(0, facts.value_size), facts.value_size)
        key = ctypes.create_string_buffer(4)
        _bpf(2, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(content), 0))
        _bpf(22, struct.pack("<I", fd))
    return fd


def load(source: Source, level: int = 2) -> tuple[int, str]:
    """(0 or an errno, the log) of `source`; maps are made for it and all is closed again."""
    fds = {number: create_map(facts) for number, facts in source.maps.items()}
    try:
        slots = [
            insn._replace(imm=fds[insn.imm])
            if insn.code == 0x18 and insn.src in (1, 2) and insn.imm in fds
            else insn
            for insn in source.instructions
        ]
        code = ctypes.create_string_buffer(encode(slots), len(slots) * 8)
        licence = ctypes.create_string_buffer(b"GPL" if source.gpl else b"MIT")
        log = ctypes.create_string_buffer(_LOG_SIZE) if level else None
        attr = struct.pack(
            "<IIQQIIQII16sII",
            int(source.prog_type),
            len(slots),
            ctypes.addressof(code),
            ctypes.addressof(licence),
            level,
            _LOG_SIZE if level else 0,
            ctypes.addressof(log) if log else 0,
            0,
            source.prog_flags,
            b"",
            0,
            int(source.attach_type),
        )
        try:
            os.close(_bpf(5, attr))
            number = 0
        except OSError as error:
            number = error.errno or -1
        return number, log.value.decode("ascii", "replace") if log else ""
    finally:
        for fd in fds.values():
            os.close(fd)


@cache
def possible_cpus() -> int:
    """How many CPUs the kernel counts with, 0 if it does not say."""
    try:
        with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
            return int(file.read().strip().rpartition("-")[2].rpartition(",")[2]) + 1
    except (OSError, ValueError):
        return 0


@cache
def available() -> str:
    """ "" if the kernel can be asked, else the reason why not."""
    from minibcc.abi.bpf import ProgType
    from minibcc.isa.instruction import Instruction

    if os.geteuid():
        return "needs root"
    if os.uname().machine != "x86_64":
        return "needs x86-64"
    code = (Instruction(0xB7), Instruction(0x95))
    result, _ = load(Source(code, ProgType.SOCKET_FILTER), 0)
    return f"bpf(2): {errno.errorcode.get(result, result)}" if result else ""
