"""The expected squared contraction of rounds drawn at random: the largest eigenvalue of E[W^T W] - J.

With doubly stochastic rounds that are drawn independently, the squared distance to the mean shrinks in expectation at
least by this factor in every round, whatever the values were: E||X(t+1) - mean||^2 <= lambda E||X(t) - mean||^2, with
equality for the worst direction. It is the figure that random schedules have in place of the norm of a period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any, Literal

import numpy as np
from scipy import sparse

from topokit.circulant import period_symbol
from topokit.kinds import Drawn, Kind, Matchings, Pairwise, Sampled
from topokit.kinds.samplers import decimal, matched_by_shift
from topokit.laplacian import weighted_laplacian

__all__ = ["Expectation", "expected_contraction"]

DENSE_LIMIT = 2000  # nodes up to which dense eigenvalues cost about a second
SCAN_LIMIT = 5_000_000  # steps of matching by shifts that cost about a second

Method = Literal["closed form", "enumeration"]


@dataclass(frozen=True)
class Expectation:
    """What a random round does to the squared consensus distance, in expectation.

    Attributes
    ----------
    value : float
        Largest eigenvalue of E[W^T W] - J: the factor for the worst direction, 0 (the mean in one round) to 1.
    method : {"closed form", "enumeration"}
        A formula in the parameters and the expected matrix of the kind, or a sum over all that can be drawn.
    """

    value: float
    method: Method


def expected_contraction(kind: Kind) -> Expectation | None:
    """Compute the expected squared contraction per round of a schedule that draws its rounds; of `Pairwise`, per event.

    Parameters
    ----------
    kind : Kind
        The rounds of a schedule.

    Returns
    -------
    Expectation or None
        None where it is not defined (periods have a norm instead; rounds that are not doubly stochastic move the
        mean), or would take more than seconds: a dense eigenproblem above 2,000 nodes, matchings by shift above some
        2,000 nodes with all shifts, and the rounds of TELEPORTATION, in which values travel besides.

    Examples
    --------
    >>> expected_contraction(Drawn(8, "matching", {}, seed=0))
    Expectation(value=0.42857142857142855, method='closed form')
    >>> expected_contraction(Pairwise(3, [(0, 1), (1, 2), (0, 2)], [1, 1, 1], seed=0)).method
    'closed form'
    """
    if isinstance(kind, Drawn):
        rule = _OF_SAMPLER.get(kind.sampler.name)
        return None if rule is None else rule(kind.nodes, **kind.parameters)
    if isinstance(kind, Sampled):
        return _of_sampled(kind)
    if isinstance(kind, Matchings):
        return _of_matchings(kind)
    if isinstance(kind, Pairwise):
        return _of_pairwise(kind)
    return None


def _largest(square: Any) -> float:
    """Largest eigenvalue of E[W^T W] - J on the complement of the constant vector."""
    dense = square.toarray()
    # Up to rounding, the constant vector is an eigenvector of E[W^T W] with the eigenvalue 1.
    return max(float(np.linalg.eigvalsh(dense - 1 / len(dense))[-1]), 0.0)


def _of_sampled(kind: Sampled) -> Expectation | None:
    if kind.mixing != "doubly-stochastic":
        return None
    chances = np.array([float(p) for p in kind.probabilities])
    symbol = period_symbol(kind.rounds)
    if symbol is not None:
        return Expectation(float((chances @ symbol**2).max()), "enumeration")
    if kind.nodes > DENSE_LIMIT:
        return None
    matrices = [W.to_csr() for W in kind.rounds]
    return Expectation(_largest(sum(p * (W.T @ W) for p, W in zip(chances, matrices, strict=True))), "enumeration")


def _of_matchings(kind: Matchings) -> Expectation | None:
    if kind.nodes > DENSE_LIMIT:
        return None
    alpha = float(kind.weight)
    chance = np.array([float(p) for p in kind.probabilities])
    of_edge = np.repeat(chance, [len(edges) for edges in kind.matchings])
    edges = np.concatenate(kind.matchings)
    mean = weighted_laplacian(kind.nodes, edges, of_edge)
    # Independence leaves (E L)^2 + sum_m p_m (1 - p_m) L_m^2, and L_m^2 = 2 L_m for a matching.
    spread = weighted_laplacian(kind.nodes, edges, of_edge * (1 - of_edge))
    square = sparse.eye_array(kind.nodes) - 2 * alpha * mean + alpha**2 * (mean @ mean + 2 * spread)
    return Expectation(_largest(square), "closed form")


def _of_pairwise(kind: Pairwise) -> Expectation | None:
    if kind.nodes > DENSE_LIMIT:
        return None
    rates = np.array([float(rate) for rate in kind.rates])
    # Averaging a pair is a projection: W^T W = W.
    mean = sparse.eye_array(kind.nodes) - weighted_laplacian(kind.nodes, kind.edges, rates / rates.sum()) / 2
    return Expectation(_largest(mean), "closed form")


def _exchangeable(nodes: int, square: Fraction) -> Expectation:
    """Take E||W||_F^2 where all numberings of the nodes are equally likely.

    Then E[W^T W] - J is a multiple of I - J, which its trace gives.
    """
    return Expectation(float((square - 1) / (nodes - 1)), "closed form")


def _of_matching(nodes: int, peers: int) -> Expectation:
    # Of the pairs of summands: equal ones give n; P_m and I agree on the idle node; P_m and P_l agree on a node with
    # the probability 1/(n - 1), or 1/n where nodes may be idle.
    idle = nodes % 2
    shared = Fraction(nodes, nodes - 1 + idle)
    total = (peers + 1) * nodes + 2 * peers * idle + peers * (peers - 1) * shared
    return _exchangeable(nodes, total / (peers + 1) ** 2)


def _of_groups(nodes: int, size: int) -> Expectation:
    return _exchangeable(nodes, Fraction(ceil(Fraction(nodes, size))))


def _of_epidemic(nodes: int, peers: int) -> Expectation:
    return _exchangeable(nodes, Fraction(nodes, peers + 1))


def _slowest_mode(nodes: int, shifts: Iterable[int], chances: Iterable[float]) -> float:
    """Largest sum_u p_u cos(2 pi u f / n) over the Fourier modes f that are not constant."""
    row = np.zeros(nodes)
    np.add.at(row, list(shifts), list(chances))
    return float(np.fft.fft(row).real[1:].max())


def _of_shift(nodes: int, eta: str | float, shifts: Sequence[int] | None) -> Expectation:
    share = decimal(eta) * Fraction(nodes - 1, nodes)
    # |1 - b + b w|^2 = 1 - 2 b (1 - b) (1 - Re w) for the root of unity w of a mode, b the weight of the peer.
    fall = 2 * share * (1 - share)
    if shifts is None:
        return Expectation(float(1 - fall * Fraction(nodes, nodes - 1)), "closed form")
    slowest = _slowest_mode(nodes, shifts, [1 / len(shifts)] * len(shifts))
    return Expectation(1 - float(fall) * (1 - slowest), "enumeration")


def _of_shift_matching(nodes: int, eta: str | float, shifts: Sequence[int] | None) -> Expectation | None:
    of_shift = np.bincount(np.arange(1, nodes) if shifts is None else shifts)
    steps = np.flatnonzero(of_shift)
    if steps.size * nodes > SCAN_LIMIT:
        return None
    share = decimal(eta) * Fraction(nodes - 1, nodes)
    # W = I - b L of a matching, so W^T W = I - 2 b (1 - b) L. Other starts turn the matching around: averaged over
    # them, each pair (i, i + u) is matched with the probability (number of pairs) / n.
    pairs = np.array([len(matched_by_shift(nodes, int(step), 0)) for step in steps])
    chances = of_shift[steps] / of_shift.sum() * pairs / nodes
    # The symbol of 2 I - P^u - P^-u is 2 - 2 cos.
    lowest = 2 * float(chances.sum()) - 2 * _slowest_mode(nodes, steps.tolist(), chances.tolist())
    return Expectation(1 - float(2 * share * (1 - share)) * lowest, "enumeration")


_OF_SAMPLER: dict[str, Callable[..., Expectation | None]] = {
    "matching": _of_matching,
    "groups": _of_groups,
    "shift": _of_shift,
    "shift-matching": _of_shift_matching,
    "epidemic": _of_epidemic,
}
