"""Instructions as text, and text as instructions.

One template per form of instruction serves both ways: filled in it is what Linux prints
(kernel/bpf/disasm.c, in verifier logs and in ``bpftool prog dump xlated``), turned into a regular
expression it is what `assemble` reads. So assembling is disassembling backwards:

    (b7) r1 = 33                        r1 = 33
    (6b) *(u16 *)(r10 -4) = r1          *(u16 *)(r10 -4) = r1
    (18) r1 = map[id:4]                 r1 = map[id:4]
    (55) if r0 != 0x0 goto pc+2         if r0 != 0x0 goto found

Linux shows a 64-bit immediate and a call's target as its caller asks it to; here too, `imm` and
`call` are functions. `bpftool_imm`, the default, loses nothing; the verifier's log uses
`kernel_imm`. `strace` prints the same instruction as strace(1) does.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

from minibcc.errors import MinibccError
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64, Instruction, imm64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from minibcc.isa.opcodes import Opcode

ImmText: TypeAlias = "Callable[[Instruction, Instruction], str]"
CallText: TypeAlias = "Callable[[Instruction], str | None]"

# --- the templates -----------------------------------------------------------------------------

# What is constant in a row is written <so>, what the instruction fills in {so}.
_TEMPLATES: Final = {
    ("alu", False): "<r>{dst} <symbol> {imm}",
    ("alu", True): "<r>{dst} <symbol> <r>{src}",
    ("swap", False): "r{dst} = <op>{imm} r{dst}",
    ("jump", False): "if <r>{dst} <symbol> 0x{uimm:x} goto pc{off:+}",
    ("jump", True): "if <r>{dst} <symbol> <r>{src} goto pc{off:+}",
    ("goto", False): "<symbol> pc{off:+}",
    ("exit", False): "exit",
    ("load", False): "r{dst} = *(<type> *)(r{src} {off:+})",
    ("store", False): "*(<type> *)(r{dst} {off:+}) = {imm}",
    ("store", True): "*(<type> *)(r{dst} {off:+}) = r{src}",
    ("atomic", True): "r{src} = atomic<64>_<op>((<type> *)(r{dst} {off:+}), r{src})",
    ("packet", False): "r0 = *(<type> *)skb[{imm}]",
    ("packet", True): "r0 = *(<type> *)skb[r{src} + {imm}]",
    ("imm64", False): "r{dst} = {wide}",
}
_PLAIN_ATOMIC = "lock *(<type> *)(r{dst} {off:+}) <symbol> r{src}"
_SPECIAL: Final = {
    "neg": "<r>{dst} = -<r>{dst}",
    "movsx": "<r>{dst} = (s<bits>)<r>{src}",
    "addr_space_cast": "r{dst} = addr_space_cast(r{src}, {to}, {from_})",
    "ja32": "gotol pc{imm:+}",
    "cmpxchg": "r0 = atomic<64>_cmpxchg((<type> *)(r{dst} {off:+}), r0, r{src})",
    "load_acquire": "r{dst} = load_acquire((<type> *)(r{src} {off:+}))",
    "store_release": "store_release((<type> *)(r{dst} {off:+}), r{src})",
    "helper": "call {name}#{imm}",
    "function": "call pc{target}",
    "kfunc": "call {name}#{imm}",
    "callx": "callx r{dst}",
}


def _template(row: Opcode) -> str:
    template = _SPECIAL.get(row.op)
    if template is None:
        plain = row.kind == "atomic" and row.symbol
        template = _PLAIN_ATOMIC if plain else _TEMPLATES[row.kind, row.by_reg]
    signed = "s" if row.op == "memsx" else "u"
    for name, value in (
        ("r", "w" if row.bits == 32 and row.kind in ("alu", "jump") else "r"),
        ("symbol", row.symbol),
        ("op", row.op),
        ("type", f"{signed}{row.size * 8}"),
        ("bits", str(row.size * 8)),
        ("64", "64" if row.size == 8 else ""),
    ):
        template = template.replace(f"<{name}>", value)
    return template


_templates: dict[Opcode, str] = {}


def template(row: Opcode) -> str:
    """A row's words, with {dst}, {src}, {off}, {imm} for what the instruction holds."""
    found = _templates.get(row)
    if found is None:
        found = _templates[row] = _template(row)
    return found


