"""The live Linux kernel as a judge: load a program by bpf(2), keep its verdict and log, close it.

Nothing is attached or run. It speaks ctypes itself, so that what is judged is the verifier alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from functools import cache

from minibcc.abi.bpf import ProgType
from minibcc.btf.encode import Encoded
from minibcc.btf.encode import encode as encode_types
from minibcc.btf.types import Int, Type
from minibcc.isa.instruction import Instruction, encode
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


def _load_types(roots: list[Type]) -> tuple[int, Encoded]:
    """A descriptor of BTF with these types."""
    encoded = encode_types(roots)
    data = ctypes.create_string_buffer(encoded.data, len(encoded.data))
    attr = struct.pack("<QQIII", ctypes.addressof(data), 0, len(encoded.data), 0, 0)
    return _bpf(18, attr), encoded


def create_map(facts: MapFacts) -> int:
    """A descriptor of a real map like `facts`."""
    inner = create_map(facts.inner) if facts.inner is not None else 0
    btf, key_id, value_id = 0, 0, 0
    if facts.value_type is not None:
        key = Int("unsigned int", 4, False)
        btf, encoded = _load_types([key, facts.value_type])
        key_id, value_id = encoded.id_of(key), encoded.id_of(facts.value_type)
    try:
        fields = struct.pack(
            "<7I16s4I",
            facts.type,
            facts.key_size,
            facts.value_size,
            facts.max_entries,
            facts.flags,
            inner,
            0,
            facts.name.encode(),
            0,
            btf,
            key_id,
            value_id,
        )
        fd = _bpf(0, fields)
    finally:
        for used in (inner, btf):
            if used:
                os.close(used)
    if facts.read is not None:
        content = ctypes.create_string_buffer(facts.read(0, facts.value_size), facts.value_size)
        key = ctypes.create_string_buffer(4)
        _bpf(2, struct.pack("<IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(content), 0))
        _bpf(22, struct.pack("<I", fd))
    return fd


def load(source: Source, level: int = 2) -> tuple[int, str]:
    """(0 or an errno, the log) of `source`; maps are made for it and all is closed again."""
    named = {insn.imm for insn in source.instructions if insn.code == 0x18 and insn.src in (1, 2)}
    fds = {number: create_map(facts) for number, facts in source.maps.items() if number in named}
    btf = 0
    func_info = b""
    try:
        if source.functions:
            btf, encoded = _load_types([func for _, func in source.functions])
            func_info = b"".join(
                struct.pack("<II", slot, encoded.id_of(func)) for slot, func in source.functions
            )
        info = ctypes.create_string_buffer(func_info, len(func_info)) if func_info else None
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
            "<IIQQIIQII16sIIIIQI",
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
            btf,
            8,
            ctypes.addressof(info) if info else 0,
            len(func_info) // 8,
        )
        try:
            os.close(_bpf(5, attr))
            number = 0
        except OSError as error:
            number = error.errno or -1
        return number, log.value.decode("ascii", "replace") if log else ""
    finally:
        for fd in (*fds.values(), btf):
            if fd:
                os.close(fd)


def verification_time(source: Source) -> float:
    """Seconds that the kernel's verifier says it took."""
    found = re.search(r"verification time (\d+) usec", load(source, 4)[1])
    assert found is not None
    return int(found[1]) / 1e6


@cache
def possible_cpus() -> int:
    """How many CPUs the kernel counts with, 0 if it does not say."""
    try:
        with open("/sys/devices/system/cpu/possible", encoding="ascii") as file:
            return int(file.read().strip().rpartition("-")[2].rpartition(",")[2]) + 1
    except (OSError, ValueError):
        return 0


CONFIGURED = {(ProgType.KPROBE, 58): "CONFIG_BPF_KPROBE_OVERRIDE"}
"""Helpers that a program type has only in kernels that were built with an option."""


@cache
def lacking() -> frozenset[int]:
    """Those of `CONFIGURED` that the kernel does not offer (its own word, by loading a call)."""
    if available():
        return frozenset()
    found = set()
    for kind, number in CONFIGURED:
        code = (Instruction(0xB7, dst=2), Instruction(0x85, imm=number), Instruction(0x95))
        if "cannot use helper" in load(Source(code, kind), 1)[1]:
            found.add(number)
    return frozenset(found)


@cache
def available() -> str:
    """ "" if the kernel can be asked, else the reason why not."""
    if os.geteuid():
        return "needs root"
    if os.uname().machine != "x86_64":
        return "needs x86-64"
    code = (Instruction(0xB7), Instruction(0x95))
    result, _ = load(Source(code, ProgType.SOCKET_FILTER), 0)
    return f"bpf(2): {errno.errorcode.get(result, result)}" if result else ""
