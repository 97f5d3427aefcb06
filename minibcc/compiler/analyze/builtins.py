"""What the compiler's builtins take and give: a row per name.

A row is result and parameter types; the letters below spell them. Builtins whose types follow from
their arguments (atomics, overflow checks) have `generic` rows instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.compiler import arithmetic as c

if TYPE_CHECKING:
    from minibcc.btf.types import Type

# v void, p pointer, c unsigned char, i int, l long, u unsigned long, s unsigned short, w unsigned
# int, q unsigned long long, L long long, b bool
_LETTERS: dict[str, Type | None] = {
    "v": None,
    "p": c.VOID_POINTER,
    "i": c.INT,
    "l": c.LONG,
    "L": c.LLONG,
    "u": c.ULONG,
    "c": c.UCHAR,
    "s": c.USHORT,
    "w": c.UINT,
    "q": c.ULLONG,
    "b": c.BOOL,
}

_ROWS = {
    "memcpy": "pppu",
    "memmove": "pppu",
    "memset": "ppiu",
    "memcmp": "ippu",
    "bcmp": "ippu",
    "strcmp": "ipp",
    "strncmp": "ippu",
    "strlen": "up",
    "bswap16": "ss",
    "bswap32": "ww",
    "bswap64": "qq",
    "expect": "lll",
    "expect_with_probability": "llll",
    "unreachable": "v",
    "trap": "v",
    "assume": "vb",
    "prefetch": "vp",
    "abs": "ii",
    "labs": "ll",
    "llabs": "LL",
}
for _letter, _bits in zip("cswq", (8, 16, 32, 64), strict=True):
    _ROWS |= {f"rotate{side}{_bits}": _letter * 3 for side in ("left", "right")}
    _ROWS[f"bitreverse{_bits}"] = _letter * 2
for _name in ("clz", "ctz", "popcount", "parity", "ffs"):
    _ROWS |= {_name: "iw", _name + "l": "iu", _name + "ll": "iq"}

PLAIN: dict[str, tuple[Type | None, tuple[Type | None, ...]]] = {
    f"__builtin_{name}": (_LETTERS[row[0]], tuple(_LETTERS[letter] for letter in row[1:]))
    for name, row in _ROWS.items()
}

# Loads from a socket buffer, which the machine has instructions for.
_PACKET = (c.VOID_POINTER, c.ULLONG)
PLAIN |= dict.fromkeys(("load_byte", "load_half", "load_word"), (c.ULLONG, _PACKET))

# What C's library calls so, and a compiler takes for its own.
LIBRARY = {
    name: f"__builtin_{name}"
    for name in ("memcpy", "memmove", "memset", "memcmp", "strcmp", "strncmp", "strlen", "bcmp")
}

# Atomics: how many values follow the pointer, and whether the result is the pointee ("value"),
# bool or nothing; the rest of the arguments (memory orders) are ints.
_OPERATIONS = ("add", "sub", "and", "or", "xor")
ATOMIC: dict[str, tuple[int, str]] = {
    **{f"__sync_fetch_and_{name}": (1, "value") for name in _OPERATIONS},
    **{f"__sync_{name}_and_fetch": (1, "value") for name in _OPERATIONS},
    **{f"__atomic_fetch_{name}": (1, "value") for name in _OPERATIONS},
    **{f"__atomic_{name}_fetch": (1, "value") for name in _OPERATIONS},
    "__sync_lock_test_and_set": (1, "value"),
    "__sync_val_compare_and_swap": (2, "value"),
    "__sync_bool_compare_and_swap": (2, "bool"),
    "__sync_lock_release": (0, "void"),
    "__atomic_load_n": (0, "value"),
    "__atomic_store_n": (1, "void"),
    "__atomic_exchange_n": (1, "value"),
}
FENCES = ("__sync_synchronize", "__atomic_thread_fence", "__atomic_signal_fence")

OVERFLOW = {
    f"__builtin_{prefix}{name}{suffix}_overflow"
    for name in ("add", "sub", "mul")
    for prefix, suffix in (("", ""), *((p, s) for p in "su" for s in ("", "l", "ll")))
}

# Functions of BCC's dialect that the dialect replaces, with what they give.
DIALECT: dict[str, Type | None] = {
    "bpf_trace_printk": c.INT,
    "bpf_usdt_readarg": c.INT,
    "bpf_usdt_readarg_p": c.INT,
    "bpf_num_cpus": c.INT,
    "incr_cksum_l3": c.INT,
    "incr_cksum_l4": c.INT,
    "bpf_dext_pkt": c.ULLONG,
    "bpf_dins_pkt": None,
    "load_dword": c.ULLONG,
}
