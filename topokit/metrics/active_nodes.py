"""TELEPORTATION: how many nodes should be active at once.

With k of n nodes active, mixing by a topology of k nodes whose effective mixing time is h_k, the mean squared gradient
norm after T iterations is, up to constants, at most

    sqrt(L r0 (sigma^2 + (n - k)/(n - 1) zeta^2) / (k T)) + (L^2 r0^2 (h_k - 1) s^2 / T^2)^(1/3) + L r0 h_k / T,

s^2 = sigma^2 + zeta^2: more active nodes average more gradients, (n - k)/(n - 1) being the correction for drawing k of
n nodes without replacement, but mix more slowly. For one matrix with squared contraction 1 - p, h_k = 1/p and h_k - 1 =
(1 - p)/p, in which form the bound is known; it is exactly 0 on the complete graph, which leaves no disagreement. A
period of tau rounds has tau/p in the place of 1/p. The best k balances the first two terms; it grows slowly with T.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, isfinite, pi

import numpy as np

from topokit.errors import InputError
from topokit.matrix import FloatArray, IntArray
from topokit.metrics.inner_mixing import inner_mixing
from topokit.registry import TOPOLOGIES
from topokit.topologies.teleportation import search_plan
from topokit.words import count

__all__ = ["ActiveNodes", "CandidatePlan", "candidate_plan", "optimal_active_nodes"]


@dataclass(frozen=True)
class Growth:
    """How the effective mixing time grows with k, and what follows for the best k.

    Attributes
    ----------
    power, factor : float or None
        h_k is about factor * k^power; None where there is no such law.
    optimum, rate : str
        How the best k grows with the iterations T, and how the bound falls, while k < n.
    """

    power: float | None
    factor: float | None
    optimum: str
    rate: str


LOGARITHMIC = Growth(None, None, "T^(1/3), up to logarithms", "T^(-2/3), up to logarithms")
GROWTHS = {
    "ring": Growth(2.0, 3 / (8 * pi**2), "T^(1/7)", "T^(-4/7)"),
    "torus": Growth(1.0, 5 / (8 * pi**2), "T^(1/5)", "T^(-3/5)"),
    "complete": Growth(None, None, "n, at once", "T^(-1/2)"),
}
LOGARITHMIC_ONES = (
    "exponential",
    "hypercube",
    "one-peer-exponential",
    "one-peer-hypercube",
    "base",
    "simple-base",
    "hyper-hypercube",
    "k-peer-exponential",
)


@dataclass(frozen=True)
class CandidatePlan:
    """How to find the best number of active nodes by training, at the cost of two runs.

    Attributes
    ----------
    together : tuple of int
        Numbers of active nodes tried at once, on disjoint nodes, in a first run: powers of two.
    alone : int or None
        The number for a second run, all nodes; None where the inner topology does not exist for so many.
    """

    together: tuple[int, ...]
    alone: int | None


@dataclass(frozen=True, eq=False)
class ActiveNodes:
    """The number of active nodes with the lowest bound, and the bound of every other.

    Constants of the bound are taken as 1, and L, r0, sigma, zeta are the user's guesses: take it as a starting point
    and let the search (`candidate_plan`) decide.

    Attributes
    ----------
    active : int
        The best k. Of equal ones the smallest.
    bound : float
        Its bound on the mean squared gradient norm.
    nodes, inner, iterations : int, str, int
        n, the topology among the active nodes, and T.
    counts : ndarray of int64, shape (c,)
        Every k for which the inner topology exists and was looked at, ascending.
    bounds, mixing_times : ndarray of float64, shape (c,)
        Their bounds, and their effective mixing times h_k.
    left_out : tuple of int
        Every k that would take too long: the best might be among them.
    closed_form : int or None
        The k that balances the first two terms where h_k follows a power law (ring, torus), which is an approximation;
        n on the complete graph.
    growth, rate : str or None
        How the best k grows with T and the bound falls, while k < n; None where that is not known.
    plan : CandidatePlan
        What a search would try, as far as the inner topology exists.
    candidate : int
        The k of the plan with the lowest bound.
    """

    active: int
    bound: float
    nodes: int
    inner: str
    iterations: int
    counts: IntArray = field(repr=False)
    bounds: FloatArray = field(repr=False)
    mixing_times: FloatArray = field(repr=False)
    left_out: tuple[int, ...] = field(repr=False)
    closed_form: int | None
    growth: str | None
    rate: str | None
    plan: CandidatePlan
    candidate: int

    def lines(self) -> list[tuple[str, str]]:
        """Give what there is to say in words: pairs of a label and a text.

        Examples
        --------
        >>> for label, text in optimal_active_nodes(25, "ring", iterations=100_000).lines():
        ...     print(f"{label}: {text}")
        active nodes: 11 of 25 on ring have the lowest bound after 100000 iterations (unit constants), 0.002177
        closed form: 15, where averaging and mixing balance
        growth: best k like T^(1/7), bound like T^(-4/7), while k < 25
        search: 1, 2, 4, 8 at once, then 25; of these 8 has the lowest bound
        """
        lines = [
            (
                "active nodes",
                f"{self.active} of {self.nodes} on {self.inner} have the lowest bound after {self.iterations} "
                f"iterations (unit constants), {self.bound:.4g}",
            )
        ]
        if self.closed_form is not None and self.rate is not None:
            lines.append(("closed form", f"{self.closed_form}, where averaging and mixing balance"))
        if self.growth is not None:
            lines.append(("growth", f"best k like {self.growth}, bound like {self.rate}, while k < {self.nodes}"))
        together = ", ".join(map(str, self.plan.together))
        then = "" if self.plan.alone is None else f", then {self.plan.alone}"
        lines.append(("search", f"{together} at once{then}; of these {self.candidate} has the lowest bound"))
        if self.left_out:
            first, last = self.left_out[0], self.left_out[-1]
            lines.append(
                ("note", f"{count(len(self.left_out), 'number')} from {first} to {last} left out: too long to compute")
            )
        return lines


def candidate_plan(nodes: int) -> CandidatePlan:
    """Give the numbers of active nodes of a search that costs two runs: 1, 2, 4, ... 2^m at once, then n.

    Parameters
    ----------
    nodes : int
        Number of nodes n. m = floor(log2(n + 1)) - 1, so that the first run has room for all of its candidates; see
        `topokit.topologies.teleportation.search_plan`.

    Raises
    ------
    InputError
        If there is no node.

    References
    ----------
    .. [1] Y. Takezawa, S. U. Stich, "Scalable Decentralized Learning with Teleportation", ICLR 2025.

    Examples
    --------
    >>> candidate_plan(25)
    CandidatePlan(together=(1, 2, 4, 8), alone=25)
    """
    return CandidatePlan(search_plan(nodes), nodes)


def optimal_active_nodes(
    nodes: int,
    inner: str = "ring",
    *,
    iterations: int,
    smoothness: float = 1.0,
    initial_gap: float = 1.0,
    noise: float = 1.0,
    heterogeneity: float = 1.0,
    seed: int = 0,
) -> ActiveNodes:
    """Find the number of active nodes of TELEPORTATION whose bound on the gradient norm is the lowest.

    Parameters
    ----------
    nodes : int
        Number of nodes n, at least 1.
    inner : str, default "ring"
        Topology among the active nodes, as in `topokit.topologies.teleportation`.
    iterations : int
        T, at least 1.
    smoothness, initial_gap : float, default 1.0
        L and r0 = f(x0) - f*.
    noise, heterogeneity : float, default 1.0
        sigma and zeta, standard deviations of gradients within and between nodes; not both 0.
    seed : int, default 0
        Of inner graphs that are drawn at random.

    Returns
    -------
    ActiveNodes

    Raises
    ------
    InputError
        If a number is out of range, the inner topology cannot be one, or it exists for no number of active nodes.

    Notes
    -----
    All k up to n are compared, where the inner topology exists: for ring, torus, complete, exponential, hypercube,
    one-peer exponential and all families that promise exactness by closed forms or Fourier modes, up to 1,000 nodes in
    a tenth of a second; for others by their matrices, as many as some seconds allow.

    References
    ----------
    .. [1] Y. Takezawa, S. U. Stich, "Scalable Decentralized Learning with Teleportation", ICLR 2025.
    .. [2] A. Koloskova, N. Loizou, S. Boreiri, M. Jaggi, S. U. Stich, "A Unified Theory of Decentralized SGD with
       Changing Topology and Local Updates", ICML 2020.

    Examples
    --------
    >>> found = optimal_active_nodes(1000, "ring", iterations=10**7, heterogeneity=0)
    >>> found.active, found.closed_form, found.growth
    (18, 26, 'T^(1/7)')
    """
    if nodes < 1:
        raise InputError(f"the number of nodes must be at least 1, got {nodes}")
    if iterations < 1:
        raise InputError(f"the number of iterations must be at least 1, got {iterations}")
    for name, value in (("smoothness", smoothness), ("initial_gap", initial_gap)):
        if not (value > 0 and isfinite(value)):
            raise InputError(f"{name} must be a positive number, got {value}")
    for name, value in (("noise", noise), ("heterogeneity", heterogeneity)):
        if not (value >= 0 and isfinite(value)):
            raise InputError(f"{name} must be a number that is not negative, got {value}")
    if noise == heterogeneity == 0:
        raise InputError("noise and heterogeneity are both 0: without either, one active node is as good as many")
    mixing = inner_mixing(inner, nodes, seed)
    counts = np.flatnonzero(np.isfinite(mixing.times)) + 1
    if counts.size == 1 and nodes > 1:
        raise InputError(f"{inner} mixes for no number of active nodes from 2 to {nodes}")
    h = mixing.times[counts - 1]
    pull = smoothness * initial_gap
    spread = noise**2 + heterogeneity**2
    idle = (nodes - counts) / max(nodes - 1, 1)
    bounds = (
        np.sqrt(pull * (noise**2 + idle * heterogeneity**2) / (counts * iterations))
        + np.cbrt(pull**2 * (h - 1) * spread / iterations**2)
        + pull * h / iterations
    )
    best = int(bounds.argmin())
    growth = _growth(inner)
    exists = set(counts.tolist())
    plan = CandidatePlan(tuple(k for k in search_plan(nodes) if k in exists), nodes if nodes in exists else None)
    candidates = [*plan.together, *([nodes] if nodes in exists else [])]
    return ActiveNodes(
        active=int(counts[best]),
        bound=float(bounds[best]),
        nodes=nodes,
        inner=inner,
        iterations=iterations,
        counts=counts,
        bounds=bounds,
        mixing_times=h,
        left_out=mixing.missing,
        closed_form=_balanced(nodes, inner, growth, iterations * spread / pull),
        growth=None if growth is None else growth.optimum,
        rate=None if growth is None else growth.rate,
        plan=plan,
        candidate=min(candidates, key=lambda k: float(bounds[np.searchsorted(counts, k)])),
    )


def _growth(inner: str) -> Growth | None:
    family = TOPOLOGIES.resolve(inner)[0].name
    return LOGARITHMIC if family in LOGARITHMIC_ONES else GROWTHS.get(family)


def _balanced(nodes: int, inner: str, growth: Growth | None, ratio: float) -> int | None:
    """Solve sqrt(L r0 s^2 / (k T)) = (L^2 r0^2 c k^a s^2 / T^2)^(1/3) for k; ratio is T s^2 / (L r0)."""
    if inner == "complete":
        return nodes
    if growth is None or growth.power is None or growth.factor is None:
        return None
    return int(np.clip(ceil((ratio / growth.factor**2) ** (1 / (3 + 2 * growth.power))), 1, nodes))
