"""Numbers rounded at random to a few levels of the norm of their bucket."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import lcm, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from topokit_trainer.compression.base import BLOCK, Dense, Reader, on_cpu
from topokit_trainer.compression.bits import (
    below_zero,
    bytes_of,
    numbers_of,
    pack_bits,
    pack_integers,
    unpack_bits,
    unpack_integers,
)

__all__ = ["Quantize", "UniformNumbers"]

MANY = 1 << 14


class UniformNumbers:
    """Random numbers from 0 to 1 that follow from a seed: the same on all CPUs, others on a GPU.

    They are whole multiples of 2^-24, the same ones however many of them (an even number) are asked for at a time.

    Examples
    --------
    >>> few, many = UniformNumbers(5), UniformNumbers(5)
    >>> torch.equal(torch.cat([few(2), few(4)]), many(6))
    True
    """

    def __init__(self, draw: int, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        if self.device.type == "cpu":
            self._words = np.random.SFC64(draw)  # several times as fast as PyTorch's generator
        else:
            self._generator = torch.Generator(self.device).manual_seed(draw)

    def __call__(self, count: int) -> Tensor:
        """Give the next ones, float32, shape (count,)."""
        if self.device.type == "cpu":
            halves = self._words.random_raw(-(-count // 2)).view(np.uint32)[:count]
            return torch.from_numpy((halves >> 8).astype(np.float32) * np.float32(2.0**-24))
        return torch.rand(count, generator=self._generator, device=self.device)


class Quantize(Dense):
    """QSGD in buckets, scaled down: C(x)_i = (||x|| / (s tau)) sign(x_i) floor(s |x_i| / ||x|| + u_i).

    ||x|| is the norm of the bucket of b numbers that i is in, and u_i is uniform from 0 to 1. Without tau it is Q(x)
    with E Q(x) = x and E ||Q(x)||^2 <= tau ||x||^2, tau = 1 + min(b / s^2, sqrt(b) / s); hence
    E ||x - Q(x) / tau||^2 <= (1 - 1 / tau) ||x||^2.

    Parameters
    ----------
    shape, dtype
        As for all compressors.
    levels : int
        s, besides zero.
    bucket : int
        b; the last bucket may have fewer.

    References
    ----------
    D. Alistarh, D. Grubic, J. Li, R. Tomioka, M. Vojnovic, QSGD: Communication-efficient SGD via gradient quantization
    and encoding, NeurIPS 2017.

    Examples
    --------
    >>> quantize = Quantize((4,), torch.float32, levels=4, bucket=2)
    >>> quantize.size, quantize.tau  # two norms, and a byte for each bit of up to eight numbers
    (12, 1.125)
    >>> packed = quantize.encode(torch.tensor([[3.0, -4.0, 0.0, 8.0]]), draws=[0])
    >>> quantize.decode(packed, draws=[0])[0, 2:].mul(quantize.tau).tolist()
    [0.0, 8.0]
    """

    random = True

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, levels: int, bucket: int = 1024) -> None:
        super().__init__(shape, dtype)
        self.levels, self.bucket = levels, min(bucket, self.columns)
        self.tau = 1 + min(self.bucket / levels**2, sqrt(self.bucket) / levels)
        self.contraction = 1 / self.tau
        self._wide = torch.promote_types(dtype, torch.float32)
        self._bits = levels.bit_length()  # = ceil(log2(s + 1))
        self._buckets = -(-self.columns // self.bucket)
        self._head = self._buckets * self._wide.itemsize
        self._kind = torch.uint8 if self._bits < 8 else torch.int64
        self._plane = -(-self.columns // 8)
        self.size = self._head + (1 + self._bits) * self._plane
        together = lcm(8, self.bucket)
        self.block = max(1, BLOCK // together) * together

    def encode(self, x: Tensor, draws: Sequence[int]) -> Tensor:
        """Give the norms, and then levels and signs."""
        packed = torch.empty((len(x), self.size), dtype=torch.uint8, device=x.device)
        uniform = [UniformNumbers(draw, x.device) for draw in draws]
        if self.blockwise(x):
            for row in range(len(x)):
                for first in range(0, self.columns, self.block):
                    self._encode(x[row : row + 1], uniform[row : row + 1], packed[row : row + 1], first, self.block)
        elif draws:
            self._encode(x, uniform, packed, 0, self.columns)
        return packed

    def _encode(self, x: Tensor, uniform: Sequence[UniformNumbers], packed: Tensor, first: int, count: int) -> None:
        part = x[:, first : first + count].to(self._wide)
        count = part.shape[1]
        u = torch.stack([numbers(count) for numbers in uniform])
        part, u = self._in_buckets(part), self._in_buckets(u)
        norms = self._norms(part)
        planes = packed[:, self._head :].unflatten(1, (self._bits + 1, self._plane))
        width = self._wide.itemsize
        heads = packed[:, first // self.bucket * width :]
        heads[:, : norms.shape[1] * width] = bytes_of(norms.squeeze(2))
        if self._fits(x) and (kernels := _kernels()):
            for row in range(len(x)):
                kernels.pack_levels(
                    x[row, first : first + count].numpy(),
                    u[row].flatten()[:count].numpy(),
                    norms[row, :, 0].numpy(),
                    self.levels,
                    planes[row].numpy(),
                    first // 8,
                    self.bucket,
                )
            return
        levels = (part.abs() / torch.where(norms == 0, 1.0, norms)).mul_(self.levels).add_(u).clamp_(max=self.levels)
        whole = levels.to(self._kind).flatten(1)[:, :count]  # rounded down
        planes = planes[:, :, first // 8 : first // 8 + -(-count // 8)]
        planes[:, : self._bits] = pack_integers(whole, self._bits)
        planes[:, self._bits] = pack_bits(below_zero(part).flatten(1)[:, :count])

    def _norms(self, x: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(x, dim=2, keepdim=True)
        least, most = norms.aminmax()
        if x.dtype == torch.float32 and not (self.bucket <= MANY and least > 1e-15 and most < 1e15):
            # Squares may be too large or too small for float32, or too many to be added up in it.
            wide = torch.linalg.vector_norm(x, dim=2, keepdim=True, dtype=torch.float64).float()
            fits = (norms > 1e-15) & (norms < 1e15) & (self.bucket <= MANY)
            norms = torch.where(fits, norms, wide)
        return norms

    def add_(self, target: Tensor, rows: Tensor | None, packed: Tensor, draws: Sequence[int]) -> None:
        """Add row by row with the compiled kernel, where it fits."""
        kernels = _kernels() if self._fits(target) else None
        if kernels is None:
            super().add_(target, rows, packed, draws)
            return
        units, planes = self._parts(packed)
        for number, row in enumerate(range(len(packed)) if rows is None else rows.tolist()):
            kernels.add_levels(target[row].numpy(), planes[number].numpy(), units[number, :, 0].numpy(), self.bucket)

    def _fits(self, x: Tensor) -> bool:
        """Whether compiled kernels can work on rows: float32 in main memory, and enough of it.

        There a level and its sign share a byte.
        """
        return self.blockwise(x) and self.dtype == torch.float32 and x.stride(1) == 1 and self._bits <= 7

    def _parts(self, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Give what a level is in each bucket, and the bits of levels and signs."""
        units = numbers_of(packed[:, : self._head], self._wide).unsqueeze(2) * (1 / (self.levels * self.tau))
        return units, packed[:, self._head :].unflatten(1, (1 + self._bits, self._plane))

    def reader(self, packed: Tensor) -> Reader:
        """Multiply the levels by what one is."""
        units, planes = self._parts(packed)

        def read(first: int, last: int) -> Tensor:
            part = planes[:, :, first // 8 : -(-last // 8)]
            levels = unpack_integers(part[:, : self._bits], last - first)
            below = unpack_bits(part[:, self._bits], last - first)
            signed = self._in_buckets(_signed(levels, below).to(self._wide))
            start = first // self.bucket
            values = signed * units[:, start : start + signed.shape[1]]
            return values.flatten(1)[:, : last - first].to(self.dtype)

        return read

    def _in_buckets(self, x: Tensor) -> Tensor:
        """Give a row for each bucket, the last one filled up with zeros."""
        missing = -x.shape[1] % self.bucket
        filled: Tensor = torch.nn.functional.pad(x, (0, missing)) if missing else x
        return filled.reshape(len(x), filled.shape[1] // self.bucket, self.bucket)


@lru_cache(maxsize=1)
def _kernels() -> Any:
    """Give the compiled kernels; None without numba, of which mixing has warned."""
    try:
        from topokit_trainer.compression import kernels
    except ImportError:
        return None
    return kernels


def _signed(levels: Tensor, below: Tensor) -> Tensor:
    """Give levels with their signs."""
    kind = torch.int8 if levels.dtype == torch.uint8 else torch.int64
    if on_cpu(levels):
        signs = 1 - 2 * below.numpy().view(np.int8)
        return torch.from_numpy(levels.view(kind).numpy() * signs)
    signed: Tensor = levels.view(kind) * (1 - 2 * below.to(kind))
    return signed
