"""Packets: the bytes that network programs work on, and their contexts.

A packet lies in the arena with headroom before and tailroom behind it, as in Linux, so that
programs can move its ends. Its context is ``struct __sk_buff`` or ``struct xdp_md`` as user space
knows it, with the real pointers behind (see `contexts.convert_context_accesses`). Mirrors
net/bpf/test_run.c and parts of net/core/filter.c.
"""

from __future__ import annotations

import builtins
import struct
from errno import EINVAL, ENODEV, ENOMEM
from typing import TYPE_CHECKING

from minibcc.abi.bpf import ProgType
from minibcc.kernel.contexts import PACKET_POINTERS, SK_BUFF_SIZE, XDP_MD_SIZE
from minibcc.kernel.errnos import failure

if TYPE_CHECKING:
    from minibcc.kernel.kernel import Kernel
    from minibcc.kernel.objects import Program
    from minibcc.machine.hooks import Event

IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
IP_HEADERS = {IPV4: 20, IPV6: 40}
"""Protocol, in network order, to the least length of its header."""
DEVICES = {1: "lo", 2: "eth0"}
"""Network devices of the simulated computer, by index."""
MTUS = {1: 1 << 16, 2: 1500}
PACKET_TYPES = frozenset(PACKET_POINTERS)
HEADROOM = 256
TAILROOM = 320
PAGE = 4096
XDP_PAGE = PAGE - 320
"""Bytes of the page that holds the first piece of an XDP packet, without ``skb_shared_info``."""
META_MAX = 252
"""Bytes of XDP metadata."""
XDP_FRAME = 40
"""Bytes at the start of an XDP packet's headroom that the kernel keeps (``struct xdp_frame``)."""
ETHERNET = 14
LENGTH, PKT_TYPE, PROTOCOL, IFINDEX = 0, 4, 16, 40
FLOW_KEYS, WIRE_LENGTH = 144, 160
XDP_IFINDEX = 12
FLOW_KEYS_SIZE = 56
"""Bytes of ``struct bpf_flow_keys``, which a flow dissector fills."""
SKB_FROM_USER = (
    *((8, 4), (32, 4), (36, 4), (40, 4), (48, 20), (152, 8)),
    *((160, 4), (164, 4), (176, 4), (184, 8)),
)
"""Offset and size of what a test may set of struct __sk_buff (``convert___skb_to_skb``), and gets
back of it."""
GSO_MAX = 1 << 16
"""Bytes that a packet may have had on the wire; it had fewer segments."""
HOST, BROADCAST, MULTICAST, OTHER_HOST = range(4)
"""``PACKET_HOST`` and its like."""
ALL = b"\xff" * 6
ETHERTYPES_FROM = 0x600
"""A lower number in an Ethernet header is a length, and the protocol one of these two."""
NOVELL, LLC = 1, 4
LINK_LEVEL = frozenset(
    (ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP, ProgType.FLOW_DISSECTOR)
)
"""Types that see the Ethernet header; the others start behind it."""


def device_name(index: int) -> str:
    """Raises ENODEV."""
    name = DEVICES.get(index)
    if name is None:
        raise failure(ENODEV)
    return name


def protocol_of(frame: bytes) -> bytes:
    """What an Ethernet frame carries, in network order (``eth_type_trans``)."""
    number = int.from_bytes(frame[12:ETHERNET], "big")
    if number < ETHERTYPES_FROM:
        number = NOVELL if frame[ETHERNET : ETHERNET + 2] == b"\xff\xff" else LLC
    return number.to_bytes(2, "big")


def sort_of_address(frame: bytes, device: int) -> int:
    """Whose address a frame has that arrives at a device: the loopback's own is zeros."""
    to, loopback = frame[:6], device == 1
    if frame[0] & 1:
        return BROADCAST if to == ALL and not loopback else MULTICAST
    return HOST if loopback and not any(to) else OTHER_HOST


