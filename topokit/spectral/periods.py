"""Products of rounds: formed, or only applied, and their norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import sparse

from topokit.errors import ConvergenceError, InputError
from topokit.matrix import FloatArray, MixingMatrix
from topokit.spectral import limits

__all__ = ["centred", "iterative_norm", "period_product", "require_rounds"]

RESIDUAL_LIMIT = 1e-8  # of an iterative eigenpair, relative to the norm
MAX_RESTARTS = 1000  # of the Lanczos iteration

Rounds = Sequence[MixingMatrix]
Apply = Callable[[FloatArray], FloatArray]


def period_product(rounds: Rounds, *, limit: int = limits.PRODUCT_LIMIT) -> FloatArray:
    """Multiply the rounds of a period, round 0 acting first: W^(tau-1) ... W^(0), dense.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        At least one round.
    limit : int, default 2000
        Refuse more nodes than this: the result has n^2 entries.

    Raises
    ------
    InputError
        If there are no rounds, rounds of different sizes, or more nodes than `limit`.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> period_product(one_peer_exponential(3))
    array([[0.5 , 0.25, 0.25],
           [0.25, 0.5 , 0.25],
           [0.25, 0.25, 0.5 ]])
    """
    nodes = require_rounds(rounds)
    if nodes > limit:
        raise InputError(f"the product of a period of {nodes} nodes is dense; pass limit={nodes} to form it anyway")
    product = rounds[0].to_dense()
    for matrix in rounds[1:]:
        product = np.asarray(matrix.to_csr() @ product)
    return product


def require_rounds(rounds: Rounds) -> int:
    """Check that there are rounds, all of one size, and give the number of nodes."""
    if not rounds:
        raise InputError("a period needs at least one round")
    nodes = rounds[0].nodes
    for t, matrix in enumerate(rounds):
        if matrix.nodes != nodes:
            raise InputError(f"round {t} has {matrix.nodes} nodes, round 0 has {nodes}")
    return nodes


def centred(rounds: Rounds) -> tuple[Apply, Apply]:
    """Apply W^(tau-1) ... W^(0) - J, and its transpose, without forming it."""
    forward = [matrix.to_csr() for matrix in rounds]
    backward = [W.T.tocsr() for W in reversed(forward)]

    def chain(matrices: list[sparse.csr_array], x: FloatArray) -> FloatArray:
        y = x
        for W in matrices:
            y = np.asarray(W @ y)
        return np.asarray(y - x.mean(axis=0), dtype=np.float64)

    return lambda x: chain(forward, x), lambda x: chain(backward, x)


def iterative_norm(apply: Apply, transposed: Apply, nodes: int) -> tuple[float, float]:
    """Largest singular value of an operator that is only applied, with the relative residual of the eigenpair.

    The value is a Rayleigh quotient, so that the norm is no smaller; that it is no larger is not proved, see
    `topokit.spectral.spectrum` for one matrix.

    Parameters
    ----------
    apply, transposed : callable
        The operator and its transpose.
    nodes : int
        Length of the vectors that `apply` takes.

    Raises
    ------
    ConvergenceError
        If the eigensolver does not converge.

    Examples
    --------
    >>> A = np.diag(np.arange(50.0))
    >>> round(iterative_norm(lambda x: A @ x, lambda x: A.T @ x, 50)[0], 9)
    49.0
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    start = np.random.default_rng(0).standard_normal(nodes)
    size = float(np.linalg.norm(apply(start)) / np.linalg.norm(start))
    if size < 1e-13:
        # Lanczos has nothing to start from: the operator is zero up to rounding.
        return size, 0.0

    def square(x: FloatArray) -> FloatArray:
        return transposed(apply(np.ravel(x)))

    operator = LinearOperator((nodes, nodes), matvec=square, dtype=np.float64)
    try:
        values, vectors = eigsh(operator, k=1, which="LA", v0=start, ncv=40, tol=1e-12, maxiter=MAX_RESTARTS)
    except ArpackError as error:
        raise ConvergenceError(f"the eigensolver gave up on {nodes} nodes: {error}") from error
    value = float(values[0])
    residual = float(np.linalg.norm(square(vectors[:, 0]) - value * vectors[:, 0])) / max(value, 1e-300)
    if residual > RESIDUAL_LIMIT:
        raise ConvergenceError(f"the eigensolver stopped at a relative residual of {residual:.1e} on {nodes} nodes")
    return float(np.sqrt(max(value, 0.0))), residual
