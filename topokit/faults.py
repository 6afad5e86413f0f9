"""Where a round, or all rounds together, are not what they should be: the first place, with what was found there.

Sums are compared in integers wherever the weights are exact fractions, so that nothing is forgiven there; floating
point is given `TOLERANCE` for each entry that enters a sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse

from topokit.adjacency import reached_from
from topokit.errors import ScheduleError
from topokit.kinds import Mixing
from topokit.matrix import IntArray, MixingMatrix

__all__ = [
    "EXPECTED",
    "check_connected",
    "first_fault",
    "mixing_fault",
    "negative_entry",
    "sum_fault",
    "symmetry_fault",
    "weight_text",
]

TOLERANCE = 1e-12


def mixing_fault(W: MixingMatrix, mixing: Mixing, copies: int = 1) -> str | None:
    """Find the first row or column of a round whose sum is not what the kind of mixing asks for.

    Parameters
    ----------
    W : MixingMatrix
        With copies * n rows.
    mixing : {"doubly-stochastic", "column-stochastic", "row-stochastic", "push-pull"}
        See `topokit.kinds.Kind`.
    copies : int, default 1

    Returns
    -------
    str or None
        For instance ``"row 3 sums to 5/6, expected 1"``.

    Examples
    --------
    >>> mixing_fault(MixingMatrix.from_entries(2, [0, 1], [0, 0], [1.0, 1.0]), "doubly-stochastic")
    'column 0 sums to 2.0, expected 1'
    """
    if mixing == "push-pull":
        return _push_pull_fault(W, copies)
    axes = {"doubly-stochastic": ("row", "column"), "row-stochastic": ("row",), "column-stochastic": ("column",)}
    for axis in axes[mixing]:
        if (fault := sum_fault(W, axis)) is not None:
            return f"{axis} {fault[0]} sums to {fault[1]}, expected 1"
    return None


def _push_pull_fault(W: MixingMatrix, copies: int) -> str | None:
    if copies != 2:
        return f"push-pull mixing needs 2 copies, found {copies}"
    n = W.nodes // 2
    across = np.flatnonzero((W.target < n) != (W.source < n))
    if across.size:
        k = int(across[0])
        return f"W[{W.target[k]}, {W.source[k]}] mixes the two copies, expected 0"
    for part, axis in ((W.target < n, "row"), (W.target >= n, "column")):
        block = MixingMatrix.from_entries(
            n,
            W.target[part] % n,
            W.source[part] % n,
            W.weight[part],
            numerator=None if W.numerator is None else W.numerator[part],
            denominator=None if W.denominator is None else W.denominator[part],
        )
        if (fault := sum_fault(block, axis)) is not None:
            which = "pull" if axis == "row" else "push"
            return f"{axis} {fault[0]} of the {which} part sums to {fault[1]}, expected 1"
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
    # The absolute value is Python's: NumPy's of the least 64-bit number is that number.
    most = max(abs(int(numerator.min(initial=0))), int(numerator.max(initial=0))) * common * max(1, int(ids.size))
    # Python's integers are slow but never overflow; they are needed when many different degrees meet in one matrix.
    dtype: Any = np.int64 if most < 2**62 else object
    sums = np.zeros(nodes, dtype=dtype)
    np.add.at(sums, ids, numerator.astype(dtype) * (common // denominator.astype(dtype)))
    bad = np.flatnonzero(sums != common)
    return (int(bad[0]), Fraction(int(sums[bad[0]]), common)) if bad.size else None


def symmetry_fault(W: MixingMatrix) -> tuple[int, int, str, str] | None:
    """Find the first pair with W[i, j] != W[j, i]: (i, j, W[i, j], W[j, i]), the values as text."""
    csr = W.to_csr()
    other = csr.T.tocsr()
    if all(np.array_equal(getattr(csr, name), getattr(other, name)) for name in ("indptr", "indices", "data")):
        return None
    difference = sparse.coo_array(abs(csr - other))
    # Equal fractions are equal floats, so exact weights get no tolerance.
    bad = difference.data > (0.0 if W.is_exact else TOLERANCE)
    if not bad.any():
        return None
    rows, columns = (ids[bad] for ids in difference.coords)
    i = int(rows.min())
    j = int(columns[rows == i].min())
    return i, j, _entry(W, i, j), _entry(W, j, i)


def negative_entry(W: MixingMatrix) -> int | None:
    """Find the position of the first negative weight."""
    bad = np.flatnonzero(W.weight < 0)
    return int(bad[0]) if bad.size else None


def _entry(W: MixingMatrix, target: int, source: int) -> str:
    at = np.flatnonzero((W.target == target) & (W.source == source))
    return weight_text(W, int(at[0])) if at.size else "0"


def weight_text(W: MixingMatrix, k: int) -> str:
    """Give the weight of an entry as text, exactly where it is a fraction."""
    if W.numerator is not None and W.denominator is not None:
        return str(Fraction(int(W.numerator[k]), int(W.denominator[k])))
    return repr(float(W.weight[k]))


# What is expected where a property of every round fails.
EXPECTED = {"symmetric": "the same", "doubly_stochastic": "1", "nonnegative": "at least 0"}


def first_fault(rounds: Sequence[MixingMatrix], what: str) -> str | None:
    """Find the first place at which not every round is symmetric, doubly stochastic or nonnegative.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
    what : {"symmetric", "doubly_stochastic", "nonnegative"}

    Examples
    --------
    >>> first_fault([MixingMatrix.from_entries(2, [0, 0, 1], [0, 1, 1], [0.5, 0.5, 1.0])], "symmetric")
    'in round 0 W[0, 1] is 0.5 and W[1, 0] is 0'
    """
    find = {"symmetric": _asymmetry, "doubly_stochastic": _wrong_sum, "nonnegative": _negative}[what]
    found = (f"in round {t} {fault}" for t, W in enumerate(rounds) if (fault := find(W)) is not None)
    return next(found, None)


def _asymmetry(W: MixingMatrix) -> str | None:
    fault = symmetry_fault(W)
    return None if fault is None else "W[{0}, {1}] is {2} and W[{1}, {0}] is {3}".format(*fault)


def _wrong_sum(W: MixingMatrix) -> str | None:
    for axis in ("row", "column"):
        if (fault := sum_fault(W, axis)) is not None:
            return f"{axis} {fault[0]} sums to {fault[1]}"
    return None


def _negative(W: MixingMatrix) -> str | None:
    k = negative_entry(W)
    return None if k is None else f"W[{W.target[k]}, {W.source[k]}] is {weight_text(W, k)}"


def check_connected(rounds: Sequence[MixingMatrix], copies: int = 1) -> None:
    """Refuse rounds in which some node can never hear of another, however often they are repeated.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        The rounds of one period, or any matrices with the edges that can come up.
    copies : int, default 1
        Number of states of a node; it hears what any of them hears.

    Raises
    ------
    ScheduleError
        With two nodes that never hear of each other (or of which one never hears of the other).
    """
    nodes = rounds[0].nodes // copies
    ids = np.int32 if nodes < 2**31 else np.int64  # what the search works with
    target = np.concatenate([(W.target[W.weight != 0] % nodes).astype(ids) for W in rounds])
    source = np.concatenate([(W.source[W.weight != 0] % nodes).astype(ids) for W in rounds])
    sends = sparse.csr_array((np.ones(target.size), (source, target)), shape=(nodes, nodes))
    reached = reached_from(sends, 0)
    heard = reached_from(sparse.csr_array(sends.T), 0)
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
