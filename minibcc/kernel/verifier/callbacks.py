"""Functions that the kernel calls back.

How often a helper calls one is not known, so the walk takes a call both ways: on, as if the last
round were over, and into the function, whose end leads back to the call. That comes to rest as
loops do, when a round finds nothing that an earlier one did not; what no round needed exactly is
forgotten on the way (`prune.widen`). A timer's function runs when everything else is long over: it
is a path of its own. Mirrors ``push_callback_call`` and its ``set_*_callback_state`` of
kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import MapType
from minibcc.kernel.verifier import frames, structures
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    DYNPTR,
    FUNCTION,
    MAP,
    MAP_KEY,
    MAP_VALUE,
    Callback,
    Frame,
    Refused,
    Register,
    State,
    is_null,
    pointer,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.kernel.verifier.arguments import Call
    from minibcc.kernel.verifier.explore import Walk

_ENOTSUPP = 524
_ITERABLE = {
    MapType.ARRAY,
    MapType.PERCPU_ARRAY,
    MapType.HASH,
    MapType.LRU_HASH,
    MapType.PERCPU_HASH,
    MapType.LRU_PERCPU_HASH,
}


def function(walk: Walk, start: int) -> Register:
    """The address of the function at a slot."""
    if start not in walk.functions:
        message = "missing btf func_info"
        raise Refused(EINVAL, "verify/bad-function", message)
    if walk.is_global(start):
        message = "callback function not static"
        raise Refused(EINVAL, "verify/bad-function", message)
    return pointer(FUNCTION, room=start)


def schedule(walk: Walk, call: Call) -> None:
    """The helper of this call will call `call.function`."""
    name = call.helper.name
    if name == "timer_set_callback":
        _later(walk, call)
        return
    arguments = _ARGUMENTS[name](walk, call)
    state = walk.state
    caller = state.frame
    if name == "loop":
        if is_null(caller.registers[4]):
            walk.mark_precise(4)  # the kernel asks whether it can do without the helper
        walk.mark_precise(1)
        if caller.rounds >= caller.registers[1].range.umax:
            caller.rounds = 0
            if walk.log.keep:
                walk.log.write(f"frame{caller.number} bpf_loop iteration limit reached\n")
            return
    other = walk.fork(call.function)
    callee = frames.opened(walk, other, call.function)
    callee.callback = Callback(0, 1)
    callee.registers[1 : 1 + len(arguments)] = arguments
    other.frame.rounds += 1
    other.unrolled += 1
    other.frames.append(callee)
    caller.rounds = 0
    walk.opened()


def _later(walk: Walk, call: Call) -> None:
    """A timer's function is called with nothing of the state that this path has."""
    facts = call.map
    assert facts is not None
    before = walk.state.frame.callback
    entry = before.entry if before is not None else 0
    callee = Frame(walk.shape.function_at(call.function))
    callee.callback = Callback(0, 0, entry + 1)
    callee.registers[1] = pointer(MAP, object=facts)
    callee.registers[2] = pointer(MAP_KEY, object=facts)
    callee.registers[3] = pointer(MAP_VALUE, object=facts)
    walk.put_aside(State([callee]), call.function)
    walk.later.add(call.function)
    walk.opened()


def _loop(walk: Walk, call: Call) -> list[Register]:
    return [ANY_NUMBER, walk.registers[3]]


def _each_element(walk: Walk, call: Call) -> list[Register]:
    facts = call.map
    assert facts is not None
    if facts.type not in _ITERABLE:
        message = "callback function not allowed for map"
        raise Refused(_ENOTSUPP, "verify/map-kind", message)
    key = pointer(MAP_KEY, object=facts)
    value = pointer(MAP_VALUE, object=facts)
    return [walk.registers[1], key, value, walk.registers[3]]


def _area(walk: Walk, call: Call) -> list[Register]:
    area = structures.named(walk, "vm_area_struct", 0)
    return [walk.registers[1], area, walk.registers[4]]


def _sample(walk: Walk, call: Call) -> list[Register]:
    sample = pointer(DYNPTR, object="local", id=walk.new_id())
    return [sample, walk.registers[3]]


_ARGUMENTS: dict[str, Callable[[Walk, Call], list[Register]]] = {
    "loop": _loop,
    "for_each_map_elem": _each_element,
    "find_vma": _area,
    "user_ringbuf_drain": _sample,
}
"""What each helper gives to the function: R1 and on."""
