"""What rounds do to Fourier modes, where all of them look the same from every node of one product of cycles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from topokit.circulant import period_symbol
from topokit.matrix import FloatArray, MixingMatrix
from topokit.spectral.groups import group_shape, group_symbol
from topokit.spectral.sparse_forms import as_csr

__all__ = ["squared_symbols"]


def squared_symbols(rounds: Sequence[MixingMatrix]) -> FloatArray | None:
    """Give the squared modulus of every Fourier mode's eigenvalue in every round.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        Doubly stochastic.

    Returns
    -------
    ndarray of float64, shape (rounds, n), or None
        Of W - J: column 0 is the mean, and 0. None where the rounds are not all invariant under one group.

    Notes
    -----
    One shape for all rounds is found from their sum with random coefficients: where two entries of the sum are equal,
    those of every round are, but for a probability of about 2^-50.

    Examples
    --------
    >>> from topokit.topologies import one_peer_hypercube
    >>> squared_symbols(one_peer_hypercube(4)).round(12) + 0.0
    array([[0., 0., 1., 0.],
           [0., 1., 0., 0.]])
    """
    symbol = period_symbol(rounds)
    if symbol is not None:
        return np.asarray(symbol**2, dtype=np.float64)
    matrices = [as_csr(W) for W in rounds]
    together = matrices[0]
    if len(matrices) > 1:
        coefficients = np.random.default_rng(0).uniform(1, 2, len(matrices))
        together = as_csr(sum(c * W for c, W in zip(coefficients, matrices, strict=True)))
    shape = group_shape(together)
    if shape is None:
        return None
    squares = np.array([np.abs(group_symbol(W, shape)).ravel() ** 2 for W in matrices])
    squares[:, 0] = 0
    return squares
