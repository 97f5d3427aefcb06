"""Which functions are programs, and where their arguments come from.

BCC tells a program by its name (``kprobe__do_nanosleep``) or leaves it to the script that attaches
it. A program has one argument, its context; further parameters are what the probed function gets,
and are read out of the context when the program starts:

    int kprobe__vfs_read(struct pt_regs *ctx, struct file *file)     ctx->di
    int syscall__execve(struct pt_regs *ctx, const char *filename)   the wrapper's inner registers
    KFUNC_PROBE(vfs_open, struct path *path)                         ctx[0]

The names come from BCC's reference guide; registers are those of x86-64's calling convention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.abi.bpf import AttachType, ProgType
from minibcc.btf.types import FuncProto, Param, Ptr, find_member, size_of, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.dialect.build import Build
from minibcc.compiler.dialect.walk import nodes
from minibcc.records import Record, replace

if TYPE_CHECKING:
    from minibcc.btf.types import Struct, Type
    from minibcc.compiler.kernel import KernelNames
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.tree import Expr, Function, Stmt, Unit, Variable


class Kind(Record):
    """What a name's prefix makes of a function; `arguments` says where typed parameters come
    from: "registers", "syscall", "array" or "" (there are none)."""

    prog_type: ProgType
    arguments: str = ""
    attach_type: AttachType | int = 0


PREFIXES: dict[str, Kind] = {
    "kprobe__": Kind(ProgType.KPROBE, "registers"),
    "kretprobe__": Kind(ProgType.KPROBE, "registers"),
    "tracepoint__": Kind(ProgType.TRACEPOINT),
    "raw_tracepoint__": Kind(ProgType.RAW_TRACEPOINT),
    "kfunc__": Kind(ProgType.TRACING, "array", AttachType.TRACE_FENTRY),
    "kretfunc__": Kind(ProgType.TRACING, "array", AttachType.TRACE_FEXIT),
    "kmod_ret__": Kind(ProgType.TRACING, "array", AttachType.MODIFY_RETURN),
    "lsm__": Kind(ProgType.LSM, "array", AttachType.LSM_MAC),
    "bpf_iter__": Kind(ProgType.TRACING, "", AttachType.TRACE_ITER),
    "syscall__": Kind(ProgType.KPROBE, "syscall"),
}

REGISTERS = ("di", "si", "dx", "cx", "r8", "r9")
SYSCALL_REGISTERS = ("di", "si", "dx", "r10", "r8", "r9")


def kind_of(name: str) -> tuple[str, Kind] | None:
    """The prefix of a program's name and what it says, None if it says nothing."""
    for prefix, kind in PREFIXES.items():
        if name.startswith(prefix):
            return prefix, kind
    return None


def programs(unit: Unit) -> list[Function]:
    """The functions that may be loaded: global ones that no other function calls."""
    called = {
        node.callee if isinstance(node, tree.Call) else node.function
        for function in unit.functions
        for node in nodes(function.body)
        if isinstance(node, tree.Call | tree.FunctionPointer)
        and (isinstance(node, tree.FunctionPointer) or isinstance(node.callee, tree.Function))
    }
    return [
        function
        for function in unit.functions
        if function.linkage == "global" and function not in called
    ]


def run(unit: Unit, names: KernelNames, reporter: Reporter) -> None:
    """Gives programs their `probe` and their one parameter."""
    for function in programs(unit):
        found = kind_of(function.name)
        kind = Kind(ProgType.UNSPEC, "registers")
        if found is not None:
            prefix, kind = found
            function.probe = _probe(function.name, prefix, kind)
            if kind.prog_type is ProgType.TRACEPOINT:
                _check_event(function, names, reporter)
        if not function.parameters:
            _add_context(function)
        elif len(function.parameters) > 1:
            _read_arguments(function, kind, names, reporter)


def _probe(name: str, prefix: str, kind: Kind) -> tree.Probe:
    rest = name.removeprefix(prefix)
    if kind.prog_type is ProgType.TRACEPOINT:
        rest = rest.replace("__", ":", 1)
    elif prefix in ("kfunc__", "kretfunc__", "kmod_ret__"):
        module, _, name = rest.partition("__")  # BCC before 0.29 writes no module
        rest = name if module and name else rest
    elif prefix == "syscall__":
        rest = ""
    return tree.Probe(kind.prog_type, name, rest, kind.attach_type)


def _check_event(function: Function, names: KernelNames, reporter: Reporter) -> None:
    """Reports a tracepoint that the target does not have, unless the text declares its record."""
    context = c.pointer(function.parameters[0].type) if function.parameters else None
    record = c.struct(context.to) if context is not None else None
    if (record is not None and record.complete) or names.struct(function.name, False) is not None:
        return
    from difflib import get_close_matches

    from minibcc.btf.events import tracepoints

    category, _, event = function.name.removeprefix("tracepoint__").partition("__")
    known = tracepoints()
    if events := known.events(category):
        close = [f"{category}:{name}" for name in get_close_matches(event, events, 1)]
    else:
        close = [f"{name}:{event}" for name in known.categories() if known.find(name, event)]
    help = "/sys/kernel/tracing/events lists those that it has"
    reporter.error(
        "dialect/no-tracepoint",
        f"the kernel has no tracepoint '{category}:{event}'",
        function.span,
        help=[f"did you mean '{close[0]}'?" if close else help],
    )


