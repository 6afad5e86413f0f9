"""What optimal weights are asked for: the edges, and what the weights on them and on the nodes themselves may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import optimize, sparse

from topokit.adjacency import GraphLike, adjacency_of_edges
from topokit.errors import GraphError, InputError
from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.weights.messages import messages_of, require_connected

__all__ = ["SelfWeights", "WeightProblem", "weight_problem"]

SelfWeights = Literal["free", "nonnegative", "zero"]

ROUNDING = 1e-14  # what is left of a self weight that ought to be 0


@dataclass(frozen=True)
class WeightProblem:
    """Minimise ||W - J||_2 over W = I - sum_e w_e (the Laplacian of e alone), within limits.

    Attributes
    ----------
    nodes : int
        Number of nodes n.
    edges : ndarray of int64, shape (m, 2)
        Undirected edges, each once; of a directed problem, (u, v) says that u sends to v.
    nonnegative : bool
        Whether no weight of an edge may be negative.
    self_weights : {"free", "nonnegative", "zero"}
        What 1 - (sum of the weights at a node) may be.
    upper : ndarray of float64, shape (m,), or None
        Largest weight of each edge.
    directed : bool

    Notes
    -----
    Fastest distributed linear averaging (FDLA) leaves all weights free; the fastest mixing Markov chain (FMMC) wants
    all of them, self weights too, to be at least 0.
    """

    nodes: int
    edges: IntArray
    nonnegative: bool = False
    self_weights: SelfWeights = "free"
    upper: FloatArray | None = None
    directed: bool = False

    @property
    def name(self) -> str:
        """``"fdla"`` or ``"fmmc"``, by the sign of the weights."""
        return "fmmc" if self.nonnegative else "fdla"

    def node_sums(self, of_edges: FloatArray) -> FloatArray:
        """Sum numbers, one for each edge, at each node; of a directed problem, at the receiver."""
        u, v = self.edges.T
        sums = np.bincount(v, weights=of_edges, minlength=self.nodes)
        if not self.directed:
            sums = sums + np.bincount(u, weights=of_edges, minlength=self.nodes)
        return np.asarray(sums, dtype=np.float64)

    def ends_sum(self, of_nodes: FloatArray) -> FloatArray:
        """Sum numbers, one for each node, over the ends of each edge: the transpose of `node_sums`."""
        u, v = self.edges.T
        return np.asarray(of_nodes[v] if self.directed else of_nodes[u] + of_nodes[v], dtype=np.float64)

    def degrees(self) -> IntArray:
        """Count the edges at each node; of a directed problem, those that end there."""
        return np.rint(self.node_sums(np.ones(len(self.edges)))).astype(np.int64)

    def laplacian(self, weights: FloatArray) -> FloatArray:
        """Give the dense matrix I - W."""
        u, v = self.edges.T
        L = np.zeros((self.nodes, self.nodes))
        L[v, u] = -weights
        if not self.directed:
            L[u, v] = -weights
        L[np.diag_indices(self.nodes)] = self.node_sums(weights)
        return L

    def dense_slem(self, weights: FloatArray) -> float:
        """Compute ||W - J||_2 of symmetric weights from all eigenvalues, for sizes at which that is cheap."""
        W = np.eye(self.nodes) - 1 / self.nodes - self.laplacian(weights)
        return float(np.abs(np.linalg.eigvalsh(W)).max())

    def sparse_laplacian(self, weights: FloatArray) -> sparse.csr_array:
        """Give the sparse matrix I - W, explicit zeros included."""
        u, v = self.edges.T
        own = np.arange(self.nodes)
        rows, columns, values = [v, own], [u, own], [-weights, self.node_sums(weights)]
        if not self.directed:
            rows, columns, values = [u, *rows], [v, *columns], [-weights, *values]
        entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_array(entries, shape=(self.nodes, self.nodes))

    def matrix(self, weights: FloatArray) -> MixingMatrix:
        """Give W without its zeros; edges of weight 0 send no messages."""
        u, v = self.edges.T
        own = np.arange(self.nodes)
        selves = 1 - self.node_sums(weights)
        rows, columns, values = [v, own], [u, own], [weights, selves]
        if not self.directed:
            rows, columns, values = [u, *rows], [v, *columns], [weights, *values]
        value = np.concatenate(values)
        keep = np.abs(value) > ROUNDING
        return MixingMatrix.from_entries(
            self.nodes, np.concatenate(rows)[keep], np.concatenate(columns)[keep], value[keep]
        )

    def box(self, slem: float) -> tuple[FloatArray, FloatArray]:
        """Give the least and the largest weight that an edge has in any matrix with at most this SLEM.

        The entries of W - J are at most its norm, hence those of W at most the norm and 1/n.
        """
        most = np.full(len(self.edges), slem + 1 / self.nodes)
        low = np.zeros(most.size) if self.nonnegative else -most
        return low, most if self.upper is None else np.minimum(most, self.upper)

    def excess(self, weights: FloatArray) -> float:
        """Give the most by which weights leave their limits; 0 where they keep all of them."""
        worst = 0.0
        if self.nonnegative:
            worst = max(worst, float(-weights.min(initial=0.0)))
        if self.upper is not None:
            worst = max(worst, float((weights - self.upper).max(initial=0.0)))
        selves = 1 - self.node_sums(weights)
        if self.self_weights == "nonnegative":
            worst = max(worst, float(-selves.min(initial=0.0)))
        if self.self_weights == "zero":
            worst = max(worst, float(np.abs(selves).max(initial=0.0)))
        return worst


def weight_problem(
    graph: GraphLike,
    objective: Literal["fdla", "fmmc"],
    *,
    upper: float | Sequence[float] | Any | None = None,
    self_loops: bool = True,
) -> WeightProblem:
    """State a problem for a graph, and refuse what cannot have an answer.

    Parameters
    ----------
    graph : networkx.Graph or sparse array, shape (n, n)
        Connected, nodes 0 to n - 1, without self-loops. Of an adjacency matrix, only the pattern counts. An edge u -> v
        of a directed graph says that u sends to v.
    objective : {"fdla", "fmmc"}
        Weights of any sign, or none negative.
    upper : float, array of shape (m,), or mapping of pairs to float, optional
        Largest weight of an edge: one for all, one for each edge of `problem.edges` (sorted, smaller node first), or
        one for some pairs.
    self_loops : bool, default True
        Whether a node may keep a part of its own value.

    Raises
    ------
    InputError
        If the objective is unknown or a bound is no number, or names no edge.
    GraphError
        If the graph cannot be given weights, or no weights within the bounds can mix.

    Examples
    --------
    >>> import networkx as nx
    >>> weight_problem(nx.path_graph(3), "fmmc").edges.tolist()
    [[0, 1], [1, 2]]
    >>> weight_problem(nx.cycle_graph(4), "fmmc", self_loops=False)
    Traceback (most recent call last):
        ...
    topokit.errors.GraphError: without self-loops, values on this graph never mix, as it is bipartite: those of nodes \
