"""The reference of ops and functions, made from the registry when the site is built: docs/ops/, a page a module.

Nothing is listed by hand. Ops come from :data:`graphc.ir.op.REGISTRY`, functions composed of ops from
:data:`graphc.ops.FUNCTIONS`; the modules' docstrings introduce the pages. What an entry says beyond its docstring is
asked of the compiler: the op is applied to its first sample, and what it computes is read off the schedule of that
graph, its derivative off the graph that its ``vjp`` builds.

Where ``docs/accuracy.json`` exists there is a column for it. The file is a list of rows, one a function and dtype, with
``function``, ``dtype`` and ``error``, the largest error in units in the last place.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config
from sphinx.ext.napoleon.docstring import NumpyDocstring
from sphinx.roles import XRefRole

from graphc.cli import dtypes_text
from graphc.compiler import PIPELINE
from graphc.errors import GraphcError
from graphc.ir.graph import Graph, rewrite
from graphc.ir.node import Node, Tensor
from graphc.ir.op import REGISTRY, Op
from graphc.ir.printer import format_attribute
from graphc.ir.types import is_float
from graphc.ops import FUNCTIONS
from graphc.ops.base import Elementwise
from graphc.ops.sources import placeholder
from graphc.passes.differentiate import contributions_of
from graphc.passes.simplify import simplify
from graphc.schedule.report import ATOM, INFIX, SUM, format_kernel, tensor_names
from graphc.testing.cases import as_dtype

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = "ops"
LONGEST = 400
"""Characters of a derivative that is printed; what is longer is read in the source."""

MOST_LINES = 14
"""Lines of formulas that an entry shows."""

ANNOTATION = re.compile(r"  +(?=[a-z]+, (?:stored|scratch|written))")
"""What stands between a formula of the schedule's text and where its result lies."""

INTEGERS = {"labels", "indices", "index", "positions"}
"""Names of parameters that take integers, where functions without samples are tried out."""

PLAIN: dict[str, Any] = {
    "axis": 0, "depth": 3, "destination": 1, "first": 0, "k": 2, "second": 1, "sections": 3, "shape": ("n", 3),
    "shift": 1, "source": 0, "spec": "ij,jk->ik", "start": 5, "value": 1.0,
}  # fmt: skip
"""What parameters that take no tensor are given there, by their names."""

TRIED = (("n", 3), (3, 3), ("n",), ())
"""Shapes that functions without samples are tried on."""


