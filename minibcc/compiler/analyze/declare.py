"""Types from declarations: specifiers, declarators, structs and their layout, enums.

Layout follows the System V ABI of x86-64, which BPF shares: natural alignment, bitfields packed
into units of their type, ``packed`` and ``aligned`` as GNU C has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.btf.types import (
    Array,
    Const,
    Enum,
    Float,
    FuncProto,
    Member,
    Param,
    Ptr,
    Restrict,
    Struct,
    Typedef,
    Volatile,
    align_of,
    same,
    size_of,
    strip,
)
from minibcc.compiler import arithmetic as c
from minibcc.compiler.analyze.context import Constant, Context, Poison, TypeName, Wrong

if TYPE_CHECKING:
    from minibcc.btf.types import Type

_QUALIFIERS: dict[str, Any] = {"const": Const, "volatile": Volatile, "restrict": Restrict}

# Words of a basic type, sorted, to the type.
_BASIC: dict[str, Type | None] = {
    "void": None,
    "_Bool": c.BOOL,
    "char": c.CHAR,
    "char signed": c.SCHAR,
    "char unsigned": c.UCHAR,
    "short": c.SHORT,
    "unsigned": c.UINT,
    "signed": c.INT,
    "int": c.INT,
    "long": c.LONG,
    "float": c.FLOAT,
    "double": c.DOUBLE,
    "double long": c.LDOUBLE,
    "__int128": c.INT128,
    "__int128 signed": c.INT128,
    "__int128 unsigned": c.UINT128,
}
for _words, _signed, _unsigned in (
    ("short", c.SHORT, c.USHORT),
    ("int", c.INT, c.UINT),
    ("long", c.LONG, c.ULONG),
    ("long long", c.LLONG, c.ULLONG),
):
    for _extra in ([], ["int"]):
        if _words == "int" and _extra:
            continue
        _all = [*_words.split(), *_extra]
        _BASIC[" ".join(sorted(_all))] = _signed
        _BASIC[" ".join(sorted([*_all, "signed"]))] = _signed
        _BASIC[" ".join(sorted([*_all, "unsigned"]))] = _unsigned


class Declarations(Context):
    """Reads declarations."""

    def declared(self, node: Any) -> Type | None:
        """The type of a declarator, declaration or type name."""
        match type(node).__name__:
            case "Decl" | "Typedef" | "Typename":
                return self.declared(node.type)
            case "TypeDecl":
                return self._qualify(self.specifier(node.type), node.quals or [])
            case "PtrDecl":
                return self._qualify(Ptr(self.declared(node.type)), node.quals or [])
            case "ArrayDecl":
                return self._array(node)
            case "FuncDecl":
                return self.prototype(node)
        return self.specifier(node)

    def _qualify(self, type: Type | None, words: list[str]) -> Type | None:
        for word in words:
            kind = _QUALIFIERS.get(word)
            if kind is not None:
                type = kind(type)
        return type

    def _array(self, node: Any) -> Type:
        of = self.declared(node.type)
        inner = strip(of)
        if inner is None or isinstance(inner, FuncProto):
            self.fail("type/bad-array", f"an array cannot hold '{c.spell(of)}'", node)
        if isinstance(inner, Struct | Enum) and not inner.complete:
            self._incomplete(inner, node)
        if node.dim is None:
            return Array(of, 0)  # type: ignore[arg-type]  # None was refused above
        count = self._count(node)
        if count < 0:
            self.fail("type/bad-array", f"an array of {count} elements cannot be", node.dim)
        return Array(of, count)  # type: ignore[arg-type]  # None was refused above

    def _count(self, node: Any) -> int:
        from minibcc.compiler.analyze.constants import fold

        size = self.value(node.dim)
        count = fold(size)
        if count is None:
            self.fail(
                "type/variable-array",
                "the size of an array must be a constant",
                node.dim,
                "not known before the program runs",
                help=["eBPF has a fixed stack: write the largest size that can be needed"],
            )
        return count

    def prototype(self, node: Any) -> FuncProto:
        """A function's type; parameters of array and function type become pointers."""
        result = self.declared(node.type)
        params: list[Param] = []
        variadic = False
        for parameter in node.args.params if node.args is not None else ():
            if type(parameter).__name__ == "EllipsisParam":
                variadic = True
                continue
            declared = self.declared(parameter)
            if declared is None and len(node.args.params) == 1:
                break
            inner = strip(declared)
            if isinstance(inner, Array):
                declared = Ptr(inner.of)
            elif isinstance(inner, FuncProto):
                declared = Ptr(inner)
            elif inner is None:
                self.fail("type/void-value", "a parameter cannot be void", parameter)
            params.append(Param(getattr(parameter, "name", None) or "", declared))
        return FuncProto(result, tuple(params), variadic)

    # --- specifiers --------------------------------------------------------------------------

    def specifier(self, node: Any) -> Type | None:
        """The type that declaration specifiers name; all declarators behind them have the one."""
        if id(node) in self.defined:
            return self.defined[id(node)]
        made = self._specified(node)
        if getattr(node, "decls", None) is not None or getattr(node, "values", None) is not None:
            self.defined[id(node)] = made
        return made

    def _specified(self, node: Any) -> Type | None:
        match type(node).__name__:
            case "IdentifierType":
                return self._named(node)
            case "Struct" | "Union":
                return self._struct(node, type(node).__name__ == "Union")
            case "Enum":
                return self._enum(node)
            case "TypeOf":
                return self._typeof(node)
            case "Typename":
                return self.declared(node)
            case "AttributedType":
                return self.specifier(node.type)
        self.fail("type/unknown-type", "this type has no meaning for eBPF", node)

    def _named(self, node: Any) -> Type | None:
        names = node.names
        if len(names) == 1:
            name = names[0]
            for scope in reversed(self.scopes):
                entity = scope.get(name)
                if isinstance(entity, TypeName):
                    return entity.type
            if name not in _BASIC:
                found = self.kernel.typedef(name)
                if found is not None:
                    return found
        key = " ".join(sorted(names))
        if key in _BASIC:
            return _BASIC[key]
        if "_Complex" in names:
            return c.DOUBLE  # refused where it is used, as any floating type
        self.fail(
            "type/unknown-type",
            f"'{' '.join(names)}' is no type",
            node,
            help=self.suggestion(names[-1], self.kernel.common_types()),
        )

    def _typeof(self, node: Any) -> Type | None:
        if type(node.expr).__name__ == "Typename":
            inner = self.declared(node.expr)
        else:
            inner = self.typed(node.expr)
        return c.unqualified(inner) if "unqual" in node.op else inner

    # --- structs -----------------------------------------------------------------------------

    def _tag(self, name: str, wanted: type) -> Struct | Enum | None:
        for scope in reversed(self.tags):
            if name in scope:
                return scope[name]
        return None

    def _struct(self, node: Any, union: bool) -> Struct:
        name = node.name or ""
        if node.decls is None:
            known = self._tag(name, Struct)
            if known is None:
                known = self.kernel.struct(name, union)
            if known is None:
                known = Struct(name, union=union, complete=False)
                self.tags[0][name] = known
            if not isinstance(known, Struct) or known.union != union:
                self.fail(
                    "type/wrong-tag",
                    f"'{name}' is no {'union' if union else 'struct'}, it is '{c.spell(known)}'",
                    node,
                )
            return known
        existing = self.tags[-1].get(name) if name else None
        if isinstance(existing, Struct) and not existing.complete:
            made = existing
        else:
            if isinstance(existing, Struct):
                self.report("type/redefined", f"'struct {name}' is defined a second time", node)
            made = Struct(name, union=union, complete=False)
            if name:
                self.tags[-1][name] = made
        try:
            self._layout(made, node)
        except Wrong:
            self.broken.add(made)
            raise
        return made

    def _layout(self, made: Struct, node: Any) -> None:
        """Places the members and completes the struct."""
        attributes = self.attributes(node)
        packed = any(item.name == "packed" for item in attributes)
        layout = _Layout(made.union, packed, self.syntax.packs.get(id(node), 0))
        seen: set[str] = set()
        for declaration in node.decls:
            if type(declaration).__name__ == "StaticAssert":
                self.static_assert(declaration)
                continue
            if type(declaration).__name__ != "Decl":
                continue
            member = self.declared(declaration)
            name = declaration.name or ""
            self._check_member(member, name, declaration, seen)
            own = self.attributes(declaration)
            align = self.asked_alignment(declaration)
            loose = packed or any(item.name == "packed" for item in own)
            assert member is not None
            if declaration.bitsize is not None:
                width = self.constant(declaration.bitsize, "the width of a bitfield")
                kind = c.integer(member)
                largest = 0 if kind is None else 1 if c.is_bool(member) else kind.size * 8
                if kind is None or not bool(name) <= width <= largest:
                    self.fail(
                        "type/bad-bitfield",
                        f"a bitfield of type '{c.spell(member)}' cannot have {width} bits",
                        declaration.bitsize,
                    )
                layout.bitfield(name, member, width, loose)
            else:
                layout.member(name, member, loose, max(align, self.typedef_alignment(member)))
        made.define(*layout.finish(self.asked_alignment(node)))
        if any(item.name == "deprecated" and item.text() == "packet" for item in attributes):
            self.headers.add(made)

    def asked_alignment(self, node: Any) -> int:
        """What ``aligned`` and ``_Alignas`` ask for on a declaration or struct, 0 for nothing."""
        asked = [
            (item.number(16), item.token.span)
            for item in self.attributes(node)
            if item.name == "aligned"
        ]
        for alignas in getattr(node, "align", None) or []:
            operand = alignas.alignment
            if type(operand).__name__ == "Typename":
                asked.append((align_of(self.declared(operand)), self.span(operand)))
            else:
                asked.append((self.constant(operand, "an alignment"), self.span(operand)))
        for align, at in asked:
            if align < 0 or align & (align - 1) or align > 1 << 28:
                self.fail("type/bad-alignment", f"an alignment is a power of two, not {align}", at)
        return max((align for align, _ in asked), default=0)

    def typedef_alignment(self, type: Type | None) -> int:
        """What the typedefs on the way to a type ask for, 0 for nothing."""
        align = 0
        while self.aligned_typedefs and isinstance(type, Typedef | Const | Volatile | Array):
            align = max([align, *(n for known, n in self.aligned_typedefs if known is type)])
            type = type.of
        return align

    def _check_member(self, member: Type | None, name: str, node: Any, seen: set[str]) -> None:
        inner = strip(member)
        if inner is None or isinstance(inner, FuncProto):
            self.fail("type/bad-member", f"a member cannot be '{c.spell(member)}'", node)
        if isinstance(inner, Struct | Enum) and not inner.complete:
            self._incomplete(inner, node)
        if name and name in seen:
            self.report("type/redefined", f"the struct has two members '{name}'", node)
        seen.add(name)

    def _incomplete(self, type: Struct | Enum, at: Any) -> None:
        """Reports the use of a struct of which only the name is known."""
        if type in self.broken:
            raise Wrong
        word = "enum" if isinstance(type, Enum) else "union" if type.union else "struct"
        self.fail(
            "type/incomplete",
            f"'{word} {type.name}' is not defined: neither in this text nor in the kernel",
            at,
            help=[f"define {word} {type.name} before it is used", *self._near_tags(type.name)],
        )

    def _near_tags(self, name: str) -> list[str]:
        others = [tag for scope in self.tags for tag in scope if tag != name]
        return self.suggestion(name, others)

    def _enum(self, node: Any) -> Enum:
        name = node.name or ""
        if node.values is None:
            known = self._tag(name, Enum) or self.kernel.enum(name)
            if isinstance(known, Struct):
                self.fail("type/wrong-tag", f"'{name}' is no enum, it is '{c.spell(known)}'", node)
            if known is None:
                known = Enum(name, complete=False)
                self.tags[0][name] = known
            return known
        values: dict[str, int] = {}
        following = 0
        constants = []
        for item in node.values.enumerators:
            if type(item).__name__ != "Enumerator":
                continue
            first = self.scopes[-1].get(item.name)
            if first is not None and not isinstance(first, Poison):
                self.report("type/redefined", f"'{item.name}' is declared a second time", item)
            if item.value is not None:
                following = self.constant(item.value, "the value of an enumerator")
            values[item.name] = following
            small = -(1 << 31) <= following < 1 << 31
            kind = c.INT if small else c.by_size(8, following < 0)
            constants.append((item.name, Constant(following, kind)))
            self.declare(*constants[-1])
            following += 1
        signed = min(values.values(), default=0) < 0
        wide = max(values.values(), default=0) > (0x7FFFFFFF if signed else 0xFFFFFFFF)
        wide = wide or min(values.values(), default=0) < -(1 << 31)
        packed = any(item.name == "packed" for item in self.attributes(node))
        size = 8 if wide else 4
        if packed:
            size = next(n for n in (1, 2, 4, 8) if _fits(values.values(), n, signed))
        made = Enum(name, values, size=size, signed=signed)
        if name:
            self.tags[-1][name] = made
        return made

    def static_assert(self, node: Any) -> None:
        """``_Static_assert(condition, "message")``."""
        try:
            holds = self.constant(node.cond, "the condition of _Static_assert")
        except Wrong:
            return
        if not holds:
            text = "".join(part.strip('"') for part in node.message.value) if node.message else ""
            self.report("type/static-assert", f"the assertion fails: {text}".rstrip(": "), node)

    def complete(self, type: Type | None, at: Any) -> None:
        """Reports a type of unknown size where one is needed."""
        inner = strip(type)
        while isinstance(inner, Array):
            inner = strip(inner.of)
        if isinstance(inner, Struct | Enum) and not inner.complete:
            self._incomplete(inner, at)
        if isinstance(inner, Float):
            self.fail(
                "type/float",
                "eBPF has no floating point",
                at,
                help=["count in smaller units: nanoseconds, or thousandths, in a u64"],
            )

    def compatible(self, a: Type | None, b: Type | None) -> bool:
        """Whether two types are the same for C, qualifiers aside."""
        return same(c.unqualified(a), c.unqualified(b))


