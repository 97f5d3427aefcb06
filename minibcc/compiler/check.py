"""What plain C may not contain, because eBPF cannot carry it.

LLVM's BPF back end ends the whole process on what it cannot do, so nothing of that kind may reach
it: this check runs on the plain tree and refuses each such form at its place, with what to write
instead. What depends on the optimiser (stack use, variable copies) is checked by lowering.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.btf.types import Float, Struct, size_of, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.calls import cycles
from minibcc.compiler.dialect.entry import kind_of
from minibcc.compiler.dialect.walk import nodes

if TYPE_CHECKING:
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.tree import Call, Function, Unit

MAX_PARAMETERS = 5
MAX_STACK = 512


def check(unit: Unit, reporter: Reporter) -> None:
    """Reports what cannot be compiled to eBPF."""
    calls: dict[Function, list[tuple[Function, Call]]] = {}
    addressed = {
        node.function
        for function in unit.functions
        for node in nodes(function.body)
        if isinstance(node, tree.FunctionPointer)
    }
    for function in unit.functions:
        _check_function(function, reporter, ours=_is_ours(function, addressed))
        inside = calls.setdefault(function, [])
        for node in nodes(function.body):
            if isinstance(node, tree.Call):
                _check_call(node, function, reporter)
                if isinstance(node.callee, tree.Function):
                    inside.append((node.callee, node))
            elif isinstance(node, tree.Method):
                raise AssertionError(f"a method is left after the dialect: {node.name}")
            elif isinstance(node, tree.Declare):
                _check_variable(node.variable, reporter)
            elif isinstance(node, tree.Arithmetic | tree.Update) and node.operator in ("/", "%"):
                _check_division(node, reporter)
    _check_recursion(calls, reporter)


def _is_ours(function: Function, addressed: set[Function]) -> bool:
    """Whether all calls of a function are in the text: then both sides agree how structs pass, and
    mostly it is inlined."""
    return function.linkage == "static" and function.probe is None and function not in addressed


def _check_function(function: Function, reporter: Reporter, *, ours: bool) -> None:
    if function.section:
        reporter.error(
            "dialect/libbpf-style",
            f'SEC("{function.section}") is libbpf\'s style',
            function.span,
            help=[
                "name the function after its probe (kprobe__do_nanosleep), or attach it from the "
                "script"
            ],
        )
    if function.type.variadic:
        reporter.error(
            "type/variadic",
            "a BPF function cannot take a variable number of arguments",
            function.span,
        )
    if len(function.parameters) > MAX_PARAMETERS and (not ours or function.inline == "never"):
        reporter.error(
            "type/too-many-parameters",
            f"'{function.name}' has {len(function.parameters)} parameters: eBPF passes five",
            function.parameters[MAX_PARAMETERS].span,
            help=["make it static inline, or pass a pointer to a struct that holds some of them"],
        )
    result = strip(function.type.result)
    if isinstance(result, Struct) and not ours:
        reporter.error(
            "type/struct-result",
            f"'{function.name}' returns a struct: eBPF returns one register",
            function.span,
            help=["make it static, or let the caller pass a pointer to the result"],
        )
    if isinstance(result, Float):
        reporter.error("type/float", "eBPF has no floating point", function.span)
    for parameter in function.parameters:
        inner = strip(parameter.type)
        if isinstance(inner, Struct) and not ours:
            reporter.error(
                "type/struct-parameter",
                f"'{parameter.name}' is a struct: eBPF passes registers",
                parameter.span,
                help=["pass a pointer to it, or make the function static"],
            )
        if isinstance(inner, Float):
            reporter.error("type/float", "eBPF has no floating point", parameter.span)


def _check_variable(variable: tree.Variable, reporter: Reporter) -> None:
    size = size_of(variable.type)
    if size > MAX_STACK:
        reporter.error(
            "type/stack",
            f"'{variable.name}' needs {size} bytes, and the stack has {MAX_STACK}",
            variable.span,
            help=["keep it in a BPF_PERCPU_ARRAY with one element and look that up"],
        )


def _check_call(call: Call, function: Function, reporter: Reporter) -> None:
    callee = call.callee
    if isinstance(callee, tree.Function):
        if callee.body is None:
            reporter.error(
                "type/undefined-function",
                f"'{callee.name}' is declared but has no body",
                call.span,
                help=["define it in this text: a BPF program has no linker"],
            )
        elif callee is not function and callee.linkage == "global" and kind_of(callee.name):
            reporter.error(
                "dialect/calls-program",
                f"'{callee.name}' is a program of its own: it cannot be called",
                call.span,
                help=["move what both need into a static inline function"],
            )
    elif isinstance(callee, tree.Helper) and len(call.arguments) > MAX_PARAMETERS:
        reporter.error(
            "type/too-many-parameters",
            f"'{callee.name}' takes five arguments at most, not {len(call.arguments)}",
            call.span,
        )


def _check_division(node: Any, reporter: Reporter) -> None:
    type = node.type if isinstance(node, tree.Arithmetic) else node.within
    kind = c.integer(type)
    if kind is not None and kind.size == 16:
        reporter.error(
            "type/wide-arithmetic",
            "eBPF cannot divide numbers of 128 bits",
            node.span,
            help=["divide numbers of 64 bits"],
        )


def _check_recursion(
    calls: dict[Function, list[tuple[Function, Call]]], reporter: Reporter
) -> None:
    """Each function that calls itself, and the first of several that call each other, once."""
    order = {caller: number for number, caller in enumerate(calls)}
    first: dict[Function, Function] = {}
    for circle in cycles({caller: [callee for callee, _ in calls[caller]] for caller in calls}):
        first |= dict.fromkeys(circle, min(circle, key=order.__getitem__))
    told = set()
    for caller, inside in calls.items():
        for callee, call in inside:
            if caller in first and callee in (caller, first[caller]) and callee not in told:
                told.add(callee)
                reporter.error(
                    "type/recursion",
                    f"'{callee.name}' calls itself: the depth of calls must be known",
                    call.span,
                    notes=[f"by way of '{caller.name}'"] if callee is not caller else [],
                    help=["write a loop with a bound"],
                )
