"""Figures of mixing schedules: spectra, consensus curves, and the rounds themselves.

Every function gives a matplotlib Figure, for a notebook or for `topokit.plotstyle.save_figure`. matplotlib is imported
by the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from math import ceil, cos, pi, sin
from typing import TYPE_CHECKING, Any

import numpy as np

from topokit.averaging import prove_exact_averaging, simulate_consensus, simulated_rounds
from topokit.errors import ConvergenceError, InputError
from topokit.kinds import Cyclic
from topokit.matrix import FloatArray, MixingMatrix
from topokit.metrics.expectation import expected_contraction
from topokit.plotstyle import COLOURS, INK, MUTED, line_styles, save_figure, styled
from topokit.schedule import Schedule
from topokit.spectral import is_normal, is_symmetric, period_product

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PLOTS", "plot_consensus", "plot_graph", "plot_spectra", "save_figure"]

ROUNDING = 1e-13  # relative consensus distances below are the mean, reached
PREDICTED: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.2}
MAX_PANELS = 12
MAX_PROOF_WORK = 2e9  # multiplications: seconds
MAX_ROUNDS_DRAWN = 8
MAX_RANDOM_DRAWN = 4  # of a schedule without a period
MAX_NODES_SPECTRUM = 2000
MAX_NODES_NUMBERED = 36

Schedules = Schedule | Mapping[str, Schedule]


def plot_consensus(schedules: Schedules, *, rounds: int | None = None, seed: int = 0) -> Figure:
    """Plot simulated consensus distance by round, with the predicted worst case beside it.

    Parameters
    ----------
    schedules : Schedule, or mapping from label to Schedule
    rounds : int, optional
        How many rounds to show. Default: enough for the fastest schedules, and for the shape of the slow ones.
    seed : int, default 0
        Seed of the random start (normal, 64 coordinates a node).

    Returns
    -------
    matplotlib.figure.Figure
        Solid: consensus distance, relative to its start. Dashed: the contraction per round to the power t, which is
        the worst case at the end of each period (of random schedules: the square root of the expected square). A
        curve that reaches the mean exactly ends in a ring on the axis.

    Raises
    ------
    InputError
        If matplotlib is missing, or there is nothing to plot.
    """
    named = _labelled(schedules)
    horizon = rounds if rounds is not None else _horizon(named)
    curves = {label: _relative_distance(schedule, horizon, seed) for label, schedule in named.items()}
    floor = _floor(curves.values())
    with styled():
        figure, axes = _figure(7.2, 4.2)
        for k, (label, schedule) in enumerate(named.items()):
            _consensus_curve(axes, label, schedule, curves[label], k, floor)
        axes.set_yscale("log")
        axes.set_ylim(floor, 2)
        axes.set_xlim(0, horizon * 1.01)
        axes.xaxis.set_major_locator(_whole_numbers())
        axes.set_xlabel("round")
        axes.set_title("Consensus distance, relative to the start")
        handles, labels = axes.get_legend_handles_labels()
        handles.append(_line(color=MUTED, **PREDICTED))
        drawn = any(schedule.period is None for schedule in named.values())
        labels.append("predicted: worst case,\nexpected where drawn" if drawn else "predicted worst case")
        if any(line.get_fillstyle() == "none" for line in axes.lines):
            handles.append(_line(color=MUTED, marker="o", markersize=8, fillstyle="none", linestyle="none"))
            labels.append("exact")
        figure.legend(handles, labels, loc="outside right upper")
        return figure


def _relative_distance(schedule: Schedule, horizon: int, seed: int) -> FloatArray:
    distance = simulate_consensus(schedule.rule, horizon, seed=seed)
    return np.asarray(distance / distance[0], dtype=np.float64)


def _floor(curves: Iterable[FloatArray]) -> float:
    """Choose where the axis ends: below the curves that are still above rounding."""
    lasts = [float(curve[-1]) for curve in curves if curve[-1] > ROUNDING]
    return float(10 ** np.clip(np.floor(np.log10(min(lasts, default=1e-6))) - 1, -8, -4))


def _consensus_curve(axes: Axes, label: str, schedule: Schedule, relative: FloatArray, k: int, floor: float) -> None:
    style = line_styles(k + 1)[k]
    horizon = relative.size - 1
    gone = np.flatnonzero(relative < ROUNDING)
    shown = relative.copy() if not gone.size else np.append(relative[: gone[0]], min(floor, relative[gone[0] - 1]))
    every = max(1, ceil(horizon / 16))
    # Curves may coincide: later ones are thinner, and mark other rounds, so that those beneath stay visible.
    width = max(2.8 - 0.35 * k, 1.2)
    axes.plot(shown, label=label, linewidth=width, markevery=(k % every, every), **style)
    rate, exact_after = _prediction(schedule)
    if exact_after is not None:
        ring = {"marker": "o", "markersize": 8 + 3 * k, "color": style["color"], "fillstyle": "none", "clip_on": False}
        axes.plot([exact_after], [floor], **ring)
    elif rate is not None:
        axes.plot([0, horizon], [1, max(rate**horizon, 1e-300)], color=style["color"], **PREDICTED)


def _prediction(schedule: Schedule) -> tuple[float | None, int | None]:
    """Give the contraction per round and the number of rounds to the exact mean, as far as they are known."""
    rule = schedule.rule
    if not isinstance(rule, Cyclic):
        expected = expected_contraction(rule)
        return (None if expected is None else expected.value**0.5), None
    if rule.mixing not in ("doubly-stochastic", "row-stochastic"):
        return None, None
    try:
        proof = prove_exact_averaging(rule.rounds, copies=rule.copies, max_work=MAX_PROOF_WORK)
    except ConvergenceError:
        return None, None
    if proof.status != "false":
        return 0.0, rule.period
    return (None if proof.contraction is None else proof.contraction ** (1 / rule.period)), None


def _horizon(curves: Mapping[str, Schedule]) -> int:
    # A linear axis cannot show 4 rounds and 4,000: the fastest decide, the slow ones are seen to be slow.
    needed = [simulated_rounds(schedule.rule) or 1000 for schedule in curves.values()]
    return int(min(max(needed), max(24, 6 * min(needed)), 1000) * 1.15) + 1


def plot_spectra(schedules: Schedules) -> Figure:
    """Plot the eigenvalues of each schedule's period, one panel a schedule.

    Parameters
    ----------
    schedules : Schedule, or mapping from label to Schedule
        Twelve at most, of 2,000 nodes at most.

    Returns
    -------
    matplotlib.figure.Figure
        Eigenvalues of the product of a period: sorted where it is symmetric, in the complex plane where it is only
        normal; the band (disc) is their modulus, the eigenvalue 1 of the mean aside. Where it is not normal,
        eigenvalues cannot be trusted, and the singular values of the product minus J are shown instead.

    Raises
    ------
    InputError
        If matplotlib is missing, there is nothing to plot, or it is too much.
    """
    curves = _labelled(schedules)
    for label, schedule in curves.items():
        if schedule.period is None or schedule.copies > 1:
            what = "draws its rounds at random" if schedule.period is None else "keeps two copies"
            raise InputError(f"{label} {what}: it has no one spectrum; its consensus can be plotted")
        if schedule.nodes > MAX_NODES_SPECTRUM:
            raise InputError(f"{label} has {schedule.nodes} nodes; spectra are drawn up to {MAX_NODES_SPECTRUM}")
    if len(curves) > MAX_PANELS:
        raise InputError(f"{len(curves)} spectra do not fit one figure; draw at most {MAX_PANELS} together")
    with styled():
        figure, panels = _panels(len(curves), _even(len(curves)), 2.7, 2.9)
        for axes, (label, schedule) in zip(panels, curves.items(), strict=False):
            _spectrum_panel(axes, label, schedule)
        return figure


def _spectrum_panel(axes: Axes, label: str, schedule: Schedule) -> None:
    product = period_product(schedule.rounds)
    of = "W" if schedule.period == 1 else f"the {schedule.period}-round period"
    axes.set_title(label)
    if is_symmetric(product):
        values = np.asarray(np.linalg.eigvalsh(product)[::-1], dtype=np.float64)
        _sorted_values(axes, values, f"eigenvalues of {of}", low=-1.08)
    elif is_normal(product):
        _plane(axes, np.linalg.eigvals(product - 1 / schedule.nodes), f"eigenvalues of {of}")
    else:
        values = np.asarray(np.linalg.svd(product - 1 / schedule.nodes, compute_uv=False), dtype=np.float64)
        _sorted_values(axes, np.concatenate(([1.0], values[:-1])), f"singular values of {of}, not normal", low=-0.04)


def _sorted_values(axes: Axes, values: FloatArray, caption: str, low: float) -> None:
    rank = np.arange(1, values.size + 1)
    size = float(np.clip(220 / values.size, 1.5, 5))
    radius = float(np.abs(values[1:]).max(initial=0.0))
    axes.axhspan(-radius if low < -1 else 0, radius, color=COLOURS[0], alpha=0.10, linewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.plot(rank[1:], values[1:], "o", markersize=size, color=COLOURS[0])
    axes.plot(rank[:1], values[:1], "o", markersize=5, color=MUTED, fillstyle="none")
    axes.set_ylim(low, 1.08)
    axes.set_xlim(0.5 - values.size * 0.03, values.size * 1.03 + 0.5)
    axes.xaxis.set_major_locator(_whole_numbers(5))
    axes.set_xlabel(f"{caption}\nlargest besides the 1: {_number(radius)}", fontsize=9)


def _plane(axes: Axes, values: Any, caption: str) -> None:
    from matplotlib.patches import Circle

    radius = float(np.abs(values).max())
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=MUTED, linewidth=0.8))
    axes.add_patch(Circle((0, 0), radius, color=COLOURS[0], alpha=0.10, linewidth=0))
    size = float(np.clip(220 / values.size, 1.5, 5))
    axes.plot(values.real, values.imag, "o", markersize=size, color=COLOURS[0])
    axes.plot([1], [0], "o", markersize=5, color=MUTED, fillstyle="none")
    axes.set_aspect("equal")
    axes.set_xlim(-1.08, 1.08)
    axes.set_ylim(-1.08, 1.08)
    axes.set_xticks([-1, 0, 1])
    axes.set_yticks([-1, 0, 1])
    axes.set_xlabel(f"{caption}\nlargest besides the 1: {_number(radius)}", fontsize=9)


def plot_graph(schedules: Schedules) -> Figure:
    """Draw who sends to whom: the nodes on a circle, one panel a round, one row a schedule.

    Parameters
    ----------
    schedules : Schedule, or mapping from label to Schedule
        Twelve at most; of a long period the first eight rounds are drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Lines are exchanges, arrows go from the node that sends to the one that receives; the wider, the more weight.

    Raises
    ------
    InputError
        If matplotlib is missing, there is nothing to plot, or it is too much.
    """
    rows = _labelled(schedules)
    if len(rows) > MAX_PANELS:
        raise InputError(f"{len(rows)} schedules do not fit one figure; draw at most {MAX_PANELS} together")
    columns = max(map(_drawn, rows.values()))
    if columns == 1:
        # Graphs that never change need no row each.
        columns = _even(len(rows))
    across = all(schedule.period == 1 for schedule in rows.values())
    count = len(rows) if across else len(rows) * columns
    with styled():
        figure, panels = _panels(count, columns, 2.3, 2.5)
        free = iter(panels)
        for label, schedule in rows.items():
            drawn = _drawn(schedule)
            for t in range(drawn):
                axes = next(free)
                _round_panel(axes, schedule.round(t), schedule.copies)
                if schedule.period != 1:
                    cut = t == drawn - 1 and schedule.period is not None and schedule.period > drawn
                    axes.set_xlabel(f"round {t}" + (f" of {schedule.period}" if cut else ""))
                if t == 0:
                    axes.set_title(label)
            for axes in islice(free, 0 if across else columns - drawn):
                axes.set_visible(False)
        return figure


def _drawn(schedule: Schedule) -> int:
    return MAX_RANDOM_DRAWN if schedule.period is None else min(schedule.period, MAX_ROUNDS_DRAWN)


def _round_panel(axes: Axes, W: MixingMatrix, copies: int) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import FancyArrowPatch

    n = W.nodes // copies
    target, source = W.target % n, W.source % n
    at = np.array([(sin(2 * pi * i / n), cos(2 * pi * i / n)) for i in range(n)])
    off = target != source
    pairs = {(int(i), int(j)): float(w) for i, j, w in zip(target[off], source[off], W.weight[off], strict=True)}
    most = max((abs(w) for w in pairs.values()), default=1.0)
    mutual = [(i, j) for i, j in pairs if i < j and (j, i) in pairs]
    oneway = [(i, j) for i, j in pairs if (j, i) not in pairs]
    thin = float(np.clip(11 / max(len(pairs), 1) ** 0.5, 0.2, 1.5))
    alpha = float(np.clip(400 / max(len(pairs), 1), 0.3, 1.0))
    node = float(np.clip(0.9 / n, 0.016, 0.085))

    def width(i: int, j: int) -> float:
        return thin * (0.35 + 0.65 * abs(pairs[i, j]) / most)

    axes.add_collection(
        LineCollection(
            [at[[i, j]] for i, j in mutual], colors=COLOURS[0], linewidths=[width(i, j) for i, j in mutual], alpha=alpha
        )
    )
    heads = n <= 64
    for i, j in oneway if heads else []:
        arrow = FancyArrowPatch(
            tuple(at[j]),
            tuple(at[i]),
            arrowstyle="-|>",
            mutation_scale=float(np.clip(120 / n, 4, 9)),
            color=COLOURS[0],
            linewidth=width(i, j),
            alpha=alpha,
            shrinkA=0,
            shrinkB=node * 62,
        )
        axes.add_patch(arrow)
    if not heads:
        axes.add_collection(
            LineCollection([at[[i, j]] for i, j in oneway], colors=COLOURS[0], linewidths=thin, alpha=alpha)
        )
    _nodes(axes, at, node)
    axes.set_aspect("equal")
    axes.set_xlim(-1.28, 1.28)
    axes.set_ylim(-1.28, 1.28)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for side in axes.spines.values():
        side.set_visible(False)


def _nodes(axes: Axes, at: FloatArray, radius: float) -> None:
    from matplotlib.collections import EllipseCollection

    n = len(at)
    size = np.full(n, 2 * radius)
    axes.add_collection(
        EllipseCollection(
            size,
            size,
            np.zeros(n),
            units="xy",
            offsets=at,
            transOffset=axes.transData,
            facecolors=INK,
            edgecolors="white",
            linewidths=0.8 if n <= MAX_NODES_NUMBERED else 0.2,
            zorder=3,
        )
    )
    if n <= MAX_NODES_NUMBERED:
        for i, (x, y) in enumerate(at * (1 + radius + 0.09)):
            axes.text(x, y, str(i), ha="center", va="center", fontsize=7 if n <= 20 else 5.5, color=MUTED)


PLOTS: dict[str, Callable[[Mapping[str, Schedule]], Figure]] = {
    "graph": plot_graph,
    "spectrum": plot_spectra,
    "consensus": plot_consensus,
}


def _labelled(schedules: Schedules) -> Mapping[str, Schedule]:
    named = {schedules.name: schedules} if isinstance(schedules, Schedule) else schedules
    if not named:
        raise InputError("there is nothing to plot: no schedule was given")
    return named


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def _panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    rows = ceil(count / columns)
    figure = Figure(figsize=(max(columns * width, 2.8), rows * height))
    grid = figure.subplots(rows, columns, squeeze=False)
    panels: list[Axes] = list(grid.ravel())
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels[:count]


def _even(count: int, most: int = 4) -> int:
    """Choose the number of columns that fills the last row best: five panels are 3 + 2, not 4 + 1."""
    return ceil(count / ceil(count / most))


def _line(**style: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **style)


def _whole_numbers(ticks: int = 9) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=ticks, integer=True)


def _number(value: float) -> str:
    return "0" if value < 1e-12 else f"{value:.4g}"
