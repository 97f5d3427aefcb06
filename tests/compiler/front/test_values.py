"""Which readings of variables without a value are told, and which are not."""

from __future__ import annotations

import re

import pytest

from tests.compiler.front.test_mistakes import messages

BODIES = {
    # body: the variables that are told, each with the line of what decides
    "int x; if (ctx->di) x = 1;\n return x;": "x 1",
    "int x; if (ctx->di) x = 1; else return 2;\n return x;": "",
    "int x; if (ctx->di) x = 1;\n if (ctx->di) return x; return 0;": "",
    "int x = 1, y; if (ctx->di) y = x;\n return y;": "y 1",
    "int x; switch (ctx->di) { case 1: x = 2; break; case 2: x = 3; } return x;": "",
    "int x; switch (ctx->di) { case 1: x = 2; break;\n case 2: break; default: x = 3; }\n"
    "return x;": "x 2",
    "int x; for (int i = 0; i < 3; i++) x = i; return x;": "",
    "int x; for (int i = 0; i < 3; i++) { if (i) return x; x = 3; } return 0;": "",
    "int x; for (;;) { if (ctx->di) { x = 1; break; }\n if (ctx->si) break; }\n return x;": "x 2",
    "int x; do { x = ctx->di; } while (x > 3); return x;": "",
    "int x; while (1) { x = 1; if (ctx->di) break; } return x;": "",
    "int x; x += ctx->di; return x;": "x",
    "int x; return x + (x = 2);": "x",
    "int x, y; if (ctx->di &&\n (x = ctx->si)) y = x; else y = x; return y;": "x 1",
    "int x; return ctx->di && (x = ctx->si) ? x : 3;": "",
    "int x; return ctx->di ||\n (x = ctx->si) ? x : 3;": "x 1",
    "int x; if (ctx->di == 1) x = 1;\n else if (ctx->di == 2) x = 2;\n return x;": "x 2",
    "int x; if (ctx->di == 1) x = 1; else if (ctx->di == 2) x = 2; return ctx->si ? x : 3;": "",
    "int x; if (ctx->di == 1) goto out; x = 2; out: return 0; return x;": "",
    "int x; if (ctx->di == 1)\n goto out; x = 2; out: return x;": "x 1",
    "int x; if (ctx->di) __builtin_unreachable(); else x = 1; return x;": "",
    "int x; if (!__builtin_expect(!!ctx->di, 0)) x = 1;\n return x;": "x 1",
    'int x; if (ctx->di) asm volatile("" : "+r"(x)); else x = 2; return x;': "",
    "int x; bpf_probe_read(&x, 4, (void *)ctx->di); return x;": "",
    "int x; if (1) x = 2; return x;": "",
    "int x; if (0) return x; x = 1; return x;": "",
    "int x = ({ int y; if (ctx->di) y = 3;\n y; }); return x;": "y 1",
    "int x; { z:; int y; if (ctx->di) return y; y = 1; if (y) goto z; x = y; } return x;": "y",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_value_that_may_lack(body: str) -> None:
    said = messages(f"int f(struct pt_regs *ctx) {{ {body} }}")
    told = []
    for part in re.split(r"^(?=f\.c)", said, flags=re.MULTILINE)[1:]:
        name = re.search(r"'(\w+)' (?:is|may be) read here before", part)
        line = re.search(r"(\d+) \|.*(?:\n      \| *\^+)?\n.*nothing does if this", part)
        assert name is not None, part
        told.append(f"{name[1]} {line[1]}" if line else name[1])
    assert ", ".join(told) == BODIES[body]