@dataclass(frozen=True)
class Entry:
    """One op, or one function made of ops.

    Attributes
    ----------
    name : str
    target : Op or function
    """

    name: str
    target: Any

    @property
    def is_op(self) -> bool:
        """Whether it is a primitive."""
        return isinstance(self.target, Op)

    @property
    def public(self) -> bool:
        """Whether ``graphc.<name>`` is this."""
        return self.name in FUNCTIONS

    @property
    def definition(self) -> Any:
        """The class or function whose source it is."""
        return type(self.target) if self.is_op else self.target

    @property
    def module(self) -> ModuleType:
        """The module that defines it."""
        return sys.modules[self.definition.__module__]

    @property
    def kind(self) -> str:
        """The stage of a kernel that computes it."""
        return self.target.kind if self.is_op else "composed"

    @property
    def own_call(self) -> Callable[..., Any] | None:
        """What is called, unless that takes the operands alone."""
        if not self.is_op:
            return self.target  # type: ignore[no-any-return]
        call = type(self.target).__call__
        shared = {Op.__call__.__code__, Elementwise.__call__.__code__}  # each op has a copy with its own name
        return None if call.__code__ in shared else call

    @property
    def signature(self) -> str:
        """Parameters and their defaults."""
        call = self.own_call
        if call is not None:
            given = [p for p in inspect.signature(call).parameters.values() if p.name != "self"]
            return str(inspect.Signature([p.replace(annotation=p.empty) for p in given if p.name[0] != "_"]))
        if isinstance(self.target, Elementwise):
            return f"({', '.join(self.target.arguments)}, /)"
        return "(*inputs, **attributes)"

    @property
    def docstring(self) -> str:
        """Of the class or function, and of what is called."""
        parts = [inspect.getdoc(self.definition)] if "__doc__" in vars(self.definition) or not self.is_op else []
        if self.is_op and self.own_call is not None and "__call__" in vars(self.definition):
            parts.append(inspect.getdoc(self.own_call))
        return "\n\n".join(dict.fromkeys(part for part in parts if part))

    @property
    def summary(self) -> str:
        """The docstring's first sentence, on one line."""
        return " ".join(self.docstring.split("\n\n")[0].split())

    @property
    def place(self) -> str:
        """File and line of its definition."""
        path = Path(inspect.getfile(self.definition)).relative_to(ROOT).as_posix()
        return f"{path}#L-{inspect.getsourcelines(self.definition)[1]}"

    @cached_property
    def example(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]] | None:
        """Placeholders, and the results of applying this to them; None where there is no sample or way to guess."""
        found = None
        for inputs, arguments, attributes in self._attempts():
            try:
                made = self.target(*arguments, **attributes)
            except (GraphcError, TypeError, ValueError, AttributeError, IndexError):
                continue
            made = tuple(made) if isinstance(made, (tuple, list)) else (made,)
            if not made or not all(isinstance(tensor, Tensor) for tensor in made):
                continue
            found = tuple(inputs), made
            if not self.is_op or made[0].node.op is self.target:
                return found
        return found  # at most what the op leaves to others to do

    def _attempts(self) -> Iterator[tuple[list[Tensor], list[Any], Mapping[str, Any]]]:
        """Placeholders, and arguments that they are among, by place and by name."""
        if self.is_op:
            for sample in self.target.samples:
                dtypes = self.target.dtypes
                dtype = "float32" if "float32" in dtypes else dtypes[0] if dtypes else None
                arrays = [as_dtype(array, dtype) for array in sample.inputs]
                names = self._names(len(arrays))
                inputs = [placeholder(n, a.shape, a.dtype) for n, a in zip(names, arrays, strict=True)]
                yield inputs, inputs, sample.attributes
            return
        required = [
            p.name
            for p in inspect.signature(self.target).parameters.values()
            if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        for shape in TRIED if required else ():
            tensors = {
                name: placeholder(name, shape[:1], "int64") if name in INTEGERS else placeholder(name, shape)
                for name in required
                if name not in PLAIN
            }
            yield list(tensors.values()), [tensors.get(name, PLAIN.get(name)) for name in required], {}

    def _names(self, count: int) -> list[str]:
        if isinstance(self.target, Elementwise) and len(self.target.arguments) == count:
            return list(self.target.arguments)
        call = self.own_call
        given = list(inspect.signature(call).parameters.values()) if call is not None else []
        names = [p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "self"]
        return names[:count] if len(names) >= count else ["x", "y", "z", *(f"x{k}" for k in range(count))][:count]


def entries() -> list[Entry]:
    """All ops, and all functions made of them, by name."""
    everything: dict[str, Any] = {**REGISTRY, **FUNCTIONS}
    return [Entry(name, everything[name]) for name in sorted(everything)]


# -- what the compiler says of an op ------------------------------------------------------------------------------


def formulas(entry: Entry) -> list[str]:
    """What is computed, as the schedule writes it."""
    if entry.example is None:
        return []
    inputs, outputs = entry.example
    product: Any = Graph(inputs, outputs)
    try:
        for name, stage in PIPELINE:
            if name == "emit":
                break
            product = stage(product)
    except GraphcError:
        return []
    names = tensor_names(product.graph)
    results = ["result"] if len(outputs) == 1 else [f"result{place}" for place in range(len(outputs))]
    names |= dict(zip(product.graph.outputs, results, strict=True))
    lines = []
    for kernel in product.kernels():
        first, *rest = format_kernel(kernel, names)
        where = first.strip().removeprefix("once")
        for line in rest:
            formula = ANNOTATION.split(line.strip())[0]
            lines.append(f"{formula}    {where}".rstrip() if where else formula)
    return lines if len(lines) <= MOST_LINES else []


def derivative(entry: Entry) -> list[tuple[str, str]]:
    """For each input its name and the derivative by it, as a function of ``g``, the derivative by the result."""
    if not entry.is_op or not entry.target.differentiable or entry.example is None:
        return []
    _, (result, *more) = entry.example
    node = result.node
    if node.op is not entry.target or more:
        return []
    names = {tensor: f"x{place}" for place, tensor in enumerate(node.inputs)}
    names |= {tensor: tensor.name for tensor in node.inputs if tensor.node.op.name == "placeholder"}
    g = placeholder("g", result.shape, result.dtype)
    parts = dict(contributions_of(node, [g]))
    found = []
    for place, tensor in enumerate(node.inputs):
        if is_float(tensor.dtype):  # indices and conditions have none
            text = _closed_form(node, parts[place], names) if place in parts else "0"
            if len(text) > LONGEST:  # which ops, at least
                used = sorted({made.op.name for made in simplify(Graph((), (parts[place],))).nodes if made.inputs})
                text = f"made of {', '.join(used)}"
            found.append((names[tensor], text))
    return found


def _closed_form(node: Node, part: Tensor, names: Mapping[Tensor, str]) -> str:
    """A tensor as a formula over a node's inputs and result."""
    leaves: dict[Tensor, Tensor] = {}
    for tensor, name in {**names, node.result: "result"}.items():
        leaves[tensor] = placeholder(name, tensor.shape, tensor.dtype)
    graph = simplify(rewrite(Graph((), (part,)), lambda node, inputs: None, replaced=leaves))
    return _formula(graph.outputs[0])[0]


def _formula(tensor: Tensor) -> tuple[str, int]:
    """A formula, and how strongly its outermost sign binds."""
    node = tensor.node
    if node.op.name == "constant" and node["value"].size == 1:
        return f"{node['value'].item():.7g}", ATOM if node["value"].item() >= 0 else SUM
    if not node.inputs:
        return (tensor.name if node.attributes.get("name") else f"{node.op.name}{_attributes(node)}"), ATOM
    parts = [_formula(source) for source in node.inputs]
    if node.op.name == "broadcast_to" and node.inputs[0].type.size == 1:
        return parts[0]  # a number
    if node.op.name == "negative":
        return f"-{_bound(parts[0], SUM + 1)}", SUM + 1
    if node.op.name in INFIX and len(parts) == 2:
        sign, strength = INFIX[node.op.name]
        right = strength if node.op.name in ("add", "multiply") else strength + 1
        return f"{_bound(parts[0], strength)} {sign} {_bound(parts[1], right)}", strength
    return f"{node.op.name}{_attributes(node, [text for text, _ in parts])}", ATOM


def _bound(part: tuple[str, int], strength: int) -> str:
    return part[0] if part[1] >= strength else f"({part[0]})"


def _attributes(node: Node, operands: Iterable[str] = ()) -> str:
    shown = [f"{name}={format_attribute(value)}" for name, value in node.attributes.items()
             if not name.startswith("_") and name not in node.op.body_attributes]  # fmt: skip
    return f"({', '.join([*operands, *shown])})"


def parts_of(entry: Entry) -> list[str]:
    """The ops that a function is made of, as it is declared."""
    if entry.is_op or entry.example is None:
        return []
    inputs, outputs = entry.example
    leaves = {tensor.node for tensor in inputs}
    used = dict.fromkeys(node.op.name for node in Graph(inputs, outputs).nodes if node not in leaves)
    return [name for name in used if name != "constant"]


# -- pages --------------------------------------------------------------------------------------------------------


def accuracy() -> dict[str, dict[str, str]]:
    """The largest measured errors by name and dtype, where they are on record."""
    path = ROOT / "docs" / "accuracy.json"
    found: dict[str, dict[str, str]] = {}
    for row in json.loads(path.read_text(encoding="utf-8")) if path.exists() else ():
        found.setdefault(row["function"], {})[row["dtype"]] = f"{row['error']:.2f} ulp"
    return found


def entry_text(entry: Entry, errors: Mapping[str, str], config: Config) -> list[str]:
    """The lines of an entry."""
    shown = f"graphc.{entry.name}" if entry.public else entry.name
    docstring = NumpyDocstring(entry.docstring, config, what="function", name=shown)
    lines = [f".. py:function:: {shown}{entry.signature}", ""]
    body = str(docstring).splitlines() or ["(no description)"]
    body += ["", *_facts(entry, errors)]
    if isinstance(entry.target, Elementwise) and entry.target.expression:
        body += ["", "One element:", "", *_code([entry.target.expression])]
    elif lines_of := formulas(entry):
        inputs = ", ".join(f"{tensor.name}: {tensor.type}" for tensor in entry.example[0])  # type: ignore[index]
        body += ["", f"What is computed, for {_literal(inputs)}:" if inputs else "What is computed:", "",
                 *_code(lines_of)]  # fmt: skip
    if slopes := derivative(entry):
        body += ["", "Derivative, with ``g`` the derivative by the result:", ""]
        body += _code([f"by {name}: {text}" for name, text in slopes])
    return lines + [f"   {line}".rstrip() for line in body] + [""]


def _facts(entry: Entry, errors: Mapping[str, str]) -> list[str]:
    facts = [("Kind", f"{entry.kind}" + ("" if entry.public else "; made by the compiler, not called by users"))]
    if entry.is_op:
        if entry.target.dtypes:
            facts.append(("Dtypes", dtypes_text(entry.target.dtypes)))
        if not entry.target.differentiable:
            facts.append(("Derivative", "none"))
    elif made_of := parts_of(entry):
        facts.append(("Made of", ", ".join(f":py:func:`{name}`" for name in made_of)))
    if errors:
        facts.append(("Accuracy", "; ".join(f"{dtype}: {error}" for dtype, error in errors.items())))
    facts.append(("Source", f":repository:`{entry.place}`"))
    return [f":{name}: {text}" for name, text in facts]


def _code(lines: Iterable[str]) -> list[str]:
    return [".. code-block:: text", "", *(f"   {line}" for line in lines)]


def _literal(text: str) -> str:
    return f"``{text}``"


def module_text(
    module: ModuleType, members: list[Entry], errors: Mapping[str, Mapping[str, str]], config: Config
) -> str:
    """The page of a module."""
    name = module.__name__.removeprefix("graphc.ops.").removeprefix("graphc.")
    first, _, rest = inspect.cleandoc(module.__doc__ or "").partition("\n\n")
    title = name.replace("_", " ").capitalize()
    lines = [title, "=" * len(title), "", first, "", rest, ""]
    for entry in sorted(members, key=lambda entry: (not entry.public, entry.name)):
        lines += entry_text(entry, errors.get(entry.name, {}), config)
    return "\n".join(lines)


def index_text(found: list[Entry], names: Iterable[str], errors: Mapping[str, Mapping[str, str]]) -> str:
    """The table of everything."""
    columns = ["Name", "Kind", "Derivative", "Dtypes", *(["Accuracy"] if errors else []), "What it is"]
    public = [entry for entry in found if entry.public]
    lines = [
        "Ops and functions", "=================", "",
        f"What ``graphc.<name>`` offers: {sum(entry.is_op for entry in public)} ops, each one class, and "
        f"{sum(not entry.is_op for entry in public)} functions made of them. The page is made from the registry, and "
        "so are the entries behind it. *Kind* is the stage of a kernel that computes an op "
        "(:repository:`graphc/ir/op.py`); what is *composed* has neither kernel nor derivative of its own, since the "
        "compiler makes both of its parts.", "",
        ".. toctree::", "   :maxdepth: 1", "   :titlesonly:", "", *(f"   {name}" for name in names), "",
        ".. list-table::", "   :header-rows: 1", "",
    ]  # fmt: skip
    for row in [columns, *(_row(entry, errors) for entry in public)]:
        lines += [f"   {'* -' if place == 0 else '  -'} {cell}".rstrip() for place, cell in enumerate(row)]
    return "\n".join([*lines, ""])


def _row(entry: Entry, errors: Mapping[str, Mapping[str, str]]) -> list[str]:
    if entry.is_op:
        slope, dtypes = "yes" if entry.target.differentiable else "", dtypes_text(entry.target.dtypes)
    else:
        floats = entry.example is None or any(is_float(tensor.dtype) for tensor in entry.example[1])
        slope, dtypes = "of its parts" if floats else "", ""
    known = errors.get(entry.name, {})
    column = ["; ".join(f"{dtype}: {error}" for dtype, error in known.items())] if errors else []
    return [f":py:func:`~graphc.{entry.name}`", entry.kind, slope, dtypes, *column, entry.summary]


def write_pages(folder: Path, config: Config) -> list[Path]:
    """Write the pages, leaving alone those that are up to date; returns their paths."""
    found, errors = entries(), accuracy()
    by_module: dict[str, list[Entry]] = {}
    for entry in found:
        by_module.setdefault(entry.module.__name__, []).append(entry)
    texts = {}
    for name, members in sorted(by_module.items()):
        texts[name.rpartition(".")[2]] = module_text(sys.modules[name], members, errors, config)
    texts["index"] = index_text(found, list(texts), errors)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.rst" for name in texts]
    for stale in set(folder.glob("*.rst")) - set(paths):
        stale.unlink()
    for path, text in zip(paths, texts.values(), strict=True):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return paths


class RepositoryRole(XRefRole):
    """``:repository:`graphc/ir/op.py``` and ``:repository:`graphc/ir/op.py#L-12```."""

    def process_link(
        self, env: Any, refnode: nodes.Element, has_explicit_title: bool, title: str, target: str
    ) -> tuple[str, str]:
        """The title is the file's name without the line."""
        return (title if has_explicit_title else title.partition("#")[0]), target


def make(app: Sphinx) -> None:
    """Write the pages before Sphinx looks for documents."""
    options = {name: app.config[name] for name in ("napoleon_use_rtype", "napoleon_custom_sections")}
    write_pages(Path(app.srcdir) / FOLDER, Config(**options))


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_role("repository", RepositoryRole())
    app.connect("builder-inited", make)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
