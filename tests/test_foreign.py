"""What is said of names that other libraries have; and that public packages show what is theirs, and no more."""

import copy
import importlib
import pickle
import re
import subprocess
import sys

import numpy as np
import pytest

import graphc
from graphc import foreign, nn, optim

CODE = re.compile(r"`([^`]+)`")

w = graphc.variable(np.ones((3, 3), "float32"), name="w")
x = graphc.placeholder("x", (3, 3))
y = graphc.placeholder("y", (3, 3))
logits = x @ w
labels = graphc.placeholder("labels", (3,), "int64")


class Mine(nn.Layer):
    """A layer in whose place ``self`` stands in the tables."""

    def build(self, x):
        self.kernel = self.variable("kernel", nn.initializers.ones, (3, 3), x.dtype)

    def forward(self, x, training):
        return x @ self.kernel


model = Mine()
loss = nn.softmax_cross_entropy(logits + model(x), labels).mean()


@pytest.fixture(scope="module")
def names():
    """What the code in the tables is written with."""
    array = np.ones((3, 3), "float32")
    with graphc.Session(seed=0) as session:
        feeds = {x: array, y: array, labels: np.zeros(3, "int64")}

        class Fed:
            """A session that is always fed: the code leaves feeds out where they do not matter."""

            get, set = session.get, session.set

            def run(self, fetches, given=None):
                return session.run(fetches, feeds)

        yield {
            "graphc": graphc, "nn": nn, "optim": optim, "np": np, "x": x, "y": y, "w": w, "b": w, "labels": labels,
            "mask": x > 0, "logits": logits, "loss": loss, "model": model, "self": Mine(), "units": 3, "heads": 1,
            "array": array, "edges": graphc.constant([0.0, 1.0]), "places": graphc.constant([[0], [1], [2]]),
            "pairs": [(graphc.gradients(loss, w), w)], "session": Fed(), "feeds": feeds, "v": w,
            "function": lambda a: a * a,
            "rule": lambda inputs, outputs, cotangents: cotangents,
        }  # fmt: skip


TABLES = {
    name: getattr(foreign, name) for name in ("GRAPHC", "NN", "OPTIM", "DATA", "LINALG", "TENSOR", "LAYER", "OPTIMIZER")
}


@pytest.mark.parametrize("table", TABLES)
def test_what_is_named_instead_exists(table, names):
    for name, hint in [*TABLES[table].items(), ("in place", foreign.IN_PLACE)]:
        found = CODE.findall(hint)
        assert found, f"{name}: no code in {hint!r}"
        for code in found:
            if code.startswith("self.") and " = " in code:
                exec(code, dict(names))
                continue
            eval(code, dict(names))


def test_no_entry_is_of_a_name_that_exists():
    objects = {"TENSOR": x, "LAYER": nn.Layer(), "OPTIMIZER": optim.Adam()}
    for module, table in foreign.MODULES.items():
        if module == "graphc.eager":  # which has the table of graphc, and submodules of such names
            continue
        taken = [name for name in table if hasattr(importlib.import_module(module), name)]
        assert not taken, (module, taken)
    for table, value in objects.items():
        assert not [name for name in TABLES[table] if hasattr(value, name)], table


def said(value, name):
    """The message for an attribute."""
    with pytest.raises(AttributeError) as caught:
        getattr(value, name)
    assert caught.value.name == name
    return str(caught.value)


CASES = [
    (nn, "Linear", "module 'graphc.nn' has no attribute 'Linear'\n  hint: graphc calls it nn.Dense(units)"),
    (nn, "ReLU", "graphc calls it nn.relu, a function"),
    (nn, "exp", "graphc calls it graphc.exp"),
    (nn, "cumsum", "graphc calls it graphc.cumulative_sum(x, axis=0)"),
    (graphc, "Linear", "graphc calls it nn.Dense(units)"),
    (graphc, "Dense", "graphc calls it graphc.nn.Dense"),
    (graphc, "ShapeError", "graphc calls it graphc.errors.ShapeError"),
    (graphc, "jit", "a session compiles what it runs; graphc.compile"),
    (graphc.ops, "arcsin", "graphc calls it graphc.asin(x)"),
    (graphc.eager, "concatenate", "module 'graphc.eager' has no attribute 'concatenate'\n  hint: graphc calls it"),
    (graphc.random, "randn", "graphc calls it graphc.random.normal((2, 3))"),
    (graphc.linalg, "norm", "graphc calls it graphc.norm"),
    (graphc.data, "DataLoader", "graphc calls it graphc.data.batches(array, size=64, shuffle=True)"),
    (optim, "AdamW", "graphc decays no weights by itself; add it to the loss: optim.Adam(0.001)"),
    (x, "view", "'Tensor' object has no attribute 'view'\n  hint: graphc calls it x.reshape((-1,))"),
    (x, "exp", "it is a function: graphc.exp(x, ...)"),
    (x, "cumsum", "graphc calls it graphc.cumulative_sum(x, axis=0)"),
    (x, "add_", "a tensor never changes: graphc.add(x, y) is a new one"),
    (x, "item", "a tensor has no value until it is run"),
    (graphc.eager.asarray(1.0), "unsqueeze", "'EagerTensor' object has no attribute 'unsqueeze'\n  hint: "),
    (nn.Dense(3), "weight", "'Dense' object has no attribute 'weight'\n  hint: graphc calls it model.kernel"),
    (nn.Dense(3), "parameters", "graphc calls it model.variables"),
    (optim.Adam(), "step", "session.run(optim.SGD(0.1).minimize(loss)) takes a step"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "name", "expected"), CASES, ids=[case[1] for case in CASES])
