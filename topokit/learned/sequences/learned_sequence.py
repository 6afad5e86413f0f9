"""What a search over short periodic sequences of rounds has found, and what no sequence can beat."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from topokit.averaging import prove_exact_averaging
from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.network.cost import round_seconds
from topokit.network.model import Network
from topokit.network.prediction import consensus_seconds
from topokit.optimal.period import period_norm
from topokit.schedule import Schedule

__all__ = ["LearnedSequence", "Stopped", "least_contraction", "least_rounds", "sequence_seconds"]

Stopped = Literal["end", "time", "interrupt", "bound"]

ROUNDED = 1e-12  # norms that are rounding of 0

STOPPED = {
    "end": "",
    "bound": "; no sequence is shorter",
    "time": "; the search was stopped when time was up",
    "interrupt": "; the search was interrupted",
}


@dataclass(frozen=True)
class LearnedSequence:
    """A period of rounds that was searched for.

    Attributes
    ----------
    rounds : tuple of MixingMatrix
        Round 0 first; exact fractions where the period is proved to average exactly.
    contraction : float
        ||W_(p-1) ... W_0 - J||_2 of the period p, 0 where exact.
    exact : bool
        Whether the period averages exactly, proved in rational arithmetic.
    bound : int
        No sequence with as many peers averages exactly in fewer rounds; see `least_rounds`.
    method : str
        Where it comes from: "search", "product of 2 x 5", or the name of a topology that was not beaten.
    seconds : float or None
        To shrink errors 1000-fold on the network that was given.
    evaluations : int
        Periods whose product was computed.
    stopped : {"end", "time", "interrupt", "bound"}
    """

    rounds: tuple[MixingMatrix, ...]
    contraction: float
    exact: bool
    bound: int
    method: str = "search"
    seconds: float | None = None
    evaluations: int = 0
    stopped: Stopped = "end"
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, rounds: tuple[MixingMatrix, ...], bound: int, method: str = "search", **more: Any) -> LearnedSequence:
        """Measure rounds: exact only where that is proved.

        Examples
        --------
        >>> from topokit.topologies import one_peer_hypercube
        >>> LearnedSequence.of(one_peer_hypercube(8), 3).sentence()
        '3 rounds, exact (at least 3 are needed)'
        """
        exact = prove_exact_averaging(rounds).status == "proved"
        return cls(rounds, 0.0 if exact else period_norm(rounds), exact, bound, method, **more)

    @property
    def period(self) -> int:
        """Number of rounds."""
        return len(self.rounds)

    @property
    def per_round(self) -> float:
        """Mean factor of a round, contraction^(1/period)."""
        return float(self.contraction ** (1 / self.period))

    @cached_property
    def amplification(self) -> float:
        """Largest ||W||_2 of a single round: above 1 where weights are negative, and errors may grow for a while."""
        return max(float(np.linalg.norm(W.to_dense(), 2)) for W in self.rounds)

    def provenance(self) -> dict[str, Any]:
        """Give what a schedule file says about it."""
        return {
            "method": self.method,
            "period": self.period,
            "contraction": self.contraction,
            "exact": self.exact,
            "bound": self.bound,
            "seconds": self.seconds,
            "amplification": self.amplification,
            "evaluations": self.evaluations,
            "stopped": self.stopped,
            "summary": self.sentence(),
            **self.details,
        }

    def sentence(self) -> str:
        """Say it in one sentence."""
        count = f"{self.period} round{'s' * (self.period > 1)}"
        if self.exact or self.contraction < ROUNDED:
            how = "exact" if self.exact else "exact up to rounding"
            found = f"{count}, {how}" + f" (at least {self.bound} are needed)" * (self.bound > 1)
        else:
            found = f"{count} shrink errors to {self.contraction:.6g}, {self.per_round:.6g} a round"
        if self.seconds is not None:
            found += f", {self.seconds:.4g} s to shrink errors 1000-fold"
        if self.amplification > 1 + 1e-9:
            found += f"; a single round can enlarge errors {self.amplification:.3g}-fold"
        return found + STOPPED[self.stopped]


def least_rounds(nodes: int, degree: int, *, directed: bool = False) -> int:
    """Bound the rounds of exact averaging with so many exchanges a node and round from below.

    A round multiplies the values that a node has heard of by k + 1 at most, so that ceil(log_(k+1) n) are needed. In
    pairs of an odd number of nodes somebody pauses in every round, and it takes one more [1]_; not so where nodes may
    hear one and tell another.

    Raises
    ------
    InputError
        If a number is less than 1.

    References
    ----------
    .. [1] W. Knödel, "New gossips and telephones", Discrete Mathematics 13, 1975.

    Examples
    --------
    >>> [least_rounds(n, 1) for n in (4, 5, 6, 7)], least_rounds(10, 2)
    ([2, 4, 3, 4], 3)
    """
    if nodes < 1 or degree < 1:
        raise InputError(f"expected at least one node and a degree of at least 1, got {nodes} and {degree}")
    rounds, reached = 0, 1
    while reached < nodes:
        reached *= degree + 1
        rounds += 1
    return rounds + (degree == 1 and not directed and nodes % 2 == 1 and nodes > 1)


def least_contraction(nodes: int, degree: int, period: int) -> float:
    """Bound ||W_(p-1) ... W_0 - J||_2 from below: a row of sum 1 with m entries is sqrt(1/m - 1/n) off J at least.

    Examples
    --------
    >>> round(least_contraction(10, 1, 3), 6), least_contraction(10, 1, 4)
    (0.158114, 0.0)
    """
    return math.sqrt(max(0.0, 1 / min(nodes, (degree + 1) ** period) - 1 / nodes))


def sequence_seconds(rounds: tuple[MixingMatrix, ...], network: Network, message_bytes: str | float) -> float:
    """Predict the seconds in which the rounds shrink every error 1000-fold; infinite if they never do.

    As `consensus_seconds`, but not less than the rounds that it takes last one after the other: where rounds differ,
    the mean round can be shorter than those that are needed.

    Examples
    --------
    >>> from topokit.topologies import one_peer_hypercube
    >>> sequence_seconds(one_peer_hypercube(4), Network.uniform(4, 100.0), 50.0)
    1.0
    """
    found = consensus_seconds(Schedule.cyclic(rounds), network, message_bytes)
    if found.worst_rounds is None or found.worst_seconds is None:
        return math.inf
    each = [round_seconds(W, network, message_bytes).seconds for W in rounds]
    periods, rest = divmod(found.worst_rounds, len(rounds))
    return max(found.worst_seconds, periods * sum(each) + sum(each[:rest]))
