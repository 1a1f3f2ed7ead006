"""graphc: a static computational-graph compiler for Python.

Declare a graph of tensors, differentiate it, and run it: graphc infers shapes, derives the backward graph, simplifies
and fuses it, plans its memory, and compiles it to vector code with Numba.

    import graphc

    x = graphc.placeholder("x", ("batch", 3))
    w = graphc.variable([[1.0], [2.0], [3.0]], name="w")
    loss = (graphc.tanh(x @ w) ** 2).mean()
    step = graphc.assign(w, w - 0.1 * graphc.gradients(loss, w))

    with graphc.Session() as session:
        value, _ = session.run([loss, step], {x: [[0.1, 0.2, 0.3]]})
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphc.passes.collector import collector_paused

with collector_paused():  # modules stay
    from graphc import config, data, linalg, nn, ops, optim, random
    from graphc.errors import GraphcError, GraphcWarning
    from graphc.ir import Dim, Graph, Tensor, name_scope
    from graphc.ops import *  # noqa: F403
    from graphc.program import Program
    from graphc.session import Session, compile
    from graphc.visual import install

__version__ = "0.1.0"

install()
if config.current().dump is not None:
    from graphc.visual import install_from_config

    install_from_config()

if TYPE_CHECKING:  # the ops enter by the star import, whose names type checkers do not know
    from graphc import eager
    from graphc.passes.explain import explain_gradient
    from graphc.testing.gradients import check_gradients
    from graphc.visual import draw

    def __getattr__(name: str) -> Any: ...

else:
    # who uses none of these need not wait for their modules
    _HOMES = {"check_gradients": "testing.gradients", "draw": "visual", "explain_gradient": "passes.explain"}

    def __getattr__(name: str) -> Any:
        if name == "eager":
            return import_module("graphc.eager")
        if name in _HOMES:
            found = globals()[name] = getattr(import_module(f"graphc.{_HOMES[name]}"), name)
            return found
        raise import_module("graphc.foreign").missing(__name__, name)

    def __dir__() -> list[str]:
        return [*__all__, "config", "errors", "profile", "visual"]


__all__ = [
    "Dim", "Graph", "GraphcError", "GraphcWarning", "Program", "Session", "Tensor", "check_gradients", "compile",
    "data", "draw", "eager", "explain_gradient", "linalg", "name_scope", "nn", "ops", "optim", "random", *ops.__all__,
]  # fmt: skip
