"""Every number for itself: as it is, or in sixteen bits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from topokit_trainer.compression.base import Dense, Reader, on_cpu
from topokit_trainer.compression.bits import bytes_of, numbers_of

__all__ = ["Halved", "Identity"]


class Identity(Dense):
    """C(x) = x.

    Examples
    --------
    >>> identity = Identity((3,), torch.float32)
    >>> identity.size, identity.contraction
    (12, 1.0)
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        super().__init__(shape, dtype)
        self.size, self.contraction = self.columns * dtype.itemsize, 1.0

    def encode(self, x: Tensor, draws: Sequence[int]) -> Tensor:
        """Give the bytes of the numbers."""
        return bytes_of(x)

    def reader(self, packed: Tensor) -> Reader:
        """Give the numbers of the bytes."""
        width = self.dtype.itemsize
        return lambda first, last: numbers_of(packed[:, first * width : last * width], self.dtype)


class Halved(Dense):
    """Rounded to bfloat16, or to half precision times a power of two of each row.

    bfloat16 has the range of float32 and 8 significant bits: the relative error of a number is below 2^-8 (below
    2^-126 and above 3.3e38 it is not). Half precision has 11, but only down to 2^-14; the power of two puts the largest
    number of a row between 2^14 and 2^15, so that what is below 2^-28 of it errs by at most 2^-39 of it.

    Parameters
    ----------
    shape, dtype
        As for all compressors.
    kind : {"bf16", "fp16"}

    Examples
    --------
    >>> compressor = Halved((2,), torch.float64, "fp16")
    >>> x = torch.tensor([[1e100, 1e92]], dtype=torch.float64)
    >>> compressor.size, (compressor.decode(compressor.encode(x, [0]), [0]) / x).round(decimals=2).tolist()
    (8, [[1.0, 1.0]])
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, kind: str) -> None:
        super().__init__(shape, dtype)
        self.kind = torch.bfloat16 if kind == "bf16" else torch.float16
        self._wide = torch.promote_types(dtype, torch.float32)
        # The square of the unit roundoff. The bound on a rounded number is a little less than that, by more than what
        # the smallest numbers of a row can add.
        self.contraction = 1 - 2.0**-16 if kind == "bf16" else 1 - 2.0**-22
        self.size = 2 * self.columns + (0 if kind == "bf16" else 4)
        if self.kind == dtype:
            self.contraction = 1.0

    def encode(self, x: Tensor, draws: Sequence[int]) -> Tensor:
        """Round; half precision has the exponent of its power of two in front."""
        if self.kind == torch.bfloat16:
            return x.to(self.kind, copy=True, memory_format=torch.contiguous_format).view(torch.uint8)
        largest = _largest(x).to(self._wide)
        exponents = torch.frexp(torch.where(largest.isfinite(), largest, 1.0))[1] - 15
        # 2^e has to be a normal number; only rows of (nearly) subnormal ones get less than they need.
        exponents = exponents.clamp(min=-1022 if self._wide == torch.float64 else -126)
        power = _power(-exponents, self._wide)
        packed = torch.empty((len(x), self.size), dtype=torch.uint8, device=x.device)
        packed[:, :4] = bytes_of(exponents.to(torch.int32))
        values = packed[:, 4:].view(self.kind)
        step = self.block if self.blockwise(x) else self.columns
        for first in range(0, self.columns, step):
            values[:, first : first + step] = x[:, first : first + step].to(self._wide) * power
        return packed

    def reader(self, packed: Tensor) -> Reader:
        """Widen, and multiply by the power of two."""
        if self.kind == torch.bfloat16:
            return lambda first, last: numbers_of(packed[:, 2 * first : 2 * last], self.kind).to(self.dtype)
        power = _power(numbers_of(packed[:, :4], torch.int32), self._wide)

        def read(first: int, last: int) -> Tensor:
            values = numbers_of(packed[:, 4 + 2 * first : 4 + 2 * last], self.kind)
            return values.to(self._wide).mul_(power).to(self.dtype)

        return read


def _power(exponents: Tensor, dtype: torch.dtype) -> Tensor:
    """Give 2 to the power of integers from -1022 to 1023, exactly: `torch.exp2` need not be."""
    return ((exponents.long() + 1023) << 52).view(torch.float64).to(dtype)


def _largest(x: Tensor) -> Tensor:
    """Give the largest absolute value of each row, shape (rows, 1)."""
    if on_cpu(x):  # where PyTorch is slow with one of two dimensions
        extremes = [torch.stack(row.aminmax()) for row in x]
        return torch.stack([both.abs().amax(dim=0, keepdim=True) for both in extremes]) if extremes else x[:, :1]
    least, most = x.aminmax(dim=1, keepdim=True)
    return torch.maximum(least.abs(), most.abs())
