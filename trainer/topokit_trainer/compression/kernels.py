"""Compiled kernels of QSGD, for float32 rows in main memory: the same bits as the operations in `quantize`.

NumPy and PyTorch go through the numbers a dozen times, a bit of each at a time. These kernels go through them once; the
bits of eight numbers are spread over, and gathered from, the bytes of one 64-bit word.

Importing this module imports numba, so `quantize` does it at first use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topokit_trainer.mixing_kernel import compiled

__all__ = ["add_levels", "pack_levels"]

Floats = NDArray[np.float32]
Octets = NDArray[np.uint8]

BLOCK = 8192  # numbers in a piece that stays in the first-level cache
EIGHT, ONE = np.uint64(8), np.uint64(1)
# For each byte, its bits as the lowest ones of eight bytes.
SPREAD = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(np.uint64)[:, 0].copy()
LOWEST, GATHER, TOP_BYTE = np.uint64(0x0101010101010101), np.uint64(0x0102040810204080), np.uint64(56)


def _add(target: Any, planes: Any, units: Any, bits: Any, bucket: Any, spread: Any, words: Any) -> None:
    codes = words.view(np.uint8)
    count, block = np.uint64(target.size), np.uint64(codes.size)
    top = np.uint8((1 << bits) - 1)
    for start in range(np.uint64(0), count, block):
        n = min(block, count - start)
        first, octets = start // EIGHT, (n + EIGHT - ONE) // EIGHT
        for b in range(octets):
            words[b] = spread[planes[0, first + b]]
        for plane in range(1, bits + 1):
            for b in range(octets):
                words[b] |= spread[planes[plane, first + b]] << np.uint64(plane)
        j = np.uint64(0)
        while j < n:
            number = (start + j) // bucket
            end = min(n, (number + ONE) * bucket - start)
            unit = units[number]
            for q in range(j, end):
                level = np.float32(np.int32(codes[q] & top))
                target[start + q] += (-level if codes[q] > top else level) * unit
            j = end


def _pack(
    x: Any, uniform: Any, norms: Any, levels: Any, planes: Any, first: Any, bits: Any, bucket: Any, words: Any
) -> None:
    codes = words.view(np.uint8)
    count, block, most = np.uint64(x.size), np.uint64(codes.size), np.float32(levels)
    for start in range(np.uint64(0), count, block):
        n = min(block, count - start)
        place, octets = first + start // EIGHT, (n + EIGHT - ONE) // EIGHT
        words[octets - ONE] = 0
        j = np.uint64(0)
        while j < n:
            number = (start + j) // bucket
            end = min(n, (number + ONE) * bucket - start)
            norm = norms[number] if norms[number] != 0 else np.float32(1)
            for q in range(j, end):
                value = x[start + q]
                level = min(abs(value) / norm * most + uniform[start + q], most)
                codes[q] = np.uint8(np.int32(level)) | np.uint8(np.uint8(value < 0) << bits)
            j = end
        for plane in range(bits + 1):
            for b in range(octets):
                lowest = (words[b] >> np.uint64(plane)) & LOWEST
                planes[plane, place + b] = np.uint8((lowest * GATHER) >> TOP_BYTE)


@lru_cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    real, octets, words = "float32[::1]", "uint8[:, ::1]", "uint64[::1]"
    add = compiled(_add, f"void({real}, {octets}, {real}, int64, uint64, {words}, {words})", "add_levels")
    pack = compiled(
        _pack, f"void({real}, {real}, {real}, int64, {octets}, uint64, int64, uint64, {words})", "pack_levels"
    )
    return add, pack


def add_levels(target: Floats, planes: Octets, units: Floats, bucket: int) -> None:
    """Add levels times units to numbers.

    Parameters
    ----------
    target : ndarray of float32, shape (count,)
    planes : ndarray of uint8, shape (bits + 1, ceil(count / 8))
        The lowest bits of all levels, then the second ones ..., and last the signs.
    units : ndarray of float32
        For each bucket.
    bucket : int
        Numbers in a bucket.
    """
    _kernels()[0](target, planes, units, len(planes) - 1, bucket, SPREAD, np.empty(BLOCK // 8, dtype=np.uint64))


def pack_levels(
    x: Floats, uniform: Floats, norms: Floats, levels: int, planes: Octets, first: int, bucket: int
) -> None:
    """Round numbers at random to levels of the norm of their bucket, and pack them.

    Parameters
    ----------
    x, uniform : ndarray of float32, shape (count,)
        Numbers, and random ones from 0 to 1.
    norms : ndarray of float32
        For each bucket.
    levels : int
    planes : ndarray of uint8, shape (bits + 1, bytes)
        Where they go.
    first : int
        The first byte of each plane that is written.
    bucket : int
        Numbers in a bucket.
    """
    words = np.empty(BLOCK // 8, dtype=np.uint64)
    _kernels()[1](x, uniform, norms, levels, planes, first, len(planes) - 1, bucket, words)
