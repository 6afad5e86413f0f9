"""The text that the hash of a schedule is taken of, piece by piece: all of it at once takes gigabytes for large ones.

It is the JSON text of the content with sorted keys and without spaces, in ASCII. The entries of rounds, which are
nearly all of it, are written from arrays.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from topokit.kinds.base import round_content
from topokit.matrix import IntArray, MixingMatrix

__all__ = ["canonical_text", "round_in_arrays"]

CHUNK = 1 << 16  # entries written at a time
HOLDERS = ("rounds", "teams")  # keys below which there are rounds
SHORT = 10**8  # numbers below are written by looking up two times four digits

Part: TypeAlias = "slice[int, int, None]"


@dataclass(frozen=True)
class _Array:
    """A JSON array of some length; ``text(part)`` gives the values of a part, separated by commas."""

    size: int
    text: Callable[[Part], bytes]

    def pieces(self) -> Iterator[bytes]:
        yield b"["
        for low in range(0, self.size, CHUNK):
            yield (b"," if low else b"") + self.text(slice(low, min(low + CHUNK, self.size)))
        yield b"]"


def round_in_arrays(W: MixingMatrix) -> dict[str, Any]:
    """Encode a round for `canonical_text`: `topokit.kinds.base.round_content` with arrays in place of lists."""
    size = W.nonzeros
    none = MixingMatrix(W.nodes, W.target[:0], W.source[:0], W.weight[:0], filter=W.filter)
    return {
        **round_content(none),
        "target": _Array(size, lambda part: _integers(W.target[part])),
        "source": _Array(size, lambda part: _integers(W.source[part])),
        "weight": _Array(size, lambda part: _weights(W, part)),
    }


def canonical_text(content: Any) -> Iterator[bytes]:
    """Write content in which `round_in_arrays` has encoded the rounds.

    Examples
    --------
    >>> W = MixingMatrix.from_entries(1, [0], [0], [1.0])
    >>> b"".join(canonical_text({"rounds": [round_in_arrays(W)], "nodes": 1}))
    b'{"nodes":1,"rounds":[{"source":[0],"target":[0],"weight":[1.0]}]}'
    """
    if isinstance(content, _Array):
        yield from content.pieces()
    elif isinstance(content, list):
        for k, item in enumerate(content):
            yield b"," if k else b"["
            yield from canonical_text(item)
        yield b"]" if content else b"[]"
    elif isinstance(content, dict):
        for k, key in enumerate(sorted(content)):
            value = content[key]
            yield (b"," if k else b"{") + _dumped(key) + b":"
            yield from canonical_text(value) if key in HOLDERS or isinstance(value, _Array) else (_dumped(value),)
        yield b"}" if content else b"{}"
    else:
        yield _dumped(content)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def _weights(W: MixingMatrix, part: Part) -> bytes:
    if W.numerator is None or W.denominator is None:
        return _dumped(W.weight[part].tolist())[1:-1]
    numerator, denominator = W.numerator[part], W.denominator[part]
    texts = _Fractions()
    if (numerator == numerator[0]).all() and (denominator == denominator[0]).all():
        return b",".join([texts[int(numerator[0]), int(denominator[0])]] * numerator.size)
    return b",".join(map(texts.__getitem__, zip(numerator.tolist(), denominator.tolist(), strict=True)))


class _Fractions(dict[tuple[int, int], bytes]):
    """The texts of fractions: few weights of a round differ."""

    def __missing__(self, key: tuple[int, int]) -> bytes:
        p, q = key
        self[key] = text = _dumped(f"{p}" if q == 1 else f"{p}/{q}")
        return text


def _integers(values: IntArray) -> bytes:
    if int(values.max(initial=0)) >= SHORT:
        return _dumped(values.tolist())[1:-1]
    table = _four_digits()
    digits: NDArray[np.uint8] = np.empty((values.size, 9), dtype=np.uint8)
    high, low = np.divmod(values.astype(np.uint32), 10_000)
    digits[:, 0:4], digits[:, 4:8], digits[:, 8] = table[high], table[low], ord(",")
    first = 7 - sum((values >= 10**k).astype(np.uint8) for k in range(1, 8))
    text: bytes = digits[np.arange(9) >= first[:, None]].tobytes()
    return text[:-1]


@cache
def _four_digits() -> NDArray[np.uint8]:
    """Give the digits of 0000 to 9999 as characters, shape (10000, 4)."""
    return np.frombuffer("".join(f"{k:04d}" for k in range(10_000)).encode(), dtype=np.uint8).reshape(-1, 4)
