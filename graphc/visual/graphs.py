"""Pictures of graphs: what the user declared, its gradient, its update.

:func:`draw` decides *which* graph is drawn: the declared one as it stands, or, where derivatives are asked for or
among the outputs, the one that the first passes of the compiler's own pipeline make of it.
:mod:`graphc.visual.picture` decides how it looks.
"""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphc.compiler import PIPELINE
from graphc.errors import GradientError, GraphcError
from graphc.ir.graph import Graph, topological
from graphc.ir.node import Tensor
from graphc.ir.op import Effect
from graphc.ir.types import is_float, is_whole
from graphc.ir.variables import names_here
from graphc.ops.derivatives import gradients
from graphc.ops.gradient import differentiable_sources
from graphc.passes.differentiate import expand_gradients
from graphc.passes.parts import PARTS, differentiated, trainable
from graphc.profile.report import Profile
from graphc.program import Program
from graphc.schedule.schedule import Schedule
from graphc.session import Session
from graphc.visual.content import MOST_OPEN
from graphc.visual.kernels import Kernels
from graphc.visual.labels import called, folded_nodes
from graphc.visual.picture import Picture
from graphc.visual.render import Drawing
from graphc.visual.scopes import Fold
from graphc.visual.theme import Theme, theme_of
from graphc.visual.values import Values, values_of

MOST_NODES = 300
"""Larger graphs are not drawn open: pictures of more nodes help nobody, and Graphviz takes its time."""


