#!/usr/bin/env python3
"""Random graphs over all ops and dtypes: compiled programs against the reference interpreter.

    python benchmarks/fuzz.py --graphs 20000 --seed 1 --state fuzz.jsonl

Graph ``k`` of a seed is always the same one (while the set of ops is). Each is built, run by the reference interpreter,
compiled and run by one worker and by two; see :mod:`graphc.testing.fuzzing` for what must agree. A graph that fails is
shrunk and printed as a script. Processes of their own do the work, so that a crash is a finding like any other.

With ``--state`` every verdict is appended to a file, and graphs that are in it are not run again: a search can be
interrupted and resumed. ``--only K`` runs one graph, whatever the file says, and prints it.

With ``--checked`` nothing is compiled: kernels' texts run in plain Python, and every access to memory is checked
(:mod:`graphc.testing.checked`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import common
import numpy as np
from tqdm import tqdm

import graphc
from graphc import config
from graphc.testing import checked, fuzzing, growing, recipes, steps

Row = dict[str, Any]

CHUNK = 25
"""Graphs that one process runs: its kernels' code is freed with it."""

MOST_CALLS = 60


def recipe_of(seed: int, number: int, most_calls: int) -> recipes.Recipe:
    """The graph of that number."""
    return steps.grown(growing.Drawn(np.random.default_rng([seed, number])), most_calls)


def run_one(args: argparse.Namespace, number: int) -> Row:
    """The verdict on one graph; one that fails comes with a script, shrunk."""
    check = checked.check if args.checked else fuzzing.check
    recipe = recipe_of(args.seed, number, args.calls)
    verdict = check(recipe)
    functions = sorted({call.function for call in recipe.calls})
    row: Row = {"graph": number, "kind": verdict.kind, "calls": len(recipe.calls), "functions": functions}
    row["text"] = verdict.text
    if verdict.failed:
        row["code"] = recipes.as_code(fuzzing.shrink(recipe, verdict, args.shrink, check))
    return row


def work(args: argparse.Namespace, numbers: Sequence[int]) -> None:
    """What a process of the search does: a line for each graph, when it begins and when it is done."""
    config.configure(helpers=0, verify=True)
    for number in numbers:
        print(json.dumps({"begun": number}), flush=True)
        print(json.dumps(run_one(args, number)), flush=True)


def chunk_rows(args: argparse.Namespace, numbers: list[int]) -> list[Row]:
    """The verdicts on some graphs, by as many processes as it takes: a crash ends one.

    Kernels that are compiled are kept where the environment says, else for these processes only.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {"GRAPHC_CACHE_DIR": folder, **os.environ}
        while numbers:
            command = [sys.executable, __file__, "--seed", str(args.seed), "--calls", str(args.calls)]
            command += ["--shrink", str(args.shrink), *(["--checked"] if args.checked else [])]
            command += ["--work", ",".join(map(str, numbers))]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            begun = None
            for line in done.stdout.splitlines():
                row = json.loads(line)
                if "begun" in row:
                    begun = row["begun"]
                else:
                    numbers.remove(row["graph"])
                    begun = None
                    rows.append(row)
            if not numbers:
                break
            crashed = numbers[0] if begun is None else begun
            numbers.remove(crashed)
            text = f"exit status {done.returncode}: {done.stderr[-2000:]}"
            code = recipes.as_code(recipe_of(args.seed, crashed, args.calls))
            row = {"graph": crashed, "kind": "crash", "calls": 0, "functions": [], "text": text, "code": code}
            rows.append(row)
    return rows


def known_rows(path: Path | None, args: argparse.Namespace) -> dict[int, Row]:
    """The verdicts in a state file that belong to this search."""
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    wanted = args.seed, args.calls, args.checked
    return {row["graph"]: row for row in rows if (row["seed"], row["most_calls"], row.get("checked", False)) == wanted}


def search(args: argparse.Namespace) -> list[Row]:
    """Run all graphs that have no verdict yet."""
    state = None if args.state is None else Path(args.state)
    rows = known_rows(state, args)
    missing = [number for number in range(args.graphs) if number not in rows]
    chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    bar = tqdm(total=args.graphs, initial=args.graphs - len(missing), unit="graph")
    with ThreadPoolExecutor(args.processes) as pool:
        futures = [pool.submit(chunk_rows, args, chunk) for chunk in chunks]
        try:
            for future in as_completed(futures):
                for row in future.result():
                    rows[row["graph"]] = row
                    if state is not None:
                        line = json.dumps({"seed": args.seed, "most_calls": args.calls, "checked": args.checked, **row})
                        with state.open("a") as file:
                            file.write(line + "\n")
                    if row["kind"] not in ("equal", "rejected"):
                        tqdm.write(f"\ngraph {row['graph']}: {row['kind']}: {row['text']}\n\n{row['code']}")
                    bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True, wait=False)
            raise
    bar.close()
    return [rows[number] for number in sorted(rows) if number < args.graphs]


def summary(rows: Sequence[Row]) -> str:
    """Counts of verdicts, and how often each function of graphc was in a graph that ran."""
    kinds = Counter(row["kind"] for row in rows)
    calls = sum(row["calls"] for row in rows)
    lines = [f"{len(rows):,} graphs of {calls / max(1, len(rows)):.1f} calls on average:"]
    lines += [f"  {count:,} {kind}" for kind, count in kinds.most_common()]
    used = Counter(name for row in rows if row["kind"] != "rejected" for name in row["functions"])
    lines.append(f"{len(used)} functions, the rarest in {min(used.values(), default=0)} graphs")
    reached = {name.rpartition(".")[2] for name in used}
    never = sorted(name for name in graphc.ops.FUNCTIONS if name not in reached | steps.NOT_CALLED)
    lines.append(f"in none: {', '.join(never)}" if never else "every function of graphc.ops was in one")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Random graphs: compiled against the reference interpreter.")
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int, default=MOST_CALLS, help="most calls of a graph")
    parser.add_argument("--shrink", type=int, default=150, help="graphs tried to make a failing one smaller")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--state", metavar="FILE", help="verdicts so far, one JSON object a line; appended to")
    parser.add_argument("--checked", action="store_true", help="run kernels in plain Python, memory checked")
    parser.add_argument("--only", type=int, metavar="K", help="run graph K alone")
    parser.add_argument("--work", type=common.numbers(0), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work is not None:
        work(args, args.work)
        return 0
    if args.only is not None:
        row = run_one(args, args.only)
        code = row.get("code") or recipes.as_code(recipe_of(args.seed, args.only, args.calls))
        print(f"{code}\ngraph {args.only}: {row['kind']} {row.get('text', '')}")
        return int(row["kind"] not in ("equal", "rejected"))
    rows = search(args)
    print(summary(rows))
    return int(any(row["kind"] not in ("equal", "rejected") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
