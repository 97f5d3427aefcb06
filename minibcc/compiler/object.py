"""What compiling yields: programs, maps, types and lines, as plain data.

A `BpfObject` knows no kernel and holds no descriptor. Bytecode refers to maps and functions by
symbol, in `relocations`; the loader creates the maps and writes descriptors in. BTF, function and
line records are in the kernel's own encodings, so that loading passes them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    point into, by file name; `warnings` are rendered diagnostics."""

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
