"""What a schedule promises, and the checks that hold it to that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from topokit.averaging import AveragingProof, prove_exact_averaging
from topokit.errors import ConvergenceError, ScheduleError
from topokit.faults import EXPECTED, first_fault
from topokit.kinds import Cyclic, Drawn, Kind, Pairwise, Sampled, Teleport
from topokit.matrix import MixingMatrix
from topokit.metrics.acid import acid_constants
from topokit.metrics.expectation import expected_contraction
from topokit.proofs.shifts import shift_period
from topokit.words import count

__all__ = ["Claims", "averages", "check_claims", "compute_claims"]

CONTRACTION_TOLERANCE = 1e-9
CONSTANT_TOLERANCE = 1e-9  # relative
MAX_PROOF_WORK = 2e9  # multiplications: seconds
MAX_ITERATED_ROWS = 10_000  # beyond, the norm of rounds without a symmetry takes more than seconds
MAX_ORBITS = 8  # nodes of a block up to which rounds that are invariant under a shift have their norm at once
MAX_ACID_NODES = 3000  # beyond, effective resistances take more than seconds


@dataclass(frozen=True)
class Claims:
    """What the designer of a schedule promises; None where nothing is claimed.

    Attributes
    ----------
    symmetric : bool or None
        W = W^T in every round.
    doubly_stochastic : bool or None
        Rows and columns sum to one in every round (signs are a claim of their own).
    nonnegative : bool or None
        No weight is negative.
    period : int or None
        Number of rounds after which the schedule repeats.
    exact_averaging : bool or None
        The product of one period is J = 11^T/n (with two copies: its first block row is [J, 0]).
    period_contraction : float or None
        ||W^(tau-1) ... W^(0) - J||_2.
    expected_contraction : float or None
        Of rounds drawn at random: the largest eigenvalue of E[W^T W] - J, the factor by which a round shrinks the
        expected squared distance to the average at least.
    chi1, chi2 : float or None
        Of pairwise averaging: 1 / mu_2 of the Laplacian of the rates, and half the largest effective resistance of an
        edge.
    eta, alpha, alpha_tilde : float or None
        Parameters of A²CiD² for these.
    """

    symmetric: bool | None = None
    doubly_stochastic: bool | None = None
    nonnegative: bool | None = None
    period: int | None = None
    exact_averaging: bool | None = None
    period_contraction: float | None = None
    expected_contraction: float | None = None
    chi1: float | None = None
    chi2: float | None = None
    eta: float | None = None
    alpha: float | None = None
    alpha_tilde: float | None = None

    def to_dict(self) -> dict[str, bool | int | float]:
        """Give the claims that are made.

        Examples
        --------
        >>> Claims(symmetric=True, period=3).to_dict()
        {'symmetric': True, 'period': 3}
        """
        return {name: value for name, value in asdict(self).items() if value is not None}


EXACT = {"proved": True, "numerical": None, "false": False}
ACID = ("chi1", "chi2", "eta", "alpha", "alpha_tilde")


def compute_claims(kind: Kind) -> Claims:
    """Find out what can be promised; what would take more than seconds stays unclaimed.

    Parameters
    ----------
    kind : Kind
        The rounds of a schedule.

    Examples
    --------
    >>> from topokit.topologies import one_peer_hypercube
    >>> compute_claims(Cyclic(one_peer_hypercube(8))).symmetric
    True
    """
    claims = _properties(kind) | _acid(kind)
    if isinstance(kind, Cyclic):
        proof = _proof(kind) if averages(kind) else None
        claims |= {
            "period": kind.period,
            # What is true up to rounding is nothing to promise.
            "exact_averaging": None if proof is None else EXACT[proof.status],
            "period_contraction": None if proof is None else proof.contraction,
        }
    elif (expected := expected_contraction(kind)) is not None:
        claims["expected_contraction"] = expected.value
    return Claims(**claims)


def _properties(kind: Kind) -> dict[str, Any]:
    if isinstance(kind, Drawn):
        # What a sampler draws has these properties by its rules, not by those rounds that one looks at.
        return {
            "symmetric": True if kind.sampler.symmetric else None,
            "doubly_stochastic": kind.mixing == "doubly-stochastic",
            "nonnegative": True,
        }
    rounds = _stored(kind)
    return {what: first_fault(rounds, what) is None for what in EXPECTED}


def _stored(kind: Kind) -> Sequence[MixingMatrix]:
    """Give matrices that are symmetric, doubly stochastic, nonnegative if and only if all rounds are."""
    if isinstance(kind, (Cyclic, Sampled)):
        return kind.rounds
    if isinstance(kind, Teleport):
        return [W for team in kind.teams for W in team.rounds]
    return kind.connections() or ()  # of matchings, all active: self weights are never smaller


def _acid(kind: Kind) -> dict[str, float]:
    if not isinstance(kind, Pairwise) or kind.nodes > MAX_ACID_NODES:
        return {}
    constants = acid_constants(kind.nodes, kind.edges, np.array([float(rate) for rate in kind.rates]))
    if not constants.exact:
        return {}
    return {name: getattr(constants, name) for name in ACID}


def check_claims(kind: Kind, claims: Claims) -> tuple[str, ...]:
    """Check every claim.

    Parameters
    ----------
    kind : Kind
        The rounds of a schedule.
    claims : Claims
        What is promised about them.

    Returns
    -------
    tuple of str
        Names of the claims that were left unchecked because their check would take more than seconds.

    Raises
    ------
    ScheduleError
        If a claim does not hold, with the round, the row, what was claimed and what was found; or if it makes no sense
        for this kind of schedule.
    """
    _check_sense(kind, claims)
    if isinstance(kind, Drawn):
        _check_known(kind, claims)
    else:
        rounds = _stored(kind)
        for what in EXPECTED:
            if (claimed := getattr(claims, what)) is not None:
                _check_each_round(claimed, first_fault(rounds, what), what)
    if not isinstance(kind, Cyclic):
        return _check_acid(kind, claims) + _check_expectation(kind, claims)
    if claims.period is not None and claims.period != kind.period:
        raise ScheduleError(f"claims a period of {claims.period}, but has {count(kind.period, 'round')}")
    return _check_period_product(kind, claims)


def averages(kind: Kind) -> bool:
    """Say whether plain averaging, x <- W x, is what a schedule is for, with the first of two copies as the result."""
    return kind.mixing == "doubly-stochastic" or (kind.mixing == "row-stochastic" and kind.copies == 2)


def _check_sense(kind: Kind, claims: Claims) -> None:
    """Refuse claims about what a kind does not have, instead of passing them on unchecked."""
    senseless: set[str] = set()
    if not isinstance(kind, Cyclic):
        senseless |= {"period", "exact_averaging", "period_contraction"}
    elif not averages(kind):
        senseless |= {"exact_averaging", "period_contraction"}
    if isinstance(kind, Cyclic):
        senseless.add("expected_contraction")
    if not isinstance(kind, Pairwise):
        senseless |= set(ACID)
    made = [name for name in claims.to_dict() if name in senseless]
    if made:
        what = kind.name if averages(kind) or not isinstance(kind, Cyclic) else kind.mixing
        raise ScheduleError(f"claims {made[0]}, which a {what} schedule does not have; remove the claim")


def _check_known(kind: Drawn, claims: Claims) -> None:
    known = _properties(kind)
    for name in ("symmetric", "doubly_stochastic", "nonnegative"):
        claimed = getattr(claims, name)
        if claimed is not None and known[name] is not None and claimed != known[name]:
            raise ScheduleError(f'claims {name}: {claimed}, but what "{kind.sampler.name}" draws is {known[name]}')
        if claimed is not None and known[name] is None:
            raise ScheduleError(
                f'claims {name}, which is not known of what "{kind.sampler.name}" draws; remove the claim'
            )


def _check_acid(kind: Kind, claims: Claims) -> tuple[str, ...]:
    claimed = {name: getattr(claims, name) for name in ACID if getattr(claims, name) is not None}
    found = _acid(kind) if claimed else {}
    for name, value in claimed.items() if found else ():
        if abs(found[name] - value) > CONSTANT_TOLERANCE * max(1.0, abs(found[name])):
            raise ScheduleError(f"claims {name} = {value:.12g}; found {found[name]:.12g}")
    return () if found else tuple(claimed)


def _check_expectation(kind: Kind, claims: Claims) -> tuple[str, ...]:
    if claims.expected_contraction is None:
        return ()

    found = expected_contraction(kind)
    if found is None:
        return ("expected_contraction",)
    if abs(found.value - claims.expected_contraction) > CONTRACTION_TOLERANCE:
        raise ScheduleError(
            f"claims an expected contraction of {claims.expected_contraction:.12g}; found {found.value:.12g}"
        )
    return ()


def _check_each_round(claimed: bool | None, fault: str | None, what: str) -> None:
    name = what.replace("_", " ")
    if claimed and fault is not None:
        raise ScheduleError(f"claims to be {name}, but {fault}; expected {EXPECTED[what]}")
    if claimed is False and fault is None:
        raise ScheduleError(f"claims not to be {name}, but every round is; expected the claim true, found false")


def _check_period_product(kind: Cyclic, claims: Claims) -> tuple[str, ...]:
    claimed = [name for name in ("exact_averaging", "period_contraction") if getattr(claims, name) is not None]
    if not claimed:
        return ()
    proof = _proof(kind)
    if proof is None:
        return tuple(claimed)
    exact = proof.status != "false"
    if claims.exact_averaging and not exact:
        where = ""
        if (w := proof.witness) is not None:
            where = f" row {w.target} gives node {w.source} the weight {w.value}; expected {w.expected}"
        raise ScheduleError(
            f"claims exact averaging after {count(kind.period, 'round')}, but in the product of "
            f"{'round 0' if kind.period == 1 else f'rounds 0 to {kind.period - 1}'}{where}"
        )
    if claims.exact_averaging is False and exact:
        raise ScheduleError(
            "claims that a period is not exact averaging, but it is; expected the claim true, found false"
        )
    claim = claims.period_contraction
    if claim is None:
        return ()
    if proof.contraction is None:
        return ("period_contraction",)
    if abs(proof.contraction - claim) > CONTRACTION_TOLERANCE:
        raise ScheduleError(f"claims that a period contracts the error by {claim:.12g}; found {proof.contraction:.12g}")
    return ()


def _proof(kind: Cyclic) -> AveragingProof | None:
    """Find out about exact averaging and the contraction; None where that would take more than seconds."""
    rows = kind.nodes * kind.copies
    if rows > MAX_ITERATED_ROWS and _falls_short(kind) and shift_period(kind.rounds, kind.copies) > MAX_ORBITS:
        return AveragingProof("false", kind.nodes, kind.period, witness=None, contraction=None)
    try:
        return prove_exact_averaging(kind.rounds, copies=kind.copies, max_work=MAX_PROOF_WORK)
    except ConvergenceError:
        return None


def _falls_short(kind: Cyclic) -> bool:
    """Say whether some node cannot have heard of all others after a period, for lack of messages: it is not exact then.

    A node has heard of at most as many as those that it hears in the last round together had before it. It is a bound,
    which costs one pass over the entries: that some node has not heard of all others can also be for other reasons.
    """
    rows = kind.nodes * kind.copies
    heard = np.ones(rows)
    for W in kind.rounds:
        heard = np.minimum(np.bincount(W.target, weights=heard[W.source], minlength=rows), rows)
    return bool((heard[: kind.nodes] < kind.nodes).any())
