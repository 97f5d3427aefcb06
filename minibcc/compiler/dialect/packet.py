"""Packets behind a cursor: fields of headers read out of and written into a socket buffer.

    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
    ip->df                   load_byte(skb, (u64)ip + 6) >> 6 & 1
    ip->ttl = 64             bpf_skb_store_bytes(skb, (u64)ip + 8, &(u8){64}, 1, 0)
    incr_cksum_l3(&ip->hchecksum, old, new)
                             bpf_l3_csum_replace(skb, (u64)ip + 10, htonl(old), htonl(new), 4)

The pointer to a header declared BPF_PACKET_HEADER is no address: it counts the bytes from the start
of the packet, and `skb` is the function's parameter of type ``struct __sk_buff *``. Numbers are in
network order, bits counted from the highest. A field is read by the shortest of 1, 2, 4 and 8
bytes that hold it, as BCC reads it: a packet that ends before leaves the program with 0. A header
on the stack, or reached through ``skb->data``, is plain memory, and left alone.

Mirrors bpf_dext_pkt, bpf_dins_pkt and their callers in BCC's rewriter; ``ip->ttl -= 1``, which
BCC takes for ``=``, means here what C says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from minibcc.btf.types import Ptr, size_of
from minibcc.compiler import arithmetic as c
from minibcc.compiler import tree
from minibcc.compiler.analyze.constants import fold
from minibcc.compiler.dialect.build import Build
from minibcc.compiler.dialect.deref import DIRECT, Provenance
from minibcc.compiler.dialect.walk import rebuild
from minibcc.records import Record

if TYPE_CHECKING:
    from minibcc.btf.types import Struct, Type
    from minibcc.compiler.kernel import KernelNames
    from minibcc.compiler.reporter import Reporter
    from minibcc.compiler.tree import Call, Expr, Function, Unit, Variable

_LOADS = {8: "load_byte", 16: "load_half", 32: "load_word"}
_HOLDERS: dict[int, Type] = {8: c.UCHAR, 16: c.USHORT, 32: c.UINT, 64: c.ULLONG}
PSEUDO_HEADER = 0x10
"""``BPF_F_PSEUDO_HDR``: the checksum covers the addresses too."""


class _Wrong(Exception):
    """An error has been reported; the form stays a zero."""


class Bits(Record):
    """Bits of a packet: `width` of them, `first` bits behind the highest of byte `offset`."""

    offset: Expr
    first: int
    width: int

    @property
    def size(self) -> int:
        """The bits of the shortest load that holds them, 0 if none does."""
        return next((size for size in _HOLDERS if self.first + self.width <= size), 0)

    @property
    def shift(self) -> int:
        return self.size - self.first - self.width


class _Packets:
    """The rewrites of one function."""

    def __init__(
        self,
        function: Function,
        headers: frozenset[Struct],
        provenance: Provenance | None,
        names: KernelNames,
        reporter: Reporter,
    ) -> None:
        self._function = function
        self._headers = headers
        self._provenance = provenance
        self._names = names
        self._reporter = reporter
        self._buffer = _buffer(function)

    def change(self, node: Any) -> Any:
        """The node without packet accesses; parents first, because where a pointer comes from is
        asked of the tree as it was."""
        place = getattr(node, "place", None)
        if isinstance(node, tree.Load | tree.Assign | tree.Update) and self._within(place):
            return self._try(node, self._access)
        if isinstance(node, tree.Call) and isinstance(node.callee, tree.Builtin):
            form = _FORMS.get(node.callee.name)
            if form is not None:
                return self._try(node, lambda call: form(self, call))
        return rebuild(node, self.change)

    def _try(self, node: Any, form: Any) -> Any:
        try:
            return form(node)
        except _Wrong:
            return tree.Number(node.span, node.type or c.INT, 0)

    def fail(self, code: str, message: str, e: Any, help: str) -> NoReturn:
        self._reporter.error(code, message, e.span, help=[help])
        raise _Wrong

    # --- fields of headers -------------------------------------------------------------------

    def _within(self, place: Any) -> bool:
        """Whether a place lies in a header behind a cursor."""
        while isinstance(place, tree.Field):
            place = place.base
        if not isinstance(place, tree.Deref):
            return False
        if place.type in self._headers:
            assert self._provenance is not None
            return self._provenance.of(place.pointer) != DIRECT
        pointer = place.pointer
        while isinstance(pointer, tree.Arithmetic):
            pointer = pointer.left
        return isinstance(pointer, tree.Decay) and self._within(pointer.place)

    def _access(self, node: tree.Load | tree.Assign | tree.Update) -> Expr:
        build = Build(node.span, self._names)
        bits = self._bits(build, node.place, node)
        if isinstance(node, tree.Load):
            return build.convert(self._read(build, bits, node), node.type)
        kind = c.unqualified(node.type) or c.INT
        offset = build.local("_offset", c.ULLONG)
        again = Bits(build.load(offset), bits.first, bits.width)
        before, after = build.local("_before", kind), build.local("_after", kind)
        body: list[Any] = [build.declare(offset, bits.offset)]
        value = rebuild(node, self.change).value
        if isinstance(node, tree.Update):
            read = build.convert(self._read(build, again, node), kind)
            body.append(build.declare(before, read))
            old = build.convert(build.load(before), node.within)
            value = tree.Arithmetic(node.span, node.within, node.operator, old, value)
        body.append(build.declare(after, build.convert(value, kind)))
        wide = build.convert(build.load(after), c.ULLONG)
        body.extend(self._write(build, again, wide, node))
        post = isinstance(node, tree.Update) and node.post
        return build.block(*body, value=build.load(before if post else after))

    def _bits(self, build: Build, place: Any, node: Any) -> Bits:
        """Which bits of the packet a place is."""
        type = c.unqualified(place.type)
        if c.integer(type) is None:
            self.fail(
                "dialect/packet-field",
                f"a '{c.spell(place.type)}' cannot be read from or written to a packet at once",
                node,
                "name one of its numbers, or copy it with bpf_skb_load_bytes(skb, at, &x, size)",
            )
        first, width = 0, size_of(type) * 8
        if isinstance(place, tree.Field):
            width = place.member.bits or width
            while isinstance(place, tree.Field):
                first += place.offset
                place = place.base
        return Bits(self._offset(build, place, first // 8), first % 8, width)

    def _offset(self, build: Build, place: Any, more: int) -> Expr:
        """How many bytes stand before a place in the packet, as an expression."""
        while isinstance(place, tree.Field):
            more += place.offset // 8
            place = place.base
        assert isinstance(place, tree.Deref)
        pointer, index = place.pointer, None
        if isinstance(pointer, tree.Arithmetic) and isinstance(pointer.left, tree.Decay):
            index, pointer = pointer.right, pointer.left
        if isinstance(pointer, tree.Decay):  # an element of an array in a header
            start = self._offset(build, pointer.place, more)
            if index is None:
                return start
            step = build.number(size_of(place.type), c.ULLONG)
            index = build.convert(self.change(index), c.ULLONG)
            scaled = tree.Arithmetic(build.span, c.ULLONG, "*", index, step)
            return tree.Arithmetic(build.span, c.ULLONG, "+", start, scaled)
        start = build.convert(self.change(pointer), c.ULLONG)
        if not more:
            return start
        return tree.Arithmetic(build.span, c.ULLONG, "+", start, build.number(more, c.ULLONG))

    # --- reads and writes --------------------------------------------------------------------

    def _read(self, build: Build, bits: Bits, node: Any) -> Expr:
        """The bits as a number of 64."""
        value = self._load(build, bits.offset, self._size(bits, node))
        if bits.shift:
            value = tree.Arithmetic(
                build.span, c.ULLONG, ">>", value, build.number(bits.shift, c.ULLONG)
            )
        if bits.width < bits.size:
            value = _and(build, value, (1 << bits.width) - 1)
        return value

    def _load(self, build: Build, offset: Expr, size: int) -> Expr:
        """1, 2, 4 or 8 bytes, given in bits; BPF has no load of 8, so that is two."""
        skb = build.convert(build.load(self.buffer(build)), c.VOID_POINTER)
        if size < 64:
            call = tree.Builtin(_LOADS[size])
            return tree.Call(build.span, c.ULLONG, call, (skb, build.convert(offset, c.ULLONG)))
        start = build.local("_start", c.ULLONG)
        after = tree.Arithmetic(
            build.span, c.ULLONG, "+", build.load(start), build.number(4, c.ULLONG)
        )
        high, low = self._load(build, build.load(start), 32), self._load(build, after, 32)
        high = tree.Arithmetic(build.span, c.ULLONG, "<<", high, build.number(32, c.ULLONG))
        both = tree.Arithmetic(build.span, c.ULLONG, "|", high, low)
        return build.block(build.declare(start, build.convert(offset, c.ULLONG)), value=both)

    def _write(self, build: Build, bits: Bits, value: Expr, node: Any) -> list[Any]:
        """Statements that put `value` there; what stands beside it in its bytes stays."""
        size = self._size(bits, node)
        if bits.width < size:
            ones = (1 << bits.width) - 1 << bits.shift
            shift = build.number(bits.shift, c.ULLONG)
            value = tree.Arithmetic(build.span, c.ULLONG, "<<", value, shift)
            rest = _and(build, self._load(build, bits.offset, size), ~ones & (1 << size) - 1)
            value = tree.Arithmetic(build.span, c.ULLONG, "|", _and(build, value, ones), rest)
        holder = build.local("_bytes", _HOLDERS[size])
        store = build.helper(
            "bpf_skb_store_bytes",
            build.load(self.buffer(build)),
            bits.offset,
            build.address(holder),
            build.number(size // 8),
            build.number(0),
        )
        return [build.declare(holder, _swapped(build, value, size)), build.evaluate(store)]

    def _size(self, bits: Bits, node: Any) -> int:
        if bits.width <= 0 or not bits.size:
            self.fail(
                "dialect/packet-field",
                f"{bits.width} bits behind bit {bits.first} of a byte are not read at once",
                node,
                "split the field: eight bytes are the most",
            )
        return bits.size

    def buffer(self, build: Build) -> Variable:
        if self._buffer is None:
            self._reporter.error(
                "dialect/packet-context",
                f"'{self._function.name}' has no packet to look into: "
                "no parameter 'struct __sk_buff *'",
                build.span,
                help=[
                    "give it one; a program of type XDP reads its packet between ctx->data and "
                    "ctx->data_end instead"
                ],
            )
            raise _Wrong
        return self._buffer

    # --- functions ---------------------------------------------------------------------------

    def extract(self, call: Call) -> Expr:
        """``bpf_dext_pkt(skb, offset, first, width)``."""
        build = Build(call.span, self._names)
        return self._read(build, self._given(build, call, 4), call)

    def insert(self, call: Call) -> Expr:
        """``bpf_dins_pkt(skb, offset, first, width, value)``."""
        build = Build(call.span, self._names)
        given = self._given(build, call, 5)
        offset, value = build.local("_offset", c.ULLONG), build.local("_value", c.ULLONG)
        bits = Bits(build.load(offset), given.first, given.width)
        return build.block(
            build.declare(offset, given.offset),
            build.declare(value, build.convert(self.change(call.arguments[4]), c.ULLONG)),
            *self._write(build, bits, build.load(value), call),
        )

    def load_double(self, call: Call) -> Expr:
        """``load_dword(skb, offset)``."""
        build = Build(call.span, self._names)
        _, offset = self._arguments(call, 2)
        return self._load(build, self.change(offset), 64)

    def checksum(self, call: Call) -> Expr:
        """``incr_cksum_l3(&ip->hchecksum, old, new)``, and that of l4 with whether a pseudo header
        is covered."""
        assert isinstance(call.callee, tree.Builtin)
        build = Build(call.span, self._names)
        layer = 3 if call.callee.name == "incr_cksum_l3" else 4
        place, old, new, *pseudo = self._arguments(call, layer)
        size = size_of(new.type) if c.integer(new.type) is not None else 0
        if size not in (2, 4):
            self.fail(
                "dialect/checksum-size",
                f"a checksum changes by 2 or 4 bytes at a time, not by '{c.spell(new.type)}'",
                new,
                "keep the new number in a variable of type u16 or u32",
            )
        flags: Expr = build.number(size, c.ULLONG)
        if pseudo:
            covered = build.convert(self.change(pseudo[0]), c.BOOL)
            high = tree.Arithmetic(
                build.span, c.ULLONG, "*",
                build.convert(covered, c.ULLONG), build.number(PSEUDO_HEADER, c.ULLONG),
            )  # fmt: skip
            flags = tree.Arithmetic(build.span, c.ULLONG, "|", high, flags)
        replace = build.helper(
            f"bpf_l{layer}_csum_replace",
            build.load(self.buffer(build)),
            build.convert(self.change(place), c.ULLONG),
            _swapped(build, self.change(old), size * 8),
            _swapped(build, self.change(new), size * 8),
            flags,
        )
        return build.convert(replace, c.INT)

    def _given(self, build: Build, call: Call, count: int) -> Bits:
        _, offset, *numbers = self._arguments(call, count)
        first, width = fold(numbers[0]), fold(numbers[1])
        if first is None or width is None:
            self.fail(
                "type/not-constant",
                "which bits of a packet are meant must be known when the program is compiled",
                numbers[0] if first is None else numbers[1],
                "load whole bytes with load_byte, load_half or load_word, and shift",
            )
        return Bits(build.convert(self.change(offset), c.ULLONG), first, width)

    def _arguments(self, call: Call, count: int) -> tuple[Expr, ...]:
        assert isinstance(call.callee, tree.Builtin)
        if len(call.arguments) != count:
            name, given = call.callee.name, len(call.arguments)
            self._reporter.error(
                "type/argument-count", f"'{name}' takes {count} arguments, not {given}", call.span
            )
            raise _Wrong
        return call.arguments


def _and(build: Build, value: Expr, mask: int) -> Expr:
    return tree.Arithmetic(build.span, c.ULLONG, "&", value, build.number(mask, c.ULLONG))


def _swapped(build: Build, value: Expr, size: int) -> Expr:
    """The lowest bits of a number, in network order."""
    holder = _HOLDERS[size]
    value = build.convert(value, holder)
    if size == 8:
        return value
    return tree.Call(build.span, holder, tree.Builtin(f"__builtin_bswap{size}"), (value,))


def _buffer(function: Function) -> Variable | None:
    """The parameter that is the packet's socket buffer."""
    for parameter in function.parameters:
        target = c.pointer(parameter.type)
        struct = c.struct(target.to) if isinstance(target, Ptr) else None
        if struct is not None and struct.name == "__sk_buff":
            return parameter
    return None


_FORMS: dict[str, Any] = {
    "bpf_dext_pkt": _Packets.extract,
    "bpf_dins_pkt": _Packets.insert,
    "load_dword": _Packets.load_double,
    "incr_cksum_l3": _Packets.checksum,
    "incr_cksum_l4": _Packets.checksum,
}


def run(unit: Unit, names: KernelNames, reporter: Reporter) -> None:
    """Rewrites every access to a packet behind a cursor."""
    provenance = Provenance(unit) if unit.headers else None
    bodies = [
        _Packets(function, unit.headers, provenance, names, reporter).change(function.body)
        for function in unit.functions
    ]
    for function, body in zip(unit.functions, bodies, strict=True):
        function.body = body
