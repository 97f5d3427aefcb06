"""What user space may know of a program or a map: BPF_OBJ_GET_INFO_BY_FD.

Mirrors ``bpf_prog_get_info_by_fd`` and ``bpf_map_get_info_by_fd`` of kernel/bpf/syscall.c.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import MapInfo, ProgInfo
from minibcc.isa.instruction import decode
from minibcc.isa.tag import tag_sha256
from minibcc.records import replace

if TYPE_CHECKING:
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.maps.base import Map
    from minibcc.kernel.objects import Program


def program_info(kernel: Kernel, program: Program, *, jited: bool) -> ProgInfo:
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


def map_info(map: Map) -> MapInfo:
    """``bpf_map_get_info_by_fd``."""
    asked, btf = map.request, map.btf
    return MapInfo(
        type=map.type,
        id=map.id,
        key_size=map.key_size,
        value_size=map.value_size,
        max_entries=map.max_entries,
        map_flags=map.flags,
        name=map.name,
        btf_id=btf.id if btf is not None else 0,
        btf_key_type_id=asked.btf_key_type_id if btf is not None else 0,
        btf_value_type_id=asked.btf_value_type_id if btf is not None else 0,
        frozen=map.frozen,
        memlock=map.memlock,
    )
