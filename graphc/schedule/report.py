"""Schedules as text: every kernel's loops, stages and formulas.

::

    kernel 1: for i < batch                                        # train.py:12: h = nn.relu(x @ w + b)
        %6[i, j] = sum over r < 784 of x[i, r] * w[r, j]           contraction, scratch
        %8[i, j] = max(%6[i, j] + b[j], 0)                         map, stored: float32[batch, 256]

Tensors carry the numbers that :func:`graphc.ir.format_graph` gives them; variables and placeholders their names.
Loop variables are ``i, j, k ...`` over results and ``r, s, t ...`` over what a stage sums up. A part of a formula that
is used twice, or would make a line too long, gets a line and a name of its own, as it does in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from graphc.ir.graph import Graph
from graphc.ir.node import Tensor
from graphc.ir.op import Effect
from graphc.ir.origin import Origin
from graphc.ir.printer import format_attribute
from graphc.ir.scalar import Apply, Literal, Load, Position, Scalar
from graphc.ir.symbolic import Atom, Axis, Compound, Name, Size, Value, terms_of
from graphc.schedule import kernel as form
from graphc.schedule.fuse import ControlStep, Step
from graphc.schedule.kernel import Kernel, Stage, operands_of, walk
from graphc.schedule.loops import is_loop
from graphc.schedule.schedule import Schedule

INFIX = {
    "add": ("+", 4), "subtract": ("-", 4), "multiply": ("*", 5), "divide": ("/", 5), "floor_divide": ("//", 5),
    "remainder": ("%", 5), "power": ("**", 7), "equal": ("==", 3), "not_equal": ("!=", 3), "less": ("<", 3),
    "less_equal": ("<=", 3), "greater": (">", 3), "greater_equal": (">=", 3), "logical_and": ("and", 2),
    "logical_or": ("or", 1), "bitwise_and": ("&", 2), "bitwise_or": ("|", 1), "left_shift": ("<<", 2),
    "right_shift": (">>", 2),
}  # fmt: skip
"""Functions written between their operands: sign, and how strongly it binds."""

SUM, ATOM = 4, 9
"""Binding strength of sums; of names, numbers and calls."""

SHORT = {"minimum": "min", "maximum": "max", "logical_not": "not", "logical_xor": "xor", "bitwise_invert": "~"}

COMBINES = {
    "add": "sum", "multiply": "product", "maximum": "max", "minimum": "min", "argmax": "argmax", "argmin": "argmin",
}  # fmt: skip
MERGES = {"add": "add", "maximum": "max with", "minimum": "min with", "set": "put"}

LONGEST = 88
"""Characters of a formula; longer ones are split."""

MOST_LINES = 4
"""Lines of the user's that are named beside one kernel."""

SHARED_LETTERS, REDUCED_LETTERS = "ijklmnpq", "rstuvw"

Text = tuple[str, int]
"""An expression's text, and how strongly its outermost sign binds."""


def tensor_names(graph: Graph) -> dict[Tensor, str]:
    """Names for reports: the user's for placeholders and variables, else numbers as in the graph's own text."""
    names: dict[Tensor, str] = {}
    for tensor in chain(graph.inputs, (tensor for node in graph.nodes for tensor in node.results)):
        if tensor not in names:
            names[tensor] = f"%{len(names)}"
    taken: set[str] = set()
    for tensor in names:
        given = tensor.node.attributes.get("name")
        if isinstance(given, str) and given.replace(".", "_").replace("/", "_").isidentifier() and given not in taken:
            taken.add(given)
            names[tensor] = given
    return names


