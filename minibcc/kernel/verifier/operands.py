"""The registers of an instruction: may they be read, may they be written?

Mirrors ``check_reg_arg`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES
from typing import TYPE_CHECKING

from minibcc.kernel.verifier.form import malformed
from minibcc.kernel.verifier.state import NOT_INIT, UNINITIALISED, Refused, Register

if TYPE_CHECKING:
    from minibcc.kernel.verifier.explore import Walk


def source(walk: Walk, register: int) -> Register:
    """The value of a register that an instruction reads."""
    if register > 10:
        raise malformed(walk.slot, f"R{register} is invalid")
    value = walk.registers[register]
    if value.kind == NOT_INIT:
        raise Refused(EACCES, "verify/uninitialised", f"R{register} !read_ok")
    return value


def target(walk: Walk, register: int) -> None:
    """A register that an instruction writes."""
    if register > 10:
        raise malformed(walk.slot, f"R{register} is invalid")
    if register == 10:
        raise Refused(EACCES, "verify/frame-pointer", "frame pointer is read only")


def clear_caller_saved(walk: Walk) -> None:
    """A call leaves R1 to R5, and R0 until it says otherwise, without a value."""
    walk.registers[:6] = [UNINITIALISED] * 6
