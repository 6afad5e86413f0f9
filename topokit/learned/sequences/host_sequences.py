"""Sequences for hosts of several nodes: all average inside their host, then few nodes exchange with other hosts.

After an average inside, all G nodes of a host hold its mean. An exchange of weight w between one node of host A and one
of host B followed by another average moves the means by (w/G_A)(x_B - x_A) and (w/G_B)(x_A - x_B): consensus among
the hosts, the masses of which are their numbers of nodes. With w = G_A G_B/(G_A + G_B) both hosts arrive at their
common mean, with one message each way where equal ranks of equal hosts would send G. Such a weight is above 1, the
sending node's own weight negative, and for the one round errors may grow; nonnegative weights need at least w messages.

Which hosts exchange in which round is a search over the hosts. Rounds cost what the busiest card takes, so that slow
hosts come to exchange less often than fast ones.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from topokit.consensus import worst_case_rounds
from topokit.errors import InputError
from topokit.learned.sequences.anneal import Anneal, Candidate, SequenceProblem
from topokit.learned.sequences.euclid import euclid_sequence
from topokit.learned.sequences.exact_weights import exact_weights, rounds_of
from topokit.learned.sequences.host_clock import HostClock, exchange_seconds
from topokit.learned.sequences.host_tiers import along_tree, tiers
from topokit.learned.sequences.learned_sequence import LearnedSequence, Stopped, least_rounds, sequence_seconds
from topokit.matrix import MixingMatrix
from topokit.network.cost import round_seconds
from topokit.network.model import Network
from topokit.network.quantities import parse_size
from topokit.optimal.period import period_norm
from topokit.optimal.progress import News, Tell
from topokit.optimal.threads import few_threads
from topokit.topologies import base_graph

__all__ = ["HOST_STEPS", "host_sequence"]

HOST_STEPS = 400  # moves of a chain
ALL_PAIRS = 5  # hosts up to which any of them may exchange at a time
PEERS = 3  # hosts that a host may exchange with in a round, where there are more
LONGER = 2  # rounds of exchanges beyond log2 of the hosts
MOST_WEIGHTS = 160  # of exchanges that are annealed
STANDSTILL = 1e-6  # periods that shrink errors by less leave nodes disconnected, or as good as that

Values = list[list["Fraction | float"]]
Exchange = tuple[int, int, "Fraction | float", int]  # two hosts, the weight of all lanes, and their number


def host_sequence(
    network: Network,
    message_bytes: str | float,
    *,
    degree: int | None = None,
    allowed: NDArray[np.bool_] | None = None,
    nonnegative: bool = False,
    seed: int = 0,
    steps: int = HOST_STEPS,
    deadline: float = math.inf,
    tell: Tell | None = None,
    on_better: Callable[[LearnedSequence], None] | None = None,
) -> LearnedSequence:
    """Search for the sequence that shrinks errors 1000-fold in the fewest seconds on a network of hosts.

    Parameters
    ----------
    network : Network
        With hosts of any sizes.
    message_bytes : str or float
        Size of one vector.
    degree : int, optional
        Most peers of a node in a round; by default any number.
    allowed : ndarray of bool, shape (n, n), optional
        Symmetric: which pairs may exchange, if there are links both ways. All pairs inside a host must be allowed.
    nonnegative : bool, default False
        Whether weights and self weights are to be at least 0; it takes more messages between hosts.
    seed : int, default 0
    steps : int, default 400
        Moves of a chain, for each number of exchanges that is tried.
    deadline : float
        A time of `time.monotonic`.
    tell : callable, optional
        Called with progress.
    on_better : callable, optional
        Called with every sequence that is better than those before.

    Returns
    -------
    LearnedSequence
        With `seconds`, and the hosts' exchanges among the `details`. Interrupted (``KeyboardInterrupt``), the best so
        far.

    Raises
    ------
    InputError
        If the allowed pairs with links both ways are not all of those inside hosts, or do not connect the hosts.

    Notes
    -----
    The period starts and ends with averages inside the hosts. Where weights may be negative, `amplification` tells how
    much a single round can enlarge errors; before an average has been made inside a host, it does.

    Examples
    --------
    Two hosts of four nodes need one message each way between them, where pairs of equal ranks send four:

    >>> network = Network.uniform(8, "1Gbit/s", nodes_per_host=4, inside_bandwidth="10Gbit/s")
    >>> found = host_sequence(network, "100MB")
    >>> found.exact, [W.messages for W in found.rounds], round(found.seconds, 2)
    (True, [24, 2, 24], 0.96)
    """
    search = _HostSearch(network, message_bytes, degree, allowed, nonnegative, seed, steps, deadline, tell, on_better)
    stopped: Stopped = "end"
    with few_threads(network.nodes):
        try:
            stopped = search.run()
        except KeyboardInterrupt:
            stopped = "interrupt"
            if search.best is None:
                raise
    if search.best is None:
        raise InputError("no exchanges between the hosts were found that mix; give the search more time or more pairs")
    return replace(search.best, stopped=stopped, evaluations=search.evaluations)


class _HostSearch:
    def __init__(
        self,
        network: Network,
        message_bytes: str | float,
        degree: int | None,
        allowed: NDArray[np.bool_] | None,
        nonnegative: bool,
        seed: int,
        steps: int,
        deadline: float,
        tell: Tell | None,
        on_better: Callable[[LearnedSequence], None] | None,
    ) -> None:
        n = network.nodes
        self.network, self.nonnegative, self.seed, self.steps = network, nonnegative, seed, steps
        self.size = parse_size(message_bytes, "the size of a message")
        self.degree = n - 1 if degree is None else degree
        self.links = exchange_seconds(network, self.size, allowed)
        self.allowed = np.isfinite(self.links)
        self.deadline, self.tell, self.on_better = deadline, tell, on_better
        self.begin = time.monotonic()
        self.best: LearnedSequence | None = None
        self.evaluations = 0
        self.inside = self._inside()
        inside_seconds = sum(round_seconds(W, network, self.size).seconds for W in self.inside)
        self.clock = HostClock.of(network, self.size, inside_seconds, self.allowed)
        self._require_connected()

    def run(self) -> Stopped:
        hosts = len(self.network.hosts)
        if hosts == 1:
            self._offer(self.inside, [])
            return "end"
        problem = self._problem()
        start = tiers(self.clock, problem.masses)
        if (problem.allowed[start.edges[..., 0], start.edges[..., 1]] | (start.lanes == 0)).all():
            self._try(start)
        if self.best is None:
            self._try(along_tree(problem.allowed, problem.masses))
        for period in range(1, (hosts - 1).bit_length() + LONGER + 1):
            if self.best is not None and time.monotonic() > self.deadline:
                return "time"
            if self.best is not None and period * int(problem.degrees.sum()) // 2 > MOST_WEIGHTS:
                break
            anneal = Anneal(problem, period, np.random.default_rng([self.seed, hosts, period]), self.steps)
            anneal.run(self.deadline, lambda _: False, lambda _: None)
            self.evaluations += anneal.evaluations
            self._try(anneal.best)
        return "end" if time.monotonic() <= self.deadline else "time"

    def _problem(self) -> SequenceProblem:
        sizes = np.array([len(host.nodes) for host in self.network.hosts])
        hosts = sizes.size
        peers = np.minimum(hosts - 1 if hosts <= ALL_PAIRS else PEERS, self.clock.most_lanes * self.degree)
        joined = np.isfinite(self.clock.pair)
        return SequenceProblem(sizes.astype(np.float64), peers, joined, "seconds", None, self.nonnegative, self.clock)

    def _try(self, candidate: Candidate) -> None:
        """Make rounds of nodes of the exchanges of hosts: exact, if there is a proof, and as found."""
        problem = self._problem()
        lanes = candidate.lanes
        if self.nonnegative:  # lanes that the weights do not need only cost time
            needed = np.maximum(1, np.ceil(candidate.weights - 1e-9).astype(np.int64))
            lanes = np.where(lanes > 0, np.minimum(needed, self.clock.most_lanes[candidate.edges].min(axis=-1)), 0)
        weights, fractions = exact_weights(
            candidate.edges,
            lanes,
            candidate.weights,
            problem.masses,
            nonnegative=self.nonnegative,
            sums=problem.sums,
            deadline=self.deadline,
        )
        found: list[Values] = [fractions] if fractions is not None else []  # type: ignore[list-item]
        found += [weights.tolist(), candidate.weights.tolist()]
        edges = candidate.edges.tolist()
        best: LearnedSequence | None = None
        for values in found:
            drawn = [
                [(a, b, w, int(lane)) for (a, b), w, lane in zip(*row, strict=True) if lane and a != b and w]
                for row in zip(edges, values, lanes, strict=True)
            ]
            exchanges = [exchange for exchange in drawn if exchange]
            lifted = [self._lifted(exchange) for exchange in exchanges]
            if any(int(W.in_degree.max()) > self.degree for W, _ in lifted):
                continue
            rounds = list(self.inside)
            for W, _ in lifted:
                rounds += [W, *self.inside]
            named = [
                [(self._name(a), self._name(b), float(w)) for (a, b, *_), w in zip(row, moved, strict=True)]
                for row, (_, moved) in zip(exchanges, lifted, strict=True)
            ]
            self._offer(tuple(rounds), named)
            if self.best is not best and self.best is not None and self.best.exact:
                return
            best = self.best

    def _lifted(self, exchange: list[Exchange]) -> tuple[MixingMatrix, list[Fraction | float]]:
        """Deal exchanges of hosts out to their nodes, to those with the fewest in this round; give the weights, too.

        Where self weights are not to be negative, an exchange gives way by its more crowded end.
        """
        hosts, load = self.network.hosts, np.zeros(self.network.nodes, dtype=np.int64)
        pairs: list[tuple[int, int]] = []
        values: list[Fraction | float] = []
        of: list[int] = []
        for k, (a, b, w, lanes) in enumerate(exchange):
            for _ in range(lanes):
                *_, i, j = min(
                    (max(load[i], load[j]), load[i] + load[j], self.links[i, j], i, j)
                    for i in hosts[a].nodes
                    for j in hosts[b].nodes
                    if self.allowed[i, j]
                )
                load[[i, j]] += 1
                pairs.append((i, j))
                values.append(w / lanes)
                of.append(k)
        if self.nonnegative:
            total: list[Fraction | float] = [Fraction(0)] * self.network.nodes
            for (i, j), w in zip(pairs, values, strict=True):
                total[i], total[j] = total[i] + w, total[j] + w
            values = [w / max(1, total[i], total[j]) for (i, j), w in zip(pairs, values, strict=True)]
        moved: list[Fraction | float] = [Fraction(0)] * len(exchange)
        for k, w in zip(of, values, strict=True):
            moved[k] = moved[k] + w
        return rounds_of(self.network.nodes, [pairs], [values])[0], moved

    def _require_connected(self) -> None:
        joined = np.isfinite(self.clock.pair)
        reached = np.arange(len(joined)) == 0
        for _ in joined:
            reached |= joined[reached].any(axis=0)
        if not reached.all():
            name = self._name(int(reached.argmin()))
            raise InputError(
                f"hosts {self._name(0)} and {name} are not connected by allowed pairs with links both ways; "
                "expected a path of them between all hosts"
            )

    def _inside(self) -> tuple[MixingMatrix, ...]:
        """Give the fastest of the sequences in which every host averages exactly."""
        hosts = self.network.hosts
        largest = max(len(host.nodes) for host in hosts)
        for host in hosts:
            blocked = [(i, j) for i in host.nodes for j in host.nodes if i < j and not self.allowed[i, j]]
            if blocked:
                i, j = blocked[0]
                raise InputError(
                    f"nodes {i} and {j} of host {host.name} may not exchange; expected all pairs of a host"
                )
        best: tuple[MixingMatrix, ...] = ()
        least = math.inf
        for peers in range(1, min(largest - 1, self.degree) + 1):
            rounds = self._on_hosts([_exact(len(host.nodes), peers) for host in hosts])
            seconds = sum(round_seconds(W, self.network, self.size).seconds for W in rounds)
            if seconds < least * (1 - 1e-12) or (seconds <= least and len(rounds) < len(best)):
                best, least = rounds, seconds
        return best

    def _on_hosts(self, parts: list[tuple[MixingMatrix, ...]]) -> tuple[MixingMatrix, ...]:
        """Run one sequence a host, side by side; the shorter ones pause at the end."""
        rounds = []
        for t in range(max(len(part) for part in parts)):
            entries: dict[tuple[int, int], Fraction] = {}
            for host, part in zip(self.network.hosts, parts, strict=True):
                nodes = host.nodes
                if t >= len(part):
                    entries.update({(i, i): Fraction(1) for i in nodes})
                    continue
                fractions = part[t].fractions()
                assert fractions is not None
                for i, j, w in zip(part[t].target.tolist(), part[t].source.tolist(), fractions, strict=True):
                    entries[nodes[i], nodes[j]] = w
            target, source = np.array(list(entries), dtype=np.int64).T
            rounds.append(MixingMatrix.from_fractions(self.network.nodes, target, source, list(entries.values())))
        return tuple(rounds)

    def _name(self, host: int) -> str:
        return self.network.hosts[host].name

    def _offer(self, rounds: tuple[MixingMatrix, ...], exchanges: list[list[tuple[str, str, float]]]) -> None:
        if not rounds or period_norm(rounds) > 1 - STANDSTILL:
            return
        needed = worst_case_rounds(rounds)
        if needed is not None and needed < len(rounds):
            rounds = rounds[:needed]
            exchanges = exchanges[: -(-(needed - len(self.inside)) // (1 + len(self.inside)))]
        seconds = sequence_seconds(rounds, self.network, self.size)
        if not math.isfinite(seconds) or (self.best is not None and seconds >= self.best.seconds * (1 - 1e-9)):  # type: ignore[operator]
            return
        bound = least_rounds(self.network.nodes, self.degree)
        details = {"exchanges": exchanges}
        self.best = LearnedSequence.of(rounds, bound, "exchanges of hosts", seconds=seconds, details=details)
        if self.on_better is not None:
            self.on_better(self.best)
        if self.tell is not None:
            self.tell(News(time.monotonic() - self.begin, self.best.sentence()))


def _exact(nodes: int, peers: int) -> tuple[MixingMatrix, ...]:
    if nodes == 1:
        return ()
    return euclid_sequence(nodes) if peers == 1 else base_graph(nodes, peers=min(peers, nodes - 1))
