"""Expressions of the typed tree as instructions.

Three questions can be asked of an expression: its `value` (an operand; of an aggregate, its
address), its `place` (of a place), and, where C asks for truth only, where to go (`branch`). The
conversions are all in the tree already, so each form of C is one short function here; tables map
node classes to them.

Mirrors clang's CGExpr*.cpp in what it emits (signed overflow is undefined, shifts by too much as
well), because the optimiser that follows is the same.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.btf.types import Ptr, size_of, strip
from minibcc.compiler import tree
from minibcc.compiler.lower.emitter import Emitter, Place, slot_align
from minibcc.compiler.lower.types import (
    LONG,
    VOID,
    Kind,
    Unsupported,
    is_volatile,
    wrap,
)
from minibcc.compiler.tree import Expr, Initializer

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.btf.types import Type

_PLAIN = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
_SIGNED = {"/": "sdiv", "%": "srem", ">>": "ashr"}
_UNSIGNED = {"/": "udiv", "%": "urem", ">>": "lshr"}
_PREDICATES = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


class Expressions(Emitter):
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

    def is_true(self, operand: str, kind: Kind) -> str:
        if kind.pointer:
            return self.value(f"icmp ne ptr {operand}, null")
        return self.value(f"icmp ne {kind.ir} {operand}, 0")

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

    def load(self, place: Place, kind: Kind) -> str:
        """The value of an object."""
        if kind.aggregate:
            return place.pointer
        if place.width:
            return self._load_bits(place, kind)
        volatile = "volatile " if place.volatile else ""
        return self.value(f"load {volatile}{kind.ir}, ptr {place.pointer}, align {place.align}")

    def store(self, operand: str, place: Place, kind: Kind) -> None:
        """Writes a value to an object."""
        if kind.aggregate:
            self.copy(place, Place(operand, kind.align), kind.size)
        elif place.width:
            self._store_bits(operand, place, kind)
        else:
            volatile = "volatile " if place.volatile else ""
            self.do(
                f"store {volatile}{kind.ir} {operand}, ptr {place.pointer}, align {place.align}"
            )

    def _unit(self, place: Place) -> str:
        """The integer that a bitfield is accessed in: the narrowest around it, of any number of
        bytes where nothing is aligned."""
        size = (place.bit + place.width + 7) // 8
        if place.align > 1:
            size = 1 << (size - 1).bit_length()
        return f"i{size * 8}"

    def _load_bits(self, place: Place, kind: Kind) -> str:
        unit = self._unit(place)
        bits = int(unit[1:])
        volatile = "volatile " if place.volatile else ""
        word = self.value(f"load {volatile}{unit}, ptr {place.pointer}, align {place.align}")
        if kind.signed:
            if up := bits - place.bit - place.width:
                word = self.value(f"shl {unit} {word}, {up}")
            if down := bits - place.width:
                word = self.value(f"ashr {unit} {word}, {down}")
        else:
            if place.bit:
                word = self.value(f"lshr {unit} {word}, {place.bit}")
            if place.width < bits:
                word = self.value(f"and {unit} {word}, {(1 << place.width) - 1}")
        return self.resize(word, bits, kind.bits, kind.signed)

    def _store_bits(self, operand: str, place: Place, kind: Kind) -> None:
        unit = self._unit(place)
        bits = int(unit[1:])
        volatile = "volatile " if place.volatile else ""
        access = f"ptr {place.pointer}, align {place.align}"
        mask = (1 << place.width) - 1
        word = self.resize(operand, kind.bits, bits, False)
        if place.width < bits:
            word = self.value(f"and {unit} {word}, {mask}")
            if place.bit:
                word = self.value(f"shl {unit} {word}, {place.bit}")
            old = self.value(f"load {volatile}{unit}, {access}")
            keep = (1 << bits) - 1 ^ mask << place.bit
            old = self.value(f"and {unit} {old}, {keep}")
            word = self.value(f"or {unit} {old}, {word}")
        self.do(f"store {volatile}{unit} {word}, {access}")

    def after_store(self, operand: str, place: Place, kind: Kind) -> str:
        """The value of an assignment: what the object holds now."""
        if not place.width or place.width == kind.bits or kind.boolean:
            return operand
        if kind.signed:
            shift = kind.bits - place.width
            operand = self.value(f"shl {kind.ir} {operand}, {shift}")
            return self.value(f"ashr {kind.ir} {operand}, {shift}")
        return self.value(f"and {kind.ir} {operand}, {(1 << place.width) - 1}")

    def spill(self, operand: str, kind: Kind) -> Place:
        """A fresh object that holds a value."""
        place = Place(self.slot(kind), slot_align(kind))
        self.store(operand, place, kind)
        return place

    def offset(self, pointer: str, size: int) -> str:
        if size == 0:
            return pointer
        return self.value(f"getelementptr inbounds i8, ptr {pointer}, i64 {size}")

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
            self.store(operand, self.part(place, offset, width, type), self.kind(type))

    def part(self, place: Place, offset: int, width: int, type: Type) -> Place:
        """The object of `type` that lies `offset` bits into `place`; `width` as in Place."""
        start, unit = offset // 8, 0
        bit = offset % 8
        if width:
            start, bit, unit = _bitfield(offset, width, size_of(type))
        pointer = self.offset(place.pointer, start)
        align = gcd(place.align, start) if start else place.align
        if width:
            align = min(align, unit)
        return Place(pointer, align, place.volatile, bit, width)

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
        pointer = self.rvalue(e.pointer)
        self.mark(e.span)
        type = strip(e.type)
        align = 1 if type is None else max(1, self.kind(e.type).align)
        return Place(pointer, align, is_volatile(e.type))

    def _field(self, e: tree.Field) -> Place:
        place = self.place(e.base)
        self.mark(e.span)
        found = self.part(place, e.offset, e.member.bits, e.member.type)
        if is_volatile(e.type) and not found.volatile:
            return found._replace(volatile=True)
        return found

    def _literal(self, e: tree.Literal) -> Place:
        return Place(self.module.constants.private(e.data, 1), 1)

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

    def convert(self, operand: str, source: Kind, to: Kind) -> str:
        """A scalar of one kind as another."""
        if to.boolean and not source.boolean:
            return self.value(f"zext i1 {self.is_true(operand, source)} to i8")
        if source.pointer == to.pointer:
            return self.resize(operand, source.bits, to.bits, source.signed)
        if source.pointer:
            operand = self.value(f"ptrtoint ptr {operand} to i64")
            return self.resize(operand, 64, to.bits, False)
        operand = self.resize(operand, source.bits, 64, source.signed)
        return self.value(f"inttoptr i64 {operand} to ptr")

    def resize(self, operand: str, source: int, to: int, signed: bool) -> str:
        """An integer of `source` bits as one of `to` bits."""
        if source == to:
            return operand
        how = "trunc" if to < source else "sext" if signed else "zext"
        return self.value(f"{how} i{source} {operand} to i{to}")

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
                return self._difference(left, right, pointee)
            return self.advance(left, right, right_kind, pointee, e.operator)
        return self.arithmetic(e.operator, left, right, left_kind, right_kind)

    def advance(self, pointer: str, count: str, kind: Kind, size: int, operator: str) -> str:
        """A pointer moved by `count` elements of `size` bytes."""
        if operator == "-":
            count = self.value(f"sub {kind.ir} 0, {count}")
        element = "i8" if size == 1 else f"[{size} x i8]"
        return self.value(f"getelementptr inbounds {element}, ptr {pointer}, {kind.ir} {count}")

    def _difference(self, left: str, right: str, size: int) -> str:
        """The distance of two pointers, in elements; it is a whole number of them, so the division
        is a shift and a multiplication by an inverse (BPF has no signed division below v4)."""
        a = self.value(f"ptrtoint ptr {left} to i64")
        b = self.value(f"ptrtoint ptr {right} to i64")
        distance = self.value(f"sub i64 {a}, {b}")
        if size < 2:
            return distance
        shift = (size & -size).bit_length() - 1
        if shift:
            distance = self.value(f"ashr exact i64 {distance}, {shift}")
        if size >> shift > 1:
            inverse = pow(size >> shift, -1, 1 << 64)
            distance = self.value(f"mul i64 {distance}, {inverse}")
        return distance

    def arithmetic(self, operator: str, left: str, right: str, kind: Kind, by: Kind) -> str:
        """An integer operation; `by` is the kind of a shift's right side, else that of both."""
        if plain := _PLAIN.get(operator):
            if operator == "*" and kind.size == 16:
                return self._multiply_wide(left, right)
            overflow = " nsw" if kind.signed and operator in "+-*" else ""
            return self.value(f"{plain}{overflow} {kind.ir} {left}, {right}")
        if operator in ("<<", ">>"):
            right = self.resize(right, by.bits, kind.bits, False)
            how = "shl" if operator == "<<" else "ashr" if kind.signed else "lshr"
            if kind.size == 16 and not right.isdecimal():
                return self._shift_wide(how, left, right)
            return self.value(f"{how} {kind.ir} {left}, {right}")
        if kind.size == 16:
            raise Unsupported(
                "type/wide-arithmetic",
                "BPF cannot divide 128-bit integers",
                "convert to unsigned long long first",
            )
        if not kind.signed:
            return self.value(f"{_UNSIGNED[operator]} {kind.ir} {left}, {right}")
        if self.module.signed_division or _is_power_of_two(right):
            return self.value(f"{_SIGNED[operator]} {kind.ir} {left}, {right}")
        return self._divide_signed(operator, left, right, kind)

    def _divide_signed(self, operator: str, left: str, right: str, kind: Kind) -> str:
        """Below v4 BPF divides unsigned only: divide magnitudes, then give the result its sign
        (a quotient is negative where the signs differ, a remainder as the dividend is)."""
        left_sign, left = self._magnitude(left, kind)
        right_sign, right = self._magnitude(right, kind)
        result = self.value(f"{_UNSIGNED[operator]} {kind.ir} {left}, {right}")
        sign = left_sign
        if operator == "/":
            sign = self.value(f"xor {kind.ir} {left_sign}, {right_sign}")
        result = self.value(f"xor {kind.ir} {result}, {sign}")
        return self.value(f"sub {kind.ir} {result}, {sign}")

    def _magnitude(self, operand: str, kind: Kind) -> tuple[str, str]:
        """The sign (0 or -1) and the absolute value."""
        sign = self.value(f"ashr {kind.ir} {operand}, {kind.bits - 1}")
        flipped = self.value(f"xor {kind.ir} {operand}, {sign}")
        return sign, self.value(f"sub {kind.ir} {flipped}, {sign}")

    def _multiply_wide(self, left: str, right: str) -> str:
        """128 by 128 bits, modulo 2**128, from products of 32-bit halves: BPF multiplies 64 bits,
        and LLVM would call a function that no program has. It may still find the product again in
        these pieces, and then it dies of it."""
        self.module.doubtful = True
        a, b = ([self._half(side, shift) for shift in (0, 64)] for side in (left, right))
        low = self._product(a[0], b[0])
        crossed = [self.value(f"mul i64 {x}, {y}") for x, y in ((a[0], b[1]), (a[1], b[0]))]
        high = self.value(f"add i64 {crossed[0]}, {crossed[1]}")
        return self.value(f"add i128 {low}, {self._joined('0', high)}")

    def _shift_wide(self, how: str, left: str, count: str) -> str:
        """128 bits by an unknown count, from shifts of the halves; over 63, a half moves over."""
        low, high = self._half(left, 0), self._half(left, 64)
        count = self.value(f"trunc i128 {count} to i64")
        few = self.value(f"and i64 {count}, 63")
        rest = self.value(f"xor i64 {few}, 63")
        many = self.value(f"icmp ugt i64 {count}, 63")
        up = how == "shl"
        near, far = (low, high) if up else (high, low)
        moved = self.value(f"{how} i64 {near}, {few}")
        across, back = ("lshr", "shl") if up else ("shl", "lshr")
        carry = self.value(f"{across} i64 {near}, 1")
        carry = self.value(f"{across} i64 {carry}, {rest}")
        kept = self.value(f"{back} i64 {far}, {few}")
        mixed = self.value(f"or i64 {kept}, {carry}")
        empty = self.value(f"ashr i64 {near}, 63") if how == "ashr" else "0"
        near = self.value(f"select i1 {many}, i64 {empty}, i64 {moved}")
        far = self.value(f"select i1 {many}, i64 {moved}, i64 {mixed}")
        return self._joined(near, far) if up else self._joined(far, near)

    def _joined(self, low: str, high: str) -> str:
        """128 bits from two halves."""
        wide = self.value(f"zext i64 {high} to i128")
        wide = self.value(f"shl i128 {wide}, 64")
        if low == "0":
            return wide
        small = self.value(f"zext i64 {low} to i128")
        return self.value(f"or i128 {wide}, {small}")

    def _half(self, operand: str, shift: int) -> str:
        if shift:
            operand = self.value(f"lshr i128 {operand}, {shift}")
        return self.value(f"trunc i128 {operand} to i64")

    def _product(self, left: str, right: str) -> str:
        """The 128 bits of a product of two 64-bit integers."""
        total = "0"
        for i in (0, 32):
            for j in (0, 32):
                x = self.value(f"lshr i64 {left}, {i}")
                y = self.value(f"lshr i64 {right}, {j}")
                x = self.value(f"and i64 {x}, {0xFFFF_FFFF}")
                y = self.value(f"and i64 {y}, {0xFFFF_FFFF}")
                partial = self.value(f"mul i64 {x}, {y}")
                partial = self.value(f"zext i64 {partial} to i128")
                partial = self.value(f"shl i128 {partial}, {i + j}")
                total = self.value(f"add i128 {total}, {partial}")
        return total

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

    def builtin(self, e: tree.Call, *, used: bool) -> str:
        raise NotImplementedError

    def statement(self, statement: tree.Stmt) -> None:
        raise NotImplementedError

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


def number(value: int, kind: Kind) -> str:
    """An integer constant as an operand."""
    value = wrap(value, LONG if kind.pointer else kind)
    if kind.pointer:
        return f"inttoptr (i64 {value} to ptr)" if value else "null"
    return str(value)


def _bitfield(offset: int, width: int, size: int) -> tuple[int, int, int]:
    """First byte, bit in it, and alignment of the unit that a bitfield is accessed in: the unit of
    its declared type where the field lies within one (C's usual layout), else the bytes it
    touches."""
    if offset % (size * 8) + width <= size * 8:
        unit = 8
        while offset % unit + width > unit:
            unit *= 2
        return offset // unit * unit // 8, offset % unit, unit // 8
    return offset // 8, offset % 8, 1


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


def _is_power_of_two(operand: str) -> bool:
    return operand.isdecimal() and int(operand) > 0 and int(operand) & (int(operand) - 1) == 0
