"""Graphs as data: a list of calls that can be built, changed, and printed as Python.

A property test needs more of a random graph than its nodes: a failing one has to be made smaller, and shown as code
that a reader can run. So it is kept as what the user would have written, one :class:`Call` a line. Values are numbered:
first the inputs, then the results of each call in turn; a :class:`Ref` names one. A call of ``scan``, ``cond`` or
``while_loop`` has bodies, whose parameters and calls go on with the numbers of the values that are there by then::

    0  x = graphc.placeholder("x", ("n", 3), "float32")
    1  graphc.tanh(Ref(0))
    2, 3  graphc.scan(Body((2, 3), (Call("add", Ref(2), Ref(3)) -> 4,), (Ref(4), Ref(4))), ...)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY
from graphc.ops.tree import flatten

Array = NDArray[Any]


@dataclass(frozen=True)
class Ref:
    """The value of that number."""

    number: int


@dataclass(frozen=True)
class Input:
    """A placeholder, and what it is fed."""

    shape: tuple[int | str, ...]
    array: Array = field(compare=False)

    @property
    def dtype(self) -> str:
        """Of the placeholder and the array."""
        return self.array.dtype.name


@dataclass(frozen=True)
class Body:
    """A function that a call is given: it has parameters, calls of its own, and returns values."""

    parameters: tuple[int, ...]
    calls: tuple[Call, ...]
    results: tuple[Ref, ...]
    single: bool = False
    """Whether it returns its only result instead of a tuple."""


@dataclass(frozen=True)
class Call:
    """A function of graphc applied to values and literals.

    Attributes
    ----------
    function : str
        A dotted name below ``graphc``; ``getitem`` is subscription, and ``custom_gradient`` is applied at once. A layer
        is made with the keywords and called with the arguments. An optimizer is made with the keywords, and the results
        are what it would assign to minimize the argument.
    arguments : tuple
        Refs, bodies, lists and tuples of these, and literals (arrays among them).
    keywords : mapping
    results : tuple of int
        The numbers of the tensors that it returns, in the order in which a tree of them is flattened.
    """

    function: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]
    results: tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """A graph: inputs, calls, the values that are asked for, and new values of variables."""

    inputs: tuple[Input, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Ref, ...]
    updates: tuple[tuple[Ref, Ref], ...] = ()
    """Variables and what they are assigned."""

    def build(self) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Declare it: placeholders, outputs, and updates."""
        values: dict[int, Tensor] = {}
        for number, given in enumerate(self.inputs):
            values[number] = REGISTRY["placeholder"](f"x{number}", given.shape, given.dtype)
        placeholders = list(values.values())
        for call in self.calls:
            perform(call, values)
        assign = REGISTRY["assign"]
        updates = [assign(values[variable.number], values[value.number]) for variable, value in self.updates]
        return placeholders, [values[ref.number] for ref in self.outputs], updates

    def needed(self) -> Recipe:
        """Without the calls and inputs that no output or update is made of; values are numbered anew.

        One input of a named size is kept, for the sake of that size.
        """
        wanted = set(numbers_in((self.outputs, self.updates)))
        calls: list[Call] = []
        for call in reversed(self.calls):
            if wanted.intersection(call.results):
                calls.append(call)
                wanted.update(numbers_in((call.arguments, call.keywords)))
        named = [number for number, given in enumerate(self.inputs) if not all(isinstance(s, int) for s in given.shape)]
        if wanted.isdisjoint(named):  # a size may be needed that this input tells
            wanted.update(named[:1])
        kept = {number: given for number, given in enumerate(self.inputs) if number in wanted}
        return renumbered(kept, tuple(reversed(calls)), self.outputs, self.updates)


def perform(call: Call, values: dict[int, Tensor]) -> list[Tensor]:
    """Make a call; its results join the values.

    Raises
    ------
    GraphcError
        Whatever the function finds wrong.
    """
    arguments = _resolved(call.arguments, values)
    keywords = {name: _resolved(value, values) for name, value in call.keywords.items()}
    made = function_named(call.function)(*arguments, **keywords)
    leaves, _ = flatten(made)
    values.update(zip(call.results, leaves, strict=False))
    return list(leaves)


