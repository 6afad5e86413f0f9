"""How long decentralized SGD takes until its topology no longer matters: effective mixing time, transient iterations.

After T iterations the mean squared gradient norm of DSGD is, up to constants, at most (Koloskova et al. 2020)

    sqrt(L r0 sigma^2 / (n T)) + (L^2 r0^2 (sigma^2 h + zeta^2 h^2) / T^2)^(1/3) + L r0 h / T,

with L the smoothness, r0 the initial gap f(x0) - f*, sigma^2 the variance of gradients, zeta^2 their heterogeneity. Of
the topology only h enters, the effective mixing time. The first term, which does not know it and falls with n, is the
linear speed-up; the iterations before it dominates are called transient. The first two terms are equal at
T = L r0 n^3 (sigma^2 h + zeta^2 h^2)^2 / sigma^6, the first and the third at T = L r0 n h^2 / sigma^2, not later.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

from topokit.averaging import prove_exact_averaging
from topokit.errors import ConvergenceError, InputError
from topokit.kinds import Cyclic, Kind, Teleport
from topokit.matrix import MixingMatrix
from topokit.metrics.expectation import expected_contraction
from topokit.proofs.contraction import run_contraction
from topokit.words import count

if TYPE_CHECKING:
    from topokit.schedule import Schedule

__all__ = ["MixingTime", "Transient", "effective_mixing_time", "transient_iterations"]

MAX_WORK = 2e9  # multiplications of a proof: seconds
MOST_PERIODS = 64
ROUNDING = 1e-12  # of a norm of 1
CLAIMED = ("exact_averaging", "period_contraction", "expected_contraction")


@dataclass(frozen=True)
class MixingTime:
    """The effective mixing time of a schedule: tau / p.

    Attributes
    ----------
    value : float
        h = tau / p; at least 1, and infinite where no number of rounds that was tried shrinks every error.
    period : int
        tau, the rounds over which p is taken: those of a period, of several where one alone does not contract, or 1
        where rounds are drawn at random.
    p : float
        1 minus the factor by which these rounds shrink the squared consensus distance, at worst or in expectation.
    method : str
        How p was found, in words.
    """

    value: float
    period: int
    p: float
    method: str

    def sentence(self) -> str:
        """Say it in words.

        Examples
        --------
        >>> MixingTime(5.0, 5, 1.0, "exact averaging").sentence()
        'effective mixing time 5 (tau/p = 5/1, exact averaging)'
        """
        return f"effective mixing time {self.value:.4g} (tau/p = {self.period}/{self.p:.4g}, {self.method})"


@dataclass(frozen=True)
class Transient:
    """After how many iterations the linear speed-up of DSGD sets in, in units in which constants of the bound are 1.

    Ratios between topologies mean something, absolute counts do not.

    Attributes
    ----------
    iid : float
        Where all nodes have the same data: L r0 n^3 h^2 / sigma^2.
    non_iid : float
        With the heterogeneity given: L r0 n^3 max(h^2 / sigma^2, zeta^4 h^4 / sigma^6). The first two terms of the
        bound are equal there or up to 4 times later.
    nodes : int
        Number of nodes n.
    h : float
        Effective mixing time.
    smoothness, initial_gap, noise, heterogeneity : float
        L, r0, sigma and zeta.
    """

    iid: float
    non_iid: float
    nodes: int
    h: float
    smoothness: float
    initial_gap: float
    noise: float
    heterogeneity: float

    def sentence(self) -> str:
        """Say it in words.

        Examples
        --------
        >>> transient_iterations(16, 4).sentence()
        'linear speed-up after about 6.55e+04 iterations with equal data, 1.05e+06 with unequal data (unit constants)'
        """
        units = (self.smoothness, self.initial_gap, self.noise, self.heterogeneity) == (1, 1, 1, 1)
        given = f"L {self.smoothness:g}, r0 {self.initial_gap:g}, sigma {self.noise:g}, zeta {self.heterogeneity:g}"
        return (
            f"linear speed-up after about {self.iid:.3g} iterations with equal data, {self.non_iid:.3g} with unequal "
            f"data ({'unit constants' if units else given})"
        )


def effective_mixing_time(source: Schedule | Kind | MixingMatrix, *, contraction: float | None = None) -> MixingTime:
    """Compute h = tau / p, with p = 1 - ||W^(tau-1) ... W^(0) - J||_2^2, or of random rounds 1 / (1 - E-contraction).

    Parameters
    ----------
    source : Schedule, Kind or MixingMatrix
        Doubly stochastic rounds, one state a node. What a schedule claims and was checked is not computed again.
    contraction : float, optional
        Where it is known already: ||W^(tau-1) ... W^(0) - J||_2 of a period, 0 where exact averaging is proved, or the
        root of the expected squared contraction of random rounds.

    Returns
    -------
    MixingTime
        For `Pairwise` a round is one event, an averaging of two nodes.

    Raises
    ------
    InputError
        If nodes keep two states, or sums of rows or columns differ from 1: the bound is about plain averaging. So for
        TELEPORTATION, whose bound is another one (`topokit.metrics.active_nodes`).
    ConvergenceError
        If the contraction takes too long to compute.

    Notes
    -----
    A period that averages exactly counts as a whole, h = tau, though errors shrink before its end: this is a coarse
    figure. Where one period contracts nothing (a de Bruijn graph), so many are taken together that they do.

    References
    ----------
    .. [1] A. Koloskova, N. Loizou, S. Boreiri, M. Jaggi, S. U. Stich, "A Unified Theory of Decentralized SGD with
       Changing Topology and Local Updates", ICML 2020.

    Examples
    --------
    >>> from topokit import design
    >>> round(effective_mixing_time(design("ring", 16)).value, 2), effective_mixing_time(design("base-2", 25)).value
    (10.11, 9.0)
    """
    kind: Any = Cyclic([source]) if isinstance(source, MixingMatrix) else getattr(source, "rule", source)
    if not isinstance(kind, Kind):
        raise InputError(f"an effective mixing time needs a schedule, got {type(source).__name__}")
    if isinstance(kind, Teleport):
        raise InputError(
            "the effective mixing time of TELEPORTATION is that of the rounds among the active nodes; "
            "topokit.metrics.active_nodes has its bound"
        )
    if kind.copies > 1 or kind.mixing != "doubly-stochastic":
        what = f"{kind.copies} states a node" if kind.copies > 1 else f"{kind.mixing} rounds"
        raise InputError(f"an effective mixing time needs doubly stochastic rounds and one state a node, not {what}")
    if contraction is not None and not 0 <= contraction < inf:
        raise InputError(f"a contraction is a number that is not negative, got {contraction}")
    claims, unchecked = getattr(source, "claims", None), getattr(source, "unchecked", ())
    known = {name: getattr(claims, name, None) for name in CLAIMED if name not in unchecked}
    if not isinstance(kind, Cyclic):
        square = known.get("expected_contraction") if contraction is None else contraction**2
        return _of_draws(kind, square)
    if contraction is None:
        contraction = 0.0 if known.get("exact_averaging") else known.get("period_contraction")
    if contraction is None:
        contraction = prove_exact_averaging(kind.rounds, max_work=MAX_WORK).contraction
    if contraction is None:
        raise ConvergenceError(f"the contraction of a period of {kind.nodes} nodes takes too long to compute")
    if contraction == 0:
        return MixingTime(float(kind.period), kind.period, 1.0, "exact averaging")
    return _of_norm(kind, contraction)


def _of_draws(kind: Kind, square: float | None) -> MixingTime:
    if square is None:
        found = expected_contraction(kind)
        if found is None:
            raise ConvergenceError(f"the expected contraction of {kind.nodes} nodes is not computed at this size")
        square = found.value
    p = 1 - square
    if p <= ROUNDING:
        return MixingTime(inf, 1, 0.0, "no expected contraction")
    return MixingTime(1 / p, 1, p, "expected contraction")


def _of_norm(kind: Cyclic, contraction: float) -> MixingTime:
    periods = 1
    while contraction >= 1 - ROUNDING:
        periods *= 2
        if periods > MOST_PERIODS:
            return MixingTime(inf, kind.period, 0.0, f"no contraction in {count(MOST_PERIODS, 'period')}")
        left = run_contraction(kind.rounds * periods, max_work=MAX_WORK)
        if left is None:
            raise ConvergenceError(f"the contraction of {periods} periods of {kind.nodes} nodes takes too long")
        contraction = left
    method = "norm of a period" if periods == 1 else f"norm of {count(periods, 'period')}"
    tau, p = kind.period * periods, (1 - contraction) * (1 + contraction)
    return MixingTime(tau / p, tau, p, method)


def transient_iterations(
    nodes: int,
    h: float,
    *,
    smoothness: float = 1.0,
    initial_gap: float = 1.0,
    noise: float = 1.0,
    heterogeneity: float = 1.0,
) -> Transient:
    """Give the iterations of DSGD after which its linear speed-up dominates, up to a constant.

    Parameters
    ----------
    nodes : int
        Number of nodes n.
    h : float
        Effective mixing time, see `effective_mixing_time`.
    smoothness, initial_gap : float, default 1.0
        L and r0 = f(x0) - f*.
    noise : float, default 1.0
        sigma, standard deviation of a gradient; without noise there is no linear speed-up.
    heterogeneity : float, default 1.0
        zeta, the size of the differences between the gradients of nodes; 0 for equal data.

    Raises
    ------
    InputError
        If a number is out of range.

    References
    ----------
    .. [1] A. Koloskova, N. Loizou, S. Boreiri, M. Jaggi, S. U. Stich, "A Unified Theory of Decentralized SGD with
       Changing Topology and Local Updates", ICML 2020, Theorem 2.
    .. [2] B. Ying, K. Yuan, Y. Chen, H. Hu, P. Pan, W. Yin, "Exponential Graph is Provably Efficient for Decentralized
       Deep Training", NeurIPS 2021.

    Examples
    --------
    >>> found = transient_iterations(10, 2.0, heterogeneity=2.0)
    >>> found.iid, found.non_iid
    (4000.0, 256000.0)
    """
    if nodes < 1:
        raise InputError(f"the number of nodes must be at least 1, got {nodes}")
    if not h >= 1:
        raise InputError(f"an effective mixing time is at least 1, got {h}")
    for name, value in (("smoothness", smoothness), ("initial_gap", initial_gap), ("noise", noise)):
        if not (value > 0 and isfinite(value)):
            raise InputError(f"{name} must be a positive number, got {value}")
    if not (heterogeneity >= 0 and isfinite(heterogeneity)):
        raise InputError(f"heterogeneity must be a number that is not negative, got {heterogeneity}")
    scale = smoothness * initial_gap * float(nodes) ** 3
    iid = scale * (h / noise) ** 2
    # 0 times infinity is nothing here: equal data do not care.
    unequal = 0.0 if heterogeneity == 0 else scale * heterogeneity**4 * h**4 / noise**6
    return Transient(iid, max(iid, unequal), nodes, float(h), smoothness, initial_gap, noise, heterogeneity)
