"""What learned topologies are measured against: random regular graphs, named families, annealing as in papers.

A value is the SLEM of a graph with its best constant Laplacian weights, (mu_n - mu_2)/(mu_n + mu_2), unless a named
family does better with weights of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import networkx as nx
import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

import topokit.topologies  # noqa: F401, for the families to be registered
from topokit.consensus import worst_case_rounds
from topokit.matrix import MixingMatrix
from topokit.registry import TOPOLOGIES, WEIGHTS, Topology

__all__ = [
    "Annealed", "Named", "RandomRegular", "anneal", "best_circulant", "best_directed", "best_named", "edges_of",
    "laplacian", "random_regular", "regular_slem", "slem_of_laplacian",
]  # fmt: skip

DENSE = 200  # nodes up to which all eigenvalues cost no more than the two that count
DISCONNECTED = 1e-9  # an algebraic connectivity below this is rounding
CIRCULANTS = 2e9  # eigenvalues of circulant graphs that are all computed; of more, only those that a descent meets
FACTOR = 1000.0  # by which directed families have to shrink errors


def edges_of(graph: nx.Graph) -> np.ndarray:
    """Give the edges of a graph on 0 ... n - 1, shape (m, 2), each with its smaller node first, sorted."""
    return np.unique(np.sort(np.array(graph.edges, dtype=np.int64).reshape(-1, 2), axis=1), axis=0)


def laplacian(nodes: int, edges: np.ndarray) -> np.ndarray:
    """Give the Laplacian of a graph as a dense matrix."""
    L = np.zeros((nodes, nodes))
    u, v = edges.T
    L[u, v] = L[v, u] = -1
    L[np.diag_indices(nodes)] = -L.sum(axis=1)
    return L


def slem_of_laplacian(L: np.ndarray) -> float:
    """Give the SLEM with the best constant weights by all eigenvalues; 1 if the graph is not connected."""
    mu = np.linalg.eigvalsh(L)
    return float((mu[-1] - mu[1]) / (mu[-1] + mu[1])) if mu[1] > DISCONNECTED else 1.0


# Random regular graphs


@dataclass(frozen=True)
class RandomRegular:
    """What random regular graphs reach.

    Attributes
    ----------
    count : int
        Number of graphs.
    value, median : float
        Best and median SLEM.
    seed : int
        networkx's seed of the best one.
    seconds : float
        Making and judging all.
    """

    count: int
    value: float
    median: float
    seed: int
    seconds: float


def regular_slem(graph: nx.Graph, degree: int) -> float:
    """Give the SLEM of a regular graph with the best constant weights, by the two eigenvalues that count."""
    nodes = len(graph)
    if nodes <= DENSE:
        return slem_of_laplacian(laplacian(nodes, edges_of(graph)))
    A = nx.to_scipy_sparse_array(graph, nodelist=range(nodes), dtype=np.float64, format="csr")
    # Without the constant vector, the eigenvalues of A are degree - mu_k, at both ends of its spectrum.
    operator = LinearOperator(A.shape, matvec=lambda x: A @ x - degree * x.mean(), dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(nodes)
    ends = eigsh(operator, k=2, which="BE", v0=start, ncv=40, tol=1e-9, return_eigenvectors=False)
    low, high = degree - ends.max(), degree - ends.min()
    return float((high - low) / (high + low)) if low > DISCONNECTED else 1.0


def random_regular(nodes: int, degree: int, count: int = 1000) -> RandomRegular:
    """Judge networkx's random regular graphs of the seeds 0 ... count - 1."""
    start = time.perf_counter()
    found = [regular_slem(nx.random_regular_graph(degree, nodes, seed=seed), degree) for seed in range(count)]
    best = int(np.argmin(found))
    return RandomRegular(count, found[best], float(np.median(found)), best, time.perf_counter() - start)


# Named families


@dataclass(frozen=True)
class Named:
    """The best of the named families.

    Attributes
    ----------
    value : float
        SLEM, or for directed families the rounds until errors are a thousandth.
    name : str
        With its parameters.
    """

    value: float
    name: str


