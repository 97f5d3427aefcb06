"""Programs written by hand in Python, for tests and generators.

    program(
        mov(r1, 33),
        store(r10, -4, r1, size=2),
        jump("jne", r1, 0, "out"),
        call("trace_printk"),
        "out:",
        mov(r0, 0),
        exit_(),
    )

Every form looks its opcode up in the table by meaning (`opcodes.of`), so what can be written here
is what the table holds. A w register chooses the 32-bit operation. Where the program is plain text,
`text.assemble` is shorter still.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Final, NamedTuple, TypeAlias

from minibcc.abi.bpf import Pseudo
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64, Instruction


class Register(NamedTuple):
    number: int
    bits: int = 64


class Jump(NamedTuple):
    """An instruction whose target is a label, to be resolved by `program`."""

    insn: Instruction
    label: str


Value: TypeAlias = Register | int
Target: TypeAlias = str | int
"""A label, or slots to skip."""
Part: TypeAlias = "Instruction | Jump | str | list[Instruction]"

r0, r1, r2, r3, r4, r5, r6, r7, r8, r9, r10 = map(Register, range(11))
w0, w1, w2, w3, w4, w5, w6, w7, w8, w9 = (Register(number, 32) for number in range(10))

_row = cache(opcodes.of)


def alu(op: str, dst: Register, value: Value = 0) -> Instruction:
    """``dst op= value``. Raises KeyError for what is no operation."""
    return _binary("alu", op, dst, value, 0)


def _binary(kind: str, op: str, dst: Register, value: Value, off: int) -> Instruction:
    by_reg = isinstance(value, Register)
    row = _row(kind, op, bits=dst.bits, by_reg=by_reg)
    src, imm = (value.number, 0) if isinstance(value, Register) else (0, value)
    return Instruction(row.code, dst.number, src, row.off or off, imm)


mov = partial(alu, "mov")
add = partial(alu, "add")
sub = partial(alu, "sub")
mul = partial(alu, "mul")
div = partial(alu, "div")
mod = partial(alu, "mod")
and_ = partial(alu, "and")
or_ = partial(alu, "or")
xor = partial(alu, "xor")
lsh = partial(alu, "lsh")
rsh = partial(alu, "rsh")
arsh = partial(alu, "arsh")
neg = partial(alu, "neg")


def movsx(dst: Register, src: Register, size: int) -> Instruction:
    """dst = the low `size` bytes of src, sign extended."""
    row = _row("alu", "movsx", bits=dst.bits, size=size, by_reg=True)
    return Instruction(row.code, dst.number, src.number, size * 8)


def swap(op: str, dst: Register, size: int) -> Instruction:
    """``be``, ``le`` or ``bswap`` of the low `size` bytes."""
    row = _row("swap", op, size=size)
    return Instruction(row.code, dst.number, 0, 0, size * 8)


def load(
    dst: Register, src: Register, off: int = 0, *, size: int = 8, signed: bool = False
) -> Instruction:
    """dst = `size` bytes at src + off."""
    row = _row("load", "memsx" if signed else "mem", size=size)
    return Instruction(row.code, dst.number, src.number, off)


def store(dst: Register, off: int, value: Value, *, size: int = 8) -> Instruction:
    """`size` bytes at dst + off = value."""
    by_reg = isinstance(value, Register)
    row = _row("store", "mem", size=size, by_reg=by_reg)
    src, imm = (value.number, 0) if isinstance(value, Register) else (0, value)
    return Instruction(row.code, dst.number, src, off, imm)


def atomic(op: str, dst: Register, off: int, src: Register, *, size: int = 8) -> Instruction:
    """One of the table's atomic operations (``fetch_add``, ``cmpxchg``, ``store_release``...)."""
    bits = size * 8 if op not in ("load_acquire", "store_release") else 64
    row = _row("atomic", op, bits=bits, size=size, by_reg=True)
    return Instruction(row.code, dst.number, src.number, off, row.imm or 0)


def jump(op: str, dst: Register, value: Value, target: Target) -> Instruction | Jump:
    """``if dst op value goto target``; `op` is the table's (``jeq``, ``jsgt``, ...)."""
    return _to(_binary("jump", op, dst, value, 0), target)


def goto(target: Target, op: str = "ja") -> Instruction | Jump:
    """Jumps; `op` may be ``ja32`` (far) or ``may_goto``."""
    return _to(Instruction(_row("goto", op).code), target)


def call(helper: str | int) -> Instruction:
    """Calls a helper by name or number."""
    from minibcc.abi.helpers import number_of

    number = number_of(helper) if isinstance(helper, str) else helper
    if number is None:
        raise KeyError(helper)
    return Instruction(_row("call", "helper").code, imm=number)


def call_function(target: Target) -> Instruction | Jump:
    """Calls a function of this program."""
    return _to(Instruction(_row("call", "function").code, src=1), target)


def exit_() -> Instruction:
    return Instruction(_row("exit", "exit").code)


def imm64(
    dst: Register, low: int, high: int | None = None, pseudo: int = Pseudo.VALUE
) -> list[Instruction]:
    """The two slots of a 64-bit load: of the number `low`, or, given `high` or a `pseudo`, of two
    32-bit halves (a map's descriptor and an offset in its value)."""
    if high is None:
        low, high = low & 0xFFFF_FFFF, low >> 32 & 0xFFFF_FFFF
    return [
        Instruction(LD_IMM64, dst.number, pseudo, 0, _signed(low)),
        Instruction(0, imm=_signed(high)),
    ]


def map_fd(dst: Register, fd: int) -> list[Instruction]:
    """dst = the map behind a descriptor."""
    return imm64(dst, fd, 0, Pseudo.MAP_FD)


def program(*parts: Part) -> list[Instruction]:
    """Slots from instructions, lists of them and labels (``"name:"``). Raises KeyError for a jump
    to a label that is not there."""
    slots: list[Instruction | Jump] = []
    labels: dict[str, int] = {}
    for part in parts:
        if isinstance(part, str):
            labels[part.removesuffix(":")] = len(slots)
        elif isinstance(part, list):
            slots += part
        else:
            slots.append(part)
    return [
        _aim(part.insn, labels[part.label] - slot - 1) if isinstance(part, Jump) else part
        for slot, part in enumerate(slots)
    ]


def _to(insn: Instruction, target: Target) -> Instruction | Jump:
    return Jump(insn, target) if isinstance(target, str) else _aim(insn, target)


def _aim(insn: Instruction, distance: int) -> Instruction:
    """The jump or call, to `distance` slots behind the next one."""
    row = opcodes.nearest(insn)
    field: Final = "off" if row is None or row.off is None else "imm"
    return insn._replace(**{field: distance})


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 0x8000_0000 else value
