"""What NumPy, PyTorch, JAX and others call things, and what graphc has for them: what an AttributeError says.

A thing has one name in graphc, so there are no aliases; who asks for a foreign name is told::

    AttributeError: module 'graphc.nn' has no attribute 'Linear'
      hint: graphc calls it nn.Dense(units)

Public packages ask here in their ``__getattr__``, tensors, layers and optimizers in theirs
(:func:`graphc.errors.names_of_others`); so this module is loaded by the first name that is missing. In the tables code
stands in backticks. The tests run it, which shows that what is named exists; an entry that begins with code and goes on
with a comma, if at all, says what graphc calls it.
"""

from __future__ import annotations

import re
import sys
from opcode import opmap
from typing import Any

NO_BATCH = "graphc has no normalization over a batch; `nn.LayerNorm()` normalizes each example"
NO_CELL = "graphc has no recurrent layer; `graphc.scan` runs a cell of your own along an axis"
NO_TAPE = (
    "a graph has no tape to switch off: there are derivatives where `graphc.gradients(loss, w)` asks for some, and "
    "none through `graphc.stop_gradient(x)`"
)
NO_TRAINING_MODE = "each call says what its graph is for: `model(x, training=True)`, or `model(x)`"
ON_DEVICE = "a graph is nowhere yet; the session that runs it has a device: `graphc.Session(device='cpu')`"
ONLY_TWO_FLOATS = "the floats of graphc are `graphc.float32` and `graphc.float64`"
RUN_IT = "a tensor has no value until it is run: `session.run(x, feeds)` is an array"
NEVER_CHANGES = "a tensor never changes, so that the tensor itself serves as a copy: `x`"
BY_SESSION = (
    "values belong to a session: `{v.name: session.get(v) for v in model.variables}` has them, and "
    "`session.set(v, array)` writes one"
)
SEED = "`graphc.Session(seed=0)`; what is drawn depends on it alone"

