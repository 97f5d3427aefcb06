"""The table of the kernel's messages: each that the verifier gives stands in it, under the code
that the verifier gives with it."""

from __future__ import annotations

from itertools import islice

from minibcc.bcc.refusal.messages import classify
from minibcc.kernel.verifier.verify import verify
from tests.verifier import generate
from tests.verifier.test_cases import CASES

GENERATED = 600


def test_every_message_is_in_the_table_under_its_code() -> None:
    sources = [case.source for case in CASES]
    sources += islice(generate.programs(5), GENERATED)
    refusals = [found for source in sources if (found := verify(source, generate.HERE).refusal)]
    assert len(refusals) > GENERATED // 3
    wrong = {
        (found.message, found.code, known.code if known else None)
        for found in refusals
        if found.message
        and ((known := classify(found.message)) is None or known.code != found.code)
    }
    assert not wrong
