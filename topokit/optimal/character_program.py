"""Weights of a Cayley graph, one for each difference, and the eigenvalues that they give: one for each character."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from topokit.errors import GraphError, InputError
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.certificate import ALLOWED, Certificate
from topokit.optimal.problem import WeightProblem

__all__ = ["CharacterProgram", "Multipliers", "Point"]

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Point:
    """Weights within the limits, shape (k,), the gap 1 - |lambda| of every character, and the least."""

    weights: FloatArray
    gaps: FloatArray
    gap: float


@dataclass(frozen=True)
class Multipliers:
    """Multipliers, of sum 1, of characters at angles; the price of the sum of weights at a node; what they prove."""

    mode: IntArray
    angle: FloatArray
    worth: FloatArray
    price: float
    bound: float

    @classmethod
    def none(cls) -> Multipliers:
        """Give multipliers that prove nothing."""
        return cls(np.zeros(1, dtype=np.int64), np.zeros(1), np.ones(1), 0.0, -np.inf)


@dataclass(frozen=True)
class CharacterProgram:
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
    def of(cls, problem: WeightProblem, shape: tuple[int, ...]) -> CharacterProgram:
        """Set the program up.

        Raises
        ------
        InputError
            If edges or bounds change under shifts.
        GraphError
            If no weights within the bounds leave the nodes without self-loops.
        """
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

    @property
    def sizes(self) -> FloatArray:
        """Give how large weights can be that bounds keep small, and 1 for others, shape (k,): their units."""
        high = np.where(self.high > 0, np.minimum(self.high, 1.0), 1.0)
        # A negative weight may be large where a positive one may not.
        return high if self.problem.nonnegative else np.full(high.size, high.max())

    def start(self) -> FloatArray:
        """Give equal weights, as far as the limits allow."""
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

    def at(self, weights: FloatArray) -> Point:
        """Compute the gaps of all characters."""
        lost = self.parts @ weights
        # 1 - |lambda|, without the cancellation where that is tiny.
        square = 2 * lost.real - np.abs(lost) ** 2
        gaps = np.asarray(square / (1 + np.sqrt(np.maximum(1 - square, 0))), dtype=np.float64)
        return Point(weights, gaps, float(gaps.min(initial=np.inf)))

    def rows(self, mode: IntArray, angle: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give a and r of the inequalities a w - gap >= r, each of a character and an angle."""
        parts = self.parts[mode]
        a = parts.real * np.cos(angle)[:, None] + parts.imag * np.sin(angle)[:, None]
        return a, -2 * np.sin(angle / 2) ** 2

    def angles(self, mode: IntArray, weights: FloatArray) -> FloatArray:
        """Give the angles of the eigenvalues of some characters."""
        eigenvalues = 1 - self.parts[mode] @ weights
        if not self.problem.directed:
            return np.where(eigenvalues.real < 0, np.pi, 0.0)
        return np.asarray(np.angle(eigenvalues), dtype=np.float64)

    def bound(self, mode: IntArray, angle: FloatArray, worth: FloatArray, price: float) -> float:
        """Give what a dual point proves, as `Certificate.bound` does edge by edge, with its allowance for rounding."""
        a, r = self.rows(mode, angle)
        value = worth @ a
        left = value - price * self.peers
        most = np.where(left > 0, self.high, self.low) * left
        high = np.abs(self.high)
        rounding = ALLOWED * EPS * (1 + abs(price) + high @ np.abs(left) + high @ np.abs(value))
        # Of norms and entries of the factors, two columns for each character.
        rounding += 2 * (2 * mode.size + ALLOWED) * EPS * (1 + high @ (worth @ np.abs(self.parts[mode])))
        return float(1 + worth @ r - price - most.sum() - rounding)

    def best_price(self, value: FloatArray) -> float:
        """Give the price of the sum of weights at a node that makes the bound largest.

        The bound is concave and piecewise linear in it, and bends where it equals the value of a difference's edge.
        """
        kind, most = self.problem.self_weights, float(self.peers @ self.high)
        if kind == "free" or (kind == "nonnegative" and most <= 1):
            return 0.0
        bends = value / self.peers
        order = np.argsort(bends)
        # What the weights add up to at a price between two bends: those that are worth more are at their most.
        sums = most - np.cumsum((self.peers * (self.high - self.low))[order])
        place = min(int(np.searchsorted(-sums, -1.0)), bends.size - 1)
        price = float(bends[order[place]])
        return price if kind == "zero" else max(0.0, price)

    def proof(self, mode: IntArray, angle: FloatArray, worth: FloatArray) -> Multipliers:
        """Find what multipliers of sum 1 prove."""
        price = self.best_price(worth @ self.rows(mode, angle)[0])
        return Multipliers(mode, angle, worth, price, self.bound(mode, angle, worth, price))

    def certificate(self, dual: Multipliers) -> Certificate:
        """Make the dual matrix: sum over characters of worth times the projector onto it, turned by the angle."""
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
