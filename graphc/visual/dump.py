"""Dumps: every stage of every compilation as text and picture, in numbered files.

::

    program_00/
        00_declare.txt       the graph as the user declared it     00_declare.svg
        01_simplify.txt      after each pass                       01_simplify.svg
        ...
        07_schedule.txt      kernels with their formulas           07_schedule.svg
        08_emit/kernel_00_contract_relu.py     each kernel's source, with the user's lines it came from
        memory.txt           the memory plan                       memory.svg
        times.txt            seconds that each stage took

A :class:`Dump` is one observer of the compiler (:data:`graphc.compiler.OBSERVERS`). It never overwrites: a folder
that is there already, from another run or another process, is left alone and the next number taken. When the folder
can't be written, one warning says so and compiling goes on.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphc import config
from graphc.codegen.emit import Source
from graphc.codegen.source import KernelSource, Scratch
from graphc.compiler import OBSERVERS
from graphc.errors import GraphcError
from graphc.ir.graph import Graph
from graphc.ir.printer import format_bytes, format_graph
from graphc.ir.symbolic import NOMINAL_SIZE, evaluate
from graphc.schedule.kernel import Kernel
from graphc.schedule.memory import MemoryPlan, dims_of, plan
from graphc.schedule.report import format_schedule, tensor_names, user_lines
from graphc.schedule.schedule import Schedule
from graphc.visual.dot import printable
from graphc.visual.graphs import draw_graph
from graphc.visual.memory import block_name, draw_memory
from graphc.visual.render import Drawing, NoRenderer, warn_once
from graphc.visual.schedules import draw_schedule

MOST_DRAWN = 250
"""Graphs of more nodes are drawn with their scopes folded."""

CODE_WIDTH, COMMENT_WIDTH = 96, 240
"""Characters of a kernel's source before the user's lines beside it, and of these."""


class Dump:
    """An observer of the compiler that writes what it is shown into a folder.

    Parameters
    ----------
    folder : str or Path
        Receives one folder a program, ``program_00``, ``program_01`` ...
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._programs = threading.local()

    def __call__(self, name: str, product: Any, seconds: float) -> None:
        """Called by the compiler after each stage, with what it made and the seconds it took."""
        try:
            if name == "declare":
                self._programs.current = _Program(_new_folder(self.folder))
            program = getattr(self._programs, "current", None)
            if program is not None:
                program.write(name, product, seconds)
        except OSError as error:
            self._programs.current = None
            warn_once(f"no dump is written: {str(self.folder)!r} can't be written: {error.strerror or error}")


def install_from_config() -> None:
    """Observe the compiler with a :class:`Dump` if the configuration names a folder (``GRAPHC_DUMP``)."""
    folder = config.current().dump
    if folder is not None and not any(
        isinstance(observer, Dump) and observer.folder == folder for observer in OBSERVERS
    ):
        OBSERVERS.append(Dump(folder))


def _new_folder(parent: Path) -> Path:
    """A folder that nobody else has; making it is the test."""
    parent.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in parent.glob("program_*"))
    while True:
        folder = parent / f"program_{number:02d}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


