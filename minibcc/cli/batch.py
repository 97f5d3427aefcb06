"""Raw programs by the line: each is loaded into a simulated kernel, and its verdict written.

A line in is a JSON object: ``id``, ``insns`` (hexadecimal), ``prog_type`` and, where they are not
0, GPL or none, ``expected_attach_type``, ``prog_flags``, ``license``, ``maps`` (``type``,
``key_size``, ``value_size``, ``max_entries``, ``map_flags``, and ``inner`` for maps of maps) and
``map_refs`` (pairs of a slot and an index into ``maps``: that 64-bit load gets the descriptor).
A line out has ``id``, ``verdict`` (ACCEPT or REJECT), ``errno``, ``reason``, ``code``,
``processed``, ``ms``; the code is ``verify/not-decided`` where this verifier has no opinion.
"""

from __future__ import annotations

import json
from time import perf_counter
from typing import Any

from minibcc import boot
from minibcc.abi.bpf import LogLevel, ProgType, Pseudo
from minibcc.abi.requests import MapCreate, ProgLoad, ProgramRefused
from minibcc.cli.verify import figures
from minibcc.isa.instruction import LD_IMM64, decode, encode

LOG_SIZE = 1 << 16


def run(text: str) -> int:
    """Answers every line of `text` on standard output; 0."""
    for line in text.splitlines():
        if line.strip():
            print(json.dumps(answer(line)), flush=True)
    return 0


def answer(line: str) -> dict[str, Any]:
    """The answer to one line; a line that cannot be understood is a REJECT that says so."""
    try:
        job = json.loads(line)
        name = job.get("id")
    except (ValueError, AttributeError) as wrong:
        return _no(None, 22, f"not a JSON object: {wrong}", "") | {"processed": 0, "ms": 0.0}
    system = boot.current()
    opened: list[int] = []
    began = perf_counter()
    log = ""
    try:
        maps = [_create(system, facts, opened) for facts in job.get("maps", ())]
        loaded = system.bpf(_request(job, maps))
        opened.append(loaded.fd)
        log = loaded.log
        out: dict[str, Any] = {
            "id": name,
            "verdict": "ACCEPT",
            "errno": 0,
            "reason": "",
            "code": "",
        }
    except ProgramRefused as refused:
        log = refused.log
        message, code = _reason(refused)
        out = _no(name, refused.errno or 22, message, code)
    except OSError as wrong:
        out = _no(name, wrong.errno or 22, wrong.strerror or "", "")
    except (ValueError, TypeError, LookupError, OverflowError) as wrong:
        out = _no(name, 22, f"{type(wrong).__name__}: {wrong}", "")
    finally:
        for fd in reversed(opened):
            system.close(fd)
    out["processed"] = figures(log).get("processed", 0)
    out["ms"] = round((perf_counter() - began) * 1000, 3)
    return out


def _reason(refused: ProgramRefused) -> tuple[str, str]:
    """The main message and its code; a real kernel tells them in its log only."""
    if refused.refusal is not None:
        return refused.refusal.message, refused.refusal.code
    from minibcc.bcc.refusal.log import read
    from minibcc.bcc.refusal.messages import classify

    message = read(refused.log).message
    known = classify(message)
    return message or refused.strerror or "", known.code if known is not None else ""


def _no(name: Any, errno: int, reason: str, code: str) -> dict[str, Any]:
    return {"id": name, "verdict": "REJECT", "errno": errno, "reason": reason, "code": code}


def _create(system: Any, facts: dict[str, Any], opened: list[int]) -> int:
    """A map, and before it the template that a map of maps is made with."""
    inner = _create(system, facts["inner"], opened) if facts.get("inner") else None
    request = MapCreate(
        map_type=facts["type"],
        key_size=facts.get("key_size", 0),
        value_size=facts.get("value_size", 0),
        max_entries=facts.get("max_entries", 0),
        map_flags=facts.get("map_flags", 0),
        inner_map_fd=inner,
    )
    fd: int = system.bpf(request)
    opened.append(fd)
    return fd


def _request(job: dict[str, Any], maps: list[int]) -> ProgLoad:
    slots = decode(bytes.fromhex(job["insns"]))
    for slot, index in job.get("map_refs", ()):
        insn = slots[slot]
        if insn.code != LD_IMM64:
            raise ValueError(f"slot {slot} is no 64-bit load")
        src = insn.src if insn.src == Pseudo.MAP_VALUE else Pseudo.MAP_FD
        slots[slot] = insn._replace(src=src, imm=maps[index])
    return ProgLoad(
        prog_type=ProgType(job["prog_type"]),
        insns=encode(slots),
        license=job.get("license", "GPL"),
        expected_attach_type=job.get("expected_attach_type", 0),
        prog_flags=job.get("prog_flags", 0),
        log_level=int(LogLevel.STATS),
        log_size=LOG_SIZE,
    )
