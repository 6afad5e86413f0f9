"""Weights for a given network: the least seconds until the nodes agree, not the fewest rounds.

Errors shrink by a factor F in ln F / -ln(SLEM) rounds, and a round takes as long as what is busy longest: a host's
network card, a link, the switch. Edges through it cost time, and the fewer there are, the slower a round mixes. For
given edges the SLEM is a convex problem; which edges are worth their time is a combinatorial one, which is searched:

* Down: all edges, then fewer and fewer, always those of least weight out of what is busiest. At each limit on the
  seconds of a round that is met this way, edges that cost nothing more come back where the dual point says that they
  help.
* Around the best of these: an edge out and what helps most in, and the limit one level up or down.

(Starting from a spanning tree instead, and adding edges, was never better on 26 networks of 16 and 32 nodes.)

What no choice of edges can beat follows from the limit on a round, too: within it each node has so many edges at most,
and some edges cannot be used at all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from topokit.adjacency import GraphLike, adjacency_of_edges
from topokit.errors import GraphError, InputError
from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.network.cost import message_seconds, round_seconds
from topokit.network.model import Network
from topokit.network.quantities import parse_size
from topokit.optimal.certificate import Certificate
from topokit.optimal.certificate import width as width_of
from topokit.optimal.interior_point import interior_point
from topokit.optimal.problem import WeightProblem, weight_problem
from topokit.spectral import slem

__all__ = ["NetworkWeights", "network_weights"]

BoolArray: TypeAlias = NDArray[np.bool_]
Stopped: TypeAlias = Literal["end", "time", "interrupt"]
Report: TypeAlias = "Callable[[float, float], None] | None"

SEARCHED = 1e-3  # certificate width while searching
FINAL = 1e-6
UNUSED = 1e-6  # weights that an interior point leaves on edges that the optimum does not use
FALL = 0.9  # of the limit on a round's seconds, from one level to the next
ROUNDING = 1 + 1e-9
LEVELS = 5  # of a round's seconds above the best that are tried
STARTS = 4  # levels around which edges are exchanged
BOUNDED = 8  # sets of edges whose optimal SLEM is computed for the lower bound


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
        )


class _Loads:
    """What the messages of each edge, one each way, keep busy: the seconds of a round for any subset of the edges.

    Attributes
    ----------
    busy, delay : ndarray of float64, shape (things, m)
        Seconds that an edge takes of a network card, the fabric or the inside of a host, and the largest latency of
        its messages through it.
    alone : ndarray of float64, shape (m,)
        Seconds of a round of one edge.
    """

    def __init__(self, network: Network, edges: IntArray, size: float) -> None:
        source, target = (np.concatenate((edges[:, k], edges[:, 1 - k])) for k in (0, 1))
        bandwidth, latency = network.link(source, target)
        self.edges, self.nodes, self.overhead = edges, network.nodes, network.overhead
        self.host_of = network.host_of
        edge = np.tile(np.arange(len(edges)), 2)
        leaves, arrives = network.host_of[source], network.host_of[target]
        between, hosts = leaves != arrives, len(network.hosts)
        send, receive, both, inside = (
            np.array([getattr(host, what) for host in network.hosts]) for what in ("send", "receive", "both", "inside")
        )
        busy, delay = np.zeros((5 * hosts, len(edges))), np.zeros((5 * hosts, len(edges)))
        # A message takes from the cards at both of its ends where sending and receiving share one rate.
        for first, thing, rate, which in (
            (0, 0 * leaves, np.full(hosts, network.fabric), between),
            (1, leaves, send, between),
            (2, arrives, receive, between),
            (3, leaves, both, between),
            (3, arrives, both, between),
            (4, leaves, inside, ~between),
        ):
            limited = which & np.isfinite(rate[thing])
            place = first * hosts + thing[limited], edge[limited]
            np.add.at(busy, place, size / rate[thing[limited]])
            np.maximum.at(delay, place, latency[limited])
        used = busy.any(axis=1)
        self.busy, self.delay = busy[used], delay[used]
        links = np.maximum(*np.split(size / bandwidth + latency, 2))
        self.alone = np.maximum(links, (self.busy + self.delay).max(axis=0, initial=0.0)) + self.overhead

    def of_things(self, mask: BoolArray) -> FloatArray:
        """Give the seconds that each thing takes, overhead included."""
        waits = np.where(mask, self.delay, 0.0).max(axis=1, initial=0.0)
        return np.asarray(self.busy @ mask + waits + self.of_nodes(mask).max(), dtype=np.float64)

    def of_nodes(self, mask: BoolArray) -> FloatArray:
        """Give the seconds that each node is busy with its messages beyond the first."""
        degree = np.bincount(self.edges[mask].ravel(), minlength=self.nodes)
        return np.asarray(self.overhead * np.maximum(0.0, 2.0 * degree - 1), dtype=np.float64)

    def seconds(self, mask: BoolArray) -> float:
        """Give the seconds of a round."""
        extra = self.of_nodes(mask).max() - self.overhead
        return max(float((self.alone[mask] + extra).max(initial=0.0)), float(self.of_things(mask).max(initial=0.0)))

    def relief(self, mask: BoolArray, limit: float) -> FloatArray:
        """Count for each edge of the subset the things over the limit that would be less busy without it."""
        over = self.of_things(mask) > limit
        count = (self.busy[over] > 0).sum(axis=0) + (self.alone > limit)
        extra = self.of_nodes(mask)
        if extra.max() > 0:
            count = count + (extra == extra.max())[self.edges].sum(axis=1)
        return np.asarray(np.where(mask, count, 0), dtype=np.float64)


class _Support(NamedTuple):
    """Edges with their optimal weights."""

    mask: BoolArray
    weights: FloatArray  # of all edges, 0 outside
    slem: float
    lower: float
    gain: FloatArray  # by the dual point: what each edge outside promises
    round_seconds: float
    seconds: float


class _Search:
    """Sets of edges, their optimal weights, and the best found so far."""

    def __init__(self, problem: WeightProblem, loads: _Loads, factor: float, deadline: float, progress: Report) -> None:
        self.problem, self.loads, self.deadline, self.progress = problem, loads, deadline, progress
        self.log_factor = math.log(factor)
        self.best: _Support | None = None
        self.known: dict[bytes, _Support] = {}
        self.refuted: dict[bytes, float] = {}
        self.solved = 0
        self.begin = time.monotonic()

    def rounds(self, slem: float) -> float:
        """Give the rounds to shrink errors by the factor."""
        if slem >= 1:
            return math.inf
        return 1.0 if slem <= 0 else max(1.0, self.log_factor / -math.log(slem))

    def out_of_time(self) -> bool:
        """Say whether the search has to end."""
        return time.monotonic() > self.deadline

    def support(self, mask: BoolArray, width: float = SEARCHED) -> _Support:
        """Compute the optimal weights on edges, and what they take."""
        key = mask.tobytes()
        found = self.known.get(key)
        if found is None or width < SEARCHED:
            found = self._solved(mask, width, 0.0)
            assert found is not None
            self.known[key] = found
        self.offer(found)
        return found

    def offer(self, found: _Support) -> None:
        """Keep the best."""
        if self.best is None or found.seconds < self.best.seconds:
            self.best = found
            if self.progress is not None:
                self.progress(found.seconds, time.monotonic() - self.begin)

    def try_out(self, mask: BoolArray, seconds: float) -> _Support | None:
        """Compute the optimal weights on edges; give up once the dual point shows that they take longer."""
        key = mask.tobytes()
        found = self.known.get(key)
        if found is None:
            # The SLEM below which they do not.
            wanted = math.exp(-self.log_factor * self.loads.seconds(mask) / seconds)
            if wanted <= self.refuted.get(key, -1.0):
                return None
            found = self._solved(mask, SEARCHED, wanted)
            if found is None:
                self.refuted[key] = wanted
                return None
            self.known[key] = found
        self.offer(found)
        return found if found.seconds < seconds else None

    def _solved(self, mask: BoolArray, width: float, wanted: float) -> _Support | None:
        self.solved += 1
        part = replace(self.problem, edges=self.problem.edges[mask])
        for iterate in interior_point(part):
            if 0 < wanted <= iterate.lower:
                return None
            if width_of(iterate.upper, iterate.lower) <= width or self.out_of_time():
                break
        weights = np.zeros(mask.size)
        weights[mask] = iterate.weights
        gain = self._gain(iterate.certificate())
        choices = [self._costed(mask, weights, iterate.upper)]
        used = np.abs(weights) > UNUSED
        if not np.array_equal(used, mask):
            weights = np.where(used, weights, 0.0)
            choices.append(self._costed(used, weights, self._slem(weights)))
        seconds, round_seconds, mask, weights, reached = min(choices, key=lambda choice: choice[0])
        return _Support(mask, weights, reached, iterate.lower, gain, round_seconds, seconds)

    def _costed(self, mask: BoolArray, weights: FloatArray, reached: float) -> tuple[Any, ...]:
        round_seconds = self.loads.seconds(mask)
        return round_seconds * self.rounds(reached), round_seconds, mask, weights, reached

    def _slem(self, weights: FloatArray) -> float:
        W = np.eye(self.problem.nodes) - self.problem.laplacian(weights) - 1 / self.problem.nodes
        return float(np.abs(np.linalg.eigvalsh(W)).max())

    def _gain(self, certificate: Certificate) -> FloatArray:
        u, v = self.problem.edges.T
        left, right = certificate.left, certificate.right
        norm = float((np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=0)).sum()) or 1.0
        worth = ((left[u] - left[v]) * (right[u] - right[v])).sum(axis=1) / norm
        if not self.problem.nonnegative:
            return np.asarray(np.abs(worth), dtype=np.float64)
        return np.asarray(worth - certificate.prices[u] - certificate.prices[v], dtype=np.float64)

    def run(self) -> None:
        """Go down, and then around the best levels."""
        levels = sorted(self.down(), key=lambda found: found.seconds)
        for found in levels[:STARTS]:
            self.around(found)

    def down(self) -> list[_Support]:
        """Take out what is busiest, level by level; give what is found at each."""
        found = self.support(np.ones(len(self.problem.edges), dtype=np.bool_))
        levels, limit = [found], found.round_seconds
        while not self.out_of_time():
            limit = FALL * min(limit, found.round_seconds)
            mask = self.without(found.mask, np.abs(found.weights), limit)
            if mask is None:
                break
            found = self.filled(self.support(mask), limit)
            levels.append(found)
        return levels

    def around(self, found: _Support) -> None:
        """Exchange edges, and move the limit by one level, as long as that helps."""
        better: _Support | None = found
        while better is not None:
            found, better = better, None
            for limit, mask in self._neighbours(found):
                if self.out_of_time():
                    return
                better = self.try_out(mask, found.seconds)
                if better is not None:
                    better = min(better, self.filled(better, limit), key=lambda support: support.seconds)
                    break

    def _neighbours(self, of: _Support) -> Iterator[tuple[float, BoolArray]]:
        size, limit = np.abs(of.weights), of.round_seconds
        for fall in (1 - 1e-6, math.sqrt(FALL)):
            fewer = self.without(of.mask, size, limit * fall)
            if fewer is not None:
                yield self.loads.seconds(fewer), fewer
        outside = np.flatnonzero(~of.mask & (of.gain > 1e-9))
        higher = {round(self.loads.seconds(_changed(of.mask, e)) / limit, 6) for e in outside}
        for ratio in sorted(higher)[:LEVELS]:
            yield limit * ratio, self._with_gains(of.mask, of.gain, limit * ratio)
        for e in np.flatnonzero(of.mask)[np.argsort(size[of.mask], kind="stable")]:
            mask = _changed(of.mask, e)
            gain = np.where(np.arange(mask.size) == e, 0.0, of.gain)
            filled = self._with_gains(mask, gain, limit)
            lower = self.loads.seconds(mask) < limit
            if (lower or not np.array_equal(filled, mask)) and self.connected(filled):
                yield limit, filled

    def filled(self, found: _Support, limit: float, rounds: int = 5) -> _Support:
        """Add edges that help while there is room, and compute the weights again."""
        for _ in range(rounds):
            mask = self._with_gains(found.mask, found.gain, limit)
            if np.array_equal(mask, found.mask) or self.out_of_time():
                break
            more = self.support(mask)
            if more.slem >= found.slem * (1 - 1e-9):
                break
            found = more
        return found

    def _with_gains(self, mask: BoolArray, gain: FloatArray, limit: float) -> BoolArray:
        mask = mask.copy()
        outside = np.flatnonzero(~mask & (gain > 1e-9) & (self.loads.alone <= limit * ROUNDING))
        for e in outside[np.argsort(-gain[outside], kind="stable")]:
            mask[e] = True
            mask[e] = self.loads.seconds(mask) <= limit * ROUNDING
        return mask

    def without(self, mask: BoolArray, value: FloatArray, limit: float) -> BoolArray | None:
        """Take out edges of least value until a round keeps the limit; None if the graph would come apart."""
        mask = mask.copy()
        stuck = np.zeros_like(mask)
        while self.loads.seconds(mask) > limit * ROUNDING:
            relief = np.where(stuck, 0.0, self.loads.relief(mask, limit * ROUNDING))
            candidates = np.flatnonzero(relief)
            if not candidates.size:
                return None
            e = candidates[np.argmin(value[candidates] / relief[candidates])]
            mask[e] = False
            if not self.connected(mask):
                mask[e] = stuck[e] = True
        return mask

    def connected(self, mask: BoolArray) -> bool:
        """Say whether edges connect all nodes."""
        return _connected(self.problem.nodes, self.problem.edges[mask])

    def lower_bound(self) -> float:
        """Bound the seconds of any weights from below.

        Between two limits at which more becomes possible, a round takes at least the lower limit, and its SLEM is at
        least what the edges and degrees possible there allow.
        """
        assert self.best is not None
        limits, slems = _possible(self.problem, self.loads)
        every = self.known[np.ones(len(self.problem.edges), dtype=np.bool_).tobytes()]
        slems = np.maximum(slems, every.lower)
        usable = np.searchsorted(np.sort(self.loads.alone), limits * ROUNDING, side="right")
        refined = {len(self.problem.edges)}
        for _ in range(BOUNDED):
            rounds = np.array([self.rounds(reached) for reached in slems])
            bounds = np.where(np.isinf(rounds), np.inf, np.maximum(limits, 0) * np.where(np.isinf(rounds), 0, rounds))
            k = int(bounds.argmin())
            if int(usable[k]) in refined or bounds[k] >= self.best.seconds or self.out_of_time():
                break
            # The optimum over all edges that a round of this length can use at all.
            refined.add(int(usable[k]))
            mask = self.loads.alone <= limits[k] * ROUNDING
            least = self._solved(mask, SEARCHED, 0.0) if self.connected(mask) else None
            slems[: k + 1] = np.maximum(slems[: k + 1], 1.0 if least is None else least.lower)
        return min(self.best.seconds, float(bounds.min()) * (1 - 1e-9))


def _possible(problem: WeightProblem, loads: _Loads) -> tuple[FloatArray, FloatArray]:
    """Give limits on the seconds of a round, and the least SLEM that rounds up to the next limit can have.

    A row of W with d entries beside its own has a square sum of at least 1/(d + 1), whatever their signs, and the
    squares of W sum to at most 1 + (n - 1) SLEM^2. Of k nodes on a host, with C edges to others, the vector that is 1
    on them and 0 elsewhere shows that 1 - SLEM <= (weights of the C edges)/(k (1 - k/n)), and a weight is at most
    SLEM + 1/n.
    """
    n, (u, v) = problem.nodes, problem.edges.T
    of_node = [_thresholds(loads, np.flatnonzero((u == i) | (v == i)), own=True) for i in range(n)]
    host = loads.host_of
    out = [_thresholds(loads, np.flatnonzero((host[u] == h) != (host[v] == h))) for h in range(host.max() + 1)]
    inside = np.bincount(host[u][host[u] == host[v]], minlength=len(out))
    sizes = np.bincount(host)
    limits = np.unique(np.concatenate((loads.alone, *of_node, *out)))
    limits = limits[limits >= loads.alone.min()]
    degree = np.array([np.searchsorted(t, limits, side="right") for t in of_node])
    leaving = np.array([np.searchsorted(t, limits, side="right") for t in out])
    squares = np.zeros(limits.size)
    slems = np.zeros(limits.size)
    for h, k in enumerate(sizes):
        alone = (1 / (1.0 + degree[host == h])).sum(axis=0)
        together = k**2 / (k + 2.0 * inside[h] + leaving[h])
        squares += np.maximum(alone, together)
        if k < n:
            across = leaving[h] / (k * (1 - k / n))
            slems = np.maximum(slems, (1 - across / n) / (1 + across))
    slems = np.maximum(slems, np.sqrt(np.maximum(0.0, squares - 1) / (n - 1)))
    return limits, slems * (1 - 1e-12)


def _thresholds(loads: _Loads, edges: IntArray, own: bool = False) -> FloatArray:
    """Give the least seconds of a round that uses 1, 2, ... of some edges; all at one node, if it is their own."""
    count = np.arange(1, edges.size + 1)
    extra = loads.overhead * (2.0 * count - 1) if own else np.full(edges.size, loads.overhead)
    least = np.sort(loads.alone[edges])
    for busy in loads.busy[:, edges]:
        least = np.maximum(least, np.cumsum(np.sort(busy)) + extra)
    return np.maximum.accumulate(least)


def _changed(mask: BoolArray, e: Any) -> BoolArray:
    mask = mask.copy()
    mask[e] ^= True
    return mask


def _connected(nodes: int, edges: IntArray) -> bool:
    count, _ = connected_components(adjacency_of_edges(nodes, edges), directed=False)
    return bool(count == 1)


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
    all nodes may talk to each other, no other edges can be better on a uniform network of up to some hundred nodes.

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
    loads = _Loads(network, problem.edges, size)
    search = _Search(problem, loads, factor, deadline, progress)
    every = np.ones(len(problem.edges), dtype=np.bool_)
    stopped: Stopped = "end"
    try:
        search.run()
        assert search.best is not None
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
    metropolis = search._slem(1 / (1.0 + degree[problem.edges].max(axis=1)))
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
