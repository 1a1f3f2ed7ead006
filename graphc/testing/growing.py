"""Random graphs, grown call by call: what all kinds of steps share.

From a few inputs, each step picks a kind of call, picks operands among what is there, and makes the call. What graphc
refuses adds nothing. Shapes are made of one named dim and small sizes, so that broadcasting, slices, reductions and
products meet often. :mod:`graphc.testing.steps` has the kinds of steps.

Where the choices come from is the caller's business: :class:`Choices` over a generator, or over hypothesis, which
can then shrink them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from graphc.errors import GraphcError
from graphc.ir.node import Tensor
from graphc.ir.op import REGISTRY
from graphc.ir.symbolic import evaluate
from graphc.ir.types import DTYPES, TensorType, is_float
from graphc.testing.cases import as_dtype, special_values
from graphc.testing.recipes import Call, Input, Recipe, Ref, perform, renumbered

Array = NDArray[Any]
Entry = TypeVar("Entry")

DIM = "n"
SIZES: tuple[int | str, ...] = (1, 2, 3, 5, DIM)
LENGTHS = (1, 2, 4, 7, 17, 40)
"""Of the named dim; 0 is drawn rarely, as many graphs refuse it."""

WIDE: tuple[int, ...] = (16, 33, 70, 130)
LONG = 300
"""Rarer sizes, which fill vectors, blocks and chunks, and of the named dim."""

COMMON = ("float32", "float32", "float32", "float64", "float64", "int64", "bool")
"""Dtypes of most inputs; the others come from :data:`graphc.ir.types.DTYPES`."""

RECENT = 4
"""Operands are drawn among so many of the latest values that fit, so that graphs grow deep."""

MOST_ELEMENTS = 100_000
"""Of a value, with every named dim long: what is larger is not kept."""


class Choices(Protocol):
    """Where random choices come from."""

    def choose(self, entries: Sequence[Entry]) -> Entry:
        """One of them."""

    def integer(self, low: int, high: int) -> int:
        """An integer, both ends included."""


class Drawn:
    """Choices of a NumPy generator."""

    def __init__(self, generator: np.random.Generator):
        self.generator = generator

    def choose(self, entries: Sequence[Entry]) -> Entry:
        return entries[int(self.generator.integers(len(entries)))]

    def integer(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high + 1))


class Grower:
    """Grows a recipe and, beside it, the graph that it declares, which knows the types of all values."""

    def __init__(self, choices: Choices):
        self.choose, self.integer = choices.choose, choices.integer
        self.inputs: dict[int, Input] = {}
        self.calls: list[Call] = []
        self.values: dict[int, Tensor] = {}
        self.length = 1
        self.depth = 0
        """Of bodies around what is grown."""

    # -- values -----------------------------------------------------------------------------------------------------

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return self.integer(1, one_in) == one_in

    def start(self) -> None:
        """Draw the inputs."""
        self.length = 0 if self.chance(30) else LONG if self.chance(12) else self.choose(LENGTHS)
        for _ in range(self.integer(1, 3)):
            dtype = self.choose(DTYPES) if self.chance(4) else self.choose(COMMON)
            shape = [self.choose(WIDE if self.chance(12) else SIZES) for _ in range(self.integer(0, 3))]
            self.add_input(shape, dtype)

    def add_input(self, shape: Sequence[int | str], dtype: str, values: Array | None = None) -> Ref:
        """A placeholder with drawn values, or these."""
        if values is None:
            sizes = tuple(self.length if size == DIM else int(size) for size in shape)
            generator = np.random.default_rng(self.integer(0, 2**31))
            values = as_dtype(np.asarray(generator.normal(size=sizes) * (1 if "float" in dtype else 3)), dtype)
            if self.chance(8) and values.size:  # NaN, infinities, the ends of the range
                special = special_values(values.dtype)
                values = np.where(generator.random(sizes) < 0.2, generator.choice(special, sizes), values)
        number = self.next_number()
        self.inputs[number] = Input(tuple(shape), np.ascontiguousarray(values).reshape(np.shape(values)))
        self.values[number] = REGISTRY["placeholder"](f"x{number}", tuple(shape), dtype)
        return Ref(number)

    def next_number(self) -> int:
        """The number of the next value."""
        return max(self.values, default=-1) + 1

    def tensor(self, ref: Ref) -> Tensor:
        """What a ref names."""
        return self.values[ref.number]

    def pick(self, condition: Callable[[Tensor], bool] = lambda tensor: True) -> Ref:
        """One of the latest values that fit."""
        fitting = [number for number in sorted(self.values) if condition(self.values[number])][-RECENT:]
        if not fitting:
            raise GraphcError("no value fits")
        return Ref(self.choose(fitting[::-1]))

    def pick_float(self, least_rank: int = 0) -> Ref:
        """A float of at least some rank."""
        return self.pick(lambda tensor: is_float(tensor.dtype) and tensor.ndim >= least_rank)

    def pick_type(self, kind: TensorType) -> Ref:
        """A value of that type."""
        return self.pick(lambda tensor: tensor.type == kind)

    def pick_ranked(self, least: int = 1, most: int = 4) -> Ref:
        """A value with axes."""
        return self.pick(lambda tensor: least <= tensor.ndim <= most)

    def axis(self, ref: Ref) -> int:
        """One of its axes, from either end."""
        rank = self.tensor(ref).ndim
        if not rank:
            raise GraphcError("a scalar has no axis")
        return self.integer(-rank, rank - 1)

    def static_axis(self, ref: Ref) -> int:
        """An axis of static size, at least 1."""
        fitting = [k for k, size in enumerate(self.tensor(ref).shape) if isinstance(size, int) and size]
        if not fitting:
            raise GraphcError("no axis is static")
        return self.choose(fitting)

    def size(self, ref: Ref, axis: int) -> int:
        """The size of a static axis."""
        size = self.tensor(ref).shape[axis]
        assert isinstance(size, int)
        return size

    def call(self, function: str, *arguments: Any, **keywords: Any) -> list[Ref]:
        """Make a call, if graphc accepts it."""
        number = self.next_number()
        trial = dict(self.values)
        results = perform(Call(function, arguments, keywords, tuple(range(number, number + 64))), trial)
        places = tuple(range(number, number + len(results)))
        self.calls.append(Call(function, arguments, keywords, places))
        self.values.update(zip(places, results, strict=True))
        return [Ref(place) for place in places]

    # -- growing ----------------------------------------------------------------------------------------------------

    def grow(self, kinds: Sequence[Step]) -> None:
        """One step; nothing happens if graphc refuses it, or the result is large."""
        calls, inputs, values = len(self.calls), dict(self.inputs), dict(self.values)
        try:
            self.choose(kinds)(self)
        except GraphcError:
            pass
        else:
            if all(self._is_small(tensor) for number, tensor in self.values.items() if number not in values):
                return
        del self.calls[calls:]
        self.inputs, self.values = inputs, values

    def _is_small(self, tensor: Tensor) -> bool:
        return tensor.ndim <= 5 and evaluate(tensor.type.size, {DIM: max(self.length, LENGTHS[-1])}) <= MOST_ELEMENTS

    def recipe(self, outputs: Sequence[Ref], updates: Sequence[tuple[Ref, Ref]] = ()) -> Recipe:
        """What has been grown, as far as these outputs and updates need it."""
        return renumbered(self.inputs, self.calls, outputs, updates).needed()


Step = Callable[[Grower], Any]
