"""Pointers of the kernel's in the values of maps: what may be kept there, and what a load gives.

The tag of the pointer's type says which kind it is. Into one that is tagged ``kptr_untrusted`` a
program stores what it likes of the right type, and nobody holds what it points to; one that is
tagged ``kptr`` owns a reference, which only ``bpf_kptr_xchg`` puts in and takes out. Mirrors
``check_map_kptr_access``, ``map_kptr_match_type`` and ``process_kptr_func`` of
kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgFlags
from minibcc.isa import opcodes
from minibcc.kernel.verifier import fields, grants, locks, structures
from minibcc.kernel.verifier.state import (
    BASE,
    BTF,
    MAYBE_NULL,
    RCU,
    TRUSTED,
    UNTRUSTED,
    Refused,
    Register,
    is_null,
    kind_name,
    undecided,
)

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction
    from minibcc.kernel.verifier.contract import MapFacts
    from minibcc.kernel.verifier.explore import Walk
    from minibcc.kernel.verifier.fields import Field

_GUARDED = {"task_struct", "cgroup", "bpf_cpumask", "bpf_crypto_ctx"}
"""Structures that stay while RCU is read (``rcu_protected_types``)."""


def _refused(message: str, errno: int = EACCES) -> Refused:
    return Refused(errno, "verify/map-field", message)


def held(walk: Walk, field: Field, flags: int = 0) -> Register:
    """A pointer to what the field may point to."""
    assert field.target is not None
    name = field.target.name
    types = walk.environment.types
    if types is None or types.find(name) is None:
        raise undecided(f"pointers in maps to the program's own structures ({name})")
    return structures.named(walk, name, flags)


def load(walk: Walk, field: Field, insn: Instruction) -> Register:
    """What a load of the whole field gives."""
    _plain(insn)
    sleeps = walk.program.prog_flags & ProgFlags.SLEEPABLE and not locks.held(walk)
    found = held(walk, field, MAYBE_NULL)
    guarded = field.tag == fields.KPTR and found.object.name in _GUARDED and not sleeps
    found = found._replace(kind=found.kind | (RCU if guarded else UNTRUSTED))
    return found._replace(id=walk.new_id())


def store(walk: Walk, field: Field, insn: Instruction, value: int) -> None:
    """Stores register `value`, or the instruction's immediate, into the whole field."""
    _plain(insn)
    if field.tag != fields.UNTRUSTED_KPTR:
        raise _refused("store to referenced kptr disallowed")
    if insn.code & 7 == opcodes.ST:
        if insn.imm:
            message = f"BPF_ST imm must be 0 when storing to kptr at off={field.offset}"
            raise _refused(message)
    elif not is_null(walk.registers[value]):
        fits(walk, field, walk.registers[value], value)


def _plain(insn: Instruction) -> None:
    if insn.code & 0xE0 != opcodes.MEM:
        raise _refused("kptr in map can only be accessed using BPF_MEM instruction mode")


def fits(walk: Walk, field: Field, register: Register, number: int) -> None:
    """The register points to what the field may hold."""
    target = held(walk, field).object
    loose = field.tag == fields.UNTRUSTED_KPTR
    allowed = BASE | MAYBE_NULL | TRUSTED | RCU | (UNTRUSTED if loose else 0)
    name = ""
    if register.kind & BASE == BTF and not register.kind & ~allowed:
        name = str(register.object.name)
        grants.unmodified(register, number, fixed=True)
        if register.object is target and not register.off:
            return
        if loose and structures.holds(register.object, register.off, target.name):
            return
        walk.log.write(structures.why_not(register.object, register.off) if loose else "")
    kind, wanted = kind_name(register.kind) + name, f"ptr_{target.name}"
    if loose:
        wanted += f" or untrusted_{wanted}"
    raise _refused(f"invalid kptr access, R{number} type={kind} expected={wanted}")


def exchanged(walk: Walk, number: int, register: Register) -> Field:
    """The field that the first argument of ``bpf_kptr_xchg`` points to."""
    facts: MapFacts = register.object
    where = register.off + register.range.value
    pointers = [field for field in fields.of_map(facts, walk.fields) if field.tag]
    found = next((field for field in pointers if field.offset == where), None)
    if facts.value_type is None:
        message = f"map '{facts.name}' has to have BTF in order to use bpf_kptr_xchg"
    elif not register.range.known:
        message = f"R{number} doesn't have constant offset. kptr has to be at the constant offset"
    elif not pointers:
        message = f"R{number} has no valid kptr"
    elif found is None:
        raise _refused(f"off={where} doesn't point to kptr")
    elif found.tag == fields.UNTRUSTED_KPTR:
        raise _refused(f"off={where} kptr isn't referenced kptr")
    else:
        return found
    raise _refused(message, EINVAL)