@cache
def best_circulant(nodes: int, degree: int) -> tuple[float, tuple[int, ...]]:
    """Give the best SLEM of the circulant graphs of a degree, and their offsets.

    All sets of offsets are tried where there are few: multiplied by a unit modulo n they give the same graph, so one
    offset may be taken to divide n. Else one offset after the other is replaced by the best, from random starts.
    """
    wanted, half, odd = degree // 2, (nodes - 1) // 2, degree % 2
    if not 1 <= wanted <= half or (odd and nodes % 2):
        return 1.0, ()
    # Row s: what the offset s adds to the eigenvalues of k = 1 ... n/2; those of n - k are the same.
    k = np.arange(1, nodes // 2 + 1)
    adds = 2 - 2 * np.cos(2 * np.pi * (np.outer(np.arange(half + 1), k) % nodes) / nodes)
    opposite = odd * (1 - np.cos(np.pi * k))

    def with_one_more(others: list[int]) -> tuple[float, list[int]]:
        mu = opposite + adds[others].sum(axis=0) + adds
        low, high = mu.min(axis=1), mu.max(axis=1)
        values = np.where(low > DISCONNECTED, (high - low) / np.maximum(high + low, DISCONNECTED), 1.0)
        values[[0, *others]] = 1.0
        last = int(np.argmin(values))
        return float(values[last]), [*others, last]

    divisors = [g for g in range(1, half + 1) if nodes % g == 0]
    if len(divisors) * math.comb(half, max(wanted - 2, 0)) * adds.size <= CIRCULANTS:
        firsts = ([g] for g in divisors) if wanted > 1 else iter([[]])
        sets = ([*first, *rest] for first in firsts for rest in combinations(range(1, half + 1), max(wanted - 2, 0)))
        found = [with_one_more(others) for others in sets if len(set(others)) == len(others)]
    else:
        found = [_descend(with_one_more, start) for start in _starts(half, wanted)]
    value, offsets = min(found)
    return (value, tuple(sorted(offsets)) + (nodes // 2,) * odd) if value < 1 else (1.0, ())


def _starts(half: int, wanted: int, number: int = 20) -> Iterator[list[int]]:
    rng = np.random.default_rng(0)
    for _ in range(number):
        yield (1 + rng.choice(half, wanted, replace=False)).tolist()


def _descend(
    with_one_more: Callable[[list[int]], tuple[float, list[int]]], offsets: list[int]
) -> tuple[float, list[int]]:
    """Replace the oldest offset by the best until none of them gets better."""
    value, since = 1.0, 0
    while since < len(offsets):
        changed, candidate = with_one_more(offsets[1:])
        since = 0 if changed < value - 1e-12 else since + 1
        value, offsets = changed, candidate
    return value, offsets


def _choices(nodes: int, degree: int) -> dict[str, list[dict[str, Any]]]:
    """Give the parameters that families are tried with; those that are not named here have their defaults only."""
    sides = [{"rows": rows, "columns": nodes // rows} for rows in range(2, math.isqrt(nodes) + 1) if nodes % rows == 0]
    shifts = [{"shifts": shifts} for shifts in range(1, degree + 1)]
    bases = [{"base": base} for base in range(2, degree + 1)]
    return {
        "circulant": [{"offsets": best_circulant(nodes, d)[1] or None} for d in range(2, degree + 1)],
        "ring-lattice": [{"degree": d} for d in range(2, degree + 1, 2)],
        "grid": sides,
        "torus": sides,
        "tree": [{"arity": arity} for arity in range(1, degree)],
        "lollipop": [{"clique": clique} for clique in range(3, degree + 1)],
        "de-bruijn": bases,
        "generalized-de-bruijn": bases,
        "d-equistatic": shifts,
        "u-equistatic": shifts,
        "random-regular": [],  # measured on their own
    }


def _families(nodes: int, degree: int, *, directed: bool) -> Iterator[tuple[str, Topology, dict[str, Any]]]:
    """Give all static families and parameters that exist for a size and may keep the degree."""
    choices = _choices(nodes, degree)
    # Circulants last: they are rings and complete graphs, too, which have names of their own.
    for name, entry in sorted(TOPOLOGIES.items(), key=lambda item: item[0] == "circulant"):
        if entry.kind != "static" or entry.directed != directed:
            continue
        for parameters in choices.get(name, [{}]):
            if entry.obstacle(nodes, **parameters) is not None:
                continue
            if entry.promise is not None and name not in choices and entry.promise(nodes).degree > degree:
                continue  # not built: some would be complete graphs
            words = (f"{k} {','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in parameters.items())
            yield " ".join([name, *words]), entry, parameters


def _matrix(entry: Topology, nodes: int, parameters: dict[str, Any]) -> MixingMatrix | None:
    """Give the matrix of a family with the weights that it brings or is used with; None if it takes push-sum."""
    if entry.leaves_weights:
        assert entry.weights is not None
        W = WEIGHTS[entry.weights].build(entry.adjacency(nodes, **parameters))
    else:
        built = entry.build(nodes, **parameters)
        if not isinstance(built, MixingMatrix):
            return None
        W = built
    dense = W.to_dense()
    doubly = np.allclose(dense.sum(axis=0), 1) and np.allclose(dense.sum(axis=1), 1)
    return W if doubly else None


def best_named(nodes: int, degree: int) -> Named:
    """Give the best SLEM of undirected static families: their own weights, or the best constant ones if better."""
    best = Named(1.0, "")
    for name, entry, parameters in _families(nodes, degree, directed=False):
        W = _matrix(entry, nodes, parameters)
        if W is None or max(W.in_degree.max(), W.out_degree.max()) > degree:
            continue
        values = [float(np.abs(np.linalg.eigvalsh(W.to_dense() - 1 / nodes)).max())]
        if entry.leaves_weights:
            A = entry.adjacency(nodes, **parameters).toarray().astype(float)
            values.append(slem_of_laplacian(np.diag(A.sum(axis=0)) - A))
        if min(values) < best.value - 1e-12:
            best = Named(min(values), name)
    return best


def best_directed(nodes: int, degree: int) -> Named:
    """Give the fewest rounds in which a directed static family makes every error a thousandth.

    They have no SLEM to compare: de Bruijn graphs average exactly, with all other eigenvalues 0, but not in one round.
    """
    best = Named(math.inf, "")
    for name, entry, parameters in _families(nodes, degree, directed=True):
        W = _matrix(entry, nodes, parameters)
        if W is None or max(W.in_degree.max(), W.out_degree.max()) > degree:
            continue
        rounds = worst_case_rounds([W], FACTOR)
        if rounds is not None and rounds < best.value:
            best = Named(rounds, name)
    return best


# Annealing


@dataclass(frozen=True)
class Annealed:
    """What annealing has found.

    Attributes
    ----------
    value : float
        Best SLEM.
    temperature : float
        At the start.
    evaluations : int
        Eigendecompositions.
    seconds : float
        In all.
    seconds_to_best : float
        Until the best was met.
    """

    value: float
    temperature: float
    evaluations: int
    seconds: float
    seconds_to_best: float


def anneal(
    nodes: int, degree: int, *, seconds: float, temperature: float = 0.05, seed: int = 0
) -> tuple[Annealed, np.ndarray]:
    """Anneal from a random regular graph, with all eigenvalues of every graph that is proposed.

    A step replaces two edges (a, b), (c, d) by (a, d), (c, b) where these are not there; the temperature falls
    linearly to 0 over the seconds. Gives the best graph, too: its edges, shape (m, 2).
    """
    edges = edges_of(nx.random_regular_graph(degree, nodes, seed=seed))
    L = laplacian(nodes, edges)
    pairs: list[list[int]] = edges.tolist()
    rng = np.random.default_rng(seed)
    value = slem_of_laplacian(L)
    best, best_edges = value, [*pairs]
    start = time.perf_counter()
    now, at_best, evaluations = 0.0, 0.0, 1
    while now < seconds:
        # Random numbers cost less by the block.
        drawn = zip(
            rng.integers(0, len(pairs), (256, 2)).tolist(), rng.random(256).tolist(), rng.random(256).tolist(),
            strict=True,
        )  # fmt: skip
        for (i, j), side, chance in drawn:
            (a, b), (c, d) = pairs[i], pairs[j]
            if side < 0.5:
                c, d = d, c
            if a in (c, d) or b in (c, d) or L[a, d] or L[c, b]:
                continue
            L[a, b] = L[b, a] = L[c, d] = L[d, c] = 0
            L[a, d] = L[d, a] = L[c, b] = L[b, c] = -1
            proposed = slem_of_laplacian(L)
            evaluations += 1
            now = time.perf_counter() - start
            worse = proposed - value
            heat = temperature * (1 - now / seconds)
            if worse <= 0 or (proposed < 1 and heat > 0 and chance < math.exp(-worse / heat)):
                pairs[i], pairs[j] = [a, d], [c, b]
                value = proposed
                if value < best:
                    best, best_edges, at_best = value, [*pairs], now
            else:
                L[a, d] = L[d, a] = L[c, b] = L[b, c] = 0
                L[a, b] = L[b, a] = L[c, d] = L[d, c] = -1
            if now >= seconds:
                break
    found = np.unique(np.sort(np.array(best_edges), axis=1), axis=0)
    return Annealed(best, temperature, evaluations, now, at_best), found
