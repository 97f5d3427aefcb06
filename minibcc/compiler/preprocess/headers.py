"""Where an include is found, and shipped headers as an index of names.

Headers are data. A file under ``include/`` is not preprocessed when it is included: it is cut into
definitions of macros and into paragraphs (one declaration each, between blank lines), and only
their names are noted. A macro's body is lexed when the macro is first used, a declaration is
handed to the parser only if the text, after expansion, uses a name that it declares. So including
a header costs a dictionary update, whatever stands in it. A shipped header that needs conditionals
is preprocessed like any other file.

The kernel's own types are in no header: they come from the target's BTF. A kernel header that
holds nothing else is a line of ``include/btf-only.txt``.
"""

from __future__ import annotations

import os
import re
from functools import cache

from minibcc.compiler.preprocess.macros import Macro
from minibcc.diagnostics import Span
from minibcc.records import Record

_DEFINE = re.compile(r"^#[ \t]*define[ \t]+(\w+)((?:\\\n|/\*[\s\S]*?\*/|[^\n])*)", re.MULTILINE)
_INCLUDE = re.compile(r'^#[ \t]*include[ \t]*[<"]([^>"]+)[>"]', re.MULTILINE)
_OTHER = re.compile(
    r"^#[ \t]*(?:if|ifdef|ifndef|elif|else|endif|undef|error|warning|line|pragma[ \t]+(?!once))\b",
    re.MULTILINE,
)
_COMMENT = re.compile(r"//[^\n]*|/\*[\s\S]*?\*/")
_DIRECTIVE = re.compile(r"^#(?:\\\n|[^\n])*", re.MULTILINE)
_TAG = re.compile(r"\b(?:struct|union|enum)\s+(\w+)\s*\{")
_ENUM = re.compile(r"\benum\b[^{};]*\{([^}]*)\}")
_ENUMERATOR = re.compile(r"(\w+)\s*(?:=[^,]*)?(?:,|$)")
_TYPEDEF = re.compile(r"\(\s*\*\s*(\w+)\s*\)|(\w+)\s*(?:\[[^\]]*\]\s*)*;\s*$")
_FUNCTION = re.compile(r"\b(?!__attribute__\b)(\w+)\s*\(")
_VARIABLE = re.compile(r"(\w+)\s*(?:\[[^\]]*\]\s*)*(?:=|;)")

KERNEL_FOLDERS = ("linux/", "net/", "asm/", "uapi/", "asm-generic/", "rdma/", "trace/", "scsi/")

_LIBRARY = ("stdio.h", "stdlib.h", "string.h", "unistd.h", "time.h", "errno.h", "math.h", "ctype.h")


class Declaration(Record):
    """A paragraph of a shipped header: C text from line `line` of `file`."""

    file: str
    line: int
    text: str


class Header(Record):
    """A shipped header. With `plain` False it must be preprocessed as it stands."""

    name: str
    text: str
    plain: bool
    macros: dict[str, Macro]
    declarations: dict[str, tuple[Declaration, ...]]
    includes: tuple[str, ...]


class Search:
    """Looks for the user's headers in the folders of ``-I``.

    `looked_at` maps every path that was looked at to the text that was there, None where there was
    no file: what a cache must look at again.
    """

    def __init__(self, folders: list[str]) -> None:
        self._folders = folders
        self.looked_at: dict[str, str | None] = {}

    def folders(self, system: bool, file: str) -> list[str]:
        """Where an include in `file` is looked for; `system` says that it is written with <>."""
        own = [] if system else [os.path.dirname(file) if file else "."]
        return [*own, *self._folders]

    def find(self, name: str, system: bool, file: str) -> tuple[str, str] | None:
        """Path and text of the file that an include means, None if it is none of the user's."""
        for folder in self.folders(system, file):
            path = os.path.normpath(os.path.join(folder, name))
            if path not in self.looked_at:
                try:
                    with open(path, encoding="utf-8", errors="replace") as stream:
                        self.looked_at[path] = stream.read()
                except OSError:
                    self.looked_at[path] = None
            text = self.looked_at[path]
            if text is not None:
                return path, text
        return None


@cache
def folder() -> str:
    """Where shipped headers lie: in the package, or beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    inside = os.path.join(package, "include")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "include")


@cache
def _btf_only() -> frozenset[str]:
    with open(os.path.join(folder(), "btf-only.txt"), encoding="utf-8") as file:
        lines = file.read().splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def shipped(name: str) -> Header | None:
    """The shipped header called `name` in an include; ``uapi/`` may be left out or written."""
    for candidate in (name, name.removeprefix("uapi/"), "uapi/" + name):
        header = _read(candidate)
        if header is not None:
            return header
        if candidate in _btf_only():
            return Header(candidate, "", True, {}, {}, ())
    return None


@cache
def _read(name: str) -> Header | None:
    if ".." in name or not name.endswith(".h"):
        return None
    try:
        with open(os.path.join(folder(), name), encoding="utf-8") as file:
            return index(name, file.read())
    except OSError:
        return None


def index(name: str, text: str) -> Header:
    """Cuts a header into macros and declarations."""
    if _OTHER.search(text):
        return Header(name, text, False, {}, {}, ())
    file = f"include/{name}"
    macros = {}
    for match in _DEFINE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        column = match.start(1) - match.start() + 1
        span = Span(file, line, column, line, column + len(match[1]))
        macros[match[1]] = Macro.lazy(match[1], match[2], span)
    declarations: dict[str, tuple[Declaration, ...]] = {}
    rest = _DIRECTIVE.sub(lambda match: "\n" * match[0].count("\n"), text)
    rest = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), rest)
    line = 1
    for paragraph in re.split(r"(\n(?:[ \t]*\n)+)", rest):
        if paragraph.strip():
            first = line + (len(paragraph) - len(paragraph.lstrip("\n")))
            declaration = Declaration(file, first, paragraph.strip("\n"))
            for declared in names(paragraph):
                declarations[declared] = (*declarations.get(declared, ()), declaration)
        line += paragraph.count("\n")
    return Header(name, text, True, macros, declarations, tuple(_INCLUDE.findall(text)))


def names(paragraph: str) -> set[str]:
    """The names that one declaration declares: tags, enumerators, a typedef, a function, a
    variable."""
    text = paragraph.strip()
    found = set(_TAG.findall(text))
    for body in _ENUM.findall(text):
        found.update(_ENUMERATOR.findall(body.strip()))
    if text.startswith("typedef"):
        match = _TYPEDEF.search(text)
        if match:
            found.add(match[1] or match[2])
    elif not found:
        match = _FUNCTION.search(text) or _VARIABLE.search(text)
        if match:
            found.add(match[1])
    return found


def instead_of(name: str) -> list[str]:
    """What to do without a header that there is not."""
    if name.startswith("bpf/") or name == "vmlinux.h":
        return ["leave it out: kernel types and helpers are known without a header, as in BCC"]
    if name in _LIBRARY:
        return ["leave it out: a BPF program has no C library; bpf_trace_printk prints a line"]
    return ["give its folder with -I", "kernel types need no header at all"]
