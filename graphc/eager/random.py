"""The functions of :mod:`graphc.random`, drawn at once, afresh at each call: see :func:`graphc.eager.seed`."""

from __future__ import annotations

from graphc import random
from graphc.eager.wrapping import eagerly

__all__ = ["bernoulli", "normal", "uniform"]

bernoulli = eagerly(random.bernoulli)
normal = eagerly(random.normal)
uniform = eagerly(random.uniform)
