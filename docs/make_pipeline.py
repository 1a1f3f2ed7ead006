"""Makes docs/pipeline.md: one small model followed through every stage of the compiler.

    python docs/make_pipeline.py            # writes pipeline.md and pictures/ beside this file
    python docs/make_pipeline.py FOLDER     # writes them there (the tests compare that with what is checked in)

Everything on the page but its prose comes out of one run: the model below is declared, passed through
``graphc.compiler.PIPELINE`` stage by stage, compiled, and run. The prose stands here, beside the name of the stage that
it describes; a stage without prose, or prose without a stage, is an error. Nothing on the page depends on the machine,
the time, or what the process did before.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphc import Graph, Session, Tensor
from graphc.codegen.emit import Source
from graphc.codegen.source import KernelId, KernelSource, MicroKernel, Scratch, Status
from graphc.compiler import PIPELINE, compile_graph
from graphc.ir import verify
from graphc.ir.origin import Origin
from graphc.ir.printer import format_graph
from graphc.program import Program
from graphc.runtime.table import Call, Commit, Copy
from graphc.schedule.kernel import Kernel
from graphc.schedule.report import format_schedule, tensor_names
from graphc.schedule.schedule import Schedule
from graphc.visual import draw_graph, draw_memory, draw_schedule
from graphc.visual.dump import format_memory

MODEL = """\
import graphc

x = graphc.placeholder("x", ("batch", 3))
labels = graphc.placeholder("labels", ("batch",), "int64")
w = graphc.variable([[0.5, -0.25, 0.0], [0.25, 0.5, -0.5], [-0.5, 0.0, 0.25], [0.0, 0.25, 0.5]], name="w")

scores = graphc.tanh(x @ w.T)
loss = graphc.softmax_cross_entropy(scores, labels).mean()
slope = graphc.gradients(loss, w)
step = graphc.assign(w, w - 0.5 * slope)
"""
MODEL_FILE = "model.py"

SMALL, LARGE = 64, 8192
"""Batch sizes of the runs: one that a single worker does, one that is shared out."""

WORKERS = 2
STEPS = 5

INTRODUCTION = """\
# One model through the whole pipeline

This page follows ten lines of Python down to machine code and back up to a falling loss. Each section shows one stage
of [`graphc/compiler.py`](../graphc/compiler.py): what it does, what changed, and all there is afterwards, as text and
as picture. The page is written by [`make_pipeline.py`](make_pipeline.py) from one run, and a test compares the two,
so what you read is what the compiler does. `GRAPHC_DUMP=folder` gives you the same for any program of your own.

A layer with a row of weights for each of four classes, a hyperbolic tangent, a softmax cross-entropy against the
labels, and one step of gradient descent. The number of examples has a name instead of a number:
"""

DECLARE = """\
## Declare

Nothing has been computed yet. Each call made a *node*: an op, its inputs, its attributes, and the line it came from.
Shapes and dtypes were worked out on the spot, which is why a mismatch is reported at your line and not at run time.
`softmax_cross_entropy` is no op of its own: it is a function made of ops, and it wrote down the form that does not
overflow, the logarithm of the sum of exponentials after the row's largest score was subtracted. That largest score
changes nothing in the result, so it sits behind `stop_gradient`, and the `where` around it keeps rows with infinite
scores right. `batch` stays a name: it will be a loop bound that kernels read when they run.

How to read the text: `%5: float32[batch, 4] = tanh(%4)` is tensor 5, its type, and the node that makes it. In the
picture the forward graph flows down; the derivative and the update, drawn beside it, flow up. Dashed arrows are
values that these read of the forward graph. Numbers are written inside the ops that use them, and two operands of
which the order matters are called `a` and `b`. The derivative is so far a single node, `gradient`: a promise.
"""

PROSE = {
    "simplify": """\
Rules rewrite the graph until none applies: they fold what is constant, drop what changes nothing, and put unstable
forms into stable ones. This runs before differentiation because a smaller forward graph has a smaller derivative, and
because some forms are recognised only while they are whole.

Here the transposition of `w` goes. A product is one op for all its forms, `contract`, whose labels say which axes are
summed: `mk,kn->mn` of `x` and the transposed `w` is `mk,nk->mn` of `x` and `w` itself, which reads the same numbers
with other strides.
""",
    "differentiate": """\
