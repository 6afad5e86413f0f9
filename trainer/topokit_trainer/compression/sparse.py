"""A few of the numbers, and nothing of the others."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit_trainer.compression.base import BLOCK, Compressor, CompressorFactory, on_cpu
from topokit_trainer.compression.bits import ones, pack_places, places_bits, unpack_places
from topokit_trainer.compression.sign import Sign
from topokit_trainer.seeding import keyed_generator

__all__ = ["RandK", "Sparse", "TopK", "drawn_places", "largest_places"]

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
SAMPLE = 1 << 16  # numbers whose order tells about that of all
FEW = 1 << 18  # so few are ordered at once
LONG = 1 << 10  # rows of so many numbers are added one by one


class Sparse(Compressor):
    """k of d numbers, written by another compressor, which is given the same draws.

    With omega of the other, E ||x - C(x)||^2 = ||x||^2 - ||T||^2 + E ||T - C(T)||^2 <= ||x||^2 - omega ||T||^2, where T
    is what is kept. ||T||^2 is at least (k / d) ||x||^2 for the largest, and that on average for k drawn ones.

    Parameters
    ----------
    shape, dtype
        As for all compressors.
    fraction : float
        k is that part of d, rounded up.
    values : callable
        Makes the compressor of the k numbers.

    Attributes
    ----------
    kept : int
        k.
    values : Compressor
        Of the k numbers.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, fraction: float, values: CompressorFactory) -> None:
        super().__init__(shape, dtype)
        # The fraction as it is written: in binary, 0.07 of 100 is a little more than 7.
        self.kept = max(1, ceil(Fraction(str(fraction)) * self.columns))
        self.values = values((self.kept,), dtype)
        self.contraction = self.kept / self.columns * self.values.contraction

    def decode(self, packed: Tensor, draws: Sequence[int]) -> Tensor:
        """Put the numbers into their places, among zeros."""
        places, values = self._decode(packed, draws)
        return values.new_zeros((len(packed), self.columns)).scatter_(1, places, values)

    def add_(self, target: Tensor, rows: Tensor | None, packed: Tensor, draws: Sequence[int]) -> None:
        """Add to the places alone: what is not sent costs nothing."""
        places, values = self._decode(packed, draws)
        if on_cpu(target) and self.kept > LONG:
            for number, row in enumerate(range(len(packed)) if rows is None else rows.tolist()):
                target[row].index_add_(0, places[number], values[number])
            return
        if rows is None:
            rows = torch.arange(len(target), device=target.device)
        rows = rows.unsqueeze(1)
        target[rows, places] += values

    @abstractmethod
    def _decode(self, packed: Tensor, draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Give places and numbers, both of shape (rows, k)."""


class TopK(Sparse):
    """The k numbers of largest absolute value; of equal ones, the first.

    The places go in front of the numbers.

    With their signs (SignTopK) omega is min(1 / k, k / d), which is more than (k / d) (1 / k). Let the least of T be 1
    (if it is 0, nothing is lost beside T, and omega is that of signs), and s = ||T||_1 - k. Then ||x||^2 is at most
    d + 2 s + s^2: what is left out is at most 1 each, and the squares of what T has above 1 add up to at most s^2.
    Hence min(1 / k, k / d) k ||x||^2 <= k^2 + 2 s + s^2 <= (k + s)^2 = ||T||_1^2.

    Examples
    --------
    >>> top = TopK((8,), torch.float32, 0.25, Sign)  # SignTopK
    >>> packed = top.encode(torch.tensor([[0.0, 3.0, 1.0, 0.0, 0.0, -2.0, 1.0, 1.0]]), draws=[0])
    >>> top.size, top.decode(packed, draws=[0]).tolist()  # a byte of places, a mean, and a byte of signs
    (6, [[0.0, 2.5, 0.0, 0.0, 0.0, -2.5, 0.0, 0.0]])
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, fraction: float, values: CompressorFactory) -> None:
        super().__init__(shape, dtype, fraction, values)
        self.random = self.values.random
        if isinstance(self.values, Sign):
            self.contraction = min(1 / self.kept, self.kept / self.columns)
        self._head = -(-places_bits(self.kept, self.columns) // 8)
        self.size = self._head + self.values.size

    def encode(self, x: Tensor, draws: Sequence[int]) -> Tensor:
        """Give the places, and then the numbers."""
        places = largest_places(x, self.kept)
        return torch.cat([pack_places(places, self.columns), self.values.encode(x.gather(1, places), draws)], dim=1)

    def _decode(self, packed: Tensor, draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        places = unpack_places(packed[:, : self._head], self.kept, self.columns)
        return places, self.values.decode(packed[:, self._head :], draws)


class RandK(Sparse):
    """k numbers drawn at random, none more likely than another; holders draw the places themselves.

    Examples
    --------
    >>> from topokit_trainer.compression.plain import Identity
    >>> rand = RandK((8,), torch.float32, 0.25, Identity)
    >>> packed = rand.encode(torch.ones(1, 8), draws=[7])
    >>> rand.size, rand.decode(packed, draws=[7]).sum().item()
    (8, 2.0)
    """

    random = True

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, fraction: float, values: CompressorFactory) -> None:
        super().__init__(shape, dtype, fraction, values)
        self.size = self.values.size

        self._known: dict[int, NDArray[np.int64]] = {}

    def encode(self, x: Tensor, draws: Sequence[int]) -> Tensor:
        """Give the numbers at the places drawn."""
        self._known = {draw: drawn_places(draw, self.kept, self.columns) for draw in draws}
        return self.values.encode(x.gather(1, self._places([self._known[draw] for draw in draws], x.device)), draws)

    def _decode(self, packed: Tensor, draws: Sequence[int]) -> tuple[Tensor, Tensor]:
        # Who sends decodes next, with the same draws.
        known, self._known = self._known, {}
        drawn = [known[draw] if draw in known else drawn_places(draw, self.kept, self.columns) for draw in draws]
        return self._places(drawn, packed.device), self.values.decode(packed, draws)

    def _places(self, drawn: list[NDArray[np.int64]], device: torch.device) -> Tensor:
        return torch.from_numpy(np.array(drawn, dtype=np.int64).reshape(len(drawn), self.kept)).to(device)


def drawn_places(draw: int, k: int, d: int) -> NDArray[np.int64]:
    """Draw k of d places, ascending, by a seed.

    Places are drawn until k different ones are found, as many at a time as are missing. All sets of k are equally
    likely, as no place differs from another. Where k is more than half, the places left out are drawn.

    Examples
    --------
    >>> drawn_places(5, 3, 3), len(set(drawn_places(5, 10, 100).tolist()))
    (array([0, 1, 2]), 10)
    """
    generator = keyed_generator(draw, "places")
    found = np.zeros(d, dtype=np.bool_)
    missing = fewer = min(k, d - k)
    while missing:
        found[generator.integers(d, size=missing)] = True
        missing = fewer - int(np.count_nonzero(found))
    return ones(found if fewer == k else ~found)


def largest_places(x: Tensor, k: int) -> Tensor:
    """Give the places of the k numbers of largest absolute value in each row, ascending; of equal ones, the first.

    Without its sign, a floating-point number is in the same order as the integer of the same bits, and what is no
    number is above all of them.

    Parameters
    ----------
    x : Tensor, shape (rows, d)
    k : int

    Returns
    -------
    Tensor of int64, shape (rows, k)

    Examples
    --------
    >>> largest_places(torch.tensor([[2.0, -3.0, 0.0, -2.0], [0.0, 0.0, 0.0, float("nan")]]), 2).tolist()
    [[0, 1], [0, 3]]
    """
    bits = x.view(INTEGERS[x.dtype.itemsize])
    if on_cpu(x):
        places = np.empty((len(x), k), dtype=np.int64)
        for row, found in zip(bits.numpy(), places, strict=True):
            found[:] = _largest_of_row(row, k)
        return torch.from_numpy(places)
    return _largest_anywhere(bits, k)


def _largest_anywhere(bits: Tensor, k: int) -> Tensor:
    sizes = bits & torch.iinfo(bits.dtype).max
    least = sizes.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    above, equal = sizes > least, sizes == least
    missing = k - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= missing))
    return chosen.nonzero()[:, 1].view(len(bits), k)


