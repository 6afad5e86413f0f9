"""Rounds that use every allowed edge once: what is left where a search on a sparse graph finds nothing that mixes."""

from __future__ import annotations

from fractions import Fraction

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from topokit.edge_colouring import decompose
from topokit.matrix import MixingMatrix

__all__ = ["colour_rounds"]


def colour_rounds(allowed: NDArray[np.bool_], degree: int, period: int | None) -> tuple[MixingMatrix, ...] | None:
    """Give the matchings of an edge colouring, `degree` of them in a round, with weights 1/(degree + 1).

    Parameters
    ----------
    allowed : ndarray of bool, shape (n, n)
        Connected.
    degree : int
        Most peers of a node in a round.
    period : int or None
        Number of rounds, the same ones again where there are more; None for as many as it takes.

    Returns
    -------
    tuple of MixingMatrix or None
        None where the period is too short.

    Examples
    --------
    >>> path = np.eye(4, k=1, dtype=bool) | np.eye(4, k=-1, dtype=bool)
    >>> [W.messages for W in colour_rounds(path, 1, None)]
    [4, 2]
    """
    matchings = decompose(nx.from_numpy_array(allowed))
    groups = [np.concatenate(matchings[k : k + degree]) for k in range(0, len(matchings), degree)]
    if period is not None and period < len(groups):
        return None
    rounds = [_round(len(allowed), edges, Fraction(1, degree + 1)) for edges in groups]
    return tuple(rounds[k % len(rounds)] for k in range(period or len(rounds)))


def _round(nodes: int, edges: NDArray[np.int64], weight: Fraction) -> MixingMatrix:
    own = np.arange(nodes)
    peers = np.bincount(edges.ravel(), minlength=nodes)
    target = np.concatenate((edges[:, 0], edges[:, 1], own))
    source = np.concatenate((edges[:, 1], edges[:, 0], own))
    weights = [weight] * (2 * len(edges)) + [1 - int(k) * weight for k in peers]
    return MixingMatrix.from_fractions(nodes, target.tolist(), source.tolist(), weights)
