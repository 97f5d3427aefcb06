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
from errno import EINVAL
from time import perf_counter
from typing import Any, TypeVar

from minibcc import boot
from minibcc.abi.bpf import LogLevel, MapType, ProgType, Pseudo
from minibcc.abi.requests import MapCreate, ProgLoad, ProgramRefused
from minibcc.cli.verify import figures
from minibcc.isa.instruction import LD_IMM64, decode, encode

LOG_SIZE = 1 << 16
_Kind = TypeVar("_Kind", MapType, ProgType)


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
    except (ValueError, RecursionError) as wrong:
        return _no(None, EINVAL, f"not a JSON object: {wrong}", "") | {"processed": 0, "ms": 0.0}
    if not isinstance(job, dict):
        return _no(None, EINVAL, "not a JSON object", "") | {"processed": 0, "ms": 0.0}
    name = job.get("id")
    system = boot.current()
    opened: list[int] = []
    began = perf_counter()
    log = ""
    try:
        maps = [_create(system, facts, opened) for facts in _items(job, "maps")]
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
        out = _no(name, refused.errno or EINVAL, message, code)
    except OSError as wrong:
        out = _no(name, wrong.errno or EINVAL, wrong.strerror or "", "")
    except _Wrong as wrong:
        out = _no(name, EINVAL, str(wrong), "")
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


class _Wrong(ValueError):
    """A line says what no program is."""


def _number(job: dict[str, Any], name: str) -> int:
    """A 32-bit number, 0 where there is none."""
    value = job.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise _Wrong(f"{name} is no 32-bit number: {json.dumps(value)}")
    return value


def _kind(kinds: type[_Kind], what: str, number: int) -> _Kind:
    try:
        return kinds(number)
    except ValueError:
        raise _Wrong(f"there is no {what} type {number}") from None


def _items(job: dict[str, Any], name: str) -> list[Any]:
    value = job.get(name)
    if value is not None and not isinstance(value, list):
        raise _Wrong(f"{name} is no list: {json.dumps(value)}")
    return value or []


def _text(job: dict[str, Any], name: str, otherwise: str) -> str:
    value = job.get(name)
    if value is not None and not isinstance(value, str):
        raise _Wrong(f"{name} is no text: {json.dumps(value)}")
    return otherwise if value is None else value


def _create(system: Any, facts: Any, opened: list[int]) -> int:
    """A map, and before it the template that a map of maps is made with."""
    if not isinstance(facts, dict):
        raise _Wrong(f"a map is no JSON object: {json.dumps(facts)}")
    inner = _create(system, facts["inner"], opened) if facts.get("inner") else None
    request = MapCreate(
        map_type=_kind(MapType, "map", _number(facts, "type")),
        key_size=_number(facts, "key_size"),
        value_size=_number(facts, "value_size"),
        max_entries=_number(facts, "max_entries"),
        map_flags=_number(facts, "map_flags"),
        inner_map_fd=inner,
    )
    fd: int = system.bpf(request)
    opened.append(fd)
    return fd


def _request(job: dict[str, Any], maps: list[int]) -> ProgLoad:
    try:
        slots = decode(bytes.fromhex(_text(job, "insns", "")))
    except _Wrong:
        raise
    except ValueError as wrong:
        raise _Wrong(f"insns: {wrong}") from None
    for pair in _items(job, "map_refs"):
        if not isinstance(pair, list) or [type(part) for part in pair] != [int, int]:
            raise _Wrong(f"map_refs: no slot and index of a map: {json.dumps(pair)}")
        slot, index = pair
        insn = slots[slot] if 0 <= slot < len(slots) else None
        if insn is None or insn.code != LD_IMM64:
            raise _Wrong(f"map_refs: slot {slot} is no 64-bit load")
        if not 0 <= index < len(maps):
            raise _Wrong(f"map_refs: there is no map {index}, there are {len(maps)}")
        src = insn.src if insn.src == Pseudo.MAP_VALUE else Pseudo.MAP_FD
        slots[slot] = insn._replace(src=src, imm=maps[index])
    return ProgLoad(
        prog_type=_kind(ProgType, "program", _number(job, "prog_type")),
        insns=encode(slots),
        license=_text(job, "license", "GPL"),
        expected_attach_type=_number(job, "expected_attach_type"),
        prog_flags=_number(job, "prog_flags"),
        log_level=int(LogLevel.STATS),
        log_size=LOG_SIZE,
    )
