"""Sessions: variables, worker threads, a random state, and the programs compiled so far, by what is fetched and fed.

**What a step means.** Every variable is read as it was at the step's start; all assigns take effect together at its
end. A step that fails, or is interrupted, leaves every variable as it was.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc import config
from graphc.errors import FeedError, GraphcWarning, GraphError, SessionError
from graphc.feeds import Feeder
from graphc.fetches import flatten
from graphc.ir.graph import Graph, named_dims, topological
from graphc.ir.node import Tensor
from graphc.ir.origin import here, stack_level
from graphc.ir.symbolic import evaluate, names_of
from graphc.ir.types import format_shape, is_whole
from graphc.ops.sources import Updates
from graphc.program import Program
from graphc.runtime.memory import Slots, require
from graphc.runtime.workers import Workers

Array = NDArray[Any]
_Request = tuple[Program, Callable[[Mapping[Tensor, Any]], Sequence[Any]], Callable[[list[Any]], Any]]
"""Program, what takes its feeds out of a mapping, and what nests the values of its outputs."""

MOST_THREADS = 1024
"""More than the processors of any one machine of today; starting a hundred thousand threads takes minutes."""

MOST_PROGRAMS_OF_A_LINE = 10
"""More programs than this from one line of the user's are worth a warning: each is compiled anew."""

MOST_REQUESTS = 256
"""Combinations of fetches and feeds whose programs are found without looking into the fetches."""


