"""Makes docs/pictures.md: every kind of picture that graphc draws, each from a few lines of Python, and how to read it.

    python docs/make_pictures.py                     # writes pictures.md and pictures/ beside this file
    python docs/make_pictures.py FOLDER [NAME ...]   # writes there; only these pictures, if some are named

All pictures but the timeline are the same whenever they are made; tests compare some of them byte for byte. The
timeline shows one run: the one that is there is kept unless ``block_timeline`` is named.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import graphc
from graphc import nn, optim
from graphc.visual import draw_memory, draw_timeline

INTRODUCTION = """\
# Pictures

`graphc.draw` shows a graph before anything is compiled, its derivative, and what the compiler made of it. This page
shows each kind of picture with the lines that draw it; [`make_pictures.py`](make_pictures.py) runs them. Pictures are
SVG: rest the pointer on a node for its type, your line, its scope, and the kernel that computes it; large ones are
meant to be opened and zoomed. Kinds of node differ in shape as well as in colour, and the legend names those in the
picture. `graphc draw module:function` draws the same from a shell, and notebooks show tensors, programs and profiles
as pictures by themselves.

```python
import numpy as np

import graphc
from graphc import nn, optim
from graphc.visual import draw_memory, draw_timeline
```
"""


def mlp() -> dict[str, Any]:
    x = graphc.placeholder("x", ("batch", 64))
    labels = graphc.placeholder("labels", ("batch",), "int64")
    model = nn.Sequential(nn.Dense(256), nn.relu, nn.Dropout(0.3), nn.Dense(10))
    scores = model(x, training=True)
    with graphc.name_scope("cross_entropy"):
        loss = nn.softmax_cross_entropy(scores, labels).mean()
    return {"x": x, "labels": labels, "loss": loss}


def paths() -> dict[str, Any]:
    x, y = graphc.placeholder("x", ()), graphc.placeholder("y", ())
    a = x * y
    b = graphc.sin(x)
    f = a * b + a
    return {"x": x, "y": y, "f": f}


def neuron() -> dict[str, Any]:
    x = graphc.placeholder("x", (3,))
    w = graphc.variable([[0.5, -1.0], [0.25, 0.5], [-0.5, 1.5]], name="w")
    h = graphc.tanh(x @ w)
    loss = (h * h).sum()
    return {"x": x, "loss": loss}


def block() -> dict[str, Any]:
    x = graphc.placeholder("x", ("batch", 16, 32))
    y = nn.TransformerBlock(4, causal=True, name="block")(x)
    return {"x": x, "y": y}


def trained_block() -> dict[str, Any]:
    x = graphc.placeholder("x", ("batch", 16, 32))
    y = nn.TransformerBlock(4, causal=True, name="block")(x)
    with graphc.name_scope("loss"):
        loss = graphc.square(y - x).mean()
    train = optim.SGD(0.1).minimize(loss)
    return {"x": x, "loss": loss, "train": train}


def deep() -> dict[str, Any]:
    y = graphc.placeholder("x", ("batch", 16))
    for stage in range(3):
        for block in range(4):
            with graphc.name_scope(f"stage{stage}/block{block}"):
                for _ in range(300):
                    y = graphc.tanh(y) + graphc.sin(y)
    return {"y": y}


def mlp_forward(model: dict[str, Any]) -> Any:
    return graphc.draw(model["loss"], fold="cross_entropy")


def mlp_backward(model: dict[str, Any]) -> Any:
    return graphc.draw(
        {"loss": model["loss"]}, backward=True, fold=["sequential/0_dense", "sequential/2_dropout", "cross_entropy"]
    )


def mlp_train(model: dict[str, Any]) -> Any:
    train = optim.Momentum(0.1).minimize(model["loss"])
    return graphc.draw(train, fold=1)


def paths_values(model: dict[str, Any]) -> Any:
    return graphc.draw({"f": model["f"]}, values={model["x"]: 2.0, model["y"]: -3.0}, backward=True)


def paths_graph(model: dict[str, Any]) -> Any:
    return graphc.draw({"f": model["f"]}, backward=True)


def neuron_values(model: dict[str, Any]) -> Any:
    return graphc.draw(model["loss"], values={model["x"]: [1.0, 2.0, 3.0]}, backward=True)


def block_folded(model: dict[str, Any]) -> Any:
    return graphc.draw({"y": model["y"]}, fold=2)


def block_attention(model: dict[str, Any]) -> Any:
    return graphc.draw({"y": model["y"]}, fold=["block/norm1", "block/norm2", "block/up", "block/down"])


def block_open(model: dict[str, Any]) -> Any:
    return graphc.draw({"y": model["y"]}, fold=False)


def block_kernels(model: dict[str, Any]) -> Any:
    return graphc.draw({"y": model["y"]}, kernels=True)


def block_memory(model: dict[str, Any]) -> Any:
    with graphc.Session(threads=1) as session:
        fetches = [model["loss"], model["train"]]
        session.run(fetches, {model["x"]: np.zeros((64, 16, 32), "float32")})
        return draw_memory(session.programs[0].memory)


def block_timeline(model: dict[str, Any]) -> Any:
    with graphc.Session(threads=2) as session:
        feed = {model["x"]: np.random.default_rng(0).normal(size=(256, 16, 32)).astype("float32")}
        fetches = [model["loss"], model["train"]]
        profiles = [session.run(fetches, feed, profile=True)[1] for _ in range(20)]
        return draw_timeline(min(profiles, key=lambda profile: profile.kernels_us))


def deep_folded(model: dict[str, Any]) -> Any:
    return graphc.draw({"y": model["y"]})


def dark(model: dict[str, Any]) -> Any:
    return graphc.draw({"y": model["y"]}, fold=2, theme="dark")


def printed(model: dict[str, Any]) -> Any:
    return graphc.draw({"y": model["y"]}, fold=2, theme="print")


PROSE: list[tuple[Callable[[], dict[str, Any]], str, list[tuple[Callable[[dict[str, Any]], Any], str]]]] = [
    (
        paths,
        """\
