"""Headers of bcc/proto.h against the real BCC: the same text, compiled by both, run by the running
kernel on the same packet, gives the same number and leaves the same packet behind."""

from __future__ import annotations

import json
import random
import subprocess

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import ProgLoad, ProgTestRun
from minibcc.compiler.compile import compile
from minibcc.compiler.preprocess.headers import shipped
from minibcc.compiler.target import Target
from minibcc.errors import CompileError
from tests.live import kernel

SCRIPT = """
import json, sys
from bcc import BPF
texts = json.load(sys.stdin)
print(json.dumps([BPF(text=text).dump_func("f").hex() for text in texts]))
"""
FRAME = """#include <bcc/proto.h>
int f(struct __sk_buff *skb) {
    u8 *cursor = 0;
    u64 sum = 1;
    struct ethernet_t *skipped = cursor_advance(cursor, sizeof(*skipped));
    struct %s *header = cursor_advance(cursor, sizeof(*header));
    %s
    return sum ^ sum >> 32;
}
"""
HEADERS = {
    name.removesuffix("_t"): [
        word.partition(":")[0].split()[-1]
        for declaration in rows
        for word in declaration.text.split("{")[1].split("}")[0].split(";")
        if word.strip() and "[" not in word
    ]
    for name, rows in shipped("bcc/proto.h").declarations.items()
}


def packet(seed: int) -> bytes:
    """An IP packet of random content, long enough for each header."""
    source = random.Random(seed)
    return bytes(12) + b"\x08\x00" + bytes([0x45, *source.randbytes(109)])


def reads(header: str) -> str:
    lines = [f"sum = sum * 31 + (u64)header->{field};" for field in HEADERS[header]]
    return FRAME % (f"{header}_t", "\n    ".join(lines))


def writes(header: str) -> str:
    lines = [
        f"header->{field} = {0x5A5A5A5A5A5A5A5A >> number % 3 & 0xFFFFFFFFFFFFFF}ULL + sum;"
        for number, field in enumerate(HEADERS[header])
    ]
    return FRAME % (f"{header}_t", "\n    ".join(lines))


CHECKSUMS = FRAME % (
    "ip_t",
    """u32 before = header->src, after = 0x0a000063;
    u16 port = 8080, old = header->identification;
    sum += incr_cksum_l3(&header->hchecksum, before, after);
    header->src = after;
    struct tcp_t *tcp = cursor_advance(cursor, sizeof(*tcp));
    sum += incr_cksum_l4(&tcp->cksum, before, after, 1);
    sum += incr_cksum_l4(&tcp->cksum, old, port, 0);
    tcp->dst_port = port;""",
)
TEXTS = {
    **{f"reads {header}": reads(header) for header in HEADERS},
    **{f"writes {header}": writes(header) for header in HEADERS},
    "checksums": CHECKSUMS,
}


@pytest.fixture(scope="module")
def theirs() -> dict[str, bytes]:
    """What the real BCC makes of all texts."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", SCRIPT],
        input=json.dumps(list(TEXTS.values())), capture_output=True, text=True, check=True,
    )  # fmt: skip
    codes = json.loads(done.stdout.splitlines()[-1])
    return {name: bytes.fromhex(code) for name, code in zip(TEXTS, codes, strict=True)}


def outcome(system, insns: bytes, data: bytes) -> tuple[int, bytes]:
    loaded = system.bpf(ProgLoad(ProgType.SCHED_CLS, insns, "GPL"))
    try:
        run = system.bpf(ProgTestRun(loaded.fd, data_in=data, data_size_out=len(data)))
    finally:
        system.close(loaded.fd)
    return run.retval, run.data_out


@pytest.mark.bcc
@pytest.mark.kernel
@pytest.mark.xdist_group("packets")
@pytest.mark.parametrize("name", TEXTS)
def test_as_the_real_bcc(name: str, theirs: dict[str, bytes]):
    system = kernel()
    ours = compile(TEXTS[name], Target.from_system(system), cache=False).programs[0].insns
    simulated = boot.system(boot.Options())
    for seed in range(3):
        data = packet(seed)
        expected = outcome(system, theirs[name], data)
        assert outcome(system, ours, data) == expected
        assert outcome(simulated, ours, data) == expected
    if name.startswith("writes"):
        assert expected[1] != data


FORMS = {
    "header->ttl -= 1; sum = header->ttl;": 63,
    "sum = header->ttl--; sum += header->ttl;": 64 + 63,
    "sum = --header->hlen; sum = sum * 16 + header->ver;": 4 * 16 + 4,
    "sum = (header->ttl = 300);": 300 & 255,
    "#define TTL(h) (h)->ttl\nsum = TTL(header) + TTL((struct ip_t *)(cursor - 20));": 128,
    "struct ip6_opt_t *o = (void *)(cursor - 20); u64 i = bpf_get_prandom_u32() & 0; "
    "sum = o->pad[i + 6];": 64,
    "struct ip_t copy = {}; copy.ttl = 5; struct ip_t *p = &copy; p->ttl++; sum = p->ttl;": 6,
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_that_the_real_bcc_refuses_or_mistakes(form: str):
    """Compound assignments, values of assignments, macros, casts, arrays, headers in memory."""
    simulated = boot.system(boot.Options())
    head, _, body = form.rpartition("\n")
    text = head + "\n" + FRAME % ("ip_t", body)
    insns = compile(text, Target.from_system(simulated), cache=False).programs[0].insns
    data = bytes(12) + b"\x08\x00" + bytes([0x45, *bytes(7), 64, *bytes(40)])
    assert outcome(simulated, insns, data)[0] == FORMS[form]


def test_a_header_in_memory_is_read_as_memory():
    text = FRAME.replace("u8 *cursor = 0", "u8 *cursor = (void *)(long)skb->data") % (
        "icmp_t",
        "if ((void *)(header + 1) > (void *)(long)skb->data_end) return 0;\nsum = header->code;",
    )
    simulated = boot.system(boot.Options())
    insns = compile(text, Target.from_system(simulated), cache=False).programs[0].insns
    assert outcome(simulated, insns, packet(1))[0] == packet(1)[15]


def test_a_program_without_a_packet():
    text = (FRAME % ("ip_t", "sum = header->ttl;")).replace("__sk_buff *skb", "xdp_md *ctx")
    with pytest.raises(CompileError) as caught:
        compile(text, Target.from_system(boot.system(boot.Options())), cache=False)
    assert {one.code for one in caught.value.diagnostics} == {"dialect/packet-context"}
