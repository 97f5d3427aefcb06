"""The house's own rules: style, types, layers, sizes, weight, names.

They run with every test run and therefore cannot be forgotten.
"""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "minibcc"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAP = PACKAGE / "README.md"


def check(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing():
    check("ruff", "check", ".")


def test_the_code_is_formatted():
    check("ruff", "format", "--check", ".")


def test_mypy_strict_finds_nothing():
    check("mypy")


def test_imports_point_down():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout, done.stdout


def test_the_top_level_is_the_users():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    visible = {name for name in top if not name.startswith(".")}
    assert visible == {"pyproject.toml", "minibcc", "include", "tests", "examples", "README.md"}


def lines_of_code(path: Path) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    text = path.read_text()
    lines: set[int] = set()
    quiet = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in quiet and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(ast.Constant(str())):
                lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_small_or_the_map_says_why(path):
    name = str(path.relative_to(PACKAGE))
    size = lines_of_code(path)
    if size > 400:
        assert f"`{name}`" in MAP.read_text(), f"{name} has {size} lines of code; the map is silent"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is(path):
    tree = ast.parse(path.read_text())
    if tree.body:
        assert ast.get_docstring(tree), f"{path} opens without a docstring"


def test_importing_minibcc_is_light():
    code = "import sys, json; before = set(sys.modules); import minibcc; "
    code += "print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = json.loads(done.stdout)
    heavy = ("pycparser", "llvmlite", "rich", "elftools", "capstone", "dataclasses", "inspect")
    assert not [name for name in loaded if name.split(".")[0] in heavy]
    assert len(loaded) <= 15, loaded


def test_all_names_what_exists():
    import minibcc

    assert sorted(minibcc.__all__) == list(minibcc.__all__)
    for name in minibcc.__all__:
        assert getattr(minibcc, name) is not None
    public = {name for name in dir(minibcc) if not name.startswith("_")}
    assert set(minibcc.__all__) <= public


def test_the_text_speaks_of_the_project_alone():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    wrong = re.compile(r"/(?:work|root|home)/\w|\bissue #?\d|TODO|FIXME|XXX\b")
    for line in tracked.stdout.splitlines():
        path = ROOT / line
        if path == Path(__file__) or path.suffix not in (".py", ".md", ".toml", ".c", ".h", ".txt"):
            continue
        if path.exists():
            found = wrong.search(path.read_text(errors="replace"))
            assert not found, f"{line}: {found and found.group()}"
