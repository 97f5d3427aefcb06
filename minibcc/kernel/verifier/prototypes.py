"""Functions with BTF: what their prototypes say of arguments, and what callers give them.

A global function is verified on its own, for whatever its prototype allows: a number may be any, a
pointer to a type is null or that much memory, a context is the program's. Each call of it is held
to that, and gives any number. Of a static function, which is followed from each of its calls, the
kernel only notes that its prototype is wrong. Mirrors ``btf_prepare_func_args`` of kernel/bpf/btf.c
and ``btf_check_subprog_call``, ``do_check_common`` of kernel/bpf/verifier.c.
"""

from __future__ import annotations

from errno import EACCES, EINVAL
from typing import TYPE_CHECKING, NamedTuple

from minibcc.abi.bpf import ProgType
from minibcc.abi.helpers import value_type
from minibcc.btf.types import (
    Array,
    Const,
    Enum,
    Float,
    FuncProto,
    Int,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    TypeTag,
    Volatile,
    size_of,
    strip,
)
from minibcc.kernel.verifier import arguments, branches, context, dynptrs, grants
from minibcc.kernel.verifier.state import (
    ANY_NUMBER,
    BASE,
    BTF,
    CTX,
    DYNPTR,
    MAYBE_NULL,
    MEMORY,
    SCALAR,
    STACK,
    Frame,
    Refused,
    Register,
    is_null,
    pointer,
)

if TYPE_CHECKING:
    from minibcc.btf.types import Func, Type
    from minibcc.kernel.verifier.explore import Walk

_MAX_ARGUMENTS = 5
_READ = value_type("dynptr|rdonly")
_WORDS = {
    Ptr: "PTR",
    Array: "ARRAY",
    Float: "FLOAT",
    FuncProto: "FUNC_PROTO",
    Const: "CONST",
    Volatile: "VOLATILE",
    Restrict: "RESTRICT",
    Typedef: "TYPEDEF",
    TypeTag: "TYPE_TAG",
}


class Argument(NamedTuple):
    """What a parameter's type makes of it: a scalar, the context, or `size` bytes of memory (or
    null)."""

    kind: int
    size: int = 0


class Prototype(NamedTuple):
    """The arguments, or why there are none to be had (`refused`; for a static function without a
    message)."""

    arguments: tuple[Argument, ...] = ()
    refused: Refused | None = None


def _bad(message: str) -> Prototype:
    return Prototype((), Refused(EINVAL, "verify/bad-function", message))


def prototype(walk: Walk, func: Func) -> Prototype:
    """What the kernel makes of a function's type."""
    of = func.linkage == 1
    proto = func.proto
    name = func.name
    if len(proto.params) > _MAX_ARGUMENTS:
        count = len(proto.params)
        message = f"Global function {name}() with {count} > {_MAX_ARGUMENTS} args. Buggy compiler."
        return _bad(message if of else "")
    if not isinstance(strip(proto.result), Int | Enum):
        message = f"Global function {name}() doesn't return scalar. Only those are supported."
        return _bad(message if of else "")
    found = []
    for number, param in enumerate(proto.params):
        kind = strip(param.type)
        if isinstance(kind, Int | Enum):
            found.append(Argument(SCALAR))
        elif not isinstance(kind, Ptr):
            words = f"Arg#{number} type {_word(kind)} in {name}() is not supported yet."
            return _bad(words if of else "")
        elif _is_context(walk, kind):
            found.append(Argument(CTX))
        elif _is_dynptr(kind):
            found.append(Argument(DYNPTR))
        elif not of:
            return _bad("")
        else:
            to = strip(kind.to)
            try:
                size = size_of(to) if to is not None else 0
            except ValueError:
                size = 0
            if (not size and not isinstance(strip(to), Struct | Array)) or _forward(to):
                word, type_name = _word(to), getattr(to, "name", "")
                return _bad(
                    f"arg#{number} reference type('{word} {type_name}') size cannot be determined:"
                    f" {-EINVAL}"
                )
            found.append(Argument(MEMORY, size))
    return Prototype(tuple(found))


def _forward(kind: Type | None) -> bool:
    kind = strip(kind)
    return isinstance(kind, Struct | Enum) and not kind.complete


def _word(kind: Type | None) -> str:
    """The kernel's word for a kind of type."""
    if kind is None:
        return "UNKNOWN"
    if isinstance(kind, Struct):
        return "FWD" if not kind.complete else "UNION" if kind.union else "STRUCT"
    if isinstance(kind, Enum):
        return "ENUM64" if kind.size == 8 else "ENUM"
    return _WORDS.get(type(kind), type(kind).__name__.upper())


