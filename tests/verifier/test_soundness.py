"""An accepted program never faults: random programs that the verifier takes run on packets."""

from __future__ import annotations

from itertools import islice

from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import MapCreate, ProgLoad, ProgramRefused, ProgTestRun
from minibcc.isa.instruction import LD_IMM64, encode
from tests.kernel.support import boot
from tests.verifier import generate

RUNNABLE = (ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.XDP)
PACKETS = (bytes(range(14)), bytes(60), bytes(range(256)))


def test_accepted_programs_do_not_fault() -> None:
    system = boot()
    fds = {
        number: system.bpf(
            MapCreate(facts.type, facts.key_size, facts.value_size, facts.max_entries)
        )
        for number, facts in generate.MAPS.items()
    }
    accepted = 0
    for source in islice(generate.programs(77), 600):
        if source.prog_type not in RUNNABLE:
            continue
        slots = [
            insn._replace(imm=fds[insn.imm]) if insn.code == LD_IMM64 and insn.src else insn
            for insn in source.instructions
        ]
        try:
            loaded = system.bpf(ProgLoad(source.prog_type, encode(slots)))
        except ProgramRefused:
            continue
        accepted += 1
        for data in PACKETS:
            system.bpf(ProgTestRun(loaded.fd, data))
        system.close(loaded.fd)
    for fd in fds.values():
        system.close(fd)
    assert accepted >= 25
