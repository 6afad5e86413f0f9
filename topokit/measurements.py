"""The measurements that a report is made of: each may be too expensive, or fail to converge, and then leaves a note."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import numpy as np
from scipy import sparse

from topokit.averaging import AveragingProof, prove_exact_averaging, simulated_rounds, worst_case_rounds
from topokit.circulant import circulant_row
from topokit.errors import ConvergenceError, ScheduleError
from topokit.faults import EXPECTED, check_connected, first_fault
from topokit.kinds import Cyclic
from topokit.matrix import MixingMatrix
from topokit.perron import perron_vector
from topokit.proofs.contraction import run_contraction
from topokit.proofs.windows import Windows, exact_after, worst_window
from topokit.schedule.claims import averages
from topokit.spectral import Spectrum, fiedler_value, spectrum

__all__ = ["FACTOR", "Attempts", "Measurements"]

FACTOR = 1000  # by which consensus errors are to shrink

# Beyond these, what has no shortcut would take minutes.
MAX_PROOF_WORK = 2e10  # multiplications
MAX_NODES_SEARCH = 1000
MAX_SIMULATED_WORK = 5e9  # multiplications
SIMULATED_DIM = 64

ValueT = TypeVar("ValueT")


class Attempts:
    """Measure what may fail to converge, and then leave a note.

    Attributes
    ----------
    notes : list of str
        What was left out so far, and why.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __call__(self, what: str, measure: Callable[[], ValueT]) -> ValueT | None:
        """Measure, or note that `what` is not known."""
        try:
            return measure()
        except ConvergenceError as error:
            self.notes.append(f"{what} is not known: {error}")
            return None