def format_schedule(schedule: Schedule) -> str:
    """The text of a schedule: what each kernel computes and stores, in order of execution.

    Parameters
    ----------
    schedule : Schedule

    Returns
    -------
    str
    """
    names = tensor_names(schedule.graph)
    kernels = sum(1 for _ in schedule.kernels())
    lines = [f"schedule of {kernels} kernel{'s' * (kernels != 1)} for {len(schedule.graph.nodes)} nodes"]
    number = 0
    for step in schedule.steps:
        text, number = _step(step, names, schedule, number, "")
        lines += ["", *text]
    outputs = [names[tensor] for tensor in schedule.graph.outputs if not isinstance(tensor.node.op, Effect)]
    if outputs:
        lines += ["", f"return {', '.join(outputs)}"]
    return "\n".join(lines)


def format_kernel(kernel: Kernel, names: dict[Tensor, str], schedule: Schedule | None = None) -> list[str]:
    """The lines of one kernel.

    Parameters
    ----------
    kernel : Kernel
    names : dict of Tensor to str
        From :func:`tensor_names`; tensors that are missing are shown by their own names.
    schedule : Schedule, optional
        Says which updates are written in place.
    """
    axes = AxisNames(kernel)
    loops = ", ".join(f"{axes[axis]} < {axes.size(axis.extent)}" for axis in kernel.axes)
    lines = [f"for {loops}" if loops else "once"]
    for stage in kernel.stages:
        lines += [f"    {line}" for line in _stage(kernel, stage, axes, names, schedule)]
    return lines


def _step(step: Step, names: dict[Tensor, str], schedule: Schedule, number: int, indent: str) -> tuple[list[str], int]:
    """The lines of a step, and the number of the next kernel."""
    if isinstance(step, ControlStep):
        return _control_step(step, names, schedule, number, indent)
    head, *body = format_kernel(step, names, schedule)
    lines = [f"{indent}kernel {number}: {head}"]
    lines += [f"{indent}    # {place}" for place in user_lines(node.origin for node in step.nodes)]
    return lines + [indent + line for line in body], number + 1


def _control_step(
    step: ControlStep, names: dict[Tensor, str], schedule: Schedule, number: int, indent: str
) -> tuple[list[str], int]:
    """The lines of a control step, those of its bodies below; bodies are named where there are several."""
    kind = "loop" if is_loop(step.node) else "choice"
    reads = ", ".join(names.get(tensor, tensor.name) for tensor in step.inputs)
    stored = ", ".join(names.get(tensor, tensor.name) for tensor in step.stored)
    lines = [f"{indent}{kind} {step.node.op.name}: reads {reads}; stores {stored}"]
    lines += [f"{indent}    # {place}" for place in user_lines([step.node.origin])]
    several = len(step.bodies) > 1
    for body in step.bodies:
        if several:
            lines.append(f"{indent}    {body.name}:")
        inner = {tensor: f"{body.name}.{name}" for tensor, name in tensor_names(body.graph).items()}
        for part in body.steps:
            text, number = _step(part, inner, schedule, number, indent + ("        " if several else "    "))
            lines += text
    return lines, number


def user_lines(origins: Iterable[Origin]) -> list[str]:
    """The user's lines among some origins, each once, saying whether a gradient of what it declares is meant.

    Parameters
    ----------
    origins : iterable of Origin

    Returns
    -------
    list of str
        In order of first mention, the last one "and 3 more lines" where there are many.
    """
    found: dict[Origin, set[bool]] = {}
    for origin in origins:
        if origin.filename:
            found.setdefault(origin.place, set()).add(bool(origin.derived))
    remarks = {(False,): "", (True,): " (gradient)", (False, True): " (and its gradient)"}
    texts = [f"{place}{remarks[tuple(sorted(kinds))]}" for place, kinds in found.items()]
    if len(texts) > MOST_LINES:
        texts[MOST_LINES:] = [f"and {len(texts) - MOST_LINES} more lines"]
    return texts