# --- printing ----------------------------------------------------------------------------------

_WIDE: Final = {
    "value": "0x{value:x}",
    "map_fd": "map[id:{low}]",
    "map_value": "map[id:{low}][0]+{high}",
    "btf_id": "btf[id:{low}][obj:{high}]",
    "func": "subprog[{slow:+}]",
    "map_idx": "map[idx:{low}]",
    "map_idx_value": "map[idx:{low}]+{high}",
}


def bpftool_imm(low: Instruction, high: Instruction) -> str:
    """A 64-bit immediate as ``bpftool prog dump xlated`` shows it: maps and functions by name.
    Where bpftool knows no name, forms of the same kind."""
    row = opcodes.find(low)
    form = _WIDE[row.op if row and row.kind == "imm64" else "value"]
    return form.format(
        value=imm64(low, high),
        low=low.imm & 0xFFFF_FFFF,
        high=high.imm & 0xFFFF_FFFF,
        slow=low.imm,
    )


def kernel_imm(low: Instruction, high: Instruction) -> str:
    """A 64-bit immediate as the verifier's log shows it: the number."""
    return f"0x{imm64(low, high):x}"


def call_name(insn: Instruction) -> str:
    """What stands before the # of a call that no table of the caller's names."""
    from minibcc.abi.helpers import name_of

    if insn.src == 2:
        return "kernel-function"
    return (name_of(insn.imm) if insn.src == 0 else None) or "unknown"


_CLASSES: Final = ("ld", "ldx", "st", "stx", "alu", "jmp", "jmp32", "alu64")


def instruction(
    insn: Instruction,
    high: Instruction | None = None,
    *,
    imm: ImmText = bpftool_imm,
    call: CallText | None = None,
) -> str:
    """One instruction in Linux's words: ``(b7) r1 = 33``.

    `high` is the second slot of a 64-bit load. `call` may name a call's target: what it returns
    stands before the # of a helper or kernel function, or after the pc of a function's call.
    What is no instruction prints as Linux prints it, ``BUG_..``.
    """
    code = insn.code
    row = opcodes.nearest(insn)
    if row is None or (row.kind == "atomic" and row.imm != insn.imm):
        name = _CLASSES[code & 7]
        if code & 7 >= opcodes.ALU:
            return f"({code:02x}) {name}"
        return f"BUG_{code:02x}" if code & 7 == opcodes.STX else f"BUG_{name}_{code:02x}"
    fields: dict[str, object] = {
        "dst": insn.dst, "src": insn.src, "off": insn.off, "imm": insn.imm,
        "uimm": insn.imm & 0xFFFF_FFFF,
    }  # fmt: skip
    if row.kind == "imm64":
        fields["wide"] = imm(insn, high or Instruction(0))
    elif row.kind == "call":
        named = call(insn) if call else None
        fields["name"] = named or call_name(insn)
        fields["target"] = named or f"{insn.imm:+}"
    elif row.op == "addr_space_cast":
        fields["to"], fields["from_"] = (insn.imm & 0xFFFF_FFFF) >> 16, insn.imm & 0xFFFF
    return f"({code:02x}) {template(row).format(**fields)}"


def dump(
    insns: Sequence[Instruction],
    *,
    imm: ImmText = bpftool_imm,
    call: CallText | None = None,
    hexadecimal: bool = False,
) -> Iterator[tuple[int, str]]:
    """(slot, text) for each instruction; with `hexadecimal` its bytes stand below it, as
    ``bpftool prog dump xlated ... opcodes`` prints them."""
    slot = 0
    while slot < len(insns):
        width = 2 if insns[slot].code == LD_IMM64 and slot + 1 < len(insns) else 1
        words = instruction(
            insns[slot], insns[slot + 1] if width == 2 else None, imm=imm, call=call
        )
        if hexadecimal:
            code = b"".join(insn.encode() for insn in insns[slot : slot + width])
            words += f"\n       {code.hex(' ')}"
        yield slot, words
        slot += width


