"""Effective resistances of a graph: how much an edge is needed, all ways round it considered.

An edge that is the only way between its two ends has the resistance 1 / conductance; many other ways make it small.
Foster's theorem holds the sum: conductance times resistance, over all edges, is n - 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from topokit.errors import InputError
from topokit.matrix import FloatArray, IntArray
from topokit.metrics.resistance.circuit import DENSE_LIMIT as LARGEST_DENSE
from topokit.metrics.resistance.circuit import Circuit
from topokit.metrics.resistance.projection import local_bounds, project
from topokit.metrics.resistance.translations import translations

__all__ = ["Resistances", "circuit_resistances", "effective_resistances"]

DENSE_LIMIT = 600  # nodes up to which a dense inverse is as fast as a sparse factorisation
MAX_WORK = 2e10  # multiplications: half a minute at most

Method = Literal["tree", "Fourier", "dense", "factorization", "projection", "bounds"]


@dataclass(frozen=True, eq=False)
class Resistances:
    """Effective resistances of the edges of a graph, and how they were found.

    Attributes
    ----------
    nodes : int
        Number of nodes n.
    edges : ndarray of int64, shape (m, 2)
        The edges, nodes numbered 0 to n - 1.
    conductances : ndarray of float64, shape (m,)
    lower, upper : ndarray of float64, shape (m,)
        Bounds of the resistance of each edge; the same where values are exact up to rounding.
    values : ndarray of float64, shape (m,), or None
        Resistance of each edge, exact or estimated; None where there are only bounds.
    largest : float
        Largest resistance of an edge. Where values are not exact it is a proved lower bound: the resistance of an edge
        that was solved for, or what Foster's theorem says that some edge has, (n - 1) / (sum of the conductances).
    method : {"tree", "Fourier", "dense", "factorization", "projection", "bounds"}
        The first four are exact up to rounding: closed form, sum over Fourier modes, dense inverse, selected entries of
        the inverse after a sparse factorisation. Projections are estimates; bounds are those of the two ends alone.
    confidence : float or None
        Of estimates: probability, over the seed, with which all bounds hold at once. None where they are proved.
    kirchhoff : float or None
        Kirchhoff index, the sum of the resistances of all pairs of nodes, as exact as the values.
    kirchhoff_bounds : tuple of float, or None
        Its bounds, as sure as the others.
    pairs : ndarray of float64, shape (n, n), or None
        Resistances between all pairs of nodes, on request.
    """

    nodes: int
    edges: IntArray = field(repr=False)
    conductances: FloatArray = field(repr=False)
    lower: FloatArray = field(repr=False)
    upper: FloatArray = field(repr=False)
    values: FloatArray | None = field(repr=False)
    largest: float
    method: Method
    confidence: float | None = None
    kirchhoff: float | None = None
    kirchhoff_bounds: tuple[float, float] | None = None
    pairs: FloatArray | None = field(default=None, repr=False)

    @property
    def exact(self) -> bool:
        """Whether the values are exact up to rounding."""
        return self.method not in ("projection", "bounds")

    @property
    def largest_bounds(self) -> tuple[float, float]:
        """Bounds of the largest resistance of an edge; the lower one is proved in any case."""
        return self.largest, self.largest if self.exact else max(float(self.upper.max()), self.largest)

    @property
    def mean(self) -> float | None:
        """Mean resistance of the edges; by Foster's theorem where all conductances are equal."""
        if (self.conductances == self.conductances[0]).all():
            return float((self.nodes - 1) / (len(self.edges) * self.conductances[0]))
        return None if self.values is None else float(self.values.mean())

    @property
    def error(self) -> float:
        """Largest relative distance of a bound from its value (from the other bound, where there are no values)."""
        if self.exact:
            return 0.0
        if self.values is None:
            return float((self.upper / self.lower).max() - 1)
        return float(np.maximum(self.upper / self.values, self.values / self.lower).max() - 1)

    def sentence(self) -> str:
        """Say in words how far the figures can be trusted.

        Examples
        --------
        >>> effective_resistances(4, [(0, 1), (1, 2), (2, 3)]).sentence()
        'largest effective resistance of an edge 1, exact (tree)'
        """
        if self.exact:
            return f"largest effective resistance of an edge {self.largest:.6g}, exact ({self.method})"
        low, high = self.largest_bounds
        text = f"largest effective resistance of an edge from {low:.6g} to {high:.6g}"
        if self.confidence is None:
            return f"{text}, proved bounds: the graph is too large for more"
        return f"{text} (projection; the upper bound holds with a probability of {self.confidence:g})"


