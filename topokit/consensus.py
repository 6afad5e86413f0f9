"""Consensus in numbers: how many rounds shrink the disagreement of the nodes, at worst and from a random start.

The consensus distance of X, one row a node, is sqrt((1/n) sum_i ||x_i - mean||^2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from topokit.circulant import period_symbol
from topokit.errors import InputError
from topokit.kinds import Cyclic, Kind, Teleport
from topokit.matrix import FloatArray, MixingMatrix
from topokit.proofs.contraction import product_norm
from topokit.spectral import (
    DENSE_LIMIT,
    centred,
    is_symmetric,
    iterative_norm,
    period_product,
    require_rounds,
    spectrum,
)

__all__ = ["consensus_distance", "simulate_consensus", "simulated_rounds", "worst_case_rounds"]

SLACK = 1 + 1e-9  # a norm that meets the factor up to rounding meets it
PERIODS = 1 << 40  # beyond this many periods nothing is said to converge
APPLIED = 1 << 14  # the same in rounds, where a product is only ever applied (large, neither circulant nor symmetric)
DIVERGED = 1e30  # times the limit: an error of this size will not come back
STEPPED = 20_000  # the same in rounds, where each is simulated

Rounds = Sequence[MixingMatrix]
Measure = Callable[[FloatArray], float]


def consensus_distance(values: ArrayLike) -> float:
    """Root mean square distance of the nodes from their mean, sqrt((1/n) sum_i ||x_i - mean||^2).

    Parameters
    ----------
    values : array_like, shape (n,) or (n, d)
        One row a node.

    Examples
    --------
    >>> consensus_distance([1.0, 3.0])
    1.0
    """
    X = np.asarray(values, dtype=np.float64)
    return float(np.linalg.norm(X - X.mean(axis=0)) / np.sqrt(X.shape[0]))


def worst_case_rounds(rounds: Rounds, factor: float = 1000, *, copies: int = 1) -> int | None:
    """Count the rounds that shrink every consensus error by a factor.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        One period, used again and again; row and column sums must be 1.
    factor : float, default 1000
        By how much to shrink, above 1.
    copies : int, default 1
        Number of states of a node. With two, both start from the node's value, and the error is that of the first.

    Returns
    -------
    int or None
        The smallest t with ||W^(t-1) ... W^(0) - J||_2 <= 1/factor. None if there is none: the norm stays above, or is
        still above after 2^14 rounds where the product can only be applied (above 1,000 nodes, neither circulant nor a
        single symmetric matrix) or where a round can enlarge an error.

    Raises
    ------
    InputError
        If the factor is not above 1, a round is not doubly stochastic, or the rounds differ in size.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> [worst_case_rounds(one_peer_exponential(n)) for n in (16, 24)]
    [4, 24]
    """
    nodes = _require(rounds, factor, doubly_stochastic=copies == 1)
    limit = SLACK / factor
    if copies > 1:
        return _by_steps(rounds, limit, copies)
    moduli = period_symbol(rounds)
    if moduli is None and len(rounds) == 1:
        single = spectrum(rounds[0])
        moduli = np.array([[single.beta]]) if single.normal else None
    if moduli is not None:
        return _first_round(moduli, lambda m: float(m.max()), limit)
    if not all((matrix.weight >= 0).all() or spectrum(matrix).beta <= SLACK for matrix in rounds):
        return _by_steps(rounds, limit)
    return _by_squaring(rounds, limit) if nodes <= DENSE_LIMIT else _by_applying(rounds, limit)


def simulate_consensus(
    rounds: Rounds | Kind,
    steps: int,
    *,
    dim: int = 64,
    seed: int | np.random.Generator = 0,
    start: ArrayLike | None = None,
) -> FloatArray:
    """Mix random vectors and record their consensus distance.

    Parameters
    ----------
    rounds : sequence of MixingMatrix, or Kind
        One period, used again and again, or the ``rule`` of any schedule. With two copies, both start from the node's
        value, and the distance is that of the first from the mean at the start. Of a teleport schedule, the tokens of
        the first team are mixed.
    steps : int
        Number of rounds.
    dim : int, default 64
        Length of the vector of each node, drawn from the standard normal distribution.
    seed : int or numpy.random.Generator, default 0
        Source of randomness.
    start : array_like, shape (n,) or (n, d), optional
        Start from these values instead.

    Returns
    -------
    ndarray of float64, shape (steps + 1,)
        The consensus distance before the first round and after each.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> bool(simulate_consensus(one_peer_exponential(8), 3)[-1] < 1e-15)
    True
    """
    if steps < 0:
        raise InputError(f"the number of steps must not be negative, got {steps}")
    walk = _Walk(rounds)
    X = _start(walk.nodes, dim, seed, start)
    return np.array([error / np.sqrt(walk.nodes) for error in islice(walk.errors(X), steps + 1)])


class _Walk:
    """The rounds of anything that has some, applied one after the other."""

    def __init__(self, rounds: Rounds | Kind) -> None:
        if isinstance(rounds, Teleport):
            rounds = rounds.teams[0].rounds
        if isinstance(rounds, Kind) and not isinstance(rounds, Cyclic):
            self.nodes, self.copies = rounds.nodes, rounds.copies
            draw = rounds.round
            self._matrix: Callable[[int], Any] = lambda t: draw(t).to_csr()
            return
        self.copies = rounds.copies if isinstance(rounds, Cyclic) else 1
        period = rounds.rounds if isinstance(rounds, Cyclic) else rounds
        self.nodes = require_rounds(period) // self.copies
        matrices = [matrix.to_csr() for matrix in period]
        self._matrix = lambda t: matrices[t % len(matrices)]

    def errors(self, X: FloatArray) -> Iterator[float]:
        """Give the norm of the first copy's distance from the mean, before the first round and after each."""
        # Two copies may agree on something that is not the mean of the start, which must not pass for averaging.
        mean = X.mean(axis=0) if self.copies > 1 else None
        state = np.concatenate([X] * self.copies)
        for t in count():
            first = state[: self.nodes]
            yield float(np.linalg.norm(first - (first.mean(axis=0) if mean is None else mean)))
            state = np.asarray(self._matrix(t) @ state)


