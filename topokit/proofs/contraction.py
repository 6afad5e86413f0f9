"""What a run of rounds does to consensus errors at worst: the norm of its product minus J, also with two copies."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from topokit.errors import ConvergenceError
from topokit.matrix import FloatArray, MixingMatrix
from topokit.proofs.shifts import shift_period
from topokit.spectral import DENSE_LIMIT, beta, iterative_norm, require_rounds

__all__ = ["product_norm", "run_contraction"]

ORBITS = 8  # rows of a block up to which shift-invariant rounds are multiplied mode by mode
DECOMPOSED = 200  # rows up to which a singular value decomposition costs nothing
MAX_WORK = 5e9  # multiplications of an iterative norm

Rounds = Sequence[MixingMatrix]


def run_contraction(rounds: Rounds, *, copies: int = 1, max_work: float | None = None) -> float | None:
    """Compute || W^(T-1) ... W^(0) - J ||_2, where no row or column sum need be 1.

    With two copies it is the norm of the first block row of the product minus [J, 0].

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        Round 0 acts first; all of copies * n rows.
    copies : int, default 1
        Row c * n + i is copy c of node i.
    max_work : float, optional
        Multiplications that an iterative norm may take; 5e9, some seconds, by default.

    Returns
    -------
    float or None
        None if the iteration does not converge within `max_work`.

    Raises
    ------
    InputError
        If there are no rounds, or rounds of different sizes.

    Notes
    -----
    Rounds that are invariant under a shift by few nodes are block-diagonal in the Fourier basis. Of others, up to
    1,000 rows the product is formed, above that only applied.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> round(run_contraction(one_peer_exponential(12)), 4)
    0.2091
    """
    rows = require_rounds(rounds)
    shift = shift_period(rounds, copies)
    if shift * copies <= ORBITS:
        return _by_modes(rounds, copies, shift)
    if rows <= DENSE_LIMIT:
        return product_norm(_error(np.eye(rows), [W.to_csr() for W in rounds], copies))
    try:
        if len(rounds) == 1 and copies == 1:
            return beta(rounds[0])
        product = _Counted(rounds, copies, MAX_WORK if max_work is None else max_work)
        return iterative_norm(product.apply, product.transposed, rows)[0]
    except ConvergenceError:
        return None


def _by_modes(rounds: Rounds, copies: int, shift: int) -> float:
    """Multiply the Fourier transforms of rounds that are invariant under a shift, and take the largest norm."""
    rows = rounds[0].nodes
    nodes = rows // copies
    modes = nodes // shift
    state: Any = np.broadcast_to(np.eye(copies * shift), (modes, copies * shift, copies * shift))
    for W in rounds:
        # Entry (c s + a, c' s + a') couples node a of copy c with node q s + a' of copy c', a function of q.
        own = W.target % nodes < shift
        target, source, weight = W.target[own], W.source[own], W.weight[own]
        column = source // nodes * shift + source % nodes % shift
        row = target // nodes * shift + target % nodes
        symbol = np.zeros((modes, copies * shift, copies * shift))
        symbol[source % nodes // shift, row, column] = weight
        state = np.fft.fft(symbol, axis=0) @ state
    first = state[:, :shift].copy()
    first[0, :, :shift] -= 1 / shift  # the transform of J
    return float(np.linalg.norm(first, 2, axis=(1, 2)).max())


def _error(x: FloatArray, matrices: Sequence[Any], copies: int) -> FloatArray:
    """Apply the first block row of a product, minus [J, 0]."""
    nodes = x.shape[0] // copies
    y = x
    for W in matrices:
        y = np.asarray(W @ y)
    return np.asarray(y[:nodes] - x[:nodes].mean(axis=0), dtype=np.float64)


def product_norm(matrix: FloatArray) -> float:
    """Compute the spectral norm of a product that was formed, by iteration where it is large and that converges.

    Examples
    --------
    >>> product_norm(np.array([[0.0, 2.0], [0.0, 0.0]]))
    2.0
    """
    if matrix.shape[1] > DECOMPOSED:
        with suppress(ConvergenceError):
            return iterative_norm(lambda x: matrix @ x, lambda x: matrix.T @ x, matrix.shape[1])[0]
    return float(np.linalg.norm(matrix, 2))


class _Counted:
    """The first block row of a product, minus [J, 0], and its transpose, applied so often and no more."""

    def __init__(self, rounds: Rounds, copies: int, max_work: float) -> None:
        self._forward = [W.to_csr() for W in rounds]
        self._backward = [W.T.tocsr() for W in reversed(self._forward)]
        self._copies = copies
        self._left = max_work

    def apply(self, x: FloatArray) -> FloatArray:
        self._count()
        return _error(x, self._forward, self._copies)

    def transposed(self, x: FloatArray) -> FloatArray:
        self._count()
        y = np.concatenate((x, np.zeros((self._copies - 1) * x.size)))
        for W in self._backward:
            y = np.asarray(W @ y)
        y[: x.size] -= x.mean()
        return y

    def _count(self) -> None:
        self._left -= sum(W.nnz for W in self._forward)
        if self._left < 0:
            raise ConvergenceError("the norm of the product takes too long")
