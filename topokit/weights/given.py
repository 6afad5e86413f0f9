"""Weights that the user's graph carries on its edges, checked."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import networkx as nx
import numpy as np

from topokit.adjacency import GraphLike
from topokit.errors import GraphError
from topokit.matrix import INT64_MAX, MixingMatrix
from topokit.registry import weighting
from topokit.weights.messages import messages_of

__all__ = ["given_weights"]

FLOAT_TOLERANCE = 1e-9  # on row and column sums of given weights
DYADIC = 1 << 20  # given floats that are multiples of 1 / DYADIC are taken as exact


def _number(value: Any, source: int, target: int) -> Fraction | float:
    """Read one given weight: exactly where it is a fraction, an integer, or a short dyadic float."""
    try:
        if isinstance(value, str) and "/" in value:
            return Fraction(value)
        if isinstance(value, Fraction | int):
            return Fraction(value)
        number = float(value)
        return Fraction(number) if (number * DYADIC).is_integer() else number
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise GraphError(f"the weight of the edge {source} -> {target} is {value!r}, which is not a number") from None


@weighting(
    "given",
    summary="the weights that the graph's edges carry, checked",
    source="the user's graph",
)
def given_weights(graph: GraphLike, attribute: str = "weight") -> MixingMatrix:
    """Take the weights from an edge attribute and check that they are doubly stochastic.

    A self-loop carries the self weight. A node without one gets what is missing to a row sum of 1.

    Parameters
    ----------
    graph : networkx.Graph or networkx.DiGraph
        Connected, nodes 0 to n - 1. The weight of an edge u -> v is that of u's value in the next value of v.
    attribute : str, default "weight"
        Name of the attribute: numbers, or fractions as text (``"1/3"``).

    Returns
    -------
    MixingMatrix
        Exact if every weight is a fraction, an integer, or a float such as 0.25 that is exactly a short binary one.

    Raises
    ------
    GraphError
        If a weight is missing, not a number or not finite, a row or column does not sum to 1, or the graph is not
        connected, not simple or a sparse matrix, which `topokit.design_matrix` takes as it is.

    Examples
    --------
    >>> import networkx as nx
    >>> graph = nx.Graph([(0, 1, {"weight": "1/3"})])
    >>> print(*given_weights(graph).fractions())
    2/3 1/3 1/3 2/3
    """
    if not isinstance(graph, nx.Graph):
        raise GraphError(
            f"given weights are those that the edges of a networkx graph carry as {attribute!r}, this graph is a "
            "sparse array; topokit.design_matrix takes a sparse array of weights"
        )
    nodes = messages_of(graph, "given", directed=True, loops=True).nodes
    entries: dict[tuple[int, int], Fraction | float] = {}
    value: Any
    for u, v, value in graph.edges(data=attribute):
        if value is None:
            raise GraphError(f"the edge {u} -> {v} has no {attribute!r}; given weights need one on every edge")
        number = _number(value, u, v)
        if not np.isfinite(float(number)):
            raise GraphError(f"the weight of the edge {u} -> {v} is {value}; weights must be finite")
        entries[v, u] = number
        if not graph.is_directed():
            entries[u, v] = number
    exact = all(isinstance(w, Fraction) for w in entries.values())
    if not exact:
        entries = {key: float(w) for key, w in entries.items()}
    row_sums = _sums(nodes, entries, axis=0)
    for i in range(nodes):
        if (i, i) not in entries:
            missing = 1 - row_sums[i]
            entries[i, i] = missing if exact or abs(missing) > FLOAT_TOLERANCE else 0.0
    for axis, line in enumerate(("row", "column")):
        for i, total in enumerate(_sums(nodes, entries, axis)):
            if abs(float(total - 1)) > (0 if exact else FLOAT_TOLERANCE):
                whose = "what it receives" if axis == 0 else "what it sends"
                raise GraphError(
                    f"the {line} of node {i} ({whose}) sums to {total}; every row and column must sum to 1"
                )
    target, source = np.array([key for key, w in entries.items() if w != 0], dtype=np.int64).reshape(-1, 2).T
    weights = [w for w in entries.values() if w != 0]
    fractions = [w for w in weights if isinstance(w, Fraction)]
    if exact and all(max(abs(w.numerator), w.denominator) <= INT64_MAX for w in fractions):
        return MixingMatrix.from_fractions(nodes, target, source, fractions)
    return MixingMatrix.from_entries(nodes, target, source, [float(w) for w in weights])


def _sums(nodes: int, entries: dict[tuple[int, int], Fraction | float], axis: int) -> list[Fraction | float]:
    """Sum the entries of every row (axis 0) or column (axis 1)."""
    sums: list[Fraction | float] = [Fraction(0)] * nodes
    for key, w in entries.items():
        sums[key[axis]] += w
    return sums
