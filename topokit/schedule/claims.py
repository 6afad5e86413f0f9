"""What a schedule promises, and the checks that hold it to that.

Sums are compared in integers wherever the weights are exact fractions, so that nothing is forgiven there; floating
point is given `TOLERANCE` for each entry that enters a sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from topokit.averaging import AveragingProof, prove_exact_averaging
from topokit.circulant import circulant_row
from topokit.errors import ConvergenceError, ScheduleError
from topokit.matrix import IntArray, MixingMatrix

__all__ = [
    "Claims",
    "check_claims",
    "check_connected",
    "compute_claims",
    "negative_entry",
    "sum_fault",
    "symmetry_fault",
]

TOLERANCE = 1e-12
CONTRACTION_TOLERANCE = 1e-9

# Beyond these sizes the product of a period takes more than seconds (circulant rounds need a Fourier transform only).
MAX_NODES = 1024
MAX_NODES_CIRCULANT = 65536


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
        The product of one period is J = 11^T/n.
    period_contraction : float or None
        ||W^(tau-1) ... W^(0) - J||_2.
    """

    symmetric: bool | None = None
    doubly_stochastic: bool | None = None
    nonnegative: bool | None = None
    period: int | None = None
    exact_averaging: bool | None = None
    period_contraction: float | None = None

    def to_dict(self) -> dict[str, bool | int | float]:
        """Give the claims that are made.

        Examples
        --------
        >>> Claims(symmetric=True, period=3).to_dict()
        {'symmetric': True, 'period': 3}
        """
        return {name: value for name, value in asdict(self).items() if value is not None}


def compute_claims(rounds: Sequence[MixingMatrix]) -> Claims:
    """Find out what can be promised about a period; what would take more than seconds stays unclaimed.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        The rounds of one period, all with the same number of nodes.

    Examples
    --------
    >>> half = Fraction(1, 2)
    >>> compute_claims([MixingMatrix.from_fractions(2, [0, 0, 1, 1], [0, 1, 0, 1], [half] * 4)]).symmetric
    True
    """
    proof = _proof(rounds)
    return Claims(
        symmetric=all(symmetry_fault(W) is None for W in rounds),
        doubly_stochastic=all(sum_fault(W, "row") is None and sum_fault(W, "column") is None for W in rounds),
        nonnegative=all(negative_entry(W) is None for W in rounds),
        period=len(rounds),
        exact_averaging=None if proof is None else proof.status != "false",
        period_contraction=None if proof is None else proof.contraction,
    )


def check_claims(rounds: Sequence[MixingMatrix], claims: Claims) -> tuple[str, ...]:
    """Check every claim against the rounds.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        The rounds of one period.
    claims : Claims
        What is promised about them.

    Returns
    -------
    tuple of str
        Names of the claims that were left unchecked because their check would take more than seconds.

    Raises
    ------
    ScheduleError
        If a claim does not hold, with the round, the row, what was claimed and what was found.
    """
    if claims.period is not None and claims.period != len(rounds):
        raise ScheduleError(f"claims a period of {claims.period}, but has {_count(len(rounds), 'round')}")
    _check_each_round(claims.symmetric, _symmetry_faults(rounds), "symmetric")
    _check_each_round(claims.doubly_stochastic, _stochasticity_faults(rounds), "doubly stochastic")
    _check_each_round(claims.nonnegative, _sign_faults(rounds), "nonnegative")
    return _check_period_product(rounds, claims)


def _check_each_round(claimed: bool | None, faults: Iterator[str], name: str) -> None:
    if claimed is None:
        return
    fault = next(faults, None)
    if claimed and fault is not None:
        raise ScheduleError(f"claims to be {name}, but {fault}")
    if not claimed and fault is None:
        raise ScheduleError(f"claims not to be {name}, but every round is; expected the claim true, found false")


def _symmetry_faults(rounds: Sequence[MixingMatrix]) -> Iterator[str]:
    for t, W in enumerate(rounds):
        if (fault := symmetry_fault(W)) is not None:
            i, j, there, back = fault
            yield f"in round {t} W[{i}, {j}] is {there} and W[{j}, {i}] is {back}; expected the same"


def _stochasticity_faults(rounds: Sequence[MixingMatrix]) -> Iterator[str]:
    for t, W in enumerate(rounds):
        for axis in ("row", "column"):
            if (fault := sum_fault(W, axis)) is not None:
                yield f"in round {t} {axis} {fault[0]} sums to {fault[1]}; expected 1"


def _sign_faults(rounds: Sequence[MixingMatrix]) -> Iterator[str]:
    for t, W in enumerate(rounds):
        if (k := negative_entry(W)) is not None:
            yield f"in round {t} W[{W.target[k]}, {W.source[k]}] is {_weight(W, k)}; expected at least 0"


def _check_period_product(rounds: Sequence[MixingMatrix], claims: Claims) -> tuple[str, ...]:
    claimed = [name for name in ("exact_averaging", "period_contraction") if getattr(claims, name) is not None]
    if not claimed:
        return ()
    proof = _proof(rounds)
    if proof is None:
        return tuple(claimed)
    exact = proof.status != "false"
    if claims.exact_averaging and not exact:
        where = ""
        if (w := proof.witness) is not None:
            where = f" row {w.target} gives node {w.source} the weight {w.value}; expected {w.expected}"
        raise ScheduleError(
            f"claims exact averaging after {_count(len(rounds), 'round')}, but in the product of "
            f"{'round 0' if len(rounds) == 1 else f'rounds 0 to {len(rounds) - 1}'}{where}"
        )
    if claims.exact_averaging is False and exact:
        raise ScheduleError(
            "claims that a period is not exact averaging, but it is; expected the claim true, found false"
        )
    contraction = claims.period_contraction
    if contraction is not None and abs(proof.contraction - contraction) > CONTRACTION_TOLERANCE:
        raise ScheduleError(
            f"claims that a period contracts the error by {contraction:.12g}; found {proof.contraction:.12g}"
        )
    return ()


