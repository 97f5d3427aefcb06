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
from minibcc.compiler.analyze.expressions import text_of

if TYPE_CHECKING:
    from minibcc.btf.types import Type
    from minibcc.compiler.tree import Expr, Initializer

    Part = tuple[int, int, Type, Expr]


class _Items:
    """The items of one braced list, with the next one to be used."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.index = 0

    def peek(self) -> Any:
        return self.items[self.index] if self.index < len(self.items) else None


class Initializers(Calls):
    """Analyses initialisers."""

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
            self.warn("type/excess-initializer", "a scalar takes one value", node.exprs[1])
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
        data = text_of(node.value) + b"\0"
        element = strip(type.of)
        if element is None or size_of(element) != 1:
            self.fail("type/bad-initializer", f"'{c.spell(type)}' cannot start with a string", node)
        count = type.count or len(data)
        if len(data) - 1 > count:
            self.warn(
                "type/excess-initializer",
                f"the string has {len(data) - 1} characters, the array {count}",
                node,
            )
        data = data[:count]
        exact = Array(c.CHAR, len(data))
        return [(offset, 0, exact, tree.Literal(self.span(node), exact, data))], count

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
        self, type: Array, offset: int, items: _Items, parts: list[Part], braced: bool
    ) -> int:
        size = size_of(type.of) * 8
        index = reached = 0
        while (item := items.peek()) is not None:
            if _designated(item):
                if not braced:
                    break
                low, high, rest = self._index(item)
                items.index += 1
                if low < 0 or (type.count and high >= type.count):
                    self.fail(
                        "type/excess-initializer",
                        f"the array has no element {high}",
                        item,
                    )
                for position in range(low, high + 1):
                    self._designator(type.of, offset + position * size, rest, item.expr, parts)
                index = high + 1
                reached = max(reached, index)
                continue
            if type.count and index >= type.count:
                if braced:
                    self.warn(
                        "type/excess-initializer",
                        f"the array has {type.count} elements only",
                        item,
                    )
                    items.index = len(items.items)
                break
            self._one(type.of, offset + index * size, 0, items, parts)
            index += 1
            reached = max(reached, index)
        return reached

    def _members(
        self, struct: Struct, offset: int, items: _Items, parts: list[Part], braced: bool
    ) -> int:
        members = struct.members
        index = 0
        while (item := items.peek()) is not None:
            if _designated(item):
                if not braced:
                    break
                items.index += 1
                index = self._named_member(struct, offset, item, parts)
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

    def _named_member(self, struct: Struct, offset: int, item: Any, parts: list[Part]) -> int:
        """``.a.b = value``; returns the index of the member behind."""
        first = item.name[0]
        if first.__class__.__name__ != "ID":
            self.fail("type/bad-initializer", f"'{c.spell(struct)}' is no array", item)
        placed = self.field(tree.Number(self.span(item), struct, 0), struct, first.name, first)
        self._designator(
            placed.member.type,
            offset + placed.offset,
            item.name[1:],
            item.expr,
            parts,
            placed.member.bits,
        )
        for index, member in enumerate(struct.members):
            inner = strip(member.type)
            if member.name == first.name or (
                not member.name and isinstance(inner, Struct) and find_member(inner, first.name)
            ):
                return index + 1
        return len(struct.members)

    def _index(self, item: Any) -> tuple[int, int, list[Any]]:
        """``[3]`` and ``[0 ... 3]`` at the head of a designation."""
        first = item.name[0]
        if first.__class__.__name__ != "ArrayDesignator":
            self.fail("type/bad-initializer", "an array's elements have no names", item)
        expr = first.expr
        if type(expr).__name__ == "BinaryOp" and expr.op == "...":
            low = self.constant(expr.left, "an index")
            return low, self.constant(expr.right, "an index"), item.name[1:]
        low = self.constant(expr, "an index")
        return low, low, item.name[1:]

    def _designator(
        self,
        type: Type,
        offset: int,
        rest: list[Any],
        value: Any,
        parts: list[Part],
        bits: int = 0,
    ) -> None:
        """Follows the rest of a designation to the place that `value` is for."""
        if not rest:
            self._one(type, offset, bits, _Items([value]), parts)
            return
        step = rest[0]
        if step.__class__.__name__ == "ArrayDesignator":
            outer = c.array(type)
            if outer is None:
                self.fail("type/not-an-array", f"'{c.spell(type)}' is no array", step)
            index = self.constant(step.expr, "an index")
            place = offset + index * size_of(outer.of) * 8
            self._designator(outer.of, place, rest[1:], value, parts)
            return
        struct = c.struct(type)
        if struct is None:
            self.fail("type/not-a-struct", f"'{c.spell(type)}' has no members", step)
        placed = self.field(tree.Number(self.span(step), struct, 0), struct, step.name, step)
        member = placed.member
        place = offset + placed.offset
        self._designator(member.type, place, rest[1:], value, parts, member.bits)

    def _one(self, type: Type, offset: int, bits: int, items: _Items, parts: list[Part]) -> None:
        """One element or member, from one item or, braces left out, from several."""
        item = items.peek()
        outer, struct = c.array(type), c.struct(type)
        if item.__class__.__name__ == "InitList":
            items.index += 1
            if outer is not None and len(item.exprs) == 1 and _is_string(item.exprs[0]):
                parts.extend(self._string(outer, item.exprs[0], offset)[0])
            elif outer is not None or struct is not None:
                self._aggregate(type, offset, _Items(list(item.exprs)), parts, True, item)
            else:
                inner = self._braced_scalar(type, item)
                parts.append((offset, bits, type, inner.parts[0][3]))
            return
        if outer is not None:
            if _is_string(item) and size_of(outer.of) == 1:
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
