"""Static and dynamic graphs: one model, compiled before it runs and run as it is written.

    python examples/static_vs_dynamic.py [--rounds 5] [--out out]

A residual network with layer normalization learns handwritten digits: cross-entropy, Adam, 64 images a step. The model
is written once and takes its steps in up to three ways, all from the same initial weights and on one thread:

compiled    declared first (define-and-run): `graphc.Session` compiles the whole step, updates included
eager       run at once (define-by-run): `graphc.eager`, the same functions called with values, and a tape
PyTorch     run at once by another library, where it is installed: the same network once more

They compute the same: the losses of the first steps are printed side by side. What differs is what is known before
the first number is computed, and what a compiler makes of it: counted are operations and the arrays that they fill, as
written, after simplification, and as kernels. Writes ``static_vs_dynamic.png``; and, of a network without blocks and
without the optimizer, ``tape.svg``, what eager mode has executed and recorded, and ``kernels.svg``, what the compiler
has made of the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

import graphc
from graphc import eager, nn, optim
from graphc.compiler import PIPELINE
from graphc.ir.graph import topological
from graphc.ir.op import Effect, Source, View
from graphc.ir.symbolic import evaluate
from graphc.passes.decompose import decompose
from graphc.passes.differentiate import differentiate
from graphc.visual import draw_schedule

PIXELS, WIDTH, HIDDEN, CLASSES, BATCH = 64, 64, 128, 10, 64
BLOCKS, RATE = 2, 1e-3
COMPARED = 10
"""Steps whose losses are compared: later ones drift apart, because roundings differ and training amplifies them."""

Step = Callable[[np.ndarray, np.ndarray], float]
"""A training step on images and labels; returns the loss before it."""


# The model: said once.


class Block(nn.Layer):
    """``x + down(gelu(up(norm(x))))``."""

    def build(self, x: graphc.Tensor) -> None:
        self.norm, self.up, self.down = nn.LayerNorm(), nn.Dense(HIDDEN, graphc.gelu), nn.Dense(WIDTH)
        for part in ("norm", "up", "down"):
            self.name_part(part, getattr(self, part))

    def forward(self, x: graphc.Tensor, training: bool) -> graphc.Tensor:
        return x + self.down(self.up(self.norm(x)))


def network(blocks: int = BLOCKS) -> nn.Layer:
    """A dense layer, residual blocks, and scores for the ten digits."""
    return nn.Sequential(nn.Dense(WIDTH), *[Block() for _ in range(blocks)], nn.LayerNorm(), nn.Dense(CLASSES))


def loss_of(model: nn.Layer, images: Any, labels: Any) -> Any:
    """Mean cross-entropy: graph if images and labels are graph, a value if they are values."""
    return nn.softmax_cross_entropy(model(images), labels).mean()


# Three ways to take a step.


def declared(model: nn.Layer) -> tuple[dict[str, graphc.Tensor], graphc.Tensor, Any]:
    """The step as graph: placeholders, loss, and updates."""
    inputs = {
        "images": graphc.placeholder("images", ("batch", PIXELS)),
        "labels": graphc.placeholder("labels", ("batch",), "int64"),
    }
    loss = loss_of(model, **inputs)
    return inputs, loss, optim.Adam(RATE).minimize(loss)


def compiled_step(model: nn.Layer, session: graphc.Session) -> Step:
    """Declared once, run many times."""
    inputs, loss, train = declared(model)

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        feeds = {inputs["images"]: images, inputs["labels"]: labels}
        return float(session.run([loss, train], feeds)[0])

    return step


def eager_step(model: nn.Layer, session: graphc.Session) -> Step:
    """Computed line by line, each time."""
    adam = optim.Adam(RATE)

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        with eager.using(session):
            loss = loss_of(model, eager.asarray(images), eager.asarray(labels))
            eager.minimize(adam, loss)
            return float(loss)

    return step


def torch_step(weights: Sequence[np.ndarray]) -> tuple[Step, Callable[[], int]]:
    """PyTorch's eager mode; and a function that counts the operations which it has dispatched in a step."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Residual(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            up, down = torch.nn.Linear(WIDTH, HIDDEN), torch.nn.Linear(HIDDEN, WIDTH)
            self.layers = torch.nn.Sequential(torch.nn.LayerNorm(WIDTH), up, torch.nn.GELU(), down)

        def forward(self, x: Any) -> Any:
            return x + self.layers(x)

    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.count += 1
            return function(*args, **(kwargs or {}))

    torch.set_num_threads(1)
    first, last = torch.nn.Linear(PIXELS, WIDTH), torch.nn.Linear(WIDTH, CLASSES)
    model = torch.nn.Sequential(first, *[Residual() for _ in range(BLOCKS)], torch.nn.LayerNorm(WIDTH), last)
    with torch.no_grad():
        for parameter, array in zip(model.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(array.T.copy()))  # a kernel is transposed there
    adam = torch.optim.Adam(model.parameters(), RATE)
    data: list[np.ndarray] = []

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        data[:] = images, labels
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(images)), torch.from_numpy(labels))
        adam.zero_grad()
        loss.backward()
        adam.step()
        return loss.item()

    def count() -> int:
        with Counter() as counter:
            step(*data)
        return counter.count

    return step, count


