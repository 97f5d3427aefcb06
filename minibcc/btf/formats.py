"""A tracepoint's record as text, and back: the ``format`` files of tracefs.

`text` computes from BTF what /sys/kernel/tracing/events/CATEGORY/EVENT/format says; `record` reads
such a text, whoever wrote it, into the struct that a program sees as ``args``. So a kernel without
tracefs, the simulated one, and a kernel whose modules bring tracepoints of their own are one thing
to the compiler.

In ``args`` a field of variable length is ``int data_loc_NAME``, and a field that is larger than its
type (each argument of a system call takes 8 bytes) is an integer of its true size: BCC's rules
(src/cc/frontends/clang/tp_frontend_action.cc). The text has the form of kernel/trace/trace_events.c
(f_show); what it prints is only sketched, as no tool reads that.
"""

from __future__ import annotations

import re

from minibcc.btf.decode import Btf
from minibcc.btf.events import SYSCALLS, Event, syscalls, tracepoints
from minibcc.btf.layout import Kind
from minibcc.btf.show import spell
from minibcc.btf.types import (
    Array,
    Const,
    Enum,
    Int,
    Member,
    Ptr,
    Struct,
    Type,
    Volatile,
    size_of,
    strip,
)
from minibcc.records import Record

_LOCATIONS = ("__data_loc_", "__rel_loc_")
# How the kernel's sources write the integers that compilers name at length.
_SPELLINGS = {
    "long long unsigned int": "unsigned long long",
    "long unsigned int": "unsigned long",
    "short unsigned int": "unsigned short",
    "long long int": "long long",
    "long int": "long",
    "short int": "short",
    "_Bool": "bool",
}
_LINE = (
    r"\s*field:(?P<declaration>[^;]*);\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);"
    r"(?:\s*signed:(?P<signed>\d+);)?"
)
_DECLARATION = r"(?P<type>.*?)\s*(?P<name>\w+)(?:\[(?P<count>\d*)\])?$"
_SIZES = {1: "char", 2: "short int", 4: "int", 8: "long int"}


class Field(Record):
    """One line of a format: `type` as it is written there, without the brackets of an array;
    `count` None if it is no array; `offset` and `size` in bytes."""

    type: str
    name: str
    offset: int
    size: int
    signed: bool
    count: int | None = None

    def line(self) -> str:
        brackets = "" if self.count is None else f"[{self.count}]"
        return (
            f"\tfield:{self.type} {self.name}{brackets};\toffset:{self.offset};"
            f"\tsize:{self.size};\tsigned:{self.signed:d};\n"
        )


# --- from BTF to text --------------------------------------------------------------------------


def text(btf: Btf, event: Event) -> str | None:
    """The content of an event's ``format``; None if this BTF lacks its record."""
    fields = _syscall_fields(event) if event.category == SYSCALLS else _record_fields(btf, event)
    entry = btf.find(Kind.STRUCT, "trace_entry")
    if fields is None or not isinstance(entry, Struct):
        return None
    common = "".join(_field(member, 0, "common_").line() for member in entry.members)
    own = "".join(field.line() for field in fields)
    return (
        f"name: {event.name}\nID: {event.id}\nformat:\n{common}\n{own}"
        f"\nprint fmt: {_print_format(fields)}\n"
    )


