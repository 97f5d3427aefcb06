"""The five modules of which the text says that they make up eBPF in the kernel: each is there.

Helpers, the verifier, eleven registers with a program counter and 512 bytes of stack, the just-in-
time compiler, maps. Their depth is tested where they live; here a reader's own questions are.
"""

from __future__ import annotations

import pytest

from minibcc import boot
from minibcc.abi.bpf import ProgType
from minibcc.abi.requests import MapLookup, ProgGetInfo, ProgLoad, ProgTestRun
from minibcc.bcc import BPF
from minibcc.errors import LoadError
from minibcc.isa.instruction import encode
from minibcc.isa.text import assemble

EVENT = "do_sys_openat2"


@pytest.fixture(params=["interpreter", "jit"])
def engine(request):
    """A fresh kernel whose programs run that way."""
    boot.use(boot.system(boot.Options(engine=request.param)))
    yield request.param
    boot.choose(boot.Options())


@pytest.fixture
def system():
    yield boot.system(boot.Options(engine="interpreter"))


def load(text, prog_type=ProgType.SOCKET_FILTER):
    """The request that loads a program given as text."""
    return ProgLoad(prog_type, encode(assemble(text)), log_level=1)


def refusal(system, *code, prog_type=ProgType.KPROBE):
    """The log of a program that must be refused."""
    with pytest.raises(OSError) as refused:
        system.bpf(load("\n".join(code), prog_type))
    return refused.value.log


# --- 1: helpers, whose set depends on the type of the program ---


@pytest.mark.parametrize(
    ("kind", "allowed"), [(BPF.SOCKET_FILTER, True), (BPF.SCHED_CLS, True), (BPF.KPROBE, False)]
)
def test_a_helper_belongs_to_types_of_programs(engine, kind, allowed):
    text = """
    int first(struct __sk_buff *skb)
    {
        char bytes[4];
        bpf_skb_load_bytes(skb, 0, bytes, sizeof(bytes));
        return 0;
    }
    """
    with BPF(text=text) as b:
        if allowed:
            b.load_func("first", kind)
        else:
            with pytest.raises(LoadError) as refused:
                b.load_func("first", kind)
            words = "program of this type cannot use helper bpf_skb_load_bytes#26"
            assert words in str(refused.value)


# --- 2: the verifier: no unreachable and no invalid instruction ---


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (("r0 = 0", "exit", "r0 = 1", "exit"), "unreachable insn 2"),
        (("r0 = r2", "exit"), "R2 !read_ok"),
        (("r10 = 0", "r0 = 0", "exit"), "frame pointer is read only"),
        (("r0 = 0", "*(u64 *)(r10 -520) = r0", "exit"), "invalid write to stack R10"),
        (("r0 = 0", "r1 = *(u8 *)(r10 +0)", "exit"), "invalid read from stack R10"),
        (("r0 = 0",), "last insn is not an exit or jmp"),
    ],
)  # fmt: skip
def test_what_is_unsafe_never_runs(system, code, words):
    assert words in refusal(system, *code)


# --- 3: eleven registers, a program counter, 512 bytes of stack ---


def test_registers_counter_and_stack(system):
    seen = []

    class Watch:
        """Sees each instruction before and after."""

        def before(self, image, slot, registers):
            seen.append((slot, list(registers)))

        def after(self, image, slot, registers):
            pass

        def wrote(self, address, size, value):
            seen[-1] += (address,)

    code = "r1 = 7\n*(u64 *)(r10 -512) = r1\nr0 = *(u64 *)(r10 -512)\nexit"
    fd = system.bpf(load(code)).fd
    real = system.kernel.engine

    class Engine:
        name = real.name

        def run(self, image, run, arguments=()):
            return real.run(image, run, arguments, Watch())

    system.kernel.engine = Engine()
    assert system.bpf(ProgTestRun(fd, data_in=bytes(14))).retval == 7
    assert [slot for slot, *_ in seen] == [0, 1, 2, 3]
    assert all(len(registers) == 11 for _, registers, *_ in seen)
    frame = seen[0][1][10]
    assert seen[1][2] == frame - 512
    assert all(registers[10] == frame for _, registers, *_ in seen)


# --- 4: the compiler of native code ---


def test_native_code_does_the_same(tmp_path):
    made = {}
    for name in boot.ENGINES:
        boot.use(boot.system(boot.Options(engine=name)))
        with BPF(text='int hello(void *ctx) { bpf_trace_printk("Hello, World!"); return 0; }') as b:
            b.attach_kprobe(event=EVENT, fn_name="hello")
            made[name] = [b.trace_fields() for _ in range(12)]
    boot.choose(boot.Options())
    assert made["jit"] == made["interpreter"] == made["auto"]


def test_asking_for_native_code_compiles_it(system):
    fd = system.bpf(load("r0 = 0\nexit")).fd
    assert len(system.bpf(ProgGetInfo(fd, jited=True)).jited_prog_insns) > 0


# --- 5: maps, which both sides read and write ---


def test_both_sides_share_maps(engine):
    text = """
    BPF_HASH(opens, u32);
    BPF_ARRAY(limits, u64, 1);
    int count(void *ctx)
    {
        u32 pid = bpf_get_current_pid_tgid() >> 32;
        u64 *limit = limits.lookup(&(int){0});
        u64 *n = opens.lookup_or_try_init(&pid, &(u64){0});
        if (n && limit && *n < *limit)
            (*n)++;
        return 0;
    }
    """
    with BPF(text=text) as b:
        b["limits"][0] = b["limits"].Leaf(2)
        b.attach_kprobe(event=EVENT, fn_name="count")
        with pytest.raises(KeyboardInterrupt):
            b.trace_print()
        counts = {key.value: leaf.value for key, leaf in b["opens"].items()}
        assert len(counts) > 5 and set(counts.values()) == {2}
        raw = b.system.bpf(MapLookup(b["limits"].map_fd, bytes(4)))
        assert raw == (2).to_bytes(8, "little")
