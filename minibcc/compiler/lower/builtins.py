"""Compiler builtins: what GNU C lets a program ask of its compiler, as BPF can answer it.

A table maps names (without ``__builtin_``) to functions that emit code; BPF has no library, so
copies of unknown size become loops, and what has no instruction is spelled out by LLVM's
intrinsics. Atomics below cpu v3 can only add, and give nothing back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from minibcc.btf.types import Ptr, align_of, strip
from minibcc.compiler.lower.constants import constant
from minibcc.compiler.lower.emitter import Place
from minibcc.compiler.lower.expressions import Expressions
from minibcc.compiler.lower.types import INT, VOID, Kind, Unsupported, kind_of
from minibcc.compiler.tree import Address, Builtin, Convert, Decay, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from minibcc.compiler.tree import Call, Expr

_MAX_COMPARED = 64
"""Words that a comparison of known size compares without a loop."""


_TURNS = {"rotateleft": "fshl", "rotateright": "fshr", "bitreverse": "bitreverse"}


class Builtins(Expressions):
    """Lowers calls of builtins."""

    table: ClassVar[dict[str, Callable[[Any, Call, bool], str]]]

    def builtin(self, e: Call, *, used: bool) -> str:
        name = _name(e)
        emit = self.table.get(name.removeprefix("__builtin_"))
        if emit is None:
            raise Unsupported("type/undeclared-function", f"{name} is not supported", span=e.span)
        return emit(self, e, used)

    # --- memory ---

    def _pointer(self, e: Expr) -> Place:
        """What a pointer argument points to, as it was before it became void *: the place that it
        is the address of, or its pointee, with the alignment known there."""
        while isinstance(e, Convert) and kind_of(e.operand.type).pointer:
            e = e.operand
        if isinstance(e, Address | Decay):
            return self.place(e.place)
        type = strip(e.type)
        to = strip(type.to) if isinstance(type, Ptr) else None
        return Place(self.rvalue(e), 1 if to is None else max(1, align_of(to)))

    def _copy(self, e: Call, used: bool) -> str:
        target, source = self._pointer(e.arguments[0]), self._pointer(e.arguments[1])
        size = self.rvalue(e.arguments[2])
        self.mark(e.span)
        known = constant(e.arguments[2])
        if known is None:
            self.copy_loop(target.pointer, source.pointer, size)
        else:
            self.copy(target, source, known)
        return target.pointer

    def _move(self, e: Call, used: bool) -> str:
        """memmove: as memcpy where one piece of straight code can hold all of it, else a loop in
        the direction that is safe."""
        target, source = self._pointer(e.arguments[0]), self._pointer(e.arguments[1])
        size = self.rvalue(e.arguments[2])
        self.mark(e.span)
        known = constant(e.arguments[2])
        if known == 0:
            return target.pointer
        if known and self.module.copies_inline(known, min(target.align, source.align)):
            function = self.intrinsic(
                "llvm.memmove.p0.p0.i64", "void", "ptr", "ptr", "i64", "i1 immarg"
            )
            self.do(
                f"call void {function}(ptr align {target.align} {target.pointer}, "
                f"ptr align {source.align} {source.pointer}, i64 {known}, i1 false)"
            )
            return target.pointer
        up, down, after = self.fresh(), self.fresh(), self.fresh()
        below = self.value(f"icmp ule ptr {target.pointer}, {source.pointer}")
        self.end(f"br i1 {below}, label %{up}, label %{down}")
        self.label(up)
        self.copy_loop(target.pointer, source.pointer, size)
        self.jump(after)
        self.label(down)
        self.copy_loop(target.pointer, source.pointer, size, down=True)
        self.label(after)
        return target.pointer

    def _set(self, e: Call, used: bool) -> str:
        target = self._pointer(e.arguments[0])
        byte, size = self.rvalue(e.arguments[1]), self.rvalue(e.arguments[2])
        self.mark(e.span)
        byte = self.convert(byte, self.kind(e.arguments[1].type), Kind("i8", 1, 1))
        known = constant(e.arguments[2])
        if known is None:
            self.fill_loop(target.pointer, byte, size)
        else:
            self.clear(target, known, byte)
        return target.pointer

    def _compare_memory(self, e: Call, used: bool) -> str:
        """memcmp: below, above or equal to 0, as the first bytes that differ."""
        sides = [self._pointer(argument) for argument in e.arguments[:2]]
        left, right = (side.pointer for side in sides)
        size = self.rvalue(e.arguments[2])
        self.mark(e.span)
        known = constant(e.arguments[2])
        align = min(8, *(side.align for side in sides))
        result, after = self._result()
        if known is None or known > _MAX_COMPARED * align:
            index, done = self.count(size, 1)
            self._compare_word(left, right, index, 1, result, after)
            done()
        else:
            at = 0
            while at < known:
                step = min(align, 1 << (known - at).bit_length() - 1)
                self._compare_word(left, right, str(at), step, result, after)
                at += step
        self.label(after)
        return self.value(f"load i32, ptr {result}, align 4")

    def _result(self) -> tuple[str, str]:
        """An int that is 0, and the block where it is asked for."""
        result = self.slot(INT)
        self.do(f"store i32 0, ptr {result}, align 4")
        return result, self.fresh()

    def _compare_word(
        self, left: str, right: str, index: str, size: int, result: str, after: str
    ) -> None:
        """One step of memcmp: words that differ are ordered as their bytes are, by swapping."""
        ir = f"i{size * 8}"
        words = []
        for side in (left, right):
            at = self.value(f"getelementptr inbounds i8, ptr {side}, i64 {index}")
            words.append(self.value(f"load {ir}, ptr {at}, align {size}"))
        differ, same = self.fresh(), self.fresh()
        equal = self.value(f"icmp eq {ir} {words[0]}, {words[1]}")
        self.end(f"br i1 {equal}, label %{same}, label %{differ}")
        self.label(differ)
        if size > 1:
            function = self.intrinsic(f"llvm.bswap.{ir}", ir, ir)
            words = [self.value(f"call {ir} {function}({ir} {word})") for word in words]
        below = self.value(f"icmp ult {ir} {words[0]}, {words[1]}")
        order = self.value(f"select i1 {below}, i32 -1, i32 1")
        self.do(f"store i32 {order}, ptr {result}, align 4")
        self.jump(after)
        self.label(same)

    def _compare_text(self, e: Call, used: bool) -> str:
        """strcmp and strncmp: byte by byte, until one differs or both end."""
        left, right, *rest = self._operands(e)
        size = rest[0] if rest else str(self._bound(e, e.arguments) + 1)
        result, after = self._result()
        index, done = self.count(size, 1)
        self._compare_word(left, right, index, 1, result, after)
        at = self.value(f"getelementptr inbounds i8, ptr {left}, i64 {index}")
        byte = self.value(f"load i8, ptr {at}, align 1")
        ended = self.value(f"icmp eq i8 {byte}, 0")
        going = self.fresh()
        self.end(f"br i1 {ended}, label %{after}, label %{going}")
        self.label(going)
        done()
        self.label(after)
        return self.value(f"load i32, ptr {result}, align 4")

    def _length(self, e: Call, used: bool) -> str:
        """strlen, of a literal."""
        return str(self._bound(e, e.arguments[:1]))

    def _bound(self, e: Call, texts: tuple[Expr, ...]) -> int:
        """The length of the first of `texts` that is a literal: no loop over others would end as
        far as the verifier can see."""
        for text in texts:
            while isinstance(text, Convert):
                text = text.operand
            if isinstance(text, Decay) and isinstance(text.place, Literal):
                return text.place.data.index(0)
        raise Unsupported(
            "type/unbounded-text",
            f"{_name(e)} of text whose length is not known: the verifier wants a bound",
            "use __builtin_strncmp, or a helper such as bpf_probe_read_kernel_str",
            e.span,
        )

    # --- bits ---

    def _swap(self, e: Call, used: bool) -> str:
        kind, bits = self.kind(e.type), int(_name(e)[-2:])
        (operand,) = self._operands(e)
        ir = f"i{bits}"
        operand = self.resize(operand, self.kind(e.arguments[0].type).bits, bits, False)
        function = self.intrinsic(f"llvm.bswap.{ir}", ir, ir)
        swapped = self.value(f"call {ir} {function}({ir} {operand})")
        return self.resize(swapped, bits, kind.bits, False)

    def _turn(self, e: Call, used: bool) -> str:
        """Rotations, by a count modulo the width, and the bits in the other order."""
        ir, values = f"i{self.kind(e.type).bits}", self._operands(e)
        values = [*values[:-1], *values]  # what is turned is both halves
        intrinsic = _TURNS[_name(e).removeprefix("__builtin_").rstrip("123468")]
        function = self.intrinsic(f"llvm.{intrinsic}.{ir}", ir, *[ir] * len(values))
        return self.value(f"call {ir} {function}({', '.join(f'{ir} {v}' for v in values)})")

    def _count_bits(self, e: Call, used: bool) -> str:
        """clz, ctz, popcount, parity, ffs, in the argument's width; undefined for 0 as in GNU C
        (clz and ctz), which LLVM is told."""
        name = _name(e).removeprefix("__builtin_").rstrip("l")
        if name == "c" or name.endswith("popcount"):
            name = "popcount"
        kind = self.kind(e.arguments[0].type)
        (operand,) = self._operands(e)
        ir = kind.ir
        result = self._counted(name, ir, operand)
        return self.resize(result, kind.bits, self.kind(e.type).bits, False)

    def _counted(self, name: str, ir: str, operand: str) -> str:
        if name in ("clz", "ctz"):
            function = self.intrinsic(
                f"llvm.{'ctlz' if name == 'clz' else 'cttz'}.{ir}", ir, ir, "i1 immarg"
            )
            return self.value(f"call {ir} {function}({ir} {operand}, i1 true)")
        if name == "ffs":
            function = self.intrinsic(f"llvm.cttz.{ir}", ir, ir, "i1 immarg")
            first = self.value(f"call {ir} {function}({ir} {operand}, i1 true)")
            first = self.value(f"add {ir} {first}, 1")
            none = self.value(f"icmp eq {ir} {operand}, 0")
            return self.value(f"select i1 {none}, {ir} 0, {ir} {first}")
        function = self.intrinsic(f"llvm.ctpop.{ir}", ir, ir)
        count = self.value(f"call {ir} {function}({ir} {operand})")
        return self.value(f"and {ir} {count}, 1") if name == "parity" else count

    # --- hints and arithmetic ---

    def _expect(self, e: Call, used: bool) -> str:
        kind = self.kind(e.type)
        operand, expected = self._operands(e)[:2]
        source = self.kind(e.arguments[0].type)
        operand = self.convert(operand, source, kind)
        expected = self.convert(expected, self.kind(e.arguments[1].type), kind)
        function = self.intrinsic(f"llvm.expect.{kind.ir}", kind.ir, kind.ir, kind.ir)
        return self.value(f"call {kind.ir} {function}({kind.ir} {operand}, {kind.ir} {expected})")

    def _assume(self, e: Call, used: bool) -> str:
        condition = self.truth(e.arguments[0])
        self.do(f"call void {self.intrinsic('llvm.assume', 'void', 'i1')}(i1 {condition})")
        return ""

    def _unreachable(self, e: Call, used: bool) -> str:
        self.end("unreachable")
        return ""

    def _nothing(self, e: Call, used: bool) -> str:
        for argument in e.arguments:
            self.evaluate(argument)
        return ""

    def _absolute(self, e: Call, used: bool) -> str:
        kind = self.kind(e.type)
        (operand,) = self._operands(e)
        function = self.intrinsic(f"llvm.abs.{kind.ir}", kind.ir, kind.ir, "i1 immarg")
        return self.value(f"call {kind.ir} {function}({kind.ir} {operand}, i1 true)")

    def _is_constant(self, e: Call, used: bool) -> str:
        """Decided after inlining and folding, as gcc does."""
        kind = self.kind(e.arguments[0].type)
        if kind.aggregate:
            return "0"
        operand = self.rvalue(e.arguments[0])
        suffix = "p0" if kind.pointer else kind.ir
        function = self.intrinsic(f"llvm.is.constant.{suffix}", "i1", kind.ir)
        answer = self.value(f"call i1 {function}({kind.ir} {operand})")
        return self.value(f"zext i1 {answer} to {self.kind(e.type).ir}")

    def _overflow(self, e: Call, used: bool) -> str:
        """add_overflow and its kin: computed with enough bits to hold every result, stored with
        the target's, and compared."""
        operator = next(word for word in ("add", "sub", "mul") if word in _name(e))
        left, right, address = self._operands(e)
        pointer = strip(e.arguments[2].type)
        assert isinstance(pointer, Ptr)
        kind = self.kind(pointer.to)
        kinds = [self.kind(argument.type) for argument in e.arguments[:2]]
        if operator == "mul" and kind.size == 8:
            return self._multiply_overflow(left, right, address, kind, kinds)
        wide = 2 * max(kind.bits, *(side.bits for side in kinds))
        if wide > 128:
            raise Unsupported("type/undeclared-function", f"{_name(e)} of 128 bits", span=e.span)
        left = self.resize(left, kinds[0].bits, wide, kinds[0].signed)
        right = self.resize(right, kinds[1].bits, wide, kinds[1].signed)
        exact = self.value(f"{operator} i{wide} {left}, {right}")
        stored = self.resize(exact, wide, kind.bits, False)
        self.do(f"store {kind.ir} {stored}, ptr {address}, align {kind.align}")
        again = self.resize(stored, kind.bits, wide, kind.signed)
        wrong = self.value(f"icmp ne i{wide} {again}, {exact}")
        return self.value(f"zext i1 {wrong} to i8")

    def _multiply_overflow(
        self, left: str, right: str, address: str, kind: Kind, kinds: list[Kind]
    ) -> str:
        """64 bits: divide the product back (unsigned), or compare the high halves (signed)."""
        left, right = (
            self.resize(side, of.bits, 128, of.signed)
            for side, of in zip((left, right), kinds, strict=True)
        )
        exact = self.arithmetic("*", left, right, kind_wide(kind.signed), kind_wide(kind.signed))
        stored = self.value(f"trunc i128 {exact} to i64")
        self.do(f"store i64 {stored}, ptr {address}, align {kind.align}")
        again = self.resize(stored, 64, 128, kind.signed)
        wrong = self.value(f"icmp ne i128 {again}, {exact}")
        return self.value(f"zext i1 {wrong} to i8")

    # --- atomics ---

    def _sync(self, e: Call, used: bool) -> str:
        """__sync_fetch_and_OP, __sync_OP_and_fetch, __atomic_fetch_OP, __atomic_OP_fetch."""
        operation, new = _UPDATES[_name(e)]
        address, operand = self._operands(e)[:2]
        kind = self._atomic_kind(e)
        operand = self.convert(operand, self.kind(e.arguments[1].type), kind)
        simple = operation in ("add", "sub")
        self._need_v3(e, used or not simple)
        if simple and not self.module.fetching_atomics:
            return self._add_atomically(operation, address, operand, kind)
        before = self._exchange(operation, address, operand, kind)
        if not used:
            return before
        return self.value(f"{operation} {kind.ir} {before}, {operand}") if new else before

    def _add_atomically(self, operation: str, address: str, operand: str, kind: Kind) -> str:
        """Below v3, where BPF has this one operation. LLVM makes another of adding what it finds to
        be 0, and then has no instruction for it, unless the access is volatile."""
        if operation == "sub":
            operand = self.value(f"sub {kind.ir} 0, {operand}")
        return self._exchange("volatile add", address, operand, kind)

    def _exchange(self, operation: str, address: str, operand: str, kind: Kind) -> str:
        return self.value(
            f"atomicrmw {operation} ptr {address}, {kind.ir} {operand} seq_cst, align {kind.size}"
        )

    def _swap_atomic(self, e: Call, used: bool) -> str:
        """__sync_lock_test_and_set, __atomic_exchange_n."""
        address, operand = self._operands(e)[:2]
        kind = self._atomic_kind(e)
        self._need_v3(e, True)
        source = self.kind(e.arguments[1].type)
        if kind.pointer and not source.pointer:
            operand = self.convert(operand, source, kind)
        return self._exchange("xchg", address, operand, kind)

    def _compare_swap(self, e: Call, used: bool) -> str:
        """__sync_val_compare_and_swap and __sync_bool_compare_and_swap."""
        address, old, new = self._operands(e)[:3]
        kind = self._atomic_kind(e)
        self._need_v3(e, True)
        old = self.convert(old, self.kind(e.arguments[1].type), kind)
        new = self.convert(new, self.kind(e.arguments[2].type), kind)
        pair = self.value(
            f"cmpxchg ptr {address}, {kind.ir} {old}, {kind.ir} {new} seq_cst seq_cst, "
            f"align {kind.size}"
        )
        if "bool" in _name(e):
            same = self.value(f"extractvalue {{ {kind.ir}, i1 }} {pair}, 1")
            return self.value(f"zext i1 {same} to {self.kind(e.type).ir}")
        return self.value(f"extractvalue {{ {kind.ir}, i1 }} {pair}, 0")

    def _release(self, e: Call, used: bool) -> str:
        """__sync_lock_release: an ordinary store of 0."""
        address = self._operands(e)[0]
        kind = self._atomic_kind(e)
        zero = "null" if kind.pointer else "0"
        self.do(f"store volatile {kind.ir} {zero}, ptr {address}, align {kind.size}")
        return ""

    def _atomic_load(self, e: Call, used: bool) -> str:
        """__atomic_load_n: BPF's aligned loads are atomic; the compiler may not drop or split."""
        address = self._operands(e)[0]
        kind = self._atomic_kind(e)
        return self.value(f"load volatile {kind.ir}, ptr {address}, align {kind.size}")

    def _atomic_store(self, e: Call, used: bool) -> str:
        address, operand = self._operands(e)[:2]
        kind = self._atomic_kind(e)
        operand = self.convert(operand, self.kind(e.arguments[1].type), kind)
        self.do(f"store volatile {kind.ir} {operand}, ptr {address}, align {kind.size}")
        return ""

    def _fence(self, e: Call, used: bool) -> str:
        """The optimiser keeps accesses where they are; BPF has no fence instruction."""
        self.do('call void asm sideeffect "", "~{memory}"()')
        return ""

    def _atomic_kind(self, e: Call) -> Kind:
        pointer = strip(e.arguments[0].type)
        kind = self.kind(pointer.to) if isinstance(pointer, Ptr) else VOID
        plain = "load" in _name(e) or "store" in _name(e) or "release" in _name(e)
        if kind.aggregate or kind.size not in ((1, 2, 4, 8) if plain else (4, 8)):
            raise Unsupported(
                "type/bad-atomic",
                f"{_name(e)} on {kind.size} bytes: BPF's atomics take 4 or 8",
                span=e.span,
            )
        return kind

    def _need_v3(self, e: Call, needed: bool) -> None:
        if needed and not self.module.fetching_atomics:
            raise Unsupported(
                "type/atomic-result",
                f"{_name(e)} here needs cpu v3: below it, BPF can only add, without a result",
                "drop the result, or compile with --cpu v3",
                e.span,
            )

    # --- packets ---

    def _load_packet(self, e: Call, used: bool) -> str:
        """load_byte, load_half, load_word: bytes of a socket buffer, in the host's order."""
        skb, offset = self._operands(e)
        width = _name(e).removeprefix("load_")
        function = self.intrinsic(f"llvm.bpf.load.{width}", "i64", "ptr", "i64")
        return self.value(f"call i64 {function}(ptr {skb}, i64 {offset})")

    # --- operands ---

    def _operands(self, e: Call) -> list[str]:
        operands = [self.rvalue(argument) for argument in e.arguments]
        self.mark(e.span)
        return operands