GRAPHC = {
    # elementwise
    "absolute": "`graphc.abs(x)`", "fabs": "`graphc.abs(x)`", "neg": "`graphc.negative(x)`",
    "sub": "`graphc.subtract(x, y)`", "mul": "`graphc.multiply(x, y)`", "div": "`graphc.divide(x, y)`",
    "true_divide": "`graphc.divide(x, y)`", "mod": "`graphc.remainder(x, y)`", "float_power": "`graphc.power(x, y)`",
    "arccos": "`graphc.acos(x)`", "arccosh": "`graphc.acosh(x)`", "arcsin": "`graphc.asin(x)`",
    "arcsinh": "`graphc.asinh(x)`", "arctan": "`graphc.atan(x)`", "arctan2": "`graphc.atan2(x, y)`",
    "arctanh": "`graphc.atanh(x)`", "rint": "`graphc.round(x)`", "around": "`graphc.round(x)`",
    "fix": "`graphc.trunc(x)`", "clamp": "`graphc.clip(x, 0, 1)`", "swish": "`graphc.silu(x)`",
    "eq": "`graphc.equal(x, y)`", "ne": "`graphc.not_equal(x, y)`", "lt": "`graphc.less(x, y)`",
    "le": "`graphc.less_equal(x, y)`", "gt": "`graphc.greater(x, y)`", "ge": "`graphc.greater_equal(x, y)`",
    "invert": "`graphc.bitwise_invert(labels)`", "bitwise_not": "`graphc.bitwise_invert(labels)`",
    "left_shift": "`graphc.bitwise_left_shift(labels, 1)`", "right_shift": "`graphc.bitwise_right_shift(labels, 1)`",
    "isclose": "write `graphc.abs(x - y) <= 1e-8 + 1e-5 * graphc.abs(y)`",
    "allclose": "write `(graphc.abs(x - y) <= 1e-8 + 1e-5 * graphc.abs(y)).all()`",
    "array_equal": "write `(x == y).all()`", "lerp": "write `x + 0.5 * (y - x)`",
    "nan_to_num": "write `graphc.where(graphc.isnan(x), 0, x)`",
    "nansum": "write `graphc.where(graphc.isnan(x), 0, x).sum()`",
    "masked_fill": "`graphc.where(mask, 0, x)`",
    "masked_select": "a result's shape cannot depend on values; `graphc.where(mask, x, 0)` keeps it",
    # reductions and running sums
    "amax": "`graphc.max(x)`", "amin": "`graphc.min(x)`", "average": "`graphc.mean(x)`",
    "ptp": "write `x.max() - x.min()`", "cumsum": "`graphc.cumulative_sum(x, axis=0)`",
    "cumprod": "`graphc.cumulative_prod(x, axis=0)`", "percentile": "`graphc.quantile(x, 0.9)`, from 0 to 1",
    # shapes
    "concatenate": "`graphc.concat(x, y, axis=0)`", "cat": "`graphc.concat(x, y, axis=0)`",
    "append": "`graphc.concat(x, y, axis=0)`", "vstack": "`graphc.concat(x, y, axis=0)`",
    "hstack": "`graphc.concat(x, y, axis=1)`; axis 0 for tensors of one axis",
    "dstack": "`graphc.concat(x, y, axis=-1)` for tensors of three axes",
    "column_stack": "`graphc.stack([x, y], axis=1)` for tensors of one axis",
    "transpose": "`graphc.permute_dims(x)`, or `x.T`", "permute": "`graphc.permute_dims(x, (1, 0))`", "t": "`x.T`",
    "swapdims": "`graphc.swapaxes(x, 0, 1)`", "movedim": "`graphc.moveaxis(x, 0, 1)`",
    "rollaxis": "`graphc.moveaxis(x, 0, 1)`", "unsqueeze": "`graphc.expand_dims(x, axis=0)`",
    "ravel": "`x.flatten()`", "flatten": "`x.flatten()`; `graphc.reshape(x, (-1, 3))` joins some of the axes",
    "view": "`graphc.reshape(x, (-1,))`", "expand": "`graphc.broadcast_to(x, (2, 3, 3))`",
    "fliplr": "`graphc.flip(x, axis=1)`", "flipud": "`graphc.flip(x, axis=0)`",
    "chunk": "`graphc.split(x, 3)`", "array_split": "`graphc.split(x, 3)`", "hsplit": "`graphc.split(x, 3, axis=1)`",
    "vsplit": "`graphc.split(x, 3)`", "unbind": "`graphc.unstack(x)`", "identity": "`graphc.eye(3)`",
    "tri": "`graphc.tril(graphc.ones((3, 3)))`", "numel": "`x.size`",
    # elements
    "gather": "`graphc.take_along_axis(x, places, axis=1)`", "index_select": "`graphc.take(x, labels, axis=0)`",
    "topk": "`graphc.top_k(x, 2)`", "digitize": "`graphc.searchsorted(edges, x)`",
    "bucketize": "`graphc.searchsorted(edges, x)`",
    # products
    "mm": "`x @ y`", "bmm": "`x @ y`", "mv": "`x @ y`", "dot": "`x @ y`", "addmm": "write `b + x @ y`",
    "inner": "`graphc.vecdot(x, y)`",
    # tensors and variables
    "array": "`graphc.constant(array)`, or `graphc.placeholder('x', ('batch', 3))` for what is fed",
    "tensor": "`graphc.constant(array)`, or `graphc.placeholder('x', ('batch', 3))` for what is fed",
    "as_tensor": "`graphc.asarray(array)`", "from_numpy": "`graphc.asarray(array)`",
    "Variable": "`graphc.variable(array, name='w')`", "Parameter": "`graphc.variable(array, name='w')`",
    "Input": "`graphc.placeholder('x', ('batch', 3))`", "copy": NEVER_CHANGES, "clone": NEVER_CHANGES,
    "float": ONLY_TWO_FLOATS, "double": "`graphc.float64`", "half": ONLY_TWO_FLOATS, "float16": ONLY_TWO_FLOATS,
    "bfloat16": ONLY_TWO_FLOATS, "int": "`graphc.int32`", "long": "`graphc.int64`", "bool_": "`graphc.bool`",
    # random numbers
    "rand": "`graphc.random.uniform((2, 3))`", "randn": "`graphc.random.normal((2, 3))`",
    "standard_normal": "`graphc.random.normal((2, 3))`", "multinomial": "`graphc.random.categorical(x)`",
    "randperm": "`graphc.random.permutation(10)`", "shuffle": "`graphc.random.permutation(x)`",
    "manual_seed": SEED, "seed": SEED, "PRNGKey": SEED, "key": SEED, "default_rng": SEED,
    # derivatives
    "grad": "`graphc.gradients(loss, w)`, of tensors, not of functions",
    "autograd": "`graphc.gradients(loss, w)`", "backward": "`graphc.gradients(loss, w)`",
    "GradientTape": "`graphc.gradients(loss, w)`", "vjp": "`graphc.gradients(x, x, seed=y)`",
    "value_and_grad": "`session.run([loss, graphc.gradients(loss, w)])`",
    "jacfwd": "`graphc.jacobian(x, x)`", "jacrev": "`graphc.jacobian(x, x)`",
    "custom_vjp": "`graphc.custom_gradient(function, vjp=rule)`", "detach": "`graphc.stop_gradient(x)`",
    "no_grad": NO_TAPE, "enable_grad": NO_TAPE, "inference_mode": NO_TAPE, "set_grad_enabled": NO_TAPE,
    # compiling and running
    "jit": "a session compiles what it runs; `graphc.compile(x, x.sum())` makes a function of arrays",
    "function": "a session compiles what it runs; `graphc.compile(x, x.sum())` makes a function of arrays",
    "vmap": "give the function a leading axis: `graphc.placeholder('x', ('batch', 3))` has any number of rows",
    "device": ON_DEVICE, "cuda": ON_DEVICE,
    "lax": "control flow is `graphc.scan`, `graphc.cond` and `graphc.while_loop`",
    "fori_loop": "`graphc.while_loop`, or `graphc.scan`",
    "numpy": "graphc itself has NumPy's functions: `graphc.sum(x)`",
    "distributions": "`graphc.random`", "utils": "`graphc.data.batches(array, size=64)` makes minibatches",
    "save": BY_SESSION, "load": BY_SESSION,
}  # fmt: skip
"""For :mod:`graphc`, :mod:`graphc.ops` and :mod:`graphc.eager`."""

