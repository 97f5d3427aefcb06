"""What each helper for maps says to each type of map: here and on the live kernel."""

from __future__ import annotations

import random

import pytest

from minibcc.bcc.refusal.log import read
from minibcc.kernel.verifier.verify import verify
from minibcc.records import replace
from tests.verifier import generate, oracle, variety


@pytest.mark.kernel
@pytest.mark.parametrize(
    "number", range(len(variety.OF_TYPE)), ids=[kind.name for kind in variety.OF_TYPE]
)
def test_helpers_of_maps(number: int) -> None:
    if reason := oracle.available():
        pytest.skip(reason)
    for helper in sorted(set(variety.HELPERS)):
        for kind in generate.TYPES:
            source = replace(variety.map_type(random.Random(7), number, helper), prog_type=kind)
            errno, log = oracle.load(source, 1)
            verdict = verify(source, generate.HERE)
            if verdict.refusal is not None and verdict.refusal.code == "verify/not-decided":
                continue
            said = verdict.refusal.message if verdict.refusal is not None else ""
            main = read(log).message if errno else ""
            assert (verdict.errno, said) == (errno, main), (helper, kind.name)
