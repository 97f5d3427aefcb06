"""Calls of helpers.

A call is judged argument by argument, then the caller-saved registers are forgotten and R0 is what
the helper returns. Calls of the program's own functions are in `frames`. Mirrors
``check_helper_call`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import AttachType, MapType, ProgFlags, ProgType
from minibcc.abi.helpers import helper_for, name_of
from minibcc.kernel.verifier import (
    arguments,
    branches,
    callbacks,
    context,
    dynptrs,
    form,
    frames,
    grants,
    kptrs,
    locks,
    stack,
    structures,
)
from minibcc.kernel.verifier.operands import clear_caller_saved
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    BTF,
    MAP_VALUE,
    MAYBE_NULL,
    MEMORY,
    RINGBUF,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    TCP_SOCK,
    TRUSTED,
    UNINITIALISED,
    Reference,
    Refused,
    Register,
    kind_name,
    pointer,
    scalar,
    undecided,
)
from minibcc.kernel.verifier.values import ANY, S64_MAX, deduce

if TYPE_CHECKING:
    from minibcc.abi.helpers import Helper
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.contract import MapFacts, Source
    from minibcc.kernel.verifier.explore import Walk

_PERF = "perf_event_read perf_event_output skb_output perf_event_read_value xdp_output"
_RINGBUF = (
    "ringbuf_output ringbuf_reserve ringbuf_query ringbuf_reserve_dynptr ringbuf_submit_dynptr"
    " ringbuf_discard_dynptr"
)
_REDIRECT = "redirect_map map_lookup_elem"
_ONLY: dict[MapType, str] = {
    MapType.PROG_ARRAY: "tail_call",
    MapType.PERF_EVENT_ARRAY: _PERF,
    MapType.RINGBUF: _RINGBUF,
    MapType.USER_RINGBUF: "user_ringbuf_drain",
    MapType.STACK_TRACE: "get_stackid",
    MapType.CGROUP_ARRAY: "skb_under_cgroup current_task_under_cgroup",
    MapType.CGROUP_STORAGE: "get_local_storage",
    MapType.PERCPU_CGROUP_STORAGE: "get_local_storage",
    MapType.DEVMAP: _REDIRECT,
    MapType.DEVMAP_HASH: _REDIRECT,
    MapType.CPUMAP: "redirect_map",
    MapType.XSKMAP: _REDIRECT,
    MapType.ARRAY_OF_MAPS: "map_lookup_elem",
    MapType.HASH_OF_MAPS: "map_lookup_elem",
    MapType.SOCKMAP: "sk_redirect_map sock_map_update map_delete_elem msg_redirect_map"
    " sk_select_reuseport map_lookup_elem map_update_elem",
    MapType.SOCKHASH: "sk_redirect_hash sock_hash_update map_delete_elem msg_redirect_hash"
    " sk_select_reuseport map_lookup_elem map_update_elem",
    MapType.REUSEPORT_SOCKARRAY: "sk_select_reuseport",
    MapType.QUEUE: "map_peek_elem map_pop_elem map_push_elem",
    MapType.STACK: "map_peek_elem map_pop_elem map_push_elem",
    MapType.SK_STORAGE: "sk_storage_get sk_storage_delete kptr_xchg",
    MapType.INODE_STORAGE: "inode_storage_get inode_storage_delete kptr_xchg",
    MapType.TASK_STORAGE: "task_storage_get task_storage_delete kptr_xchg",
    MapType.CGRP_STORAGE: "cgrp_storage_get cgrp_storage_delete kptr_xchg",
    MapType.BLOOM_FILTER: "map_peek_elem map_push_elem",
    MapType.STRUCT_OPS: "",
    MapType.ARENA: "",
}
"""The helpers that maps of some types are for; the other types are for all that take any map."""

_ANY_MAP = (
    "map_lookup_elem map_update_elem map_delete_elem for_each_map_elem timer_init map_push_elem"
    " map_pop_elem map_peek_elem map_lookup_percpu_elem kptr_xchg timer_set_callback timer_start"
    " timer_cancel"
)
_QUEUES = (MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER)
_EXTRA: dict[str, tuple[MapType, ...]] = {
    "map_pop_elem": (MapType.QUEUE, MapType.STACK),
    "map_peek_elem": _QUEUES,
    "map_push_elem": _QUEUES,
    "map_lookup_percpu_elem": (
        MapType.PERCPU_ARRAY,
        MapType.PERCPU_HASH,
        MapType.LRU_PERCPU_HASH,
    ),
}
"""Helpers that are for some types of map, beyond what `_ONLY` says."""

_SOCKET_WRITERS = ("map_update_elem", "map_delete_elem")
_SOCKET_CHANGERS = (
    *(ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP),
    *(ProgType.SK_REUSEPORT, ProgType.FLOW_DISSECTOR, ProgType.SK_LOOKUP),
)
_WRITERS = {"map_update_elem", "map_delete_elem", "map_push_elem", "map_pop_elem"}
_BOUNDED = {
    "get_stack",
    "get_task_stack",
    "probe_read_str",
    "probe_read_kernel_str",
    "probe_read_user_str",
}
_SOCKET_RESULTS = {"socket": SOCKET, "sock_common": SOCK_COMMON, "tcp_sock": TCP_SOCK}
_ACQUIRES = ("sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp")
_CASTS = (
    *("tcp_sock", "sk_fullsock", "skc_to_tcp_sock", "skc_to_tcp6_sock", "skc_to_udp6_sock"),
    *("skc_to_mptcp_sock", "skc_to_tcp_timewait_sock", "skc_to_tcp_request_sock"),
)
"""Helpers whose result is their argument by another name: it is held by the same reference."""
_PATHS = (
    *("security_file_permission", "security_inode_getattr", "security_file_open"),
    *("security_path_truncate", "vfs_truncate", "vfs_fallocate", "dentry_open", "vfs_getattr"),
    "filp_close",
)
"""``btf_allowlist_d_path``"""
_MAX_ERRNO = 4095
_SPIN_UNLOCK = 94


def argument_count(program: Source, insn: Instruction) -> int:
    """How many registers a helper's call reads."""
    row = helper_for(insn.imm, program.prog_type, int(program.attach_type))
    return len(row.arguments) if row is not None else 5


