"""Exact averaging: does one period of rounds turn every start into the mean? Proved, seen numerically, or refuted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Literal

import numpy as np

from topokit.circulant import circulant_error, circulant_row
from topokit.consensus import consensus_distance, simulate_consensus, simulated_rounds, worst_case_rounds
from topokit.errors import ConvergenceError, InputError
from topokit.matrix import MixingMatrix
from topokit.proofs.arrival import TOLERANCE, arrival
from topokit.proofs.contraction import run_contraction
from topokit.proofs.exact import exact_entry, exact_rounds, first_difference, first_float_difference, float_entry
from topokit.proofs.shifts import shift_period
from topokit.proofs.symbols import BoolArray, removed_modes, row_sum
from topokit.proofs.windows import Windows, exact_after, require_copies, worst_window
from topokit.words import factor

__all__ = [
    "AveragingProof",
    "Windows",
    "Witness",
    "consensus_distance",
    "exact_after",
    "one_peer_exponential_contraction",
    "prove_exact_averaging",
    "simulate_consensus",
    "simulated_rounds",
    "worst_case_rounds",
    "worst_window",
]

READABLE = 40  # characters of a fraction that a sentence can hold
PROBED_COLUMNS = 32


@dataclass(frozen=True)
class Witness:
    """A pair of nodes that shows that a period does not average exactly.

    Attributes
    ----------
    target, source : int
        The nodes of the entry of the product that is wrong.
    value : Fraction or float
        The weight of the source's first value in the target's last one; a Fraction where weights are exact (and not
        of so many different denominators that computing it exceeds a limit of work).
    expected : Fraction
        1/n, or 0 where the value comes from a second copy.
    copy : int
        The copy of the source whose value it is: 0, or 1 where nodes keep two.
    """

    target: int
    source: int
    value: Fraction | float
    expected: Fraction
    copy: int = 0


@dataclass(frozen=True)
class AveragingProof:
    """What is known about W^(tau-1) ... W^(0) = J; with two copies, about its first block row being [J, 0].

    Attributes
    ----------
    status : {"proved", "numerical", "false"}
        Proved in exact arithmetic; true up to rounding where weights are floating-point numbers; or false.
    nodes, period : int
        Number of nodes, and of rounds in the period.
    witness : Witness or None
        Where the status is false: a wrong entry, always the same one. It is that with the smallest source and for it
        the smallest target, values of copy 0 before those of copy 1, as far as random probes see it: in contrived
        cases a later one. Where weights are irrational or floating-point numbers it is one that is visibly wrong.
    contraction : float or None
        ||W^(tau-1) ... W^(0) - J||_2, exactly 0 where proved; see `run_contraction`. None if it takes too long.
    closed_form : float or None
        The same from the closed form r(n), where the rounds are those of the one-peer exponential.
    """

    status: Literal["proved", "numerical", "false"]
    nodes: int
    period: int
    witness: Witness | None
    contraction: float | None
    closed_form: float | None = None

    def sentence(self) -> str:
        """Say it in one sentence.

        Examples
        --------
        >>> from topokit.topologies import one_peer_exponential
        >>> prove_exact_averaging(one_peer_exponential(16)).sentence()
        'exact after 4 rounds, proved'
        """
        after = f"after {self.period} round{'s' if self.period > 1 else ''}"
        if self.status == "proved":
            return f"exact {after}, proved"
        if self.status == "numerical":
            return f"exact {after} up to rounding (numerical: the weights are not fractions, so there is no proof)"
        assert self.witness is not None
        w = self.witness
        close = abs(float(w.value) - float(w.expected)) < 1e-5 * float(w.expected)
        value = str(w.value)
        if not isinstance(w.value, Fraction) or len(value) > READABLE:
            value = repr(float(w.value)) if close else f"{float(w.value):.6g}"
        which = "value" if w.copy == 0 else "second value"
        text = f"not exact {after}: node {w.target} holds {value} of node {w.source}'s {which} instead of {w.expected}"
        return text if self.contraction is None else f"{text}; {contraction_words(self.contraction)}"


def contraction_words(contraction: float) -> str:
    """Say what a period does to errors at worst; a growing error must not read like a success.

    Examples
    --------
    >>> contraction_words(0.5), contraction_words(2.0)
    ('the period contracts errors to 0.5', 'the period can multiply errors by 2, so the values diverge')
    """
    if contraction > 1 + 1e-9:
        return f"the period can multiply errors by {contraction:.4g}, so the values diverge"
    return f"the period contracts errors to {factor(contraction)}"


def prove_exact_averaging(
    rounds: Sequence[MixingMatrix], *, copies: int = 1, max_work: float | None = None
) -> AveragingProof:
    """Decide whether one period averages exactly, in exact arithmetic wherever the weights are known exactly.

    Parameters
    ----------
    rounds : sequence of MixingMatrix
        One period of copies * n rows a round; round 0 acts first. Nothing else is assumed of them.
    copies : {1, 2}, default 1
        Number of values that each node keeps: row c * n + i is copy c of node i. With two copies a period is exact if
        the first copies end as the mean of the first copies, whatever the second ones were.
    max_work : float, optional
        Give up rather than do more than about so many multiplications (1e9 take seconds). A period that is not exact
        is nearly always refuted within the time of a few simulated ones; without its contraction, if that takes more.

    Returns
    -------
    AveragingProof
        With a witness if the answer is no.

    Raises
    ------
    InputError
        If there are no rounds, rounds of different sizes, or a number of rows that does not fit the copies.
    ConvergenceError
        If a proof would take more than `max_work`.

    Notes
    -----
    Weights are exact where the matrices carry fractions, where floats are multiples of 2^-20, and where all rounds are
    circulant and the others are null filters. Products of fractions are compared with J modulo numbers that together
    exceed the numerators (`topokit.proofs.exact_product`); if all rounds are invariant under a shift by s nodes, s
    columns decide. Circulant rounds with null filters are decided by the zeros of their symbols
    (`topokit.proofs.symbols`). Only where weights are floating-point numbers is there a tolerance, and then the status
    is not "proved".

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> proof = prove_exact_averaging(one_peer_exponential(12))
    >>> proof.status, round(proof.contraction, 4), round(proof.closed_form, 4)
    ('false', 0.2091, 0.2091)
    >>> proof.witness
    Witness(target=0, source=0, value=Fraction(1, 8), expected=Fraction(1, 12), copy=0)
    """
    nodes = require_copies(rounds, copies)
    witness: Witness | None = None
    exact = exact_rounds(rounds)
    modes = _removed_by_filters(rounds) if exact is None and copies == 1 else None
    if exact is not None:
        columns = shift_period(exact, copies)
        pair = first_difference(exact, columns, copies=copies, max_work=max_work)
        proved = pair is None
        if pair is not None:
            witness = _witness(nodes, pair, _value(exact, pair, max_work))
    elif modes is not None:
        proved = bool(modes[1:].all()) and prod(map(row_sum, rounds)) == 1
        witness = None if proved else _circulant_witness(rounds)
    else:
        proved = False
        columns = shift_period(rounds, copies)
        found = first_float_difference(rounds, columns, TOLERANCE / nodes, copies=copies)
        if found is None and not _arrives(rounds, copies):
            found = first_float_difference(rounds, columns, 0.0, copies=copies)
        witness = None if found is None else _witness(nodes, *found)
    closed_form = _closed_form(rounds)
    if proved:
        return AveragingProof("proved", nodes, len(rounds), None, 0.0, closed_form)
    return AveragingProof(
        "numerical" if witness is None else "false",
        nodes,
        len(rounds),
        witness,
        run_contraction(rounds, copies=copies, max_work=max_work),
        closed_form,
    )


def _arrives(rounds: Sequence[MixingMatrix], copies: int) -> bool:
    """Say whether floating-point rounds reach the mean at one stroke, seen in some columns of the product."""
    nodes = rounds[0].nodes // copies

    def errors() -> Iterator[float]:
        state = np.eye(nodes * copies, min(nodes, PROBED_COLUMNS))
        for matrix in rounds:
            state = matrix.to_csr() @ state
            yield float(np.abs(state[:nodes] - 1 / nodes).max()) * nodes

    return arrival(errors()) is not None


def _value(rounds: Sequence[MixingMatrix], pair: tuple[int, int], max_work: float | None) -> Fraction | float:
    try:
        return exact_entry(rounds, *pair, max_work=max_work)
    except ConvergenceError:
        return float_entry(rounds, *pair)


def _witness(nodes: int, pair: tuple[int, int], value: Fraction | float) -> Witness:
    target, column = pair
    copy, source = divmod(column, nodes)
    return Witness(target, source, value, Fraction(1, nodes) if copy == 0 else Fraction(0), copy)


def _removed_by_filters(rounds: Sequence[MixingMatrix]) -> BoolArray | None:
    """Say which Fourier modes a period removes, where some rounds are null filters and the others rational."""
    removed = np.zeros(rounds[0].nodes, dtype=bool)
    for matrix in rounds:
        modes = removed_modes(matrix)
        if modes is None:
            return None
        removed |= modes
    return removed


def _circulant_witness(rounds: Sequence[MixingMatrix]) -> Witness:
    """Give the first entry of column 0 that is visibly wrong, or that which is most wrong."""
    error = circulant_error(rounds)
    visible = np.abs(error) > TOLERANCE / error.size
    target = int(visible.argmax() if visible.any() else np.abs(error).argmax())
    return _witness(error.size, (target, 0), 1 / error.size + float(error[target]))


def one_peer_exponential_contraction(nodes: int) -> float:
    """Contraction of one period of the one-peer exponential, in closed form.

    r(n) = max over 0 < i < n of |sin(pi i 2^tau / n) / (2^tau sin(pi i / n))|, tau = ceil(log2 n): the norm of the
    product of the rounds minus J. It is 0 if and only if n is a power of two.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.

    Raises
    ------
    InputError
        If there are fewer than 2 nodes.

    Examples
    --------
    >>> round(one_peer_exponential_contraction(12), 4), one_peer_exponential_contraction(16)
    (0.2091, 0.0)
    """
    if nodes < 2:
        raise InputError(f"the one-peer exponential needs at least 2 nodes, got {nodes}")
    power = 1 << (nodes - 1).bit_length()
    if power == nodes:
        return 0.0
    i = np.arange(1, nodes)
    # Reducing the angle in integers keeps the sine accurate where i 2^tau is many turns.
    turned = i * (power % nodes) % nodes
    return float(np.max(np.abs(np.sin(np.pi * turned / nodes) / (power * np.sin(np.pi * i / nodes)))))


def _closed_form(rounds: Sequence[MixingMatrix]) -> float | None:
    """Give r(n) if the rounds are I/2 + P^(2^t)/2, or their transposes, each once and in any order."""
    nodes = rounds[0].nodes
    offsets = []
    for matrix in rounds:
        row = circulant_row(matrix)
        if row is None or row[0].size != 2 or row[0][0] != 0 or (matrix.weight != 0.5).any():
            return None
        offsets.append(int(row[0][1]))
    powers = [1 << t for t in range((nodes - 1).bit_length())]
    known = sorted(offsets) in (powers, sorted(nodes - p for p in powers))
    return one_peer_exponential_contraction(nodes) if known else None
