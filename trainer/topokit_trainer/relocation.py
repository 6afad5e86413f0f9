"""Mixing and moving in one: rows that mix by a matrix and arrive at other ranks than they left from.

What a token of TELEPORTATION is after mixing is needed at its next holder only. So every model goes straight to the
next holders of the tokens that take part of it, in a single phase of messages, instead of being mixed first and handed
over then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from topokit.matrix import IntArray, MixingMatrix
from topokit_trainer.exchange import Route
from topokit_trainer.mixing import MixingOperator

__all__ = ["Relocation", "block_diagonal", "messages_between", "plan_relocation"]


@dataclass(frozen=True)
class Relocation:
    """What one rank does when tokens move.

    Attributes
    ----------
    tokens : ndarray of int64
        Tokens on this rank afterwards, in the order of their rows.
    mixed, moved : Route
        What travels of the values that are mixed, and of those that only move with their token.
    own, carried : ndarray of int64, shape (len(tokens),)
        Where a token's own values are: among the local rows, followed by the received ones.
    operator : MixingOperator
        Mixes the tokens' own values with the rest of them.
    """

    tokens: IntArray
    mixed: Route
    moved: Route
    own: IntArray
    carried: IntArray
    operator: MixingOperator

    @torch.no_grad()
    def mix(self, rows: Tensor, received: Tensor | None) -> Tensor:
        """Give the mixed rows of this rank's new tokens."""
        values = _joined(rows, received)
        result = values[torch.from_numpy(self.own).to(values.device)]
        return self.operator.mix_(result, values)

    @torch.no_grad()
    def carry(self, rows: Tensor, received: Tensor | None) -> Tensor:
        """Give the rows of this rank's new tokens, as they were."""
        values = _joined(rows, received)
        return values[torch.from_numpy(self.carried).to(values.device)]


def _joined(rows: Tensor, received: Tensor | None) -> Tensor:
    if received is None:
        return rows
    return received if not len(rows) else torch.cat((rows, received))


def plan_relocation(matrix: MixingMatrix, before: IntArray, after: IntArray, rank: int) -> Relocation:
    """Work out what a rank sends, receives and computes when tokens mix and move.

    Parameters
    ----------
    matrix : MixingMatrix
        Mixes the tokens, k x k.
    before, after : ndarray of int64, shape (k,)
        The rank on which each token is before and afterwards; on a rank, tokens are rows in order of their number.
    rank : int
        This rank.

    Examples
    --------
    Two tokens average, and the second one moves from rank 1 to rank 2:

    >>> pair = MixingMatrix.from_matrix(np.full((2, 2), 0.5))
    >>> plan = plan_relocation(pair, before=np.array([0, 1]), after=np.array([0, 2]), rank=1)
    >>> plan.tokens.size, plan.mixed.sends, plan.moved.sends
    (0, {0: array([0]), 2: array([0])}, {2: array([0])})
    """
    apart = matrix.target != matrix.source
    target, source, weight = matrix.target[apart], matrix.source[apart], matrix.weight[apart]
    every = np.arange(before.size)
    row = np.empty_like(before)  # the row of each token on the rank where it is now
    for holder in np.unique(before).tolist():
        here = before == holder
        row[here] = np.arange(np.count_nonzero(here))
    tokens = np.flatnonzero(after == rank)
    mixed, place = _route(np.concatenate((source, every)), np.concatenate((target, every)), before, after, row, rank)
    moved, carried = _route(every, every, before, after, row, rank)
    mine = after[target] == rank
    index = place[source[mine]] + tokens.size
    rows = np.searchsorted(tokens, target[mine])
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=tokens.size))))
    operator = MixingOperator(tokens.size, indptr, index, weight[mine])
    return Relocation(tokens, mixed, moved, place[tokens], carried[tokens], operator)


def _route(
    source: IntArray, target: IntArray, before: IntArray, after: IntArray, row: IntArray, rank: int
) -> tuple[Route, IntArray]:
    """Give the route of all sources to where their targets will be, and where each token's values then are here."""
    leaves, arrives = before[source], after[target]
    sends = {
        peer: row[np.unique(source[(leaves == rank) & (arrives == peer)])]
        for peer in np.unique(arrives[(leaves == rank) & (arrives != rank)]).tolist()
    }
    place = np.where(before == rank, row, -1)
    start, receives = int(np.count_nonzero(before == rank)), {}
    for peer in np.unique(leaves[(arrives == rank) & (leaves != rank)]).tolist():
        coming = np.unique(source[(arrives == rank) & (leaves == peer)])
        receives[peer] = row[coming]
        place[coming] = start + np.arange(len(coming))
        start += len(coming)
    return Route(sends, receives), place


def messages_between(matrix: MixingMatrix, before: IntArray, after: IntArray) -> int:
    """Count the models that one node sends to another when tokens mix and move, whatever ranks the nodes are on.

    Examples
    --------
    >>> pair = MixingMatrix.from_matrix(np.full((2, 2), 0.5))
    >>> messages_between(pair, before=np.array([4, 7]), after=np.array([7, 5]))
    3
    """
    apart = matrix.target != matrix.source
    crossing = np.count_nonzero(before[matrix.source[apart]] != after[matrix.target[apart]])
    return int(crossing + np.count_nonzero(before != after))


def block_diagonal(matrices: Sequence[MixingMatrix]) -> MixingMatrix:
    """Put matrices along a diagonal: several teams that do not mix with one another."""
    starts = np.cumsum([0, *(W.nodes for W in matrices)]).tolist()

    def joined(parts: Iterable[IntArray]) -> IntArray:
        return np.concatenate([part + start for part, start in zip(parts, starts, strict=False)])

    return MixingMatrix.from_entries(
        starts[-1],
        joined(W.target for W in matrices),
        joined(W.source for W in matrices),
        np.concatenate([W.weight for W in matrices]),
    )
