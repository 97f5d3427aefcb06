"""What depends on a program's type: its context, packet data, and fields of maps.

Which bytes of its context a program may load or store, and what kind of value is there, stands in
`abi.contexts`; here that becomes registers and refusals. Mirrors ``check_ctx_access``,
``may_access_direct_pkt_data`` and ``check_ld_abs`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import AttachType, MapType, ProgType
from minibcc.abi.contexts import context_of
from minibcc.abi.helpers import helper
from minibcc.isa import opcodes
from minibcc.kernel.verifier import branches, grants, structures
from minibcc.kernel.verifier.operands import clear_caller_saved, source
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    CTX,
    FLOW_KEYS,
    MAYBE_NULL,
    PACKET,
    PACKET_END,
    PACKET_META,
    SOCK_COMMON,
    SOCKET,
    TRUSTED,
    Refused,
    Register,
    number,
    pointer,
    undecided,
)

if TYPE_CHECKING:
    from minibcc.abi.contexts import Context
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.explore import Walk
    from minibcc.kernel.verifier.state import Frame

CALL = opcodes.JMP | opcodes.CALL
_YIELDS = {
    "pkt": PACKET,
    "pkt_meta": PACKET_META,
    "pkt_end": PACKET_END,
    "flow_keys": FLOW_KEYS,
    "sock": SOCKET,
    "sock_or_null": SOCKET | MAYBE_NULL,
    "sock_common_or_null": SOCK_COMMON | MAYBE_NULL,
}
_STRUCTURES = {
    MapType.ARRAY: "bpf_array",
    MapType.PERCPU_ARRAY: "bpf_array",
    MapType.PROG_ARRAY: "bpf_array",
    MapType.PERF_EVENT_ARRAY: "bpf_array",
    MapType.CGROUP_ARRAY: "bpf_array",
    MapType.ARRAY_OF_MAPS: "bpf_array",
    MapType.HASH: "bpf_htab",
    MapType.PERCPU_HASH: "bpf_htab",
    MapType.LRU_HASH: "bpf_htab",
    MapType.LRU_PERCPU_HASH: "bpf_htab",
    MapType.HASH_OF_MAPS: "bpf_htab",
    MapType.LPM_TRIE: "lpm_trie",
    MapType.RINGBUF: "bpf_ringbuf_map",
    MapType.STACK_TRACE: "bpf_stack_map",
    MapType.QUEUE: "bpf_queue_stack",
    MapType.STACK: "bpf_queue_stack",
    MapType.DEVMAP: "bpf_dtab",
    MapType.DEVMAP_HASH: "bpf_dtab",
    MapType.SOCKMAP: "bpf_stab",
    MapType.SOCKHASH: "bpf_shtab",
    MapType.CPUMAP: "bpf_cpu_map",
    MapType.XSKMAP: "xsk_map",
    MapType.CGROUP_STORAGE: "bpf_cgroup_storage_map",
    MapType.PERCPU_CGROUP_STORAGE: "bpf_cgroup_storage_map",
    MapType.REUSEPORT_SOCKARRAY: "reuseport_array",
    MapType.SK_STORAGE: "bpf_local_storage_map",
    MapType.INODE_STORAGE: "bpf_local_storage_map",
    MapType.TASK_STORAGE: "bpf_local_storage_map",
    MapType.CGRP_STORAGE: "bpf_local_storage_map",
    MapType.BLOOM_FILTER: "bpf_bloom_filter",
    MapType.USER_RINGBUF: "bpf_ringbuf_map",
}

_TRUSTED = "trusted_ptr_"
_TRACED = (ProgType.TRACING, ProgType.LSM)
"""Types whose context is the arguments of a function of the kernel."""
_MAX_ERRNO = 4095
_BOOL_HOOKS = ("bpf_lsm_audit_rule_known", "bpf_lsm_inode_xattr_skipcap")


def returns(walk: Walk) -> tuple[int, int] | None:
    """What a program may return; of an LSM program its hook says it."""
    func = walk.program.attach_func
    if walk.program.prog_type != ProgType.LSM or func is None:
        return table(walk).returns
    return (0, 1) if func.name in _BOOL_HOOKS else (-_MAX_ERRNO, 0)


def returns_nothing(walk: Walk) -> bool:
    """Whether R0 is of no meaning at the program's end: the hook of an LSM program is void."""
    func = walk.program.attach_func
    return walk.program.prog_type == ProgType.LSM and func is not None and not func.proto.result


def map_structure(facts: object) -> str:
    return _STRUCTURES.get(facts.type, "bpf_map")  # type: ignore[attr-defined]  # a MapFacts


CHANGES_PACKET = {
    "skb_vlan_push", "skb_vlan_pop", "skb_store_bytes", "skb_change_proto", "skb_change_head",
    "skb_change_tail", "skb_pull_data", "skb_adjust_room", "clone_redirect", "l3_csum_replace",
    "l4_csum_replace", "xdp_adjust_head", "xdp_adjust_meta", "xdp_adjust_tail", "msg_pull_data",
    "msg_push_data", "msg_pop_data", "lwt_push_encap", "lwt_seg6_store_bytes",
    "lwt_seg6_adjust_srh", "lwt_seg6_action", "sk_skb_change_head", "store_hdr_opt",
    "load_hdr_opt", "tail_call",
}  # fmt: skip
"""Helpers after which pointers into the packet are none any more; a tail call may call them all."""


