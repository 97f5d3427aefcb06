"""A random C program, and what a native compiler makes of it.

The same C runs in a kernel and natively. What BCC adds to C is, natively, C as well: a table is a
struct of pointers to functions, so that ``t.lookup(&key)`` calls one. A program reads ``in``, may
read and write a packet, writes its results to ``out`` and returns 32 bits.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

from minibcc.abi.bpf import ProgType

INPUTS = 8
RESULTS = 16
PACKET = 64
SECONDS = 2
"""What a program may take natively: a random loop may have no end."""

COMPILER = shutil.which("gcc")
FLAGS = ("-w", "-O1", "-fno-strict-aliasing", "-fno-pie", "-no-pie")
"""Not position-independent: the addresses of data fit the 32 bits that packet pointers have."""
UNDEFINED = ("-fsanitize=undefined,address", "-fno-sanitize-recover=all", "-Werror=return-type")

CONTEXTS = {
    ProgType.SOCKET_FILTER: "struct __sk_buff",
    ProgType.SCHED_CLS: "struct __sk_buff",
    ProgType.XDP: "struct xdp_md",
    ProgType.RAW_TRACEPOINT: "struct bpf_raw_tracepoint_args",
}


class Table(NamedTuple):
    """A map of a program; `kind` is a macro of BCC's."""

    kind: str
    name: str
    value: str
    size: int
    key: str = "u32"

    def bpf(self) -> str:
        match self.kind:
            case "BPF_HASH" | "BPF_PERCPU_HASH":
                return f"{self.kind}({self.name}, {self.key}, {self.value}, {self.size});"
            case "BPF_ARRAY" | "BPF_PERCPU_ARRAY":
                return f"{self.kind}({self.name}, {self.value}, {self.size});"
            case "BPF_QUEUE" | "BPF_STACK":
                return f"{self.kind}({self.name}, {self.value}, {self.size});"
        raise AssertionError(self.kind)

    def native(self) -> str:
        macro = self.kind.replace("PERCPU_", "")
        if macro == "BPF_HASH":
            return f"NATIVE_HASH({self.name}, {self.key}, {self.value}, {self.size})"
        return f"{macro.replace('BPF', 'NATIVE')}({self.name}, {self.value}, {self.size})"


class Program(NamedTuple):
    """`text` defines ``int prog(CONTEXT *ctx)``; file-scope names end in the program's number, so
    that many fit one native program. `cpus` are the levels at which BPF can do it."""

    label: str
    number: int
    text: str
    tables: tuple[Table, ...] = ()
    type: ProgType = ProgType.SOCKET_FILTER
    inputs: tuple[int, ...] = (0,) * INPUTS
    packet: bytes = bytes(PACKET)
    cpus: tuple[str, ...] = ("v2", "v3", "v4")
    types: str = ""
    """What stands before the tables."""

    def bpf(self) -> str:
        """The text for our compiler."""
        return "\n".join(
            [
                f"struct words_in {{ u64 v[{INPUTS}]; }};",
                f"struct words_out {{ u64 v[{RESULTS}]; }};",
                "BPF_ARRAY(in, struct words_in, 1);",
                "BPF_ARRAY(out, struct words_out, 1);",
                self.types,
                *(table.bpf() for table in self.tables),
                self.text,
                "",
            ]
        )

    def native(self) -> str:
        """The text for the native one."""
        n = self.number
        data = ", ".join(f"{value}ull" for value in self.inputs)
        packet = ", ".join(str(byte) for byte in self.packet)
        return "\n".join(
            [
                "#undef in\n#undef out\n#undef prog",
                f"#define in in_{n}\n#define out out_{n}\n#define prog prog_{n}",
                f"NATIVE_ARRAY(in_{n}, struct words_in, 1)",
                f"NATIVE_ARRAY(out_{n}, struct words_out, 1)",
                self.types,
                *(table.native() for table in self.tables),
                f"static u8 packet_{n}[{PACKET}] = {{ {packet} }};",
                self.text,
                f"static void run_{n}(void) {{",
                f"static const u64 given[] = {{ {data} }}; u32 zero = 0;",
                "memcpy(in.lookup(&zero), given, sizeof(given));",
                f"show({n}ull, prog(context(packet_{n})), out.lookup(&zero)->v);",
                "}",
            ]
        )


