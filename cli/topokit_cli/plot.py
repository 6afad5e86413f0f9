"""``topokit plot``: figures of schedules."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from topokit_cli.options import ScheduleFiles, Seed
from topokit_cli.output import out
from topokit_cli.rounds import parse_rounds
from topokit_cli.sources import labelled, read_schedules

__all__ = ["plot"]


class Figures(StrEnum):
    """What can be drawn."""

    graph = "graph"
    spectrum = "spectrum"
    consensus = "consensus"


class Layouts(StrEnum):
    """Where the nodes of graphs are put."""

    auto = "auto"
    circle = "circle"
    spring = "spring"
    spectral = "spectral"


def plot(
    files: ScheduleFiles,
    what: Annotated[
        Figures, typer.Option("--what", "-w", help="The rounds, the eigenvalues, or consensus by round.")
    ] = Figures.graph,
    output: Annotated[
        str, typer.Option("--out", "-o", help="Figure to write (.png, .svg or .pdf).", metavar="FILE")
    ] = ...,  # type: ignore[assignment]  # required
    rounds: Annotated[
        str | None,
        typer.Option(
            "--rounds",
            help="Draw rounds a to b-1, counted from 0 without end. Default: a period, up to 24 rounds.",
            metavar="A:B",
        ),
    ] = None,
    layout: Annotated[
        Layouts, typer.Option("--layout", help="Where the nodes are put; auto shows how the topology is made.")
    ] = Layouts.auto,
    seed: Seed = 0,
) -> None:
    """Draw mixing schedules.

    Who sends to whom in every round, spectra, or simulated consensus beside the predicted worst case.

    \b
    Examples:
      topokit plot schedule.json -o rounds.png
      topokit plot schedule.json --rounds 4:8 --layout circle -o rounds.svg
      topokit plot ring.json torus.json --what spectrum -o spectra.svg
      topokit plot ring.json one-peer.json --what consensus -o consensus.pdf
      topokit design --nodes 16 -o - | topokit plot - -o rounds.png
    """
    from topokit.pictures.style import check_suffix

    check_suffix(output)
    chosen = None if rounds is None else parse_rounds(rounds)
    if what is not Figures.graph and (chosen is not None or layout is not Layouts.auto):
        option = "--rounds" if chosen is not None else "--layout"
        raise typer.BadParameter(f"belongs to --what graph, not to --what {what}", param_hint=f"'{option}'")
    schedules = labelled(read_schedules(files), files)
    from topokit.pictures import plot_consensus, plot_graph, plot_spectra, save_figure

    if what is Figures.graph:
        figure = plot_graph(schedules, rounds=chosen, layout=layout.value)
    elif what is Figures.spectrum:
        figure = plot_spectra(schedules)
    else:
        figure = plot_consensus(schedules, seed=seed)
    save_figure(figure, output)
    out.note(f"wrote {output}")
