"""What the solvers have in common: each is a generator of better and better weights with better and better bounds.

Whoever runs one stops it when the bounds are close, or time is up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from topokit.matrix import FloatArray
from topokit.optimal.certificate import Certificate

__all__ = ["UNUSED", "Iterate"]

UNUSED = 1e-6  # weights that solvers leave on edges that the optimum does not use


@dataclass(frozen=True)
class Iterate:
    """How far a solver has come.

    Attributes
    ----------
    weights : ndarray of float64, shape (m,)
        Within the limits of the problem.
    upper : float
        The SLEM of these weights is at most this.
    lower : float
        No weights within the limits have a smaller SLEM.
    certificate : callable
        ``certificate()`` gives the dual point behind `lower`; it may take a while, so that solvers do it on demand.
    """

    weights: FloatArray
    upper: float
    lower: float
    certificate: Callable[[], Certificate]