_UPDATES = {
    form.format(name): (name, new)
    for name in ("add", "sub", "and", "or", "xor")
    for form, new in (
        ("__sync_fetch_and_{}", False),
        ("__sync_{}_and_fetch", True),
        ("__atomic_fetch_{}", False),
        ("__atomic_{}_fetch", True),
    )
}
"""Atomic updates: the operation, and whether they give the new value."""

Builtins.table = {
    **{f"load_{width}": Builtins._load_packet for width in ("byte", "half", "word")},
    "memcpy": Builtins._copy,
    "memmove": Builtins._move,
    "memset": Builtins._set,
    "memcmp": Builtins._compare_memory,
    "bcmp": Builtins._compare_memory,
    "strcmp": Builtins._compare_text,
    "strncmp": Builtins._compare_text,
    "strlen": Builtins._length,
    **{f"bswap{bits}": Builtins._swap for bits in (16, 32, 64)},
    **{f"{name}{bits}": Builtins._turn for name in _TURNS for bits in (8, 16, 32, 64)},
    **{
        name + suffix: Builtins._count_bits
        for name in ("clz", "ctz", "popcount", "parity", "ffs")
        for suffix in ("", "l", "ll")
    },
    "expect": Builtins._expect,
    "expect_with_probability": Builtins._expect,
    "assume": Builtins._assume,
    "unreachable": Builtins._unreachable,
    "prefetch": Builtins._nothing,
    "constant_p": Builtins._is_constant,
    **dict.fromkeys(("abs", "labs", "llabs"), Builtins._absolute),
    **{
        f"{prefix}{name}{suffix}_overflow": Builtins._overflow
        for name in ("add", "sub", "mul")
        for prefix, suffix in (("", ""), *((p, s) for p in "su" for s in ("", "l", "ll")))
    },
    **dict.fromkeys(_UPDATES, Builtins._sync),
    "__sync_lock_test_and_set": Builtins._swap_atomic,
    "__atomic_exchange_n": Builtins._swap_atomic,
    "__sync_val_compare_and_swap": Builtins._compare_swap,
    "__sync_bool_compare_and_swap": Builtins._compare_swap,
    "__sync_lock_release": Builtins._release,
    "__atomic_load_n": Builtins._atomic_load,
    "__atomic_store_n": Builtins._atomic_store,
    "__sync_synchronize": Builtins._fence,
    "__atomic_thread_fence": Builtins._fence,
    "__atomic_signal_fence": Builtins._fence,
}


def _name(e: Call) -> str:
    assert isinstance(e.callee, Builtin)
    return e.callee.name


def kind_wide(signed: bool) -> Kind:
    return Kind("i128", 16, 16, signed=signed)