NN = {
    "Linear": "`nn.Dense(units)`", "Module": "`nn.Layer`", "MultiheadAttention": "`nn.MultiHeadAttention(heads)`",
    "TransformerEncoderLayer": "`nn.TransformerBlock(heads)`",
    "TransformerDecoderLayer": "`nn.TransformerBlock(heads, causal=True)`, without attention to an encoder",
    "ReLU": "`nn.relu`, a function", "GELU": "`nn.gelu`, a function", "SiLU": "`nn.silu`, a function",
    "Sigmoid": "`nn.sigmoid`, a function", "Tanh": "`nn.tanh`, a function", "Softplus": "`nn.softplus`, a function",
    "Softmax": "`nn.softmax`, a function", "LogSoftmax": "`nn.log_softmax`, a function",
    "LeakyReLU": "`nn.leaky_relu`, a function", "ELU": "`graphc.elu`, a function",
    "PReLU": "`graphc.prelu(x, w)`, of a variable of yours", "logsigmoid": "write `-nn.softplus(-x)`",
    "Identity": "write `lambda x: x`; layers may be functions",
    "Flatten": "write `lambda x: x.reshape((-1, 3))`; layers may be functions",
    "Activation": "layers may be functions: `nn.Sequential(nn.Dense(units), nn.relu)`",
    "CrossEntropyLoss": "`nn.softmax_cross_entropy(logits, labels).mean()`",
    "cross_entropy": "`nn.softmax_cross_entropy(logits, labels).mean()`",
    "NLLLoss": "`nn.softmax_cross_entropy(logits, labels).mean()`, of scores rather than log-probabilities",
    "nll_loss": "`nn.softmax_cross_entropy(logits, labels).mean()`, of scores rather than log-probabilities",
    "BCEWithLogitsLoss": "`nn.sigmoid_cross_entropy(x, y).mean()`",
    "binary_cross_entropy_with_logits": "`nn.sigmoid_cross_entropy(x, y).mean()`",
    "BCELoss": "`nn.sigmoid_cross_entropy(x, y).mean()`, of scores rather than probabilities",
    "MSELoss": "`nn.mean_squared_error(x, y)`", "mse_loss": "`nn.mean_squared_error(x, y)`",
    "L1Loss": "`graphc.mean_absolute_error(x, y)`", "l1_loss": "`graphc.mean_absolute_error(x, y)`",
    "HuberLoss": "`graphc.huber_loss(x, y)`", "SmoothL1Loss": "`graphc.huber_loss(x, y)`",
    "smooth_l1_loss": "`graphc.huber_loss(x, y)`",
    "BatchNorm1d": NO_BATCH, "BatchNorm2d": NO_BATCH, "BatchNormalization": NO_BATCH, "BatchNorm": NO_BATCH,
    "RNN": NO_CELL, "LSTM": NO_CELL, "GRU": NO_CELL,
    "ModuleList": "a list serves: a layer finds the layers in its attributes: `self.blocks = [nn.Dense(units)]`",
    "ParameterList": "a list serves; in build: `self.variable('kernel', nn.initializers.zeros, (3, 3), x.dtype)`",
    "Parameter": "in build: `self.variable('kernel', nn.initializers.zeros, (3, 3), x.dtype)`",
    "functional": "functions stand beside the layers: `nn.relu(x)`", "init": "`nn.initializers`",
    "utils": "`graphc.gradients(loss, [w])` can be clipped as any tensor can, then go to `optim.SGD(0.1).apply(pairs)`",
}  # fmt: skip
"""For :mod:`graphc.nn`."""

