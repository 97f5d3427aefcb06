"""Types as text: against bpftool, and the forms of one declaration."""

import subprocess
from pathlib import Path
from shutil import which

import pytest

from minibcc.btf.decode import Btf
from minibcc.btf.dump import lines
from minibcc.btf.encode import encode
from minibcc.btf.show import definitions, spell
from minibcc.btf.types import (
    Array,
    Const,
    Enum,
    Func,
    FuncProto,
    Int,
    Member,
    Param,
    Ptr,
    Struct,
    Type,
    Typedef,
    TypeTag,
    Volatile,
)
from tests.btf.samples import CHAR, INT, U64, every_kind

TASK = Struct("task_struct", complete=False)
NAMELESS = Struct("", 4, (Member("x", INT, 0),))
HANDLER = Ptr(FuncProto(INT, (Param("task", Ptr(TASK)), Param("", Ptr(None)))))


@pytest.mark.parametrize(
    ("type", "name", "text"),
    [
        (INT, "x", "int x"),
        (INT, "", "int"),
        (None, "", "void"),
        (Ptr(None), "p", "void *p"),
        (Ptr(TASK), "p", "struct task_struct *p"),
        (Ptr(Ptr(Const(CHAR))), "argv", "const char **argv"),
        (Const(Ptr(Const(CHAR))), "name", "const char * const name"),
        (Array(CHAR, 16), "comm", "char comm[16]"),
        (Array(Array(INT, 2), 3), "grid", "int grid[3][2]"),
        (Array(Ptr(INT), 4), "all", "int *all[4]"),
        (Ptr(Array(INT, 4)), "row", "int (*row)[4]"),
        (HANDLER, "handler", "int (*handler)(struct task_struct *task, void *)"),
        (Array(HANDLER, 2), "handlers", "int (*handlers[2])(struct task_struct *task, void *)"),
        (Ptr(FuncProto(None, ())), "call", "void (*call)(void)"),
        (
            Ptr(FuncProto(None, (Param("f", Ptr(CHAR)),), variadic=True)),
            "p",
            "void (*p)(char *f, ...)",
        ),
        (Volatile(Const(INT)), "x", "const volatile int x"),
        (Enum("color", {"RED": 0}), "c", "enum color c"),
        (Typedef("u64", U64), "x", "u64 x"),
        (NAMELESS, "s", "struct {\n\tint x;\n} s"),
        (Func("main", FuncProto(INT, (Param("n", INT),))), "", "int main(int n)"),
        (Ptr(TypeTag("user", CHAR)), "p", 'char __attribute__((btf_type_tag("user"))) *p'),
    ],
)
def test_a_declaration(type: Type | None, name: str, text: str) -> None:
    assert spell(type, name) == text


def test_definitions_are_ordered_and_padded() -> None:
    inner = Struct("inner", 4, (Member("x", INT, 0),))
    outer = Struct("outer", complete=False)
    outer.define(
        32,
        (
            Member("inner", inner, 0),
            Member("a", INT, 32, 3),
            Member("b", INT, 40, 2),
            Member("next", Ptr(outer), 128),
            Member("task", Ptr(TASK), 192),
        ),
        8,
    )
    assert definitions([Typedef("outer_t", outer), TASK]) == (
        "struct inner {\n\tint x;\n};\n\n"
        "struct task_struct;\n\n"
        "struct outer {\n\tstruct inner inner;\n\tint a: 3;\n\tchar: 5;\n\tint b: 2;\n\tlong: 64;\n"
        "\tstruct outer *next;\n\tstruct task_struct *task;\n};\n\n"
        "typedef struct outer outer_t;\n\n"
    )


def test_a_name_that_is_taken_gets_a_number() -> None:
    one, two = (Struct("s", size, (Member("x", INT, 0),)) for size in (4, 8))
    text = definitions([one, two, Enum("", {"A": 1}), Enum("e", {"A": 2})])
    assert "struct s___2 {" in text
    assert "A = 1," in text and "A___2 = 2," in text


@pytest.mark.native
@pytest.mark.skipif(not which("gcc"), reason="no gcc here")
def test_a_compiler_lays_it_out_the_same(tmp_path: Path) -> None:
    """Offsets and sizes of a header made of the kernel's BTF are those of the BTF."""
    btf = Btf(Path("minibcc/machine/data/linux-6.18.btf").read_bytes())
    wanted = ["task_struct", "sk_buff", "tcp_sock", "request", "inode", "bpf_prog", "page", "rq"]
    from minibcc.btf.layout import Kind

    structs = [btf.find(Kind.STRUCT, name) for name in wanted]
    text = definitions([struct for struct in structs if struct is not None])
    for struct in structs:
        assert isinstance(struct, Struct)
        text += f'_Static_assert(sizeof(struct {struct.name}) == {struct.size}, "{struct.name}");\n'
        for member in struct.members:
            if member.name and not member.bits:
                text += (
                    f"_Static_assert(__builtin_offsetof(struct {struct.name}, {member.name})"
                    f' == {member.offset // 8}, "{struct.name}.{member.name}");\n'
                )
    source = tmp_path / "kernel.c"
    source.write_text(text)
    subprocess.run(["gcc", "-w", "-std=gnu11", "-fsyntax-only", source], check=True)


def _bpftool(path: Path, *arguments: str) -> str:
    command = ["bpftool", "btf", "dump", "file", str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.tool
@pytest.mark.skipif(not which("bpftool"), reason="no bpftool here")
class TestBpftool:
    @pytest.fixture(params=["every kind", "a kernel's"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        if request.param == "a kernel's":
            return Path("minibcc/machine/data/linux-6.18.btf")
        path = tmp_path / "sample.btf"
        path.write_bytes(encode(every_kind()).data)
        return path

    def test_prints_the_same_records(self, path: Path) -> None:
        ours = "".join(f"{line}\n" for line in lines(Btf(path.read_bytes())))
        assert ours == _bpftool(path)

    def test_prints_the_same_definitions(self, path: Path) -> None:
        btf = Btf(path.read_bytes())
        ours = definitions([t for i in range(1, btf.count + 1) if (t := btf.type(i)) is not None])
        theirs = _bpftool(path, "format", "c")
        start = theirs.index("#endif\n\n") + len("#endif\n\n")
        body = theirs[start : theirs.rindex("#ifndef BPF_NO_PRESERVE")]
        # Older versions of bpftool do not say that an enumeration has the size of a byte.
        mode = " __attribute__((mode(byte)))"
        assert ours.replace(mode, "") == body.replace(mode, "")


def test_wide_integers_and_odd_types_have_a_spelling() -> None:
    assert spell(Int("__int128", 16, signed=True), "x") == "__int128 x"
