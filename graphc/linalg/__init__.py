"""Linear algebra: what :mod:`graphc.ops.linalg` holds, under the name that the array API standard gives it."""

from graphc.ops.linalg import *  # noqa: F403
from graphc.ops.linalg import __all__  # noqa: F401
