"""Ask the verifier about every program of a C text or a ``.bpf.o`` file.

Prints a line a program, and for one that is refused why, in C lines; ``--log`` prints the kernel's
own log, ``--json`` everything as JSON. ``--batch`` reads raw programs instead, one JSON object a
line (``id``, ``insns`` in hexadecimal, ``prog_type``, ``maps``, ``map_refs``, ...), and answers one
a line. ``--kernel linux`` asks the running kernel, as root; what it refuses is told in the same
way, and nothing stays loaded. The exit status is 0 if all are accepted (and for ``--batch``
always).
"""

from __future__ import annotations

import json
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from minibcc import boot
from minibcc.abi.bpf import LogLevel, ProgType
from minibcc.cli import source
from minibcc.errors import LoadError, UsageError

if TYPE_CHECKING:
    import argparse

    from minibcc.bcc.loader import Module
    from minibcc.compiler.object import BpfObject, ProgramSpec

NOT_DECIDED = "verify/not-decided"
REFUSED = 1


def prepare(words: list[str]) -> list[str]:
    """``--batch`` alone reads standard input; what follows ``--log`` may be the file."""
    words = [
        "--log=1" if word == "--log" and not after.isdigit() else word
        for word, after in zip(words, [*words[1:], ""], strict=True)
    ]
    return words if words != ["--batch"] else [*words, "-"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    source.add_arguments(parser)
    parser.add_argument("--kernel", choices=boot.KERNELS, default="sim", help="whose verifier")
    parser.add_argument("--type", metavar="TYPE", help="of programs that do not say: kprobe, xdp")
    parser.add_argument(
        "--log", nargs="?", type=int, const=1, default=0, metavar="LEVEL",
        help="print the kernel's log (1; 2: of all paths; 4: figures only)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="a JSON array, an object a program")
    parser.add_argument("--batch", action="store_true", help="FILE holds raw programs, JSON lines")


def main(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.log <= 7:
        raise UsageError(f"no log level {arguments.log}: 1 and 2 show paths, 4 figures")
    if arguments.kernel != "sim":
        boot.choose(boot.Options(kernel=arguments.kernel))
    if arguments.batch:
        from minibcc.cli.batch import run

        return run(source.read(arguments.file))
    system = boot.current()
    kind = _kind(arguments.type)
    made = _object(arguments, system)
    if not made.programs:
        raise UsageError("the file defines no program")
    from minibcc.bcc.loader import Module

    module = Module(system, made)
    try:
        reports = [_report(system, module, spec, kind, arguments.log) for spec in made.programs]
    finally:
        module.close()
    if arguments.json:
        print(json.dumps(reports, indent=2))
    else:
        print("\n".join(_text(report) for report in reports))
    return 0 if all(report["verdict"] == "ACCEPT" for report in reports) else REFUSED


def _kind(name: str | None) -> ProgType | None:
    if name is None:
        return None
    try:
        return ProgType[name.upper()]
    except KeyError:
        known = ", ".join(kind.name.lower() for kind in ProgType if kind)
        raise UsageError(f"no program type {name!r}: there are {known}") from None


def _object(arguments: argparse.Namespace, system: Any) -> BpfObject:
    """What the file compiles to, or holds already."""
    if arguments.file != "-":
        try:
            with open(arguments.file, "rb") as file:
                data = file.read()
        except OSError as wrong:
            raise source.NoFile(
                f"minibcc: cannot open {arguments.file}: {wrong.strerror}"
            ) from None
        if data.startswith(b"\x7fELF"):
            from minibcc.compiler.objectfile import load

            return load(data)
    return source.compiled(arguments, system)


def _report(
    system: Any, module: Module, spec: ProgramSpec, kind: ProgType | None, level: int
) -> dict[str, Any]:
    """The verdict on one program, as data."""
    from minibcc.bcc.kerneltypes import function_id

    wanted = spec.prog_type if spec.prog_type is not None else kind or ProgType.KPROBE
    report: dict[str, Any] = {"program": spec.name, "type": wanted.name.lower()}
    began = perf_counter()
    try:
        fd, log = module.verify(
            spec.name,
            wanted,
            log_level=level | int(LogLevel.STATS),
            kernel_function=partial(function_id, system),
        )
    except LoadError as wrong:
        found = wrong.diagnostics[0] if wrong.diagnostics else None
        log = wrong.log
        report |= {
            "verdict": "REJECT",
            "errno": wrong.errno or 0,
            "code": found.code if found else "",
            "reason": found.message if found else str(wrong.strerror),
            "text": str(wrong),
        }
    else:
        system.close(fd)
        report |= {"verdict": "ACCEPT", "errno": 0}
    report["ms"] = round((perf_counter() - began) * 1000, 3)
    report |= figures(log)
    report["log"] = log if level else ""
    return report


def figures(log: str) -> dict[str, int]:
    """The numbers of a log's last line."""
    words = log.rstrip().rpartition("\n")[2].split()
    if len(words) < 2 or words[0] != "processed":
        return {}
    names = {"max_states_per_insn": "most_states", "total_states": "states"}
    found = {names[word]: int(words[at + 1]) for at, word in enumerate(words) if word in names}
    return {"processed": int(words[1]), **found}


def _text(report: dict[str, Any]) -> str:
    walked = report.get("processed", 0)
    tail = f"{walked} instructions walked, {report['ms']:.1f} ms"
    head = f"{report['program']}: {report['type']}"
    if report["verdict"] == "ACCEPT":
        lines = [f"{head}  accepted  {tail}"]
    else:
        word = "not decided" if report["code"] == NOT_DECIDED else "refused"
        lines = [f"{head}  {word}  {tail}", report["text"].partition("\n")[2] or report["text"]]
    if report["log"]:
        lines.append(report["log"].rstrip())
    return "\n".join(lines)
