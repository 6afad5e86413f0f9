"""Who hears what of whom, for methods in which listeners keep track of a speaker.

A node says the same to all that listen to it in the same rounds: they are one channel. On a graph that stays the same a
node has one channel, and a message goes to all of its neighbours; in one-peer rounds it has one for each partner. What
is kept of a channel, by the node and by its listeners, changes only in rounds in which the channel is open, so that
nothing has to be sent to those who are not concerned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from topokit.errors import InputError
from topokit.kinds import Matchings
from topokit.kinds.base import pair_averages
from topokit.matrix import IntArray, MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer.exchange import RoundPlan, Route, plan_round
from topokit_trainer.world import World

__all__ = ["ChannelPlans", "ChannelRound", "Channels", "require_channels"]

MAX_KEPT = 1024  # plans of rounds that repeat


class Channels:
    """The channels of all nodes: row c * n + i is channel c of node i.

    Parameters
    ----------
    schedule : Schedule
        Symmetric, with one state a node.
    apart : bool
        Whether every neighbour has a channel of its own.

    Attributes
    ----------
    nodes : int
        Number of nodes n.
    count : int
        Channels of a node, at most.

    Examples
    --------
    >>> from topokit.designer import design
    >>> Channels(design("ring", 8)).count, Channels(design("ring", 8), apart=True).count
    (1, 2)
    >>> Channels(design("one-peer-hypercube", 8)).count
    3
    """

    def __init__(self, schedule: Schedule, apart: bool = False) -> None:
        self.nodes = n = schedule.nodes
        parts = [_edges(W) for W in _occasions(schedule)]
        self._edges = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *parts]))  # listener * n + speaker
        open_in = np.stack([np.isin(self._edges, part) for part in parts])
        if apart:
            when: IntArray = np.arange(self._edges.size)
        else:
            packed = np.packbits(open_in, axis=0)
            when = np.unique(packed, axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)
        # Channels of a speaker are numbered in the order in which they first open.
        first = open_in.argmax(axis=0)
        speaker = self._edges % n
        order = np.lexsort((when, first, speaker))
        new_speaker = np.diff(speaker[order], prepend=-1) != 0
        new_channel = new_speaker | (np.diff(when[order], prepend=-1) != 0)
        opened = np.cumsum(new_channel) - 1
        self._channel = np.empty_like(self._edges)
        self._channel[order] = opened - np.maximum.accumulate(np.where(new_speaker, opened, 0))
        self.count = int(self._channel.max(initial=0)) + 1

    def of(self, listener: IntArray, speaker: IntArray) -> IntArray:
        """Give the channel by which each speaker is heard by its listener."""
        return self._channel[np.searchsorted(self._edges, listener * self.nodes + speaker)]

    def spread(self, matrix: MixingMatrix) -> MixingMatrix:
        """Give a round's matrix on channels: what i takes from j, by the channel of each that the other hears.

        Row sums are one, as the weights that a row leaves are its own.
        """
        target, source, weight = _apart(matrix)
        if self.count == 1 and target.size == np.count_nonzero(matrix.target != matrix.source):
            return matrix  # without weights of zero, over which nothing would be said
        n = self.nodes
        row = self.of(source, target) * n + target
        column = self.of(target, source) * n + source
        rows = np.arange(self.count * n)
        own = 1 - np.bincount(row, weights=weight, minlength=rows.size)
        return MixingMatrix.from_entries(
            rows.size, np.concatenate((row, rows)), np.concatenate((column, rows)), np.concatenate((weight, own))
        )

    @cached_property
    def everything(self) -> MixingMatrix:
        """All channels open at once, with equal weights."""
        n, listener, speaker = self.nodes, self._edges // self.nodes, self._edges % self.nodes
        ones = np.ones(self._edges.size) / n
        rows = np.arange(n)
        own = 1 - np.bincount(listener, weights=ones, minlength=n)
        return self.spread(
            MixingMatrix.from_entries(
                n, np.concatenate((listener, rows)), np.concatenate((speaker, rows)), np.concatenate((ones, own))
            )
        )


@dataclass(frozen=True)
class ChannelRound:
    """What one rank does in one round.

    Attributes
    ----------
    plan : RoundPlan
        Its route is one of the rows (channel, local node), its operator one of those that are open; received rows are
        in the order in which they arrive.
    rows : ndarray of int64
        Local rows that are open.
    owners : ndarray of int64, shape of `rows`
        The local node of each.
    listeners : ndarray of int64, shape of `rows`
        How many nodes hear each.
    kept : ndarray of int64
        For each row that arrives, its place among the `ChannelPlans.arriving` of all rounds.
    """

    plan: RoundPlan
    rows: IntArray
    owners: IntArray
    listeners: IntArray
    kept: IntArray


class ChannelPlans:
    """What one rank does with channels, round by round.

    Parameters
    ----------
    channels : Channels
    schedule : Schedule
    world : World
    kept : int
        Plans of rounds drawn at random to keep: these do not come back, unless a run is tried again and again.

    Attributes
    ----------
    local : range
        This rank's nodes.
    rows : int
        Channels of the nodes of this rank: row c * len(local) + k is channel c of the k-th.
    everything : Route
        The messages of a round in which all channels are open.
    arriving : list of (int, int)
        Node and channel of each row that ever arrives, in order.
    """

    def __init__(self, channels: Channels, schedule: Schedule, world: World, kept: int = 1) -> None:
        self.channels, self._schedule, self._world = channels, schedule, world
        self._most = kept if schedule.period is None else MAX_KEPT
        self.local = world.nodes_of(world.rank, schedule.nodes)
        self._share = len(self.local)
        self.rows = channels.count * self._share
        self.everything: Route = self._plan(channels.everything).route
        self._arriving = _arrivals(self.everything, self.rows)
        rank, row = self._arriving // self.rows, self._arriving % self.rows
        nodes, numbers = rank * self._share + row % self._share, row // self._share
        self.arriving: list[tuple[int, int]] = list(zip(nodes.tolist(), numbers.tolist(), strict=True))
        self._made: dict[int, ChannelRound] = {}

    def node_of(self, row: int) -> tuple[int, int]:
        """Give node and channel of a local row."""
        return self.local[row % self._share], row // self._share

    def __call__(self, round_number: int) -> ChannelRound:
        """Give what there is to do in a round."""
        period = self._schedule.period
        place = round_number if period is None else round_number % period
        if place not in self._made:
            if len(self._made) >= self._most:
                self._made.clear()
            self._made[place] = self._round(self._schedule.round(place))
        return self._made[place]

    def _plan(self, spread: MixingMatrix) -> RoundPlan:
        return plan_round(spread, self._world.rank, self._world.size, self.channels.count)

    def _round(self, matrix: MixingMatrix) -> ChannelRound:
        spread, n = self.channels.spread(matrix), self.channels.nodes
        heard = np.bincount(_apart(spread)[1], minlength=spread.nodes)
        by_channel = heard.reshape(-1, n)[:, self.local.start : self.local.stop].reshape(-1)
        rows = np.flatnonzero(by_channel)
        plan = self._plan(spread)
        kept = np.searchsorted(self._arriving, _arrivals(plan.route, self.rows))
        if rows.size < self.rows:
            plan = replace(plan, operator=plan.operator.restricted(rows))
        return ChannelRound(plan, rows, rows % self._share, by_channel[rows], kept)


def require_channels(schedule: Schedule, algorithm: str) -> None:
    """Refuse schedules whose rounds are not symmetric, or may connect any two nodes.

    Raises
    ------
    InputError
    """
    if schedule.rule.connections() is None:
        raise InputError(
            f"{algorithm}: every node keeps track of those it may hear, in {schedule.name} all others; "
            "take a schedule of given graphs (cyclic, sampled from a list, or matchings)"
        )
    if not all(map(_is_symmetric, _occasions(schedule))):
        raise InputError(f"{algorithm} needs symmetric mixing matrices, and those of {schedule.name} are not")


def _occasions(schedule: Schedule) -> Sequence[MixingMatrix]:
    """Give matrices of whose edges all are open together or not at all."""
    rule = schedule.rule
    if isinstance(rule, Matchings):
        chances = list(zip(rule.matchings, rule.probabilities, strict=True))
        always = [edges for edges, p in chances if p == 1]
        live = [np.concatenate([np.zeros((0, 2), dtype=np.int64), *always])]
        live += [edges for edges, p in chances if 0 < p < 1]
        return [pair_averages(rule.nodes, edges, rule.weight) for edges in live]
    return rule.connections() or ()


def _apart(matrix: MixingMatrix) -> tuple[IntArray, IntArray, NDArray[np.float64]]:
    apart = (matrix.target != matrix.source) & (matrix.weight != 0)
    return matrix.target[apart], matrix.source[apart], matrix.weight[apart]


def _edges(matrix: MixingMatrix) -> IntArray:
    target, source, _ = _apart(matrix)
    return target * matrix.nodes + source


def _arrivals(route: Route, rows: int) -> IntArray:
    """Give the numbers of the rows that arrive, by rank and row there."""
    parts = [peer * rows + there for peer, there in sorted(route.receives.items())]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _is_symmetric(matrix: MixingMatrix) -> bool:
    target, source, weight = _apart(matrix)
    there, back = np.lexsort((source, target)), np.lexsort((target, source))
    return (
        np.array_equal(target[there], source[back])
        and np.array_equal(source[there], target[back])
        and np.allclose(weight[there], weight[back], rtol=0, atol=1e-12)
    )
