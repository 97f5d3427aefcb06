"""Instructions as text: Linux's words, and back."""

from __future__ import annotations

import pytest
from hypothesis import given

from minibcc.isa.instruction import Instruction, decode, encode
from minibcc.isa.text import AssemblyError, assemble, dump, instruction, kernel_imm, strace
from tests.isa.strategies import instructions

HELLO = """\
0: (b7) r1 = 33
1: (6b) *(u16 *)(r10 -4) = r1
2: (b7) r1 = 1684828783
3: (63) *(u32 *)(r10 -8) = r1
4: (18) r1 = 0x57202c6f6c6c6548
6: (7b) *(u64 *)(r10 -16) = r1
7: (bf) r1 = r10
8: (07) r1 += -16
9: (b7) r2 = 14
10: (85) call bpf_trace_printk#6
11: (b7) r0 = 0
12: (95) exit
"""

HELLO_HEX = (
    "b701000021000000 6b1afcff00000000 b70100006f726c64 631af8ff00000000 1801000048656c6c"
    "000000006f2c2057 7b1af0ff00000000 bfa1000000000000 07010000f0ffffff b70200000e000000"
    "8500000006000000 b700000000000000 9500000000000000"
)

# Words, hex. What Linux 6.18's log (or bpftool, for maps) prints.
GOLDEN = """
(04) w1 += 16                                                | 0401000010000000
(0f) r1 += r2                                                | 0f21000000000000
(37) r1 s/= 3                                                | 3701010003000000
(9c) w1 s%= w2                                               | 9c21010000000000
(87) r1 = -r1                                                | 8701000000000000
(84) w1 = -w1                                                | 8401000000000000
(bf) r1 = (s32)r2                                            | bf21200000000000
(bc) w1 = (s8)w2                                             | bc21080000000000
(c7) r1 s>>= 16                                              | c701000010000000
(d4) r1 = le16 r1                                            | d401000010000000
(dc) r1 = be64 r1                                            | dc01000040000000
(d7) r1 = bswap32 r1                                         | d701000020000000
(bf) r1 = addr_space_cast(r2, 0, 1)                          | bf21010001000000
(05) goto pc+9                                               | 0500090000000000
(06) gotol pc-2                                              | 06000000feffffff
(e5) may_goto pc+1                                           | e500010000000000
(15) if r1 == 0x10 goto pc+9                                 | 1501090010000000
(c6) if w1 s< 0xffffffff goto pc-1                           | c601ffffffffffff
(2d) if r1 > r2 goto pc+0                                    | 2d21000000000000
(4e) if w1 & w2 goto pc+3                                    | 4e21030000000000
(85) call bpf_map_lookup_elem#1                              | 8500000001000000
(85) call unknown#999                                        | 85000000e7030000
(85) call pc+3                                               | 8510000003000000
(85) call kernel-function#1234                               | 85200000d2040000
(79) r1 = *(u64 *)(r2 +8)                                    | 7921080000000000
(91) r1 = *(s8 *)(r2 -1)                                     | 9121ffff00000000
(62) *(u32 *)(r1 +8) = -1                                    | 62010800ffffffff
(73) *(u8 *)(r1 +0) = r2                                     | 7321000000000000
(db) lock *(u64 *)(r10 -8) += r1                             | db1af8ff00000000
(c3) lock *(u32 *)(r10 -8) ^= r1                             | c31af8ffa0000000
(db) r1 = atomic64_fetch_add((u64 *)(r10 -8), r1)            | db1af8ff01000000
(c3) r1 = atomic_fetch_or((u32 *)(r10 -8), r1)               | c31af8ff41000000
(db) r1 = atomic64_xchg((u64 *)(r10 -8), r1)                 | db1af8ffe1000000
(c3) r0 = atomic_cmpxchg((u32 *)(r10 -8), r0, r1)            | c31af8fff1000000
(d3) r1 = load_acquire((u8 *)(r2 +1))                        | d321010000010000
(db) store_release((u64 *)(r2 +8), r1)                       | db12080010010000
(20) r0 = *(u32 *)skb[16]                                    | 2000000010000000
(50) r0 = *(u8 *)skb[r2 + 16]                                | 5020000010000000
(18) r1 = 0xffffffffffffffff                                 | 18010000ffffffff00000000ffffffff
(18) r1 = map[id:4]                                          | 18110000040000000000000000000000
(18) r2 = map[id:4][0]+8                                     | 18220000040000000000000008000000
(18) r2 = subprog[+7]                                        | 18420000070000000000000000000000
(95) exit                                                    | 9500000000000000
"""
ROWS = [
    tuple(map(str.strip, row.split("|"))) for row in GOLDEN.replace(" |= ", "").split("\n") if row
]


