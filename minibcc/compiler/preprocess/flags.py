"""What holds before the first line: C flags, and the macros that compiler, target and flags define.

A flag is taken as clang takes it. Flags about warnings, optimisation and code generation are
accepted and change nothing, so that a tool's own list of flags works as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.target import Target

_IGNORED = ("-W", "-w", "-f", "-O", "-g", "-m", "-std=", "-nostdinc", "-x")
_ONES = (
    "__KERNEL__ __BPF__ __bpf__ __BPF_TRACING__ __x86_64__ __TARGET_ARCH_x86 __STDC__ "
    "__LP64__ _LP64 __LITTLE_ENDIAN__ CONFIG_X86_64 CONFIG_64BIT CONFIG_SMP CONFIG_BPF "
    "__HAVE_BUILTIN_BSWAP16__ __HAVE_BUILTIN_BSWAP32__ __HAVE_BUILTIN_BSWAP64__"
)
_COMPILER = (
    "KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))",
    'KBUILD_MODNAME "bcc"',
    '__DATE__ "Jan  1 1970"',
    '__TIME__ "00:00:00"',
    "__STDC_VERSION__ 201112L",
    "__SIZEOF_POINTER__ 8",
    "__SIZEOF_LONG__ 8",
    "__SIZEOF_INT128__ 16",
    "__CHAR_BIT__ 8",
    "__ORDER_LITTLE_ENDIAN__ 1234",
    "__ORDER_BIG_ENDIAN__ 4321",
    "__BYTE_ORDER__ 1234",
    "__GNUC__ 4",
    "__clang__ 1",
    "__clang_major__ 22",
    *(f"{name} 1" for name in _ONES.split()),
)


class Flags(Record):
    """What of the C flags concerns the preprocessor."""

    defines: list[str]
    undefines: list[str]
    folders: list[str]
    includes: list[str]


def parsed(cflags: Sequence[str], reporter: Reporter) -> Flags:
    """The flags; those that mean nothing are errors to `reporter`."""
    flags = Flags([], [], [], [])
    places = {"-D": flags.defines, "-U": flags.undefines, "-I": flags.folders}
    rest = iter(cflags)
    for flag in rest:
        if flag in ("-include", "-isystem", "-iquote"):
            place = flags.includes if flag == "-include" else flags.folders
            place.extend([value] if (value := next(rest, "")) else [])
        elif flag[:2] in places:
            value = flag[2:] or next(rest, "")
            places[flag[:2]].append(value)
            name = value.partition("=")[0]
            if flag[:2] == "-D" and name in flags.undefines:
                flags.undefines.remove(name)
        elif not flag.startswith(_IGNORED):
            reporter.error(
                "parse/unknown-flag",
                f"the C flag '{flag}' means nothing here",
                help=["-D, -U, -I and -include are obeyed; -W, -f, -O, -g, -m change nothing"],
            )
    return flags


def predefined(target: Target, flags: Flags) -> Iterator[tuple[str, str]]:
    """What ``#define`` would say of each macro, and the file that messages name for it."""
    yield f"LINUX_VERSION_CODE {target.version_code}", "<built-in>"
    for line in _COMPILER:
        yield line, "<built-in>"
    for define in flags.defines:
        name, _, value = define.partition("=")
        yield f"{name} {value if '=' in define else '1'}", "<command line>"