class Session:
    """Variables, workers and programs.

    Parameters
    ----------
    device : str
        ``"cpu"``.
    threads : int, optional
        Worker threads, the caller included; the processors available if not given.
    seed : int
        Of initial values and random ops.
    check_numerics : bool
        Stop at the first NaN or infinity and name the node and the user's line; variables stay as they were.
    backend : str
        ``"compiled"``, or ``"reference"`` to run op by op in NumPy.
    reuse_memory : bool
        False gives every intermediate bytes of its own and overwrites nothing (for debugging).

    Raises
    ------
    SessionError
        For an unknown device or backend, fewer than one thread, or more than :data:`MOST_THREADS`.

    Examples
    --------
    >>> import graphc
    >>> x = graphc.placeholder("x", ("n",))
    >>> with graphc.Session() as session:
    ...     float(session.run((x * x).sum(), {x: [1.0, 2.0, 3.0]}))
    14.0
    """

    def __init__(
        self,
        device: str = "cpu",
        threads: int | None = None,
        seed: int = 0,
        *,
        check_numerics: bool = False,
        backend: str = "compiled",
        reuse_memory: bool = True,
    ):
        if device != "cpu":
            raise SessionError(f"session: expected device 'cpu', got {device!r}")
        if backend not in ("compiled", "reference"):
            raise SessionError(f"session: expected backend 'compiled' or 'reference', got {backend!r}")
        threads = config.current().threads if threads is None else threads
        if not is_whole(threads) or threads < 1:
            raise SessionError(f"session: expected a whole number of threads, at least 1, got {threads!r}")
        if threads > MOST_THREADS:
            raise SessionError(
                f"session: expected at most {MOST_THREADS} threads, got {threads}",
                hint=f"this process may use {config.available_processors()} processors; more threads only wait",
            )
        self.device, self.backend, self.seed = device, backend, _checked_seed(seed)
        self.threads = int(threads)
        self.check_numerics, self.reuse_memory = check_numerics, reuse_memory
        self.workers = Workers(self.threads)
        self._random_state = np.array([self.seed % 2**64, 0], np.uint64)
        self._slots = Slots()
        self._variables: dict[Tensor, Array] = {}
        self._labels: dict[str, Tensor] = {}
        self._numbers: dict[str, int] = {}  # of labels that layers share, the one given last
        # a program is known by what it computes of what; by each way in which that was asked for, as feeds may come in
        # another order, or be needed by nothing; and by a run's very fetches and feeds, not to look into them again
        self._programs: dict[Any, Program] = {}
        self._requests: dict[Any, _Request] = {}
        self._programs_of_outputs: dict[tuple[tuple[Tensor, ...], tuple[Tensor, ...]], Program] = {}
        self._programs_of_line: dict[Any, int] = {}
        self._lock = threading.RLock()  # re-entrant only to recognise calls from a signal handler within a step
        self._in_step = False
        self._closed = False
        self._lost = False
        self._sets = 0
        _alive.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{len(self._variables)} variables, {len(self._programs)} programs"
        return f"<Session on {self.device}, {self.threads} threads: {state}>"

    def __enter__(self) -> Session:
        self._check_open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker threads; the session can't run any more, its variables can still be read."""
        self._closed = True
        self.workers.close()

    def _check_open(self) -> None:
        self._check_whole()
        if self._closed:
            raise SessionError(
                "the session is closed", hint="open a new one; variables of a closed one can still be read"
            )

    def _check_whole(self) -> None:
        if self._lost:
            raise SessionError(
                "the process was forked while another thread used this session; what that did is lost to this process",
                hint="open a new session here, or fork while no thread uses one",
            )

    def _forget(self) -> None:
        """In a forked child: if another thread held the lock, it is gone, perhaps amid a step."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock, self._lost = threading.RLock(), True

    @property
    def steps(self) -> int:
        """Training steps so far: runs that updated a variable."""
        return int(self._random_state[1])

    @property
    def version(self) -> tuple[int, int]:
        """Differs from what it was if a variable may have changed since."""
        return self.steps, self._sets

    def reseed(self, seed: int) -> None:
        """Random numbers, and the initial values of variables that have none yet, follow from another seed."""
        with self._lock:
            self.seed = _checked_seed(seed)
            self._random_state[0] = self.seed % 2**64

    @property
    def programs(self) -> tuple[Program, ...]:
        """The programs compiled by :meth:`run`, in order."""
        return tuple(self._programs_of_outputs.values())

    def run(self, fetches: Any, feeds: Mapping[Tensor, Any] | None = None, *, profile: bool = False) -> Any:
        """Compute fetches; compile first if this combination is new.

        Parameters
        ----------
        fetches : Tensor, or nested list, tuple or dict of these
            Updates (from ``assign`` or ``minimize``) among them take effect.
        feeds : mapping of Tensor to array_like
            A value for every placeholder that the fetches depend on.
        profile : bool
            Time each kernel of this step, which takes effect and gives the same values as any other.

        Returns
        -------
        ndarray, None, or the same nesting of these
            Arrays that the caller owns; None for an update. With ``profile=True`` a pair of this and a
            :class:`~graphc.profile.Profile`: time, bytes, operations and share of the machine's limit of each kernel,
            with the lines of yours that it comes from.

        Raises
        ------
        FeedError
            If a feed is missing, unknown, or does not fit.
        ExecutionError
            If the step failed; every variable is as it was.
        SessionError
            If the session is closed, or a profile is asked of the reference backend.
        """
        feeds = {} if feeds is None else feeds
        if profile is not False:
            return self._run_profiled(fetches, feeds, profile)
        kind = type(fetches)
        try:  # the short way: the same tensors were fetched and fed before
            asked = kind, tuple(fetches) if kind is list else fetches, type(feeds), tuple(feeds)
            program, pick, rebuild = self._requests[asked]
        except (KeyError, TypeError):  # a new request, or one with something that has no hash, such as a nested list
            program, pick, rebuild = self._new_request(fetches, feeds)
        return rebuild(program._step(pick(feeds)))

    def _run_profiled(self, fetches: Any, feeds: Any, profile: Any) -> Any:
        if not isinstance(profile, (bool, np.bool_)):
            raise SessionError(f"run: expected profile=True or False, got {profile!r}")
        if not profile:
            return self.run(fetches, feeds)
        program, _, rebuild = self._new_request(fetches, feeds)
        values, found = program._run_profiled(feeds)
        return rebuild(values), found

    def _new_request(self, fetches: Any, feeds: Any) -> _Request:
        flat, rebuild = flatten(fetches)
        if not isinstance(feeds, Mapping):
            raise FeedError(f"feeds: expected a mapping from placeholders to arrays, got {type(feeds).__name__}")
        program = self._program(flat, feeds)
        request = program, _picker(program.inputs), rebuild
        kind = type(fetches)
        all_flat = kind in (list, tuple) and all(isinstance(part, (Tensor, Updates)) for part in fetches)
        if all_flat or kind in (Tensor, Updates):
            if len(self._requests) >= MOST_REQUESTS:
                self._requests.clear()
            self._requests[kind, tuple(fetches) if kind is list else fetches, type(feeds), tuple(feeds)] = request
        return request

    def prepare(self, fetches: Any, feeds: Iterable[Tensor] = ()) -> Program:
        """The program that :meth:`run` would use for these fetches and fed placeholders; compiled if it is new.

        Parameters
        ----------
        fetches : Tensor, or nested list, tuple or dict of these
        feeds : iterable of Tensor
            The placeholders that will be fed.

        Returns
        -------
        Program
        """
        return self._program(flatten(fetches)[0], tuple(feeds))

    def _program(self, flat: list[Tensor], feeds: Iterable[Tensor]) -> Program:
        key = (tuple(flat), tuple(feeds))
        program = self._programs.get(key)
        return self._new_program(flat, key) if program is None else program

    def _new_program(self, flat: list[Tensor], key: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]) -> Program:
        self._check_open()
        _check_graph("fetches", flat)
        feeds = key[1]
        for tensor in feeds:
            if not isinstance(tensor, Tensor) or tensor.node.op.name != "placeholder":
                is_variable = isinstance(tensor, Tensor) and tensor.node.op.name == "variable"
                hint = "use session.set(variable, array)" if is_variable else "feed {placeholder: array}"
                raise FeedError(f"feeds: expected placeholders as keys, got {tensor!r}", hint=hint)
        needed = [n.result for n in topological(flat) if n.op.name == "placeholder"]
        missing = [tensor for tensor in needed if tensor not in set(feeds)]
        if missing:
            names = ", ".join(repr(tensor.name) for tensor in missing)
            raise FeedError(f"feed missing for placeholder {names}", origin=missing[0].node.origin)
        inputs = (*needed, *_measured(flat, needed, feeds))
        with self._lock:
            known = key[0], inputs
            program = self._programs_of_outputs.get(known)  # another order of feeds, or one that nothing needs
            if program is None:
                program = self._programs_of_outputs[known] = Program(inputs, key[0], self)
                self._warn_of_many()
            self._programs[key] = program
        return program

    def _warn_of_many(self) -> None:
        place = here()
        count = self._programs_of_line[place] = self._programs_of_line.get(place, 0) + 1
        if count == MOST_PROGRAMS_OF_A_LINE + 1:
            warnings.warn(
                f"more than {MOST_PROGRAMS_OF_A_LINE} programs were compiled for {place}: build the graph once, "
                "outside the loop, and feed it",
                GraphcWarning,
                stacklevel=stack_level(),
            )

    def get(self, variable: Tensor) -> Array:
        """A copy of a variable's value.

        Raises
        ------
        GraphError
            If the tensor is no variable.
        """
        with self._lock:
            self._check_whole()
            return self._storage(variable).copy()

    def set(self, variable: Tensor, value: Any) -> None:
        """Give a variable a value of its shape; floats may be rounded, other values must be kept.

        Raises
        ------
        FeedError
            If shape or dtype does not fit.
        SessionError
            If called from within a step (by a signal handler), which reads its variables as they were at its start.
        """
        with self._lock:
            self._check_whole()
            if self._in_step:
                raise SessionError("a variable was set from within a step of the same session (a signal handler?)")
            storage = self._storage(variable)
            (array,), _ = Feeder([variable], tell_rounding=False)([value])
            self._sets += 1
            storage[...] = array

    def _storage(self, variable: Tensor) -> Array:
        """Where a variable lives; made and initialised at first use."""
        if not isinstance(variable, Tensor) or variable.node.op.name != "variable":
            raise GraphError(f"expected a variable, got {variable!r}")
        (variable,) = variable.node.results
        found = self._variables.get(variable)
        if found is None:
            (found,) = self._make_storage([variable])
        return found

    def _make_storage(self, variables: Sequence[Tensor]) -> list[Array]:
        fresh: dict[str, Tensor] = {}
        numbers: dict[str, int] = {}
        for variable in variables:
            label = variable.node["name"] or f"variable:{len(self._labels) + len(fresh)}"
            if variable.node["_auto"]:
                label = self._numbered(label, fresh, numbers)
            other = fresh.get(label, self._labels.get(label))
            if other is not None:
                raise SessionError(
                    f"two variables are named {label!r}; the other was declared at {other.node.origin}",
                    origin=variable.node.origin,
                )
            fresh[label] = variable
        labels = list(fresh)
        if variables:
            sizes = [evaluate(variable.type.bytes, {}) for variable in variables]
            largest = max(range(len(sizes)), key=sizes.__getitem__)
            require(
                2 * sum(sizes),
                "making the initial values of variables, and a place for them,",
                remark=f"the largest is {labels[largest]!r}: {variables[largest].type}, {sizes[largest]:,} bytes",
                origin=variables[largest].node.origin,
            )
        values = [self._initial(variable, label) for variable, label in zip(variables, labels, strict=True)]
        requests = [(label, v.shape, v.dtype) for label, v in zip(labels, variables, strict=True)]
        slots = self._slots.add(requests)  # type: ignore[arg-type]
        try:
            for slot, value in zip(slots, values, strict=True):
                slot.array[...] = value
        except BaseException:  # an interrupt amid large values: as if they had not been asked for
            self._slots.forget(labels)
            raise
        self._labels.update(fresh)
        self._numbers.update(numbers)
        self._variables.update((v, slot.array) for v, slot in zip(variables, slots, strict=True))
        return [slot.array for slot in slots]

    def _numbered(self, label: str, fresh: Mapping[str, Tensor], numbers: dict[str, int]) -> str:
        """The label, with the first number that makes it new where a layer of that name is there already.

        The search begins at the number that the label got last, in ``numbers`` or before; else a thousand layers of
        one name would take a million steps.
        """
        number = numbers.get(label, self._numbers.get(label, 0))
        candidate = f"{label}#{number}" if number else label
        while candidate in self._labels or candidate in fresh:
            number += 1
            candidate = f"{label}#{number}"
        numbers[label] = number
        return candidate

    def _initial(self, variable: Tensor, label: str) -> Array:
        initial = variable.node["initial"]
        if not callable(initial):
            return initial
        digest = hashlib.sha256(f"{self.seed}\0{label}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        value = np.asarray(initial(variable.shape, variable.dtype, generator))
        if value.shape != variable.shape or not np.can_cast(value.dtype, variable.dtype, "same_kind"):
            raise GraphError(
                f"variable {label!r}: its initializer made {value.dtype}{format_shape(value.shape)}, expected "
                f"{variable.type}",
                origin=variable.node.origin,
            )
        return value.astype(variable.dtype, copy=False)


def compile(inputs: Sequence[Tensor], outputs: Any, *, device: str = "cpu", session: Session | None = None) -> Program:
    """Compile a graph into a program that is called with arrays.

    Parameters
    ----------
    inputs : sequence of Tensor
        Placeholders, in the order of the call's arguments.
    outputs : Tensor, or nested list, tuple or dict of these
        What a call returns, nested alike; None for updates.
    device : str
        ``"cpu"``.
    session : Session, optional
        Whose variables it uses; one of its own if not given.

    Returns
    -------
    Program

    Raises
    ------
    FeedError
        If an input is no placeholder, or one that the outputs need is not among them.
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    flat, rebuild = flatten(outputs)
    for tensor in given:
        if not isinstance(tensor, Tensor) or tensor.node.op.name != "placeholder":
            raise FeedError(f"compile: expected placeholders as inputs, got {tensor!r}")
    _check_graph("compile", flat)
    missing = [n.result for n in topological(flat) if n.op.name == "placeholder" and n.result not in set(given)]
    if missing:
        raise FeedError(f"compile: the outputs need the placeholder {missing[0].name!r}", origin=missing[0].node.origin)
    program = Program(tuple(given), tuple(flat), session or Session(device))
    program._rebuild = rebuild
    return program


