"""What a node is called in a picture: its kind, a name, and a formula or the attributes that matter; and what a folded
scope is called: its name, how much is in it, and what goes in and out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.ir.graph import Graph
from graphc.ir.node import Node, Tensor
from graphc.ir.op import Contraction, Effect, Map, Reduction, Source, View
from graphc.ir.printer import format_bytes
from graphc.ir.symbolic import Dim, evaluate
from graphc.passes.parts import BACKWARD, UPDATE
from graphc.visual.scopes import Group

INFIX = {
    "add": "+", "subtract": "−", "multiply": "×", "divide": "÷", "floor_divide": "//", "remainder": "mod", "power": "^",
    "equal": "=", "not_equal": "≠", "less": "<", "less_equal": "≤", "greater": ">", "greater_equal": "≥",
    "logical_and": "and", "logical_or": "or", "logical_xor": "xor", "bitwise_and": "&", "bitwise_or": "|",
    "bitwise_xor": "⊕", "bitwise_left_shift": "<<", "bitwise_right_shift": ">>",
}  # fmt: skip
"""Ops whose formula is written with a sign between two operands."""

COMMUTATIVE = {
    "add", "multiply", "maximum", "minimum", "equal", "not_equal", "logical_and", "logical_or", "logical_xor",
    "bitwise_and", "bitwise_or", "bitwise_xor", "path_sum",
}  # fmt: skip

LETTERS = "abcdefghijklmnopqrstuvw"

HIDDEN = {
    "name", "shape", "dtype", "trainable", "initial", "value", "paths", "arguments", "spec", "stream", "rule", "axis",
    "axes", "length", "limit", "counted", "carries", "xs",
}  # fmt: skip
"""Attributes that the label, the edges or the tooltip show in another way, or that say nothing to a reader."""

LONGEST_ATTRIBUTE = 24

MOST_OPERANDS_IN_LABEL = 4

LONGEST_KINDS, MOST_TYPES = 32, 2
"""Characters of the kinds of op, and types of tensors, that the label of a folded scope names."""


def kind_of(node: Node) -> str:
    """The kind of a node, as :mod:`graphc.visual.theme` styles them."""
    op = node.op
    if isinstance(op, Source):
        return {"placeholder": "placeholder", "parameter": "placeholder", "variable": "variable"}.get(
            op.name, "constant"
        )
    if isinstance(op, Effect):
        return "assign"
    if op.name == "path_sum":
        return "path_sum"
    if op.derivative:
        return "gradient"
    if op.name.startswith("random"):
        return "random"
    for base, kind in ((View, "view"), (Map, "map"), (Reduction, "reduction"), (Contraction, "contraction")):
        if isinstance(op, base):
            return kind
    return "other"


def called(tensor: Tensor) -> str:
    """The user's name for a tensor, else its op's: no number, so that drawings are the same in every process."""
    given = tensor.node.attributes.get("name")
    return given if isinstance(given, str) and given else tensor.node.op.name


def scalar_text(tensor: Tensor) -> str | None:
    """The number that a constant of one element holds, through broadcasts and reshapes; None for anything else."""
    while isinstance(tensor.node.op, View) and tensor.node.op.name in ("broadcast_to", "reshape"):
        tensor = tensor.node.inputs[0]
    if tensor.node.op.name != "constant":
        return None
    value: np.ndarray[Any, Any] = tensor.node["value"]
    if value.size != 1:
        return None
    return number_text(value.reshape(()).item())


def number_text(number: Any) -> str:
    """A number, short: floats of float32 constants without the digits that rounding added."""
    return f"{number:.6g}" if isinstance(number, float) else str(number)


def label_of(node: Node, constants: dict[int, str]) -> tuple[str, ...]:
    """The lines of a node's label.

    Parameters
    ----------
    node : Node
    constants : dict of int to str
        The inputs that are drawn inside the label: their places and texts.
    """
    op = node.op
    if isinstance(op, Effect):
        return (f"{called(node.inputs[0])} ← new",)
    if op.name == "random_state":
        return ("random state",)
    if isinstance(op, Source) and op.name != "constant":
        return (called(node.results[0]), str(node.results[0].type))
    if op.name == "constant":
        return ("constant", scalar_text(node.result) or str(node.result.type))
    if op.name == "path_sum":
        return ("Σ", f"{len(node.inputs)} paths")
    if isinstance(op, Contraction):
        return _contraction(node)
    lines = [title_of(node)]
    formula = _formula(node, constants)
    details = [*([formula] if formula else []), *_attributes(node)]
    return (*lines, *details)


def title_of(node: Node) -> str:
    """An op's name as users write it."""
    return "scan" if node.op.name == "scan_loop" else node.op.name


