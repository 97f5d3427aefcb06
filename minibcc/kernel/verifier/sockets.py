"""Pointers to sockets: what of a socket a program sees.

They come out of contexts, maps and helpers, some with a reference that must be given back. Their
fields are not memory but what `abi.contexts` says of ``struct bpf_sock`` and its kin. Mirrors
``check_sock_access`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES

from minibcc.abi.contexts import socket_of
from minibcc.kernel.verifier.state import ANY_NUMBER, BASE, Refused, Register, kind_name


def load(base: Register, register: int, offset: int, size: int) -> Register:
    """What a load of `size` bytes at `offset` gives."""
    if socket_of(kind_name(base.kind & BASE)).access(offset, size) is None:
        message = f"R{register} invalid {kind_name(base.kind)} access off={offset} size={size}"
        raise Refused(EACCES, "verify/memory-bounds", message)
    return ANY_NUMBER
