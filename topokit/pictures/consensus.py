"""Consensus curves: how simulated disagreement falls round by round, with the rate that theory predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from topokit.averaging import prove_exact_averaging, simulate_consensus, simulated_rounds
from topokit.errors import ConvergenceError, InputError
from topokit.kinds import Cyclic
from topokit.matrix import FloatArray
from topokit.metrics.expectation import expected_contraction
from topokit.pictures.figures import Schedules, fitted, labelled, whole_numbers
from topokit.pictures.style import MUTED, line_styles, styled
from topokit.proofs.windows import exact_after
from topokit.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["no_consensus", "plot_consensus"]

ROUNDING = 1e-13  # relative consensus distances below are the mean, reached
PREDICTED: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.2}
MAX_PROOF_WORK = 2e9  # multiplications: seconds
WIDE = 6.0  # inches, from which the legend stands beside the curves


def plot_consensus(schedules: Schedules, *, rounds: int | None = None, seed: int = 0, width: float = 7.2) -> Figure:
    """Plot simulated consensus distance by round, with the predicted worst case beside it.

    Parameters
    ----------
    schedules : Schedule, or mapping from label to Schedule
    rounds : int, optional
        How many rounds to show. Default: enough for the fastest schedules, and for the shape of the slow ones.
    seed : int, default 0
        Seed of the random start (normal, 64 coordinates a node).
    width : float, default 7.2
        Of the figure, in inches. Below 6 the legend stands under the curves.

    Returns
    -------
    matplotlib.figure.Figure
        Solid: consensus distance, relative to its start. Dashed: the contraction per round to the power t, which is
        the worst case at the end of each period (of random schedules: the square root of the expected square). A
        curve that reaches the mean exactly ends in a ring on the axis.

    Raises
    ------
    InputError
        If matplotlib is missing, there is nothing to plot, or a schedule is for push-pull methods only.
    """
    named = labelled(schedules)
    for label, schedule in named.items():
        if (why := no_consensus(schedule)) is not None:
            raise InputError(f"{label} {why}")
    horizon = rounds if rounds is not None else _horizon(named)
    curves = {label: _relative_distance(schedule, horizon, seed) for label, schedule in named.items()}
    floor = _floor(curves.values())
    wide = width >= WIDE
    with styled():
        from matplotlib.ticker import NullLocator

        figure, axes = _figure(width, 4.2 if wide else 3.4 + 0.2 * ceil(len(named) / 2))
        for k, (label, schedule) in enumerate(named.items()):
            _consensus_curve(axes, label, schedule, curves[label], k, floor)
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())  # powers of ten say enough
        axes.set_ylim(floor, 2 * max(1.0, *(min(float(curve.max()), 1e6) for curve in curves.values())))
        axes.set_xlim(0, horizon * 1.01)
        axes.xaxis.set_major_locator(whole_numbers())
        axes.set_xlabel("round")
        axes.set_title("Consensus distance, relative to the start")
        handles, labels = axes.get_legend_handles_labels()
        labels = [fitted(label, 2.0 if wide else width / 2 - 0.8, 10) for label in labels]
        if any(line.get_linestyle() == "--" for line in axes.lines):
            handles.append(_line(color=MUTED, **PREDICTED))
            drawn = any(schedule.period is None for schedule in named.values())
            labels.append("predicted: worst case,\nexpected where drawn" if drawn else "predicted worst case")
        if any(line.get_fillstyle() == "none" for line in axes.lines):
            handles.append(_line(color=MUTED, marker="o", markersize=8, fillstyle="none", linestyle="none"))
            labels.append("exact")
        place: dict[str, Any] = {"loc": "outside right upper"} if wide else {"loc": "outside lower left", "ncols": 2}
        for text in figure.legend(handles, labels, **place).get_texts():
            text.set_parse_math(False)
        return figure


def no_consensus(schedule: Schedule) -> str | None:
    """Say why plain mixing by a schedule reaches no consensus that could be drawn; None where it does."""
    if schedule.mixing == "push-pull":
        return "is a pair of push and pull parts: mixing alone does not average; its rounds can be plotted"
    return None


def _relative_distance(schedule: Schedule, horizon: int, seed: int) -> FloatArray:
    if schedule.mixing == "column-stochastic":
        distance = _push_sum(schedule, horizon, seed)
    else:
        distance = simulate_consensus(schedule.rule, horizon, seed=seed)
    return np.asarray(distance / distance[0], dtype=np.float64)


def _push_sum(schedule: Schedule, horizon: int, seed: int) -> FloatArray:
    """Mix values and weights alike, and measure the distance of their ratios from the mean at the start."""
    X = np.random.default_rng(seed).standard_normal((schedule.nodes, 64))
    mean = X.mean(axis=0)
    state = np.column_stack((X, np.ones(schedule.nodes)))
    distance = []
    for t in range(horizon + 1):
        weight = state[:, -1:]
        # A node that nothing has reached yet, itself included, holds no value.
        ratio = np.divide(state[:, :-1], weight, out=np.tile(mean, (schedule.nodes, 1)), where=weight > 0)
        distance.append(np.linalg.norm(ratio - mean))
        state = np.asarray(schedule.round(t).to_csr() @ state)
    return np.array(distance)


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
        # Rings of the same round lie around each other.
        before = sum(
            line.get_fillstyle() == "none" and float(np.asarray(line.get_xdata())[0]) == exact_after
            for line in axes.lines
        )
        ring = {"marker": "o", "fillstyle": "none", "clip_on": False, "color": style["color"]}
        axes.plot([exact_after], [floor], markersize=8 + 4 * before, **ring)
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
        if proof.status != "false":
            return 0.0, rule.period
        # Nilpotent matrices are exact after several periods.
        after = exact_after(rule.rounds, copies=rule.copies, max_work=MAX_PROOF_WORK)
    except ConvergenceError:
        return None, None
    if after is not None:
        return 0.0, after
    return (None if proof.contraction is None else proof.contraction ** (1 / rule.period)), None


def _horizon(curves: Mapping[str, Schedule]) -> int:
    # A linear axis cannot show 4 rounds and 4,000: the fastest decide, the slow ones are seen to be slow.
    needed = [_needed(schedule) for schedule in curves.values()]
    return int(min(max(needed), max(24, 6 * min(needed)), 1000) * 1.15) + 1


def _needed(schedule: Schedule) -> int:
    if schedule.mixing not in ("doubly-stochastic", "row-stochastic"):
        return 60
    return simulated_rounds(schedule.rule) or 1000


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.add_subplot()


def _line(**style: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **style)
