"""Signs, times the mean absolute value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from topokit_trainer.compression.base import Dense, Reader, on_cpu
from topokit_trainer.compression.bits import below_zero, bytes_of, numbers_of, pack_bits, unpack_bits

__all__ = ["Sign"]

ADDED = 1 << 14  # numbers that one thread adds up


class Sign(Dense):
    """C(x) = (||x||_1 / d) sign(x), where sign(0) = 1.

    Then ||x - C(x)||^2 = ||x||^2 - ||x||_1^2 / d for every x, and ||x||_1^2 is at least ||x||^2.

    References
    ----------
    S. P. Karimireddy, Q. Rebjock, S. U. Stich, M. Jaggi, Error feedback fixes SignSGD and other gradient compression
    schemes, ICML 2019.

    Examples
    --------
    >>> sign = Sign((4,), torch.float32)
    >>> packed = sign.encode(torch.tensor([[1.0, -2.0, 0.0, 5.0]]), draws=[0])
    >>> sign.size, sign.decode(packed, draws=[0]).tolist()
    (5, [[2.0, -2.0, 2.0, 2.0]])
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        super().__init__(shape, dtype)
        self._wide = torch.promote_types(dtype, torch.float32)
        self._head = self._wide.itemsize
        self.size, self.contraction = self._head + -(-self.columns // 8), 1 / self.columns

    def encode(self, x: Tensor, draws: Sequence[int]) -> Tensor:
        """Give the mean absolute value, and a bit for each sign."""
        packed = torch.empty((len(x), self.size), dtype=torch.uint8, device=x.device)
        sums = []
        # However many rows and threads there are, a row is added up in the same blocks.
        step = ADDED if on_cpu(x) else self.columns
        for first in range(0, self.columns, step):
            part = x[:, first : first + step]
            signs = pack_bits(below_zero(part))
            packed[:, self._head + first // 8 :][:, : signs.shape[1]] = signs
            sums.append(part.abs().sum(dim=1, dtype=self._wide))
        mean = torch.stack(sums, dim=1).sum(dim=1, keepdim=True) / self.columns
        packed[:, : self._head] = bytes_of(mean)
        return packed

    def reader(self, packed: Tensor) -> Reader:
        """Give the mean, with its signs."""
        mean = numbers_of(packed[:, : self._head], self._wide).to(self.dtype)
        signs = packed[:, self._head :]
        if not self.blockwise(packed) or len(packed) != 1:
            return lambda first, last: torch.where(
                unpack_bits(signs[:, first // 8 : -(-last // 8)], last - first), -mean, mean
            )
        # A byte is one of few: what eight numbers are is looked up.
        known = torch.where(unpack_bits(torch.arange(256, dtype=torch.uint8).unsqueeze(1), 8), -mean, mean)

        def read(first: int, last: int) -> Tensor:
            octets = known.index_select(0, signs[0, first // 8 : -(-last // 8)].int())
            return octets.view(1, -1)[:, : last - first]

        return read