## Backpropagation in numbers

For a small feed every edge carries numbers: the **value** that flows forward along it, below it the local derivative
of the op it leads to (`×`), and the derivative of the result that flows back along it (`∂`, slanted). The last is the
product of the local derivative and what flows back into the op. `x` and `a` are used twice: their derivative is the sum
over both paths, written out in the node.
""",
        [
            (paths_values, "Values of `f = x y sin(x) + x y` at `x = 2`, `y = −3`, and its derivatives."),
            (
                paths_graph,
                """\
Without `values=` the same function has its backward graph beside it: gradients are ordinary nodes. It flows upwards,
so that the gradient of an op stands near the op. The yellow circles are the sums over paths; dashed edges are forward
values that the backward part reads.
""",
            ),
        ],
    ),
    (
        neuron,
        """\
Arrays are cut to a few elements. Where an op is no function of single elements, as a matrix product, there is no local
derivative to multiply by, and only what flows back is shown.
""",
        [(neuron_values, "A layer of two neurons at one input.")],
    ),
    (
        mlp,
        """\
## A perceptron, forward and backward

Layers and losses open scopes by themselves, layers named by their paths, and `graphc.name_scope` opens others. Scopes
are boxes, and any of them can be folded into one node, a folder, that says how many ops and variables are in it, and
what goes in and out.
""",
        [
            (mlp_forward, "The forward graph, its loss folded. Cylinders are variables, called by their short names."),
            (
                mlp_backward,
                "The derivative of a folded scope is one node too, `∂`, beside it. The last layer is open: what comes "
                "back from the loss along two paths is summed once, then goes on to bias, kernel and the layer before.",
            ),
            (
                mlp_train,
                "A step of training in three parts, all scopes folded. The optimizer's arithmetic is a scope as well.",
            ),
        ],
    ),
    (
        block,
        """\
