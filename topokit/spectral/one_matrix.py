"""SLEM, spectral gap and beta of one mixing matrix, between bounds.

Two numbers describe how fast one matrix W averages, with J the matrix of all 1/n: the norm beta = ||W - J||_2, by
which one round shrinks the worst consensus error, and the SLEM, the spectral radius of W - J, the factor per round
after many rounds. They are equal for normal matrices, hence for symmetric and circulant ones. The eigenvalues of other
matrices cannot be trusted to floating point (a nilpotent W - J of 1,024 nodes comes out with radius 0.02 instead of 0),
so the SLEM of those is not computed: beta and the norm of a period are.
"""

from __future__ import annotations

from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from topokit.errors import InputError
from topokit.matrix import FloatArray, MatrixLike, MixingMatrix
from topokit.spectral import limits
from topokit.spectral.bounds import Spectrum, put_together, up_to_rounding
from topokit.spectral.closed_forms import closed_ends
from topokit.spectral.groups import group_shape, group_symbol, mode_gap
from topokit.spectral.lanczos import EPS
from topokit.spectral.norms import SUMS, by_laplacian, by_square, square_entries
from topokit.spectral.sparse_forms import Weighted, absolute_sums, as_csr, asymmetry, components, sums_error

__all__ = ["beta", "is_normal", "is_symmetric", "slem", "spectral_gap", "spectrum"]

SYMMETRIC = 1e-12  # difference of entries that is taken for rounding
PROBES = 3  # random vectors that tell whether a large matrix is normal

# A report asks for the spectrum of a round more than once: a large matrix keeps its own while it lives.
_KEPT: WeakKeyDictionary[MixingMatrix, dict[tuple[Any, ...], Spectrum]] = WeakKeyDictionary()


def is_symmetric(matrix: MatrixLike, tolerance: float = 1e-12) -> bool:
    """Whether W equals its transpose, entries compared to an absolute tolerance.

    Examples
    --------
    >>> is_symmetric(np.array([[0.5, 0.5], [0.5, 0.5]]))
    True
    """
    return asymmetry(as_csr(matrix))[0] <= tolerance


def is_normal(matrix: MatrixLike, tolerance: float = 1e-12) -> bool:
    """Whether W commutes with its transpose, entries compared to an absolute tolerance.

    Where the products of a large matrix would be too dense to be formed, they are compared on random vectors.

    Examples
    --------
    >>> is_normal(np.roll(np.eye(3), 1, axis=1)), is_normal(np.array([[0.5, 0.5], [0.0, 1.0]]))
    (True, False)
    """
    W = as_csr(matrix)
    return asymmetry(W)[0] <= tolerance or _commutes(W, tolerance)


def _commutes(W: sparse.csr_array, tolerance: float) -> bool:
    if group_shape(W) is not None:
        return True
    T = sparse.csr_array(W.T)
    probes = np.random.default_rng(0).choice([-1.0, 1.0], (W.shape[0], PROBES))
    difference = np.abs(W @ (T @ probes) - T @ (W @ probes)).max()
    # Row sums of an absolute value: what entries within the tolerance, and rounding, can add up to.
    size = float(absolute_sums(W).max() * absolute_sums(T).max())
    if difference > tolerance * W.shape[0] + 100 * EPS * size:
        return False
    if max(square_entries(W), square_entries(T)) > limits.SQUARE_LIMIT:
        return True
    return float(np.abs((W @ T - T @ W).data).max(initial=0.0)) <= tolerance


