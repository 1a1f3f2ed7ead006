#!/usr/bin/env python3
"""Write docs/benchmarks.md from the JSON files of the benchmarks.

    python benchmarks/report.py FOLDER                make the page of FOLDER/limits.json, FOLDER/training.json, ...
    python benchmarks/report.py FOLDER --run          measure first: every script writes its file there
    python benchmarks/report.py FOLDER --run --rounds 1 --only limits,kernels

Every figure on the page, the machine's name and the versions come out of the files; a script without a file has no
section.  All files must be of one machine.  Pictures go to ``pictures/`` beside the page.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import common
from common import Row

INTRODUCTION = """\
# Benchmarks

Made by `python benchmarks/report.py` from the files that the scripts in `benchmarks/` write; nothing here is written by
hand. Rows of different tables may come from different runs, on the days named below. Engines run alternately, each
in processes of its own, on the same work; a figure is the minimum over rounds. Single
runs on a shared machine differ by more than a percent shows, so only what stands in one table may be compared.
"""

#: By script: a heading, and what one must know to read its tables.
SECTIONS: dict[str, tuple[str, str]] = {
    "limits": (
        "What the machine can do",
        'Fused multiply-adds that never leave the registers, and streams over arrays in L2, L3 and DRAM. "On the bus" '
        "also counts the line that an ordinary store reads before it writes; `bypass` stores past the caches.",
    ),
    "training": (
        "Training steps",
        'Forward, backward and Adam\'s update, float32, inputs in memory. "First step" is with empty caches, "warm" '
        "with full ones; both contain building and compiling, but no imports.",
    ),
    "kernels": (
        "Single kernels",
        "Elements a second, and shares of the limits measured in the same run: of the multiply-add peak for matmul, of "
        "the stream's rate for the others, counting every array once. `both` stores the value and all gradients.",
    ),
    "compile": (
        "First steps",
        "Fresh processes, with empty (cold) and full (warm) caches, and where graphc's time goes. JAX keeps no cache "
        "unless told to. The last table: a call of `Session.run` beside the time of its kernels alone.",
    ),
    "memory": (
        "Memory",
        '"State" is weights and moments; "step" what one step holds beside them, gradients included: graphc\'s planned '
        "arena, copies of feeds and fetched results, or the peak of torch's allocator. Process growth is over imports.",
    ),
    "scaling": (
        "Growth with workers and sizes",
        'One size at a time is varied, from one base network; "growth" is over the line before, beside the growth of '
        "the contractions' arithmetic. The last table compiles equal blocks with an empty cache.",
    ),
    "scale": ("Growth with nodes", "Declaring and compiling the deepest and the widest graph."),
}


def read(folder: Path, only: list[str]) -> dict[str, list[Row]]:
    """Rows by script, without the scripts that have no file."""
    return {name: json.loads(path.read_text()) for name in only if (path := folder / f"{name}.json").exists()}


def machine_text(found: dict[str, list[Row]]) -> str:
    """The machine and the versions, from the rows.

    Raises
    ------
    SystemExit
        If the files come from different machines.
    """
    machines = [row["machine"] for rows in found.values() for row in rows]
    if len({(m["cpu"], m["processors"], m["system"]) for m in machines}) != 1:
        raise SystemExit("the files come from different machines: measure them all on one")
    here = machines[-1]
    caches = ", ".join(f"{level} {size >> 10:,} KiB" for level, size in here["caches"].items())
    versions = dict(here["versions"])
    for rows in found.values():
        versions |= {row["engine"].split("-")[0]: row["version"] for row in rows if row.get("version")}
    threads = sorted({row["threads"] for rows in found.values() for row in rows if "threads" in row})
    days = sorted({m["date"] for m in machines})
    lines = [
        ["processor", f"{here['cpu']}, {here['processors']} available"],
        ["caches seen by one processor", caches],
        ["memory", f"{here['memory_bytes'] / 2**30:.0f} GiB"],
        ["system", here["system"]],
        ["versions", ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))],
        ["threads", ", ".join(map(str, threads))],
        ["measured", " to ".join(dict.fromkeys([days[0], days[-1]]))],
    ]
    return common.table(["machine", ""], lines)


def page(found: dict[str, list[Row]], pictures: Path) -> str:
    """The page's text; draws its pictures."""
    pictures.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION, machine_text(found)]
    for name, rows in found.items():
        heading, prose = SECTIONS[name]
        # only now: a process that has imported Numba would hand its peak memory down to those it starts and measures
        module = importlib.import_module(name)
        picture = pictures / f"benchmarks_{name}.svg"
        module.plot(rows, str(picture))
        parts += [f"## {heading}", f"{prose} (`benchmarks/{name}.py`)", module.tables(rows)]
        if picture.exists():
            parts.append(f"![{heading}](pictures/{picture.name})")
    return "\n\n".join(part.strip() for part in parts) + "\n"


def run(name: str, folder: Path, options: list[str]) -> None:
    """Run one script into the folder; its failure is told, and leaves the page without its section."""
    command = [sys.executable, *common.script(f"{name}.py", *options, "--json", folder / f"{name}.json")]
    print(" ".join([f"{name}.py", *options]), file=sys.stderr)
    if subprocess.run(command, stdout=subprocess.DEVNULL, env=common.environment()).returncode:
        print(f"{name}.py failed: no section", file=sys.stderr)


def options_of(name: str, args: argparse.Namespace) -> list[str]:
    """The options that one script understands, of those given."""
    if name == "scale":
        return []
    options = ["--rounds", str(args.rounds)] if args.rounds else []
    options += ["--seconds", str(args.seconds)] if args.seconds else []
    if name not in ("limits", "scaling"):
        options += ["--python-for-peers", args.python_for_peers]
    return options + (["--workloads", args.workloads] if name in ("training", "compile", "memory") else [])


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/benchmarks.md from the benchmarks' JSON files.")
    parser.add_argument("folder", type=Path, help="where the JSON files are")
    parser.add_argument("--docs", type=Path, default=common.HERE.parent / "docs", help="where the page goes")
    parser.add_argument("--only", type=common.names(SECTIONS), default=",".join(SECTIONS))
    parser.add_argument("--run", action="store_true", help="measure first")
    parser.add_argument("--rounds", type=int, help="with --run: rounds of every script")
    parser.add_argument("--seconds", type=float, help="with --run: seconds a figure and round of every script")
    parser.add_argument("--workloads", default="tiny,mlp,mlp-large,transformer")
    parser.add_argument("--python-for-peers", default=sys.executable, metavar="PATH", type=common.program)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.run:
        for name in args.only:
            run(name, args.folder, options_of(name, args))
    found = read(args.folder, args.only)
    if not found:
        parser.error(f"no JSON file of {', '.join(args.only)} in that folder")
    (args.docs / "benchmarks.md").write_text(page(found, args.docs / "pictures"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