OPTIM = {
    "AdamW": "graphc decays no weights by itself; add it to the loss: "
             "`optim.Adam(0.001).minimize(loss + 0.01 * (w * w).sum())`",
    "RMSprop": "`optim.RMSProp()`", "sgd": "`optim.SGD(0.1)`", "adam": "`optim.Adam(0.001)`",
    "rmsprop": "`optim.RMSProp()`",
    "lr_scheduler": "a rate may be a function of the step's number: `optim.Adam(lambda step: 0.001 * 0.99**step)`",
    "schedules": "a rate may be a function of the step's number: `optim.Adam(lambda step: 0.001 * 0.99**step)`",
    "apply_updates": "`session.run(optim.SGD(0.1).minimize(loss))` takes a step",
    "clip_by_global_norm": "clip what `graphc.gradients(loss, [w])` returns, then `optim.SGD(0.1).apply(pairs)`",
}  # fmt: skip
"""For :mod:`graphc.optim`."""

DATA = dict.fromkeys(
    ("DataLoader", "Dataset", "TensorDataset", "from_tensor_slices", "utils"),
    "`graphc.data.batches(array, size=64, shuffle=True)`",
)
"""For :mod:`graphc.data`."""

LINALG = {
    "lstsq": "write `graphc.linalg.pinv(x) @ y`", "multi_dot": "write `x @ y @ w`", "dot": "`x @ y`",
    "solve_ex": "`graphc.linalg.solve(x, y)`", "inv_ex": "`graphc.linalg.inv(x)`",
}  # fmt: skip
"""For :mod:`graphc.linalg`."""

