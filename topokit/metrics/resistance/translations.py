"""Graphs that look the same from every node up to a translation: their Laplacian is diagonal in a Fourier basis.

Rings and all circulant graphs (translations of Z_n), tori (of Z_a x Z_b, nodes numbered row by row) and hypercubes
(of bits). What takes a factorisation otherwise is then a sum over modes, for a million nodes too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isqrt

import numpy as np

from topokit.matrix import FloatArray, IntArray
from topokit.metrics.resistance.circuit import Circuit

__all__ = ["Translations", "translations"]

MAX_ENTRIES = 10**8  # nodes x neighbours: sines to compute, some seconds
PROBED = 50  # nodes whose neighbours are looked at first


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
    nodes, edges = circuit.nodes, circuit.edges
    count = np.bincount(edges.ravel(), minlength=nodes)
    if (count != count[0]).any() or nodes * int(count[0]) > MAX_ENTRIES:
        return None
    probe = np.isin(edges, np.unique(np.linspace(0, nodes - 1, PROBED).astype(np.int64))).any(axis=1)
    for radices in _radices(nodes):
        if _codes(edges[probe], radices)[1].size > count[0]:
            continue
        code, known = _codes(edges, radices)
        if known.size != count[0]:
            continue
        where = np.searchsorted(known, code)
        conductances = np.zeros(known.size)
        conductances[where] = circuit.conductances[:, None]
        # So many different steps from nodes of that degree are each taken from every node, if they are taken n times.
        if (np.bincount(where.ravel()) == nodes).all() and (conductances[where] == circuit.conductances[:, None]).all():
            steps = np.stack(np.unravel_index(known, radices), axis=1)
            return Translations(radices, steps, conductances), where[:, 0]
    return None


def _radices(nodes: int) -> Iterator[tuple[int, ...]]:
    yield (nodes,)
    if nodes & (nodes - 1) == 0 and nodes > 2:
        yield (2,) * (nodes.bit_length() - 1)
    for side in range(2, isqrt(nodes) + 1):
        if nodes % side == 0:
            yield (side, nodes // side)
            if side * side != nodes:
                yield (nodes // side, side)


def _codes(edges: IntArray, radices: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    """Give the steps of the edges, there and back, as numbers; and which numbers there are."""
    u, v = (np.stack(np.unravel_index(ends, radices)) for ends in edges.T)
    size = np.array(radices)[:, None]
    code = np.stack([np.ravel_multi_index(tuple(step % size), radices) for step in (v - u, u - v)], axis=1)
    return code, np.unique(code)
