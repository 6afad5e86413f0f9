"""``topokit compare-runs``: one table and one picture over several training runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from topokit_cli.options import AsJson, PlotFile
from topokit_cli.output import out
from topokit_cli.train import RESULT_COLUMNS, result_row

__all__ = ["compare_runs"]


class Against(StrEnum):
    """What courses are drawn over."""

    step = "step"
    bytes = "bytes"
    seconds = "seconds"


def compare_runs(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders that runs left (--out).", metavar="RUN...", show_default=False)
    ],
    as_json: AsJson = False,
    plot: PlotFile = None,
    against: Annotated[
        Against, typer.Option("--against", help="Draw over steps, megabytes that a node has sent, or seconds.")
    ] = Against.step,
) -> None:
    """Show training runs side by side: their last evaluations, and with --plot their course.

    \b
    Examples:
      topokit compare-runs ring/ one-peer/ allreduce/
      topokit compare-runs runs/* --plot runs.png
      topokit compare-runs dsgd/ squarm/ --plot bytes.png --against bytes

    With --json, standard output is an array with the last evaluation of each run and its name.
    """
    from topokit_trainer.telemetry import read_metrics

    if against is not Against.step and not plot:
        raise typer.BadParameter("it belongs to --plot", param_hint="'--against'")
    last = {}
    for folder in runs:
        rows = read_metrics(folder)
        if not rows:
            out.note(f"note: {folder} holds no evaluation yet")
            continue
        last[str(folder)] = rows[-1]
    if as_json:
        out.json([{"run": name, **row} for name, row in last.items()], indent=2)
    else:
        out.table(RESULT_COLUMNS, [result_row(name, row) for name, row in last.items()])
    if plot:
        from topokit_trainer.plots import plot_runs

        plot_runs([Path(name) for name in last], Path(plot), against.value)
        out.note(f"wrote {plot}")