The `gradient` node is replaced by the graph it stands for. The pass walks the forward graph backwards once; each op
says how a change of its result turns into changes of its inputs (its `vjp`), in ordinary ops. The backward nodes
carry the line of the forward node that they belong to, marked `gradient of`.

The scores reach the loss along two paths that have a derivative: the label's score is taken from them, and their
exponentials are summed up. Each path contributes, and the contributions are added by a `path_sum` node, which
remembers which use each one came from: the multi-path chain rule as a node that you can point at (the yellow circle).
The path through the row's largest score contributes nothing; `stop_gradient` has done its work and is gone.
""",
    "drop_dead_carries": """\
A loop or a choice (`graphc.scan`, `while_loop`, `cond`) may have several results of which only some are read. What its
bodies compute for the others is dropped here, before derivatives are made of it. This model has no control flow.
""",
    "decompose": """\
Ops that are defined by other ops are replaced by these. That happens only now because a function with a derivative of
its own (`graphc.custom_gradient`) must stay whole until it has been differentiated. This model has none.
""",
    "drop_dead_carries_all": """\
The same once more, for the loops that are derivatives of loops, and for what they do not need of those.
""",
    "simplify_all": """\
The same rules once more, now over forward and backward graph together. The chain rule goes op by op, so it leaves
steps that undo each other, such as a reshape of a reshape, or that are done too late: the sign is now changed on one
number, before it is broadcast to all rows. Forward values that the derivative needs again, like the exponentials,
exist once, because equal pure nodes are always one node. What is left of the derivative of the softmax cross-entropy
is the textbook's: the probabilities, minus one at the label, over the number of rows, with no logarithm.
""",
    "split_wide": """\
A node that reads very many tensors, such as the sum of a thousand paths, is cut into a nest of smaller ones that add
in the same order: as one expression it would be one enormous kernel. This model has no such node.
""",
    "recompute": """\
What the backward pass reads of the forward pass must be kept until then. In a large network that is more than a cache
holds, so values that take few operations are computed again instead, from ones that are kept anyway. Backward nodes
then read a copy made of `again(z, g)`: z, but in no kernel before the one that makes g. All that this model keeps fits
a cache, so nothing changes.
""",
    "split_long": """\
Workers share out the results of a reduction. One that makes few results of much data, such as the sum of a whole array,
is cut into parts that they can share, and the parts are combined. This model has no such node.
""",
    "number_streams": """\
Every random op gets a number, its place in the program. Its random words are a function of the session's seed, this
number, the count of steps and the element's position, so they do not depend on the order of execution or the number
of workers. This model draws nothing.
""",
    "materialize_outputs": """\
Every output must be the result of some kernel. An output that is a leaf, such as a variable fetched by the very step
that updates it, would have no memory of its own; it gets a `copy` node. Here nothing needs one.
""",
    "schedule": """\
The graph becomes a list of *kernels*. A kernel is a loop over shared, parallel axes with stages under it: maps,
reductions, contractions, scans, accumulations. A node joins the kernel of its consumer when that reads it at the same
point of the shared loop; whether it does is a comparison of index expressions, `i, j` against `i, j`. Views such as
`reshape` and `broadcast_to` disappear into the indices. Values marked *scratch* live no longer than one turn of the
shared loop. Then the kernels are ordered: one that can fail, because it uses data as an index, comes before the first
that writes a variable, so that a failed step changes nothing.

Compare with the graph above. The matrix product, the tangent, the softmax of the row and the derivative by the scores
share one loop over rows, in which the label's one-hot row is `j == label`. The mean needs all rows, so it is a kernel
of its own. The last matrix product sums over rows, and its result updates `w` at once: no gradient is ever stored. In
the picture the arrows are what goes through memory, and how many bytes.
""",
    "emit": """\
