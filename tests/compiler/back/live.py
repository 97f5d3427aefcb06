"""Objects in the live Linux, by bpf(2) itself: just enough to load and run one."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from minibcc.abi.bpf import MapType, ProgType
from minibcc.compiler.object import BpfObject, MapSpec, ProgramSpec

_SYS_BPF = 321
_MAP_CREATE, _LOOKUP, _UPDATE, _PROG_LOAD, _TEST_RUN, _BTF_LOAD = 0, 1, 2, 5, 10, 18
_FREEZE = 22
_LOG = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attribute: bytes) -> int:
    buffer = ctypes.create_string_buffer(attribute.ljust(160, b"\0"), 160)
    result: int = _libc.syscall(_SYS_BPF, command, buffer, 160)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    bpf.answer = buffer.raw  # type: ignore[attr-defined]  # what the kernel wrote back
    return result


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def create(spec: MapSpec, btf: int = 0) -> int:
    name = spec.name.encode()[:15]
    typed = btf if spec.type in (MapType.HASH, MapType.ARRAY) and spec.key_type else 0
    return bpf(
        _MAP_CREATE,
        struct.pack(
            "<IIIIIII16sIIII",
            *(spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags, 0, 0),
            *(name, 0, typed, spec.key_type if typed else 0, spec.value_type if typed else 0),
        ),
    )


def lookup(fd: int, key: bytes, size: int) -> bytes:
    key_buffer = ctypes.create_string_buffer(key, len(key))
    value = ctypes.create_string_buffer(size)
    bpf(_LOOKUP, struct.pack("<IIQQQ", fd, 0, _address(key_buffer), _address(value), 0))
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    key_buffer = ctypes.create_string_buffer(key, len(key))
    buffer = ctypes.create_string_buffer(value, len(value))
    bpf(_UPDATE, struct.pack("<IIQQQ", fd, 0, _address(key_buffer), _address(buffer), 0))


def load_btf(data: bytes) -> int:
    buffer = ctypes.create_string_buffer(data, len(data))
    log = ctypes.create_string_buffer(_LOG)
    try:
        return bpf(
            _BTF_LOAD, struct.pack("<QQIII", _address(buffer), _address(log), len(data), _LOG, 1)
        )
    except OSError as problem:
        raise OSError(problem.errno, log.value.decode(errors="replace")) from None


@contextmanager
def maps_of(obj: BpfObject) -> Iterator[dict[str, int]]:
    """The object's BTF and maps, as descriptors ("" is the BTF)."""
    fds = {"": load_btf(obj.btf)}
    try:
        for spec in obj.maps:
            fds[spec.name] = create(spec, fds[""])
            if spec.initial:
                update(fds[spec.name], bytes(4), spec.initial)
            if spec.read_only:
                bpf(_FREEZE, struct.pack("<I", fds[spec.name]))
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


def load(spec: ProgramSpec, fds: dict[str, int], type: ProgType, license: str = "GPL") -> int:
    """A program's descriptor. Raises OSError with the verifier's log."""
    insns = bytearray(spec.insns)
    for relocation in spec.relocations:
        struct.pack_into("<i", insns, relocation.insn * 8 + 4, fds[relocation.symbol])
    code = ctypes.create_string_buffer(bytes(insns), len(insns))
    log = ctypes.create_string_buffer(_LOG)
    text = ctypes.create_string_buffer(license.encode())
    functions = ctypes.create_string_buffer(spec.func_info, len(spec.func_info) or 1)
    lines = ctypes.create_string_buffer(spec.line_info, len(spec.line_info) or 1)
    attribute = struct.pack(
        "<IIQQIIQII16sIIIIQIIQII",
        *(type, len(insns) // 8, _address(code), _address(text), 0, 0, 0, 0, 0),
        *(spec.name.encode()[:15], 0, spec.attach_type, fds[""]),
        *(8, _address(functions), len(spec.func_info) // 8),
        *(16, _address(lines), len(spec.line_info) // 16, 0),
    )
    try:
        return bpf(_PROG_LOAD, attribute)
    except OSError:
        full = bytearray(attribute)
        struct.pack_into("<IIQ", full, 24, 1, _LOG, _address(log))
        try:
            return bpf(_PROG_LOAD, bytes(full))
        except OSError as problem:
            log_text = log.value.decode(errors="replace")
            raise OSError(problem.errno, f"{spec.name} refused:\n{log_text[-6000:]}") from None


def test_run(fd: int, packet: bytes = bytes(64)) -> int:
    """The program's answer to a packet, 32 bits."""
    data = ctypes.create_string_buffer(packet, len(packet))
    bpf(_TEST_RUN, struct.pack("<IIIIQQII", fd, 0, len(packet), 0, _address(data), 0, 0, 0))
    answer: bytes = bpf.answer  # type: ignore[attr-defined]  # see bpf
    return int(struct.unpack_from("<I", answer, 4)[0])


test_run.__test__ = False  # type: ignore[attr-defined]  # pytest collects by name


def result_of(obj: BpfObject, values: int = 0) -> tuple[int, list[int]]:
    """Runs the only program as a socket filter; its answer, and the first `values` 64-bit numbers
    of the map ``out``."""
    with maps_of(obj) as fds:
        fd = load(obj.programs[0], fds, ProgType.SOCKET_FILTER)
        try:
            answer = test_run(fd)
        finally:
            os.close(fd)
        if not values:
            return answer, []
        spec = obj.map("out")
        assert spec is not None
        data = lookup(fds["out"], bytes(4), spec.value_size)
        return answer, list(struct.unpack_from(f"<{values}Q", data))