def simulated_rounds(
    rounds: Rounds | Kind, factor: float = 1000, *, dim: int = 64, seed: int | np.random.Generator = 0
) -> int | None:
    """Count the rounds that shrink the consensus distance of random vectors by a factor.

    Start and distance are those of `simulate_consensus`. Circulant rounds, and one symmetric matrix of at most 1,000
    nodes, are evaluated mode by mode, which gives the round that simulating finds at any number of rounds.

    Returns
    -------
    int or None
        The first such round; None if there is none (or none within 20,000, where each round is simulated).

    Raises
    ------
    InputError
        If the factor is not above 1, a round is not doubly stochastic, or the rounds differ in size.

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> simulated_rounds(one_peer_exponential(16))
    4
    """
    period = rounds if not isinstance(rounds, Kind) else rounds.rounds if isinstance(rounds, Cyclic) else None
    plain = period is not None and not (isinstance(rounds, Cyclic) and rounds.copies > 1)
    if period is not None:
        _require(period, factor, doubly_stochastic=plain)
    walk = _Walk(rounds)
    X = _start(walk.nodes, dim, seed, None)
    X = X - X.mean(axis=0)
    limit = SLACK * float(np.linalg.norm(X)) / factor
    if plain and period is not None:
        moduli, weights = _modes(period, X)
        if moduli is not None and moduli.max() <= SLACK:
            return _first_round(moduli, lambda m: float(np.sqrt(weights @ m**2)), limit)
    for t, distance in enumerate(islice(walk.errors(X), STEPPED + 1)):
        if distance <= limit:
            return t
        if distance > DIVERGED * limit:
            return None
    return None


def _modes(period: Rounds, X: FloatArray) -> tuple[FloatArray | None, FloatArray]:
    """Give the factors by which independent modes shrink, and the squares of X in them, where there are such modes."""
    moduli = period_symbol(period)
    modes: Any = X
    if moduli is not None:
        modes = np.fft.fft(X, axis=0, norm="ortho")
    elif len(period) == 1 and len(X) <= DENSE_LIMIT and is_symmetric(period[0]):
        eigenvalues, vectors = np.linalg.eigh(period[0].to_dense() - 1 / len(X))
        moduli, modes = np.abs(eigenvalues)[None, :], vectors.T @ X
    return moduli, (np.abs(modes) ** 2).sum(axis=1)


