"""The ends of a graph's Laplacian spectrum: algebraic connectivity and largest eigenvalue, between bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import networkx as nx
import numpy as np
from scipy import sparse

from topokit.errors import InputError
from topokit.matrix import Graph
from topokit.spectral import limits
from topokit.spectral.closed_forms import closed_ends
from topokit.spectral.ends import laplacian_ends
from topokit.spectral.groups import group_shape, group_symbol
from topokit.spectral.lanczos import EPS, Interval
from topokit.spectral.sparse_forms import Weighted, as_csr, asymmetry, components

__all__ = ["LaplacianBounds", "fiedler_value", "laplacian_bounds", "laplacian_extremes"]

AnyGraph: TypeAlias = "Graph | sparse.sparray | sparse.spmatrix"


@dataclass(frozen=True)
class LaplacianBounds:
    """Where the ends of a Laplacian's spectrum lie.

    Attributes
    ----------
    fiedler, largest : Interval
        Bounds on mu_2 and mu_n.
    failure : float
        Probability, over the random start of an iteration, that a bound is wrong; 0 where all are proved.
    method : {"Fourier", "closed form", "dense", "Lanczos", "inertia", "components"}
    """

    fiedler: Interval
    largest: Interval
    failure: float
    method: str


def laplacian_bounds(
    graph: AnyGraph,
    *,
    tolerance: float = limits.TOLERANCE,
    failure: float = limits.FAILURE,
    seed: int = 0,
    max_seconds: float = limits.MAX_SECONDS,
) -> LaplacianBounds:
    """Bound the second smallest and the largest eigenvalue of the unweighted graph Laplacian.

    Parameters
    ----------
    graph : networkx.Graph or sparse array, shape (n, n)
        Undirected graph of at least 2 nodes, or the pattern of its adjacency matrix. Edge attributes, values and
        self-loops are ignored.
    tolerance : float, default 1e-3
        How wide the bounds may be, relative to each eigenvalue. They are narrower where that costs little, and wider
        where `max_seconds` are over.
    failure : float, default 1e-6
        Probability with which bounds from a random start may be wrong.
    seed : int, default 0
        Of the random start.
    max_seconds : float, default 60
        Seconds after which an iteration stops.

    Raises
    ------
    InputError
        If the graph is directed or has fewer than 2 nodes.

    Examples
    --------
    >>> found = laplacian_bounds(nx.path_graph(5000))
    >>> found.method, f"{found.fiedler.lower:.6g}"
    ('closed form', '3.94784e-07')
    """
    found = Weighted.of(_adjacency(graph))
    if components(found.weights) == 1 and (known := _known(found)) is not None:
        return known
    if found.nodes <= limits.DENSE_LIMIT:
        return _dense(found)

    def needs(low: Interval, high: Interval, width: float) -> tuple[bool, bool]:
        floor = 8 * EPS * found.largest()
        return low.width > max(width * low.lower, floor), high.width > max(width * high.lower, floor)

    ends = laplacian_ends(found, needs, tolerance=tolerance, failure=failure, seed=seed, max_seconds=max_seconds)
    return LaplacianBounds(ends.low, ends.high, ends.failure_low + ends.failure_high, ends.method)


def laplacian_extremes(graph: AnyGraph) -> tuple[float, float]:
    """Second smallest and largest eigenvalue (mu_2, mu_n) of the unweighted graph Laplacian; see `laplacian_bounds`.

    Parameters
    ----------
    graph : networkx.Graph or sparse array, shape (n, n)
        Undirected graph of at least 2 nodes, or the pattern of its adjacency matrix. Edge attributes, values and
        self-loops are ignored.

    Raises
    ------
    InputError
        If the graph is directed or has fewer than 2 nodes.

    Examples
    --------
    >>> low, high = laplacian_extremes(nx.star_graph(4))
    >>> round(low, 12), round(high, 12)
    (1.0, 5.0)
    """
    found = laplacian_bounds(graph)
    # Rayleigh quotients bound mu_2 from above and mu_n from below, and are nearer to them than the other sides.
    if found.method in ("Lanczos", "inertia", "components"):
        return found.fiedler.upper, max(found.largest.lower, found.fiedler.upper)
    low, high = ((end.lower + end.upper) / 2 for end in (found.fiedler, found.largest))
    return max(low, 0.0), max(high, low)


def fiedler_value(graph: AnyGraph) -> float:
    """Algebraic connectivity mu_2 of the unweighted graph, 0 if it is disconnected; see `laplacian_bounds`.

    Examples
    --------
    >>> round(fiedler_value(nx.cycle_graph(4)), 12)
    2.0
    """
    return laplacian_extremes(graph)[0]


def _known(graph: Weighted) -> LaplacianBounds | None:
    """Use a closed form or a Fourier transform, where there is one."""
    ends = closed_ends(graph)
    if ends is not None:
        return LaplacianBounds(*ends, 0.0, "closed form")
    shape = group_shape(graph.weights)
    if shape is None:
        return None
    symbol = graph.degree[0] - group_symbol(graph.weights, shape).real.ravel()[1:]
    error = 8 * EPS * (1 + np.log2(graph.nodes)) * float(graph.degree[0])
    low, high = (Interval(value - error, value + error) for value in (float(symbol.min()), float(symbol.max())))
    return LaplacianBounds(low, high, 0.0, "Fourier")


def _dense(graph: Weighted) -> LaplacianBounds:
    values = np.linalg.eigvalsh(graph.laplacian().toarray())
    error = graph.nodes * EPS * max(float(values[-1]), 1.0)
    low, high = (Interval(float(value) - error, float(value) + error) for value in (values[1], values[-1]))
    return LaplacianBounds(low, high, 0.0, "dense")


def _adjacency(graph: AnyGraph) -> sparse.csr_array:
    """Give the adjacency matrix of ones."""
    if isinstance(graph, nx.Graph):
        if graph.is_directed():
            raise InputError("the Laplacian is defined for undirected graphs, this one is directed")
        number = {node: i for i, node in enumerate(graph.nodes)}
        shape: Any = (len(number), len(number))
        pairs = np.array([(number[u], number[v]) for u, v in graph.edges()], dtype=np.int64).reshape(-1, 2)
        rows, cols = np.concatenate((pairs, pairs[:, ::-1])).T
    else:
        entries: Any = graph
        coo = sparse.coo_array(entries)
        shape, (rows, cols) = coo.shape, coo.coords
        rows, cols = rows[coo.data != 0], cols[coo.data != 0]
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        raise InputError(f"the Laplacian needs a graph of at least 2 nodes, got an adjacency matrix of shape {shape}")
    off = rows != cols
    A = as_csr(sparse.csr_array((np.ones(int(off.sum())), (rows[off], cols[off])), shape=shape))
    A.data[:] = 1  # entries given twice have been added up
    if asymmetry(A) != (0, 0):
        raise InputError("the Laplacian is defined for undirected graphs, this adjacency matrix is not symmetric")
    return A
