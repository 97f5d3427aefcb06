"""Functions of BCC's dialect that are no helpers: bpf_trace_printk without a size, USDT arguments,
the number of processors.

    bpf_trace_printk("x %d", n)
        ({ char _fmt[] = "x %d"; bpf_trace_printk(_fmt, sizeof(_fmt), n); })
    bpf_usdt_readarg(2, ctx, &x)
        _bpf_readarg_FUNCTION_2(ctx, &x, sizeof(x))

The format lives on the program's stack because the helper reads it from there; the functions that
read USDT arguments are generated for each probe and stand before the program's text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from minibcc.btf.types import Array, size_of
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.dialect.build import Build
from minibcc.compiler.dialect.walk import transform

if TYPE_CHECKING:
    from minibcc.compiler.kernel import KernelNames
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.tree import Call, Expr, Function, Unit

MAX_ARGUMENTS = 3
_SPECIFIER = re.compile(r"%([-+ #0]*\d*(?:\.\d+)?)(hh|h|ll|l|z)?([a-zA-Z%])([sSIiBbksu4-6]*)")


class _Wrong(Exception):
    """An error has been reported; the call stays a zero."""


class _Output:
    """The rewrites of one function."""

    def __init__(
        self,
        function: Function,
        functions: dict[str, Function],
        names: KernelNames,
        reporter: Reporter,
    ) -> None:
        self._function = function
        self._functions = functions
        self._names = names
        self._reporter = reporter

    def change(self, node: Any) -> Any:
        if not isinstance(node, tree.Call) or not isinstance(node.callee, tree.Builtin):
            return node
        form = _FORMS.get(node.callee.name)
        if form is None:
            return node
        try:
            return form(self, node)
        except _Wrong:
            return tree.Number(node.span, c.INT, 0)

    def fail(self, code: str, message: str, e: Any, help: list[str] | None = None) -> NoReturn:
        self._reporter.error(code, message, e.span, help=help or [])
        raise _Wrong

    # --- bpf_trace_printk --------------------------------------------------------------------

    def printk(self, call: Call) -> Expr:
        if not call.arguments:
            self.fail("type/argument-count", "bpf_trace_printk needs a format", call)
        first, *values = call.arguments
        build = Build(call.span, self._names)
        if not isinstance(first, tree.Decay) or not isinstance(first.place, tree.Literal):
            if c.pointer(first.type) and values and c.integer(values[0].type):
                return self._helper_style(build, call)
            self.fail(
                "dialect/printk-format",
                "the format of bpf_trace_printk must be a string literal",
                first,
                ['write bpf_trace_printk("%d", x)'],
            )
        literal = first.place
        self._check_format(literal, values, call)
        text = build.local("_fmt", Array(c.CHAR, len(literal.data)))
        part = (0, 0, text.type, literal)
        declare = tree.Declare(build.span, text, tree.Initializer(literal.span, (part,)))
        decayed = tree.Decay(build.span, c.CHAR_POINTER, build.use(text))
        size = build.number(len(literal.data), c.UINT)
        print_it = build.helper("bpf_trace_printk", decayed, size, *map(_promoted, values))
        return build.block(declare, value=build.convert(print_it, c.INT))

    def _helper_style(self, build: Build, call: Call) -> Expr:
        """``bpf_trace_printk(fmt, sizeof(fmt), ...)``, as the kernel's own samples write it."""
        pointer, size, *values = call.arguments
        print_it = build.helper("bpf_trace_printk", pointer, size, *map(_promoted, values))
        return build.convert(print_it, c.INT)

    def _check_format(self, literal: tree.Literal, values: list[Expr], call: Call) -> None:
        if len(values) > MAX_ARGUMENTS:
            self.fail(
                "dialect/printk-arguments",
                f"bpf_trace_printk takes {MAX_ARGUMENTS} values, not {len(values)}",
                values[MAX_ARGUMENTS],
                ["print in two calls, or submit a struct with perf_submit"],
            )
        text = literal.data.rstrip(b"\0").decode("utf-8", "replace")
        wanted = [match[0] for match in _SPECIFIER.finditer(text) if match[3] != "%"]
        strings = [item for item in wanted if item.endswith("s")]
        if len(strings) > 1:
            self._reporter.warning(
                "dialect/printk-strings",
                "older kernels print one %s in a call of bpf_trace_printk",
                literal.span,
            )
        if len(wanted) != len(values):
            self.fail(
                "dialect/printk-arguments",
                f"the format prints {len(wanted)} value{'s' * (len(wanted) != 1)}, "
                f"and {len(values)} {'is' if len(values) == 1 else 'are'} given",
                call,
            )
        for specifier, value in zip(wanted, values, strict=True):
            kind = specifier[-1]
            if kind == "s" and c.pointer(value.type) is None:
                self.fail(
                    "dialect/printk-arguments",
                    f"%s prints a string, and this is '{c.spell(value.type)}'",
                    value,
                    ["use %d for a number"],
                )
            if kind in "feEgGaA":
                self.fail("dialect/printk-format", "eBPF has no floating point: no %f", literal)

    def processors(self, call: Call) -> Expr:
        """``bpf_num_cpus()``: how many the target has."""
        return tree.Number(call.span, c.INT, self._names.cpus)

    # --- USDT --------------------------------------------------------------------------------

    def usdt(self, call: Call) -> Expr:
        """``bpf_usdt_readarg(n, ctx, &x)``."""
        build = Build(call.span, self._names)
        reader, context, place = self._reader(call, 3)
        target = c.pointer(place.type)
        if target is None:
            self.fail(
                "dialect/needs-pointer",
                f"bpf_usdt_readarg wants a pointer to the result, not '{c.spell(place.type)}'",
                place,
                ["take its address with &"],
            )
        size = build.number(size_of(target.to), c.ULONG)
        return self._read(build, reader, context, place, size)

    def usdt_text(self, call: Call) -> Expr:
        """``bpf_usdt_readarg_p(n, ctx, buffer, length)``: what the argument points to."""
        build = Build(call.span, self._names)
        reader, context, buffer, length = self._reader(call, 4)
        address = build.local("_address", c.ULLONG)
        size = build.number(8, c.ULONG)
        pointer = build.convert(build.load(address), c.VOID_POINTER)
        fill = self._read(build, reader, context, build.address(address), size)
        copied = build.helper("bpf_probe_read_user", buffer, length, pointer)
        return build.block(
            build.declare(address, build.number(0, c.ULLONG)),
            build.evaluate(fill),
            value=build.convert(copied, c.INT),
        )

    def _reader(self, call: Call, count: int) -> Any:
        assert isinstance(call.callee, tree.Builtin)
        name = call.callee.name
        if len(call.arguments) != count:
            self.fail("type/argument-count", f"{name} takes {count} arguments", call)
        number = fold(call.arguments[0])
        if number is None:
            self.fail("type/not-constant", f"which argument {name} reads must be a number", call)
        wanted = f"_bpf_readarg_{self._function.name}_{number}"
        reader = self._functions.get(wanted)
        if reader is None:
            self.fail(
                "dialect/no-usdt",
                f"no USDT probe with an argument {number} is enabled for '{self._function.name}'",
                call,
                [f'call usdt.enable_probe(probe="...", fn_name="{self._function.name}") first'],
            )
        return reader, *call.arguments[1:]

    def _read(self, build: Build, reader: Function, context: Expr, place: Expr, size: Expr) -> Expr:
        params = reader.type.params
        values = tuple(
            build.convert(value, param.type)
            for value, param in zip((context, place, size), params, strict=False)
        )
        return build.convert(tree.Call(build.span, reader.type.result, reader, values), c.INT)


def _promoted(e: Expr) -> Expr:
    """A value as a variadic helper takes it: of 64 bits, as every register."""
    if c.integer(e.type) is not None:
        wide = c.by_size(8, c.signed(c.promote(e.type or c.INT)))
        if size_of(e.type) < 8:
            if isinstance(e, tree.Number):
                return tree.Number(e.span, wide, c.wrap(e.value, wide))
            return tree.Convert(e.span, wide, e)
    return e


_FORMS: dict[str, Any] = {
    "bpf_trace_printk": _Output.printk,
    "bpf_num_cpus": _Output.processors,
    "bpf_usdt_readarg": _Output.usdt,
    "bpf_usdt_readarg_p": _Output.usdt_text,
}


def run(unit: Unit, names: KernelNames, reporter: Reporter) -> None:
    """Rewrites every call of the dialect's functions."""
    functions = {function.name: function for function in unit.functions}
    for function in unit.functions:
        rewriter = _Output(function, functions, names, reporter)
        function.body = transform(function.body, rewriter.change)
