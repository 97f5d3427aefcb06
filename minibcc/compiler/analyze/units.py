"""File level: functions, global variables, typedefs and BCC's tables (C11 section 6.9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.abi.bpf import MapType
from minibcc.btf.types import FuncProto, Int, Struct, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.analyze.context import Poison, Wrong
from minibcc.compiler.analyze.expressions import text_of
from minibcc.compiler.analyze.flow import falls_off, never_given
from minibcc.compiler.analyze.statements import Statements, is_inferred
from minibcc.compiler.analyze.values import without_value
from minibcc.compiler.dialect.macros import TABLE_MACROS, TABLE_TYPES
from minibcc.compiler.tree import (
    Block,
    Convert,
    Decay,
    Function,
    Initializer,
    Literal,
    Map,
    Unit,
    Variable,
)
from minibcc.diagnostics import Label

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.dialect.macros import TableMacro

_PAGE = 4096
_INLINE = {"always_inline": "always", "noinline": "never"}


class Units(Statements):
    """Analyses a text."""

    def run(self) -> Unit:
        self.externs: list[tuple[Variable, Any]] = []
        for node in self.syntax.nodes:
            form = self._FILE_LEVEL.get(type(node).__name__)
            try:
                if form is not None:
                    form(self, node)
            except Wrong:
                pass
        for variable, node in self.externs:
            if variable not in self.variables:
                self.report(
                    "type/extern",
                    f"nothing defines '{variable.name}': a BPF program has no linker",
                    node,
                    help=["declare it without extern, or read the kernel's variable with a helper"],
                )
        functions = tuple(item for item in self.functions if item.body is not None)
        license = self.syntax.preprocessed.license
        return Unit(
            functions,
            tuple(self.variables),
            tuple(self.maps),
            license,
            frozenset(self.headers),
        )

    # --- functions ---------------------------------------------------------------------------

    def _definition(self, node: Any) -> None:
        decl = node.decl
        name = decl.name
        try:
            type = self.declared(decl.type)
        except Wrong:
            self.declare(name, Poison())
            raise
        if not isinstance(type, FuncProto):
            self.fail(
                "parse/unexpected-token",
                f"'{name}' has a body, but no parameters",
                decl,
                help=[f"a function is written with parentheses: int {name}(struct pt_regs *ctx)"],
            )
        function = self._declare_function(decl, name, type)
        if function.body is not None:
            self.report("type/redefined", f"the function '{name}' is defined twice", decl)
        function.type = type
        function.span = decl.coord.span
        self.function = function
        self.labels, self.gotos, self.switches, self.loops = {}, [], [], 0
        self.push()
        try:
            function.parameters = self._parameters(decl, type)
            for parameter in function.parameters:
                if parameter.name in self.scopes[-1]:
                    self.redefined(parameter.name, parameter.span, self.scopes[-1][parameter.name])
                if parameter.name:
                    self.declare(parameter.name, parameter)
            self.push()
            body = self.statements(node.body.block_items or [])
            self.pop()
        finally:
            del self.scopes[1:], self.tags[1:]
            self.function = None
        for label, span in self.gotos:
            if label not in self.labels:
                self.report(
                    "type/undeclared",
                    f"there is no label '{label}'",
                    span,
                    help=self.suggestion(label, self.labels),
                )
        stretch = self.syntax.stretches.get(id(node.body))
        function.end = stretch[1].span if stretch else None
        function.body = Block(self.span(node.body), tuple(body), function.end)
        if not self.reporter.failed:  # what is given up after an error returns nothing
            self._check_course(function, node)
        if function not in self.functions:
            self.functions.append(function)

    def _check_course(self, function: Function, node: Any) -> None:
        """Warns of an end without a value, and of values that nothing gives."""
        assert function.body is not None
        if strip(function.type.result) is not None and falls_off(function.body):
            self.warn(
                "type/missing-return",
                f"'{function.name}' ends without returning a value",
                function.end or node.decl,
                help=["write return 0; before this }"],
            )
        for variable, use in never_given(function):
            self.warn(
                "type/uninitialized",
                f"'{variable.name}' is read here, and nothing gives it a value",
                use.span,
                help=["a helper fills what a pointer points to: give it the address of a variable"]
                if c.pointer(variable.type)
                else [f"start it with one: {c.spell(variable.type, variable.name)} = 0;"],
            )
        for variable, span, branch in without_value(function):
            message = f"'{variable.name}' is read here before anything gives it a value"
            labels = []
            if branch is not None:
                message = f"'{variable.name}' may be read here before anything gives it a value"
                labels = [Label(branch.span, f"nothing does if this is {branch.outcome}")]
            self.reporter.warning(
                "type/uninitialized",
                message,
                span,
                labels=labels,
                help=[f"start it with one: {c.spell(variable.type, variable.name)} = 0;"],
            )

    def _parameters(self, decl: Any, type: FuncProto) -> tuple[Variable, ...]:
        nodes = decl.type.args.params if decl.type.args is not None else []
        out = []
        for node, param in zip(nodes, type.params, strict=False):
            span = self.span(node) if node.coord is None else node.coord.span
            assert param.type is not None
            out.append(Variable(param.name, param.type, span, "parameter"))
        return tuple(out)

    def _declare_function(self, node: Any, name: str, type: FuncProto) -> Function:
        known = self.scopes[0].get(name)
        attributes = self.attributes(node)
        inline = next((_INLINE[item.name] for item in attributes if item.name in _INLINE), "")
        if not inline and "inline" in node.funcspec:
            inline = "inline"
        section = next((item.text() for item in attributes if item.name == "section"), "")
        if isinstance(known, Function):
            if not self.compatible(known.type, type):
                self.report(
                    "type/redefined",
                    f"'{name}' is declared with another type at {known.span}",
                    node,
                )
            known.inline = known.inline or inline
            known.section = known.section or section
            return known
        if known is not None and not isinstance(known, Poison):
            self.report("type/redefined", f"'{name}' is declared a second time", node)
        linkage = "static" if "static" in node.storage else "global"
        function = Function(name, type, (), None, node.coord.span, linkage, inline, section)
        self.scopes[0][name] = function
        return function

    def function_declaration(self, node: Any, name: str, type: Type | None) -> None:
        """A prototype, at file level or in a function."""
        proto = strip(type)
        assert isinstance(proto, FuncProto)
        if self.kernel.helper(name) is None:
            self._declare_function(node, name, proto)

    # --- variables and types -----------------------------------------------------------------

    def _global(self, node: Any) -> None:
        name = node.name
        if name is None:
            self.declared(node)
            return
        try:
            initial = None
            if is_inferred(node):
                type, initial = self.inferred(node)
            else:
                type = self.declared(node)
            if isinstance(strip(type), FuncProto):
                self.function_declaration(node, name, type)
                return
            self._global_variable(node, name, type, initial)
        except Wrong:
            self.scopes[0].setdefault(name, Poison())
            raise

    def _global_variable(
        self, node: Any, name: str, type: Type | None, initial: Initializer | None
    ) -> None:
        storage = "static" if "static" in node.storage else "global"
        variable = self.variable(node, name, type, storage)
        if variable.section == ".maps" or variable.section.startswith("maps"):
            self.fail(
                "dialect/libbpf-style",
                f"'{name}' is a map in libbpf's style",
                node,
                help=[f"write BPF_HASH({name}, key_type, value_type)"],
            )
        if variable.section in ("license", "version"):
            self.fail(
                "dialect/libbpf-style",
                f'SEC("{variable.section}") is libbpf\'s style',
                node,
                help=["write #define BPF_LICENSE GPL"],
            )
        known = self.scopes[0].get(name)
        if isinstance(known, Variable):
            if node.init is not None and known.initial is not None:
                self.redefined(name, node, known)
            elif not self.compatible(known.type, variable.type):
                a, b = c.array(known.type), c.array(variable.type)
                if not (a and b and 0 in (a.count, b.count) and self.compatible(a.of, b.of)):
                    self.redefined(name, node, known)
                elif a.count == 0:
                    known.type = variable.type
            variable = known
        elif known is not None and not isinstance(known, Poison):
            self.redefined(name, node, known)
        self.scopes[0][name] = variable
        if node.init is not None:
            if initial is None:
                variable.type, initial = self.initializer(variable.type, node.init)
            variable.initial = initial
            self._check_constant(initial)
        if "extern" in node.storage and node.init is None:
            self.externs.append((variable, node))
            return
        self._defined(variable, node)
        if variable not in self.variables:
            self.variables.append(variable)

    def _check_constant(self, initial: Initializer) -> None:
        for _, _, _, value in initial.parts:
            if not isinstance(value, Literal) and fold(value) is None:
                inner = value.operand if isinstance(value, Convert) else value
                text = inner.place if isinstance(inner, Decay) else None
                self.report(
                    "type/not-constant",
                    "a global variable starts with a constant",
                    value.span,
                    "the address of a text is none in eBPF" if isinstance(text, Literal) else "",
                    help=["keep the characters themselves: static const char names[][16] = {...}"]
                    if isinstance(text, Literal)
                    else [],
                )

    def _type_definition(self, node: Any) -> None:
        self._typedef(node)

    def _file_assert(self, node: Any) -> None:
        self.static_assert(node)

    # --- tables ------------------------------------------------------------------------------

    def _table(self, node: Any) -> None:
        name = node.name.name
        if name == "asm":
            self.fail("type/assembly", "assembly at file level cannot be compiled", node)
        row = TABLE_MACROS.get(name)
        if row is None:
            self.fail("parse/unexpected-token", f"'{name}' cannot stand here", node)
        arguments = node.args.exprs
        kinds = row.arguments
        if name == "BPF_HASH_OF_MAPS" and len(arguments) > 1 and _string(arguments[1]):
            kinds = ("name", "inner", "size")
        if not row.required <= len(arguments) <= len(kinds):
            self.fail(
                "dialect/table-arguments",
                f"{name} takes {_range(row.required, len(kinds))} arguments "
                f"({', '.join(kinds)}), not {len(arguments)}",
                node,
            )
        given = dict(zip(kinds, arguments, strict=False))
        table = self._make_table(name, row, given, node)
        known = self.scopes[0].get(table.name)
        if known is not None and not isinstance(known, Poison):
            self.report(
                "type/redefined", f"'{table.name}' is declared a second time", given["name"]
            )
        self.scopes[0][table.name] = table
        self.maps.append(table)

    def _make_table(self, macro: str, row: TableMacro, given: dict[str, Any], node: Any) -> Map:
        named = given["name"]
        if type(named).__name__ != "ID":
            self.fail("dialect/table-arguments", f"the name of a {macro} is one word", named)
        try:
            kind, scope, inner_name = row.type, row.scope, ""
            if "type" in given:
                kind, scope, inner_name = self._table_type(given["type"], scope)
            key = self._table_part(given.get("key"), row.key)
            value = self._table_part(given.get("value"), row.value)
            size = self.constant(given["size"], "a table's size") if "size" in given else row.size
            flags = self.constant(given["flags"], "flags") if "flags" in given else row.flags
        except Wrong:
            self.scopes[0][named.name] = Poison()
            raise
        if macro == "BPF_HISTOGRAM" or ("type" in given and _text(given["type"]) in _HISTOGRAMS):
            inner = strip(key)
            plain = isinstance(inner, Int) and inner.size == 4 and inner.signed
            kind = MapType.ARRAY if plain else MapType.HASH
        if kind == MapType.RINGBUF:
            if size <= 0 or size & (size - 1):
                self.fail(
                    "dialect/ring-buffer-size",
                    f"the pages of a ring buffer are a power of two, not {size}",
                    given.get("size", node),
                    help=[f"use {1 << max(size, 1).bit_length()}"],
                )
            size, key, value = size * _PAGE, None, None
        if kind in (MapType.QUEUE, MapType.STACK):
            key = None
        inner_name = _text(given["inner"]) if "inner" in given else inner_name
        pin = _text(given["path"]) if "path" in given else ""
        return Map(
            named.name, kind, key, value, size, named.coord.span, flags, inner_name, pin, scope
        )

    def _table_type(self, node: Any, scope: str) -> tuple[MapType, str, str]:
        """What the string of BPF_TABLE says: type, scope, and behind a $ a map of maps' inner
        one."""
        word, dollar, inner = _text(node).partition("$")
        if word not in TABLE_TYPES or (dollar and not word.endswith("_of_maps")):
            self.fail(
                "dialect/table-type",
                f"there is no table of type '{word}'",
                node,
                help=self.suggestion(word, TABLE_TYPES),
            )
        return TABLE_TYPES[word], "extern" if word == "extern" else scope, inner

    def _table_part(self, node: Any, default: str) -> Type | None:
        """A key's or value's type."""
        if node is None:
            return self._default(default)
        if type(node).__name__ != "Typename":
            name = getattr(node, "name", "this")
            self.fail(
                "dialect/table-arguments",
                f"a type is wanted here, and '{name}' is none",
                node,
                help=self.suggestion(name, self._types_in_scope()) if isinstance(name, str) else [],
            )
        found = self.declared(node)
        self.complete(found, node)
        return found

    def _types_in_scope(self) -> list[str]:
        return [*self.kernel.common_types(), *(f"struct {tag}" for tag in self.tags[0])]

    def _default(self, text: str) -> Type | None:
        """A type as a row of the table of macros writes it."""
        if not text:
            return None
        if text.startswith("struct "):
            tag = text.removeprefix("struct ")
            return self.kernel.struct(tag, False) or Struct(tag, complete=False)
        return c.INT if text == "int" else self.kernel.typedef(text)

    _FILE_LEVEL: ClassVar[dict[str, Any]] = {
        "FuncDef": _definition,
        "Decl": _global,
        "Typedef": _type_definition,
        "StaticAssert": _file_assert,
        "FuncCall": _table,
    }


_HISTOGRAMS = ("histogram", "histgram")


def _string(node: Any) -> bool:
    return type(node).__name__ == "Constant" and node.type == "string"


def _text(node: Any) -> str:
    """A string argument, or a bare word."""
    if _string(node):
        return text_of(node.value).decode("utf-8", "replace")
    return str(getattr(node, "name", ""))


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"