0 and 1 would change places for ever; allow self-loops
    """
    if objective not in ("fdla", "fmmc"):
        raise InputError(f"the objective of optimal weights is fdla or fmmc, got {objective!r}")
    messages = messages_of(graph, objective, directed=True)
    once = (messages.source < messages.target) | messages.directed
    order = np.lexsort((messages.target[once], messages.source[once]))
    edges = np.stack((messages.source[once][order], messages.target[once][order]), axis=1)
    problem = WeightProblem(
        messages.nodes,
        edges,
        nonnegative=objective == "fmmc",
        self_weights="zero" if not self_loops else "nonnegative" if objective == "fmmc" else "free",
        upper=None if upper is None else _upper(edges, upper, messages.directed),
        directed=messages.directed,
    )
    _require_possible(problem)
    if problem.nonnegative and problem.upper is not None and (problem.upper == 0).any():
        problem = replace(problem, edges=problem.edges[problem.upper > 0], upper=problem.upper[problem.upper > 0])
    if problem.nonnegative and problem.self_weights == "zero" and not problem.directed:
        return _without_forced_zeros(problem)
    return problem


def _upper(edges: IntArray, upper: Any, directed: bool) -> FloatArray:
    if isinstance(upper, Mapping):
        place = {_pair(pair, directed): k for k, pair in enumerate(edges.tolist())}
        values = np.full(len(edges), np.inf)
        for pair, bound in upper.items():
            if _pair(pair, directed) not in place:
                raise InputError(f"there is a bound for {pair!r}, which is no edge of the graph")
            values[place[_pair(pair, directed)]] = _bound(bound)
    else:
        try:
            values = np.array(np.broadcast_to(np.asarray(upper, dtype=np.float64), (len(edges),)))
        except (TypeError, ValueError):
            raise InputError(
                f"bounds are one number, or one for each of the {len(edges)} edges, got {upper!r}"
            ) from None
    if np.isnan(values).any() or (values < 0).any():
        k = int(np.flatnonzero(np.isnan(values) | (values < 0))[0])
        raise InputError(
            f"the weight of edge {edges[k, 0]}-{edges[k, 1]} is bounded by {values[k]:g}; expected a number of at "
            "least 0"
        )
    return values


def _pair(pair: Any, directed: bool) -> Any:
    try:
        u, v = pair
    except (TypeError, ValueError):
        return None
    return (u, v) if directed else (min(u, v), max(u, v))


def _bound(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"the bound of an edge is a number, got {value!r}") from None


def _require_possible(problem: WeightProblem) -> None:
    if problem.upper is not None and problem.nodes > 1 and (problem.upper == 0).any():
        usable = problem.edges[problem.upper > 0]
        if problem.nonnegative:
            try:
                require_connected(adjacency_of_edges(problem.nodes, usable))
            except GraphError as error:
                raise GraphError(f"the bounds leave no way to mix: without the edges bounded by 0, {error}") from None
    if problem.self_weights == "zero" and not problem.directed:
        _require_odd_cycle(problem)


def _without_forced_zeros(problem: WeightProblem) -> WeightProblem:
    """Leave out edges whose weight can only be 0 if the weights at every node sum to 1."""
    count = len(problem.edges)
    sums = sparse.csr_array((np.ones(2 * count), (problem.edges.T.ravel(), np.tile(np.arange(count), 2))))
    eye: Any = sparse.eye_array(count, format="csr")
    ones = np.ones((problem.nodes, 1))
    upper = np.full(count, 1.0) if problem.upper is None else np.minimum(problem.upper, 1.0)
    # Scaled up, all weights that can be positive can be 1 at once: as many as possible are.
    at_most: Any = sparse.block_array([[-eye, eye, None], [eye, None, sparse.csr_array(-upper[:, None])]])
    equal: Any = sparse.block_array([[sums, sparse.csr_array((problem.nodes, count)), sparse.csr_array(-ones)]])
    found: Any = optimize.linprog(
        np.concatenate((np.zeros(count), -np.ones(count), [0.0])),
        A_ub=at_most,
        b_ub=np.zeros(2 * count),
        A_eq=equal,
        b_eq=np.zeros(problem.nodes),
        bounds=[(0, None)] * count + [(0, 1)] * count + [(1, None)],
        method="highs",
    )
    if found.status != 0:
        bounds = "" if problem.upper is None else " within the bounds"
        raise GraphError(
            f"without self-loops, no nonnegative weights{bounds} sum to 1 at every node of this graph (two leaves of "
            "one node would each need all of its attention); allow self-loops"
        )
    usable = found.x[count : 2 * count] > 0.5
    if usable.all():
        return problem
    left = replace(problem, edges=problem.edges[usable], upper=None if problem.upper is None else problem.upper[usable])
    try:
        require_connected(adjacency_of_edges(left.nodes, left.edges))
        _require_odd_cycle(left)
    except GraphError as error:
        a, b = problem.edges[~usable][0]
        raise GraphError(
            f"without self-loops, some edges ({a}-{b} is one) can only have the weight 0, and without them nothing "
            f"mixes: {error}"
        ) from None
    return left


def _require_odd_cycle(problem: WeightProblem) -> None:
    """Refuse bipartite graphs without self-loops: -1 is an eigenvalue of every W then."""
    from scipy.sparse.csgraph import breadth_first_order

    adjacency = adjacency_of_edges(problem.nodes, problem.edges)
    order, parent = breadth_first_order(adjacency, 0, directed=False)
    side = np.zeros(problem.nodes, dtype=np.int64)
    for node in order[1:]:
        side[node] = 1 - side[parent[node]]
    u, v = problem.edges.T
    if (side[u] != side[v]).all():
        a, b = problem.edges[0]
        raise GraphError(
            "without self-loops, values on this graph never mix, as it is bipartite: those of nodes "
            f"{a} and {b} would change places for ever; allow self-loops"
        )
