"""Expressions: places and values, operators, C's conversions (C11 sections 6.3 and 6.5).

`expression` gives what the text says, maybe a place; `value` makes a value of it (a place is
loaded, an array decays).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.btf.types import (
    Array,
    Const,
    Ptr,
    align_of,
    size_of,
    strip,
)
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze import certain
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.analyze.context import Constant, Poison, TypeName, Wrong
from minibcc.compiler.analyze.conversions import is_place
from minibcc.compiler.analyze.places import Places
from minibcc.compiler.tree import Function, Map, Number, Variable

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.tree import Expr
    from minibcc.diagnostics import Span

_PYTHON = {"None": "0 and NULL", "True": "1 and true", "False": "0 and false"}
_OWN_NAME = ("__func__", "__FUNCTION__", "__PRETTY_FUNCTION__")
_ESCAPES = {"n": 10, "t": 9, "r": 13, "a": 7, "b": 8, "f": 12, "v": 11, "e": 27}
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))|([^\\]+)",
    re.DOTALL,
)
_CHARACTERS: dict[str, tuple[Type, str]] = {
    "": (c.CHAR, "utf-8"),
    "u8": (c.CHAR, "utf-8"),
    "u": (c.USHORT, "utf-16-le"),
    "U": (c.UINT, "utf-32-le"),
    "L": (c.INT, "utf-32-le"),
}
"""A literal's prefix to the type of its elements and how it holds other characters."""


def prefix_of(literals: list[str]) -> str:
    """The prefix of adjacent literals: L of ``"a" L"b"``."""
    prefixes = [literal[: literal.index(literal[-1])] for literal in literals]
    return max(prefixes, key=lambda prefix: size_of(_CHARACTERS[prefix][0]))


def text_of(literals: list[str]) -> bytes:
    """The bytes of adjacent string or character literals, without a final NUL."""
    type, encoding = _CHARACTERS[prefix_of(literals)]
    width = size_of(type)
    out = bytearray()
    for literal in literals:
        quote = literal[-1]
        body = literal[literal.index(quote) + 1 : -1]
        for match in _ESCAPE.finditer(body):
            hexadecimal, octal, short, long, simple, text = match.groups()
            if hexadecimal or octal:
                value = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
                out += (value & (1 << width * 8) - 1).to_bytes(width, "little")
                continue
            if simple:
                text = chr(_ESCAPES[simple]) if simple in _ESCAPES else simple
            elif short or long:
                text = chr(min(int(short or long, 16), 0x10FFFF))
            out += text.encode(encoding, "surrogateescape" if width == 1 else "surrogatepass")
    return bytes(out)


