"""From C text to an object: the article's program, stages, errors, and the cache around them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from minibcc.abi.bpf import MapType
from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.types import Int
from minibcc.cache import Cache
from minibcc.compiler.compile import compile, stages
from minibcc.compiler.target import Target
from minibcc.errors import CompileError, UsageError
from minibcc.isa.instruction import decode
from minibcc.isa.tag import tag_sha1
from tests.compiler.back import live
from tests.compiler.back.test_hello import INSNS, TEXT

COUNTER = """\
BPF_HASH(out, u32, u64);
int count(void *ctx)
{
    u32 key = 0;
    u64 zero = 7, *value = out.lookup_or_try_init(&key, &zero);
    if (value)
        (*value)++;
    return 0;
}
"""


@pytest.fixture(scope="module")
def target() -> Target:
    """A kernel that knows little: the texts here need nothing of it."""
    btf = Btf(encode([Int("int", 4, True)]).data)
    return Target(btf, (6, 18, 0), lambda category, event: None)


def test_hello_is_the_articles(target: Target) -> None:
    obj = compile(TEXT, target, file="hello.c", cache=False)
    (program,) = obj.programs
    assert decode(program.insns) == INSNS
    assert tag_sha1(decode(program.insns)).hex() == "38dd440716c4900f"
    assert [(line.insn, line.line) for line in program.lines] == [(0, 1), (1, 3), (11, 4)]
    assert obj.sources == {"hello.c": TEXT}
    assert obj.version == 6 << 16 | 18 << 8
    assert compile(TEXT.encode(), target, file="hello.c", cache=False) == obj


def test_a_line_longer_than_llvm_can_count(target: Target) -> None:
    made = compile("int f(void *ctx) {" + " " * 70_000 + "return 3; }", target, cache=False)
    assert [len(program.insns) for program in made.programs] == [16]


def test_the_step_of_a_loop_may_be_a_mere_variable(target: Target) -> None:
    text = "int f(void *ctx) { int sum = 0; for (int n = 3; n; n) sum += n--; return sum; }"
    made = compile(text, target, cache=False)
    assert decode(made.programs[0].insns)[0].imm == 6


def test_an_or_of_an_address_is_a_sum_only_where_no_bit_carries(target: Target) -> None:
    declarations = """
        char text[8] = {}, odd[3] = {};
        bpf_get_current_comm(&text, sizeof(text));
        bpf_get_current_comm(&odd, sizeof(odd));
        unsigned long index = bpf_ktime_get_ns() & 7;
    """
    for value, ors in {
        "text[index]": 0,
        "*(char *)((unsigned long)text | index)": 0,
        "*(char *)((unsigned long)odd | index)": 1,
    }.items():
        text = f"int f(void *ctx) {{ {declarations} return {value}; }}"
        (program,) = compile(text, target, cache=False).programs
        assert [insn.code for insn in decode(program.insns)].count(0x4F) == ors, value


@pytest.mark.kernel
@pytest.mark.parametrize("cpu", ["v1", "v2", "v3", "v4"])
def test_a_table_counts(target: Target, cpu: str) -> None:
    obj = compile(COUNTER, target, cpu=cpu, cache=False)
    assert obj.maps[0].type is MapType.HASH
    assert live.result_of(obj, 1) == (0, [8])


def test_an_unknown_cpu_is_a_usage_error(target: Target) -> None:
    with pytest.raises(UsageError, match="v9"):
        compile(TEXT, target, cpu="v9", cache=False)


def test_errors_of_the_back_end_have_their_place(target: Target) -> None:
    text = "int f(void *ctx)\n{\n    u64 x = 1;\n    return __sync_fetch_and_or(&x, 2);\n}\n"
    with pytest.raises(CompileError, match=r"t.c:4:12: error: .*cpu v3") as caught:
        compile(text, target, file="t.c", cache=False)
    assert "return __sync_fetch_and_or" in str(caught.value)
    assert compile(text, target, file="t.c", cpu="v3", cache=False).programs


@pytest.mark.kernel
def test_lines_of_an_included_function_are_its_files(target: Target, tmp_path: Path) -> None:
    header = tmp_path / "pick.h"
    header.write_text("static inline int pick(void)\n{\n    return bpf_get_prandom_u32() & 1;\n}\n")
    text = '#include "pick.h"\nint f(void *ctx)\n{\n    return pick() * 0;\n}\n'
    obj = compile(text, target, file="f.c", cflags=[f"-I{tmp_path}"], cache=False)
    files = {Path(line.file).name for line in obj.programs[0].lines}
    assert "f.c" in files
    assert live.result_of(obj)[0] == 0
    again = compile(
        text.replace("* 0", "+ 5"), target, file="f.c", cflags=[f"-I{tmp_path}"], cache=False
    )
    texts = {line.text.strip() for line in again.programs[0].lines}
    assert "return bpf_get_prandom_u32() & 1;" in texts
    assert live.result_of(again)[0] in (5, 6)


def test_a_table_and_a_function_of_one_name_are_an_error(target: Target) -> None:
    with pytest.raises(CompileError, match="count"):
        compile("BPF_HASH(count, u32, u64);\nint count(void *ctx) { return 0; }\n", target)


# --- stages ---


def test_each_stage_prints(target: Target) -> None:
    made = stages(COUNTER, target, file="count.c")
    assert "define dso_local i32 @count" in made["ir"]
    assert "@out" in made["optimized"]
    assert "exit" in made["asm"]
    assert "count.c:7:9  (*value)++;" in made["lines"]
    assert "FUNC 'count'" in made["btf"]
    assert "out.lookup_or_try_init" in made["pp"]
    assert "lookup_or_try_init" in made["tree"]
    assert "bpf_map_update_elem" in made["plain"]
    assert all(made.values())
    with pytest.raises(KeyError):
        made["nothing"]


def test_a_stage_before_the_error_still_prints(target: Target) -> None:
    made = stages("int f(void *ctx) { u64 x = 1; return __sync_fetch_and_or(&x, 2); }", target)
    assert "__sync_fetch_and_or" in made["plain"]
    with pytest.raises(CompileError):
        made["ir"]


# --- the cache ---


def test_a_second_compile_takes_what_the_first_made(target: Target, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path))
    first = compile(TEXT, target, file="hello.c", cache=cache)
    (entry,) = tmp_path.glob("[!.]*")
    made = entry.stat().st_mtime_ns
    assert compile(TEXT, target, file="hello.c", cache=cache) == first
    assert len(list(tmp_path.glob("[!.]*"))) == 1
    assert entry.stat().st_mtime_ns >= made
    compile(TEXT, target, file="hello.c", cpu="v3", cache=cache)
    compile(TEXT, target, file="other.c", cache=cache)
    compile(TEXT, target, file="hello.c", cflags=["-DX=1"], cache=cache)
    compile(TEXT + "\n", target, file="hello.c", cache=cache)
    assert len(list(tmp_path.glob("[!.]*"))) == 5


def test_a_changed_include_is_seen(target: Target, tmp_path: Path) -> None:
    header = tmp_path / "answer.h"
    text = '#include "answer.h"\nint f(void *ctx) { return ANSWER; }\n'
    cache = Cache(str(tmp_path / "cache"))

    def answer() -> int:
        obj = compile(text, target, cflags=[f"-I{tmp_path}"], cache=cache)
        return decode(obj.programs[0].insns)[0].imm

    header.write_text("#define ANSWER 1\n")
    assert [answer(), answer()] == [1, 1]
    header.write_text("#define ANSWER 2\n")
    assert [answer(), answer()] == [2, 2]


def test_a_damaged_entry_is_made_again(target: Target, tmp_path: Path) -> None:
    cache = Cache(str(tmp_path))
    first = compile(TEXT, target, cache=cache)
    (entry,) = tmp_path.glob("[!.]*")
    entry.write_bytes(entry.read_bytes()[:-1] + b"?")
    assert compile(TEXT, target, cache=cache) == first


SECOND = """
import sys
from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.types import Int
from minibcc.cache import Cache
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
target = Target(Btf(encode([Int("int", 4, True)]).data), (6, 18, 0), lambda category, event: None)
compile(sys.argv[1], target, cache=Cache(sys.argv[2]))
print(*sorted({"llvmlite", "pycparser", "pickle"} & set(sys.modules)))
"""


def test_a_hit_loads_neither_parser_nor_llvm(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SECOND, TEXT, str(tmp_path)]
    loaded = [
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        for _ in range(2)
    ]
    assert {"llvmlite", "pycparser"} <= set(loaded[0])
    assert loaded[1] == []
