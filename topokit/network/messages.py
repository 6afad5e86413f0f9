"""The messages of a round, whatever the kind of schedule: from which node to which, and how many vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from topokit.errors import InputError
from topokit.kinds import Kind, Pairwise, Teleport
from topokit.matrix import FloatArray, IntArray, MixingMatrix

__all__ = ["DRAWN", "MessageList", "messages_of_matrix", "phases", "rounds_looked_at"]

DRAWN = 100  # rounds that the figures of random schedules are taken from


class MessageList(NamedTuple):
    """Messages that start together.

    Attributes
    ----------
    source, target : ndarray of int64, shape (m,)
    vectors : ndarray of float64, shape (m,)
        Vectors of the model's length in each message.
    """

    source: IntArray
    target: IntArray
    vectors: FloatArray


def messages_of_matrix(W: MixingMatrix, copies: int = 1) -> MessageList:
    """Give who sends to whom in a round: a node sends each of its states that another makes use of, once.

    Examples
    --------
    >>> from topokit.designer import design
    >>> messages_of_matrix(design("ceca-2p", 3).round(0), copies=2).source
    array([2, 0, 1])
    """
    apart = (W.target != W.source) & (W.weight != 0)
    if copies == 1:
        source, target = W.source[apart], W.target[apart]
        return MessageList(source, target, np.ones(source.size))
    n = W.nodes // copies
    apart &= W.target % n != W.source % n
    states = np.unique(np.stack((W.target[apart] % n, W.source[apart])), axis=1)
    pairs, vectors = np.unique(np.stack((states[0], states[1] % n)), axis=1, return_counts=True)
    return MessageList(pairs[1], pairs[0], vectors.astype(np.float64))


def rounds_looked_at(rule: Kind) -> range:
    """Give the rounds that figures are taken from: a period, or the first 100 of what is drawn at random."""
    return range(rule.period or DRAWN)


def phases(rule: Kind, t: int) -> Iterator[MessageList]:
    """Give the messages of round t, in the phases that wait for each other: hand-overs come before mixing.

    Raises
    ------
    InputError
        If the schedule has no rounds in which nodes wait for each other (pairwise gossip).
    """
    if isinstance(rule, Pairwise):
        raise InputError("pairwise gossip is asynchronous: it has events that overlap, not rounds")
    if isinstance(rule, Teleport) and t > 0:
        before, now = np.concatenate(rule.holders(t - 1)), np.concatenate(rule.holders(t))
        moved = before != now
        yield MessageList(before[moved], now[moved], np.ones(int(moved.sum())))
    yield messages_of_matrix(rule.round(t), rule.copies)
