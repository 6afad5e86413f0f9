"""The lines and arrows of one round: which there are, and how they are drawn between given places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topokit.matrix import FloatArray, IntArray, MixingMatrix
from topokit.pictures.layouts import STUB, Layout, end_to_end
from topokit.pictures.style import COLOURS, FAINT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Edges", "draw_edges", "draw_possible", "edges_of"]

HEAD = 0.8  # width of an arrow's head, as a part of its length
DASHES: Any = (0, (2.5, 1.5))


@dataclass(frozen=True)
class Edges:
    """Who is linked with whom in a round.

    Attributes
    ----------
    mutual, oneway : ndarray of int64, shape (m, 2)
        Exchanges, the smaller node first; and messages that nothing answers, (source, target).
    mutual_weight, oneway_weight : ndarray of float64, shape (m,)
        Weight of the message; of an exchange that of the stronger direction; of two copies that of the stronger one.
    """

    mutual: IntArray
    mutual_weight: FloatArray
    oneway: IntArray
    oneway_weight: FloatArray

    @property
    def count(self) -> int:
        """Number of lines and arrows."""
        return len(self.mutual) + len(self.oneway)

    @property
    def weights(self) -> FloatArray:
        """All weights."""
        return np.concatenate((self.mutual_weight, self.oneway_weight))


def edges_of(W: MixingMatrix, copies: int = 1) -> Edges:
    """Take the edges of a round between different nodes.

    Parameters
    ----------
    W : MixingMatrix
        With copies * n rows; row c * n + i is state c of node i.
    copies : int, default 1

    Examples
    --------
    >>> from topokit.topologies import one_peer_exponential
    >>> [edge.tolist() for W in one_peer_exponential(4) for edge in (edges_of(W).oneway, edges_of(W).mutual)]
    [[[0, 3], [1, 0], [2, 1], [3, 2]], [], [], [[0, 2], [1, 3]]]
    """
    n = W.nodes // copies
    target, source = W.target % n, W.source % n
    sent = (target != source) & (W.weight != 0)
    target, source, weight = target[sent], source[sent], W.weight[sent]
    # The strongest of several states first, so that `unique` takes it.
    order = np.argsort(-np.abs(weight), kind="stable")
    key, first = np.unique(source[order] * n + target[order], return_index=True)
    weight = weight[order][first]
    source, target = key // n, key % n
    back = np.searchsorted(key, target * n + source)
    back[back == key.size] = 0
    answered = key[back] == target * n + source if key.size else np.zeros(0, dtype=bool)
    other = weight[back] if key.size else weight
    stronger = np.where(np.abs(other) > np.abs(weight), other, weight)
    pairs = np.stack((source, target), axis=1)
    lower = answered & (source < target)
    return Edges(pairs[lower], stronger[lower], pairs[~answered], weight[~answered])


def draw_edges(axes: Axes, edges: Edges, layout: Layout, *, point: float, disc: float, strongest: float) -> None:
    """Draw exchanges as lines and messages as arrows; dashed where the weight is negative.

    Parameters
    ----------
    axes : Axes
    edges : Edges
    layout : Layout
    point : float
        Size of a typographic point in the coordinates of the layout.
    disc : float
        Diameter of a node in points.
    strongest : float
        Weight (absolute) of the widest line.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    widest = float(np.clip(12 / max(edges.count, 1) ** 0.5, 0.25, 0.4 + 0.085 * disc))
    alpha = float(np.clip(900 / max(edges.count, 1), 0.04, 1.0))
    look: dict[str, Any] = {"colors": COLOURS[0], "alpha": alpha, "zorder": 1}

    def add_lines(paths: Sequence[FloatArray], weight: FloatArray) -> None:
        width = widest * (0.35 + 0.65 * np.abs(weight) / max(strongest, 1e-300))
        for chosen, dashes in ((weight >= 0, "solid"), (weight < 0, DASHES)):
            if chosen.any():
                own = width[chosen]
                # One number where all are equal: files are much smaller.
                each = float(own[0]) if np.ptp(own) < 1e-9 else own
                lines = [paths[k] for k in np.flatnonzero(chosen).tolist()]
                axes.add_collection(LineCollection(lines, linewidths=each, linestyles=dashes, **look))

    clear = _clear(point, disc)
    if len(edges.mutual):
        curves, owner, _ = _curves(edges.mutual, layout, clear)
        add_lines(_paths(curves), edges.mutual_weight[owner])
    if not len(edges.oneway):
        return
    curves, owner, arriving = _curves(edges.oneway, layout, clear)
    add_lines(_paths(curves), edges.oneway_weight[owner])
    length = float(np.clip(0.3 * disc + 2.4, 3.6, 7.5)) * point
    # Many heads around a node hide each other: then they are put further back on their lines.
    arrivals = np.bincount(edges.oneway[:, 1]).max()
    crowded = arrivals > 2 and arrivals * HEAD * length > (disc + 2) * point
    heads = _heads(curves[arriving], length, gap=(disc / 2 + 0.6) * point, back=crowded)
    axes.add_collection(PolyCollection(list(heads), facecolors=COLOURS[0], linewidths=0, alpha=alpha, zorder=2))


