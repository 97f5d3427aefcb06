"""Random programs that keep to their memory: what the interpreter and the JIT must agree on.

A program has R6 at 64 bytes of its own memory (in a function it calls: the top of its frame) and
the 128 bytes below R10. Everything else is chance: arithmetic of any kind on any register,
addresses included, branches, loops, calls, callbacks, packets. At its end all registers are mixed
into R0.
"""

from __future__ import annotations

from random import Random

from minibcc.abi.bpf import Pseudo
from minibcc.isa import opcodes
from minibcc.isa.instruction import LD_IMM64, Instruction
from minibcc.isa.opcodes import OPCODES, Opcode
from tests.vm.rig import KERNEL

MEMORY = 64
STACK = 128
NUMBERS = (0, 1, -1, 2, 7, 8, 15, 16, 31, 32, 33, 63, 64, 255, 256, 0x7FFF_FFFF, -0x8000_0000)

_KINDS = {kind: [row for row in OPCODES if row.kind == kind] for kind in {r.kind for r in OPCODES}}
_ALU = [row for row in _KINDS["alu"] if row.op != "addr_space_cast"] + _KINDS["swap"]
_MEMORY = _KINDS["load"] + _KINDS["store"] + _KINDS["atomic"]
_ADD = opcodes.of("alu", "add")
_XOR = opcodes.of("alu", "xor", by_reg=True)
_MUL = opcodes.of("alu", "mul")
_MOV = opcodes.of("alu", "mov", by_reg=True)
_MOV_IMM = opcodes.of("alu", "mov")
_JNE = opcodes.of("jump", "jne")
_CALLX = opcodes.of("call", "callx", by_reg=True)
_LDX = opcodes.of("load", "mem", size=8)


