"""The instruction set as one table: a row per thing an instruction can be.

Interpreter, JIT, verifier and disassembler loop over `OPCODES` or look an instruction up with
`find`; nobody decodes bits on his own. A row fixes some of an instruction's five fields and leaves
the others to the program (`FREE`): ``r1 s/= r2`` is code 0x3f with `off` fixed at 1, and
``r0 = atomic64_xchg(...)`` is code 0xdb with `imm` fixed at 0xe1. Hence

* an instruction is well formed exactly if one row matches all of its fields;
* a field that a row fixes at 0 is a reserved field (`nearest` finds the row whose reserved
  fields an ill-formed instruction has set);
* `cpu` and `linux` say since when the row exists.

Which rows there are: RFC 9669 in full (conformance groups base32, base64, atomic32, atomic64,
divmul32, divmul64 and packet; versions v1 to v4 of LLVM's -mcpu), and what Linux 6.18 adds to it:
load-acquire and store-release, may_goto, addr_space_cast. The call through a register (``callx``),
which compilers can emit and no kernel takes, is a row with `valid` False.

Sources: RFC 9669 sections 3 to 5; include/uapi/linux/bpf.h and bpf_common.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from minibcc.isa.instruction import Instruction

# --- the bits of an opcode byte ---------------------------------------------------------------

# Classes: bits 0-2.
LD: Final = 0
LDX: Final = 1
ST: Final = 2
STX: Final = 3
ALU: Final = 4
JMP: Final = 5
JMP32: Final = 6
ALU64: Final = 7

# Source of the second operand: bit 3 of arithmetic and jumps.
K: Final = 0x00
X: Final = 0x08

# Sizes: bits 3-4 of loads and stores.
W: Final = 0x00
H: Final = 0x08
B: Final = 0x10
DW: Final = 0x18

# Modes: bits 5-7 of loads and stores.
IMM: Final = 0x00
ABS: Final = 0x20
IND: Final = 0x40
MEM: Final = 0x60
MEMSX: Final = 0x80
ATOMIC: Final = 0xC0

# Operations: bits 4-7 of arithmetic and jumps.
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV, ARSH, END = range(0x00, 0xE0, 0x10)
JA, JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, CALL, EXIT, JLT, JLE, JSLT, JSLE, JCOND = range(
    0x00, 0xF0, 0x10
)

# Atomic operations: in `imm`. Those of arithmetic are ADD, OR, AND and XOR.
FETCH: Final = 0x01
XCHG: Final = 0xE0 | FETCH
CMPXCHG: Final = 0xF0 | FETCH
LOAD_ACQUIRE: Final = 0x100
STORE_RELEASE: Final = 0x110

SIZES: Final = {1: B, 2: H, 4: W, 8: DW}
"""Bytes to size bits."""

FREE: Final = None
"""What a row holds for a field that the program chooses."""


class Opcode(NamedTuple):
    """A row. `dst`, `src`, `off` and `imm` hold the value the field must have, or `FREE`.

    `kind` is what engines dispatch on first, `op` second:

    ========= ===================================================================================
    alu       add sub mul div sdiv or and lsh rsh neg mod smod xor mov movsx arsh; addr_space_cast
    swap      le be bswap; `size` is what is swapped
    jump      jeq jgt jge jset jne jsgt jsge jlt jle jslt jsle: dst against src or imm; to `off`
    goto      ja (to `off`), ja32 (to `imm`), may_goto (to `off`)
    call      helper (number `imm`), function (to `imm`), kfunc (BTF id `imm`), callx (not valid)
    exit      exit
    load      mem, memsx (sign extended): dst = *(src + off)
    store     mem: *(dst + off) = src or imm
    atomic    add or and xor, each also fetch_; xchg cmpxchg load_acquire store_release
    imm64     value map_fd map_value btf_id func map_idx map_idx_value: dst = two slots' imm
    packet    abs (at imm), ind (at src + imm): r0 = network-order bytes of the packet
    ========= ===================================================================================

    `size` is in bytes: of memory for what touches memory, of the value for movsx and swaps, 4 or 8
    for other arithmetic and jumps. `bits` is 32 where the operation works on the low halves (w
    registers), else 64. `by_reg`: the second operand is the source register (else `imm`).
    `symbol` is the operator as Linux prints it, "" where it prints none.
    """

    code: int
    kind: str
    op: str
    size: int = 8
    bits: int = 64
    by_reg: bool = False
    symbol: str = ""
    dst: int | None = FREE
    src: int | None = 0
    off: int | None = 0
    imm: int | None = 0
    cpu: int = 1
    linux: str = "3.18"
    valid: bool = True

    def matches(self, insn: Instruction) -> bool:
        """Whether the instruction's fields are as this row wants them (its code aside)."""
        _, dst, src, off, imm = insn
        return (
            (self.imm is None or self.imm == imm)
            and (self.off is None or self.off == off)
            and (self.src is None or self.src == src)
            and (self.dst is None or self.dst == dst)
        )

    @property
    def name(self) -> str:
        """Unique among rows of the same kind and operands: ``add64``, ``jeq32``, ``movsx8_32``,
        ``memsx16``, ``xchg64``, ``helper``."""
        if self.kind in ("goto", "call", "exit", "imm64"):
            return self.op
        if self.kind in ("alu", "jump"):
            return (
                f"{self.op}{self.bits}"
                if self.op != "movsx"
                else f"movsx{self.size * 8}_{self.bits}"
            )
        return f"{self.op}{self.size * 8}"


