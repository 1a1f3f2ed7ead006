#!/usr/bin/env python3
"""Time training steps of graphc and its peers side by side.

    python benchmarks/training.py --workloads tiny,transformer --engines graphc,torch,jax,pytensor --json out.json

How it measures
    The engines run alternately, each in a process of its own (``graphc_engine.py``, ``peers.py``), `--rounds` times.
    Environment variables that could hold a BLAS back (``OPENBLAS_*``) are unset for all of them.  An engine that is not
    installed, or that has no such workload, is named and left out.

What the columns (and the keys of the JSON rows) are
    step_us
        Microseconds a step: the minimum over the rounds of each process's best window.  `step_us_spread` is
        the slowest round over the fastest.
    first_s
        Seconds to build, compile and run the first step, imports excluded, in the first round, whose compilation caches
        are new and empty (graphc's, TorchInductor's, PyTensor's).
    warm_first_s
        The same in the later rounds, which find the first round's caches: their minimum; null with one round.
    peak_bytes
        Growth of the process's peak resident memory over what its imports cost: the maximum resident set of the
        benchmark process less that of a process which only imports the engine and NumPy; of a process with helper
        subprocesses, the largest of them.  The minimum over the rounds, so compilation counts only where no cache
        avoids it.  Null where it cannot be told: the system starts a child's peak at this script's own, so a
        process that stays below that shows nothing.
    ratio (table only)
        The fastest peer's step_us over graphc's: above 1, graphc is faster.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

#: What a process imports before its engine's clock starts; also how an engine is looked for.
IMPORTS = {
    "graphc": "import graphc, graphc.nn, graphc.optim",
    "torch": "import torch",
    "torch-compile": "import torch",
    "jax": "import jax, jax.numpy",
    "pytensor": "import pytensor, pytensor.tensor",
}
WORKLOADS = ("tiny", "mlp", "mlp-large", "cnn", "resnet20", "lstm", "transformer")


@dataclass
class Engine:
    """One engine as it runs here."""

    name: str
    python: str
    baseline: int = 0  # maximum resident bytes of a process that only imports it

    def command(self, workload: str, threads: int, seconds: float) -> list[str]:
        script = ["graphc_engine.py"] if self.name == "graphc" else ["peers.py", self.name]
        options = ["--threads", str(threads), "--seconds", str(seconds)]
        return [self.python, str(HERE / script[0]), *script[1:], workload, *options]


@dataclass
class Result:
    """What the rounds of one engine on one workload gave."""

    engine: Engine
    workload: str
    caches: str  # folder of this pair's compilation caches: empty in the first round, warm after
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""


def environment(caches: str | None = None) -> dict[str, str]:
    """This process's environment without what slows a BLAS down, and with compilation caches under `caches`."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    # graphc need not be installed: the checkout this file lies in comes first.
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    if caches is not None:
        variables["GRAPHC_CACHE_DIR"] = os.path.join(caches, "graphc")
        variables["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(caches, "torchinductor")
        variables["PYTENSOR_FLAGS"] = f"base_compiledir={os.path.join(caches, 'pytensor')}"
    return variables


def run_measured(command: list[str], variables: dict[str, str]) -> tuple[int, str, str, int]:
    """Run a command; return its exit status, standard output, last line of error, and maximum resident bytes."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, env=variables, stdout=output, stderr=errors)
        _, wait_status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(wait_status)
        output.seek(0)
        errors.seek(0)
        reason = (errors.read().strip().splitlines() or ["no message"])[-1]
        return process.returncode, output.read(), reason, usage.ru_maxrss * 1024


def find_engines(names: list[str], python_for_peers: str) -> list[Engine]:
    """The engines that can be imported; the others are named on standard error."""
    found = []
    for name in names:
        engine = Engine(name, sys.executable if name == "graphc" else python_for_peers)
        status, _, reason, engine.baseline = run_measured(
            [engine.python, "-c", f"import numpy; {IMPORTS[name]}"], environment()
        )
        if status == 0:
            found.append(engine)
        else:
            print(f"{name}: left out, cannot be imported by {engine.python}: {reason}", file=sys.stderr)
    return found


def run_rounds(results: list[Result], args: argparse.Namespace) -> None:
    """Run every round of one workload, the engines taking turns within each."""
    for number in range(args.rounds):
        for result in results:
            if result.failure:
                continue
            command = result.engine.command(result.workload, args.threads, args.seconds)
            status, output, reason, peak = run_measured(command, environment(result.caches))
            if status != 0:
                result.failure = reason
                print(f"{result.engine.name} on {result.workload}: left out: {reason}", file=sys.stderr)
                continue
            row = json.loads(output.strip().splitlines()[-1]) | {"peak": peak}
            result.rounds.append(row)
            print(
                f"round {number + 1}/{args.rounds}  {result.workload:<12} {result.engine.name:<14}"
                f"{row['step_us']:>12,.1f} us/step   first step {row['first_s']:.2f} s",
                file=sys.stderr,
            )


def row_of(result: Result, own_resident: int) -> dict[str, Any]:
    """The JSON row of one engine on one workload."""
    steps = [row["step_us"] for row in result.rounds]
    warm = [row["first_s"] for row in result.rounds[1:]]
    peak = min(row["peak"] for row in result.rounds)
    known = min(peak, result.engine.baseline) > own_resident
    return {
        "engine": result.engine.name,
        "workload": result.workload,
        "threads": result.rounds[0]["threads"],
        "first_s": result.rounds[0]["first_s"],
        "step_us": min(steps),
        "peak_bytes": max(0, peak - result.engine.baseline) if known else None,
        "warm_first_s": min(warm) if warm else None,
        "step_us_spread": round(max(steps) / min(steps), 3),
        "rounds": len(steps),
    }


def ratios(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, float]]:
    """(workload, fastest peer, its step time over graphc's) where both were measured."""
    for workload in dict.fromkeys(row["workload"] for row in rows):
        here = [row for row in rows if row["workload"] == workload]
        own = [row["step_us"] for row in here if row["engine"] == "graphc"]
        peers = [(row["step_us"], row["engine"]) for row in here if row["engine"] != "graphc"]
        if own and peers:
            best, name = min(peers)
            yield workload, name, best / own[0]


def print_table(rows: list[dict[str, Any]]) -> None:
    """The rows, then the ratios, as Markdown."""

    def show(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    print("\n| workload | engine | threads | us a step | spread | first step, s | warm, s | peak growth, MB |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        peak = None if row["peak_bytes"] is None else row["peak_bytes"] / 1e6
        print(
            f"| {row['workload']} | {row['engine']} | {row['threads']} | {row['step_us']:,.1f} "
            f"| {row['step_us_spread']:.2f} | {row['first_s']:.2f} | {show(row['warm_first_s'], '.2f')} "
            f"| {show(peak, '.1f')} |"
        )
    compared = list(ratios(rows))
    if compared:
        print("\n| workload | fastest peer | its time / graphc's |\n|---|---|---:|")
        for workload, name, ratio in compared:
            print(f"| {workload} | {name} | {ratio:.2f} |")


def plot(rows: list[dict[str, Any]], path: str) -> None:
    """Step times as bars, grouped by workload, on a logarithmic axis."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    figure = Figure(figsize=(3 + 2 * len(workloads), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(engines)
    for k, engine in enumerate(engines):
        bars = [(workloads.index(row["workload"]), row["step_us"]) for row in rows if row["engine"] == engine]
        shift = (k - (len(engines) - 1) / 2) * width
        axes.bar([x + shift for x, _ in bars], [time for _, time in bars], width, label=engine)
    axes.set_yscale("log")
    axes.set_xticks(range(len(workloads)), workloads)
    axes.set_ylabel("microseconds a training step")
    axes.set_title("Training step (lower is better)")
    axes.legend()
    figure.savefig(path)


def resident_peak() -> int:
    """Peak resident bytes of this process; the kernel starts a child's count from it."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def parse_arguments() -> argparse.Namespace:
    def names(choices: tuple[str, ...]) -> Any:
        def parse(text: str) -> list[str]:
            chosen = [name for name in text.split(",") if name]
            unknown = [name for name in chosen if name not in choices]
            if unknown or not chosen:
                raise argparse.ArgumentTypeError(f"unknown {unknown}; choose from {', '.join(choices)}")
            return chosen

        return parse

    engines = tuple(IMPORTS)
    parser = argparse.ArgumentParser(description="Time training steps of graphc and its peers side by side.")
    parser.add_argument("--workloads", type=names(WORKLOADS), default="tiny,mlp,mlp-large,transformer")
    parser.add_argument("--engines", type=names(engines), default="graphc,torch,jax,pytensor")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=min(2, len(os.sched_getaffinity(0))))
    parser.add_argument("--seconds", type=float, default=2.0, help="time measured in each round (default: 2)")
    parser.add_argument("--python-for-peers", default=sys.executable, metavar="PATH", help="interpreter with the peers")
    parser.add_argument("--json", metavar="FILE", help="write the rows, one JSON object a line of an array")
    parser.add_argument("--plot", metavar="FILE", help="draw the step times (needs matplotlib)")
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 1 or args.seconds <= 0:
        parser.error("--rounds and --threads are at least 1, --seconds is positive")
    return args


def main() -> int:
    args = parse_arguments()
    engines = find_engines(args.engines, args.python_for_peers)
    results: list[Result] = []
    for workload in args.workloads:
        with tempfile.TemporaryDirectory(prefix="graphc-benchmark-") as folder:
            pairs = [Result(engine, workload, tempfile.mkdtemp(dir=folder)) for engine in engines]
            run_rounds(pairs, args)
            results += pairs
    own_resident = resident_peak()
    rows = [row_of(result, own_resident) for result in results if result.rounds and not result.failure]
    if args.json:
        Path(args.json).write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    print_table(rows)
    if args.plot and rows:
        plot(rows, args.plot)
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
