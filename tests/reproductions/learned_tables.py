"""Tables and the picture of the experiment with learned topologies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np
from learned_graphs import LAPLACIAN, METROPOLIS, Case, Graphs, schedule_on
from learned_runs import (
    BEST,
    FMMC,
    FOR_LAPLACIAN,
    FOR_METROPOLIS,
    FULL,
    GRAPHS,
    LATTICE,
    RANDOM,
    SHORT,
    TRAINED,
    Method,
    Setting,
    edges_for,
    graph_name,
    planned,
)
from scipy.stats import spearmanr
from scipy.stats import t as student
from training_runs import Result, Results, Spread, edges_in, markdown

from topokit.consensus import simulated_rounds, worst_case_rounds
from topokit.pictures.style import line_styles
from topokit.spectral import slem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEIGHTS = (LAPLACIAN, METROPOLIS, FMMC)
OUTCOMES = {"node_accuracy_mean": "accuracy of the nodes' models", "consensus_distance": "consensus distance"}
QUANTITIES = {"slem": "SLEM", "own": "own weight"}


@dataclass(frozen=True)
class Speed:
    """How fast a graph with weights averages: rounds that shrink errors 1000 times, any ones and random ones.

    `own` is the weight that a node keeps of its own model, in the mean over the nodes.
    """

    slem: float
    own: float
    worst: int
    usual: int


@cache
def speed_of(edges: str, nodes: int, weights: str) -> Speed:
    rounds = schedule_on(edges, nodes, weights).rule.rounds
    worst, usual = worst_case_rounds(rounds), simulated_rounds(rounds, seed=0)
    assert worst is not None
    assert usual is not None
    own = float(rounds[0].to_dense().diagonal().mean())
    return Speed(slem(rounds[0]), own, worst, usual)


def speeds_of(graphs: Graphs, case: Case, method: Method, seeds: Sequence[int]) -> list[Speed]:
    texts = [edges_for(graphs, case, method.graph, seed) for seed in seeds]
    return [speed_of(text, case.nodes, method.weights) for text in texts if text is not None]


def spectra_table(graphs: Graphs, seeds: Sequence[int], common: Setting = FULL) -> str:
    rows = []
    for case in common.cases:
        for graph in GRAPHS:
            texts = [edges_for(graphs, case, graph, seed) for seed in seeds]
            there = [edges_in(text) for text in texts if text is not None]
            if not there:
                continue
            degrees = [np.bincount(edges.ravel()) for edges in there]
            cells = [between([len(edges) for edges in there]), between([int(d) for some in degrees for d in some])]
            found = {weights: speeds_of(graphs, case, Method(graph, weights), seeds) for weights in WEIGHTS}
            cells += [ranged([speed.slem for speed in found[weights]]) for weights in WEIGHTS]
            cells += [between([speed.worst for speed in found[weights]]) for weights in WEIGHTS]
            cells += [between([speed.usual for speed in found[weights]]) for weights in WEIGHTS]
            rows.append([case.name, graph_name(case, graph), *cells])
    head = ["limits", "graph", "edges", "degrees"]
    head += [f"{what}, {SHORT[weights]}" for what in ("SLEM", "rounds", "random start") for weights in WEIGHTS]
    return markdown(head, rows)


def between(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def ranged(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3f}", f"{max(values):.3f}"
    return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Line:
    """One method within one case's limits, trained on data dealt in one way: its results, seed by seed."""

    case: Case
    deal: str
    method: Method
    done: tuple[Result, ...]

    def spread(self, column: str, scale: float = 100) -> Spread:
        return Spread([scale * result.last(column) for result in self.done])

    @property
    def models(self) -> dict[int, float]:
        """Mean accuracy of the nodes' models, in per cent, by seed."""
        return {result.run["seed"]: 100 * result.last("node_accuracy_mean") for result in self.done}


def lines(results: Results, graphs: Graphs, seeds: Sequence[int], common: Setting = FULL) -> list[Line]:
    """What has been run, method by method."""
    found: dict[tuple[Case, str, Method], list[Result]] = {}
    for case, method, run in planned(graphs, seeds, common):
        for result in results.of([run]):
            found.setdefault((case, run.partition, method), []).append(result)
    order = [(case, deal, method) for case, deal in common.trained for method in TRAINED]
    return [Line(*key, tuple(found[key])) for key in order if key in found]


def training_table(found: Sequence[Line], graphs: Graphs) -> str:
    rows = [
        [
            line.case.name,
            line.deal,
            Method(graph_name(line.case, line.method.graph), line.method.weights).name,
            f"{Spread([speed.slem for speed in speeds_in(line, graphs)]).mean:.3f}",
            f"{Spread([speed.own for speed in speeds_in(line, graphs)]).mean:.3f}",
            line.spread("accuracy").text(1),
            line.spread("node_accuracy_mean").text(1),
            line.spread("node_accuracy_worst").text(1),
            line.spread("consensus_distance", 1).text(3),
            str(len(line.done)),
        ]
        for line in found
    ]
    head = ["limits", "data", "graph and weights", "SLEM", "own weight", "averaged model, %", "nodes' models, %"]
    return markdown([*head, "worst node, %", "consensus distance", "seeds"], rows)


