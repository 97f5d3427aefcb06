"""trace_pipe: lines, fields, and what happens at its end."""

import pytest

from minibcc.bcc.output import Output, TracePipe, parse

LINE = b"            bash-1234    [001] d..31  1000.123456: bpf_trace_printk: Hello, World!"


class Pipe:
    """A kernel with nothing but a trace_pipe that gives its content in pieces."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def listdir(self, path):
        return []

    def open(self, path, flags=0):
        assert path.endswith("/trace_pipe")
        return 3

    def read(self, fd, size):
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, BaseException):
            raise piece
        return piece

    def close(self, fd):
        pass


class Waiting(Output):
    def __init__(self, system):
        self.system = system
        self._open_outputs()


def test_fields():
    assert parse(LINE) == (b"bash", 1234, 1, b"d..31", 1000.123456, b"Hello, World!")


def test_a_task_may_hold_blanks_and_dashes():
    line = LINE.replace(b"            bash", b"  my task-1 a b ".rjust(16)[:16])
    assert parse(line)[:2] == (b"my task-1 a b ", 1234)


@pytest.mark.parametrize("line", [b"", b"CPU:1 [LOST 5 EVENTS]", b"nonsense", LINE[:40]])
def test_what_is_no_message(line):
    assert parse(line) is None


def test_lines_come_whole_however_they_are_read():
    pipe = TracePipe(Pipe(b"one\ntw", b"o\n", b"three\n"), False)
    assert [pipe.readline() for _ in range(4)] == [b"one\n", b"two\n", b"three\n", b""]
    assert pipe.ended


def test_nonblocking_reads_nothing_when_there_is_nothing():
    waiting = Waiting(Pipe(LINE + b"\n", BlockingIOError()))
    assert waiting.trace_fields(nonblocking=True)[1] == 1234
    assert waiting.trace_fields(nonblocking=True) == (None,) * 6


def test_lost_events_are_skipped():
    waiting = Waiting(Pipe(b"CPU:0 [LOST 3 EVENTS]\n" + LINE + b"\n"))
    assert waiting.trace_fields()[5] == b"Hello, World!"


def test_printing_ends_with_the_pipe(capsys):
    with pytest.raises(KeyboardInterrupt):
        Waiting(Pipe(LINE + b"\n")).trace_print()
    assert capsys.readouterr().out == f"{LINE!r}\n"


def test_a_format_takes_the_fields(capsys):
    with pytest.raises(KeyboardInterrupt):
        Waiting(Pipe(LINE + b"\n")).trace_print(fmt="{1} {5}")
    assert capsys.readouterr().out == "1234 b'Hello, World!'\n"
