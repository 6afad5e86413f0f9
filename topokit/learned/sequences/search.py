"""The order of the search for sequences: which numbers of rounds are tried, and what is known without searching."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from topokit.errors import ConvergenceError, GraphError
from topokit.learned.sequences.anneal import Anneal, Candidate, Objective, SequenceProblem
from topokit.learned.sequences.directed_search import directed_rounds, directed_search
from topokit.learned.sequences.euclid import euclid_sequence
from topokit.learned.sequences.exact_weights import exact_weights, rounds_of
from topokit.learned.sequences.learned_sequence import LearnedSequence, Stopped, least_rounds
from topokit.matrix import IntArray, MixingMatrix
from topokit.optimal.period import period_norm, period_weights
from topokit.optimal.progress import News, Tell
from topokit.topologies import base_graph

__all__ = ["STEPS", "SequenceSearch", "side_by_side"]

Attempt = Literal["found", "end", "time"]

STEPS = 1000  # moves of a chain
MOST_WEIGHTS = 160  # of a period that is annealed; beyond, there are products of sequences
LONGER = 3  # rounds beyond the bound that are tried where no exact sequence is known


class SequenceSearch:
    """The best sequence so far, and how it is bettered; `learn_sequence` says what the parameters are."""

    def __init__(
        self,
        nodes: int,
        degree: int,
        allowed: NDArray[np.bool_],
        free: bool,
        nonnegative: bool,
        seed: int,
        steps: int,
        deadline: float,
        tell: Tell | None = None,
        on_better: Callable[[LearnedSequence], None] | None = None,
        directed: bool = False,
    ) -> None:
        self.nodes, self.degree, self.allowed = nodes, min(degree, nodes - 1), allowed
        self.free, self.nonnegative, self.seed, self.steps = free, nonnegative, seed, steps
        self.deadline, self.tell, self.on_better = deadline, tell, on_better
        self.directed = directed
        self.begin = time.monotonic()
        self.bound = least_rounds(nodes, self.degree, directed=directed)
        self.everybody = bool(allowed.sum() == nodes * (nodes - 1))
        self.best: LearnedSequence | None = None
        self.evaluations = 0
        self._said = -math.inf

    def shortest(self) -> Stopped:
        """Search for the fewest rounds that average exactly, else for those that shrink errors most."""
        if self.free and self.everybody:
            for name, rounds in self._known():
                self._offer(LearnedSequence.of(rounds, self.bound, name))
            self._products()
            return self._fewer()
        for period in range(self.bound, self.bound + LONGER + 1):
            stopped = self.of_period(period)
            assert self.best is not None
            if stopped == "time" or self._solved(self.best):
                return "bound" if self._solved(self.best) and self.best.period == self.bound else stopped
        return "end"

    def _known(self) -> list[tuple[str, tuple[MixingMatrix, ...]]]:
        """Give the sequences that there are for every n, with their names."""
        base = (f"base-{self.degree + 1}", base_graph(self.nodes, peers=self.degree))
        return [base, ("euclid", euclid_sequence(self.nodes))] if self.degree == 1 else [base]

    def _fewer(self) -> Stopped:
        """Take rounds off a sequence that averages exactly, as long as one more can be spared."""
        assert self.best is not None
        while self.best.period > self.bound:
            stopped = self._exact(self.best.period - 1)
            if stopped != "found":
                return stopped
        return "bound"

    def _products(self) -> None:
        """Put what is learned for factors of n together, one after the other, where that can be so short."""
        for a in range(math.isqrt(self.nodes), 1, -1):
            assert self.best is not None
            b, rest = divmod(self.nodes, a)
            least = least_rounds(a, self.degree) + least_rounds(b, self.degree)
            if rest or least >= self.best.period:
                continue
            parts = []
            for size in (a, b):
                everybody = ~np.eye(size, dtype=np.bool_)
                part = SequenceSearch(
                    size, self.degree, everybody, True, self.nonnegative, self.seed, self.steps, self.deadline
                )
                part.shortest()
                assert part.best is not None
                self.evaluations += part.evaluations
                parts.append(part.best)
            rounds = side_by_side(parts[0].rounds, parts[1].rounds)
            self._offer(LearnedSequence.of(rounds, self.bound, f"product of {a} x {b}"))

    def of_period(self, period: int) -> Stopped:
        """Search among sequences of so many rounds: for one that is exact, then for one that shrinks errors most."""
        for name, rounds in self._known() if self.free and self.everybody else []:
            if len(rounds) <= period:  # exact; what follows keeps it so
                self._offer(LearnedSequence.of((rounds * period)[:period], self.bound, name))
                return "bound" if period == self.bound else "end"
        if self.free and period >= self.bound:
            stopped = self._exact(period)
            if stopped == "found":
                assert self.best is not None
                return "bound" if period == self.bound else "end"
            if stopped == "time" and self.best is not None:
                return stopped
        if self.directed:
            return self._directed(period)
        anneal = self._anneal(period, "norm")
        try:
            result = anneal.run(self.deadline, lambda _: False, self._told)
        except KeyboardInterrupt:
            self._offer(LearnedSequence.of(self._rounds(anneal.best), self.bound))
            raise
        finally:
            self.evaluations += anneal.evaluations
        rounds = self._rounds(anneal.best)
        self._offer(LearnedSequence.of(self._optimal(rounds) if self.free else rounds, self.bound))
        assert self.best is not None
        if self._solved(self.best):
            return "bound" if period == self.bound else "end"
        return "time" if result == "time" else "end"

    def _directed(self, period: int) -> Stopped:
        """Search among directed rounds, and give cycles of messages weights of their own where that helps."""
        rng = np.random.default_rng([self.seed, self.nodes, self.degree, period, 2])
        latest: list[IntArray] = []

        def told(norm: float, heard: IntArray) -> None:
            latest[:] = [heard]
            self._hint(f"{period} directed rounds shrink errors to {norm:.4g}")

        try:
            heard, count = directed_search(
                self.nodes, self.degree, period, self.allowed, rng, self.steps, self.deadline, told
            )
        except KeyboardInterrupt:
            for heard in latest:
                self._offer(LearnedSequence.of(directed_rounds(heard), self.bound))
            raise
        self.evaluations += count
        rounds = directed_rounds(heard)
        self._offer(LearnedSequence.of(rounds, self.bound))
        if self.free and self.degree == 1:
            self._offer(LearnedSequence.of(self._optimal(rounds), self.bound))
        return "time" if time.monotonic() > self.deadline else "end"

    def _exact(self, period: int) -> Attempt:
        """Anneal for so many rounds that average exactly; without a proof they are a last resort."""
        if period * (self.nodes * self.degree // 2) > MOST_WEIGHTS:
            return "end"
        rounded: list[LearnedSequence] = []
        anneal = self._anneal(period, "exact")

        def seen(candidate: Candidate) -> bool:
            found = self._solution(candidate)
            if found is None:
                return False
            if found.exact:
                self._offer(found)
                return True
            rounded.append(found)
            return False

        try:
            stopped = anneal.run(self.deadline, seen, self._told)
        finally:
            self.evaluations += anneal.evaluations
            if rounded:
                self._offer(rounded[0])
        return "found" if rounded else stopped

    def _solution(self, candidate: Candidate) -> LearnedSequence | None:
        """Solve for exact averaging near a candidate."""
        edges = candidate.edges.tolist()
        masses = np.ones(self.nodes)
        found, fractions = exact_weights(
            candidate.edges,
            candidate.lanes,
            candidate.weights,
            masses,
            nonnegative=self.nonnegative,
            deadline=self.deadline,
        )
        if fractions is not None:
            proved = LearnedSequence.of(rounds_of(self.nodes, edges, fractions), self.bound)
            if proved.exact:
                return proved
        rounded = LearnedSequence.of(rounds_of(self.nodes, edges, found.tolist()), self.bound)
        return rounded if self._solved(rounded) else None

    def _rounds(self, candidate: Candidate) -> tuple[MixingMatrix, ...]:
        values: list[list[Fraction | float]] = [list(row) for row in (candidate.weights * candidate.lanes).tolist()]
        if not self.free:
            fixed = Fraction(1, self.degree + 1)
            values = [[fixed * int(lane) for lane in row] for row in candidate.lanes]
        return rounds_of(self.nodes, candidate.edges.tolist(), values)

    def _optimal(self, rounds: tuple[MixingMatrix, ...]) -> tuple[MixingMatrix, ...]:
        """Give rounds the weights of the least spectral norm nearby, unless that fails or there is no time."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            return rounds
        try:
            limit = None if math.isinf(left) else left
            found = period_weights(rounds, nonnegative=self.nonnegative, time_limit=limit)
        except (ConvergenceError, GraphError):  # too few rounds to connect the nodes, too
            return rounds
        better = found.rounds if found.norm < period_norm(rounds) else rounds
        if found.stopped == "interrupt":
            self._offer(LearnedSequence.of(better, self.bound))
            raise KeyboardInterrupt
        return better

    def _anneal(self, period: int, objective: Objective) -> Anneal:
        nodes, fixed = self.nodes, None if self.free else 1 / (self.degree + 1)
        problem = SequenceProblem(
            np.ones(nodes), np.full(nodes, self.degree), self.allowed, objective, fixed, self.nonnegative
        )
        rng = np.random.default_rng([self.seed, nodes, self.degree, period])
        return Anneal(problem, period, rng, self.steps)

    def _offer(self, found: LearnedSequence) -> None:
        """Keep what is better: an exact sequence by its length, others by their contraction."""
        if self.best is None or self._rank(found) < self._rank(self.best):
            self.best = found
            self._say(found.sentence())
            if self.on_better is not None:
                self.on_better(found)

    def _rank(self, found: LearnedSequence) -> tuple[int, float, int]:
        if self._solved(found):
            return 0, found.period, int(not found.exact)
        return 1, found.per_round, found.period

    def _solved(self, found: LearnedSequence) -> bool:
        return found.exact or found.contraction < 1e-12

    def _told(self, candidate: Candidate) -> None:
        self._hint(f"{len(candidate.edges)} rounds, product off the mean by {math.sqrt(candidate.squares):.3g}")

    def _hint(self, text: str) -> None:
        if time.monotonic() - self._said > 1:
            self._say(text)

    def _say(self, text: str) -> None:
        if self.tell is not None:
            self._said = time.monotonic()
            self.tell(News(self._said - self.begin, text))


