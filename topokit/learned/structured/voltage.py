"""Voltage graphs: lifts of a small base by a group, whose eigenvalues are those of small blocks.

Every node u of a base stands for the copies (u, x), one for each element x of a group G, and every arc (u, v, g) of it
for the edges (u, x) - (v, x g), one for each x. Arcs may be loops, in parallel, and, where g is of order two, halves
of a loop: (u, x) and (u, x g) then share one edge. Over one base node this is a Cayley graph, over the integers modulo
k the cyclic lift of the base, and with both a circulant graph. Left multiplication maps the graph to itself, and the
characters of the group's Abelian part split its adjacency matrix into Hermitian blocks.

References
----------
J. L. Gross, T. W. Tucker, "Topological Graph Theory", 1987 (voltage graphs); E. Loz, J. Siran, "New record graphs in
the degree-diameter problem", Australasian Journal of Combinatorics 41, 2008 (over semidirect products of cycles).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from topokit.errors import GraphError
from topokit.learned.structured.groups import SemidirectGroup
from topokit.matrix import FloatArray, IntArray
from topokit.optimal.threads import few_threads

__all__ = ["ComplexArray", "VoltageGraph", "arc_keys", "eigenvalues"]

ComplexArray = np.ndarray[Any, np.dtype[np.complex128]]

CHUNK = 1 << 22  # entries of blocks that are held at a time


@dataclass(frozen=True, eq=False)
class VoltageGraph:
    """A regular graph as arcs of a base with group elements on them.

    Attributes
    ----------
    group : SemidirectGroup
    base : int
        Number of nodes of the base.
    arcs : ndarray of int64, shape (arcs, 3)
        Rows (u, v, g), u <= v. A loop whose g is of order two stands for half a loop: it counts once for the degree.

    Examples
    --------
    The Petersen graph: five copies of two nodes.

    >>> from topokit.learned.structured.groups import cyclic_group
    >>> petersen = VoltageGraph(cyclic_group(5), 2, np.array([[0, 0, 1], [0, 1, 0], [1, 1, 2]]))
    >>> petersen.nodes, petersen.degrees.tolist(), petersen.simple
    (10, [3, 3], True)
    >>> [round(end, 9) for end in petersen.ends()]
    [2.0, 5.0]
    """

    group: SemidirectGroup
    base: int
    arcs: IntArray

    @property
    def nodes(self) -> int:
        """Give the number of nodes of the lift."""
        return self.base * self.group.size

    @cached_property
    def half(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Say which arcs are halves of loops."""
        u, v, g = self.arcs.T
        return np.asarray((u == v) & (self.group.inverse[g] == g))

    @property
    def degrees(self) -> IntArray:
        """Give the degrees of the base's nodes."""
        u, v, _ = self.arcs.T
        degrees = np.bincount(u, minlength=self.base) + np.bincount(v[~self.half], minlength=self.base)
        return degrees.astype(np.int64)

    @property
    def simple(self) -> bool:
        """Say whether the lift has neither loops nor parallel edges."""
        u, v, g = self.arcs.T
        return not ((u == v) & (g == 0)).any() and len(np.unique(arc_keys(self.group, self.base, self.arcs))) == len(g)

    def edges(self) -> IntArray:
        """List the edges of the lift, shape (m, 2), u < v, in lexicographic order. Copy x of node u is u |G| + x."""
        size = self.group.size
        u, v, g = self.arcs.T[:, :, None]
        x = np.arange(size)
        tail, head = u * size + x, v * size + self.group.product(x, g)
        once = ~self.half[:, None] | (tail < head)
        pairs = np.stack([np.minimum(tail, head)[once], np.maximum(tail, head)[once]], axis=1)
        return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]

    def entries(self, arcs: IntArray, characters: IntArray) -> tuple[IntArray, IntArray, ComplexArray]:
        """Give the entries that arcs add to the blocks, their conjugates at the transposed places left out.

        Returns
        -------
        rows, columns : ndarray of int64, shape (arcs, k)
        values : ndarray of complex128, shape (characters, arcs, k)
        """
        group, k = self.group, self.group.turns
        c = np.arange(k)
        turn, a = np.divmod(arcs[:, 2], group.plane)
        rows = arcs[:, :1] * k + c
        columns = arcs[:, 1:2] * k + (c + turn[:, None]) % k
        moved = group.action[c, a[:, None]]
        angles = group.angles(characters[:, None, None], moved)
        return rows, columns, self.roots[angles]

    @cached_property
    def roots(self) -> ComplexArray:
        """Give the roots of unity that the characters' values are."""
        exponent = self.group.exponent
        roots = np.exp(2j * np.pi / exponent * np.arange(exponent))
        return np.asarray(roots)

    def blocks(self, characters: IntArray) -> ComplexArray:
        """Build the blocks of the adjacency matrix at characters of A, shape (characters, base k, base k)."""
        order = self.base * self.group.turns
        rows, columns, values = self.entries(self.arcs, characters)
        half = np.broadcast_to(self.half[:, None], rows.shape).ravel()
        rows, columns, values = rows.ravel(), columns.ravel(), values.reshape(len(characters), -1)
        blocks = np.zeros((len(characters), order * order), dtype=np.complex128)
        places = np.arange(len(characters))[:, None]
        np.add.at(blocks, (places, rows * order + columns), values)
        np.add.at(blocks, (places, (columns * order + rows)[~half]), values[:, ~half].conj())
        return blocks.reshape(-1, order, order)

    def _chunks(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Give characters and the lengths of their orbits, a few at a time."""
        characters, lengths = self.group.characters
        step = max(1, CHUNK // (self.base * self.group.turns) ** 2)
        for start in range(0, len(characters), step):
            yield characters[start : start + step], lengths[start : start + step]

    def ends(self) -> tuple[float, float]:
        """Compute the second smallest and the largest eigenvalue of the unweighted Laplacian.

        Raises
        ------
        GraphError
            If the base is not regular.
        """
        degree = int(self.degrees[0])
        if (self.degrees != degree).any():
            raise GraphError(f"the nodes of the base have degrees {self.degrees.tolist()}: they have to be equal")
        low, high = float(degree), -float(degree)
        with few_threads(self.base * self.group.turns):
            for characters, _ in self._chunks():
                values = eigenvalues(self.blocks(characters))
                low = min(low, float(values[:, 0].min()))
                values[characters == 0, -1] = -degree  # the constant vector, once
                high = max(high, float(values.max()))
        return degree - high, degree - low

    def spectrum(self) -> FloatArray:
        """Compute all n eigenvalues of the unweighted Laplacian, ascending, each as often as it occurs."""
        with few_threads(self.base * self.group.turns):
            parts = [
                np.repeat(eigenvalues(self.blocks(characters)), lengths, axis=0).ravel()
                for characters, lengths in self._chunks()
            ]
        return np.sort(int(self.degrees[0]) - np.concatenate(parts))


def arc_keys(group: SemidirectGroup, base: int, arcs: IntArray) -> IntArray:
    """Give numbers that are equal for arcs that lift to the same edges."""
    u, v, g = arcs.T
    return np.asarray((u * base + v) * group.size + np.where(u == v, np.minimum(g, group.inverse[g]), g))


def eigenvalues(blocks: ComplexArray) -> FloatArray:
    """Compute the eigenvalues of Hermitian blocks, ascending, in real arithmetic where they are real."""
    if not np.iscomplexobj(blocks) or not blocks.imag.any():
        return np.asarray(np.linalg.eigvalsh(blocks.real))
    return np.asarray(np.linalg.eigvalsh(blocks))
