"""Exactness in floating point: errors that vanish at one stroke, told apart from errors that only fade away."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

__all__ = ["TOLERANCE", "arrival"]

TOLERANCE = 1e-9  # far above rounding errors, far below any mistake worth the name
STROKE = 1000  # tolerances: what shrinks errors by less in one round converges, and is not exact


def arrival(errors: Iterable[float]) -> int | None:
    """Find the round in which an error falls from far above the tolerance to below it.

    Parameters
    ----------
    errors : iterable of float
        Relative errors after 1, 2, ... rounds. No more are taken than needed.

    Returns
    -------
    int or None
        Number of rounds; None where no error is small, or the first that is follows one that nearly was.

    Examples
    --------
    >>> arrival([1.0, 0.5, 1e-17]), arrival(0.5**t for t in range(99)), arrival([1.0, 0.1])
    (3, None, None)
    """
    before = inf
    for count, error in enumerate(errors, start=1):
        if error <= TOLERANCE:
            return count if before >= STROKE * TOLERANCE else None
        before = error
    return None
