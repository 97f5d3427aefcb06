"""What compiling yields: programs, maps, types and lines, as plain data.

A `BpfObject` knows no kernel and holds no descriptor. Bytecode refers to maps and functions by
symbol, in `relocations`; the loader creates the maps and writes descriptors in. BTF, function and
line records are in the kernel's own encodings, so that loading passes them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.abi.bpf import MapType, ProgType


class MapSpec(Record):
    """A map to create. `key_type` and `value_type` are BTF type ids in the object's BTF (0: none),
    `output_type` that of the records that programs submit through it; `initial` is the content of
    element 0 for maps that hold globals; `read_only` freezes it after that."""

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    key_type: int = 0
    value_type: int = 0
    output_type: int = 0
    inner: str = ""
    pin: str = ""
    scope: str = "own"
    initial: bytes = b""
    read_only: bool = False


class Relocation(Record):
    """The 64-bit load at slot `insn` gets the descriptor of map `symbol`; with `value` it gets the
    address of the map's first value, plus `offset`."""

    insn: int
    symbol: str
    value: bool = False
    offset: int = 0


class Line(Record):
    """From slot `insn` on, code comes from `line`:`column` (from 1) of `file`, whose text is
    `text`."""

    insn: int
    file: str
    line: int
    column: int
    text: str


class ProgramSpec(Record):
    """One program, with the functions that it calls linked in behind it.

    `prog_type` is None where BCC's rules leave it to the call that loads it (a plain function).
    `insns` are 8-byte slots. `functions` are (slot, name, BTF id of its Func). `stack` is the
    bytes of stack that its own frame uses. `attach_to` is what it attaches to by itself, "" if
    nothing, `attach_type` the expected one.
    """

    name: str
    section: str
    prog_type: ProgType | None
    insns: bytes
    relocations: tuple[Relocation, ...] = ()
    functions: tuple[tuple[int, str, int], ...] = ()
    lines: tuple[Line, ...] = ()
    func_info: bytes = b""
    line_info: bytes = b""
    stack: int = 0
    attach_to: str = ""
    attach_type: int = 0


class BpfObject(Record):
    """Everything a text compiles to. `btf` is encoded BTF; `sources` are the texts that lines
    point into, by file name; `warnings` are rendered diagnostics; `version` is the target's
    LINUX_VERSION_CODE, which BCC passes on when it loads (kernels since 5.0 do not look)."""

    programs: tuple[ProgramSpec, ...]
    maps: tuple[MapSpec, ...]
    license: str
    btf: bytes
    sources: dict[str, str]
    warnings: tuple[str, ...] = ()
    version: int = 0

    def program(self, name: str) -> ProgramSpec | None:
        return next((program for program in self.programs if program.name == name), None)

    def map(self, name: str) -> MapSpec | None:
        return next((spec for spec in self.maps if spec.name == name), None)


# --- as bytes --------------------------------------------------------------------------------

_FORM = 1
"""Changes with what `dump` writes."""


def dump(obj: BpfObject) -> bytes:
    """The object as bytes that `load` takes back: JSON, with bytes in base64."""
    import json

    return json.dumps([_FORM, _plain(obj)], separators=(",", ":")).encode()


def load(data: bytes) -> BpfObject:
    """The object that `dump` wrote. Raises ValueError for anything else."""
    import json

    from minibcc.abi.bpf import MapType, ProgType

    try:
        form, (programs, maps, license, btf, sources, warnings, version) = json.loads(data)
        if form != _FORM:
            raise ValueError(f"an object of form {form}")
        return BpfObject(
            tuple(_program(row, ProgType) for row in programs),
            tuple(_map(row, MapType) for row in maps),
            license,
            _bytes(btf),
            dict(sources),
            tuple(warnings),
            version,
        )
    except (TypeError, LookupError) as problem:
        raise ValueError(f"not an object: {problem}") from None


def _plain(value: Any) -> Any:
    """Lists, numbers and texts: a record is the list of its fields."""
    match value:
        case Record():
            return [_plain(getattr(value, field)) for field in value.__match_args__]
        case bytes():
            from binascii import b2a_base64

            return b2a_base64(value, newline=False).decode()
        case tuple():
            return [_plain(item) for item in value]
        case dict() | str() | bool() | None:
            return value
        case int():
            return int(value)
    raise TypeError(f"{value!r} in an object")


def _bytes(text: str) -> bytes:
    from binascii import a2b_base64

    return a2b_base64(text)


def _program(row: list[Any], prog_type: type[ProgType]) -> ProgramSpec:
    name, section, type, insns, relocations, functions, lines, func_info, line_info, *rest = row
    return ProgramSpec(
        name,
        section,
        None if type is None else prog_type(type),
        _bytes(insns),
        tuple(Relocation(*item) for item in relocations),
        tuple((slot, function, id) for slot, function, id in functions),
        tuple(Line(*item) for item in lines),
        _bytes(func_info),
        _bytes(line_info),
        *rest,
    )


def _map(row: list[Any], map_type: type[MapType]) -> MapSpec:
    fields = dict(zip(MapSpec.__match_args__, row, strict=True))
    fields["type"] = map_type(fields["type"])
    fields["initial"] = _bytes(fields["initial"])
    return MapSpec(**fields)
