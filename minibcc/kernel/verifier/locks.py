"""Locks and timers in the values of maps: who may touch them, and when.

Loads, stores and helpers' memory keep off them; the helpers that are for them want a pointer to
their very offset. Between lock and unlock a program calls nothing but its own static functions, and
does not end. Mirrors ``check_map_access``, ``process_spin_lock`` and ``process_timer_func`` of
kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING

from minibcc.kernel.verifier.fields import of_map
from minibcc.kernel.verifier.state import Reference, Refused, Register

if TYPE_CHECKING:
    from minibcc.kernel.verifier.contract import MapFacts
    from minibcc.kernel.verifier.explore import Walk
    from minibcc.kernel.verifier.fields import Field


def untouched(
    walk: Walk, register: Register, offset: int, size: int, *, helper: bool = False
) -> Field | None:
    """An access of `size` bytes at `offset` from a pointer to a value, by an instruction or a
    helper, touches no field but a kernel pointer, whole: that one, if it does."""
    value = register.range
    found = None
    for field in of_map(register.object, walk.fields):
        if value.smin + offset >= field.offset + field.size or (
            field.offset >= value.umax + offset + size
        ):
            continue
        where = offset + value.value
        if not field.tag:
            message = f"{field.name} cannot be accessed directly by load/store"
        elif helper:
            message = f"{field.name} cannot be accessed indirectly by helper"
        elif not value.known:
            message = f"{field.name} access cannot have variable offset"
        elif where != field.offset:
            message = f"{field.name} access misaligned expected={field.offset} off={where}"
        elif size != field.size:
            message = f"{field.name} access size must be BPF_DW"
        else:
            found = field
            continue
        raise Refused(EACCES, "verify/map-field", message)
    return found


def pointed_at(walk: Walk, number: int, register: Register, name: str) -> None:
    """The register of a helper's argument points to the field `name` of a map's value."""
    facts: MapFacts = register.object
    where = register.off + register.range.value
    found = next((one for one in of_map(facts, walk.fields) if one.name == name), None)
    if not register.range.known:
        message = f"R{number} doesn't have constant offset. {name} has to be at the constant offset"
    elif facts.value_type is None:
        message = f"map '{facts.name}' has to have BTF in order to use {name}"
    elif found is None:
        message = f"map '{facts.name}' has no valid {name}"
    elif found.offset != where:
        message = f"off {where} doesn't point to 'struct {name}' that is at {found.offset}"
    else:
        return
    raise Refused(EINVAL, "verify/map-field", message)


def held(walk: Walk) -> list[Reference]:
    """The locks that are locked."""
    return [reference for reference in walk.state.references if reference.lock is not None]


def lock(walk: Walk, register: Register) -> None:
    reference = Reference(register.id, walk.slot, register.object)
    walk.state.references = (*walk.state.references, reference)


def unlock(walk: Walk, register: Register) -> None:
    locks = held(walk)
    if not locks:
        message = "bpf_spin_unlock without taking a lock"
    elif (locks[-1].id, locks[-1].lock) != (register.id, register.object):
        message = "bpf_spin_unlock of different lock"
    else:
        state = walk.state
        state.references = tuple(one for one in state.references if one.lock is None)
        return
    raise Refused(EINVAL, "verify/lock", message)


def unlocked(walk: Walk, what: str, lead: str = "") -> None:
    """No lock is held where something is done that takes its time."""
    locks = held(walk)
    if locks:
        raise Refused(EINVAL, "verify/lock", what, lead=lead)
