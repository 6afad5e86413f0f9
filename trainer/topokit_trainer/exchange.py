"""One gossip round between ranks: which rows go where, and the messages that carry them.

The plan of a round is worked out from the schedule alone, on every rank by itself: no rank asks another what it will
send.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from topokit.matrix import IntArray, MixingMatrix
from topokit.traffic import traffic
from topokit_trainer.connections import is_lost_contact
from topokit_trainer.mixing import MixingOperator
from topokit_trainer.world import PeerLostError, World

BoolArray = NDArray[np.bool_]

__all__ = ["Exchange", "Messages", "Plans", "RoundPlan", "Route", "plan_round"]


@dataclass(frozen=True)
class Route:
    """Which rows one rank sends where, and how many it gets from whom.

    Attributes
    ----------
    sends : dict of int to ndarray
        For each rank to send to, the local rows it needs.
    receives : dict of int to ndarray
        For each rank to receive from, the rows there that it will send.
    """

    sends: dict[int, IntArray]
    receives: dict[int, IntArray]

    @property
    def needed(self) -> bool:
        """Whether anything is sent or received."""
        return bool(self.sends or self.receives)

    def narrowed(self, place: IntArray, heard: BoolArray) -> Route:
        """Leave out rows that stay silent.

        Parameters
        ----------
        place : ndarray of int64
            For each local row, its number among those that travel; -1 where it stays silent.
        heard : ndarray of bool
            For each row that would arrive, by rank and in its order, whether it does.

        Examples
        --------
        >>> import numpy as np
        >>> route = Route({1: np.array([0, 2])}, {1: np.array([0, 1, 3])})
        >>> route.narrowed(np.array([-1, 0, 1]), np.array([True, False, True]))
        Route(sends={1: array([1])}, receives={1: array([0, 3])})
        """
        sends = {peer: place[rows][place[rows] >= 0] for peer, rows in self.sends.items()}
        receives, start = {}, 0
        for peer, rows in sorted(self.receives.items()):
            receives[peer] = rows[heard[start : start + len(rows)]]
            start += len(rows)
        return Route(
            {peer: rows for peer, rows in sends.items() if len(rows)},
            {peer: rows for peer, rows in receives.items() if len(rows)},
        )


@dataclass(frozen=True)
class RoundPlan:
    """What one rank does in one round.

    Attributes
    ----------
    operator : MixingOperator
        Mixes local rows with received ones.
    route : Route
        Rows that have to travel, in order of node.
    messages : int
        Messages of the whole round, of all nodes on all ranks.
    gain : Tensor of float64, shape (rows, 1), or None
        Sums of the rows of the matrix less one; None where all are one.
    """

    operator: MixingOperator
    route: Route
    messages: int
    gain: Tensor | None = None

    @torch.no_grad()
    def mix_(self, x: Tensor, received: Tensor | None = None) -> None:
        """Replace local rows by the sums W asks for."""
        if self.gain is None:
            self.operator.mix_(x, received)
            return
        # The operator knows the weights of others only, and takes the rest to be the row's own.
        change = self.operator.correction(x, received)
        change.addcmul_(self.gain.to(change), x.to(change.dtype))
        x.add_(change)


def plan_round(matrix: MixingMatrix, rank: int, size: int, copies: int = 1) -> RoundPlan:
    """Work out what a rank sends, receives and computes in a round; ranks hold equal, contiguous numbers of nodes.

    A row that several nodes of another rank listen to is sent there once.

    Parameters
    ----------
    matrix : MixingMatrix
        With copies * n rows; row c * n + i is copy c of node i.
    rank, size : int
        This rank, and how many there are.
    copies : int
        States that a node keeps. Local rows are copy 0 of the rank's nodes, then copy 1.

    Examples
    --------
    >>> from fractions import Fraction
    >>> half = [Fraction(1, 2)] * 4
    >>> plan = plan_round(MixingMatrix.from_fractions(2, [0, 0, 1, 1], [0, 1, 0, 1], half), rank=0, size=2)
    >>> plan.route.sends, plan.route.receives
    ({1: array([0])}, {1: array([0])})
    """
    nodes = matrix.nodes // copies
    share = nodes // size
    apart = matrix.target != matrix.source
    target, source, weight = matrix.target[apart], matrix.source[apart], matrix.weight[apart]

    def place(rows: IntArray) -> tuple[IntArray, IntArray]:
        copy, node = rows // nodes, rows % nodes
        return node // share, copy * share + node % share

    to_rank, to_row = place(target)
    from_rank, from_row = place(source)
    sends = {}
    for peer in np.unique(to_rank[(from_rank == rank) & (to_rank != rank)]).tolist():
        sends[peer] = np.unique(from_row[(from_rank == rank) & (to_rank == peer)])
    mine = to_rank == rank
    remote = mine & (from_rank != rank)
    order = from_rank[remote] * (copies * share) + from_row[remote]  # by rank, and there as the sender sorts
    arriving = np.unique(order)
    peers = arriving // (copies * share)

    index = from_row[mine].copy()
    index[remote[mine]] = copies * share + np.searchsorted(arriving, order)
    rows = to_row[mine]
    if copies > 1:  # entries are sorted by target, and so are local rows of one copy only
        by_row = np.argsort(rows, kind="stable")
        rows, index, own_weight = rows[by_row], index[by_row], weight[mine][by_row]
    else:
        own_weight = weight[mine]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=copies * share))))
    operator = MixingOperator(copies * share, indptr, index, own_weight)
    receives = {peer: arriving[peers == peer] % (copies * share) for peer in np.unique(peers).tolist()}
    route = Route(sends, receives)
    return RoundPlan(operator, route, traffic(matrix, copies).messages, _gain(matrix, place, rank, copies * share))


def _gain(
    matrix: MixingMatrix, place: Callable[[IntArray], tuple[IntArray, IntArray]], rank: int, rows: int
) -> Tensor | None:
    sums = np.bincount(matrix.target, weights=matrix.weight, minlength=matrix.nodes) - 1
    if np.abs(sums).max() < 1e-9:  # rounding, and the tolerance of schedules
        return None
    on, row = place(np.arange(matrix.nodes))
    gain = np.empty((rows, 1))
    gain[row[on == rank], 0] = sums[on == rank]
    return torch.from_numpy(gain)


class Plans:
    """The plans of a sequence of matrices on this rank, each worked out when it is first needed.

    Parameters
    ----------
    matrix : callable
        Gives the matrix of round t.
    period : int or None
        Rounds after which they repeat; None where they do not.
    world : World
    copies : int
        States that a node keeps.
    """

    def __init__(
        self, matrix: Callable[[int], MixingMatrix], period: int | None, world: World, copies: int = 1
    ) -> None:
        self._matrix, self._period, self._world, self._copies = matrix, period, world, copies
        self._made: dict[int, RoundPlan] = {}

    def __call__(self, round_number: int) -> RoundPlan:
        """Give the plan of a round."""
        place = round_number if self._period is None else round_number % self._period
        if place not in self._made:
            if self._period is None:
                self._made.clear()  # rounds drawn at random do not come back
            plan = plan_round(self._matrix(place), self._world.rank, self._world.size, self._copies)
            if plan.gain is not None:
                plan = replace(plan, gain=plan.gain.to(self._world.device))
            self._made[place] = plan
        return self._made[place]


class Messages:
    """Messages of one round under way; `wait` gives the received rows of each tensor."""

    def __init__(
        self,
        works: list[tuple[dist.Work, int | None]],
        kept: list[Tensor],
        received: list[Tensor | None],
        device: torch.device,
    ) -> None:
        self._works, self._kept, self._received, self._device = works, kept, received, device

    def wait(self) -> list[Tensor | None]:
        """Wait until everything is sent and received; the rows stay as they are until the next round starts.

        Raises
        ------
        PeerLostError
            If a peer is lost or too slow.
        """
        for work, peer in self._works:
            try:
                work.wait()
            except RuntimeError as error:
                if not is_lost_contact(error):
                    raise
                raise PeerLostError("a round of gossip", error, peer) from error
        self._works.clear()
        self._kept.clear()
        return [None if r is None else r.to(self._device) for r in self._received]


class Exchange:
    """Sends and receives rows of tensors, one round at a time.

    Parameters
    ----------
    world : World

    Attributes
    ----------
    bytes_sent : int
        What this rank has put on the wire so far.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.bytes_sent = 0
        self._inboxes: dict[tuple[int, torch.Size, torch.dtype], Tensor] = {}

    def start(self, parts: Sequence[tuple[Route, Sequence[Tensor]]]) -> Messages:
        """Start one round of messages; rows must stay as they are until the messages have been waited for.

        Parameters
        ----------
        parts : sequence of (Route, sequence of Tensor)
            Tensors whose rows travel, and by which route; all of them in one phase.
        """
        tensors = [(route, tensor.detach()) for route, several in parts for tensor in several]
        if not any(route.needed for route, _ in tensors):
            return Messages([], [], [None] * len(tensors), self.world.device)
        place = torch.device("cpu") if self.world.staged else self.world.device
        receives: list[dist.P2POp] = []
        sends: list[dist.P2POp] = []
        kept: list[Tensor] = []
        received: list[Tensor | None] = []
        # Every rank posts in the same order, by tensor and then by peer, so that messages between two ranks match.
        for number, (route, values) in enumerate(tensors):
            inbox = self._inbox(number, sum(map(len, route.receives.values())), values, place)
            start = 0
            for peer, arriving in sorted(route.receives.items()):
                receives.append(dist.P2POp(dist.irecv, inbox[start : start + len(arriving)], peer))
                start += len(arriving)
            received.append(inbox if start else None)
            for peer, rows in sorted(route.sends.items()):
                outgoing = values[int(rows[0])] if len(rows) == 1 else values[torch.from_numpy(rows).to(values.device)]
                outgoing = outgoing.contiguous().to(place)
                sends.append(dist.P2POp(dist.isend, outgoing, peer))
                kept.append(outgoing)
                self.bytes_sent += outgoing.numel() * outgoing.element_size()
        try:
            # Receives first: gloo takes in at once what arrives for a receive that is there already.
            works = dist.batch_isend_irecv(receives + sends)
        except RuntimeError as error:
            if not is_lost_contact(error):
                raise
            raise PeerLostError("a round of gossip", error) from error
        # NCCL gives one work for all messages together.
        peers = [message.peer for message in receives + sends] if len(works) > 1 else [None] * len(works)
        return Messages(list(zip(works, peers, strict=True)), kept, received, self.world.device)

    def _inbox(self, number: int, rows: int, values: Tensor, place: torch.device) -> Tensor:
        """Give memory for what arrives; fresh memory in every round cost half of a round on a fast network."""
        key = number, values.shape[1:], values.dtype
        kept = self._inboxes.get(key)
        if kept is None or len(kept) < rows:
            kept = self._inboxes[key] = torch.empty((rows, *values.shape[1:]), dtype=values.dtype, device=place)
        return kept[:rows]
