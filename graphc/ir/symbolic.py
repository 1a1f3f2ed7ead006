"""Integer expressions: the sizes of axes, and positions along them.

One class, :class:`Dim`, serves three uses: a dim of a shape (``batch``, ``2*batch + 1``), the place of an
element in a buffer (``784*i + j``), and the size of a buffer. It is a polynomial with integer coefficients over
*atoms*:

* :class:`Name`      a named dim, known when a program runs, at least 0;
* :class:`Axis`      a loop variable, ``0 <= axis < extent``;
* :class:`Compound`  floor division, remainder, minimum or maximum of two expressions;
* :class:`Value`     an integer that is data, such as an index read from a tensor, ``0 <= value < extent``.

Because terms are kept sorted and merged, equal expressions are equal objects in the sense of ``==``; that is how
shapes are compared, and how the scheduler sees that a consumer reads exactly the element its producer made.
An expression without atoms is a plain ``int``, so static shapes never meet this module's classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from contextvars import ContextVar
from functools import reduce
from math import gcd
from types import MappingProxyType
from typing import Any, Union

Size = Union[int, "Dim"]

NOMINAL_SIZE = 64
"""Size assumed for a named dim where one choice has to serve all sizes: a batch is about so large."""


class Atom:
    """What polynomials are made of. ``key`` orders atoms and is unique among them."""

    __slots__ = ("_dim", "key")

    def __init__(self, key: tuple[Any, ...]):
        self.key = key
        self._dim: Dim | None = None  # the expression that is this atom, once asked for

    def __lt__(self, other: Atom) -> bool:
        return self.key < other.key

    def __repr__(self) -> str:
        return str(self)


class Structural(Atom):
    """An atom that equals others of the same key; each of the other atoms equals itself alone."""

    __slots__ = ("_hash",)

    def __init__(self, key: tuple[Any, ...]):
        super().__init__(key)
        self._hash = hash(key)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Structural) and self.key == other.key)

    def __hash__(self) -> int:
        return self._hash


class Name(Structural):
    """A named dim."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name
        super().__init__((0, name))

    def __str__(self) -> str:
        return self.name


_serial = itertools.count()


class Axis(Atom):
    """A loop variable that runs over ``range(extent)``; every instance is a different variable."""

    __slots__ = ("extent",)

    def __init__(self, extent: Size):
        self.extent = extent
        super().__init__((1, next(_serial)))

    def __str__(self) -> str:
        return f"i{self.key[1]}"


class Value(Atom):
    """An integer that is data; ``payload`` says how it is computed, ``0 <= value < extent``."""

    __slots__ = ("extent", "payload")

    def __init__(self, payload: Hashable, extent: Size):
        self.payload, self.extent = payload, extent
        super().__init__((2, next(_serial)))

    def __str__(self) -> str:
        return f"value{self.key[1]}"


class Compound(Structural):
    """``kind`` (floordiv, mod, minimum, maximum) of two expressions."""

    __slots__ = ("kind", "left", "right")

    def __init__(self, kind: str, left: Size, right: Size):
        self.kind, self.left, self.right = kind, left, right
        super().__init__((3, kind, _key(left), _key(right)))

    def __str__(self) -> str:
        sign = {"floordiv": "//", "mod": "%"}.get(self.kind)
        if sign:
            return f"({self.left}){sign}({self.right})"
        return f"{self.kind}({self.left}, {self.right})"


def _key(size: Size) -> tuple[Any, ...]:
    if isinstance(size, int):
        return ((), size)
    return tuple((tuple(atom.key for atom in monomial), factor) for monomial, factor in size.terms)


Monomial = tuple[Atom, ...]


