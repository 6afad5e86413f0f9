"""Cutting planes: of the inequalities of all characters and angles, those that matter, and their linear program."""

from __future__ import annotations

import numpy as np

from topokit.errors import ConvergenceError
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.character_program import CharacterProgram, Multipliers, Point

__all__ = ["TOLERANCE", "Cuts", "solve_cuts"]

TOLERANCE = 1e-9  # of HiGHS
ADDED = 40  # inequalities that are added at a time, at least
REACH = 100.0  # of a magnified program, in its own units


class Cuts:
    """The inequalities found so far: a character, and an angle."""

    def __init__(self, mode: IntArray, angle: FloatArray) -> None:
        self.mode, self.angle = mode, angle

    @classmethod
    def start(cls, program: CharacterProgram) -> Cuts:
        """Take the slowest and the fastest characters of each difference, and of all."""
        size = np.hstack((program.parts.real, program.parts.real.sum(axis=1, keepdims=True)))
        ends = np.unique(np.r_[size.argmin(axis=0), size.argmax(axis=0)])
        return cls(np.r_[ends, ends].astype(np.int64), np.r_[np.zeros(ends.size), np.full(ends.size, np.pi)])

    def add(self, program: CharacterProgram, point: Point, wanted: float) -> bool:
        """Add tangents at the characters that are slower than wanted, where neighbours are not slower still."""
        gaps = point.gaps
        lowest = np.r_[gaps[1:] >= gaps[:-1], True] & np.r_[True, gaps[:-1] >= gaps[1:]]
        new = np.flatnonzero(lowest & (gaps < wanted))
        new = new[np.argsort(gaps[new], kind="stable")[: max(ADDED, 2 * point.weights.size)]]
        angle = program.angles(new, point.weights)
        known = set(zip(self.mode.tolist(), self.angle.tolist(), strict=True))
        fresh = [pair not in known for pair in zip(new.tolist(), angle.tolist(), strict=True)]
        new, angle = new[fresh], angle[fresh]
        self.mode, self.angle = np.r_[self.mode, new], np.r_[self.angle, angle]
        return bool(new.size)


def solve_cuts(
    program: CharacterProgram, found: Cuts, centre: Point, magnification: float
) -> tuple[Point, float, Multipliers]:
    """Maximise the gap under the inequalities found, as magnified steps from a centre.

    Returns
    -------
    point : Point
    model : float
        The gap under these inequalities, near the centre.
    dual : Multipliers
        As HiGHS gives it, and what it proves.

    Raises
    ------
    ConvergenceError
        If HiGHS gives up.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> program = CharacterProgram.of(weight_problem(nx.complete_graph(4), "fmmc"), (4,))
    >>> point, model, dual = solve_cuts(program, Cuts.start(program), program.at(program.start()), 1.0)
    >>> round(point.gap, 6), round(model, 6)
    (1.0, 1.0)
    """
    from scipy.optimize import linprog

    a, r = program.rows(found.mode, found.angle)
    slack = a @ centre.weights - centre.gap - r
    a = a * program.sizes
    scale = np.abs(a).max(axis=1) + program.unit
    reach = np.inf if magnification == 1 else REACH
    cuts = np.flatnonzero(magnification * slack / scale <= (centre.weights.size + 1) * reach)
    matrix = np.hstack((-a[cuts], np.full((cuts.size, 1), program.unit))) / scale[cuts, None]
    limits = magnification * slack[cuts] / scale[cuts]
    bounds = np.stack((program.low - centre.weights, program.high - centre.weights)) * magnification / program.sizes
    bounds = np.hstack((np.clip(bounds, -reach, reach), [[-reach], [reach]]))
    sums, rest = np.r_[program.peers * program.sizes, 0.0], magnification * (1 - float(program.peers @ centre.weights))
    equal: tuple[FloatArray | None, FloatArray | None] = None, None
    if program.problem.self_weights == "nonnegative":
        matrix, limits = np.vstack((matrix, sums)), np.r_[limits, rest]
    elif program.problem.self_weights == "zero":
        equal = sums[None], np.array([rest])
    result = linprog(
        np.r_[np.zeros(centre.weights.size), -1.0],
        matrix,
        limits,
        *equal,
        bounds=bounds.T.tolist(),
        method="highs",
        options={"primal_feasibility_tolerance": TOLERANCE, "dual_feasibility_tolerance": TOLERANCE},
    )
    if result.x is None:
        raise ConvergenceError(f"HiGHS found no weights for a linear program over {cuts.size} characters")
    point = program.at(program.feasible(centre.weights + program.sizes * result.x[:-1] / magnification))
    model = centre.gap + program.unit * float(result.x[-1]) / magnification
    marginals = -np.asarray(result.ineqlin.marginals)[: cuts.size]
    used = marginals > TOLERANCE * marginals.max()
    mode, angle, worth = found.mode[cuts[used]], found.angle[cuts[used]], marginals[used] / scale[cuts[used]]
    if program.problem.directed:  # tangents at nearby angles become one, at the eigenvalue's
        mode, place = np.unique(mode, return_inverse=True)
        angle, worth = program.angles(mode, point.weights), np.bincount(place, weights=worth)
    if not worth.any():
        return point, model, Multipliers.none()
    return point, model, program.proof(mode, angle, worth / worth.sum())
