"""Random programs on both engines: `count` verified programs from `seed`, on maps of every type,
and one to every five of raw bytecode that no verifier has seen.

R0, packet, context and the content of the maps are to be the same. Counted is what ran: every row
of the opcode table, every type of map that a BCC program can declare, every helper that runs
without a scenario; one that never ran fails a campaign of `FULL` programs, any campaign says how
many did.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from minibcc.kernel.helpers.registry import implementations
from minibcc.kernel.vm.jit import Jit
from minibcc.kernel.vm.memory import Arena
from minibcc.kernel.vm.native import session
from tests.vm import rig, verified, world
from tests.vm.generator import program

FULL = 20_000
"""Programs in which everything is to come up."""
WORLD = 250
"""Programs that share a kernel and its maps."""
RAW_SHARE = 5
KINDS = ("opcode", "map", "helper")
"""What the names of what ran begin with."""
NEVER = frozenset(
    [
        "sk_fullsock",
        "tcp_sock",
        "get_listener_sock",
        "sk_release",
        "sk_cgroup_id",
        "sk_ancestor_cgroup_id",
        "sk_select_reuseport",
        "skc_to_mptcp_sock",
        "skc_to_tcp6_sock",
        "skc_to_tcp_request_sock",
        "skc_to_tcp_sock",
        "skc_to_tcp_timewait_sock",
        "skc_to_udp6_sock",
        "skc_to_unix_sock",
        "sock_from_file",
        "seq_printf",
        "seq_printf_btf",
        "seq_write",
        "d_path",
        "ima_file_hash",
        "ima_inode_hash",
        "bprm_opts_set",
        "skb_output",
        "xdp_output",
        "tcp_check_syncookie",
        "tcp_gen_syncookie",
        "find_vma",
        "kptr_xchg",
        "user_ringbuf_drain",
    ]
)
"""Helpers that no program comes to: they take a socket, a file or another structure of the kernel,
and the simulated computer gives none without a scenario, what a reader of an iterator or a writer
of a ring brings along, or a value with a pointer in it. Their cases stand in tests/kernel."""


def run(count: int, seed: int) -> dict[str, Any]:
    """How many programs, what they ran, and those on which the engines differ."""
    counts: Counter[str] = Counter()
    failures = []
    session().objects.cache = None  # nothing is to come from an older campaign
    for level in world.LEVELS:
        session().natives(level)  # once for all worlds' children
    for first in range(0, count, WORLD):
        found, seen = _world(min(WORLD, count - first), seed << 20 | first)
        counts.update(seen)
        failures += [f"world {seed << 20 | first}, {text}" for text in found]
    failures += _raw(count // RAW_SHARE, seed, counts)
    return {**counts, "failures": failures}


def _world(count: int, seed: int) -> tuple[list[str], Counter[str]]:
    made = world.World(seed)
    try:
        for _ in range(count):
            while not made.add():
                pass
        failures, counts = world.both(made, seed)
        return failures, counts
    finally:
        made.close()


def _raw(count: int, seed: int, counts: Counter[str]) -> list[str]:
    """Bytecode by chance, on the cases' rig."""
    arena, chance = Arena(), Random(seed)
    engines = {level: Jit(level) for level in world.LEVELS}
    failures = []
    for number in range(count):
        case = {"instructions": program(Random(seed << 32 | number)), "memory": "80" * 64}
        counts["raw"] += 1
        counting = world.Counting(None, counts)
        expected = rig.execute(counting, case, arena)
        counting.total()
        jit = engines[chance.choice(world.LEVELS)]
        if rig.execute(jit, case, arena) != expected:
            failures.append(f"raw program {number} differs")
    return failures


def summary(totals: dict[str, int]) -> str:
    """How much of everything has run so far."""
    wanted = expected()
    kinds = {kind: {name for name in wanted if name.startswith(kind)} for kind in KINDS}
    ran = (f"{len(names & totals.keys())}/{len(names)} {kind}s" for kind, names in kinds.items())
    programs = f"{totals.get('verified', 0):,} verified, {totals.get('raw', 0):,} raw"
    return f"{programs}; {', '.join(ran)}"


def expected() -> set[str]:
    """What is to have run."""
    maps = {f"map {create.map_type.name.lower()}" for create, _ in verified.MAPS.values()}
    helpers = {f"helper {name}" for name in implementations() if name not in NEVER}
    return maps | helpers | world.opcode_names()