class Dim:
    """A polynomial over atoms that is not a plain integer.

    Made by arithmetic on other dims; ``graphc.placeholder("x", ("batch", 784))`` makes the first ones. Supports
    ``+ - * // %`` with integers and dims. Comparison with ``==`` is structural.

    Attributes
    ----------
    terms : tuple of (monomial, coefficient)
        Sorted; a monomial is a sorted tuple of atoms, the empty one is the constant term.
    """

    __slots__ = ("_atoms", "_hash", "_values", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]):
        self.terms = terms
        self._hash = hash(terms)
        self._atoms: tuple[Atom, ...] | None = None  # found when asked for, which is often or never
        self._values: tuple[Value, ...] | None = None

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Dim) and self._hash == other._hash and self.terms == other.terms)

    def __hash__(self) -> int:
        return self._hash

    def __add__(self, other: Size) -> Size:
        return _sum(self, other)

    __radd__ = __add__

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return _sum(self, other * -1) if isinstance(other, (int, Dim)) else NotImplemented

    def __rsub__(self, other: Size) -> Size:
        return _sum(self * -1, other)

    def __mul__(self, other: Size) -> Size:
        if isinstance(other, int):
            if other == 0:
                return 0
            return self if other == 1 else Dim(tuple([(monomial, factor * other) for monomial, factor in self.terms]))
        if not isinstance(other, Dim):
            return NotImplemented
        total: dict[Monomial, int] = {}
        for left, p in self.terms:
            for right, q in other.terms:
                monomial = tuple(sorted(left + right))
                total[monomial] = total.get(monomial, 0) + p * q
        return _make(total)

    __rmul__ = __mul__

    def __floordiv__(self, other: Size) -> Size:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return floordiv(other, self)

    def __mod__(self, other: Size) -> Size:
        return mod(self, other)

    def __rmod__(self, other: Size) -> Size:
        return mod(other, self)

    def __truediv__(self, other: object) -> Size:
        return self._no_quotient()

    def __rtruediv__(self, other: object) -> Size:
        return self._no_quotient()

    def _no_quotient(self) -> Size:
        raise TypeError(
            f"the size {self} is known only when the program runs; divide by graphc.size_of(tensor, axis), a tensor"
        )

    def __bool__(self) -> bool:
        raise TypeError(f"the size {self} is known only when the program runs; it has no truth value")

    def __index__(self) -> int:
        raise TypeError(f"the size {self} is known only when the program runs; it is no integer yet")

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        parts = []
        for monomial, factor in sorted(self.terms, key=lambda term: (not term[0], term[0])):
            text = "*".join(str(atom) for atom in monomial)
            if not text:
                text = str(abs(factor))
            elif abs(factor) != 1:
                text = f"{abs(factor)}*{text}"
            parts.append(("-" if factor < 0 else "+") + text)
        return "".join(parts).removeprefix("+")


def _make(terms: Mapping[Monomial, int]) -> Size:
    kept = [term for term in terms.items() if term[1]]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    return Dim(tuple(sorted(kept)))


def terms_of(size: Size) -> tuple[tuple[Monomial, int], ...]:
    """The terms of a dim or an integer, as (monomial, coefficient) pairs."""
    if isinstance(size, Dim):
        return size.terms
    return (((), int(size)),) if size else ()


def _sum(left: Size, right: Size) -> Size:
    if not isinstance(right, (int, Dim)):
        return NotImplemented
    if isinstance(right, int) and right == 0:
        return left
    total = dict(terms_of(left))
    for monomial, factor in terms_of(right):
        total[monomial] = total.get(monomial, 0) + factor
    return _make(total)


def of_atom(atom: Atom) -> Dim:
    """The expression that is one atom."""
    if atom._dim is None:
        atom._dim = Dim((((atom,), 1),))
    return atom._dim


def named(name: str) -> Dim:
    """The named dim ``name``."""
    return of_atom(Name(name))


