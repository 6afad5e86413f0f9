"""Which method suits a problem, and when one hands over to the next."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from topokit.errors import GraphError, InputError
from topokit.matrix import IntArray
from topokit.optimal.certificate import width
from topokit.optimal.characters import cayley_shape, character_weights
from topokit.optimal.first_order import first_order
from topokit.optimal.interior_point import interior_point
from topokit.optimal.iterates import Iterate
from topokit.optimal.one_weight import one_weight
from topokit.optimal.problem import WeightProblem
from topokit.optimal.symmetry import edge_orbits

__all__ = ["METHODS", "Steps", "solver_for"]

METHODS = ("auto", "closed-form", "characters", "interior-point", "first-order", "sdp")
Steps: TypeAlias = "Iterator[tuple[str, Iterate]]"
"""What a solver has reached after each iteration, and the name of its method."""

MOST_NODES = 2500  # beyond, and beyond so many sorts of edges, an interior-point iteration takes too long
MOST_SORTS = 10_000
STEPS = 5  # of the interior point, for which there should be time
FEW_NODES = 250  # up to which the interior-point method is as fast as any
FEW_SORTS = 0.05  # part of the edges, the same
MANY_SHIFTS = 64  # beyond, orbits of edges are fewer than pairs of opposite shifts, or as good
LARGEST_CLOSED = 1000  # nodes whose eigenspaces are stored whole
ORBITS_SECONDS = 2.0  # after which symmetries are not looked for any more
CHECKPOINTS = ((400, 1e-2), (1000, 0.0))  # iterations of the first-order method, and widths that it should have then


def solver_for(problem: WeightProblem, method: str, seconds: float) -> Steps:
    """Choose a method, and set it up.

    Parameters
    ----------
    problem : WeightProblem
        At least 2 nodes.
    method : str
        One of `METHODS`.
    seconds : float
        What there is of time.

    Raises
    ------
    InputError
        If the method does not exist or does not suit the graph.
    GraphError
        If no method suits it.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> steps = solver_for(weight_problem(nx.star_graph(3), "fdla"), "auto", np.inf)
    >>> [(name, round(found.upper, 6)) for name, found in steps]
    [('closed-form', 0.6)]
    """
    if method not in METHODS:
        raise InputError(f"unknown method {method!r} of optimal weights; known: {', '.join(METHODS)}")
    if problem.directed or method in ("auto", "characters"):
        shape = cayley_shape(problem)
        _require_serving(problem, method, shape)
        many = len(problem.edges) > MANY_SHIFTS * problem.nodes and problem.nodes <= MOST_NODES
        if shape is not None and (problem.directed or method == "characters" or not many):
            deadline = time.perf_counter() + seconds
            return _named("characters", (character_weights(problem, shape, deadline) for _ in range(1)))
    if method == "sdp":
        from topokit.optimal.sdp import sdp_weights

        limit = None if seconds == np.inf else seconds
        return _named("sdp", (sdp_weights(problem, time_limit=limit) for _ in range(1)))
    if method == "first-order":
        return _named(method, first_order(problem))
    patience = min(ORBITS_SECONDS, 0.2 * seconds)
    orbits = edge_orbits(problem.nodes, problem.edges, colours=problem.upper, time_limit=patience)
    if method == "closed-form" and orbits.count > 1:
        raise InputError(
            f"there is a closed form where automorphisms interchange all edges; on this graph {orbits.count} sorts of "
            "edges were found; auto finds the method that suits"
        )
    if method == "closed-form" or (method == "auto" and orbits.count == 1 and problem.nodes <= LARGEST_CLOSED):
        return _named("closed-form", iter([one_weight(problem)]))
    few = problem.nodes <= FEW_NODES or orbits.count <= FEW_SORTS * len(problem.edges)
    possible = problem.nodes <= MOST_NODES and orbits.count <= MOST_SORTS
    possible = possible and STEPS * _step_seconds(problem, orbits.count) <= seconds
    if method == "interior-point" or (few and possible):
        return _named("interior-point", interior_point(problem, groups=orbits.groups))
    if not possible:
        return _named("first-order", first_order(problem))
    return _first_order_at_first(problem, orbits.groups)


def _step_seconds(problem: WeightProblem, sorts: int) -> float:
    """Estimate an iteration of the interior-point method, by what it took on one thread of 2 GHz."""
    n, m, k = problem.nodes / 1024, len(problem.edges) / 2048, sorts / 2048
    return 0.4 * n**3 + 0.3 * m**2 + 0.2 * k**3


def _named(name: str, solver: Iterator[Iterate]) -> Steps:
    return ((name, found) for found in solver)


def _require_serving(problem: WeightProblem, method: str, shape: tuple[int, ...] | None) -> None:
    if problem.directed and (shape is None or method not in ("auto", "characters")):
        raise GraphError(
            "optimal weights of a directed graph are found where it looks the same from every node (circulant, by the "
            "method characters); balanced weights serve any strongly connected graph"
        )
    if method == "characters" and shape is None:
        raise InputError(
            "the method characters needs a graph that looks the same from every node of a product of cycles "
            "(circulant, torus, hypercube, numbered in reading order); auto finds the method that suits"
        )


def _first_order_at_first(problem: WeightProblem, groups: IntArray) -> Steps:
    """Go on by an interior point where the first-order method is slow, as on graphs with hubs.

    That is told by iterations, not by time, so that the same problem has the same answer.
    """
    best: Iterate | None = None
    for k, best in enumerate(first_order(problem)):
        yield "first-order", best
        if any(k >= iterations and width(best.upper, best.lower) > wanted for iterations, wanted in CHECKPOINTS):
            break
    for found in interior_point(problem, groups=groups):
        if best is not None and best.upper < found.upper:
            found = replace(found, weights=best.weights, upper=best.upper)
        if best is not None and best.lower > found.lower:
            found = replace(found, lower=best.lower, certificate=best.certificate)
        yield "interior-point", found
