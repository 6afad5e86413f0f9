"""The search for the edges that are worth the time they take, on a network.

* Down: all edges, then fewer and fewer, always those of least weight out of what is busiest. At each limit on the
  seconds of a round that is met this way, edges that cost nothing more come back where the dual point says that they
  help.
* Around the best of these: an edge out and what helps most in, and the limit one level up or down.

(Starting from a spanning tree instead, and adding edges, was never better on 26 networks of 16 and 32 nodes.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse.csgraph import connected_components

from topokit.adjacency import adjacency_of_edges
from topokit.matrix import FloatArray
from topokit.optimal.certificate import Certificate
from topokit.optimal.certificate import width as width_of
from topokit.optimal.interior_point import interior_point
from topokit.optimal.iterates import UNUSED
from topokit.optimal.problem import WeightProblem
from topokit.optimal.round_loads import BoolArray, RoundLoads, least_slems

__all__ = ["NetworkSearch", "Report"]

Report: TypeAlias = "Callable[[float, float], None] | None"

SEARCHED = 1e-3  # certificate width while searching
FALL = 0.9  # of the limit on a round's seconds, from one level to the next
ROUNDING = 1 + 1e-9
LEVELS = 5  # of a round's seconds above the best that are tried
STARTS = 4  # levels around which edges are exchanged
BOUNDED = 8  # sets of edges whose optimal SLEM is computed for the lower bound


class Support(NamedTuple):
    """Edges with their optimal weights."""

    mask: BoolArray
    weights: FloatArray  # of all edges, 0 outside
    slem: float
    lower: float
    gain: FloatArray  # by the dual point: what each edge outside promises
    round_seconds: float
    seconds: float


class NetworkSearch:
    """Sets of edges, their optimal weights, and the best found so far."""

    def __init__(
        self, problem: WeightProblem, loads: RoundLoads, factor: float, deadline: float, progress: Report
    ) -> None:
        self.problem, self.loads, self.deadline, self.progress = problem, loads, deadline, progress
        self.log_factor = math.log(factor)
        self.best: Support | None = None
        self.known: dict[bytes, Support] = {}
        self.refuted: dict[bytes, float] = {}
        self.solved = 0
        self.begin = time.monotonic()

    def rounds(self, slem: float) -> float:
        """Give the rounds to shrink errors by the factor."""
        if slem >= 1:
            return math.inf
        return 1.0 if slem <= 0 else max(1.0, self.log_factor / -math.log(slem))

    def out_of_time(self) -> bool:
        """Say whether the search has to end."""
        return time.monotonic() > self.deadline

    def run(self) -> None:
        """Go down, and then around the best levels."""
        levels = sorted(self.down(), key=lambda found: found.seconds)
        for found in levels[:STARTS]:
            self.around(found)

    def down(self) -> list[Support]:
        """Take out what is busiest, level by level; give what is found at each."""
        found = self.support(np.ones(len(self.problem.edges), dtype=np.bool_))
        levels, limit = [found], found.round_seconds
        while not self.out_of_time():
            limit = FALL * min(limit, found.round_seconds)
            mask = self.without(found.mask, np.abs(found.weights), limit)
            if mask is None:
                break
            found = self.filled(self.support(mask), limit)
            levels.append(found)
        return levels

    def around(self, found: Support) -> None:
        """Exchange edges, and move the limit by one level, as long as that helps."""
        better: Support | None = found
        while better is not None:
            found, better = better, None
            for limit, mask in self._neighbours(found):
                if self.out_of_time():
                    return
                better = self.try_out(mask, found.seconds)
                if better is not None:
                    better = min(better, self.filled(better, limit), key=lambda support: support.seconds)
                    break

    def _neighbours(self, of: Support) -> Iterator[tuple[float, BoolArray]]:
        size, limit = np.abs(of.weights), of.round_seconds
        for fall in (1 - 1e-6, math.sqrt(FALL)):
            fewer = self.without(of.mask, size, limit * fall)
            if fewer is not None:
                yield self.loads.seconds(fewer), fewer
        outside = np.flatnonzero(~of.mask & (of.gain > 1e-9))
        higher = {round(self.loads.seconds(_changed(of.mask, e)) / limit, 6) for e in outside}
        for ratio in sorted(higher)[:LEVELS]:
            yield limit * ratio, self._with_gains(of.mask, of.gain, limit * ratio)
        for e in np.flatnonzero(of.mask)[np.argsort(size[of.mask], kind="stable")]:
            mask = _changed(of.mask, e)
            gain = np.where(np.arange(mask.size) == e, 0.0, of.gain)
            filled = self._with_gains(mask, gain, limit)
            lower = self.loads.seconds(mask) < limit
            if (lower or not np.array_equal(filled, mask)) and self.connected(filled):
                yield limit, filled

    def filled(self, found: Support, limit: float, rounds: int = 5) -> Support:
        """Add edges that help while there is room, and compute the weights again."""
        for _ in range(rounds):
            mask = self._with_gains(found.mask, found.gain, limit)
            if np.array_equal(mask, found.mask) or self.out_of_time():
                break
            more = self.support(mask)
            if more.slem >= found.slem * (1 - 1e-9):
                break
            found = more
        return found

    def _with_gains(self, mask: BoolArray, gain: FloatArray, limit: float) -> BoolArray:
        mask = mask.copy()
        outside = np.flatnonzero(~mask & (gain > 1e-9) & (self.loads.alone <= limit * ROUNDING))
        for e in outside[np.argsort(-gain[outside], kind="stable")]:
            mask[e] = True
            mask[e] = self.loads.seconds(mask) <= limit * ROUNDING
        return mask

    def without(self, mask: BoolArray, value: FloatArray, limit: float) -> BoolArray | None:
        """Take out edges of least value until a round keeps the limit; None if the graph would come apart."""
        mask = mask.copy()
        stuck = np.zeros_like(mask)
        while self.loads.seconds(mask) > limit * ROUNDING:
            relief = np.where(stuck, 0.0, self.loads.relief(mask, limit * ROUNDING))
            candidates = np.flatnonzero(relief)
            if not candidates.size:
                return None
            e = candidates[np.argmin(value[candidates] / relief[candidates])]
            mask[e] = False
            if not self.connected(mask):
                mask[e] = stuck[e] = True
        return mask

    def connected(self, mask: BoolArray) -> bool:
        """Say whether edges connect all nodes."""
        links = adjacency_of_edges(self.problem.nodes, self.problem.edges[mask])
        return bool(connected_components(links, directed=False)[0] == 1)

    def support(self, mask: BoolArray, width: float = SEARCHED) -> Support:
        """Compute the optimal weights on edges, and what they take."""
        key = mask.tobytes()
        found = before = self.known.get(key)
        if found is None or width < SEARCHED:
            found = self._solved(mask, width, 0.0)
            assert found is not None
            if before is not None:  # where time ran out, the new weights or their bound may be worse
                proved = max(before, found, key=lambda support: support.lower)
                found = min(before, found, key=lambda support: support.seconds)
                found = found._replace(lower=proved.lower, gain=proved.gain)
            self.known[key] = found
        self.offer(found)
        return found

    def offer(self, found: Support) -> None:
        """Keep the best."""
        if self.best is None or found.seconds < self.best.seconds:
            self.best = found
            if self.progress is not None:
                self.progress(found.seconds, time.monotonic() - self.begin)

    def try_out(self, mask: BoolArray, seconds: float) -> Support | None:
        """Compute the optimal weights on edges; give up once the dual point shows that they take longer."""
        key = mask.tobytes()
        found = self.known.get(key)
        if found is None:
            # The SLEM below which they do not.
            wanted = math.exp(-self.log_factor * self.loads.seconds(mask) / seconds)
            if wanted <= self.refuted.get(key, -1.0):
                return None
            found = self._solved(mask, SEARCHED, wanted)
            if found is None:
                self.refuted[key] = wanted
                return None
            self.known[key] = found
        self.offer(found)
        return found if found.seconds < seconds else None

    def _solved(self, mask: BoolArray, width: float, wanted: float) -> Support | None:
        self.solved += 1
        part = replace(self.problem, edges=self.problem.edges[mask])
        for iterate in interior_point(part):
            if 0 < wanted <= iterate.lower:
                return None
            if width_of(iterate.upper, iterate.lower) <= width or self.out_of_time():
                break
        weights = np.zeros(mask.size)
        weights[mask] = iterate.weights
        gain = self._gain(iterate.certificate())
        choices = [self._costed(mask, weights, iterate.upper)]
        used = np.abs(weights) > UNUSED
        if not np.array_equal(used, mask):
            weights = np.where(used, weights, 0.0)
            choices.append(self._costed(used, weights, self.problem.dense_slem(weights)))
        seconds, round_seconds, mask, weights, reached = min(choices, key=lambda choice: choice[0])
        return Support(mask, weights, reached, iterate.lower, gain, round_seconds, seconds)

    def _costed(self, mask: BoolArray, weights: FloatArray, reached: float) -> tuple[Any, ...]:
        round_seconds = self.loads.seconds(mask)
        return round_seconds * self.rounds(reached), round_seconds, mask, weights, reached

    def _gain(self, certificate: Certificate) -> FloatArray:
        u, v = self.problem.edges.T
        left, right = certificate.left, certificate.right
        norm = float((np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=0)).sum()) or 1.0
        worth = ((left[u] - left[v]) * (right[u] - right[v])).sum(axis=1) / norm
        if not self.problem.nonnegative:
            return np.asarray(np.abs(worth), dtype=np.float64)
        return np.asarray(worth - certificate.prices[u] - certificate.prices[v], dtype=np.float64)

    def lower_bound(self) -> float:
        """Bound the seconds of any weights from below.

        Between two limits at which more becomes possible, a round takes at least the lower limit, and its SLEM is at
        least what the edges and degrees possible there allow.
        """
        assert self.best is not None
        limits, slems = least_slems(self.problem, self.loads)
        every = self.known[np.ones(len(self.problem.edges), dtype=np.bool_).tobytes()]
        slems = np.maximum(slems, every.lower)
        usable = np.searchsorted(np.sort(self.loads.alone), limits * ROUNDING, side="right")
        refined = {len(self.problem.edges)}
        for _ in range(BOUNDED):
            rounds = np.array([self.rounds(reached) for reached in slems])
            bounds = np.where(np.isinf(rounds), np.inf, np.maximum(limits, 0) * np.where(np.isinf(rounds), 0, rounds))
            k = int(bounds.argmin())
            if int(usable[k]) in refined or bounds[k] >= self.best.seconds or self.out_of_time():
                break
            # The optimum over all edges that a round of this length can use at all.
            refined.add(int(usable[k]))
            mask = self.loads.alone <= limits[k] * ROUNDING
            least = self._solved(mask, SEARCHED, 0.0) if self.connected(mask) else None
            slems[: k + 1] = np.maximum(slems[: k + 1], 1.0 if least is None else least.lower)
        return min(self.best.seconds, float(bounds.min()) * (1 - 1e-9))


def _changed(mask: BoolArray, e: Any) -> BoolArray:
    mask = mask.copy()
    mask[e] ^= True
    return mask
