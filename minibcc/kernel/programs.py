"""BPF_PROG_LOAD: from a request to a program that engines run.

The checks come in Linux's order with Linux's errnos (kernel/bpf/syscall.c, ``bpf_prog_load``);
then descriptors are looked up, the verifier decides, dead code goes, and an `Image` is built in
which maps are addresses and helpers are functions.
"""

from __future__ import annotations

import os
import struct
from errno import E2BIG, EBADF, EINVAL, EOPNOTSUPP, EPERM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import (
    MAX_INSNS,
    OBJ_NAME_LEN,
    AttachType,
    ProgFlags,
    ProgType,
    Pseudo,
    PseudoCall,
)
from minibcc.abi.helpers import name_of
from minibcc.abi.requests import Loaded, ProgInfo, ProgLoad, ProgramRefused, Refusal
from minibcc.isa.instruction import LD_IMM64, Instruction, decode, encode
from minibcc.isa.tag import tag_sha256
from minibcc.kernel.contexts import convert_context_accesses
from minibcc.kernel.errnos import ENOTSUPP, failure
from minibcc.kernel.helpers.registry import implementation
from minibcc.kernel.objects import BtfObject, Program
from minibcc.kernel.rewrite import Compaction
from minibcc.kernel.verifier.contract import Source
from minibcc.kernel.verifier.verify import verify
from minibcc.kernel.vm.execution import TAIL_CALL, Image
from minibcc.records import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minibcc.btf.types import Func
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map
    from minibcc.kernel.verifier.contract import Facts, MapFacts
    from minibcc.kernel.vm.execution import HelperFunction
    from minibcc.kernel.vm.layouts import Layout

CALL = 0x85
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
    maps = _maps(kernel, instructions)
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
            has_btf=btf is not None,
            log_level=request.log_level,
            attach_func=attach_func,
        ),
        kernel.environment,
    )
    if not verdict.accepted or verdict.facts is None:
        errno = verdict.errno or EINVAL
        raise ProgramRefused(errno, os.strerror(errno), verdict.log, verdict.refusal)
    program = _build(kernel, request, instructions, maps, verdict.facts, btf)
    program.gpl = gpl
    if attach_func is not None:
        program.attach_to = attach_func.name
    kernel.programs.add(program)
    fd = kernel.descriptors.add_object(program)
    program.put()  # the descriptor holds it now
    return Loaded(fd, verdict.log)


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


def _maps(kernel: Kernel, instructions: Sequence[Instruction]) -> dict[int, Map]:
    """The maps that the instructions name, by descriptor; what is no map is left out."""
    found: dict[int, Map] = {}
    for insn in instructions:
        if insn.code == LD_IMM64 and insn.src in (Pseudo.MAP_FD, Pseudo.MAP_VALUE):
            try:
                found[insn.imm] = kernel.map_of(insn.imm)
            except OSError:
                continue
    return found


def _functions(request: ProgLoad, btf: BtfObject | None) -> tuple[tuple[int, Func], ...]:
    """func_info's records with the functions that they name."""
    if not request.func_info:
        return ()
    if btf is None:
        raise failure(EBADF)
    from minibcc.btf.types import Func

    types = btf.types()
    found = []
    for slot, number in struct.iter_unpack("<II", request.func_info):
        kind = types.type(number)
        if not isinstance(kind, Func):
            raise failure(EINVAL)
        found.append((slot, kind))
    return tuple(found)


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


def _build(
    kernel: Kernel,
    request: ProgLoad,
    instructions: Sequence[Instruction],
    maps: Mapping[int, Map],
    facts: Facts,
    btf: BtfObject | None,
) -> Program:
    """The program object with its image."""
    converted = convert_context_accesses(request.prog_type, instructions, facts)
    compact = Compaction(converted, facts.dead)
    by_facts: dict[int, Map] = {id(map.facts): map for map in maps.values()}
    resolved, shown = _resolve(compact, facts.maps, by_facts)
    alive = compact.starts(facts.starts)
    image = Image(
        name=request.prog_name,
        instructions=resolved,
        helpers=_helpers(resolved),
        starts=tuple(compact.moved[facts.starts[index]] for index in alive),
        stacks=tuple(facts.stacks[index] for index in alive),
        layouts=_layouts(kernel, maps),
    )
    used = {id(map): map for map in maps.values()}
    program = Program(request, image, facts, tuple(used.values()), btf)
    image.program = program
    program.tag = tag_sha256(instructions)
    program.xlated = encode(shown)
    program.func_info = compact.records(request.func_info, 8)
    program.line_info = compact.records(request.line_info, 16)
    program.load_time = kernel.machine.now()
    program.uid = kernel.uid
    program.attach_btf_id = request.attach_btf_id
    return program