class Answer(NamedTuple):
    """What a run gives: 32 bits, and the numbers in ``out``."""

    value: int
    results: tuple[int, ...]


def native(
    programs: list[Program], folder: Path, flags: tuple[str, ...] = FLAGS
) -> dict[int, Answer | None]:
    """What each of the programs gives natively, None where it does not end or crashes.
    Raises CalledProcessError if the compiler refuses the text."""
    assert COMPILER is not None
    source, binary = folder / "native.c", folder / "native"
    calls = [f"apart(run_{program.number});" for program in programs]
    text = [SHIM, *(program.native() for program in programs), "int main(void) {", *calls, "}"]
    source.write_text("\n".join(text))
    subprocess.run(
        [COMPILER, *flags, "-o", binary, source], check=True, capture_output=True, text=True
    )
    done = subprocess.run([binary], check=True, capture_output=True, text=True)
    answers: dict[int, Answer | None] = {program.number: None for program in programs}
    for line in done.stdout.splitlines():
        number, value, *results = (int(word) for word in line.split())
        assert number in answers
        answers[number] = Answer(value, tuple(results))
    return answers


def undefined(program: Program, folder: Path) -> str:
    """What a sanitizer says against the program, "" for nothing."""
    flags = ("-O0", "-fno-pie", "-no-pie", *UNDEFINED)
    assert COMPILER is not None
    source, binary = folder / "checked.c", folder / "checked"
    source.write_text(
        "\n".join([SHIM, program.native(), "int main(void) {", f"run_{program.number}(); }}"])
    )
    built = subprocess.run(
        [COMPILER, *flags, "-o", binary, source], capture_output=True, text=True, check=False
    )
    if built.returncode:
        return built.stderr
    try:
        done = subprocess.run(
            [binary], capture_output=True, text=True, check=False, timeout=4 * SECONDS
        )
    except subprocess.TimeoutExpired:
        return "it does not end"
    return done.stderr if done.returncode else ""


def renamed(text: str, prefixes: str, number: int) -> str:
    """File-scope names (`prefixes` is an alternation, digits follow) made the program's own."""
    return re.sub(rf"\b({prefixes})(\d+)\b", rf"\1\2_{number}", text)


def words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 8}Q", data)


