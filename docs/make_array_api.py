"""Makes docs/array_api.md: what of the Python array API standard, revision 2024.12, graphc has, and what not and why.

    python docs/make_array_api.py            # writes array_api.md beside this file
    python docs/make_array_api.py FILE       # writes there (a test compares that with what is checked in)

The standard's functions and their signatures are written down here, after https://data-apis.org/array-api/2024.12/; a
test compares them with the package array_api_strict where that is installed. Whether a function is there, and takes the
arguments that the standard gives it, is found by looking.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from textwrap import fill
from typing import Any

import graphc
from graphc import ops

FUNCTIONS: dict[str, str] = {
    "Creation": """
        arange(start, /, stop=None, step=1, *, dtype=None, device=None)
        asarray(obj, /, *, dtype=None, device=None, copy=None)
        empty(shape, *, dtype=None, device=None)
        empty_like(x, /, *, dtype=None, device=None)
        eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
        from_dlpack(x, /, *, device=None, copy=None)
        full(shape, fill_value, *, dtype=None, device=None)
        full_like(x, /, fill_value, *, dtype=None, device=None)
        linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
        meshgrid(*arrays, indexing="xy")
        ones(shape, *, dtype=None, device=None)
        ones_like(x, /, *, dtype=None, device=None)
        tril(x, /, *, k=0)
        triu(x, /, *, k=0)
        zeros(shape, *, dtype=None, device=None)
        zeros_like(x, /, *, dtype=None, device=None)""",
    "Data types": """
        astype(x, dtype, /, *, copy=True, device=None)
        can_cast(from_, to, /)
        finfo(type, /)
        iinfo(type, /)
        isdtype(dtype, kind)
        result_type(*arrays_and_dtypes)""",
    "Elementwise": """
        abs(x, /)
        acos(x, /)
        acosh(x, /)
        add(x1, x2, /)
        asin(x, /)
        asinh(x, /)
        atan(x, /)
        atan2(x1, x2, /)
        atanh(x, /)
        bitwise_and(x1, x2, /)
        bitwise_invert(x, /)
        bitwise_left_shift(x1, x2, /)
        bitwise_or(x1, x2, /)
        bitwise_right_shift(x1, x2, /)
        bitwise_xor(x1, x2, /)
        ceil(x, /)
        clip(x, /, min=None, max=None)
        conj(x, /)
        copysign(x1, x2, /)
        cos(x, /)
        cosh(x, /)
        divide(x1, x2, /)
        equal(x1, x2, /)
        exp(x, /)
        expm1(x, /)
        floor(x, /)
        floor_divide(x1, x2, /)
        greater(x1, x2, /)
        greater_equal(x1, x2, /)
        hypot(x1, x2, /)
        imag(x, /)
        isfinite(x, /)
        isinf(x, /)
        isnan(x, /)
        less(x1, x2, /)
        less_equal(x1, x2, /)
        log(x, /)
        log10(x, /)
        log1p(x, /)
        log2(x, /)
        logaddexp(x1, x2, /)
        logical_and(x1, x2, /)
        logical_not(x, /)
        logical_or(x1, x2, /)
        logical_xor(x1, x2, /)
        maximum(x1, x2, /)
        minimum(x1, x2, /)
        multiply(x1, x2, /)
        negative(x, /)
        nextafter(x1, x2, /)
        not_equal(x1, x2, /)
        positive(x, /)
        pow(x1, x2, /)
        real(x, /)
        reciprocal(x, /)
        remainder(x1, x2, /)
        round(x, /)
        sign(x, /)
        signbit(x, /)
        sin(x, /)
        sinh(x, /)
        sqrt(x, /)
        square(x, /)
        subtract(x1, x2, /)
        tan(x, /)
        tanh(x, /)
        trunc(x, /)""",
    "Indexing": """
        take(x, indices, /, *, axis=None)
        take_along_axis(x, indices, /, *, axis=-1)""",
    "Linear algebra": """
        matmul(x1, x2, /)
        matrix_transpose(x, /)
        tensordot(x1, x2, /, *, axes=2)
        vecdot(x1, x2, /, *, axis=-1)""",
    "Manipulation": """
        broadcast_arrays(*arrays)
        broadcast_to(x, /, shape)
        concat(arrays, /, *, axis=0)
        expand_dims(x, /, axis)
        flip(x, /, *, axis=None)
        moveaxis(x, source, destination, /)
        permute_dims(x, /, axes)
        repeat(x, repeats, /, *, axis=None)
        reshape(x, /, shape, *, copy=None)
        roll(x, /, shift, *, axis=None)
        squeeze(x, /, axis)
        stack(arrays, /, *, axis=0)
        tile(x, repetitions, /)
        unstack(x, /, *, axis=0)""",
    "Searching": """
        argmax(x, /, *, axis=None, keepdims=False)
        argmin(x, /, *, axis=None, keepdims=False)
        count_nonzero(x, /, *, axis=None, keepdims=False)
        nonzero(x, /)
        searchsorted(x1, x2, /, *, side="left", sorter=None)
        where(condition, x1, x2, /)""",
    "Sets": """
        unique_all(x, /)
        unique_counts(x, /)
        unique_inverse(x, /)
        unique_values(x, /)""",
    "Sorting": """
        argsort(x, /, *, axis=-1, descending=False, stable=True)
        sort(x, /, *, axis=-1, descending=False, stable=True)""",
    "Statistics": """
        cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
        cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
        max(x, /, *, axis=None, keepdims=False)
        mean(x, /, *, axis=None, keepdims=False)
        min(x, /, *, axis=None, keepdims=False)
        prod(x, /, *, axis=None, dtype=None, keepdims=False)
        std(x, /, *, axis=None, correction=0.0, keepdims=False)
        sum(x, /, *, axis=None, dtype=None, keepdims=False)
        var(x, /, *, axis=None, correction=0.0, keepdims=False)""",
    "Utilities": """
        all(x, /, *, axis=None, keepdims=False)
        any(x, /, *, axis=None, keepdims=False)
        diff(x, /, *, axis=-1, n=1, prepend=None, append=None)""",
    "Inspection": """
        __array_namespace_info__()""",
}
"""The main namespace: section -> a signature a line."""

LINALG = """
    cholesky(x, /, *, upper=False)
    cross(x1, x2, /, *, axis=-1)
    det(x, /)
    diagonal(x, /, *, offset=0)
    eigh(x, /)
    eigvalsh(x, /)
    inv(x, /)
    matmul(x1, x2, /)
    matrix_norm(x, /, *, keepdims=False, ord="fro")
    matrix_power(x, n, /)
    matrix_rank(x, /, *, rtol=None)
    matrix_transpose(x, /)
    outer(x1, x2, /)
    pinv(x, /, *, rtol=None)
    qr(x, /, *, mode="reduced")
    slogdet(x, /)
    solve(x1, x2, /)
    svd(x, /, *, full_matrices=True)
    svdvals(x, /)
    tensordot(x1, x2, /, *, axes=2)
    trace(x, /, *, offset=0, dtype=None)
    vecdot(x1, x2, /, *, axis=-1)
    vector_norm(x, /, *, axis=None, keepdims=False, ord=2)"""
"""The extension ``linalg``."""

FFT = "fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft fftfreq rfftfreq fftshift ifftshift"
"""The extension ``fft``, most of whose results are complex."""

CONSTANTS = "e inf nan newaxis pi"

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128"

MEMBERS = """
    __abs__ __add__ __and__ __array_namespace__ __bool__ __complex__ __dlpack__ __dlpack_device__ __eq__ __float__
    __floordiv__ __ge__ __getitem__ __gt__ __index__ __int__ __invert__ __le__ __lshift__ __lt__ __matmul__ __mod__
    __mul__ __ne__ __neg__ __or__ __pos__ __pow__ __rshift__ __setitem__ __sub__ __truediv__ __xor__ to_device
    __radd__ __rsub__ __rmul__ __rtruediv__ __rfloordiv__ __rpow__ __rmod__ __rmatmul__ __rand__ __ror__ __rxor__
    __rlshift__ __rrshift__ T device dtype mT ndim shape size"""
"""Methods and attributes of arrays. In-place operators need none: ``x += 1`` is ``x = x + 1``."""

COMPLEX = "there are no complex dtypes"
DATA = "the shape of the result depends on data"
VALUE = "a node of a graph has no value"
DEVICE = "a graph is on no device; the session that runs it is"

EXCLUDED = {
    **dict.fromkeys(["unique_all", "unique_counts", "unique_inverse", "unique_values", "nonzero"], DATA),
    **dict.fromkeys(["conj", "imag", "real", "complex64", "complex128"], COMPLEX),
    **dict.fromkeys(["__bool__", "__complex__", "__float__", "__index__", "__int__"], VALUE),
    **dict.fromkeys(["__dlpack__", "__dlpack_device__"], f"{VALUE}, and so no memory to share"),
    "from_dlpack": "graphs hold constants, which are copies: `constant(np.from_dlpack(x))`",
    "__setitem__": "nodes do not change; functions make new ones",
    **dict.fromkeys(["to_device", "device"], DEVICE),
}
"""What makes no sense in a graph of static shapes, and why. These do not count in the percentage."""

INTEGERS = "integers and bools are accepted, and become float32"
NOTES = {
    "asarray": "a constant is a copy, so `copy=False` is refused for arrays",
    "astype": "tensors never change, so `copy` makes no difference",
    "empty": "zeros",
    "empty_like": "zeros",
    "__array_namespace_info__": "the only device is None",
    "can_cast": "says what promotion here does: integers may become floats",
    "result_type": "an integer with a float takes the float's dtype",
    **dict.fromkeys(["mean", "var", "std"], INTEGERS),
    "divide": "two integers give float32",
    "pow": "an integer to a negative constant is refused; at run time the true value is cut towards zero",
    **dict.fromkeys(["bitwise_left_shift", "bitwise_right_shift"],
                    "every count has a defined result, NumPy's; constant counts beyond the width are refused"),
    "repeat": "an array of counts must be known when the graph is made",
    "unstack": "the axis must be of static size",
    "reshape": "tensors never change, so `copy` makes no difference; one size may be -1, with named dims too",
    **dict.fromkeys(["sort", "argsort"], "always stable; NaNs come last, descending too"),
    "squeeze": "`axis` may be left out: all axes of size 1; a named dim never counts as 1",
    "take": "an index out of range fails the step; several index tensors index several axes",
    "take_along_axis": "an index out of range fails the step",
    "__getitem__": "no masks: " + DATA + "; index tensors are accepted as in NumPy",
    "size": "of named dims an expression",
    "shape": "sizes are integers or named dims",
    "__array_namespace__": "`graphc.ops`",
    "matrix_norm": "`ord` is 'fro', 1, -1, inf or -inf",
    "broadcast_to": "a named dim never counts as 1",
}
"""Where what is there differs from the standard or goes beyond it."""

INTRODUCTION = """\
# The Python array API standard

