"""Types as C text: one declaration, or all definitions in an order that compiles.

`spell(type, name)` is a declaration (``struct task_struct *p``), for messages and views.
`definitions(types)` is a header of everything that the types lead to, as ``bpftool btf dump
format c`` prints it: what is embedded comes first, what is only pointed to is declared before,
holes are filled with unnamed bit fields so that a compiler lays it out the same, and names that
are taken get a number.

Mirrors libbpf's btf_dump.c, and agrees with it to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from minibcc.btf.types import (
    Array,
    Const,
    DataSec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Int,
    Ptr,
    Restrict,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Var,
    Volatile,
    size_of,
    strip,
)

_PADS = (("long", 64), ("int", 32), ("short", 16), ("char", 8))
_MAX_HOLE = 8 << 20  # bits; each 64 are a line
_QUALIFIERS = {Const: "const", Volatile: "volatile", Restrict: "restrict"}


def spell(type: Type | None, name: str = "") -> str:
    """A declaration of `name` (or, without one, a type name) in C."""
    return _Writer().declaration(type, name, 0)


def definitions(types: Iterable[Type]) -> str:
    """C definitions of everything that is reached from `types`, each followed by a blank line.
    Raises ValueError for a struct with a hole of more than a megabyte."""
    writer = _Writer()
    roots = list(types)
    writer.mark(roots)
    for root in roots:
        queue: list[Type] = []
        writer.order(root, False, queue)
        for type in queue:
            writer.emit(type, None)
    return "".join(writer.out)


class _Names:
    """Hands out names; one that is taken gets ``___2``, ``___3``, ... behind it."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._given: dict[int, str] = {}

    def of(self, type: Type, name: str) -> str:
        if id(type) not in self._given:
            self._given[id(type)] = self.fresh(name)
        return self._given[id(type)]

    def fresh(self, name: str) -> str:
        if not name:
            return ""
        count = self._taken[name] = self._taken.get(name, 0) + 1
        return name if count == 1 else f"{name}___{count}"


