"""Permutations that are automorphisms of many graphs, and those that nauty finds; each is to be checked."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from topokit.matrix import IntArray
from topokit.optimal.colour_refinement import ColouredGraph, Colours, mixed
from topokit.spectral.groups import group_shape

__all__ = ["by_nauty", "of_products", "of_twins"]

MULTIPLIERS = 64  # that are tried on a cycle
SORTS = 8  # of edges, up to which joined nodes with the same neighbours are looked for


def of_products(graph: ColouredGraph) -> Iterator[IntArray]:
    """Give permutations that many graphs on products of cycles have, where the numbers of the nodes show one.

    Examples
    --------
    >>> ring = ColouredGraph(3, np.array([(0, 1), (1, 2), (0, 2)]), np.zeros(3, dtype=np.int64), False, np.inf)
    >>> [permutation.tolist() for permutation in of_products(ring)][:2]
    [[1, 2, 0], [0, 2, 1]]
    """
    u, v = graph.edges.T
    kinds = graph.kinds + 1.0
    rows, columns, values = (v, u, kinds) if graph.directed else (np.r_[v, u], np.r_[u, v], np.r_[kinds, kinds])
    pattern = sparse.csr_array((values, (rows, columns)), shape=(graph.nodes, graph.nodes))
    pattern.sort_indices()
    shape = group_shape(pattern)
    if shape is None:
        return
    numbers = np.arange(graph.nodes).reshape(shape)
    axes = range(len(shape))
    yield from (np.roll(numbers, -1, axis).ravel() for axis in axes)
    negated = [-np.arange(size) % size for size in shape]
    yield numbers[np.ix_(*negated)].ravel()
    for axis in axes:
        yield np.take(numbers, negated[axis], axis).ravel()
        if axis and shape[axis - 1] == shape[axis]:
            yield np.swapaxes(numbers, axis - 1, axis).ravel()
    if len(shape) == 1:
        n = graph.nodes
        ahead = pattern.indices[: pattern.indptr[1]].astype(np.int64)
        coprime = ahead[np.gcd(ahead, n) == 1]
        if coprime.size:
            factors = ahead * pow(int(coprime[0]), -1, n) % n
            yield from (factor * np.arange(n) % n for factor in factors[:MULTIPLIERS])


def of_twins(graph: ColouredGraph) -> Iterator[IntArray]:
    """Give permutations of nodes with the same neighbours: cycles, and transpositions where they are joined.

    Examples
    --------
    >>> star = ColouredGraph(4, np.array([(0, 1), (0, 2), (0, 3)]), np.zeros(3, dtype=np.int64), False, np.inf)
    >>> [permutation.tolist() for permutation in of_twins(star)]
    [[0, 3, 1, 2]]
    """
    n, colours = graph.nodes, mixed(np.arange(1, graph.nodes + 1).astype(np.uint64))
    around: Colours = np.asarray(graph.around @ colours)
    degrees = np.diff(graph.around.indptr)
    joined = np.unique(graph.around.data)
    leaves = np.arange(n)
    for loop in (None, *(joined if joined.size <= SORTS else ())):
        codes: Colours = around if loop is None else around + loop * colours
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.r_[True, codes[order][1:] != codes[order][:-1]])
        sizes = np.diff(np.r_[starts, n])
        for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
            twins = order[start : start + size]
            if loop is None and degrees[twins[0]] == 1:
                leaves[twins] = np.roll(twins, 1)  # no edge is at two of them, so that all classes can turn at once
                continue
            permutation = np.arange(n)
            permutation[twins] = np.roll(twins, 1)
            yield permutation
            if loop is not None:
                permutation = np.arange(n)
                permutation[twins[:2]] = twins[1::-1]
                yield permutation
    yield leaves


def by_nauty(nodes: int, edges: IntArray, kinds: IntArray) -> Iterator[IntArray]:
    """Give generators of the group of all automorphisms; edges of several colours are paths through coloured nodes."""
    pynauty: Any = importlib.import_module("pynauty")
    adjacent: dict[int, list[int]] = {}
    cells = [set(range(nodes))]
    if kinds.max(initial=0) == 0:
        size = nodes
        for u, v in edges.tolist():
            adjacent.setdefault(u, []).append(v)
    else:
        size = nodes + len(edges)
        for k, (u, v) in enumerate(edges.tolist()):
            adjacent[nodes + k] = [u, v]
        cells += [set((nodes + np.flatnonzero(kinds == kind)).tolist()) for kind in np.unique(kinds)]
    coloured = pynauty.Graph(size, adjacency_dict=adjacent, vertex_coloring=cells)
    for generator in pynauty.autgrp(coloured)[0]:
        yield np.array(generator[:nodes], dtype=np.int64)
