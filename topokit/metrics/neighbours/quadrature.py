"""Quadratic forms x^T g(A) x of a symmetric operator that is only applied, between two bounds, for many decays at once.

g(s) = s / (1 - decay s) = s + decay s^2 + decay^2 s^3 + ..., the discounted sum of all powers. All its derivatives are
positive below 1/decay, so that Gauss quadrature by Lanczos gives a lower bound and Gauss-Radau quadrature with a node
above the spectrum an upper bound, both within rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from topokit.errors import ConvergenceError
from topokit.matrix import FloatArray

__all__ = ["discounted_forms"]

Apply: TypeAlias = Callable[[FloatArray], FloatArray]

NOTHING = 1e-13  # a residual of this size, relative to the operator, ends the iteration: the answer is exact
LOOK = 4  # steps between two looks at the bounds


def discounted_forms(
    apply: Apply, start: FloatArray, decays: FloatArray, *, top: float = 1.0, tolerance: float = 1e-12, steps: int = 400
) -> tuple[FloatArray, FloatArray]:
    """Bound x^T (A + decay A^2 + decay^2 A^3 + ...) x for several vectors x and several decays.

    Parameters
    ----------
    apply : callable
        Multiplies A, symmetric, to vectors that are the columns of an array.
    start : ndarray, shape (size, columns)
        The vectors x.
    decays : ndarray, shape (m,)
        From 0 to below 1/top.
    top : float, default 1.0
        What no eigenvalue of A exceeds; below, they may lie anywhere above -top.
    tolerance : float, default 1e-12
        Largest distance of the bounds, relative to the lower one.
    steps : int, default 400
        How many products to take at most.

    Returns
    -------
    tuple of ndarray, shape (m, columns)
        Lower and upper bounds.

    Raises
    ------
    ConvergenceError
        If the bounds are still too far apart after so many steps.

    References
    ----------
    .. [1] G. H. Golub, G. Meurant, "Matrices, Moments and Quadrature with Applications", Princeton University Press,
       2010, chapters 6 and 7.

    Examples
    --------
    >>> values = np.array([0.0, 0.25, 0.5])
    >>> low, high = discounted_forms(lambda x: values[:, None] * x, np.ones((3, 1)), np.array([0.0, 0.5]))
    >>> low.ravel().round(6).tolist(), (values / (1 - 0.5 * values)).sum().round(6).tolist()
    ([0.75, 0.952381], 0.952381)
    """
    squares = np.einsum("ij,ij->j", start, start)
    # A column of zeros is its own answer, whatever its coefficients.
    sizes = np.sqrt(np.where(squares > 0, squares, 1.0))
    before, vector = np.zeros_like(start), start / sizes
    diagonal: list[FloatArray] = []
    beside: list[FloatArray] = []
    low = high = np.zeros((decays.size, start.shape[1]))
    done = np.zeros(start.shape[1], dtype=bool)
    for step in range(1, steps + 1):
        image = apply(vector)
        if beside:
            image -= before * beside[-1]
        diagonal.append(np.einsum("ij,ij->j", vector, image))
        image -= vector * diagonal[-1]
        norm = np.linalg.norm(image, axis=0)
        # Columns that are done go on with zeros: their coefficients say so.
        done |= norm <= NOTHING * top
        norm[done] = 0.0
        beside.append(norm)
        before, vector = vector, image / np.where(done, np.inf, norm)
        if step % LOOK == 0 or done.all() or step == steps:
            low, high = _bounds(np.array(diagonal), np.array(beside), decays, top)
            if (high - low <= tolerance * np.abs(low)).all() or done.all():
                return low * squares, high * squares
    apart = float(((high - low) * squares).max())
    raise ConvergenceError(f"the bounds of a quadratic form are still {apart:.1e} apart after {steps} products")


def _bounds(diagonal: FloatArray, beside: FloatArray, decays: FloatArray, top: float) -> tuple[FloatArray, FloatArray]:
    """Apply both rules to the coefficients of each column: arrays of shape (steps, columns)."""
    shape = (decays.size, diagonal.shape[1])
    low, high = np.empty(shape), np.empty(shape)
    for column in range(shape[1]):
        alpha, beta = diagonal[:, column], beside[:, column]
        # After an invariant subspace there is nothing: the rule is exact, and the two bounds are one.
        end = np.flatnonzero(beta == 0)
        size = int(end[0]) + 1 if end.size else alpha.size
        low[:, column] = _rule(alpha[:size], beta[: size - 1], decays)
        if end.size:
            high[:, column] = low[:, column]
            continue
        for k, decay in enumerate(decays):
            node = top + min(1e-10, (1 / decay - top) / 2) if decay > 0 else top + 1e-10
            last = _last_of_radau(alpha, beta, node)
            high[k, column] = _rule(np.append(alpha, last), beta, decays[k : k + 1])[0]
    return low, high


def _rule(alpha: FloatArray, beta: FloatArray, decays: FloatArray) -> FloatArray:
    """First entry of g of a tridiagonal matrix."""
    from scipy.linalg import eigh_tridiagonal

    nodes, vectors = eigh_tridiagonal(alpha, beta)
    weights = vectors[0] ** 2
    return np.asarray([float(np.sum(weights * nodes / (1 - decay * nodes))) for decay in decays])


def _last_of_radau(alpha: FloatArray, beta: FloatArray, node: float) -> float:
    """Give the last diagonal entry with which the tridiagonal matrix has `node` as an eigenvalue."""
    pivot = alpha[0] - node
    for k in range(1, alpha.size):
        pivot = alpha[k] - node - beta[k - 1] ** 2 / pivot
    return node + float(beta[-1] ** 2 / pivot)
