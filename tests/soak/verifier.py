"""Generated programs, judged here and by the live kernel: `count` programs from `seed`.

Three in eight are mistakes, every template of the frequent messages in turn; the others are what
people write, what aims to be right, every row of the instruction set and every type of map in
turn. It fails where fewer than 99 % of the verdicts agree or the main messages of fewer than 90 %
of the refusals (weighted by how frequent each is), and, from `FULL` programs on, where a template
was met fewer than `LEAST` times, or an instruction or a type of map never.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from minibcc.bcc.refusal.log import read
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64
from minibcc.kernel.verifier.contract import MapFacts, Source
from minibcc.kernel.verifier.verify import verify
from tests.verifier import careful, faults, generate, messages, oracle, variety

if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = 5000
LEAST = 20
CHUNK = 500


def run(count: int, seed: int) -> dict[str, Any]:
    """How often which outcome, by template, instruction and type of map."""
    if reason := oracle.available():
        return {"failures": [reason]}
    counts: Counter[str] = Counter()
    for number, source in zip(range(count), programs(seed), strict=False):
        judge(source, counts, f"seed {seed}, program {number}")
    return {**counts, "failures": []}


def programs(seed: int) -> Iterator[Source]:
    rng = random.Random(seed)
    good, usual = careful.programs(seed), generate.programs(seed)
    templates = list(faults.RECIPES)
    number = seed * CHUNK
    while True:
        kind, turn = number % 8, number // 8
        if kind < 3:
            yield faults.program(templates[(3 * turn + kind) % len(templates)], rng)
        elif kind == 3:
            yield next(good)
        elif kind == 4:
            yield next(usual)
        elif kind < 7:
            yield variety.opcode(rng, turn) if kind == 5 and turn % 2 else next(good)
        else:
            yield variety.map_type(rng, turn)
        number += 1


def judge(source: Source, counts: Counter[str], where: str) -> None:
    """Asks both, and counts."""
    errno, log = oracle.load(source, 1)
    verdict = verify(source, generate.HERE)
    counts["programs"] += 1
    counts["accepted by the kernel"] += not errno
    for name in {row.name for row in map(opcodes.find, source.instructions) if row is not None}:
        counts[f"insn|{name}"] += 1
    for name in {facts.type.name for facts in _used(source)}:
        counts[f"map|{name}"] += 1
    ours = verdict.refusal.message if verdict.refusal is not None else ""
    if verdict.accepted == (not errno):
        counts["same verdict"] += 1
    if not errno:
        if not verdict.accepted:
            counts["refused here only"] += 1
            counts[f"differs|refused here only: {messages.template(ours)}|{where}"] += 1
        return
    theirs = read(log).message
    template = messages.template(theirs)
    counts[f"template|{template}"] += 1
    if verdict.accepted:
        counts["accepted here only"] += 1
        counts[f"differs|accepted here only: {template}|{where}"] += 1
    elif ours == theirs:
        counts[f"equal|{template}"] += 1
    else:
        counts[f"differs|{template} / {messages.template(ours)}|{where}"] += 1


def _used(source: Source) -> list[MapFacts]:
    return [
        source.maps[insn.imm]
        for insn in source.instructions
        if insn.code == LD_IMM64 and insn.src in (1, 2) and insn.imm in source.maps
    ]


def conclude(totals: dict[str, int]) -> list[str]:
    """Prints the sums; what falls short of the aims."""
    failures = agreement(totals)
    known = messages.weights()
    full = totals.get("programs", 0) >= FULL
    print("  times   equal   template")
    for text in known:
        met, equal = totals.get(f"template|{text}", 0), totals.get(f"equal|{text}", 0)
        print(f"  {met:5}  {equal:5}   {text}")
        if full and met < LEAST:
            failures.append(f"met {met} times only: {text}")
    for what, names in (
        ("insn", [row.name for row in opcodes.OPCODES if row.valid]),
        ("map", [kind.name for kind in variety.OF_TYPE]),
    ):
        found = {name: totals.get(f"{what}|{name}", 0) for name in names}
        print(f"  {what}: " + ", ".join(f"{name} {count}" for name, count in found.items()))
        if full:
            failures += [f"never met: {what} {name}" for name in names if not found[name]]
    return failures


def agreement(totals: dict[str, int]) -> list[str]:
    """Prints how far the two agree, and each difference with its first place."""
    known = messages.weights()
    count = totals.get("programs", 0) or 1
    same = 100 * totals.get("same verdict", 0) / count
    both = ("accepted here only", "refused here only")
    print(f"  programs: {count}, accepted by the kernel: {totals.get('accepted by the kernel', 0)}")
    print(f"  same verdict: {same:.2f} %")
    for text in both:
        print(f"  {text}: {totals.get(text, 0)}")
    met = sum(value for key, value in totals.items() if key.startswith("template|"))
    equal = sum(value for key, value in totals.items() if key.startswith("equal|"))
    shares = {
        text: totals.get(f"equal|{text}", 0) / times
        for text in known
        if (times := totals.get(f"template|{text}", 0))
    }
    weight = sum(known[text] for text in shares) or 1
    weighted = 100 * sum(known[text] * share for text, share in shares.items()) / weight
    print(f"  main message equal: {100 * equal / (met or 1):.2f} % of {met} refusals", end="")
    print(f", {weighted:.2f} % weighted by how frequent each is")
    causes: dict[str, list[str]] = {}
    for key, value in totals.items():
        if key.startswith("differs|"):
            _, cause, where = key.split("|", 2)
            causes.setdefault(cause, []).extend([where] * value)
    for cause, places in sorted(causes.items(), key=lambda item: -len(item[1])):
        print(f"    {len(places):4}  {cause}   ({places[0]})")
    failures = []
    if same < 99:
        failures.append(f"same verdict: {same:.2f} %")
    if weighted < 90:
        failures.append(f"main message equal: {weighted:.2f} % weighted")
    return failures
