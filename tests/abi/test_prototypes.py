"""The C prototypes of the helper table are C."""

from __future__ import annotations

import pytest
from pycparser import CParser

from minibcc.abi.helpers import helpers

TYPES = """
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32;
typedef unsigned long long u64; typedef int s32; typedef long long s64;
typedef u16 __be16; typedef u32 __be32; typedef u32 __wsum; typedef unsigned long size_t;
"""


@pytest.mark.parametrize("row", helpers().values(), ids=lambda row: row.name)
def test_declaration_parses(row) -> None:
    tree = CParser().parse(f"{TYPES}\n{row.declaration};")
    assert tree.ext[-1].name == f"bpf_{row.name}"


def test_integers_are_returned_as_integers_and_pointers_as_pointers() -> None:
    """What C says of the result and what the verifier says agree."""
    for row in helpers().values():
        pointer = row.prototype.partition("(")[0].endswith("*")
        # A tail call returns only if it fails; the task's registers are handed out as a number.
        if row.name not in ("tail_call", "task_pt_regs"):
            assert pointer == (row.result.kind not in ("integer", "void")), row.declaration
