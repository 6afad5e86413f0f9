"""The local search over permutations that places the nodes of a schedule on a network.

Two nodes change places as long as that helps. What has to fall is the mean over rounds of the busiest thing's seconds,
plus a multiple of the root mean square over all things: the first alone has plateaus, on which most swaps change
nothing. The search begins with the numbering as it is and with hosts that are filled one after the other, each with the
nodes that have most to say to those already on it; in between with the best found, of which some nodes changed places
at random. (Of the same time, annealing made less.)
"""

from __future__ import annotations

import math
import time
from itertools import combinations

import numpy as np

from topokit.learned.placement.placed_rounds import PlacedRounds, PlacedState
from topokit.learned.seconds import link_matrices
from topokit.matrix import FloatArray, IntArray
from topokit.network import Network
from topokit.optimal.progress import News, Tell

__all__ = ["PlacementSearch", "kinds_of_places"]

PRESSURE = 10.0  # weight of all things beside the busiest; 0.01, 1 and the 8th power instead of the 2nd were worse
FINAL = 0.01  # the same at the end
TOLERANCE = 1e-9  # by which seconds have to fall
LOOKED = 32  # swaps of a node, or of hosts, that are looked at
CHECKED = 4  # of them, exactly
KICK = 16  # one swap at random for so many nodes; of 4 to 100 none was better than the others


