"""Expressions of the typed tree as instructions.

Three questions can be asked of an expression: its `value` (an operand; of an aggregate, its
address), its `place` (of a place), and, where C asks for truth only, where to go (`branch`). The
conversions are all in the tree already, so each form of C is one short function here; tables map
node classes to them.

Mirrors clang's CGExpr*.cpp in what it emits (signed overflow is undefined, shifts by too much as
well), because the optimiser that follows is the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import gcd
from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.btf.types import Ptr, align_of, size_of, strip
from minibcc.compiler import tree
from minibcc.compiler.lower.arithmetic import number
from minibcc.compiler.lower.emitter import Place, slot_align
from minibcc.compiler.lower.memory import Memory
from minibcc.compiler.lower.types import (
    VOID,
    Kind,
    is_volatile,
)
from minibcc.compiler.tree import Expr, Initializer

if TYPE_CHECKING:
    from collections.abc import Callable


_PREDICATES = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


class Expressions(Memory, ABC):
    """Lowers expressions; statements and builtins build on it."""

    values: ClassVar[dict[type, Callable[[Any, Any], str]]]
    places: ClassVar[dict[type, Callable[[Any, Any], Place]]]

    # --- the three questions ---

    def rvalue(self, e: Expr) -> str:
        """The value of `e`: an operand, the address of an aggregate, "" for void."""
        return self.values[type(e)](self, e)

    def place(self, e: Expr) -> Place:
        """Where the place `e` is. An aggregate value has a place too: the copy that it is."""
        find = self.places.get(type(e))
        if find is None:
            kind = self.kind(e.type)
            if kind.aggregate:
                return Place(self.rvalue(e), kind.align)
            return self.spill(self.rvalue(e), kind)
        return find(self, e)

    def branch(self, e: Expr, yes: str, no: str) -> None:
        """Goes to `yes` where `e` is true, to `no` where it is not."""
        match e:
            case tree.Logic(operator=operator, left=left, right=right):
                middle = self.fresh()
                if operator == "&&":
                    self.branch(left, middle, no)
                else:
                    self.branch(left, yes, middle)
                self.label(middle)
                self.branch(right, yes, no)
            case tree.Unary(operator="!", operand=operand):
                self.branch(operand, no, yes)
            case tree.Number(value=value):
                self.jump(yes if value else no)
            case _:
                condition = self.truth(e)
                self.mark(e.span)
                self.end(f"br i1 {condition}, label %{yes}, label %{no}")

    def truth(self, e: Expr) -> str:
        """`e` as an i1."""
        match e:
            case tree.Comparison():
                return self._compare(e)
            case tree.Unary(operator="!", operand=operand):
                return self.value(f"xor i1 {self.truth(operand)}, true")
            case tree.Convert(operand=operand) if self.kind(e.type).boolean or self._widens(
                e, operand
            ):
                return self.truth(operand)
            case tree.Number(value=value):
                return "true" if value else "false"
        kind = self.kind(e.type)
        held = self.rvalue(e)
        self.mark(e.span)
        return self.is_true(held, kind)

    def _widens(self, e: tree.Convert, operand: Expr) -> bool:
        """A conversion that cannot make zero of what is not."""
        to, source = self.kind(e.type), self.kind(operand.type)
        return to.size >= source.size and not to.aggregate and source != VOID

    def evaluate(self, e: Expr) -> None:
        """`e` for its effects."""
        match e:
            case tree.Convert(operand=operand):
                self.evaluate(operand)
            case tree.Comma(left=left, right=right):
                self.evaluate(left)
                self.evaluate(right)
            case tree.Call(callee=tree.Builtin()):
                self.builtin(e, used=False)
            case tree.Load(place=place) if not (is_volatile(place.type) or _through(place)):
                if not self.kind(e.type).aggregate:
                    self.rvalue(e)
            case _:
                self.rvalue(e)

    # --- memory ---

    def initialize(self, place: Place, initial: Initializer, kind: Kind) -> None:
        """Gives an object what it starts with."""
        if initial.whole:
            _, _, type, value = initial.parts[0]
            if not isinstance(value, tree.Literal):
                self.store(self.rvalue(value), place, self.kind(type))
                return
        image, rest = self.module.constants.image(initial, kind.size)
        if any(image):
            source = self.module.constants.private(bytes(image), kind.align)
            self.copy(place, Place(source, kind.align), kind.size)
        else:
            self.clear(place, kind.size)
        for offset, width, type, value in rest:
            operand = self.rvalue(value)
            self.mark(value.span)
            part = self.part(place, kind.size, offset, width, type)
            self.store(operand, part, self.kind(type))

    # --- places ---

    def _use(self, e: tree.Use) -> Place:
        return self.variable(e.variable)

    def variable(self, variable: tree.Variable) -> Place:
        """Where a variable lives; a local's memory is reserved when it is first met."""
        place = self.slots.get(variable)
        if place is None:
            kind = self.kind(variable.type)
            align = max(kind.align, variable.align)
            volatile = is_volatile(variable.type)
            if variable.storage in ("static", "global"):
                place = Place(self.module.constants.variable(variable), align, volatile)
            else:
                align = max(align, slot_align(kind))
                place = Place(self.slot(kind, align), align, volatile)
            self.slots[variable] = place
        return place

    def _deref(self, e: tree.Deref) -> Place:
        type = strip(e.type)
        align = 1 if type is None else max(1, self.kind(e.type).align)
        match e.pointer:
            case tree.Decay(place=array) | tree.Arithmetic(left=tree.Decay(place=array)):
                # An array in a packed struct is aligned as it lies there.
                found = self.place(array)
                pointer, align = found.pointer, min(align, found.align)
                volatile = found.volatile or is_volatile(e.type)
            case _:
                pointer, volatile = self.rvalue(e.pointer), is_volatile(e.type)
                self.mark(e.span)
                return Place(pointer, align, volatile)
        if isinstance(e.pointer, tree.Arithmetic):
            right = e.pointer.right
            count, size = self.rvalue(right), _pointee(e.pointer.left)
            self.mark(e.pointer.span)
            kind = self.kind(right.type)
            pointer = self.advance(pointer, count, kind, size, e.pointer.operator)
            align = gcd(align, size)
        self.mark(e.span)
        return Place(pointer, align, volatile)

    def _field(self, e: tree.Field) -> Place:
        place, size = self.place(e.base), self.kind(e.base.type).size
        self.mark(e.span)
        found = self.part(place, size, e.offset, e.member.bits, e.member.type)
        if is_volatile(e.type) and not found.volatile:
            return found._replace(volatile=True)
        return found

    def _literal(self, e: tree.Literal) -> Place:
        align = align_of(e.type)
        return Place(self.module.constants.private(e.data, align), align)

    def _compound(self, e: tree.Compound) -> Place:
        if e.variable.storage in ("static", "global"):
            self.module.constants.variable(e.variable, e.initial)
            return self.variable(e.variable)
        kind = self.kind(e.variable.type)
        place = self.variable(e.variable)
        self.initialize(place, e.initial, kind)
        return place

    # --- values ---

    def _number(self, e: tree.Number) -> str:
        return number(e.value, self.kind(e.type))

    def _load(self, e: tree.Load) -> str:
        place = self.place(e.place)
        self.mark(e.span)
        return self.load(place, self.kind(e.type))

    def _address(self, e: tree.Address) -> str:
        return self.place(e.place).pointer

    def _function_pointer(self, e: tree.FunctionPointer) -> str:
        return self.module.function(e.function)

    def _map_pointer(self, e: tree.MapPointer) -> str:
        return self.module.map(e.map)

    def _convert(self, e: tree.Convert) -> str:
        to = self.kind(e.type)
        if to is VOID:
            self.evaluate(e.operand)
            return ""
        if to.boolean:
            if self.kind(e.operand.type).boolean:
                return self.rvalue(e.operand)
            condition = self.truth(e.operand)
            self.mark(e.span)
            return self.value(f"zext i1 {condition} to i8")
        source = self.kind(e.operand.type)
        if isinstance(e.operand, tree.Number):
            return number(e.operand.value, to)
        operand = self.rvalue(e.operand)
        self.mark(e.span)
        return self.convert(operand, source, to)

    def _unary(self, e: tree.Unary) -> str:
        kind = self.kind(e.type)
        if e.operator == "!":
            condition = self.truth(e)
            return self.value(f"zext i1 {condition} to {kind.ir}")
        operand = self.rvalue(e.operand)
        self.mark(e.span)
        match e.operator:
            case "-":
                return self.value(f"sub{' nsw' if kind.signed else ''} {kind.ir} 0, {operand}")
            case "~":
                return self.value(f"xor {kind.ir} {operand}, -1")
        return operand

    def _arithmetic(self, e: tree.Arithmetic) -> str:
        left_kind, right_kind = self.kind(e.left.type), self.kind(e.right.type)
        left = self.rvalue(e.left)
        right = self.rvalue(e.right)
        self.mark(e.span)
        if left_kind.pointer:
            pointee = _pointee(e.left)
            if right_kind.pointer:
                return self.difference(left, right, pointee)
            return self.advance(left, right, right_kind, pointee, e.operator)
        return self.arithmetic(e.operator, left, right, left_kind, right_kind)

    def _comparison(self, e: tree.Comparison) -> str:
        condition = self._compare(e)
        return self.value(f"zext i1 {condition} to {self.kind(e.type).ir}")

    def _compare(self, e: tree.Comparison) -> str:
        kind = self.kind(e.left.type)
        left, right = self.rvalue(e.left), self.rvalue(e.right)
        self.mark(e.span)
        predicate = _PREDICATES[e.operator]
        if predicate not in ("eq", "ne"):
            predicate = ("s" if kind.signed else "u") + predicate
        return self.value(f"icmp {predicate} {kind.ir} {left}, {right}")

    def _logic(self, e: tree.Logic) -> str:
        yes, no, join = self.fresh(), self.fresh(), self.fresh()
        self.branch(e, yes, no)
        self.label(yes)
        self.jump(join)
        self.label(no)
        self.label(join)
        self.mark(e.span)
        return self.value(f"phi {self.kind(e.type).ir} [ 1, %{yes} ], [ 0, %{no} ]")

    def _conditional(self, e: tree.Conditional) -> str:
        kind = self.kind(e.type)
        yes, no, join = self.fresh(), self.fresh(), self.fresh()
        if e.yes is None:
            operand = self.rvalue(e.condition)
            self.mark(e.span)
            source = self.kind(e.condition.type)
            condition = self.is_true(operand, source)
            first = operand if kind is VOID else self.convert(operand, source, kind)
            self.end(f"br i1 {condition}, label %{yes}, label %{no}")
            self.label(yes)
        else:
            self.branch(e.condition, yes, no)
            self.label(yes)
            first = self.rvalue(e.yes)
        from_yes = self.block
        self.jump(join)
        self.label(no)
        second = self.rvalue(e.no)
        from_no = self.block
        self.label(join)
        self.mark(e.span)
        if kind is VOID:
            return ""
        ir = "ptr" if kind.aggregate else kind.ir
        return self.value(f"phi {ir} [ {first}, %{from_yes} ], [ {second}, %{from_no} ]")

    def _comma(self, e: tree.Comma) -> str:
        self.evaluate(e.left)
        return self.rvalue(e.right)

    def _assign(self, e: tree.Assign) -> str:
        kind = self.kind(e.type)
        operand = self.rvalue(e.value)
        place = self.place(e.place)
        self.mark(e.span)
        if kind.aggregate:
            self.copy(place, Place(operand, kind.align), kind.size)
            return place.pointer
        self.store(operand, place, kind)
        return self.after_store(operand, place, kind)

    def _update(self, e: tree.Update) -> str:
        kind = self.kind(e.place.type)
        by = self.kind(e.value.type)
        operand = self.rvalue(e.value)
        place = self.place(e.place)
        self.mark(e.span)
        before = self.load(place, kind)
        if e.within is None:
            after = self.advance(before, operand, by, _pointee(e.place), e.operator)
        else:
            within = self.kind(e.within)
            wide = self.convert(before, kind, within)
            wide = self.arithmetic(e.operator, wide, operand, within, by)
            after = self.convert(wide, within, kind)
        self.store(after, place, kind)
        return before if e.post else self.after_store(after, place, kind)

    def _statement_expr(self, e: tree.StatementExpr) -> str:
        self.open_scope()
        for statement in e.body:
            self.statement(statement)
        result = "" if e.value is None else self.rvalue(e.value)
        # An aggregate's value is where it lies, so that must stay.
        self.close_scope(end=not self.kind(e.type).aggregate)
        return result

    # --- calls ---

    def _call(self, e: tree.Call) -> str:
        match e.callee:
            case tree.Builtin():
                return self.builtin(e, used=True)
            case tree.Helper(number=number):
                return self.call(f"inttoptr (i64 {number} to ptr)", e)
            case tree.Function() as function:
                return self.call(self.module.function(function), e)
            case tree.KernelFunction(func=func):
                return self.call(self.module.kernel_function(func), e)
        raise AssertionError(f"a call of {e.callee!r}")

    def call(self, callee: str, e: tree.Call) -> str:
        """A call in BPF's convention: up to five registers of 64 bits."""
        result = self.kind(e.type)
        operands: list[str] = []
        answer: Place | None = None
        if result.by_reference:
            answer = Place(self.slot(result), result.align)
            operands.append(f"ptr {answer.pointer}")
        for argument in e.arguments:
            kind = self.kind(argument.type)
            operand = self.rvalue(argument)
            if kind.by_reference:
                operands.append(f"ptr {self.spill(operand, kind).pointer}")
            else:
                operands.append(f"{kind.ir}{kind.extension} {operand}")
        self.module.check_arguments(e, len(operands))
        self.mark(e.span)
        arguments = ", ".join(operands)
        if answer is not None:
            self.do(f"call void {callee}({arguments})")
            return self.load(answer, result)
        if result is VOID:
            self.do(f"call void {callee}({arguments})")
            return ""
        return self.value(f"call{result.extension} {result.ir} {callee}({arguments})")

    # --- what the classes built on this one add ---

    @abstractmethod
    def builtin(self, e: tree.Call, *, used: bool) -> str:
        """A call of a builtin; `used` says whether anybody wants its value."""

    @abstractmethod
    def statement(self, statement: tree.Stmt) -> None:
        """A statement inside of an expression."""

    def _method(self, e: tree.Method) -> str:
        raise AssertionError(f"{e.span}: method {e.name} left by the dialect")


