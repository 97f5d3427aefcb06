"""The committed native map operations are what the compiler makes of their source."""

from tests.build import natives


def test_the_committed_operations_are_current():
    assert natives.RESULT.read_text() == natives.text(), "python -m tests.build natives"
