"""Proof that no weights on the same edges can be much better: a bound from below that anyone can compute again.

Let ||Y||_* <= 1 (sum of the singular values). For every W = I - sum_e w_e L_e within the limits of a problem,
||W - J||_2 >= <Y, W - J> = <Y, I - J> - sum_e w_e y_e with y_e = <Y, L_e>. What the sum can be at most follows
from prices p_i of the nodes' sums (at least 0 where the sum of weights at a node is at most 1, of any sign where it is
1) and from the range of each weight:

    sum_e w_e y_e <= sum_i p_i + sum_e max over w_e in its range of w_e (y_e - p_u - p_v).

No condition is left that Y or the prices could fail: whatever they are, the number is a bound, and only good ones give
a good one. Y is stored in factors, Y = L R^T, whose columns show that ||Y||_* is at most the sum of ||l_k|| ||r_k||.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from topokit.errors import ScheduleError
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.problem import WeightProblem

__all__ = ["Certificate", "dual_bound", "width"]

EPS = float(np.finfo(np.float64).eps)
ALLOWED = 32  # rounding errors, besides one for each column
BLOCK = 2_000_000  # numbers that are looked at at once
LARGE = 2_000_000  # numbers from which on they are stored in single precision


def width(upper: float, lower: float) -> float:
    """Give (upper - lower) / (1 - upper): how far the spectral gap can still be off, relative to itself.

    Examples
    --------
    >>> round(width(0.9, 0.89), 3)
    0.1
    """
    if upper >= 1:
        return np.inf
    return max(0.0, (upper - lower) / (1 - upper))


def dual_bound(problem: WeightProblem, trace: float, worth: FloatArray, prices: FloatArray, slem: float) -> float:
    """Give the bound on the optimal SLEM that a dual point proves.

    Parameters
    ----------
    problem : WeightProblem
    trace : float
        <Y, I - J>, with ||Y||_* <= 1: the trace of Y where Y 1 = 0.
    worth : ndarray, shape (m,)
        y_e = <Y, L_e> of each edge.
    prices : ndarray, shape (n,)
        Of the nodes' sums; cut to what the problem allows.
    slem : float
        That some weights reach: the optimum is no more.

    Returns
    -------
    float
        At least 0. An allowance for rounding errors is taken off.

    Examples
    --------
    Y = u u^T for u = (1, 0, -1)/sqrt(2), whose ends are as far apart as can be on a path of three:

    >>> import networkx as nx
    >>> from topokit.optimal.problem import weight_problem
    >>> path = weight_problem(nx.path_graph(3), "fmmc")
    >>> round(dual_bound(path, 1.0, np.array([0.5, 0.5]), np.array([0.0, 0.5, 0.0]), 0.7), 9)
    0.5
    """
    if problem.self_weights == "free":
        prices = np.zeros_like(prices)
    elif problem.self_weights == "nonnegative":
        prices = np.maximum(prices, 0)
    low, high = problem.box(slem)
    left = worth - problem.ends_sum(prices)
    most = np.where(left > 0, high, low) * left
    bound = trace - prices.sum() - most.sum()
    rounding = ALLOWED * EPS * (1 + np.abs(prices).sum() + np.abs(high) @ np.abs(left) + np.abs(high) @ np.abs(worth))
    return max(0.0, float(bound - rounding))


@dataclass(frozen=True)
class Certificate:
    """A dual point of a problem, in factors.

    Attributes
    ----------
    problem : WeightProblem
    left, right : ndarray of float64, shape (n, r)
        Y = left right^T; any scale.
    prices : ndarray of float64, shape (n,)
        Of the nodes' sums, for Y scaled to norm 1.
    """

    problem: WeightProblem
    left: FloatArray
    right: FloatArray
    prices: FloatArray

    @classmethod
    def symmetric(
        cls, problem: WeightProblem, positive: FloatArray, negative: FloatArray, prices: FloatArray
    ) -> Certificate:
        """Make one of Y = positive positive^T - negative negative^T.

        Parameters
        ----------
        problem : WeightProblem
        positive, negative : ndarray of float64, shapes (n, r) and (n, s)
        prices : ndarray of float64, shape (n,)
        """
        return cls(problem, np.hstack((positive, negative)), np.hstack((positive, -negative)), prices)

    def bound(self, slem: float) -> float:
        """Compute the bound from the factors.

        Parameters
        ----------
        slem : float
            That some weights within the limits reach.
        """
        (left, left_size), (right, right_size) = _unit_rows(self.left), _unit_rows(self.right)
        used = np.isfinite(left_size + right_size)
        if not used.any():
            return 0.0
        left, right, size = left[used], right[used], (left_size + right_size)[used]
        share = np.exp(size - size.max())
        share /= share.sum() * (1 + (len(share) + ALLOWED) * EPS)
        worth, magnitude = self._worth(left, right, share)
        # <Y, I - J>: what centring has left of the constant vector is taken out here, not believed to be nothing.
        of_constant = left.sum(axis=1) * right.sum(axis=1) / self.problem.nodes
        trace = float(share @ ((left * right).sum(axis=1) - of_constant))
        errors = (len(share) + ALLOWED) * EPS
        with np.errstate(all="ignore"):  # of prices that make no sense: the bound is 0 then
            _, high = self.problem.box(slem)
            lost = errors * (1 + np.abs(high) @ magnitude)
            return dual_bound(self.problem, trace - float(lost), worth, self.prices, slem)

    def _worth(self, left: FloatArray, right: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give y_e of every edge, and the same for the absolute values of all terms."""
        u, v = self.problem.edges.T
        worth, magnitude = np.empty(u.size), np.empty(u.size)
        block = max(1, BLOCK // len(share))
        for first in range(0, u.size, block):
            part = slice(first, first + block)
            head, tail = v[part], u[part]
            first_factor = left[:, head] if self.problem.directed else left[:, tail] - left[:, head]
            terms = first_factor * (
                right[:, head] - right[:, tail] if self.problem.directed else right[:, tail] - right[:, head]
            )
            worth[part] = share @ terms
            magnitude[part] = share @ np.abs(terms)
        return worth, magnitude

    def to_dict(self) -> dict[str, Any]:
        """Give JSON values, of which `from_dict` makes an equal certificate (large ones in single precision)."""
        problem = self.problem
        signs = np.where((self.left * self.right).sum(axis=0) < 0, -1, 1)
        mirrored = bool(np.array_equal(self.right, self.left * signs))
        content: dict[str, Any] = {
            "nonnegative": problem.nonnegative,
            "self_weights": problem.self_weights,
            "directed": problem.directed,
            "edges": problem.edges.tolist(),
            "left": _packed(self.left),
            "prices": _packed(self.prices),
        }
        content |= {"signs": signs.tolist()} if mirrored else {"right": _packed(self.right)}
        if problem.upper is not None:
            content["upper"] = [bound if np.isfinite(bound) else None for bound in problem.upper.tolist()]
        return content

    @classmethod
    def from_dict(cls, nodes: int, content: Mapping[str, Any]) -> Certificate:
        """Read a certificate for a graph of this many nodes.

        Raises
        ------
        ScheduleError
            With the part that is missing or malformed.
        """
        try:
            edges = _edges(nodes, content["edges"])
            upper = content.get("upper")
            bounds = None
            if upper is not None:
                bounds = np.array([np.inf if bound is None else float(bound) for bound in upper])
                if bounds.shape != (len(edges),):
                    raise ValueError("it has as many bounds as edges")
            kind = content["self_weights"]
            if kind not in ("free", "nonnegative", "zero"):
                raise ValueError(f"self_weights is free, nonnegative or zero, got {kind!r}")
            nonnegative, directed = content["nonnegative"], content.get("directed", False)
            if not isinstance(nonnegative, bool) or not isinstance(directed, bool):
                raise ValueError("nonnegative and directed are true or false")
            problem = WeightProblem(nodes, edges, nonnegative, kind, bounds, directed)
            left = _unpacked(content["left"], nodes)
            if "signs" in content:
                signs = np.array(content["signs"], dtype=np.float64)
                if signs.shape != left.shape[1:] or (np.abs(signs) != 1).any():
                    raise ValueError("signs are 1 or -1, one for each column")
                right = left * signs
            else:
                right = _unpacked(content["right"], nodes)
            if right.shape != left.shape:
                raise ValueError("left and right have the same shape")
            prices = _unpacked(content["prices"], nodes)
            if prices.shape[1] != 1:
                raise ValueError("prices have one column")
        except KeyError as error:
            raise ScheduleError(f"the certificate has no {error.args[0]}") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise ScheduleError(f"the certificate is malformed: {error}") from None
        return cls(problem, left, right, prices[:, 0])


def _unit_rows(columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give the columns less their means as rows of norm 1, and the logarithms of their norms, -inf for nothing.

    Sums run along rows, where NumPy adds in pairs and rounding errors stay small.
    """
    rows = np.ascontiguousarray(columns.T)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    usable = (largest > 0) & np.isfinite(largest)
    rows = np.where(usable[:, None], rows, 0.0) / np.where(usable, largest, 1.0)[:, None]
    rows -= rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1)
    usable &= norm > 0
    safe = np.where(usable, norm, 1.0)
    size = np.where(usable, np.log(np.where(usable, largest, 1.0)) + np.log(safe), -np.inf)
    return rows / safe[:, None], size


def _edges(nodes: int, listed: Any) -> IntArray:
    edges: IntArray = np.array(listed, dtype=np.int64).reshape(-1, 2)
    if edges.size and not (edges.min() >= 0 and edges.max() < nodes):
        raise ValueError(f"an edge leaves the nodes 0 to {nodes - 1}")
    return edges


def _packed(values: FloatArray) -> dict[str, Any]:
    kind = "<f8" if values.size < LARGE else "<f4"
    return {"type": kind, "columns": values.shape[1] if values.ndim == 2 else 1, "base64": _base64(values, kind)}


def _base64(values: FloatArray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def _unpacked(stored: Mapping[str, Any], nodes: int) -> FloatArray:
    if stored["type"] not in ("<f8", "<f4"):
        raise ValueError(f"numbers are stored as <f8 or <f4, got {stored['type']!r}")
    values = np.frombuffer(base64.b64decode(stored["base64"], validate=True), dtype=stored["type"])
    columns = int(stored["columns"])
    if values.size != nodes * columns:
        raise ValueError(f"{nodes} rows of {columns} numbers were expected, found {values.size} numbers")
    if not np.isfinite(values).all():
        raise ValueError("a number is not finite")
    return np.asarray(values, dtype=np.float64).reshape(nodes, columns)
