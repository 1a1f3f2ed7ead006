"""Kernels of random shapes touch no byte that is not theirs, on machines of several widths and with small blocks.

The environment variable ``CHECKED_KERNELS`` sets how many programs of each family are tried, drawn afresh at each run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import graphc
from graphc import nn, program
from graphc.codegen.cpu import (
    blocks,
    context,
    contraction,
    index_sets,
    machine,
    maps,
    operators,
    printer,
    rows,
    streaming,
    texts,
    turns,
    variants,
)
from graphc.codegen.emit import Source
from graphc.codegen.source import Scratch
from graphc.compiler import compile_graph
from graphc.errors import IndexOutOfRangeError
from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.ir.op import Effect
from graphc.ir.symbolic import evaluate
from graphc.ir.types import DTYPES
from graphc.runtime import executable
from graphc.schedule import memory as memory_plan
from graphc.testing.checked import MemoryFault, check, checked_kernels
from graphc.testing.checked.words import WORDS
from graphc.testing.fuzzing import Declared
from graphc.testing.growing import Drawn
from graphc.testing.steps import grown

SEARCH = "CHECKED_KERNELS" in os.environ
COUNT = int(os.environ.get("CHECKED_KERNELS", "15"))
PHASES = [hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if SEARCH else [])]
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}

VECTORS = {"AVX-512": (64, 32), "AVX2": (32, 16), "NEON": (16, 32), "SSE": (16, 16)}
"""Bytes of a vector register, and how many there are."""

SMALL: dict[Any, dict[str, Any]] = {
    variants: {"CONFLICT_BYTES": 128},
    contraction: {"CONFLICT_BYTES": 128, "_DOTS_DEPTH": 32, "_TURNED_DEPTH": 32, "_MANY_TILES": 2},
    blocks: {"BLOCK_COLUMNS": 64, "LEAST_COLUMNS": 16, "ROW_BLOCK_TILES": 2, "OPEN_BLOCK_TILES": 3,
             "HOT_BLOCK_TILES": 2, "HOT_BLOCK_COLUMNS": 16},
    context: {"STACK_BYTES": 512},
    streaming: {"PREFETCH_FROM": 256, "PREFETCH_AHEAD": 256, "STREAM_FROM": 1024, "SHORTEST_STREAM": 128},
    turns: {"FEWEST": 64, "MOST_COLUMNS": 32, "MOST_ROWS": 32},
    maps: {"LONG_ROW": 64},
    rows: {"COPIED_AT_ONCE": 16},
    index_sets: {"LONG": 16},
}  # fmt: skip
"""Limits that make small sizes take the ways of large ones."""


TILE_SHAPE = variants.tile_shape


def small_tile_shape(dtype: str, target: machine.Machine | None = None) -> variants.TileShape:
    shape = TILE_SHAPE(dtype, target)
    return shape._replace(depth=16, block_rows=3 * shape.rows)


@contextmanager
def printed_for(vectors: tuple[int, int], processors: int, small: bool) -> Iterator[None]:
    """Kernels are printed for another machine, perhaps with small blocks, and what is printed is not kept."""
    bytes_, registers = vectors
    target = machine.Machine("x86_64-unknown-linux-gnu", "none", "", bytes_, registers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "host", lambda: target)
        patch.setattr(machine, "processors", lambda: processors)
        patch.setattr(texts, "load", lambda structures: None)
        patch.setattr(texts, "store", lambda structures, printed: None)
        if small:
            for module in (variants, contraction):
                patch.setattr(module, "tile_shape", small_tile_shape)
        for module, values in SMALL.items() if small else ():
            for name, value in values.items():
                patch.setattr(module, name, value)
        variants.few_tile.cache_clear()
        try:
            yield
        finally:
            variants.few_tile.cache_clear()


class Draw:
    """Sizes, inputs and their values for one program."""

    def __init__(self, draw: Callable[[Any], Any]):
        self.draw = draw
        self.generator = np.random.default_rng(draw(st.integers(0, 2**31)))
        self.dtype = draw(st.sampled_from(("float32", "float64")))
        self.inputs: list[Tensor] = []
        self.arrays: list[np.ndarray] = []
        self.named: dict[str, int] = {}

    def one_of(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def length(self, most: int = 140) -> int:
        """Nothing, one, a prime, a vector or a tile, or one more or less."""
        units = (4, 6, 8, 12, 14, 16, 28, 32, 48, 64, 84, 96, 128)
        lengths = {0, 1, 2, 5, *(unit + more for unit in units for more in (-1, 0, 1))}
        return self.draw(st.sampled_from(sorted(length for length in lengths if length <= most)))

    def size(self, most: int = 140) -> int | str:
        """A length, known when kernels are printed or not."""
        length = self.length(most)
        if self.draw(st.booleans()):
            return length
        name = f"n{len(self.named)}"
        self.named[name] = length
        return name

    def known(self, size: Any) -> int:
        return self.named[size] if isinstance(size, str) else evaluate(size, self.named)

    def leaf(self, *shape: Any, dtype: str | None = None) -> Tensor:
        self.inputs.append(graphc.placeholder(f"x{len(self.inputs)}", tuple(shape), dtype or self.dtype))
        sizes = [self.known(size) for size in shape]
        self.arrays.append((self.generator.standard_normal(sizes) / 2).astype(dtype or self.dtype))
        return self.inputs[-1]

    def indices(self, size: int | str, *shape: Any) -> Tensor:
        """Of an axis; none if it is empty."""
        extent = self.known(size)
        self.inputs.append(graphc.placeholder(f"x{len(self.inputs)}", tuple(shape) if extent else (0,), "int64"))
        sizes = [self.known(size) for size in shape]
        self.arrays.append(self.generator.integers(-extent, extent, sizes) if extent else np.zeros(0, np.int64))
        return self.inputs[-1]


def matrix(d: Draw, m: Any, n: Any) -> Tensor:
    """Contiguous, transposed, or every other column of one."""
    way = d.one_of("plain", "plain", "turned", "sliced")
    if way == "turned":
        return d.leaf(n, m).T
    return d.leaf(m, n, 2)[:, :, 1] if way == "sliced" else d.leaf(m, n)


def product(d: Draw) -> list[Tensor]:
    m, k, n = d.size(), d.size(70), d.size()
    return [matrix(d, m, k) @ matrix(d, k, n)]


def long_product(d: Draw) -> list[Tensor]:
    m, k, n = d.size(16), d.length() * d.one_of(1, 2, 5), d.size(40)
    return [matrix(d, m, k) @ matrix(d, k, n)]


def batched(d: Draw) -> list[Tensor]:
    b, m, k, n = d.one_of(1, 2, 3, 5), d.size(33), d.size(33), d.size(33)
    left = d.leaf(b, m, k) if d.one_of(True, False) else graphc.permute_dims(d.leaf(m, b, k), (1, 0, 2))
    right = d.leaf(b, k, n) if d.one_of(True, False) else graphc.matrix_transpose(d.leaf(b, n, k))
    return [left @ right if d.one_of(True, False) else graphc.tanh(left @ right)]


def of_rows(d: Draw, function: Callable[[Tensor], Tensor], x: Tensor, axis: int = -1) -> Tensor:
    """A function that has no meaning for empty rows."""
    return x if d.known(x.shape[axis]) == 0 else function(x)


EPILOGUES: dict[str, Callable[[Draw, Tensor], Tensor]] = {
    "bias and gelu": lambda d, y: graphc.gelu(y + d.leaf(y.shape[1])),
    "softmax": lambda d, y: of_rows(d, graphc.softmax, y),
    "layer norm": lambda d, y: of_rows(d, nn.layer_norm, y),
    "several": lambda d, y: y * d.leaf(*y.shape) + graphc.tanh(d.leaf(*y.shape)) - d.leaf(*y.shape),
    "sum": lambda d, y: graphc.tanh(y).sum(axis=d.one_of(0, 1)),
    "turned": lambda d, y: graphc.tanh(y).T * d.leaf(*y.shape[::-1]),
    "with itself": lambda d, y: graphc.tanh(y) @ d.leaf(y.shape[1], d.size(20)),
}


def with_epilogue(d: Draw) -> list[Tensor]:
    m, k, n = d.size(), d.size(40), d.size()
    return [EPILOGUES[d.one_of(*EPILOGUES)](d, matrix(d, m, k) @ matrix(d, k, n))]


def narrow(d: Draw) -> list[Tensor]:
    """Few columns, which have tiles of their own, and stages that go over whole rows."""
    batch, m, k, n = d.one_of([2], [3], []), d.size(140), d.length(70), d.length(48)
    y = d.leaf(*batch, m, k) @ d.leaf(*batch, k, n)
    function = d.one_of(graphc.softmax, nn.layer_norm, lambda t: t - t.mean(axis=-1, keepdims=True))
    return [of_rows(d, function, y if d.one_of(True, False) else graphc.sin(y) * d.leaf(n))]


def with_prologue(d: Draw) -> list[Tensor]:
    m, k, n = d.size(70), d.size(70), d.size(70)
    a = d.leaf(m, k)
    a = d.one_of(graphc.tanh, lambda t: of_rows(d, graphc.softmax, t), lambda t: t * d.leaf(m, 1))(a)
    return [a @ matrix(d, k, n) + d.leaf(n)]


def trained(d: Draw) -> list[Tensor]:
    """A layer's derivatives, and the update of its weights by an optimizer."""
    m, k, n = d.size(), d.length(70), d.length(70)
    x, z = d.leaf(m, k), d.leaf(m, n)
    w = graphc.variable((d.generator.standard_normal((k, n)) / 2).astype(d.dtype))
    h = graphc.tanh(x @ w) if d.one_of(True, False) else nn.layer_norm(x @ w)
    loss = ((h - z) * (h - z)).sum()
    optimizer = d.one_of(graphc.optim.Adam, graphc.optim.SGD, graphc.optim.Momentum)
    return [loss, *optimizer(learning_rate=0.1).minimize(loss)]