SHIM = f"""\
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
typedef uint8_t u8; typedef int8_t s8; typedef uint16_t u16; typedef int16_t s16;
typedef uint32_t u32; typedef int32_t s32;
typedef unsigned long long u64; typedef long long s64;
#define offsetof(type, member) __builtin_offsetof(type, member)
struct __sk_buff {{ u32 data, data_end; }};
struct xdp_md {{ u32 data, data_end; }};
struct bpf_raw_tracepoint_args {{ u64 args[1]; }};
struct words_in {{ u64 v[{INPUTS}]; }};
struct words_out {{ u64 v[{RESULTS}]; }};
static void *context(u8 *packet) {{
    static struct xdp_md held;
    held.data = (u32)(uintptr_t)packet;
    held.data_end = held.data + {PACKET};
    return &held;
}}
static void show(u64 number, int value, const u64 *results) {{
    printf("%llu %u", number, (unsigned)value);
    for (int i = 0; i < {RESULTS}; i++) printf(" %llu", results[i]);
    printf("\\n");
    fflush(stdout);
}}
static void apart(void (*run)(void)) {{
    if (fork() == 0) {{ alarm({SECONDS}); run(); _exit(0); }}
    wait(0);
}}
#define NATIVE_ARRAY(name, V, N) \\
    static V name##_values[N]; \\
    static V *name##_lookup(const u32 *key) {{ return *key < N ? &name##_values[*key] : 0; }} \\
    static int name##_update(const u32 *key, const V *value) {{ \\
        if (*key >= N) return -7; \\
        V held = *value; name##_values[*key] = held; return 0; }} \\
    static int name##_insert(const u32 *key, const V *value) {{ return *key < N ? -17 : -7; }} \\
    static int name##_delete(const u32 *key) {{ return -22; }} \\
    static const struct {{ V *(*lookup)(const u32 *); int (*update)(const u32 *, const V *); \\
        int (*insert)(const u32 *, const V *); int (*delete)(const u32 *); }} name = \\
        {{ name##_lookup, name##_update, name##_insert, name##_delete }};
#define NATIVE_HASH(name, K, V, N) \\
    static struct {{ int used; K key; V value; }} name##_slots[N]; \\
    static V *name##_lookup(const K *key) {{ \\
        for (int i = 0; i < N; i++) \\
            if (name##_slots[i].used && !memcmp(&name##_slots[i].key, key, sizeof(K))) \\
                return &name##_slots[i].value; \\
        return 0; }} \\
    static int name##_insert(const K *key, const V *value) {{ \\
        if (name##_lookup(key)) return -17; \\
        for (int i = 0; i < N; i++) \\
            if (!name##_slots[i].used) {{ \\
                name##_slots[i].used = 1; \\
                memcpy(&name##_slots[i].key, key, sizeof(K)); \\
                memcpy(&name##_slots[i].value, value, sizeof(V)); \\
                return 0; }} \\
        return -7; }} \\
    static int name##_update(const K *key, const V *value) {{ \\
        V *there = name##_lookup(key); \\
        if (!there) return name##_insert(key, value); \\
        memmove(there, value, sizeof(V)); return 0; }} \\
    static int name##_delete(const K *key) {{ \\
        for (int i = 0; i < N; i++) \\
            if (name##_slots[i].used && !memcmp(&name##_slots[i].key, key, sizeof(K))) {{ \\
                name##_slots[i].used = 0; return 0; }} \\
        return -2; }} \\
    static V *name##_init(const K *key, const V *value) {{ \\
        if (!name##_lookup(key)) name##_insert(key, value); \\
        return name##_lookup(key); }} \\
    static const struct {{ V *(*lookup)(const K *); int (*update)(const K *, const V *); \\
        int (*insert)(const K *, const V *); int (*delete)(const K *); \\
        V *(*lookup_or_try_init)(const K *, const V *); }} name = \\
        {{ name##_lookup, name##_update, name##_insert, name##_delete, name##_init }};
#define NATIVE_LINE(name, V, N, AT) \\
    static V name##_values[N]; static int name##_count; \\
    static int name##_push(const V *value, u64 flags) {{ \\
        if (name##_count == N) {{ \\
            if (!(flags & 2)) return -7; \\
            name##_count--; \\
            memmove(name##_values, name##_values + 1, name##_count * sizeof(V)); }} \\
        memcpy(&name##_values[name##_count++], value, sizeof(V)); return 0; }} \\
    static int name##_peek(V *value) {{ \\
        if (!name##_count) {{ memset(value, 0, sizeof(V)); return -2; }} \\
        memcpy(value, &name##_values[AT], sizeof(V)); return 0; }} \\
    static int name##_pop(V *value) {{ \\
        int answer = name##_peek(value), at = AT; \\
        if (answer) return answer; \\
        name##_count--; \\
        memmove(&name##_values[at], &name##_values[at + 1], (name##_count - at) * sizeof(V)); \\
        return 0; }} \\
    static const struct {{ int (*push)(const V *, u64); int (*pop)(V *); int (*peek)(V *); }} \\
        name = {{ name##_push, name##_pop, name##_peek }};
#define NATIVE_QUEUE(name, V, N) NATIVE_LINE(name, V, N, 0)
#define NATIVE_STACK(name, V, N) NATIVE_LINE(name, V, N, name##_count - 1)
"""
"""What BCC adds to C, natively."""
