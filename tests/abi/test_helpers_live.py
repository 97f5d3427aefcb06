"""The helper table, compared with the running kernel: program type by program type."""

from __future__ import annotations

import re

import pytest

from minibcc.abi.bpf import AttachType, MapType, ProgType
from minibcc.abi.helpers import ATTACHED, NOT_GPL, Helper, allowed, helper_for, helpers, name_of
from minibcc.abi.requests import MapCreate
from minibcc.btf.decode import Btf
from minibcc.btf.layout import Kind
from minibcc.isa.instruction import Instruction
from minibcc.isa.text import assemble
from minibcc.system.interface import read_file
from tests.live import DEFAULT_ATTACH, LOADABLE, kernel, verdict

pytestmark = pytest.mark.kernel

# What the table has switched on and the kernel at hand may have switched off: by configuration
# (error injection, remote controls), or by lockdown.
OPTIONAL = {"override_return", "probe_write_user", "rc_repeat", "rc_keydown", "rc_pointer_rel"}

PLACES = sorted(
    {(prog_type, int(DEFAULT_ATTACH.get(prog_type, 0))) for prog_type in LOADABLE}
    | {(prog_type, int(attach)) for prog_type, attach in ATTACHED if prog_type in LOADABLE}
    | {(prog_type, attach) for prog_type, attach, _ in NOT_GPL}
    | {
        (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_INET4_GETPEERNAME),
        (ProgType.CGROUP_SOCK_ADDR, AttachType.CGROUP_UDP4_RECVMSG),
    }
)

# What the kernel wants in R1 if it gets the context there, by what the table says of argument 1.
EXPECTED = {
    "map_ptr": "map_ptr",
    "mem": "fp, pkt, pkt_meta, map_key, map_value, mem, ringbuf_mem, buf, trusted_ptr_",
    "btf_id": "ptr_, trusted_ptr_, rcu_ptr_",
    "btf_id_sock_common": "sock_common, sock, tcp_sock, xdp_sock, ptr_, trusted_ptr_",
    "sock_common": "sock_common, sock, tcp_sock, xdp_sock",
    "percpu_btf_id": "percpu_ptr_, percpu_rcu_ptr_, percpu_trusted_ptr_",
    "ringbuf_mem": "ringbuf_mem",
    "dynptr": "fp, dynptr_ptr",
    "spin_lock": "map_value, ptr_",
    "timer": "map_value",
    "kptr_xchg_dest": "map_value, ptr_",
}


@pytest.mark.parametrize(("prog_type", "attach_type"), PLACES, ids=lambda value: str(int(value)))
def test_who_may_call_what(prog_type: ProgType, attach_type: int) -> None:
    """One load tells: whether the type may call it, and if so, whether only if GPL."""
    kernel()
    names = allowed(prog_type, attach_type)
    for number, row in helpers().items():
        log = _call(row, prog_type, attach_type, "MIT")
        refused = "program of this type cannot use helper" in log
        if row.name in OPTIONAL and refused:
            continue
        assert refused == (row.name not in names), f"{row.name}: {log}"
        if not refused:
            seen = helper_for(number, prog_type, attach_type)
            assert seen is not None
            assert ("GPL-restricted" in log) == seen.gpl, f"{row.name}: {log}"


@pytest.mark.parametrize("prog_type", LOADABLE, ids=lambda value: value.name)
def test_what_is_wanted_first(prog_type: ProgType) -> None:
    """Called with the context, every helper that wants something else in R1 says what."""
    kernel()
    attach_type = int(DEFAULT_ATTACH.get(prog_type, 0))
    for row in helpers().values():
        seen = helper_for(row.number, prog_type, attach_type)
        if seen is None or not seen.arguments:
            continue
        first = seen.arguments[0].kind
        log = _call(row, prog_type, attach_type, "GPL")
        if re.search("cannot use|might sleep|not supported|not allowed in probe", log):
            continue
        found = re.search(r"R1 type=ctx expected=(.*)", log)
        assert (found[1] if found else None) == EXPECTED.get(first), f"{row.name}: {log}"