# --- strace's form -----------------------------------------------------------------------------

_STRACE: Final = {
    "class": ("LD", "LDX", "ST", "STX", "ALU", "JMP", "JMP32", "ALU64"),
    "size": ("W", "H", "B", "DW"),
    "mode": ("IMM", "ABS", "IND", "MEM", "MEMSX", None, "ATOMIC", None),
    "alu": (
        "ADD", "SUB", "MUL", "DIV", "OR", "AND", "LSH", "RSH", "NEG", "MOD", "XOR", "MOV", "ARSH",
        "END", None, None,
    ),
    "jump": (
        "JA", "JEQ", "JGT", "JGE", "JSET", "JNE", "JSGT", "JSGE", "CALL", "EXIT", "JLT", "JLE",
        "JSLT", "JSLE", "JCOND", None,
    ),
}  # fmt: skip


def strace_code(code: int) -> str:
    """``BPF_ALU64|BPF_K|BPF_MOV`` for 0xb7."""
    kind = code & 7
    if kind <= opcodes.STX:
        middle, last, bits = _STRACE["size"][code >> 3 & 3], _STRACE["mode"][code >> 5], code & 0xE0
    else:
        table = "jump" if kind in (opcodes.JMP, opcodes.JMP32) else "alu"
        middle, last, bits = "KX"[code >> 3 & 1], _STRACE[table][code >> 4], code & 0xF0
    name = f"BPF_{last}" if last else f"{bits:#x} /* BPF_??? */"
    return f"BPF_{_STRACE['class'][kind]}|BPF_{middle}|{name}"


def strace(insn: Instruction) -> str:
    """The slot as ``strace -v -e bpf`` prints it:
    ``{code=BPF_ALU64|BPF_K|BPF_MOV, dst_reg=BPF_REG_1, src_reg=BPF_REG_0, off=0, imm=0x21}``.
    (Old straces know neither JMP32 nor the modes MEMSX and ATOMIC; these are the later names.)"""
    imm = insn.imm & 0xFFFF_FFFF
    return (
        f"{{code={strace_code(insn.code)}, dst_reg={_strace_register(insn.dst)}, "
        f"src_reg={_strace_register(insn.src)}, off={insn.off}, imm={imm and f'{imm:#x}'}}}"
    )


def _strace_register(number: int) -> str:
    return f"BPF_REG_{number}" if number <= 10 else f"{number:#x} /* BPF_REG_??? */"


# --- reading -----------------------------------------------------------------------------------


class AssemblyError(MinibccError):
    """A line is no instruction; `line` counts from 1."""

    def __init__(self, message: str, line: int, text: str) -> None:
        super().__init__(f"line {line}: {message}: {text.strip()}")
        self.line = line
        self.text = text


_NUMBER = r"-?(?:0x[0-9a-f]+|\d+)"
_HOLES: Final = {
    "{name}#{imm}": rf"(?P<name>[\w.-]+)(?:#(?P<imm>{_NUMBER}))?",
    "{off:+}": r"(?P<off>[+-](?:0x[0-9a-f]+|\d+))",
    "{imm:+}": r"(?P<imm>[+-](?:0x[0-9a-f]+|\d+))",
    "{imm}": rf"(?P<imm>{_NUMBER})",
    "0x{uimm:x}": rf"(?P<imm>{_NUMBER})",
    "{target}": r"(?P<imm>[+-]\d+)(?:#\S+)?",
    "{to}": r"(?P<to>\d+)",
    "{from_}": r"(?P<from_>\d+)",
    "{wide}": r"(?P<wide>0x[0-9a-f]+|\w+\[.*)",
    "{src}": r"(?P<src>\d+)",
    "{dst}": r"(?P<dst>\d+)",
}
_WIDE_FORMS: Final = (
    # Compiled when first used (and kept by `re`): printing, which everybody does, needs none.
    (0, r"0x([0-9a-f]{1,16})"),
    (1, r"map\[(?:id:)?(\w+)\]"),
    (2, r"map\[(?:id:)?(\w+)\]\[0\]\+(\d+)"),
    (3, r"btf\[id:(\w+)\](?:\[obj:(\d+)\])?"),
    (4, r"subprog\[([+-]\d+)\]"),
    (5, r"map\[idx:(\d+)\]"),
    (6, r"map\[idx:(\d+)\]\+(\d+)"),
)