def table(walk: Walk) -> Context:
    """The program's row of `abi.contexts`."""
    try:
        return context_of(walk.program.prog_type, int(walk.program.attach_type))
    except (KeyError, ValueError):
        raise undecided("programs of this type, attached so") from None


def packet_helpers(walk: Walk) -> bool:
    """Whether helpers may read the packet through pointers."""
    return bool(table(walk).packet)


def packet_write(walk: Walk) -> None:
    """A store into the packet."""
    if table(walk).packet != "rw":
        raise Refused(EACCES, "verify/read-only", "cannot write into packet")


def forget_packet(walk: Walk) -> None:
    """What pointed into the packet is a number from now on."""

    def forget(register: Register) -> Register:
        if register.kind in (PACKET, PACKET_META, PACKET_END):
            return ANY_NUMBER
        return register

    branches.every(walk.state, forget)
    walk.registers = walk.state.frame.registers


def effects(walk: Walk, start: int, seen: frozenset[int] = frozenset()) -> tuple[bool, bool]:
    """Whether a function, or one that it calls, may change the packet, and may sleep."""
    shape = walk.shape
    first = shape.function_at(start)
    changes = sleeps = False
    for slot in range(start, shape.starts[first + 1]):
        insn = shape.insns[slot]
        inside = slot + insn.imm + 1
        if insn.code == CALL and not insn.src and (row := helper(insn.imm)) is not None:
            changes = changes or row.name in CHANGES_PACKET
            sleeps = sleeps or row.might_sleep
        elif insn.code == CALL and insn.src == 1 and inside not in seen:
            below = effects(walk, inside, seen | {start})
            changes, sleeps = changes or below[0], sleeps or below[1]
    return changes, sleeps


def load(walk: Walk, offset: int, size: int) -> Register:
    """The value of a field of the context."""
    func = walk.program.attach_func
    if func is not None and walk.program.prog_type in _TRACED:
        return structures.argument(walk, func, offset, size)
    field = table(walk).access(offset, size)
    if field is None:
        raise grants.no_field(offset, size)
    if field.yields == "scalar":
        return ANY_NUMBER
    if field.yields.startswith(_TRUSTED):
        return structures.named(walk, field.yields.removeprefix(_TRUSTED), TRUSTED)
    kind = _YIELDS.get(field.yields)
    if kind is None:
        raise undecided(f"{field.yields} out of the context")
    return pointer(kind, id=walk.new_id() if kind & MAYBE_NULL else 0)


def store(walk: Walk, offset: int, size: int) -> None:
    """A store into a field of the context."""
    if table(walk).access(offset, size, write=True) is None:
        raise grants.no_field(offset, size)


def map_field(walk: Walk, base: Register, register: int, offset: int, size: int) -> Register:
    """What a load through a pointer to a map gives."""
    structure = map_structure(base.object)
    if offset < 0:
        message = f"R{register} is {structure} invalid negative access: off={offset}"
        raise Refused(EACCES, "verify/modified-pointer", message)
    return structures.field(walk, structure, offset, size)


def legacy(walk: Walk) -> None:
    """The packet loads of classic BPF exist for some types of program only."""
    if not table(walk).legacy:
        raise Refused(
            EINVAL,
            "verify/bad-insn",
            "BPF_LD_[ABS|IND] instructions not allowed for this program type",
        )


def packet_load(walk: Walk, insn: Instruction) -> None:
    """LD_ABS and LD_IND: R6 is the context; what is outside the packet ends the function with 0."""
    from minibcc.kernel.verifier import frames

    legacy(walk)
    context = source(walk, 6)
    frames.leaks(walk, "BPF_LD_[ABS|IND]")
    if context.kind != CTX:
        raise Refused(
            EINVAL, "verify/argument-type", "at the time of BPF_LD_ABS|IND R6 != pointer to skb"
        )
    if insn.code & 0xE0 == opcodes.IND:
        source(walk, insn.src)
    grants.unmodified(context, 6)
    clear_caller_saved(walk)
    walk.registers[0] = ANY_NUMBER
    if len(walk.state.frames) == 1:
        walk.slot += 1
    else:
        walk.fork(walk.slot + 1)
        frames.leave_early(walk, number(0))


def _hook(walk: Walk) -> None:
    """An LSM program is for one of the security hooks (``bpf_lsm_verify_prog``)."""
    func = walk.program.attach_func
    if not walk.program.gpl:
        message = "LSM programs must have a GPL compatible license"
        raise Refused(EINVAL, "verify/gpl-only", message)
    if func is not None and not func.name.startswith("bpf_lsm_"):
        number = walk.program.attach_id
        message = f"attach_btf_id {number} points to wrong type name {func.name}"
        raise Refused(EINVAL, "verify/bad-function", message)


def entry(walk: Walk, frame: Frame) -> None:
    """The registers at a program's start."""
    traced = walk.program.prog_type in _TRACED and walk.program.attach_func is not None
    if traced and walk.program.attach_type == AttachType.LSM_CGROUP:
        raise undecided("LSM programs of a cgroup")
    if walk.program.prog_type == ProgType.LSM:
        _hook(walk)
    if traced:
        structures.ready(walk)
    elif not table(walk).fields:
        name = ProgType(walk.program.prog_type).name.lower()
        raise undecided(f"programs of type {name}")
    frame.registers[1] = pointer(CTX)
