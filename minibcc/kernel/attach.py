"""Attaching: programs, contexts and hook points brought together.

Whatever way user space takes (a perf event, a raw tracepoint, a link), the end is the same: a
callback at a `Point` of the machine that lays the event out as the program's context, runs the
program, and hands its answer back. Mirrors kernel/trace/bpf_trace.c (``trace_call_bpf``,
``bpf_raw_tp_link_attach``) and ``perf_event_set_bpf_prog`` of kernel/events/core.c.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EEXIST, EINVAL, ENOENT
from typing import TYPE_CHECKING

from minibcc.abi.bpf import AttachType, LinkType, ProgType
from minibcc.abi.perf import PerfType
from minibcc.kernel import contexts, network
from minibcc.kernel.errnos import failure
from minibcc.kernel.events import KPROBE_TYPE, UPROBE_TYPE, PerfEvent
from minibcc.kernel.objects import Link, Program
from minibcc.machine.hooks import Point

if TYPE_CHECKING:
    from minibcc.abi.requests import (
        IterCreate,
        LinkCreate,
        ProgAttach,
        ProgDetach,
        RawTracepointOpen,
    )
    from minibcc.kernel.kernel import Kernel
    from minibcc.machine.hooks import Event


class Attachment:
    """A program at some points. `layout` makes its context of an event; `wanted` says whether an
    event is one of those that it should see."""

    def __init__(
        self,
        kernel: Kernel,
        program: Program,
        points: tuple[Point, ...],
        layout: Callable[[Event], bytes],
        wanted: Callable[[Event], bool] = lambda event: True,
    ) -> None:
        self.kernel = kernel
        self.program = program
        self._layout = layout
        self._wanted = wanted
        program.hold()
        self._detachers = [kernel.machine.hooks.attach(point, self.fired) for point in points]

    def fired(self, event: Event) -> int | None:
        """The callback: a result that the program wants the watched function to have, or None."""
        if not self._wanted(event):
            return None
        with self.kernel.lock:
            kernel = self.kernel
            # A record may be shorter than what its format lets a program read.
            data = self._layout(event).ljust(self.program.reach, b"\0")
            address = kernel.contexts.place(data)
            try:
                kernel.run(self.program, (address,), event)
            finally:
                kernel.contexts.give_back(address, len(data))
            return kernel.take_override()

    def detach(self) -> None:
        detachers, self._detachers = self._detachers, []
        for detach in detachers:
            detach()
        if detachers:
            self.program.put()


# --- perf events ------------------------------------------------------------------------------

EVENT_TYPES = (ProgType.KPROBE, ProgType.TRACEPOINT, ProgType.PERF_EVENT)
"""Types of programs that perf events take."""


def attach_event(kernel: Kernel, event: PerfEvent, program: Program) -> Attachment:
    """PERF_EVENT_IOC_SET_BPF."""
    attr = event.attr
    if attr.type in (KPROBE_TYPE, UPROBE_TYPE):
        wanted_type = ProgType.KPROBE
    elif attr.type == PerfType.TRACEPOINT:
        wanted_type = ProgType.TRACEPOINT
    else:
        wanted_type = ProgType.PERF_EVENT
    if program.request.prog_type != wanted_type or not event.points:
        raise failure(EINVAL)
    if event.attachments:
        raise failure(EEXIST)

    def wanted(fired: Event) -> bool:
        if not event.enabled:
            return False
        if attr.type == UPROBE_TYPE and event.pid > 0:
            return fired.task.tgid == event.pid
        if wanted_type == ProgType.PERF_EVENT:
            return event.cpu in (-1, fired.cpu) and event.pid in (-1, fired.task.tgid)
        # Linux runs the programs of a kprobe or tracepoint before it looks at pid and cpu.
        return True

    attachment = Attachment(kernel, program, event.points, _layout(kernel, event), wanted)
    event.attachments.append(attachment)
    return attachment


def _layout(kernel: Kernel, event: PerfEvent) -> Callable[[Event], bytes]:
    attr = event.attr
    if attr.type == KPROBE_TYPE:
        return contexts.registers
    if attr.type == UPROBE_TYPE:
        return contexts.user_registers
    if attr.type == PerfType.TRACEPOINT:
        return kernel.trace_format(event.points[0].name).record
    return lambda fired: contexts.perf_data(fired, attr.sample_period)


# --- raw tracepoints and traced functions -----------------------------------------------------

TRACED: dict[int, str] = {
    AttachType.TRACE_FENTRY: "fentry",
    AttachType.TRACE_FEXIT: "fexit",
    AttachType.MODIFY_RETURN: "fmod_ret",
    AttachType.TRACE_RAW_TP: "raw_tracepoint",
    AttachType.LSM_MAC: "lsm",
}
"""Attach types of tracing programs, and the kind of point that each hangs on."""


def open_raw_tracepoint(kernel: Kernel, request: RawTracepointOpen) -> int:
    """BPF_RAW_TRACEPOINT_OPEN: a descriptor of the link."""
    program = kernel.program_of(request.prog_fd)
    kind = program.request.prog_type
    if kind in (ProgType.TRACING, ProgType.LSM):
        if request.name:
            raise failure(EINVAL)
        return _link_traced(kernel, program)
    if kind not in (ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE):
        raise failure(EINVAL)
    point = Point("raw_tracepoint", request.name)
    if not kernel.machine.exists(point):
        raise failure(ENOENT)
    attachment = Attachment(kernel, program, (point,), contexts.raw_arguments)
    return _link(kernel, LinkType.RAW_TRACEPOINT, program, request.name, attachment.detach)


def _link_traced(kernel: Kernel, program: Program) -> int:
    """fentry, fexit, fmod_ret, BTF raw tracepoints and LSM programs."""
    attach_type = program.request.expected_attach_type
    kind = TRACED.get(attach_type)
    if kind is None:
        raise failure(EINVAL)
    point = Point(kind, program.attach_to)
    if not kernel.machine.exists(point):
        raise failure(ENOENT)
    attachment = Attachment(kernel, program, (point,), contexts.raw_arguments)
    return _link(
        kernel, LinkType.TRACING, program, program.attach_to, attachment.detach, attach_type
    )


def _link(
    kernel: Kernel,
    type: LinkType,
    program: Program,
    target: str,
    detach: Callable[[], None],
    attach_type: int = 0,
) -> int:
    """A new link with one descriptor."""
    link = Link(type, program, target, detach, attach_type)
    kernel.links.add(link)
    fd = kernel.descriptors.add_object(link)
    link.put()
    return fd


def create_link(kernel: Kernel, request: LinkCreate) -> int:
    """BPF_LINK_CREATE."""
    program = kernel.program_of(request.prog_fd)
    kind = program.request.prog_type
    if request.attach_type == AttachType.PERF_EVENT:
        if request.flags or kind not in EVENT_TYPES:
            raise failure(EINVAL)
        event = kernel.descriptors.description(request.target_fd, PerfEvent)
        attachment = attach_event(kernel, event, program)

        def detach() -> None:
            attachment.detach()
            if attachment in event.attachments:
                event.attachments.remove(attachment)

        target = event.points[0].name
        return _link(kernel, LinkType.PERF_EVENT, program, target, detach, AttachType.PERF_EVENT)
    if kind in (ProgType.TRACING, ProgType.LSM):
        if request.attach_type != program.request.expected_attach_type:
            raise failure(EINVAL)
        if request.attach_type == AttachType.TRACE_ITER:
            from minibcc.kernel import iterators

            return iterators.create_link(kernel, program, request)
        return _link_traced(kernel, program)
    if kind in (ProgType.XDP, ProgType.SCHED_CLS):
        link_type, device, detach = network.attach(kernel, program, request)
        return _link(kernel, link_type, program, device, detach, request.attach_type)
    raise failure(EINVAL)


def create_iterator(kernel: Kernel, request: IterCreate) -> int:
    """BPF_ITER_CREATE."""
    from minibcc.kernel import iterators

    return iterators.create(kernel, request)


# --- cgroups, sockets and their like ----------------------------------------------------------


ATTACHABLE = (
    *(kind for kind in ProgType if kind.name.startswith("CGROUP")),
    *(ProgType.SOCK_OPS, ProgType.SK_SKB, ProgType.SK_MSG, ProgType.FLOW_DISSECTOR),
    *(ProgType.LIRC_MODE2, ProgType.LSM),
)
"""Types of programs that BPF_PROG_ATTACH is for."""


def attach_program(kernel: Kernel, request: ProgAttach) -> None:
    """BPF_PROG_ATTACH: there are no cgroups, sockets maps or lirc devices to attach to."""
    program = kernel.program_of(request.attach_bpf_fd)
    if ProgType(program.request.prog_type) not in ATTACHABLE:
        raise failure(EINVAL)
    kernel.descriptors.get(request.target_fd)
    raise failure(EINVAL)


def detach_program(kernel: Kernel, request: ProgDetach) -> None:
    """BPF_PROG_DETACH."""
    kernel.descriptors.get(request.target_fd)
    raise failure(ENOENT)
