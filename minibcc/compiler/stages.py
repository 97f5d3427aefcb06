"""What each stage of the compiler made of a text, for people who want to see.

`stages` is a mapping from a stage's name to its text. A stage runs when it is asked for, and not
further: the tree of a text that LLVM could not compile can still be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from minibcc.compiler.front import Front
    from minibcc.compiler.lower.module import Lowered
    from minibcc.compiler.object import BpfObject


class Stages(Mapping[str, str]):
    """Made by `compile.stages`; `front` runs the front end, `cpu` is v1 to v4, `within` is the
    context that a stage needs (`depth.deep`)."""

    def __init__(
        self,
        front: Callable[[], Front],
        cpu: str,
        within: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._run_front = front
        self._cpu = cpu
        self._within = within

    def __getitem__(self, name: str) -> str:
        with self._within():
            return TABLE[name](self)

    def __iter__(self) -> Iterator[str]:
        return iter(TABLE)

    def __len__(self) -> int:
        return len(TABLE)

    # --- what they are printed from ---

    @cached_property
    def _front(self) -> Front:
        return self._run_front()

    @cached_property
    def _lowered(self) -> Lowered:
        from minibcc.compiler.lower.module import lower

        return lower(self._front.unit, self._cpu, self._front.sources)

    @cached_property
    def _object(self) -> BpfObject:
        from minibcc.compiler.compile import back

        return back(self._front, self._lowered, self._cpu)

    # --- the stages ---

    def _pp(self) -> str:
        from minibcc.compiler.show import tokens

        return tokens(self._front.preprocessed)

    def _tree(self) -> str:
        from minibcc.compiler.show import dump

        return dump(self._front.tree)

    def _plain(self) -> str:
        from minibcc.compiler.show import unit

        return unit(self._front.unit)

    def _ir(self) -> str:
        return self._lowered.text

    def _optimized(self) -> str:
        from minibcc.compiler.codegen import optimize

        return str(optimize(self._lowered.text, self._cpu))

    def _asm(self) -> str:
        from minibcc.compiler.codegen import assembly

        return assembly(self._lowered.text, self._cpu)

    def _lines(self) -> str:
        """Which slots come from which line of C."""
        rows = []
        for program in self._object.programs:
            rows.append(f"{program.name}:")
            stops = [line.insn for line in program.lines[1:]] + [len(program.insns) // 8]
            for line, stop in zip(program.lines, stops, strict=True):
                slots = str(line.insn) if stop == line.insn + 1 else f"{line.insn}-{stop - 1}"
                place = f"{line.file}:{line.line}:{line.column}"
                rows.append(f"  {slots:>9}  {place}  {line.text.strip()}")
        return "\n".join(rows)

    def _btf(self) -> str:
        from minibcc.btf.decode import Btf
        from minibcc.btf.dump import lines

        return "\n".join(lines(Btf(self._object.btf)))


TABLE: dict[str, Callable[[Stages], str]] = {
    "pp": Stages._pp,
    "tree": Stages._tree,
    "plain": Stages._plain,
    "ir": Stages._ir,
    "optimized": Stages._optimized,
    "asm": Stages._asm,
    "lines": Stages._lines,
    "btf": Stages._btf,
}
