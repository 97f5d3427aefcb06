"""Histograms: BCC's layout to the column."""

import ctypes as ct
import json
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibcc.bcc import histogram


def table(counts):
    values = [0] * histogram.LOG2_SLOTS
    for slot, count in counts.items():
        values[slot] = count
    return values


def test_log2(capsys):
    histogram.print_log2(table({1: 1, 3: 4, 4: 2}), "usecs", None)
    assert capsys.readouterr().out == (
        "     usecs               : count     distribution\n"
        "         0 -> 1          : 1        |**********                              |\n"
        "         2 -> 3          : 0        |                                        |\n"
        "         4 -> 7          : 4        |****************************************|\n"
        "         8 -> 15         : 2        |********************                    |\n"
    )


def test_log2_beyond_32_bits_is_wide(capsys):
    histogram.print_log2(table({34: 2}), "nsecs", True)
    assert capsys.readouterr().out == (
        "               nsecs                         : count     distribution\n"
        "          8589934592 -> 17179869183          : 2        |********************|\n"
    )


def test_linear(capsys):
    histogram.print_linear([0, 3, 1], "value", None)
    assert capsys.readouterr().out == (
        "     value         : count     distribution\n"
        "        0          : 0        |                                        |\n"
        "        1          : 3        |****************************************|\n"
        "        2          : 1        |*************                           |\n"
    )


def test_nothing_prints_nothing(capsys):
    histogram.print_log2(table({}), "usecs", None)
    histogram.print_linear([0] * 5, "usecs", None)
    assert capsys.readouterr().out == ""


class Key(ct.Structure):
    _fields_ = (("disk", ct.c_char * 8), ("slot", ct.c_ulonglong))


class Rows(histogram.Histogram):
    """A table of given rows."""

    def __init__(self, key, rows):
        self.Key = key
        self.rows = rows

    def iteritems(self):
        return iter(self.rows)


def test_a_structure_as_key_makes_a_section_per_bucket(capsys):
    rows = [
        (Key(b"sdb", 1), ct.c_ulong(1)),
        (Key(b"sda", 1), ct.c_ulong(2)),
        (Key(b"sda", 2), ct.c_ulong(3)),
    ]
    Rows(Key, rows).print_log2_hist(
        "usecs", "disk", section_print_fn=bytes.decode, bucket_sort_fn=sorted
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("disk")] == ["disk = sda", "disk = sdb"]
    assert lines[0] == ""
    assert lines[3].endswith(": 2        |**************************              |")


def test_a_slot_beyond_the_last_is_an_index_error():
    with pytest.raises(IndexError, match="2000"):
        Rows(ct.c_int, [(ct.c_int(2000), ct.c_ulong(1))]).print_linear_hist()


@given(st.integers(0, 10**9), st.integers(1, 10**9), st.sampled_from([20, 40]))
def test_bars_fit(value, largest, width):
    bar = histogram.stars(value, largest, width)
    assert len(bar) <= width
    assert (bar.endswith("+")) == (value > largest)


ORACLE = """
import contextlib, io, json, sys
from bcc import table
out = []
for values in json.load(sys.stdin):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        for strip in (None, True):
            table._print_log2_hist(values, "usecs", strip)
            table._print_linear_hist(values, "usecs", strip)
    out.append(text.getvalue())
json.dump(out, sys.stdout)
"""


@pytest.mark.bcc
@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(0, 64), st.integers(0, 2**40), max_size=12),
        min_size=20, max_size=40,
    )
)  # fmt: skip
def test_the_real_bcc_prints_the_same(cases):
    import contextlib
    import io

    tables = [table(case) for case in cases]
    done = subprocess.run(
        ["/usr/bin/python3", "-W", "ignore", "-c", ORACLE],
        input=json.dumps(tables), capture_output=True, text=True, check=True,
    )  # fmt: skip
    for values, wanted in zip(tables, json.loads(done.stdout), strict=True):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            for strip in (None, True):
                histogram.print_log2(values, "usecs", strip)
                histogram.print_linear(values, "usecs", strip)
        assert text.getvalue() == wanted