def reduced(d: Draw) -> list[Tensor]:
    shape = [d.size(70), d.size(140), *([d.size(9)] if d.one_of(True, False) else [])]
    x = d.leaf(*shape)
    x = graphc.permute_dims(x, tuple(d.draw(st.permutations(range(x.ndim))))) if d.one_of(True, False) else x
    axis = d.draw(st.integers(0, x.ndim - 1))
    ways = (
        lambda: graphc.tanh(x).sum(axis=axis),
        lambda: x - x.mean(axis=axis, keepdims=True),
        lambda: graphc.cumulative_sum(x, axis=axis),
        lambda: of_rows(d, lambda t: graphc.logsumexp(t, axis=axis), x, axis),
        lambda: of_rows(d, lambda t: graphc.softmax(t, axis=axis), x, axis),
        lambda: x.sum(),
        lambda: graphc.sort(x, axis=axis),
    )
    return [d.one_of(*ways)()]


def moved(d: Draw) -> list[Tensor]:
    shape = [d.size(70), d.size(70), *([d.size(9)] if d.one_of(True, False) else [])]
    x = d.leaf(*shape)
    turned = graphc.permute_dims(x, tuple(d.draw(st.permutations(range(x.ndim)))))
    ways = (
        lambda: graphc.exp(turned) + d.leaf(*turned.shape),
        lambda: graphc.concat([turned, turned * 2], axis=d.draw(st.integers(0, x.ndim - 1))),
        lambda: graphc.pad(turned, [(1, 2)] * x.ndim) * 3,
        lambda: turned[::-1] + turned,
        lambda: graphc.tril(turned * 2) if d.one_of(True, False) else graphc.roll(turned, 3, axis=0),
    )
    return [d.one_of(*ways)()]


