"""What the analysis predicts for one round of mixing, to be drawn beside what was measured."""

from __future__ import annotations

from math import sqrt

from topokit.matrix import MixingMatrix

__all__ = ["expected_contraction"]


def expected_contraction(matrix: MixingMatrix) -> float:
    """Root mean square contraction of one round for differences in random directions, ||W - J||_F / sqrt(n - 1).

    Examples
    --------
    >>> from topokit.designer import design
    >>> round(expected_contraction(design("one-peer-exponential", 8).rounds[0]), 4)
    0.6547
    """
    n = matrix.nodes
    dense_sum = float((matrix.weight**2).sum()) - 2 * float(matrix.weight.sum()) / n + 1
    return sqrt(max(dense_sum, 0.0) / (n - 1)) if n > 1 else 0.0
