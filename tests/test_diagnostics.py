"""How a diagnostic reads, and that every code is explained."""

from __future__ import annotations

import errno

from minibcc.diagnostics import Label, Severity, Sources, Span, error, registry, render, render_all
from minibcc.errors import AttachError, CompileError, LoadError, MinibccError

TEXT = """int f(void *ctx)
{
    u64 *start = begin.lookup(&pid);

\tu64 delta = now - *start;
}
"""
SOURCES = Sources({"opensnoop.c": TEXT, "a.h": "#define X 1\n"})
NULL = error(
    "verify/null-deref",
    "pointer may be null",
    Span("opensnoop.c", 5, 20, 5, 26),
    "read of 8 bytes",
    labels=[Label(Span("opensnoop.c", 3, 18, 3, 36), "comes from here")],
    notes=["on the path where line 3 found nothing"],
    help=["test it first: if (!start) return 0;"],
)


def test_a_diagnostic_reads_as_an_editor_and_a_person_want_it():
    assert render(NULL, SOURCES) == (
        "opensnoop.c:5:20: error: pointer may be null [verify/null-deref]\n"
        "    3 |     u64 *start = begin.lookup(&pid);\n"
        "      |                  ------------------ comes from here\n"
        "    5 |         u64 delta = now - *start;\n"
        "      |                           ^~~~~~ read of 8 bytes\n"
        "note: on the path where line 3 found nothing\n"
        "help: test it first: if (!start) return 0;"
    )


def test_labels_in_another_file_name_it():
    both = error(
        "type/x", "m", Span("opensnoop.c", 1, 5), labels=[Label(Span("a.h", 1, 9), "here")]
    )
    assert render(both, SOURCES).splitlines()[1:] == [
        "    1 | int f(void *ctx)",
        "      |     ^",
        "  ::: a.h",
        "    1 | #define X 1",
        "      |         - here",
    ]


def test_a_place_outside_the_sources_still_reads():
    assert render(error("parse/x", "m", Span("gone.c", 3, 1)), SOURCES) == (
        "gone.c:3:1: error: m [parse/x]"
    )
    assert render(error("load/x", "m"), SOURCES) == "error: m [load/x]"
    warning = error("type/x", "m", Span("gone.c", 3, 1), severity=Severity.WARNING)
    assert render(warning, SOURCES) == "gone.c:3:1: warning: m [type/x]"


def test_a_span_over_several_lines_is_underlined_to_the_end_of_its_first():
    out = render(error("x/y", "m", Span("opensnoop.c", 1, 1, 6, 2)), SOURCES)
    assert out.splitlines()[2] == "      | ^~~~~~~~~~~~~~~~"


def test_spans_join():
    a, b = Span("f", 1, 5, 1, 8), Span("f", 2, 1)
    assert a.to(b) == Span("f", 1, 5, 2, 2)
    assert a.to(Span("g", 1, 1)) == a
    assert b.to(a) == b


def test_errors_print_their_diagnostics():
    wrong = CompileError([NULL, NULL], SOURCES)
    assert str(wrong) == render_all([NULL, NULL], SOURCES)
    refused = LoadError(errno.EACCES, "Failed to load", diagnostics=[NULL], sources=SOURCES)
    assert isinstance(refused, OSError) and refused.errno == errno.EACCES
    assert str(refused) == f"Failed to load\n{render(NULL, SOURCES)}"
    assert str(LoadError(errno.EPERM, "no")) == "no"
    attach = AttachError(errno.ENOENT, "no such function")
    assert (attach.errno, str(attach)) == (errno.ENOENT, "no such function")
    assert isinstance(attach, MinibccError)


def test_every_code_is_explained_with_two_examples():
    rows = registry()
    assert rows
    for code, row in rows.items():
        stage, _, name = code.partition("/")
        assert stage in ("parse", "type", "dialect", "verify", "load"), code
        assert name == name.lower() and " " not in name, code
        assert row.title and not row.title.endswith("."), code
        assert len(row.text) > 40, code
        assert row.bad.strip() != row.good.strip(), code