class AxisNames:
    """Letters for a kernel's loop variables, and the text of integer expressions over them."""

    def __init__(self, kernel: Kernel):
        self._names: dict[Axis, str] = {}
        self.data: dict[int, Text] = {}  # texts of the scalars that serve as indices, set by the formula being written
        plain = dict.fromkeys(chain(kernel.axes, (axis for stage in kernel.stages for axis in stage.axes)))
        summed = dict.fromkeys(axis for stage in kernel.stages for axis in stage.loop_axes() if axis not in plain)
        for axes, letters in ((plain, SHARED_LETTERS), (summed, REDUCED_LETTERS)):
            for place, axis in enumerate(axes):
                self._names.setdefault(axis, _letter(letters, place))

    def __getitem__(self, axis: Axis) -> str:
        return self._names.get(axis) or str(axis)

    def size(self, size: Size) -> str:
        """The text of an integer expression whose loop variables have letters."""
        parts = []
        for monomial, factor in sorted(terms_of(size), key=lambda term: (not term[0], term[0])):
            text = "*".join(self._atom(atom) for atom in monomial) or str(abs(factor))
            if monomial and abs(factor) != 1:
                text = f"{abs(factor)}*{text}"
            parts.append((" - " if factor < 0 else " + ") + text)
        joined = "".join(parts).removeprefix(" + ") or "0"
        return "-" + joined[3:] if joined.startswith(" - ") else joined

    def _atom(self, atom: Atom) -> str:
        if isinstance(atom, Axis):
            return self[atom]
        if isinstance(atom, Name):
            return atom.name
        if isinstance(atom, Compound):
            left, right = self.size(atom.left), self.size(atom.right)
            sign = {"floordiv": "//", "mod": "%"}.get(atom.kind)
            return f"({left}) {sign} ({right})" if sign else f"{SHORT[atom.kind]}({left}, {right})"
        if isinstance(atom, Value) and isinstance(atom.payload, Scalar):
            return self.data[id(atom.payload)][0] if id(atom.payload) in self.data else str(atom)
        return str(atom)


def _letter(letters: str, place: int) -> str:
    rounds, rest = divmod(place, len(letters))
    return letters[rest] + (str(rounds) if rounds else "")


class _Formula:
    """Writes scalars; parts used twice, and parts too long for a line, become definitions."""

    def __init__(self, axes: AxisNames, names: dict[Tensor, str], scalars: Iterable[Scalar]):
        self.axes, self.names = axes, names
        self.texts: dict[int, Text] = {}
        axes.data = self.texts
        self.definitions: list[str] = []
        scalars = tuple(scalars)
        uses: dict[int, int] = {}
        parts = list(walk(*scalars))
        for part in parts:
            for operand in operands_of(part):
                uses[id(operand)] = uses.get(id(operand), 0) + 1
        last = {id(scalar) for scalar in scalars}
        for part in parts:
            text = self._write(part)
            again = isinstance(part, Apply) and uses.get(id(part), 0) > 1
            if again or (len(text[0]) > LONGEST and id(part) not in last):
                name = f"t{len(self.definitions)}"
                self.definitions.append(f"{name} = {text[0]}")
                text = (name, ATOM)
            self.texts[id(part)] = text

    def __call__(self, scalar: Scalar, loosest: int = 0) -> str:
        """The text of a scalar, in parentheses if its sign binds no more strongly than ``loosest``."""
        text, strength = self.texts[id(scalar)]
        return text if strength > loosest else f"({text})"

    def _write(self, part: Scalar) -> Text:
        if isinstance(part, Literal):
            return str(part.value), ATOM if part.value >= 0 else 6
        if isinstance(part, Position):
            text = self.axes.size(part.size)
            return text, ATOM if text.isalnum() else 4
        if isinstance(part, Load):
            name = self.names.get(part.tensor, part.tensor.name)
            index = ", ".join(map(self.axes.size, part.index))
            return (f"{name}[{index}]" if part.index else name), ATOM
        assert isinstance(part, Apply)
        return self._apply(part)

    def _apply(self, part: Apply) -> Text:
        operands = [self.texts[id(argument)] for argument in part.arguments]
        if part.function in INFIX:
            sign, strength = INFIX[part.function]
            (left, left_strength), (right, right_strength) = operands
            left = left if left_strength >= strength else f"({left})"
            right = right if right_strength > strength else f"({right})"
            return f"{left} {sign} {right}", strength
        if part.function == "negative":
            text, strength = operands[0]
            return f"-{text}" if strength >= 6 else f"-({text})", 6
        name = part.dtype.name if part.function == "cast" else SHORT.get(part.function, part.function)
        return f"{name}({', '.join(text for text, _ in operands)})", ATOM


