"""BPF_PROG_LOAD: from a request to a program that engines run.

The checks come in Linux's order with Linux's errnos (kernel/bpf/syscall.c, ``bpf_prog_load``);
then descriptors are looked up, the verifier decides, and `images` makes of an accepted program what
engines run.
"""

from __future__ import annotations

import os
import struct
from errno import E2BIG, EBADF, EINVAL, ENOSPC, EPERM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import (
    MAX_INSNS,
    OBJ_NAME_LEN,
    AttachType,
    ProgFlags,
    ProgType,
    Pseudo,
)
from minibcc.abi.requests import Loaded, ProgLoad, ProgramRefused, Refusal
from minibcc.isa.instruction import LD_IMM64, Instruction, decode
from minibcc.kernel.errnos import ENOTSUPP, failure
from minibcc.kernel.images import build
from minibcc.kernel.objects import BtfObject
from minibcc.kernel.verifier.contract import Line, Source
from minibcc.kernel.verifier.verify import verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minibcc.btf.types import Func
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map

LOG_KEEPS_START = 8
LOG_MASK = 15
"""``BPF_LOG_MASK``: branches, every instruction, statistics, and a log that keeps its start."""
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
GPL_LICENSES = frozenset(
    (
        "GPL",
        "GPL v2",
        "GPL and additional rights",
        "Dual BSD/GPL",
        "Dual MIT/GPL",
        "Dual MPL/GPL",
    )
)
"""``license_is_gpl_compatible`` of include/linux/license.h."""
LICENSE_MAX = 127
"""Characters of a licence that Linux reads."""


def check_name(name: str) -> None:
    """``bpf_obj_name_cpy``: letters, digits, ``_`` and ``.``, at most 15."""
    if len(name) >= OBJ_NAME_LEN or not NAME_CHARACTERS.issuperset(name):
        raise failure(EINVAL)


def load(kernel: Kernel, request: ProgLoad) -> Loaded:
    """Answers a descriptor and the log. Raises OSError, `ProgramRefused` from the verifier on."""
    check(kernel, request)
    instructions = decode(request.insns)
    gpl = request.license[:LICENSE_MAX] in GPL_LICENSES
    if request.log_level & ~LOG_MASK:
        raise failure(EINVAL)
    check_sleepable(request)
    maps, others = _maps(kernel, instructions)
    btf = None
    if request.prog_btf_fd is not None and (request.func_info or request.line_info):
        btf = kernel.descriptors.object(request.prog_btf_fd, BtfObject)
    functions = _functions(request, btf)
    attach_func = _attach_function(kernel, request)
    verdict = verify(
        Source(
            instructions=tuple(instructions),
            prog_type=ProgType(request.prog_type),
            attach_type=_known(request.expected_attach_type),
            maps={fd: map.facts for fd, map in maps.items()},
            gpl=gpl,
            prog_flags=request.prog_flags,
            functions=functions,
            lines=_lines(request, btf),
            has_btf=btf is not None,
            log_level=request.log_level,
            attach_func=attach_func,
            attach_id=request.attach_btf_id,
            others=others,
        ),
        kernel.environment,
    )
    log = _kept(verdict.log, request)
    errno = verdict.errno
    if log is not verdict.log:
        errno = ENOSPC
    if errno or verdict.facts is None:
        raise ProgramRefused(errno, os.strerror(errno), log, verdict.refusal)
    program = build(kernel, request, instructions, maps, verdict.facts, btf)
    program.gpl = gpl
    if attach_func is not None:
        program.attach_to = attach_func.name
    kernel.programs.add(program)
    fd = kernel.descriptors.add_object(program)
    program.put()  # the descriptor holds it now
    return Loaded(fd, log)


def _kept(log: str, request: ProgLoad) -> str:
    """What of a log the caller's buffer holds beside a final zero byte: the end, unless asked for
    the start (``bpf_verifier_vlog``); the load then fails with ENOSPC. Size 0 holds all."""
    room = request.log_size - 1
    if room < 0 or len(log) <= room:
        return log
    return log[:room] if request.log_level & LOG_KEEPS_START else log[-room:]


def check(kernel: Kernel, request: ProgLoad) -> None:
    """What Linux refuses before it looks at the instructions."""
    if request.prog_flags & ~sum(ProgFlags):
        raise failure(EINVAL)
    count, rest = divmod(len(request.insns), 8)
    if rest:
        raise failure(EINVAL)
    if not 0 < count <= MAX_INSNS:
        raise failure(E2BIG)
    if kernel.uid != 0:
        raise failure(EPERM)
    if request.attach_prog_fd is not None:
        try:
            kernel.program_of(request.attach_prog_fd)
        except OSError:
            raise failure(EINVAL) from None
    if request.prog_type == ProgType.STRUCT_OPS:
        raise failure(ENOTSUPP)  # as a Linux without any structure of operations
    check_attach_type(request)
    if request.prog_type not in LOADABLE:
        raise failure(EINVAL)
    check_name(request.prog_name)


LOADABLE = frozenset(ProgType) - {ProgType.UNSPEC, ProgType.STRUCT_OPS}

_NEED_BTF = (ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.EXT)

