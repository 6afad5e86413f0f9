"""The smallest SLEM as a general solver finds it, from the problem as one would write it down."""

import warnings

import numpy as np
import pytest

__all__ = ["smallest_slem"]


def smallest_slem(problem):
    """Solve an undirected problem written without any thought of speed: W is a matrix of variables.

    None where the solver says that its solution may be inaccurate, as it is no oracle then.
    """
    cp = pytest.importorskip("cvxpy")
    W = cp.Variable((problem.nodes, problem.nodes), symmetric=True)
    edges = {tuple(edge): k for k, edge in enumerate(problem.edges.tolist())}
    limits = [cp.sum(W, axis=1) == 1]
    for u in range(problem.nodes):
        if problem.self_weights == "nonnegative":
            limits.append(W[u, u] >= 0)
        if problem.self_weights == "zero":
            limits.append(W[u, u] == 0)
        for v in range(u + 1, problem.nodes):
            if (u, v) not in edges:
                limits.append(W[u, v] == 0)
                continue
            bound = np.inf if problem.upper is None else problem.upper[edges[u, v]]
            limits += [W[u, v] >= 0] if problem.nonnegative else []
            limits += [W[u, v] <= bound] if np.isfinite(bound) else []
    stated = cp.Problem(cp.Minimize(cp.sigma_max(W - 1 / problem.nodes)), limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = stated.solve(solver="CLARABEL")
    return float(value) if stated.status == "optimal" else None