def call(walk: Walk, insn: Instruction) -> None:
    if insn.src == 1:
        frames.enter(walk, insn)
    elif insn.src == 2:
        raise undecided("kernel functions (kfuncs)")
    else:
        _helper(walk, insn)
        if insn.imm != form.TAIL_CALL:
            walk.slot += 1


# --- helpers ----------------------------------------------------------------------------------


def _row(walk: Walk, insn: Instruction) -> Helper:
    """The helper, if this program may call it."""
    program = walk.program
    name = name_of(insn.imm) or "unknown"
    if name == "unknown":
        raise Refused(EINVAL, "verify/no-helper", f"invalid func {name}#{insn.imm}")
    row = helper_for(insn.imm, program.prog_type, int(program.attach_type))
    if row is None or insn.imm in walk.environment.lacks:
        raise Refused(
            EINVAL, "verify/no-helper", f"program of this type cannot use helper {name}#{insn.imm}"
        )
    if row.gpl and not program.gpl:
        raise Refused(
            EINVAL,
            "verify/gpl-only",
            "cannot call GPL-restricted function from non-GPL compatible program",
        )
    if row.name == "d_path" and not _shows_paths(program):
        raise Refused(EINVAL, "verify/no-helper", "helper call is not allowed in probe")
    if row.might_sleep and not program.prog_flags & ProgFlags.SLEEPABLE:
        raise Refused(EINVAL, "verify/sleep", "helper call might sleep in a non-sleepable prog")
    return row


