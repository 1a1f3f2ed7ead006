"""What a node is called in a picture: its kind, a name, and a formula or the attributes that matter."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.ir.node import Node, Tensor
from graphc.ir.op import Contraction, Effect, Map, Reduction, Source, View
from graphc.ir.symbolic import Dim

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
        return (f"{node.inputs[0].name} ← new",)
    if op.name == "random_state":
        return ("random state",)
    if isinstance(op, Source) and op.name != "constant":
        return (node.results[0].name, str(node.results[0].type))
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
