"""Spectra of mixing matrices and graphs: SLEM, spectral gap, beta, Fiedler value, and the contraction of a period.

Two numbers describe how fast one matrix W averages, with J the matrix of all 1/n: the norm beta = ||W - J||_2, by
which one round shrinks the worst error, and the SLEM, the spectral radius of W - J, the factor per round after many
rounds. They are equal for normal matrices, hence for symmetric and circulant ones. The eigenvalues of other matrices
cannot be trusted to floating point (a nilpotent W - J of 1,024 nodes comes out with radius 0.02 instead of 0), so the
SLEM of those is not computed: beta and the norm of a period are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse

from topokit.circulant import circulant_row, period_symbol
from topokit.errors import ConvergenceError, InputError
from topokit.matrix import FloatArray, Graph, MatrixLike, MixingMatrix

__all__ = [
    "Spectrum",
    "beta",
    "fiedler_value",
    "is_normal",
    "is_symmetric",
    "laplacian_extremes",
    "period_product",
    "slem",
    "spectral_gap",
    "spectrum",
]

DENSE_LIMIT = 1000  # nodes up to which dense eigenvalues cost less than a second
PRODUCT_LIMIT = 2000  # nodes up to which the product of a period is formed without being asked
RESIDUAL_LIMIT = 1e-8  # of an iterative eigenpair, relative to the norm
MAX_RESTARTS = 1000  # of the Lanczos iteration

Rounds = Sequence[MixingMatrix]
Apply = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Spectrum:
    """How fast one mixing matrix averages, and how that was found out.

    Attributes
    ----------
    slem : float or None
        Spectral radius of W - J; None where it cannot be computed reliably.
    gap : float or None
        1 - SLEM.
    beta : float
        ||W - J||_2.
    normal : bool
        Whether W commutes with its transpose; then SLEM = beta.
    method : {"circulant", "dense", "iterative"}
        Fourier transform of the symbol, a dense decomposition, or Lanczos iterations.
    residual : float or None
        Relative residual of an iterative result.
    reason : str or None
        Why there is no SLEM.
    """

    slem: float | None
    gap: float | None
    beta: float
    normal: bool
    method: str
    residual: float | None = None
    reason: str | None = None


def is_symmetric(matrix: MatrixLike, tolerance: float = 1e-12) -> bool:
    """Whether W equals its transpose, entries compared to an absolute tolerance.

    Examples
    --------
    >>> is_symmetric(np.array([[0.5, 0.5], [0.5, 0.5]]))
    True
    """
    W = MixingMatrix.from_matrix(matrix).to_csr()
    return _largest(W - W.T) <= tolerance


def is_normal(matrix: MatrixLike, tolerance: float = 1e-12) -> bool:
    """Whether W commutes with its transpose, entries compared to an absolute tolerance.

    Examples
    --------
    >>> is_normal(np.roll(np.eye(3), 1, axis=1)), is_normal(np.array([[0.5, 0.5], [0.0, 1.0]]))
    (True, False)
    """
    if is_symmetric(matrix, tolerance):
        return True
    mixing = MixingMatrix.from_matrix(matrix)
    if circulant_row(mixing) is not None:
        return True
    W = mixing.to_csr()
    return _largest(W @ W.T - W.T @ W) <= tolerance


def _largest(matrix: Any) -> float:
    return float(np.abs(matrix.data).max(initial=0.0))


def spectrum(matrix: MatrixLike) -> Spectrum:
    """Compute SLEM, spectral gap and beta of one mixing matrix.

    Parameters
    ----------
    matrix : MixingMatrix, sparse array or ndarray, shape (n, n)
        W, whose rows and columns sum to 1.

    Raises
    ------
    ConvergenceError
        If an iterative eigensolver (above 1,000 nodes, not circulant) does not converge.

    Examples
    --------
    >>> result = spectrum(np.array([[0.75, 0.25], [0.25, 0.75]]))
    >>> result.slem, result.gap, result.method
    (0.5, 0.5, 'circulant')
    """
    W = MixingMatrix.from_matrix(matrix)
    symbol = period_symbol([W])
    residual = None
    if symbol is not None:
        normal, method, value = True, "circulant", float(symbol.max())
    else:
        symmetric = is_symmetric(W)
        normal = symmetric or is_normal(W)
        if W.nodes <= DENSE_LIMIT:
            method, value = "dense", _dense_norm(_minus_mean(W.to_dense()), symmetric=symmetric)
        else:
            method = "iterative"
            value, residual = iterative_norm(*centred([W]), W.nodes, symmetric=symmetric)
    if normal:
        return Spectrum(value, 1 - value, value, normal, method, residual)
    reason = "W is not normal: its eigenvalues cannot be computed reliably; beta and the norm of a period can"
    return Spectrum(None, None, value, normal, method, residual, reason)


def slem(matrix: MatrixLike) -> float:
    """Second largest eigenvalue modulus of W: the spectral radius of W - J.

    Raises
    ------
    InputError
        If W is not normal: use `beta`, or the norm of a period over several rounds.
    ConvergenceError
        If an iterative eigensolver does not converge.

    Examples
    --------
    >>> from topokit.topologies import hypercube_graph
    >>> from topokit.weights import uniform_weights
    >>> round(slem(uniform_weights(hypercube_graph(16))), 12)
    0.6
    """
    result = spectrum(matrix)
    if result.slem is None:
        raise InputError(
            "the SLEM of a matrix that is not normal cannot be computed reliably; use beta, its norm, or "
            "the norm of a period over several rounds"
        )
    return result.slem


def spectral_gap(matrix: MatrixLike) -> float:
    """Spectral gap 1 - SLEM; errors as `slem`.

    Examples
    --------
    >>> spectral_gap(np.full((4, 4), 0.25))
    1.0
    """
    return 1 - slem(matrix)


def beta(matrix: MatrixLike) -> float:
    """Norm ||W - J||_2: the factor by which one round shrinks the worst consensus error.

    Raises
    ------
    ConvergenceError
        If an iterative eigensolver (above 1,000 nodes, not circulant) does not converge.

    Examples
    --------
    >>> beta(np.eye(3))
    1.0
    """
    return spectrum(matrix).beta


def period_product(rounds: Rounds, *, limit: int = PRODUCT_LIMIT) -> FloatArray:
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


def laplacian_extremes(graph: Graph | sparse.sparray | sparse.spmatrix) -> tuple[float, float]:
    """Second smallest and largest eigenvalue (mu_2, mu_n) of the unweighted graph Laplacian.

    Parameters
    ----------
    graph : networkx.Graph or sparse array, shape (n, n)
        Undirected graph of at least 2 nodes, or the pattern of its adjacency matrix. Edge attributes, values and
        self-loops are ignored.

    Raises
    ------
    InputError
        If the graph is directed or has fewer than 2 nodes.
    ConvergenceError
        If an iterative eigensolver (above 1,000 nodes) does not converge.

    Examples
    --------
    >>> low, high = laplacian_extremes(nx.star_graph(4))
    >>> round(low, 12), round(high, 12)
    (1.0, 5.0)
    """
    L = _laplacian(graph)
    n = L.shape[0]
    if n <= DENSE_LIMIT:
        values = np.linalg.eigvalsh(L.toarray())
        return max(float(values[1]), 0.0), float(values[-1])
    # The eigenvalue 0 of the constant vector is moved to the mean of the others, where it is neither end.
    middle = float(L.diagonal().sum()) / (n - 1)

    def apply(x: FloatArray) -> FloatArray:
        return np.asarray(L @ x + middle * x.mean(axis=0), dtype=np.float64)

    (low, high), _ = _ends(apply, n)
    return max(low, 0.0), max(high, low)


def fiedler_value(graph: Graph | sparse.sparray | sparse.spmatrix) -> float:
    """Algebraic connectivity mu_2 of the unweighted graph, 0 if it is disconnected; see `laplacian_extremes`.

    Examples
    --------
    >>> round(fiedler_value(nx.cycle_graph(4)), 12)
    2.0
    """
    return laplacian_extremes(graph)[0]


def _laplacian(graph: Graph | sparse.sparray | sparse.spmatrix) -> sparse.csr_array:
    if isinstance(graph, nx.Graph):
        if graph.is_directed():
            raise InputError("the Laplacian is defined for undirected graphs, this one is directed")
        number = {node: i for i, node in enumerate(graph.nodes)}
        shape = (len(number), len(number))
        pairs = np.array([(number[u], number[v]) for u, v in graph.edges()], dtype=np.int64).reshape(-1, 2)
        rows, cols = np.concatenate((pairs, pairs[:, ::-1])).T
    else:
        entries: Any = graph
        coo = sparse.coo_array(entries)
        shape, (rows, cols) = coo.shape, coo.coords
        rows, cols = rows[coo.data != 0], cols[coo.data != 0]
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 2:
        raise InputError(f"the Laplacian needs a graph of at least 2 nodes, got an adjacency matrix of shape {shape}")
    off = rows != cols
    A = sparse.csr_array((np.ones(int(off.sum())), (rows[off], cols[off])), shape=shape)
    A.data[:] = 1  # entries given twice have been added up
    if _largest(A - A.T):
        raise InputError("the Laplacian is defined for undirected graphs, this adjacency matrix is not symmetric")
    return sparse.csr_array(sparse.diags_array(A.sum(axis=1)) - A)


def _minus_mean(product: FloatArray) -> FloatArray:
    return np.asarray(product - 1 / product.shape[0], dtype=np.float64)


def _dense_norm(matrix: FloatArray, *, symmetric: bool = False) -> float:
    if symmetric:
        return float(np.abs(np.linalg.eigvalsh(matrix)).max())
    return float(np.linalg.norm(matrix, 2))


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


def iterative_norm(apply: Apply, transposed: Apply, nodes: int, *, symmetric: bool = False) -> tuple[float, float]:
    """Largest singular value of an operator that is only applied, with the relative residual of the eigenpair."""
    probe = np.random.default_rng(0).standard_normal(nodes)
    size = float(np.linalg.norm(apply(probe)) / np.linalg.norm(probe))
    if size < 1e-13:
        # Lanczos has nothing to start from: the operator is zero up to rounding.
        return size, 0.0
    if symmetric:
        (low, high), residual = _ends(apply, nodes)
        return max(abs(low), abs(high)), residual
    (_, high), residual = _ends(lambda x: transposed(apply(x)), nodes, low=False)
    return float(np.sqrt(max(high, 0.0))), residual


def _ends(apply: Apply, nodes: int, *, low: bool = True) -> tuple[tuple[float, float], float]:
    """Smallest (if asked for) and largest eigenvalue of a symmetric operator, by Lanczos, residuals checked."""
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    operator = LinearOperator((nodes, nodes), matvec=lambda x: apply(np.ravel(x)), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(nodes)
    try:
        values, vectors = eigsh(
            operator, k=2 if low else 1, which="BE" if low else "LA", v0=start, ncv=40, tol=1e-12, maxiter=MAX_RESTARTS
        )
    except ArpackError as error:
        raise ConvergenceError(f"the eigensolver gave up on {nodes} nodes: {error}") from error
    scale = float(np.abs(values).max())
    errors = [np.linalg.norm(apply(vectors[:, k]) - values[k] * vectors[:, k]) for k in range(values.size)]
    residual = float(max(errors)) / max(scale, 1e-300)
    if residual > RESIDUAL_LIMIT:
        raise ConvergenceError(f"the eigensolver stopped at a relative residual of {residual:.1e} on {nodes} nodes")
    return (float(values.min()), float(values.max())), residual
