"""Effective mixing times of a topology at every number of nodes, by closed forms and Fourier modes where possible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import cos, isqrt, pi

import numpy as np

from topokit.averaging import one_peer_exponential_contraction
from topokit.errors import ConvergenceError
from topokit.kinds import Cyclic
from topokit.matrix import FloatArray
from topokit.metrics.transient import effective_mixing_time
from topokit.registry import TOPOLOGIES
from topokit.topologies.underlying import rounds_obstacle, underlying_rounds

__all__ = ["InnerMixing", "inner_mixing"]

MAX_WORK = 1e9  # numbers computed: some seconds for all sizes together
BUILT = 1000  # what building a round and looking at it costs for each node
SQUARED = 100  # nodes from which norms are found by iteration


@dataclass(frozen=True, eq=False)
class InnerMixing:
    """Effective mixing times h_k of a topology of k nodes, for k = 1 to n.

    Attributes
    ----------
    times : ndarray of float64, shape (n,)
        h_k at place k - 1, 1 for a single node; infinite where there is no such topology or it does not contract, and
        where it was left out.
    missing : tuple of int
        Numbers of nodes for which the topology exists, left out because they would take too long.
    """

    times: FloatArray
    missing: tuple[int, ...]


@lru_cache(maxsize=32)
def inner_mixing(name: str, nodes: int, seed: int = 0, max_work: float = MAX_WORK) -> InnerMixing:
    """Compute the effective mixing time of a topology for every number of nodes from 1 to n.

    Parameters
    ----------
    name : str
        Of a static topology or a sequence that averages one value a node.
    nodes : int
        The largest number of nodes.
    seed : int, default 0
        Of graphs that are drawn at random.
    max_work : float, default 1e9
        About how many numbers may be computed: for powers of two and n first, then for the others from small to large.

    Raises
    ------
    InputError
        If there is no such topology, it needs parameters, its rounds are drawn at random, or nodes keep two states.

    Examples
    --------
    >>> inner_mixing("hypercube", 8).times.round(4).tolist()
    [1.0, 1.0, inf, 1.125, inf, inf, inf, 1.3333]
    """
    rounds_obstacle(2, name)  # refuses what is no inner topology whatever its size
    entry, parameters = TOPOLOGIES.resolve(name)
    times = np.full(nodes, np.inf)
    times[0] = 1.0
    sizes = [k for k in range(2, nodes + 1) if entry.obstacle(k, **parameters) is None]
    for k in sizes[:1]:
        underlying_rounds(k, name, seed)  # refuses two states a node
    missing = []
    for k in sorted(sizes, key=lambda k: (k & (k - 1) != 0 and k != nodes, k)):
        promise = None if entry.promise is None else entry.promise(k, **parameters)
        if promise is not None and promise.exact and promise.period is not None:
            times[k - 1] = promise.period
            continue
        rule = RULES.get(name)
        work = _built_work(k) if rule is None else rule.work(k)
        affordable = work <= max_work
        max_work -= work if affordable else 0.0
        found = None if not affordable else _built(k, name, seed) if rule is None else rule.time(k)
        if found is None:
            missing.append(k)
        else:
            times[k - 1] = found
    times.flags.writeable = False
    return InnerMixing(times, tuple(sorted(missing)))


def _built_work(k: int) -> float:
    return BUILT * k + float(k) ** 2 * min(k, SQUARED)


def _built(k: int, name: str, seed: int) -> float | None:
    try:
        return effective_mixing_time(Cyclic(underlying_rounds(k, name, seed))).value
    except ConvergenceError:
        return None


@dataclass(frozen=True)
class _Rule:
    work: Callable[[int], float]
    time: Callable[[int], float]


def _of_norm(contraction: float, period: int = 1) -> float:
    return period / ((1 - contraction) * (1 + contraction))


def _logarithm(k: int) -> int:
    return (k - 1).bit_length()


def _ring(k: int) -> float:
    # The slowest mode turns by one step round the ring, or by about half a turn a node.
    return _of_norm(max(abs(1 + 2 * cos(2 * pi * f / k)) for f in (1, k // 2)) / 3)


def _torus(k: int) -> float:
    rows = next(r for r in range(isqrt(k), 0, -1) if k % r == 0)
    sides = (rows, k // rows)

    def ends(side: int) -> tuple[float, float, float]:
        """Largest eigenvalue of a ring of that length, adjacency alone, then the next and the least."""
        if side == 2:
            return 1.0, -1.0, -1.0
        return 2.0, 2 * cos(2 * pi / side), 2 * cos(2 * pi * (side // 2) / side)

    (top, next_, least), (other_top, other_next, other_least) = map(ends, sides)
    slow = max(next_ + other_top, top + other_next)
    return _of_norm(max(abs(1 + slow), abs(1 + least + other_least)) / (1 + top + other_top))


def _exponential(k: int) -> float:
    m = _logarithm(k)
    if k % 2 == 0:
        return (1 + m) ** 2 / (4 * m)
    row = np.zeros(k)
    row[[0, *(1 << j for j in range(m))]] = 1 / (1 + m)
    return _of_norm(float(np.abs(np.fft.fft(row)[1:]).max()))


# An even number of nodes has the eigenvalue (m - 1)/(m + 1) at the mode that turns by half a circle; none is larger.
RULES = {
    "ring": _Rule(lambda k: 1.0, _ring),
    "torus": _Rule(lambda k: 1.0, _torus),
    "hypercube": _Rule(lambda k: 1.0, _exponential),
    "exponential": _Rule(lambda k: 1.0 if k % 2 == 0 else 5.0 * k * _logarithm(k), _exponential),
    "one-peer-exponential": _Rule(
        lambda k: 20.0 * k, lambda k: _of_norm(one_peer_exponential_contraction(k), _logarithm(k))
    ),
}
