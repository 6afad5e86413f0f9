"""Graphs for the experiment with learned topologies: limits, what is learned within them, and what it is compared with.

A graph that was learned is a line of the results file, so that a search is not made twice, and every figure can be
computed from the edges again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from training_runs import edges_in

from topokit.adjacency import adjacency_of_edges
from topokit.designer import design_graph
from topokit.learned import Limits, learn
from topokit.learned.starts import random_start
from topokit.schedule import Schedule

LAPLACIAN, METROPOLIS = "laplacian", "metropolis-hastings"
SEARCHES = 4
RADIUS = 0.35
PLACES = 1  # seed of the points in the unit square


@dataclass(frozen=True)
class Case:
    """Limits: a degree (`degree`), or a number of edges (`edges`), all pairs allowed or only near ones (`near`)."""

    name: str
    nodes: int
    degree: int | None = None
    edges: int | None = None
    near: bool = False

    @property
    def limits(self) -> Limits:
        allowed = near_pairs(self.nodes) if self.near else None
        return Limits(self.nodes, max_degree=self.degree, edges=self.edges, allowed=allowed)

    @property
    def lattice(self) -> np.ndarray:
        """The ring lattice of most neighbours within the limits; every allowed edge where only near nodes may join."""
        if self.near:
            return np.argwhere(np.triu(near_pairs(self.nodes)))
        most = self.degree or 2 * (self.edges or 0) // self.nodes
        reach = max(1, most // 2)
        return edges_of(nx.circulant_graph(self.nodes, list(range(1, reach + 1))))


def cases(*sizes: int) -> tuple[Case, ...]:
    """Give the cases of these sizes."""
    return tuple(
        case
        for n in sizes
        for case in (
            Case(f"{n} nodes, degree 3", n, degree=3),
            Case(f"{n} nodes, degree 4", n, degree=4),
            Case(f"{n} nodes, {n * 11 // 8} edges", n, edges=n * 11 // 8),
            Case(f"{n} nodes, {2 * n} edges", n, edges=2 * n),
            *((Case(f"{n} nodes, {2 * n} edges between near ones", n, edges=2 * n, near=True),) if n == 32 else ()),
        )
    )


@cache
def near_pairs(nodes: int) -> np.ndarray:
    """Pairs of random points of the unit square that are near each other, shape (n, n)."""
    points = np.random.default_rng(PLACES).random((nodes, 2))
    near = np.linalg.norm(points[:, None] - points[None], axis=2) < RADIUS
    np.fill_diagonal(near, False)
    return near


def edges_of(graph: nx.Graph) -> np.ndarray:
    return np.array(sorted(tuple(sorted(edge)) for edge in graph.edges))


def drawn(case: Case, seed: int) -> np.ndarray:
    """A random graph within the limits, with as many edges as fit: random regular where there is a limit on degrees."""
    if case.degree is not None:
        return edges_of(connected(case.nodes, case.degree, seed))
    return np.asarray(random_start(case.limits, np.random.default_rng(seed)).edges)


def connected(nodes: int, degree: int, seed: int) -> nx.Graph:
    rng = np.random.default_rng(seed)
    while not nx.is_connected(graph := nx.random_regular_graph(degree, nodes, seed=rng)):
        pass
    return graph


def text_of(edges: Iterable[Sequence[int]]) -> str:
    """Edges as a run's record keeps them: ``0-1 0-3``."""
    return " ".join(f"{u}-{v}" for u, v in edges)


@cache
def schedule_on(text: str, nodes: int, weights: str) -> Schedule:
    """The schedule of a graph that is given by its edges."""
    return design_graph(adjacency_of_edges(nodes, edges_in(text)), weights, name="edges")


class Graphs:
    """The learned graphs of a results file; training runs in it are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, dict[str, Any]] = {}
        if not path.exists():
            return
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if "graph" in record:
                self.found[json.dumps(record["graph"], sort_keys=True)] = record

    @staticmethod
    def key(case: Case, objective: str, seed: int) -> str:
        asked = {"case": case.name, "objective": objective, "seed": seed, "searches": SEARCHES}
        return json.dumps(asked, sort_keys=True)

    def edges(self, case: Case, objective: str, seed: int) -> str | None:
        """Edges of a learned graph as text; None if it has not been searched for."""
        record = self.found.get(self.key(case, objective, seed))
        return None if record is None else record["edges"]

    def search(self, wanted: Iterable[Case], seeds: Sequence[int], report: Callable[[str], None]) -> None:
        """Learn the graphs that are missing."""
        missing = [
            (case, objective, seed)
            for seed in seeds
            for case in wanted
            for objective in (LAPLACIAN, METROPOLIS)
            if self.key(case, objective, seed) not in self.found
        ]
        for number, (case, objective, seed) in enumerate(missing, 1):
            started = time.perf_counter()
            learned = learn(case.limits, objective, seed=seed, searches=SEARCHES)
            key = self.key(case, objective, seed)
            record = {
                "graph": json.loads(key),
                "edges": text_of(learned.edges.tolist()),
                "value": round(learned.value, 6),
                "method": learned.method,
                "seconds": round(time.perf_counter() - started, 2),
                "day": date.today().isoformat(),
            }
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
            self.found[key] = record
            report(f"[{number}/{len(missing)}] {case.name}, {objective}, seed {seed}: {learned.sentence()}")
