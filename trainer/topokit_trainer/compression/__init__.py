"""Compressors: one idea a file; `make_compressor` finds them by name, `Codec` applies them to whole models."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from topokit_trainer.compression.base import Compressor, CompressorFactory
from topokit_trainer.compression.codec import Codec
from topokit_trainer.compression.low_rank import LowRank
from topokit_trainer.compression.plain import Halved, Identity
from topokit_trainer.compression.quantize import Quantize
from topokit_trainer.compression.sign import Sign
from topokit_trainer.compression.sparse import RandK, TopK
from topokit_trainer.specs import Stage, parse_compressor

__all__ = ["Codec", "Compressor", "CompressorFactory", "make_compressor"]


def make_compressor(text: str) -> CompressorFactory:
    """Give what makes the compressor of a tensor, by its specification.

    Raises
    ------
    InputError
        If it names none, or its numbers cannot be.

    Examples
    --------
    >>> make = make_compressor("top-k:0.1+sign")
    >>> compressor = make((1000,), torch.float32)
    >>> x = torch.arange(1000.0).unsqueeze(0)
    >>> packed = compressor.encode(x, draws=[0])
    >>> tuple(packed.shape) == (1, compressor.size)
    True
    >>> compressor.decode(packed, draws=[0]).unique().tolist()
    [0.0, 949.5]
    """
    stages = parse_compressor(text)
    return lambda shape, dtype: _made(stages, shape, dtype)


def _made(stages: Sequence[Stage], shape: Sequence[int], dtype: torch.dtype) -> Compressor:
    first, rest = stages[0], stages[1:] or [Stage("identity")]

    def values(shape: Sequence[int], dtype: torch.dtype) -> Compressor:
        return _made(rest, shape, dtype)

    if first.name == "top-k":
        return TopK(shape, dtype, first.numbers[0], values)
    if first.name == "rand-k":
        return RandK(shape, dtype, first.numbers[0], values)
    if first.name == "low-rank":
        return LowRank(shape, dtype, int(first.numbers[0]), values)
    if first.name == "qsgd":
        return Quantize(shape, dtype, *map(int, first.numbers))
    if first.name == "sign":
        return Sign(shape, dtype)
    return Identity(shape, dtype) if first.name == "identity" else Halved(shape, dtype, first.name)
