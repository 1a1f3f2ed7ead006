"""Transposes absorbed by contractions: the kernel reads its operands in any order of axes."""

from __future__ import annotations

from graphc.ir.node import Node, Tensor
from graphc.ops.contractions import contract
from graphc.ops.views import permute_dims
from graphc.passes.rules.registry import Example, made_by, rule, sample


def _product_with_transposes() -> Example:
    left, right = sample(shape=("n", 4)), sample("y", shape=(5, "n"))
    return Example(contract(permute_dims(left), permute_dims(right), "mk,kn->mn"), {"contract": 1})


@rule("contract", example=_product_with_transposes)
def absorb_permutation(node: Node) -> Tensor | None:
    """contract(permute(a), b) -> contract(a, b) with relabelled axes"""
    if not any(made_by(tensor, "permute_dims") for tensor in node.inputs):
        return None
    labels, result = node["spec"].split("->")
    sources, names = [], []
    for tensor, letters in zip(node.inputs, labels.split(","), strict=True):
        inner = made_by(tensor, "permute_dims")
        if inner is not None:  # axis k of the permuted tensor, letter k, is axis axes[k] of the source
            letters = "".join(letters[inner["axes"].index(axis)] for axis in range(tensor.ndim))
            tensor = inner.inputs[0]
        sources.append(tensor)
        names.append(letters)
    return contract.make(*sources, spec=f"{','.join(names)}->{result}")