def _pattern(row: Opcode) -> re.Pattern[str]:
    words = re.escape(template(row)).replace(r"\ ", r"\s*")
    seen = set()
    for hole, expression in _HOLES.items():
        escaped = re.escape(hole)
        while escaped in words:
            name = expression[expression.index("<") + 1 : expression.index(">")]
            words = words.replace(escaped, f"(?P={name})" if name in seen else expression, 1)
            seen.add(name)
    return re.compile(words.replace(r"if\s*", r"if\s+").replace(r"goto\s*", r"goto\s+"))


@cache
def _rows() -> list[tuple[Opcode, re.Pattern[str]]]:
    # 64-bit loads first: they alone have hexadecimal numbers and brackets behind `r1 =`.
    rows = sorted(opcodes.OPCODES, key=lambda row: row.kind != "imm64")
    return [(row, _pattern(row)) for row in rows]


_LINE: Final = r"(?:\d+:\s*)?(?:\(([0-9a-f]{2})\)\s*)?(.*)"
_LABEL: Final = r"([A-Za-z_.][\w.]*):"
_TARGET: Final = r"\b((?:goto|gotol|may_goto|call)\s+)([A-Za-z_.][\w.]*)$"
_FUNCTION: Final = r"\bsubprog\[([A-Za-z_.][\w.]*)\]$"


def assemble(text: str, symbols: Mapping[str, int] | None = None) -> list[Instruction]:
    """Text to slots: one instruction a line, as `instruction` prints it.

    The slot's number and the opcode in front are optional; ``;``, ``//`` and ``#`` at the start of
    a line, ``;`` and ``/*`` after an instruction begin a comment. A line ``name:`` is a label, and
    a jump or call may name one in place of ``pc+N``, and the load of a function's address
    (``subprog[name]``) in place of its distance. A helper may be named without its number.
    `symbols` gives the descriptors of maps named in ``r1 = map[counts]``. Without an opcode in
    front, ``r1 = 0x..`` is the 64-bit load and ``r1 = 16`` a mov.

    Raises AssemblyError.
    """
    lines: list[tuple[int, int, str, str, str]] = []  # slot, line, opcode, words, label jumped to
    labels: dict[str, int] = {}
    slots: list[Instruction] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = re.split(r"\s*(?:;|/\*|//)", line, maxsplit=1)[0].strip()
        if not words or words.startswith("#"):
            continue
        if label := re.fullmatch(_LABEL, words):
            if label[1] in labels:
                raise AssemblyError("label defined twice", number, line)
            labels[label[1]] = len(slots)
            continue
        found = re.fullmatch(_LINE, words)
        assert found is not None
        code, words = found[1] or "", found[2]
        jump = re.search(_TARGET, words)
        target = jump[2] if jump and not _is_helper(jump) else ""
        if jump and target:
            words = f"{words[: jump.start()]}{jump[1]}pc+0"
        if function := re.search(_FUNCTION, words):
            target = function[1]
            words = f"{words[: function.start()]}subprog[+0]"
        lines.append((len(slots), number, line, code, target))
        slots += _parse(words, code, symbols or {}, number, line)
    for slot, number, line, _, target in lines:
        if target:
            if target not in labels:
                raise AssemblyError(f"no label {target!r}", number, line)
            slots[slot] = _aim(slots[slot], labels[target] - slot - 1, number, line)
    return slots


