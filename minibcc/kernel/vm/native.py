"""LLVM, as the JIT needs it: IR text to an object, an object to addresses.

An object is plain data (ELF for this host's cpu) whose imports are symbols, so it can be kept and
loaded again by a later process; `load` binds the symbols and makes it callable. LLVM is loaded at
the first use and set up once per process. The quicker levels run passes over functions only: a
pipeline of those can be used again and again, one over modules cannot.

What LLVM does not catch itself ends the process, hence every module is verified before passes run.
"""

from __future__ import annotations

import functools
import re
import sys
from typing import TYPE_CHECKING, Any

from minibcc.kernel.vm.kept import Object, Objects, user_cache
from minibcc.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

NATIVE = sys.byteorder == "little" and sys.maxsize > 1 << 32
"""Whether the lifted code means the right thing here."""


class Level(Record):
    """How hard to try: function passes by llvmlite's names, or all that LLVM's own -O`optimize`
    does; the code generator's level, and that for code without a loop."""

    passes: tuple[str, ...]
    codegen: int
    straight: int
    optimize: int = 0


GOOD = Level(("sroa", "simplify_cfg", "instruction_combine"), 1, 0)
"""Compiled soon: 120 instructions in some 5 ms without a loop, in some 8 with one; about as fast as
Linux's own native code. For loops the code generator's level of 0 is not to be trusted: in one of a
single block it may move a load behind a store (FastISel::tryToFoldLoad follows a load's uses
through the loop's phi)."""
BEST = Level((), 3, 3, 3)
"""For what runs all the time: loops are unrolled, done for several elements at once, or vanish.
Takes three times as long to compile or more, and a third of the time to run (at most all of it)."""
HOT_NS = 20_000_000
"""How long a program has run in native code when it is compiled again with all the care there is:
about what that takes."""
LINKED = 64
"""Objects that one linker loads: it keeps some kilobytes of each that is gone, until it goes."""


class Session:
    """The process's LLVM: a target machine per level, a pipeline per level, a linker."""

    def __init__(self) -> None:
        import llvmlite.binding as llvm

        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.llvm = llvm
        self.target = llvm.Target.from_default_triple()
        self.cpu: str = llvm.get_host_cpu_name()
        self.features: str = llvm.get_host_cpu_features().flatten()
        self.version = ".".join(map(str, llvm.llvm_version_info))
        identity = f"{self.target.triple} {self.version} {self.cpu} {self.features}"
        self.objects = Objects(identity, user_cache())
        self.linker: Any = None
        self.libraries = 0
        self.operations: dict[bool, Any] = {}
        self._machines: dict[int, Any] = {}
        self._pipelines: dict[Level, Any] = {}
        self.header = (
            f'target triple = "{self.target.triple}"\n'
            f'target datalayout = "{self.machine(1).target_data}"'
        )

    def machine(self, level: int) -> Any:
        return self.target.create_target_machine(
            cpu=self.cpu, features=self.features, opt=level, reloc="pic", codemodel="small"
        )

    def compile(self, text: str, level: Level, *, loops: bool = True) -> bytes:
        """IR to an object; `loops` says whether it may have some. Raises RuntimeError if it is no
        valid IR, which is a bug of ours."""
        module = self.llvm.parse_assembly(text)
        module.verify()
        codegen = level.codegen if loops else level.straight
        machine = self._machines.get(codegen)
        if machine is None:
            machine = self._machines[codegen] = self.machine(codegen)
        pipeline = self._pipelines.get(level)
        if pipeline is None:
            pipeline = self._pipelines[level] = self._pipeline(machine, level)
        builder, manager = pipeline
        if level.optimize:
            manager = builder.getModulePassManager()
            manager.run(module, builder)
            _dispose(manager)
        elif level.passes:
            for function in module.functions:
                if not function.is_declaration:
                    manager.run(function, builder)
        code: bytes = machine.emit_object(module)
        return code

    def natives(self, level: Level) -> Any:
        """The map operations of `natives.c` for programs of a level, addresses by name."""
        careful = level.optimize > 0
        if careful not in self.operations:
            made = self.objects.get(("natives", str(careful)), lambda: self._natives(careful))
            self.operations[careful] = self.load(made.code, {}, list(made.symbols))
        return self.operations[careful]

    def _natives(self, careful: bool) -> Object:
        """Compiles them: as a program's first code, in some 10 ms, or well, in some 60."""
        from importlib.resources import files

        text = files("minibcc.kernel.vm").joinpath("natives.ll").read_text()
        names = tuple(re.findall(r"^define dso_local \w+ @(\w+)", text, re.M))
        text = f"{self.header}\n{text}"
        return Object(names, self._careful(text) if careful else self.compile(text, GOOD))

    def _careful(self, text: str) -> bytes:
        """Calls are replaced by what they call. (All that -O3 does takes ten times as long.)"""
        module = self.llvm.parse_assembly(text)
        module.verify()
        machine = self.machine(1)
        options = self.llvm.create_pipeline_tuning_options(speed_level=2)
        builder = self.llvm.create_pass_builder(machine, options)
        manager = self.llvm.create_new_module_pass_manager()
        for name in ("always_inliner", *GOOD.passes, "simplify_cfg"):
            getattr(manager, f"add_{name}_pass")()
        manager.run(module, builder)
        _dispose(manager)
        code: bytes = machine.emit_object(module)
        return code

    def _pipeline(self, machine: Any, level: Level) -> tuple[Any, Any]:
        options = self.llvm.create_pipeline_tuning_options(speed_level=level.optimize or 2)
        options.loop_vectorization = options.slp_vectorization = True
        builder = self.llvm.create_pass_builder(machine, options)
        manager = self.llvm.create_new_function_pass_manager()
        for name in level.passes:
            getattr(manager, f"add_{name}_pass")()
        return builder, manager

    def load(self, code: bytes, imports: Mapping[str, int], exports: list[str]) -> Any:
        """An object to addresses by name, valid as long as the returned mapping lives."""
        library = self.llvm.JITLibraryBuilder().add_object_img(code)
        for name, address in imports.items():
            library.import_symbol(name, address)
        for name in exports:
            library.export_symbol(name)
        if self.libraries % LINKED == 0:
            self.linker = self.llvm.create_lljit_compiler(self.machine(1), use_jit_link=False)
        self.libraries += 1
        loaded = library.link(self.linker, f"program{self.libraries}")
        loaded.linker = self.linker  # stays as long, no longer
        return loaded


def _dispose(manager: Any) -> None:
    """Frees a pass manager. Of its two classes' ways to do so, llvmlite 0.50 takes the one that
    does nothing."""
    from llvmlite.binding.newpassmanagers import NewPassManager

    NewPassManager._dispose(manager)
    manager.detach()


@functools.cache
def session() -> Session:
    """LLVM, loaded now if it is not yet (some 60 ms)."""
    return Session()