TENSOR = {
    "view": "`x.reshape((-1,))`", "view_as": "`x.reshape(y.shape)`", "reshape_as": "`x.reshape(y.shape)`",
    "permute": "`graphc.permute_dims(x, (1, 0))`", "expand_as": "`graphc.broadcast_to(x, y.shape)`",
    "backward": "`graphc.gradients(loss, w)`; `optim.SGD(0.1).minimize(loss)` takes the whole step",
    "grad": "`graphc.gradients(loss, w)`", "grad_fn": "`x.node`", "is_leaf": "`x.node`",
    "requires_grad": "a derivative exists by whatever `graphc.gradients(loss, w)` is asked for",
    "requires_grad_": "a derivative exists by whatever `graphc.gradients(loss, w)` is asked for",
    "retain_grad": "a derivative exists by whatever `graphc.gradients(loss, w)` is asked for",
    "zero_grad": "nothing accumulates: each `graphc.gradients(loss, w)` is an expression of its own",
    "detach": "`graphc.stop_gradient(x)`", "data": "`graphc.stop_gradient(x)`",
    "to": "`x.astype('float64')` for a dtype; " + ON_DEVICE, "type_as": "`x.astype(y.dtype)`",
    "float": "`x.astype('float32')`", "double": "`x.astype('float64')`", "int": "`x.astype('int32')`",
    "long": "`x.astype('int64')`", "bool": "`x.astype('bool')`", "half": ONLY_TWO_FLOATS,
    "item": RUN_IT, "numpy": RUN_IT, "tolist": RUN_IT,
    "cpu": ON_DEVICE, "cuda": ON_DEVICE, "device": ON_DEVICE,
    "contiguous": "the compiler chooses how values lie in memory: `x` is enough",
    "dim": "`x.ndim`", "rank": "`x.ndim`", "nelement": "`x.size`", "itemsize": "`x.dtype.itemsize`",
    "fill": "`graphc.full_like(x, 0.5)` is a new tensor; `graphc.assign(w, y)` writes a variable",
    "zero": "`graphc.zeros_like(x)` is a new tensor; `graphc.assign(w, y)` writes a variable",
    "assign": "`graphc.assign(w, y)`", "assign_add": "`graphc.assign(w, w + y)`",
    "assign_sub": "`graphc.assign(w, w - y)`",
}  # fmt: skip
"""For tensors; names that are not here may be those of functions, or stand in :data:`GRAPHC`."""

IN_PLACE = "a tensor never changes: `graphc.add(x, y)` is a new one; `graphc.assign(w, y)` writes a variable"

LAYER = {
    "parameters": "`model.variables`", "named_parameters": "`{v.name: v for v in model.variables}`",
    "weights": "`model.variables`", "trainable_weights": "`model.variables`",
    "trainable_variables": "`model.variables`",
    "weight": "`model.kernel`", "state_dict": BY_SESSION, "load_state_dict": BY_SESSION, "get_weights": BY_SESSION,
    "set_weights": BY_SESSION, "train": NO_TRAINING_MODE, "eval": NO_TRAINING_MODE, "to": ON_DEVICE,
    "cuda": ON_DEVICE, "cpu": ON_DEVICE,
    "zero_grad": "nothing accumulates: each `graphc.gradients(loss, w)` is an expression of its own",
    "requires_grad_": "`optim.SGD(0.1).minimize(loss, [w])` updates these variables only",
    "register_parameter": "in build: `self.variable('kernel', nn.initializers.zeros, (3, 3), x.dtype)`",
    "register_buffer": "`graphc.variable(array, name='mean', trainable=False)`",
    "add_weight": "in build: `self.variable('kernel', nn.initializers.zeros, (3, 3), x.dtype)`",
    "add_module": "a layer finds the layers in its attributes: `self.first = nn.Dense(units)`",
    "compile": "`optim.Adam(0.001).minimize(loss)` is what a session runs for a step",
    "fit": "`session.run(optim.Adam(0.001).minimize(loss), feeds)` takes a step",
    "predict": "`session.run(model(x), feeds)`", "apply": "`model(x)`", "call": "`model(x)`",
}  # fmt: skip
"""For layers."""

