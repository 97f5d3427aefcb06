"""The tools that ask a machine for more than a kernel has: what they give to `BPF` compiles."""

import pytest

from minibcc import boot
from minibcc.compiler.compile import compile
from minibcc.compiler.target import Target
from tests.bench.texts import texts_of
from tests.tools.test_tools import PLACE, SUFFIX


def test_tools_that_need_answers_compile():
    if not list(PLACE.glob(f"*{SUFFIX}")):
        pytest.skip("needs BCC's tools (Debian's bpfcc-tools)")
    found = texts_of({"criticalstat": [], "kvmexit": []}, "sim")
    assert [text.label for texts in found.values() for text in texts] == ["criticalstat", "kvmexit"]
    target = Target.from_system(boot.files())
    programs = {
        spec.name
        for texts in found.values()
        for text in texts
        for spec in compile(text.text, target, cflags=text.cflags, cache=False).programs
    }
    assert programs == {
        "tracepoint__kvm__kvm_exit",
        "tracepoint__power__cpu_idle",
        "tracepoint__preemptirq__irq_disable",
        "tracepoint__preemptirq__irq_enable",
    }