def _shows_paths(program: Source) -> bool:
    """Where a path may be made text (``bpf_d_path_allowed``); of security hooks Linux takes those
    that may sleep."""
    if program.prog_type != ProgType.TRACING:
        return program.prog_type == ProgType.LSM
    func = program.attach_func
    return program.attach_type == AttachType.TRACE_ITER or (
        func is not None and func.name in _PATHS
    )


def _helper(walk: Walk, insn: Instruction) -> None:
    if walk.state.references and insn.imm != _SPIN_UNLOCK:
        locks.unlocked(walk, "function calls are not allowed while holding a lock")
    row = _row(walk, insn)
    state = arguments.Call(row)
    for position, wanted in enumerate(row.arguments):
        arguments.check(walk, state, position, wanted)
    facts = state.map
    if facts is not None:
        _may_be_given(facts, row)
    if state.fills is not None:
        frame, low, high = state.fills
        stack.fill(walk, frame, low, high)
    if state.release:
        _release(walk, state)
    if row.name == "dynptr_from_mem" and walk.registers[1].kind != MAP_VALUE:
        kind = kind_name(walk.registers[1].kind)
        message = f"Unsupported reg type {kind} for bpf_dynptr_from_mem data"
        raise Refused(EACCES, "verify/dynptr", message)
    if row.name == "snprintf":
        _format(walk, state)
    if state.function:
        callbacks.schedule(walk, state)
    if row.name == "tail_call":
        assert facts is not None
        index = walk.registers[3]
        if index.kind == SCALAR and index.range.known and index.range.value < facts.max_entries:
            walk.mark_precise(3)
        frames.leaks(walk, "tail_call")
    clear_caller_saved(walk)
    walk.registers[0] = _result(walk, state)
    if facts is not None:
        _fits(walk, facts, row)
    if row.name == "tail_call":
        _tail_call(walk)
    elif row.name in context.CHANGES_PACKET:
        context.forget_packet(walk)


