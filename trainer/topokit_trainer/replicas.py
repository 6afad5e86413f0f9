"""Replicas: what listeners know of a node, the same bits at the node itself and at all who hear it.

Speakers tell, packed, how far they have moved away from their replica; everybody, the speaker included, adds what the
packed bytes stand for. What is not said yet stays in the difference, and is said later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from topokit_trainer.channels import ChannelPlans, ChannelRound
from topokit_trainer.compression.codec import Codec, Key
from topokit_trainer.exchange import Exchange, Messages

__all__ = ["Replicas", "Said"]


@dataclass(frozen=True)
class Said:
    """Messages of one round from this rank's nodes, a message to each listener.

    Attributes
    ----------
    messages, silent : int
        Those that carried something, and those that did not.
    packed : int
        The first, each counted once for all of its listeners.
    packed_silent : int
        The same of the others.
    """

    messages: int
    silent: int
    packed: int
    packed_silent: int


class Replicas:
    """The replicas of this rank's nodes, one for each channel, and of those they hear.

    Parameters
    ----------
    plans : ChannelPlans
    codec : Codec
    exchange : Exchange
    start : sequence of Tensor, each of shape (columns,)
        Where all replicas begin.
    triggered : bool
        Whether nodes may stay silent: then every message begins with a byte that says so.

    Attributes
    ----------
    own : list of Tensor, each of shape (plans.rows, columns)
    heard : list of Tensor, each of shape (len(plans.arriving), columns)
    """

    def __init__(
        self, plans: ChannelPlans, codec: Codec, exchange: Exchange, start: Sequence[Tensor], triggered: bool
    ) -> None:
        self.plans, self.codec, self.exchange, self.triggered = plans, codec, exchange, triggered
        self.own = [row.repeat(plans.rows, 1) for row in start]
        self.heard = [row.repeat(len(plans.arriving), 1) for row in start]

    def fetch(self) -> None:
        """Take over the replicas of those who are heard as they have them themselves."""
        received = self.exchange.start([(self.plans.everything, self.own)]).wait()
        for heard, rows in zip(self.heard, received, strict=True):
            if rows is not None:
                heard.copy_(rows)

    @torch.no_grad()
    def update(self, values: Sequence[Tensor], round_number: int, threshold: float = 0.0) -> Said:
        """Say what has changed, and hear what others say.

        Parameters
        ----------
        values : sequence of Tensor, each of shape (local nodes, columns)
        round_number : int
        threshold : float
            With a trigger: channels whose squared difference is not above it stay silent.
        """
        turn = self.plans(round_number)
        differences = [self._difference(turn, x, own) for x, own in zip(values, self.own, strict=True)]
        speaks = np.ones(turn.rows.size, dtype=bool)
        if self.triggered:
            squares = torch.stack([_squares(d) for d in differences]).sum(0)
            # What is not a number must be told as well: silence would hide that the run has diverged.
            speaks = (~(squares <= threshold)).cpu().numpy()
            if not speaks.all():
                chosen = torch.from_numpy(np.flatnonzero(speaks)).to(differences[0].device)
                differences = [d[chosen] for d in differences]
        keys: list[Key] = [(*self.plans.node_of(row), round_number) for row in turn.rows[speaks].tolist()]
        packed = self.codec.encode(differences, keys)
        messages, kept = self._send(turn, packed, speaks)
        self.codec.add_(self.own, _rows(turn.rows[speaks], self.plans.rows, packed), packed, keys)
        (received,) = messages.wait()
        if received is not None:
            keys = [(*self.plans.arriving[place], round_number) for place in kept.tolist()]
            self.codec.add_(self.heard, _rows(kept, len(self.plans.arriving), packed), received, keys)
        heard, unheard = int(turn.listeners[speaks].sum()), int(turn.listeners[~speaks].sum())
        return Said(heard, unheard, int(speaks.sum()), int((~speaks).sum()))

    def change(self, round_number: int) -> list[Tensor]:
        """Give sum_j w_ij (hat x_j - hat x_i) of the round, shape (local nodes, columns) for each stack."""
        turn, share = self.plans(round_number), len(self.plans.local)
        changes = []
        for own, heard in zip(self.own, self.heard, strict=True):
            rows, owners, kept = (torch.from_numpy(part).to(own.device) for part in (turn.rows, turn.owners, turn.kept))
            speakers = own if len(rows) == len(own) else own[rows]
            others = heard if len(kept) == len(heard) else heard[kept]
            change = turn.plan.operator.correction(speakers, others if len(kept) else None)
            if not np.array_equal(turn.owners, np.arange(share)):  # several channels of a node, or none
                change = change.new_zeros((share, change.shape[1])).index_add_(0, owners, change)
            changes.append(change)
        return changes

    def _difference(self, turn: ChannelRound, x: Tensor, own: Tensor) -> Tensor:
        if turn.rows.size == len(own) == len(x):
            return x - own
        rows, owners = (torch.from_numpy(part).to(x.device) for part in (turn.rows, turn.owners))
        return x[owners] - own[rows]

    def _send(self, turn: ChannelRound, packed: Tensor, speaks: np.ndarray) -> tuple[Messages, np.ndarray]:
        """Start to send packed rows; give the messages, and the places of the rows that will arrive."""
        route = turn.plan.route
        spoken = turn.rows[speaks]
        place = np.full(self.plans.rows, -1)
        place[spoken] = np.arange(spoken.size)
        hears = np.ones(turn.kept.size, dtype=bool)
        if self.triggered:
            flags = torch.from_numpy((place >= 0).astype(np.uint8)).unsqueeze(1).to(packed.device)
            (told,) = self.exchange.start([(route, [flags])]).wait()
            if told is not None:
                hears = told[:, 0].cpu().numpy().astype(bool)
        return self.exchange.start([(route.narrowed(place, hears), [packed])]), turn.kept[hears]


def _squares(rows: Tensor) -> Tensor:
    """Half-precision squares overflow and lose digits: sum them in float32."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=torch.promote_types(rows.dtype, torch.float32))
    return norms.double().square()


def _rows(chosen: np.ndarray, count: int, like: Tensor) -> Tensor | None:
    """Name rows; None where they are all."""
    return None if chosen.size == count else torch.from_numpy(chosen).to(like.device)
