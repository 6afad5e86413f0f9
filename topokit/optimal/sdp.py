"""Optimal weights by semidefinite programs through cvxpy: another way to the same numbers, by solvers of others.

What comes back is not believed: weights are moved into their limits, their SLEM is computed, and the dual matrices
become a certificate.
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from topokit.errors import ConvergenceError, GraphError, InputError
from topokit.matrix import IntArray
from topokit.optimal.certificate import Certificate
from topokit.optimal.compact_dual import compact_certificate
from topokit.optimal.iterates import Iterate
from topokit.optimal.problem import WeightProblem
from topokit.optimal.sdp_program import Limits, Program, cvxpy_module, sdp_program

__all__ = ["SOLVERS", "SdpWeights", "installed_solvers", "sdp_weights"]

# The quickest first. Topokit brings none of the first three: MOSEK is commercial, SDPA and CVXOPT are under the GPL.
SOLVERS = ("MOSEK", "SDPA", "CVXOPT", "CLARABEL", "SCS")
DECOMPOSING = "CLARABEL"  # splits sparse matrices along their cliques: 5 s become 1 s at 64 nodes
SCS_ACCURACY = 1e-7
AS_GOOD = 1e-7  # part of a spectral gap that does not count
USELESS = 1e-7  # spectral gaps of weights that do not mix

OPTIONS: dict[str, dict[str, Any]] = {
    # A solver that stops for lack of progress has often got six digits or more.
    "CLARABEL": {"accept_unknown": True, "tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10},
    "SCS": {"eps_abs": SCS_ACCURACY, "eps_rel": SCS_ACCURACY},
}
TIME_LIMITS: dict[str, Callable[[float], dict[str, Any]]] = {
    "MOSEK": lambda seconds: {"mosek_params": {"MSK_DPAR_OPTIMIZER_MAX_TIME": seconds}},
    "CLARABEL": lambda seconds: {"time_limit": seconds},
    "SCS": lambda seconds: {"time_limit_secs": seconds},
}


@dataclass(frozen=True)
class SdpWeights(Iterate):
    """Weights, their bounds, and whose they are.

    Attributes
    ----------
    solver : str
        That found them.
    """

    solver: str = ""


def installed_solvers() -> tuple[str, ...]:
    """Give those of `SOLVERS` that cvxpy finds here, the preferred first; none without cvxpy.

    Examples
    --------
    >>> set(installed_solvers()) <= set(SOLVERS)
    True
    """
    try:
        found = cvxpy_module().installed_solvers()
    except InputError:
        return ()
    return tuple(name for name in SOLVERS if name in found)


def sdp_weights(
    problem: WeightProblem,
    *,
    solver: str | None = None,
    groups: IntArray | None = None,
    time_limit: float | None = None,
) -> SdpWeights:
    """Solve a problem by one call of a solver for semidefinite programs.

    Parameters
    ----------
    problem : WeightProblem
        Undirected. Up to about 64 nodes are a matter of seconds by CLARABEL, a few hundred by SDPA.
    solver : str, optional
        One of `SOLVERS`, in any case. By default the first one that is installed; the next, where it fails.
    groups : ndarray of int64, shape (m,), optional
        Numbers 0 to K - 1: edges of a group have one weight. The bound is that of the problem without groups: it is
        tight where the groups are the orbits of automorphisms, and holds in any case.
    time_limit : float, optional
        Seconds of each run of a solver. SDPA and CVXOPT know no such limit, and run to their end.

    Returns
    -------
    SdpWeights
        An `Iterate` that names the solver. Nothing is said about how tight its bounds are: they are what they are.

    Raises
    ------
    InputError
        If cvxpy or the solver is not installed, or there is no such solver.
    GraphError
        If it is proved that no weights within the limits mix.
    ConvergenceError
        If the solver came back without weights that mix.

    Notes
    -----
    While a solver runs, what this process writes to its standard output is lost: SDPA prints there.

    References
    ----------
    .. [1] L. Xiao, S. Boyd, "Fast linear iterations for distributed averaging", Systems & Control Letters 53, 2004,
       section 5.
    .. [2] S. Boyd, P. Diaconis, L. Xiao, "Fastest mixing Markov chain on a graph", SIAM Review 46(4), 2004, section 2.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> paw = nx.Graph([(0, 1), (0, 2), (1, 2), (2, 3)])
    >>> found = sdp_weights(weight_problem(paw, "fmmc"))  # doctest: +SKIP
    >>> round(found.upper, 6), round(found.lower, 6)  # doctest: +SKIP
    (0.636364, 0.636364)
    """
    if problem.directed:
        raise InputError("the semidefinite program is that of symmetric weights, and this problem is directed")
    if time_limit is not None and not time_limit > 0:
        raise InputError(f"the time limit must be a positive number of seconds, got {time_limit}")
    if groups is not None and np.shape(groups) != (len(problem.edges),):
        raise InputError(f"groups are one number for each of the {len(problem.edges)} edges")
    candidates = _candidates(solver)
    if problem.nodes == 1:
        alone = Certificate.symmetric(problem, np.zeros((1, 0)), np.zeros((1, 0)), np.zeros(1))
        return SdpWeights(np.zeros(0), 0.0, 0.0, lambda: alone, candidates[0])
    failures = []
    for name in candidates:
        try:
            found = _solve(Limits.of(problem, np.arange(len(problem.edges))), name, time_limit)
            return found if groups is None else _tied(found, Limits.of(problem, np.asarray(groups)), time_limit)
        except ConvergenceError as failure:
            failures.append(str(failure))
    raise ConvergenceError("; ".join(failures))


def _candidates(solver: str | None) -> tuple[str, ...]:
    cvxpy_module()
    installed = installed_solvers()
    here = f"installed here: {', '.join(installed) or 'none'}"
    if solver is None:
        if not installed:
            raise InputError(f"cvxpy finds none of the SDP solvers {', '.join(SOLVERS)}: pip install clarabel")
        return installed
    name = solver.upper()
    if name not in SOLVERS:
        raise InputError(f"unknown SDP solver {solver!r}; known: {', '.join(SOLVERS)} ({here})")
    if name not in installed:
        raise InputError(f"the SDP solver {name} is not installed; {here}")
    return (name,)


def _tied(found: SdpWeights, limits: Limits, time_limit: float | None) -> SdpWeights:
    """Give all edges of a group one weight: their mean, which is as good if automorphisms interchange them.

    Dual points of the program with tied variables would do for a bound only if they were as symmetric as the graph.
    """
    mean = np.bincount(limits.groups, weights=found.weights) / np.bincount(limits.groups)
    weights = limits.weights(mean)
    if weights is None or limits.problem.dense_slem(weights) > found.upper + AS_GOOD * (1 - found.upper):
        weights = _solve(limits, found.solver, time_limit).weights
    certificate, upper = found.certificate(), limits.problem.dense_slem(weights)
    return SdpWeights(weights, upper, min(upper, certificate.bound(upper)), found.certificate, found.solver)


def _solve(limits: Limits, solver: str, time_limit: float | None) -> SdpWeights:
    problem = limits.problem
    stated = sdp_program(limits, sparse_basis=solver == DECOMPOSING)
    options = OPTIONS.get(solver, {})
    if time_limit is not None and solver in TIME_LIMITS:
        options = options | TIME_LIMITS[solver](time_limit)
    try:
        with _silence(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is inaccurate shows in the bounds
            stated.program.solve(solver=solver, **options)
    except Exception as error:  # whatever a solver raises, of its licence, say
        raise ConvergenceError(f"{solver} failed: {' '.join(str(error).split()) or type(error).__name__}") from error
    status = stated.program.status
    weights = limits.weights(stated.x.value)
    if weights is None:
        raise ConvergenceError(f"{solver} found no weights within the limits: it came back with {status!r}")
    upper = problem.dense_slem(weights)
    certificate = _certificate(problem, stated, upper)
    lower = min(upper, certificate.bound(upper))
    if lower > 1 - USELESS:
        raise GraphError(
            f"no weights within the limits mix values: their SLEM is at least {lower:.6g}; allow self-loops, larger "
            "weights, or more edges"
        )
    if upper >= 1:
        raise ConvergenceError(f"the weights of {solver} do not mix (SLEM {upper:.6g}): it came back with {status!r}")
    return SdpWeights(weights, upper, lower, lambda: certificate, solver)


def _certificate(problem: WeightProblem, solved: Program, upper: float) -> Certificate:
    positive, negative = solved.duals()
    total = float(np.trace(positive) + np.trace(negative))
    if not total > 0:
        nothing = np.zeros((problem.nodes, 0))
        return Certificate.symmetric(problem, nothing, nothing, np.zeros(problem.nodes))
    return compact_certificate(problem, positive / total, negative / total, solved.prices() / total, upper)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what C code prints, too, off the standard output."""
    flush = _flusher()
    sys.stdout.flush()
    flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        flush()  # C keeps what it prints to a pipe, and would write it out later
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _flusher() -> Callable[[], object]:
    with suppress(OSError, TypeError, AttributeError):
        library = ctypes.CDLL(None)
        return lambda: library.fflush(None)
    return lambda: None