# What the compiler has to work with, and what it makes of it.


def operations(graph: graphc.Graph) -> list[Any]:
    """The nodes that compute something: views cost nothing, and an assignment is a name for a result."""
    return [node for node in graph.nodes if not isinstance(node.op, (Source, View, Effect))]


def result_bytes(graph: graphc.Graph) -> int:
    """Bytes of all arrays that are filled if each node fills its own."""
    sizes = {"batch": BATCH}
    return sum(evaluate(tensor.type.bytes, sizes) for node in operations(graph) for tensor in node.results)


Counts = dict[str, tuple[int, int, int]]
"""Nodes, operations, and bytes of results of a step: as written, simplified, and compiled."""


def anatomy(model: nn.Layer, session: graphc.Session) -> Counts:
    """What a step is made of. Bytes of the compiled one are those of its arena, in which results share memory."""
    inputs, loss, train = declared(model)
    graph = graphc.Graph(tuple(inputs.values()), (loss, *train))
    written = decompose(differentiate(graph))
    for name, stage in PIPELINE:
        graph = stage(graph)
        if name == "simplify_all":
            break
    program = session.prepare([loss, train], inputs.values())
    program(np.zeros((BATCH, PIXELS), np.float32), np.zeros(BATCH, np.int64))  # so that the sizes are known
    assert program.source and program.memory, "what is compiled has both"
    return {
        "as written": (len(written.nodes), len(operations(written)), result_bytes(written)),
        "simplified": (len(graph.nodes), len(operations(graph)), result_bytes(graph)),
        "compiled": (len(program.source.schedule.graph.nodes), program.kernels, program.memory.peak),
    }


def tape_of(model: nn.Layer, images: np.ndarray, labels: np.ndarray) -> dict[str, graphc.Tensor]:
    """The loss and its gradients, with values; the nodes behind them are the tape."""
    loss = loss_of(model, eager.asarray(images), eager.asarray(labels))
    slopes = graphc.gradients(loss, model.variables)
    names = [variable.name.partition("/")[2] for variable in model.variables]
    return {"loss": loss} | {f"∂ {name}": slope for name, slope in zip(names, slopes, strict=True)}


