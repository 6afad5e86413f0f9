"""Blocks of orthonormal directions, computed alike by both ends of a link.

Both compute a block from the same numbers by operations on single elements alone, which give the same bits on all
machines. Matrix products and sums would not, and in directions in which the ends hardly differ that would be fatal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

__all__ = ["Blocks"]

NOISE = 64  # units in the last place of what is sent: what differences of it do not tell from rounding


class Blocks:
    """Blocks of r directions for several matrices, in one row for each link: r vectors of the first, of the second ...

    Parameters
    ----------
    rank : int
        Directions in a block, r.
    lengths : sequence of int
        Length n of the directions of each matrix, more than r.

    Attributes
    ----------
    width : int
        Numbers in a row.
    columns : list of slice
        Where the block of each matrix is.

    Examples
    --------
    >>> blocks = Blocks(1, [2, 3])
    >>> first, second, old = torch.tensor([[0, 0, 1, 2, 3], [3, 4, 1, 2, 3], [1, 0, 0, 1, 0]]).double().split(1)
    >>> blocks.turned(first, second, old).round(decimals=9).tolist()
    [[0.6, 0.8, 0.0, 1.0, 0.0]]
    """

    def __init__(self, rank: int, lengths: Sequence[int]) -> None:
        self.rank = rank
        ends = np.concatenate(([0], np.cumsum([rank * n for n in lengths]))).tolist()
        self.width = ends[-1]
        self.columns = [slice(start, end) for start, end in pairwise(ends)]
        # Matrices of similar length are worked on together, padded with zeros to a power of two.
        self._together: list[tuple[Tensor, Tensor]] = []
        padded = [1 << (n - 1).bit_length() for n in lengths]
        for length in sorted(set(padded)):
            members = [k for k, other in enumerate(padded) if other == length]
            index = torch.full((len(members), rank, length), self.width)
            for place, k in enumerate(members):
                index[place, :, : lengths[k]] = torch.arange(ends[k], ends[k + 1]).view(rank, -1)
            self._together.append((index, index < self.width))

    def turned(self, first: Tensor, second: Tensor, old: Tensor) -> Tensor:
        """Give orthonormal vectors that span what two ends differ in, by the method of Gram and Schmidt.

        Parameters
        ----------
        first, second : Tensor, shape (rows, width)
            What the ends of each link sent, that with the lower number first.
        old : Tensor, shape (rows, width)
            Orthonormal vectors, which stand in for directions in which the ends differ by rounding only.

        Returns
        -------
        Tensor, shape (rows, width), of the type of `first`
        """
        result = torch.empty_like(first)
        zero = first.new_zeros((len(first), 1), dtype=torch.float64)
        sides = [torch.cat((rows.double(), zero), dim=1) for rows in (first, second, old)]
        for place, (index, used) in enumerate(self._together):
            if index.device != first.device:
                index, used = index.to(first.device), used.to(first.device)
                self._together[place] = index, used
            a, b, kept = (rows[:, index] for rows in sides)  # (rows, matrices, r, length)
            noise = (_size(a) + _size(b)) * (NOISE * torch.finfo(first.dtype).eps)
            result[:, index[used]] = _basis(b - a, kept, noise)[:, used].to(first.dtype)
        return result


def _basis(vectors: Tensor, old: Tensor, noise: Tensor) -> Tensor:
    """Make vectors orthonormal, shape (..., r, length), and take old ones where only noise (..., 1) is left of them.

    The one in the same place, unless another has more than twice as much to add: of r orthonormal vectors, one is at
    least sqrt(1 / r) away from the span of fewer others.
    """
    found: list[Tensor] = []
    for k in range(vectors.shape[-2]):
        v = _apart(vectors[..., k, :], found)
        size = _norm(v)
        weak = size <= noise
        if k == 0 or bool(weak.any()):
            best = _apart(old[..., k, :], found)
            most = _norm(best)
            for m in range(old.shape[-2] if k else 0):
                other = _apart(old[..., m, :], found)
                adds = _norm(other)
                best, most = torch.where(adds > 2 * most, other, best), torch.where(adds > 2 * most, adds, most)
            v, size = torch.where(weak, best, v), torch.where(weak, most, size)
        found.append(v / size)
    return torch.stack(found, dim=-2)


def _apart(v: Tensor, found: Sequence[Tensor]) -> Tensor:
    """Take from vectors what they have in common with orthonormal ones; a second time, as rounding left some of it."""
    for _ in range(2 if found else 0):
        shares = [_sum(q * v) for q in found]
        for q, share in zip(found, shares, strict=True):
            v = v - q * share
    return v


def _sum(values: Tensor) -> Tensor:
    """Sum over the last dimension, a power of two, by halves: in the same order everywhere."""
    while (half := values.shape[-1] // 2) > 0:
        values = values[..., :half] + values[..., half:]
    return values


def _norm(values: Tensor) -> Tensor:
    return _sum(values * values).sqrt()


def _size(vectors: Tensor) -> Tensor:
    """Give the sum of the norms of r vectors."""
    total = _norm(vectors[..., 0, :])
    for k in range(1, vectors.shape[-2]):
        total = total + _norm(vectors[..., k, :])
    return total
