#!/usr/bin/env python3
"""Where the time of graphc's first step goes, in a fresh process; compile.py runs this with an empty and a full cache.

    python benchmarks/compile_engine.py first WORKLOAD [--threads N]
    python benchmarks/compile_engine.py call [--threads N] [--seconds S]

``first`` prints one JSON row of seconds, in the order they pass: ``numpy_s`` and ``import_s`` (importing NumPy, then
graphc, its layers and optimizers), ``build_s`` (declaring the graph), ``stages`` (each stage of the compiler),
``kernels_s`` (compiling, or loading, all kernels and the loop that walks call tables), ``step_s`` (planning memory,
filling the table, and the first step).  ``first_s`` is all from ``build_s`` on.  ``compiled`` and ``loaded`` count
kernels that were new to this process.

``call`` prints what a call of ``Session.run`` adds to the kernels' own time, by program:  the time of a call, less the
kernels' time, which is that of a table that holds the program's calls a thousand times over.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from common import Row, best_seconds, limit_processors

if TYPE_CHECKING:
    from graphc.program import Program

COPIES = 1000
"""How often the table of trivial kernels repeats them."""


def first(workload: str, threads: int) -> Row:
    """Time everything up to the end of the first step."""
    clock = time.perf_counter
    start = clock()
    import numpy as np

    numpy_s, start = clock() - start, clock()
    import graphc
    from graphc import compiler, nn, optim  # noqa: F401 - the layers are part of what a user imports

    import_s = clock() - start
    from workloads import WORKLOADS

    arrays = WORKLOADS[workload].batch(np.random.default_rng(0), "float32")
    stages: dict[str, float] = {}
    compiler.OBSERVERS.append(lambda name, product, seconds: stages.update({name: seconds}))

    start = clock()
    x, labels, loss = WORKLOADS[workload].declare("float32")
    fetches = [loss, optim.Adam(1e-3).minimize(loss)]
    session = graphc.Session(threads=threads, seed=0)
    build_s, start = clock() - start, clock()
    program = graphc.compile([x, labels], fetches, session=session)
    compile_s, start = clock() - start, clock()
    program(*arrays)
    step_s = clock() - start

    kinds = [event.kind for event in program.events]
    assert program.source is not None
    return {
        "engine": "graphc",
        "workload": workload,
        "threads": threads,
        "first_s": build_s + compile_s + step_s,
        "numpy_s": numpy_s,
        "import_s": import_s,
        "build_s": build_s,
        "stages": stages,
        "kernels_s": compile_s - sum(stages.values()),
        "step_s": step_s,
        "kernels": program.kernels,
        "distinct": len(set(program.source.texts)),
        "compiled": kinds.count("compiled"),
        "loaded": kinds.count("disk"),
    }


def kernel_seconds(program: Program) -> float:
    """Seconds that the kernels of a bound program take, without anything that a call adds."""
    from graphc.runtime.table import Call, Table

    executable = program._executable
    (bound,) = executable._bound.values()
    calls = [entry for entry in bound.table.entries if isinstance(entry, Call)]
    once, often = Table(calls), Table(calls * (COPIES + 1))
    alone = best_seconds(lambda: executable.workers.run(once), 0.1)
    return max(0.0, (best_seconds(lambda: executable.workers.run(often), 0.2) - alone) / COPIES)


def call(threads: int, seconds: float) -> list[Row]:
    """Time calls of programs whose kernels do next to nothing."""
    import numpy as np

    import graphc
    from graphc import optim

    rows: list[Row] = []
    session = graphc.Session(threads=threads)
    x = graphc.placeholder("x", (4,))
    w = graphc.variable(np.zeros(4, "f4"), name="w")
    values = np.ones(4, "f4")
    rows_in, labels = graphc.placeholder("rows", ("batch", 4)), graphc.placeholder("labels", ("batch", 4))
    v = graphc.variable(np.zeros(4, "f4"), name="v")
    loss = graphc.mean((rows_in * v - labels) * (rows_in * v - labels))
    pair = {rows_in: np.ones((2, 4), "f4"), labels: np.ones((2, 4), "f4")}
    programs: list[tuple[str, Any, dict[Any, Any]]] = [
        ("one feed, one update", graphc.assign(w, w + x), {x: values}),
        ("two feeds, a loss and an optimizer", [loss, optim.SGD(1e-3).minimize(loss)], pair),
    ]
    for name, fetches, feeds in programs:

        def step(fetches: Any = fetches, feeds: Any = feeds) -> None:
            session.run(fetches, feeds)

        run = best_seconds(step, seconds)
        program = list(session.programs)[-1]
        own = kernel_seconds(program)
        row = {"program": name, "threads": threads, "run_s": run, "own_s": own, "overhead_s": run - own}
        rows.append(row | {"kernels": program.kernels})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Time graphc's first step, or what a call adds.")
    parser.add_argument("what", choices=["first", "call"])
    parser.add_argument("workload", nargs="?", default="tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5)
    args = parser.parse_args()
    limit_processors(args.threads)
    if args.what == "first":
        print(json.dumps(first(args.workload, args.threads)))
    else:
        print(json.dumps(call(args.threads, args.seconds)))


if __name__ == "__main__":
    main()
