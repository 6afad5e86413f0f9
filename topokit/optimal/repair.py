"""Moving weights that almost keep the limits of a problem to weights that do."""

from __future__ import annotations

import numpy as np

from topokit.matrix import FloatArray
from topokit.optimal.problem import WeightProblem

__all__ = ["Repair"]


class Repair:
    def __init__(self, problem: WeightProblem) -> None:
        self.problem = problem
        self.inside = np.zeros(len(problem.edges))

    def __call__(self, weights: FloatArray) -> FloatArray:
        problem = self.problem
        low = 0.0 if problem.nonnegative else -np.inf
        fixed = np.clip(weights, low, np.inf if problem.upper is None else problem.upper)
        if problem.self_weights == "nonnegative":
            u, v = problem.edges.T
            gains = problem.node_sums(np.maximum(fixed, 0))
            losses = problem.node_sums(np.maximum(-fixed, 0))
            factor = np.minimum(1.0, (1 + losses) / np.maximum(gains, 1e-300)) * (1 - 4e-16)
            fixed = np.where(fixed > 0, fixed * np.minimum(factor[u], factor[v]), fixed)
        return fixed
