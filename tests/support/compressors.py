"""Compressors once more, in NumPy and from their equations; their names, and rows to try them on."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2, sqrt

import numpy as np
import torch
from torch import Tensor

from topokit_trainer.compression import Compressor
from topokit_trainer.compression.quantize import UniformNumbers
from topokit_trainer.compression.sparse import drawn_places

__all__ = ["DTYPES", "EXACT", "RANDOM", "SHAPE", "UNIT", "by_hand", "bytes_by_hand", "normal", "round_trip", "stable"]

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
UNIT = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}  # of rounding
EXACT = [
    "identity",
    "bf16",
    "fp16",
    "sign",
    "top-k:0.1",
    "top-k:0.07+sign",
    "top-k:0.4+bf16",
    "top-k:0.8+fp16",
    "top-k:1",
]
RANDOM = [
    "qsgd:1",
    "qsgd:4,32",
    "qsgd:15,100",
    "qsgd:300,7",
    "top-k:0.3+qsgd:4",
    "top-k:0.05+qsgd:2,16",
    "rand-k:0.1",
    "rand-k:0.7+sign",
    "rand-k:0.3+fp16",
    "rand-k:0.25+qsgd:8",
    "low-rank:1",
    "low-rank:3",
    "low-rank:2+bf16",
]
SHAPE = (24, 17)  # d = 408


def to_bf16(x: np.ndarray) -> np.ndarray:
    """Rounded to the upper half of a float32, to even: by arithmetic on the integers."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16) << np.uint64(16)
    return bits.astype(np.uint32).view(np.float32).astype(np.float64)


def to_fp16(x: np.ndarray) -> np.ndarray:
    """Rounded to half precision, scaled by a power of two so that the largest is near its limit."""
    if not x.any():
        return x
    power = 2.0 ** (14 - np.floor(np.log2(np.abs(x).max())))
    return (x * power).astype(np.float16).astype(np.float64) / power


def qsgd(x: np.ndarray, draw: int, levels: int, bucket: int = 1024) -> np.ndarray:
    """Rounded at random to levels of the norm of the bucket, and scaled down by tau."""
    out, u = np.zeros_like(x), UniformNumbers(draw)(x.size).double().numpy()
    b = min(bucket, x.size)
    tau = 1 + min(b / levels**2, sqrt(b) / levels)
    for first in range(0, x.size, b):
        part = x[first : first + b]
        norm = np.sqrt((part**2).sum())
        if norm:
            level = np.floor(levels * np.abs(part) / norm + u[first : first + b])
            out[first : first + b] = norm / (levels * tau) * np.sign(part) * level
    return out


def low_rank(x: np.ndarray, draw: int, rank: int) -> np.ndarray:
    """Projected on the range of X times a random matrix."""
    X = x.reshape(SHAPE)
    omega = torch.randn((SHAPE[1], rank), generator=torch.Generator().manual_seed(draw), dtype=torch.float64).numpy()
    u, s, _ = np.linalg.svd(X @ omega, full_matrices=False)
    basis = u[:, s > 1e-9 * s[0]]
    return (basis @ (basis.T @ X)).ravel()


def stable(x: np.ndarray, k: int) -> np.ndarray:
    """Places of the k largest; of equal ones, the first."""
    return np.sort(np.argsort(-np.abs(x), kind="stable")[:k])


def by_hand(text: str, x: np.ndarray, draw: int) -> np.ndarray:
    """C(x) of one row in float64."""
    first, _, rest = text.partition("+")
    name, _, numbers = first.partition(":")
    if name == "identity":
        return x
    if name in ("bf16", "fp16"):
        return to_bf16(x) if name == "bf16" else to_fp16(x)
    if name == "sign":
        return np.abs(x).mean() * np.where(x >= 0, 1.0, -1.0)
    if name == "qsgd":
        return qsgd(x, draw, *map(int, numbers.split(",")))
    if name == "low-rank":
        return low_rank(x, draw, int(numbers))
    k = ceil(float(numbers) * x.size - 1e-9)
    places = stable(x, k) if name == "top-k" else drawn_places(draw, k, x.size)
    out = np.zeros_like(x)
    out[places] = by_hand(rest, x[places], draw) if rest else x[places]
    return out


def bytes_by_hand(text: str, shape: Sequence[int], itemsize: int) -> int:
    """Bytes of a packed row, from the numbers of the specification."""
    d, scalar = int(np.prod(shape)), max(itemsize, 4)
    first, _, rest = text.partition("+")
    name, _, numbers = first.partition(":")
    if name == "identity":
        return itemsize * d
    if name in ("bf16", "fp16"):
        return 2 * d + (4 if name == "fp16" else 0)
    if name == "sign":
        return ceil(d / 8) + scalar
    if name == "qsgd":
        levels, bucket = [*map(int, numbers.split(",")), 1024][:2]
        return (1 + ceil(log2(levels + 1))) * ceil(d / 8) + scalar * ceil(d / min(bucket, d))
    if name == "low-rank":
        whole, r = bytes_by_hand(rest or "identity", (d,), itemsize), int(numbers)
        sides = shape[0], d // shape[0]
        if len(shape) < 2 or min(sides) <= r:
            return whole
        return min(whole, sum(bytes_by_hand(rest or "identity", (r * side,), itemsize) for side in sides))
    k = max(1, ceil(float(numbers) * d - 1e-9))
    values = bytes_by_hand(rest or "identity", (k,), itemsize)
    if name == "rand-k":
        return values
    few = [
        min(count * low + count + ((d - 1) >> low) for low in range(40)) if count else 0 for count in (k, d - k)
    ]  # Elias-Fano coding of the places, or of those left out
    return ceil(min(d, *few) / 8) + values


def round_trip(compressor: Compressor, x: Tensor, draws: Sequence[int]) -> Tensor:
    """Give what arrives of rows."""
    return compressor.decode(compressor.encode(x, draws), draws)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Give normal numbers, the same ones of every type but for rounding."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
