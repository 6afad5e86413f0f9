"""The picture of a run: loss, accuracy, consensus distance, and the contraction that the analysis predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topokit.errors import InputError
from topokit.pictures.style import line_styles, save_figure, styled
from topokit_trainer.telemetry import Metrics, read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_run", "plot_runs"]

ACROSS = {
    "step": ("step", 1.0, "step"),
    "bytes": ("bytes_sent_per_node", 1e6, "megabytes sent by a node"),
    "seconds": ("seconds", 1.0, "seconds"),
}


def plot_run(folder: Path, report: Callable[[str], None]) -> None:
    """Draw ``plot.png`` of a finished run into its folder; where that cannot be, say why and go on."""
    try:
        plot_runs([folder], folder / "plot.png")
    except InputError as error:
        report(f"note: no plot was drawn: {error}")


def plot_runs(folders: Sequence[Path], path: Path, against: str = "step") -> None:
    """Draw one run in detail, or several on common axes.

    Parameters
    ----------
    folders : sequence of Path
        Folders of runs.
    path : Path
        Picture to write; the suffix decides the format.
    against : {"step", "bytes", "seconds"}
        What runs are drawn over; bytes are those that a node has sent. One run over its steps is drawn in detail.

    Raises
    ------
    InputError
        If a folder holds no run, the suffix is none of a picture, or matplotlib is missing.
    """
    runs = [(folder.resolve().name, read_metrics(folder)) for folder in folders]
    for folder, (_, rows) in zip(folders, runs, strict=True):
        if not rows:
            raise InputError(f"{folder} holds no evaluation yet")
    with styled():
        save_figure(_one_run(*runs[0]) if len(runs) == 1 and against == "step" else _several_runs(runs, against), path)


def _one_run(name: str, rows: Sequence[Metrics]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7))
    (loss, accuracy), (consensus, contraction) = figure.subplots(2, 2)
    panels: list[tuple[Any, str, str, dict[str, str]]] = [
        (loss, "Loss", "cross entropy", {"loss": "averaged model, test", "train_loss": "nodes, training"}),
        (
            accuracy,
            "Test accuracy",
            "accuracy",
            {"accuracy": "averaged model", "node_accuracy_mean": "nodes, mean", "node_accuracy_worst": "worst node"},
        ),
        (consensus, "Consensus distance", "root mean square distance from the mean", {"consensus_distance": ""}),
        (
            contraction,
            "Contraction of a round of mixing",
            "distance after / before",
            {
                "contraction": "measured",
                "contraction_expected": "predicted for random directions",
                "contraction_bound": "predicted at worst",
            },
        ),
    ]
    steps = [row["step"] for row in rows]
    for axes, title, label, curves in panels:
        for (key, text), style in zip(curves.items(), line_styles(len(curves)), strict=True):
            values = column(rows, key)
            axes.plot(steps, positive(values) if axes is consensus else values, label=text, **style)
        axes.set(title=title, xlabel="step", ylabel=label)
        if len(curves) > 1:
            axes.legend()
    _logarithmic(consensus, rows)
    contraction.set_ylim(0, 1.05)
    figure.suptitle(name, x=0.01, ha="left")
    return figure


def _several_runs(runs: Sequence[tuple[str, Sequence[Metrics]]], against: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7))
    panels = {
        "loss": "Test loss of the averaged model",
        "accuracy": "Test accuracy of the averaged model",
        "node_accuracy_worst": "Test accuracy of the worst node",
        "consensus_distance": "Consensus distance",
    }
    key_across, scale, label = ACROSS[against]
    for axes, (key, title) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for (name, rows), style in zip(runs, line_styles(len(runs)), strict=True):
            values = column(rows, key)
            across = [value / scale for value in column(rows, key_across)]
            if against == "bytes":
                across = positive(across)
                axes.set_xscale("log")
            axes.plot(across, positive(values) if key == "consensus_distance" else values, label=name, **style)
        axes.set(title=title, xlabel=label)
        if key == "consensus_distance":
            _logarithmic(axes, [row for _, rows in runs for row in rows])
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(runs), 6))
    return figure


def _logarithmic(axes: Any, rows: Sequence[Metrics]) -> None:
    if any(value > 0 for value in column(rows, "consensus_distance")):
        axes.set_yscale("log")


def column(rows: Sequence[Metrics], name: str) -> list[float]:
    """Give one figure of all evaluations, NaN where there is none."""
    return [math.nan if row.get(name) is None else float(row[name]) for row in rows]


def positive(values: Sequence[float]) -> list[float]:
    """Leave out what a logarithmic axis cannot show."""
    return [value if value > 0 else math.nan for value in values]