def operand_letter(node: Node, place: int, drawn: int) -> str:
    """The letter that marks an operand on its edge; empty where the order says nothing.

    Parameters
    ----------
    node : Node
    place : int
        Which input.
    drawn : int
        How many inputs are drawn as edges.
    """
    if drawn < 2 or node.op.name in COMMUTATIVE or isinstance(node.op, Effect) or place >= len(LETTERS):
        return ""
    return LETTERS[place]


def _formula(node: Node, constants: dict[int, str]) -> str:
    """Operands as letters (``x`` if there is only one that is no number), numbers as they are."""
    if len(node.inputs) > 4 or node.bodies or not isinstance(node.op, Map):
        return ""
    drawn = [place for place in range(len(node.inputs)) if place not in constants]
    if len(node.inputs) < 2 or (not constants and node.op.name in COMMUTATIVE):
        return ""
    names = [constants.get(place) or ("x" if len(drawn) == 1 else LETTERS[place]) for place in range(len(node.inputs))]
    sign = INFIX.get(node.op.name)
    return f"{names[0]} {sign} {names[1]}" if sign else f"({', '.join(names)})"


def _attributes(node: Node) -> list[str]:
    found = []
    for name in ("axis", "axes"):
        value = node.attributes.get(name)
        if isinstance(value, tuple) and len(value) == 1:
            found.append(f"axis {value[0]}")
        elif value is not None:
            found.append(f"{name} {value}")
    if node.op.name == "cast":
        found.append(f"to {node.results[0].dtype.name}")
    if "length" in node.attributes:
        most = "at most " if node.attributes.get("counted") else ""
        found.append(f"{most}{node.attributes['length']} iterations")
    if node.attributes.get("limit") is not None:
        found.append(f"at most {node.attributes['limit']} iterations")
    for name, value in node.attributes.items():
        if name in HIDDEN or name.startswith("_") or name in node.op.body_attributes or value is None or value is False:
            continue
        text = f"{name} {value}"
        if isinstance(value, (bool, int, float, str, tuple, Dim, np.generic)) and len(text) <= LONGEST_ATTRIBUTE:
            found.append(text)
    return found[:3]


def _contraction(node: Node) -> tuple[str, ...]:
    """``matmul`` with the operands' transposition, where the labels are those of a matrix product; else the labels."""
    op = node.op
    assert isinstance(op, Contraction)
    left, right, out = op.labels(node)
    batch = "".join(label for label in out if label in left and label in right)
    rows, columns = ("".join(label for label in out if label in own and label not in batch) for own in (left, right))
    summed = "".join(label for label in left if label in right and label not in out)
    first, second = ("a", left, rows), ("b", right, columns)
    if out == batch + columns + rows and out != batch + rows + columns:
        first, second = second, first
    letters = [_operand(first, batch, summed, before=True), _operand(second, batch, summed, before=False)]
    if out == batch + first[2] + second[2] and all(letters) and summed:
        return ("matmul", " · ".join(letters))
    return ("contract" if summed else "product", f"{left},{right}->{out}")


def _operand(operand: tuple[str, str, str], batch: str, summed: str, before: bool) -> str:
    """A matrix of a product by its letter, marked if it is transposed; empty if its axes lie in another order."""
    letter, labels, own = operand
    if labels == batch + (own + summed if before else summed + own):
        return letter
    return letter + "ᵀ" if labels == batch + (summed + own if before else own + summed) else ""


def takes_numbers(node: Node) -> bool:
    """Whether a node's label has a place for operands that are numbers."""
    if node.op.derivative:
        return True
    fits = isinstance(node.op, Map) and not isinstance(node.op, View) and len(node.inputs) <= MOST_OPERANDS_IN_LABEL
    return fits and node.op.name != "path_sum"


