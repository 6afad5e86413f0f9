"""Weights for a given network: the least seconds until the nodes agree, not the fewest rounds.

Errors shrink by a factor F in ln F / -ln(SLEM) rounds, and a round takes as long as what is busy longest: a host's
network card, a link, the switch. Edges through it cost time, and the fewer there are, the slower a round mixes. For
given edges the SLEM is a convex problem; which edges are worth their time is a combinatorial one, which is searched.

What no choice of edges can beat follows from the limit on a round, too: within it each node has so many edges at most,
and some edges cannot be used at all.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from topokit.adjacency import GraphLike, adjacency_of_edges
from topokit.errors import GraphError, InputError
from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.network.cost import message_seconds, round_seconds
from topokit.network.model import Network
from topokit.network.quantities import parse_size
from topokit.optimal.bandwidth_search import NetworkSearch, Report
from topokit.optimal.problem import WeightProblem, weight_problem
from topokit.optimal.round_loads import RoundLoads
from topokit.optimal.threads import few_threads
from topokit.spectral import slem

__all__ = ["NetworkWeights", "network_weights"]

Stopped: TypeAlias = Literal["end", "time", "interrupt"]

FINAL = 1e-6  # certificate width of what is found

STOPPED = {"time": "; the search was stopped when time was up", "interrupt": "; the search was interrupted"}


@dataclass(frozen=True)
class NetworkWeights:
    """Weights that agree fast on a network.

    Attributes
    ----------
    matrix : MixingMatrix
    edges : ndarray of int64, shape (k, 2)
        Those that are used.
    weights : ndarray of float64, shape (k,)
    slem : float
    round_seconds : float
    rounds : float
        ln(factor) / -ln(slem), at least 1; not rounded up.
    seconds : float
        Their product.
    lower : float
        No weights on any of the graph's edges need fewer seconds.
    optimal_seconds : float
        What the weights of the smallest SLEM take, which know nothing of the network.
    metropolis_seconds : float
        What Metropolis-Hastings weights on all edges take.
    solved : int
        Sets of edges whose optimal weights were computed.
    stopped : {"end", "time", "interrupt"}
    elapsed : float
        Seconds of the search.
    """

    matrix: MixingMatrix = field(repr=False)
    edges: IntArray = field(repr=False)
    weights: FloatArray = field(repr=False)
    slem: float
    round_seconds: float
    rounds: float
    seconds: float
    lower: float
    optimal_seconds: float
    metropolis_seconds: float
    solved: int
    stopped: Stopped
    elapsed: float

    def provenance(self) -> dict[str, Any]:
        """Give what a schedule file says about the weights."""
        return {
            "method": "network",
            "solved": self.solved,
            "stopped": self.stopped,
            "slem": self.slem,
            "seconds": self.seconds,
            "round_seconds": self.round_seconds,
            "seconds_at_least": self.lower,
            "seconds_of_the_smallest_slem": self.optimal_seconds,
            "seconds_of_metropolis_hastings": self.metropolis_seconds,
            "summary": self.sentence(),
        }

    def sentence(self) -> str:
        """Say it in one sentence."""
        edges = f"{len(self.edges)} edge{'s' if len(self.edges) > 1 else ''}"
        return (
            f"{self.seconds:.4g} s: {self.rounds:.4g} x {self.round_seconds:.4g} s on {edges}, SLEM {self.slem:.6g} "
            f"(at least {self.lower:.4g} s for any weights; {self.optimal_seconds:.4g} s with the smallest SLEM, "
            f"{self.metropolis_seconds:.4g} s with Metropolis-Hastings weights on all edges)"
            f"{STOPPED.get(self.stopped, '')}"
        )


def network_weights(
    graph: GraphLike | None,
    network: Network,
    message_bytes: str | float,
    *,
    objective: Literal["fmmc", "fdla"] = "fmmc",
    factor: float = 1000,
    time_limit: float | None = None,
    progress: Report = None,
) -> NetworkWeights:
    """Choose edges and weights such that errors shrink by a factor in the fewest seconds on a network.

    Parameters
    ----------
    graph : networkx.Graph, sparse array of shape (n, n), or None
        Connected, undirected, nodes 0 to n - 1: the edges that may be used. None for all pairs that have links.
    network : Network
        Node i of the graph runs as node i of it.
    message_bytes : str or float
        Size of one vector: "100MB", or bytes.
    objective : {"fmmc", "fdla"}
        Nonnegative weights, or weights of any sign.
    factor : float, default 1000
    time_limit : float, optional
        Seconds of the search. Ctrl-C ends it, too, with the best so far.
    progress : callable, optional
        Called with the seconds to consensus and the seconds of the search, whenever the former are fewer.

    Returns
    -------
    NetworkWeights
        Never slower than the weights of the smallest SLEM. Which edges are best is searched, not proved; `lower` says
        how much better others could be at most.

    Raises
    ------
    InputError
        If the network has another number of nodes or no link that an edge needs, or a number is out of range.
    GraphError
        If the graph is directed or not connected.

    Notes
    -----
    A round takes as long as `topokit.network.round_seconds` says. One round of a complete graph averages exactly: where
    all nodes may talk to each other, the search found nothing faster on uniform networks of 8, 16 and 24 nodes, and up
    to 16 `lower` proves that nothing is.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.

    Examples
    --------
    The hub of a wheel takes part in every exchange of the smallest SLEM, and a round waits for it; with one spoke left
    it takes more rounds, and less than half of the time:

    >>> import networkx as nx
    >>> found = network_weights(nx.wheel_graph(9), Network.uniform(9, "1Gbit/s"), "125MB")
    >>> len(found.edges), round(found.seconds, 1), round(found.optimal_seconds, 1)
    (9, 57.0, 129.0)
    """
    size = parse_size(message_bytes, "the size of a message")
    if not (math.isfinite(factor) and factor > 1):
        raise InputError(f"the factor by which errors shrink is a number above 1, got {factor}")
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"the time limit must be a positive number of seconds, got {time_limit}")
    begin = time.monotonic()
    problem = weight_problem(_all_pairs(network) if graph is None else graph, objective)
    _require_fitting(problem, network, size)
    deadline = math.inf if time_limit is None else begin + time_limit
    with few_threads(problem.nodes):
        return _searched(problem, network, size, factor, deadline, progress)


def _searched(
    problem: WeightProblem, network: Network, size: float, factor: float, deadline: float, progress: Report
) -> NetworkWeights:
    """Search, and compare with other weights what is found."""
    begin = time.monotonic()
    loads = RoundLoads(network, problem.edges, size)
    search = NetworkSearch(problem, loads, factor, deadline, progress)
    every = np.ones(len(problem.edges), dtype=np.bool_)
    stopped: Stopped = "end"
    try:
        search.run()
        if not problem.nonnegative:
            # The edges that suit nonnegative weights are a start, too: weights of any sign are never slower on them.
            other = NetworkSearch(_nonnegative(problem), loads, factor, deadline, None)
            other.run()
            if other.best is not None and not search.out_of_time():
                search.around(search.support(other.best.mask))
        assert search.best is not None
        if not search.out_of_time():
            search.support(search.best.mask, FINAL)
    except KeyboardInterrupt:
        if search.best is None:
            raise
        stopped = "interrupt"
        search.deadline = begin
    if stopped == "end" and search.out_of_time():
        stopped = "time"
    best = search.best
    assert best is not None
    W = problem.matrix(best.weights)
    reached, seconds = slem(W), round_seconds(W, network, size).seconds
    rounds = search.rounds(reached)
    degree = problem.degrees()
    metropolis = problem.dense_slem(1 / (1.0 + degree[problem.edges].max(axis=1)))
    return NetworkWeights(
        matrix=W,
        edges=problem.edges[best.mask],
        weights=best.weights[best.mask],
        slem=reached,
        round_seconds=seconds,
        rounds=rounds,
        seconds=seconds * rounds,
        lower=min(seconds * rounds, search.lower_bound()),
        optimal_seconds=search.known[every.tobytes()].seconds,
        metropolis_seconds=loads.seconds(every) * search.rounds(metropolis),
        solved=search.solved,
        stopped=stopped,
        elapsed=time.monotonic() - begin,
    )


def _nonnegative(problem: WeightProblem) -> WeightProblem:
    return replace(problem, nonnegative=True, self_weights="nonnegative")


def _all_pairs(network: Network) -> sparse.csr_array:
    u, v = np.triu_indices(network.nodes, 1)
    linked = ~(np.isnan(network.link(u, v)[0]) | np.isnan(network.link(v, u)[0]))
    return adjacency_of_edges(network.nodes, np.stack((u[linked], v[linked]), axis=1))


def _require_fitting(problem: WeightProblem, network: Network, size: float) -> None:
    if problem.directed:
        raise GraphError(
            "weights for a network are chosen for exchanges, and this graph is directed; make every edge an exchange: "
            "graph.to_undirected()"
        )
    if problem.nodes != network.nodes:
        raise InputError(
            f"the graph has {problem.nodes} nodes and the network {network.nodes}; expected the same number"
        )
    if problem.nodes == 1:
        raise InputError("one node has nothing to agree on; expected at least 2")
    u, v = problem.edges.T
    message_seconds(network, np.concatenate((u, v)), np.concatenate((v, u)), size)  # refuses edges without links