Each kernel is printed as a Python function for Numba. It gets a table of addresses, a table of sizes, and which
worker of how many it is; it allocates nothing and raises nothing. The names are numbered in order of use and nothing
of the model appears, so two layers of equal form are the same text and are compiled once; the object code is kept in
a cache under a key made of the text. This is the kernel with the most stages, with the lines of the model that each
stage comes from:
""",
}

READING_A_KERNEL = """\
`share` gives each worker some blocks of rows. `contract` is the micro-kernel for products, compiled once and called
by address; its block of results stays on the stack while the other stages go over it. What does not depend on an
inner loop was moved out of it, `load` and `store` go through raw pointers so that LLVM sees plain memory, and
`select` chooses without a branch. A multiplication and an addition of two ops are never contracted into one rounding,
so a value that is recomputed elsewhere has the same bits. The other kernels:
"""

MEMORY = """\
## Plan memory

What passes from one kernel to another needs bytes. Each buffer lives from the kernel that writes it to the last that
reads it, and two buffers whose lives do not overlap may share bytes. `x`, `labels` and `w` are not listed: feeds are
read where they lie, and variables live in the session. The plan below is for {small} rows; a later run with fewer
rows uses it too, and one with more rows gets a new plan, without compiling anything.
"""

TABLE = """\
## Bind

A step is a table that compiled code walks, entry by entry, without returning to Python. A `call` names a kernel, the
buffers it gets (their addresses are in the table) and the sizes. With {small} rows no kernel is worth sharing, and
worker 0 does it all:
"""

TABLE_LARGE = """\
The same kernels with {large} rows. A new memory plan and a new table, nothing compiled. Now kernels with enough work
are called by all workers (of which worker 0 does it alone where there is nothing to share, as in a sum to one
number), and there is a *barrier* where a kernel touches bytes that another worker may have just written, or may still
be reading. One that has a barrier behind it already, like the last, needs none of its own:
"""

COMMIT = """\
After `commit` variables are written and the step runs to its end whatever happens; before it, a failure (a label that
is no class, say) or Ctrl-C leaves every variable as it was.
"""

RUN = """\
## Run

```python
import numpy as np

{model}

generator = np.random.default_rng(0)
rows = generator.normal(size=({small}, 3)).astype("float32")
classes = rows.argmax(axis=1)  # something that can be learned

with graphc.Session(threads={workers}, seed=0) as session:
    for _ in range({steps}):
        value, _ = session.run([loss, step], {{x: rows, labels: classes}})
        print(f"loss {{value:.4f}}")
```

```text
{losses}
```

For the steps with {small} rows, {first} pieces of machine code were compiled or taken from the cache: {kernels}
kernels, and the micro-kernel for products that some of them call. For the step with {large} rows {more} had to be
added.
"""


class Page:
    """The text under construction, and the folder of its pictures."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.parts: list[str] = []
        self.pictures = folder / "pictures"
        self.pictures.mkdir(parents=True, exist_ok=True)
        for old in self.pictures.glob("pipeline_*"):
            old.unlink()

    def add(self, text: str) -> None:
        """A paragraph, or several."""
        self.parts.append(text.strip("\n"))

    def block(self, text: str, language: str = "text") -> None:
        """Text as it is."""
        self.parts.append(f"```{language}\n{text.rstrip()}\n```")

    def folded(self, summary: str, text: str, language: str = "text") -> None:
        """Text that opens on a click."""
        self.parts.append(f"<details><summary>{summary}</summary>\n\n```{language}\n{text.rstrip()}\n```\n\n</details>")

    def picture(self, name: str, drawing: Any, alternative: str) -> None:
        """A picture, saved in the folder."""
        drawing.save(self.pictures / f"pipeline_{name}.svg")
        self.parts.append(f"![{alternative}](pictures/pipeline_{name}.svg)")

    def save(self) -> Path:
        """Write the page."""
        path = self.folder / "pipeline.md"
        path.write_text("\n\n".join(self.parts) + "\n", encoding="utf-8")
        return path


def declare() -> dict[str, Any]:
    """Run the model's text under a file name of its own, so that origins point at its lines."""
    linecache.cache[MODEL_FILE] = (len(MODEL), None, MODEL.splitlines(keepends=True), MODEL_FILE)
    namespace: dict[str, Any] = {}
    exec(compile(MODEL, MODEL_FILE, "exec"), namespace)
    return namespace