def _require(rounds: Rounds, factor: float, *, doubly_stochastic: bool = True) -> int:
    nodes = require_rounds(rounds)
    if not factor > 1:
        raise InputError(f"the factor by which to shrink must be above 1, got {factor}")
    if not doubly_stochastic:
        return nodes
    for t, matrix in enumerate(rounds):
        for what, ids in (("row", matrix.target), ("column", matrix.source)):
            sums = np.bincount(ids, weights=matrix.weight, minlength=nodes)
            worst = int(np.abs(sums - 1).argmax())
            if abs(sums[worst] - 1) > 1e-6:
                raise InputError(
                    f"round {t} is not doubly stochastic: its {what} {worst} sums to {sums[worst]:.9g}, and only "
                    "doubly stochastic rounds converge to the mean"
                )
    return nodes


def _start(nodes: int, dim: int, seed: int | np.random.Generator, start: ArrayLike | None) -> FloatArray:
    if start is None:
        return np.random.default_rng(seed).standard_normal((nodes, dim))
    X = np.asarray(start, dtype=np.float64)
    if X.ndim not in (1, 2) or X.shape[0] != nodes:
        raise InputError(f"start needs one row for each of the {nodes} nodes, got shape {X.shape}")
    return X


def _first_round(moduli: FloatArray, measure: Measure, limit: float) -> int | None:
    """Find the first round at which independent modes, shrinking by known factors, measure at most the limit.

    ``moduli[t, k]`` is the factor of mode k in round t; the period as a whole must not enlarge any mode.
    """
    period = moduli.prod(axis=0)
    if float(period.max()) > SLACK:
        return None
    high = 1
    while measure(period ** float(high)) > limit:
        high *= 2
        if high > PERIODS:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if measure(period ** float(middle)) > limit else (low, middle)
    state = period ** float(low)
    for t, factors in enumerate(moduli):
        state = state * factors
        if measure(state) <= limit:
            return low * len(moduli) + t + 1
    return high * len(moduli)


def _by_squaring(rounds: Rounds, limit: float) -> int | None:
    """Square the product of a period until it is small, then bisect; no round may enlarge an error."""
    nodes = rounds[0].nodes
    powers = [period_product(rounds) - 1 / nodes]
    while product_norm(powers[-1]) > limit:
        if 1 << len(powers) > PERIODS:
            return None
        powers.append(powers[-1] @ powers[-1])
    state = np.eye(nodes) - 1 / nodes
    periods = 0
    for k in range(len(powers) - 2, -1, -1):
        candidate = state @ powers[k]
        if product_norm(candidate) > limit:
            state, periods = candidate, periods + (1 << k)
    for t, matrix in enumerate(rounds):
        state = np.asarray(matrix.to_csr() @ state)
        if product_norm(state) <= limit:
            return periods * len(rounds) + t + 1
    return (periods + 1) * len(rounds)


def _by_applying(rounds: Rounds, limit: float) -> int | None:
    """Bisect over the number of rounds with norms of products that are never formed; no round may enlarge an error."""

    def small(t: int) -> bool:
        product = [rounds[s % len(rounds)] for s in range(t)]
        return iterative_norm(*centred(product), rounds[0].nodes)[0] <= limit

    high = 1
    while not small(high):
        high *= 2
        if high > APPLIED:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if small(middle) else (middle, high)
    return high


def _by_steps(rounds: Rounds, limit: float, copies: int = 1) -> int | None:
    """Look at every round in turn: where a round can enlarge an error, nothing is monotone."""
    nodes = rounds[0].nodes // copies
    # Doubly stochastic rounds keep J, so that it may be subtracted at once and rounding errors stay relative.
    early, late = (1 / nodes, 0.0) if copies == 1 else (0.0, 1 / nodes)
    state = np.tile(np.eye(nodes) - early, (copies, 1))
    matrices = [matrix.to_csr() for matrix in rounds]
    for t in range(APPLIED):
        state = np.asarray(matrices[t % len(matrices)] @ state)
        size = product_norm(state[:nodes] - late)
        if size <= limit:
            return t + 1
        if size > DIVERGED * limit:
            return None
    return None