ATTACH_TYPES: Mapping[ProgType, tuple[AttachType, ...]] = {
    ProgType.CGROUP_SOCK: (
        AttachType.CGROUP_INET_SOCK_CREATE,
        AttachType.CGROUP_INET_SOCK_RELEASE,
        AttachType.CGROUP_INET4_POST_BIND,
        AttachType.CGROUP_INET6_POST_BIND,
    ),
    ProgType.CGROUP_SOCK_ADDR: tuple(
        kind
        for kind in AttachType
        if kind.name.endswith(("BIND", "CONNECT", "SENDMSG", "RECVMSG", "PEERNAME", "SOCKNAME"))
        and "POST" not in kind.name
    ),
    ProgType.CGROUP_SKB: (AttachType.CGROUP_INET_INGRESS, AttachType.CGROUP_INET_EGRESS),
    ProgType.CGROUP_SOCKOPT: (AttachType.CGROUP_SETSOCKOPT, AttachType.CGROUP_GETSOCKOPT),
    ProgType.SK_LOOKUP: (AttachType.SK_LOOKUP,),
    ProgType.SK_REUSEPORT: (
        AttachType.SK_REUSEPORT_SELECT,
        AttachType.SK_REUSEPORT_SELECT_OR_MIGRATE,
    ),
    ProgType.NETFILTER: (AttachType.NETFILTER,),
}
"""Types for which only some attach types will do (``bpf_prog_load_check_attach``)."""


def check_attach_type(request: ProgLoad) -> None:
    """``bpf_prog_load_check_attach``."""
    kind = request.prog_type
    if request.attach_btf_id:
        if kind not in _NEED_BTF:
            raise failure(EINVAL)
    elif kind in (ProgType.TRACING, ProgType.LSM, ProgType.STRUCT_OPS, ProgType.EXT):
        raise failure(EINVAL)
    if kind == ProgType.SK_REUSEPORT and not request.expected_attach_type:
        return
    if kind == ProgType.CGROUP_SOCK and not request.expected_attach_type:
        return
    allowed = ATTACH_TYPES.get(kind)
    if allowed is not None and request.expected_attach_type not in allowed:
        raise failure(EINVAL)
    if kind in (ProgType.SYSCALL, ProgType.EXT) and request.expected_attach_type:
        raise failure(EINVAL)


def _known(attach_type: int) -> AttachType | int:
    """The attach type; 0 for a number that none has, which most types of programs ignore."""
    return AttachType(attach_type) if attach_type in ATTACH_NUMBERS else 0


ATTACH_NUMBERS = frozenset(map(int, AttachType))

SLEEPABLE_ATTACH = (
    AttachType.TRACE_FENTRY,
    AttachType.TRACE_FEXIT,
    AttachType.MODIFY_RETURN,
    AttachType.TRACE_ITER,
)


def check_sleepable(request: ProgLoad) -> None:
    """``check_attach_btf_id``: which programs may sleep, and which must."""
    kind, message = request.prog_type, ""
    if request.prog_flags & ProgFlags.SLEEPABLE:
        able = kind in (ProgType.LSM, ProgType.KPROBE, ProgType.SYSCALL) or (
            kind == ProgType.TRACING and request.expected_attach_type in SLEEPABLE_ATTACH
        )
        if not able:
            message = (
                "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be "
                "sleepable"
            )
    elif kind == ProgType.SYSCALL:
        message = "Syscall programs can only be sleepable"
    if message:
        refusal = Refusal("load/not-sleepable", -1, message)
        log = f"{message}\n" if request.log_level else ""
        raise ProgramRefused(EINVAL, os.strerror(EINVAL), log, refusal)


def _maps(
    kernel: Kernel, instructions: Sequence[Instruction]
) -> tuple[dict[int, Map], frozenset[int]]:
    """The maps that the instructions name, by descriptor, and the descriptors of other things."""
    found: dict[int, Map] = {}
    others = set()
    for insn in instructions:
        if insn.code == LD_IMM64 and insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE):
            try:
                found[insn.imm] = kernel.map_of(insn.imm)
            except OSError as wrong:
                if wrong.errno == EINVAL:
                    others.add(insn.imm)
    return found, frozenset(others)


def _functions(request: ProgLoad, btf: BtfObject | None) -> tuple[tuple[int, Func], ...]:
    """func_info's records with the functions that they name."""
    if not request.func_info:
        return ()
    if btf is None:
        raise failure(EBADF)
    from minibcc.btf.types import Func

    types = btf.types()
    found = []
    if len(request.func_info) % 8:
        raise failure(EINVAL)
    for slot, number in struct.iter_unpack("<II", request.func_info):
        try:
            kind = types.type(number)
        except (KeyError, ValueError):
            raise failure(EINVAL) from None
        if not isinstance(kind, Func):
            raise failure(EINVAL)
        found.append((slot, kind))
    return tuple(found)


def _lines(request: ProgLoad, btf: BtfObject | None) -> tuple[Line, ...]:
    """line_info's records with their texts; EINVAL for a text that is not in the BTF."""
    if not request.line_info or btf is None:
        return ()
    raw = btf.types().raw
    try:
        return tuple(
            Line(slot, raw.name(file, 0), place >> 10, raw.name(text, 0))
            for slot, file, text, place in struct.iter_unpack("<4I", request.line_info)
        )
    except (ValueError, struct.error):
        raise failure(EINVAL) from None


def _attach_function(kernel: Kernel, request: ProgLoad) -> Func | None:
    """The kernel function (or tracepoint) that a tracing program is for: ``attach_btf_id`` of the
    kernel's BTF. Raises EINVAL for what is none."""
    if not request.attach_btf_id:
        return None
    from minibcc.btf.types import Func, FuncProto, Ptr, Typedef

    try:
        found = kernel.vmlinux.types().type(request.attach_btf_id)
    except (OSError, ValueError, IndexError, KeyError):
        raise failure(EINVAL) from None
    if isinstance(found, Func):
        return found
    if isinstance(found, Typedef) and found.name.startswith(RAW_PREFIX):
        target = found.of
        if isinstance(target, Ptr) and isinstance(target.to, FuncProto):
            return Func(found.name.removeprefix(RAW_PREFIX), target.to)
    raise failure(EINVAL)


RAW_PREFIX = "btf_trace_"
"""The typedef of a raw tracepoint's prototype is called so, and then as the tracepoint is."""