def _is_helper(jump: re.Match[str]) -> bool:
    from minibcc.abi.helpers import number_of

    return jump[1].startswith("call") and number_of(jump[2]) is not None


def _aim(insn: Instruction, distance: int, number: int, line: str) -> Instruction:
    row = opcodes.find(insn)
    if row is not None and row.imm is None and (row.off is not None or row.op == "func"):
        return insn._replace(imm=distance)
    if not -0x8000 <= distance <= 0x7FFF:
        raise AssemblyError(f"a jump over {distance} slots does not fit (use gotol)", number, line)
    return insn._replace(off=distance)


def _parse(
    words: str, code: str, symbols: Mapping[str, int], number: int, line: str
) -> list[Instruction]:
    """The one or two slots of an instruction."""
    for row, pattern in _rows():
        if code and row.code != int(code, 16):
            continue
        found = pattern.fullmatch(words)
        if found is None:
            continue
        insn = _fill(row, found.groupdict(), symbols)
        if insn is not None:
            for low in insn:
                _check(low, number, line)
            return insn
    what = f"no instruction ({code}) reads so" if code else "no instruction reads so"
    raise AssemblyError(what, number, line)


def _fill(
    row: Opcode, parts: dict[str, str | None], symbols: Mapping[str, int]
) -> list[Instruction] | None:
    """The row's instruction with the text's numbers; None where it is not that row after all."""
    wide = parts.pop("wide", None)
    if wide is not None:
        return _fill_wide(row, int(parts["dst"] or 0), wide, symbols)
    name = parts.pop("name", None)
    values = {field: int(text, 0) for field, text in parts.items() if text is not None}
    if row.op == "addr_space_cast":
        values["imm"] = values.pop("to") << 16 | values.pop("from_")
    if name is not None:
        if (name == "kernel-function") != (row.op == "kfunc"):
            return None
        if "imm" not in values:
            from minibcc.abi.helpers import number_of

            named = number_of(name)
            if named is None:
                return None
            values["imm"] = named
    for field in ("dst", "src", "off", "imm"):
        fixed = getattr(row, field)
        if values.setdefault(field, fixed or 0) != fixed and fixed is not None:
            return None
    if 0x8000_0000 <= values["imm"] <= 0xFFFF_FFFF:
        values["imm"] -= 1 << 32
    return [Instruction(row.code, **values)]


def _fill_wide(
    row: Opcode, dst: int, wide: str, symbols: Mapping[str, int]
) -> list[Instruction] | None:
    pseudo, pattern = _WIDE_FORMS[row.src or 0]
    found = re.fullmatch(pattern, wide)
    if found is None:
        return None
    first = found[1]
    if pseudo == 0:
        low, high = int(first, 16) & 0xFFFF_FFFF, int(first, 16) >> 32
    elif first in symbols:
        low, high = symbols[first], int(found[2] or 0) if len(found.groups()) > 1 else 0
    elif first.lstrip("+-").isdigit():
        low, high = int(first), int(found[2] or 0) if len(found.groups()) > 1 else 0
    else:
        return None
    return [
        Instruction(row.code, dst, pseudo, 0, _signed(low)),
        Instruction(0, 0, 0, 0, _signed(high)),
    ]


def _signed(value: int) -> int:
    return value - (1 << 32) if 0x8000_0000 <= value <= 0xFFFF_FFFF else value


def _check(insn: Instruction, number: int, line: str) -> None:
    if insn.dst > 10 or insn.src > 10:
        raise AssemblyError("registers are r0 to r10", number, line)
    if not -0x8000 <= insn.off <= 0x7FFF:
        raise AssemblyError(f"the offset {insn.off} does not fit in 16 bits", number, line)
    if not -0x8000_0000 <= insn.imm <= 0x7FFF_FFFF:
        raise AssemblyError(f"the number {insn.imm} does not fit in 32 bits", number, line)
