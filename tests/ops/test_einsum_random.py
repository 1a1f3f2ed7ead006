"""Random specifications of ``einsum``: repeated labels, ellipses, sizes of 1, any number of operands, against NumPy."""

from __future__ import annotations

import numpy as np

import graphc
from graphc import ops


def drawn(generator: np.random.Generator) -> tuple[str, list[np.ndarray]]:
    """A specification that NumPy accepts, and operands."""
    sizes = {label: int(generator.integers(1, 4)) for label in "abcde"}
    dots = [int(size) for size in generator.integers(1, 4, size=generator.integers(0, 3))]
    terms, operands = [], []
    for _ in range(generator.integers(1, 5)):
        labels = [str(label) for label in generator.choice(list("abcde"), size=generator.integers(0, 4))]
        own = dots[generator.integers(0, len(dots) + 1) :]
        place = int(generator.integers(0, len(labels) + 1)) if dots and generator.random() < 0.6 else None
        alone = {label: 1 if generator.random() < 0.15 else sizes[label] for label in labels}
        shape = [alone[label] for label in labels]
        term = "".join(labels)
        if place is not None:
            term = f"{term[:place]}...{term[place:]}"
            shape[place:place] = [1 if generator.random() < 0.2 else size for size in own]
        terms.append(term)
        operands.append(generator.integers(-3, 4, size=shape).astype("float64"))
    spec = ",".join(terms)
    if generator.random() < 0.7:
        present = sorted({letter for letter in spec if letter.isalpha()})
        kept = [letter for letter in present if generator.random() < 0.6]
        generator.shuffle(kept)
        spec += "->" + ("..." if "..." in spec else "") + "".join(kept)
    return spec, operands


def test_random_specifications():
    """Whole numbers, so that every order of adding gives the same."""
    generator = np.random.default_rng(11)
    cases = [drawn(generator) for _ in range(150)]
    feeds, outputs = {}, []
    for number, (spec, arrays) in enumerate(cases):
        xs = [graphc.placeholder(f"x{number}_{place}", a.shape, "float64") for place, a in enumerate(arrays)]
        feeds.update(zip(xs, arrays, strict=True))
        outputs.append(ops.einsum(spec, *xs))
    with graphc.Session(backend="reference") as session:
        found = session.run(outputs, feeds)
    for (spec, arrays), value in zip(cases, found, strict=True):
        label = f"{spec} of {[a.shape for a in arrays]}"
        wanted = np.einsum(spec, *arrays)
        assert value.shape == wanted.shape, label
        np.testing.assert_array_equal(value, wanted, err_msg=label)
