"""The stationary variance of the noisy walk x <- W (sqrt(decay) x + noise), exactly, by what the rounds allow.

Noise of variance 1 reaches every node before every round. Written as a sum over the age k of the noise, the variances
of all nodes add up to sum_k decay^(k-1) E||P_k||_F^2, with P_k the product of k consecutive rounds. As rows sum to 1,
the mean of the noise, which a product hands to all nodes alike, contributes 1 to every ||P_k||_F^2 and 1/(1 - decay)
to the sum; the rest is the *excess* that is computed here, sum_k decay^(k-1) E||P_k (I - J)||_F^2. It is what the mean
over all nodes would take away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from topokit.errors import ConvergenceError, InputError
from topokit.kinds import Matchings, Pairwise, Sampled
from topokit.kinds.samplers import decimal, matched_by_shift
from topokit.laplacian import weighted_laplacian
from topokit.matrix import FloatArray, MixingMatrix
from topokit.metrics.modes import squared_symbols
from topokit.metrics.neighbours.quadrature import Apply, discounted_forms

__all__ = [
    "by_eigenvalues",
    "by_modes",
    "by_random_modes",
    "by_smith_doubling",
    "of_matchings",
    "of_pairs",
    "of_sampled",
    "of_shift_matching",
    "require_stationary",
]

DOUBLINGS = 60
SETTLED = 1e-15  # of 1 + the sum: what a doubling adds that no longer matters
POWER = 64  # of an operator, whose norm bounds its largest eigenvalue
KRYLOV = 30  # vectors that GMRES keeps

Rounds = Sequence[MixingMatrix]


def require_stationary(growth: float, decay: float) -> None:
    """Refuse rounds that enlarge differences faster than the decay shrinks them.

    Raises
    ------
    InputError
    """
    if not growth < 1:
        raise InputError(
            f"the walk with decay {decay:g} has no stationary variance: the rounds enlarge differences between nodes"
        )


def by_modes(rounds: Rounds, decays: FloatArray) -> FloatArray | None:
    """Excess of a period of rounds that multiply Fourier modes, averaged over the period; None for other rounds.

    Examples
    --------
    >>> complete = MixingMatrix.from_matrix(np.full((4, 4), 0.25))
    >>> by_modes([complete], np.array([0.9])).round(12) + 0.0
    array([0.])
    """
    squares = squared_symbols(rounds)
    if squares is None:
        return None
    result = []
    for decay in decays:
        growth = decay ** len(rounds) * np.prod(squares, axis=0)
        require_stationary(float(growth.max()), decay)
        # Once around the period from nothing, then from the value that comes back.
        value = np.zeros(squares.shape[1])
        for row in squares:
            value = row * (decay * value + 1)
        value, total = value / (1 - growth), 0.0
        for row in squares:
            value = row * (decay * value + 1)
            total += float(value.sum())
        result.append(total / len(rounds))
    return np.array(result)


def by_random_modes(squares: FloatArray, decays: FloatArray) -> FloatArray:
    """Excess where a round multiplies the variance of every mode by its expected square, 0 for that of the mean."""
    for decay in decays:
        require_stationary(float(decay * squares.max()), decay)
    return np.array([float(np.sum(squares / (1 - decay * squares))) for decay in decays])


def by_eigenvalues(W: MixingMatrix, decays: FloatArray) -> FloatArray:
    """Excess of one symmetric matrix, by a dense decomposition.

    Examples
    --------
    >>> by_eigenvalues(MixingMatrix.from_matrix(np.eye(3)), np.array([0.5]))
    array([4.])
    """
    # The eigenvalue 1 of the constant vector goes, and leaves a 0 that adds nothing.
    values = np.linalg.eigvalsh(W.to_dense() - 1 / W.nodes)
    return by_random_modes(np.asarray(values**2, dtype=np.float64), decays)


def by_smith_doubling(rounds: Rounds, decays: FloatArray) -> FloatArray:
    """Excess of a period of any rounds: the discrete Lyapunov equation of the period, solved by squaring.

    References
    ----------
    .. [1] R. A. Smith, "Matrix equation XA + BX = C", SIAM Journal on Applied Mathematics 16(1), 1968.

    Examples
    --------
    >>> by_smith_doubling([MixingMatrix.from_matrix(np.eye(3))], np.array([0.5])).round(12)
    array([4.])
    """
    matrices = [W.to_csr() for W in rounds]
    nodes = rounds[0].nodes
    centre = np.eye(nodes) - 1 / nodes

    def once(value: FloatArray, decay: float) -> tuple[FloatArray, float]:
        """Take a covariance around the period, and add up its traces on the way."""
        traces = 0.0
        for W in matrices:
            value = W @ (decay * value + centre)
            value = np.asarray(W @ value.T)  # symmetric again: the transpose of (W value^T)
            traces += float(np.trace(value))
        return value, traces

    product = np.eye(nodes)
    for W in matrices:
        product = np.asarray(W @ product)
    if all(np.abs(W.sum(axis=0) - 1).max() < 1e-9 for W in matrices):
        product -= 1 / nodes  # what follows is free of the mean anyway, and shrinks sooner without it
    result = []
    for decay in decays:
        value, _ = once(np.zeros((nodes, nodes)), decay)
        factor = decay ** (len(rounds) / 2) * product
        for _ in range(DOUBLINGS):
            more = factor @ value @ factor.T
            value = value + more
            total = float(np.trace(value))
            if not np.isfinite(total) or total > nodes * 1e100:
                require_stationary(np.inf, decay)
            if float(np.trace(more)) <= SETTLED * (1 + max(total, 0.0)):
                break
            factor = factor @ factor
        else:
            raise ConvergenceError(f"the covariance of the walk does not settle after 2^{DOUBLINGS} periods")
        result.append(once(value, decay)[1] / len(rounds))
    return np.array(result)


def _between(low: FloatArray, high: FloatArray) -> FloatArray:
    return np.asarray((low + high)[:, 0] / 2, dtype=np.float64)


def _of_operator(apply: Apply, nodes: int, decays: FloatArray, nonnegative: bool = True) -> FloatArray:
    """Excess where Y -> E[W^T Y W] is given on symmetric matrices, and is its own adjoint."""
    centre = np.eye(nodes) - 1 / nodes
    top = 1.0
    if not nonnegative:
        # What a positive map can enlarge is what it does to the identity, and so do its powers.
        image = centre
        for _ in range(POWER):
            image = apply(image)
        top = float(np.linalg.norm(image, 2)) ** (1 / POWER) * (1 + 1e-9)
    for decay in decays:
        require_stationary(decay * top, decay)

    def on_vectors(x: FloatArray) -> FloatArray:
        return apply(x.reshape(nodes, nodes)).reshape(-1, 1)

    return _between(*discounted_forms(on_vectors, centre.reshape(-1, 1), decays, top=top))


def of_pairs(kind: Pairwise, decays: FloatArray) -> FloatArray:
    """Excess of averagings of one pair at a time, the decays being those between two events."""
    rates = np.array([float(rate) for rate in kind.rates])
    chances = rates / rates.sum()
    mean = weighted_laplacian(kind.nodes, kind.edges, chances)
    u, v = kind.edges.T

    def apply(Y: FloatArray) -> FloatArray:
        # W = I - d d^T / 2 with d = e_u - e_v: expand W Y W, and take the mean over the edges.
        half = np.asarray(mean @ Y)
        across = Y[u, u] + Y[v, v] - Y[u, v] - Y[v, u]
        inner = weighted_laplacian(kind.nodes, kind.edges, chances * across / 4).toarray()
        return np.asarray(Y - (half + half.T) / 2 + inner, dtype=np.float64)

    return _of_operator(apply, kind.nodes, decays)


def of_matchings(kind: Matchings, decays: FloatArray) -> FloatArray:
    """Excess of matchings that are active independently of each other."""
    alpha = float(kind.weight)
    parts = []
    mean: Any = 0
    for edges, p in zip(kind.matchings, map(float, kind.probabilities), strict=True):
        L = weighted_laplacian(kind.nodes, edges, np.ones(len(edges)))
        mean = mean + alpha * p * L
        parts.append((alpha**2 * p * (1 - p), L))

    def apply(Y: FloatArray) -> FloatArray:
        moved = Y - mean @ Y
        result = moved - (mean @ moved.T).T
        for spread, L in parts:
            result += spread * (L @ (L @ Y).T)
        return np.asarray(result, dtype=np.float64)

    degree = int(np.bincount(np.concatenate(kind.matchings).ravel(), minlength=1).max())
    return _of_operator(apply, kind.nodes, decays, alpha * degree <= 1)


def of_sampled(kind: Sampled, decays: FloatArray) -> FloatArray:
    """Excess of rounds drawn from a list."""
    parts = [(float(p), W.to_csr()) for p, W in zip(kind.probabilities, kind.rounds, strict=True) if p]

    def apply(Y: FloatArray) -> FloatArray:
        return np.asarray(sum(p * (W @ (W @ Y).T) for p, W in parts), dtype=np.float64)

    if all(abs(W - W.T).max() <= 1e-12 for _, W in parts):
        return _of_operator(apply, kind.nodes, decays, all(W.data.min() >= 0 for _, W in parts))
    return _by_gmres(apply, kind.nodes, decays)


def _by_gmres(apply: Apply, nodes: int, decays: FloatArray) -> FloatArray:
    """Excess where Y -> E[W Y W^T] is not its own adjoint: solve (1 - decay A) Y = A (I - J), and take the trace."""
    from scipy.sparse.linalg import LinearOperator, gmres

    right = apply(np.eye(nodes) - 1 / nodes)
    result = []
    for decay in decays:

        def left(x: FloatArray, decay: float = decay) -> FloatArray:
            Y = x.reshape(nodes, nodes)
            return np.asarray((Y - decay * apply(Y)).ravel(), dtype=np.float64)

        operator = LinearOperator((nodes**2, nodes**2), matvec=left, dtype=np.float64)
        found, failed = gmres(operator, right.ravel(), rtol=1e-12, restart=KRYLOV, maxiter=20)
        total = float(np.trace(found.reshape(nodes, nodes)))
        if failed or total < 0:
            raise ConvergenceError(f"the equation of the walk's covariance was not solved for decay {decay:g}")
        result.append(total)
    return np.array(result)


def of_shift_matching(
    nodes: int, decays: FloatArray, eta: str | float = "1/2", shifts: Sequence[int] | None = None
) -> FloatArray:
    """Excess of the sampler "shift-matching", by all its shifts.

    Notes
    -----
    Other starts turn a matching around, so that E[W^T Y W] is circulant where Y is, and one row of it is enough. With
    d_p = e_i - e_(i+u) for the pair that begins at node i, W = I - b sum_p d_p d_p^T. Averaged over the starts,
    d_p (d_p^T Y d_q) d_q^T depends on the distance of the two pairs alone, and how often each distance occurs is the
    autocorrelation of the pairs' first nodes.
    """
    of_shift = np.bincount(np.arange(1, nodes) if shifts is None else shifts, minlength=nodes)
    steps = np.flatnonzero(of_shift)
    chances = of_shift[steps] / of_shift.sum()
    share = float(decimal(eta)) * (nodes - 1) / nodes
    distances = np.empty((steps.size, nodes))
    for row, step in zip(distances, steps.tolist(), strict=True):
        first = np.bincount(matched_by_shift(nodes, step, 0)[:, 0], minlength=nodes)
        row[:] = np.fft.irfft(np.abs(np.fft.rfft(first)) ** 2, nodes).round()
    number = np.arange(nodes)
    after = (number + steps[:, None]) % nodes
    before = (number - steps[:, None]) % nodes
    pairs = distances[:, 0]

    def second(y: FloatArray) -> FloatArray:
        """Twice itself minus its two neighbours, for each shift."""
        return np.asarray(2 * y - np.take_along_axis(y, after, 1) - np.take_along_axis(y, before, 1))

    def apply(x: FloatArray) -> FloatArray:
        y = second(np.broadcast_to(x[:, 0], after.shape))
        linear = (chances * pairs) @ y / nodes
        square = chances @ second(distances * y) / nodes
        return np.asarray(x[:, 0] - 2 * share * linear + share**2 * square, dtype=np.float64)[:, None]

    start = -np.ones((nodes, 1)) / nodes
    start[0] += 1
    # The inner product of two circulant matrices is n times that of their rows.
    return nodes * _between(*discounted_forms(apply, start, decays))
