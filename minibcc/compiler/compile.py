"""C text to a `BpfObject`: the passes in their order, behind a cache.

    front    text -> plain typed tree            (preprocess, parse, analyze, dialect, check)
    lower    typed tree -> LLVM assembly
    codegen  LLVM assembly -> ELF object          (LLVM)
    link     ELF object -> BpfObject

`compile` runs them all; `stages` runs as far as it must and prints what came out there, for people
who want to see. What a second compile of the same text needs is in `cache`: then no pass runs and
neither pycparser nor LLVM is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minibcc import cache as caching
from minibcc.compiler.object import dump, load
from minibcc.records import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from minibcc.cache import Cache
    from minibcc.compiler.front import Front
    from minibcc.compiler.lower.module import Lowered
    from minibcc.compiler.object import BpfObject
    from minibcc.compiler.target import Target

DEFAULT_CPU = "v2"
"""Kernels since 4.x take it, and it is what BCC's own compiler writes."""


def compile(
    text: str | bytes,
    target: Target,
    *,
    file: str = "<text>",
    cflags: Sequence[str] = (),
    cpu: str | None = None,
    cache: Cache | bool | None = None,
) -> BpfObject:
    """Compiles `text`, called `file` in messages, for `target`.

    `cflags` are clang's: ``-D``, ``-U``, ``-I``, ``-include``, ``-w``. `cpu` is one of v1 to v4, by
    default the target's. `cache` False does without one, a `Cache` is that one, None the user's.
    Raises CompileError with every diagnostic.
    """
    text, cpu = _text(text), _cpu(cpu, target)
    store = _cache(cache)
    if store is None:
        return _compile(text, target, file, cflags, cpu)[0]
    key = caching.key((text, file, *cflags, "", target.fingerprint, cpu, _stamp()))
    known = _recall(store.get(key))
    if known is not None:
        return known
    obj, front = _compile(text, target, file, cflags, cpu)
    store.put(key, _entry(obj, front))
    return obj


def _compile(
    text: str, target: Target, file: str, cflags: Sequence[str], cpu: str
) -> tuple[BpfObject, Front]:
    from minibcc.compiler.codegen import begin
    from minibcc.compiler.depth import deep
    from minibcc.compiler.front import front
    from minibcc.compiler.lower.module import lower
    from minibcc.errors import CompileError

    begin(cpu)
    with deep(file, text):
        done = front(text, file, target, cflags)
        try:
            made = back(done, lower(done.unit, cpu, done.sources), cpu)
        except CompileError as error:  # what was doubtful may well be the reason
            problems = [*done.warnings, *error.diagnostics]
            raise CompileError(problems, done.sources) from None
        return replace(made, version=target.version_code), done


def back(front: Front, lowered: Lowered, cpu: str) -> BpfObject:
    """The object of a unit that is lowered."""
    from minibcc.compiler.codegen import emit
    from minibcc.compiler.link import link
    from minibcc.diagnostics import render

    code = emit(lowered.text, cpu, doubtful=lowered.doubtful)
    warnings = tuple(render(warning, front.sources) for warning in front.warnings)
    return link(code, lowered, front.unit, front.sources, warnings)


def stages(
    text: str | bytes,
    target: Target,
    *,
    file: str = "<text>",
    cflags: Sequence[str] = (),
    cpu: str | None = None,
) -> Mapping[str, str]:
    """What each stage makes of `text`, by name, as text: pp, tree, plain, ir, optimized, asm,
    lines, btf. A stage runs when it is asked for, and raises as `compile` does."""
    from minibcc.compiler.depth import deep
    from minibcc.compiler.front import front
    from minibcc.compiler.stages import Stages

    source = _text(text)
    return Stages(
        lambda: front(source, file, target, cflags),
        _cpu(cpu, target),
        lambda: deep(file, source),
    )


def _text(text: str | bytes) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else text


def _cpu(cpu: str | None, target: Target) -> str:
    from minibcc.compiler.codegen import CPUS

    cpu = cpu or target.cpu or DEFAULT_CPU
    if cpu not in CPUS:
        from minibcc.errors import UsageError

        raise UsageError(f"there is no BPF cpu {cpu!r}, only {', '.join(CPUS)}")
    return cpu


# --- the cache -------------------------------------------------------------------------------


def _cache(cache: Cache | bool | None) -> Cache | None:
    if cache is None or cache is True:
        return caching.default()
    return cache or None


def _stamp() -> str:
    """What identifies this compiler: its own files, the shipped headers, the packages it uses."""
    folders = ("abi", "btf", "compiler", "isa", "include", "../include")
    return caching.stamp(folders, ("llvmlite", "pycparser"))


def _entry(obj: BpfObject, front: Front) -> bytes:
    """A line per path at which an include was looked for, with what was there (the shipped headers'
    stamp is in the key), an empty line, the object."""
    rows = [
        f"{_ABSENT if content is None else caching.digest(content)} {path}\n"
        for path, content in sorted(front.preprocessed.looked_at.items())
    ]
    return "".join(rows).encode("utf-8", "surrogateescape") + b"\n" + dump(obj)


_ABSENT = "-"
"""Stands for a file that was not there."""


def _now(path: str) -> str:
    """What an entry would say of a path now."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return caching.digest(file.read())
    except OSError:
        return _ABSENT


def _recall(entry: bytes | None) -> BpfObject | None:
    """The object of an entry, if the same files are still where it looked for them."""
    if entry is None:
        return None
    files, separator, content = (b"\n" + entry).partition(b"\n\n")
    if not separator:
        return None
    try:
        for row in files.decode("utf-8", "surrogateescape").split("\n")[1:]:
            found, _, path = row.partition(" ")
            if _now(path) != found:
                return None
        return load(content)
    except ValueError:
        return None