def weighted_sum(sizes: Iterable[Size], weights: Iterable[Size]) -> Size:
    """Sum of sizes times weights."""
    total: dict[Monomial, int] = {}
    for size, weight in zip(sizes, weights, strict=True):
        if isinstance(size, int) and isinstance(weight, int):
            total[()] = total.get((), 0) + size * weight
            continue
        for monomial, factor in size.terms if isinstance(weight, int) else terms_of(size * weight):  # type: ignore[union-attr]
            scale = weight if isinstance(weight, int) else 1
            total[monomial] = total.get(monomial, 0) + factor * scale
    return _make(total)


def product(sizes: Iterable[Size]) -> Size:
    """Product of sizes; 1 for none."""
    static: int = 1
    total: Size | None = None
    for size in sizes:
        if isinstance(size, int):
            static *= size
        else:
            total = size if total is None else total * size
    return static if total is None else total * static


def atoms_of(size: Size) -> tuple[Atom, ...]:
    """All atoms in an expression, those inside compounds included, each once, in a fixed order."""
    if not isinstance(size, Dim):
        return ()
    if size._atoms is None:
        found: dict[Atom, None] = {}
        stack: list[Size] = [size]
        while stack:
            for monomial, _ in terms_of(stack.pop()):
                for atom in monomial:
                    if atom not in found:
                        found[atom] = None
                        if isinstance(atom, Compound):
                            stack += [atom.left, atom.right]
        size._atoms = tuple(sorted(found)) if len(found) > 1 else tuple(found)
    return size._atoms


def values_of(size: Size) -> tuple[Value, ...]:
    """The atoms of an expression that are data."""
    if not isinstance(size, Dim):
        return ()
    if size._values is None:
        size._values = tuple(atom for atom in atoms_of(size) if isinstance(atom, Value))
    return size._values


def names_of(size: Size) -> list[str]:
    """Named dims in an expression, sorted."""
    return [] if isinstance(size, int) else [atom.name for atom in atoms_of(size) if isinstance(atom, Name)]


def _divide_terms(size: Size, divisor: Size) -> tuple[Size, Size]:
    """Split ``size`` into a part divisible term by term and the rest: ``size == quotient * divisor + rest``."""
    (monomial, factor), *more = terms_of(divisor)
    if more:
        return (1, 0) if size == divisor else (0, size)
    quotient: dict[Monomial, int] = {}
    rest: dict[Monomial, int] = {}
    for left, p in terms_of(size):
        remaining, divides = list(left), p % factor == 0
        for atom in monomial:
            if atom in remaining:
                remaining.remove(atom)
            else:
                divides = False
        if divides:
            quotient[tuple(remaining)] = p // factor
        else:
            rest[left] = p
            if left == monomial and p // factor:  # 7*n // 3*n: the whole multiples still come out
                quotient[()] = quotient.get((), 0) + p // factor
                rest[left] = p % factor
    return _make(quotient), _make(rest)


def exact_quotient(size: Size, divisor: Size) -> Size | None:
    """``size / divisor`` if the division is exact for all values of the names, else None."""
    if isinstance(size, int) and isinstance(divisor, int):
        return size // divisor if divisor and size % divisor == 0 else None
    if divisor == 0:
        return None
    quotient, rest = _divide_terms(size, divisor)
    return quotient if rest == 0 else None


def _common(size: Size, divisor: int) -> int:
    return reduce(gcd, (factor for _, factor in terms_of(size)), divisor)


