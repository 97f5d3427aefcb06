"""Places: members, elements, what pointers point to, and addresses (C11 section 6.5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from minibcc.btf.types import Ptr, Struct, find_member, strip
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.conversions import Conversions, is_place

if TYPE_CHECKING:
    from minibcc.compiler.tree import Expr


class Places(Conversions):
    """Analyses the forms that name a place."""

    def _member(self, node: Any) -> Expr:
        name = node.field.name
        if node.type == "->":
            pointer = self.value(node.name)
            target = c.pointer(pointer.type)
            if target is None:
                self._not_a_pointer(pointer, node)
            base: Expr = tree.Deref(pointer.span, target.to, pointer)
        else:
            base = self.expression(node.name)
            if c.pointer(base.type) is not None and not isinstance(base, tree.MapPointer):
                self.fail(
                    "type/not-a-struct",
                    f"'{c.spell(base.type)}' is a pointer: its members are reached with ->",
                    node,
                    help=[f"write -> instead of . before '{name}'"],
                )
        struct = c.struct(base.type)
        if struct is None:
            if isinstance(base, tree.MapPointer):
                parts = {"key": base.map.key, "leaf": base.map.value}
                if self.unevaluated and (part := parts.get(name)) is not None:
                    # BCC's tables are structs with such members: typeof(table.key).
                    nowhere = tree.Number(base.span, Ptr(part), 0)
                    return tree.Deref(base.span, part, nowhere)
                self.fail(
                    "type/not-a-value",
                    f"'{name}' of table '{base.map.name}' is a method: call it",
                    node,
                    help=[f"write {base.map.name}.{name}(...)"],
                )
            self.fail("type/not-a-struct", f"'{c.spell(base.type)}' has no members", node.name)
        return self.field(base, struct, name, node)

    def _not_a_pointer(self, e: Expr, node: Any) -> NoReturn:
        if c.struct(e.type) is not None:
            self.fail(
                "type/not-a-pointer",
                f"'{c.spell(e.type)}' is no pointer: its members are reached with .",
                node,
                help=["write . instead of ->"],
            )
        self.fail(
            "type/not-a-pointer",
            f"-> needs a pointer, and this is '{c.spell(e.type)}'",
            node.name,
            help=["cast it to a pointer to the struct first"] if c.integer(e.type) else [],
        )

    def field(self, base: Expr, struct: Struct, name: str, node: Any) -> tree.Field:
        """The member `name` of a struct."""
        if not struct.complete:
            self._incomplete(struct, node)
        found = find_member(struct, name)
        if found is None:
            names = _member_names(struct)
            self.fail(
                "type/no-member",
                f"'{c.spell(struct)}' has no member '{name}'",
                node.field if hasattr(node, "field") else node,
                help=self.suggestion(name, names)
                or (["its members are: " + ", ".join(names[:12])] if 0 < len(names) <= 12 else []),
            )
        member, offset = found
        return tree.Field(
            self.span(node), c.qualified(member.type, base.type), base, member, offset
        )

    def _element(self, node: Any) -> Expr:
        base, index = self.value(node.name), self.value(node.subscript)
        if c.pointer(base.type) is None and c.pointer(index.type) is not None:
            base, index = index, base
        target = c.pointer(base.type)
        if target is None or c.integer(index.type) is None:
            self.fail(
                "type/not-an-array",
                f"[] needs an array or a pointer, and this is '{c.spell(base.type)}'"
                if target is None
                else f"an index is an integer, not '{c.spell(index.type)}'",
                node.name if target is None else node.subscript,
            )
        self._sized(target.to, node)
        span = self.span(node)
        moved = tree.Arithmetic(span, base.type, "+", base, self._distance(index))
        return tree.Deref(span, target.to, moved)

    def _address(self, node: Any) -> Expr:
        e = self.expression(node.expr)
        span = self.span(node)
        if isinstance(e, tree.MapPointer | tree.FunctionPointer):
            return e
        if not is_place(e):
            self.fail(
                "type/no-address",
                "this value has no address",
                node.expr,
                help=["store it in a variable and take the variable's address"],
            )
        if isinstance(e, tree.Field) and e.member.bits:
            self.fail(
                "type/no-address",
                f"'{e.member.name}' is a bitfield: it has no address",
                node.expr,
                help=["read it into a variable first"],
            )
        if isinstance(e, tree.Deref) and isinstance(e.pointer, tree.Load | tree.Arithmetic):
            return e.pointer
        return tree.Address(span, Ptr(e.type), e)

    def _dereference(self, node: Any) -> Expr:
        e = self.value(node.expr)
        target = c.pointer(e.type)
        if target is None:
            self.fail(
                "type/not-a-pointer",
                f"* needs a pointer, and this is '{c.spell(e.type)}'",
                node,
                help=["cast it first: *(u64 *)x"] if c.integer(e.type) else [],
            )
        if isinstance(e, tree.FunctionPointer):
            return e
        return tree.Deref(self.span(node), target.to, e)


def _member_names(struct: Struct) -> list[str]:
    names = []
    for member in struct.members:
        inner = strip(member.type)
        if member.name:
            names.append(member.name)
        elif isinstance(inner, Struct):
            names.extend(_member_names(inner))
    return names
