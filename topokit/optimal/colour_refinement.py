"""Colours of nodes that an automorphism cannot change: hashes of the colours around them, round after round."""

from __future__ import annotations

from time import monotonic
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topokit.matrix import IntArray

__all__ = ["ColouredGraph", "Colours", "TimeUp", "mixed"]

Colours: TypeAlias = NDArray[np.uint64]

MOST_ROUNDS = 100  # of refinement, where many nodes are marked one by one
BLOCK = 50_000  # colours that are refined at a time


class TimeUp(Exception):  # noqa: N818
    """The deadline has passed."""


def mixed(values: Colours) -> Colours:
    """Scramble the bits (the finaliser of splitmix64).

    Examples
    --------
    >>> mixed(np.array([0], dtype=np.uint64)).tolist()
    [0]
    """
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


class ColouredGraph:
    """A graph whose edges are of several kinds, and how colours spread along them.

    Attributes
    ----------
    around : sparse array of uint64, shape (n, n)
        Hashes of kinds; where (i, j) is stored, i sees the colour of j.
    """

    def __init__(self, nodes: int, edges: IntArray, kinds: IntArray, directed: bool, deadline: float) -> None:
        self.nodes, self.edges, self.kinds, self.directed, self.deadline = nodes, edges, kinds, directed, deadline
        u, v = edges.T
        out = mixed((2 * kinds + 3).astype(np.uint64)) | np.uint64(1)
        back = mixed((2 * kinds + 4).astype(np.uint64)) | np.uint64(1) if directed else out
        entries = np.concatenate((out, back)), (np.r_[v, u], np.r_[u, v])
        self.around = sparse.csr_array(entries, shape=(nodes, nodes), dtype=np.uint64)

    def round(self, colours: Colours) -> Colours:
        """Mix the colour of each node with those around it."""
        return mixed(colours * np.uint64(0x9E3779B97F4A7C15) + self.around @ mixed(colours))

    def refined(self, colours: Colours) -> Colours | None:
        """Refine until that tells no more nodes apart; None as soon as the columns, shape (n, c), no longer agree."""
        count, step = 0, 1
        while True:
            if monotonic() > self.deadline:
                raise TimeUp
            ordered = np.sort(colours, axis=0)
            if (ordered != ordered[:, :1]).any():
                return None
            now = 1 + int((ordered[1:, 0] != ordered[:-1, 0]).sum())
            if now in (count, self.nodes):
                return colours
            count = now
            for _ in range(step):
                colours = self.round(colours)
            step *= 2

    def tell_apart(self, own: Colours, ends: IntArray) -> Colours:
        """Give numbers, shape (k,), that differ only where no automorphism takes nodes ends[i] to nodes ends[j].

        `own` are colours that automorphisms keep.
        """
        rounds, colours = 1, self.marked(own[:, None], ends[:1])
        count, now = 0, 1
        while count < now < self.nodes and rounds < MOST_ROUNDS:
            colours, rounds = self.round(colours), rounds + 1
            count, now = now, int(np.unique(colours).size)
        numbers = np.empty(len(ends), dtype=np.uint64)
        block = max(1, BLOCK // self.nodes)
        for start in range(0, len(ends), block):
            chosen = ends[start : start + block]
            colours = self.marked(np.repeat(own[:, None], len(chosen), axis=1), chosen)
            for _ in range(rounds):
                if monotonic() > self.deadline:
                    raise TimeUp
                colours = self.round(colours)
            numbers[start : start + block] = mixed(colours).sum(axis=0, dtype=np.uint64)
        return numbers

    def marked(self, colours: Colours, ends: IntArray) -> Colours:
        """Mark the nodes ends[c], all alike, in column c."""
        marked = colours.copy()
        columns = np.arange(len(ends))
        for end in ends.T:
            marked[end, columns] = mixed(marked[end, columns] + np.uint64(1))
        return marked

    def marked_pair(self, colours: Colours, node: int, image: int, mark: int = 0) -> Colours:
        """Mark a node in column 0, and its image in column 1."""
        marked = colours.copy()
        marked[(node, image), (0, 1)] = mixed(marked[(node, image), (0, 1)] + np.uint64(mark + 1))
        return marked
