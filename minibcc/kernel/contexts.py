"""Contexts: what a program's first argument points to, laid out in the arena.

Probes get ``struct pt_regs``, tracepoints the record that their format file describes, raw
tracepoints and fentry programs an array of 64-bit arguments, perf events registers with period and
address. Packets have a module of their own, `packets`.

The layouts are those that user space sees (include/uapi/linux), not Linux's internal ones: where
Linux rewrites each access (``convert_ctx_accesses``), here only the 32-bit fields that stand for
pointers are rewritten, to 64-bit ones behind the structure's end.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import ProgType
from minibcc.isa.instruction import Instruction
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minibcc.kernel.verifier.contract import Facts
    from minibcc.kernel.vm.memory import Arena
    from minibcc.machine.hooks import Event

PT_REGS = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx"),
    *("si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"),
)
"""``struct pt_regs`` of x86-64: 21 registers of 8 bytes (arch/x86/include/uapi/asm/ptrace.h)."""
PT_REGS_SIZE = 8 * len(PT_REGS)
RAW_ARGUMENTS = 12
"""``MAX_BPF_FUNC_ARGS``: 64-bit arguments of a raw tracepoint."""

_PLACES = {name: 8 * place for place, name in enumerate(PT_REGS)}
_KERNEL = {"orig_ax": (1 << 64) - 1, "cs": 0x10, "flags": 0x246, "ss": 0x18}
_USER = {"orig_ax": (1 << 64) - 1, "cs": 0x33, "flags": 0x246, "ss": 0x2B}


def _pt_regs(values: dict[str, int], base: bytes) -> bytes:
    """``struct pt_regs``: `base` with some registers changed."""
    out = bytearray(base)
    for name, value in values.items():
        at = _PLACES.get(name, PT_REGS_SIZE)
        out[at : at + 8] = value.to_bytes(8, "little")
    del out[PT_REGS_SIZE:]  # what has no place in the structure
    return bytes(out)


_KERNEL_REGS = _pt_regs(_KERNEL, bytes(PT_REGS_SIZE))
_USER_REGS = _pt_regs(_USER, bytes(PT_REGS_SIZE))


def registers(event: Event) -> bytes:
    """``struct pt_regs`` of a probe that fired in the kernel."""
    return _pt_regs(event.registers, _KERNEL_REGS)


def user_registers(event: Event) -> bytes:
    """``struct pt_regs`` of a probe that fired in user space."""
    return _pt_regs(event.registers, _USER_REGS)


def raw_arguments(event: Event) -> bytes:
    """``struct bpf_raw_tracepoint_args``, or a traced function's arguments and result."""
    arguments = event.arguments[:RAW_ARGUMENTS]
    count = max(RAW_ARGUMENTS, len(arguments))
    return struct.pack(f"<{count}Q", *arguments, *(0,) * (count - len(arguments)))


def perf_data(event: Event, period: int, address: int = 0) -> bytes:
    """``struct bpf_perf_event_data``."""
    return registers(event) + struct.pack("<QQ", period, address)


# --- tracepoints ------------------------------------------------------------------------------


class TraceField(Record):
    """A field of a tracepoint's record. `size` and `offset` in bytes; `count` is 0 for what is no
    array; `location` says that the field holds where its data lies (``__data_loc``)."""

    name: str
    offset: int
    size: int
    count: int = 0
    location: bool = False


