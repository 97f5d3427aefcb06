"""Every shipped header is an index of names; its declarations parse and its macros lex."""

from __future__ import annotations

from pathlib import Path

import pytest

from minibcc.compiler.front import front
from minibcc.compiler.preprocess.headers import folder, names, shipped
from tests.btf.kernel import kernel_target

HEADERS = sorted(str(path.relative_to(folder())) for path in Path(folder()).rglob("*.h"))


@pytest.mark.parametrize("name", HEADERS)
def test_header(name: str) -> None:
    header = shipped(name)
    assert header is not None
    assert header.plain, "a shipped header has no conditionals"
    for macro in header.macros.values():
        assert macro.body is not None
    assert front(f"#include <{name}>\n", "text.c", kernel_target()).warnings == ()


@pytest.mark.parametrize("name", HEADERS)
def test_declarations(name: str) -> None:
    header = shipped(name)
    assert header is not None
    for declared, paragraphs in header.declarations.items():
        word = "struct " if f"struct {declared}" in paragraphs[0].text else ""
        text = f'#include <{name}>\n_Static_assert(sizeof({word}{declared}) > 0, "");\n'
        if "(" not in paragraphs[0].text.split("{")[0]:
            assert front(text, "text.c", kernel_target()).warnings == ()


@pytest.mark.parametrize(
    ("paragraph", "wanted"),
    [
        ("struct a {\n    int x;\n};", {"a"}),
        ("typedef struct a {\n    int x;\n} b;", {"a", "b"}),
        ("typedef int (*handler)(int);", {"handler"}),
        ("enum e { A, B = 2, C };", {"e", "A", "B", "C"}),
        ("static inline int f(int x)\n{\n    return g(x);\n}", {"f"}),
        ("static const int table[2] = {1, 2};", {"table"}),
    ],
)
def test_names(paragraph: str, wanted: set[str]) -> None:
    assert names(paragraph) == wanted


USES = {
    "linux/blkdev.h": "return div_u64(number, 100 * NSEC_PER_MSEC) + SECTOR_SIZE;",
    "linux/math64.h": "u64 rest; return div64_u64_rem(number, number | 1, &rest) + rest;",
    "linux/time64.h": "return number / NSEC_PER_SEC;",
    "linux/netdevice.h": "char name[IFNAMSIZ] = {}; return sizeof(name) + name[number & 15];",
    "linux/kernel.h": (
        "return DIV_ROUND_UP(number, 8) + roundup(number, 3) + ALIGN(number, 16) + abs((int)number)"
        " + clamp(number, 1ULL, 9ULL) + GENMASK(7, 3) + BIT(2) + IS_ERR((void *)number) + U32_MAX;"
    ),
    "linux/signal.h": "return number == SIGKILL;",
    "linux/mman.h": "return number & (PROT_READ | MAP_ANONYMOUS);",
    "linux/unistd.h": "return number == __NR_openat;",
    "linux/in6.h": "struct in6_addr a = {}; a.s6_addr32[number & 3] = 1; return a.s6_addr[3];",
    "linux/fs.h": "return number == WRITE ? READ : WRITE;",
    "linux/skbuff.h": (
        "struct sk_buff skb = {}; skb.queue_mapping = number;"
        "return skb_rx_queue_recorded(&skb) ? skb_get_rx_queue(&skb) : 0;"
    ),
}
"""What programs use of a header, and get from no other."""


@pytest.mark.parametrize("name", USES)
def test_uses(name: str) -> None:
    text = f"#include <{name}>\nstatic u64 f(u64 number) {{ {USES[name]} }}\n"
    text += "int g(struct pt_regs *ctx) { return f(ctx->di); }\n"
    assert front(text, "text.c", kernel_target()).warnings == ()