`graphc.ops` is the namespace that `tensor.__array_namespace__()` returns, and all its names are attributes of `graphc`
too. This page compares it with revision 2024.12 of the [standard](https://data-apis.org/array-api/2024.12/). It is made
by [make_array_api.py](make_array_api.py), which finds out by looking whether a function is there and takes the
arguments that the standard gives it.

A tensor is a node of a graph: its type, shape and dtype, is known when it is made, its value when a program runs. So
what needs values to know a shape (`nonzero`, sets, masks as indices) can't be, and what hands out values (`__bool__`,
DLPack) has none to hand out. Of what remains, **{share}** are there: {there} of {possible} functions, methods,
constants and dtypes{missing}.

Everywhere: sizes may be named dims (`"batch"`); defaults are float32 and int64; Python scalars are weak; an integer
tensor with a float tensor takes the float's dtype, where the standard leaves the result open. A `device` must be None:
a graph is on no device, the session that runs it is.
"""


def signatures(text: str) -> dict[str, inspect.Signature]:
    """Name -> signature, from lines such as ``sum(x, /, *, axis=None)``."""
    found: dict[str, inspect.Signature] = {}
    for line in text.split("\n"):
        if line.strip():
            scope: dict[str, Any] = {}
            exec(f"def {line.strip()}: ...", scope)
            name = line.strip().partition("(")[0]
            found[name] = inspect.signature(scope[name])
    return found


def accepts(function: Any, wanted: inspect.Signature) -> bool:
    """Whether a function can be called in the ways that a signature allows."""
    kinds = inspect.Parameter
    given = list(wanted.parameters.values())
    places = [p for p in given if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    named = [p for p in given if p.kind is kinds.KEYWORD_ONLY]
    flexible = [p for p in given if p.kind is kinds.POSITIONAL_OR_KEYWORD]
    only = [p for p in given if p.kind is kinds.POSITIONAL_ONLY]
    by_name = {p.name: None for p in named}
    try:
        own = inspect.signature(function)
        own.bind(*places, **by_name)
        own.bind(*only, **by_name, **{p.name: None for p in flexible})
        own.bind(*(p for p in places if p.default is p.empty))
    except TypeError:
        return False
    return True


def entries() -> dict[str, list[tuple[str, str, str]]]:
    """Section -> rows of name, status and remark.

    Raises
    ------
    SystemExit
        If a function that is there does not take the standard's arguments.
    """
    sections: dict[str, list[tuple[str, str, str]]] = {}
    spaces = [(section, text, ops, "") for section, text in FUNCTIONS.items()]
    spaces.append(("Extension linalg", LINALG, getattr(graphc, "linalg", ops.linalg), "linalg."))
    for section, text, space, prefix in spaces:
        sections[section] = [
            row(name, getattr(space, name, None), wanted, prefix) for name, wanted in signatures(text).items()
        ]
    sections["Constants"] = [row(name, hasattr(ops, name) or None) for name in CONSTANTS.split()]
    sections["Dtypes"] = [row(name, getattr(ops, name, None)) for name in DTYPES.split()]
    sections["Methods and attributes"] = [row(name, getattr(graphc.Tensor, name, None)) for name in MEMBERS.split()]
    return sections


def row(name: str, found: Any, wanted: inspect.Signature | None = None, prefix: str = "") -> tuple[str, str, str]:
    """One row: name, ``yes``, ``no`` or ``missing``, remark."""
    if name in EXCLUDED and not prefix:
        return name, "no", EXCLUDED[name]
    if found is None:
        return name, "missing", ""
    if wanted is not None and not accepts(found, wanted):
        raise SystemExit(f"{prefix}{name}: {inspect.signature(found)} does not accept what {wanted} does")
    return name, "yes", NOTES.get(name, "")


def page() -> str:
    """The text of docs/array_api.md."""
    sections = entries()
    rows = [entry for section in sections.values() for entry in section]
    there, absent = ([entry for entry in rows if entry[1] == status] for status in ("yes", "missing"))
    possible = len(there) + len(absent)
    missing = f"; the others are {', '.join(f'`{name}`' for name, *_ in absent)}" if absent else ""
    share = f"{100 * len(there) / possible:.0f} %"
    lines = [INTRODUCTION.format(share=share, there=len(there), possible=possible, missing=missing)]
    for section, content in sections.items():
        plain = [name for name, status, remark in content if status == "yes" and not remark]
        if section == "Extension linalg":
            lines.append("## Extension linalg\n\n`graphc.ops.linalg`.\n")
        else:
            lines.append(f"## {section}\n")
        if plain:
            lines.append("As in the standard: " + ", ".join(f"`{name}`" for name in plain) + ".\n")
        noted = [entry for entry in content if entry[1] != "yes" or entry[2]]
        if noted:
            lines += ["| name | there | remark |", "|---|---|---|"]
            lines += [f"| `{name}` | {status} | {remark} |" for name, status, remark in noted]
            lines.append("")
    lines.append(f"## Extension fft\n\nNot there, as {COMPLEX}: {', '.join(f'`{name}`' for name in FFT.split())}.\n")
    return "\n".join(wrapped(line) for line in lines)


def wrapped(line: str) -> str:
    """A list of names cut into lines; all else is as it should be."""
    if not line.startswith(("As in the standard", "## Extension fft")):
        return line
    return "\n".join(fill(part, 120, break_long_words=False) for part in line.split("\n"))


def main(arguments: list[str]) -> None:
    target = Path(arguments[0]) if arguments else Path(__file__).with_name("array_api.md")
    target.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