class Packet:
    """A packet that a program of type `kind` gets. `start` and `end` are addresses of its data.

    `device` is where it came from; a program on a device sees the Ethernet header even if its type
    does not imply that. 0: from a test run, whose `context` is empty or whole, and checked
    (`testrun`).
    """

    def __init__(
        self,
        kernel: Kernel,
        kind: ProgType,
        data: bytes,
        context: bytes = b"",
        *,
        device: int = 0,
    ) -> None:
        self.kernel = kernel
        self.memory = kernel.memory
        self.kind = kind
        self.is_xdp = kind == ProgType.XDP
        self.device = device
        self.pointers = PACKET_POINTERS[kind]
        self.size = HEADROOM + len(data) + (0 if self.is_xdp else TAILROOM)
        if self.is_xdp:
            self.size = max(self.size, XDP_PAGE + META_MAX) + PAGE
        self.buffer = self.memory.allocate(self.size)
        self.memory.view(self.buffer + HEADROOM, len(data))[:] = data
        self.lowest = self.buffer + (XDP_FRAME if self.is_xdp else 0)
        self.start = self.buffer + HEADROOM
        self.end = self.start + len(data)
        self.page_end = self.buffer + (XDP_PAGE if self.is_xdp else self.size)
        """How far the first piece may reach."""
        self.linear = self.page_end
        """Where it ends if there are more: XDP's fragments, which a program does not see directly.
        """
        self.meta = self.start
        self.mac = self.start
        self.network = ETHERNET
        """Bytes from the link header to the network header."""
        self.encapsulated = False
        self.csum_level: int | None = None
        """How many checksums are known to be right, less one; None: none is."""
        self.tunnel: bytes | None = None
        """``struct bpf_tunnel_key`` that a program set."""
        self.tunnel_v6 = False
        self.tunnel_options = b""
        self.target: tuple[str, int] | None = None
        """Where a redirection wants the packet to go: a kind of place and its number."""
        self.context_size = (XDP_MD_SIZE if self.is_xdp else SK_BUFF_SIZE) + 24
        self.context = self.memory.allocate(self.context_size)
        self._set_context(context, device)
        self.keys = 0
        if kind is ProgType.FLOW_DISSECTOR:
            self.keys = self.memory.allocate(FLOW_KEYS_SIZE)
            self.memory.store(self.context + FLOW_KEYS, 8, self.keys)
        self.hidden = 0 if kind in LINK_LEVEL or device else min(ETHERNET, len(data))
        self.start += self.hidden
        if not self.is_xdp:
            self.meta = self.start
            if context:
                self._set_wire_length()
            if not device:
                self.field(
                    PKT_TYPE, sort_of_address(data, self.memory.load(self.context + IFINDEX, 4))
                )
        kernel.packets[self.context] = self

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def data_end(self) -> int:
        """The end of what a program sees directly."""
        return min(self.end, self.linear)

    @property
    def most(self) -> int:
        """How far the end can move."""
        fragments = self.end - self.data_end
        if not fragments:
            return self.page_end
        return self.linear + (fragments + PAGE - 1) // PAGE * PAGE

    def bytes(self, offset: int, size: int) -> builtins.bytes:
        """Some of the data; the caller has checked the range."""
        return bytes(self.memory.view(self.start + offset, size))

    def _set_context(self, given: builtins.bytes, device: int) -> None:
        size = XDP_MD_SIZE if self.is_xdp else SK_BUFF_SIZE
        view = self.memory.view(self.context, size)
        if self.is_xdp:
            self.field(XDP_IFINDEX, device or 1)
            if not given:
                return
            start, end, _, device = struct.unpack_from("<4I", given)
            self.field(XDP_IFINDEX, device or 1)
            # What precedes `start` is metadata, and of the headroom; what lies behind `end` is in
            # fragments.
            self.lowest += start
            self.page_end += start
            self.linear = self.page_end
            if end < self.length:
                self.linear = min(self.linear, self.start + end)
            self.start += start
            return
        for offset, count in SKB_FROM_USER:
            part = given[offset : offset + count]
            view[offset : offset + len(part)] = part
        view[PROTOCOL : PROTOCOL + 2] = protocol_of(self.bytes(0, self.length))
        self.field(IFINDEX, device or self.memory.load(self.context + IFINDEX, 4) or 1)

    def _set_wire_length(self) -> None:
        """The length that the packet had on the wire is its own where nobody says."""
        given = self.memory.load(self.context + WIRE_LENGTH, 4)
        self.field(WIRE_LENGTH, given or self.length)

    def sync(self) -> None:
        """Writes where the packet lies into its context."""
        store = self.memory.store
        ends = (self.start, self.data_end, self.meta)
        for place, address in zip(self.pointers.values(), ends, strict=True):
            store(self.context + place, 8, address)
        if not self.is_xdp:
            store(self.context + LENGTH, 4, self.length)

    def field(self, offset: int, value: int) -> None:
        """Sets a 32-bit field of the context."""
        self.memory.store(self.context + offset, 4, value)

    def move_start(self, delta: int, *, clear: bool) -> int:
        """Takes bytes from the headroom (`delta` below 0) or gives them back; 0, or -EINVAL where
        there are none. XDP's metadata stays before the data. With `clear`, new bytes are zero."""
        start = self.start + delta
        if start < self.lowest + (self.start - self.meta) or start > self.data_end:
            return -EINVAL
        if clear and delta < 0:
            self.memory.view(start, -delta)[:] = bytes(-delta)
        before = bytes(self.memory.view(self.meta, self.start - self.meta))
        self.start = self.mac = start
        self.meta = start - len(before)
        self.memory.view(self.meta, len(before))[:] = before
        self.sync()
        return 0

    def reserve(self, before: int, behind: int) -> None:
        """Moves the packet to a larger buffer where its own lacks so many bytes before or behind it
        (``pskb_expand_head``). Raises MemoryError."""
        room = self.start - self.buffer, self.buffer + self.size - self.end
        if before <= room[0] and behind <= room[1]:
            return
        memory, size = self.memory, before + self.size + behind
        buffer = memory.allocate(size)
        moved = buffer + before - self.buffer
        memory.view(self.buffer + moved, self.size)[:] = memory.view(self.buffer, self.size)
        memory.free(self.buffer)
        self.buffer = self.lowest = buffer
        self.size = size
        self.linear = self.page_end = buffer + size
        self.start, self.end, self.mac = self.start + moved, self.end + moved, self.mac + moved
        self.meta = self.start
        self.sync()

    def set_length(self, length: int) -> int:
        """Cuts the packet or lengthens it with zeros; 0, or -ENOMEM where there is no room."""
        end = self.start + length
        if end > self.most:
            return -ENOMEM
        if end > self.end:
            self.memory.view(self.end, end - self.end)[:] = bytes(end - self.end)
        self.end = end
        if end <= self.linear:
            self.linear = self.page_end
        self.sync()
        return 0

    def context_bytes(self, given: builtins.bytes) -> builtins.bytes:
        """The context as user space gets it back, which gave that one: XDP's pointers as
        offsets."""
        if self.is_xdp:
            head = struct.pack("<III", self.start - self.meta, self.data_end - self.meta, 0)
            return head + given[len(head) :]
        view = self.memory.view(self.context, SK_BUFF_SIZE)
        data = bytearray(SK_BUFF_SIZE)
        for offset, count in SKB_FROM_USER:
            data[offset : offset + count] = view[offset : offset + count]
        return bytes(data)

    def flow_keys(self) -> memoryview:
        """The ``struct bpf_flow_keys`` of a flow dissector."""
        return self.memory.view(self.keys, FLOW_KEYS_SIZE)

    def whole(self) -> builtins.bytes:
        """All bytes, with what lies before the data: XDP's metadata, or zeros for the link header
        where the program did not see it."""
        start = self.meta if self.is_xdp else self.start
        return bytes(self.hidden) + bytes(self.memory.view(start, self.end - start))

    def load(self, offset: int, size: int) -> int | None:
        """A legacy packet load (``BPF_ABS``): big-endian, None outside the packet.

        Negative offsets count from the network header (-0x100000) or the link header (-0x200000).
        """
        base = self.start
        if offset < 0:
            if offset >= -0x100000:
                base, offset = self.mac + self.network, offset + 0x100000
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
