"""C declarations to BTF types: how our own declarations join a kernel's.

A small front end for build time only, on pycparser: structs, unions, enumerations, typedefs and
prototypes, laid out as gcc does on x86-64. A name that the text does not declare is looked up in
the kernel's BTF; a struct that nobody defines is a declaration.
"""

from __future__ import annotations

from pycparser import c_ast
from pycparser.c_parser import CParser

from minibcc.btf.decode import Btf
from minibcc.btf.formats import named_type
from minibcc.btf.layout import Kind
from minibcc.btf.types import (
    Array,
    Const,
    DeclTag,
    Enum,
    Func,
    FuncProto,
    Member,
    Param,
    Ptr,
    Struct,
    Type,
    Typedef,
    Volatile,
    align_of,
    size_of,
)

MODULE = "module:"
"""How the tag of a function starts that says which module it is in."""


class _Parser(CParser):
    """Takes the typedefs of a BTF for declared."""

    def __init__(self, btf: Btf) -> None:
        super().__init__()
        self._btf = btf

    def _is_type_in_scope(self, name: str) -> bool:
        known = super()._is_type_in_scope(name)
        return known or self._btf.find_id(Kind.TYPEDEF, name) is not None


def declarations(text: str, btf: Btf, file: str = "declarations") -> list[Type]:
    """All types, functions and modules' tags that the text declares. Raises ValueError for what is
    not covered."""
    return _Reader(btf).read(_Parser(btf).parse(_without_comments(text), file))


def _without_comments(text: str) -> str:
    import re

    return re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)


class _Reader:
    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._tags: dict[str, Type] = {}
        self._typedefs: dict[str, Typedef] = {}
        self._made: list[Type] = []
        self._module = ""

    def read(self, file: c_ast.FileAST) -> list[Type]:
        for node in file.ext:
            match node:
                case c_ast.Pragma():
                    word, _, name = node.string.partition(" ")
                    if word != "module":
                        raise ValueError(f"{node.coord}: unknown pragma {word!r}")
                    self._module = name.strip()
                case c_ast.Typedef():
                    typedef = Typedef(node.name, self._type(node.type))
                    self._typedefs[node.name] = typedef
                    self._made.append(typedef)
                case c_ast.Decl(type=c_ast.FuncDecl() as function):
                    self._function(node.name, function)
                case c_ast.Decl():
                    self._type(node.type)
                case _:
                    raise ValueError(f"{node.coord}: cannot declare this")
        return self._made

    def _function(self, name: str, node: c_ast.FuncDecl) -> None:
        proto = self._proto(node)
        function = Func(name, proto)
        self._made.append(function)
        if self._module:
            self._made.append(DeclTag(MODULE + self._module, function))

    def _type(self, node: c_ast.Node) -> Type | None:
        match node:
            case c_ast.TypeDecl():
                return _qualified(self._type(node.type), node.quals)
            case c_ast.PtrDecl():
                return _qualified(Ptr(self._type(node.type)), node.quals)
            case c_ast.ArrayDecl():
                count = int(node.dim.value, 0) if node.dim is not None else 0
                return Array(self._value(node.type), count)
            case c_ast.FuncDecl():
                return self._proto(node)
            case c_ast.Struct() | c_ast.Union():
                return self._struct(node)
            case c_ast.Enum():
                return self._enum(node)
            case c_ast.IdentifierType():
                return self._named(node.names)
            case c_ast.Typename():
                return self._type(node.type)
        raise ValueError(f"{node.coord}: cannot declare this type")

    def _value(self, node: c_ast.Node) -> Type:
        type = self._type(node)
        if type is None:
            raise ValueError(f"{node.coord}: void has no values")
        return type

    def _named(self, names: list[str]) -> Type | None:
        if names == ["void"]:
            return None
        if len(names) == 1 and names[0] in self._typedefs:
            return self._typedefs[names[0]]
        type = named_type(self._btf, " ".join(names))
        if type is None:
            raise ValueError(f"no type {' '.join(names)}")
        return type

    def _proto(self, node: c_ast.FuncDecl) -> FuncProto:
        params = node.args.params if node.args is not None else []
        variadic = bool(params) and isinstance(params[-1], c_ast.EllipsisParam)
        made = [
            Param(getattr(param, "name", None) or "", self._type(param.type))
            for param in params[: len(params) - variadic]
        ]
        if len(made) == 1 and made[0].type is None:
            made = []  # (void)
        return FuncProto(self._type(node.type), tuple(made), variadic)

    def _struct(self, node: c_ast.Struct | c_ast.Union) -> Struct:
        union = isinstance(node, c_ast.Union)
        known = self._tags.get(node.name) if node.name else None
        if known is None:
            if node.decls is None:
                kernel = self._btf.find(Kind.UNION if union else Kind.STRUCT, node.name)
                if isinstance(kernel, Struct):
                    return kernel
            known = Struct(node.name or "", union=union, complete=False)
            if node.name:
                self._tags[node.name] = known
                self._made.append(known)
        assert isinstance(known, Struct)
        if node.decls is not None:
            self._define(known, node.decls)
        return known

    def _define(self, struct: Struct, nodes: list[c_ast.Decl]) -> None:
        """Lays members out as the System V ABI for x86-64 says."""
        members = []
        end, size, align = 0, 0, 1  # in bits, bits, bytes
        for node in nodes:
            type = self._value(node.type)
            bits = int(node.bitsize.value, 0) if node.bitsize is not None else 0
            unit = 8 * size_of(type)
            align = max(align, align_of(type))
            place = 0 if struct.union else end
            if not bits or place // unit != (place + bits - 1) // unit:
                place = -(-place // (8 * align_of(type))) * 8 * align_of(type)
            members.append(Member(node.name or "", type, place, bits))
            end = place + (bits or unit)
            size = max(size, end)
        total = -(-size // (8 * align)) * align
        struct.define(total, tuple(members), align)

    def _enum(self, node: c_ast.Enum) -> Enum:
        known = self._tags.get(node.name) if node.name else None
        if node.values is None:
            if known is None:
                known = self._btf.find(Kind.ENUM, node.name)
            if not isinstance(known, Enum):
                raise ValueError(f"{node.coord}: no enum {node.name}")
            return known
        values: dict[str, int] = {}
        following = 0
        for item in node.values.enumerators:
            number = following if item.value is None else _constant(item.value)
            values[item.name] = number
            following = number + 1
        enum = Enum(node.name or "", values, signed=min(values.values()) < 0)
        if node.name:
            self._tags[node.name] = enum
        self._made.append(enum)
        return enum


def _constant(node: c_ast.Node) -> int:
    if isinstance(node, c_ast.UnaryOp) and node.op == "-":
        return -_constant(node.expr)
    return int(node.value, 0)


def _qualified(type: Type | None, qualifiers: list[str]) -> Type | None:
    for qualifier in qualifiers:
        type = {"const": Const, "volatile": Volatile}[qualifier](type)
    return type
