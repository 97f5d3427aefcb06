"""A kernel made of nothing but names, for tests of the machine alone."""

from __future__ import annotations

from minibcc.btf.types import Array, Int, Member, Struct, Type

INT = Int("int", 4, True)
CHAR = Int("char", 1, True, char=True)
TASK = Struct(
    "task_struct",
    64,
    (
        Member("pid", INT, 32),
        Member("tgid", INT, 64),
        Member("comm", Array(CHAR, 16), 256),
    ),
)
FUNCTIONS = {
    "__x64_sys_openat": 0xFFFF_FFFF_8100_0000,
    "do_sys_openat2": 0xFFFF_FFFF_8100_0100,
    "__x64_sys_clone": 0xFFFF_FFFF_8100_0200,
}


class FakeTracefs:
    def read(self, path: str) -> bytes:
        raise FileNotFoundError(2, "No such file or directory", path)

    def listdir(self, path: str) -> list[str]:
        return []


class FakeKernel:
    release = "6.18.0-fake"
    btf_bytes = b""
    tracefs = FakeTracefs()

    def kallsyms(self) -> bytes:
        return "".join(f"{at:016x} T {name}\n" for name, at in FUNCTIONS.items()).encode()

    def type(self, name: str) -> Type | None:
        return TASK if name == "task_struct" else None

    def exists(self, kind: str, name: str) -> bool:
        return kind not in ("kprobe", "kretprobe") or name in FUNCTIONS

    def address_of(self, function: str) -> int | None:
        return FUNCTIONS.get(function)
