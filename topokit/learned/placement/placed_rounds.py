"""Seconds of the rounds of a schedule whose nodes run anywhere on a network: for whole placements, and for swaps.

The model is that of `topokit.network.round_seconds`. Of a swap, what things are busy for is known at once from the
messages of its two nodes; the largest latency through a thing is known too, unless every message that had it goes.
It counts as nothing then, so that the estimate of a swap is never above what the swap brings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topokit.learned.seconds import link_matrices
from topokit.matrix import FloatArray, IntArray
from topokit.network import Network
from topokit.network.messages import MessageList, phases, rounds_looked_at
from topokit.schedule import Schedule

__all__ = ["PlacedRounds", "PlacedState", "rounds_of"]


class _Column(NamedTuple):
    """One thing that a message may use."""

    first: int  # number of the thing of host 0
    at: int  # 0: of the host that sends, 1: of the one that receives, -1: there is one for all hosts
    uses: str  # which messages: "between" hosts, "inside" one, or "all"


class PlacedState(NamedTuple):
    """What a placement keeps busy."""

    place: IntArray  # (n,), of each node of the schedule
    seconds: float
    busy: FloatArray  # (phases, things), seconds without latency
    delay: FloatArray  # (phases, things)
    thing: IntArray  # (columns, messages), what each message uses
    wait: FloatArray  # (columns, messages), and what it waits for there
    squares: FloatArray  # (phases,), mean square of the messages' seconds on their links
    waits: FloatArray  # (phases, things + 1), the largest wait; the last stands for nothing
    times: IntArray  # (phases, things + 1), how many messages have it


def rounds_of(schedule: Schedule) -> list[tuple[MessageList, float]]:
    """Give the phases that differ of a schedule's rounds, and the part of the rounds that have each.

    Of rounds drawn at random the first 100 are looked at.

    Examples
    --------
    >>> from topokit.designer import design
    >>> [(messages.source.size, weight) for messages, weight in rounds_of(design("one-peer-exponential", 4))]
    [(4, 0.5), (4, 0.5)]
    """
    rounds = rounds_looked_at(schedule.rule)
    found: dict[tuple[bytes, ...], tuple[MessageList, int]] = {}
    for t in rounds:
        for messages in phases(schedule.rule, t):
            key = tuple(values.tobytes() for values in messages)
            found[key] = messages, found.get(key, (messages, 0))[1] + 1
    return [(messages, count / len(rounds)) for messages, count in found.values()]


class PlacedRounds:
    """The messages of a schedule's rounds, and what they keep busy for each placement of the nodes.

    Parameters
    ----------
    rounds : sequence of (MessageList, float)
        Messages that start together, and in what part of the rounds they do; `rounds_of` gives those of a schedule.
    network : Network
    size : float
        Bytes of a vector.

    Attributes
    ----------
    gaps : bool
        Whether some pairs of nodes have no link; a message that needs one takes `gap` seconds.
    traffic : ndarray of float64, shape (n, n)
        Vectors from node to node, in the mean over rounds.
    """

    def __init__(self, rounds: Sequence[tuple[MessageList, float]], network: Network, size: float) -> None:
        self.network, self.size = network, size
        self.nodes, self.host_of, self.hosts = network.nodes, network.host_of, len(network.hosts)
        self._gather(rounds)
        bandwidth, latency = link_matrices(network)
        missing = np.isnan(bandwidth)
        np.fill_diagonal(missing, False)
        self.gaps = bool(missing.any())
        self.transfer = np.where(np.isnan(bandwidth), 0.0, size / bandwidth)
        self.latency = np.where(np.isnan(latency), 0.0, latency)
        self.missing = missing
        self._columns: list[_Column] = []
        self._cost: FloatArray = np.zeros(0)
        self._make_columns(network, size)
        # More than any round takes that needs no missing link.
        vectors = np.bincount(self.phase, self.vectors, minlength=len(self.weight)).max(initial=0.0)
        most = (self.transfer.max() + 2 * self._cost.max(initial=0.0)) * vectors + self.latency.max()
        self.gap = 10 * float(most) or 1.0
        if self.gaps:
            self._add(np.array([self.gap]), "missing", -1)
        self.things = self._cost.size
        self._cost = np.append(self._cost, 0.0)  # of nothing

    def _gather(self, rounds: Sequence[tuple[MessageList, float]]) -> None:
        self.weight = np.array([weight for _, weight in rounds])
        lists = [messages for messages, _ in rounds]
        self.source, self.target = (np.concatenate([getattr(x, end) for x in lists]) for end in ("source", "target"))
        self.vectors = np.concatenate([messages.vectors for messages in lists])
        self.phase = np.repeat(np.arange(len(lists)), [messages.source.size for messages in lists])
        self.messages = np.maximum(1, np.bincount(self.phase, minlength=len(lists)))
        n = self.nodes
        pairs, vectors = self.source * n + self.target, self.vectors * self.weight[self.phase]
        self.traffic: FloatArray = np.bincount(pairs, vectors, minlength=n * n).astype(np.float64).reshape(n, n)
        handled = [np.bincount(np.concatenate((x.source, x.target)), minlength=n).max() for x in lists]
        # Wherever the busiest node runs, it handles as many messages.
        self.overhead = self.network.overhead * float(self.weight @ np.maximum(0, np.array(handled) - 1))
        ends = np.concatenate((self.source, self.target))
        self._messages_of = np.argsort(ends, kind="stable") % self.source.size
        self._begin = np.concatenate(([0], np.cumsum(np.bincount(ends, minlength=n))))

    def _make_columns(self, network: Network, size: float) -> None:
        send, receive, both, inside = (
            size / np.array([getattr(host, what) for host in network.hosts])
            for what in ("send", "receive", "both", "inside")
        )
        self._add(send, "between", 0)
        self._add(receive, "between", 1)
        self._add(both, "between", 0, 1)
        self._add(inside, "inside", 0)
        self._add(np.array([size / network.fabric]), "between", -1)
        self.links = len(self._columns)
        self._add(np.zeros(1), "all", -1)  # the links: a message waits there for all of its seconds

    def _add(self, cost: FloatArray, uses: str, *ends: int) -> None:
        if (cost > 0).any() or uses == "all":
            self._columns += [_Column(self._cost.size, at, uses) for at in ends]
            self._cost = np.concatenate((self._cost, cost))

    def _uses(self, messages: IntArray, source: IntArray, target: IntArray) -> tuple[IntArray, FloatArray]:
        """Give the things that messages between places use, and what they wait for there; shape (columns, ...)."""
        thing = np.empty((len(self._columns), *source.shape), dtype=np.int64)
        delay = np.empty(thing.shape)
        hosts = self.host_of[source], self.host_of[target]
        between = hosts[0] != hosts[1]
        latency = self.latency[source, target]
        for k, column in enumerate(self._columns):
            thing[k] = column.first + (hosts[column.at] if column.at >= 0 else 0)
            if column.uses == "all":
                delay[k] = self.vectors[messages] * self.transfer[source, target] + latency
                continue
            used = self.missing[source, target] if column.uses == "missing" else between ^ (column.uses == "inside")
            # Where a rate has no limit, a message waits for its link at least as long.
            used = used & (self._cost[thing[k]] > 0)
            thing[k] = np.where(used, thing[k], self.things)
            delay[k] = np.where(used, latency, 0.0)
        return thing, delay

    def _busy(self, count: NDArray[Any]) -> FloatArray:
        """Turn vectors through things, shape (..., phases, things and nothing), into seconds, and leave out nothing."""
        return np.asarray(count[..., :-1] * self._cost[:-1], dtype=np.float64)

    def at(self, place: IntArray) -> PlacedState:
        """Find out what a placement keeps busy.

        Parameters
        ----------
        place : ndarray of int64, shape (n,)
            Node of the network for each node of the schedule.
        """
        thing, delay = self._uses(np.arange(self.source.size), place[self.source], place[self.target])
        shape = (self.weight.size, self.things + 1)
        at = (self.phase * shape[1] + thing).ravel()
        count = np.bincount(at, np.tile(self.vectors, len(thing)), minlength=shape[0] * shape[1])
        longest = np.zeros(count.size)
        np.maximum.at(longest, at, delay.ravel())
        times = np.bincount(at[delay.ravel() == longest[at]], minlength=count.size).astype(np.int64)
        busy, waits = self._busy(count.reshape(shape)), longest.reshape(shape)
        squares = np.bincount(self.phase, delay[self.links] ** 2, minlength=shape[0]) / self.messages
        seconds = float(self.weight @ (busy + waits[:, :-1]).max(axis=1)) + self.overhead
        return PlacedState(place, seconds, busy, waits[:, :-1], thing, delay, squares, waits, times.reshape(shape))

    def seconds(self, places: IntArray) -> FloatArray:
        """Give the mean seconds of a round for each of many placements.

        Parameters
        ----------
        places : ndarray of int64, shape (B, n)

        Returns
        -------
        ndarray of float64, shape (B,)
        """
        return np.array([self.at(place).seconds for place in places])

    def swaps(self, state: PlacedState, first: IntArray, second: IntArray) -> tuple[FloatArray, FloatArray]:
        """Estimate what things are busy for once two nodes have changed places, from below.

        Parameters
        ----------
        state : PlacedState
        first, second : ndarray of int64, shape (B,)
            Nodes of the schedule.

        Returns
        -------
        times : ndarray of float64, shape (B, phases, things)
            Seconds.
        squares : ndarray of float64, shape (B, phases)
            Mean square of the messages' seconds on their links; exact.
        """
        shape = (len(first), self.weight.size, self.things + 1)
        row, messages = self._touched(first, second)
        place = np.tile(state.place, (len(first), 1))
        own = np.arange(len(first))
        place[own, first], place[own, second] = state.place[second], state.place[first]
        thing, delay = self._uses(messages, place[row, self.source[messages]], place[row, self.target[messages]])
        phase = self.phase[messages]
        base = (row * shape[1] + phase) * shape[2]
        before = state.thing[:, messages]
        gone, come = (base + before).ravel(), (base + thing).ravel()
        vectors, size = np.tile(self.vectors[messages], len(thing)), math.prod(shape)
        change = np.bincount(come, vectors, minlength=size) - np.bincount(gone, vectors, minlength=size)
        # What is left of the messages with the largest delay.
        longest = state.wait[:, messages] == state.waits[phase, before]
        left = np.bincount(gone, longest.ravel(), minlength=size).reshape(shape) < state.times
        waits = np.where(left, state.waits, 0.0).ravel()
        np.maximum.at(waits, come, delay.ravel())
        more = delay[self.links] ** 2 - state.wait[self.links, messages] ** 2
        squares = np.bincount(row * shape[1] + phase, more, minlength=shape[0] * shape[1]).reshape(shape[:2])
        times = state.busy + self._busy(change.reshape(shape)) + waits.reshape(shape)[..., :-1]
        return times, state.squares + squares / self.messages

    def _touched(self, first: IntArray, second: IntArray) -> tuple[IntArray, IntArray]:
        """Give the messages of the two nodes of each pair, once each: (number of the pair, message)."""
        nodes = np.stack((first, second), axis=1).ravel()
        begin, length = self._begin[nodes], self._begin[nodes + 1] - self._begin[nodes]
        of = np.repeat(np.arange(nodes.size), length)
        place = np.arange(of.size) - np.repeat(np.cumsum(length) - length, length)
        messages = self._messages_of[begin[of] + place]
        # A message between the two is counted as the first one's.
        other = first[of // 2]
        keep = (of % 2 == 0) | ((self.source[messages] != other) & (self.target[messages] != other))
        return (of // 2)[keep], messages[keep]