def effective_resistances(
    graph: Any,
    edges: ArrayLike | None = None,
    conductances: ArrayLike | None = None,
    *,
    weighted: bool = False,
    pairs: bool = False,
    method: Method | None = None,
    max_work: float = MAX_WORK,
    seed: int = 0,
) -> Resistances:
    """Compute the effective resistance of every edge: (e_u - e_v)^T L^+ (e_u - e_v), L weighted by conductances.

    Parameters
    ----------
    graph : networkx.Graph, sparse array of shape (n, n), or int
        A connected undirected graph, its adjacency matrix, or the number of nodes where edges follow.
    edges : array-like of int, shape (m, 2), optional
        Undirected edges, each once.
    conductances : array-like, shape (m,), optional
        Of the edges that are given so; positive, 1 by default.
    weighted : bool, default False
        Whether the attribute ``weight`` of the graph's edges, or the entries of the adjacency matrix, are conductances.
    pairs : bool, default False
        Whether to give the resistances between all pairs of nodes too, by a dense inverse.
    method : str, optional
        One of those of `Resistances`; by default the first of them that is exact and affordable, else projections.
    max_work : float, default 2e10
        Multiplications that a factorisation or projections may take; about half a minute.
    seed : int, default 0
        Of the projections.

    Returns
    -------
    Resistances
        It says how the values were found. Beyond what can be factorised within `max_work` they are estimates with
        their bounds; where not even these can be had, bounds.

    Raises
    ------
    InputError
        If arguments do not fit together, a conductance is not positive, the graph is too large for all pairs, or the
        method that is asked for does not serve this graph.
    GraphError
        If the graph is directed, not simple or not connected.
    ConvergenceError
        If the graph is too badly conditioned.

    Notes
    -----
    A factorisation gives the entries of the inverse that belong to edges at about its own cost, instead of one solve a
    node (Takahashi's equations). Whether it is affordable is estimated before, see `Circuit.factor_work`.

    References
    ----------
    .. [1] R. M. Foster, "The average impedance of an electrical network", 1949.
    .. [2] K. Takahashi, J. Fagan, M. Chen, "Formation of a sparse bus impedance matrix", 1973.
    .. [3] D. A. Spielman, N. Srivastava, "Graph sparsification by effective resistances", STOC 2008.

    Examples
    --------
    >>> found = effective_resistances(8, [(i, (i + 1) % 8) for i in range(8)])
    >>> found.method, round(found.largest, 12), round(found.kirchhoff, 9)
    ('Fourier', 0.875, 42.0)
    """
    if isinstance(graph, (int, np.integer)):
        if edges is None:
            raise InputError("a number of nodes needs edges with it")
        circuit = Circuit.of_edges(int(graph), edges, conductances)
    elif edges is not None or conductances is not None:
        raise InputError("edges and conductances go with a number of nodes; a graph has its own (weighted=True)")
    else:
        circuit = Circuit.of(graph, weighted=weighted)
    if method is not None and method not in get_args(Method):
        raise InputError(f"the method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if pairs:
        if circuit.nodes > LARGEST_DENSE or method not in (None, "dense"):
            raise InputError(
                f"resistances of all pairs take a dense inverse, up to {LARGEST_DENSE} nodes; leave pairs out for more"
            )
        return _dense(circuit, pairs=True)
    return circuit_resistances(circuit, method=method, max_work=max_work, seed=seed)


def circuit_resistances(
    circuit: Circuit, *, method: Method | None = None, max_work: float = MAX_WORK, seed: int = 0
) -> Resistances:
    """Compute the effective resistances of a circuit that has been checked; see `effective_resistances`.

    Examples
    --------
    >>> circuit_resistances(Circuit.of_edges(2, [(0, 1)], [4])).largest
    0.25
    """
    if method in (None, "tree") and circuit.is_tree:
        return _tree(circuit)
    if method in (None, "Fourier") and (invariant := translations(circuit)) is not None:
        symbol, of_edge = invariant
        kirchhoff = circuit.nodes * float((1 / symbol.eigenvalues[1:]).sum())
        return _exact(circuit, symbol.resistances[of_edge], "Fourier", kirchhoff)
    if method in ("tree", "Fourier"):
        raise InputError(f"the graph is not {'a tree' if method == 'tree' else 'invariant under translations'}")
    if method == "dense" or (method is None and circuit.nodes <= DENSE_LIMIT):
        return _dense(circuit)
    if method is None and circuit.dense_work <= min(circuit.factor_work, max_work):
        return _dense(circuit)
    if method == "factorization" or (method is None and circuit.factor_work <= max_work):
        return _factorized(circuit)
    estimate = None if method == "bounds" else project(circuit, max_work, seed)
    foster = (circuit.nodes - 1) / float(circuit.conductances.sum())
    parts = circuit.nodes, circuit.edges, circuit.conductances
    if estimate is None:
        lower, upper = local_bounds(circuit)
        return Resistances(*parts, lower, upper, None, max(foster, float(lower.max())), "bounds")
    index, low, high = estimate.kirchhoff
    return Resistances(
        *parts,
        estimate.lower,
        estimate.upper,
        estimate.values,
        max(foster, estimate.largest),
        "projection",
        estimate.confidence,
        index,
        (low, high),
    )


def _exact(
    circuit: Circuit, values: FloatArray, method: Method, kirchhoff: float, pairs: FloatArray | None = None
) -> Resistances:
    # No way round an edge makes its resistance larger: what exceeds this is rounding.
    kept = np.minimum(values, 1 / circuit.conductances)
    parts = circuit.nodes, circuit.edges, circuit.conductances
    bounds = (kirchhoff, kirchhoff)
    return Resistances(*parts, kept, kept, kept, float(kept.max()), method, None, kirchhoff, bounds, pairs)


def _tree(circuit: Circuit) -> Resistances:
    """Count how many pairs of nodes an edge separates: that many ways lead through it."""
    from scipy.sparse import csgraph

    order, before = csgraph.breadth_first_order(circuit.adjacency, 0, directed=False)
    size = [1] * circuit.nodes
    for node in order[:0:-1].tolist():
        size[before[node]] += size[node]
    u, v = circuit.edges.T
    below = np.array(size)[np.where(before[u] == v, u, v)].astype(np.float64)
    values = 1 / circuit.conductances
    return _exact(circuit, values, "tree", float((below * (circuit.nodes - below)) @ values))


def _dense(circuit: Circuit, *, pairs: bool = False) -> Resistances:
    grounded = np.linalg.inv(circuit.laplacian[1:, 1:].toarray())
    inverse = np.pad((grounded + grounded.T) / 2, ((1, 0), (1, 0)))
    diagonal = inverse.diagonal()
    u, v = circuit.edges.T
    values = diagonal[u] + diagonal[v] - 2 * inverse[u, v]
    kirchhoff = circuit.nodes * float(diagonal.sum()) - float(inverse.sum())
    between = diagonal[:, None] + diagonal - 2 * inverse if pairs else None
    return _exact(circuit, values, "dense", kirchhoff, between)


def _factorized(circuit: Circuit) -> Resistances:
    grounded = circuit.grounded
    u, v = circuit.edges.T
    diagonal, across = grounded.inverse_at(u, v)
    total = float(grounded.factors.solve(np.ones(circuit.nodes - 1)).sum())
    kirchhoff = circuit.nodes * float(diagonal.sum()) - total
    return _exact(circuit, diagonal[u] + diagonal[v] - 2 * across, "factorization", kirchhoff)