def function_named(name: str) -> Callable[..., Any]:
    """What a call's function is.

    Raises
    ------
    GraphcError
        If graphc has none of that name.
    """
    if name == "getitem":
        return lambda x, key: x[key]
    found = named(name)
    if name == "custom_gradient":
        return lambda function, rule, *xs: found(function, rule)(*xs)
    if name.startswith("optim."):
        return lambda loss, **options: [update.node.inputs[1] for update in found(**options).minimize(loss)]
    if isinstance(found, type):
        return lambda *inputs, **options: found(**options)(*inputs)
    return found


def named(name: str) -> Any:
    """What graphc calls so, a dotted name; a :exc:`GraphcError` if there is nothing."""
    import graphc  # it imports this package

    try:
        return functools.reduce(getattr, name.split("."), graphc)
    except AttributeError:
        raise GraphcError(f"graphc has no function {name!r}") from None


def _resolved(part: Any, values: Mapping[int, Tensor]) -> Any:
    """Refs replaced by tensors, bodies by functions."""
    if isinstance(part, Ref):
        return values[part.number]
    if isinstance(part, (list, tuple)):
        return type(part)([_resolved(entry, values) for entry in part])
    if isinstance(part, Body):
        return _function_of(part, values)
    return part


def _function_of(body: Body, outer: Mapping[int, Tensor]) -> Callable[..., Any]:
    def function(*given: Any) -> Any:
        leaves, _ = flatten(list(given))
        values = dict(outer) | dict(zip(body.parameters, leaves, strict=True))
        for call in body.calls:
            perform(call, values)
        results = tuple(values[ref.number] for ref in body.results)
        return results[0] if body.single else results

    return function


def numbers_in(part: Any) -> Iterator[int]:
    """The numbers of all values that a part of a call names, those inside bodies included."""
    if isinstance(part, Ref):
        yield part.number
    elif isinstance(part, (list, tuple)):
        for entry in part:
            yield from numbers_in(entry)
    elif isinstance(part, dict):
        yield from numbers_in(list(part.values()))
    elif isinstance(part, Body):
        yield from numbers_in(part.results)
        for call in part.calls:
            yield from numbers_in((call.arguments, dict(call.keywords)))


def renumbered(
    inputs: Mapping[int, Input],
    calls: Sequence[Call],
    outputs: Sequence[Ref],
    updates: Sequence[tuple[Ref, Ref]] = (),
) -> Recipe:
    """A recipe of inputs known by the numbers that the calls have for them; values are numbered in order."""
    numbers = {old: new for new, old in enumerate(inputs)}

    def fresh(old: int) -> int:
        return numbers.setdefault(old, len(numbers))

    def rewritten(part: Any) -> Any:
        """A part of a recipe, at any depth, with the new numbers in its references."""
        if isinstance(part, Ref):
            return Ref(numbers[part.number])
        if isinstance(part, (list, tuple)):
            return type(part)([rewritten(entry) for entry in part])
        if isinstance(part, dict):
            return {name: rewritten(value) for name, value in part.items()}
        if isinstance(part, Body):
            parameters = tuple(map(fresh, part.parameters))
            calls = tuple(map(rewritten, part.calls))
            return replace(part, parameters=parameters, calls=calls, results=rewritten(part.results))
        if isinstance(part, Call):
            arguments, keywords = rewritten(part.arguments), rewritten(dict(part.keywords))
            return Call(part.function, arguments, keywords, tuple(map(fresh, part.results)))
        return part

    calls = tuple(map(rewritten, calls))
    return Recipe(tuple(inputs.values()), calls, rewritten(tuple(outputs)), rewritten(tuple(updates)))


# --- as code ---------------------------------------------------------------------------------------------------------


