"""Moving weights that nearly keep the limits of a problem to weights that do."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from topokit.matrix import FloatArray
from topokit.optimal.linear_limits import linear_limits
from topokit.optimal.problem import WeightProblem

__all__ = ["Repair"]

EPS = float(np.finfo(np.float64).eps)
EXACT = 1e-14  # residual of node sums
ROUNDS = 3  # of solving for it


class Repair:
    """Moves weights to where they keep the limits, the less the nearer they are.

    Parameters
    ----------
    problem : WeightProblem
        Undirected.

    Raises
    ------
    GraphError
        If no weights keep the limits.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> repair = Repair(weight_problem(nx.path_graph(3), "fmmc"))
    >>> [round(w, 12) for w in repair(np.array([0.6, 0.5])).tolist()]
    [0.545454545455, 0.454545454545]
    """

    def __init__(self, problem: WeightProblem) -> None:
        self.problem = problem
        self.inside = np.zeros(len(problem.edges))
        if problem.self_weights == "zero":
            self.inside = self._without_self_weights()
            signless = abs(problem.sparse_laplacian(np.ones(len(problem.edges))))
            self._signless = sparse.csr_array(signless)

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Give weights within the limits, shape (m,)."""
        if self.problem.self_weights == "zero":
            return self._towards_inside(self._with_sums_one(weights))
        low = 0.0 if self.problem.nonnegative else -np.inf
        fixed = np.clip(weights, low, np.inf if self.problem.upper is None else self.problem.upper)
        if self.problem.self_weights == "nonnegative":
            u, v = self.problem.edges.T
            gains = self.problem.node_sums(np.maximum(fixed, 0))
            losses = self.problem.node_sums(np.maximum(-fixed, 0))
            keep = np.minimum(1.0, (1 + losses) / np.maximum(gains, EPS)) * (1 - 4 * EPS)
            fixed = np.where(fixed > 0, fixed * np.minimum(keep[u], keep[v]), fixed)
        return np.asarray(fixed, dtype=np.float64)

    def _without_self_weights(self) -> FloatArray:
        problem, degree = self.problem, self.problem.degrees()
        equal = np.full(len(problem.edges), 1 / float(degree.max(initial=1)))
        if (degree == degree.max(initial=1)).all() and (problem.upper is None or (equal <= problem.upper).all()):
            return equal
        return linear_limits(problem, np.arange(len(problem.edges))).start

    def _with_sums_one(self, weights: FloatArray) -> FloatArray:
        """Project onto the weights whose sum at every node is 1."""
        for _ in range(ROUNDS):
            missing = 1 - self.problem.node_sums(weights)
            size = float(np.abs(missing).max(initial=0.0))
            if size <= EXACT:
                break
            weights = weights + self.problem.ends_sum(sparse.linalg.cg(self._signless, missing, rtol=1e-10)[0])
        return weights

    def _towards_inside(self, weights: FloatArray) -> FloatArray:
        """Go as far towards weights within the bounds as it takes to keep these."""
        step = self.inside - weights
        part = 0.0
        for short in (
            -weights if self.problem.nonnegative else None,
            None if self.problem.upper is None else weights - self.problem.upper,
        ):
            if short is not None and (short > 0).any():
                part = max(part, float((short[short > 0] / np.maximum(np.abs(step[short > 0]), EPS)).max()))
        return weights + min(part, 1.0) * step