def graph_text(graph: Graph) -> str:
    """The graph as the printer writes it; origins shortened to the model's line and what was differentiated."""
    lines = []
    for line in format_graph(graph).splitlines():
        code, found, origin = line.partition(f"  # {MODEL_FILE}:")
        if not found:
            lines.append(line)
            continue
        number = origin.split(":")[0]
        derived = re.search(r" \(([^()]*)\)$", origin) if "(gradient of" in origin else None
        lines.append(f"{code.rstrip():<78s}  # line {number}{', ' + derived.group(1) if derived else ''}")
    return "\n".join(lines)


def changes(before: Graph, after: Graph) -> str:
    """A sentence on how two graphs differ: the numbers of nodes, and of each op."""
    if after is before or graph_text(after) == graph_text(before):
        return "Nothing changed: the graph is the one above."
    old, new = (Counter(node.op.name for node in graph.nodes) for graph in (before, after))
    text = f"{len(before.nodes)} nodes became {len(after.nodes)}"
    for word, difference in (("gone", old - new), ("new", new - old)):
        if difference:
            text += f"; {word}: " + ", ".join(f"{count} `{name}`" for name, count in sorted(difference.items()))
    return text + "."


def outputs_named(graph: Graph) -> dict[Tensor, str]:
    """What pictures call the outputs."""
    return {graph.outputs[0]: "loss"}


def show_graph(page: Page, name: str, graph: Graph) -> None:
    """A graph as text and picture."""
    page.block(graph_text(graph))
    page.picture(name, draw_graph(graph, names=outputs_named(graph)), f"the graph after {name}")


def show_stages(page: Page, graph: Graph) -> Source:
    """A section for each stage of the pipeline; returns what the last one made."""
    names = [name for name, _ in PIPELINE]
    if set(names) != set(PROSE):
        raise SystemExit(f"make_pipeline.py describes {sorted(PROSE)}, the pipeline has {sorted(names)}")
    product: Any = graph
    for name, stage in PIPELINE:
        before, product = product, stage(product)
        page.add(f"## {name.replace('_', ' ').capitalize()}\n\n{PROSE[name]}")
        if isinstance(product, Graph):
            verify(product, name)
            page.add(changes(before, product))
            if graph_text(product) != graph_text(before):
                show_graph(page, name, product)
        elif isinstance(product, Schedule):
            page.block(schedule_text(product))
            page.picture(name, draw_schedule(product), "the kernels and what passes between them")
        else:
            show_sources(page, product)
    return product


def schedule_text(schedule: Schedule) -> str:
    """The schedule's text, with the model's lines by number."""
    kernels = iter(schedule.kernels())
    lines = []
    for line in format_schedule(schedule).splitlines():
        if line.startswith("kernel "):
            lines += [line, f"    # {model_lines(node.origin for node in next(kernels).nodes)}"]
        elif not line.startswith("    # "):
            lines.append(line)
    return "\n".join(lines)


def show_sources(page: Page, source: Source) -> None:
    """One kernel in the open with the model's lines beside it, the others folded away."""
    kernels = list(source.kernels.values())
    _, shown = max((len(kernel.stages), -number) for number, kernel in enumerate(source.kernels))
    page.block(with_lines(kernels[-shown]), "py")
    page.add(READING_A_KERNEL)
    for number, kernel in enumerate(kernels):
        if number != -shown:
            page.folded(f"kernel {number}", with_lines(kernel), "py")


def with_lines(kernel: KernelSource) -> str:
    """A kernel's text; the comment that opens a stage gains the lines of the model that it comes from."""
    lines = []
    for number, line in enumerate(kernel.text.splitlines(), start=1):
        words = model_lines(kernel.lines.get(number, ()))
        lines.append(f"{line:<72s}  <- {words}" if words and line.lstrip().startswith("#") else line)
    return "\n".join(lines)


def model_lines(origins: Iterable[Origin]) -> str:
    """Words for the model's lines among some origins, and whether their gradients are meant."""
    found = [origin for origin in origins if origin.filename == MODEL_FILE]
    declared, derived = (
        sorted({origin.line for origin in found if bool(origin.derived) is flag}) for flag in (False, True)
    )
    words = [f"line{'s' * (len(declared) > 1)} {', '.join(map(str, declared))}"] if declared else []
    if derived:
        words.append(f"gradient of line{'s' * (len(derived) > 1)} {', '.join(map(str, derived))}")
    return " and ".join(words)


