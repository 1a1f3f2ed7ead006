#!/usr/bin/env python3
"""Bytes that one training step needs, from inside one engine; memory.py runs this.

    python benchmarks/memory_engines.py ENGINE WORKLOAD [--threads N]

Prints one JSON row.  ``state_bytes`` are what stays between steps: weights and the optimizer's moments.  ``step_bytes``
come on top while a step runs:

graphc
    The planned arena (intermediates, scratch of all workers, and gradients where they are stored), copies of feeds
    that could not be used in place, and the fetched results.
torch, torch-compile
    The peak of bytes held by its allocator, over those held when the step begins and no gradient exists.  torch's
    profiler records every allocation and release of one step of peers.py (``profile_memory``); global hooks on the
    optimizer's ``step`` say where it begins and ends.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import runpy
import sys
from typing import Any

from common import HERE, Row, limit_processors

STEPS_BEFORE = 3
"""Steps that torch takes before the one that is recorded: its moments exist then, and its compiler is done."""


def graphc_bytes(workload: str, threads: int) -> Row:
    import numpy as np
    from workloads import WORKLOADS

    import graphc
    from graphc import optim

    x, labels, loss = WORKLOADS[workload].declare("float32")
    arrays = WORKLOADS[workload].batch(np.random.default_rng(0), "float32")
    session = graphc.Session(threads=threads, seed=0)
    program = graphc.compile([x, labels], [loss, optim.Adam(1e-3).minimize(loss)], session=session)
    fetched, _ = program(*arrays)
    plan = program.memory
    assert plan is not None
    used, _ = program._feeder(arrays)
    copies = sum(mine.nbytes for mine, given in zip(used, arrays, strict=True) if not np.shares_memory(mine, given))
    variables = [node.result for node in program.graph.nodes if node.op.name == "variable"]
    return {
        "state_bytes": sum(session.get(variable).nbytes for variable in variables),
        "step_bytes": plan.peak + copies + fetched.nbytes,
        "planned_bytes": plan.peak,
        "lower_bound_bytes": plan.lower_bound,
        "feed_copy_bytes": copies,
    }


def torch_bytes(engine: str, workload: str, threads: int) -> Row:
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook
    from torch.profiler import ProfilerActivity, profile

    recorder = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    steps = 0
    row: Row = {}

    def after_step(optimizer: Any, *_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == STEPS_BEFORE:
            recorder.__enter__()
        elif steps == STEPS_BEFORE + 1:
            recorder.__exit__(None, None, None)
            row.update(state_bytes=state_bytes(optimizer))

    register_optimizer_step_post_hook(after_step)
    sys.argv = ["peers.py", engine, workload, "--threads", str(threads), "--seconds", "0.01"]
    with contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(str(HERE / "peers.py"), run_name="__main__")
    changes = [
        (event.start_ns(), event.nbytes())
        for event in recorder.profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == torch.profiler.DeviceType.CPU
    ]
    return row | {"step_bytes": peak_of(changes)}


def state_bytes(optimizer: Any) -> int:
    """Bytes of the parameters and of the optimizer's state."""
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    tensors += [value for state in optimizer.state.values() for value in state.values() if hasattr(value, "nbytes")]
    return sum(tensor.nbytes for tensor in tensors)


def peak_of(changes: list[tuple[int, int]]) -> int:
    """The most bytes held over the least before them.

    The record begins after an optimizer's step, so that step's gradients are released first; whether or not torch
    knows the sizes of blocks from before the record, the least is what stays between steps.
    """
    held = least = peak = 0
    for _, change in sorted(changes, key=lambda entry: entry[0]):
        held += change
        least = min(least, held)
        peak = max(peak, held - least)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(description="Bytes that one training step of an engine needs.")
    parser.add_argument("engine", choices=["graphc", "torch", "torch-compile"])
    parser.add_argument("workload")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    limit_processors(args.threads)
    if args.engine == "graphc":
        row = graphc_bytes(args.workload, args.threads)
    else:
        row = torch_bytes(args.engine, args.workload, args.threads)
    print(json.dumps({"engine": args.engine, "workload": args.workload, "threads": args.threads} | row))


if __name__ == "__main__":
    main()
