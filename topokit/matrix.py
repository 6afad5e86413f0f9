"""A mixing matrix: who listens to whom in one round, and with which weight.

Kept as sorted coordinates rather than as a SciPy matrix because a weight may be an exact fraction: 1/3 has to survive
a trip through a file for exact averaging to be provable on the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeAlias

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from topokit.errors import InputError
from topokit.null_filter import NullFilter

__all__ = ["FloatArray", "Graph", "IntArray", "MatrixLike", "MixingMatrix", "quotients"]

IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float64]
Graph: TypeAlias = "nx.Graph[Any]"  # directed graphs are a subclass

INT64_MAX = np.iinfo(np.int64).max
MOST_SQUARED = 3_037_000_499  # rows whose square fits into 64 bits
WHOLE = 2**53  # up to which doubles hold every whole number


def quotients(numerator: IntArray, denominator: IntArray) -> FloatArray:
    """Divide whole numbers, every quotient rounded once: to the nearest double, as Python does.

    Examples
    --------
    >>> float(quotients(np.array([2**62 + 1]), np.array([2**62 - 1]))[0]) == (2**62 + 1) / (2**62 - 1)
    True
    """
    result: FloatArray = numerator / denominator
    # NumPy rounds what has more than 53 bits before it divides.
    wide = (numerator > WHOLE) | (numerator < -WHOLE) | (denominator > WHOLE)
    for k in np.flatnonzero(wide).tolist():
        result[k] = int(numerator[k]) / int(denominator[k])
    return result


@dataclass(frozen=True, eq=False)
class MixingMatrix:
    """The n x n mixing matrix W of one gossip round, as coordinates sorted by (target, source).

    ``weight[k]`` is the weight of the value of node ``source[k]`` in the next value of node ``target[k]``, that is
    ``W[target[k], source[k]]``; self weights are included. Build one with `from_entries`, `from_fractions` or
    `from_matrix`: they sort and check, the constructor does not.

    Parameters
    ----------
    nodes : int
        Number of rows and columns, n.
    target, source : ndarray of int64, shape (nnz,)
        Row and column of each entry.
    weight : ndarray of float64, shape (nnz,)
        Value of each entry.
    numerator, denominator : ndarray of int64, shape (nnz,), or None
        The same values as exact fractions in lowest terms, where they are known.
    filter : NullFilter or None
        What defines the weights where they are irrational; they are then known exactly too, and `weight` is rounded.

    Examples
    --------
    >>> W = MixingMatrix.from_fractions(2, [0, 0, 1, 1], [0, 1, 0, 1], [Fraction(1, 2)] * 4)
    >>> W.to_dense()
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """

    nodes: int
    target: IntArray = field(repr=False)
    source: IntArray = field(repr=False)
    weight: FloatArray = field(repr=False)
    numerator: IntArray | None = field(default=None, repr=False)
    denominator: IntArray | None = field(default=None, repr=False)
    filter: NullFilter | None = None

    @classmethod
    def from_entries(
        cls,
        nodes: int,
        target: ArrayLike,
        source: ArrayLike,
        weight: ArrayLike,
        *,
        numerator: ArrayLike | None = None,
        denominator: ArrayLike | None = None,
    ) -> MixingMatrix:
        """Sort and check entries given in any order.

        Raises
        ------
        InputError
            If the lengths differ, a node is out of range, a weight is not finite, or an entry is given twice.

        Examples
        --------
        >>> MixingMatrix.from_entries(2, [1, 0], [1, 0], [1.0, 1.0]).to_dense()
        array([[1., 0.],
               [0., 1.]])
        """
        if nodes < 1:
            raise InputError(f"a mixing matrix needs at least one node, got {nodes}")
        rows = np.asarray(target, dtype=np.int64).ravel()
        cols = np.asarray(source, dtype=np.int64).ravel()
        vals = np.asarray(weight, dtype=np.float64).ravel()
        if not rows.size == cols.size == vals.size:
            raise InputError(
                f"target, source and weight must be of one length, got {rows.size}, {cols.size} and {vals.size}"
            )
        for name, ids in (("target", rows), ("source", cols)):
            bad = np.flatnonzero((ids < 0) | (ids >= nodes))
            if bad.size:
                k = int(bad[0])
                raise InputError(f"{name}[{k}] is node {ids[k]}, but nodes are numbered 0 to {nodes - 1}")
        bad = np.flatnonzero(~np.isfinite(vals))
        if bad.size:
            k = int(bad[0])
            raise InputError(f"weight[{k}] (target {rows[k]}, source {cols[k]}) is {vals[k]}; weights must be finite")
        order = _order(nodes, rows, cols)
        rows, cols, vals = (_arranged(array, order) for array in (rows, cols, vals))
        twice = np.flatnonzero((np.diff(rows) == 0) & (np.diff(cols) == 0))
        if twice.size:
            k = int(twice[0])
            raise InputError(f"the entry (target {rows[k]}, source {cols[k]}) is given twice; give each edge once")
        num = den = None
        if numerator is not None and denominator is not None:
            num = _arranged(np.asarray(numerator, dtype=np.int64).ravel(), order)
            den = _arranged(np.asarray(denominator, dtype=np.int64).ravel(), order)
        arrays = [a for a in (rows, cols, vals, num, den) if a is not None]
        for array in arrays:
            array.flags.writeable = False
        return cls(nodes, rows, cols, vals, num, den)

    @classmethod
    def from_fractions(
        cls, nodes: int, target: ArrayLike, source: ArrayLike, weights: Sequence[Fraction]
    ) -> MixingMatrix:
        """Build from exact weights; `from_entries` tells what is checked.

        Raises
        ------
        InputError
            As `from_entries`, and if a numerator or a denominator does not fit into 64 bits.

        Examples
        --------
        >>> MixingMatrix.from_fractions(1, [0], [0], [Fraction(3, 3)]).fractions()
        [Fraction(1, 1)]
        """
        for k, w in enumerate(weights):
            if max(abs(w.numerator), w.denominator) > INT64_MAX:
                raise InputError(f"weight[{k}] is {w}: numerator and denominator must fit into 64 bits")
        return cls.from_entries(
            nodes,
            target,
            source,
            [w.numerator / w.denominator for w in weights],
            numerator=[w.numerator for w in weights],
            denominator=[w.denominator for w in weights],
        )

    @classmethod
    def from_filter(cls, nodes: int, null: NullFilter) -> MixingMatrix:
        """Build (1 - 2w) I + w (P^s + P^-s), the circulant matrix of a null filter.

        Raises
        ------
        InputError
            If the shift and its opposite are not two different peers.

        Examples
        --------
        >>> MixingMatrix.from_filter(5, NullFilter(1, Fraction(2, 5))).to_dense()[0].round(4).tolist()
        [0.4472, 0.2764, 0.0, 0.0, 0.2764]
        """
        shift = null.shift % nodes
        if shift == 0 or 2 * shift == nodes:
            raise InputError(f"a null filter of {nodes} nodes needs two different peers, got the shift {null.shift}")
        own_weight, peer_weight = null.weights()
        own = np.arange(nodes)
        plain = cls.from_entries(
            nodes,
            np.tile(own, 3),
            np.concatenate((own, (own + shift) % nodes, (own - shift) % nodes)),
            np.repeat([own_weight, peer_weight, peer_weight], nodes),
        )
        return replace(plain, filter=null)

    @classmethod
    def from_matrix(cls, matrix: MatrixLike) -> MixingMatrix:
        """Take over a dense or SciPy sparse matrix; zeros are dropped.

        Raises
        ------
        InputError
            If the matrix is not square, or holds values that are not finite.

        Examples
        --------
        >>> MixingMatrix.from_matrix(np.eye(3)).nonzeros
        3
        """
        if isinstance(matrix, MixingMatrix):
            return matrix
        entries: Any = matrix
        coo = sparse.coo_array(entries)
        if coo.ndim != 2 or coo.shape[0] != coo.shape[1]:
            raise InputError(f"a mixing matrix is square, got shape {coo.shape}")
        # Through CSR, which adds up what is given twice without sorting.
        entries = (coo.data.astype(np.float64), coo.coords)
        coo = sparse.csr_array(entries, shape=coo.shape).tocoo()
        keep = coo.data != 0
        return cls.from_entries(coo.shape[0], coo.coords[0][keep], coo.coords[1][keep], coo.data[keep])

    @property
    def nonzeros(self) -> int:
        """Number of entries, self weights included."""
        return int(self.weight.size)

    @property
    def is_exact(self) -> bool:
        """Whether the weights are known as exact fractions."""
        return self.numerator is not None

    def fractions(self) -> list[Fraction] | None:
        """Give the exact weights in entry order, or None where only floating-point values are known."""
        if self.numerator is None or self.denominator is None:
            return None
        return [Fraction(int(p), int(q)) for p, q in zip(self.numerator, self.denominator, strict=True)]

    @cached_property
    def _csr(self) -> sparse.csr_array:
        indptr = np.concatenate(([0], np.cumsum(np.bincount(self.target, minlength=self.nodes))))
        return sparse.csr_array((self.weight, self.source, indptr), shape=(self.nodes, self.nodes))

    def to_csr(self) -> sparse.csr_array:
        """Return W as a SciPy CSR array of float64; the caller owns it.

        Examples
        --------
        >>> MixingMatrix.from_matrix(np.eye(2)).to_csr().nnz
        2
        """
        return self._csr.copy()

    def to_dense(self) -> FloatArray:
        """Return W as an array of shape (n, n)."""
        return np.asarray(self._csr.toarray(), dtype=np.float64)

    def to_graph(self) -> nx.DiGraph[int]:
        """Return the communication graph: an edge source -> target with its ``weight``, self weights included.

        Examples
        --------
        >>> sorted(MixingMatrix.from_matrix(np.full((2, 2), 0.5)).to_graph().edges)
        [(0, 0), (0, 1), (1, 0), (1, 1)]
        """
        graph: nx.DiGraph[int] = nx.DiGraph()
        graph.add_nodes_from(range(self.nodes))
        graph.add_weighted_edges_from(
            zip(self.source.tolist(), self.target.tolist(), self.weight.tolist(), strict=True)
        )
        return graph

    @cached_property
    def in_degree(self) -> IntArray:
        """Number of peers each node receives from (itself not counted), shape (n,)."""
        sent = (self.target != self.source) & (self.weight != 0)
        return np.bincount(self.target[sent], minlength=self.nodes).astype(np.int64)

    @cached_property
    def out_degree(self) -> IntArray:
        """Number of peers each node sends to (itself not counted), shape (n,)."""
        sent = (self.target != self.source) & (self.weight != 0)
        return np.bincount(self.source[sent], minlength=self.nodes).astype(np.int64)

    @property
    def messages(self) -> int:
        """Number of point-to-point messages of the round: entries off the diagonal that are not 0."""
        return int(self.in_degree.sum())


def _order(nodes: int, rows: IntArray, columns: IntArray) -> IntArray | None:
    """Give the order of entries by row, and within a row by column; None if they are in order."""
    if nodes > MOST_SQUARED:
        return np.lexsort((columns, rows))
    place = rows * nodes + columns
    if (place[1:] > place[:-1]).all():
        return None
    return np.argsort(place)


def _arranged(array: NDArray[Any], order: IntArray | None) -> NDArray[Any]:
    """Give the entries in order, and always a copy: it will be made read-only."""
    return array.copy() if order is None else array[order]


MatrixLike: TypeAlias = "MixingMatrix | sparse.sparray | sparse.spmatrix | FloatArray"