def _checked_seed(seed: Any) -> int:
    if not is_whole(seed):
        raise SessionError(f"session: expected an integer seed, got {seed!r}")
    return int(seed)


def _check_graph(what: str, tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        if tensor.apply is not None:
            raise GraphError(
                f"{what}: {tensor.label} is an eager tensor, which no program computes",
                operands=(tensor,),
                hint="it has its value already: np.asarray(tensor)",
            )


def _measured(outputs: Sequence[Tensor], needed: Sequence[Tensor], feeds: Iterable[Tensor]) -> list[Tensor]:
    """The fed placeholders whose values nothing needs, but whose shapes: they tell a named dim that no other tells."""
    told = {name for tensor in needed for size in tensor.shape for name in names_of(size)}
    untold = named_dims(Graph((), tuple(outputs))).keys() - told
    return [x for x in feeds if untold.intersection(name for size in x.shape for name in names_of(size))]


def _picker(inputs: tuple[Tensor, ...]) -> Callable[[Mapping[Tensor, Any]], Sequence[Any]]:
    """A function that takes the values of some placeholders out of a mapping."""
    if len(inputs) > 1:
        return itemgetter(*inputs)
    return lambda feeds: [feeds[tensor] for tensor in inputs]


_alive: weakref.WeakSet[Session] = weakref.WeakSet()


def _forget_all() -> None:
    for session in list(_alive):
        session._forget()


os.register_at_fork(after_in_child=_forget_all)