def _largest_of_row(bits: NDArray[np.signedinteger], k: int) -> NDArray[np.int64]:
    candidates = _candidates(bits, k)
    if candidates is not None:
        return candidates[_largest_of_row(bits[candidates], k)]
    sizes = bits & np.iinfo(bits.dtype).max
    least = np.partition(sizes, -k)[-k]
    chosen = sizes >= least
    surplus = int(np.count_nonzero(chosen)) - k
    if surplus:
        chosen[np.flatnonzero(sizes == least)[-surplus:]] = False
    return ones(chosen)


def _candidates(bits: NDArray[np.signedinteger], k: int) -> NDArray[np.int64] | None:
    """Give the places of a few numbers more than the k largest, found by the order of a sample; None if that fails."""
    d, top = bits.size, np.iinfo(bits.dtype).max
    if d <= FEW or 4 * k > d:
        return None
    expected = SAMPLE * k / d
    rank = ceil(expected + 4 * sqrt(expected) + 4)
    least = np.partition(bits[_sample(d)] & top, -rank)[-rank]
    chosen = np.empty(d, dtype=np.bool_)
    for first in range(0, d, BLOCK):
        np.greater_equal(bits[first : first + BLOCK] & top, least, out=chosen[first : first + BLOCK])
    return ones(chosen) if k <= np.count_nonzero(chosen) < d // 2 else None


def _sample(d: int) -> NDArray[np.int64]:
    return np.random.default_rng(d).integers(d, size=SAMPLE)
