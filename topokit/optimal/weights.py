"""From a graph to optimal weights: the method that suits it, until the certificate is tight or time is up."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from topokit.adjacency import GraphLike
from topokit.errors import ConvergenceError, GraphError, InputError
from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.optimal.certificate import Certificate
from topokit.optimal.certificate import width as width_of
from topokit.optimal.compact_dual import fewer_columns
from topokit.optimal.iterates import UNUSED, Iterate
from topokit.optimal.methods import solver_for
from topokit.optimal.problem import WeightProblem, weight_problem
from topokit.optimal.progress import Tell
from topokit.optimal.starts import simple_weights
from topokit.optimal.threads import few_threads
from topokit.spectral import slem

__all__ = ["OptimalWeights", "Reached", "optimal_weights"]

WIDTH = 1e-6
EXCESS = 1e-9  # what rounding errors may leave a limit by
HARDLY = 1e-5  # the same, where no weights were found either
NEVER = 1e-10  # distance of the bound from 1 at which it is 1
ROUNDED = 1e-9  # of the spectral gap, that leaving them out may cost

Stop: TypeAlias = Literal["width", "end", "time", "interrupt"]


@dataclass(frozen=True)
class Reached:
    """What a running solver has reached: handed to the callback of `optimal_weights`."""

    method: str
    iteration: int
    seconds: float
    upper: float
    lower: float

    def sentence(self) -> str:
        """Say it in a line."""
        return (
            f"{self.method} {self.iteration}: SLEM {self.upper:.8g}, no weights below {self.lower:.8g} "
            f"({self.seconds:.1f} s)"
        )


@dataclass(frozen=True)
class OptimalWeights:
    """Weights, and the proof of how near to the optimum they are.

    Attributes
    ----------
    problem : WeightProblem
    weights : ndarray of float64, shape (m,)
        Of the edges ``problem.edges``.
    slem : float
        ||W - J||_2, recomputed by an eigensolver.
    lower : float
        No weights within the limits of the problem have a smaller one: the bound of the certificate.
    certificate : Certificate
        From which anyone can compute `lower` again.
    method : str
    iterations : int
    seconds : float
    stopped : {"width", "end", "time", "interrupt"}
        Whether the certificate became tight enough, the solver could do no better, time was up, or Ctrl-C was pressed.
    """

    problem: WeightProblem
    weights: FloatArray
    slem: float
    lower: float
    certificate: Certificate = field(repr=False)
    method: str = ""
    iterations: int = 0
    seconds: float = 0.0
    stopped: Stop = "width"

    @property
    def edges(self) -> IntArray:
        """The edges that the weights belong to, shape (m, 2)."""
        return self.problem.edges

    @property
    def matrix(self) -> MixingMatrix:
        """The mixing matrix W."""
        return self.problem.matrix(self.weights)

    @property
    def certificate_width(self) -> float:
        """(slem - lower)/(1 - slem): how much of the spectral gap may still be missing, relative to it."""
        return width_of(self.slem, self.lower)

    def sentence(self) -> str:
        """Say how good the weights are, in one sentence.

        Examples
        --------
        >>> import networkx as nx
        >>> optimal_weights(nx.petersen_graph(), "fdla").sentence()
        'SLEM 0.428571; no weights on these edges go below 0.428571 (certificate width 0, by closed-form)'
        """
        exact = self.certificate_width < 1e-12
        shown = "0" if exact else f"{self.certificate_width:.1e}"
        kind = "nonnegative weights" if self.problem.nonnegative else "weights"
        return (
            f"SLEM {self.slem:.6g}; no {kind} on these edges go below {self.lower:.6g} (certificate width {shown}, "
            f"by {self.method})"
        )

    def provenance(self) -> dict[str, Any]:
        """Give what a schedule file says about the weights, certificate included.

        No times, so that a schedule that is designed again is the same.
        """
        return {
            "method": self.method,
            "iterations": self.iterations,
            "stopped": self.stopped,
            "slem": self.slem,
            "lower": self.lower,
            "width": self.certificate_width,
            "certificate": self.certificate.to_dict(),
        }


def optimal_weights(
    graph: GraphLike | WeightProblem,
    objective: Literal["fdla", "fmmc"] = "fdla",
    *,
    width: float = WIDTH,
    time_limit: float | None = None,
    upper: Any | None = None,
    self_loops: bool = True,
    method: str = "auto",
    progress: Tell | None = None,
) -> OptimalWeights:
    """Find the symmetric weights with the smallest SLEM, and prove how small it can be.

    Parameters
    ----------
    graph : networkx.Graph, sparse array of shape (n, n), or WeightProblem
        Connected, undirected, nodes 0 to n - 1; or a problem, which then says what the next parameters but the time do.
    objective : {"fdla", "fmmc"}
        Weights of any sign (fastest distributed linear averaging), or none negative, self weights included (fastest
        mixing Markov chain).
    width : float
        Stop when (SLEM - bound)/(1 - SLEM) is no more.
    time_limit : float, optional
        Stop after this many seconds, at the end of an iteration, with the best weights so far. Ctrl-C does the same.
    upper : float, array or mapping, optional
        Largest weights of the edges; see `weight_problem`.
    self_loops : bool, default True
        Whether a node may keep a part of its own value.
    method : {"auto", "closed-form", "characters", "interior-point", "first-order", "sdp"}
        By default the fastest that proves an optimum: the closed form where automorphisms interchange all edges, a
        linear program over the characters of an abelian group, the interior-point method (one variable for each orbit
        of edges), and for more than some thousand edges the first-order method. "sdp" needs cvxpy.
    progress : callable, optional
        Called after every iteration with what has a `sentence`, and the `upper` and `lower` bound.

    Returns
    -------
    OptimalWeights
        With ``matrix``, ``slem``, the bound ``lower`` and its ``certificate``. A schedule that carries the proof is
        ``Schedule.cyclic([found.matrix], provenance={"optimality": found.provenance()})``.

    Raises
    ------
    InputError
        If the method does not exist or does not suit the graph, or a number is out of range.
    GraphError
        If the graph is not connected, or no weights within the limits can mix.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004.
    .. [2] S. Boyd, P. Diaconis, L. Xiao, "Fastest mixing Markov chain on a graph", SIAM Review 46(4), 2004.

    Examples
    --------
    A triangle with a tail; weights that may be negative reach 1/sqrt(3) instead of 7/11:

    >>> import networkx as nx
    >>> paw = nx.Graph([(0, 1), (0, 2), (1, 2), (2, 3)])
    >>> [round(optimal_weights(paw, objective).slem, 6) for objective in ("fdla", "fmmc")]
    [0.57735, 0.636364]
    """
    if not isinstance(width, (int, float)) or not 0 < width < 1:
        raise InputError(f"the certificate width must be between 0 and 1, got {width}")
    if time_limit is not None and (not isinstance(time_limit, (int, float)) or not time_limit > 0):
        raise InputError(f"the time limit must be a positive number of seconds, got {time_limit}")
    began = time.perf_counter()
    deadline = np.inf if time_limit is None else began + time_limit
    if isinstance(graph, WeightProblem):
        problem = graph
    else:
        problem = weight_problem(graph, objective, upper=upper, self_loops=self_loops)
    if problem.nodes == 1:
        alone = Certificate.symmetric(problem, np.zeros((1, 0)), np.zeros((1, 0)), np.zeros(1))
        return OptimalWeights(problem, np.zeros(0), 0.0, 0.0, alone, "closed-form")
    with few_threads(problem.nodes):
        return _run(problem, method, width, began, deadline, progress)


def _run(
    problem: WeightProblem,
    method: str,
    wanted: float,
    began: float,
    deadline: float,
    progress: Tell | None,
) -> OptimalWeights:
    best: Iterate | None = None
    name, iterations = method, 0
    stopped: Stop = "end"
    try:
        for name, best in solver_for(problem, method, deadline - began):
            seconds = time.perf_counter() - began
            if progress is not None:
                progress(Reached(name, iterations, seconds, best.upper, best.lower))
            if _near(best, wanted) and _near(best := _as_stored(best), wanted):
                stopped = "width"
                break
            if best.lower > 1 + NEVER:
                break
            if time.perf_counter() > deadline:
                stopped = "time"
                break
            iterations += 1
    except KeyboardInterrupt:
        if best is None:
            raise
        stopped = "interrupt"
    if best is None:
        raise ConvergenceError(f"{name} found no weights; try another method")
    return _result(problem, best, name, iterations, began, stopped)


def _near(found: Iterate, wanted: float) -> bool:
    return width_of(found.upper, found.lower) <= wanted or found.upper <= found.lower


def _as_stored(found: Iterate) -> Iterate:
    """Give the bound that the certificate has when it comes back from a file, with fewer columns and digits."""
    certificate = fewer_columns(found.certificate(), found.upper)
    stored = Certificate.from_dict(certificate.problem.nodes, certificate.to_dict())
    return replace(found, lower=min(found.lower, stored.bound(found.upper)), certificate=lambda: stored)


def _result(
    problem: WeightProblem, best: Iterate, name: str, iterations: int, began: float, stopped: Stop
) -> OptimalWeights:
    """Measure the weights anew, by an eigensolver that the method did not use, and the bound from what is stored."""
    weights, reached = best.weights, slem(problem.matrix(best.weights))
    if problem.nonnegative and problem.self_weights != "zero":
        used = np.where(weights < UNUSED, 0.0, weights)
        if (found := slem(problem.matrix(used))) <= reached + ROUNDED * (1 - reached):
            weights, reached = used, found
    if stopped != "width" and not problem.directed and (simple := simple_weights(problem)) is not None:
        weights, reached = min((weights, reached), simple, key=lambda pair: pair[1])
    certificate = _as_stored(best).certificate()
    lower = min(certificate.bound(reached), reached)
    _require_mixing(problem, weights, reached, lower, stopped)
    seconds = time.perf_counter() - began
    return OptimalWeights(problem, weights, reached, lower, certificate, name, iterations, seconds, stopped)


def _require_mixing(problem: WeightProblem, weights: FloatArray, reached: float, lower: float, stopped: Stop) -> None:
    """Refuse results that would be no mixing matrix, or not the one that was asked for."""
    if lower > 1 - NEVER or (not reached < 1 - NEVER and lower > 1 - HARDLY):
        raise GraphError(f"no weights within the limits mix: none have a SLEM below {lower:.6g}; {_remedy(problem)}")
    if not reached < 1 - NEVER:
        when = "" if stopped == "end" else " in the time that there was"
        raise ConvergenceError(
            f"no weights that mix were found{when}: the best have a SLEM of {reached:.6g}, and none go below "
            f"{lower:.6g}; allow more time, or {_remedy(problem)}"
        )
    if (excess := problem.excess(weights)) > EXCESS:
        raise ConvergenceError(f"the weights that were found leave their limits by {excess:.3g}; try another method")


def _remedy(problem: WeightProblem) -> str:
    remedies = ["raise the bounds"] if problem.upper is not None else []
    remedies += ["allow self-loops"] if problem.self_weights == "zero" else []
    return " or ".join(remedies) or "add edges"