## A transformer block, folded and unfolded

`fold=True` folds the outermost scopes, `fold=2` those one level further in, and so on; `fold="block/attention"` folds
one of them.
""",
        [
            (block_folded, "The block's layers, and the two residual connections around them."),
            (block_attention, "The same with `attention` open: causal, of four heads, between two projections."),
            (block_open, "The same with every node; open the picture to read it."),
            (
                block_kernels,
                """\
### What is fused

A box is a kernel. Heavy edges go through memory, and say how many bytes; thin ones are values that stay in registers
or in scratch that fits the cache; dashed ones are computed again where they are read, because that is cheaper than
storing them.
""",
            ),
            (dark, "`theme=\"dark\"`; `theme=\"auto\"` makes an SVG that is light or dark as its reader's system is."),
            (printed, "`theme=\"print\"` has greys only."),
        ],
    ),
    (
        trained_block,
        "",
        [
            (
                block_memory,
                """\
### Its memory over time

Each rectangle is a buffer of the arena: from the step that first writes it to the last that reads it, and from its
first byte to its last. Bytes are used again as soon as nobody needs them. No plan for this order of kernels needs less
than the lower bound.
""",
            ),
            (
                block_timeline,
                """\
### Its workers over time

`session.run(..., profile=True)` times each kernel; white is waiting. Some kernels are one worker's alone: those too
small to be worth waking another, and those with nothing to share out. These are times of one run on one machine.
""",
            ),
        ],
    ),
    (
        deep,
        """\
## Ten thousand nodes

Graphs of more than 100 nodes are drawn as their scopes, open to the depth that leaves 60 at most, and the picture says
so; `fold=False` draws every node. Nodes outside of scopes are, in graphs of more than 300 nodes, drawn together by the
line of your program that made them.
""",
        [(deep_folded, "Ten thousand nodes in three stages of four blocks.")],
    ),
]
"""For each model words, and pictures with theirs."""

TIMED = {"block_timeline"}


def source_of(function: Callable[..., Any]) -> str:
    """The lines of a function's body, without its frame."""
    lines = inspect.getsource(function).splitlines()[1:]
    text = textwrap.dedent("\n".join(lines))
    return re.sub(r'model\["(\w+)"\]', r"\1", re.sub(r"  # fmt: skip", "", text)).replace("return ", "", 1).rstrip()


def declaration_of(function: Callable[..., Any]) -> str:
    """A model's lines, without the dict at their end."""
    return source_of(function).rsplit("\n", 1)[0] if "{" in source_of(function) else source_of(function)


def make(folder: Path, wanted: list[str]) -> Path:
    """Write the page, and its pictures or only those that are wanted."""
    known = {function.__name__ for _, _, shown in PROSE for function, _ in shown}
    if not known.issuperset(wanted):
        raise SystemExit(f"expected names of pictures among {', '.join(sorted(known))}, got {', '.join(wanted)}")
    page = [INTRODUCTION]
    for model, words, shown in PROSE:
        made: dict[str, Any] | None = None
        page += [words, f"```python\n{declaration_of(model)}\n```\n"]
        for function, caption in shown:
            name = function.__name__
            path = folder / "pictures" / f"{name}.svg"
            if name in wanted or not (wanted or (name in TIMED and path.exists())):
                made = model() if made is None else made
                print(function(made).save(path))
            title, _, rest = caption.partition("\n\n") if caption.startswith("#") else ("", "", caption)
            page += [f"{title}\n"] if title else []
            page += [f"```python\n{source_of(function)}\n```\n", f"![{name}](pictures/{name}.svg)\n"]
            page += [f"{rest.strip()}\n"]
    path = folder / "pictures.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(filter(None, page)), encoding="utf-8")
    return path


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    print(make(target, sys.argv[2:]))