# --- arithmetic -------------------------------------------------------------------------------

_ALU = (
    (ADD, "add", "+="),
    (SUB, "sub", "-="),
    (MUL, "mul", "*="),
    (DIV, "div", "/="),
    (OR, "or", "|="),
    (AND, "and", "&="),
    (LSH, "lsh", "<<="),
    (RSH, "rsh", ">>="),
    (MOD, "mod", "%="),
    (XOR, "xor", "^="),
    (MOV, "mov", "="),
    (ARSH, "arsh", "s>>="),
)
_SIGNED = ((DIV, "sdiv", "s/="), (MOD, "smod", "s%="))
_WIDTHS = ((ALU, JMP32, 4), (ALU64, JMP, 8))
_SOURCES = ((K, False), (X, True))
_SECOND: dict[bool, dict[str, Any]] = {False: {"imm": FREE}, True: {"src": FREE}}


def _arithmetic() -> list[Opcode]:
    rows = []
    for width, _, size in _WIDTHS:
        bits = size * 8
        for source, by_reg in _SOURCES:
            used = _SECOND[by_reg]
            # 32-bit arithmetic shift came late in the classic JITs, but was always in the set.
            rows += [
                Opcode(width | source | code, "alu", op, size, bits, by_reg, symbol, **used)
                for code, op, symbol in _ALU
            ]
            rows += [
                Opcode(
                    width | source | code, "alu", op, size, bits, by_reg, symbol,
                    off=1, cpu=4, linux="6.6", **used,
                )
                for code, op, symbol in _SIGNED
            ]  # fmt: skip
        rows += [
            Opcode(
                width | X | MOV, "alu", "movsx", small, bits, True, "=",
                src=FREE, off=small * 8, cpu=4, linux="6.6",
            )
            for small in (1, 2, 4)
            if small < size
        ]  # fmt: skip
        rows.append(Opcode(width | NEG, "alu", "neg", size, bits, symbol="-"))
    rows.append(
        Opcode(
            ALU64 | X | MOV, "alu", "addr_space_cast", by_reg=True,
            src=FREE, off=1, imm=FREE, linux="6.9",
        )
    )  # fmt: skip
    for code, op, cpu, linux in (
        (ALU | END | K, "le", 1, "3.18"),
        (ALU | END | X, "be", 1, "3.18"),
        (ALU64 | END | K, "bswap", 4, "6.6"),
    ):
        rows += [
            Opcode(code, "swap", op, size, symbol=op, imm=size * 8, cpu=cpu, linux=linux)
            for size in (2, 4, 8)
        ]
    return rows


# --- jumps and calls ---------------------------------------------------------------------------

_CONDITIONS = (
    (JEQ, "jeq", "==", 1),
    (JGT, "jgt", ">", 1),
    (JGE, "jge", ">=", 1),
    (JSET, "jset", "&", 1),
    (JNE, "jne", "!=", 1),
    (JSGT, "jsgt", "s>", 1),
    (JSGE, "jsge", "s>=", 1),
    (JLT, "jlt", "<", 2),
    (JLE, "jle", "<=", 2),
    (JSLT, "jslt", "s<", 2),
    (JSLE, "jsle", "s<=", 2),
)
_SINCE = {1: "3.18", 2: "4.14", 3: "5.1"}


def _jumps() -> list[Opcode]:
    rows = []
    for _, width, size in _WIDTHS:
        for source, by_reg in _SOURCES:
            used = _SECOND[by_reg]
            for code, op, symbol, since in _CONDITIONS:
                cpu = 3 if width == JMP32 else since
                rows.append(
                    Opcode(
                        width | source | code, "jump", op, size, size * 8, by_reg, symbol,
                        off=FREE, cpu=cpu, linux=_SINCE[cpu], **used,
                    )
                )  # fmt: skip
    return [
        *rows,
        Opcode(JMP | JA, "goto", "ja", symbol="goto", dst=0, off=FREE),
        Opcode(JMP32 | JA, "goto", "ja32", symbol="gotol", dst=0, imm=FREE, cpu=4, linux="6.6"),
        Opcode(JMP | JCOND, "goto", "may_goto", symbol="may_goto", dst=0, off=FREE, linux="6.9"),
        Opcode(JMP | CALL, "call", "helper", symbol="call", dst=0, imm=FREE),
        Opcode(JMP | CALL, "call", "function", symbol="call", dst=0, src=1, imm=FREE, linux="4.16"),
        Opcode(
            JMP | CALL, "call", "kfunc", symbol="call",
            dst=0, src=2, off=FREE, imm=FREE, linux="5.13",
        ),
        Opcode(JMP | CALL | X, "call", "callx", by_reg=True, symbol="callx", valid=False),
        Opcode(JMP | EXIT, "exit", "exit", symbol="exit", dst=0),
    ]  # fmt: skip


