"""From the dual matrices of a solver to a certificate of few columns."""

from __future__ import annotations

import numpy as np

from topokit.matrix import FloatArray
from topokit.optimal.certificate import Certificate
from topokit.optimal.problem import WeightProblem

__all__ = ["compact_certificate"]

LOSS = 0.05  # of the distance to the upper bound, that may be lost for fewer columns
MOST_NUMBERS = 400_000  # in the factors: some megabytes of a file
FEWEST = 40  # columns, whatever the size


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
    """
    values, columns, signs = [], [], []
    for sign, matrix in ((1, positive), (-1, negative)):
        centred = matrix - matrix.mean(axis=0)
        centred -= centred.mean(axis=1)[:, None]
        own, vectors = np.linalg.eigh((centred + centred.T) / 2)
        keep = own > 0
        values.append(own[keep])
        columns.append(vectors[:, keep] * np.sqrt(own[keep]))
        signs.append(np.full(int(keep.sum()), sign))
    order = np.argsort(-np.concatenate(values))
    left, of_column = np.hstack(columns)[:, order], np.concatenate(signs)[order]

    def with_columns(count: int) -> tuple[Certificate, float]:
        made = Certificate(problem, left[:, :count], left[:, :count] * of_column[:count], prices)
        return made, made.bound(upper)

    best, reached = with_columns(left.shape[1])
    enough = reached - LOSS * (upper - reached)
    most = min(left.shape[1], max(FEWEST, MOST_NUMBERS // problem.nodes))
    if most < left.shape[1]:
        best, reached = with_columns(most)
    # Fewer columns prove less, nearly: not one by one.
    low, high = 0, most
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        fewer, proved = with_columns(middle)
        if proved >= min(enough, reached):
            best, high = fewer, middle
        else:
            low = middle
    return best