def as_code(recipe: Recipe) -> str:
    """A script that builds the graph, runs it compiled and by the reference, and prints both results."""
    lines = ["import numpy as np", "", "import graphc", "from numpy import array, float32, float64, inf, nan", ""]
    feeds, dims = [], dict[str, str]()
    for number, given in enumerate(recipe.inputs):
        lines.append(f'v{number} = graphc.placeholder("x{number}", {given.shape!r}, "{given.dtype}")')
        for axis, size in enumerate(given.shape):
            if isinstance(size, str) and size not in dims:
                dims[size] = f"{size} = v{number}.shape[{axis}]"  # sizes in calls are written as expressions of it
        feeds.append(f"v{number}: {_literal(given.array)}")
    lines += dims.values()
    for call in recipe.calls:
        lines += _call_lines(call, "")
    updates = [f"graphc.assign(v{variable.number}, v{value.number})" for variable, value in recipe.updates]
    outputs = ", ".join([*(f"v{ref.number}" for ref in recipe.outputs), *updates])
    lines += ["", "feeds = {", *(f"    {feed}," for feed in feeds), "}", f"outputs = [{outputs}]"]
    for backend in ("reference", "compiled"):
        lines.append(f'with graphc.Session(backend="{backend}", threads=2) as session:')
        lines.append(f'    print("{backend}", *session.run(outputs, feeds), sep="\\n")')
        lines += [f"    print(session.get(v{variable.number}))" for variable, _ in recipe.updates]
    return "\n".join(lines) + "\n"


def _call_lines(call: Call, indent: str) -> list[str]:
    lines: list[str] = []
    arguments = [_shown(argument, call, lines, indent) for argument in call.arguments]
    keywords = [f"{name}={_shown(value, call, lines, indent)}" for name, value in call.keywords.items()]
    targets = ", ".join(f"v{number}" for number in call.results)
    if call.function == "getitem":
        return [*lines, f"{indent}{targets} = {arguments[0]}[{arguments[1]}]"]
    first, second = [*arguments, *keywords], list[str]()
    if call.function == "custom_gradient":
        first, second = arguments[:2], arguments[2:]
    elif isinstance(named(call.function), type):  # a layer, or an optimizer
        first, second = keywords, arguments
    made = f"graphc.{call.function}({', '.join(first)})"
    if call.function.startswith("optim."):
        targets += "," if len(call.results) == 1 else ""
        made = f"[update.node.inputs[1] for update in {made}.minimize({second[0]})]"
    elif second:
        made += f"({', '.join(second)})"
    if call.function in ("scan", "while_loop") and len(call.results) > 1:
        made = f"graphc.ops.tree.flatten({made})[0]"
    elif len(call.results) == 1 and call.function in ("split", "unstack", "meshgrid", "gradients"):
        targets += ","
    return [*lines, f"{indent}{targets} = {made}"]


def _shown(part: Any, call: Call, lines: list[str], indent: str) -> str:
    """A part of a call as code; functions are defined by lines of their own."""
    if isinstance(part, Ref):
        return f"v{part.number}"
    if isinstance(part, (list, tuple)):
        inner = ", ".join(_shown(entry, call, lines, indent) for entry in part)
        if isinstance(part, list):
            return f"[{inner}]"
        return f"({inner},)" if len(part) == 1 else f"({inner})"
    if isinstance(part, Body):
        name = f"body{call.results[0]}_{len(lines)}"
        parameters = ", ".join(f"v{number}" for number in part.parameters)
        if call.function in ("while_loop", "custom_gradient"):  # these are given tuples
            lines.append(f"{indent}def {name}(*given):")
            lines.append(f"{indent}    {parameters}, = graphc.ops.tree.flatten(list(given))[0]")
        else:
            lines.append(f"{indent}def {name}({parameters}):")
        for own in part.calls:
            lines += _call_lines(own, indent + "    ")
        results = ", ".join(f"v{ref.number}" for ref in part.results)
        lines.append(f"{indent}    return {results}{'' if part.single or len(part.results) > 1 else ','}")
        return name
    return _literal(part)


def _literal(value: Any) -> str:
    """A value as code that makes the same bits."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f":
            entries = np.vectorize(lambda number: repr(float(number)), otypes=[object])(value)
            text = str(entries.tolist()).replace("'", "") if value.size else repr(value.tolist())
        else:
            text = repr(value.tolist())
        made = f'np.array({text}, "{value.dtype.name}")'
        return made if value.size else f"{made}.reshape({value.shape})"
    if isinstance(value, np.generic):
        return f"np.{value.dtype.name}({value.item()!r})"
    return repr(value)