@pytest.mark.parametrize(("words", "code"), ROWS)
def test_golden(words: str, code: str) -> None:
    slots = decode(bytes.fromhex(code))
    assert instruction(*slots) == words
    assert assemble(words) == slots
    if not words.startswith("(18) r1 = 0x"):
        assert assemble(words[5:]) == slots, "the opcode in front is optional"


def test_hello() -> None:
    slots = decode(bytes.fromhex(HELLO_HEX))
    assert "".join(f"{slot}: {words}\n" for slot, words in dump(slots)) == HELLO
    assert assemble(HELLO) == slots


def test_hexadecimal() -> None:
    slots = assemble("r1 = 0x57202c6f6c6c6548\nexit")
    assert list(dump(slots, hexadecimal=True)) == [
        (0, "(18) r1 = 0x57202c6f6c6c6548\n       18 01 00 00 48 65 6c 6c 00 00 00 00 6f 2c 20 57"),
        (2, "(95) exit\n       95 00 00 00 00 00 00 00"),
    ]


@given(instructions())
def test_round_trip(slots: list[Instruction]) -> None:
    assert assemble(instruction(*slots)) == slots
    assert decode(encode(slots)) == slots


def test_labels() -> None:
    labelled = assemble("""
        ; a comment
        r1 = 0x1              // two slots
      again:
        if r1 == 5 goto out   /* forward */
        call double
        gotol again
      out:
        exit
      double:
        w0 <<= 1
        exit
    """)
    plain = assemble("""
        (18) r1 = 0x1
        if r1 == 0x5 goto pc+2
        call pc+2
        gotol pc-3
        exit
        w0 <<= 1
        exit
    """)
    assert labelled == plain


def test_symbols() -> None:
    assert assemble("r1 = map[counts]", {"counts": 7}) == assemble("r1 = map[id:7]")
    assert assemble("r1 = map[counts][0]+8", {"counts": 7}) == assemble("r1 = map[id:7][0]+8")


def test_helpers_by_name() -> None:
    assert assemble("call bpf_trace_printk") == [Instruction(0x85, imm=6)]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("exit\nr1 = banana", 2, "no instruction reads so"),
        ("(b7) r1 += 3", 1, r"no instruction \(b7\) reads so"),
        ("goto nowhere", 1, "no label 'nowhere'"),
        ("a:\na:\nexit", 2, "label defined twice"),
        ("r11 = 3", 1, "registers are r0 to r10"),
        ("r1 = 99999999999", 1, "does not fit in 32 bits"),
        ("goto pc+99999", 1, "does not fit in 16 bits"),
        ("r1 = be16 r2", 1, "no instruction reads so"),
        ("r1 = map[counts]", 1, "no instruction reads so"),
    ],
)
def test_errors_name_their_line(text: str, line: int, message: str) -> None:
    with pytest.raises(AssemblyError, match=message) as caught:
        assemble(text)
    assert caught.value.line == line


def test_what_is_no_instruction() -> None:
    assert instruction(Instruction(0xDB, 1, 2, 0, 0x10)) == "BUG_db"
    assert instruction(Instruction(0x00)) == "BUG_ld_00"
    assert instruction(Instruction(0xC2)) == "BUG_st_c2"
    assert instruction(Instruction(0xFF)) == "(ff) alu64"


def test_kernel_imm() -> None:
    slots = assemble("r1 = map[id:4][0]+1")
    assert instruction(*slots, imm=kernel_imm) == "(18) r1 = 0x100000004"


def test_call_may_be_named() -> None:
    assert instruction(Instruction(0x85, imm=-61616), call=lambda insn: "bpf_trace_printk") == (
        "(85) call bpf_trace_printk#-61616"
    )
    assert instruction(Instruction(0x85, src=1, imm=3), call=lambda insn: "+3#bpf_prog_9efe_F") == (
        "(85) call pc+3#bpf_prog_9efe_F"
    )


def test_strace() -> None:
    lines = [strace(insn) for insn in decode(bytes.fromhex(HELLO_HEX))]
    assert lines[0] == (
        "{code=BPF_ALU64|BPF_K|BPF_MOV, dst_reg=BPF_REG_1, src_reg=BPF_REG_0, off=0, imm=0x21}"
    )
    assert lines[1] == (
        "{code=BPF_STX|BPF_H|BPF_MEM, dst_reg=BPF_REG_10, src_reg=BPF_REG_1, off=-4, imm=0}"
    )
    assert lines[4:6] == [
        "{code=BPF_LD|BPF_DW|BPF_IMM, dst_reg=BPF_REG_1, src_reg=BPF_REG_0, off=0, imm=0x6c6c6548}",
        "{code=BPF_LD|BPF_W|BPF_IMM, dst_reg=BPF_REG_0, src_reg=BPF_REG_0, off=0, imm=0x57202c6f}",
    ]
    assert lines[8].endswith("off=0, imm=0xfffffff0}")
    assert lines[12].startswith("{code=BPF_JMP|BPF_K|BPF_EXIT, ")
