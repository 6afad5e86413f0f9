"""Directed rounds: every node hears so many peers and is heard by as many, along permutations, and takes the mean.

With one peer that is the kind of the one-peer exponential: a node hears one and tells another, so that its values are
two links away after two rounds where pairs of nodes only go back and forth. Shifts of all nodes alike are tried first,
all of them where they are few; then permutations are annealed, some from the best shifts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from topokit.matrix import FloatArray, IntArray, MixingMatrix

__all__ = ["best_shifts", "directed_rounds", "directed_search"]

CHAINS = 24
HOT, COLD = 0.1, 0.003  # temperatures, in ln(norm)
MOST = 200_000  # sequences of shifts that are tried
BATCH = 4_000_000  # Fourier coefficients at a time


def directed_search(
    nodes: int,
    degree: int,
    period: int,
    allowed: NDArray[np.bool_],
    rng: np.random.Generator,
    steps: int,
    deadline: float = np.inf,
    told: Callable[[float, IntArray], None] = lambda norm, heard: None,
) -> tuple[IntArray, int]:
    """Search for permutations whose rounds shrink errors most.

    Parameters
    ----------
    nodes, degree, period : int
    allowed : ndarray of bool, shape (n, n)
        Who may hear whom.
    rng : numpy.random.Generator
    steps : int
        Moves of a chain.
    deadline : float
        A time of `time.monotonic`.
    told : callable
        Called with every norm that is smaller, and whom nodes hear there.

    Returns
    -------
    heard : ndarray of int64, shape (rounds, degree, n)
        Whom each node hears; itself for nobody.
    evaluations : int

    Examples
    --------
    Five nodes in two rounds of one peer each:

    >>> heard, _ = directed_search(5, 1, 2, ~np.eye(5, dtype=bool), np.random.default_rng(0), 100)
    >>> round(float(_norms(heard[None])[0]), 6)
    0.25
    """
    shape = (CHAINS, period, degree, nodes)
    heard = np.tile(np.arange(nodes), (*shape[:3], 1))
    evaluations = CHAINS
    possible = allowed | np.eye(nodes, dtype=np.bool_)
    if possible.all():
        heard = rng.permuted(heard, axis=3)
        shifts, count = best_shifts(nodes, degree, period, rng)
        heard[: CHAINS // 3] = (np.arange(nodes) + shifts[:, :, None]) % nodes
        evaluations += count
    cost = np.log(_norms(heard))
    k = int(cost.argmin())
    best, least = heard[k].copy(), float(cost[k])
    told(float(np.exp(least)), best)
    b = np.arange(CHAINS)
    for step in range(steps):
        if time.monotonic() > deadline:
            break
        t, j = rng.integers(period, size=CHAINS), rng.integers(degree, size=CHAINS)
        one, other = rng.integers(nodes, size=CHAINS), rng.integers(nodes, size=CHAINS)
        trial = heard.copy()
        trial[b, t, j, one], trial[b, t, j, other] = heard[b, t, j, other], heard[b, t, j, one]
        fits = possible[one, trial[b, t, j, one]] & possible[other, trial[b, t, j, other]]
        after = np.where(fits, np.log(_norms(trial)), np.inf)
        evaluations += CHAINS
        temperature = HOT * (COLD / HOT) ** (step / steps)
        kept = rng.random(CHAINS) < np.exp(-np.maximum(after - cost, 0.0) / temperature)
        heard[kept], cost[kept] = trial[kept], after[kept]
        k = int(cost.argmin())
        if cost[k] < least - 1e-9:
            best, least = heard[k].copy(), float(cost[k])
            told(float(np.exp(least)), best)
    return best, evaluations


def best_shifts(nodes: int, degree: int, period: int, rng: np.random.Generator) -> tuple[IntArray, int]:
    """Find the shifts s whose rounds, in which node i hears nodes i + s, shrink errors most.

    Returns
    -------
    shifts : ndarray of int64, shape (rounds, degree)
    count : int
        Sequences of shifts that were tried: all, or 200,000 drawn at random.

    Examples
    --------
    >>> best_shifts(8, 1, 3, np.random.default_rng(0))[0].ravel().tolist()
    [4, 2, 1]
    """
    unknown = degree * period
    total = nodes**unknown if unknown * np.log(nodes) < np.log(MOST) else MOST
    every = total < MOST
    frequency = np.arange(1, nodes // 2 + 1)
    turn = np.exp(2j * np.pi * np.outer(np.arange(nodes), frequency) / nodes)
    batch = max(1, BATCH // (unknown * frequency.size))
    best, least = np.zeros((period, degree), dtype=np.int64), np.inf
    for start in range(0, total, batch):
        if every:
            number = np.arange(start, min(total, start + batch))
            shifts = number[:, None] // nodes ** np.arange(unknown) % nodes
        else:
            shifts = rng.integers(nodes, size=(min(batch, total - start), unknown))
        shifts = shifts.reshape(-1, period, degree)
        moduli = np.abs((1 + turn[shifts].sum(axis=2)).prod(axis=1)).max(axis=1)
        k = int(moduli.argmin())
        if moduli[k] < least - 1e-12:
            best, least = shifts[k], float(moduli[k])
    return best, total


def directed_rounds(heard: IntArray) -> tuple[MixingMatrix, ...]:
    """Make rounds in which every node takes the mean of its own value and of those that it hears, exact fractions.

    Examples
    --------
    >>> directed_rounds(np.array([[[1, 2, 0]]]))[0].to_dense()[0].tolist()
    [0.5, 0.5, 0.0]
    """
    rounds = []
    _, degree, nodes = heard.shape
    own = np.arange(nodes)
    for row in heard:
        place, count = np.unique(np.concatenate((own, *row)) + np.tile(own, degree + 1) * nodes, return_counts=True)
        common = np.gcd(count, degree + 1)
        rounds.append(
            MixingMatrix.from_entries(
                nodes,
                place // nodes,
                place % nodes,
                count / (degree + 1),
                numerator=count // common,
                denominator=(degree + 1) // common,
            )
        )
    return tuple(rounds)


def _norms(heard: IntArray) -> FloatArray:
    """Compute ||product - J||_2 for each chain, at least 1e-15."""
    chains, rounds, degree, nodes = heard.shape
    b = np.arange(chains)[:, None]
    product = np.broadcast_to(np.eye(nodes), (chains, nodes, nodes))
    for t in range(rounds):
        total = product
        for j in range(degree):
            total = total + product[b, heard[:, t, j]]
        product = total / (degree + 1)
    error = product - 1 / nodes
    squares = np.linalg.eigvalsh(error.swapaxes(1, 2) @ error)[:, -1]
    return np.asarray(np.sqrt(np.maximum(squares, 1e-30)), dtype=np.float64)
