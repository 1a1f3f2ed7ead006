"""Pictures of graphs: what the user declared, its gradient, its update.

:func:`draw` decides *which* graph is drawn: the declared one as it stands, or, where derivatives are asked for or
among the outputs, the one that the first passes of the compiler's own pipeline make of it.
:mod:`graphc.visual.picture` decides how it looks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from graphc.compiler import PIPELINE
from graphc.errors import GradientError, GraphcError
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Tensor
from graphc.ir.op import Effect
from graphc.ir.types import is_float
from graphc.ops.derivatives import gradients
from graphc.ops.gradient import differentiable_sources
from graphc.passes.parts import PARTS, differentiated, trainable
from graphc.program import Program
from graphc.schedule.schedule import Schedule
from graphc.visual.picture import Picture
from graphc.visual.render import Drawing
from graphc.visual.theme import Theme, theme_of

MOST_NODES = 400
"""Larger graphs are drawn only if the user says so: their pictures help nobody."""


def draw(
    outputs: Any,
    *,
    backward: bool = False,
    wrt: Tensor | Sequence[Tensor] | None = None,
    show: str | Sequence[str] = "all",
    kernels: bool = False,
    direction: str = "TB",
    theme: str | Theme = "light",
    title: str = "",
    path: str | Path | None = None,
    limit: int = MOST_NODES,
) -> Drawing:
    """Draw a graph.

    ``draw(loss)`` shows the forward graph as declared, ``draw(loss, backward=True)`` its gradient beside it, and
    ``draw(train)``, for an optimizer's update, forward, backward and update. Shapes and dtypes stand on the edges;
    dashed edges are forward values that the other parts read; a yellow circle is the sum over the paths by which a
    value reaches the loss. Numbers are written inside the ops that use them.

    Parameters
    ----------
    outputs : Tensor, nested list, tuple or dict of these, or Program
        What to draw, with all it depends on. The keys of a dict, and the caller's variables, name the results.
    backward : bool
        Add the gradient of ``outputs``, a float scalar, by ``wrt``.
    wrt : Tensor or sequence of Tensor, optional
        By default the trainable variables that the output depends on, or its placeholders if there are none.
    show : str or sequence of str
        ``"all"``, or some of ``"forward"``, ``"backward"``, ``"update"``: the parts to draw. What they read of the
        others is shown at their border.
    kernels : bool
        Boxes around what is fused into one kernel.
    direction : str
        ``"TB"``: downwards, and the backward part upwards beside it; ``"LR"``: from left to right.
    theme : str or Theme
        ``"light"`` or ``"dark"``.
    title : str
    path : str or Path, optional
        Save the picture there as well.
    limit : int
        Most nodes to draw.

    Returns
    -------
    Drawing
        With ``svg()``, ``save(path)`` and ``dot``; notebooks show it.

    Raises
    ------
    GraphcError
        If an argument is none of these, or the graph has more than ``limit`` nodes.
    """
    named, program = _outputs_of(outputs)
    names = _names_in(sys._getframe(1)) | {tensor: name for name, tensor in named if name}
    tensors = [tensor for _, tensor in named]
    shown = _shown(show)
    losses = [y for y in differentiated(tensors) if not differentiated([y]) and y not in set(tensors)]
    wanted = [*losses, *tensors]
    if backward:
        wanted += _add_gradients(tensors, wrt, names)
    elif wrt is not None:
        raise GraphcError("draw: wrt= names what to differentiate by", hint="add backward=True")
    graph = Graph(tuple(node.result for node in topological(wanted) if node.op.name == "placeholder"), tuple(wanted))
    schedule: Schedule | None = None
    if kernels:
        schedule = program.source.schedule if program is not None and program.source else _run_passes(graph, "schedule")
        final = schedule.graph
    elif differentiated(wanted):
        final = _run_passes(graph, "simplify_all")
    else:
        final = graph
    if len(final.outputs) == len(wanted):
        names |= {new: names[old] for old, new in zip(wanted, final.outputs, strict=True) if old in names}
    drawing = draw_graph(
        final, names=names, show=shown, schedule=schedule, direction=direction, theme=theme, title=title, limit=limit
    )
    if path is not None:
        drawing.save(path)
    return drawing


def draw_graph(
    graph: Graph,
    *,
    names: Mapping[Tensor, str] | None = None,
    show: Sequence[str] = PARTS,
    schedule: Schedule | None = None,
    direction: str = "TB",
    theme: str | Theme = "light",
    title: str = "",
    limit: int = MOST_NODES,
) -> Drawing:
    """Draw a graph as it is, at any stage of the pipeline.

    Parameters
    ----------
    graph : Graph
    names : mapping of Tensor to str, optional
        What to call tensors that have no name of their own.
    show, direction, theme, title, limit
        As for :func:`draw`.
    schedule : Schedule, optional
        Of this graph; adds boxes around its kernels.

    Raises
    ------
    GraphcError
        As for :func:`draw`.
    """
    if direction not in ("TB", "LR"):
        raise GraphcError(f"draw: expected direction 'TB' or 'LR', got {direction!r}")
    picture = Picture(graph, dict(names or {}), tuple(show), schedule, direction, theme_of(theme))
    if picture.size > limit:
        raise GraphcError(
            f"draw: the graph has {picture.size} nodes, more than the {limit} that make a readable picture",
            hint="draw a part of it (an intermediate tensor, or show='forward'), or raise limit=",
        )
    return Drawing(picture.dot(title))


def _run_passes(graph: Graph, last: str) -> Any:
    """The product of the compiler's stages up to the one named."""
    product: Any = graph
    for name, stage in PIPELINE:
        product = stage(product)
        if name == last:
            break
    return product