def folded_nodes(graph: Graph) -> set[Node]:
    """Nodes that are not drawn: numbers that stand in labels, and broadcasts of scalars."""
    kept = {tensor.node for tensor in graph.outputs} | {tensor.node for tensor in graph.inputs}
    folded: set[Node] = set()
    consumers = graph.consumers()
    for node in reversed(graph.nodes):
        if node in kept or len(node.results) != 1:
            continue
        readers = consumers[node.result]
        is_number = scalar_text(node.result) is not None and all(r in folded or takes_numbers(r) for r in readers)
        if is_number or (node.op.name == "broadcast_to" and node.inputs[0].shape == ()):
            folded.add(node)
    return folded


def path_text(path: str) -> str:
    """A path of the multi-path chain rule for people: ``"multiply.0"`` is the use as operand a of a multiply."""
    op, _, place = path.rpartition(".")
    if not op or not place.isdigit():
        return f"path: {path}"
    letter = LETTERS[int(place)] if int(place) < len(LETTERS) else place
    return f"path through {op}" if op in COMMUTATIVE else f"path through {op}, operand {letter}"


def node_tip(node: Node) -> str:
    """A node's op, types and line."""
    types = ", ".join(str(tensor.type) for tensor in node.results)
    origin = f"\ndeclared at {node.origin}" if str(node.origin) else ""
    return f"{node.op.name}: {types}{origin}"


def group_lines(
    group: Group, members: Sequence[Node], entering: Sequence[Tensor], leaving: Sequence[Tensor]
) -> list[str]:
    """The lines of a folded scope's label.

    Parameters
    ----------
    group : Group
    members : sequence of Node
        The nodes in it that would be drawn.
    entering, leaving : sequence of Tensor
        What the scope reads of others, and what others read of it.
    """
    title = {BACKWARD: f"∂ {group.title}", UPDATE: f"{group.title}: update"}.get(group.part, group.title)
    ops = [node for node in members if not isinstance(node.op, Source)]
    inner = sum(len(body.nodes) for node in ops for body in node.bodies)
    lines = [title]
    if ops:
        head = f"{len(ops):,} op{'s' * (len(ops) != 1)}" + (f" and {inner:,} in bodies" if inner else "")
        lines.append(f"{head}: {_kinds(ops)}" if len(ops) > 1 or inner else label_of(ops[0], {})[0])
    variables = [node.result for node in members if node.op.name == "variable"]
    if variables:
        elements = sum(evaluate(tensor.size, {}) for tensor in variables)  # variables have static shapes
        nbytes = sum(evaluate(tensor.type.bytes, {}) for tensor in variables)
        plural = "s" * (len(variables) != 1)
        lines.append(f"{len(variables)} variable{plural}: {elements:,} elements, {format_bytes(nbytes)}")
    lines += [f"{word} {text}" for word, text in (("in", _types(entering)), ("out", _types(leaving))) if text]
    return lines


def _kinds(ops: Sequence[Node]) -> str:
    """What ops there are, those that compute first, the most frequent first; as many as fit on a line."""
    views = {label_of(node, {})[0] for node in ops if isinstance(node.op, View)}
    counts = Counter(label_of(node, {})[0] for node in ops).most_common()
    counts.sort(key=lambda entry: entry[0] in views)
    text = ""
    for place, (name, count) in enumerate(counts):
        kind = f"{count:,} {name}" if count > 1 else name
        rest = len(counts) - place
        if place and rest > 1 and len(text) + len(kind) > LONGEST_KINDS:
            return f"{text}, {rest} more kinds"
        text = f"{text}, {kind}" if text else kind
    return text


def _types(tensors: Sequence[Tensor]) -> str:
    """Types with how often they occur, the first few."""
    counts = list(Counter(str(tensor.type) for tensor in tensors).items())
    most = len(counts) if len(counts) == MOST_TYPES + 1 else MOST_TYPES
    shown = [f"{count:,} × {kind}" if count > 1 else kind for kind, count in counts[:most]]
    return ", ".join([*shown, *([f"{len(counts) - most} more types"] if len(counts) > most else [])])