def spectrum(
    matrix: MatrixLike,
    *,
    tolerance: float = limits.TOLERANCE,
    failure: float = limits.FAILURE,
    seed: int = 0,
    max_seconds: float = limits.MAX_SECONDS,
) -> Spectrum:
    """Compute SLEM, spectral gap and beta of one mixing matrix, between bounds.

    Parameters
    ----------
    matrix : MixingMatrix, sparse array or ndarray, shape (n, n)
        W, whose rows and columns sum to 1.
    tolerance : float, default 1e-3
        How wide the bounds may be, relative to the gap. They are narrower where that costs little.
    failure : float, default 1e-6
        Probability with which bounds from a random start may be wrong. Other methods prove theirs.
    seed : int, default 0
        Of the random start.
    max_seconds : float, default 60
        Seconds after which an iteration stops and the bounds that it reached are given; a factorisation, which is only
        begun if it is short, is not interrupted.

    Returns
    -------
    Spectrum
        Its `reason` says so where the bounds are wider than the tolerance.

    Raises
    ------
    InputError
        If the matrix is not square, has values that are not finite, or tolerance or failure are not between 0 and 1.
    ConvergenceError
        If nothing is known but that the norm lies below a trivial bound.

    Notes
    -----
    In this order: invariance under a group, and graphs with known eigenvalues, both recognised from the entries; up to
    1,000 nodes dense eigenvalues; then, for a symmetric W = I - L with row sums 1, the ends of the weighted Laplacian
    L, by Lanczos or by factorisations (`topokit.spectral.ends`). With W not symmetric, the norm is that of W^T W.

    Examples
    --------
    >>> result = spectrum(np.array([[0.75, 0.25], [0.25, 0.75]]))
    >>> result.slem, result.gap, result.method
    (0.5, 0.5, 'circulant')
    """
    for name, value in (("tolerance", tolerance), ("failure", failure)):
        if not 0 < value < 1:
            raise InputError(f"the {name} must lie between 0 and 1, got {value}")
    settings: dict[str, Any] = {
        "tolerance": tolerance,
        "failure": failure,
        "seed": seed,
        "max_seconds": max_seconds,
    }
    if not isinstance(matrix, MixingMatrix) or matrix.nodes < limits.KEPT_FROM:
        return _spectrum(as_csr(matrix), settings)
    kept = _KEPT.setdefault(matrix, {})
    key = tuple(settings.values())
    if key not in kept:
        kept[key] = _spectrum(as_csr(matrix), settings)
    return kept[key]


def _spectrum(W: sparse.csr_array, settings: dict[str, Any]) -> Spectrum:
    nodes = W.shape[0]
    shape = group_shape(W)
    largest, apart = asymmetry(W)
    symmetric = largest <= SYMMETRIC
    if shape is not None:
        return _by_symbol(W, shape, symmetric)
    error = sums_error(W)
    if symmetric and apart:
        # Off by rounding: the mean of both triangles is half of that away, which the bounds allow for.
        W = as_csr((W + W.T) / 2)
    graph = Weighted.of(W) if symmetric and error <= SUMS else None
    if graph is not None and (known := _known(graph, W.diagonal(), error)) is not None:
        return known
    normal = symmetric or _commutes(W, SYMMETRIC)
    if symmetric:
        error += apart
    else:
        apart = 0.0
    if nodes <= limits.DENSE_LIMIT:
        return _dense(W, symmetric, normal, error, apart)
    if graph is not None:
        return by_laplacian(graph, W.diagonal(), error, settings)
    return by_square(W, normal, error, settings)