def draw(
    outputs: Any,
    *,
    backward: bool = False,
    wrt: Tensor | Sequence[Tensor] | None = None,
    show: str | Sequence[str] = "all",
    fold: Fold = None,
    values: Mapping[Tensor, Any] | None = None,
    kernels: bool = False,
    profile: Profile | None = None,
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
    value reaches the loss. Numbers are written inside the ops that use them. Scopes (:class:`graphc.name_scope`;
    layers and losses open their own) are boxes. Resting the pointer on a node shows its type, your line and, for a
    program, the kernel that computes it.

    Parameters
    ----------
    outputs : Tensor, nested list, tuple or dict of these, Program, or Profile
        What to draw, with all it depends on. The keys of a dict, and the caller's variables, name the results. Of a
        compiled program, or the profile of a step, what runs is drawn.
    backward : bool
        Add the gradient of ``outputs``, a float scalar, by ``wrt``.
    wrt : Tensor or sequence of Tensor, optional
        By default the trainable variables that the output depends on, or its placeholders if there are none; with
        ``values`` both.
    show : str or sequence of str
        ``"all"``, or some of ``"forward"``, ``"backward"``, ``"update"``: the parts to draw. What they read of the
        others is shown at their border.
    fold : bool, int, str or sequence of str, optional
        Scopes to draw as one node each, with counts of what is in them: True the outermost; a depth, those that are
        nested so deep, the ones around them open; names, these (``"encoder/block1"``); False none. By default none in
        a picture of up to 100 nodes; in a larger one as many as bring it to 60, if there are so many. Where that does
        not suffice for ``limit``, nor where ``kernels`` or ``values`` are drawn (which do not fold below it), the
        nodes of one kernel, of one line of the program, or of one op become one. The picture says so.
    values : mapping of Tensor to array_like, optional
        A small feed. Edges then show numbers: the value that flows forward, and with ``backward`` below it the local
        derivative of the op (``×``) and the derivative of the result that flows back (``∂``), instead of a graph of
        its own; a node whose result is used several times shows the sum over these paths. Variables have their
        initial values, or those of the program's session, or the ones given here.
    kernels : bool
        Boxes around what is fused into one kernel; heavy edges are buffers in memory, with their bytes.
    profile : Profile, optional
        Times of the kernels, of a step of ``outputs``, a program.
    direction : str
        ``"TB"``: downwards, and the backward part upwards beside it; ``"LR"``: from left to right.
    theme : str or Theme
        ``"light"``, ``"dark"``, ``"print"`` (greys), or ``"auto"``: SVG that is light or dark as its reader's system.
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
        If an argument is none of these, or what is to be folded leaves more than ``limit`` nodes.
    """
    if isinstance(outputs, Profile):
        outputs, profile = outputs.schedule, outputs
    named, program, schedule = _outputs_of(outputs)
    _check_profile(profile, schedule)
    names = names_here() | {tensor: name for name, tensor in named if name}
    tensors = [tensor for _, tensor in named]
    shown = _shown(show)
    if values is not None and (kernels or show != "all"):
        raise GraphcError("draw: values= are drawn on the whole declared graph", hint="leave out kernels= and show=")
    if kernels and fold not in (None, False):
        raise GraphcError("draw: fold= and kernels= are two ways to box the same nodes", hint="leave one out")
    if wrt is not None and not backward:
        raise GraphcError("draw: wrt= names what to differentiate by", hint="add backward=True")
    numbers: Values | None = None
    if values is not None:
        final, numbers = _with_values(tensors, values, wrt, backward, names, program.session if program else None)
        wanted, schedule = tensors, None
    elif schedule is not None and not backward:
        final, wanted = schedule.graph, tensors
    else:
        wanted = _with_losses(tensors)
        if backward:
            wanted += _add_gradients(tensors, wrt, names)
        fed = tuple(node.result for node in topological(wanted) if node.op.name == "placeholder")
        graph = Graph(fed, tuple(wanted))
        schedule = _run_passes(graph, "schedule") if kernels else None
        final = schedule.graph if schedule is not None else graph
        if not kernels and differentiated(wanted):
            final = _run_passes(graph, "simplify_all")
    if len(final.outputs) == len(wanted):
        names |= {new: names[old] for old, new in zip(wanted, final.outputs, strict=True) if old in names}
    found = Kernels(schedule, profile)
    picture = Picture(final, names, shown, _direction(direction), theme_of(theme), found, boxes=kernels, values=numbers)
    detailed = kernels or values is not None  # folding would hide what was asked for
    drawing = _drawing(picture, fold, limit, title, theme, MOST_NODES if detailed else MOST_OPEN)
    if path is not None:
        drawing.save(path)
    return drawing


def draw_graph(
    graph: Graph,
    *,
    names: Mapping[Tensor, str] | None = None,
    show: Sequence[str] = PARTS,
    fold: Fold = None,
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
    show, fold, direction, theme, title, limit
        As for :func:`draw`.

    Raises
    ------
    GraphcError
        As for :func:`draw`.
    """
    picture = Picture(graph, dict(names or {}), tuple(show), _direction(direction), theme_of(theme), Kernels())
    return _drawing(picture, fold, limit, title, theme)


def _drawing(
    picture: Picture, fold: Fold, limit: int, title: str, theme: str | Theme, most_open: int = MOST_OPEN
) -> Drawing:
    if not is_whole(limit) or limit < 1:
        raise GraphcError(f"draw: expected limit= as a positive number of nodes, got {limit!r}")
    picture.fold(fold, limit, most_open)
    return Drawing(picture.dot(title), adapts=theme == "auto")


def _direction(direction: str) -> str:
    if direction not in ("TB", "LR"):
        raise GraphcError(f"draw: expected direction 'TB' or 'LR', got {direction!r}")
    return direction


def _check_profile(profile: Any, schedule: Schedule | None) -> None:
    """A profile must be of the program that is drawn."""
    if profile is None:
        return
    if not isinstance(profile, Profile):
        raise GraphcError(f"draw: expected a profile of session.run(..., profile=True), got {profile!r}")
    if schedule is None or profile.schedule is not schedule:
        raise GraphcError(
            "draw: profile= is of another program than the one to draw", hint="draw(profile) draws the one it is of"
        )


def _with_losses(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors, and before them the losses whose derivatives they are made of."""
    losses = [y for y in differentiated(tensors) if not differentiated([y]) and y not in set(tensors)]
    return [*losses, *tensors]


def _with_values(
    tensors: list[Tensor],
    feeds: Mapping[Tensor, Any],
    wrt: Tensor | Sequence[Tensor] | None,
    backward: bool,
    names: dict[Tensor, str],
    session: Session | None,
) -> tuple[Graph, Values]:
    """The declared graph, gradients in it expanded, and its numbers."""
    graph = Graph((), tuple(tensors))
    if differentiated(tensors):
        graph = expand_gradients(graph) if backward else _run_passes(graph, "simplify_all")
    by: list[Tensor] = []
    if backward:
        y, by = _differentiation(tensors, wrt, names, everything=True)
        gradients(y, by)  # says what is wrong, if something is
    return graph, values_of(graph, feeds, by, folded_nodes(graph), session)


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


def _outputs_of(outputs: Any) -> tuple[list[tuple[str, Tensor]], Program | None, Schedule | None]:
    """Output tensors with the names that dict keys give them; the program and the schedule if they are of one."""
    if isinstance(outputs, Program):
        named = [("", tensor) for tensor in outputs.graph.outputs]
        return named, outputs, outputs.source.schedule if outputs.source else None
    if isinstance(outputs, Schedule):
        return [("", tensor) for tensor in outputs.graph.outputs], None, outputs
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
            raise GraphcError(
                "draw: expected tensors, a nested list or dict of them, a program or a profile, got "
                f"{reprlib.repr(entry)}"
            )
    if not found:
        raise GraphcError("draw: there is nothing to draw in an empty list")
    return found, None, None


def _add_gradients(
    tensors: list[Tensor], wrt: Tensor | Sequence[Tensor] | None, names: dict[Tensor, str]
) -> list[Tensor]:
    """Derivatives of the only output, with names such as ``∂loss/∂w``; a second ``w`` is ``w#1``, as in a session."""
    y, xs = _differentiation(tensors, wrt, names)
    found = list(gradients(y, xs))
    taken: Counter[str] = Counter()
    for x, tensor in zip(xs, found, strict=True):
        named = x.node.attributes.get("name") or names.get(x) or called(x)
        number = f"#{taken[named]}" if taken[named] else ""
        taken[named] += 1
        names[tensor] = f"∂{names.get(y, 'output')}/∂{named}{number}"
    return found


def _differentiation(
    tensors: list[Tensor],
    wrt: Tensor | Sequence[Tensor] | None,
    names: dict[Tensor, str],
    everything: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    """The only output, and what it is differentiated by; ``everything`` adds the placeholders to the variables."""
    values = [tensor for tensor in tensors if not isinstance(tensor.node.op, Effect)]
    if len(values) != 1:
        raise GraphcError(f"draw: expected one output to differentiate for backward=True, got {len(values)}")
    (y,) = values
    xs = [wrt] if isinstance(wrt, Tensor) else list(wrt) if wrt is not None else _reached(y, everything)
    if not xs:
        raise GradientError(
            f"draw: {y.name} depends on no variable or placeholder that it could be differentiated by",
            origin=y.node.origin,
        )
    return y, xs


def _reached(y: Tensor, everything: bool) -> list[Tensor]:
    reached = differentiable_sources(y)
    fed = [node.result for node in topological([y]) if node.op.name == "placeholder" and is_float(node.result.dtype)]
    variables, placeholders = [x for x in trainable([y]) if x in reached], [x for x in fed if x in reached]
    return variables + placeholders if everything else variables or placeholders
