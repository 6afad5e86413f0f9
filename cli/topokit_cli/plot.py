"""``topokit plot``: figures of schedules."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from topokit_cli.options import ScheduleFiles, Seed
from topokit_cli.output import out
from topokit_cli.sources import labelled, read_schedules

__all__ = ["plot"]


class Figures(StrEnum):
    """What can be drawn."""

    graph = "graph"
    spectrum = "spectrum"
    consensus = "consensus"


def plot(
    files: ScheduleFiles,
    what: Annotated[
        Figures, typer.Option("--what", "-w", help="The rounds, the eigenvalues, or consensus by round.")
    ] = Figures.graph,
    output: Annotated[
        str, typer.Option("--out", "-o", help="Figure to write (.png, .svg or .pdf).", metavar="FILE")
    ] = ...,  # type: ignore[assignment]  # required
    seed: Seed = 0,
) -> None:
    """Draw mixing schedules.

    Who sends to whom in every round, spectra, or simulated consensus beside the predicted worst case.

    \b
    Examples:
      topokit plot schedule.json -o rounds.png
      topokit plot ring.json torus.json --what spectrum -o spectra.svg
      topokit plot ring.json one-peer.json --what consensus -o consensus.pdf
      topokit design --nodes 16 -o - | topokit plot - -o rounds.png
    """
    from topokit.plotstyle import check_suffix

    check_suffix(output)
    schedules = labelled(read_schedules(files), files)
    from topokit.plotting import plot_consensus, plot_graph, plot_spectra, save_figure

    if what is Figures.graph:
        figure = plot_graph(schedules)
    elif what is Figures.spectrum:
        figure = plot_spectra(schedules)
    else:
        figure = plot_consensus(schedules, seed=seed)
    save_figure(figure, output)
    out.note(f"wrote {output}")
