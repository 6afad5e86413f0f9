"""Epidemic averaging by nodes that choose their receivers themselves: its noisy walk in closed form.

All numberings of the nodes are equally likely, so that E[W^T Y W] of Y = a I + b 1 1^T is of the same form, and two
moments of a round say everything: E||W||_F^2, and E||1^T W||^2, of the weight that the values of a node get together.
Both are means of 1/(1 + d) or 1/((1 + d)(1 + d')) over numbers d, d' of senders, and these are integrals of the
generating function of d and d'.
"""

from __future__ import annotations

import numpy as np

from topokit.matrix import FloatArray

__all__ = ["epidemic_local_excess"]

POINTS = 200  # of Gauss quadrature: exact for 100 nodes, and smooth integrands beyond


def epidemic_local_excess(nodes: int, peers: int, decays: FloatArray) -> FloatArray:
    """Excess variance (see `topokit.metrics.neighbours.walks`) of the sampler "epidemic-local", for each decay.

    Examples
    --------
    Two nodes that always send to each other:

    >>> epidemic_local_excess(2, 1, np.array([0.9])).round(12) + 0.0
    array([0.])
    """
    square, columns = _moments(nodes, peers)
    # E[W^T W] = alpha I + beta 1 1^T and E[W^T 1 1^T W] = mu I + nu 1 1^T, from their traces and, as W 1 = 1, sums.
    beta = (1 - square / nodes) / (nodes - 1)
    nu = (nodes - columns / nodes) / (nodes - 1)
    step = np.array([[1 - nodes * beta, nodes - nodes * nu], [beta, nu]])
    # What a I + b 1 1^T leaves of its trace without the mean is (n - 1) a.
    every = [step @ np.linalg.solve(np.eye(2) - decay * step, [1.0, 0.0]) for decay in decays]
    return np.array([(nodes - 1) * float(both[0]) for both in every])


def _moments(nodes: int, peers: int) -> tuple[float, float]:
    """E||W||_F^2 and E||1^T W||^2."""
    p = peers / (nodes - 1)
    # 1/(1 + d) is the integral of x^d from 0 to 1, and the mean of x^d is the generating function, in 1 - x. With
    # 1 - x = v^4, what happens near x = 1, which is all where there are many peers, is spread out.
    places, weights = np.polynomial.legendre.leggauss(POINTS)
    v = (places + 1) / 2
    gap, weights = v**4, 2 * weights * v**3
    own = np.log1p(-p * gap)
    square = nodes * float(weights @ np.exp((nodes - 1) * own))
    g, h = np.meshgrid(gap, gap, indexing="ij")
    x, y = 1 - g, 1 - h
    if nodes == 2:
        return square, nodes * (square / nodes + 2 * peers * float(weights @ (1 - gap)) ** 2)
    both = p * (peers - 1) / (nodes - 2)  # that somebody sends to two given others
    others = np.log1p(both * g * h - p * (g + h))
    # The node j itself and a receiver i: j sends to i, i may send to j, n - 2 others to both.
    itself = weights @ (np.exp((nodes - 2) * others + own[:, None]) * y) @ weights
    # Two receivers of j: they may send to each other, n - 3 others to both.
    pair = weights @ (np.exp((nodes - 3) * others + own[:, None] + own) * x * y) @ weights
    return square, square + nodes * float(2 * peers * itself + peers * (peers - 1) * pair)