class Expressions(Places):
    """Analyses expressions."""

    def expression(self, node: Any) -> Expr:
        """The typed form of a node: a place, or a value."""
        form = self._FORMS.get(type(node).__name__)
        if form is None:
            self.fail("type/bad-initializer", "a value is wanted here, not braces", node)
        return form(self, node)  # type: ignore[no-any-return]  # found by name

    def value(self, node: Any) -> Expr:
        """The value of an expression."""
        return self.rvalue(self.expression(node))

    def truth(self, node: Any) -> Expr:
        """A condition: any scalar."""
        e = self.value(node)
        if not c.scalar(e.type):
            self.fail(
                "type/not-scalar",
                f"a condition cannot be of type '{c.spell(e.type)}'",
                node,
            )
        if (
            type(node).__name__ == "Assignment"
            and node.op == "="
            and isinstance(fold(e.value) if isinstance(e, tree.Assign) else None, int)
        ):
            self.warn(
                "type/assignment-condition",
                "this assigns, it does not compare",
                node,
                help=["write == to compare"],
            )
        self._never_null(e, node, "true")
        return e

    # --- primary expressions -----------------------------------------------------------------

    def _name(self, node: Any) -> Expr:
        name = node.name
        entity = self.lookup(name)
        span = self.span(node)
        match entity:
            case Variable():
                return tree.Use(span, entity.type, entity)
            case Constant():
                return Number(span, entity.type, entity.value)
            case Function():
                return tree.FunctionPointer(span, Ptr(entity.type), entity)
            case Map():
                return tree.MapPointer(span, c.VOID_POINTER, entity)
            case Poison():
                raise Wrong
            case None if name in _OWN_NAME and self.function is not None:
                data = self.function.name.encode() + b"\0"
                return tree.Literal(span, Array(Const(c.CHAR), len(data)), data)
            case TypeName():
                self.fail("type/not-a-value", f"'{name}' is a type, not a value", node)
        return self.undeclared(node)

    def undeclared(self, node: Any) -> Expr:
        name = node.name
        help = self.suggestion(name, self.names())
        if name == "args":
            help = ["'args' exists inside TRACEPOINT_PROBE only"]
        elif name == "ctx":
            help = ["name the function's first parameter ctx: int f(struct pt_regs *ctx)"]
        elif name == "current":
            help = ["use (struct task_struct *)bpf_get_current_task()"]
        elif name in _PYTHON:
            help = [f"that is Python: C has {_PYTHON[name]}"]
        elif any(name in tags for tags in self.tags) or self.kernel.struct(name, False):
            help = [f"write 'struct {name}': the name alone is no type"]
        elif self.kernel.function(name) is not None:
            help = [f"'{name}' is a function of the kernel: BPF programs cannot use it"]
        self.report(
            "type/undeclared", f"'{name}' is not declared", node, help=help or ["declare it first"]
        )
        self.scopes[-1][name] = Poison()
        raise Wrong

    def _constant(self, node: Any) -> Expr:
        span = self.span(node)
        if node.type == "string":
            element, _ = _CHARACTERS[prefix_of(node.value)]
            width = size_of(element)
            data = text_of(node.value) + bytes(width)
            return tree.Literal(span, Array(element, len(data) // width), data)
        if node.type == "char":
            return self._character(node, span)
        if node.type == "float":
            self.fail(
                "type/float",
                "eBPF has no floating point",
                node,
                help=["count in smaller units: nanoseconds, or thousandths, in a u64"],
            )
        return self._integer(node, span)

    def _character(self, node: Any, span: Span) -> Number:
        data = text_of([node.value])
        element, _ = _CHARACTERS[prefix_of([node.value])]
        if element is not c.CHAR:
            return Number(span, element, c.wrap(int.from_bytes(data, "little"), element))
        if len(data) == 1:
            return Number(span, c.INT, c.wrap(data[0], c.CHAR))
        return Number(span, c.INT, c.wrap(int.from_bytes(data, "big"), c.INT))

    def _integer(self, node: Any, span: Span) -> Number:
        text = node.value.lower()
        digits = text.rstrip("ul")
        suffix = text[len(digits) :]
        octal = digits.startswith("0") and digits.isdigit()
        value = int(digits, 8) if octal else int(digits, 0)
        unsigned = "u" in suffix
        may_be_unsigned = unsigned or not digits[:1].isdigit() or digits.startswith("0")
        long = suffix.count("l")
        candidates: list[Type] = []
        for size, signed_type, unsigned_type in (
            (0, c.INT, c.UINT),
            (1, c.LONG, c.ULONG),
            (2, c.LLONG, c.ULLONG),
        ):
            if size < long:
                continue
            if not unsigned:
                candidates.append(signed_type)
            if may_be_unsigned:
                candidates.append(unsigned_type)
        for candidate in candidates:
            if c.wrap(value, candidate) == value:
                return Number(span, candidate, value)
        if value < 1 << 64:
            return Number(span, c.ULLONG, value)
        self.fail("type/number-too-large", f"'{node.value}' does not fit into 64 bits", node)

    def _statement_expression(self, node: Any) -> Expr:
        items = list(node.block_items or [])
        last = None
        while items and type(items[-1]).__name__ == "EmptyStatement":
            items.pop()
        if items and type(items[-1]).__name__ in self._FORMS:
            last = items.pop()
        self.push()
        try:
            body = self.statements(items)
            value = self.value(last) if last is not None else None
        finally:
            self.pop()
        span = self.span(node)
        return tree.StatementExpr(span, value.type if value else None, tuple(body), value)

    def _generic(self, node: Any) -> Expr:
        control = self.value(node.expr).type
        default = chosen = None
        seen: list[Type | None] = []
        for item in node.associations:
            if item.type is None:
                default = item.expr
                continue
            type = self.declared(item.type)
            if any(c.identical(type, other) for other in seen):
                self.fail(
                    "type/no-match",
                    f"two associations of _Generic are for '{c.spell(type)}'",
                    item.type,
                )
            seen.append(type)
            if chosen is None and c.identical(type, control):
                chosen = item.expr
        chosen = chosen if chosen is not None else default
        if chosen is None:
            self.fail(
                "type/no-match", f"no association of _Generic fits '{c.spell(control)}'", node
            )
        return self.expression(chosen)

    # --- operators ---------------------------------------------------------------------------

    def _unary(self, node: Any) -> Expr:
        match node.op:
            case "&":
                return self._address(node)
            case "*":
                return self._dereference(node)
            case "sizeof" | "_Alignof":
                return self._sizeof(node)
            case "++" | "--" | "p++" | "p--":
                return self._step(node)
            case "!":
                return tree.Unary(self.span(node), c.INT, "!", self.truth(node.expr))
        e = self.value(node.expr)
        if c.integer(e.type) is None:
            self.fail("type/bad-operand", f"{node.op} cannot take '{c.spell(e.type)}'", node.expr)
        promoted = self.promoted(e)
        span = self.span(node)
        result = tree.Unary(span, promoted.type, node.op, promoted)
        if isinstance(promoted, Number):
            return Number(span, promoted.type, fold(result) or 0)
        return result

    def _sizeof(self, node: Any) -> Expr:
        if type(node.expr).__name__ == "Typename":
            operand = self.declared(node.expr)
        else:
            operand = self.typed(node.expr)
        self.complete_for_size(operand, node)
        size = size_of(operand) if node.op == "sizeof" else align_of(operand)
        return Number(self.span(node), c.ULONG, size)

    def _step(self, node: Any) -> Expr:
        place = self.place(node.expr, "count")
        span = self.span(node)
        one = Number(span, c.INT, 1)
        operator = node.op[-1]
        post = node.op.startswith("p")
        kind = c.unqualified(place.type)
        target = c.pointer(kind)
        if target is not None:
            self._sized(target.to, node)
            return tree.Update(span, kind, operator, place, self._distance(one), None, post)
        if c.integer(kind) is None or kind is None:
            self.fail("type/bad-operand", f"{operator * 2} cannot take '{c.spell(kind)}'", node)
        within = c.common(self._promotion(place), c.INT)
        return tree.Update(span, kind, operator, place, self.implicit(one, within), within, post)

    def place(self, node: Any, what: str) -> Expr:
        """A place that may be written."""
        e = self.expression(node)
        if not is_place(e) or isinstance(strip(e.type), Array):
            copy = is_place(e) and not isinstance(e, tree.Literal)
            self.fail(
                "type/not-a-place",
                f"this cannot be assigned: it is {_kind_of_value(e)}",
                node,
                help=["copy into it: __builtin_memcpy(to, from, size)"] if copy else [],
            )
        if c.is_const(e.type):
            self.fail("type/const", f"this is const: '{c.spell(e.type)}'", node)
        return e

    def _binary(self, node: Any) -> Expr:
        operator = node.op
        span = self.span(node)
        if operator in ("&&", "||"):
            return tree.Logic(span, c.INT, operator, self.truth(node.left), self.truth(node.right))
        left, right = self.value(node.left), self.value(node.right)
        if operator in ("==", "!=", "<", "<=", ">", ">="):
            return self._compare(node, operator, left, right)
        if operator in ("+", "-") and (c.pointer(left.type) or c.pointer(right.type)):
            return self._move(node, operator, left, right)
        self._integers(node, operator, left, right)
        if operator in ("<<", ">>"):
            left, right = self.promoted(left), self.promoted(right)
            type = left.type
            self._check_shift(left.type, right, node.right)
        else:
            left, right, type = self.usual(left, right)
        if operator in ("/", "%") and fold(right) == 0:
            self.warn("type/division-by-zero", "this divides by zero", node.right)
        result = tree.Arithmetic(span, type, operator, left, right)
        if isinstance(left, Number) and isinstance(right, Number):
            folded = fold(result)
            if folded is not None:
                return Number(span, type, folded)
        return result

    def _check_shift(self, type: Type | None, count: Expr, at: Any) -> None:
        known, bits = fold(count), size_of(type) * 8
        if known is not None and not 0 <= known < bits:
            self.warn(
                "type/shift-count",
                f"a shift by {known}, and '{c.spell(type)}' has {bits} bits",
                at,
                help=[f"make the number wider: (u64)x << {known}"] if 0 < known < 64 else [],
            )

    def _integers(self, node: Any, operator: str, left: Expr, right: Expr) -> None:
        for e, side in ((left, node.left), (right, node.right)):
            if c.integer(e.type) is None:
                self.fail(
                    "type/bad-operand",
                    f"{operator} cannot take '{c.spell(e.type)}'",
                    side,
                    help=["read what it points to: *p"] if c.pointer(e.type) else [],
                )

    def _move(self, node: Any, operator: str, left: Expr, right: Expr) -> Expr:
        """``p + n``, ``n + p``, ``p - n``, ``p - q``."""
        span = self.span(node)
        a, b = c.pointer(left.type), c.pointer(right.type)
        if a and b:
            if operator == "+":
                self.fail("type/bad-operand", "two pointers cannot be added", node)
            return tree.Arithmetic(span, c.LONG, "-", left, self.implicit(right, left.type or b))
        if b and operator == "+":
            left, right, a = right, left, b
        if a is None or c.integer(right.type) is None:
            self.fail(
                "type/bad-operand",
                f"{operator} cannot take '{c.spell(left.type)}' and '{c.spell(right.type)}'",
                node,
            )
        self._sized(a.to, node)
        return tree.Arithmetic(span, left.type, operator, left, self._distance(right))

    def _compare(self, node: Any, operator: str, left: Expr, right: Expr) -> Expr:
        span = self.span(node)
        a, b = c.pointer(left.type), c.pointer(right.type)
        if a or b:
            if not (c.scalar(left.type) and c.scalar(right.type)):
                self._incomparable(node, left, right)
            if a and b:
                if any(_is_text(side) for side in (left, right)):
                    self.warn(
                        "type/text-comparison",
                        "this compares two addresses, not what is written there",
                        node,
                        help=["compare the bytes: __builtin_memcmp(a, b, size) == 0"],
                    )
                right = self.implicit(right, left.type or a)
                self._compared_with_null(node, operator, left, right)
            else:
                number, other = (right, left) if a else (left, right)
                if fold(number) is None:
                    self.warn(
                        "type/pointer-and-integer",
                        "a pointer is compared with an integer",
                        node,
                        help=["cast one of them so that both have one type"],
                    )
                wide = self.implicit(self._distance(number), other.type or c.VOID_POINTER)
                left, right = (left, wide) if a else (wide, right)
                self._compared_with_null(node, operator, left, right)
            return tree.Comparison(span, c.INT, operator, left, right)
        if c.integer(left.type) is None or c.integer(right.type) is None:
            self._incomparable(node, left, right)
        negative = any((fold(side) or 0) < 0 for side in (left, right))
        left, right, _ = self.usual(left, right)
        self._certain(node, operator, left, right, negative=negative)
        return tree.Comparison(span, c.INT, operator, left, right)

    def _certain(
        self, node: Any, operator: str, left: Expr, right: Expr, *, negative: bool
    ) -> None:
        """Warns of a comparison that the type of one side decides; `negative` says that one side
        was a number below 0, before both were converted."""
        known = certain.by_range(operator, left, right, negative=negative)
        if known is None:
            return
        outcome, value, limit = known
        constant, other = node.right, node.left
        if fold(left) is not None:
            constant, other = other, constant
        if not (certain.literal(constant) and self._written(constant) and self._written(other)):
            return
        sources = self.reporter.sources
        if not certain.spelled(sources, operator, self.span(node.left), self.span(node.right)):
            return
        low, high = certain.limits(value)
        name = certain.name(value)
        why = f"'{name}' holds {low} to {high}"
        if low == limit:
            why = f"'{name}' is never below 0"
        elif high == limit:
            why = f"as '{name}' the number below 0 is {limit}"
        self.warn(
            "type/certain-comparison",
            f"this is always {_word(outcome)}: {why}",
            node,
            help=[certain.cure(value, -1 if high == limit else limit)],
        )

    def _compared_with_null(self, node: Any, operator: str, left: Expr, right: Expr) -> None:
        """Warns of the address of a variable or array where it is compared with NULL."""
        sides = ((left, node.left, right, node.right), (right, node.right, left, node.left))
        for e, side, other, null in sides if operator in ("==", "!=") else ():
            if fold(other) == 0 and self._written(null, "NULL"):
                self._never_null(e, side, _word(operator == "!="), node)

    def _never_null(self, e: Expr, written: Any, outcome: str, at: Any = None) -> None:
        """Warns if a pointer that decides something is the address of a variable or array."""
        place = certain.never_null(e)
        if place is None or not self._written(written):
            return
        what, help = "a variable", "leave out the &: test its value"
        if isinstance(strip(place.type), Array):
            what, help = "an array", f"test an element: {certain.name(place)}[0]"
        self.warn(
            "type/never-null",
            f"this is always {outcome}: the address of {what} is never NULL",
            at or written,
            help=[help],
        )

    def _written(self, node: Any, but: str = "") -> bool:
        return certain.written(self.syntax, node, but)

    def _incomparable(self, node: Any, left: Expr, right: Expr) -> None:
        self.fail(
            "type/bad-operand",
            f"'{c.spell(left.type)}' and '{c.spell(right.type)}' cannot be compared",
            node,
        )

    def _conditional(self, node: Any) -> Expr:
        condition = self.truth(node.cond)
        yes = self.value(node.iftrue) if node.iftrue is not None else None
        no = self.value(node.iffalse)
        middle = yes if yes is not None else condition
        span = self.span(node)
        type = self._meet(middle, no, node)
        if type is not None and c.struct(type) is None:
            yes = self.implicit(yes, type) if yes is not None else None
            no = self.implicit(no, type)
        chosen = fold(condition)
        if chosen is not None and yes is not None:
            kept = yes if chosen else no
            if isinstance(kept, Number):
                return Number(span, type, kept.value)
        return tree.Conditional(span, type, condition, yes, no)

    def _meet(self, yes: Expr, no: Expr, node: Any) -> Type | None:
        """The type of a conditional expression."""
        if c.integer(yes.type) and c.integer(no.type):
            return c.common(self._promotion(yes), self._promotion(no))
        a, b = c.pointer(yes.type), c.pointer(no.type)
        if a and b:
            if fold(no) == 0 or (strip(b.to) is None and fold(yes) != 0):
                return yes.type if fold(no) == 0 else no.type
            return no.type if fold(yes) == 0 else yes.type
        if a and fold(no) == 0:
            return yes.type
        if b and fold(yes) == 0:
            return no.type
        if strip(yes.type) is None or strip(no.type) is None:
            return None
        if self.compatible(yes.type, no.type):
            return yes.type
        if c.scalar(yes.type) and c.scalar(no.type):
            self.warn("type/pointer-and-integer", "the two values have different types", node)
            return yes.type if a else no.type
        self.fail(
            "type/bad-operand",
            f"the two values of ?: are '{c.spell(yes.type)}' and '{c.spell(no.type)}'",
            node,
        )

    def _comma(self, node: Any) -> Expr:
        e = self.value(node.exprs[0])
        for item in node.exprs[1:]:
            following = self.value(item)
            e = tree.Comma(e.span.to(following.span), following.type, e, following)
        return e

    def _assignment(self, node: Any) -> Expr:
        place = self.place(node.lvalue, "assign")
        span = self.span(node)
        kind = c.unqualified(place.type)
        if node.op == "=":
            right = self.convert(self.value(node.rvalue), kind, "assigned")
            return tree.Assign(span, kind, place, right)
        operator = node.op[:-1]
        right = self.value(node.rvalue)
        if c.pointer(kind) and operator in ("+", "-"):
            if c.integer(right.type) is None:
                self.fail("type/bad-operand", "only an integer can move a pointer", node.rvalue)
            self._sized((c.pointer(kind) or c.VOID_POINTER).to, node)
            return tree.Update(span, kind, operator, place, self._distance(right), None)
        for e, side in ((place, node.lvalue), (right, node.rvalue)):
            if c.integer(e.type) is None:
                self.fail("type/bad-operand", f"{node.op} cannot take '{c.spell(e.type)}'", side)
        if operator in ("<<", ">>"):
            within = self._promotion(place)
            right = self.promoted(right)
            self._check_shift(within, right, node.rvalue)
        else:
            within = c.common(self._promotion(place), self._promotion(right))
            right = self.implicit(right, within)
        return tree.Update(span, kind, operator, place, right, within)

    def _cast(self, node: Any) -> Expr:
        type = self.declared(node.to_type)
        self.complete_for_size(type, node)
        return self.cast(self.value(node.expr), type, self.span(node))

    def _call(self, node: Any) -> Expr:
        return self.call(node)

    def _literal(self, node: Any) -> Expr:
        return self.compound_literal(node)

    _FORMS: ClassVar[dict[str, Any]] = {
        "ID": _name,
        "Constant": _constant,
        "Compound": _statement_expression,
        "GenericSelection": _generic,
        "StructRef": Places._member,
        "ArrayRef": Places._element,
        "UnaryOp": _unary,
        "BinaryOp": _binary,
        "TernaryOp": _conditional,
        "ExprList": _comma,
        "Assignment": _assignment,
        "Cast": _cast,
        "FuncCall": _call,
        "CompoundLiteral": _literal,
    }


def _word(outcome: bool) -> str:
    return "true" if outcome else "false"


def _is_text(e: Expr) -> bool:
    return isinstance(e, tree.Decay) and isinstance(e.place, tree.Literal)


def _kind_of_value(e: Expr) -> str:
    if isinstance(e, Number):
        return "a number"
    if isinstance(strip(e.type), Array):
        return "an array"
    return "a value, not a variable"
