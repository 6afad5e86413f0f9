"""Optimal weights of Abelian Cayley graphs: a linear program over the characters, at any size.

On a product of cycles whose edges look the same from every node, some optimal weights do, too: the SLEM is convex, so
that the mean over all shifts is as good. Such weights, one w_k for each difference g_k of numbers, have the eigenvalues

    lambda_chi = 1 - sum_k w_k d_k(chi),   d_k(chi) = 2 (1 - cos angle(chi, g_k))   or, directed,   1 - conj chi(g_k),

of which |lambda_chi| is to be small for all characters but the constant. That is max over angles t of
Re(exp(-it) lambda_chi), with t = 0 and pi alone where eigenvalues are real: linear inequalities, of which few matter.
They are found one by one (cutting planes), and the program of those found is solved by HiGHS. As HiGHS works to an
absolute tolerance, the program is written in terms of the spectral gap in units of its size, and where that is not
enough, solved again for the difference to the solution, magnified. Newton's method on the characters that matter, and
non-negative least squares for their multipliers, give the last digits. The multipliers make the dual matrix: sum over
characters of y_chi times the projector onto it, turned by t.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
from scipy import sparse

from topokit.errors import ConvergenceError, InputError
from topokit.optimal.certificate import width
from topokit.optimal.character_cuts import TOLERANCE, Cuts, solve_cuts
from topokit.optimal.character_polish import exact_multipliers, newton_path
from topokit.optimal.character_program import CharacterProgram, Multipliers, Point
from topokit.optimal.iterates import Iterate
from topokit.optimal.problem import WeightProblem
from topokit.spectral.groups import group_shape

__all__ = ["cayley_shape", "character_weights"]

EPS = float(np.finfo(np.float64).eps)
ROUNDS = 100  # programs that are solved at most at one magnification
POLISHED = 4  # programs between two attempts to finish by Newton's method
MAGNIFICATIONS = (1.0, 1e4, 1e7)
BETWEEN = (0.1, 0.25, 0.5, 0.75, 1.0)
ENOUGH = 1e-10  # width of a certificate that makes the next magnification needless


def cayley_shape(problem: WeightProblem) -> tuple[int, ...] | None:
    """Find the product of cycles that a problem is invariant under: edges and their bounds.

    Parameters
    ----------
    problem : WeightProblem

    Returns
    -------
    tuple of int, or None
        Node i has the digits ``np.unravel_index(i, shape)``.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> cayley_shape(weight_problem(nx.cycle_graph(12), "fmmc"))
    (12,)
    >>> cayley_shape(weight_problem(nx.path_graph(12), "fmmc")) is None
    True
    """
    n, (u, v) = problem.nodes, problem.edges.T
    kind = np.ones(u.size)
    if problem.upper is not None:
        kind += np.unique(problem.upper, return_inverse=True)[1]
    rows, columns, values = (v, u, kind) if problem.directed else (np.r_[v, u], np.r_[u, v], np.r_[kind, kind])
    pattern = sparse.csr_array((values, (rows, columns)), shape=(n, n))
    pattern.sort_indices()
    return group_shape(pattern)


def character_weights(problem: WeightProblem, shape: tuple[int, ...], deadline: float | None = None) -> Iterate:
    """Solve a problem that is invariant under shifts of each digit of the nodes' numbers.

    Parameters
    ----------
    problem : WeightProblem
        Undirected (a linear program) or directed (the limit of linear programs); edges as in `cayley_shape`.
    shape : tuple of int
        Node i has the digits ``np.unravel_index(i, shape)``.
    deadline : float, optional
        Time of `time.perf_counter` after which no further program is solved; at least one is.

    Returns
    -------
    Iterate
        Its width is about 1e-9, or the rounding errors over the gap where these are more; more than that, if time ran
        out.

    Raises
    ------
    InputError
        If edges or bounds are not invariant, or there are no edges.
    GraphError
        If no weights within the bounds leave the nodes without self-loops.
    ConvergenceError
        If HiGHS gives up.

    Notes
    -----
    Weights of differences that other automorphisms of the graph interchange need not be equal: the program may have
    several solutions.

    References
    ----------
    Boyd, Diaconis, Parrilo and Xiao, "Fastest mixing Markov chain on graphs with symmetries", SIAM Journal on
    Optimization 20(2), 2009, on invariance under automorphisms.

    Examples
    --------
    >>> from topokit.optimal.problem import weight_problem
    >>> from topokit.topologies import hypercube_graph
    >>> best = character_weights(weight_problem(hypercube_graph(8), "fdla"), (2, 2, 2))
    >>> round(best.upper, 9), best.upper - best.lower < 1e-9, best.weights.round(9)[:3].tolist()
    (0.5, True, [0.25, 0.25, 0.25])
    """
    if not len(problem.edges):
        raise InputError("without edges there are no weights to choose")
    program = CharacterProgram.of(problem, shape)
    found, best = Cuts.start(program), program.at(program.start())
    proof, late = Multipliers.none(), False
    failed: ConvergenceError | None = None
    for magnification in MAGNIFICATIONS:
        tolerance = TOLERANCE * program.unit / magnification
        for attempt in range(ROUNDS):
            try:
                candidate, model, dual = solve_cuts(program, found, best, magnification)
            except ConvergenceError as error:
                failed = error
                break
            late = deadline is not None and perf_counter() > deadline
            done = late or not found.add(program, candidate, model - tolerance)
            best = max(best, candidate, key=lambda point: point.gap)
            proof = max(proof, dual, key=lambda end: end.bound)
            done |= model - best.gap <= tolerance
            if done or attempt % POLISHED == POLISHED - 1:
                path = _between(program, best, candidate) if late else newton_path(program, candidate, dual)
                found.add(program, path[-1], model - tolerance)
                best = max(best, *path, key=lambda point: point.gap)
                # Where eigenvalues are complex the gap is flat near the best weights, and their angles are not.
                proofs = [exact_multipliers(program, end, dual) for end in (best, path[-1])]
                proof = max(proof, *proofs, key=lambda end: end.bound)
                if done or width(1 - best.gap, proof.bound) <= ENOUGH:
                    break
        if late or failed or width(1 - best.gap, proof.bound) <= ENOUGH:
            break
    if width(1 - best.gap, proof.bound) > ENOUGH:
        proof = max(proof, exact_multipliers(program, best, _slowest(program, best)), key=lambda end: end.bound)
    if failed and 1 - best.gap - proof.bound > TOLERANCE:
        raise failed
    upper = min(1.0, 1 - best.gap + (8 + best.weights.size) * EPS)
    return Iterate(best.weights[program.group], upper, max(0.0, proof.bound), lambda: program.certificate(proof))


def _between(program: CharacterProgram, best: Point, candidate: Point) -> list[Point]:
    """Try means of two points: where few inequalities are known, the later one goes too far."""
    ends = best.weights, candidate.weights
    return [program.at(program.feasible(ends[0] + share * (ends[1] - ends[0]))) for share in BETWEEN]


def _slowest(program: CharacterProgram, point: Point) -> Multipliers:
    """Take the characters of the least gap for those that matter: where tiny bounds decide, they do."""
    mode = np.flatnonzero(point.gaps <= point.gap + TOLERANCE * abs(point.gap))[: point.weights.size + 1]
    worth = np.full(mode.size, 1 / mode.size)
    return Multipliers(mode, program.angles(mode, point.weights), worth, 0.0, -np.inf)
