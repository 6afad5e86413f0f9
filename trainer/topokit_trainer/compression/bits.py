"""Rows of bits, of small integers and of ascending places as rows of bytes, and back.

How many bytes there are follows from how many numbers there are, never from what they are. The same bytes are made
everywhere: by NumPy on the CPU (its packing is vectorised), by PyTorch's operations on other devices.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from topokit_trainer.compression.base import on_cpu

__all__ = [
    "below_zero",
    "bytes_of",
    "numbers_of",
    "ones",
    "pack_bits",
    "pack_integers",
    "pack_places",
    "places_bits",
    "unpack_bits",
    "unpack_integers",
    "unpack_places",
]


def bytes_of(x: Tensor) -> Tensor:
    """Give the bytes of rows of numbers, as a copy.

    Parameters
    ----------
    x : Tensor, shape (rows, m)

    Returns
    -------
    Tensor of uint8, shape (rows, m * bytes of a number)

    Examples
    --------
    >>> bytes_of(torch.tensor([[1, 258]], dtype=torch.int16)).tolist()
    [[1, 0, 2, 1]]
    """
    return x.clone(memory_format=torch.contiguous_format).view(torch.uint8)


def numbers_of(packed: Tensor, dtype: torch.dtype) -> Tensor:
    """Give the numbers that `bytes_of` made bytes of, as a copy: bytes may lie anywhere, numbers must be aligned.

    Examples
    --------
    >>> numbers_of(torch.tensor([[1, 0, 2, 1]], dtype=torch.uint8), torch.int16).tolist()
    [[1, 258]]
    """
    return packed.clone(memory_format=torch.contiguous_format).view(dtype)


def below_zero(x: Tensor) -> Tensor:
    """Give which numbers are below zero: `x < 0`, faster where NumPy knows the type.

    Examples
    --------
    >>> below_zero(torch.tensor([1.0, -0.0, -2.0])).tolist()
    [False, False, True]
    """
    if on_cpu(x) and x.dtype != torch.bfloat16:
        return torch.from_numpy(x.numpy() < 0)
    return x < 0


def pack_bits(bits: Tensor) -> Tensor:
    """Put eight bits into a byte, the first one lowest.

    Parameters
    ----------
    bits : Tensor of bool, shape (rows, m)

    Returns
    -------
    Tensor of uint8, shape (rows, ceil(m / 8))

    Examples
    --------
    >>> pack_bits(torch.tensor([[True, False, True, False, False, False, False, False, True]])).tolist()
    [[5, 1]]
    """
    if on_cpu(bits):
        return torch.from_numpy(np.packbits(bits.numpy(), axis=1, bitorder="little"))
    return _pack_bits_anywhere(bits)


def unpack_bits(packed: Tensor, count: int) -> Tensor:
    """Give the first ``count`` bits of each row.

    Parameters
    ----------
    packed : Tensor of uint8, shape (rows, at least ceil(count / 8))
    count : int

    Returns
    -------
    Tensor of bool, shape (rows, count)

    Examples
    --------
    >>> unpack_bits(torch.tensor([[5, 1]], dtype=torch.uint8), 3).tolist()
    [[True, False, True]]
    """
    if on_cpu(packed):
        bits = np.unpackbits(packed.numpy(), axis=1, count=count, bitorder="little")
        return torch.from_numpy(bits.view(np.bool_))
    return _unpack_bits_anywhere(packed, count)


def _pack_bits_anywhere(bits: Tensor) -> Tensor:
    rows, count = bits.shape
    octets = torch.nn.functional.pad(bits.to(torch.uint8), (0, -count % 8)).view(rows, -(-count // 8), 8)
    packed = octets[..., 0].clone()
    for place in range(1, 8):
        packed |= octets[..., place] << place
    return packed


def _unpack_bits_anywhere(packed: Tensor, count: int) -> Tensor:
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    bits: Tensor = (packed[:, : -(-count // 8)].unsqueeze(2) >> places) & 1
    return bits.flatten(1)[:, :count].bool()


def pack_integers(values: Tensor, width: int) -> Tensor:
    """Pack integers of some bits each: the lowest bits of all, then the second ones, and so on.

    Parameters
    ----------
    values : Tensor of integers from 0 to 2**width - 1, shape (rows, m)
    width : int
        Bits of each, 1 to 32.

    Returns
    -------
    Tensor of uint8, shape (rows, width, ceil(m / 8))

    Examples
    --------
    >>> pack_integers(torch.tensor([[1, 3, 0, 2]]), 2).tolist()  # 1100 and 0101, read from the lowest bit
    [[[3], [10]]]
    """
    if on_cpu(values):  # where what is not zero is packed as a one
        planes = [np.packbits(values.numpy() & (1 << place), axis=1, bitorder="little") for place in range(width)]
        return torch.from_numpy(np.stack(planes, axis=1))
    rows, count = values.shape
    packed: Tensor = pack_bits(_planes(values, width).view(rows * width, count))
    return packed.view(rows, width, packed.shape[1])


def unpack_integers(packed: Tensor, count: int) -> Tensor:
    """Give back what `pack_integers` packed.

    Parameters
    ----------
    packed : Tensor of uint8, shape (rows, width, at least ceil(count / 8))
    count : int

    Returns
    -------
    Tensor of uint8 (up to 8 bits) or int64, shape (rows, count)

    Examples
    --------
    >>> unpack_integers(pack_integers(torch.tensor([[1, 3, 0, 2]]), 2), 4).tolist()
    [[1, 3, 0, 2]]
    """
    rows, width, _ = packed.shape
    return _from_planes(unpack_bits(packed.flatten(0, 1), count).view(rows, width * count), width)


def _planes(values: Tensor, width: int) -> Tensor:
    """Give the lowest bits of all, then the second ones, and so on, shape (rows, width * m)."""
    rows, count = values.shape
    planes = torch.empty((rows, width, count), dtype=torch.bool, device=values.device)
    if on_cpu(values):
        small: NDArray[Any] = values.numpy().astype(
            np.uint8 if width <= 8 else np.int64
        )  # of the bits above 8, none is needed
        for place in range(width):
            np.not_equal(small & (1 << place), 0, out=planes[:, place].numpy())
    else:
        for place in range(width):
            torch.ne(values & (1 << place), 0, out=planes[:, place])
    return planes.view(rows, width * count)


def _from_planes(bits: Tensor, width: int) -> Tensor:
    planes: Tensor = bits.view(torch.uint8).unflatten(1, (width, -1 if len(bits) else bits.shape[1] // width))
    values = torch.zeros_like(planes[:, 0], dtype=torch.uint8 if width <= 8 else torch.int64)
    for place in range(width):
        if on_cpu(bits):
            there = values.numpy()
            there |= planes[:, place].numpy().astype(there.dtype) << place
        else:
            values |= planes[:, place].to(values.dtype) << place
    return values


Coding = Literal["few", "bitmap", "many"]


@lru_cache(maxsize=4096)
def _coding(k: int, d: int) -> tuple[Coding, int, int]:
    """Give the shortest way to write k of d places, its bits, and its low bits a place."""
    ways: list[tuple[int, Coding, int]] = [(d, "bitmap", 0)]
    for coding, count in (("few", k), ("many", d - k)):
        if count == 0:
            ways.append((0, coding, 0))  # type: ignore[arg-type]
        else:
            ways += [(count * (low + 1) + ((d - 1) >> low), coding, low) for low in range(d.bit_length())]  # type: ignore[misc]
    bits, coding, low = min(ways)
    return coding, bits, low


def places_bits(k: int, d: int) -> int:
    """Give the bits that k of d places take.

    Examples
    --------
    >>> places_bits(1000, 100_000)  # log2 of the number of all sets is 8,073
    8562
    >>> places_bits(400, 1000), places_bits(1000, 1000)
    (1000, 0)
    """
    return _coding(k, d)[1]


def pack_places(places: Tensor, d: int) -> Tensor:
    """Pack ascending places by Elias-Fano coding.

    The low bits of each place are written as they are. The high ones do not decrease, and become bits: a one for each
    place, and before it a zero for each step up from the place before. Where it is shorter, the places left out are
    written so, or a bit for each of all d.

    Parameters
    ----------
    places : Tensor of int64, shape (rows, k)
        Different places from 0 to d - 1, ascending in each row.
    d : int

    Returns
    -------
    Tensor of uint8, shape (rows, ceil(places_bits(k, d) / 8))

    References
    ----------
    P. Elias, Efficient storage and retrieval by content and address of static files, Journal of the ACM 21, 1974.

    Examples
    --------
    >>> packed = pack_places(torch.tensor([[3, 5, 60]]), 64)
    >>> packed.shape[1], unpack_places(packed, 3, 64).tolist()
    (3, [[3, 5, 60]])
    """
    k = places.shape[1]
    coding, bits, low = _coding(k, d)
    if coding == "many":
        return _pack_few(_ones(~_bitmap(places, d), d - k), bits, low)
    return pack_bits(_bitmap(places, d)) if coding == "bitmap" else _pack_few(places, bits, low)


def unpack_places(packed: Tensor, k: int, d: int) -> Tensor:
    """Give back the places that `pack_places` packed, shape (rows, k)."""
    coding, bits, low = _coding(k, d)
    if coding == "many":
        return _ones(~_bitmap(_unpack_few(packed, d - k, bits, low), d), k)
    return _ones(unpack_bits(packed, d), k) if coding == "bitmap" else _unpack_few(packed, k, bits, low)


def _pack_few(places: Tensor, bits: int, low: int) -> Tensor:
    (rows, k), device = places.shape, places.device
    found = torch.zeros((rows, bits), dtype=torch.bool, device=device)
    found[:, : k * low] = _planes(places, low)
    _mark(found[:, k * low :], (places >> low) + torch.arange(k, device=device))
    return pack_bits(found)


def _unpack_few(packed: Tensor, k: int, bits: int, low: int) -> Tensor:
    found = unpack_bits(packed, bits)
    high = _ones(found[:, k * low :], k) - torch.arange(k, device=packed.device)
    return (high << low) | _from_planes(found[:, : k * low], low) if low else high


def _bitmap(places: Tensor, d: int) -> Tensor:
    bits = torch.zeros((len(places), d), dtype=torch.bool, device=places.device)
    _mark(bits, places)
    return bits


def _mark(bits: Tensor, places: Tensor) -> None:
    """Set bits of each row."""
    if on_cpu(bits):  # where NumPy is faster
        for row, there in zip(bits.numpy(), places.numpy(), strict=True):
            row[there] = True
    else:
        bits.scatter_(1, places, True)


def _ones(bits: Tensor, k: int) -> Tensor:
    """Give where the k ones of each row are."""
    rows, columns = bits.shape
    if on_cpu(bits):
        found = torch.empty((rows, k), dtype=torch.int64)
        for row, there in zip(bits.numpy(), found.numpy(), strict=True):
            there[:] = ones(row)
        return found
    places = bits.reshape(-1).nonzero().squeeze(1).view(rows, k)
    return places - torch.arange(rows, device=bits.device).unsqueeze(1) * columns


def ones(bits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give the places of the ones: `numpy.flatnonzero`, also where a few in a hundred are.

    Up to one in ten, NumPy goes from one to the next, and else looks at every place, which is several times faster as
    soon as they are not rare. With ones enough behind the others it does.

    Examples
    --------
    >>> ones(np.array([False, True, True]))
    array([1, 2])
    """
    count = int(np.count_nonzero(bits))
    if not 0.02 < count / max(bits.size, 1) <= 0.1:
        return np.flatnonzero(bits)
    more = int(0.12 * bits.size) - count + 8
    filled = np.ones(bits.size + more, dtype=np.bool_)
    filled[: bits.size] = bits
    return np.flatnonzero(filled)[:count]