class _Writer:
    def __init__(self) -> None:
        self.out: list[str] = []
        self._tags = _Names()  # struct, union, enum
        self._idents = _Names()  # typedefs and enumerators
        self._referenced: set[int] = set()
        self._ordered: dict[int, bool] = {}  # id() to whether it is done, or still on the way
        self._emitted: dict[int, bool] = {}
        self._declared: set[int] = set()
        self._layouts: dict[int, tuple[int, bool]] = {}

    # --- one declaration ---------------------------------------------------------------------

    def declaration(self, type: Type | None, name: str, level: int) -> str:
        chain: list[Type | None] = []
        while True:
            chain.append(type)
            match type:
                case Ptr(to):
                    type = to
                case Const(of) | Volatile(of) | Restrict(of) | TypeTag(_, of) | Array(of, _):
                    type = of
                case FuncProto():
                    type = type.result
                case _:
                    return self._chain(chain, name, level)

    def _chain(self, chain: list[Type | None], name: str, level: int) -> str:
        """From the innermost type outwards, as C declarations are built around a name."""
        text = ""
        pointer = True  # whether a star, or nothing, stands before
        while chain:
            type = chain.pop()
            match type:
                case Ptr():
                    text += "*" if pointer else " *"
                case Const() | Volatile() | Restrict():
                    text += f" {_QUALIFIERS[type.__class__]}"
                case TypeTag():
                    text += (
                        self._qualifiers(chain) + f' __attribute__((btf_type_tag("{type.name}")))'
                    )
                case Array(_, count):
                    while chain and isinstance(chain[-1], Const | Volatile | Restrict):
                        chain.pop()
                    if not chain:
                        return f"{text}{_name(name, pointer)}[{count}]"
                    space = " " if name and not pointer else ""
                    many = isinstance(chain[-1], Array)
                    inner = self._chain(chain, name, level)
                    return f"{text}{space}{inner if many else f'({inner})'}[{count}]"
                case FuncProto():
                    while chain and isinstance(chain[-1], Const | Volatile | Restrict):
                        chain.pop()
                    inner = (
                        f" ({self._chain(chain, name, level)})" if chain else _name(name, pointer)
                    )
                    return f"{text}{inner}({self._parameters(type, level)})"
                case _:
                    text += self._qualifiers(chain) + self._base(type, level)
            pointer = isinstance(type, Ptr)
        return text + _name(name, pointer)

    def _qualifiers(self, chain: list[Type | None]) -> str:
        """Those that stand before a base type, taken off the chain."""
        text = ""
        while chain and isinstance(chain[-1], Const | Volatile | Restrict):
            text += _QUALIFIERS[chain.pop().__class__] + " "  # type: ignore[index]  # just tested
        return text

    def _parameters(self, proto: FuncProto, level: int) -> str:
        params = [
            self.declaration(p.type, p.name, level) for p in proto.params if p.type is not None
        ]
        if proto.variadic:
            params.append("...")
        return ", ".join(params) or "void"

    def _base(self, type: Type | None, level: int) -> str:
        match type:
            case None:
                return "void"
            case Struct() if type.name or not type.complete:
                return f"{_keyword(type)} {self._tags.of(type, type.name)}"
            case Struct():
                return self._struct(type, level)
            case Enum() if type.name:
                return f"enum {self._tags.of(type, type.name)}"
            case Enum():
                return self._enum(type, level)
            case Typedef():
                return self._idents.of(type, type.name)
            case Int() | Float():
                return type.name
            case Func():
                return self.declaration(type.proto, type.name, level)
            case Var():
                return self.declaration(type.type, type.name, level)
            case _:
                return f"<{type!r}>"

    # --- layout ------------------------------------------------------------------------------

    def _align(self, type: Type | None) -> int:
        """Bytes; 1 for a packed struct."""
        type = strip(type)
        match type:
            case Ptr():
                return 8
            case Int() | Float() | Enum():
                return min(8, type.size)
            case Array(of, _):
                return self._align(of)
            case Struct():
                return self._layout(type)[0]
        return 1

    def _packed(self, struct: Struct) -> bool:
        """Whether it cannot be laid out so without the attribute."""
        return self._layout(struct)[1]

    def _layout(self, struct: Struct) -> tuple[int, bool]:
        """Alignment, and whether it is packed."""
        if id(struct) not in self._layouts:
            aligns = [self._align(member.type) for member in struct.members]
            align = max(aligns, default=1)
            packed = struct.size % align != 0 or any(
                not member.bits and member.offset % (8 * wanted)
                for member, wanted in zip(struct.members, aligns, strict=True)
            )
            self._layouts[id(struct)] = (1 if packed else align, packed)
        return self._layouts[id(struct)]

    # --- definitions -------------------------------------------------------------------------

    def _struct(self, struct: Struct, level: int) -> str:
        indent = "\t" * (level + 1)
        head = f"{_keyword(struct)} {self._tags.of(struct, struct.name)}".rstrip() + " {"
        packed = not struct.union and self._packed(struct)
        lines: list[str] = []
        end, before = 0, False  # where the last member ended, whether it was a bit field
        for member in struct.members:
            align = 1 if packed else self._align(member.type)
            lines += _padding(end, member.offset, align, before and bool(member.bits))
            text = self.declaration(member.type, member.name, level + 1)
            lines.append(f"{text}: {member.bits};" if member.bits else f"{text};")
            end = member.offset + (member.bits or 8 * _size(member.type))
            before = bool(member.bits)
        if not struct.union:
            lines += _padding(end, struct.size * 8, self._align(struct), False)
        body = "".join(f"\n{indent}{line}" for line in lines)
        close = "\n" + "\t" * level if struct.members or struct.size else ""
        return head + body + close + "}" + (" __attribute__((packed))" if packed else "")

    def _enum(self, enum: Enum, level: int) -> str:
        indent = "\t" * (level + 1)
        text = f"enum {self._tags.of(enum, enum.name)}".rstrip()
        if not enum.values:
            return text
        suffix = "" if enum.size < 8 else "LL" if enum.signed else "ULL"
        text += " {"
        for name, value in enum.values.items():
            text += f"\n{indent}{self._idents.fresh(name)} = {value}{suffix},"
        mode = ""
        if enum.size == 1:
            mode = " __attribute__((mode(byte)))"
        elif enum.size == 8 and all(-(1 << 31) <= v < 1 << 32 for v in enum.values.values()):
            mode = " __attribute__((mode(word)))"
        return text + "\n" + "\t" * level + "}" + mode

    def mark(self, roots: list[Type]) -> None:
        """Finds what is referred to by anything that the roots lead to."""
        stack = list(roots)
        seen = set()
        while stack:
            type = stack.pop()
            if id(type) not in seen:
                seen.add(id(type))
                below = list(_references(type))
                self._referenced.update(id(inner) for inner in below)
                stack += below
                if isinstance(type, FuncProto) and type.result is not None:
                    stack.append(type.result)

    def order(self, type: Type | None, pointed: bool, queue: list[Type]) -> bool:
        """Puts on the queue what must be defined for `type` to be used, and itself; `pointed` if
        it is used behind a pointer. True if it had to be defined."""
        if type is None or self._ordered.get(id(type)):
            return True
        if id(type) in self._ordered:
            return False  # a circle, which a declaration resolves
        strong = False
        match type:
            case Ptr(to):
                strong = self.order(to, True, queue)
            case Array(of, _):
                return self.order(of, False, queue)
            case Const(of) | Volatile(of) | Restrict(of) | TypeTag(_, of):
                return self.order(of, pointed, queue)
            case FuncProto():
                parts = [type.result, *[param.type for param in type.params]]
                for part in parts:
                    strong |= self.order(part, pointed, queue)
                return strong
            case Struct() if type.complete:
                if pointed and type.name:
                    return False
                self._ordered[id(type)] = False
                for member in type.members:
                    self.order(member.type, False, queue)
                if type.name:
                    queue.append(type)
                strong = True
            case Struct() | Enum():
                if type.name or id(type) not in self._referenced:
                    queue.append(type)
                strong = True
            case Typedef():
                if not self.order(type.of, pointed, queue) and pointed:
                    return False
                queue.append(type)
                strong = True
        self._ordered[id(type)] = True
        return strong

    def emit(self, type: Type | None, inside: Type | None) -> None:
        """Writes what a queued type needs before it, then its definition; `inside` is what is
        being defined, None at the top."""
        if type is None or self._emitted.get(id(type)):
            return
        on_the_way = id(type) in self._emitted
        match type:
            case Struct() if not type.complete:
                self._write(type, f"{_keyword(type)} {self._tags.of(type, type.name)}")
            case Struct() if on_the_way:
                if type is not inside:
                    self._declare(type)
            case Struct():
                self._emit_struct(type, inside)
            case Enum():
                if inside is None:
                    self._write(type, self._enum(type, 0))
                self._emitted[id(type)] = True
            case Typedef():
                if not on_the_way:
                    self._emitted[id(type)] = False
                    self.emit(type.of, type)
                    self._emit_typedef(type)
                    self._emitted[id(type)] = True
                else:
                    self._emit_typedef(type)
            case FuncProto():
                for part in (type.result, *[param.type for param in type.params]):
                    self.emit(part, inside)
            case Ptr(below) | Array(below, _) | Const(below) | Volatile(below) | Restrict(below):
                self.emit(below, inside)
            case TypeTag(_, below):
                self.emit(below, inside)

    def _emit_struct(self, struct: Struct, inside: Type | None) -> None:
        self._emitted[id(struct)] = False
        if inside is None or not struct.name:
            for member in struct.members:
                self.emit(member.type, struct if struct.name else inside)
        elif struct is not inside:
            self._declare(struct)
        if inside is None:
            self._write(struct, self._struct(struct, 0))
        else:
            del self._emitted[id(struct)]

    def _emit_typedef(self, typedef: Typedef) -> None:
        if id(typedef) not in self._declared and typedef.name != "__builtin_va_list":
            self._declared.add(id(typedef))
            name = self._idents.of(typedef, typedef.name)
            self.out.append(f"typedef {self.declaration(typedef.of, name, 0)};\n\n")

    def _declare(self, struct: Struct) -> None:
        if id(struct) not in self._declared and struct.name:
            self._declared.add(id(struct))
            self.out.append(f"{_keyword(struct)} {self._tags.of(struct, struct.name)};\n\n")

    def _write(self, type: Type, text: str) -> None:
        self.out.append(f"{text};\n\n")
        self._emitted[id(type)] = True