def gathered(d: Draw) -> list[Tensor]:
    m, n, places = d.size(40), d.size(40), d.size(40)
    x = d.leaf(m, n)
    index = d.indices(m, places)
    ways = (
        lambda: graphc.take(x, index, axis=0) * 2,
        lambda: graphc.scatter_add(x, index, d.leaf(*index.shape, n), axis=0),
        lambda: graphc.gradients((graphc.tanh(graphc.take(x, index, axis=0))).sum(), [x])[0],
        lambda: graphc.take(x, index, axis=0) @ d.leaf(n, 17),
    )
    return [d.one_of(*ways)()]


def attention(d: Draw) -> list[Tensor]:
    b, heads, length, width = d.one_of(1, 2), d.one_of(1, 3), d.size(40), d.length(20)
    if d.known(length) == 0 or width == 0:
        length, width = 3, 5
    q, k, v = (d.leaf(b, heads, length, width) for _ in range(3))
    y = nn.scaled_dot_product_attention(q, k, v, causal=d.one_of(True, False))
    return [y, *(graphc.gradients((y * y).sum(), [q, k, v]) if d.one_of(True, False) else [])]


FAMILIES = (
    product, long_product, batched, with_epilogue, narrow, with_prologue, trained, reduced, moved, gathered, attention,
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_kernels_touch_what_is_theirs(family: Callable[[Draw], list[Tensor]]) -> None:
    @hypothesis.given(data=st.data())
    @hypothesis.settings(
        max_examples=COUNT, derandomize=not SEARCH, phases=PHASES, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    def holds(data: Any) -> None:
        d = Draw(data.draw)
        results = family(d)
        updates = tuple(tensor for tensor in results if isinstance(tensor.node.op, Effect))
        graph = Declared(tuple(d.inputs), tuple(results[: len(results) - len(updates)]), updates, tuple(d.arrays))
        expected = graph.run(backend="reference")
        vectors, processors = d.one_of(*VECTORS.values()), d.one_of(1, 2, 4)
        with printed_for(vectors, processors, d.one_of(True, True, False)), checked_kernels():
            got = graph.run(threads=d.one_of(1, 2, 3))
        for left, right in zip(got, expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=0, atol=TOLERANCE[d.dtype] * np.abs(right).max(initial=1))

    holds()


@pytest.mark.parametrize("vectors", VECTORS)
def test_blocks_of_products_with_tiles_of_their_own_fit_their_scratch(vectors: str) -> None:
    # batched, so that rows are cut into numbered blocks of whole tiles, whose heights differ from width to width
    generator = np.random.default_rng(0)
    for rows_ in (57, 127):
        for columns in (3, 18):
            shapes = [(2, rows_, 5), (2, 5, columns)]
            a, b = (graphc.placeholder(name, shape) for name, shape in zip("ab", shapes, strict=True))
            arrays = tuple(generator.standard_normal(shape).astype("float32") for shape in shapes)
            with printed_for(VECTORS[vectors], 2, small=True), checked_kernels():
                (got,) = Declared((a, b), (graphc.softmax(a @ b),), (), arrays).run(threads=2)
            np.testing.assert_allclose(got.sum(axis=-1), 1, rtol=1e-5)


# --- faults that are put in ------------------------------------------------------------------------------------------


def run_with(
    monkeypatch: pytest.MonkeyPatch, function: Callable[..., Tensor], threads: int, edit: Callable[[Any], Any]
) -> np.ndarray:
    """A function of a (40, 9) and a (9, 20) matrix, whose kernels are edited before they run."""
    inputs = [graphc.placeholder("x", (40, 9)), graphc.placeholder("w", (9, 20))]

    def edited(graph: Graph) -> Source:
        source = compile_graph(graph)
        return Source(source.schedule, {kernel: edit(printed) for kernel, printed in source.kernels.items()})

    monkeypatch.setattr(program, "compile_graph", edited)
    generator = np.random.default_rng(0)
    arrays = [generator.standard_normal(tensor.shape).astype("float32") for tensor in inputs]
    with printed_for(VECTORS["SSE"], 2, small=True), checked_kernels(), graphc.Session(threads=threads) as session:
        return graphc.compile(inputs, function(*inputs), session=session)(*arrays)


def in_text(old: str, new: str) -> Callable[[Any], Any]:
    """Puts a fault into the text of every kernel."""

    def edit(printed: Any) -> Any:
        assert old in printed.text
        return replace(printed, text=printed.text.replace(old, new))

    return edit


def less_scratch(printed: Any) -> Any:
    """A line less of it."""
    shorter = [replace(a, bytes=a.bytes - 64) if isinstance(a, Scratch) else a for a in printed.arguments]
    return replace(printed, arguments=tuple(shorter))


def softmax_of_product(x: Tensor, w: Tensor) -> Tensor:
    return graphc.softmax(x @ w)


FAULTS: dict[str, tuple[Callable[..., Tensor], int, Callable[[Any], Any], str]] = {
    "an element too far is written": (
        lambda x, w: graphc.tanh(x), 1, in_text("store(y0, i0, v1)", "store(y0, i0 + 1, v1)"),
        r"argument 1 \(tanh.*\) has 1440 bytes, and 4 are written from byte 1440 on\n.*line \d+: store\(y0, i0 \+ 1,",
    ),
    "an element before the first is read": (
        lambda x, w: graphc.tanh(x), 1, in_text("load(x0, i0)", "load(x0, i0 - 1)"),
        r"argument 0 \(x.*\) has 1440 bytes, and 4 are read from byte -4 on\n.*v0 = load\(x0, i0 - 1\)",
    ),
    "an input is written": (
        lambda x, w: graphc.tanh(x), 1, in_text("store(y0,", "store(x0,"),
        r"argument 0 \(x.*\) is an input, and is written",
    ),
    "nothing is written": (
        lambda x, w: graphc.tanh(x), 1, in_text("range(first, last)", "range(first, last - 1)"),
        r"output 0 .* byte 1436 holds something else",
    ),
    "two workers write one element": (
        lambda x, w: graphc.tanh(x), 2, in_text("first = share(360, 64, worker, workers)", "first = 0"),
        r"argument 1 .*: worker 1 writes byte 0, which worker 0 has written since the last barrier",
    ),
    "an array on the stack is too short": (
        lambda x, w: x.sum(axis=1), 1, in_text("stack_float32(8)", "stack_float32(7)"),
        "a stack array of 7 float32 has 28 bytes, and 4 are written from byte 28 on",
    ),
    "lanes begin with what was there": (
        lambda x, w: x.sum(axis=1), 1, in_text("fill(a0, 8, float32(0.0))", "load(x0, 0)"),
        "a stack array of 8 float32: byte 0 is read, which nobody has written",
    ),
    "scratch is shorter than a block": (
        softmax_of_product, 1, less_scratch,
        r"scratch of worker 0 from byte 0 has 896 bytes, and 4 are written from byte 896 on\n"
        r".*contraction float32_few40x20.*whole_tile\(.*\n.*kernel .*contract\(",
    ),
    "a block is longer than its scratch": (
        softmax_of_product, 1, in_text("c0 = minimum_int(last - o0, 12)", "c0 = minimum_int(last - o0, 14)"),
        r"scratch of worker 0 from byte 0 has 960 bytes, and 4 are written from byte 960 on",
    ),
    "scratch of another worker": (
        softmax_of_product, 2, in_text("divide_index(worker*960, 4)", "divide_index(0, 4)"),
        r"scratch of worker 1 of 960 bytes: a part begins at byte -960",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    function, threads, edit, message = FAULTS[name]
    run_with(monkeypatch, function, threads, lambda printed: printed)
    with pytest.raises(MemoryFault, match=message):
        run_with(monkeypatch, function, threads, edit)


def test_a_fault_in_a_compiled_contraction_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    print_text = contraction.source

    def wrong(name: str) -> str:
        return print_text(name).replace("count = minimum_int(M - i, 2)", "count = 2")

    monkeypatch.setattr(contraction, "source", wrong)
    with pytest.raises(MemoryFault, match=r"\(contract.*\) has 3120 bytes, and 4 are .* from byte 3120 on\n"):
        run_with(monkeypatch, lambda x, w: x[:39] @ w, 1, lambda printed: printed)


def test_what_lies_in_the_place_of_what_is_read_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    # two sums over rows, then both in one map: without a plan that keeps them apart the second overwrites the first
    def both(x: Tensor, w: Tensor) -> Tensor:
        return graphc.cumulative_sum(x.sum(axis=1)) + graphc.cumulative_sum(graphc.tanh(x).sum(axis=1))

    make = memory_plan.plan

    def overlapping(*given: Any) -> Any:
        made = make(*given)
        made.offsets = dict.fromkeys(made.offsets, 0)
        return made

    run_with(monkeypatch, both, 1, lambda printed: printed)
    monkeypatch.setattr(executable, "plan", overlapping)
    with pytest.raises(MemoryFault, match=r"is read, where \d+ lies, not \d+"):
        run_with(monkeypatch, both, 1, lambda printed: printed)


def test_a_barrier_that_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(x: Tensor, w: Tensor) -> Tensor:
        return graphc.tanh(x @ w).T @ graphc.sin(x)

    run_with(monkeypatch, twice, 2, lambda printed: printed)
    monkeypatch.setattr(executable.Binder, "_needs_barrier", lambda self, kernel, everyone: False)
    with pytest.raises(MemoryFault, match=r"since the last barrier|nobody has written"):
        run_with(monkeypatch, twice, 2, lambda printed: printed)


# --- what a checked run is --------------------------------------------------------------------------------------------


def test_every_word_that_a_kernel_may_use_has_a_meaning() -> None:
    words = {name for names in printer._MODULES.values() for name in names}
    words |= {f"{name}_{dtype}" for name in operators.MATHLIB for dtype in ("float32", "float64")}
    words |= {*operators._FLOAT_INTRINSICS.values(), *operators._INT_INTRINSICS.values()}
    words |= {f"{word}_{dtype}" for word in ("pointer", "stack", "as") for dtype in DTYPES}
    assert words <= set(WORDS)


def test_random_graphs_are_checked_and_steps_go_on() -> None:
    """Loops, choices, routines, updates of variables and random numbers: as a session does without."""
    for number in range(12):
        recipe = grown(Drawn(np.random.default_rng([3, number])), 30)
        verdict = check(recipe)
        assert verdict.kind in ("equal", "rejected"), (number, verdict)


def test_failures_are_reported_and_steps_are_counted() -> None:
    x, i = graphc.placeholder("x", ("n", 3)), graphc.placeholder("i", ("m",), "int64")
    w = graphc.variable(np.zeros(3, "float32"))
    step = graphc.assign(w, w + graphc.take(x, i, axis=0).sum(axis=0) + graphc.random.uniform((3,)) * 0)
    with checked_kernels(), graphc.Session(threads=2) as session:
        train = graphc.compile([x, i], [step], session=session)
        for _ in range(2):
            train(np.ones((4, 3), "float32"), np.array([0, -1]))
        with pytest.raises(IndexOutOfRangeError, match="index 4 is out of range"):
            train(np.ones((4, 3), "float32"), np.array([4, 1]))
        np.testing.assert_array_equal(session.get(w), [4, 4, 4])
        assert session._random_state[1] == 2


def test_an_empty_array_is_not_read_where_it_lies() -> None:
    # its address may be the end of what the process has mapped; a kernel reads an element before it reports the index
    x, i = graphc.placeholder("x", ("n", 3)), graphc.placeholder("i", ("m",), "int64")
    with checked_kernels(), graphc.Session() as session:
        gather = graphc.compile([x, i], graphc.take(x, i, axis=0), session=session)
        with pytest.raises(IndexOutOfRangeError, match="axis of size 0"):
            gather(np.zeros((0, 3), "float32"), np.array([0]))


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_nothing_is_read_of_what_may_be_empty(rows: int) -> None:
    # positions in a larger tensor are clamped to those of a part, which has none if it is empty: rows before its first
    # are read, and dropped; of a wide one these were far outside of what the process has mapped
    x, z = graphc.placeholder("x", ("n", 40)), graphc.placeholder("z", (3, 40))
    outputs = (
        graphc.concat([x, z, x], axis=0) * 2,
        graphc.pad(x, [(1, 1), (1, 1)]) + graphc.pad(x, [(0, 2), (0, 2)]),
        (graphc.pad(x, [(1, 1), (1, 1)]) + graphc.pad(x, [(0, 2), (0, 2)])).sum(axis=1),
        graphc.gradients(graphc.tanh(graphc.diff(x, axis=0)).sum(), [x])[0],
        graphc.cumulative_sum(x, axis=0, include_initial=True),
    )
    graph = Declared((x, z), outputs, (), (np.ones((rows, 40), "float32"), np.ones((3, 40), "float32")))
    expected = graph.run(backend="reference")
    with checked_kernels():
        got = graph.run()
    for left, right in zip(got, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_history_of_no_rows_is_written(reverse: bool) -> None:
    # a loop keeps the carries before all iterations and after the last: one row more than there are iterations
    x, start = graphc.placeholder("x", ("n", 20)), graphc.placeholder("start", (20,))
    final, kept = graphc.scan(lambda c, v: (graphc.tanh(c * v), c + v), start, x, reverse=reverse)
    outputs = graphc.gradients((final * final).sum() + kept.sum(), [start, x])
    with graphc.Session() as session:
        compiled = graphc.compile([x, start], outputs, session=session)
        with checked_kernels():
            checked = graphc.compile([x, start], outputs, session=session)
        for rows in (0, 3, 0):
            values = np.full((rows, 20), 0.5, "float32"), np.ones(20, "float32")
            for left, right in zip(checked(*values), compiled(*values), strict=True):
                np.testing.assert_allclose(left, right, rtol=1e-5)
        np.testing.assert_array_equal(compiled(*values)[0], np.full(20, 2, "float32"))