def floordiv(size: Size, divisor: Size) -> Size:
    """``size // divisor`` for a positive divisor, simplified where the ranges of axes allow it."""
    if isinstance(size, int) and isinstance(divisor, int):
        return size // divisor
    if divisor == 1 or size == 0:
        return size
    quotient, rest = _divide_terms(size, divisor)
    if rest == 0 or is_within(rest, divisor):
        return quotient
    if isinstance(divisor, int):
        common = _common(rest, divisor)
        if common > 1:
            return quotient + floordiv(floordiv(rest, common), divisor // common)
        inner = _single_atom(rest)
        if isinstance(inner, Compound) and inner.kind == "floordiv" and isinstance(inner.right, int):
            return quotient + floordiv(inner.left, inner.right * divisor)
    return quotient + of_atom(Compound("floordiv", rest, divisor))


def _single_atom(size: Size) -> Atom | None:
    """The atom that an expression consists of, if it is one atom."""
    if isinstance(size, Dim) and len(size.terms) == 1:
        (monomial, factor), = size.terms
        if factor == 1 and len(monomial) == 1:
            return monomial[0]
    return None


def recombine(size: Size) -> Size:
    """Undo splits: ``d*(x // d) + x % d`` is ``x``. For flat offsets after a reshape there and back."""
    if isinstance(size, int):
        return size
    for monomial, factor in size.terms:
        for atom in monomial:
            if isinstance(atom, Compound) and atom.kind == "mod":
                others = list(monomial)
                others.remove(atom)
                scale = _make({tuple(others): factor})
                split = floordiv(atom.left, atom.right) * atom.right + of_atom(atom)
                without = size - split * scale
                if len(terms_of(without)) < len(size.terms) - 1:
                    return recombine(without + atom.left * scale)
    return size


def mod(size: Size, divisor: Size) -> Size:
    """``size % divisor`` for a positive divisor, simplified where the ranges of axes allow it."""
    if isinstance(size, int) and isinstance(divisor, int):
        return size % divisor
    if divisor == 1:
        return 0
    _, rest = _divide_terms(size, divisor)
    if rest == 0 or is_within(rest, divisor):
        return rest
    if isinstance(divisor, int):
        common = _common(rest, divisor)
        if common > 1:
            return mod(floordiv(rest, common), divisor // common) * common
    return of_atom(Compound("mod", rest, divisor))


def minimum(left: Size, right: Size) -> Size:
    """The smaller of two expressions."""
    if isinstance(left, int) and isinstance(right, int):
        return min(left, right)
    if is_nonnegative(right - left):
        return left
    if is_nonnegative(left - right):
        return right
    return of_atom(Compound("minimum", left, right))


def maximum(left: Size, right: Size) -> Size:
    """The larger of two expressions."""
    if isinstance(left, int) and isinstance(right, int):
        return max(left, right)
    if is_nonnegative(left - right):
        return left
    if is_nonnegative(right - left):
        return right
    return of_atom(Compound("maximum", left, right))


def _upper(atom: Atom) -> Size | None:
    """Largest value of an atom, or None where there is no bound."""
    if isinstance(atom, (Axis, Value)):
        return atom.extent - 1
    if isinstance(atom, Compound):
        if atom.kind == "mod":
            return atom.right - 1
        if atom.kind == "floordiv" and isinstance(atom.left, Dim) and isinstance(atom.right, int):
            top = _bound(atom.left, upper=True)
            return floordiv(top, atom.right) if isinstance(top, int) else None
    return None


def _bound(size: Size, upper: bool) -> Size | None:
    """A bound of an expression in terms of names only; None if there is none. Atoms are taken to be >= 0."""
    total: Size = 0
    for monomial, factor in terms_of(size):
        if (factor > 0) == upper:
            term: Size = factor
            for atom in monomial:
                top = of_atom(atom) if isinstance(atom, Name) else _upper(atom)
                if top is None:
                    return None
                while isinstance(top, Dim) and not all(isinstance(a, Name) for a in atoms_of(top)):
                    above = _bound(top, upper=True)
                    if above is None or above == top:
                        return None
                    top = above
                term = term * top
            total = total + term
        elif all(isinstance(atom, Name) for atom in monomial):
            total = total + _make({monomial: factor})
        # any other atom may be 0: the term's bound is 0
    return total


def _may_be_negative(atom: Atom, least: int) -> bool:
    """Whether an atom may be less than 0 for all that can be proved; divisors are positive."""
    if not isinstance(atom, Compound) or atom.kind == "mod":
        return False
    parts = (atom.left,) if atom.kind == "floordiv" else (atom.left, atom.right)
    return not all(is_nonnegative(part, least) for part in parts)


def is_nonnegative(size: Size, least: int = 1) -> bool:
    """Whether ``size >= 0`` can be proved for named dims of at least ``least`` and axes within their extents.

    Names count as at least 1 because an axis over an empty extent never runs; nothing but loop positions and
    simplifications of them may rest on this. With ``least=0`` they may be anything.
    """
    if isinstance(size, int):
        return size >= 0
    if any(_may_be_negative(atom, least) for monomial, _ in size.terms for atom in monomial):
        return False
    low = _bound(size, upper=False)
    if low is None:
        return False
    # with every name written as least + (something >= 0), the bound holds if no coefficient is negative
    shifted = substitute(low, lambda atom: of_atom(atom) + least)
    return all(factor >= 0 for _, factor in terms_of(shifted))


def is_within(size: Size, extent: Size) -> bool:
    """Whether ``0 <= size < extent`` can be proved."""
    return is_nonnegative(size) and is_nonnegative(extent - 1 - size)


def substitute(size: Size, replace: Callable[[Atom], Size]) -> Size:
    """Replace every atom by ``replace(atom)``; compounds are rebuilt from their replaced parts."""
    if isinstance(size, int):
        return size
    total: Size = 0
    for monomial, factor in size.terms:
        term: Size = factor
        for atom in monomial:
            if isinstance(atom, Compound):
                left, right = substitute(atom.left, replace), substitute(atom.right, replace)
                term = term * FUNCTIONS[atom.kind](left, right)
            else:
                term = term * replace(atom)
        total = total + term
    return total


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "floordiv": floordiv,
    "mod": mod,
    "minimum": minimum,
    "maximum": maximum,
}


def evaluate(size: Size, sizes: Mapping[str, int]) -> int:
    """The value of an expression of named dims.

    Raises
    ------
    KeyError
        If a name has no value.
    """
    if isinstance(size, int):
        return size
    total = 0
    for monomial, factor in size.terms:
        term = factor
        for atom in monomial:
            if isinstance(atom, Name):
                term *= sizes[atom.name]
            elif isinstance(atom, Compound):
                term *= FUNCTIONS[atom.kind](evaluate(atom.left, sizes), evaluate(atom.right, sizes))
            else:
                raise TypeError(f"{size} holds a loop variable; only named dims have values")
        total += term
    return total


def nominal(size: Size) -> int:
    """The value of an expression of named dims with each of them assumed to be :data:`NOMINAL_SIZE`."""
    return evaluate(size, dict.fromkeys(names_of(size), NOMINAL_SIZE))


def coefficient(size: Size, axis: Axis) -> Size | None:
    """The stride of ``axis`` in an expression: None if the expression is not linear in it."""
    if axis not in atoms_of(size):
        return 0
    if not is_linear(size, {axis}):
        return None
    found = [(monomial, factor) for monomial, factor in terms_of(size) if axis in monomial]
    return _make({tuple([atom for atom in monomial if atom is not axis]): factor for monomial, factor in found})


def is_linear(size: Size, axes: Collection[Axis]) -> bool:
    """Whether an expression has a stride (see :func:`coefficient`) along each of some axes."""
    for monomial, _ in terms_of(size):
        for place, atom in enumerate(monomial):
            if isinstance(atom, Compound):
                if any(inner in axes for inner in atoms_of(of_atom(atom))):
                    return False
            elif atom in axes and atom in monomial[place + 1 :]:
                return False
    return True


RUN_SIZES: ContextVar[Mapping[str, int]] = ContextVar("graphc_run_sizes", default=MappingProxyType({}))
"""Values of the named dims while a graph is computed with NumPy; set by whoever runs it."""


def concrete(shape: Iterable[Size]) -> tuple[int, ...]:
    """Sizes as integers, under the values that :data:`RUN_SIZES` gives the named dims."""
    sizes = RUN_SIZES.get()
    return tuple(evaluate(size, sizes) for size in shape)