def side_by_side(outer: tuple[MixingMatrix, ...], inner: tuple[MixingMatrix, ...]) -> tuple[MixingMatrix, ...]:
    """Let groups of consecutive nodes run the inner rounds, then nodes of equal number in their groups the outer ones.

    Exact if both are.

    Examples
    --------
    >>> from topokit.topologies import one_peer_hypercube
    >>> pair = one_peer_hypercube(2)
    >>> period_norm(side_by_side(pair, pair))
    0.0
    """

    def iterate() -> Iterator[MixingMatrix]:
        a, b = outer[0].nodes, inner[0].nodes
        for W in inner:
            yield _copied(W, np.arange(a)[:, None] * b, 1, a * b)
        for W in outer:
            yield _copied(W, np.arange(b)[:, None], b, a * b)

    return tuple(iterate())


def _copied(W: MixingMatrix, starts: NDArray[np.int64], stride: int, nodes: int) -> MixingMatrix:
    """Repeat a round: copy c acts on the nodes starts[c] + stride * i."""
    copies = len(starts)
    exact = W.numerator is not None and W.denominator is not None
    return MixingMatrix.from_entries(
        nodes,
        starts + stride * W.target,
        starts + stride * W.source,
        np.tile(W.weight, copies),
        numerator=np.tile(W.numerator, copies) if exact and W.numerator is not None else None,
        denominator=np.tile(W.denominator, copies) if exact and W.denominator is not None else None,
    )
