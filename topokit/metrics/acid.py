"""A²CiD²: the constants of a graph whose edges average at random times, and the parameters they lead to.

Every edge e fires as a Poisson process of rate lambda_e; the unit of time is that of one gradient. Two numbers describe
how well that connects the nodes: chi1 says how slowly the slowest direction averages, chi2 how much an edge is needed.
Plain averaging takes time proportional to chi1, A²CiD² to sqrt(chi1 chi2), where chi2 <= chi1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from topokit.errors import InputError
from topokit.kinds import Cyclic, Kind, Matchings, Pairwise, Sampled
from topokit.kinds.base import number
from topokit.matrix import FloatArray, Graph, IntArray, MixingMatrix
from topokit.metrics.resistance.circuit import Circuit
from topokit.metrics.resistance.connectivity import algebraic_connectivity
from topokit.metrics.resistance.effective import MAX_WORK, circuit_resistances

if TYPE_CHECKING:
    from topokit.schedule import Schedule

__all__ = ["AcidConstants", "acid_constants", "acid_constants_of", "natural_rates"]


@dataclass(frozen=True)
class AcidConstants:
    """Constants of a graph with rates, and the parameters of A²CiD² on it.

    Attributes
    ----------
    chi1 : float
        1 / mu_2 of the Laplacian of the rates.
    chi2 : float
        Half the largest effective resistance of an edge, the rates being conductances. Where only bounds of it are
        known it is the upper one: what is promised for A²CiD² holds with any number that is not too small.
    eta : float
        Rate at which the two values of a node mix with each other: 1 / (2 sqrt(chi1 chi2)).
    alpha, alpha_tilde : float
        How far an averaging moves the value of a node, 1/2, and its other value, sqrt(chi1 / chi2) / 2.
    chi2_bounds : tuple of float
        Between which chi2 lies; twice the same number where it is exact up to rounding.
    method : str
        How the resistances were found, see `topokit.metrics.resistance.Resistances`.
    confidence : float or None
        Probability with which the upper bound of chi2 holds, where it comes from an estimate.
    chi1_bounds : tuple of float, or None
        Between which chi1 lies, but for a probability of one in a million.
    """

    chi1: float
    chi2: float
    eta: float
    alpha: float
    alpha_tilde: float
    chi2_bounds: tuple[float, float]
    method: str
    confidence: float | None = None
    chi1_bounds: tuple[float, float] | None = None

    @property
    def exact(self) -> bool:
        """Whether chi2 is exact up to rounding."""
        return self.chi2_bounds[0] == self.chi2_bounds[1]

    @property
    def acceleration(self) -> float:
        """By what factor A²CiD² is promised to be faster than plain averaging: sqrt(chi1 / chi2)."""
        return sqrt(self.chi1 / self.chi2)

    def sentence(self) -> str:
        """Say it in one sentence.

        Examples
        --------
        >>> acid_constants(3, [(0, 1), (1, 2)], [1, 1]).sentence()
        'chi1 1, chi2 0.5: eta 0.707107, alpha 1/2, alpha~ 0.707107; promised to be 1.414 times faster than averaging'
        """
        text = f"chi1 {self.chi1:.6g}, chi2 {self.chi2:.6g}"
        if not self.exact:
            sure = "proved" if self.confidence is None else f"with a probability of {self.confidence:g}"
            text += f" (at most, {sure}; at least {self.chi2_bounds[0]:.6g})"
        return (
            f"{text}: eta {self.eta:.6g}, alpha 1/2, alpha~ {self.alpha_tilde:.6g}; "
            f"promised to be {self.acceleration:.4g} times faster than averaging"
        )


def acid_constants(
    nodes: int, edges: ArrayLike, rates: ArrayLike, *, max_work: float = MAX_WORK, seed: int = 0
) -> AcidConstants:
    """Compute chi1 and chi2 of a graph with rates, and the parameters of A²CiD².

    Parameters
    ----------
    nodes : int
        Number of nodes n, at least 2.
    edges : array-like of int, shape (m, 2)
        Undirected edges, each once.
    rates : array-like, shape (m,)
        Expected averagings of each edge in one unit of time; positive numbers, or fractions.
    max_work : float, default 2e10
        Multiplications that a factorisation, or an estimate in its place, may take; about half a minute.
    seed : int, default 0
        Of an estimate.

    Returns
    -------
    AcidConstants

    Raises
    ------
    InputError
        If there are fewer than 2 nodes.
    ScheduleError
        If an edge is none, or a rate is not positive or missing.
    GraphError
        If the edges do not connect the nodes.
    ConvergenceError
        If the algebraic connectivity cannot be told to 1 % within some seconds.

    Notes
    -----
    Rings, tori and hypercubes with equal rates, numbered as topokit numbers them, take a sum over Fourier modes, for a
    million nodes a second or two; others up to some 600 nodes dense matrices, and larger ones a sparse factorisation.
    Where that is too much work, chi2 is estimated with bounds, which the result says.

    References
    ----------
    .. [1] A. Nabli, E. Belilovsky, E. Oyallon, "A²CiD²: Accelerating Asynchronous Communication in Decentralized Deep
       Learning", NeurIPS 2023 (arXiv 2306.08289).

    Examples
    --------
    A ring of 16 nodes that each average once in a unit of time:

    >>> ring = [(i, (i + 1) % 16) for i in range(16)]
    >>> constants = acid_constants(16, ring, [0.5] * 16)
    >>> round(constants.chi1, 4), round(constants.chi2, 4), round(constants.alpha_tilde, 4)
    (13.1371, 0.9375, 1.8717)
    """
    if nodes < 2:
        raise InputError(f"the constants of A²CiD² need at least 2 nodes, got {nodes}")
    pairs = np.asarray(edges).reshape(-1, 2)
    try:
        circuit = Circuit.of_edges(nodes, pairs, _floats(rates))
    except InputError:
        Pairwise(nodes, pairs.tolist(), list(np.asarray(rates)), seed=0)  # says it in terms of rates
        raise
    mu2 = algebraic_connectivity(circuit)
    chi1 = 1 / mu2.upper
    found = circuit_resistances(circuit, max_work=max_work, seed=seed)
    low, chi2 = (bound / 2 for bound in found.largest_bounds)
    chi2 = min(chi2, chi1)  # always so: the second may be a bound that is not sharp
    eta, alpha_tilde = 1 / (2 * sqrt(chi1 * chi2)), sqrt(chi1 / chi2) / 2
    return AcidConstants(
        chi1, chi2, eta, 0.5, alpha_tilde, (min(low, chi2), chi2), found.method, found.confidence, (chi1, 1 / mu2.lower)
    )


def acid_constants_of(
    source: Graph | MixingMatrix | Kind | Schedule, rate: float | None = None, *, max_work: float = MAX_WORK
) -> AcidConstants:
    """Compute the constants of A²CiD² of a graph, a mixing matrix or a schedule, with the rates that suit it.

    Parameters
    ----------
    source : networkx.Graph, MixingMatrix, Kind or Schedule
        See `natural_rates`.
    rate : float, optional
        Expected averagings of a node for each of its gradients, in the mean over the nodes: 1 by default.
    max_work : float, default 2e10
        As in `acid_constants`.

    Raises
    ------
    InputError, GraphError, ConvergenceError
        As `natural_rates` and `acid_constants`.

    Examples
    --------
    >>> import networkx as nx
    >>> round(acid_constants_of(nx.cycle_graph(16)).chi1, 4)
    13.1371

    The authors' exponential graph counts the opposite node twice, as the mixing matrix of the directed graph does:

    >>> from topokit.topologies import exponential_graph
    >>> from topokit.weights import uniform_weights
    >>> found = acid_constants_of(uniform_weights(exponential_graph(16)))
    >>> round(found.chi1, 4), round(found.chi2, 4)
    (2.0, 1.0097)
    """
    return acid_constants(*natural_rates(source, rate), max_work=max_work)


def natural_rates(
    source: Graph | MixingMatrix | Kind | Schedule, rate: float | None = None
) -> tuple[int, IntArray, FloatArray]:
    """Give nodes, edges and rates of the asynchronous gossip that is closest to a graph or a schedule.

    ==================  ==============================================================================================
    source              rate of the edge {i, j}
    ==================  ==============================================================================================
    graph               (rate / 2) (1 / d_i + 1 / d_j), as the topology ``pairwise`` has it
    pairwise schedule   its own
    MATCHA              proportional to the probability with which the edge is active
    other schedules     proportional to W_ij + W_ji, in the mean over the rounds (by their probabilities)
    ==================  ==============================================================================================

    Proportional means that the rates add up to n rate / 2: a node averages `rate` times a gradient, in the mean.

    Parameters
    ----------
    source : networkx.Graph, MixingMatrix, Kind or Schedule
        A graph must be connected and undirected; the rounds of a schedule doubly stochastic and not negative off the
        diagonal. They need not be symmetric: whoever sends or receives takes part in an averaging.
    rate : float, optional
        1 by default.

    Returns
    -------
    tuple
        Number of nodes, edges of shape (m, 2), and rates of shape (m,).

    Raises
    ------
    InputError
        If the rate is not positive, or given where the schedule has rates of its own; if nodes keep two states, sums of
        rows or columns differ from 1, weights are negative, or the rounds are drawn from too many to list.
    GraphError
        If the graph is directed, not simple or not connected.

    Examples
    --------
    >>> import networkx as nx
    >>> nodes, edges, rates = natural_rates(nx.path_graph(3))
    >>> edges.tolist(), rates.tolist()
    ([[0, 1], [1, 2]], [0.75, 0.75])
    """
    if rate is not None and not 0 < rate < np.inf:
        raise InputError(f"rate must be a positive number, the averagings of a node for each gradient, got {rate!r}")
    if isinstance(source, nx.Graph):
        circuit = Circuit.of(source)
        near = 1 / circuit.degrees[circuit.edges].T
        return circuit.nodes, circuit.edges, (rate or 1.0) / 2 * near.sum(axis=0)
    kind = Cyclic([source]) if isinstance(source, MixingMatrix) else getattr(source, "rule", source)
    if isinstance(kind, Pairwise):
        if rate is not None:
            raise InputError("a pairwise schedule has rates of its own; leave the rate out")
        return kind.nodes, kind.edges, _floats(kind.rates)
    if not isinstance(kind, Kind) or kind.copies > 1 or kind.mixing != "doubly-stochastic":
        raise InputError("the constants of A²CiD² need a graph, or rounds that average one value a node")
    edges, weights = _talk(kind)
    return kind.nodes, edges, weights * (kind.nodes * (rate or 1.0) / 2 / weights.sum())


def _talk(kind: Kind) -> tuple[IntArray, FloatArray]:
    """Give the edges of a schedule and how much they are used."""
    if isinstance(kind, Matchings):
        chances = np.array([float(p) for p in kind.probabilities])
        used, edges = np.repeat(chances, [len(pairs) for pairs in kind.matchings]), np.concatenate(kind.matchings)
        matrix = sparse.coo_array((used, tuple(edges.T)), shape=(kind.nodes, kind.nodes)).tocsr()
    elif isinstance(kind, (Cyclic, Sampled)):
        shares = [1.0] * len(kind.rounds) if isinstance(kind, Cyclic) else [float(p) for p in kind.probabilities]
        matrix = sparse.csr_array((kind.nodes, kind.nodes))
        for share, W in zip(shares, kind.rounds, strict=True):
            matrix = matrix + share * W.to_csr()
    else:
        raise InputError(f"a {kind.name} schedule draws its rounds from too many to list; take its graph instead")
    both = sparse.coo_array(sparse.triu(matrix + matrix.T, 1))
    both.eliminate_zeros()
    if (both.data < 0).any():
        raise InputError("an edge has a negative weight, but the rate of an averaging is positive")
    return np.stack(both.coords, axis=1).astype(np.int64), np.asarray(both.data, dtype=np.float64)


def _floats(rates: Any) -> FloatArray:
    try:
        return np.asarray(rates, dtype=np.float64).ravel()
    except (TypeError, ValueError):
        return np.array([float(number(rate, f"rates[{k}]")) for k, rate in enumerate(rates)])