def _proof(rounds: Sequence[MixingMatrix]) -> AveragingProof | None:
    """Find out about exact averaging and the contraction; None where that would take more than seconds."""
    nodes = rounds[0].nodes
    if nodes > MAX_NODES and not (nodes <= MAX_NODES_CIRCULANT and all(circulant_row(W) is not None for W in rounds)):
        return None
    try:
        return prove_exact_averaging(rounds)
    except ConvergenceError:
        return None


def sum_fault(W: MixingMatrix, axis: str) -> tuple[int, Fraction | float] | None:
    """Find the first row (or column) that does not sum to one, with its sum.

    Parameters
    ----------
    W : MixingMatrix
    axis : {"row", "column"}

    Examples
    --------
    >>> W = MixingMatrix.from_fractions(2, [0, 1, 1], [0, 0, 1], [Fraction(1), Fraction(1, 3), Fraction(1, 3)])
    >>> sum_fault(W, "row")
    (1, Fraction(2, 3))
    """
    ids = W.target if axis == "row" else W.source
    if ids.size < W.nodes:
        # Told apart before anything of length n is made: a file may name any number of nodes.
        present = np.unique(ids)
        gaps = np.flatnonzero(present != np.arange(present.size))
        return int(gaps[0]) if gaps.size else present.size, Fraction(0)
    if W.numerator is not None and W.denominator is not None:
        return _exact_sum_fault(W.nodes, ids, W.numerator, W.denominator)
    sums = np.bincount(ids, weights=W.weight, minlength=W.nodes)
    entries = np.bincount(ids, minlength=W.nodes)
    bad = np.flatnonzero(~(np.abs(sums - 1.0) <= TOLERANCE * np.maximum(1, entries)))
    return (int(bad[0]), float(sums[bad[0]])) if bad.size else None


def _exact_sum_fault(
    nodes: int, ids: IntArray, numerator: IntArray, denominator: IntArray
) -> tuple[int, Fraction] | None:
    common = math.lcm(*np.unique(denominator).tolist()) if ids.size else 1
    most = int(np.abs(numerator).max(initial=0)) * common * max(1, int(ids.size))
    # Python's integers are slow but never overflow; they are needed when many different degrees meet in one matrix.
    dtype: Any = np.int64 if most < 2**62 else object
    sums = np.zeros(nodes, dtype=dtype)
    np.add.at(sums, ids, numerator.astype(dtype) * (common // denominator.astype(dtype)))
    bad = np.flatnonzero(sums != common)
    return (int(bad[0]), Fraction(int(sums[bad[0]]), common)) if bad.size else None


def symmetry_fault(W: MixingMatrix) -> tuple[int, int, str, str] | None:
    """Find the first pair with W[i, j] != W[j, i]: (i, j, W[i, j], W[j, i]), the values as text."""
    csr = W.to_csr()
    difference = sparse.coo_array(abs(csr - csr.T))
    # Equal fractions are equal floats, so exact weights get no tolerance.
    bad = np.flatnonzero(difference.data > (0.0 if W.is_exact else TOLERANCE))
    if not bad.size:
        return None
    rows, columns = difference.coords
    i, j = min((int(rows[k]), int(columns[k])) for k in bad)
    return i, j, _entry(W, i, j), _entry(W, j, i)


def negative_entry(W: MixingMatrix) -> int | None:
    """Find the position of the first negative weight."""
    bad = np.flatnonzero(W.weight < 0)
    return int(bad[0]) if bad.size else None


def _entry(W: MixingMatrix, target: int, source: int) -> str:
    at = np.flatnonzero((W.target == target) & (W.source == source))
    return _weight(W, int(at[0])) if at.size else "0"


def _weight(W: MixingMatrix, k: int) -> str:
    if W.numerator is not None and W.denominator is not None:
        return str(Fraction(int(W.numerator[k]), int(W.denominator[k])))
    return repr(float(W.weight[k]))


def check_connected(rounds: Sequence[MixingMatrix]) -> None:
    """Refuse a period in which some node can never hear of another, however often it is repeated.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        The rounds of one period.

    Raises
    ------
    ScheduleError
        With two nodes that never hear of each other (or of which one never hears of the other).
    """
    nodes = rounds[0].nodes
    target = np.concatenate([W.target[W.weight != 0] for W in rounds])
    source = np.concatenate([W.source[W.weight != 0] for W in rounds])
    sends = sparse.csr_array((np.ones(target.size), (source, target)), shape=(nodes, nodes))
    reached = _reached_from_0(sends)
    heard = _reached_from_0(sparse.csr_array(sends.T))
    over = "the round has" if len(rounds) == 1 else f"all {len(rounds)} rounds together have"
    if not (reached | heard).all():
        other = int(np.flatnonzero(~(reached | heard))[0])
        raise ScheduleError(
            f"the graph is disconnected: nodes 0 and {other} never hear of each other; "
            f"{over} no chain of messages between them"
        )
    if not (reached & heard).all():
        other = int(np.flatnonzero(~(reached & heard))[0])
        deaf, unheard = (0, other) if reached[other] else (other, 0)
        raise ScheduleError(
            f"the graph is not strongly connected: node {deaf} never hears of node {unheard}; "
            f"{over} no chain of messages that way"
        )


def _reached_from_0(adjacency: sparse.csr_array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    order = csgraph.breadth_first_order(adjacency, 0, directed=True, return_predecessors=False)
    reached = np.zeros(adjacency.shape[0], dtype=np.bool_)
    reached[order] = True
    return reached


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
