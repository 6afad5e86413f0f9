"""Pictures of the rounds themselves: who sends to whom, as small graphs with the same places in all rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from topokit.errors import InputError
from topokit.kinds import Matchings, Pairwise
from topokit.matrix import IntArray
from topokit.pictures.edges import Edges, draw_edges, draw_possible, edges_of
from topokit.pictures.figures import (
    Schedules,
    even_columns,
    fitted,
    labelled,
    require_few,
    require_nodes,
)
from topokit.pictures.layouts import STUB, Layout, lay_out, union_edges
from topokit.pictures.style import FAINT, INK, MUTED, styled
from topokit.schedule import Schedule
from topokit.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Drawing", "chosen_rounds", "draw_round", "drawing_words", "plot_graph", "prepare"]

APART = 1.12  # sides of a panel from one to the next
MAX_ROUNDS_DRAWN = 24  # of a schedule that is alone
MAX_RANDOM_DRAWN = 4  # of a schedule without a period
MAX_ROUNDS_ASKED = 60
MAX_TOGETHER = 96
MAX_EDGES = 300_000  # that take seconds
EXTENT = 1.16  # half the side of a panel, where nodes are at -1 to 1
READABLE = 5.5  # points
STEPS = (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 40, 50, 64, 80, 100, 125, 128, 200, 250, 256)


@dataclass(frozen=True)
class Drawing:
    """What of a schedule is drawn: places, and edges by round."""

    layout: Layout
    rounds: range
    edges: tuple[Edges, ...]
    strongest: float  # weight (absolute) of the widest line
    possible: IntArray  # edges that rounds are drawn from, where these are few; shape (m, 2)


def plot_graph(schedules: Schedules, *, rounds: range | None = None, layout: str = "auto") -> Figure:
    """Draw who sends to whom: one panel a round, nodes at the same places in all rounds of a schedule.

    Parameters
    ----------
    schedules : Schedule, or mapping from label to Schedule
        Twelve at most, of 2,000 nodes at most.
    rounds : range, optional
        Which rounds to draw, 60 at most. Default: all of the period; of one longer than 24 rounds the first 24 (fewer
        if there are many schedules), and four where rounds are drawn at random.
    layout : {"auto", "circle", "spring", "spectral"}
        Where the nodes are; ``auto`` shows how the topology is made (`topokit.pictures.layouts.lay_out`).

    Returns
    -------
    matplotlib.figure.Figure
        Lines are exchanges, arrows go from the node that sends to the one that receives; the wider, the more weight.

    Raises
    ------
    InputError
        If matplotlib is missing, there is nothing to plot, or it is too much.
    """
    named = labelled(schedules)
    require_few(len(named), "schedules")
    drawings = {label: prepare(label, each, rounds, layout, len(named)) for label, each in named.items()}
    with styled():
        return _composed(named, drawings)


def prepare(label: str, schedule: Schedule, rounds: range | None, layout: str = "auto", together: int = 1) -> Drawing:
    """Lay out a schedule and take the edges of the rounds that are drawn.

    Raises
    ------
    InputError
        If there are too many nodes, rounds or edges, or no such layout.
    """
    require_nodes(label, schedule.nodes, "graphs")
    chosen = chosen_rounds(schedule, rounds, together)
    edges = tuple(edges_of(schedule.round(t), schedule.copies) for t in chosen)
    total = sum(each.count for each in edges)
    if total > MAX_EDGES:
        rounds_drawn = count(len(chosen), "round")
        raise InputError(f"{label} has {total} edges in {rounds_drawn}; graphs are drawn up to {MAX_EDGES}")
    strongest = max((float(np.abs(each.weights).max(initial=0)) for each in edges), default=0.0)
    on_graph = isinstance(schedule.rule, (Matchings, Pairwise))
    possible = union_edges(schedule) if on_graph else np.zeros((0, 2), dtype=np.int64)
    return Drawing(lay_out(schedule, layout), chosen, edges, strongest, possible)


def chosen_rounds(schedule: Schedule, rounds: range | None = None, together: int = 1) -> range:
    """Choose the rounds to draw of a schedule, as `plot_graph` says.

    Raises
    ------
    InputError
        If no round is asked for, or too many.
    """
    if rounds is None:
        most = min(MAX_ROUNDS_DRAWN, max(MAX_TOGETHER // together, MAX_RANDOM_DRAWN))
        return range(MAX_RANDOM_DRAWN if schedule.period is None else min(schedule.period, most))
    if not len(rounds) or min(rounds) < 0:
        raise InputError(f"there is no round to draw from {rounds.start} to {rounds.stop}; expected 0 <= a < b")
    if len(rounds) > MAX_ROUNDS_ASKED:
        raise InputError(f"{len(rounds)} rounds do not fit one figure; draw at most {MAX_ROUNDS_ASKED}")
    return rounds


def drawing_words(drawings: Sequence[Drawing]) -> str:
    """Say what the lines of the drawings mean, in one or two sentences."""
    parts = [edges for drawing in drawings for edges in drawing.edges]
    words = []
    if any(len(edges.oneway) for edges in parts):
        words.append("arrows go from sender to receiver")
    if any(len(edges.mutual) for edges in parts):
        words.append("lines are exchanges both ways")
    weights = np.abs(np.concatenate([edges.weights for edges in parts])) if parts else np.zeros(0)
    if weights.size and np.ptp(weights) > 1e-9:
        words.append("wider means more weight")
    if any((edges.weights < 0).any() for edges in parts):
        words.append("dashed means negative weight")
    if any(len(drawing.possible) for drawing in drawings):
        words.append("grey are edges that other rounds use")
    if any(drawing.layout.turns for drawing in drawings):
        words.append("lines that leave at one side come back at the opposite one")
    text = "; ".join(words) or "nothing is sent"
    return text[0].upper() + text[1:] + "."


def _composed(named: dict[str, Schedule] | Schedules, drawings: dict[str, Drawing]) -> Figure:
    """Put the panels into a grid by hand: there are no axes to make room for, but titles that must not be cut."""
    from matplotlib.figure import Figure

    schedules = labelled(named)
    longest = max(len(drawing.rounds) for drawing in drawings.values())
    # Graphs that never change need no row each.
    flat = longest == 1
    columns = even_columns(len(drawings)) if flat else even_columns(longest, 5)
    side = _panel_side(columns, max(schedule.nodes for schedule in schedules.values()))
    # Nodes of one round must not seem to belong to the next.
    pitch = side if columns == 1 else APART * side
    room = pitch if flat and len(drawings) > 1 else columns * pitch
    titles = {label: fitted(label, room - 0.25, 11) for label in drawings}
    title = 0.22 + 0.19 * max(text.count("\n") for text in titles.values())
    under = 0.05 if flat else 0.3
    blocks = [range(len(drawings))] if flat else [range(len(drawing.rounds)) for drawing in drawings.values()]
    row_counts = [ceil(len(block) / columns) for block in blocks]
    row_heights = [side + under + (title if flat or not row else 0.0) for rows in row_counts for row in range(rows)]
    width = columns * pitch
    caption = fitted(drawing_words(list(drawings.values())), width - 0.2, 8, lines=6)
    bottom = 0.16 * (caption.count("\n") + 1) + 0.12
    height = sum(row_heights) + bottom
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    figure.text(0.1 / width, 0.08 / height, caption, fontsize=8, color=MUTED, va="bottom", linespacing=1.25)
    tops = height - np.concatenate(([0.0], np.cumsum(row_heights)))

    def add_panel(row: int, column: int, headed: bool) -> Axes:
        top = tops[row] - (title if headed else 0.0)
        place = ((column * pitch + (pitch - side) / 2) / width, (top - side) / height, side / width, side / height)
        return figure.add_axes(place)

    row = 0
    for k, (label, drawing) in enumerate(drawings.items()):
        schedule = schedules[label]
        for position, (t, edges) in enumerate(zip(drawing.rounds, drawing.edges, strict=True)):
            at = k if flat else position
            axes = add_panel(row + at // columns, at % columns, headed=flat or position < columns)
            draw_round(axes, drawing, edges, side)
            if position == 0:
                axes.set_title(titles[label], x=(0.12 - (pitch - side) / 2) / side, pad=2, parse_math=False)
            if schedule.period != 1:
                part = schedule.period is not None and schedule.period > len(drawing.rounds)
                axes.set_xlabel(f"round {t}" + (f" of {schedule.period}" if part else ""), fontsize=9, labelpad=1)
        row += 0 if flat else row_counts[k]
    return figure


def _panel_side(columns: int, nodes: int) -> float:
    """Choose the side of a panel in inches."""
    if columns == 1:
        return 4.6
    return (3.2 if columns <= 3 else 2.4) if nodes <= 40 else 3.4 if columns <= 3 else 2.8


def draw_round(axes: Axes, drawing: Drawing, edges: Edges, side: float) -> None:
    """Draw one round into a square panel.

    Parameters
    ----------
    axes : Axes
    drawing : Drawing
    edges : Edges
        Those of the round.
    side : float
        Side of the panel in inches.
    """
    layout = drawing.layout
    extent = EXTENT
    if layout.turns and layout.sides is not None:
        extent = max(extent, 1.04 + 2 * STUB / (max(layout.sides) - 1))
    point = 2 * extent / (side * 72)
    disc = _disc(layout, point)
    _draw_hosts(axes, layout, point, disc)
    if len(drawing.possible):
        draw_possible(axes, drawing.possible, layout, point=point, disc=disc)
    draw_edges(axes, edges, layout, point=point, disc=disc, strongest=drawing.strongest)
    _draw_nodes(axes, layout, point, disc)
    axes.set_aspect("equal")
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.patch.set_visible(False)
    for line in axes.spines.values():
        line.set_visible(False)


def _disc(layout: Layout, point: float) -> float:
    """Choose the diameter of nodes, in points, by how close they are."""
    from scipy.spatial import KDTree

    if len(layout.at) < 2:
        return 17.0
    nearest = np.asarray(KDTree(layout.at).query(layout.at, k=2)[0])[:, 1] / point
    part = 0.5 if layout.name == "hypercube" else 0.6  # other lines pass by
    # A few that lie close do not make all the others small.
    disc = min(part * float(np.quantile(nearest, 0.1)), 17.0)
    # Without room for a number, a dot leaves more of the lines to be seen.
    return disc if _number_size(len(layout.at), disc) >= READABLE else max(0.75 * disc, 2.0)


def _number_size(nodes: int, disc: float) -> float:
    """Give the font size at which the numbers of all nodes fit into discs."""
    return disc * (0.56 if nodes <= 100 else 0.44 if nodes <= 1000 else 0.34)


def _draw_hosts(axes: Axes, layout: Layout, point: float, disc: float) -> None:
    from matplotlib.patches import Circle

    for nodes in layout.hosts:
        centre = layout.at[nodes].mean(axis=0)
        reach = float(np.linalg.norm(layout.at[nodes] - centre, axis=1).max()) + (disc / 2 + 2.5) * point
        axes.add_artist(Circle(tuple(centre), reach, facecolor=FAINT, alpha=0.5, linewidth=0, zorder=0.5))


def _draw_nodes(axes: Axes, layout: Layout, point: float, disc: float) -> None:
    from matplotlib.collections import EllipseCollection

    at, n = layout.at, len(layout.at)
    across = disc * point
    axes.add_collection(
        EllipseCollection(
            across,
            across,
            0,
            units="xy",
            offsets=at,
            transOffset=axes.transData,
            facecolors=INK,
            edgecolors="white",
            linewidths=0.8 if disc > 6 else 0.3,
            zorder=3,
        )
    )
    size = _number_size(n, disc)
    if size >= READABLE:
        for node, (x, y) in enumerate(at):
            axes.text(x, y, str(node), ha="center", va="center_baseline", fontsize=size, color="white", zorder=4)
    elif layout.name == "circle":
        # Too small for numbers inside: some of them around the circle.
        spacing = 2 * np.pi / n / point
        step = next((step for step in STEPS if step * spacing >= 22), n)
        for node in range(0, n - step // 2, step):
            x, y = at[node] * (1 + 9 * point)
            axes.text(x, y, str(node), ha="center", va="center", fontsize=7, color=MUTED, zorder=4)
