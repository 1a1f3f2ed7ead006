"""Leaves of the graph, and the one op that writes: placeholder, parameter, variable, constant, assign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import DTypeError, GraphError, ShapeError
from graphc.ir.node import Node, Tensor, declared
from graphc.ir.op import Effect, Sample, Source, op
from graphc.ir.symbolic import Dim
from graphc.ir.types import DEFAULT_FLOAT, DEFAULT_INT, DTYPES, TensorType, as_dtype, as_shape, format_shape, is_float
from graphc.ops.base import Elementwise, as_array, as_tensor, given, own_copy, require_bool

Initializer = Callable[[tuple[int, ...], np.dtype[Any], "np.random.Generator"], np.ndarray[Any, Any]]
"""``initializer(shape, dtype, generator)`` makes a variable's first value."""


@op
class placeholder(Source):
    """A value that is fed at each run."""

    public = True

    def __call__(self, name: str, shape: Any = (), dtype: Any = "float32") -> Tensor:
        """Declare an input.

        Parameters
        ----------
        name : str
            What errors and drawings call it.
        shape : int, str, or sequence of these
            A string is a named dim: known only when the program runs, the same for all uses of the name.
        dtype : dtype
            Default float32.

        Returns
        -------
        Tensor
        """
        if not isinstance(name, str) or not name:
            raise GraphError(f"placeholder: expected a name, got {given(name)}")
        return self.make(name=name, shape=as_shape(shape, f"placeholder {name!r}"), dtype=as_dtype(dtype))

    def infer(self, *, name: str, shape: Any, dtype: Any) -> TensorType:
        return TensorType(shape, dtype)


@op
class parameter(Source):
    """An input of a body."""

    def infer(self, *, name: str, shape: Any, dtype: Any) -> TensorType:
        return TensorType(shape, dtype)

    @staticmethod
    def like(tensor: Tensor, name: str) -> Tensor:
        """A parameter of a tensor's type."""
        return parameter.make(name=name, shape=tensor.shape, dtype=tensor.dtype)


@op
class variable(Source):
    """A value that a session keeps from step to step."""

    public = True

    def __call__(
        self,
        value: Any,
        *,
        name: str | None = None,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        _auto: bool = False,
    ) -> Tensor:
        """Declare a variable.

        Parameters
        ----------
        value : array_like or callable
            The initial value, or ``initializer(shape, dtype, generator)`` that makes it; the generator depends on
            the session's seed and the variable's name only.
        name : str, optional
            Its path, unique within a session; made from the order of declaration if not given. (Names that layers
            make themselves, ``_auto``, are numbered by the session where they repeat.)
        shape, dtype : optional
            Required with an initializer (dtype defaults to float32).
        trainable : bool
            Whether optimizers update it.

        Returns
        -------
        Tensor

        Raises
        ------
        ShapeError
            If the shape holds a named dim, or differs from the value's.
        """
        if name is not None and not isinstance(name, str):
            raise GraphError(f"variable: expected a name, got {given(name)}")
        label = f"variable {name!r}" if name else "variable"
        require_bool(label, "trainable", trainable)
        if callable(value) and not isinstance(value, Tensor):
            if shape is None:
                raise ShapeError(f"{label}: expected shape= with an initializer")
            kept: Any = value
            dtype = as_dtype(DEFAULT_FLOAT if dtype is None else dtype)
            shape = as_shape(shape, label)
        else:
            if isinstance(value, Tensor):
                raise GraphError(f"{label}: expected an array, got the tensor {value.type}", hint="use graphc.assign")
            array = as_array(value)
            if dtype is None and not isinstance(value, (np.ndarray, np.generic)):
                dtype = {"f": DEFAULT_FLOAT, "i": DEFAULT_INT}.get(array.dtype.kind)
            dtype = as_dtype(array.dtype if dtype is None else dtype)
            kept = own_copy(array, dtype, label)
            if shape is not None and as_shape(shape, label) != kept.shape:
                raise ShapeError(
                    f"{label}: expected shape {format_shape(as_shape(shape))}, got {format_shape(kept.shape)}"
                )
            shape = kept.shape
        if any(isinstance(size, Dim) for size in shape):
            raise ShapeError(f"{label}: expected static sizes, got {format_shape(shape)}")
        return self.make(
            name=name or "", shape=shape, dtype=dtype, trainable=bool(trainable), initial=kept, _auto=_auto
        )

    def infer(self, *, name: str, shape: Any, dtype: Any, trainable: bool, initial: Any, _auto: bool) -> TensorType:
        return TensorType(shape, dtype)