class Generator:
    def __init__(self, random: Random) -> None:
        self.random = random
        self.slots: list[Instruction] = []
        self.calls: list[tuple[int, int]] = []  # slot, function
        self.functions = 0
        self.reserved: set[int] = set()

    def program(self) -> list[Instruction]:
        """A whole program, its functions behind it."""
        chance = self.random
        self.put(_MOV, dst=6, src=1)
        self.function(chance.randrange(1, 25))
        starts = {}
        for function in range(1, 7):
            if function > self.functions:
                break
            starts[function] = len(self.slots)
            self.put(_MOV, dst=6, src=10)
            self.put(_ADD, dst=6, imm=-MEMORY)
            self.function(chance.randrange(1, 12), calls=function < 5)
        for slot, function in self.calls:
            self.slots[slot] = self.slots[slot]._replace(imm=starts[function] - slot - 1)
        return self.slots

    def function(self, items: int, *, calls: bool = True) -> None:
        self.may_call = calls
        self.reserved = set()
        self.block(items, 0)
        for register in range(1, 10):
            self.put(_MUL, dst=0, imm=31)
            self.put(_XOR, dst=0, src=register)
        for offset in range(-STACK, 0, 32):
            self.put(_LDX, dst=3, src=10, off=offset)
            self.put(_XOR, dst=0, src=3)
        self.slots.append(Instruction(0x95))

    # --- pieces -------------------------------------------------------------------------------

    def put(self, row: Opcode, **fields: int) -> None:
        """An instruction of that row, with chance for what is not given."""
        chance = self.random
        values = {
            "dst": self.register(),
            "src": chance.randrange(11) if row.by_reg else 0,
            "off": 0,
            "imm": self.number(),
        } | fields
        for name in values:
            fixed = getattr(row, name)
            if fixed is not None:
                values[name] = fixed
        self.slots.append(Instruction(row.code, **values))

    def register(self) -> int:
        """One that may be written."""
        return self.random.choice([r for r in range(10) if r != 6 and r not in self.reserved])

    def number(self) -> int:
        chance = self.random
        return (
            chance.choice(NUMBERS)
            if chance.random() < 0.6
            else chance.randint(-(1 << 31), 1 << 31) >> 1
        )

    def block(self, items: int, depth: int) -> None:
        for _ in range(items):
            kind = self.random.choices(
                ("alu", "wide", "memory", "frame", "branch", "loop", "call", "misc"),
                (40, 5, 25, 8, 10 if depth < 3 else 0, 4 if depth < 2 else 0, 6, 3),
            )[0]
            getattr(self, kind)(depth)

    def alu(self, depth: int) -> None:
        self.put(self.random.choice(_ALU))

    def wide(self, depth: int) -> None:
        """A 64-bit load of any form: what it is of is known before a program runs, so here all
        but the addresses of functions are numbers."""
        row = self.random.choice([row for row in _KINDS["imm64"] if row.op != "func"])
        self.put(row)
        self.slots.append(Instruction(0, imm=self.number()))

    def memory(self, depth: int, base: int = 0, low: int = 0, high: int = 0) -> None:
        chance = self.random
        row = chance.choice(_MEMORY)
        if not high:
            base, low, high = (6, 0, MEMORY) if chance.random() < 0.5 else (10, -STACK, 0)
        off = chance.randrange(low, high - row.size + 1)
        if row.kind == "atomic":
            off -= off % row.size
        loads = row.kind == "load" or row.op == "load_acquire"
        fields = {"src" if loads else "dst": base, "off": off}
        if row.kind == "atomic" and not loads:
            fields["src"] = self.register()  # it may be written
        self.put(row, **fields)

    def frame(self, depth: int) -> None:
        """An access through a copy of R10."""
        pointer = self.register()
        down = self.random.randrange(1, 9) * 8
        self.put(_MOV, dst=pointer, src=10)
        self.put(_ADD, dst=pointer, imm=-down)
        self.reserved.add(pointer)
        self.memory(depth, pointer, down - STACK, down)
        self.reserved.remove(pointer)

    def branch(self, depth: int) -> None:
        chance = self.random
        row = chance.choice(_KINDS["jump"])
        at = len(self.slots)
        self.put(row, dst=chance.randrange(11))
        self.block(chance.randrange(0, 4), depth + 1)
        if chance.random() < 0.5:
            middle = len(self.slots)
            self.slots.append(Instruction(0x05))
            self.aim(at)
            self.block(chance.randrange(1, 4), depth + 1)
            self.aim(middle)
        else:
            self.aim(at)

    def aim(self, slot: int) -> None:
        """The jump at `slot` goes to what comes next."""
        self.slots[slot] = self.slots[slot]._replace(off=len(self.slots) - slot - 1)

    def loop(self, depth: int) -> None:
        if len(self.reserved) > 4:
            return
        counter = self.random.choice([r for r in (7, 8, 9) if r not in self.reserved] or [5])
        if counter == 5:
            return
        self.put(_MOV_IMM, dst=counter, imm=self.random.randrange(1, 5))
        self.reserved.add(counter)
        start = len(self.slots)
        if self.random.random() < 0.2:
            self.slots.append(Instruction(0xE5, off=0))  # may_goto
        self.block(self.random.randrange(1, 5), depth + 1)
        self.put(_ADD, dst=counter, imm=-1)
        back = start - len(self.slots) - 1
        self.put(_JNE, dst=counter, imm=0, off=back)
        self.reserved.remove(counter)

    def call(self, depth: int) -> None:
        chance = self.random
        choice = chance.choice(("sum", "function", "callback", "kernel", "tail", "register"))
        if choice in ("function", "callback"):
            if not self.may_call or self.functions >= 6:
                return
            self.functions += 1
            self.calls.append((len(self.slots), self.functions))
        if choice == "function":
            self.slots.append(Instruction(0x85, src=1))
        elif choice == "callback":
            if 1 in self.reserved:
                self.calls.pop()
                self.functions -= 1
                return
            self.slots += [Instruction(LD_IMM64, 1, Pseudo.FUNC), Instruction(0)]
            self.slots.append(Instruction(0x85, imm=6))
        elif choice == "kernel":
            self.slots.append(Instruction(0x85, src=2, imm=9))
        elif choice == "register":
            target = self.register()
            self.put(_MOV_IMM, dst=target, imm=5)
            self.put(_CALLX, dst=target)
        elif choice == "tail" and 3 not in self.reserved:
            self.put(_MOV_IMM, dst=3, imm=chance.choice((0, 2, 2, 2)))
            self.slots.append(Instruction(0x85, imm=12))
        else:
            self.slots.append(Instruction(0x85, imm=5))

    def misc(self, depth: int) -> None:
        chance = self.random
        if chance.random() < 0.5 and 0 not in self.reserved:
            row = chance.choice(_KINDS["packet"])
            self.put(row, imm=chance.randrange(0, 14), src=0)
            return
        pointer = self.register()
        address = KERNEL + chance.randrange(0, 5000)
        low = address & 0xFFFF_FFFF
        self.slots += [
            Instruction(LD_IMM64, pointer, 0, 0, low - (low >> 31 << 32)),
            Instruction(0, imm=(address >> 32) - (1 << 32)),
        ]
        row = chance.choice(_KINDS["load"])
        self.put(row._replace(code=row.code - 0x40), src=pointer, off=chance.randrange(-16, 16))


def program(random: Random) -> list[Instruction]:
    return Generator(random).program()
