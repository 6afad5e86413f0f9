"""What happens in one unit of simulated time, drawn at once; and in which waves it can be worked off.

Clocks tick as Poisson processes: that of node i with its speed, that of an edge with its rate in the schedule, in units
of the time of one gradient. What happens in [t, t + 1) is drawn by key, number and times of the ticks together, so that
it is the same on every rank, on any number of ranks, and for a run that goes on:

==========================  ==================================================  =======================================
what                        key                                                 drawn
==========================  ==================================================  =======================================
gradients                   the run's seed, "gradient clocks", t                ticks of every node, then times by node
averagings                  the schedule's seed, "edge clocks", t               ticks of every edge, then times by edge
partners (AD-PSGD)          the schedule's seed, "partners", t                  a word for each gradient, in its order
==========================  ==================================================  =======================================

Given their number, the ticks of a Poisson process are independent and uniform, and what happens in different units is
independent: cutting time into units changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from topokit.errors import InputError
from topokit.kinds import Pairwise
from topokit.matrix import IntArray
from topokit_trainer.seeding import keyed_generator
from topokit_trainer.specs import parse_speeds

FloatArray = NDArray[np.float64]

__all__ = ["Clocks", "Events", "FloatArray", "Wave", "speeds_of", "waves"]


@dataclass(frozen=True)
class Events:
    """What happens in a unit of time, in its order.

    Attributes
    ----------
    times : ndarray of float64, shape (m,)
        From 0 to 1, never falling.
    node : ndarray of int64, shape (m,)
        Who computes a gradient, or the first of two who average.
    partner : ndarray of int64, shape (m,)
        The second of two who average; -1 for a gradient.
    """

    times: FloatArray
    node: IntArray
    partner: IntArray

    @property
    def averagings(self) -> int:
        """How many pairs average."""
        return int(np.count_nonzero(self.partner >= 0))


@dataclass(frozen=True)
class Wave:
    """Events of disjoint nodes, of one sort: in which order they are worked off makes no difference.

    Attributes
    ----------
    times, node, partner : as in `Events`
    """

    times: FloatArray
    node: IntArray
    partner: IntArray

    @property
    def averages(self) -> bool:
        """Whether these are averagings, and not gradients."""
        return bool(self.partner[0] >= 0)


def speeds_of(text: str, nodes: int) -> FloatArray:
    """Give the speed of every node, as ``--speeds`` has it.

    Raises
    ------
    InputError
        If it names a node that there is not.

    Examples
    --------
    >>> speeds_of("1,2:0.1", 4).tolist()
    [1.0, 1.0, 0.1, 1.0]
    """
    common, own = parse_speeds(text)
    speeds = np.full(nodes, common)
    for node, speed in own.items():
        if node >= nodes:
            raise InputError(f"--speeds names node {node}, but the schedule has nodes 0 to {nodes - 1}")
        speeds[node] = speed
    return speeds


class Clocks:
    """The clocks of a run.

    Parameters
    ----------
    kind : Pairwise
        Edges, rates and a seed.
    speeds : ndarray of float64, shape (n,)
        Gradients of each node in a unit of time.
    seed : int
        Of the run.
    partners : bool
        Whether edges have no clocks of their own: with each of its gradients a node averages with a neighbour, drawn in
        proportion to the rates of their edges (AD-PSGD).

    Examples
    --------
    >>> ring = Pairwise(4, [(0, 1), (1, 2), (2, 3), (0, 3)], ["1/2"] * 4, seed=0)
    >>> events = Clocks(ring, np.ones(4), seed=1).events(0)
    >>> events.node.tolist(), events.partner.tolist()
    ([3, 2, 0, 1, 0, 0, 0], [-1, -1, 1, -1, -1, 1, 1])
    """

    def __init__(self, kind: Pairwise, speeds: FloatArray, seed: int, partners: bool = False) -> None:
        self.kind, self.speeds, self.seed = kind, speeds, seed
        self.rates = np.array([float(rate) for rate in kind.rates])
        self.chances: list[tuple[IntArray, FloatArray]] = []
        if partners:
            ends = np.concatenate((kind.edges, kind.edges[:, ::-1]))
            both = np.concatenate((self.rates, self.rates))
            for node in range(kind.nodes):
                own = ends[:, 0] == node
                self.chances.append((ends[own, 1], np.cumsum(both[own]) / both[own].sum()))

    def events(self, t: int) -> Events:
        """Draw what happens in [t, t + 1)."""
        nodes, times = _ticks(keyed_generator(self.seed, "gradient clocks", t), self.speeds)
        if self.chances:
            return self._with_partners(t, nodes, times)
        edges, moments = _ticks(keyed_generator(self.kind.seed, "edge clocks", t), self.rates)
        pairs = self.kind.edges[edges]
        times = np.concatenate((times, moments))
        order = np.argsort(times, kind="stable")
        node = np.concatenate((nodes, pairs[:, 0]))
        partner = np.concatenate((np.full(len(nodes), -1), pairs[:, 1]))
        return Events(times[order], node[order], partner[order])

    def _with_partners(self, t: int, nodes: IntArray, times: FloatArray) -> Events:
        """Put an averaging before each gradient, at the same moment."""
        words = keyed_generator(self.kind.seed, "partners", t).random(len(nodes))
        others = np.empty_like(nodes)
        for k, (node, word) in enumerate(zip(nodes.tolist(), words.tolist(), strict=True)):
            neighbours, bounds = self.chances[node]
            others[k] = neighbours[min(int(np.searchsorted(bounds, word, side="right")), len(neighbours) - 1)]
        order = np.argsort(times, kind="stable")
        partner = np.stack((others[order], np.full(len(nodes), -1)), axis=1).ravel()
        return Events(np.repeat(times[order], 2), np.repeat(nodes[order], 2), partner)


def _ticks(generator: np.random.Generator, rates: FloatArray) -> tuple[IntArray, FloatArray]:
    """Draw the ticks of several clocks in a unit of time: whose they are, and when, clock by clock."""
    counts = generator.poisson(rates)
    return np.repeat(np.arange(len(rates)), counts), generator.random(int(counts.sum()))


def waves(events: Events, nodes: int) -> list[Wave]:
    """Put events into waves that do the same as the events one after the other.

    An event has to come after the last event before it of each of its nodes, and after nothing else. Gradients are what
    takes time, and cost less in large groups: a stage is all averagings that can be done, in as many waves as that
    takes, and then all gradients that can be computed, in one.

    Examples
    --------
    >>> drawn = Events(np.arange(4) / 4, np.array([0, 0, 2, 3]), np.array([-1, 1, -1, -1]))
    >>> [(wave.node.tolist(), wave.partner.tolist()) for wave in waves(drawn, 4)]
    [([0, 2, 3], [-1, -1, -1]), ([0], [1])]
    """
    stage, turn = [0] * nodes, [0] * nodes  # of each node: gradient waves behind it, and averagings since the last
    averagings: dict[tuple[int, int], list[int]] = {}
    gradients: dict[int, list[int]] = {}
    for k, (i, j) in enumerate(zip(events.node.tolist(), events.partner.tolist(), strict=True)):
        if j < 0:
            gradients.setdefault(stage[i], []).append(k)
            stage[i] += 1
            turn[i] = 0
            continue
        # Of two nodes in different stages the one behind has no more to do in its own.
        now = max(stage[i], stage[j])
        place = max(turn[node] for node in (i, j) if stage[node] == now)
        averagings.setdefault((now, place), []).append(k)
        stage[i] = stage[j] = now
        turn[i] = turn[j] = place + 1
    keyed: list[tuple[tuple[int, float], Sequence[int]]] = [*averagings.items()]
    keyed += [((number, np.inf), chosen) for number, chosen in gradients.items()]
    return [
        Wave(events.times[chosen], events.node[chosen], events.partner[chosen])
        for _, chosen in sorted(keyed, key=lambda item: item[0])
    ]
