"""Asynchronous gossip on any graph: its edges average at random times (AD-PSGD, A²CiD²)."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, log10

from topokit.draws import check_seed
from topokit.errors import InputError
from topokit.kinds import Pairwise
from topokit.kinds.samplers import decimal
from topokit.matrix import Graph
from topokit.registry import TOPOLOGIES, Promise, topology
from topokit.topologies.underlying import graph_obstacle, underlying_graph

__all__ = ["pairwise_topology"]

DECIMALS = 6  # of optimal rates
TOLERANCE = 1e-8  # relative, on the connectivity; nearer to it, rounding errors grow where several rates are optimal


def _rate(rate: float | str) -> Fraction:
    try:
        value = decimal(rate)
    except ValueError:
        value = Fraction(0)
    if value <= 0:
        raise InputError(f"rate must be a positive number, the averagings of a node for each gradient, got {rate!r}")
    return value


def _no_pairwise(
    nodes: int, graph: str | Graph = "ring", rate: float = 1.0, rates: str | None = None, seed: int = 0
) -> str | None:
    check_seed(seed)
    _rate(rate)
    if rates not in (None, "degrees", "optimal", "optimal-mean"):
        raise InputError(f"rates are degrees, optimal or optimal-mean, got {rates!r}")
    return graph_obstacle(nodes, graph)


def _promise(
    nodes: int, graph: str | Graph = "ring", rate: float = 1.0, rates: str | None = None, seed: int = 0
) -> Promise:
    del nodes, graph, rate, rates, seed
    return Promise(degree=1, period=None)


@topology(
    "pairwise",
    "random",
    summary="asynchronous: the edges of a graph fire at random times, and their two nodes average",
    source="Boyd, Ghosh, Prabhakar, Shah 2006; Lian, Zhang, Zhang, Liu 2018 (arXiv 1710.06952)",
    obstacle=_no_pairwise,
    weights=None,
    sizes="as its graph",
    degree="1",
    period="random",
    promise=_promise,
    ranked=False,
    takes_graph=True,
)
def pairwise_topology(
    nodes: int, graph: str | Graph = "ring", rate: float = 1.0, rates: str | None = None, seed: int = 0
) -> Pairwise:
    """Let every edge {i, j} of a graph average as a Poisson process, by default of rate (rate/2) (1/d_i + 1/d_j).

    Parameters
    ----------
    nodes : int
        Number of nodes, as many as the graph has.
    graph : str or networkx.Graph, default "ring"
        Connected, undirected, nodes numbered 0 to n - 1; or the name of an undirected static topology.
    rate : float, default 1.0
        Expected averagings of a node for each of its gradients (the unit of time): of every node where all degrees are
        equal, else in the mean over the nodes. 0.1 is taken as 1/10.
    rates : {"degrees", "optimal", "optimal-mean"}, optional
        "optimal" takes the rates with the smallest chi_1 among those with which no node averages more often than
        `rate` (`topokit.optimal.rates.optimal_rates`); "optimal-mean" among those with which the nodes do so in the
        mean (`topokit.optimal.connectivity.fastest_mixing_process`). They are rounded to six decimals of the largest
        one, by which the limit may be exceeded, and edges that bring nothing never fire.
    seed : int, default 0
        Decides which edge fires in each event, and the graph itself where it is drawn at random.

    Returns
    -------
    Pairwise
        The rates by degrees are exact fractions; they sum to n rate / 2.

    Raises
    ------
    InputError
        If the rate or the seed is out of range, there are no such rates, or the name is not that of an undirected
        static topology.
    GraphError
        If the graph has another number of nodes, or is directed, not connected or not simple.

    Notes
    -----
    `topokit.metrics.acid.acid_constants` computes what A²CiD² makes of it. Not all graphs give every node the same
    rate: the centre of a star takes part in every averaging.

    References
    ----------
    .. [1] S. Boyd, A. Ghosh, B. Prabhakar, D. Shah, "Randomized gossip algorithms", IEEE Transactions on Information
       Theory 52(6), 2006.
    .. [2] X. Lian, W. Zhang, C. Zhang, J. Liu, "Asynchronous Decentralized Parallel Stochastic Gradient Descent", ICML
       2018.
    .. [3] A. Nabli, E. Belilovsky, E. Oyallon, "A²CiD²: Accelerating Asynchronous Communication in Decentralized Deep
       Learning", NeurIPS 2023 (arXiv 2306.08289).

    Examples
    --------
    >>> kind = pairwise_topology(4, graph="path", rate=0.5)
    >>> kind.edges.tolist(), [str(rate) for rate in kind.rates]
    ([[0, 1], [1, 2], [2, 3]], ['3/8', '1/4', '3/8'])

    Those with which no node averages more often than once for each gradient, and in the mean:

    >>> pairwise_topology(4, graph="path", rates="optimal").rates
    (0.5, 0.5, 0.5)
    >>> pairwise_topology(4, graph="path", rates="optimal-mean").rates
    (0.6, 0.8, 0.6)
    """
    TOPOLOGIES["pairwise"].require(nodes, graph=graph, rate=rate, rates=rates, seed=seed)
    underlying = underlying_graph(nodes, graph, seed, "pairwise")
    if rates in ("optimal", "optimal-mean"):
        return _optimal(underlying, _rate(rate), each=rates == "optimal", seed=seed)
    edges = sorted((min(edge), max(edge)) for edge in underlying.edges)
    half, degree = _rate(rate) / 2, dict(underlying.degree)
    by_degrees = [half * (Fraction(1, degree[u]) + Fraction(1, degree[v])) for u, v in edges]
    return Pairwise(nodes, edges, by_degrees, seed)


def _optimal(graph: Graph, rate: Fraction, *, each: bool, seed: int) -> Pairwise:
    from topokit.optimal.connectivity import connectivity_remark, fastest_mixing_process
    from topokit.optimal.rates import optimal_rates

    if each:
        found = optimal_rates(graph, limit=float(rate), tolerance=TOLERANCE)
    else:
        found = fastest_mixing_process(graph, budget=float(rate * len(graph) / 2), tolerance=TOLERANCE)
    # The last digits differ from machine to machine.
    rounded = found.weights.round(DECIMALS - ceil(log10(found.weights.max())))
    used = rounded > 0
    kind = Pairwise(len(graph), found.edges[used].tolist(), rounded[used].tolist(), seed)
    kind.remarks = connectivity_remark(found.mu2, found.bound)
    return kind