@op
class constant(Source):
    """A fixed array. Those that users declare are tensors of their own; equal ones in expressions are one node."""

    pure = True
    fixed = True
    public = True

    def __call__(self, value: Any, dtype: Any = None) -> Tensor:
        """A constant tensor.

        A float constant can be differentiated by like a variable: it is apart from all others, so that in
        ``x * x + 2.0`` the number is not ``x``, whatever the value of ``x``.

        Parameters
        ----------
        value : array_like
            Copied; lists of floats become float32, lists of ints int64, arrays keep their dtype.
        dtype : dtype, optional
            Cast to it.

        Returns
        -------
        Tensor
            Of the value's shape.

        Raises
        ------
        GraphError, DTypeError
            If the value is a tensor or no array of numbers, or the dtype is none of graphc's.
        """
        if isinstance(value, Tensor):
            raise GraphError("constant: expected an array, got a tensor")
        shared = as_tensor(value) if dtype is None else self.shared(value, dtype)
        return declared(self, shared.node.attributes).result if is_float(shared.dtype) else shared

    @staticmethod
    def shared(value: Any, dtype: Any) -> Tensor:
        """A constant of that dtype that is one node with all equal ones."""
        with np.errstate(all="ignore"):
            return constant.make(value=own_copy(as_array(value), as_dtype(dtype), "constant"))

    def infer(self, *, value: np.ndarray[Any, Any]) -> TensorType:
        return TensorType(value.shape, as_dtype(value.dtype))

    def compute(self, node: Node, *inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return node["value"]


@op
class random_state(Source):
    """What a session's random streams depend on: uint64[2], the seed and the count of training steps."""

    pure = True

    def infer(self) -> TensorType:
        return TensorType((2,), np.dtype("uint64"))


@op
class assign(Effect):
    """Writes a variable at the end of the step; its result is the value written."""

    public = True

    def __call__(self, variable: Tensor, value: Any) -> Tensor:
        """An update: run it, and ``variable`` holds ``value`` from the step's end on.

        Parameters
        ----------
        variable : Tensor
            Made by :func:`graphc.variable`.
        value : Tensor or array_like
            Of the variable's shape and dtype (Python numbers and arrays are converted).

        Returns
        -------
        Tensor
            To be fetched; a session returns None for it.

        Raises
        ------
        GraphError, ShapeError, DTypeError
            If the first argument is no variable, or the value does not fit it.
        """
        if not isinstance(variable, Tensor) or variable.node.op.name != "variable":
            found = variable.type if isinstance(variable, Tensor) else type(variable).__name__
            raise GraphError(f"assign: expected a variable, got {found}", hint="make one with graphc.variable(...)")
        value = value if isinstance(value, Tensor) else as_tensor(value, variable.dtype)
        return self.make(variable, value)

    def infer(self, variable: Tensor, value: Tensor) -> TensorType:
        if value.shape != variable.shape:
            raise ShapeError(
                f"assign: {variable.label} has shape {format_shape(variable.shape)}, its new value "
                f"{format_shape(value.shape)}",
                operands=(value,),
            )
        if value.dtype != variable.dtype:
            raise DTypeError(
                f"assign: {variable.label} has dtype {variable.dtype}, its new value {value.dtype}",
                operands=(value,),
                hint="cast the value",
            )
        return variable.type


@op
class copy(Elementwise):
    """The same values in memory of their own; not merged with anything."""

    pure = False
    public = False
    reference = staticmethod(np.copy)
    expression = "x"
    dtypes = DTYPES
    samples = (Sample(np.array([[1.5, -2.0, 0.0]])),)

    def vjp(self, node: Node, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        return cotangents


class Updates(tuple[Tensor, ...]):
    """Several updates that are fetched as one; a session returns None for it.

    Its own identity, as its tensors are: their ``==`` builds graph, and to hash hundreds at each step would cost more
    than the step.
    """

    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    def __repr__(self) -> str:
        return f"<{len(self)} updates>"