def _record_fields(btf: Btf, event: Event) -> list[Field] | None:
    record = btf.find(Kind.STRUCT, f"trace_event_raw_{event.record}")
    if not isinstance(record, Struct):
        return None
    arrays = tracepoints().arrays
    fields = []
    for member in record.members:
        location = next((word for word in _LOCATIONS if member.name.startswith(word)), None)
        if location:
            name = member.name.removeprefix(location)
            of = arrays.get((event.record, name), "char[]")
            fields.append(Field(f"{location.rstrip('_')} {of}", name, member.offset // 8, 4, False))
        elif member.name not in ("ent", "__data"):
            fields.append(_field(member))
    return fields


def _field(member: Member, offset: int = 0, prefix: str = "") -> Field:
    type, count = member.type, None
    if isinstance(bottom := strip(type), Array):
        type, count = bottom.of, bottom.count
    return Field(
        _spelled(type),
        prefix + member.name,
        offset + member.offset // 8,
        size_of(member.type),
        _signed(type),
        count,
    )


def _spelled(type: Type) -> str:
    written = spell(type)
    for long, short in _SPELLINGS.items():
        written = re.sub(rf"\b{long}\b", short, written)
    return written


def _signed(type: Type | None) -> bool:
    bottom = strip(type)
    return isinstance(bottom, Int | Enum) and bottom.signed


def _syscall_fields(event: Event) -> list[Field] | None:
    number = Field("int", "__syscall_nr", 8, 4, True)
    if event.name.startswith("sys_exit_"):
        return [number, Field("long", "ret", 16, 8, True)]
    call = syscalls().get(event.name.removeprefix("sys_enter_"))
    if call is None:
        return None
    return [
        number,
        *(Field(type, name, 16 + 8 * i, 8, False) for i, (type, name) in enumerate(call.params)),
    ]


def _print_format(fields: list[Field]) -> str:
    forms, arguments = [], []
    for field in fields:
        if field.type.startswith(("__data_loc char", "__rel_loc char")):
            form, argument = "%s", f"__get_str({field.name})"
        elif field.count is not None and field.type == "char":
            form, argument = "%s", f"REC->{field.name}"
        elif field.size == 8:
            form, argument = "0x%llx", f"(unsigned long long)REC->{field.name}"
        else:
            form, argument = "%d" if field.signed else "%u", f"REC->{field.name}"
        if field.count is None or field.type == "char":
            forms.append(f"{field.name}={form}")
            arguments.append(argument)
    return ", ".join(['"' + " ".join(forms) + '"', *arguments])


# --- from text to a struct ---------------------------------------------------------------------


def fields(format: str) -> list[Field]:
    """The lines of a format. Raises ValueError if one is malformed."""
    found = []
    for line in format.splitlines():
        if not line.lstrip().startswith("field:"):
            continue
        match = re.match(_LINE, line)
        declaration = match and re.match(_DECLARATION, match["declaration"].strip())
        if not match or not declaration:
            raise ValueError(f"this line of a tracepoint's format cannot be read: {line.strip()}")
        count = declaration["count"]
        found.append(
            Field(
                declaration["type"],
                declaration["name"],
                int(match["offset"]),
                int(match["size"]),
                match["signed"] not in (None, "0"),
                None if count is None else int(count or 0),
            )
        )
    return found


def record(btf: Btf, category: str, event: str, format: str) -> Struct:
    """``struct tracepoint__CATEGORY__EVENT``, what ``args`` of TRACEPOINT_PROBE points to.

    Raises ValueError if the format is malformed.
    """
    members = []
    end = 8
    for field in fields(format):
        name = field.name
        for location in _LOCATIONS:
            if field.type.startswith(location[:-1] + " "):
                name = location.strip("_") + "_" + name
        members.append(Member(name, _type(btf, field), field.offset * 8))
        end = max(end, field.offset + field.size)
    return Struct(f"tracepoint__{category}__{event}", end, tuple(members))


def _type(btf: Btf, field: Field) -> Type:
    if field.type.startswith(tuple(word[:-1] for word in _LOCATIONS)):
        return _integer(btf, 4, True)
    type = named_type(btf, field.type)
    try:
        size = size_of(type) if type is not None else 0
    except ValueError:
        size = 0
    if field.count is not None:
        if type is not None and size and size * field.count == field.size:
            return Array(type, field.count)
        return Array(_integer(btf, 1, False), field.size)
    if type is not None and size == field.size:
        return type
    if field.size in _SIZES:
        signed = _signed(type) if type is not None else field.signed
        return _integer(btf, field.size, signed)
    return Array(_integer(btf, 1, False), field.size)


def _integer(btf: Btf, size: int, signed: bool) -> Type:
    name = f"{'s' if signed else 'u'}{size * 8}"
    known = btf.find(Kind.TYPEDEF, name)
    if known is not None:
        return known
    return Int(_SIZES[size] if signed else f"unsigned {_SIZES[size]}", size, signed)


def named_type(btf: Btf, written: str) -> Type | None:
    """The type of a C type name as tracepoints write it: words and stars, no declarators. None if
    it is void or names what this BTF lacks."""
    words = re.findall(r"\w+|\*", written)
    stars = words.index("*") if "*" in words else len(words)
    qualifiers = [word for word in words[:stars] if word in ("const", "volatile")]
    names = [word for word in words[:stars] if word not in ("const", "volatile")]
    type = _base(btf, names)
    if "const" in qualifiers:
        type = Const(type)
    if "volatile" in qualifiers:
        type = Volatile(type)
    for word in words[stars:]:
        if word == "*":
            type = Ptr(type)
    return type if strip(type) is not None else None


def _base(btf: Btf, words: list[str]) -> Type | None:
    if len(words) == 2 and words[0] in ("struct", "union", "enum"):
        kinds = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}
        found = (btf.find(kind, words[1]) for kind in kinds[words[0]])
        known = next((type for type in found if type is not None), None)
        if known is None and words[0] != "enum":
            return Struct(words[1], union=words[0] == "union", complete=False)
        return known
    if len(words) == 1 and (known := btf.find(Kind.TYPEDEF, words[0])) is not None:
        return known
    return _plain(btf, words)


def _plain(btf: Btf, words: list[str]) -> Type | None:
    """``unsigned long`` and the like."""
    if not words or not set(words) <= {
        "unsigned",
        "signed",
        "char",
        "short",
        "int",
        "long",
        "_Bool",
        "bool",
    }:
        return None
    if words[-1] in ("_Bool", "bool"):
        return btf.find(Kind.INT, "_Bool") or Int("_Bool", 1, False, bool=True)
    unsigned = "unsigned" in words
    if "char" in words:
        name = "unsigned char" if unsigned else "signed char" if "signed" in words else "char"
        size = 1
    elif "short" in words:
        name, size = ("short unsigned int" if unsigned else "short int"), 2
    elif "long" in words:
        long = "long " * words.count("long")
        name, size = (f"{long}unsigned int" if unsigned else f"{long}int"), 8
    else:
        name, size = ("unsigned int" if unsigned else "int"), 4
    return btf.find(Kind.INT, name) or Int(name, size, not unsigned)