Expressions.values = {
    tree.Number: Expressions._number,
    tree.Load: Expressions._load,
    tree.Address: Expressions._address,
    tree.Decay: Expressions._address,
    tree.FunctionPointer: Expressions._function_pointer,
    tree.MapPointer: Expressions._map_pointer,
    tree.Convert: Expressions._convert,
    tree.Unary: Expressions._unary,
    tree.Arithmetic: Expressions._arithmetic,
    tree.Comparison: Expressions._comparison,
    tree.Logic: Expressions._logic,
    tree.Conditional: Expressions._conditional,
    tree.Comma: Expressions._comma,
    tree.Assign: Expressions._assign,
    tree.Update: Expressions._update,
    tree.Call: Expressions._call,
    tree.Method: Expressions._method,
    tree.StatementExpr: Expressions._statement_expr,
}
Expressions.places = {
    tree.Use: Expressions._use,
    tree.Deref: Expressions._deref,
    tree.Field: Expressions._field,
    tree.Literal: Expressions._literal,
    tree.Compound: Expressions._compound,
}


def _pointee(e: Expr) -> int:
    """Bytes that a pointer moves by."""
    type = strip(e.type)
    assert isinstance(type, Ptr)
    return size_of(type.to)


def _through(place: Expr) -> bool:
    """Whether reaching a place runs code."""
    while isinstance(place, tree.Field):
        place = place.base
    return not isinstance(place, tree.Use)