def _add_context(function: Function) -> None:
    """A program declared without a parameter still gets its context."""
    context = tree.Variable("ctx", c.VOID_POINTER, function.span, "parameter")
    function.parameters = (context,)
    function.type = FuncProto(function.type.result, (Param("ctx", c.VOID_POINTER),))


def _read_arguments(function: Function, kind: Kind, names: KernelNames, reporter: Reporter) -> None:
    context, *arguments = function.parameters
    if not kind.arguments:
        reporter.error(
            "dialect/probe-arguments",
            f"'{function.name}' takes its context only",
            arguments[0].span,
            help=["read the event's fields through the context"],
        )
        return
    if c.pointer(context.type) is None:
        reporter.error(
            "dialect/probe-arguments",
            f"the first parameter of a program is its context, not '{c.spell(context.type)}'",
            context.span,
            help=[f"write int {function.name}(struct pt_regs *ctx, ...)"],
        )
        return
    if kind.arguments != "array" and len(arguments) > len(REGISTERS):
        reporter.error(
            "dialect/probe-arguments",
            f"a probe can read {len(REGISTERS)} arguments, those in registers",
            arguments[len(REGISTERS)].span,
        )
        return
    used = {node.variable for node in nodes(function.body) if isinstance(node, tree.Use)}
    readers = {"registers": _from_registers, "syscall": _from_syscall, "array": _from_array}
    body = readers[kind.arguments](context, arguments, names)
    if body is not None:  # a read that nobody needs would still cost its call
        body = [
            item
            for item in body
            if not isinstance(item, tree.Declare)
            or item.variable in used
            or item.variable not in arguments
        ]
    if body is None:
        reporter.error(
            "dialect/probe-arguments",
            "this target has no 'struct pt_regs' to read arguments from",
            arguments[0].span,
        )
        return
    assert function.body is not None
    function.body = replace(function.body, body=(*body, *function.body.body))
    function.parameters = (context,)
    function.type = FuncProto(function.type.result, (Param(context.name, context.type),))


def _local(argument: Variable) -> Variable:
    """The parameter becomes a local variable, so that its uses stay as they are."""
    argument.storage = "local"
    return argument


def _registers(names: KernelNames) -> Struct | None:
    struct = names.struct("pt_regs", False)
    return struct if struct is not None and struct.complete else None


def _register(build: Build, base: Expr, registers: Struct, name: str) -> tree.Field:
    found = find_member(registers, name)
    assert found is not None
    member, offset = found
    return tree.Field(build.span, member.type, build.deref(base), member, offset)


def _value(build: Build, e: Expr, type: Type) -> Expr:
    """A register's content as a parameter of `type`."""
    return build.convert(e, c.unqualified(type))


def _from_registers(
    context: Variable, arguments: list[Variable], names: KernelNames
) -> list[Stmt] | None:
    registers = _registers(names)
    if registers is None:
        return None
    out: list[Stmt] = []
    for argument, name in zip(arguments, REGISTERS, strict=False):
        build = Build(argument.span, names)
        base = build.convert(build.load(context), Ptr(registers))
        place = _register(build, base, registers, name)
        value = tree.Load(build.span, c.unqualified(place.type), place)
        out.append(build.declare(_local(argument), _value(build, value, argument.type)))
    return out


def _from_syscall(
    context: Variable, arguments: list[Variable], names: KernelNames
) -> list[Stmt] | None:
    """The kernel's wrappers get a pointer to the user's registers as their one argument."""
    registers = _registers(names)
    if registers is None:
        return None
    build = Build(context.span, names)
    outer = build.convert(build.load(context), Ptr(registers))
    first = _register(build, outer, registers, "di")
    inner = build.local("__ctx", Ptr(registers))
    loaded = tree.Load(build.span, c.unqualified(first.type), first)
    out: list[Stmt] = [build.declare(inner, build.convert(loaded, Ptr(registers)))]
    for argument, name in zip(arguments, SYSCALL_REGISTERS, strict=False):
        build = Build(argument.span, names)
        place = _register(build, build.load(inner), registers, name)
        # A plain load: `deref` makes a read of kernel memory of it, as of any other.
        value = tree.Load(build.span, c.unqualified(place.type), place)
        out.append(build.declare(_local(argument), _value(build, value, argument.type)))
    return out


def _from_array(
    context: Variable, arguments: list[Variable], names: KernelNames
) -> list[Stmt] | None:
    out: list[Stmt] = []
    slots = Ptr(c.ULLONG)
    for index, argument in enumerate(arguments):
        build = Build(argument.span, names)
        base = build.convert(build.load(context), slots)
        moved = tree.Arithmetic(build.span, slots, "+", base, build.number(index, c.LONG))
        value: Any = tree.Load(build.span, c.ULLONG, build.deref(moved))
        if strip(argument.type) is not None and size_of(argument.type) > 8:
            value = build.number(0, c.ULLONG)
        out.append(build.declare(_local(argument), _value(build, value, argument.type)))
    return out