def _is_context(walk: Walk, kind: Ptr) -> bool:
    """A pointer to the structure that programs of this type get."""
    to = kind.to
    while isinstance(to, Const | Volatile | Restrict | TypeTag):
        to = to.of
    named = isinstance(to, Typedef) and to.name == "bpf_user_pt_regs_t"
    if named and walk.program.prog_type == ProgType.KPROBE:
        return True
    to = strip(to)
    if not isinstance(to, Struct) or not to.complete or to.union or not to.name:
        return False
    wanted = context.table(walk).struct
    also = {"__sk_buff": "sk_buff", "xdp_md": "xdp_buff"}.get(wanted)
    return to.name in (wanted, also)


def _is_dynptr(kind: Ptr) -> bool:
    to = strip(kind.to)
    return isinstance(to, Struct) and to.name == "bpf_dynptr"


# --- calls --------------------------------------------------------------------------------------


def check_call(walk: Walk, start: int) -> Refused | None:
    """Whether the registers are what the function at a slot says; None if they are, or if it
    says nothing."""
    func = walk.functions.get(start)
    if func is None:
        return None
    if start in walk.unreliable:
        return Refused(EINVAL, "verify/bad-function", "")
    known = walk.prototypes.get(start)
    if known is None:
        known = walk.prototypes[start] = prototype(walk, func)
    refused = known.refused
    if refused is not None and refused.message:
        walk.log.write(refused.message + "\n")
        walk.prototypes.pop(start)
    for number, wanted in enumerate(known.arguments, 1):
        if refused is None:
            refused = _check(walk, number, wanted)
            if refused is not None:
                walk.log.write(refused.message + "\n")
    if refused is not None:
        walk.unreliable.add(start)
    return refused


def _check(walk: Walk, number: int, wanted: Argument) -> Refused | None:
    register = walk.registers[number]
    message = ""
    if wanted.kind == SCALAR:
        if register.kind != SCALAR:
            message = f"R{number} is not a scalar"
    elif wanted.kind == CTX:
        try:
            if register.kind & BASE not in arguments.FREE_OFFSET:
                grants.unmodified(register, number, fixed=register.kind & BASE == BTF)
        except Refused as refused:
            return refused
        if register.kind != CTX:
            message = f"arg#{number - 1} expects pointer to ctx"
    elif wanted.kind == DYNPTR:
        try:
            if register.kind != STACK:
                grants.unmodified(register, number)
            if register.kind not in (STACK, DYNPTR):
                message = f"arg#{number - 1} expected pointer to stack or const struct bpf_dynptr"
                return Refused(EINVAL, "verify/argument-type", message)
            dynptrs.argument(walk, number, register, _READ)
        except Refused as refused:
            return refused
    elif not is_null(register):
        return _check_memory(walk, number, register, wanted.size)
    if not message:
        return None
    return Refused(EINVAL, "verify/argument-type", message)


def _check_memory(walk: Walk, number: int, register: Register, size: int) -> Refused | None:
    registers = walk.registers
    try:
        if register.kind & BASE not in arguments.FREE_OFFSET:
            grants.unmodified(register, number, fixed=register.kind & BASE == BTF)
        if register.kind & MAYBE_NULL:
            registers[number] = branches.not_null(register)
        for write in (False, True):
            arguments.memory(walk, None, number, size, write=write, zero=True, raw=False)
    except Refused as refused:
        refused.errno = EINVAL if refused.errno == EACCES else refused.errno
        return refused
    finally:
        registers[number] = register
    return None


def call_global(walk: Walk, start: int) -> None:
    """A call of a function that is verified on its own."""
    func = walk.functions[start]
    number = walk.shape.function_at(start)
    refused = check_call(walk, start)
    if refused is not None:
        message = f"Caller passes invalid args into func#{number} ('{func.name}')"
        raise Refused(refused.errno, "verify/argument-type", message)
    walk.log.write(f"Func#{number} ('{func.name}') is global and assumed valid.\n")
    walk.called.add(start)


# --- a function on its own ----------------------------------------------------------------------


def entry(walk: Walk, start: int) -> Frame:
    """The registers at the start of a function that is verified for whatever its type allows."""
    func = walk.functions[start]
    number = walk.shape.function_at(start)
    walk.log.write(f"Validating {func.name}() func#{number}...\n")
    found = prototype(walk, func)
    if found.refused is not None:
        raise found.refused
    frame = Frame(number)
    for register, argument in enumerate(found.arguments, 1):
        if argument.kind == SCALAR:
            value = ANY_NUMBER
        elif argument.kind == CTX:
            value = pointer(CTX)
        elif argument.kind == DYNPTR:
            value = pointer(DYNPTR, object="local", id=walk.new_id())
        else:
            value = pointer(MEMORY | MAYBE_NULL, id=walk.new_id(), room=argument.size)
        frame.registers[register] = value
    return frame


def main(walk: Walk) -> None:
    """The kernel looks at the program's own prototype too, and complains in the log alone."""
    func = walk.functions.get(0)
    if func is None:
        return
    found = prototype(walk, func)
    if found.refused is not None and found.refused.message:
        walk.log.write(found.refused.message + "\n")
