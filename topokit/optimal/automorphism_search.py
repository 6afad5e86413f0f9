"""The search for automorphisms that take one node, or edge, to another.

To find one, the ends of both are marked in two copies of the graph, and the colours refined in lockstep. Where they
come to differ, there is none. Where they agree, nodes of equal colours are matched in a few plausible ways, and if none
is an automorphism, another pair is marked. Every automorphism found merges many orbits at once, so that few have to be
found.
"""

from __future__ import annotations

import numpy as np

from topokit.matrix import IntArray
from topokit.optimal.automorphisms import Automorphisms
from topokit.optimal.colour_refinement import ColouredGraph, Colours, mixed

__all__ = ["AutomorphismSearch"]

STEPS = 300  # pairs that are marked at most to find one automorphism
REFUTED = 3  # pairs without one, after which all candidates are told apart at once


class _TooHardError(Exception):
    pass


class AutomorphismSearch:
    """A search that merges orbits of nodes, then of edges, until no more are one."""

    def __init__(self, graph: ColouredGraph, found: Automorphisms) -> None:
        self.graph, self.found = graph, found
        self.nodes, self.edges, self.directed = graph.nodes, graph.edges, graph.directed
        self.neighbours: list[list[int]] | None = None
        self.colours = np.ones(graph.nodes, dtype=np.uint64)  # of 0, the hash is 0

    def run(self) -> bool:
        """Find the orbits of nodes, then those of edges; say whether none may be left to merge."""
        if self.found.is_one():
            return True
        refined = self.graph.refined(self.colours[:, None])
        assert refined is not None
        self.colours = refined[:, 0]
        complete = self.search_among(np.arange(self.nodes), np.arange(self.nodes)[:, None], self.colours)
        a, b = (self.colours[end] for end in self.edges.T)
        pair = mixed(a) * np.uint64(3) + mixed(b) if self.directed else mixed(a) + mixed(b)
        own = np.arange(self.nodes, self.found.labels.size)
        return self.search_among(own, self.edges, mixed(pair) + mixed(self.graph.kinds.astype(np.uint64))) and complete

    def search_among(self, own: IntArray, ends: IntArray, sort: Colours, *, split: bool = False) -> bool:
        """Merge those orbits of items, with numbers `own`, that are one, among items of the same sort."""
        complete = True
        # One item of each orbit, where others of its sort are left.
        chosen = np.unique(self.found.labels[own], return_index=True)[1]
        kind, place, count = np.unique(sort[chosen], return_inverse=True, return_counts=True)
        for k in np.flatnonzero(count > 1):
            if split or count[k] <= REFUTED:
                complete &= self.search_class(own, ends, chosen[place == k], len(chosen)) is not False
                continue
            members = chosen[place == k]
            done = self.search_class(own, ends, members, REFUTED)
            if done is None:
                left = members[np.unique(self.found.labels[own[members]], return_index=True)[1]]
                finer = self.graph.tell_apart(self.colours, ends[left])
                if ends.shape[1] == 1:  # colours of nodes serve the edges, too
                    by_label = dict(zip(self.found.labels[left].tolist(), finer.tolist(), strict=True))
                    same = np.flatnonzero(sort == kind[k])
                    self.colours[same] = mixed(
                        self.colours[same]
                        + np.array([by_label[label] for label in self.found.labels[same].tolist()], np.uint64)
                    )
                complete &= self.search_among(own[left], ends[left], finer, split=True)
            else:
                complete &= done
        return complete

    def search_class(self, own: IntArray, ends: IntArray, members: IntArray, patience: int) -> bool | None:
        """Merge the orbits of some items; None when as many were found to differ as patience allows."""
        complete, apart = True, [int(members[0])]
        while True:
            labels = self.found.labels[own[members]]
            left = members[~np.isin(labels, self.found.labels[own[apart]])]
            if not left.size:
                return complete
            # The farthest first: neighbours are often swapped alone, which merges little.
            item = int(left[-1])
            for other in apart:
                try:
                    if self.merge(ends[other], ends[item]):
                        break
                except _TooHardError:
                    complete = False
            else:
                apart.append(item)
                if len(apart) > patience:
                    return None

    def merge(self, start: IntArray, end: IntArray) -> bool:
        """Look for an automorphism that takes some nodes to some others, for edges in either direction."""
        for image in (end,) if self.directed or end.size == 1 else (end, end[::-1]):
            steps = [STEPS]
            colours = np.repeat(self.colours[:, None], 2, axis=1)
            for mark, pair in enumerate(zip(start.tolist(), image.tolist(), strict=True)):
                colours = self.graph.marked_pair(colours, *pair, mark)
            if self.extend(colours, steps, list(zip(start.tolist(), image.tolist(), strict=True))):
                return True
        return False

    def extend(self, colours: Colours, steps: list[int], pairs: list[tuple[int, int]]) -> bool:
        """Refine, guess, and mark another pair, until there is an automorphism or there cannot be one."""
        steps[0] -= 1
        if steps[0] < 0:
            raise _TooHardError
        if steps[0] == STEPS - 1 and self.follow(colours, pairs):
            return True
        refined = self.graph.refined(colours)
        if refined is None:
            return False
        before, after = (np.argsort(column, kind="stable") for column in refined.T)
        ordered = refined[before, 0]
        same = refined[:, 0] == refined[:, 1]
        permutation = np.empty(self.nodes, dtype=np.int64)
        permutation[before] = after
        if self.found.add(permutation):
            return True
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sizes = np.diff(np.r_[starts, self.nodes])
        if (sizes == 1).all():
            return False
        fixed = np.arange(self.nodes)
        fixed[before[~same[before]]] = after[~same[after]]
        if self.found.add(fixed) or self.follow(refined, pairs):
            return True
        # The smallest cell that is not the same in both copies.
        moved = np.add.reduceat(~same[before], starts) > 0
        cell = int(np.lexsort((sizes, ~moved, sizes == 1))[0])
        own = slice(int(starts[cell]), int(starts[cell] + sizes[cell]))
        node = int(before[own][np.argmin(same[before[own]])])
        for image in sorted(after[own].tolist(), key=lambda image: image != node):
            if self.extend(self.graph.marked_pair(refined, node, image), steps, [*pairs, (node, image)]):
                return True
        return False

    def follow(self, colours: Colours, pairs: list[tuple[int, int]]) -> bool:
        """Match neighbours of matched nodes with neighbours of their images, as colours allow: enough for trees."""
        if self.neighbours is None:
            pattern = self.graph.around
            self.neighbours = [row.tolist() for row in np.split(pattern.indices, pattern.indptr[1:-1])]
        left, right = colours.T.tolist()
        if any(left[node] != right[image] for node, image in pairs):
            return False
        images = dict(pairs)
        taken = set(images.values())
        queue = list(images)
        for node in queue:
            free: dict[int, list[int]] = {}
            around = [image for image in self.neighbours[images[node]] if image not in taken]
            for image in around:
                free.setdefault(right[image], []).append(image)
            waiting = [other for other in self.neighbours[node] if other not in images]
            if len(waiting) != len(around):
                return False
            # Who can stay, stays.
            for other in sorted(waiting, key=lambda other: other in taken or other not in free.get(left[other], ())):
                among = free.get(left[other])
                if not among:
                    return False
                images[other] = among.pop(among.index(other) if other in among else 0)
                taken.add(images[other])
                queue.append(other)
        permutation = np.arange(self.nodes)
        permutation[queue] = [images[node] for node in queue]
        return self.found.add(permutation)
