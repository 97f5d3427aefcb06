"""Texts that nobody would write, for the compiler to refuse or to compile: a text a number.

Five kinds: noise, programs cut and spliced, programs with tokens changed, programs beyond what
LLVM's BPF back end can do, and nesting without end. What they are made of are valid programs:
the repository's own, and Debian's BCC tools where they are installed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from minibcc.diagnostics import registry

ROOT = Path(__file__).resolve().parents[3]
TOOLS = Path("/usr/sbin")
_TOKEN = re.compile(r"\s+|\w+|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|<<=?|>>=?|->|\+\+|--|##|.")
_TEXT = (
    "int u64 u32 char struct union enum void static const volatile typedef sizeof return "
    "if else for while do switch case default goto break continue long unsigned _Bool "
    "__int128 double _Generic _Static_assert _Alignas typeof __auto_type inline "
    "__attribute__((packed)) __attribute__((aligned(4096))) asm #define #include #if "
    "#else #endif #pragma #undef ## __VA_ARGS__ __VA_OPT__ defined 0 1 -1 "
    '0x7fffffffffffffff 18446744073709551615u 1e9 \'x\' "%s" "" ( ) [ ] { } < > = == ; , : '
    "? . -> ... * & && || ! ~ + - ++ -- / % << >> ^ | += bpf_trace_printk "
    "bpf_probe_read_kernel bpf_get_current_task bpf_ktime_get_ns lookup update BPF_HASH "
    "BPF_PERF_OUTPUT BPF_RINGBUF_OUTPUT TRACEPOINT_PROBE kfunc__ ctx args "
    "__builtin_memcpy __builtin_memset __builtin_offsetof __sync_fetch_and_add "
    "__builtin_choose_expr __builtin_types_compatible_p task_struct sk_buff pt_regs"
)
_WORDS = _TEXT.split()


@cache
def corpus() -> tuple[str, ...]:
    """Valid programs, in an order of their own on each machine."""
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "examples").glob("*.c"))]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("*.c"))]
    texts += [row.good for row in registry().values()] + [row.bad for row in registry().values()]
    for script in sorted([*(ROOT / "examples").glob("*.py"), *TOOLS.glob("*-bpfcc")]):
        texts += _strings(script)
    return tuple(text for text in texts if text.strip())


def _strings(script: Path) -> list[str]:
    """The C in a Python script."""
    try:
        tree = ast.parse(script.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return []
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [text for text in constants if isinstance(text, str) and "{" in text and ";" in text]


def mutant(number: int) -> str | bytes:
    """The text of that number."""
    random = Random(number)
    kind = random.choices(list(KINDS), weights=list(KINDS.values()))[0]
    return kind(random)


# --- noise ---------------------------------------------------------------------------------------


def noise(random: Random) -> str | bytes:
    """Bytes, characters, or tokens."""
    length = int(random.expovariate(1 / 200)) + 1
    match random.randrange(3):
        case 0:
            return random.randbytes(length)
        case 1:
            return "".join(
                chr(random.choice((random.randrange(128), 10, 32))) for _ in range(length)
            )
    return " ".join(random.choice((*_WORDS, "\n")) for _ in range(length))


# --- cuts ----------------------------------------------------------------------------------------


def splice(random: Random) -> str:
    """The beginning of one program and the end of another, at any character or line."""
    a, b = random.choice(corpus()), random.choice(corpus())
    if random.random() < 0.5:
        a, b = a[: random.randrange(len(a) + 1)], b[random.randrange(len(b) + 1) :]
        return a + b if random.random() < 0.7 else a
    lines, others = a.splitlines(True), b.splitlines(True)
    at = random.randrange(len(lines) + 1)
    other = random.randrange(len(others) + 1)
    stop = other + random.randrange(8)
    return "".join(lines[:at] + others[other:stop] + lines[at + random.randrange(3) :])


def tokens(random: Random) -> str:
    """A program with some tokens taken out, doubled, exchanged or replaced."""
    words = _TOKEN.findall(random.choice(corpus()))
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(words)) if words else 0
        match random.randrange(5):
            case 0:
                del words[at : at + 1]
            case 1:
                words[at:at] = words[at : at + random.choice((1, 2, 5))]
            case 2 if len(words) > 1:
                other = random.randrange(len(words))
                words[at], words[other] = words[other], words[at]
            case 3:
                words[at : at + 1] = [" ", random.choice(_WORDS), " "]
            case _:
                words[at : at + 1] = [random.choice(_TOKEN.findall(random.choice(corpus())))]
    return "".join(words)


# --- limits --------------------------------------------------------------------------------------

_SIZES = (0, 1, 3, 7, 8, 63, 64, 65, 255, 256, 500, 511, 512, 513, 600, 1023, 4096, 40_000, 70_000)
_TYPES = (
    "char", "u16", "int", "u64", "__int128", "unsigned __int128", "_Bool", "float", "double",
    "long double", "void *", "struct big", "struct empty", "enum e", "int (*)(int)", "struct bits",
)  # fmt: skip
_HEAD = """
struct big { u64 words[%(n)d]; char tail; };
struct empty {};
struct __attribute__((packed)) bits { u64 a : 3, b : 61; int c : 31; unsigned __int128 d; };
enum e { A, B = 1ull << 40 };
BPF_ARRAY(cells, struct big, 2);
BPF_HASH(counts, u64, u64);
BPF_STACK_TRACE(stacks, 16);
static volatile u64 seen;
"""
_LIMITS = Path(__file__).with_name("limits.txt")
_CALLED = {
    "recursive": "static __noinline int recursive(int n) { return n ? recursive(n - 1) + 1 : 0; }",
    "one": "static int one(int n) { return n; }\nstatic int two(int n) { return -n; }",
    "many": "static %(inline)s int many(int a, int b, int c, int d, int e, int f, int g, int h)"
    "{ return a + b + c + d + e + f + g + h; }",
    "wide": "static %(inline)s struct big wide(struct big b) { b.tail++; return b; }",
}
"""Functions that a body may call."""


@cache
def _bodies() -> list[str]:
    lines = _LIMITS.read_text("utf-8").splitlines()
    return [line.replace("\\n", "\n") for line in lines if not line.startswith("#")]


def limits(random: Random) -> str:
    """A program that steps over some limit of the back end, or nearly does."""
    values = {
        "n": random.choice(_SIZES),
        "m": random.choice(_SIZES),
        "t": random.choice(_TYPES),
        "a": random.choice(("add", "sub", "and", "or", "xor", "nand", "max", "ctz", "ffs", "abs")),
        "inline": random.choice(("inline", "__noinline", "")),
        "long": "x" * random.choice(_SIZES),
    }
    body = "\n".join(
        f"    {{ {part} }}" for part in random.choices(_bodies(), k=random.choice((1, 1, 2)))
    )
    called = "\n".join(
        text for name, text in _CALLED.items() if f"{name}(" in body or name == "one"
    )
    program = f"{_HEAD}{called}\nint f(struct pt_regs *ctx)\n{{\n{body}\n    return 0;\n}}\n"
    return program % values


# --- nesting -------------------------------------------------------------------------------------

_NESTS: tuple[tuple[str, str, str], ...] = (
    ("int f(void *ctx) { return ", "( 1 )", ";}"),
    ("int f(void *ctx) ", "{ ; }", ""),
    ("int f(void *ctx) { if (1) ", "{ if (ctx) ; }", "}"),
    ("int f(void *ctx) { ", "if (ctx) return 1; else ; ", "}"),
    ("int f(void *ctx) { ", "while (ctx) for (;;) do  ; while (1); ", "}"),
    ("int x[] = ", "{ 1 }", ";"),
    ("int f(void *ctx) { return ", "- 1 ", ";}"),
    ("int f(void *ctx) { return ", "!~*& ctx ", ";}"),
    ("int f(void *ctx) { return ", "1 + ctx ", ";}"),
    ("int f(void *ctx) { return 1", " + 1 ", ";}"),
    ("int f(void *ctx) { return ctx", "->x .y ", ";}"),
    ("int f(void *ctx) { return ctx", "[1] ", ";}"),
    ("int f(void *ctx) { return ", "f( ctx )", ";}"),
    ("int f(void *ctx) { return ", "ctx ? 1 :  2 ", ";}"),
    ("int f(void *ctx) { return ", "({  1; })", ";}"),
    ("int f(void *ctx) { return ", "(u64)(int)  1 ", ";}"),
    ("int f(void *ctx) { return ", "sizeof(int[  1 ])", ";}"),
    ("int ", "(* x )(void)", ";"),
    ("int ", "** x ", ";"),
    ("int x", "[1] ", ";"),
    ("", "struct { int a;  int b; } c;", ""),
    ("int f(", "int (*x)(  void )", ") { return 0; }"),
    ("#if ", "( 1 )", "\n#endif"),
    ("#if ", "!- 1 ", "\n#endif"),
    ("#if 1", " + 1 ", "\n#endif"),
    ("", "#if 1\n \n#endif\n", ""),
    ("#define F(x) x\nint x = ", "F( 1 )", ";"),
    ("#define F(x) x + x\nint x = ", "F( 1 )", ";"),
    ("int f(void *ctx) { switch (1) {", " case 1:  ;", "}}"),
    ("int f(void *ctx) { ", "a:  ;", "}"),
    ("typedef int t0;\nint x = ", "(t0) 1 ", ";"),
    ("int f(void *ctx) { u64 a = 0; a ", "= a ", ";}"),
    ("int f(void *ctx) { u64 a = 0; a ", ", a ", ";}"),
    ("int f(void *ctx) { u64 a = 0; return a ", "&& a || a ", ";}"),
    ("int f(void *ctx) { return _Generic(1, int: ", "_Generic(1, int:  1)", "); }"),
    ("int x = __builtin_choose_expr(1, ", "__builtin_choose_expr(1,  1, 2)", ",3);"),
    ("int x ", "__attribute__((aligned(8))) ", ";"),
    ("int f(void *ctx) { return ", "bpf_ktime_get_ns() * ", "1;}"),
    ("struct s { struct s *n; }; int f(struct s *ctx) { return !ctx", "->n ", ";}"),
)  # fmt: skip
_DEPTHS = (3, 3, 20, 20, 60, 60, 150, 150, 400, 400, 1_000, 1_000, 3_000, 3_000, 20_000)


def nesting(random: Random) -> str:
    """Something inside of itself, tens or thousands deep; closed, or cut off."""
    head, middle, tail = random.choice(_NESTS)
    depth = random.choice(_DEPTHS)
    if random.random() < 0.1:
        return _chain(random, depth)
    before, _, after = middle.partition(" ")
    inside = ""
    if after and "  " in middle:
        before, _, after = middle.partition("  ")
    elif middle.count(" ") > 1:
        before, inside, after = middle.split(" ", 1)[0], *middle.split(" ", 1)[1].rsplit(" ", 1)
    text = head + f"{before} " * depth + inside + f" {after}" * depth + tail
    return text if random.random() < 0.8 else text[: random.randrange(len(text))]


def _chain(random: Random, depth: int) -> str:
    """Names that lead to names."""
    depth = min(depth, 3_000)
    match random.randrange(4):
        case 0:
            lines = [
                f"#define M{n} M{n + 1} {random.choice(('', f'M{n + 1}'))}" for n in range(depth)
            ]
            return "\n".join(lines) + "\nint x = M0;"
        case 1:
            lines = [f"typedef t{n} t{n + 1};" for n in range(depth)]
            return "typedef int t0;\n" + "\n".join(lines) + f"\nt{depth} x;"
        case 2:
            lines = [f"struct s{n + 1} {{ struct s{n} a, b; }};" for n in range(depth)]
            return "struct s0 { int x; };\n" + "\n".join(lines) + f"\nstruct s{depth} x;"
    lines = [f"static int g{n + 1}(int x) {{ return g{n}(x) + 1; }}" for n in range(depth)]
    text = "static int g0(int x) { return x; }\n" + "\n".join(lines)
    return f"{text}\nint f(void *ctx) {{ return g{depth}(1); }}"


KINDS: dict[Callable[[Random], str | bytes], int] = {
    noise: 2,
    splice: 5,
    tokens: 7,
    limits: 5,
    nesting: 3,
}
"""Each kind's share."""
