"""Laplacian against Metropolis-Hastings weights, on learned graphs, ring lattices and random graphs, in training.

Jameel, Jawed and Schmidt-Thieme (PAKDD 2020) claim that Laplacian link weights on learned topologies beat
Metropolis-Hastings weights, and that both beat ring lattices with Metropolis-Hastings weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from learned_graphs import LAPLACIAN, METROPOLIS, Case, Graphs, cases, drawn, text_of
from training_runs import Run, edges_in

EXPERIMENT = "learned"
FMMC = "fmmc"
SHORT = {LAPLACIAN: "Laplacian", METROPOLIS: "MH", FMMC: "FMMC"}


@dataclass(frozen=True)
class Method:
    """A graph (learned by an objective, ring lattice, or random), and the weights of its links."""

    graph: str
    weights: str

    @property
    def name(self) -> str:
        return f"{self.graph}, {SHORT[self.weights]} weights"


FOR_LAPLACIAN, FOR_METROPOLIS = "learned for Laplacian", "learned for MH"
LATTICE, RANDOM = "ring lattice", "random"
GRAPHS = (FOR_LAPLACIAN, FOR_METROPOLIS, LATTICE, RANDOM)
BEST = Method(FOR_LAPLACIAN, LAPLACIAN)
METHODS = (
    BEST,
    Method(FOR_LAPLACIAN, METROPOLIS),
    Method(FOR_LAPLACIAN, FMMC),
    Method(FOR_METROPOLIS, METROPOLIS),
    Method(FOR_METROPOLIS, LAPLACIAN),
    Method(LATTICE, METROPOLIS),
    Method(LATTICE, LAPLACIAN),
    Method(RANDOM, METROPOLIS),
    Method(RANDOM, LAPLACIAN),
)
TRAINED = tuple(method for method in METHODS if method != Method(FOR_METROPOLIS, LAPLACIAN))


@dataclass(frozen=True)
class Setting:
    """What is compared, and what all runs have in common; `trained` are cases and how data is dealt."""

    cases: tuple[Case, ...]
    trained: tuple[tuple[Case, str], ...]
    steps: int = 400
    lr: float = 0.02
    momentum: float = 0.9
    hidden: int = 16
    batch_size: int = 8
    data: str = "mnist"


def setting() -> Setting:
    every = cases(16, 32)
    by = {case.name: case for case in every}
    trained = (
        ("16 nodes, degree 4", "dirichlet"),
        ("32 nodes, degree 4", "dirichlet"),
        ("32 nodes, 44 edges", "dirichlet"),
        ("32 nodes, 64 edges between near ones", "dirichlet"),
        ("32 nodes, degree 4", "sorted"),
        ("32 nodes, 44 edges", "sorted"),
    )
    return Setting(every, tuple((by[name], deal) for name, deal in trained))


FULL = setting()
TINY = (Case("6 nodes, degree 3", 6, degree=3), Case("6 nodes, 7 edges", 6, edges=7))
SMALL = Setting(TINY, ((TINY[1], "sorted"),), steps=12, hidden=4, data="digits")


def edges_for(graphs: Graphs, case: Case, graph: str, seed: int) -> str | None:
    """Edges of one of the graphs that are compared, as text; None if it has still to be learned."""
    if graph == LATTICE:
        return text_of(case.lattice.tolist())
    if graph == RANDOM:
        return text_of(drawn(case, seed).tolist())
    return graphs.edges(case, LAPLACIAN if graph == FOR_LAPLACIAN else METROPOLIS, seed)


def graph_name(case: Case, graph: str) -> str:
    """What a graph is called: where only near nodes may join there is no ring lattice."""
    return "all allowed edges" if case.near and graph == LATTICE else graph


def renumbered(edges: str, nodes: int, seed: int) -> str:
    """Number the nodes at random: sorted data goes to nodes by their numbers, which must not say who is near whom."""
    new = np.sort(np.random.default_rng(seed).permutation(nodes)[edges_in(edges)], axis=1)
    return text_of(sorted(new.tolist()))


def planned(graphs: Graphs, seeds: Sequence[int], common: Setting = FULL) -> Iterator[tuple[Case, Method, Run]]:
    """Give the runs on the graphs that there are."""
    for seed in seeds:
        for case, deal in common.trained:
            for method in TRAINED:
                edges = edges_for(graphs, case, method.graph, seed)
                if edges is not None:
                    yield case, method, _run(case, method, renumbered(edges, case.nodes, seed), deal, seed, common)


def _run(case: Case, method: Method, edges: str, deal: str, seed: int, common: Setting) -> Run:
    return Run(
        experiment=EXPERIMENT,
        method=f"{case.name}: {method.name}",
        algorithm="dsgd",
        topology="edges",
        parameters={"edges": edges},
        weights=method.weights,
        nodes=case.nodes,
        steps=common.steps,
        every=common.steps // 4,
        lr=common.lr,
        batch_size=common.batch_size,
        partition=deal,
        seed=seed,
        hidden=common.hidden,
        data=common.data,
        options={"momentum": common.momentum},
    )