class Measurements:
    """Measure one period.

    Rates describe x <- W x with doubly stochastic W, or the first of two copies; for other rounds they are None.

    Parameters
    ----------
    rule : Cyclic
        One period, round 0 first.

    Attributes
    ----------
    faults : dict of str to str
        First place at which the rounds are not ``symmetric``, ``doubly_stochastic``, ``nonnegative`` or ``connected``.
    attempt : Attempts
    notes : list of str
        What was left out so far, and why.
    """

    def __init__(self, rule: Cyclic) -> None:
        self.rounds, self.copies, self.nodes, self.mixing = rule.rounds, rule.copies, rule.nodes, rule.mixing
        self.attempt = Attempts()
        self.notes = self.attempt.notes
        self.faults = dict(_faults(rule))
        self.plain = self.copies == 1 and "doubly_stochastic" not in self.faults
        self.averages = self.plain or (self.copies == 2 and averages(rule))
        if not self.averages and self.mixing != "push-pull":
            self.notes.append("some row or column does not sum to 1: rates of plain averaging do not apply")

    def spectrum(self, W: MixingMatrix) -> Spectrum | None:
        """Measure one round."""
        return self.attempt("the spectrum of a round", lambda: spectrum(W)) if self.plain else None

    def proof(self) -> AveragingProof | None:
        """Decide whether a period averages exactly."""
        if not self.averages:
            return None
        prove = partial(prove_exact_averaging, self.rounds, copies=self.copies, max_work=MAX_PROOF_WORK)
        return self.attempt("exact averaging", prove)

    def exact_after(self, proof: AveragingProof | None) -> int | None:
        """Find after how many rounds the average is exact, where that is proved."""
        if proof is None:
            return None
        if proof.status == "numerical":
            return None
        search = partial(exact_after, self.rounds, copies=self.copies, max_work=MAX_PROOF_WORK)
        return self.attempt("exactness before or after a period", search)

    def windows(self, proof: AveragingProof | None) -> Windows | None:
        """Find out what a period's worth of rounds does from any start."""
        if proof is None or len(self.rounds) == 1:
            return None
        return self.attempt("the worst start", partial(worst_window, self.rounds, copies=self.copies))

    def perron(self) -> tuple[float, float] | None:
        """Give the range of the weights that push-sum divides by in the end."""
        if self.mixing != "column-stochastic" or len(self.rounds) > 1 or "nonnegative" in self.faults:
            return None
        W = self.rounds[0]
        if not (W.weight[W.target == W.source] > 0).any():
            self.notes.append("no node keeps a part of its value, so that the weights of push-sum may never settle")
            return None
        weights = self.attempt("the Perron vector", lambda: perron_vector(self.rounds[0]))
        return None if weights is None else (float(self.nodes * weights.min()), float(self.nodes * weights.max()))

    def contractions(self, proof: AveragingProof | None) -> tuple[float | None, float | None]:
        """Give the contraction of the period and per round."""
        if not self.averages:
            return None, None
        contraction = None if proof is None else proof.contraction
        if contraction is None and self.plain:
            contraction = run_contraction(self.rounds)
            if contraction is None:
                self.notes.append("the contraction of the period is not known: its norm takes too long")
        if contraction is None:
            return None, None
        if proof is not None and proof.status == "proved":
            return contraction, 0.0
        if proof is not None and proof.status == "numerical" and len(self.rounds) > 1:
            return contraction, None  # the root of rounding noise means nothing
        return contraction, contraction ** (1 / len(self.rounds))

    def worst_case(self) -> int | None:
        """Count the rounds that shrink every error."""
        if not self.averages:
            return None
        if self.copies > 1 and self.nodes > MAX_NODES_SEARCH:
            self.notes.append(
                f"the worst case of schedules with two copies is not computed above {MAX_NODES_SEARCH} nodes"
            )
            return None
        count = partial(worst_case_rounds, self.rounds, FACTOR, copies=self.copies)
        worst = self.attempt("the worst case", count)
        if worst is None:
            self.notes.append(f"no number of rounds that was tried shrinks every error {FACTOR} times")
        return worst

    def simulated(self, worst: int | None, proof: AveragingProof | None, seed: int) -> int | None:
        """Count the rounds that shrink a random start, where `worst` does not say that there are too many."""
        if not self.averages:
            return None
        # Without a shortcut by modes every round is computed; the worst case bounds how many there are.
        if proof is not None and proof.status != "false":
            worst = min(worst or len(self.rounds), len(self.rounds))
        one_symmetric = len(self.rounds) == 1 and "symmetric" not in self.faults
        shortcut = self._circulant() or (one_symmetric and self.nodes <= 1000)
        entries = sum(W.nonzeros for W in self.rounds) / len(self.rounds)
        if not shortcut and min(worst or 20_000, 20_000) * entries * SIMULATED_DIM > MAX_SIMULATED_WORK:
            self.notes.append("consensus is not simulated: it would take too many rounds at this size")
            return None
        rule = Cyclic(self.rounds, copies=self.copies, mixing=self.mixing)
        return simulated_rounds(rule, FACTOR, dim=SIMULATED_DIM, seed=seed)

    def fiedler(self) -> float | None:
        """Measure the union of the communication graphs."""
        if self.nodes < 2:
            return None
        support = self._support()
        return self.attempt("the Fiedler value", lambda: fiedler_value(sparse.csr_array(support + support.T)))

    def _support(self) -> sparse.csr_array:
        n = self.nodes
        target = np.concatenate([W.target[W.weight != 0] for W in self.rounds]) % n
        source = np.concatenate([W.source[W.weight != 0] for W in self.rounds]) % n
        return sparse.csr_array((np.ones(target.size), (target, source)), shape=(n, n))

    def _circulant(self) -> bool:
        return all(circulant_row(W) is not None for W in self.rounds)


def _faults(rule: Cyclic) -> Iterator[tuple[str, str]]:
    """Give the first place at which each property fails, for those that do."""
    for what in EXPECTED:
        if (fault := first_fault(rule.rounds, what)) is not None:
            yield what, fault
    try:
        check_connected(rule.rounds, rule.copies)
    except ScheduleError as error:
        yield "connected", str(error)