def slem(matrix: MatrixLike) -> float:
    """Second largest eigenvalue modulus of W: the spectral radius of W - J.

    Raises
    ------
    InputError
        If W is not normal: use `beta`, or the norm of a period over several rounds.
    ConvergenceError
        If nothing useful is known; see `spectrum`, which also tells the bounds.

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
    result = spectrum(matrix)
    return 1 - slem(matrix) if result.gap is None else result.gap


def beta(matrix: MatrixLike) -> float:
    """Norm ||W - J||_2: the factor by which one round shrinks the worst consensus error.

    Raises
    ------
    ConvergenceError
        If nothing useful is known; see `spectrum`, which also tells the bounds.

    Examples
    --------
    >>> beta(np.eye(3))
    1.0
    """
    return spectrum(matrix).beta


def _by_symbol(W: sparse.csr_array, shape: tuple[int, ...], symmetric: bool) -> Spectrum:
    """Take the Fourier transform; the mode of the constant vector has the eigenvalue of the row sum."""
    symbol = group_symbol(W, shape).ravel()
    symbol[0] -= 1
    moduli = np.abs(symbol)
    mode = int(moduli.argmax())
    norm = float(moduli[mode])
    # The transform's rounding grows with the logarithm of its length (Higham, theorem 24.2).
    error = 8 * EPS * (1 + np.log2(prod(shape))) * float(np.abs(W.data[: W.indptr[1]]).sum() + 1)
    ends, gap = None, None
    if symmetric:
        if symbol.size > 1 and abs(symbol[0]) <= SUMS:
            ends = float(symbol[1:].real.max()), float(symbol[1:].real.min())
        if mode and symbol[mode].real > 0:
            # A mode's distance from the row sum is its gap where that is 1; rounding of the transform does not count.
            off = float(symbol[0].real)
            gap = mode_gap(W, shape, mode) - (off if abs(off) > error else 0.0)
    bounds = up_to_rounding(norm, "Fourier transform", error)
    return put_together(norm, bounds, True, "circulant" if len(shape) == 1 else "Fourier", gap=gap, ends=ends)


def _known(graph: Weighted, own: FloatArray, error: float) -> Spectrum | None:
    """Use what is known without computing: a graph that falls apart or swaps its sides, or has a closed form."""
    nonnegative = graph.nonnegative and bool((own >= 0).all())
    if graph.nodes > 1 and components(graph.weights) > 1:
        if nonnegative:
            return put_together(1.0, up_to_rounding(1.0, "the graph is not connected", error), True, "components")
        return None
    if nonnegative and graph.nodes > 2 and not own.any() and _two_coloured(graph):
        how = "the graph is bipartite, and no node keeps anything"
        return put_together(1.0, up_to_rounding(1.0, how, error), True, "components")
    ends = closed_ends(graph)
    if ends is None:
        return None
    low, high = ends
    upper, lower = 1 - low.lower, 1 - high.upper
    norm = max(upper, -lower)
    gap = low.upper if upper >= -lower else None
    bounds = up_to_rounding(norm, "closed form", error + 32 * EPS * max(1.0, abs(high.upper)))
    return put_together(norm, bounds, True, "closed form", gap=gap, ends=(upper, lower))


def _two_coloured(graph: Weighted) -> bool:
    """Whether a connected graph is bipartite: then its double cover falls apart."""
    A = graph.weights
    n = graph.nodes
    cover = sparse.csr_array(
        (
            np.ones(2 * A.nnz, dtype=np.int8),
            np.concatenate((A.indices + n, A.indices)),
            np.concatenate((A.indptr, A.nnz + A.indptr[1:])),
        ),
        shape=(2 * n, 2 * n),
    )
    return components(cover) == 2


def _dense(W: sparse.csr_array, symmetric: bool, normal: bool, error: float, apart: float) -> Spectrum:
    """Decompose W - J."""
    nodes = W.shape[0]
    matrix = W.toarray() - 1 / nodes
    ends = None
    if symmetric:
        values = np.linalg.eigvalsh(matrix)
        norm = float(np.abs(values).max())
        if nodes > 1 and error <= SUMS:
            # The constant vector has the eigenvalue 0.
            values = np.delete(values, np.abs(values).argmin())
            ends = float(values[-1]), float(values[0])
    else:
        norm = float(np.linalg.norm(matrix, 2))
    # The backward error of LAPACK is a modest multiple of the unit roundoff; n times it has not been seen exceeded.
    bounds = up_to_rounding(norm, "dense decomposition", nodes * EPS * max(norm, 1.0) + apart)
    return put_together(norm, bounds, normal, "dense", ends=ends)