def _layouts(kernel: Kernel, maps: Mapping[int, Map]) -> dict[int, Layout]:
    """What native code may know of the program's maps, by their addresses."""
    if kernel.engine.name == "interpreter":
        return {}
    known = ((map.address, map.layout()) for map in maps.values())
    return {address: layout for address, layout in known if layout is not None}


def _resolve(
    compact: Compaction, facts: Mapping[int, MapFacts], maps: Mapping[int, Map]
) -> tuple[list[Instruction], list[Instruction]]:
    """The instructions with addresses for engines, and with map ids for views."""
    run = list(compact.instructions)
    shown = list(compact.instructions)
    for slot, old in enumerate(compact.kept):
        insn = run[slot]
        if insn.code != LD_IMM64 or insn.src not in (Pseudo.MAP_FD, Pseudo.MAP_VALUE):
            continue
        map = maps[id(facts[old])]
        high = run[slot + 1]
        address = map.address
        if insn.src == Pseudo.MAP_VALUE:
            address = map.lookup(bytes(map.key_size), 0) + (high.imm & 0xFFFF_FFFF)
        run[slot] = insn._replace(src=0, imm=_signed(address))
        run[slot + 1] = high._replace(imm=_signed(address >> 32))
        shown[slot] = insn._replace(imm=map.id)
    return run, shown


def _signed(value: int) -> int:
    """The low 32 bits as a signed immediate."""
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value


def _helpers(instructions: Sequence[Instruction]) -> dict[int, HelperFunction]:
    """The functions that the program calls, by number. What is accepted but not implemented is
    refused here, by its name."""
    found: dict[int, HelperFunction] = {}
    skip = False
    for slot, insn in enumerate(instructions):
        if skip:
            skip = False
            continue
        skip = insn.code == LD_IMM64
        if (
            insn.code == CALL
            and insn.src == PseudoCall.HELPER
            and insn.imm not in (TAIL_CALL, *found)
        ):
            function = implementation(insn.imm)
            if function is None:
                raise _not_simulated(insn.imm, slot)
            found[insn.imm] = function
    return found


def _not_simulated(number: int, slot: int) -> ProgramRefused:
    """For a helper that Linux has and this kernel has not."""
    name = name_of(number)
    message = f"helper {name}#{number} is not simulated"
    refusal = Refusal("load/helper-not-simulated", slot, message)
    return ProgramRefused(EOPNOTSUPP, message, message, refusal)


def info(kernel: Kernel, program: Program, *, jited: bool) -> ProgInfo:
    """``bpf_prog_get_info_by_fd``; with `jited` the program is compiled if it was not yet."""
    request = program.request
    known = ProgInfo(
        type=ProgType(request.prog_type),
        id=program.id,
        tag=program.tag,
        name=request.prog_name,
        load_time=program.load_time,
        created_by_uid=program.uid,
        gpl_compatible=program.gpl,
        map_ids=tuple(map.id for map in program.maps),
        xlated_prog_insns=program.xlated,
        btf_id=program.btf.id if program.btf is not None else 0,
        func_info=program.func_info,
        line_info=program.line_info,
        run_time_ns=program.run_time,
        run_cnt=program.run_count,
        verified_insns=program.facts.processed,
        attach_btf_id=program.attach_btf_id,
        attach_btf_obj_id=kernel.vmlinux.id if program.attach_btf_id else 0,
        prog_tags=_function_tags(program),
    )
    return _with_native_code(kernel, program, known) if jited else known


def _function_tags(program: Program) -> tuple[bytes, ...]:
    """A tag per function; a program of one function has its own."""
    starts = program.image.starts
    if len(starts) == 1:
        return (program.tag,)
    code = decode(program.xlated)
    ends = (*starts[1:], len(code))
    return tuple(tag_sha256(code[a:b]) for a, b in zip(starts, ends, strict=True))


def _with_native_code(kernel: Kernel, program: Program, known: ProgInfo) -> ProgInfo:
    from minibcc.kernel.vm.listing import native_code

    jit = kernel.native_engine()
    if jit is None:
        return known
    functions = native_code(jit, program.image)
    addresses = []
    for (slot,) in struct.iter_unpack("<I12x", program.line_info):
        function = max((f for f in functions if f.slot <= slot), key=lambda f: f.slot)
        addresses.append(function.address + function.offset_of(slot))
    code = b"".join(function.code for function in functions)
    return replace(
        known,
        jited_prog_insns=code,
        jited_prog_len=len(code),
        jited_line_info=tuple(addresses),
        jited_func_lens=tuple(len(function.code) for function in functions),
        jited_ksyms=tuple(function.address for function in functions),
    )
