"""Half steps of PowerGossip: the ends of links that are open, what they see, and what they change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from topokit.matrix import IntArray, MixingMatrix
from topokit_trainer.channels import ChannelPlans
from topokit_trainer.exchange import Route
from topokit_trainer.mixing import exact_products

__all__ = ["LEFT", "RIGHT", "Ends", "HalfStep", "half_steps", "link_ends"]

RIGHT, LEFT = 0, 1  # the side of X on which a block stands: X V, X^T U


@dataclass(frozen=True)
class Ends:
    """The ends of links that this rank's nodes hold, by node and then by channel.

    Attributes
    ----------
    owner, neighbour : ndarray of int64
        The node itself, and the one at the other end.
    row : ndarray of int64
        Place among the channels (`ChannelPlans`).
    partner : ndarray of int64
        Number of the other end; where that is on another rank, the number of ends here plus its place among arrivals.
    listener : ndarray of int64
        For each place among arrivals, the end here that it is for.
    of_nodes : list of slice
        The ends of each node.
    """

    owner: IntArray
    neighbour: IntArray
    row: IntArray
    partner: IntArray
    listener: IntArray
    of_nodes: list[slice]


def link_ends(plans: ChannelPlans) -> Ends:
    """Give the ends of all links that this rank's nodes hold, with the other end of each.

    Parameters
    ----------
    plans : ChannelPlans
        Of channels that are apart: one for each neighbour.
    """
    W, n, several = plans.channels.everything, plans.channels.nodes, plans.channels.count
    apart = W.target != W.source
    owner, channel = W.target[apart] % n, W.target[apart] // n
    neighbour, there = W.source[apart] % n, W.source[apart] // n
    here = np.flatnonzero((owner >= plans.local.start) & (owner < plans.local.stop))
    here = here[np.lexsort((channel[here], owner[here]))]
    owner, channel, neighbour, there = (part[here] for part in (owner, channel, neighbour, there))
    name, other = owner * several + channel, neighbour * several + there
    partner = np.searchsorted(name, other)
    arriving = np.array([node * several + c for node, c in plans.arriving], dtype=np.int64)
    order = np.argsort(arriving)
    remote = (neighbour < plans.local.start) | (neighbour >= plans.local.stop)
    place = order[np.searchsorted(arriving[order], other[remote])]
    partner[remote] = len(here) + place
    listener = np.empty(len(arriving), dtype=np.int64)
    listener[place] = np.flatnonzero(remote)
    row = channel * len(plans.local) + owner - plans.local.start
    bounds = np.searchsorted(owner, np.arange(plans.local.start, plans.local.stop + 1)).tolist()
    return Ends(owner, neighbour, row, partner, listener, [slice(*ends) for ends in pairwise(bounds)])


@dataclass(frozen=True)
class HalfStep:
    """Links that are open and stand on one side: what this rank does with its ends of them.

    Attributes
    ----------
    ends : Tensor of int64
        Numbers of the ends.
    spans : list of (int, slice)
        For each local node with such ends, its row in the stacks and which of them are its own.
    route : Route
        Of rows for the ends, in their order.
    partner : Tensor of int64
        For each end, where the row of the other end is: among the rows here, then among those that arrive.
    weight : Tensor of float64, shape (ends, 1)
        w_ij.
    lower : Tensor of bool, shape (ends, 1)
        Whether an end is that with the lower number.
    """

    ends: Tensor
    spans: list[tuple[int, slice]]
    route: Route
    partner: Tensor
    weight: Tensor
    lower: Tensor

    def look(self, models: Tensor, directions: Tensor, seen: Tensor) -> None:
        """Multiply models with the directions of their ends.

        Parameters
        ----------
        models : Tensor, shape (nodes, n, m)
        directions : Tensor, shape (ends, r * n)
        seen : Tensor, shape (ends, r * m)
            Where the products go.
        """
        n, m = models.shape[1:]
        kind = _product_type(directions.dtype)
        for nodes, ends in self._batches(models):
            vectors = directions[ends].reshape(models[nodes].shape[0], -1, n).to(kind)
            product = vectors.new_empty((*vectors.shape[:2], m))
            # With out= because autocast would otherwise do the product in half precision.
            torch.bmm(vectors, models[nodes].to(kind), out=product)
            seen[ends] = product.view(ends.stop - ends.start, -1)

    def add(self, models: Tensor, left: Tensor, right: Tensor) -> None:
        """Add to models, shape (nodes, a, b), the products of r a numbers to their left and r b to their right."""
        a, b = models.shape[1:]
        kind = _product_type(left.dtype)
        for nodes, ends in self._batches(models):
            several = models[nodes]
            u, v = (rows[ends].reshape(len(several), -1, n).to(kind) for rows, n in ((left, a), (right, b)))
            if several.dtype == kind:
                several.baddbmm_(u.mT, v)
            else:
                several.add_(torch.bmm(u.mT, v, out=u.new_empty((len(several), a, b))))

    def _batches(self, models: Tensor) -> Iterator[tuple[slice, slice]]:
        """Give nodes with the ends they have here: one by one or, on a GPU, all at once if they have equally many.

        One by one because what a product of several gives depends, in its last bits, on how many they are.
        """
        sizes = {ends.stop - ends.start for _, ends in self.spans}
        if models.is_cpu or len(sizes) > 1 or len(self.spans) < len(models):
            yield from ((slice(row, row + 1), ends) for row, ends in self.spans)
        else:
            yield slice(0, len(models)), slice(0, len(self.ends))


def half_steps(
    ends: Ends, plans: ChannelPlans, W: MixingMatrix, number: int, turns: IntArray, device: torch.device
) -> list[tuple[int, HalfStep]]:
    """Work out a half step of a round: by side, as its links have not all been open equally often.

    Parameters
    ----------
    ends : Ends
    plans : ChannelPlans
    W : MixingMatrix
        The matrix of the round.
    number : int
        Number of the round.
    turns : ndarray of int64
        Half steps that each end has done.
    device : torch.device
        Where the stacks are.
    """
    place = np.searchsorted(W.target * W.nodes + W.source, ends.owner * W.nodes + ends.neighbour)
    place = np.minimum(place, len(W.weight) - 1)
    found = (W.target[place] == ends.owner) & (W.source[place] == ends.neighbour)
    weight = np.where(found, W.weight[place], 0.0)
    turn = turns % 2
    opened, made = plans(number), []
    for side in (RIGHT, LEFT):
        mine = np.flatnonzero((weight != 0) & (turn == side))
        if mine.size == 0:
            continue
        where = np.full(plans.rows, -1)
        where[ends.row[mine]] = np.arange(mine.size)
        hears = np.isin(ends.listener, mine)[opened.kept]
        route, kept = opened.plan.route.narrowed(where, hears), opened.kept[hears]
        partner_at = np.full(len(ends.owner) + len(ends.listener), -1)
        partner_at[mine] = np.arange(mine.size)
        partner_at[len(ends.owner) + kept] = mine.size + np.arange(kept.size)
        owner, start = np.unique(ends.owner[mine] - plans.local.start, return_index=True)
        stop = [*start[1:].tolist(), mine.size]
        half = HalfStep(
            torch.from_numpy(mine).to(device),
            [(k, slice(i, j)) for k, i, j in zip(owner.tolist(), start.tolist(), stop, strict=True)],
            route,
            torch.from_numpy(partner_at[ends.partner[mine]]).to(device),
            torch.from_numpy(weight[mine]).unsqueeze(1).to(device),
            torch.from_numpy((ends.owner < ends.neighbour)[mine]).unsqueeze(1).to(device),
        )
        made.append((side, half))
    return made


def _product_type(dtype: torch.dtype) -> torch.dtype:
    """Differences of what is seen are small: TensorFloat-32 would leave nothing of them."""
    return dtype if exact_products() else torch.float64