def draw_possible(axes: Axes, pairs: IntArray, layout: Layout, *, point: float, disc: float) -> None:
    """Draw edges that are not used in this round, in grey; parameters as `draw_edges`."""
    from matplotlib.collections import LineCollection

    curves, _, _ = _curves(pairs, layout, _clear(point, disc))
    axes.add_collection(LineCollection(_paths(curves), colors=FAINT, linewidths=0.8, zorder=0.7))


def _clear(point: float, disc: float) -> float:
    """Give the depth below the circle from which a chord keeps clear of the nodes."""
    return max(1.3 * disc * point, 0.11)


def _curves(pairs: IntArray, layout: Layout, clear: float) -> tuple[FloatArray, IntArray, NDArray[np.bool_]]:
    """Give quadratic curves (start, control point, end), shape (m, 3, 2), the edge each belongs to, and if it arrives.

    All are straight but short chords of a circle, which would run through the nodes between. Of an edge that joins the
    two ends of a row or a column of a lattice, two stubs are drawn.
    """
    start, end = layout.at[pairs[:, 0]], layout.at[pairs[:, 1]]
    owner = np.arange(len(pairs))
    arriving = np.ones(len(pairs), dtype=bool)
    if layout.turns and layout.sides is not None:
        turns = end_to_end(pairs, layout.sides)
        # One step beyond the end, seen from either node.
        steps = np.array(layout.sides).max() - 1
        apart = end[turns] - start[turns]
        spacing = float(np.abs(layout.at[1] - layout.at[0]).max()) if steps else 0.0
        step = STUB * spacing * apart / np.abs(apart).max(axis=1, initial=1e-12)[:, None]
        start_all = np.concatenate((start[~turns], end[turns] + step, start[turns]))
        end_all = np.concatenate((end[~turns], end[turns], start[turns] - step))
        owner = np.concatenate((owner[~turns], owner[turns], owner[turns]))
        arriving = np.arange(len(owner)) < len(pairs)
        start, end = start_all, end_all
    middle = (start + end) / 2
    if layout.name == "circle":
        depth = 1 - np.linalg.norm(middle, axis=1)  # of the chord below the circle
        half = np.linalg.norm(end - start, axis=1) / 2
        beside = half <= np.sin(np.pi / len(layout.at)) * 1.01
        bend = np.where(beside, 0.0, 0.45 * half * np.clip(1 - depth / max(clear, 1e-12), 0, 1))
        # The control point is as far from the chord again as the curve is.
        middle = middle - 2 * bend[:, None] * middle / np.maximum(np.linalg.norm(middle, axis=1), 1e-12)[:, None]
    return np.stack((start, middle, end), axis=1), owner, arriving


def _paths(curves: FloatArray) -> list[FloatArray]:
    """Give the points that lines go through: two of a straight one."""
    start, control, end = curves[:, 0], curves[:, 1], curves[:, 2]
    bent = np.abs(control - (start + end) / 2).max(axis=1, initial=0) > 1e-9
    s = np.linspace(0, 1, 9)[:, None]
    return [
        (1 - s) ** 2 * a + 2 * s * (1 - s) * b + s**2 * c if curved else np.stack((a, c))
        for a, b, c, curved in zip(start, control, end, bent.tolist(), strict=True)
    ]


def _heads(curves: FloatArray, length: float, gap: float, *, back: bool) -> FloatArray:
    """Give triangles: their tips at the edge of the receiving node, or before the last fifth of the way."""
    start, control, end = curves[:, 0], curves[:, 1], curves[:, 2]
    size = np.linalg.norm(end - start, axis=1, keepdims=True)
    # On short edges heads are smaller rather than longer than the edge.
    head = np.minimum(length, 0.9 * np.maximum(size - 2 * gap, 0.3 * size))
    s = 1 - gap / size
    s = np.maximum(np.minimum(s, 0.8) if back else s, 0.55)
    tip = (1 - s) ** 2 * start + 2 * s * (1 - s) * control + s**2 * end
    along = (1 - s) * (control - start) + s * (end - control)
    along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    side = np.stack((-along[:, 1], along[:, 0]), axis=1) * head * HEAD / 2
    base = tip - along * head
    return np.stack((tip, base + side, base - side), axis=1)
