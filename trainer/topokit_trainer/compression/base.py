"""What a compressor is: rows of numbers to rows of bytes, and back.

The bytes are what travels, and all holders of a value, the sender included, decode the same bytes in the same way, so
that copies agree bit for bit. Decoding therefore uses operations on single elements only, each rounded once, whose
results do not depend on how rows lie in memory or are spread over threads. (A fused multiply-add, a matrix product or a
sum would.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["BLOCK", "Compressor", "CompressorFactory", "Dense", "Reader", "on_cpu"]

BLOCK = 1 << 16  # numbers that stay in the second-level cache with what is made of them


class Compressor(ABC):
    """Compresses each row of a matrix by itself.

    Parameters
    ----------
    shape : sequence of int
        Shape of the tensor that a row is, flattened.
    dtype : torch.dtype
        Type of the rows.

    Attributes
    ----------
    columns : int
        Numbers in a row, d.
    size : int
        Bytes of a packed row: always the same, so that no message has to say how long it is.
    contraction : float
        omega of E ||x - C(x)||^2 <= (1 - omega) ||x||^2, as it holds for every x (but for rounding in its type).
    random : bool
        Whether `draws` are needed.
    """

    size: int
    contraction: float
    random: bool = False

    def __init__(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        self.shape, self.dtype = torch.Size(shape), dtype
        self.columns = self.shape.numel()

    @abstractmethod
    def encode(self, x: Tensor, draws: Sequence[int]) -> Tensor:
        """Compress rows.

        Parameters
        ----------
        x : Tensor, shape (rows, columns)
            It need not be contiguous.
        draws : sequence of int
            A seed for each row; what is drawn at random follows from it alone.

        Returns
        -------
        Tensor of uint8, shape (rows, size)
        """

    @abstractmethod
    def decode(self, packed: Tensor, draws: Sequence[int]) -> Tensor:
        """Give the rows that packed ones stand for, C(x), shape (rows, columns)."""

    def add_(self, target: Tensor, rows: Tensor | None, packed: Tensor, draws: Sequence[int]) -> None:
        """Add C(x) to some rows of a matrix.

        Parameters
        ----------
        target : Tensor, shape (some, columns)
            It need not be contiguous.
        rows : Tensor of int64, shape (packed rows,), or None
            The rows to add to, each once; None for all in their order.
        packed, draws
            As for `decode`.
        """
        values = self.decode(packed, draws)
        if rows is None:
            target.add_(values)
        else:
            target[rows] += values


def on_cpu(x: Tensor) -> bool:
    """Whether NumPy can work on it, and blocks in caches pay; elsewhere all is done by few operations on whole rows."""
    return x.device.type == "cpu"


Reader = Callable[[int, int], Tensor]


class Dense(Compressor):
    """A compressor that writes every number, in order: columns of a row can be decoded by themselves.

    On a CPU, long rows are therefore added in blocks that need not travel to main memory in between.

    Attributes
    ----------
    block : int
        Columns of a block, a multiple of eight.
    """

    block: int = BLOCK

    @abstractmethod
    def reader(self, packed: Tensor) -> Reader:
        """Give what decodes columns of rows: from the first, a multiple of `block`, to before the last."""

    def decode(self, packed: Tensor, draws: Sequence[int]) -> Tensor:
        """Give all columns."""
        return self.reader(packed)(0, self.columns)

    def add_(self, target: Tensor, rows: Tensor | None, packed: Tensor, draws: Sequence[int]) -> None:
        """Add block by block, where that pays."""
        if not self.blockwise(packed):
            super().add_(target, rows, packed, draws)
            return
        for number, row in enumerate(range(len(packed)) if rows is None else rows.tolist()):
            read, into = self.reader(packed[number : number + 1]), target[row : row + 1]
            for first in range(0, self.columns, self.block):
                last = min(first + self.block, self.columns)
                into[:, first:last].add_(read(first, last))

    def blockwise(self, x: Tensor) -> bool:
        """Whether rows on this device are worked on block by block."""
        return on_cpu(x) and self.columns > self.block


CompressorFactory = Callable[[Sequence[int], torch.dtype], Compressor]
