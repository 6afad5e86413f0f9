"""Matrices that look the same from every node of a product of cyclic groups: a Fourier transform gives all eigenvalues.

Circulant matrices are those of one cycle. Tori and hypercubes are those of products: W[i, j] depends on the difference
of i and j in mixed radix, digit by digit. That is read off the matrix, so that nothing rests on a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from scipy import sparse

from topokit.matrix import FloatArray

__all__ = ["group_shape", "group_symbol", "mode_gap"]

TRIED = 8  # shapes that are compared with the whole matrix
SEARCHED = 4000  # rows that are compared before


def group_shape(W: sparse.csr_array) -> tuple[int, ...] | None:
    """Find sizes (a, b, ...) such that W is invariant under a shift of any digit of the node's number.

    Parameters
    ----------
    W : sparse array, shape (n, n)
        With sorted rows, without zeros.

    Returns
    -------
    tuple of int, or None
        Node i has the digits ``np.unravel_index(i, shape)``. One cycle, (n,), where that is possible. Weights must
        agree exactly.

    Examples
    --------
    >>> from topokit.topologies import hypercube_graph, torus_graph
    >>> from topokit.weights import uniform_weights
    >>> [group_shape(uniform_weights(graph).to_csr()) for graph in (torus_graph(12), hypercube_graph(8))]
    [(3, 4), (2, 2, 2)]
    """
    n = W.shape[0]
    if n < 2 or W.nnz == 0 or W.nnz % n or (np.diff(W.indptr) != W.nnz // n).any():
        return None
    for tried, shape in enumerate(_candidates(W)):
        if tried == TRIED:
            return None
        if _invariant(W, shape):
            return shape
    return None


def _row(W: sparse.csr_array, i: int) -> tuple[Any, Any]:
    own = slice(int(W.indptr[i]), int(W.indptr[i + 1]))
    return W.indices[own].astype(np.int64), W.data[own]


def _candidates(W: sparse.csr_array) -> Iterator[tuple[int, ...]]:
    """Build shapes from the last digit on: a shift of it has to turn row 0 into row 1, and so forth."""
    n = W.shape[0]
    first = _row(W, 0)
    left = SEARCHED

    def fits(stride: int, size: int) -> bool:
        columns, values = first
        for turn in {1, size - 1}:
            digit = columns // stride % size
            moved = columns + ((digit + turn) % size - digit) * stride
            order = np.argsort(moved)
            others, weights = _row(W, turn * stride)
            if not (np.array_equal(moved[order], others) and np.array_equal(values[order], weights)):
                return False
        return True

    def extend(stride: int, shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        nonlocal left
        if stride == n:
            yield shape
            return
        for size in _divisors(n // stride):
            left -= 1
            if left < 0:
                return
            if fits(stride, size):
                yield from extend(stride * size, (size, *shape))

    return extend(1, ())


def _divisors(number: int) -> list[int]:
    """Give the divisors above 1, the largest first."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return sorted({d for s in small for d in (s, number // s)} - {1}, reverse=True)


def _invariant(W: sparse.csr_array, shape: tuple[int, ...]) -> bool:
    """Compare every entry with that of row 0 at the same difference."""
    n = W.shape[0]
    width = W.nnz // n
    expected = np.zeros(n)
    columns, values = _row(W, 0)
    expected[columns] = values
    for start in range(0, n, block := max(1, 1_000_000 // width)):
        own = slice(start * width, min(start + block, n) * width)
        source = W.indices[own].astype(np.int64)
        target = start + np.arange(source.size) // width
        difference = np.zeros_like(source)
        stride = 1
        for size in reversed(shape):
            difference += (source // stride - target // stride) % size * stride
            stride *= size
        if not np.array_equal(expected[difference], W.data[own]):
            return False
    return True


def group_symbol(W: sparse.csr_array, shape: tuple[int, ...]) -> Any:
    """Give the eigenvalues of an invariant matrix at all Fourier modes, an array of the given shape.

    Examples
    --------
    >>> group_symbol(sparse.csr_array([[0.75, 0.25], [0.25, 0.75]]), (2,)).real
    array([1. , 0.5])
    """
    row = np.zeros(prod(shape))
    columns, values = _row(W, 0)
    row[columns] = values
    return np.fft.fftn(row.reshape(shape))


def mode_gap(W: sparse.csr_array, shape: tuple[int, ...], mode: int) -> float:
    """Give 1 - eigenvalue of a symmetric invariant matrix at one mode, accurate even where that is tiny.

    Examples
    --------
    >>> mode_gap(sparse.csr_array([[0.75, 0.25], [0.25, 0.75]]), (2,), 1)
    0.5
    """
    columns, values = _row(W, 0)
    turns = np.zeros(columns.size)
    for size, k, digit in zip(shape, np.unravel_index(mode, shape), np.unravel_index(columns, shape), strict=True):
        turns += int(k) * digit % size / size
    # Differences of whole turns do not matter to the sine's square.
    half: FloatArray = np.sin(np.pi * (turns - np.round(turns)))
    return float(2 * values @ half**2)