def _format(walk: Walk, call: arguments.Call) -> None:
    """A format of a size that is known must be one, for so many values
    (``check_bpf_snprintf_call``)."""
    from minibcc.kernel.helpers.formatting import BadFormat, Nowhere, format_message

    size = walk.registers[5].range.bits[0]
    if size % 8:
        raise Refused(EINVAL, "verify/argument-type", "")
    try:
        format_message(call.text, [0] * (size // 8), Nowhere())
    except BadFormat:
        raise Refused(EINVAL, "verify/argument-type", "Invalid format string") from None


def _tail_call(walk: Walk) -> None:
    """Of the main program it has no end that matters here; in a function, what it calls returns to
    the function's caller."""
    if len(walk.state.frames) == 1:
        walk.slot += 1
        return
    walk.fork(walk.slot + 1)
    context.forget_packet(walk)
    frames.leave_early(walk, ANY_NUMBER)


def _may_be_given(facts: MapFacts, row: Helper) -> None:
    """What Linux asks of a map before it asks whether the helper fits it."""
    if row.name in _WRITERS and grants.read_only(facts):
        raise Refused(EACCES, "verify/map-rights", "write into map forbidden")
    if row.name == "tail_call" and facts.type != MapType.PROG_ARRAY:
        raise Refused(EINVAL, "verify/map-kind", "expected prog array map for tail call")


def _release(walk: Walk, call: arguments.Call) -> None:
    """Gives back a reference: all copies of it are no values any more."""
    reference = call.reference
    state = walk.state
    register = walk.registers[call.release]
    if call.dynptr is not None:
        reference = call.dynptr.ref
    if not any(held.id == reference for held in state.references):
        return
    state.references = tuple(held for held in state.references if held.id != reference)
    branches.every(state, lambda register: ANY_NUMBER if register.ref == reference else register)
    walk.registers = state.frame.registers
    if call.dynptr is not None:
        dynptrs.release(walk, register)


def _result(walk: Walk, call: arguments.Call) -> Register:
    """What R0 is after the call."""
    row = call.helper
    result = row.result
    null = MAYBE_NULL if result.null else 0
    if result.kind == "void":
        return UNINITIALISED
    if result.kind == "integer":
        value = ANY
        if row.name in _BOUNDED:
            value = deduce(
                ANY._replace(
                    smin=-_MAX_ERRNO,
                    smax=min(call.size, S64_MAX),
                    smin32=-_MAX_ERRNO,
                    smax32=min(call.size, (1 << 31) - 1),
                )
            )
        elif row.name == "get_smp_processor_id" and walk.environment.cpus:
            last = walk.environment.cpus - 1
            value = deduce(ANY._replace(umax=last, umax32=last, smax=last, smin=0))
        return scalar(value)
    if result.kind == "map_value":
        facts = call.map
        assert facts is not None
        if row.name == "map_lookup_elem" and facts.type in arguments.SOCKET_MAPS:
            return _acquired(walk, MAP_VALUE | null, object=facts)
        if row.name == "map_lookup_elem" and 0 <= call.key < facts.max_entries:
            number = walk.new_id() if branches.has_lock(facts) else 0
            return pointer(MAP_VALUE, object=facts, id=number)
        named = null or branches.has_lock(facts)
        return pointer(MAP_VALUE | null, object=facts, id=walk.new_id() if named else 0)
    if result.kind == "mem" and row.name == "ringbuf_reserve":
        return _acquired(walk, MEMORY | RINGBUF | null, room=call.memory)
    if result.kind == "mem" and call.dynptr is not None:
        return dynptrs.slice_of(call.dynptr, call.memory, walk.new_id())
    if call.kptr is not None:
        return _acquired(walk, BTF | null, object=kptrs.held(walk, call.kptr).object)
    made = None
    if result.kind in _SOCKET_RESULTS:
        made = pointer(_SOCKET_RESULTS[result.kind] | null)
    elif result.kind == "btf_id" and result.btf:
        flags = TRUSTED if "trusted" in result.flags else 0
        made = structures.named(walk, result.btf, flags | null)
    if made is not None:
        if row.name in _ACQUIRES:
            return _acquired(walk, made.kind)
        reference = call.reference if row.name in _CASTS else 0
        return made._replace(id=walk.new_id() if null else 0, ref=reference)
    raise undecided(f"what bpf_{row.name} returns")


def _acquired(walk: Walk, kind: int, **fields: Any) -> Register:
    """A pointer with a reference of its own, which must be released unless it is null."""
    walk.new_id()  # the kernel numbers the null check before the reference
    reference = walk.new_id()
    walk.state.references = (*walk.state.references, Reference(reference, walk.slot))
    return pointer(kind, id=reference, ref=reference, **fields)


def _changes_sockets(walk: Walk, row: Helper) -> bool:
    """Whether a program of this type may update maps of sockets, or delete from them."""
    kind = walk.program.prog_type
    if kind == ProgType.SOCK_OPS:
        return row.name == "map_delete_elem"
    if kind == ProgType.TRACING:
        return walk.program.attach_type == AttachType.TRACE_ITER
    return kind in _SOCKET_CHANGERS


def _fits(walk: Walk, facts: MapFacts, row: Helper) -> None:
    """The helper is one for maps of this type."""
    only = _ONLY.get(facts.type)
    fits = True
    sockets = facts.type in arguments.SOCKET_MAPS and row.name in _SOCKET_WRITERS
    if sockets and not _changes_sockets(walk, row):
        raise Refused(EINVAL, "verify/map-kind", "cannot update sockmap in this context")
    if only is not None:
        fits = row.name in only.split()
    elif row.name not in _ANY_MAP.split():
        fits = False
    if row.name in _EXTRA and facts.type not in _EXTRA[row.name]:
        fits = False
    if not fits:
        raise Refused(
            EINVAL,
            "verify/map-kind",
            f"cannot pass map_type {int(facts.type)} into func bpf_{row.name}#{row.number}",
        )
