"""Programs of csmith, made to fit eBPF.

csmith's C is free of undefined behaviour because its arithmetic goes through functions; ours below
mean what theirs mean. Its ``main`` becomes the program: the checksum over all globals goes to
``out``. Half of the programs keep their globals static, so that LLVM may know what is in them; in
the others nobody can.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import tempfile

from tests.compiler.random.program import Program, renamed

COMMAND = shutil.which("csmith")
OPTIONS = (
    *("--no-argc", "--no-float", "--no-pointers", "--no-volatiles", "--no-packed-struct"),
    *("--no-arg-structs", "--no-arg-unions", "--no-return-structs", "--no-return-unions"),
    *("--quiet", "--concise", "--no-hash-value-printf"),
)
SIZES = {
    "--max-funcs": (1, 3),
    "--max-block-depth": (1, 2),
    "--max-block-size": (1, 3),
    "--max-expr-complexity": (2, 5),
    "--max-array-dim": (1, 2),
    "--max-array-len-per-dim": (2, 6),
    "--max-struct-fields": (2, 7),
    "--max-union-fields": (2, 4),
}
SECONDS = 20

WRAPS = {"add": "+", "sub": "-", "mul": "*"}
HASH = """\
static inline void transparent_crc(u64 *hash, u64 value)
{
    *hash = (*hash ^ value) * 0x100000001b3ull;
    *hash ^= *hash >> 29;
}
"""


def program(number: int) -> Program | str:
    """The program of that number, or why there is none."""
    chance = random.Random(number)
    sizes = [f"{name}={chance.randint(*span)}" for name, span in SIZES.items()]
    assert COMMAND is not None
    command = [COMMAND, "--seed", str(number), *OPTIONS, *(w for s in sizes for w in s.split("="))]
    try:
        with tempfile.TemporaryDirectory() as folder:  # for what it notes of the machine
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=SECONDS, cwd=folder
            )
    except subprocess.TimeoutExpired:
        return "csmith does not end"
    if done.returncode:
        return "csmith fails"
    return Program(f"csmith {number}", number, fitted(done.stdout, chance, number))


def fitted(text: str, chance: random.Random, number: int) -> str:
    """csmith's text as a program of ours."""
    text = re.sub(r"//.*|/\*.*?\*/|#include.*|static long __undefined;", "", text)
    text, _, main = text.partition("int main (void)")
    if chance.randrange(2):
        text = re.sub(r"^static ((?:const )?[^()\n]*\bg_\d+\b[^()\n]*=)", r"\1", text, flags=re.M)
    calls = re.search(r"crc32_gentab\(\);(.*)platform_main_end", main, re.S)
    assert calls is not None, main
    body = re.sub(
        r'transparent_crc\((.*?), ".*?", print_hash_value\);',
        r"transparent_crc(&hash, \1);",
        calls[1],
    )
    indices = re.findall(r"^ *int ([ijk](?:, [ijk])*)(?: = 0)?;", main, re.M)
    body = re.sub(r"^.*(?:printf|print_hash_value).*$", "", body, flags=re.M)
    seen: dict[str, str] = {}
    text = re.sub(
        r"^static ([^;={}]*\b(func_\d+)\(([^)]*)\))",
        lambda found: _function(found, chance, seen),
        text,
        flags=re.M,
    )
    used = sorted(set(re.findall(r"\bsafe_\w+", text)))
    lines = [
        *(safe(name) for name in used),
        HASH,
        text,
        "int prog(struct __sk_buff *skb)",
        "{",
        "    u64 hash = 14695981039346656037ull;",
        *(f"    int {names};" for names in indices),
        "    u32 zero = 0;",
        "    struct words_out *results = out.lookup(&zero);",
        "    if (!results)",
        "        return 1;",
        body.strip("\n"),
        "    results->v[0] = hash;",
        "    return hash >> 32;",
        "}",
    ]
    whole = re.sub(r"\n\s*\n+", "\n", "\n".join(lines))
    whole = renamed(whole, "func_|g_|S|U", number)
    return re.sub(r"\b(safe_\w+|transparent_crc)\b", rf"\1_{number}", whole)


def _function(found: re.Match[str], chance: random.Random, seen: dict[str, str]) -> str:
    """A function's declaration or head: some become BPF functions of their own, and what has more
    parameters than BPF has registers is always inlined."""
    head, name, parameters = found[1], found[2], found[3]
    if name not in seen:
        wide = parameters.count(",") >= 5
        seen[name] = (
            "inline __attribute__((always_inline)) "
            if wide
            else "__attribute__((noinline)) "
            if chance.randrange(2)
            else ""
        )
    return f"static {seen[name]}{head}"


def safe(name: str) -> str:
    """One of csmith's functions for arithmetic that is always defined."""
    found = re.fullmatch(r"safe_(\w+?)_func_(u?)int(8|16|32|64)_t_([su])(?:_([su]))?", name)
    assert found, name
    operation, unsigned, bits, _, right = found.groups()
    type = f"{unsigned}int{bits}_t"
    by = ("unsigned int" if right == "u" else "int") if "shift" in operation else type
    wide = "u64" if bits == "64" else "u32"
    lowest = f"(-({type}){2 ** (int(bits) - 1) - 1}{'ll' if bits == '64' else ''} - 1)"
    match operation:
        case "add" | "sub" | "mul":
            body = f"return ({wide})a {WRAPS[operation]} ({wide})b;"
        case "unary_minus":
            body = f"return -({wide})a;"
        case "div" | "mod":
            sign = "/" if operation == "div" else "%"
            wrong = "b == 0" if unsigned else f"b == 0 || (a == {lowest} && b == -1)"
            body = f"return {wrong} ? a : a {sign} b;"
        case "lshift" | "rshift":
            sign = "<<" if operation == "lshift" else ">>"
            width = 64 if bits == "64" else 32
            shifted = f"({wide})a << b" if sign == "<<" else "a >> b"
            wrong = f"b >= {width}" if right == "u" else f"b < 0 || b >= {width}"
            body = f"return {wrong} ? a : {shifted};"
        case _:
            raise AssertionError(name)
    parameters = f"{type} a" if operation == "unary_minus" else f"{type} a, {by} b"
    return f"static inline {type} {name}({parameters}) {{ {body} }}"
