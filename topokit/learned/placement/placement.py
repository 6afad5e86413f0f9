"""Which node of a schedule runs where on a network, as good as a local search over permutations finds it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from topokit.errors import InputError
from topokit.kinds import Pairwise
from topokit.learned.placement.placed_rounds import PlacedRounds, rounds_of
from topokit.learned.placement.renumbering import renumbered, require_renumberable
from topokit.learned.placement.search import TOLERANCE, PlacementSearch, kinds_of_places
from topokit.matrix import IntArray
from topokit.network import Network, parse_size
from topokit.network.cost import require_nodes
from topokit.optimal.progress import Tell
from topokit.schedule import Place, Schedule

__all__ = ["Placement", "place"]


@dataclass(frozen=True)
class Placement:
    """Where the nodes of a schedule run on a network.

    Attributes
    ----------
    permutation : ndarray of int64, shape (n,)
        Node i of the schedule runs as node ``permutation[i]`` of the network.
    before : float
        Seconds of a round, in the mean, with node i as node i; infinite where a message has no link.
    seconds : float
        The same with this placement.
    lower : float
        No placement takes less.
    stopped : {"end", "bound", "time", "interrupt"}
        Why the search ended.
    network : Network
    """

    permutation: IntArray
    before: float
    seconds: float
    lower: float
    stopped: str
    network: Network = field(repr=False)

    def relabelled(self, schedule: Schedule, *, device: str | None = None, nodes_per_rank: int = 1) -> Schedule:
        """Give the schedule with nodes numbered as the network's, and its `placement` filled in.

        Node i of the result is node i of the network, so that started on ranks in this order it runs in its places.

        Parameters
        ----------
        schedule : Schedule
            As many nodes as the network.
        device, nodes_per_rank
            As in `places`.

        Raises
        ------
        InputError
            If the schedule has another number of nodes or draws its rounds by node number.
        """
        require_nodes(schedule.nodes, self.network)
        where = [
            Place(int(self.permutation[place.node]), place.host, place.rank, place.device)
            for place in self.places(device=device, nodes_per_rank=nodes_per_rank)
        ]
        return renumbered(schedule, self.permutation, placement=sorted(where, key=lambda place: place.node))

    def places(self, *, device: str | None = None, nodes_per_rank: int = 1) -> list[Place]:
        """Give host and rank of each node of the schedule, by its own number.

        Parameters
        ----------
        device : str, optional
            Kind of device, such as "cuda": ranks of a host take "cuda:0", "cuda:1", ... in their order.
        nodes_per_rank : int, default 1
            Nodes of the network that a rank holds, the first so many on rank 0.

        Raises
        ------
        InputError
            If the nodes do not fill the ranks.
        """
        n = self.permutation.size
        if nodes_per_rank < 1 or n % nodes_per_rank:
            raise InputError(f"{n} nodes do not fill ranks of {nodes_per_rank}; expected a divisor of {n}")
        rank = np.arange(n) // nodes_per_rank
        local = np.empty(n, dtype=np.int64)
        for host in self.network.hosts:
            nodes = list(host.nodes)
            local[nodes] = np.unique(rank[nodes], return_inverse=True)[1]
        return [
            Place(
                node,
                self.network.hosts[self.network.host_of[there]].name,
                int(rank[there]),
                None if device is None else f"{device}:{local[there]}",
            )
            for node, there in enumerate(self.permutation.tolist())
        ]

    def sentence(self) -> str:
        """Say what the placement is worth."""
        before = "without a link" if math.isinf(self.before) else f"{self.before:.3g} s"
        return f"placed: {self.seconds:.3g} s a round, {before} as numbered, no less than {self.lower:.3g} s anywhere"


def place(
    schedule: Schedule,
    network: Network,
    message_bytes: str | float,
    *,
    seed: int = 0,
    restarts: int = 24,
    deadline: float = math.inf,
    tell: Tell | None = None,
) -> Placement:
    """Search for the nodes of a network that the nodes of a schedule should run as.

    Parameters
    ----------
    schedule : Schedule
        Of any kind whose nodes can be numbered anew: a period, rounds or matchings drawn from a list. Of rounds drawn
        at random the first 100 are looked at.
    network : Network
        Of as many nodes.
    message_bytes : str or float
        Size of one vector: "100MB", or bytes.
    seed : int, default 0
    restarts : int, default 24
        Searches after the one that begins with the numbering as it is.
    deadline : float
        Value of `time.monotonic()` at which the best so far is given.
    tell : callable, optional
        Called with progress.

    Returns
    -------
    Placement

    Raises
    ------
    InputError
        If the number of nodes differs, the schedule cannot be numbered anew or is pairwise, or in every placement that
        was looked at some message has no link.

    Notes
    -----
    Ctrl-C ends the search with the best so far.

    Examples
    --------
    The ring of two hosts of four nodes, with neighbours on different hosts; they could do with two messages each way:

    >>> from topokit.designer import design
    >>> network = Network.uniform(8, "1Gbit/s", nodes_per_host=4)
    >>> ring = renumbered(design("ring", 8), [0, 4, 1, 5, 2, 6, 3, 7])
    >>> found = place(ring, network, "100MB")
    >>> round(found.before, 6), round(found.seconds, 6)
    (6.4, 1.6)
    >>> [place.host for place in found.relabelled(ring).placement]
    ['host0', 'host0', 'host0', 'host0', 'host1', 'host1', 'host1', 'host1']
    """
    size = parse_size(message_bytes, "the size of a message")
    require_nodes(schedule.nodes, network)
    if isinstance(schedule.rule, Pairwise):
        raise InputError(f"{schedule.name} has pairwise averagings that overlap; expected a schedule that has rounds")
    require_renumberable(schedule)
    rounds = PlacedRounds(rounds_of(schedule), network, size)
    search = PlacementSearch(rounds, kinds_of_places(network), np.random.default_rng(seed), deadline, tell)
    lower = _least_seconds(rounds, network, size)
    stopped = search.run(restarts, lower)
    best = search.best
    lost = rounds.missing[best.place[rounds.source], best.place[rounds.target]]
    if lost.any():
        k = int(lost.argmax())
        source, target = best.place[rounds.source[k]], best.place[rounds.target[k]]
        raise InputError(
            f"no placement was found in which every message of {schedule.name} has a link; in the best, "
            f"{int(lost.sum())} have none, the first from node {source} to node {target} of the network"
        )
    return Placement(best.place, search.before, best.seconds, min(lower, best.seconds), stopped, network)


def _least_seconds(rounds: PlacedRounds, network: Network, size: float) -> float:
    """Bound the mean seconds of a round from below, for any placement.

    Every phase takes at least what its longest message takes on the best link. In the mean, a host of k nodes has at
    least lambda_2 k (n - k)/n vectors to send or receive, lambda_2 that of the Laplacian of all traffic.
    """
    n = rounds.nodes
    pairs = ~np.eye(n, dtype=bool) & ~rounds.missing
    longest = np.zeros(rounds.weight.size)
    np.maximum.at(longest, rounds.phase, rounds.vectors)
    least = 0.0
    for vectors in np.unique(longest[longest > 0]):
        link = (vectors * rounds.transfer + rounds.latency)[pairs].min(initial=math.inf)
        least += float(link) * float(rounds.weight[longest == vectors].sum())
    if n > 1 and rounds.hosts > 1:
        talk = rounds.traffic + rounds.traffic.T
        gap = max(0.0, float(np.linalg.eigvalsh(np.diag(talk.sum(axis=1)) - talk)[1]))
        for host in network.hosts:
            rate = min(host.send + host.receive, host.both)
            least = max(least, gap * len(host.nodes) * (n - len(host.nodes)) / n * size / rate)
    return (least + rounds.overhead if math.isfinite(least) else least) * (1 - TOLERANCE)
