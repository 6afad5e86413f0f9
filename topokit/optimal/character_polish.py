"""The last digits of a linear program over characters: Newton's method, and exact multipliers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topokit.matrix import FloatArray
from topokit.optimal.character_program import CharacterProgram, Multipliers, Point

__all__ = ["exact_multipliers", "newton_path"]

EPS = float(np.finfo(np.float64).eps)
NEWTON = 12  # steps at most
NEAR = 1e-8  # the share of a weight's range that is no distance to its ends


def newton_path(program: CharacterProgram, point: Point, dual: Multipliers) -> list[Point]:
    """Take Newton steps to weights at which the characters of a dual point have one gap and add up to no direction.

    Returns
    -------
    list of Point
        The given one, and that after each step.

    Examples
    --------
    The eigenvalues 1 - 2w and 1 - 4w of a ring of four are 1/3 and -1/3 at the optimum:

    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> program = CharacterProgram.of(weight_problem(nx.cycle_graph(4), "fmmc"), (4,))
    >>> ends = Multipliers(np.array([0, 1]), np.array([0.0, np.pi]), np.ones(2) / 2, 0.0, -np.inf)
    >>> newton_path(program, program.at(np.array([0.3])), ends)[-1].weights.round(12).tolist()
    [0.333333333333]
    """
    kind, k = program.problem.self_weights, point.weights.size
    worth, path = dual.worth, [point]
    for _ in range(NEWTON):
        weights = point.weights
        inside = _inside(program, weights)
        full = kind == "zero" or (kind == "nonnegative" and 1 - program.peers @ weights < NEAR)
        angle = program.angles(dual.mode, weights)
        size = program.sizes[inside]
        parts = program.parts[dual.mode][:, inside] * size * np.exp(-1j * angle)[:, None]
        modulus = np.maximum(1 - point.gaps[dual.mode], NEAR)
        scale = np.abs(parts.real).max(axis=1, initial=0) + program.unit
        a, unit, c = parts.real / scale[:, None], program.unit / scale, int(inside.sum())
        curved = parts.imag * np.sqrt(np.maximum(worth, 0) / program.unit / modulus)[:, None]
        sums = (program.peers[inside] * size)[:, None] * full
        r = dual.mode.size
        system = np.zeros((c + r + 2, c + r + 2))  # of the step, the gap in units, the multipliers, the price
        system[:c, :c] = -curved.T @ curved
        system[:c, c + 1 : -1], system[:c, -1:] = a.T, -sums
        system[c : c + r, :c], system[c : c + r, c] = a, -unit
        system[-2, c + 1 : -1] = unit
        system[-1, :c] = sums[:, 0]
        target = np.r_[np.zeros(c), -point.gaps[dual.mode] / scale, 1.0, full * (1 - program.peers @ weights)]
        if not np.isfinite(system).all():
            break
        step = np.linalg.lstsq(system, target, rcond=1e-14)[0]
        moved = np.zeros(k)
        moved[inside] = size * step[:c]
        worth = step[c + 1 : -1] * unit
        point = program.at(program.feasible(weights + moved))
        path.append(point)
        if np.abs(moved).max(initial=0) < EPS:
            break
    return path


def exact_multipliers(program: CharacterProgram, point: Point, dual: Multipliers) -> Multipliers:
    """Find multipliers of the same characters that leave no weight within its limits a use.

    Returns
    -------
    Multipliers
        With what they prove; those given, where there are none.

    Examples
    --------
    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> program = CharacterProgram.of(weight_problem(nx.cycle_graph(4), "fmmc"), (4,))
    >>> ends = Multipliers(np.array([0, 1]), np.array([0.0, np.pi]), np.ones(2) / 2, 0.0, -np.inf)
    >>> proof = exact_multipliers(program, program.at(np.array([1 / 3])), ends)
    >>> proof.worth.round(6).tolist(), round(proof.bound, 6)
    ([0.666667, 0.333333], 0.333333)
    """
    from scipy.optimize import nnls

    weights, kind = point.weights, program.problem.self_weights
    angle = program.angles(dual.mode, weights) if program.problem.directed else dual.angle
    a = program.rows(dual.mode, angle)[0] * program.sizes
    scale = np.abs(a).max(axis=1) + program.unit
    # Below the least weight or above the largest there may be a use.
    room = NEAR * program.sizes
    columns = [(a / scale[:, None]).T, np.eye(weights.size)[:, weights <= program.low + room]]
    columns.append(-np.eye(weights.size)[:, weights >= program.high - room])
    sums = (program.peers * program.sizes)[:, None]
    if kind == "zero" or (kind == "nonnegative" and 1 - program.peers @ weights < NEAR):
        columns.append(-sums)
    if kind == "zero":
        columns.append(sums)
    system = np.hstack(columns)
    total = np.zeros(system.shape[1])
    total[: dual.mode.size] = program.unit / scale
    if not total.any():
        return dual
    solution, _ = nnls(np.vstack((system, total / total.max())), np.r_[np.zeros(weights.size), 1.0])
    worth = solution[: dual.mode.size] / scale
    if worth.sum() == 0:
        return dual
    keep = worth > 0
    return program.proof(dual.mode[keep], angle[keep], worth[keep] / worth.sum())


def _inside(program: CharacterProgram, weights: FloatArray) -> NDArray[np.bool_]:
    room = NEAR * program.sizes
    return (weights > program.low + room) & (weights < program.high - room)