def _name(name: str, pointer: bool) -> str:
    return name if pointer or not name else f" {name}"


def _keyword(struct: Struct) -> str:
    return "union" if struct.union else "struct"


def _references(type: Type) -> Iterator[Type]:
    """What a type refers to, but for what a prototype returns (whose enumerations bpftool counts
    as never referred to)."""
    below: list[Type | None] = []
    match type:
        case Struct():
            below = [member.type for member in type.members]
        case FuncProto():
            below = [param.type for param in type.params]
        case Func():
            below = [type.proto]
        case Var():
            below = [type.type]
        case DataSec():
            below = [entry.var for entry in type.vars]
        case Typedef() | DeclTag():
            below = [type.of]
        case Ptr(of) | Array(of, _) | Const(of) | Volatile(of) | Restrict(of) | TypeTag(_, of):
            below = [of]
    yield from (inner for inner in below if inner is not None)


def _size(type: Type) -> int:
    """Bytes; 0 for what has none."""
    try:
        return 0 if isinstance(strip(type), FuncProto | None) else size_of(type)
    except ValueError:
        return 0


def _padding(start: int, stop: int, align: int, in_bits: bool) -> Iterator[str]:
    """Unnamed bit fields that fill the bits from `start` to `stop`, where what stands there is
    aligned to `align` bytes; `in_bits` between two bit fields. The widest type that reaches an
    aligned place first is used, and what the compiler pads by itself is left out."""
    if start >= stop:
        return
    if stop - start > _MAX_HOLE:
        raise ValueError(f"a struct with a hole of {(stop - start) // 8} bytes is not shown")
    name, width = next((pad for pad in _PADS if -(-start // pad[1]) * pad[1] <= stop), ("char", 8))
    aligned = -(-start // width) * width
    if start < aligned <= stop:
        by_itself = -(-start // (align * 8)) * align * 8
        if (
            in_bits
            or (aligned == stop and by_itself != aligned)
            or (aligned != stop and stop - aligned <= aligned - start)
        ):
            yield f"{name}: {aligned - start if in_bits else 0};"
        start = aligned
    while stop - start >= width:
        yield f"{name}: {width};"
        start += width
    if start < stop:
        rest = stop - start
        name = next(name for name, bits in reversed(_PADS) if bits >= rest)
        yield f"{name}: {rest};"
