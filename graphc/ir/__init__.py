"""The graph: types and dims, nodes, the op contract, walks, verifier, printer. Knows no op by name."""

from graphc.ir.graph import Graph, inline, remake, rewrite, topological
from graphc.ir.node import Node, Tensor, interned_apart, make_node
from graphc.ir.op import REGISTRY, Op, Sample, op
from graphc.ir.origin import Origin, derived_from, name_scope
from graphc.ir.printer import format_graph
from graphc.ir.symbolic import Dim, Size
from graphc.ir.types import Shape, TensorType, as_dtype, as_shape
from graphc.ir.verifier import verify

__all__ = [
    "REGISTRY", "Dim", "Graph", "Node", "Op", "Origin", "Sample", "Shape", "Size", "Tensor", "TensorType", "as_dtype",
    "as_shape", "derived_from", "format_graph", "inline", "interned_apart", "make_node", "name_scope", "op", "remake",
    "rewrite", "topological", "verify",
]  # fmt: skip
