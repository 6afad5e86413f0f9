"""Algebraic connectivity of a graph with conductances: mu_2, the second smallest eigenvalue of its Laplacian."""

from __future__ import annotations

import numpy as np

from topokit.errors import ConvergenceError
from topokit.metrics.resistance.circuit import Circuit
from topokit.metrics.resistance.translations import translations
from topokit.spectral.ends import laplacian_ends
from topokit.spectral.lanczos import EPS, Interval
from topokit.spectral.sparse_forms import Weighted

__all__ = ["algebraic_connectivity"]

DENSE_LIMIT = 600  # nodes up to which dense eigenvalues cost a fraction of a second
TOLERANCE = 1e-4  # relative width of an interval, of which the side that is used is far nearer to the truth
WIDEST = 1e-2  # beyond which nothing is said
SECONDS = 20.0  # that an eigenvalue may take


def algebraic_connectivity(circuit: Circuit, *, max_seconds: float = SECONDS) -> Interval:
    """Bound mu_2 of the Laplacian weighted by the conductances.

    Parameters
    ----------
    circuit : Circuit
    max_seconds : float, default 20
        After which to give up.

    Returns
    -------
    Interval
        Its upper end is a Rayleigh quotient, and the best estimate; both ends are the same where mu_2 is known up to
        rounding (translations, up to 600 nodes).

    Raises
    ------
    ConvergenceError
        If the bounds are still more than 1 % apart when the time is over.

    Examples
    --------
    >>> path = Circuit.of_edges(3, [(0, 1), (1, 2)], [2, 2])
    >>> round(algebraic_connectivity(path).upper, 12)
    2.0
    """
    if (invariant := translations(circuit)) is not None:
        value = float(invariant[0].eigenvalues[1:].min())
        return Interval(value, value)
    if circuit.nodes <= DENSE_LIMIT:
        value = float(np.linalg.eigvalsh(circuit.laplacian.toarray())[1])
        return Interval(value, value)
    graph = Weighted.of(-circuit.laplacian)

    def needs(low: Interval, high: Interval, width: float) -> tuple[bool, bool]:
        del high
        return low.width > max(width * low.lower, 8 * EPS * graph.largest()), False

    low = laplacian_ends(graph, needs, tolerance=TOLERANCE, failure=1e-6, seed=0, max_seconds=max_seconds).low
    if low.lower <= 0 or low.width > WIDEST * low.upper:
        raise ConvergenceError(
            f"the algebraic connectivity of {circuit.nodes} nodes is only known to be from {max(low.lower, 0):.3g} to "
            f"{low.upper:.3g} after {max_seconds:g} seconds"
        )
    return low