def describe_table(program: Program) -> str:
    """The entries of the call table in force, with buffers and kernels by name instead of by address."""
    assert program.source is not None
    names = tensor_names(program.source.schedule.graph)
    kernels = iter(enumerate(program.source.kernels.items()))
    *_, bound = program._executable._bound.values()  # the table is nobody's business but the runtime's and this page's
    entries = bound.table.entries
    return "\n".join(line for entry in entries for line in describe_entry(entry, kernels, names))


def describe_entry(
    entry: Any, kernels: Iterator[tuple[int, tuple[Kernel, KernelSource]]], names: dict[Tensor, str]
) -> list[str]:
    """The lines of one entry; calls come in the order of the kernels."""
    if isinstance(entry, Commit):
        return ["commit     variables are written from here on"]
    if isinstance(entry, Copy):
        return ["copy       a new value to its variable"]
    assert isinstance(entry, Call)
    number, (kernel, source) = next(kernels)
    buffers = ", ".join(describe_argument(argument, kernel.stored, names) for argument in source.arguments)
    sizes = ", ".join(
        f"kernel number {number}" if isinstance(size, KernelId) else f"{size} = {value}"
        for size, value in zip(source.sizes, entry.dims.tolist(), strict=False)
    )
    who = "all workers" if entry.everyone else "worker 0"
    return [
        f"call       kernel {number} by {who}{', after a barrier' if entry.barrier else ''}",
        f"           buffers: {buffers}",
        *([f"           sizes:   {sizes}"] if sizes else []),
    ]


def describe_argument(argument: Any, stored: Sequence[Tensor], names: dict[Tensor, str]) -> str:
    """What one word of a kernel's table of addresses points to."""
    if isinstance(argument, Status):
        return "status block"
    if isinstance(argument, Scratch):
        return "scratch"
    if isinstance(argument, MicroKernel):
        return f"{argument.name} micro-kernel"
    if argument.node.op.name == "assign":
        return f"{names[argument.node.inputs[0]]} (written in place)"
    return f"{names[argument]} (written)" if argument in set(stored) else names[argument]


def show_runs(page: Page, model: dict[str, Any]) -> None:
    """Memory plan, call tables and losses of real runs."""
    x, labels, loss, step = (model[name] for name in ("x", "labels", "loss", "step"))
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(SMALL, 3)).astype("float32")
    many = np.tile(rows, (LARGE // SMALL, 1))
    with Session(threads=WORKERS, seed=0) as session:
        program = session.prepare([loss, step], [x, labels])
        losses = [float(session.run([loss, step], {x: rows, labels: rows.argmax(axis=1)})[0]) for _ in range(STEPS)]
        first = program.compilations
        assert program.source is not None and program.memory is not None
        page.add(MEMORY.format(small=SMALL))
        page.block(format_memory(program.memory.plan, program.source.schedule))
        page.picture("memory", draw_memory(program.memory), "buffers over the steps")
        page.add(TABLE.format(small=SMALL))
        page.block(describe_table(program))
        session.run([loss, step], {x: many, labels: many.argmax(axis=1)})
        page.add(TABLE_LARGE.format(large=LARGE))
        page.block(describe_table(program))
        page.add(COMMIT)
        more = program.compilations - first
    page.add(
        RUN.format(
            model=MODEL.rstrip(), small=SMALL, large=LARGE, workers=WORKERS, steps=STEPS, kernels=program.kernels,
            first=first, more=more or "none", losses="\n".join(f"loss {value:.4f}" for value in losses),
        )
    )  # fmt: skip


def make(folder: Path) -> Path:
    """Write the page and its pictures into a folder."""
    page = Page(folder)
    page.add(INTRODUCTION)
    page.block("\n".join(f"{number:2d}  {line}" for number, line in enumerate(MODEL.splitlines(), start=1)))
    model = declare()
    graph = Graph((model["x"], model["labels"]), (model["loss"], model["step"]))
    page.add(DECLARE)
    show_graph(page, "declare", graph)
    source = show_stages(page, graph)
    if source.texts != compile_graph(graph).texts:
        raise SystemExit("the compiler made other kernels than its stages one by one")
    show_runs(page, model)
    return page.save()


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent))
