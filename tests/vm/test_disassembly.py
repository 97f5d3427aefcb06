"""Native code in binutils' spelling: the article's listing, byte for byte."""

import platform
import re
import subprocess

import pytest

from minibcc.kernel.vm.disassembly import disassemble

x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86-64 assembly")
HELLO = bytes.fromhex(
    "0f1f440000 6690 55 4889e5 4881ec10000000 bf21000000 66897dfc bf6f726c64 897df8"
    "48bf48656c6c6f2c2057 48897df0 4889ef 4883c7f0 be0e000000 31c0 c9 c3"
)
WORDS = [
    "nopl   0x0(%rax,%rax,1)", "xchg   %ax,%ax", "push   %rbp", "mov    %rsp,%rbp",
    "sub    $0x10,%rsp", "mov    $0x21,%edi", "mov    %di,-0x4(%rbp)",
    "mov    $0x646c726f,%edi", "mov    %edi,-0x8(%rbp)", "movabs $0x57202c6f6c6c6548,%rdi",
    "mov    %rdi,-0x10(%rbp)", "mov    %rbp,%rdi", "add    $0xfffffffffffffff0,%rdi",
    "mov    $0xe,%esi", "xor    %eax,%eax", "leave", "ret",
]  # fmt: skip


@x86
def test_the_first_program():
    found = list(disassemble(HELLO, 0x1000))
    assert [words for _, _, words in found] == WORDS
    assert b"".join(code for _, code, _ in found) == HELLO
    assert [offset for offset, _, _ in found[:4]] == [0, 5, 7, 8]


@x86
@pytest.mark.tool("objdump")
def test_objdump_spells_the_same(tmp_path):
    code = HELLO + bytes.fromhex(
        "c6400105 488b4708 c74424f807000000 f048ff00 e800000000 0fb6c0 83c8f0 6683c1fe"
        "c740f4ffffffff"
    )
    (tmp_path / "code").write_bytes(code)
    done = subprocess.run(
        ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "--no-show-raw-insn",
         str(tmp_path / "code")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    wanted = re.findall(r"^ +[0-9a-f]+:\t(.*?) *$", done.stdout, re.MULTILINE)
    assert [words for _, _, words in disassemble(code, 0)] == wanted