class _Program:
    """The files of one compilation."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.count = 0
        self.times: list[tuple[str, float]] = []

    def write(self, name: str, product: Any, seconds: float) -> None:
        stem = f"{self.count:02d}_{name}"
        self.count += 1
        self.times.append((stem, seconds))
        if isinstance(product, Graph):
            head = f"{name}: {len(product.nodes)} nodes"
            self._text_and_picture(
                stem, head, format_graph(product), lambda: draw_graph(product, title=head, limit=MOST_DRAWN)
            )
        elif isinstance(product, Schedule):
            head = f"{name}: {sum(1 for _ in product.kernels())} kernels"
            self._text_and_picture(stem, head, format_schedule(product), lambda: draw_schedule(product, title=head))
        elif isinstance(product, Source):
            self._sources(self.folder / stem, product)
            self._memory(product)
        self._write("times.txt", "".join(f"{seconds * 1e3:10.2f} ms  {name}\n" for name, seconds in self.times))

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")

    def _text_and_picture(self, stem: str, head: str, text: str, draw: Any) -> None:
        note = self._picture(stem, draw)
        self._write(f"{stem}.txt", f"# {head}\n{note}\n{text}\n")

    def _picture(self, stem: str, draw: Any) -> str:
        """Save a picture; a note that says why there is none otherwise."""
        try:
            drawing: Drawing = draw()
        except GraphcError as error:
            return f"# no picture: {error.message}\n"
        try:
            self._write(f"{stem}.svg", drawing.svg())
        except NoRenderer as error:
            self._write(f"{stem}.dot", drawing.dot)
            warn_once(f"dumps hold DOT text instead of pictures: {error.message}; {error.hint}")
        except GraphcError as error:
            return f"# no picture: {error.message}\n"
        return ""

    def _sources(self, folder: Path, source: Source) -> None:
        """One file a distinct text; kernels of equal text share it."""
        folder.mkdir()
        users: dict[str, list[tuple[int, Kernel, KernelSource]]] = {}
        for number, (kernel, emitted) in enumerate(source.kernels.items()):
            users.setdefault(emitted.text, []).append((number, kernel, emitted))
        for group in users.values():
            number, kernel, emitted = group[0]
            head = [f"# kernel {', '.join(str(other) for other, _, _ in group)} of {len(source.kernels)}"]
            name = folder / f"kernel_{number:02d}_{kernel_words(kernel)}.py"
            text = "\n".join([*head, annotated(emitted), ""])
            name.write_text(text, encoding="utf-8", errors="backslashreplace")

    def _memory(self, source: Source) -> None:
        sizes = dict.fromkeys(dims_of(source.schedule.graph), NOMINAL_SIZE)
        workers = config.current().threads
        made = plan(source.schedule, sizes, scratch_bytes(source, sizes), workers)
        assumed = ", ".join(f"{name} = {size}" for name, size in sizes.items()) or "no named dims"
        head = f"# memory plan for {assumed}; {workers} workers"
        try:
            self._write("memory.svg", draw_memory(made, source.schedule).svg())
        except GraphcError as error:
            head += f"\n# no picture: {error.message}"
        self._write("memory.txt", f"{head}\n\n{format_memory(made, source.schedule)}\n")


def scratch_bytes(source: Source, sizes: Mapping[str, int]) -> dict[Kernel, int]:
    """Bytes of scratch that one worker needs, for the kernels that need some."""
    return {
        kernel: evaluate(argument.bytes, sizes)
        for kernel, emitted in source.kernels.items()
        for argument in emitted.arguments
        if isinstance(argument, Scratch)
    }


def format_memory(made: MemoryPlan, schedule: Schedule) -> str:
    """A memory plan as a table of buffers by offset."""
    names = tensor_names(schedule.graph)
    lines = [
        f"peak {format_bytes(made.peak)} ({made.peak} bytes), lower bound {format_bytes(made.lower_bound)}",
        "",
        f"{'offset':>12s} {'bytes':>12s}  {'steps':<10s} holds",
    ]
    for block in sorted(made.blocks, key=lambda block: (block.offset, block.first)):
        steps = f"{block.first}-{block.last}"
        lines.append(f"{block.offset:12d} {block.bytes:12d}  {steps:<10s} {block_name(block, names)}")
    return "\n".join(lines)


def kernel_words(kernel: Kernel) -> str:
    """A few words for a file's name: what the stages compute."""
    words = dict.fromkeys(stage.results[0].node.op.name for stage in kernel.stages)
    return re.sub(r"[^a-z0-9_]", "", "_".join(list(words)[:4]).lower())[:40]


def annotated(source: KernelSource) -> str:
    """A kernel's text with the user's lines as comments beside the lines that came from them."""
    lines = source.text.splitlines()
    shown = ""
    for place, line in enumerate(lines):
        comment = printable("; ".join(user_lines(source.lines.get(place + 1, ()))), COMMENT_WIDTH)
        if comment and comment != shown:
            lines[place] = f"{line:<{CODE_WIDTH}s}  # {comment}"
        shown = comment or shown
    return "\n".join(lines)
