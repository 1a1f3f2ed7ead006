"""Printed programs are found again in another process, and whatever is unsound or may have changed is printed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import config
from graphc.codegen.cpu import cache, machine, printer, texts
from graphc.codegen.emit import Source, emit
from graphc.codegen.source import KernelId, LibraryFunction, MicroKernel, Numbered, Printed, Scratch, Status
from graphc.codegen.structure import structure_of
from graphc.compiler import compile_graph
from graphc.errors import CompileError
from graphc.ir import Graph
from graphc.ir.symbolic import Size, maximum, named

PROGRAM = """
import sys
import graphc
from graphc.compiler import compile_graph

x = graphc.placeholder("x", ("batch", 96))
loss = graphc.softmax(x @ graphc.placeholder("w", (96, "units"))).sum()
source = compile_graph(graphc.Graph((x,), (loss,)))
print(*[(k.text, k.sizes, k.places) for k in source.kernels.values()])
print("graphc.codegen.cpu.printer" in sys.modules, file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    before = config.current()
    config.configure(cache_dir=tmp_path / "kernels", verify=False)
    yield tmp_path / "kernels"
    config.configure(cache_dir=before.cache_dir, verify=before.verify)


def compiled(columns: int = 7) -> Source:
    """Two kernels, one of which draws random numbers."""
    x = graphc.placeholder("x", ("batch", columns))
    noise = graphc.random.uniform(x.shape)
    return compile_graph(Graph((x,), (graphc.softmax(x + noise), graphc.cumulative_sum(x, axis=0))))


@pytest.fixture
def printings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What has been printed."""
    done: list[object] = []
    print_kernel = printer.emit
    monkeypatch.setattr(printer, "emit", lambda kernel: done.append(print_kernel(kernel)) or done[-1])
    return done


def test_what_is_found_is_what_was_printed(folder: Path, printings: list[object]) -> None:
    first = compiled()
    count = len(printings)
    assert count == len(first.kernels) == 2
    second = compiled()
    assert len(printings) == count
    assert second.texts == first.texts
    alone = [printer.emit(kernel) for kernel in second.kernels]
    assert list(second.kernels.values()) == alone
    assert [source.lines for source in second.kernels.values()] == [source.lines for source in alone]
    compiled(8)
    assert len(printings) > count + len(alone)


def test_another_process_prints_nothing(folder: Path) -> None:
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "GRAPHC_CACHE_DIR": str(folder), "GRAPHC_VERIFY": "", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        for seed in ("1", "2")
    ]
    assert [run.stderr.split() for run in runs] == [["True"], ["False"]]
    assert runs[0].stdout == runs[1].stdout != ""


def test_arguments_and_sizes_come_back_equal(folder: Path) -> None:
    n, m = named("n"), named("m")
    sizes: list[Size] = [0, 3 * n * m - 2, maximum(n, m - 1) // 16 + n % 8, n * n]
    arguments = (Status(), MicroKernel("float32"), LibraryFunction("dgetrf"), Numbered(2), *map(Scratch, sizes))
    printed = [
        Printed("text", arguments, (*sizes, KernelId(), Numbered(1)), places={3: (0, 2), 9: (1,)}),
        Printed("other", (), ()),
        Printed("text", (), (5,)),
    ]
    structures = [(1, "a"), (2, "a"), (3, "a")]
    texts.store(structures, printed)
    assert texts.load(structures) == printed
    assert texts.load(structures[:2]) is texts.load(structures[::-1]) is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "writable by others", "under a wrong key"])
def test_an_unsound_entry_is_printed_again(folder: Path, printings: list[object], damage: str) -> None:
    first = compiled()
    (path,) = folder.glob("program.*.json")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-1])
    elif damage == "flipped":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif damage == "writable by others":
        path.chmod(0o666)
    else:
        other = compiled(8)
        (moved,) = set(folder.glob("program.*.json")) - {path}
        moved.replace(path)
        assert other.texts != first.texts
    printings.clear()
    assert compiled().texts == first.texts
    assert len(printings) == len(first.kernels)
    assert path.read_bytes() == content and path.stat().st_mode & 0o777 == 0o600  # mended


NO_ENTRIES = {
    "empty": b"",
    "no text": b"\xff\xfe{",
    "no mapping": b"null",
    "nested deeply": b"[" * 100_000,
    "an endless number": b"9" * 10_000,
    "a text that is none": b'{"texts":[1],"kernels":[[0,[],[],[]],[0,[],[],[]]]}',
    "a kernel too few": b'{"texts":["text"],"kernels":[[0,[],[],[]]]}',
    "a text too few": b'{"texts":[],"kernels":[[0,[],[],[]],[0,[],[],[]]]}',
    "an unknown record": b'{"texts":["text"],"kernels":[[0,[{"open":["x"]}],[],[]],[0,[],[],[]]]}',
    "a fraction": b'{"texts":["text"],"kernels":[[0,[],[0.5],[]],[0,[],[],[]]]}',
}


@pytest.mark.parametrize("content", NO_ENTRIES.values(), ids=NO_ENTRIES.keys())
def test_whole_files_that_are_no_entries_are_printed_again(folder: Path, content: bytes) -> None:
    structures = [(1,), (2,)]
    assert cache.store_program(texts.key_of(structures), content)
    assert texts.load(structures) is None


def test_verifying_prints_and_compares(folder: Path, printings: list[object]) -> None:
    source = compiled()
    config.configure(verify=True)
    count = len(printings)
    assert compiled().texts == source.texts and len(printings) == 2 * count
    structures = {structure_of(kernel).key: kernel for kernel in source.kernels}
    texts.store(tuple(structures), [Printed("another", (), ()) for _ in structures])
    with pytest.raises(CompileError, match="not what is printed now"):
        emit(source.schedule)


def test_the_key_says_what_printing_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {texts.key_of([(1,)]), texts.key_of([(1,), (1,)]), texts.key_of([("1",)])}
    for place, name, value in (
        (machine, "processors", lambda: 77),
        (cache, "environment", lambda: "another machine"),
        (texts, "_printers", lambda: "another printer"),
        (np, "__version__", "another"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            keys.add(texts.key_of([(1,)]))
    assert len(keys) == 7


@pytest.mark.parametrize(
    ("quota", "share"), [("50000 100000", 1), ("300000 100000", 3), ("max 100000", 8), ("", 8), (None, 8)]
)
def test_work_is_cut_for_the_processors_that_a_container_may_use(
    quota: str | None, share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(config, "CPU_QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    machine.processors.cache_clear()
    try:
        assert machine.processors() == config.available_processors() == share
    finally:
        machine.processors.cache_clear()


def test_the_key_holds_every_file_that_printing_calls() -> None:
    package = Path(graphc.__file__).parent
    known = {Path(path) for path in (*cache.generators(), *texts.printers())}

    def imported(path: Path) -> Iterator[Path]:
        for line in ast.walk(ast.parse(path.read_text())):
            if isinstance(line, ast.ImportFrom) and (line.module or "").startswith("graphc"):
                home = package.joinpath(*(line.module or "").split(".")[1:])
                inside = [home / f"{name.name}.py" for name in line.names]
                yield from [each for each in (*inside, home.with_suffix(".py")) if each.exists()]

    found: set[Path] = set()
    pending = [package / "codegen" / name for name in ("cpu/printer.py", "cpu/sharing.py", "cpu/texts.py", "emit.py")]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending += imported(path)
    assert {str(path.relative_to(package)) for path in found - known} == {
        "config.py",  # where entries lie
        "errors.py",
        "foreign.py",  # what errors.py says of names that are another library's
        "ops/base.py",  # of which ops/sizes.py makes tensors
    }


def test_programs_count_and_go_with_the_kernels(folder: Path) -> None:
    assert cache.store("0" * 64, "source", "symbol", b"code")
    before = cache.total_bytes()
    compiled()
    (program,) = folder.glob("program.*.json")
    assert [entry.key for entry in cache.entries()] == ["0" * 64]
    assert cache.total_bytes() == before + program.stat().st_size
    os.utime(program, (0, 0))
    limit = config.current().cache_bytes
    config.configure(cache_bytes=before + 200)
    cache.store("1" * 64, "source", "symbol", b"code")  # room for it, not for the program, which is the oldest
    config.configure(cache_bytes=limit)
    assert not program.exists() and len(cache.entries()) == 2
    compiled()
    assert cache.clear() == 2 and list(folder.iterdir()) == []