OPTIMIZER = {
    "step": "`session.run(optim.SGD(0.1).minimize(loss))` takes a step",
    "zero_grad": "nothing accumulates: each `graphc.gradients(loss, w)` is an expression of its own",
    "apply_gradients": "`optim.SGD(0.1).apply(pairs)`", "compute_gradients": "`graphc.gradients(loss, [w])`",
    "param_groups": "`optim.SGD(0.1).learning_rate`, which may be a tensor or a function of the step's number",
    "lr": "`optim.SGD(0.1).learning_rate`", "init": "`optim.SGD(0.1).minimize(loss)` makes the state it needs",
    "state_dict": "values belong to a session, the optimizer's too: `session.get(w)` of a variable is its array",
}  # fmt: skip
"""For optimizers."""

OBJECTS = {"tensor": TENSOR, "layer": LAYER, "optimizer": OPTIMIZER}
MODULES = {
    "graphc": GRAPHC, "graphc.ops": GRAPHC, "graphc.eager": GRAPHC, "graphc.nn": NN, "graphc.optim": OPTIM,
    "graphc.data": DATA, "graphc.linalg": LINALG, "graphc.random": {},
}  # fmt: skip
SHOWN = tuple(
    f"graphc{name}" for name in ("", ".nn", ".optim", ".linalg", ".random", ".data", ".errors", ".profile", ".visual")
)
"""Packages in which a name may stand that was looked for in another one."""

IMPORT_FROM = opmap["IMPORT_FROM"]
"""What the interpreter does at ``from graphc.nn import name``."""

CALLED = re.compile(r"`[^`]+`([,;].*)?")
"""An entry that says what graphc calls it."""


def missing(module: str, name: str) -> AttributeError | ImportError:
    """What the ``__getattr__`` of a public package raises for a name that it does not have."""
    hint = "" if name.startswith("_") else _of_module(module, name)
    asking = sys._getframe(1).f_back
    if hint and asking is not None and asking.f_code.co_code[asking.f_lasti] == IMPORT_FROM:
        # of an AttributeError Python would make an ImportError of its own, without the hint
        return ImportError(_with_hint(f"cannot import name {name!r} from {module!r}", hint), name=module)
    return _error(f"module {module!r} has no attribute {name!r}", hint, name, sys.modules[module])


def missing_of(value: Any, name: str, kind: str) -> AttributeError:
    """What an object raises for an attribute that it does not have."""
    hint = _of_tensor(value, name) if kind == "tensor" else OBJECTS[kind].get(name, "")
    return _error(f"{type(value).__name__!r} object has no attribute {name!r}", hint, name, value)


def _of_tensor(tensor: Any, name: str) -> str:
    """The hint for an attribute of a tensor: many functions are no methods, and none writes in place."""
    functions = getattr(sys.modules["graphc.ops"], "FUNCTIONS")  # noqa: B009 - type checkers see no module there
    if name in TENSOR:
        return TENSOR[name]
    if name in functions:
        return f"it is a function: `graphc.{name}(x, ...)`"
    if name in GRAPHC:
        return GRAPHC[name]
    plain = name.removesuffix("_")
    if plain in functions or plain in TENSOR or plain in GRAPHC or hasattr(type(tensor), plain):
        return IN_PLACE
    return ""


def _of_module(module: str, name: str) -> str:
    """The hint for a name of a package: its own table's, then where else it stands, then another table's."""
    own = MODULES[module]
    if name in own:
        return own[name]
    for package in SHOWN:
        if package != module and name in getattr(sys.modules.get(package), "__all__", ()):
            return f"`{package}.{name}`"
    return next((table[name] for table in MODULES.values() if name in table), "")


def _error(message: str, hint: str, name: str, value: Any) -> AttributeError:
    if not hint:
        return AttributeError(message, name=name, obj=value)  # Python then looks for a name that is like it
    # without the object: Python's guess at what was meant would follow the hint
    return AttributeError(_with_hint(message, hint), name=name)


def _with_hint(message: str, hint: str) -> str:
    said = f"graphc calls it {hint}" if CALLED.fullmatch(hint) else hint
    return f"{message}\n  hint: {said.replace('`', '')}"