def _stage(
    kernel: Kernel, stage: Stage, axes: AxisNames, names: dict[Tensor, str], schedule: Schedule | None
) -> Iterator[str]:
    """The lines of one stage: definitions, then its formula with what kind it is and where its result goes."""
    formula = _Formula(axes, names, stage.scalars())
    yield from formula.definitions
    index = ", ".join(axes[axis] for axis in (*kernel.axes, *stage.axes))
    results = ", ".join(
        f"{_target(tensor, names)}[{index}]" if index else _target(tensor, names) for tensor in stage.results
    )
    kind, text = _right_side(stage, axes, formula)
    yield f"{results + ' = ' + text:<72s}  {kind}, {_where(kernel, stage, schedule)}"


def _target(tensor: Tensor, names: dict[Tensor, str]) -> str:
    if isinstance(tensor.node.op, Effect):
        variable = tensor.node.inputs[0]
        return f"new {names.get(variable, variable.name)}"
    return names.get(tensor, tensor.name)


def _over(loops: Iterable[Axis], axes: AxisNames) -> str:
    return ", ".join(f"{axes[axis]} < {axes.size(axis.extent)}" for axis in loops)


def _right_side(stage: Stage, axes: AxisNames, formula: _Formula) -> tuple[str, str]:
    """Kind of the stage, and its formula."""
    if isinstance(stage, form.Map):
        return "map", formula(stage.value)
    if isinstance(stage, form.Reduce):
        return (
            "reduction",
            f"{COMBINES[stage.combine]} over {_over(stage.reduced, axes)} of {formula(stage.value, SUM)}",
        )
    if isinstance(stage, form.ReduceChunks):
        return "reduction", f"{COMBINES[stage.combine]} over {stage.chunks} chunks of {formula(stage.value, SUM)}"
    if isinstance(stage, form.Contract):
        return "contraction", f"sum over {_over(stage.reduced, axes)} of {formula(stage.left)} * {formula(stage.right)}"
    if isinstance(stage, form.Scan):
        return "scan", f"running {COMBINES[stage.combine]} along {axes[stage.scanned]} of {formula(stage.value, SUM)}"
    if isinstance(stage, form.Accumulate):
        where = ", ".join(map(axes.size, stage.destination))
        doing = f"at [{where}] {MERGES[stage.combine]} {formula(stage.value)}"
        return "accumulation", f"{formula(stage.start)}; {doing} for {_over(stage.contributions, axes)}"
    assert isinstance(stage, form.Routine)
    options = "".join(f", {name}={format_attribute(value)}" for name, value in stage.attributes.items())
    return "row routine", f"{stage.routine}({', '.join(map(formula, stage.scalars()))}{options})"


def _where(kernel: Kernel, stage: Stage, schedule: Schedule | None) -> str:
    """Where a stage's results go: scratch, memory, or over the variable they update."""
    kept = set(kernel.stored)
    stored = [tensor for tensor in stage.results if tensor in kept]
    if not stored:
        return "scratch"
    if schedule is not None and any(tensor in schedule.in_place for tensor in stored):
        return "written in place"
    types = ", ".join(str(tensor.type) for tensor in stored)
    return f"stored beside the variable: {types}" if isinstance(stored[0].node.op, Effect) else f"stored: {types}"
