"""The simulated kernel's symbols and tracefs."""

import re

import pytest

from minibcc.btf.decode import Btf
from minibcc.btf.encode import encode
from minibcc.btf.events import syscalls
from minibcc.btf.layout import Kind
from minibcc.btf.types import Func, FuncProto
from minibcc.machine.symbols import DATA_SYMBOLS, PITCH, TEXT, Symbols
from minibcc.machine.tracefs import Tracefs
from tests.btf.kernel import kernel_btf


@pytest.fixture(scope="module")
def symbols() -> Symbols:
    return Symbols(kernel_btf())


class TestSymbols:
    def test_names_and_addresses_lead_to_each_other(self, symbols: Symbols) -> None:
        for name in (
            "do_sys_openat2",
            "__x64_sys_clone",
            "vfs_read",
            "tcp_v4_connect",
            "nfs_file_read",
        ):
            address = symbols.address(name)
            assert address is not None and address >= TEXT
            assert symbols.resolve(address) == (name, 0)
            assert symbols.resolve(address + PITCH - 1) == (name, PITCH - 1)

    def test_what_is_not_there(self, symbols: Symbols) -> None:
        assert symbols.address("no_such_function") is None
        assert symbols.address("task_struct") is None
        assert symbols.resolve(TEXT - 1) is None
        assert symbols.resolve(0) is None
        end = symbols.address("_etext")
        assert end is not None and symbols.resolve(end) is None

    def test_kallsyms_has_linuxs_form_and_order(self, symbols: Symbols) -> None:
        lines = symbols.kallsyms().decode().splitlines()
        rows = [
            re.fullmatch(r"([0-9a-f]{16}) ([a-zA-Z]) (\w+)(?:\t\[(\w+)\])?", line) for line in lines
        ]
        assert all(rows)
        places = [int(row[1], 16) for row in rows if row]
        assert places == sorted(places) and places[0] == TEXT
        known = {row[3]: (int(row[1], 16), row[2], row[4]) for row in rows if row}
        assert known["vfs_read"] == (symbols.address("vfs_read"), "T", None)
        assert known["nfs_file_read"][2] == "nfs" == symbols.module("nfs_file_read")
        assert symbols.module("vfs_read") == "" == symbols.module("no_such_function")
        for name, _, letter in DATA_SYMBOLS:
            assert known[name] == (symbols.address(name), letter, None)
        assert {f"__x64_sys_{name}" for name in syscalls()} <= set(symbols.names())

    def test_addresses_are_the_same_every_time(self, symbols: Symbols) -> None:
        again = Symbols(Btf(kernel_btf().data, index=kernel_btf().index))
        assert again.address("vfs_read") == symbols.address("vfs_read")

    def test_gaps_between_functions_belong_to_the_one_before(self) -> None:
        a, b = (Func(name, FuncProto(None, ())) for name in "ab")
        symbols = Symbols(Btf(encode([a, b]).data))
        assert symbols.names() == ["a", "b"]
        assert symbols.address("b") == TEXT + PITCH


@pytest.fixture(scope="module")
def tracefs() -> Tracefs:
    return Tracefs(kernel_btf())


class TestTracefs:
    def test_an_event_is_a_directory(self, tracefs: Tracefs) -> None:
        assert tracefs.listdir("events/sched/sched_switch") == ["enable", "filter", "format", "id"]
        assert tracefs.read("events/sched/sched_switch/format").startswith(b"name: sched_switch\n")
        number = int(tracefs.read("/events/sched/sched_switch/id"))
        found = tracefs.find(number)
        assert found is not None and found.name == "sched_switch"
        assert tracefs.find(3) is None
        assert tracefs.read("events/sched/sched_switch/enable") == b"0\n"
        assert tracefs.read("events/sched/filter") == b"none\n"

    def test_directories(self, tracefs: Tracefs) -> None:
        assert {"events", "available_events"} <= set(tracefs.listdir(""))
        assert {"sched", "syscalls", "raw_syscalls", "block", "tcp", "nfs"} <= set(
            tracefs.listdir("events")
        )
        assert {"sched_switch", "enable"} <= set(tracefs.listdir("events/sched/"))

    @pytest.mark.parametrize(
        ("path", "error"),
        [
            ("events/sched/no_such", FileNotFoundError),
            ("events/sched/sched_switch/no_such", FileNotFoundError),
            ("events/no_such", FileNotFoundError),
            ("no_such", FileNotFoundError),
            ("events/sched/sched_switch/format/more", FileNotFoundError),
            ("events/sched", IsADirectoryError),
            ("", IsADirectoryError),
        ],
    )
    def test_what_cannot_be_read(self, tracefs: Tracefs, path: str, error: type[OSError]) -> None:
        with pytest.raises(error):
            tracefs.read(path)

    def test_a_file_has_no_names(self, tracefs: Tracefs) -> None:
        with pytest.raises(NotADirectoryError):
            tracefs.listdir("events/sched/sched_switch/id")
        with pytest.raises(FileNotFoundError):
            tracefs.listdir("events/no_such")

    def test_lists(self, tracefs: Tracefs) -> None:
        events = tracefs.read("available_events").decode().splitlines()
        assert "sched:sched_switch" in events and "syscalls:sys_enter_clone" in events
        functions = tracefs.read("available_filter_functions").decode().splitlines()
        assert "vfs_read" in functions and "nfs_file_read [nfs]" in functions

    def test_events_without_their_record_are_not_there(self) -> None:
        bare = Tracefs(Btf(encode([Func("f", FuncProto(None, ()))]).data))
        assert not bare.exists("sched", "sched_switch")
        assert kernel_btf().find_id(Kind.STRUCT, "trace_event_raw_sched_switch") is not None
