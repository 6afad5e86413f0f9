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

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topokit.errors import ConvergenceError, GraphError, InputError
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.certificate import Certificate, width
from topokit.optimal.iterates import Iterate
from topokit.optimal.problem import WeightProblem
from topokit.spectral.groups import group_shape

__all__ = ["cayley_shape", "character_weights"]

EPS = float(np.finfo(np.float64).eps)
TOLERANCE = 1e-9  # of HiGHS
ADDED = 40  # inequalities that are added at a time, at least
ROUNDS = 100  # programs that are solved at most at one magnification
POLISHED = 4  # programs between two attempts to finish by Newton's method
NEWTON = 12  # steps at most
NEAR = 1e-8  # the share of a weight's range that is no distance to its ends
MAGNIFICATIONS = (1.0, 1e4, 1e7)
REACH = 100.0  # of a magnified program, in its own units
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


def character_weights(problem: WeightProblem, shape: tuple[int, ...]) -> Iterate:
    """Solve a problem that is invariant under shifts of each digit of the nodes' numbers.

    Parameters
    ----------
    problem : WeightProblem
        Undirected (a linear program) or directed (the limit of linear programs); edges as in `cayley_shape`.
    shape : tuple of int
        Node i has the digits ``np.unravel_index(i, shape)``.

    Returns
    -------
    Iterate
        Its width is about 1e-9, or the rounding errors over the gap where these are more.

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
    program = _Program.of(problem, shape)
    found, best = _Cuts.start(program), program.at(program.start())
    proof = _Dual.none()
    for magnification in MAGNIFICATIONS:
        tolerance = TOLERANCE * program.unit / magnification
        for attempt in range(ROUNDS):
            candidate, model, dual = _solve(program, found, best, magnification)
            done = not found.add(program, candidate, model - tolerance)
            best = max(best, candidate, key=lambda point: point.gap)
            done |= model - best.gap <= tolerance
            if done or attempt % POLISHED == POLISHED - 1:
                path = _polished(program, candidate, dual)
                found.add(program, path[-1], model - tolerance)
                best = max(best, *path, key=lambda point: point.gap)
                # Where eigenvalues are complex the gap is flat near the best weights, and their angles are not.
                proof = max(proof, *(_exact(program, end, dual) for end in (best, path[-1])), key=lambda end: end.bound)
                if done or width(1 - best.gap, proof.bound) <= ENOUGH:
                    break
        if width(1 - best.gap, proof.bound) <= ENOUGH:
            break
    upper = min(1.0, 1 - best.gap + (8 + best.weights.size) * EPS)
    return Iterate(best.weights[program.group], upper, max(0.0, proof.bound), lambda: program.certificate(proof))


@dataclass(frozen=True)
class _Point:
    """Weights within the limits, shape (k,), the gap 1 - |lambda| of every character, and the least."""

    weights: FloatArray
    gaps: FloatArray
    gap: float


@dataclass(frozen=True)
class _Dual:
    """Multipliers, of sum 1, of characters at angles; the price of the sum of weights at a node; what they prove."""

    mode: IntArray
    angle: FloatArray
    worth: FloatArray
    price: float
    bound: float

    @classmethod
    def none(cls) -> _Dual:
        return cls(np.zeros(1, dtype=np.int64), np.zeros(1), np.ones(1), 0.0, -np.inf)


@dataclass(frozen=True)
class _Program:
    """The problem in one weight for each difference g, or pair of g and -g.

    Attributes
    ----------
    group : ndarray of int64, shape (m,)
        Number of the difference of each edge.
    peers : ndarray of float64, shape (k,)
        Edges of each difference at a node.
    low, high : ndarray of float64, shape (k,)
    modes : ndarray of int64, shape (c,)
        Numbers of the characters, of two conjugate ones the first.
    parts : ndarray of complex128, shape (c, k)
        d_k(chi).
    unit : float
        A gap that is within reach.
    """

    problem: WeightProblem
    shape: tuple[int, ...]
    group: IntArray
    peers: FloatArray
    low: FloatArray
    high: FloatArray
    modes: IntArray
    parts: NDArray[np.complex128]
    unit: float = 1.0

    @classmethod
    def of(cls, problem: WeightProblem, shape: tuple[int, ...]) -> _Program:
        n = problem.nodes
        if prod(shape) != n:
            raise InputError(f"digits of sizes {shape} number {prod(shape)} nodes, and the problem has {n}")
        sizes = np.array(shape)
        u, v = (np.stack(np.unravel_index(ends, shape)) for ends in problem.edges.T)
        ahead = np.ravel_multi_index(tuple((v - u) % sizes[:, None]), shape)
        back = np.ravel_multi_index(tuple((u - v) % sizes[:, None]), shape)
        classes, first, group, size = np.unique(
            ahead if problem.directed else np.minimum(ahead, back),
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        whole = problem.directed | (ahead[first] != back[first])
        upper = problem.upper
        if (2 * size != n * (1 + whole)).any() or (upper is not None and (upper != upper[first][group]).any()):
            raise InputError(f"edges or bounds change when nodes are shifted along digits of sizes {shape}")
        peers = np.where(whole & (not problem.directed), 2.0, 1.0)
        # Entries of W - J are at most its norm, and that is at most 1 for weights 0, or some not negative ones.
        most = np.full(classes.size, 1 + 1 / n)
        high = most if upper is None else np.minimum(most, upper[first])
        low = np.zeros(classes.size) if problem.nonnegative else -most
        if problem.self_weights == "zero" and peers @ high < 1:
            raise GraphError(
                f"without self-loops the weights at a node sum to 1, and the bounds allow {peers @ high:.6g} at most"
            )
        numbers = np.arange(1, n)
        digits = np.stack(np.unravel_index(numbers, shape))
        modes = numbers[numbers <= np.ravel_multi_index(tuple(-digits % sizes[:, None]), shape)]
        parts = peers * _parts(shape, modes, classes, problem.directed)
        program = cls(problem, shape, group, peers, low, high, modes, parts)
        lazy = program.at(np.minimum(high, 1 / (1 + peers.sum()))).gap
        return replace(program, unit=lazy if 0 < lazy < np.inf else 1.0)

    def start(self) -> FloatArray:
        return self.feasible(np.minimum(self.high, 1 / (1 + self.peers.sum())))

    def feasible(self, weights: FloatArray) -> FloatArray:
        """Take away what rounding, or HiGHS's tolerance, leaves beyond the limits."""
        weights = np.clip(weights, self.low, self.high)
        total = float(self.peers @ weights)
        kind = self.problem.self_weights
        if kind == "zero" and total < 1:
            room = self.high - weights
            return np.asarray(weights + room * (1 - total) / (self.peers @ room))
        if (kind == "zero" and total > 1) or (kind == "nonnegative" and total > 1):
            room = weights - self.low
            return np.asarray(weights - room * (total - 1) / (self.peers @ room))
        return np.asarray(weights)

    def at(self, weights: FloatArray) -> _Point:
        lost = self.parts @ weights
        # 1 - |lambda|, without the cancellation where that is tiny.
        square = 2 * lost.real - np.abs(lost) ** 2
        gaps = np.asarray(square / (1 + np.sqrt(np.maximum(1 - square, 0))), dtype=np.float64)
        return _Point(weights, gaps, float(gaps.min(initial=np.inf)))

    def rows(self, mode: IntArray, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give a and r of the inequalities a w - gap >= r, each of a character and an angle."""
        parts = self.parts[mode]
        a = parts.real * np.cos(angle)[:, None] + parts.imag * np.sin(angle)[:, None]
        return a, -2 * np.sin(angle / 2) ** 2

    def angles(self, mode: IntArray, weights: FloatArray) -> FloatArray:
        eigenvalues = 1 - self.parts[mode] @ weights
        if not self.problem.directed:
            return np.where(eigenvalues.real < 0, np.pi, 0.0)
        return np.asarray(np.angle(eigenvalues), dtype=np.float64)

    def bound(self, mode: IntArray, angle: FloatArray, worth: FloatArray, price: float) -> float:
        """Give what a dual point proves, as `Certificate.bound` does edge by edge, with its allowance for rounding."""
        a, r = self.rows(mode, angle)
        left = worth @ a - price * self.peers
        most = np.where(left > 0, self.high, self.low) * left
        rounding = 4 * EPS * (1 + abs(price) + np.abs(most).sum() + np.abs(worth @ a).sum())
        return float(1 + worth @ r - price - most.sum() - rounding)

    def certificate(self, dual: _Dual) -> Certificate:
        left, right = self._factors(dual.mode, dual.angle, dual.worth)
        n = self.problem.nodes
        return Certificate(self.problem, left, right, np.full(n, dual.price / n))

    def _factors(self, mode: IntArray, angle: FloatArray, worth: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give the factors of sum over characters of worth / n cos(theta (u - v) - t), row v and column u."""
        numbers = np.arange(self.problem.nodes)
        theta = 2 * np.pi * _turns(self.shape, numbers, self.modes[mode])
        size = np.sqrt(worth / self.problem.nodes)
        columns = [size * np.cos(theta), size * np.sin(theta)]
        turned = [size * np.cos(theta - angle), size * np.sin(theta - angle)]
        if not self.problem.directed:  # the same columns up to signs, which files of certificates make use of
            turned = [np.where(angle > 0, -1.0, 1.0) * column for column in columns]
        left, right = np.hstack(columns), np.hstack(turned)
        real = np.abs(left).max(axis=0, initial=0) > 1e-9 * np.abs(left).max(initial=0)
        return left[:, real], right[:, real]


class _Cuts:
    """The inequalities found so far: a character, and an angle."""

    def __init__(self, mode: IntArray, angle: FloatArray) -> None:
        self.mode, self.angle = mode, angle

    @classmethod
    def start(cls, program: _Program) -> _Cuts:
        """Take the slowest and the fastest characters of each difference, and of all."""
        size = np.hstack((program.parts.real, program.parts.real.sum(axis=1, keepdims=True)))
        ends = np.unique(np.r_[size.argmin(axis=0), size.argmax(axis=0)])
        return cls(np.r_[ends, ends].astype(np.int64), np.r_[np.zeros(ends.size), np.full(ends.size, np.pi)])

    def add(self, program: _Program, point: _Point, wanted: float) -> bool:
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


def _solve(program: _Program, found: _Cuts, centre: _Point, magnification: float) -> tuple[_Point, float, _Dual]:
    """Maximise the gap under the inequalities found, as magnified steps from a centre.

    Returns
    -------
    point : _Point
    model : float
        The gap under these inequalities, near the centre.
    dual : _Dual
        As HiGHS gives it, with no bound.
    """
    from scipy.optimize import linprog

    a, r = program.rows(found.mode, found.angle)
    slack = a @ centre.weights - centre.gap - r
    scale = np.abs(a).max(axis=1) + program.unit
    reach = np.inf if magnification == 1 else REACH
    cuts = np.flatnonzero(magnification * slack / scale <= (centre.weights.size + 1) * reach)
    matrix = np.hstack((-a[cuts], np.full((cuts.size, 1), program.unit))) / scale[cuts, None]
    limits = magnification * slack[cuts] / scale[cuts]
    bounds = np.stack((program.low - centre.weights, program.high - centre.weights)) * magnification
    bounds = np.hstack((np.clip(bounds, -reach, reach), [[-reach], [reach]]))
    sums, rest = np.r_[program.peers, 0.0], magnification * (1 - float(program.peers @ centre.weights))
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
    point = program.at(program.feasible(centre.weights + result.x[:-1] / magnification))
    model = centre.gap + program.unit * float(result.x[-1]) / magnification
    marginals = -np.asarray(result.ineqlin.marginals)[: cuts.size]
    used = marginals > TOLERANCE * marginals.max()
    mode, angle, worth = found.mode[cuts[used]], found.angle[cuts[used]], marginals[used] / scale[cuts[used]]
    if program.problem.directed:  # tangents at nearby angles become one, at the eigenvalue's
        mode, place = np.unique(mode, return_inverse=True)
        angle, worth = program.angles(mode, point.weights), np.bincount(place, weights=worth)
    return point, model, _Dual(mode, angle, worth / worth.sum(), 0.0, -np.inf)


def _polished(program: _Program, point: _Point, dual: _Dual) -> list[_Point]:
    """Take Newton steps to weights at which the characters of a dual point have one gap and add up to no direction."""
    kind, k = program.problem.self_weights, point.weights.size
    worth, path = dual.worth, [point]
    for _ in range(NEWTON):
        weights = point.weights
        inside = _inside(program, weights)
        full = kind == "zero" or (kind == "nonnegative" and 1 - program.peers @ weights < NEAR)
        angle = program.angles(dual.mode, weights)
        parts = program.parts[dual.mode][:, inside] * np.exp(-1j * angle)[:, None]
        modulus = np.maximum(1 - point.gaps[dual.mode], NEAR)
        scale = np.abs(parts.real).max(axis=1, initial=0) + program.unit
        a, unit, c = parts.real / scale[:, None], program.unit / scale, int(inside.sum())
        curved = parts.imag * np.sqrt(np.maximum(worth, 0) / program.unit / modulus)[:, None]
        sums = program.peers[inside, None] * full
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
        moved[inside] = step[:c]
        worth = step[c + 1 : -1] * unit
        point = program.at(program.feasible(weights + moved))
        path.append(point)
        if np.abs(moved).max(initial=0) < EPS:
            break
    return path


def _inside(program: _Program, weights: FloatArray) -> NDArray[np.bool_]:
    room = NEAR * (program.high - program.low)
    return (weights > program.low + room) & (weights < program.high - room)


def _exact(program: _Program, point: _Point, dual: _Dual) -> _Dual:
    """Find multipliers of the same characters that leave no weight within its limits a use."""
    from scipy.optimize import nnls

    weights, kind = point.weights, program.problem.self_weights
    angle = program.angles(dual.mode, weights) if program.problem.directed else dual.angle
    a, _ = program.rows(dual.mode, angle)
    scale = np.abs(a).max(axis=1) + program.unit
    # Below the least weight or above the largest there may be a use.
    room = NEAR * (program.high - program.low)
    columns = [(a / scale[:, None]).T, np.eye(weights.size)[:, weights <= program.low + room]]
    columns.append(-np.eye(weights.size)[:, weights >= program.high - room])
    if kind == "zero" or (kind == "nonnegative" and 1 - program.peers @ weights < NEAR):
        columns.append(-program.peers[:, None])
    if kind == "zero":
        columns.append(program.peers[:, None])
    system = np.hstack(columns)
    total = np.zeros(system.shape[1])
    total[: dual.mode.size] = program.unit / scale
    solution, _ = nnls(np.vstack((system, total)), np.r_[np.zeros(weights.size), 1.0])
    worth = solution[: dual.mode.size] / scale
    if worth.sum() == 0:
        return dual
    keep = worth > 0
    mode, angle, worth = dual.mode[keep], angle[keep], worth[keep] / worth.sum()
    # The price follows from the weights within their limits.
    price, free = 0.0, _inside(program, weights)
    if len(columns) > 3 and free.any():
        ratio = (worth @ program.rows(mode, angle)[0])[free] / program.peers[free]
        price = float(ratio.mean()) if kind == "zero" else max(0.0, float(ratio.max()))
    return _Dual(mode, angle, worth, price, program.bound(mode, angle, worth, price))


def _turns(shape: tuple[int, ...], left: IntArray, right: IntArray) -> FloatArray:
    """Give the angles of characters at group elements, as parts of a whole turn from -1/2 to 1/2: left by right."""
    turns = np.zeros((left.size, right.size))
    digits = zip(shape, np.unravel_index(left, shape), np.unravel_index(right, shape), strict=True)
    for size, i, j in digits:
        turns += i[:, None] * j % size / size
    return np.asarray(turns - np.round(turns), dtype=np.float64)


def _parts(shape: tuple[int, ...], modes: IntArray, classes: IntArray, directed: bool) -> NDArray[np.complex128]:
    """Give 1 - conj chi(g), or its real part, with 1 - cos as 2 sin^2."""
    half = np.pi * _turns(shape, modes, classes)
    sine = np.sin(half)
    return np.asarray(2 * sine**2 + (2j * sine * np.cos(half) if directed else 0), dtype=np.complex128)
