#!/usr/bin/env python3
"""Time single kernels of one engine; kernels.py runs this once an engine and round.

    python benchmarks/kernel_engines.py ENGINE --threads N --seconds S CASE...

ENGINE is graphc, numpy or torch.  A CASE is ``NAME:DIRECTION:ROWSxCOLUMNS`` for what goes along rows, or
``matmul:ORIENTATION:MxKxN``.  Prints a JSON array: ``{"case", "engine", "threads", "seconds"}``.

What is timed, the same for all engines: inputs in memory that stays, results in memory that stays.

* graphc: one step of the compiled program from the fed arrays (``Workers.step``): they are checked and read in place,
  the call table is walked with its barriers and all its workers, and the results stay in the program's arena.  Copying
  fetched results out is left out, since it is no part of a kernel.
* NumPy: ufuncs with ``out=``, the fewest passes that need no compiler.
* torch: the library's own function without gradient tracking; for ``both`` the function and its derivative through
  autograd, whose results are new tensors.  kernels.py tells the C library to keep freed memory, so that they cost no
  page faults.

graphc's process also runs the streaming loops of limits.py, on arrays of a case's size, a window of each in turn, and
adds a row for each loop: ``{"limit", "where", "threads", "bytes_per_s", "bus_per_s"}``, where ``where`` is the case.

``both`` stores the value and every gradient, from an incoming gradient that is given.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from common import best_by_turns, best_seconds, cache_bytes, limit_processors

if TYPE_CHECKING:
    from numpy.typing import NDArray

Call = Callable[[], object]

WINDOWS = 20
"""Turns of a kernel and of each loop beside it."""

RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8  # of Adam
NORM_EPS = 1e-5  # of layer norm
GELU_SCALE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715


def make_arrays(count: int, shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """Some float32 arrays of normal numbers, the same in every process."""
    import numpy as np

    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape, np.float32) for _ in range(count)]


# --- graphc --------------------------------------------------------------------------------------------------------


def graphc_walk(inputs: list[Any], outputs: Any, arrays: list[Any], threads: int) -> Call:
    """A call that runs a step of a program on given arrays."""
    import graphc
    from graphc.runtime.layout import FINISHED

    session = graphc.Session(threads=threads)
    program = graphc.compile(inputs, outputs, session=session)
    program(*arrays)  # binds a table to these arrays' shapes
    executable = program._executable
    (bound,) = executable._bound.values()
    if executable.workers.step(bound.table, bound.enter, arrays) != FINISHED:
        raise SystemExit("a kernel's arrays are not those of its program")
    # the program and what it has bound are held by the call: the table knows nothing but addresses
    return lambda: executable.workers.step(bound.table, bound.enter, arrays)


def graphc_matmul(orientation: str, m: int, k: int, n: int, threads: int) -> Call:
    import graphc

    inner, _ = matmul_shapes(orientation, m, k, n)
    a, b = (graphc.placeholder(name, shape) for name, shape in zip("ab", inner, strict=True))
    arrays = [make_arrays(1, shape)[0] for shape in inner]
    if orientation == "tn":
        result = graphc.matmul(a.T, b)
    elif orientation == "nt":
        result = graphc.matmul(a, b.T)
    else:
        result = graphc.matmul(a, b)
    return graphc_walk([a, b], result, arrays, threads)


def graphc_case(name: str, direction: str, rows: int, columns: int, threads: int) -> Call:
    import numpy as np

    import graphc
    from graphc import optim

    if name == "adam":
        gradient = graphc.placeholder("gradient", (rows, columns))
        (start,) = make_arrays(1, (rows, columns))
        variable = graphc.variable(start, name="w")
        updates = optim.Adam(RATE, BETA1, BETA2, EPS).apply([(gradient, variable)])
        return graphc_walk([gradient], updates, [start.copy()], threads)
    x = graphc.placeholder("x", ("rows", columns))
    xs, gs = make_arrays(2, (rows, columns))
    axis = {"sum_rows": 1, "sum_columns": 0, "sum_all": None}
    if name in axis:
        return graphc_walk([x], graphc.sum(x, axis=axis[name]), [xs], threads)
    parameters = []
    if name == "softmax":
        y = graphc.softmax(x)
    elif name == "gelu":
        y = graphc.gelu(x, approximate="tanh")
    else:
        parameters = [graphc.variable(np.ones(columns, "f4")), graphc.variable(np.zeros(columns, "f4"))]
        centred = x - graphc.mean(x, axis=-1, keepdims=True)
        spread = graphc.var(x, axis=-1, keepdims=True)
        y = centred * graphc.rsqrt(spread + NORM_EPS) * parameters[0] + parameters[1]
    if direction == "forward":
        return graphc_walk([x], y, [xs], threads)
    g = graphc.placeholder("g", ("rows", columns))
    return graphc_walk([x, g], [y, *graphc.gradients(y, [x, *parameters], seed=g)], [xs, gs], threads)


# --- NumPy ---------------------------------------------------------------------------------------------------------


def numpy_matmul(orientation: str, m: int, k: int, n: int, threads: int) -> Call:
    import numpy as np

    inner, outer = matmul_shapes(orientation, m, k, n)
    a, b = (make_arrays(1, shape)[0] for shape in inner)
    a, b = (a.T if orientation == "tn" else a), (b.T if orientation == "nt" else b)
    out = np.empty(outer, np.float32)
    return lambda: np.matmul(a, b, out=out)


def numpy_case(name: str, direction: str, rows: int, columns: int, threads: int) -> Call:
    import numpy as np

    x, g = make_arrays(2, (rows, columns))
    y, dx, t = (np.empty_like(x) for _ in range(3))
    if name == "adam":
        return numpy_adam(x, g, y, dx)
    axis = {"sum_rows": 1, "sum_columns": 0, "sum_all": None}
    if name in axis:
        return lambda: np.sum(x, axis=axis[name])
    both = direction == "both"

    def softmax() -> None:
        np.subtract(x, x.max(1, keepdims=True), out=y)
        np.exp(y, out=y)
        np.divide(y, y.sum(1, keepdims=True), out=y)
        if both:
            np.multiply(g, y, out=t)
            np.subtract(g, t.sum(1, keepdims=True), out=dx)
            np.multiply(dx, y, out=dx)

    def gelu() -> None:
        np.multiply(x, x, out=t)
        np.multiply(t, np.float32(GELU_SCALE * GELU_CUBE), out=t)
        np.add(t, np.float32(GELU_SCALE), out=t)
        np.multiply(t, x, out=t)
        np.tanh(t, out=t)
        np.add(t, np.float32(1), out=y)
        np.multiply(y, np.float32(0.5), out=y)
        if both:  # 0.5 (1 + t) + 0.5 x (1 - t^2) s (1 + 3 c x^2)
            np.multiply(x, x, out=dx)
            np.multiply(dx, np.float32(3 * GELU_CUBE), out=dx)
            np.add(dx, np.float32(1), out=dx)
            np.multiply(t, t, out=t)
            np.subtract(np.float32(1), t, out=t)
            np.multiply(dx, t, out=dx)
            np.multiply(dx, x, out=dx)
            np.multiply(dx, np.float32(0.5 * GELU_SCALE), out=dx)
            np.add(dx, y, out=dx)
            np.multiply(dx, g, out=dx)
        np.multiply(y, x, out=y)

    scale, shift = np.ones(columns, "f4"), np.zeros(columns, "f4")

    def layer_norm() -> tuple[Any, ...]:
        np.subtract(x, x.mean(1, keepdims=True), out=t)
        np.multiply(t, t, out=y)
        factor = 1 / np.sqrt(y.mean(1, keepdims=True) + np.float32(NORM_EPS))
        np.multiply(t, factor, out=t)
        np.multiply(t, scale, out=y)
        np.add(y, shift, out=y)
        if not both:
            return ()
        np.multiply(g, t, out=dx)
        by_scale = dx.sum(0)
        np.multiply(dx, scale, out=dx)
        np.multiply(t, dx.mean(1, keepdims=True), out=t)
        np.multiply(g, scale, out=dx)
        np.subtract(dx, dx.mean(1, keepdims=True), out=dx)
        np.subtract(dx, t, out=dx)
        np.multiply(dx, factor, out=dx)
        return by_scale, g.sum(0)

    return {"softmax": softmax, "gelu": gelu, "layer_norm": layer_norm}[name]


def numpy_adam(w: Any, g: Any, first: Any, scratch: Any) -> Call:
    import numpy as np

    first[:] = 0
    second, count = np.zeros_like(w), 0

    def adam() -> None:
        nonlocal count
        count += 1
        np.multiply(first, np.float32(BETA1), out=first)
        np.multiply(g, np.float32(1 - BETA1), out=scratch)
        np.add(first, scratch, out=first)
        np.multiply(second, np.float32(BETA2), out=second)
        np.multiply(g, g, out=scratch)
        np.multiply(scratch, np.float32(1 - BETA2), out=scratch)
        np.add(second, scratch, out=second)
        np.multiply(second, np.float32(1 / (1 - BETA2**count)), out=scratch)
        np.sqrt(scratch, out=scratch)
        np.add(scratch, np.float32(EPS), out=scratch)
        np.divide(first, scratch, out=scratch)
        np.multiply(scratch, np.float32(RATE / (1 - BETA1**count)), out=scratch)
        np.subtract(w, scratch, out=w)

    return adam


# --- torch ---------------------------------------------------------------------------------------------------------


def torch_matmul(orientation: str, m: int, k: int, n: int, threads: int) -> Call:
    import torch

    torch.set_num_threads(threads)
    inner, outer = matmul_shapes(orientation, m, k, n)
    a, b = (torch.from_numpy(make_arrays(1, shape)[0]) for shape in inner)
    a, b = (a.T if orientation == "tn" else a), (b.T if orientation == "nt" else b)
    out = torch.empty(outer)
    return lambda: torch.mm(a, b, out=out)


def torch_case(name: str, direction: str, rows: int, columns: int, threads: int) -> Call:
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    x, g = map(torch.from_numpy, make_arrays(2, (rows, columns)))
    if name == "adam":
        x.requires_grad_()
        x.grad = g
        return torch.optim.Adam([x], RATE, (BETA1, BETA2), EPS, fused=True).step
    axis = {"sum_rows": 1, "sum_columns": 0}
    if name in axis:
        return lambda: torch.sum(x, axis[name])
    if name == "sum_all":
        return lambda: torch.sum(x)
    scale, shift = torch.ones(columns), torch.zeros(columns)
    function: Callable[[], Any] = {
        "softmax": lambda: torch.softmax(x, -1),
        "gelu": lambda: F.gelu(x, approximate="tanh"),
        "layer_norm": lambda: F.layer_norm(x, (columns,), scale, shift, NORM_EPS),
    }[name]
    if direction == "forward":
        return function
    wanted = [x, scale, shift] if name == "layer_norm" else [x]
    for tensor in wanted:
        tensor.requires_grad_()

    def both() -> object:
        y = function()
        return y, torch.autograd.grad(y, wanted, g)

    return both


# --- all -----------------------------------------------------------------------------------------------------------


def matmul_shapes(
    orientation: str, m: int, k: int, n: int
) -> tuple[tuple[tuple[int, int], tuple[int, int]], tuple[int, int]]:
    """Shapes of a layer's three products as its operands lie in memory, and of the result.

    ``nn`` is x[m, k] @ w[k, n]; ``tn`` the weights' gradient x[m, k].T @ g[m, n]; ``nt`` the input's gradient
    g[m, n] @ w[k, n].T.  All take 2 m k n operations.
    """
    return {
        "nn": (((m, k), (k, n)), (m, n)),
        "tn": (((m, k), (m, n)), (k, n)),
        "nt": (((m, n), (k, n)), (m, k)),
    }[orientation]


ENGINES: dict[str, tuple[Callable[..., Call], Callable[..., Call]]] = {
    "graphc": (graphc_matmul, graphc_case),
    "numpy": (numpy_matmul, numpy_case),
    "torch": (torch_matmul, torch_case),
}


def beside_limits(call: Call, case: str, elements: int, args: argparse.Namespace) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of a kernel, and the rates of the streaming loops that took turns with it."""
    import limits

    where = "DRAM" if 4 * elements > max(cache_bytes().values()) else "L3"
    with ThreadPoolExecutor(args.threads) as pool:
        loops = limits.Beside(elements, args.threads, where, pool)
        best = best_by_turns({"": call, **loops.calls}, args.seconds, args.seconds / WINDOWS, warm=2)
    place = {"where": case, "threads": args.threads}
    return best[""], [loops.rates(loop, best[loop]) | place for loop in loops.calls]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time single kernels of one engine.")
    parser.add_argument("engine", choices=list(ENGINES))
    parser.add_argument("cases", nargs="+", metavar="CASE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.2)
    args = parser.parse_args()
    limit_processors(args.threads)
    matmul, case = ENGINES[args.engine]
    rows = []
    for text in args.cases:
        name, form, sizes = text.split(":")
        shape = [int(size) for size in sizes.split("x")]
        if name == "matmul":
            call = matmul(form, *shape, args.threads)
        else:
            call = case(name, form, *shape, args.threads)
        if name != "matmul" and args.engine == "graphc":
            seconds, limits = beside_limits(call, text, math.prod(shape), args)
            rows += limits
        else:
            seconds = best_seconds(call, args.seconds, window=args.seconds / 4, warm=2)
        rows.append({"case": text, "engine": args.engine, "threads": args.threads, "seconds": seconds})
        del call
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