def test_messages(value, name, expected):
    message = said(value, name)
    assert expected in message and "`" not in message
    assert not hasattr(value, name) and getattr(value, name, 1) == 1


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("from graphc.nn import Linear", "graphc calls it nn.Dense(units)"),
        ("from graphc import jit", "a session compiles what it runs; "),
        ("from graphc.eager import cumsum", "graphc calls it graphc.cumulative_sum(x, axis=0)"),
        ("from graphc.optim import Adam, AdamW", "graphc decays no weights by itself"),
        ("def load():\n    from graphc.nn import Dense, GRU\nload()", "graphc has no recurrent layer"),
        ("\n".join([*(f"x{k} = {k}" for k in range(300)), "from graphc.nn import ELU"]), "graphc calls it graphc.elu"),
    ],
    ids=["nn", "graphc", "eager", "second", "function", "long"],
)
def test_names_that_are_imported(statement, hint):
    with pytest.raises(ImportError, match="cannot import name '") as caught:
        exec(statement, {})
    assert "\n  hint: " + hint in str(caught.value)
    assert caught.value.name.startswith("graphc")


def test_names_of_nobody_get_pythons_own_message_when_imported():
    with pytest.raises(ImportError, match=r"cannot import name 'flubber' from 'graphc.nn' \("):
        exec("from graphc.nn import flubber")
    assert not hasattr(nn, "Linear") and getattr(nn, "Linear", 1) == 1


@pytest.mark.parametrize("value", [graphc, nn, x, nn.Dense(3), optim.Adam()], ids=lambda value: type(value).__name__)
def test_names_of_nobody_get_pythons_own_message(value):
    with pytest.raises(AttributeError, match=r"has no attribute 'flubber'$") as caught:
        _ = value.flubber
    assert caught.value.obj is value  # of which Python's guess is made
    for probe in ("_repr_html_", "__array_interface__", "__deepcopy__", "_ipython_canary_method_should_not_exist_"):
        assert not hasattr(value, probe)


def test_a_property_that_fails_says_why():
    class Wrong(nn.Layer):
        @property
        def width(self):
            return None.shape

    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'shape'"):
        _ = Wrong().width
    with pytest.raises(AttributeError, match=r"no attribute 'node'|^node$"):  # of a tensor that was never made
        _ = graphc.Tensor.__new__(graphc.Tensor).name


def test_layers_and_optimizers_are_copied_and_pickled():
    assert copy.deepcopy(nn.Dense(3)).units == 3
    assert pickle.loads(pickle.dumps(optim.Adam(0.5))).learning_rate == 0.5


def test_the_tables_are_loaded_by_a_name_that_is_missing():
    code = (
        "import sys, copy, graphc; from graphc import nn; x = graphc.placeholder('x', (2,)); copy.copy(nn.Dense(3))\n"
        "[getattr(x, name, 0) for name in ('_repr_html_', '__array_interface__', '__len__', 'shape')]\n"
        "dir(x), dir(graphc), dir(nn)\n"
        "assert 'graphc.foreign' not in sys.modules; hasattr(x, 'view'); assert 'graphc.foreign' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PACKAGES = (
    "graphc", "graphc.config", "graphc.data", "graphc.eager", "graphc.eager.random", "graphc.errors", "graphc.linalg",
    "graphc.nn", "graphc.nn.initializers", "graphc.ops", "graphc.optim", "graphc.profile", "graphc.random",
    "graphc.visual",
)  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_shows_what_is_its_own(name):
    module = importlib.import_module(name)
    shown = dir(module)
    assert set(module.__all__) <= set(shown) and len(set(module.__all__)) == len(module.__all__)
    for entry in shown:
        value = getattr(module, entry)
        home = value.__name__ if type(value) is type(module) else getattr(value, "__module__", "") or ""
        if isinstance(value, (type, type(module))) or callable(value):
            known = entry in graphc.ops.standard.NAMES or entry in ("Initializer", "LearningRate")
            own = known or home.startswith("graphc")
            assert own, f"{name}.{entry} is {home}'s"
    assert not [entry for entry in shown if entry.startswith("_")]


def test_every_public_package_is_looked_at():
    modules = {f"graphc.{entry}" for entry in dir(graphc) if type(getattr(graphc, entry)) is type(graphc)}
    assert modules <= set(PACKAGES)