@pytest.mark.parametrize(
    ("attach_type", "kind", "name"),
    [
        (AttachType.TRACE_RAW_TP, Kind.TYPEDEF, "btf_trace_sched_switch"),
        (AttachType.TRACE_ITER, Kind.FUNC, "bpf_iter_task"),
    ],
)
def test_what_tracing_programs_may_call(attach_type: AttachType, kind: Kind, name: str) -> None:
    """Those that load here: the ones at functions need what this kernel lacks."""
    target = Btf(read_file(kernel(), "/sys/kernel/btf/vmlinux")).find_id(kind, name)
    assert target is not None
    for row in helpers().values():
        log = _call(row, ProgType.TRACING, attach_type, "GPL", target)
        refused = "program of this type cannot use helper" in log
        if not (row.name in OPTIONAL and refused):
            assert refused == (row.name not in allowed(ProgType.TRACING, attach_type)), log


def _call(row: Helper, prog_type: ProgType, attach_type: int, license: str, target: int = 0) -> str:
    program = [Instruction(0x85, imm=row.number), Instruction(0xB7), Instruction(0x95)]
    return verdict(program, prog_type, attach_type, license=license, attach_btf_id=target)[1]


def test_names() -> None:
    for number in range(213):
        _, log = verdict([Instruction(0x85, imm=number), Instruction(0xB7), Instruction(0x95)],
                         ProgType.KPROBE, log_level=2)  # fmt: skip
        assert f"call {name_of(number) or 'unknown'}#{number}" in log


# What the kernel wants in a register that holds the context instead.
WANTED = {
    **EXPECTED,
    "map_key": EXPECTED["mem"],
    "map_value": EXPECTED["mem"],
    "const_size": "scalar",
    "const_size_or_zero": "scalar",
    "const_alloc_size_or_zero": "scalar",
    "func": "func",
    "stack": "fp",
    "const_str": "map_value",
    "socket": "sock",
}

# How to make a value of each kind, where that takes an instruction or two.
SETUP = "r6 = r1\n" + "".join(f"*(u64 *)(r10 -{off}) = 0\n" for off in range(8, 72, 8))
MAKE = {
    "ctx": "r{} = r6",
    "map_ptr": "r{} = map[m]",
    "map_key": "r{} = r10\nr{} += -64",
    "map_value": "r{} = r10\nr{} += -64",
    "mem": "r{} = r10\nr{} += -64",
    "stack": "r{} = r10\nr{} += -64",
    "const_size": "r{} = 8",
    "const_size_or_zero": "r{} = 8",
    "anything": "r{} = 0",
}


@pytest.mark.parametrize("row", helpers().values(), ids=lambda row: row.name)
def test_every_argument(row: Helper) -> None:
    """Each argument in turn is the context, the ones before it what the table wants: the kernel
    says of the one that it is wrong, and what it had wanted."""
    system = kernel()
    fd = system.bpf(MapCreate(MapType.ARRAY, 4, 8, 1))
    try:
        asked = set()
        for prog_type in LOADABLE:
            seen = helper_for(row.number, prog_type, int(DEFAULT_ATTACH.get(prog_type, 0)))
            if seen is not None and seen.arguments not in asked:
                asked.add(seen.arguments)
                _ask_arguments(seen, prog_type, fd)
    finally:
        system.close(fd)


def _ask_arguments(row: Helper, prog_type: ProgType, fd: int) -> None:
    attach_type = int(DEFAULT_ATTACH.get(prog_type, 0))
    if row.name in OPTIONAL or row.might_sleep:
        return
    made = ""
    for index, argument in enumerate(row.arguments, 1):
        text = f"{SETUP}{made}r{index} = r6\ncall bpf_{row.name}\nr0 = 0\nexit"
        insns = assemble(text, {"m": fd})
        _, log = verdict(insns, prog_type, attach_type)
        if re.search("not supported for program type|not allowed in probe", log):
            return
        found = re.search(rf"R{index} type=ctx expected=(.*)", log)
        if argument.kind == "mem" and "fixed" not in argument.flags:
            # Memory and its size are looked at together.
            found = found or re.search(r"R\d !read_ok", log)
            wanted = None if found and "!read_ok" in found[0] else WANTED["mem"]
            assert (found[1] if wanted and found else None) == wanted, f"{index}: {log}"
        else:
            assert (found[1] if found else None) == WANTED.get(argument.kind), f"{index}: {log}"
        if argument.kind not in MAKE:
            return
        made += MAKE[argument.kind].replace("{}", str(index)) + "\n"
