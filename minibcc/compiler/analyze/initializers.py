"""Initialisers: what a variable starts with (C11 section 6.7.9).

A braced list is walked against the type; the result is flat: values at bit offsets, everything
else zero. Designators, nested and elided braces, strings, ranges (GNU) and structs copied whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.btf.types import Array, Struct, find_member, size_of, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.calls import Calls

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.tree import Expr, Initializer

    Part = tuple[int, int, Type, Expr]


_MAX_RANGE = 1 << 16
"""Elements of ``[0 ... n] = value``, each of which becomes a part."""


class _Items:
    """The items of one braced list, with the next one to be used."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.index = 0

    def peek(self) -> Any:
        return self.items[self.index] if self.index < len(self.items) else None


class Initializers(Calls):
    """Analyses initialisers."""

    _designators = False  # whether there was any yet

    def initializer(self, type: Type, node: Any) -> tuple[Type, Initializer]:
        """What a variable of `type` starts with, and the type with its array size completed."""
        span = self.span(node)
        name = node.__class__.__name__
        outer = c.array(type)
        if name == "InitList":
            if c.scalar(type):
                return type, self._braced_scalar(type, node)
            parts: list[Part] = []
            items = node.exprs
            if outer is not None and len(items) == 1 and _is_string(items[0]):
                parts, count = self._string(outer, items[0], 0)
            else:
                count = self._aggregate(type, 0, _Items(list(items)), parts, True, node)
            return self._sized_by(type, count), tree.Initializer(span, tuple(parts))
        if outer is not None:
            if not _is_string(node):
                self.fail(
                    "type/bad-initializer",
                    "an array is initialised with { } or with a string",
                    node,
                )
            parts, count = self._string(outer, node, 0)
            return self._sized_by(type, count), tree.Initializer(span, tuple(parts))
        value = self.convert(self.value(node), c.unqualified(type), "assigned")
        return type, tree.Initializer(span, ((0, 0, type, value),), True)

    def _braced_scalar(self, type: Type, node: Any) -> Initializer:
        span = self.span(node)
        if not node.exprs:
            return tree.Initializer(span, ((0, 0, type, self.number(span, 0, type)),), True)
        if len(node.exprs) > 1:
            self.warn(
                "type/excess-initializer",
                "a scalar takes one value",
                node.exprs[1],
                help=["remove the others, or declare an array: []"],
            )
        value = self.convert(self.value(node.exprs[0]), c.unqualified(type), "assigned")
        return tree.Initializer(span, ((0, 0, type, value),), True)

    def _sized_by(self, type: Type, count: int) -> Type:
        """An array without a size gets that of its initialiser."""
        outer = c.array(type)
        if outer is not None and outer.count == 0 and count:
            return c.qualified(Array(outer.of, count), type) or type
        return type

    def _string(self, type: Array, node: Any, offset: int) -> tuple[list[Part], int]:
        """A char array from a string; without room for its NUL, C leaves that out."""
        literal = self.expression(node)
        characters = c.array(literal.type)
        assert isinstance(literal, tree.Literal) and characters is not None
        width = size_of(characters.of)
        if c.integer(type.of) is None or size_of(type.of) != width:
            self.fail("type/bad-initializer", f"'{c.spell(type)}' cannot start with a string", node)
        count = type.count or characters.count
        if characters.count - 1 > count:
            self.warn(
                "type/excess-initializer",
                f"the string has {characters.count - 1} characters, the array {count}",
                node,
                help=["make the array larger, or leave its size out: [] takes what it needs"],
            )
        data = literal.data[: count * width]
        exact = Array(characters.of, len(data) // width)
        return [(offset, 0, exact, tree.Literal(literal.span, exact, data))], count

    # --- lists -------------------------------------------------------------------------------

    def _aggregate(
        self, type: Type, offset: int, items: _Items, parts: list[Part], braced: bool, node: Any
    ) -> int:
        """Fills an array or struct at `offset` from `items`; without braces of its own it takes no
        more than it has room for. Returns the number of elements reached."""
        struct = c.struct(type)
        if struct is not None:
            self.complete(type, node)
            return self._members(struct, offset, items, parts, braced)
        outer = c.array(type)
        assert outer is not None
        return self._elements(outer, offset, items, parts, braced)

    def _elements(
        self,
        type: Array,
        offset: int,
        items: _Items,
        parts: list[Part],
        braced: bool,
        index: int = 0,
    ) -> int:
        """From element `index` on."""
        size = size_of(type.of) * 8
        reached = index
        while (item := items.peek()) is not None:
            if _designated(item):
                if not braced:
                    break
                index = self._designator(type, offset, item.name, items, parts)
                reached = max(reached, index)
                continue
            if type.count and index >= type.count:
                if braced:
                    self.warn(
                        "type/excess-initializer",
                        f"the array has {type.count} elements only",
                        item,
                        help=["make it larger, or leave its size out: [] takes what it needs"],
                    )
                    items.index = len(items.items)
                break
            self._one(type.of, offset + index * size, 0, items, parts)
            index += 1
            reached = max(reached, index)
        return reached

    def _members(
        self,
        struct: Struct,
        offset: int,
        items: _Items,
        parts: list[Part],
        braced: bool,
        index: int = 0,
    ) -> int:
        """From member `index` on."""
        members = struct.members
        while (item := items.peek()) is not None:
            if _designated(item):
                if not braced:
                    break
                index = self._designator(struct, offset, item.name, items, parts)
                continue
            if index >= len(members) or (struct.union and index > 0):
                if braced:
                    self.warn(
                        "type/excess-initializer",
                        f"'{c.spell(struct)}' has no member for this value",
                        item,
                    )
                    items.index = len(items.items)
                break
            member = members[index]
            self._one(member.type, offset + member.offset, member.bits, items, parts)
            index += 1
        return index

    # --- designators -------------------------------------------------------------------------

    def _designator(
        self, type: Type, offset: int, path: list[Any], items: _Items, parts: list[Part]
    ) -> int:
        """The next item, whose designator (or what is left of it) leads into an array or struct;
        returns the index behind."""
        self._designators = True
        step = path[0]
        if step.__class__.__name__ == "ArrayDesignator":
            return self._indexed(type, offset, path, items, parts)
        struct = c.struct(type)
        if struct is None:
            message = f"'{c.spell(type)}' has no members"
            if c.array(type) is not None:
                self.fail("type/bad-initializer", "an array's elements have no names", step)
            self.fail("type/not-a-struct", message, step)
        self.field(tree.Number(self.span(step), struct, 0), struct, step.name, step)
        for index, member in enumerate(struct.members):
            inner = strip(member.type)
            place = offset + member.offset
            if member.name == step.name:
                self._designated(member.type, place, member.bits, path[1:], items, parts)
                return index + 1
            if not member.name and isinstance(inner, Struct) and find_member(inner, step.name):
                self._designated(member.type, place, 0, path, items, parts)
                return index + 1
        raise AssertionError(step.name)

    def _indexed(
        self, type: Type, offset: int, path: list[Any], items: _Items, parts: list[Part]
    ) -> int:
        """``[3]`` and ``[0 ... 3]`` at the head of a designator."""
        outer = c.array(type)
        step = path[0]
        if outer is None and c.struct(type) is not None:
            self.fail("type/bad-initializer", f"'{c.spell(type)}' is no array", step)
        if outer is None:
            self.fail("type/not-an-array", f"'{c.spell(type)}' is no array", step)
        expr = step.expr
        if expr.__class__.__name__ == "BinaryOp" and expr.op == "...":
            low, high = (self.constant(e, "an index") for e in (expr.left, expr.right))
        else:
            low = high = self.constant(expr, "an index")
        if low < 0 or high < low or (outer.count and high >= outer.count):
            self.fail("type/excess-initializer", f"the array has no element {high}", step)
        if high - low > _MAX_RANGE:
            self.fail("type/excess-initializer", f"over {_MAX_RANGE} elements in one range", step)
        size = size_of(outer.of) * 8
        for position in range(low, high):
            again = _Items([items.peek()])
            self._designated(outer.of, offset + position * size, 0, path[1:], again, parts)
        self._designated(outer.of, offset + high * size, 0, path[1:], items, parts)
        return high + 1

    def _designated(
        self,
        type: Type,
        offset: int,
        bits: int,
        path: list[Any],
        items: _Items,
        parts: list[Part],
    ) -> None:
        """What a designator leads to: its value, or further in; then the items that follow go on
        behind it as far as there is room, as if the braces around were left out."""
        if not path:
            value = items.items[items.index].expr
            items.index += 1
            self._one(type, offset, bits, _Items([value]), parts)
            return
        following = self._designator(type, offset, path, items, parts)
        struct, outer = c.struct(type), c.array(type)
        if struct is not None:
            self._members(struct, offset, items, parts, False, following)
        elif outer is not None:
            self._elements(outer, offset, items, parts, False, following)

    def _one(self, type: Type, offset: int, bits: int, items: _Items, parts: list[Part]) -> None:
        """One element or member, from one item or, braces left out, from several."""
        item = items.peek()
        outer, struct = c.array(type), c.struct(type)
        if item.__class__.__name__ == "InitList":
            items.index += 1
            if outer is not None and len(item.exprs) == 1 and _is_string(item.exprs[0]):
                parts.extend(self._string(outer, item.exprs[0], offset)[0])
            elif outer is not None or struct is not None:
                if self._designators:  # it replaces all of what came before
                    end = offset + size_of(type) * 8
                    parts[:] = [part for part in parts if not offset <= part[0] < end]
                self._aggregate(type, offset, _Items(list(item.exprs)), parts, True, item)
            else:
                inner = self._braced_scalar(type, item)
                parts.append((offset, bits, type, inner.parts[0][3]))
            return
        if outer is not None:
            if _is_string(item) and c.integer(outer.of) is not None:
                items.index += 1
                parts.extend(self._string(outer, item, offset)[0])
                return
            self._aggregate(type, offset, items, parts, False, item)
            return
        value = self.value(item)
        if struct is not None and c.struct(value.type) is None:
            self._aggregate(type, offset, items, parts, False, item)
            return
        items.index += 1
        parts.append((offset, bits, type, self.convert(value, c.unqualified(type), "assigned")))

    # --- compound literals -------------------------------------------------------------------

    def compound_literal(self, node: Any) -> Expr:
        type = self.declared(node.type)
        if type is None:
            self.fail("type/void-value", "a compound literal cannot be void", node)
        type, initial = self.initializer(type, node.init)
        self.complete(type, node)
        span = self.span(node)
        storage = "local" if self.function is not None else "static"
        variable = tree.Variable("", type, span, storage)
        return tree.Compound(span, type, variable, initial)


def _is_string(node: Any) -> bool:
    return type(node).__name__ == "Constant" and node.type == "string"


def _designated(node: Any) -> bool:
    return type(node).__name__ == "NamedInitializer"