def _fits(values: Any, size: int, signed: bool) -> bool:
    low = -(1 << (size * 8 - 1)) if signed else 0
    high = (1 << (size * 8 - signed)) - 1
    return all(low <= value <= high for value in values)


class _Layout:
    """Where members go. Offsets are in bits."""

    def __init__(self, union: bool, packed: bool, pack: int) -> None:
        self._union = union
        self._packed = packed
        self._pack = pack
        self._offset = 0
        self._size = 0
        self._align = 1
        self._members: list[Member] = []

    def member(self, name: str, type: Type, packed: bool, align: int) -> None:
        wanted = max(1 if packed else align_of(type), align)
        if self._pack:
            wanted = min(wanted, self._pack)
        offset = 0 if self._union else _up(self._offset, wanted * 8)
        self._align = max(self._align, wanted)
        self._members.append(Member(name, type, offset))
        self._offset = offset + size_of(type) * 8
        self._size = max(self._size, self._offset)

    def bitfield(self, name: str, type: Type, width: int, packed: bool) -> None:
        unit = size_of(type) * 8
        offset = 0 if self._union else self._offset
        if width == 0:
            self._offset = _up(offset, unit)
            self._size = max(self._size, self._offset)
            return
        loose = packed or self._pack
        if not loose and offset // unit != (offset + width - 1) // unit:
            offset = _up(offset, unit)
        if name:
            if not packed:
                align = align_of(type)
                self._align = max(self._align, min(align, self._pack) if self._pack else align)
            self._members.append(Member(name, type, offset, width))
        self._offset = offset + width
        self._size = max(self._size, self._offset)

    def finish(self, align: int) -> tuple[int, tuple[Member, ...], int]:
        """Size in bytes, members, alignment in bytes."""
        align = max(align, self._align)
        return _up(self._size, align * 8) // 8, tuple(self._members), align


def _up(value: int, to: int) -> int:
    return (value + to - 1) // to * to
