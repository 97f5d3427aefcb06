"""cflags: what each makes of a text; and that the cache sees every header that it could mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import ProgTestRun
from minibcc.bcc import BPF
from minibcc.bcc.loader import Module
from minibcc.cache import Cache
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from minibcc.errors import CompileError

SYSTEM = boot.system(boot.Options())


def answer(text: str, *cflags: str, file: str = "t.c", cache: Cache | None = None) -> int:
    """What a raw tracepoint program of the text returns."""
    target = Target.from_system(SYSTEM)
    obj = compile(text, target, file=file, cflags=cflags, cache=cache or False)
    module = Module(SYSTEM, obj)
    try:
        fd = module.load("f", ProgType.RAW_TRACEPOINT)
        return SYSTEM.bpf(ProgTestRun(fd, ctx_in=bytes(8))).retval
    finally:
        module.close()


NUMBER = """
#ifndef N
#define N 7
#endif
int f(void *ctx) { return N; }
"""


@pytest.mark.parametrize(
    ("cflags", "expected"),
    [
        ((), 7),
        (("-DN=3",), 3),
        (("-D", "N=3"), 3),
        (("-DN",), 1),
        (("-DN=",), None),
        (("-DM=4", "-DN=M+1"), 5),
        (("-DN=3", "-UN"), 7),
        (("-DN=3", "-U", "N"), 7),
        (("-UN", "-DN=3"), 3),
        (("-DN=3", "-DN=4"), 4),
        (("-O2", "-Wall", "-Wno-unused", "-g", "-fno-builtin", "-DN=3"), 3),
    ],
)
def test_defines(cflags: tuple[str, ...], expected: int | None):
    if expected is None:
        text = NUMBER.replace("return N", "return 2 N")
        assert answer(text, *cflags) == 2
    else:
        assert answer(NUMBER, *cflags) == expected


def test_the_modules_name_is_the_texts():
    text = '#define KBUILD_MODNAME "foo"\nint f(void *ctx) { return KBUILD_MODNAME[0]; }'
    assert not compile(text, Target.from_system(SYSTEM), cache=False).warnings


def test_undefines_what_is_predefined():
    text = "int f(void *c) {\n#ifdef __x86_64__\nreturn 1;\n#else\nreturn 2;\n#endif\n}"
    assert answer(text) == 1
    assert answer(text, "-U__x86_64__") == 2


def test_folders(tmp_path: Path):
    for name, number in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "number.h").write_text(f"#define N {number}\n")
    (tmp_path / "b" / "only.h").write_text('#include "number.h"\n')
    text = "#include {}\nint f(void *ctx) {{ return N; }}"
    a, b = f"-I{tmp_path}/a", f"-I{tmp_path}/b"
    assert answer(text.format('"number.h"'), a, b) == 1
    assert answer(text.format("<number.h>"), b, a) == 2
    assert answer(text.format("<number.h>"), "-I", f"{tmp_path}/a") == 1
    assert answer(text.format("<only.h>"), a, b) == 2  # beside the file that includes it
    assert answer(text.format('"b/number.h"'), a, file=f"{tmp_path}/t.c") == 2


def test_a_folder_is_looked_into_before_what_is_shipped(tmp_path: Path):
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "proto.h").write_text("#define N 5\n")
    text = "#include <bcc/proto.h>\n#ifndef N\n#define N 1\n#endif\nint f(void *ctx) { return N; }"
    assert (answer(text), answer(text, f"-I{tmp_path}")) == (1, 5)


def test_a_header_before_the_text(tmp_path: Path):
    (tmp_path / "before.h").write_text("#define N 9\nstruct from_before { int a; };\n")
    text = "int f(void *ctx) { struct from_before b = { N }; return b.a; }"
    assert answer(text, "-include", f"{tmp_path}/before.h") == 9
    assert answer(text, f"-I{tmp_path}", "-include", "before.h") == 9
    with pytest.raises(CompileError, match=r"before\.h"):
        answer(text, "-include", "before.h")


def test_warnings_are_silenced():
    text = "int f(void *ctx) { u32 *p = 5; return p == 0; }"
    target = Target.from_system(SYSTEM)
    assert compile(text, target, cache=False).warnings
    assert not compile(text, target, cflags=["-w"], cache=False).warnings


def test_scripts_pass_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(boot, "_current", SYSTEM)
    with BPF(text=NUMBER, cflags=["-DN=3", b"-Wno-foo"]) as b:
        assert b.dump_func("f")[4:8] == bytes([3, 0, 0, 0])


# --- the cache ---

INCLUDES = '#include "number.h"\nint f(void *ctx) { return N; }'


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    return Cache(str(tmp_path / "cache"))


def test_a_header_that_appears_earlier_on_the_way(tmp_path: Path, cache: Cache):
    folders = [f"-I{tmp_path}/{name}" for name in ("a", "b", "c")]
    place = f"{tmp_path}/c/t.c"

    def now() -> int:
        return answer(INCLUDES, *folders, file=place, cache=cache)

    (tmp_path / "b" / "number.h").write_text("#define N 2\n")
    assert (now(), now()) == (2, 2)
    (tmp_path / "a" / "number.h").write_text("#define N 1\n")
    assert now() == 1
    (tmp_path / "c" / "number.h").write_text("#define N 3\n")  # beside the text itself
    assert now() == 3
    (tmp_path / "c" / "number.h").unlink()
    assert now() == 1
    (tmp_path / "a" / "number.h").write_text("#define N 4\n")
    assert now() == 4


def test_a_header_that_takes_the_place_of_a_shipped_one(tmp_path: Path, cache: Cache):
    text = "#include <linux/tcp.h>\n#ifndef N\n#define N 1\n#endif\nint f(void *ctx) { return N; }"
    folder = f"-I{tmp_path}/a"
    assert answer(text, folder, cache=cache) == 1
    (tmp_path / "a" / "linux").mkdir()
    (tmp_path / "a" / "linux" / "tcp.h").write_text("#define N 2\n")
    assert answer(text, folder, cache=cache) == 2


def test_a_header_that_is_asked_for(tmp_path: Path, cache: Cache):
    text = (
        '#if __has_include("number.h")\n#define N 2\n#else\n#define N 1\n#endif\n'
        "int f(void *ctx) { return N; }"
    )
    folder = f"-I{tmp_path}/a"
    assert answer(text, folder, cache=cache) == 1
    (tmp_path / "a" / "number.h").write_text("")
    assert answer(text, folder, cache=cache) == 2


def test_a_folder_called_as_that_of_the_shipped_headers(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "include").mkdir()
    header = tmp_path / "include" / "number.h"
    header.write_text("#define N 1\n")
    assert answer(INCLUDES, "-Iinclude", cache=cache) == 1
    header.write_text("#define N 2\n")
    assert answer(INCLUDES, "-Iinclude", cache=cache) == 2
