"""Plain values with named fields: what a frozen dataclass is, at a tenth of its price.

The house is full of small value classes (a request per bpf(2) command, a node per form of C, a
type per kind of BTF). Defining a ``@dataclass(frozen=True, slots=True)`` compiles source text
and builds the class twice, about a millisecond each here, and start-up time is a feature. A
`Record` is declared with the same annotations and type-checks the same (PEP 681), but defining
one only walks its annotations.

    class Point(Record):
        x: int
        y: int = 0

Records compare and hash by class and fields, print as they are written, and work in ``match``.
They are immutable by contract: the type checker refuses assignment to a field; nothing stops it
at run time, so that making one stays cheap. A class declared with ``frozen=False`` may be
assigned to and compares by identity.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, dataclass_transform

T = TypeVar("T", bound="Record")
_MISSING = object()


class _RecordType(type):
    """Turns annotations into slots, and default values into a table."""

    def __new__(
        meta, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: bool
    ) -> type:
        fields: dict[str, Any] = {}
        for base in bases:
            fields.update(getattr(base, "_defaults_", {}))
        own = [
            field
            for field, annotation in namespace.get("__annotations__", {}).items()
            if not str(annotation).startswith("ClassVar")
        ]
        for field in own:
            fields[field] = namespace.pop(field, _MISSING)
        namespace.setdefault("__slots__", tuple(own))
        namespace["_defaults_"] = fields
        namespace["__match_args__"] = tuple(fields)
        if not options.get("frozen", True):
            namespace.setdefault("__eq__", object.__eq__)
            namespace.setdefault("__hash__", object.__hash__)
        return super().__new__(meta, name, bases, namespace)

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: bool
    ) -> None:
        super().__init__(name, bases, namespace)


@dataclass_transform(frozen_default=True, eq_default=True)
class Record(metaclass=_RecordType):
    """An immutable value with named fields; see the module's text."""

    __match_args__: ClassVar[tuple[str, ...]] = ()
    _defaults_: ClassVar[dict[str, Any]] = {}

    def __init__(self, *args: Any, **named: Any) -> None:
        fields = self.__match_args__
        if len(args) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} fields, not {len(args)}")
        for field, value in zip(fields, args, strict=False):
            setattr(self, field, value)
        if len(args) == len(fields) and not named:
            return
        defaults = self._defaults_
        for field in fields[len(args) :]:
            value = named.pop(field, _MISSING)
            if value is _MISSING:
                value = defaults[field]
                if value is _MISSING:
                    raise TypeError(f"{type(self).__name__} lacks its field {field!r}")
            setattr(self, field, value)
        if named:
            wrong = ", ".join(map(repr, named))
            raise TypeError(f"{type(self).__name__} has no field, or twice, {wrong}")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in self.__match_args__)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, field) for field in self.__match_args__)))

    def __repr__(self) -> str:
        inside = ", ".join(f"{field}={value!r}" for field, value in fields(self).items())
        return f"{type(self).__name__}({inside})"


def fields(record: Record) -> dict[str, Any]:
    """Field name to value, in the order of declaration."""
    return {field: getattr(record, field) for field in record.__match_args__}


def replace(record: T, **changes: Any) -> T:
    """The same record with some fields changed."""
    return type(record)(**{**fields(record), **changes})
