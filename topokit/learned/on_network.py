"""The graph on which nodes agree soonest on a network: few edges where messages are slow, as many as help elsewhere.

Errors shrink by a factor F in ln F / -ln(SLEM) rounds, and a round takes as long as what is busy longest. For a limit
on the seconds of a round, network cards carry so many messages, and some links are too slow: what remains is to find
the graph of the smallest SLEM within limits. That is done for several limits, and the product decides.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from topokit.errors import GraphError, InputError
from topokit.learned.graphs import LearnedGraph, learn
from topokit.learned.limits import BoolArray, Limits
from topokit.learned.restarts import Stopped
from topokit.learned.seconds import RoundClock
from topokit.matrix import IntArray
from topokit.network.cost import require_nodes
from topokit.network.model import Network
from topokit.network.quantities import parse_size
from topokit.optimal.progress import News, Tell
from topokit.optimal.weights import optimal_weights
from topokit.spectral import slem
from topokit.weights import laplacian_weights

__all__ = ["NetworkGraph", "learn_on_network"]

FACTOR = 1000
MESSAGES = (1, 2, 3, 4, 6, 8)  # that the slowest card may send in a round
OPTIMAL = 1000  # edges up to which weights are optimised
WIDTH = 1e-4
SEARCHES = 2  # for each limit, if no time limit says how many


@dataclass(frozen=True)
class NetworkGraph:
    """The graph that was found for a network.

    Attributes
    ----------
    graph : LearnedGraph
        Whose limits are those of the network, too.
    weights : {"fmmc", "laplacian"}
        The weighting that goes with it.
    slem : float
    round_seconds : float
    seconds : float
        To shrink every error 1000 times; rounds not rounded up.
    """

    graph: LearnedGraph = field(repr=False)
    weights: str
    slem: float
    round_seconds: float
    seconds: float

    def sentence(self) -> str:
        """Say it in a line."""
        return (
            f"{self.seconds:.4g} s to shrink errors {FACTOR} times: {self.seconds / self.round_seconds:.4g} rounds of "
            f"{self.round_seconds:.4g} s on {len(self.graph.edges)} edges, SLEM {self.slem:.6g} "
            f"({self.weights} weights)"
        )


def learn_on_network(
    network: Network,
    message_bytes: str | float,
    limits: Limits | None = None,
    *,
    seed: int = 0,
    time_limit: float | None = None,
    workers: int = 1,
    progress: Tell | None = None,
    on_better: Callable[[NetworkGraph], None] | None = None,
) -> NetworkGraph:
    """Search for the graph on which errors shrink 1000 times in the fewest seconds.

    Parameters
    ----------
    network : Network
        Node i of the graph runs as node i of it.
    message_bytes : str or float
        Size of one vector: "100MB", or bytes.
    limits : Limits, optional
        Further limits; pairs without links are never joined.
    seed, time_limit, workers, progress
        As in `topokit.learned.graphs`.
    on_better : callable, optional
        Called with every better graph.

    Returns
    -------
    NetworkGraph
        After Ctrl-C and time limits, the best so far.

    Raises
    ------
    InputError
        If the network has another number of nodes than the limits, or the size makes no sense.
    GraphError
        If no connected graph meets the limits.

    Notes
    -----
    One graph for all rounds. Sequences of rounds take less time on most networks: `topokit.learned.learn_sequence`.

    Examples
    --------
    Of four nodes, the last one has a slow card; still, one round of a complete graph is fastest:

    >>> from topokit.network.model import Host, Link
    >>> hosts = tuple(Host(f"h{i}", (i,), rate, rate) for i, rate in enumerate([1e9, 1e9, 1e9, 1e7]))
    >>> found = learn_on_network(Network(hosts, (Link(None, None, 1e9),)), 1e6)
    >>> int(found.graph.degree[3]), round(found.round_seconds, 3)
    (3, 0.3)
    """
    begin = time.monotonic()
    size = parse_size(message_bytes, "the size of a message")
    own = Limits(network.nodes) if limits is None else limits
    require_nodes(own.nodes, network)
    if own.host_of is not None and own.host_edges is not None and not np.array_equal(own.host_of, network.host_of):
        raise InputError("the limits put nodes on other hosts than the network: leave hosts and host_edges out")
    clock = RoundClock(network, size)
    levels = list(_levels(network, clock, size, own))
    if not levels:
        replace(own, allowed=own.pairs & clock.linked).require()
        raise GraphError("no connected graph meets the limits on any round: relax them")
    best: NetworkGraph | None = None
    stopped: Stopped = "end"
    for k, level in enumerate(levels):
        left = None if time_limit is None else (begin + time_limit - time.monotonic()) / (len(levels) - k)
        if left is not None and left <= 0:
            stopped = "time"
            break
        try:
            searches = SEARCHES if left is None else None
            graph = learn(level, seed=seed, time_limit=left, searches=searches, workers=workers)
            found = _weighed(graph, clock, own)
        except KeyboardInterrupt:
            if best is None:
                raise
            stopped = "interrupt"
            break
        except GraphError:  # too tight, though not for a simple reason
            continue
        if best is None or found.seconds < best.seconds:
            best = found
            if on_better is not None:
                on_better(found)
        if progress is not None:
            progress(News(time.monotonic() - begin, f"one graph: {best.seconds:.4g} s until errors shrank 1000 times"))
        if graph.stopped == "interrupt":
            stopped = "interrupt"
            break
    if best is None:
        raise InputError("no connected graph was found within the limits and the time: relax one of them")
    return replace(best, graph=replace(best.graph, stopped=stopped))


def _levels(network: Network, clock: RoundClock, size: float, own: Limits) -> Iterator[Limits]:
    """Give limits for rounds that take longer and longer."""
    seconds = np.array([size / min(host.send, host.receive, host.both / 2) for host in network.hosts])
    alone = clock.alone[clock.linked & own.pairs]
    if not alone.size:
        return
    single = all(len(host.nodes) == 1 for host in network.hosts)
    seen = set()
    # Where cards are unlimited, links alone decide.
    unit = max(float(seconds.max()), float(alone.min()))
    for count in MESSAGES:
        limit = count * unit * (1 + 1e-9)
        with np.errstate(divide="ignore"):
            carried = np.minimum(np.floor(limit / seconds), network.nodes**2).astype(np.int64)
        pairs = own.pairs & clock.linked & (clock.alone <= max(limit, float(alone.min())) * (1 + 1e-9))
        key = carried.tobytes() + pairs.tobytes()
        if key in seen:
            continue
        seen.add(key)
        try:
            yield _level(own, network, carried, pairs, single)
        except GraphError:
            continue


def _level(own: Limits, network: Network, carried: IntArray, pairs: BoolArray, single: bool) -> Limits:
    limits = replace(own, allowed=pairs)
    if single:
        of_host = np.maximum(carried[network.host_of], 1)
        limits = replace(limits, max_degree=np.minimum(own.degrees, of_host))
    else:
        most = carried if own.host_edges is None else np.minimum(carried, own.leaving)
        limits = replace(limits, hosts=network.host_of, host_edges=most)
    limits.require()
    return limits


def _weighed(graph: LearnedGraph, clock: RoundClock, own: Limits) -> NetworkGraph:
    """Give the graph the weights that suit it, and its seconds; what bounds a SLEM within limits bounds no seconds."""
    if len(graph.edges) <= OPTIMAL:
        optimal = optimal_weights(graph.adjacency, "fmmc", width=WIDTH)
        if optimal.stopped == "interrupt":
            raise KeyboardInterrupt
        reached, weights = optimal.slem, "fmmc"
    else:
        reached, weights = slem(laplacian_weights(graph.adjacency)), "laplacian"
    rounds = 1.0 if reached <= 1 / FACTOR else math.log(FACTOR) / -math.log(reached)
    seconds = clock.seconds(graph.edges)
    graph = replace(graph, limits=own, bound=-math.inf, bound_name="trivial")
    return NetworkGraph(graph, weights, reached, seconds, rounds * seconds)