class TraceFormat:
    """The layout of one tracepoint's records, read from its ``format`` file."""

    def __init__(self, text: str) -> None:
        self.id = 0
        self.fields: list[TraceField] = []
        for line in text.splitlines():
            words = line.strip()
            if words.startswith("ID:"):
                self.id = int(words[3:])
            elif words.startswith("field:"):
                self.fields.append(_field(words))
        self.size = max((field.offset + field.size for field in self.fields), default=8)

    def record(self, event: Event) -> bytes:
        """The bytes that a program gets. A field that the event does not carry is zero."""
        out = bytearray((self.size + 7) // 8 * 8)
        values: dict[str, Any] = {
            "common_type": self.id,
            "common_pid": event.task.pid,
            **event.fields,
        }
        for field in self.fields:
            value = values.get(field.name)
            if value is None:
                continue
            if field.location:
                data = _text(value)
                struct.pack_into("<I", out, field.offset, len(out) | len(data) << 16)
                out += data
            else:
                out[field.offset : field.offset + field.size] = _packed(field, value)
        return bytes(out)


def _field(line: str) -> TraceField:
    """``field:TYPE NAME[COUNT];  offset:N;  size:N;  signed:N;``"""
    parts = dict(part.strip().split(":", 1) for part in line.rstrip(";").split(";") if ":" in part)
    declaration = parts["field"]
    size, offset = int(parts["size"]), int(parts["offset"])
    before, bracket, inside = declaration.partition("[")
    location = declaration.startswith(("__data_loc", "__rel_loc"))
    if location:
        before, bracket = declaration.replace("[]", ""), ""
    name = before.split()[-1].lstrip("*")
    count = 0
    if bracket:
        digits = inside.partition("]")[0].strip()
        count = int(digits) if digits.isdigit() else size
        count = max(1, count)
    return TraceField(name, offset, size, count, location)


def _text(value: Any) -> bytes:
    """Dynamic data: text ends in a NUL."""
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape")
        return bytes(value) + b"\0"
    return bytes(value)


def _packed(field: TraceField, value: Any) -> bytes:
    """A value in the bytes of its field."""
    if isinstance(value, str):
        value = value.encode(errors="surrogateescape")
    if isinstance(value, bytes | bytearray):
        return bytes(value[: field.size]).ljust(field.size, b"\0")
    if isinstance(value, tuple | list):
        width = field.size // (field.count or len(value))
        mask = (1 << 8 * width) - 1
        data = b"".join((item & mask).to_bytes(width, "little") for item in value)
        return data[: field.size].ljust(field.size, b"\0")
    return (int(value) & (1 << 8 * field.size) - 1).to_bytes(field.size, "little")


# --- pointers in packet contexts --------------------------------------------------------------

SK_BUFF_SIZE = 192
XDP_MD_SIZE = 24
SK_BUFF_POINTERS = {76: 192, 80: 200, 140: 208}
"""``data``, ``data_end`` and ``data_meta`` of struct __sk_buff: offset to that of the pointer."""
XDP_MD_POINTERS = {0: 24, 4: 32, 8: 40}
PACKET_POINTERS: Mapping[ProgType, Mapping[int, int]] = {
    **dict.fromkeys(
        (
            *(ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.SCHED_ACT),
            *(ProgType.CGROUP_SKB, ProgType.SK_SKB, ProgType.FLOW_DISSECTOR),
            *(ProgType.LWT_IN, ProgType.LWT_OUT, ProgType.LWT_XMIT, ProgType.LWT_SEG6LOCAL),
        ),
        SK_BUFF_POINTERS,
    ),
    ProgType.XDP: XDP_MD_POINTERS,
}

LDX_W, LDX_DW = 0x61, 0x79


def convert_context_accesses(
    prog_type: ProgType, instructions: Sequence[Instruction], facts: Facts
) -> list[Instruction]:
    """Loads of packet pointers become 64 bits wide."""
    pointers = PACKET_POINTERS.get(ProgType(prog_type))
    out = list(instructions)
    if pointers is None:
        return out
    for slot, kind in facts.accesses.items():
        insn = out[slot]
        if kind == "ctx" and insn.code == LDX_W and insn.off in pointers:
            out[slot] = insn._replace(code=LDX_DW, off=pointers[insn.off])
    return out


# --- where contexts lie -----------------------------------------------------------------------


class ContextPool:
    """Stretches of the arena for contexts, reused: runs come often and may nest."""

    def __init__(self, memory: Arena) -> None:
        self._memory = memory
        self._free: dict[int, list[int]] = {}

    def place(self, data: bytes) -> int:
        """The address of a copy of `data`."""
        free = self._free.get(len(data))
        address = free.pop() if free else self._memory.allocate(len(data), writable=False)
        self._memory.view(address, len(data))[:] = data
        return address

    def give_back(self, address: int, size: int) -> None:
        self._free.setdefault(size, []).append(address)
