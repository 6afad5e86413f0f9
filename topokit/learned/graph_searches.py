"""The searches for a graph: the first of structured graphs, all others local and from random graphs."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from topokit.errors import GraphError, InputError
from topokit.learned.limits import Limits
from topokit.learned.local_search import NARROW, Trail, laplacian_of, local_search
from topokit.learned.moves import State
from topokit.learned.objectives import SPECTRAL, Objective
from topokit.learned.optimal_objective import OptimalSlem
from topokit.learned.restarts import Found, Report
from topokit.learned.starts import random_start
from topokit.learned.structured.search import structured_search

__all__ = ["MOST", "OBJECTIVES", "GraphSearches", "objective_of"]

OBJECTIVES = (*SPECTRAL, "fmmc", "fdla")
CYCLES = 2  # without a better graph, after which a search ends
FEWER = ("laplacian", "eigenratio", "mixing-time")  # objectives that an edge more can spoil
LARGE = 1500  # nodes above which structured graphs are not refined: a step takes seconds
MOST = 4000  # nodes of local searches, which handle dense matrices
STRUCTURED_SHARE = 0.4  # of the time that the search for structured graphs may take


@dataclass(frozen=True)
class GraphSearches:
    """Search 0 is of structured graphs, where there are such; the others start from random graphs."""

    limits: Limits
    objective: str
    seed: int
    structured: bool
    at_most: float = -math.inf  # a cost that need not be beaten

    def run(self, number: int, deadline: float, report: Report) -> None:
        """Run one of them."""
        objective = objective_of(self.objective)
        rng = np.random.default_rng([self.seed, number])
        structured = number == 0 and self.structured and (self.limits.regular or 0) > 1
        if structured and self.limits.nodes <= MOST:
            self._any(objective, rng, report)
        if structured and self._structured(objective, rng, deadline, report):
            return
        limits = self._fewer(rng) if number % 2 and not self.limits.regular else self.limits
        try:
            start = random_start(limits, rng)
        except GraphError:
            if number:  # others had more luck
                return
            raise

        def better(trail: Trail) -> None:
            report(Found(number, trail.cost, (trail.best.edges, "local search", None)))

        local_search(
            objective,
            start,
            limits,
            rng,
            cycles=CYCLES,
            bound=self.at_most,
            deadline=deadline,
            on_better=better,
        )

    def _any(self, objective: Objective, rng: np.random.Generator, report: Report) -> None:
        """Report a random graph at once, so that there is one however soon the search has to end."""
        state = random_start(self.limits, rng)
        values = np.linalg.eigvalsh(laplacian_of(state, objective.edge_weights(state)))
        cost = objective.cost(state, float(values[1]), float(values[-1]))
        report(Found(0, cost, (state.edges, "random graph", None)))

    def _fewer(self, rng: np.random.Generator) -> Limits:
        """Ask for a few edges less than there may be: that can be better, and moves hardly lead there."""
        most, fewest = self.limits.most_edges, self.limits.fewest_edges
        if fewest == most or self.objective not in FEWER:
            return self.limits
        degrees = self.limits.degrees
        if degrees.min() < degrees.max() and rng.random() < 0.5:  # hubs can do harm, too
            lower = max(2, int(degrees.min())) + int(rng.geometric(0.5)) - 1
            capped = replace(self.limits, max_degree=np.minimum(degrees, lower))
            with suppress(GraphError):
                capped.require()
                return capped
        edges = max(fewest, most - int(rng.geometric(0.5)))
        return replace(self.limits, edges=edges, min_edges=edges)

    def _structured(self, objective: Objective, rng: np.random.Generator, deadline: float, report: Report) -> bool:
        """Search structured graphs, and refine the best; say whether there was one in time."""
        n, degree = self.limits.nodes, self.limits.regular
        assert degree is not None
        scale = 1.0 / (1 + degree) if objective.weights == "metropolis-hastings" else 1.0
        # Optimal weights of a structured graph are near to Laplacian ones.
        by_ends = SPECTRAL["laplacian"]() if isinstance(objective, OptimalSlem) else objective

        def cost(low: float, high: float) -> float:
            return by_ends.of_ends(low * scale, high * scale) if low > 0 else math.inf

        share = deadline
        if math.isfinite(deadline):
            share = time.monotonic() + STRUCTURED_SHARE * (deadline - time.monotonic())
        found = structured_search(
            n,
            degree,
            cost,
            seed=int(rng.integers(2**31)),
            deadline=share,
            on_better=lambda graph: (
                None
                if by_ends is not objective
                else report(Found(0, graph.cost, (graph.edges, graph.family, graph.parameters)))
            ),
        )
        if found is None:
            return n > MOST
        state = State(n, found.edges)
        if by_ends is not objective:
            values = np.linalg.eigvalsh(laplacian_of(state, objective.edge_weights(state)))
            own = objective.of_ends(float(values[1]), float(values[-1]))
            report(Found(0, own, (found.edges, found.family, found.parameters)))
        else:
            own = found.cost
        if found.stopped == "interrupt":
            raise KeyboardInterrupt

        def better(trail: Trail) -> None:
            if trail.cost < own:
                report(Found(0, trail.cost, (trail.best.edges, f"{found.family}, refined", None)))

        if n <= LARGE and time.monotonic() < deadline and own > self.at_most:
            local_search(
                objective,
                state,
                self.limits,
                rng,
                cycles=1,
                wide=2 * NARROW,
                bound=self.at_most,
                deadline=deadline,
                on_better=better,
            )
        return True


def objective_of(name: str) -> Objective:
    """Give an objective by its name.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> objective_of("fiedler").weights
    'laplacian'
    """
    if name in SPECTRAL:
        return SPECTRAL[name]()
    if name == "fmmc" or name == "fdla":
        return OptimalSlem("fmmc" if name == "fmmc" else "fdla")
    raise InputError(f"unknown objective {name!r}; known: {', '.join(OBJECTIVES)}")