class PlacementSearch:
    """Descents from one start after the other, and the best place found."""

    def __init__(
        self, rounds: PlacedRounds, kinds: IntArray, rng: np.random.Generator, deadline: float, tell: Tell | None
    ) -> None:
        self.rounds, self.kinds, self.rng, self.deadline, self.tell = rounds, kinds, rng, deadline, tell
        self.begin, self.lower = time.monotonic(), 0.0
        self.talk = rounds.traffic + rounds.traffic.T
        own = np.arange(rounds.nodes)
        self.best = rounds.at(own)
        lost = rounds.missing[rounds.source, rounds.target].any()
        self.before = math.inf if lost else self.best.seconds

    def run(self, restarts: int, lower: float) -> str:
        """Search, with no hope for less than the lower bound; say why it ended."""
        self.lower = lower
        try:
            starts = [self.best]
            for k in range(restarts + 1):
                if self.best.seconds <= lower * (1 + TOLERANCE):
                    return "bound"
                if k == 0:
                    starts += [self.rounds.at(self.grown()) for _ in range((restarts + 1) // 2)]
                    starts.sort(key=lambda state: state.seconds)
                start = starts[k] if k < len(starts) else self.kicked()
                self.descend(self.with_hosts(self.descend(start, PRESSURE)), FINAL)
                if self.late():
                    return "time"
        except KeyboardInterrupt:
            return "interrupt"
        return "end"

    def late(self) -> bool:
        """Say whether time is up."""
        return time.monotonic() >= self.deadline

    def score(self, times: FloatArray, squares: FloatArray, pressure: float) -> FloatArray:
        """Give what a descent lowers.

        For the seconds of things, shape (..., phases, things), and mean squares of those on links, (..., phases).
        """
        spread = np.sqrt((times**2).mean(axis=-1) + squares)
        return np.asarray((times.max(axis=-1) + pressure * spread) @ self.rounds.weight, dtype=np.float64)

    def score_of(self, state: PlacedState, pressure: float) -> float:
        """Give what a descent lowers."""
        return float(self.score(state.busy + state.delay, state.squares, pressure))

    def descend(self, state: PlacedState, pressure: float) -> PlacedState:
        """Let nodes change places as long as that helps."""
        n = self.rounds.nodes
        order, quiet, k = self.rng.permutation(n), 0, 0
        self.offer(state)
        while quiet < n and not self.late():
            better = self.better(state, int(order[k % n]), pressure)
            quiet, k = quiet + 1, k + 1
            if better is not None:
                state, quiet = better, 0
                self.offer(state)
        return state

    def with_hosts(self, state: PlacedState) -> PlacedState:
        """Let all nodes of one host and all of another change places, and then single ones, as long as that helps."""
        of = self.rounds.host_of
        sizes = np.bincount(of)
        pairs = [pair for pair in combinations(range(sizes.size), 2) if 1 < sizes[pair[0]] == sizes[pair[1]]]
        again = True
        while again and not self.late():
            again, now = False, self.score_of(state, PRESSURE)
            for k in self.rng.permutation(len(pairs))[:LOOKED]:
                one, other = (np.flatnonzero(of == host) for host in pairs[k])
                there = np.arange(of.size)
                there[one], there[other] = other, one
                found = self.rounds.at(there[state.place])
                if self.score_of(found, PRESSURE) < now * (1 - TOLERANCE):
                    state, again = self.descend(found, PRESSURE), True
                    break
        return state

    def offer(self, state: PlacedState) -> None:
        """Keep the best."""
        if state.seconds < self.best.seconds * (1 - TOLERANCE):
            self.best = state
            if self.tell is not None:
                text = f"{state.seconds:.3g} s a round, no less than {self.lower:.3g} s"
                self.tell(News(time.monotonic() - self.begin, text))

    def better(self, state: PlacedState, node: int, pressure: float) -> PlacedState | None:
        """Give the places after the best swap of a node, if there is one that helps."""
        others = self.others(state, node)
        if not others.size:
            return None
        now = self.score_of(state, pressure)
        estimate = self.score(*self.rounds.swaps(state, np.full(others.size, node), others), pressure)
        least = now * (1 - TOLERANCE)
        for k in np.argsort(estimate, kind="stable")[:CHECKED]:
            if estimate[k] >= least:
                break
            places = state.place.copy()
            self.exchange(places, node, others[k])
            found = self.rounds.at(places)
            if self.score_of(found, pressure) < least:
                return found
        return None

    def others(self, state: PlacedState, node: int) -> IntArray:
        """Give nodes with which a node may change places: where that makes a difference, and of many the likely."""
        place = state.place
        others = np.flatnonzero(self.kinds[place] != self.kinds[place[node]])
        if others.size <= LOOKED:
            return others
        of = self.rounds.host_of[place]
        hosts, mine = self.rounds.hosts, of[node]
        of_node = np.bincount(of, self.talk[node], minlength=hosts)
        # What each other node has to say to its own host and to this one's, taken together when both have moved.
        there = (self.talk[others] * (of == of[others][:, None])).sum(axis=1)
        here = self.talk[others][:, of == mine].sum(axis=1)
        gain = of_node[of[others]] - of_node[mine] + here - there - 2 * self.talk[node, others]
        likely = np.argsort(-gain, kind="stable")
        half = LOOKED // 2
        chosen = np.concatenate((likely[:half], self.rng.choice(likely[half:], half, replace=False)))
        return np.asarray(others[chosen], dtype=np.int64)

    def grown(self) -> IntArray:
        """Fill the hosts one after the other, each with the nodes that have most to say to those already on it."""
        n, host_of = self.rounds.nodes, self.rounds.host_of
        place, near, free = np.empty(n, dtype=np.int64), np.zeros(n), np.ones(n, dtype=bool)
        noise = 1e-9 * self.talk.max(initial=0.0)
        for host in self.rng.permutation(self.rounds.hosts):
            inside = np.zeros(n)
            for k, there in enumerate(np.flatnonzero(host_of == host)):
                # The first is one that would be left alone: among those that are placed rather than among the others.
                pull = inside + 1e-3 * near if k else near - 1e-6 * (self.talk @ free)
                pull = np.where(free, pull + noise * self.rng.random(n), -np.inf)
                node = int(pull.argmax())
                place[node], free[node] = there, False
                inside += self.talk[node]
                near += self.talk[node]
        return place

    def kicked(self) -> PlacedState:
        """Let some nodes of the best place change theirs at random."""
        n, place = self.rounds.nodes, self.best.place.copy()
        for _ in range(max(2, n // KICK)):
            self.exchange(place, *self.rng.integers(0, n, 2))
        return self.rounds.at(place)

    @staticmethod
    def exchange(place: IntArray, one: int, other: int) -> None:
        """Let two nodes change places."""
        place[one], place[other] = place[other], place[one]


def kinds_of_places(network: Network) -> IntArray:
    """Give the same number to nodes of a network that can change places without any difference.

    Returns
    -------
    ndarray of int64, shape (n,)

    Examples
    --------
    >>> kinds_of_places(Network.uniform(6, "1Gbit/s", nodes_per_host=3)).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    bandwidth, latency = (np.nan_to_num(values, nan=-1.0) for values in link_matrices(network))
    kinds = np.empty(network.nodes, dtype=np.int64)
    count = 0
    for host in network.hosts:
        firsts: list[tuple[int, int]] = []  # a node of each kind on this host
        for node in host.nodes:
            kind = next((kind for first, kind in firsts if _alike(bandwidth, latency, first, node)), None)
            if kind is None:
                kind, count = count, count + 1
                firsts.append((node, kind))
            kinds[node] = kind
    return kinds


def _alike(bandwidth: FloatArray, latency: FloatArray, a: int, b: int) -> bool:
    swapped = np.arange(len(bandwidth))
    swapped[[a, b]] = b, a
    return all(
        np.array_equal(values[a], values[b][swapped]) and np.array_equal(values[:, a], values[:, b][swapped])
        for values in (bandwidth, latency)
    )