def speeds_in(line: Line, graphs: Graphs) -> list[Speed]:
    return speeds_of(graphs, line.case, line.method, list(line.models))


def correlation_table(found: Sequence[Line], graphs: Graphs) -> str:
    """Rank correlations of SLEM and own weight with what came of training, over all graphs with weights."""
    rows = []
    for deal in dict.fromkeys(line.deal for line in found):
        some = [line for line in found if line.deal == deal]
        for column, name in OUTCOMES.items():
            outcome = [line.spread(column).mean for line in some]
            cells = []
            for quantity in QUANTITIES:
                # Rounding must not break ties.
                means = [
                    round(Spread([getattr(s, quantity) for s in speeds_in(line, graphs)]).mean, 4) for line in some
                ]
                cells.append(f"{spearmanr(means, outcome).statistic:.2f}")
            rows.append([deal, str(len(some)), name, *cells])
    return markdown(["data", "graphs with weights", "", *(f"with {name}" for name in QUANTITIES.values())], rows)


@dataclass(frozen=True)
class Claim:
    """One method is to be better than another; `gains` in points of the nodes' models, seed by seed."""

    case: Case
    deal: str
    better: Method
    worse: Method
    gains: tuple[float, ...]

    @property
    def mean(self) -> float:
        return Spread(self.gains).mean

    @property
    def error(self) -> float:
        """Half of the width of the interval that holds the mean with a confidence of 95 % (Student's t)."""
        count = len(self.gains)
        if count < 2:
            return inf
        return float(student.ppf(0.975, count - 1)) * Spread(self.gains).deviation / sqrt(count)

    @property
    def verdict(self) -> str:
        if not any(self.gains):
            return "the same"
        if abs(self.mean) <= self.error:
            return "within the spread"
        return "holds" if self.mean > 0 else "**the contrary**"


CLAIMS = (
    (BEST, Method(FOR_LAPLACIAN, METROPOLIS)),
    (BEST, Method(FOR_METROPOLIS, METROPOLIS)),
    (BEST, Method(LATTICE, METROPOLIS)),
    (BEST, Method(LATTICE, LAPLACIAN)),
    (Method(FOR_METROPOLIS, METROPOLIS), Method(LATTICE, METROPOLIS)),
    (BEST, Method(RANDOM, METROPOLIS)),
    (BEST, Method(RANDOM, LAPLACIAN)),
    (Method(FOR_LAPLACIAN, FMMC), BEST),
)


def claims(found: Sequence[Line]) -> list[Claim]:
    """Compare the nodes' models of the same seeds."""
    by = {(line.case, line.deal, line.method): line.models for line in found}
    made = []
    for case, deal in dict.fromkeys((line.case, line.deal) for line in found):
        for better, worse in CLAIMS:
            one, other = by.get((case, deal, better), {}), by.get((case, deal, worse), {})
            gains = tuple(one[seed] - other[seed] for seed in one if seed in other)
            if gains:
                made.append(Claim(case, deal, better, worse, gains))
    return made


def claims_table(made: Sequence[Claim], graphs: Graphs, seeds: Sequence[int]) -> str:
    rows = []
    for claim in made:
        one, other = (
            Spread([speed.slem for speed in speeds_of(graphs, claim.case, method, seeds)]).mean
            for method in (claim.better, claim.worse)
        )
        names = [Method(graph_name(claim.case, m.graph), m.weights).name for m in (claim.better, claim.worse)]
        gain = f"{claim.mean:+.2f} ± {claim.error:.2f}"
        rows.append([claim.case.name, claim.deal, *names, f"{one:.3f}", f"{other:.3f}", gain, claim.verdict])
    head = ["limits", "data", "to be better", "than", "its SLEM", "the other's"]
    return markdown([*head, "nodes' models, points (95 %)", ""], rows)


def figure(found: Sequence[Line], graphs: Graphs) -> Figure:
    """Accuracy of the nodes' models by SLEM and by own weight, for both ways of dealing the data."""
    from matplotlib.figure import Figure

    deals = list(dict.fromkeys(line.deal for line in found))
    drawn = Figure(figsize=(8.5, 6.5))
    panels = drawn.subplots(len(deals), 2, squeeze=False, sharey="row", sharex="col")
    for across, (quantity, name) in enumerate(QUANTITIES.items()):
        for down, deal in enumerate(deals):
            axes = panels[down, across]
            for graph, style in zip(GRAPHS, line_styles(len(GRAPHS)), strict=True):
                points = [
                    (getattr(speed, quantity), accuracy)
                    for line in found
                    if (line.deal, line.method.graph) == (deal, graph)
                    for seed, accuracy in line.models.items()
                    for speed in speeds_of(graphs, line.case, line.method, [seed])
                ]
                axes.scatter(*zip(*points, strict=True), label=graph, s=14, **style)
            axes.set(title=f"{deal} data: accuracy of the nodes' models, %")
        panels[-1, across].set(xlabel=name)
    panels[0, 0].legend(loc="lower left", fontsize=8)
    return drawn
