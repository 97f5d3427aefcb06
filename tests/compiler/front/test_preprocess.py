"""What macros expand to: texts and the tokens that come out."""

from __future__ import annotations

import pytest

from minibcc.compiler.preprocess import preprocess
from minibcc.compiler.reporter import Reporter
from tests.btf.kernel import kernel_target

# The examples of C11 6.10.3 and the GNU forms that kernel C uses.
EXPANSIONS = [
    ("#define f(a) a*g\n#define g(a) f(a)\nf(2)(9)", "2 * 9 * g"),
    ("#define x 3\n#define f(a) f(x * (a))\n#undef x\n#define x 2\nf(y+1)", "f ( 2 * ( y + 1 ) )"),
    ('#define str(s) # s\nstr(a  "b\\n")', '"a \\"b\\\\n\\""'),
    ("#define t(x,y,z) x ## y ## z\nt(1,2,3) t(,4,5) t(6,,7) t(8,9,)", "123 45 67 89"),
    ("#define p(f, ...) print(f, ## __VA_ARGS__)\np(1) p(1, 2)", "print ( 1 ) print ( 1 , 2 )"),
    ("#define p(f, args...) print(f, ##args)\np(1) p(1, 2)", "print ( 1 ) print ( 1 , 2 )"),
    ("#define p(f, ...) q(f __VA_OPT__(,) __VA_ARGS__)\np(1) p(1, 2)", "q ( 1 ) q ( 1 , 2 )"),
    ("#define EMPTY\n#define LP (\n#define f(x) x\nf EMPTY (1)", "f ( 1 )"),
    ("#define a a b\na", "a b"),
    ("#define call(f, x) f(x)\n#define twice(x) x x\ncall(twice, z)", "z z"),
    ("#if 1 ? 0 : 1\nno\n#elif defined(A) || !defined B && -1 < 0u\nno\n#else\nyes\n#endif", "yes"),
    ("#if (2 || 1 / 0) && 0x10 == 16 && 'a' == 97\nyes\n#endif", "yes"),
    ("#if KERNEL_VERSION(6, 18, 0) == LINUX_VERSION_CODE\nyes\n#endif", "yes"),
    ("#ifdef X\n#if 1 +\n#endif\n'\n#else\n__LINE__\n#endif", "6"),
    ("a /* b\n c */ d // e \\\n f\ng", "a d g"),
    ("#define two 1 + \\\n 1\ntwo", "1 + 1"),
]


@pytest.mark.parametrize(("text", "wanted"), EXPANSIONS)
def test_expansion(text: str, wanted: str) -> None:
    reporter = Reporter()
    done = preprocess(text, "text.c", kernel_target(), (), reporter)
    assert reporter.diagnostics == []
    assert " ".join(token.value for token in done.tokens) == wanted


def test_a_token_from_a_macro_stands_where_the_macro_is_used() -> None:
    reporter = Reporter()
    text = "#define ONE 1\nint x = ONE + y;\n"
    tokens = preprocess(text, "text.c", kernel_target(), (), reporter).tokens
    one = next(token for token in tokens if token.value == "1")
    assert (one.lineno, one.column, one.width) == (2, 9, 3)
    assert one.origin is not None and one.origin.definition.line == 1


def test_shipped_declarations_come_when_they_are_used() -> None:
    reporter = Reporter()
    plain = preprocess("int x;", "a.c", kernel_target(), (), reporter)
    assert [token.value for token in plain.tokens] == ["int", "x", ";"]
    used = preprocess("int x = bpf_log2l(8);", "a.c", kernel_target(), (), reporter)
    names = {token.value for token in used.tokens}
    assert {"bpf_log2", "bpf_log2l", "inline"} <= names


def test_license() -> None:
    texts = {
        "": "GPL",
        "#define BPF_LICENSE Dual BSD/GPL\n": "Dual BSD/GPL",
        '#define BPF_LICENSE "MIT"\n': "MIT",
    }
    for text, wanted in texts.items():
        done = preprocess(text, "text.c", kernel_target(), (), Reporter())
        assert done.license == wanted
