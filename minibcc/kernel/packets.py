"""Packets: the bytes that network programs work on, and their contexts.

A packet lies in the arena with headroom before and tailroom behind it, as in Linux, so that
programs can move its ends. Its context is ``struct __sk_buff`` or ``struct xdp_md`` as user space
knows it, with the real pointers behind (see `contexts.convert_context_accesses`). Mirrors
net/bpf/test_run.c and parts of net/core/filter.c.
"""

from __future__ import annotations

import builtins
import struct
from errno import EINVAL, ENOMEM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.kernel.contexts import PACKET_POINTERS, SK_BUFF_SIZE, XDP_MD_SIZE
from minibcc.kernel.errnos import failure

if TYPE_CHECKING:
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.objects import Program
    from minibcc.machine.hooks import Event

PACKET_TYPES = frozenset(PACKET_POINTERS)
HEADROOM = 256
TAILROOM = 320
META_MAX = 252
"""Bytes of XDP metadata."""
XDP_FRAME = 40
"""Bytes at the start of an XDP packet's headroom that the kernel keeps (``struct xdp_frame``)."""
ETHERNET = 14
LENGTH, PROTOCOL, IFINDEX, FLOW_KEYS = 0, 16, 40, 144
FLOW_KEYS_SIZE = 56
"""Bytes of ``struct bpf_flow_keys``, which a flow dissector fills."""
SKB_FROM_USER = (
    *((8, 4), (32, 4), (36, 4), (40, 4), (48, 20), (152, 8)),
    *((160, 4), (164, 4), (176, 4), (184, 8)),
)
"""Offset and size of what a test may set of struct __sk_buff (``convert___skb_to_skb``)."""
LINK_LEVEL = frozenset((ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP))
"""Types that see the Ethernet header; the others start behind it."""


