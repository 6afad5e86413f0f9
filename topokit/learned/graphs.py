"""From limits and an objective to a graph: structured graphs, local search from many starts, and what bounds them."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from topokit.adjacency import adjacency_of_edges
from topokit.errors import InputError
from topokit.learned.bounds.lower import Bound, lower_bound, ramanujan_cost
from topokit.learned.graph_searches import MOST, OBJECTIVES, GraphSearches, objective_of
from topokit.learned.limits import Limits
from topokit.learned.objectives import SPECTRAL, Objective
from topokit.learned.optimal_objective import OptimalSlem
from topokit.learned.restarts import Found, Stopped, run_searches
from topokit.matrix import IntArray
from topokit.optimal.progress import News, Tell
from topokit.words import count

__all__ = ["OBJECTIVES", "LearnedGraph", "learn"]

ROUNDING = 2e-6  # relative: how near to a bound counts as meeting it
# Searches that are made if no time limit says how many, up to so many nodes.
SEARCHES = ((5, 16), (12, 48), (32, 16), (64, 8), (256, 4), (sys.maxsize, 2))


@dataclass(frozen=True)
class LearnedGraph:
    """The best graph that was found.

    Attributes
    ----------
    limits : Limits
    edges : ndarray of int64, shape (m, 2)
        The smaller node first, in ascending order.
    objective : str
    weights : str
        The weighting that suits the objective.
    value : float
        Of the objective; larger Fiedler values are better, of all else smaller ones are.
    bound : float
        No graph within the limits is better; where `limits.regular` names a degree, no graph of that degree.
    bound_name : str
        Of the argument.
    method : str
        How it was found.
    search : int
        Number of the search that found it.
    seed : int
    stopped : {"end", "bound", "time", "interrupt"}
        "bound" where the bound was met.
    elapsed : float
        Seconds.
    structure : dict or None
        Parameters of a structured graph, from which `topokit.learned.structured.rebuild` makes it again.
    """

    limits: Limits = field(repr=False)
    edges: IntArray = field(repr=False)
    objective: str
    weights: str
    value: float
    bound: float
    bound_name: str
    method: str
    search: int
    seed: int
    stopped: Stopped
    elapsed: float
    structure: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def adjacency(self) -> sparse.csr_array:
        """The adjacency matrix, shape (n, n), as `topokit.design_graph` takes it."""
        return adjacency_of_edges(self.limits.nodes, self.edges)

    @cached_property
    def degree(self) -> IntArray:
        """Neighbours of each node, shape (n,)."""
        return np.bincount(self.edges.ravel(), minlength=self.limits.nodes)

    def sentence(self) -> str:
        """Say in a line what it is, and how near to the best that is possible."""
        low, high = int(self.degree.min()), int(self.degree.max())
        degrees = f"{low}-regular" if low == high else f"degrees {low} to {high}"
        text = f"{self.objective} {self.value:.6g} by {self.method}; {count(len(self.edges), 'edge')}, {degrees}; "
        if self.stopped == "bound":
            return text + f"no {self._class()} is better ({self.bound_name})"
        if math.isfinite(self.bound) and self.bound_name != "trivial":
            side = "above" if self.objective == "fiedler" else "below"
            text += f"no {self._class()} goes {side} {self.bound:.6g} ({self.bound_name})"
        else:
            text = text.removesuffix("; ")
        cut = {"time": "; stopped when time was up", "interrupt": "; interrupted"}
        return text + cut.get(self.stopped, "")

    def _class(self) -> str:
        regular = self.limits.regular
        if regular is None:
            return f"graph of {self.limits.nodes} nodes within the limits"
        return f"{regular}-regular graph of {self.limits.nodes} nodes"

    def provenance(self) -> dict[str, Any]:
        """Give what a schedule file says about the search."""
        said: dict[str, Any] = {
            "objective": self.objective,
            "value": self.value,
            "method": self.method,
            "search": self.search,
            "seed": self.seed,
            "stopped": self.stopped,
            "summary": self.sentence(),
        }
        if math.isfinite(self.bound) and self.bound_name != "trivial":
            said |= {"bound": self.bound, "bound_name": self.bound_name}
        if self.structure is not None:
            said["structure"] = self.structure
        return said


def learn(
    limits: Limits,
    objective: str = "laplacian",
    *,
    seed: int = 0,
    time_limit: float | None = None,
    searches: int | None = None,
    workers: int = 1,
    structured: bool = True,
    progress: Tell | None = None,
    on_better: Callable[[float, float], None] | None = None,
) -> LearnedGraph:
    """Search for the graph within limits that serves an objective best.

    Where a limit on degrees is all there is, circulant graphs, Cayley graphs and lifts are searched first, and the best
    of them refined; then local searches start from random graphs.

    Parameters
    ----------
    limits : Limits
    objective : str
        "laplacian" or "metropolis-hastings" (SLEM with these weights), "fmmc" or "fdla" (SLEM with optimal weights),
        "fiedler", "eigenratio" or "mixing-time".
    seed : int
    time_limit : float, optional
        Seconds. Searches go on until then; without it, their number depends on the number of nodes, and the result on
        nothing but the arguments.
    searches : int, optional
        Number of searches; by default as many as there is time for, or as the number of nodes suggests.
    workers : int
        Processes that share the searches. The result does not depend on it. With more than one, a script needs
        ``if __name__ == "__main__":`` before it calls this.
    structured : bool
        Whether to try structured graphs.
    progress : callable, optional
        Told of every better graph, with the bound beside it.
    on_better : callable, optional
        Called with the seconds since the beginning and the value of every better graph.

    Returns
    -------
    LearnedGraph
        After Ctrl-C and time limits, the best so far.

    Raises
    ------
    InputError
        If the objective is unknown or a number out of range, or time was up before there was any graph.
    GraphError
        If no connected graph meets the limits, or none is found; the message names the limit.

    References
    ----------
    .. [1] M. Jameel, S. Jawed, L. Schmidt-Thieme, "Optimal topology search for fast model averaging in decentralized
       parallel SGD", PAKDD 2020.

    Examples
    --------
    Of all graphs of 10 nodes with 3 neighbours each, the Petersen graph mixes fastest:

    >>> found = learn(Limits(10, max_degree=3))
    >>> round(found.value, 6), found.stopped
    (0.428571, 'bound')
    """
    begin = time.monotonic()
    if not isinstance(limits, Limits):
        raise InputError(f"limits are topokit.learned.Limits, such as Limits(16, max_degree=4); got {limits!r}")
    kind = objective_of(objective)
    for what, given in (("workers", workers), ("searches", searches)):
        if given is not None and given < 1:
            raise InputError(f"{what} must be at least 1, got {given}")
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"the time limit must be a positive number of seconds, got {time_limit}")
    limits.require()
    bound = lower_bound(
        objective,
        limits.nodes,
        degree=limits.regular or int(limits.degrees.max()),
        edges=limits.most_edges,
        regular=limits.regular is not None,
    )
    at_most = bound.cost + ROUNDING * max(1e-3, abs(bound.cost))
    number = searches or (10**9 if time_limit is not None else _usual(limits.nodes))
    if limits.nodes > MOST:
        if (limits.regular or 0) < 2 or not structured or isinstance(kind, OptimalSlem):
            raise InputError(
                f"above {MOST:,} nodes only regular graphs with structure are searched, by the ends of their spectra: "
                f"give one limit on all degrees (times the nodes an even number), and no optimal weights"
            )
        number = 1
    task = GraphSearches(limits, objective, seed, structured, at_most)

    def report(found: Found) -> None:
        value, seconds = kind.value(found.cost), time.monotonic() - begin
        if on_better is not None:
            on_better(seconds, value)
        if progress is not None:
            progress(News(seconds, news(found)))

    def news(found: Found) -> str:
        return _news(objective, kind.value(found.cost), kind, bound, limits, found)

    deadline = math.inf if time_limit is None else begin + time_limit
    best, stopped = run_searches(
        task,
        number,
        report=report,
        ended=lambda found: progress and progress(News(time.monotonic() - begin, news(found))),
        at_most=at_most,
        deadline=deadline,
        workers=workers,
        order=limits.nodes,
    )
    if best is None:
        raise InputError(f"no graph was found within {time_limit:g} s: allow more time")
    edges, method, structure = best.what
    broken = limits.broken(edges)
    assert broken is None, broken
    return LearnedGraph(
        limits=limits,
        edges=edges,
        objective=objective,
        weights=kind.weights,
        value=kind.value(best.cost),
        bound=kind.value(bound.cost),
        bound_name=bound.name,
        method=method,
        search=best.number,
        seed=seed,
        stopped=stopped,
        elapsed=time.monotonic() - begin,
        structure=structure,
    )


def _usual(nodes: int) -> int:
    return next(usual for most, usual in SEARCHES if nodes <= most)


def _news(objective: str, value: float, kind: Objective, bound: Bound, limits: Limits, found: Found) -> str:
    text = f"search {found.number}: {objective} {value:.6g}"
    if bound.name != "trivial":
        text += f", no {'regular ' if limits.regular else ''}graph beyond {kind.value(bound.cost):.6g}"
    if (limits.regular or 0) > 2 and objective in SPECTRAL:
        text += f" (Ramanujan graphs: {kind.value(ramanujan_cost(objective, limits.regular or 0)):.6g})"
    return text
