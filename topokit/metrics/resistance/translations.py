"""Graphs that look the same from every node up to a translation: their Laplacian is diagonal in a Fourier basis.

Rings and all circulant graphs (translations of Z_n), tori (of Z_a x Z_b, nodes numbered row by row) and hypercubes
(of bits). What takes a factorisation otherwise is then a sum over modes, for a million nodes too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from topokit.matrix import FloatArray, IntArray
from topokit.metrics.resistance.circuit import Circuit
from topokit.spectral.groups import group_shape

__all__ = ["Translations", "translations"]

MAX_ENTRIES = 10**8  # nodes x neighbours: sines to compute, some seconds


@dataclass(frozen=True, eq=False)
class Translations:
    """The steps from a node to its neighbours, the same for all nodes.

    Attributes
    ----------
    radices : tuple of int
        The group is Z_r1 x Z_r2 x ...; node numbers are written in these radices, the last digit running fastest.
    steps : ndarray of int64, shape (d, number of radices)
        A step and its opposite are two.
    conductances : ndarray of float64, shape (d,)
    """

    radices: tuple[int, ...]
    steps: IntArray
    conductances: FloatArray

    def _sines(self, step: IntArray) -> FloatArray:
        """Give sin^2 of half the angle by which each mode turns over a step."""
        turn = np.zeros((1,) * len(self.radices))
        for axis, (radix, s) in enumerate(zip(self.radices, step.tolist(), strict=True)):
            shape = [1] * len(self.radices)
            shape[axis] = radix
            turn = turn + (np.arange(radix) * s % radix / radix).reshape(shape)
        return np.asarray(np.sin(np.pi * turn).ravel() ** 2, dtype=np.float64)

    @cached_property
    def eigenvalues(self) -> FloatArray:
        """Eigenvalues of the Laplacian by mode, mode 0 being the mean; small ones without cancellation."""
        total = np.zeros(int(np.prod(self.radices)))
        for step, conductance in zip(self.steps, self.conductances, strict=True):
            total += 2 * conductance * self._sines(step)
        return total

    @cached_property
    def resistances(self) -> FloatArray:
        """Effective resistance over each step, shape (d,)."""
        inverse = 1 / self.eigenvalues[1:]
        return np.array([4 * float(self._sines(step)[1:] @ inverse) / (inverse.size + 1) for step in self.steps])


def translations(circuit: Circuit) -> tuple[Translations, IntArray] | None:
    """Find translations under which a graph with conductances is invariant, nodes numbered as topokit does.

    Returns
    -------
    tuple or None
        The steps, and for each edge which of them it is.

    Examples
    --------
    >>> found, of_edge = translations(Circuit.of_edges(4, [(0, 1), (1, 2), (2, 3), (3, 0)]))
    >>> found.radices, found.eigenvalues.round(12).tolist()
    ((4,), [0.0, 2.0, 4.0, 2.0])
    """
    edges = circuit.edges
    adjacency = circuit.adjacency
    if adjacency.nnz > MAX_ENTRIES:
        return None
    adjacency.sort_indices()
    radices = group_shape(adjacency)
    if radices is None:
        return None
    known = adjacency.indices[: adjacency.indptr[1]].astype(np.int64)
    u, v = (np.stack(np.unravel_index(ends, radices)) for ends in edges.T)
    code = np.ravel_multi_index(tuple((v - u) % np.array(radices)[:, None]), radices)
    steps = np.stack(np.unravel_index(known, radices), axis=1)
    return Translations(radices, steps, adjacency.data[: known.size]), np.searchsorted(known, code)
