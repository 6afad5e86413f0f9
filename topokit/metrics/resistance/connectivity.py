"""Algebraic connectivity of a graph with conductances: mu_2, the second smallest eigenvalue of its Laplacian."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np

from topokit.errors import ConvergenceError
from topokit.matrix import FloatArray
from topokit.metrics.resistance.circuit import Circuit
from topokit.metrics.resistance.projection import conjugate_gradients
from topokit.metrics.resistance.translations import translations

__all__ = ["algebraic_connectivity"]

DENSE_LIMIT = 600  # nodes up to which dense eigenvalues cost a fraction of a second
EIGEN_LIMIT = 3000  # and a few seconds, where the graph is dense
TOLERANCE = 1e-10  # of the Lanczos iteration with a factorisation
LOOSE = 1e-8  # of the others, whose own errors are about that
RESIDUAL_LIMIT = 1e-6  # of an eigenpair, relative to the eigenvalue that is wanted
BASIS = 40  # vectors of the Lanczos iteration
SHARE = 0.25  # of the work for the iteration that solves nothing

Apply = Callable[[FloatArray], FloatArray]


def algebraic_connectivity(circuit: Circuit, max_work: float) -> float:
    """Compute mu_2 of the Laplacian weighted by the conductances.

    Parameters
    ----------
    circuit : Circuit
    max_work : float
        Multiplications after which to give up.

    Raises
    ------
    ConvergenceError
        If Lanczos does not converge within `max_work`.

    Notes
    -----
    By Fourier modes where the graph is invariant under translations, else densely up to 600 nodes, else by Lanczos: on
    the inverse where a factorisation is affordable, or on the Laplacian itself, which is quick on expanders, or on the
    inverse by conjugate gradients, which stands hubs. Relative residuals are at most 1e-6.

    Examples
    --------
    >>> path = Circuit.of_edges(3, [(0, 1), (1, 2)], [2, 2])
    >>> round(algebraic_connectivity(path, 1e9), 12)
    2.0
    """
    if (invariant := translations(circuit)) is not None:
        return float(invariant[0].eigenvalues[1:].min())
    dense = circuit.nodes <= EIGEN_LIMIT and circuit.dense_work <= min(circuit.factor_work, max_work)
    if circuit.nodes <= DENSE_LIMIT or dense:
        return float(np.linalg.eigvalsh(circuit.laplacian.toarray())[1])
    if circuit.factor_work <= max_work:
        return 1 / _Lanczos(circuit, circuit.grounded.pseudo_inverse, inf, TOLERANCE).largest()
    L, top = circuit.laplacian, 2 * float(circuit.degrees.max())  # no eigenvalue is larger

    def flipped(x: FloatArray) -> FloatArray:
        return np.asarray(top * x - L @ x, dtype=np.float64)

    try:
        return top - _Lanczos(circuit, flipped, SHARE * max_work).largest(lambda value: top - value)
    except ConvergenceError:
        return 1 / _Lanczos(circuit, _Solver(circuit, (1 - SHARE) * max_work), inf).largest()


class _Solver:
    """The pseudo-inverse by conjugate gradients, within a limit of work."""

    def __init__(self, circuit: Circuit, max_work: float) -> None:
        self._circuit, self._left = circuit, max_work

    def __call__(self, x: FloatArray) -> FloatArray:
        X, work = conjugate_gradients(self._circuit, x[:, None], self._left)
        self._left -= work
        if X is None:
            raise ConvergenceError(f"the eigensolver takes too long on {self._circuit.nodes} nodes")
        return X[:, 0]


class _Lanczos:
    """The largest eigenvalue of an operator on vectors whose sum is 0."""

    def __init__(self, circuit: Circuit, apply: Apply, max_work: float, tolerance: float = LOOSE) -> None:
        self._nodes, self._apply, self._tolerance = circuit.nodes, apply, tolerance
        # A restart applies the operator and orthogonalises about BASIS / 2 times.
        step = 1.0 * circuit.laplacian.nnz + 2 * BASIS * circuit.nodes
        self._restarts = int(np.clip(max_work / (BASIS / 2 * step), 10, 1000))

    def _centred(self, x: FloatArray) -> FloatArray:
        flat = x.ravel()
        y = self._apply(flat - flat.mean())
        return np.asarray(y - y.mean(), dtype=np.float64)

    def largest(self, wanted: Callable[[float], float] = lambda value: value) -> float:
        """Iterate; the residual must be small relative to the number that is wanted."""
        from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

        start = np.random.default_rng(0).standard_normal(self._nodes)
        operator = LinearOperator((self._nodes, self._nodes), matvec=self._centred, dtype=np.float64)
        how = {"v0": start - start.mean(), "ncv": BASIS, "maxiter": self._restarts, "tol": self._tolerance}
        try:
            values, vectors = eigsh(operator, k=1, which="LA", **how)
        except ArpackError as error:
            raise ConvergenceError(f"the eigensolver gave up on {self._nodes} nodes: {error}") from error
        value, vector = float(values[0]), vectors[:, 0]
        residual = float(np.linalg.norm(self._centred(vector) - value * vector)) / max(wanted(value), 1e-300)
        if residual > RESIDUAL_LIMIT:
            raise ConvergenceError(f"the eigensolver stopped at a relative residual of {residual:.1e}")
        return value
