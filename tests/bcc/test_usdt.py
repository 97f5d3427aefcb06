"""USDT: notes of ELF files, and the C that reads a probe's arguments."""

import struct

import pytest

from minibcc.bcc import BPF, USDT, USDTException
from minibcc.bcc.usdt import USDTProbe, USDTProbeLocation, _probes, parse_argument

ARGUMENTS = [
    ("-4@%edi", "4 signed   bytes @ di", "*((int32_t *)dest) = (int32_t)ctx->di;"),
    ("8@$5", "8 unsigned bytes @ 5", "*((uint64_t *)dest) = 5;"),
    ("1@%r8b", "1 unsigned bytes @ r8", "*((uint8_t *)dest) = (uint8_t)ctx->r8;"),
    ("-4@-20(%rbp)", "4 signed   bytes @ *(bp - 20)", "u64 address = ctx->bp + (-20);"),
    ("8@(%rax)", "8 unsigned bytes @ *(ax + 0)", "u64 address = ctx->ax + (0);"),
    ("8@8(%rax,%rbx,4)", "8 unsigned bytes @ *(ax + 8 + bx * 4)", "+ ctx->bx * 4;"),
    ("4@counter(%rip)", "4 unsigned bytes @ *(&counter + 0)", "u64 address = ctx->ip + (0);"),
]


@pytest.mark.parametrize(("text", "words", "c"), ARGUMENTS)
def test_arguments(text, words, c):
    argument = parse_argument(text)
    assert str(argument) == words
    assert c in argument.statements()


@pytest.mark.parametrize("text", ["8@%xmm0", "4@what", ""])
def test_what_cannot_be_read_is_said(text):
    with pytest.raises(USDTException):
        parse_argument(text)


def note(address, base, semaphore, provider, name, arguments):
    body = struct.pack("<3Q", address, base, semaphore)
    body += b"\0".join((provider, name, arguments)) + b"\0"
    header = struct.pack("<3I", 8, len(body), 3) + b"stapsdt\0"
    return header + body + bytes(-len(body) % 4)


def test_notes():
    notes = note(0x1100, 0x2000, 0x3000, b"app", b"start", b"-4@%edi 8@%rsi")
    notes += note(0x1200, 0x2000, 0, b"app", b"stop", b"")
    notes += note(0x1300, 0x2000, 0x3000, b"app", b"start", b"-4@%eax 8@$0")
    start, stop = _probes("/bin/app", notes, 0x2010)
    assert (start.short_name(), stop.short_name()) == ("app:start", "app:stop")
    assert [location.address for location in start.locations] == [0x1110, 0x1310]
    assert (start.semaphore, stop.semaphore) == (0x3010, 0)
    assert (start.num_arguments, stop.num_arguments) == (2, 0)
    assert str(start) == "app:start [sema 0x3010]"
    assert str(start.get_location(0).get_argument(0)) == "4 signed   bytes @ di"


def test_the_readers_compile(system):
    probe = USDTProbe(b"app", b"start", b"/bin/app", 0)
    for address, arguments in ((0x10, ("-4@%edi", "8@-8(%rbp)")), (0x20, ("-4@$3", "8@%rax"))):
        probe.locations.append(USDTProbeLocation(b"/bin/app", address, arguments))
    text = (
        probe.text("on_start")
        + """
    BPF_HASH(seen, u64);
    int on_start(struct pt_regs *ctx) {
        int number = 0;
        u64 address = 0;
        bpf_usdt_readarg(1, ctx, &number);
        bpf_usdt_readarg(2, ctx, &address);
        seen.increment(address + number);
        return 0;
    }
    """
    )
    with BPF(text=text) as b:
        b.load_func("on_start", BPF.KPROBE)


def test_a_file_and_a_process_that_are_not_there(system):
    with pytest.raises(USDTException, match="either a pid or a binary path"):
        USDT()
    with pytest.raises(USDTException, match="path /no/where"):
        USDT(path="/no/where")
    with pytest.raises(USDTException, match="PID 99999"):
        USDT(pid=99999)


def test_an_unknown_probe_ends_a_script_that_asks_so(system, capsys):
    usdt = USDT(path="/bin/sh")
    with pytest.raises(SystemExit):
        usdt.enable_probe_or_bail("no_such_probe", "f")
    assert "no_such_probe" in capsys.readouterr().err
