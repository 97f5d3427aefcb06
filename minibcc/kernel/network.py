"""Programs on network devices: XDP and TCX links.

A packet that the machine reports at a device is copied into the arena and shown to the program;
its verdict goes back to the machine. One XDP program sits on a device; TCX programs run in the
order of attachment until one decides. Mirrors net/core/dev.c (``bpf_xdp_link_attach``) and
kernel/bpf/tcx.c.
"""

from __future__ import annotations

from errno import EBUSY, EINVAL
from typing import TYPE_CHECKING

from minibcc.abi.bpf import AttachType, LinkType, ProgType
from minibcc.kernel.errnos import failure
from minibcc.kernel.packets import Packet, device_name
from minibcc.machine.hooks import Point

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.abi.requests import LinkCreate
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.objects import Program
    from minibcc.machine.hooks import Event

XDP_MODES = 1 << 1 | 1 << 2 | 1 << 3
"""``XDP_FLAGS_MODES``: generic, driver, hardware; at most one of them."""

DIRECTIONS = {AttachType.TCX_INGRESS: "ingress", AttachType.TCX_EGRESS: "egress"}


def attach(
    kernel: Kernel, program: Program, request: LinkCreate
) -> tuple[LinkType, str, Callable[[], None]]:
    """Hangs a program on a device: the link's type, what it hangs on, and how to end it."""
    kind = ProgType(program.request.prog_type)
    device = device_name(request.target_fd)
    if kind == ProgType.XDP and request.attach_type == AttachType.XDP:
        if request.flags & ~XDP_MODES or (request.flags & XDP_MODES).bit_count() > 1:
            raise failure(EINVAL)
        point = Point("xdp", device)
        if kernel.machine.hooks.watched(point):
            raise failure(EBUSY)
        return LinkType.XDP, device, _watch(kernel, program, request.target_fd, point)
    direction = DIRECTIONS.get(request.attach_type)
    if kind != ProgType.SCHED_CLS or direction is None or request.flags:
        raise failure(EINVAL)
    point = Point("tc", f"{device}:{direction}")
    return LinkType.TCX, device, _watch(kernel, program, request.target_fd, point)


def _watch(kernel: Kernel, program: Program, device: int, point: Point) -> Callable[[], None]:
    kind = ProgType(program.request.prog_type)

    def fired(event: Event) -> int:
        with kernel.lock:
            packet = Packet(kernel, kind, event.data, device=device)
            try:
                return packet.run(program, event) & 0xFFFF_FFFF
            finally:
                packet.close()

    return kernel.machine.hooks.attach(point, fired)