class Packet:
    """A packet that a program of type `kind` gets. `start` and `end` are addresses of its data.

    `link_level` shows the Ethernet header to a program whose type does not imply that it sees it.
    """

    def __init__(
        self,
        kernel: Kernel,
        kind: ProgType,
        data: bytes,
        context: bytes = b"",
        *,
        link_level: bool = False,
    ) -> None:
        self.kernel = kernel
        self.memory = kernel.memory
        self.kind = kind
        self.is_xdp = kind == ProgType.XDP
        self.pointers = PACKET_POINTERS[kind]
        self.size = HEADROOM + len(data) + TAILROOM
        self.buffer = self.memory.allocate(self.size)
        self.memory.view(self.buffer + HEADROOM, len(data))[:] = data
        self.lowest = self.buffer + (XDP_FRAME if self.is_xdp else 0)
        self.start = self.buffer + HEADROOM
        self.end = self.start + len(data)
        self.meta = self.start
        self.mac = self.start
        self.tunnel: bytes | None = None
        """``struct bpf_tunnel_key`` that a program set."""
        self.tunnel_v6 = False
        self.tunnel_options = b""
        self.target: tuple[str, int] | None = None
        """Where a redirection wants the packet to go: a kind of place and its number."""
        self.context_size = (XDP_MD_SIZE if self.is_xdp else SK_BUFF_SIZE) + 24
        self.context = self.memory.allocate(self.context_size)
        self._set_context(context)
        self.keys = 0
        if kind is ProgType.FLOW_DISSECTOR:
            self.keys = self.memory.allocate(FLOW_KEYS_SIZE)
            self.memory.store(self.context + FLOW_KEYS, 8, self.keys)
        self.hidden = 0 if kind in LINK_LEVEL or link_level else min(ETHERNET, len(data))
        self.start += self.hidden
        if not self.is_xdp:
            self.meta = self.start
        kernel.packets[self.context] = self

    @property
    def length(self) -> int:
        return self.end - self.start

    def bytes(self, offset: int, size: int) -> builtins.bytes:
        """Some of the data; the caller has checked the range."""
        return bytes(self.memory.view(self.start + offset, size))

    def _set_context(self, given: builtins.bytes) -> None:
        size = XDP_MD_SIZE if self.is_xdp else SK_BUFF_SIZE
        if len(given) > size and any(given[size:]):
            raise failure(EINVAL)
        view = self.memory.view(self.context, size)
        if self.is_xdp:
            start, end, before, device = struct.unpack_from("<4I", given.ljust(16, b"\0"))
            if before or end > self.length or start > end or start % 4 or start > META_MAX:
                raise failure(EINVAL)
            # What precedes `start` is metadata.
            self.start += start
            view[12:20] = struct.pack("<II", device or 1, 0)
            return
        rest = bytearray(given)
        for offset, count in SKB_FROM_USER:
            part = given[offset : offset + count]
            view[offset : offset + len(part)] = part
            rest[offset : offset + count] = bytes(len(part))
        if any(rest):
            raise failure(EINVAL)
        view[PROTOCOL : PROTOCOL + 2] = self.memory.view(self.start + 12, 2)
        if not any(view[IFINDEX : IFINDEX + 4]):
            view[IFINDEX : IFINDEX + 4] = struct.pack("<I", 1)

    def sync(self) -> None:
        """Writes where the packet lies into its context."""
        store = self.memory.store
        ends = (self.start, self.end, self.meta)
        for place, address in zip(self.pointers.values(), ends, strict=True):
            store(self.context + place, 8, address)
        if not self.is_xdp:
            store(self.context + LENGTH, 4, self.length)

    def field(self, offset: int, value: int) -> None:
        """Sets a 32-bit field of the context."""
        self.memory.store(self.context + offset, 4, value)

    def move_start(self, delta: int, *, clear: bool) -> int:
        """Takes bytes from the headroom (`delta` below 0) or gives them back; 0, or -EINVAL where
        there are none. With `clear`, new bytes are zero."""
        start = self.start + delta
        if start < self.lowest + (self.start - self.meta) or start > self.end:
            return -EINVAL
        if clear and delta < 0:
            self.memory.view(start, -delta)[:] = bytes(-delta)
        self.start = self.meta = start
        self.sync()
        return 0

    def set_length(self, length: int) -> int:
        """Cuts the packet or lengthens it with zeros; 0, or -ENOMEM where there is no room."""
        end = self.start + length
        if end > self.buffer + self.size:
            return -ENOMEM
        if end > self.end:
            self.memory.view(self.end, end - self.end)[:] = bytes(end - self.end)
        self.end = end
        self.sync()
        return 0

    def context_bytes(self) -> builtins.bytes:
        """The context as user space gets it back: XDP's pointers as offsets."""
        if self.is_xdp:
            head = struct.pack("<III", 0, self.length, 0)
            return head + bytes(self.memory.view(self.context + 12, 12))
        data = bytearray(self.memory.view(self.context, SK_BUFF_SIZE))
        data[FLOW_KEYS : FLOW_KEYS + 8] = bytes(8)  # addresses are nobody's business
        return bytes(data)

    def whole(self) -> builtins.bytes:
        """All bytes, with what lies before the data: XDP's metadata, or the link header where the
        program did not see it."""
        start = self.meta if self.is_xdp else self.start - self.hidden
        return bytes(self.memory.view(start, self.end - start))

    def load(self, offset: int, size: int) -> int | None:
        """A legacy packet load (``BPF_ABS``): big-endian, None outside the packet.

        Negative offsets count from the network header (-0x100000) or the link header (-0x200000).
        """
        base = self.start
        if offset < 0:
            if offset >= -0x100000:
                base, offset = self.mac + ETHERNET, offset + 0x100000
            elif offset >= -0x200000:
                base, offset = self.mac, offset + 0x200000
        if offset < 0 or base + offset + size > self.end:
            return None
        return int.from_bytes(self.memory.view(base + offset, size), "big")

    def run(self, program: Program, event: Event | None = None, repeat: int = 1) -> int:
        """R0 of the last of `repeat` runs."""
        self.sync()
        return self.kernel.run(program, (self.context,), event, self.load, repeat)

    def close(self) -> None:
        self.kernel.packets.pop(self.context, None)
        self.memory.free(self.buffer)
        self.memory.free(self.context)
        if self.keys:
            self.memory.free(self.keys)
