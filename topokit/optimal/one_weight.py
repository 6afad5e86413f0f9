"""Graphs whose edges are all alike: one weight is left to choose, and its optimum is known."""

from __future__ import annotations

import numpy as np

from topokit.errors import GraphError
from topokit.matrix import FloatArray
from topokit.optimal.certificate import Certificate
from topokit.optimal.iterates import Iterate
from topokit.optimal.problem import WeightProblem

__all__ = ["one_weight"]

SAME = 1e-9  # relative distance of eigenvalues that are one


def one_weight(problem: WeightProblem) -> Iterate:
    """Give all edges the best common weight, with the certificate that holds where the graph is edge-transitive.

    Parameters
    ----------
    problem : WeightProblem
        Undirected, at least 2 nodes, with edges that automorphisms of the graph (and of the bounds) interchange. Where
        they do not, the weight is still the best common one, and the certificate proves less.

    Notes
    -----
    Without limits the weight is 2/(mu_2 + mu_n) and the SLEM (mu_n - mu_2)/(mu_n + mu_2); a limit that is smaller
    leaves 1 - weight mu_2. The dual point is the mean of the extreme eigenvectors over the automorphisms, that is, over
    their whole eigenspaces.

    References
    ----------
    .. [1] S. Boyd, P. Diaconis, P. Parrilo, L. Xiao, "Fastest mixing Markov chain on graphs with symmetries", SIAM
       Journal on Optimization 20(2), 2009.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> found = one_weight(weight_problem(nx.petersen_graph(), "fdla"))
    >>> round(float(found.weights[0]), 6), round(found.upper, 6), round(found.lower, 6)
    (0.285714, 0.428571, 0.428571)
    """
    count = len(problem.edges)
    degree = problem.degrees()
    most = int(degree.max())
    values, vectors = np.linalg.eigh(problem.laplacian(np.ones(count)))
    low, high = float(values[1]), float(values[-1])
    best = 2 / (low + high)
    cap = np.inf if problem.upper is None else float(problem.upper.min())
    if problem.self_weights == "zero":
        weight = 1 / most
        if weight > cap * (1 + SAME):
            raise GraphError(
                f"without self-loops, every edge of this graph weighs 1/{most}, which is above its bound {cap:g}: "
                "raise the bounds, or allow self-loops"
            )
    else:
        weight = min(best, cap, 1 / most if problem.self_weights == "nonnegative" else np.inf)
    # The second eigenvalue decides where the weight is too small, the last one where it is too large.
    part = high / (low + high) if weight == best else 1.0 if weight < best else 0.0
    slow = vectors[:, 1:][:, values[1:] <= low * (1 + SAME)]
    fast = vectors[:, 1:][:, values[1:] >= high * (1 - SAME)]
    positive, negative = _scaled(slow, part), _scaled(fast, 1 - part)
    worth = (part * low - (1 - part) * high) / count
    prices = np.zeros(problem.nodes)
    if problem.self_weights == "zero" or (
        problem.self_weights == "nonnegative" and weight == 1 / most < min(best, cap)
    ):
        # The limit binds at the nodes of the largest degree: at one end of every edge, or at both.
        prices[degree == most] = worth / (2 if (degree == most).all() else 1)
    certificate = Certificate.symmetric(problem, positive, negative, prices)
    upper = max(abs(1 - weight * low), abs(1 - weight * high))
    return Iterate(np.full(count, weight), upper, certificate.bound(upper), lambda: certificate)


def _scaled(vectors: FloatArray, part: float) -> FloatArray:
    return np.asarray(vectors[:, : vectors.shape[1] if part else 0] * np.sqrt(part / max(1, vectors.shape[1])))
