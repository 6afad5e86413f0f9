"""Certificates of few columns: from the dual matrices of a solver, or from a certificate with many."""

from __future__ import annotations

import numpy as np

from topokit.matrix import FloatArray
from topokit.optimal.certificate import Certificate
from topokit.optimal.dense import centred
from topokit.optimal.problem import WeightProblem

__all__ = ["compact_certificate", "fewer_columns"]

LOSS = 0.05  # of the distance to the upper bound, that may be lost for fewer columns
NOTHING = 1e-8  # of the spectral gap, that may be lost in any case
MANY_NUMBERS = 1_500_000  # in the factors, from which on it is worth while to look for fewer: some megabytes of a file


def compact_certificate(
    problem: WeightProblem, positive: FloatArray, negative: FloatArray, prices: FloatArray, upper: float
) -> Certificate:
    """Factorise Y = positive - negative, and leave out the columns that hardly count.

    Parameters
    ----------
    problem : WeightProblem
    positive, negative : ndarray of float64, shape (n, n)
        Positive semidefinite; their constant parts do not matter.
    prices : ndarray of float64, shape (n,)
        Of the nodes' sums, for Y scaled to norm 1.
    upper : float
        SLEM of the best weights.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> slow = np.array([[1.0, 0.0, -1.0]])
    >>> path = weight_problem(nx.path_graph(3), "fmmc")
    >>> made = compact_certificate(path, slow.T @ slow, np.zeros((3, 3)), np.array([0.0, 0.5, 0.0]), 0.5)
    >>> made.left.shape, round(made.bound(0.5), 9)
    ((3, 1), 0.5)
    """
    values, columns = [], []
    for sign, matrix in ((1, positive), (-1, negative)):
        own, vectors = np.linalg.eigh(centred(matrix))
        keep = own > 0
        values.append(sign * own[keep])
        columns.append(vectors[:, keep])
    return _largest(problem, np.concatenate(values), np.hstack(columns), prices, upper)


def fewer_columns(certificate: Certificate, upper: float) -> Certificate:
    """Leave out what hardly counts of a certificate that would make a large file.

    Parameters
    ----------
    certificate : Certificate
    upper : float
        SLEM of the best weights.

    Examples
    --------
    Small ones are left as they are:

    >>> import networkx as nx
    >>> from topokit.optimal import optimal_weights
    >>> certificate = optimal_weights(nx.petersen_graph()).certificate
    >>> fewer_columns(certificate, 3 / 7) is certificate
    True
    """
    left, right = certificate.left, certificate.right
    signs = np.sign((left * right).sum(axis=0))
    if left.size <= MANY_NUMBERS or not np.array_equal(right, left * signs):
        return certificate
    basis, triangle = np.linalg.qr(left)
    values, vectors = np.linalg.eigh((triangle * signs) @ triangle.T)
    norm = np.abs(values).sum() / (left * left).sum()  # what the columns did not show of the norm
    return _largest(certificate.problem, values, basis @ vectors, certificate.prices / norm, upper)


def _largest(
    problem: WeightProblem, values: FloatArray, vectors: FloatArray, prices: FloatArray, upper: float
) -> Certificate:
    """Keep as many of the largest eigenvalues of Y as it takes to prove nearly as much as all of them."""
    order = np.argsort(-np.abs(values))
    of_column = np.sign(values[order])
    left = vectors[:, order] * np.sqrt(np.abs(values[order]))

    def with_columns(count: int) -> tuple[Certificate, float]:
        made = Certificate(problem, left[:, :count], left[:, :count] * of_column[:count], prices)
        return made, made.bound(upper)

    best, reached = with_columns(left.shape[1])
    enough = reached - max(LOSS * (upper - reached), NOTHING * (1 - upper))
    # Fewer columns prove less, nearly: not one by one.
    low, high = 0, left.shape[1]
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        fewer, proved = with_columns(middle)
        if proved >= enough:
            best, high = fewer, middle
        else:
            low = middle
    return best
