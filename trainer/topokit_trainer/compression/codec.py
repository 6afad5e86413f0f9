"""Whole models in packed form: each tensor of a node by itself, or all of a stack at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from topokit_trainer.compression.base import Compressor, CompressorFactory
from topokit_trainer.seeding import keyed_generator
from topokit_trainer.stacks import NodeStacks

__all__ = ["Codec", "Key", "Piece", "drawn_seeds"]

Key = tuple[int, ...]


class Piece(NamedTuple):
    """Columns of a stack that are compressed together: those of a tensor of some shape, flattened."""

    stack: int
    columns: slice
    shape: torch.Size
    dtype: torch.dtype


class Segment(NamedTuple):
    """A piece with its compressor, and where its packed form lies in a message."""

    stack: int
    columns: slice
    shape: torch.Size
    packed: slice
    compressor: Compressor


class Codec:
    """Turns a node's row of every stack into one row of bytes.

    Parameters
    ----------
    pieces : sequence of Piece
    make : callable
        Makes the compressor of a piece.
    seed : int
        Of what is drawn at random.

    Attributes
    ----------
    size : int
        Bytes of a packed row.
    contraction : float
        omega that holds for all segments: the least.
    """

    def __init__(self, pieces: Sequence[Piece], make: CompressorFactory, seed: int) -> None:
        self.seed = seed
        self.segments: list[Segment] = []
        self.size = 0
        for stack, columns, shape, dtype in pieces:
            compressor = make(shape, dtype)
            packed = slice(self.size, self.size + compressor.size)
            self.segments.append(Segment(stack, columns, shape, packed, compressor))
            self.size += compressor.size
        self.contraction = min(segment.compressor.contraction for segment in self.segments)

    @classmethod
    def of(cls, stacks: NodeStacks, make: CompressorFactory, by: Literal["tensor", "model"], seed: int) -> Codec:
        """Give the codec of a model: by its parameter tensors, or each stack as one long vector."""
        kinds = [stack.dtype for stack in stacks.stacks]
        if by == "tensor":
            pieces = [Piece(slot.stack, slot.columns, slot.shape, kinds[slot.stack]) for slot in stacks.slots]
        else:
            widths = [stack.shape[1] for stack in stacks.stacks]
            pieces = [
                Piece(k, slice(0, width), torch.Size((width,)), kind)
                for k, (width, kind) in enumerate(zip(widths, kinds, strict=True))
            ]
        return cls(pieces, make, seed)

    @torch.no_grad()
    def encode(self, values: Sequence[Tensor], keys: Sequence[Key]) -> Tensor:
        """Compress rows of all stacks.

        Parameters
        ----------
        values : sequence of Tensor, each of shape (rows, columns of a stack)
        keys : sequence of tuples of int
            What tells the rows of this and of all other calls apart: draws follow from it.

        Returns
        -------
        Tensor of uint8, shape (rows, size)
        """
        if not keys:
            return values[0].new_empty((0, self.size), dtype=torch.uint8)
        return torch.cat(
            [
                segment.compressor.encode(values[segment.stack][:, segment.columns], draws)
                for segment, draws in zip(self.segments, self._draws(keys), strict=True)
            ],
            dim=1,
        )

    @torch.no_grad()
    def add_(self, targets: Sequence[Tensor], rows: Tensor | None, packed: Tensor, keys: Sequence[Key]) -> None:
        """Add what packed rows stand for to rows of all stacks (None: all, in their order)."""
        if not keys:
            return
        for segment, draws in zip(self.segments, self._draws(keys), strict=True):
            target = targets[segment.stack][:, segment.columns]
            segment.compressor.add_(target, rows, packed[:, segment.packed], draws)

    def _draws(self, keys: Sequence[Key]) -> list[list[int]]:
        """Give a seed for each segment of each row."""
        if not any(segment.compressor.random for segment in self.segments):
            return [[0] * len(keys)] * len(self.segments)
        seeds = [drawn_seeds(self.seed, len(self.segments), *key) for key in keys]
        return [list(of_segment) for of_segment in zip(*seeds, strict=True)]


def drawn_seeds(seed: int, segments: int, *key: int) -> list[int]:
    """Give what the segments of one row are drawn with; one generator for all, as making it takes the time.

    Examples
    --------
    >>> len(set(drawn_seeds(0, 3, 1, 2) + drawn_seeds(0, 3, 1, 3)))
    6
    """
    seeds: list[int] = keyed_generator(seed, "compression", *key).integers(2**63 - 1, size=segments).tolist()
    return seeds