def _shown(show: str | Sequence[str]) -> tuple[str, ...]:
    parts = PARTS if show == "all" else (show,) if isinstance(show, str) else tuple(show)
    for part in parts:
        if part not in PARTS:
            raise GraphcError(f"draw: expected show= among 'all', {', '.join(map(repr, PARTS))}, got {part!r}")
    return parts


def _outputs_of(outputs: Any) -> tuple[list[tuple[str, Tensor]], Program | None]:
    """Output tensors with the names that dict keys give them."""
    if isinstance(outputs, Program):
        return [("", tensor) for tensor in outputs.graph.outputs], outputs
    found: list[tuple[str, Tensor]] = []
    waiting: list[tuple[str, Any]] = [("", outputs)]
    while waiting:
        name, entry = waiting.pop()
        if isinstance(entry, Tensor):
            found.append((name, entry))
        elif isinstance(entry, Mapping):
            waiting += reversed([(str(key), value) for key, value in entry.items()])
        elif isinstance(entry, (list, tuple)):
            waiting += reversed([(f"{name}[{place}]" if name else "", value) for place, value in enumerate(entry)])
        else:
            raise GraphcError(f"draw: expected tensors, a nested list or dict of them, or a program, got {entry!r}")
    if not found:
        raise GraphcError("draw: there is nothing to draw in an empty list")
    return found, None


def _names_in(frame: FrameType) -> dict[Tensor, str]:
    """The caller's variables that hold tensors."""
    found: dict[Tensor, str] = {}
    for values in (frame.f_globals, frame.f_locals):
        for name, value in list(values.items()):
            if isinstance(value, Tensor) and not name.startswith("_"):
                found[value] = name
    return found


def _add_gradients(
    tensors: list[Tensor], wrt: Tensor | Sequence[Tensor] | None, names: dict[Tensor, str]
) -> list[Tensor]:
    """Derivatives of the only output, with names such as ``∂loss/∂w``."""
    values = [tensor for tensor in tensors if not isinstance(tensor.node.op, Effect)]
    if len(values) != 1:
        raise GraphcError(f"draw: expected one output to differentiate for backward=True, got {len(values)}")
    (y,) = values
    xs = [wrt] if isinstance(wrt, Tensor) else list(wrt) if wrt is not None else _reached(y)
    if not xs:
        raise GradientError(
            f"draw: {y.name} depends on no variable or placeholder that it could be differentiated by",
            origin=y.node.origin,
        )
    found = list(gradients(y, xs))
    for x, tensor in zip(xs, found, strict=True):
        named = x.node.attributes.get("name") or names.get(x, x.name)
        names[tensor] = f"∂{names.get(y, 'output')}/∂{named}"
    return found


def _reached(y: Tensor) -> list[Tensor]:
    reached = differentiable_sources(y)
    fed = [node.result for node in topological([y]) if node.op.name == "placeholder" and is_float(node.result.dtype)]
    return [x for x in trainable([y]) if x in reached] or [x for x in fed if x in reached]
