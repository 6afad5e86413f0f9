"""Optimal weights of large graphs by augmented Lagrangians: a few extreme eigenpairs a step, no matrix over edges."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import sparse

from topokit.errors import InputError
from topokit.matrix import FloatArray
from topokit.optimal.certificate import Certificate, dual_bound, width
from topokit.optimal.extremes import SPARE, TopBlock
from topokit.optimal.iterates import Iterate
from topokit.optimal.problem import WeightProblem
from topokit.optimal.repair import Repair
from topokit.optimal.starts import simple_weights
from topokit.spectral import spectrum

__all__ = ["first_order"]

PASSES = 12
DENSE = 160  # nodes up to which whole eigendecompositions cost less than filters
FIRST_BLOCK = 12
MEMORY = 20  # pairs of the quasi-Newton method
INNER = 5  # steps between two updates of the multipliers
SUFFICIENT = 1e-4  # part of the predicted decrease
SHRINK, TRIALS = 0.4, 8
INEXACT = 0.1  # of the change of the multipliers, that the gradient may have
WORTH_A_CHECK = 0.2  # part of the distance of the bounds that weights have to promise
STALLED = 150  # updates without progress after which nothing more is to be expected
TIGHT = 1e-10
EPS = float(np.finfo(np.float64).eps)


def first_order(problem: WeightProblem, start: FloatArray | None = None, *, seed: int = 0) -> Iterator[Iterate]:
    cfg = CFG
    if problem.directed:
        raise InputError("weights of a directed graph are no problem for this method; it wants an undirected graph")
    if problem.nodes < 2:
        yield Iterate(
            np.zeros(len(problem.edges)), 0.0, 0.0, partial(_certificate, problem, _Multipliers.none(problem))
        )
        return
    search = _Search(problem, start, seed, cfg)
    yield search.iterate()
    while not search.finished:
        search.advance()
        yield search.iterate()


CFG = dict(c=1.0, kappa=1.0, inner=INNER, acc=1e-2)


@dataclass(frozen=True)
class _Multipliers:
    """A dual point: Y = positive positive^T - negative negative^T, prices of nodes, of edges."""

    positive: FloatArray
    negative: FloatArray
    nodes: FloatArray
    edges: FloatArray

    @classmethod
    def none(cls, problem):
        empty = np.zeros((problem.nodes, 0))
        return cls(empty, empty, np.zeros(problem.nodes), np.zeros(len(problem.edges)))


@dataclass(frozen=True)
class _Point:
    weights: FloatArray
    value: float
    gradient: FloatArray
    multipliers: _Multipliers
    trace: float
    worth: FloatArray
    level: float
    values: list
    vectors: list
    shares: list
    active: tuple
    L: object


def _certificate(problem: WeightProblem, found: _Multipliers) -> Certificate:
    return Certificate.symmetric(problem, found.positive, found.negative, found.nodes)


class _Lagrangian:
    """The augmented Lagrangian around multipliers, and its gradient.

    ||W - J||_2 is the largest <P - N, W - J> over P, N psd of trace 1 together. Taking ||P - P'||^2 / (2 s_P) and
    ||N - N'||^2 / (2 s_N) off makes it a smooth function of the weights, whose maximiser comes from the eigenpairs
    of P' + s_P (W - J) above s_P t and of N' - s_N (W - J) above s_N t, with one t for both.
    """

    def __init__(self, problem: WeightProblem, seed: int, cfg) -> None:
        self.problem = problem
        self.cfg = cfg
        self._pattern, self._place = _pattern(problem)
        self.centre = _Multipliers.none(problem)
        rng = np.random.default_rng(seed)
        self._dense = problem.nodes <= DENSE
        if not self._dense:
            self.blocks = [TopBlock.random(problem.nodes, FIRST_BLOCK, rng) for _ in range(2)]
        self._low = np.zeros(len(problem.edges)) if problem.nonnegative else np.full(len(problem.edges), -np.inf)
        self._high = np.full(len(problem.edges), np.inf) if problem.upper is None else problem.upper
        self.accuracy = 1e-4
        self.level = 0.0
        self.evals = 0
        self.filters = 0
        self.fresh = True

    def scale(self, slem: float) -> None:
        """Choose the sizes of the quadratic terms for a SLEM about this."""
        slem = min(slem, 1 - 1e-9)
        ratio = np.sqrt((1 + slem) / (1 - slem))
        c = self.cfg["c"]
        self.stiff = np.array([ratio, 1 / ratio]) * c
        self.stiff_linear = c * self.cfg["kappa"] / self.problem.nodes

    def laplacian(self, weights: FloatArray) -> sparse.csr_array:
        values = np.concatenate((-weights, -weights, self.problem.node_sums(weights)))[self._place]
        return sparse.csr_array((values, self._pattern.indices, self._pattern.indptr), shape=self._pattern.shape)

    def at(self, weights: FloatArray) -> _Point:
        self.evals += 1
        L = self.laplacian(weights)
        factors = self.centre.positive, self.centre.negative
        if self._dense:
            values, vectors, level = self._whole(L, factors)
        else:
            values, vectors, level = self._ends(L, factors)
        self.level = level
        shares = [np.maximum(a - s * level, 0) for a, s in zip(values, self.stiff)]
        value = sum(float((p * a - p * p / 2).sum() / s) for p, a, s in zip(shares, values, self.stiff))
        kept = [vectors[k][:, shares[k] > 0] * np.sqrt(shares[k][shares[k] > 0]) for k in (0, 1)]
        u, v = self.problem.edges.T
        worth = ((kept[0][u] - kept[0][v]) ** 2).sum(axis=1) - ((kept[1][u] - kept[1][v]) ** 2).sum(axis=1)
        self.curvature = np.zeros(len(worth))
        for k in (0, 1):
            share = shares[k][shares[k] > 0]
            factor = np.sqrt(self.stiff[k] / (share + self.stiff[k]))
            self.curvature += ((kept[k][u] - kept[k][v]) * factor) ** 2 @ np.full(len(share), 2.0)
        if self.problem.nonnegative or self.problem.upper is not None:
            self.curvature += self.stiff_linear
        gradient = -worth
        node_active = edge_active = None
        t = self.stiff_linear
        nodes, edges = self.centre.nodes, self.centre.edges
        if self.problem.self_weights != "free":
            nodes = nodes + t * (self.problem.node_sums(weights) - 1)
            if self.problem.self_weights == "nonnegative":
                nodes = np.maximum(nodes, 0)
            node_active = (nodes != 0).astype(float)
            value += float(nodes @ nodes) / (2 * t)
            gradient = gradient + self.problem.ends_sum(nodes)
        if self.problem.nonnegative or self.problem.upper is not None:
            moved = weights + edges / t
            edges = t * (moved - np.clip(moved, self._low, self._high))
            value += float(edges @ edges) / (2 * t)
            edge_active = (edges != 0).astype(float)
            gradient = gradient + edges
        found = _Multipliers(kept[0], kept[1], nodes, edges)
        return _Point(
            weights,
            value,
            gradient,
            found,
            float(shares[0].sum() - shares[1].sum()),
            worth,
            level,
            values,
            vectors,
            shares,
            (node_active, edge_active),
            L,
        )

    def _whole(self, L, factors):
        n = self.problem.nodes
        M = np.eye(n) - L.toarray()
        found = []
        shift = 10 * (1 + np.abs(M).sum(axis=1).max()) * self.stiff.max()
        for k, sign in ((0, 1), (1, -1)):
            A = factors[k] @ factors[k].T + sign * self.stiff[k] * M - shift / n
            values, vectors = np.linalg.eigh(A)
            found.append((values[:0:-1], vectors[:, :0:-1]))
        values = [f[0] for f in found]
        return values, [f[1] for f in found], _threshold(values, self.stiff)

    def _ends(self, L, factors):
        def apply(k: int, X):
            moved = L @ X
            if k == 0:
                moved = X - moved
            else:
                moved -= X
            moved *= self.stiff[k]
            F = factors[k]
            if F.shape[1]:
                moved += F @ (F.T @ X)
            return moved

        applies = [partial(apply, 0), partial(apply, 1)]
        for block, A in zip(self.blocks, applies):
            block.project(A)
        reach = self.reach(L)
        low = [self.stiff[0] * (1 - reach), -self.stiff[1] * 1.0]
        for k in range(PASSES):
            level = _threshold([b.values for b in self.blocks], self.stiff)
            done = True
            for block, A, lo, s in zip(self.blocks, applies, low, self.stiff):
                wanted = max(block.counts(s * level), 1)
                if block.crowded(wanted) and not (self.fresh and k < 4):
                    block.resize(A, 2 * wanted + SPARE)
                    block.refine(A, lo, wanted)
                    done = False
                elif (block.residuals[:wanted] > self.accuracy).any() or (k == 0):
                    block.refine(A, lo, min(wanted, block.basis.shape[1] - SPARE // 2))
                    self.filters += 1
                    done = False
                elif block.basis.shape[1] > 2 * wanted + 2 * SPARE:
                    block.resize(A, wanted + SPARE)
            if done:
                break
        self.fresh = False
        return [b.values for b in self.blocks], [b.basis for b in self.blocks], level

    def reach(self, L):
        """About the largest eigenvalue of L"""
        b = self.blocks[1]
        return 1.02 * max(2.0, float(np.linalg.norm(b.basis.T @ (L @ b.basis), 2)))

    def promised(self, weights):
        """A number that the SLEM is at least"""
        L = self.laplacian(weights)
        if self._dense:
            return 0.0
        out = []
        for k, b in enumerate(self.blocks):
            e = np.linalg.eigvalsh(b.basis.T @ (L @ b.basis))
            out += [1 - e[0], e[-1] - 1]
        return max(out)


class _Curvature:
    def __init__(self, lag, point):
        self.lag, self.point = lag, point
        p = lag.problem
        u, v = p.edges.T
        self.ends = []
        n = p.nodes
        trL = float(point.L.diagonal().sum())
        for k, sign in ((0, 1.0), (1, -1.0)):
            a, V, share, s = point.values[k], point.vectors[k], point.shares[k], lag.stiff[k]
            on = share > 0
            r = int(on.sum())
            U, B = V[:, :r], V[:, r:]
            F = lag.centre.positive if k == 0 else lag.centre.negative
            tr = float((F * F).sum()) + sign * s * (n - 1 - trL)
            left = n - 1 - len(a)
            mean = (tr - a.sum()) / left if left else 0.0
            pa = share[:r]
            nu_b = pa[None, :] / (a[None, :r] - a[r:, None]) if len(a) > r else np.zeros((0, r))
            nu = pa / np.maximum(a[:r] - mean, 1e-300) if left else np.zeros(r)
            self.ends.append((sign, s, U, B, nu_b, nu, U[u] - U[v]))
        self.weight = sum(s * e[2].shape[1] for e, s in zip(self.ends, lag.stiff))

    def __call__(self, d):
        lag = self.lag
        p = lag.problem
        u, v = p.edges.T
        L = lag.laplacian(d)
        parts = []
        total = 0.0
        for sign, s, U, B, nu_b, nu, dU in self.ends:
            X = (L @ U) * (-sign)
            S = U.T @ X
            parts.append((X, S))
            total += s * np.trace(S)
        dt = total / self.weight
        out = np.zeros(len(d))
        for (sign, s, U, B, nu_b, nu, dU), (X, S) in zip(self.ends, parts):
            C = U @ (0.5 * (S - dt * np.eye(len(S))))
            SB = B.T @ X
            C += B @ (nu_b * SB)
            C += (X - U @ S - B @ SB) * nu
            C *= 2 * s * sign
            out -= np.einsum("er,er->e", dU, C[u] - C[v])
        na, ea = self.point.active
        if na is not None:
            out += lag.stiff_linear * p.ends_sum(na * p.node_sums(d))
        if ea is not None:
            out += lag.stiff_linear * ea * d
        return out

    def solve(self, g, rel, most):
        x = np.zeros_like(g)
        r = -g
        p = r.copy()
        rr = r @ r
        stop = rel**2 * rr
        self.its = 0
        eps = None
        for _ in range(most):
            Hp = self(p)
            c = p @ Hp
            if eps is None:
                eps = 1e-4 * c / rr
            c += eps * (p @ p)
            Hp = Hp + eps * p
            if c <= 0:
                break
            al = rr / c
            x += al * p
            r = r - al * Hp
            self.its += 1
            new = r @ r
            if new < stop:
                break
            p = r + (new / rr) * p
            rr = new
        return x


def _pattern(problem: WeightProblem):
    u, v = problem.edges.T
    own = np.arange(problem.nodes)
    rows, columns = np.concatenate((u, v, own)), np.concatenate((v, u, own))
    order = np.lexsort((columns, rows))
    pointers = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=problem.nodes))))
    pattern = sparse.csr_array(
        (np.ones(len(rows)), columns[order].astype(np.int32), pointers.astype(np.int32)), shape=(problem.nodes,) * 2
    )
    return pattern, order


def _threshold(values, stiff) -> float:
    """Find t >= 0 with sum over both ends of (a - s t)_+ = 1, or 0 if the sum is less there."""
    ratio = np.concatenate([a / s for a, s in zip(values, stiff)])
    slope = np.concatenate([np.full(len(a), s) for a, s in zip(values, stiff)])
    order = np.argsort(-ratio)
    ratio, slope = ratio[order], slope[order]
    levels = (np.cumsum(ratio * slope) - 1) / np.cumsum(slope)
    last = np.flatnonzero(ratio > levels)[-1]
    return max(float(levels[last]), 0.0)


class _QuasiNewton:
    """Limited-memory BFGS directions"""

    def __init__(self, memory: int) -> None:
        self._pairs = deque(maxlen=memory)

    def __bool__(self):
        return bool(self._pairs)

    def learn(self, step, change):
        c = float(step @ change)
        if c > 1e-10 * np.linalg.norm(step) * np.linalg.norm(change):
            self._pairs.append((step, change, c))

    def forget(self):
        self._pairs.clear()

    def direction(self, gradient, first):
        q = gradient.copy()
        parts = []
        for step, change, c in reversed(self._pairs):
            part = (step @ q) / c
            parts.append(part)
            q -= part * change
        if getattr(self, "inner", None):
            q = self.inner(q)
        elif self._pairs:
            step, change, c = self._pairs[-1]
            q *= self.inverse * (c / (change @ (self.inverse * change)))
        else:
            q *= first * self.inverse / self.inverse.max()
        for (step, change, c), part in zip(self._pairs, reversed(parts)):
            q += (part - (change @ q) / c) * step
        return -q


class _Search:
    def __init__(self, problem, start, seed, cfg):
        self.problem = problem
        self.cfg = cfg
        self.repair = Repair(problem)
        simple = simple_weights(problem)
        self.seed = seed
        self.weights, self.upper = simple if simple is not None else (self.repair.inside, np.inf)
        self.lower = 0.0
        self.best_dual = _Multipliers.none(problem)
        x = self.weights
        if start is not None:
            x = self.repair(start)
        self.lagrangian = _Lagrangian(problem, seed, cfg)
        self.lagrangian.scale(0.9)
        self._check(x)
        self._check(self.weights)
        self.scaled_for = 0.9
        self.x = x
        self.newton = _QuasiNewton(MEMORY)
        self._rescale(self.upper)
        self.point = self.lagrangian.at(x)
        self._bound(self.point)
        self.stalled = 0
        self.finished = False
        self.outer = 0

    def _rescale(self, slem):
        odds = lambda s: (1 + s) / max(1 - s, 1e-9)
        if not 0.6 < odds(slem) / odds(self.scaled_for) < 1.5:
            self.lagrangian.scale(slem)
            self.scaled_for = slem
            self.newton.forget()

    def iterate(self):
        return Iterate(
            self.weights, self.upper, min(self.lower, self.upper), partial(_certificate, self.problem, self.best_dual)
        )

    def _check(self, x):
        fixed = self.repair(x)
        L = self.problem.sparse_laplacian(fixed)
        W = sparse.csr_array(sparse.eye_array(self.problem.nodes) - L)
        found = spectrum(W, tolerance=1e-6, seed=self.seed).bounds.upper
        self.last_upper = found
        if found < self.upper:
            self.weights, self.upper = fixed, found

    def _bound(self, point):
        lower = dual_bound(self.problem, point.trace, point.worth, point.multipliers.nodes, min(self.upper, 1.0))
        if lower > self.lower:
            self.lower, self.best_dual = lower, point.multipliers
        return lower

    def advance(self):
        lag, cfg = self.lagrangian, self.cfg
        self.outer += 1
        before = width(self.upper, self.lower)
        point = self.point
        for k in range(cfg["inner"]):
            point = self._step(point)
            low = self._bound(point)
            change = self._change(point)
            if np.abs(point.gradient).sum() < INEXACT * change:
                break
        self.point = point
        promised = lag.promised(self.repair(point.weights))
        if promised < self.upper - WORTH_A_CHECK * (self.upper - self.lower):
            self._check(point.weights)
        if cfg.get("v"):
            print(
                f"{cfg['c']:.2f} {point.level:.7f}",
                self.outer,
                getattr(self, "cgits", 0),
                lag.evals,
                lag.filters,
                k + 1,
                f"up {self.upper:.7f} cur {promised:.7f} lo {self.lower:.7f} cur {low:.7f} w {width(self.upper, self.lower):.2e} g {np.abs(point.gradient).sum():.1e} dY {change:.1e} r",
                point.multipliers.positive.shape[1],
                point.multipliers.negative.shape[1],
                f"lin {np.linalg.norm(point.multipliers.nodes - lag.centre.nodes):.1e} {np.linalg.norm(point.multipliers.edges - lag.centre.edges):.1e}",
                [b.basis.shape[1] for b in getattr(lag, "blocks", [])],
            )
        lag.accuracy = float(np.clip(cfg["acc"] * change, 1e-8, 1e-4))
        lag.centre = point.multipliers
        if cfg.get("adapt"):
            a, b = max(promised - point.level, 1e-14), max(point.level - low, 1e-14)
            if lag._dense:
                a = max(self.upper - point.level, 1e-14)
            fac = float(np.clip((a / b) ** cfg.get("pow", 0.5), 1 / cfg["adapt"], cfg["adapt"]))
            cc = float(np.clip(cfg["c"] * fac, 0.01, 100))
            fac = cc / cfg["c"]
            cfg["c"] = cc
            lag.stiff = lag.stiff * fac
            lag.stiff_linear *= fac
        self._rescale(max((self.upper + self.lower) / 2, self.lower))
        self.point = lag.at(point.weights)
        self.stalled = self.stalled + 1 if width(self.upper, self.lower) > 0.999 * before else 0
        self.finished = width(self.upper, self.lower) < TIGHT or self.stalled >= STALLED

    def _change(self, point):
        a, b = point.multipliers, self.lagrangian.centre
        return float(np.sqrt(_distance(a.positive, b.positive) + _distance(a.negative, b.negative)))

    def _step(self, point):
        lag = self.lagrangian
        first = 1 / (4 * lag.stiff.max())
        if self.cfg.get("pre"):
            D = lag.curvature
            self.newton.inverse = 1 / (D + self.cfg["pre"] * D.mean())
        else:
            self.newton.inverse = np.ones(len(lag._low))
        for attempt in range(2):
            if self.cfg.get("cg") and attempt == 0:
                cur = _Curvature(lag, point)
                if self.cfg.get("lb") and self.newton:
                    self.newton.inner = lambda q: -cur.solve(q, self.cfg.get("rel", 0.1), self.cfg["cg"])
                    d = self.newton.direction(point.gradient, first)
                    self.newton.inner = None
                else:
                    d = cur.solve(point.gradient, self.cfg.get("rel", 0.1), self.cfg["cg"])
                self.cgits = cur.its
            else:
                d = self.newton.direction(point.gradient, first)
            slope = float(d @ point.gradient)
            if slope >= 0:
                self.newton.forget()
                continue
            length = 1.0
            for _ in range(TRIALS):
                new = lag.at(point.weights + length * d)
                if new.value <= point.value + SUFFICIENT * length * slope + 1e-13 * abs(point.value):
                    self.newton.learn(new.weights - point.weights, new.gradient - point.gradient)
                    return new
                length *= SHRINK
            self.newton.forget()
        return point


def _distance(A, B):
    """||A A^T - B B^T||^2"""
    return max(0.0, float(((A.T @ A) ** 2).sum() + ((B.T @ B) ** 2).sum() - 2 * ((A.T @ B) ** 2).sum()))
