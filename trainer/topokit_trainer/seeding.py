"""Randomness keyed by what it is for: the same draw on whichever rank, in whichever order it is made."""

from __future__ import annotations

import zlib

import numpy as np

__all__ = ["keyed_generator", "keyed_seed"]


def keyed_generator(seed: int, purpose: str, *key: int) -> np.random.Generator:
    """Give a generator for one purpose and key; different purposes or keys give independent streams.

    Examples
    --------
    >>> bool(keyed_generator(0, "batches", 3).integers(100) == keyed_generator(0, "batches", 3).integers(100))
    True
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *key])


def keyed_seed(seed: int, purpose: str, *key: int) -> int:
    """Give a 63-bit seed for PyTorch's generators."""
    return int(keyed_generator(seed, purpose, *key).integers(2**63 - 1))
