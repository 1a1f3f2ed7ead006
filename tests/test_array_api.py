"""The array API standard: the page about it is what its script finds, and code written for it builds graph."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest

import graphc
from graphc import ops
from graphc.errors import DTypeError, GraphcError, GraphError

DOCS = Path(__file__).resolve().parent.parent / "docs"
specification = importlib.util.spec_from_file_location("make_array_api", DOCS / "make_array_api.py")
make_array_api = importlib.util.module_from_spec(specification)
specification.loader.exec_module(make_array_api)


def test_the_page_is_what_its_script_finds():
    kept = (DOCS / "array_api.md").read_text(encoding="utf-8")
    assert make_array_api.page() == kept, "docs/array_api.md is stale: run python docs/make_array_api.py"


def test_all_that_makes_sense_for_graphs_is_there():
    entries = [entry for section in make_array_api.entries().values() for entry in section]
    assert [name for name, status, _ in entries if status == "missing"] == []
    there = sum(status == "yes" for _, status, _ in entries)
    assert there / len(entries) > 0.8  # the others need values: sets, masks, DLPack


def test_the_list_is_the_standard_s():
    strict = pytest.importorskip("array_api_strict")
    strict.set_array_api_strict_flags(api_version="2024.12")
    listed = {}
    for text in make_array_api.FUNCTIONS.values():
        listed |= make_array_api.signatures(text)
    constants = {*make_array_api.CONSTANTS.split(), *make_array_api.DTYPES.split()}
    later = {"broadcast_shapes", "isin"}  # of 2025.12
    own = {name for name in strict.__all__ if "strict" in name.lower()} | {"Device", "linalg", "fft", "__version__"}
    assert {*listed, *constants} == {*strict.__all__} - own - later - {"__array_api_version__"}
    checked = [(listed, strict), (make_array_api.signatures(make_array_api.LINALG), strict.linalg)]
    for names, module in checked:
        for name, wanted in names.items():
            theirs = inspect.signature(getattr(module, name)).parameters.values()
            ours = wanted.parameters.values()
            assert [(p.name, p.kind) for p in ours] == [(p.name, p.kind) for p in theirs], name
    assert set(checked[1][0]) == {name for name in strict.linalg.__all__ if not name.endswith("Result")}


def test_code_for_the_standard_builds_graph():
    def whiten(x):
        xp = x.__array_namespace__()
        centred = x - xp.mean(x, axis=0, keepdims=True)
        scale = xp.sqrt(xp.var(centred, axis=0, correction=1))
        safe = xp.where(scale > xp.finfo(x.dtype).eps, scale, xp.asarray(1.0, dtype=x.dtype))
        ranks = xp.astype(xp.argsort(xp.permute_dims(centred / safe, (1, 0)), axis=-1, stable=True), xp.float32)
        return xp.concat([xp.tril(xp.linalg.outer(safe, safe)), xp.pow(ranks, 2.0)], axis=1)

    x = graphc.placeholder("x", ("n", 3), "float32")
    array = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    with graphc.Session() as session:
        np.testing.assert_allclose(session.run(whiten(x), {x: array}), whiten(array), rtol=1e-5)


def test_questions_about_dtypes():
    x = graphc.placeholder("x", (2,), "int8")
    assert ops.result_type(x, ops.float32, 2.0) == np.float32
    assert ops.result_type(ops.uint8, "int8") == np.int16
    assert ops.result_type(x, 3) == np.int8
    assert ops.can_cast(x, ops.int64) and ops.can_cast("int64", "float32") and not ops.can_cast("uint64", "int64")
    assert not ops.can_cast("float64", ops.float32)
    assert ops.isdtype(x.dtype, "integral") and ops.isdtype("float32", ("bool", "real floating"))
    assert ops.isdtype("bool", ops.bool) and not ops.isdtype("bool", "numeric")
    assert ops.finfo(ops.float64).eps == np.finfo("float64").eps and ops.iinfo(x).max == 127
    assert ops.broadcast_shapes(("n", 1), (3,)) == graphc.placeholder("y", ("n", 3)).shape
    assert ops.asarray(x) is x and ops.asarray([1.0, 2.0]).dtype == np.float32 and ops.positive(x) is x
    assert ops.astype(x, ops.float64, copy=False).dtype == np.float64
    information = ops.__array_namespace_info__()
    assert information.default_dtypes()["real floating"] == ops.float32 and information.devices() == [None]
    assert set(information.dtypes(kind="unsigned integer")) == {"uint8", "uint16", "uint32", "uint64"}
    assert information.capabilities()["boolean indexing"] is False
    assert ops.pow is ops.power and ops.newaxis is None


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (DTypeError, lambda: ops.finfo("int8"), "finfo: expected float32 or float64, got int8"),
        (DTypeError, lambda: ops.iinfo("float32"), "iinfo: expected an integer dtype, got float32"),
        (DTypeError, lambda: ops.can_cast("int8", "text"), "expected one of the dtypes"),
        (DTypeError, lambda: ops.isdtype("int8", "small"), "isdtype: expected a dtype or one of 'bool', 'signed"),
        (DTypeError, lambda: ops.result_type("uint64", "int8"), "result_type: no integer dtype holds both"),
        (GraphError, lambda: ops.result_type(), "result_type: expected at least one operand, got none"),
        (GraphError, lambda: ops.asarray([1], copy=False), "asarray: expected copy to be None or True for list"),
        (GraphError, lambda: ops.eye(2, device="cpu"), "eye: expected no device, got 'cpu'"),
        (DTypeError, lambda: ops.positive([True]), "positive: expected numbers, got bool[1]"),
    ],
)
def test_what_is_refused(kind, call, message):
    with pytest.raises(GraphcError) as caught:
        call()
    assert type(caught.value) is kind
    assert message in caught.value.message
