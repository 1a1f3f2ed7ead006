"""Profiles: where a step's time goes, kernel by kernel and line by line, beside what the machine could do.

``session.run(..., profile=True)`` runs a step whose call table holds stamps of the clock
(:mod:`graphc.runtime.timing`); ``costs`` counts what each kernel must do at least, ``limits`` measures what the machine
can do, ``report`` puts the three together in a :class:`Profile`.
"""

from graphc.profile.limits import Limits
from graphc.profile.report import KernelProfile, Profile, median

__all__ = ["KernelProfile", "Limits", "Profile", "median"]
