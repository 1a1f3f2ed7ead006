"""Random tensors: drawn afresh at every training step, reproducible from the session's seed.

What a node draws depends on the session's seed, its place in the program and the number of training steps taken,
so a run is repeated exactly by repeating these, with any number of workers. Evaluation does not advance the steps: two
runs that update no variable draw the same numbers. Ask one run for as many samples as are needed. Inside a loop each
iteration draws its own. Samples are differentiable in the parameters of their distribution that shift and scale it
(``mean``, ``stddev``, ``loc``, ``scale``; ``low`` and ``high`` of ``uniform``), as they are written as a function of
parameter-free noise.

No distribution here needs a loop of trial and rejection, which a static graph cannot have; so there is no gamma, beta
or Poisson distribution.
"""

from typing import TYPE_CHECKING, Any

from graphc.ir import callers
from graphc.random.continuous import exponential, gumbel, laplace, normal, truncated_normal, uniform
from graphc.random.discrete import bernoulli, categorical, choice, permutation, randint

__all__ = [
    "bernoulli", "categorical", "choice", "exponential", "gumbel", "laplace", "normal", "permutation", "randint",
    "truncated_normal", "uniform",
]  # fmt: skip

callers.know({name: globals()[name] for name in __all__}, heads=["random"])


if not TYPE_CHECKING:  # type checkers would take it for granted that every name is there

    def __getattr__(name: str) -> Any:
        from graphc.foreign import missing

        raise missing(__name__, name)


def __dir__() -> list[str]:
    return list(__all__)