# --- memory ------------------------------------------------------------------------------------

_ATOMIC = ((ADD, "add", "+="), (OR, "or", "|="), (AND, "and", "&="), (XOR, "xor", "^="))
_PSEUDO = (
    ("value", "3.18"),
    ("map_fd", "3.18"),
    ("map_value", "5.2"),
    ("btf_id", "5.10"),
    ("func", "5.13"),
    ("map_idx", "5.14"),
    ("map_idx_value", "5.14"),
)


def _memory() -> list[Opcode]:
    rows = []
    for size, code in SIZES.items():
        rows += [
            Opcode(LDX | MEM | code, "load", "mem", size, src=FREE, off=FREE),
            Opcode(ST | MEM | code, "store", "mem", size, off=FREE, imm=FREE),
            Opcode(STX | MEM | code, "store", "mem", size, by_reg=True, src=FREE, off=FREE),
        ]
        if size < 8:
            rows += [
                Opcode(
                    LDX | MEMSX | code, "load", "memsx", size,
                    src=FREE, off=FREE, cpu=4, linux="6.6",
                ),
                Opcode(LD | ABS | code, "packet", "abs", size, dst=0, imm=FREE),
                Opcode(LD | IND | code, "packet", "ind", size, by_reg=True,
                       dst=0, src=FREE, imm=FREE),
            ]  # fmt: skip
        atomic = STX | ATOMIC | code
        if size >= 4:
            rows += [
                Opcode(
                    atomic, "atomic", op, size, size * 8, True, symbol,
                    src=FREE, off=FREE, imm=imm, cpu=cpu, linux=linux,
                )
                for imm, op, symbol, cpu, linux in _atomics()
            ]  # fmt: skip
        rows += [
            Opcode(
                atomic, "atomic", op, size, by_reg=True,
                src=FREE, off=FREE, imm=imm, cpu=4, linux="6.15",
            )
            for imm, op in ((LOAD_ACQUIRE, "load_acquire"), (STORE_RELEASE, "store_release"))
        ]  # fmt: skip
    rows += [
        Opcode(LD | IMM | DW, "imm64", op, src=src, imm=FREE, linux=linux)
        for src, (op, linux) in enumerate(_PSEUDO)
    ]
    return rows


def _atomics() -> list[tuple[int, str, str, int, str]]:
    """(imm, op, symbol, cpu, linux) of what works on 4 and 8 bytes."""
    return [
        # Without fetch, addition is the classic lock xadd; the other three came with fetch.
        *((imm, op, sign, 1 if imm == ADD else 3, "3.18" if imm == ADD else "5.12")
          for imm, op, sign in _ATOMIC),
        *((imm | FETCH, f"fetch_{op}", "", 3, "5.12") for imm, op, _ in _ATOMIC),
        (XCHG, "xchg", "", 3, "5.12"),
        (CMPXCHG, "cmpxchg", "", 3, "5.12"),
    ]  # fmt: skip


OPCODES: Final = (*_arithmetic(), *_jumps(), *_memory())
"""Every row."""


def _by_code() -> tuple[tuple[Opcode, ...], ...]:
    rows: list[list[Opcode]] = [[] for _ in range(256)]
    for row in OPCODES:
        rows[row.code].append(row)
    return tuple(map(tuple, rows))


BY_CODE: Final = _by_code()
"""The rows of each of the 256 opcode bytes; () where there is none."""


def find(insn: Instruction) -> Opcode | None:
    """The row that an instruction is, None if it is none (it is not well formed, then)."""
    for row in BY_CODE[insn[0]]:
        if row.matches(insn):
            return row
    return None


def nearest(insn: Instruction) -> Opcode | None:
    """The row that comes closest to an instruction: the one it is; else, as Linux reads it, the
    variant whose `off`, `imm` or `src` it has, or the plain operation; reserved fields do not
    count. None only for a byte that is no opcode."""
    rows = BY_CODE[insn[0]]
    return min(rows, key=lambda row: _distance(row, insn)) if rows else None


def _distance(row: Opcode, insn: Instruction) -> tuple[int, int]:
    """How many fields that choose a variant differ, and how many differ at all."""
    pairs = zip((row.dst, row.src, row.off, row.imm), insn[1:], strict=True)
    wrong = [wanted for wanted, value in pairs if wanted is not None and wanted != value]
    return sum(map(bool, wrong)), len(wrong)


def of(
    kind: str, op: str, *, bits: int = 64, size: int | None = None, by_reg: bool = False
) -> Opcode:
    """The row with that meaning; for what touches memory give `size` (bytes). KeyError if none."""
    for row in OPCODES:
        if (row.kind, row.op, row.bits, row.by_reg) == (kind, op, bits, by_reg) and (
            size is None or row.size == size
        ):
            return row
    raise KeyError((kind, op, bits, size, by_reg))