def draw(out: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """The tape and the kernels of a smaller network."""
    model = network(blocks=0)
    with graphc.Session(backend="reference", seed=0) as session, eager.using(session):
        graphc.draw(tape_of(model, images, labels), fold=False).save(out / "tape.svg")
    inputs, loss, _ = declared(model)
    program = graphc.compile(list(inputs.values()), [loss, *graphc.gradients(loss, model.variables)])
    assert program.source, "it is compiled"
    draw_schedule(program.source.schedule).save(out / "kernels.svg")


# The comparison.


def compare(steps: dict[str, Step], images: np.ndarray, labels: np.ndarray) -> dict[str, list[float]]:
    """Losses of the first steps of each."""
    batches = list(graphc.data.batches(images, labels, size=BATCH, shuffle=True, seed=0))[:COMPARED]
    return {name: [step(*batch) for batch in batches] for name, step in steps.items()}


def times(steps: dict[str, Step], images: np.ndarray, labels: np.ndarray, rounds: int) -> dict[str, float]:
    """Processor seconds of a step: the least of those in all rounds of a fifth of a second, in which they alternate.

    All run on one thread, so this is the time that passes, less what other programs take.
    """
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            end = time.perf_counter() + 0.2
            while time.perf_counter() < end:
                start = time.process_time()
                step(images[:BATCH], labels[:BATCH])
                best[name] = min(best[name], time.process_time() - start)
    return best


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of timing")
    parser.add_argument("--out", type=Path, default=Path("out"))
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error(f"--rounds: expected at least 1, got {arguments.rounds}")
    digits = load_digits()
    images, labels = (digits.data / 16).astype(np.float32), digits.target.astype(np.int64)
    arguments.out.mkdir(parents=True, exist_ok=True)

    model = network()
    with (
        threadpool_limits(1),  # NumPy's products, of which eager mode is made
        graphc.Session(threads=1, seed=0) as session,
        graphc.Session(threads=1, seed=0, backend="reference") as eager_session,
    ):
        steps = {"compiled": compiled_step(model, session), "eager": eager_step(model, eager_session)}
        torch_operations: Callable[[], int] | None = None
        if importlib.util.find_spec("torch"):
            weights = [session.get(variable) for variable in model.variables]
            steps["PyTorch"], torch_operations = torch_step(weights)
        else:
            print("PyTorch is not installed here, and left out")

        losses = compare(steps, images, labels)
        print(f"{'step':>6}" + "".join(f"{name:>12}" for name in losses))
        for number, row in enumerate(zip(*losses.values(), strict=True), 1):
            print(f"{number:6}" + "".join(f"{loss:12.6f}" for loss in row))
        apart = max(abs(a - b) for line in losses.values() for a, b in zip(line, losses["compiled"], strict=True))
        seconds = times(steps, images, labels, arguments.rounds)

        counts = anatomy(model, session)
        with eager.using(eager_session):
            tape = topological(tape_of(model, images[:BATCH], labels[:BATCH]).values())
        print(f"the eager tape of a step, without the optimizer: {len(tape)} nodes")
        for name, (nodes, count, size) in counts.items():
            what = "kernels" if name == "compiled" else "operations"
            print(f"{name + ':':12} {nodes:4} nodes, {count:4} {what}, {size / 1024:6.0f} KiB for results")
        executed = {"as written": counts["as written"][1], "compiled": counts["compiled"][1]}
        if torch_operations is not None:
            executed["PyTorch"] = torch_operations()
            print(f"{'PyTorch:':12} {executed['PyTorch']:4} operations dispatched")
    for name, duration in seconds.items():
        print(f"{name + ':':12} {duration * 1e6:8.0f} us a step")
    draw(arguments.out, images[:BATCH], labels[:BATCH])
    plot(losses, seconds, executed, counts, arguments.out / "static_vs_dynamic.png")
    print(f"wrote static_vs_dynamic.png, tape.svg and kernels.svg to {arguments.out}/")
    shown = ", ".join(
        f"{seconds[name] / seconds['compiled']:.1f} times faster than {name}" for name in steps if name != "compiled"
    )
    print(f"losses within {apart:.0e}; compiled is {shown}")


def plot(
    losses: dict[str, list[float]], seconds: dict[str, float], executed: dict[str, int], counts: Counts, path: Path
) -> None:
    """Losses, times, operations and bytes."""
    figure, panels = plt.subplots(2, 2, figsize=(9, 6), layout="constrained")
    for (name, line), style in zip(losses.items(), ("-", "--", ":"), strict=False):
        panels[0, 0].plot(range(1, len(line) + 1), line, style, label=name, linewidth=2)
    panels[0, 0].set(title="the same losses", xlabel="step", ylabel="cross-entropy")
    panels[0, 0].legend()
    sizes = {name: counts[name][2] / 1024 for name in ("as written", "compiled")}
    bars = (
        (panels[0, 1], "time of a step", "us", {name: duration * 1e6 for name, duration in seconds.items()}),
        (panels[1, 0], "operations executed in a step", "", executed),
        (panels[1, 1], "memory for their results", "KiB", sizes),
    )
    colours = {"compiled": "C0", "eager": "C1", "as written": "C1", "PyTorch": "C2"}
    for panel, title, unit, values in bars:
        drawn = panel.bar(list(values), list(values.values()), 0.6, color=[colours[name] for name in values])
        panel.bar_label(drawn, [f"{value:,.0f} {unit}".rstrip() for value in values.values()])
        panel.set(title=title, yticks=[])
        panel.margins(x=0.15, y=0.15)
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
