"""Values and kinds of values as the verifier's log writes them, in a person's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapType

if TYPE_CHECKING:
    from collections.abc import Callable

_KINDS = {
    "scalar": "a number",
    "ctx": "the context",
    "fp": "the stack",
    "map_ptr": "a map",
    "map_value": "a map's value",
    "map_key": "a map's key",
    "pkt": "the packet",
    "pkt_meta": "the packet's metadata",
    "pkt_end": "the packet's end",
    "mem": "memory",
    "ringbuf_mem": "a ring buffer's record",
    "buf": "a buffer",
    "func": "a function",
    "dynptr_ptr": "a dynptr",
    "sock": "a socket",
    "sock_common": "a socket",
    "tcp_sock": "a socket",
    "xdp_sock": "a socket",
    "inv": "nothing known",
}
_NAMED = {"a map's value": "a value of ", "a map": "the map ", "a map's key": "a key of "}
_PREFIX = re.compile(r"(?:rdonly_|user_|percpu_|trusted_|untrusted_|rcu_|alloc_|scalar_)*")


def kind(name: str) -> str:
    """``map_value_or_null``, as the kernel names kinds, in words."""
    null = "or_null" in name
    base = _PREFIX.sub("", re.sub(r"_?or_null_?", "", name)).rstrip("_")
    if base.startswith("ptr_") or base == "ptr":
        words = f"a pointer to the kernel's struct {base[4:]}" if base[4:] else "a kernel's pointer"
    else:
        words = _KINDS.get(base, base)
    return f"{words}, or null" if null else words


def kinds(names: str) -> str:
    """A list of kinds, as ``expected=`` has it."""
    bases = [_PREFIX.sub("", name.strip()) for name in names.split(",")]
    if len(bases) > 3 and "fp" in bases:
        return "a pointer to memory"
    return " or ".join(dict.fromkeys(kind(base) for base in bases))


def bounds(text: str) -> dict[str, int]:
    """The limits that a value's text names: ``smin=umin=5`` gives both."""
    found: dict[str, int] = {}
    for names, number in re.findall(r"((?:[su](?:min|max)(?:32)?=)+)(-?(?:0x)?[0-9a-f]+)", text):
        for name in names.rstrip("=").split("="):
            value = int(number, 0)
            signed = name.startswith("s") and value >> 63 == 1
            found[name] = value - (1 << 64) if signed else value
    return found


def extent(text: str) -> str:
    """``0 to 31``, ``at most 15``, ``any number``."""
    limits = bounds(text)
    low, high = limits.get("smin"), limits.get("smax")
    if low is None and "umin" in limits and limits.get("umax", 0) < 1 << 63:
        low = limits["umin"]
    if (low is None or low >= 0) and "umax" in limits:
        low, high = limits.get("umin", max(low or 0, 0)), limits["umax"]
    if low is None and high is None:
        return "any number"
    if low is None:
        return f"at most {_number(high or 0)}"
    if high is None:
        return f"at least {_number(low)}"
    return f"{_number(low)} to {_number(high)}"


def _number(value: int) -> str:
    return str(value) if abs(value) < 1 << 20 else hex(value)


def said(text: str) -> str:
    """A value as the log has it, in words: ``map_value_or_null(id=1,map=start,ks=4,vs=8)``."""
    if re.fullmatch(r"P?-?(?:0x)?[0-9a-f]+", text):
        return text.removeprefix("P")
    found = re.fullmatch(r"P?([\w\[\]-]+)\((.*)\)", text)
    if found is None:
        return ""
    name, inside = found.groups()
    if name == "scalar":
        return extent(inside)
    if name.startswith("fp"):
        return ""
    words = kind(name)
    null = ", or null" if words.endswith(", or null") else ""
    words = words.removesuffix(", or null")
    if "map=" in inside:
        owner = re.search(r"map=([^,)]*)", inside)
        assert owner is not None
        words = _NAMED.get(words, f"{words} of ") + owner[1]
    at = _offset(inside)
    if room := re.search(r"\br=(-?\w+)", inside):
        at += f", {room[1]} bytes of it checked"
    elif room := re.search(r"\bsz=(\w+)", inside):
        at += f" of {sizes(room[1])}"
    return f"{words}{at}{null}"


def _offset(inside: str) -> str:
    moved = re.search(r"\boff=(-?\w+)", inside)
    base = int(moved[1], 0) if moved else 0
    if "var_off" in inside or bounds(inside):
        limits = bounds(inside)
        low, high = limits.get("smin", limits.get("umin")), limits.get("smax", limits.get("umax"))
        if low is None or high is None:
            return " at an unknown offset"
        return f" at offset {base + low} to {_number(base + high)}"
    return f" at offset {base}" if base else ""


def sizes(text: str) -> str:
    """``1 byte``, ``8 bytes``."""
    return "1 byte" if text == "1" else f"{text} bytes"


def _map_type(text: str) -> str:
    try:
        return MapType(int(text)).name.lower()
    except ValueError:
        return text


def _sum(text: str) -> str:
    """``0+0+-15`` added up, where all of it is known."""
    parts = text.split("+")
    if all(re.fullmatch(r"-?\d+", part) for part in parts):
        return str(sum(map(int, parts)))
    return text


def _limit(name: str, open_end: str) -> Callable[[str], str]:
    def found(text: str) -> str:
        limits = bounds(text)
        return _number(limits[name]) if name in limits else open_end

    return found


def _on_stack(text: str) -> str:
    moved = re.search(r"\boff=(-?\w+)", text)
    base = int(moved[1], 0) if moved else 0
    limits = bounds(text)
    if "smin" not in limits or "smax" not in limits:
        return "anywhere on it"
    return f"between fp{base + limits['smin']:+d} and fp{base + limits['smax']:+d}"


OF_REGISTER: dict[str, Callable[[str], str]] = {
    "smin": _limit("smin", "any number below 0"),
    "umax": _limit("umax", "0xffffffffffffffff"),
    "stack": _on_stack,
}
FORMS: dict[str, Callable[[str], str]] = {
    "bytes": sizes,
    "kind": kind,
    "kinds": kinds,
    "map_type": _map_type,
    "sum": _sum,
    "signed": lambda text: f"{int(text):+d}",
}
