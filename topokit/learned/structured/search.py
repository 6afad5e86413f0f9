"""Regular graphs with extreme Laplacian spectra from few parameters: circulant and Cayley graphs, and lifts.

All of them are voltage graphs: a base and a group, small enough a pair of them that eigenvalues are cheap. Circulant
graphs are searched by themselves. Of the other pairs many are tried for a little while, the best third of them goes on
for three times as long, and so on (successive halving).

References
----------
K. Jamieson, A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from topokit.errors import GraphError
from topokit.learned.structured.circulants import circulant_search
from topokit.learned.structured.groups import SemidirectGroup, groups_of_order
from topokit.learned.structured.voltage import VoltageGraph
from topokit.learned.structured.voltage_moves import random_arcs
from topokit.learned.structured.voltage_search import VoltageSearch
from topokit.matrix import IntArray
from topokit.optimal.progress import News, Tell
from topokit.optimal.threads import few_threads

__all__ = ["StructuredGraph", "rebuild", "structured_search"]

Cost = Callable[[float, float], float]

LARGEST_BLOCK = 256
PAIRS = 400  # of a base and a group, at most
CHEAP = 150  # times that there is time for a pair's first evaluations, for it to be taken
FEW = 8  # pairs that are taken where no more are cheap
FIRST = 64  # evaluations of a search before it is first compared
AGAIN = 8  # beginnings of a search with one group over one base, at most
KEPT = 3  # one search of so many goes on
OVERHEAD, ENTRY = 0.08, 2e-6  # nominal milliseconds of an evaluation, and of an entry of a block cubed
CONNECTED = 1e-9  # algebraic connectivity that is more than rounding


@dataclass(frozen=True, eq=False)
class StructuredGraph:
    """The best graph that a structured search found.

    Attributes
    ----------
    nodes : int
    edges : ndarray of int64, shape (m, 2)
        u < v, in lexicographic order.
    mu2, mun : float
        Second smallest and largest eigenvalue of the unweighted Laplacian.
    cost : float
    family : str
        In words, such as ``"Cayley graph of Z_21 ⋊ Z_3 (by 4)"``.
    parameters : dict
        Plain values from which `rebuild` makes the edges again.
    evaluations : int
        Graphs tried.
    stopped : str
        ``"end"``, ``"time"``, or ``"interrupt"``.
    """

    nodes: int
    edges: IntArray
    mu2: float
    mun: float
    cost: float
    family: str
    parameters: dict[str, Any]
    evaluations: int
    stopped: str


def structured_search(
    nodes: int,
    degree: int,
    cost: Cost,
    *,
    seed: int = 0,
    deadline: float = math.inf,
    tell: Tell | None = None,
    on_better: Callable[[StructuredGraph], None] | None = None,
) -> StructuredGraph | None:
    """Search circulant graphs, Cayley graphs and lifts of small bases for a connected regular graph of low cost.

    Parameters
    ----------
    nodes, degree : int
    cost : callable
        Of the second smallest and the largest eigenvalue of the Laplacian; lower is better. It has to fall with the
        former and grow with the latter.
    seed : int
    deadline : float
        Value of ``time.monotonic()`` at which to stop.
    tell : callable, optional
        Hears of progress.
    on_better : callable, optional
        Hears of every graph better than all before.

    Returns
    -------
    StructuredGraph or None
        None if nothing connected was found in time.

    Raises
    ------
    GraphError
        If no connected graph on so many nodes has this degree.

    Examples
    --------
    >>> found = structured_search(10, 3, lambda low, high: (high - low) / (high + low))
    >>> round(7 * found.cost, 9), len(found.edges)
    (3.0, 15)
    """
    if nodes < 2 or not 1 <= degree < nodes or nodes * degree % 2 or (degree == 1 and nodes > 2):
        raise GraphError(
            f"no connected {degree}-regular graph has {nodes} nodes: the degree has to lie between 2 and {nodes - 1} "
            "(1 with two nodes), and be even where the number of nodes is odd"
        )
    search = _Search(nodes, degree, cost, seed, deadline, tell, on_better)
    try:
        with few_threads(LARGEST_BLOCK):
            search.circulants()
            if 2 < degree < nodes - 1:
                search.lifts(_allowance(nodes))
    except KeyboardInterrupt:
        if search.best is None:
            raise
        search.stopped = "interrupt"
    return search.best and replace(search.best, evaluations=search.evaluations, stopped=search.stopped)


def rebuild(parameters: Mapping[str, Any]) -> IntArray:
    """Make the edges of a structured graph from its parameters.

    Examples
    --------
    >>> group = {"orders": [5], "matrix": [[1]], "turns": 1}
    >>> edges = rebuild({"group": group, "base": 2, "arcs": [[0, 0, 1], [0, 1, 0], [1, 1, 2]]})
    >>> len(edges), edges[:3].tolist()
    (15, [[0, 1], [0, 4], [0, 5]])
    """
    return _graph(parameters).edges()


def _graph(parameters: Mapping[str, Any]) -> VoltageGraph:
    group = parameters["group"]
    return VoltageGraph(
        SemidirectGroup(tuple(group["orders"]), tuple(map(tuple, group["matrix"])), group["turns"]),
        parameters["base"],
        np.array(parameters["arcs"], dtype=np.int64).reshape(-1, 3),
    )


def _family(graph: VoltageGraph) -> str:
    """Say what kind of graph it is."""
    group = graph.group
    cyclic = group.turns == 1 and len(group.orders) == 1
    if graph.base == 1:
        return "circulant graph" if cyclic else f"Cayley graph of {group.name}"
    if group.size == 1:
        return "graph without symmetry"
    over = "" if cyclic else f" over {group.name}"
    return f"{group.size}-fold lift of {graph.base} nodes{over}"


def _allowance(nodes: int) -> float:
    """Give nominal milliseconds of a search."""
    if nodes > 10_000:
        return 1500 * math.sqrt(max(1.0, nodes / 100_000))
    return float(max(900, min(110 * nodes**0.6, 7000)))


def _milliseconds(base: int, group: SemidirectGroup) -> float:
    """Estimate the time of an evaluation; the clock would make runs differ."""
    blocks = len(group.characters[0])
    looked_at = min(blocks, 3 + blocks / 8)  # most changes fail at the outermost few
    return OVERHEAD + looked_at * (0.004 + ENTRY * (base * group.turns) ** 3)


class _Search:
    """What has been found so far."""

    def __init__(
        self,
        nodes: int,
        degree: int,
        cost: Cost,
        seed: int,
        deadline: float,
        tell: Tell | None,
        on_better: Callable[[StructuredGraph], None] | None,
    ) -> None:
        self.nodes, self.degree, self.cost, self.deadline = nodes, degree, cost, deadline
        self.tell, self.on_better = tell, on_better
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.begin = time.monotonic()
        self.best: StructuredGraph | None = None
        self.evaluations = 0
        self.stopped = "end"

    def circulants(self) -> None:
        """Search circulant graphs."""
        graph, cost, tried = circulant_search(
            self.nodes, self.degree, self.cost, seed=self.seed, deadline=self.deadline
        )
        self.evaluations += tried
        self.take(graph, cost)

    def take(self, graph: VoltageGraph, cost: float) -> None:
        """Keep a graph if it is better than the best so far."""
        if self.best is not None and not cost < self.best.cost - 1e-12 * abs(self.best.cost):
            return
        low, high = graph.ends()  # from the beginning: changes add up rounding
        cost = self.cost(low, high)
        if low < CONNECTED * self.degree or (self.best is not None and cost >= self.best.cost):
            return
        group = graph.group
        self.best = StructuredGraph(
            nodes=self.nodes,
            edges=graph.edges(),
            mu2=low,
            mun=high,
            cost=cost,
            family=_family(graph),
            parameters={
                "group": {
                    "orders": list(group.orders),
                    "matrix": [list(row) for row in group.matrix],
                    "turns": group.turns,
                },
                "base": graph.base,
                "arcs": graph.arcs.tolist(),
            },
            evaluations=self.evaluations,
            stopped="end",
        )
        if self.tell is not None:
            self.tell(News(time.monotonic() - self.begin, f"{self.best.family}: cost {cost:.6g}"))
        if self.on_better is not None:
            self.on_better(self.best)

    def pairs(self, allowance: float) -> list[tuple[float, int, SemidirectGroup]]:
        """List bases, groups and the prices of their evaluations, shuffled, as far as there is time for them."""
        found = [
            (base, group)
            for base in range(1, self.nodes + 1)
            if self.nodes % base == 0
            for group in groups_of_order(self.nodes // base, LARGEST_BLOCK // base)
            # Few rows of blocks mean few different elements on arcs: too few to mix over many of the Abelian part.
            if base * group.turns <= LARGEST_BLOCK and (4 << base * group.turns) >= group.plane
        ]
        shuffled = [found[place] for place in self.rng.permutation(len(found))[:PAIRS]]
        priced = [(_milliseconds(base, group), base, group) for base, group in shuffled]
        cheap = [entry for entry in priced if CHEAP * FIRST * entry[0] <= allowance]
        if len(cheap) >= FEW:
            return cheap
        # One for each base, as groups of the same price are much alike, and one may have too few elements to choose.
        cheapest = {entry[1]: entry for entry in sorted(priced, key=lambda entry: entry[0], reverse=True)}
        few = sorted(cheapest.values(), key=lambda entry: entry[0])[:FEW]
        return [entry for entry in few if FEW * entry[0] <= allowance]

    def lifts(self, allowance: float) -> None:
        """Search voltage graphs for so many nominal milliseconds."""
        pairs = self.pairs(allowance)
        if pairs:
            self.halve(pairs, allowance)

    def halve(self, pairs: list[tuple[float, int, SemidirectGroup]], allowance: float) -> None:
        """Begin a search for every pair, more than one if there is time, and go on with ever fewer of them."""
        stages = 1 + round(math.log(max(len(pairs), 1), KEPT))
        share = allowance / stages
        searches: list[tuple[VoltageSearch, float]] = []
        spent = 0.0
        for place in range(AGAIN * len(pairs)):
            price, base, group = pairs[place % len(pairs)]
            if spent + FIRST * price > share and searches:
                break
            arcs = random_arcs(group, base, self.degree, self.rng)
            if arcs is None:
                spent += OVERHEAD
                continue
            search = VoltageSearch(group, base, arcs, self.cost, self.rng)
            self.climb(search, FIRST)
            spent += FIRST * price
            searches.append((search, price))
            if self.stopped != "end":
                break
        while self.stopped == "end":
            searches.sort(key=lambda entry: entry[0].cost)
            searches = searches[: math.ceil(len(searches) / KEPT)]
            for search, _ in searches:
                self.climb(search, int(share / sum(price for _, price in searches)))
            if len(searches) <= 1:
                return

    def climb(self, search: VoltageSearch, evaluations: int) -> None:
        """Go on with a search, and take what it finds."""
        if self.stopped != "end":
            return
        before = search.evaluations
        try:
            search.climb(evaluations, self.deadline)
        finally:
            self.evaluations += search.evaluations - before
            self.take(search.graph, search.cost)
        if time.monotonic() >= self.deadline:
            self.stopped = "time"
