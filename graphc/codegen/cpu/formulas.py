"""Stages in a line of words: the comments of a kernel."""

from __future__ import annotations

from graphc.codegen.cpu.context import Context
from graphc.ir.scalar import Apply, Literal, Load, Scalar
from graphc.schedule.kernel import Accumulate, Contract, Map, Reduce, ReduceChunks, Routine, Scan, Stage

LONGEST = 90
DEEPEST = 4
_SIGNS = {
    "add": "+", "subtract": "-", "multiply": "*", "divide": "/", "floor_divide": "//", "remainder": "%",
    "equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">=",
    "logical_and": "&", "logical_or": "|", "logical_xor": "^", "power": "**",
    "bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^", "left_shift": "<<", "right_shift": ">>",
}  # fmt: skip
_WORDS = {"add": "sum", "multiply": "product", "maximum": "maximum", "minimum": "minimum"}
_MERGED = {"add": "{} added", "set": "{} put", "maximum": "maximum with {}", "minimum": "minimum with {}"}


def stage_formula(context: Context, stage: Stage) -> str:
    """What a stage computes, cut to a line."""
    if isinstance(stage, Map):
        text = f"map: {formula(context, stage.value)}"
    elif isinstance(stage, Reduce):
        text = f"reduction: {_WORDS.get(stage.combine, stage.combine)} of {formula(context, stage.value)}"
    elif isinstance(stage, ReduceChunks):
        text = f"reduction of chunks: {_WORDS.get(stage.combine, stage.combine)} of {formula(context, stage.value)}"
    elif isinstance(stage, Scan):
        text = f"scan: running {_WORDS.get(stage.combine, stage.combine)} of {formula(context, stage.value)}"
    elif isinstance(stage, Contract):
        text = f"contraction: sum of {formula(context, stage.left)} * {formula(context, stage.right)}"
    elif isinstance(stage, Accumulate):
        value = formula(context, stage.value)
        text = f"accumulation: {_MERGED.get(stage.combine, stage.combine).format(value)} where an index says"
    else:
        assert isinstance(stage, Routine)
        text = f"routine: {stage.routine}"
    return text if len(text) <= LONGEST else text[: LONGEST - 4] + " ..."


def formula(context: Context, value: Scalar, depth: int = DEEPEST) -> str:
    """An expression in the usual notation, its deepest parts left out."""
    if isinstance(value, Load):
        return context.word_for(value.tensor)
    if isinstance(value, Literal):
        return f"{value.value.item():.6g}"
    if not isinstance(value, Apply):
        return "position"
    if depth == 0:
        return "..."
    parts = [formula(context, operand, depth - 1) for operand in value.arguments]
    if value.function in _SIGNS:
        text = f"{parts[0]} {_SIGNS[value.function]} {parts[1]}"
        return text if depth == DEEPEST else f"({text})"
    if value.function == "negative":
        return f"-{parts[0]}"
    return f"{value.function}({', '.join(parts)})"
