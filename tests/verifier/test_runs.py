"""Programs with functions run as the verifier lets them: the accepted ones of `cases/*.txt`, in
both engines, with one answer."""

from __future__ import annotations

import pytest

from minibcc.abi.bpf import MapType, ProgType
from minibcc.abi.requests import BtfLoad, MapCreate, ProgLoad, ProgTestRun
from minibcc.btf.encode import encode as encode_types
from minibcc.btf.types import Int
from minibcc.isa.instruction import LD_IMM64, encode
from minibcc.kernel.helpers.registry import implementation
from minibcc.kernel.system import SimulatedSystem
from minibcc.machine.machine import Machine
from tests.machine.fakes import FakeKernel
from tests.verifier.test_cases import CASES, Case

RUNNABLE = (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.XDP)
CALL = 0x85


def _simulated(case: Case) -> bool:
    """Whether the kernel has all the helpers that the case calls."""
    return all(
        implementation(insn.imm) is not None
        for insn in case.source.instructions
        if insn.code == CALL and not insn.src
    )


ACCEPTED = [
    case
    for case in CASES
    if case.decided and _simulated(case) and not case.errno and case.source.functions
    and case.source.prog_type in RUNNABLE
]  # fmt: skip
PACKET = bytes(range(64))


def _run(case: Case, engine: str) -> int:
    system = SimulatedSystem(Machine(FakeKernel(), cpus=2), engine=engine)
    source = case.source
    fds = {}
    key = Int("unsigned int", 4, False)
    for number, facts in source.maps.items():
        fields = {}
        if facts.value_type is not None:
            types = encode_types([key, facts.value_type])
            fields["btf_fd"] = system.bpf(BtfLoad(types.data))
            fields["btf_key_type_id"] = types.id_of(key)
            fields["btf_value_type_id"] = types.id_of(facts.value_type)
        fds[number] = system.bpf(
            MapCreate(
                MapType(facts.type), facts.key_size, facts.value_size, facts.max_entries,
                facts.flags, **fields,
            )
        )  # fmt: skip
    slots = [
        insn._replace(imm=fds[insn.imm]) if insn.code == LD_IMM64 and insn.src in (1, 2) else insn
        for insn in source.instructions
    ]
    types = encode_types([func for _, func in source.functions])
    info = b"".join(
        slot.to_bytes(4, "little") + types.id_of(func).to_bytes(4, "little")
        for slot, func in source.functions
    )
    btf = system.bpf(BtfLoad(types.data))
    load = ProgLoad(source.prog_type, encode(slots), prog_btf_fd=btf, func_info=info)
    return system.bpf(ProgTestRun(system.bpf(load).fd, PACKET)).retval


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_both_engines_agree(case: Case) -> None:
    assert _run(case, "interpreter") == _run(case, "jit")
