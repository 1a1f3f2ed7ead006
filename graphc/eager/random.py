"""The functions of :mod:`graphc.random`, drawn at once: from the seed of :func:`graphc.eager.seed`, afresh at each call."""

from __future__ import annotations

from graphc import random
from graphc.eager.wrapping import eagerly

__all__ = ["bernoulli", "normal", "uniform"]

bernoulli = eagerly(random.bernoulli)
normal = eagerly(random.normal)
uniform = eagerly(random.uniform)
