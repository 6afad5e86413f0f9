"""Options that several commands share, so that they are called and explained the same everywhere."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = ["AsJson", "CertificateWidth", "Nodes", "PlotFile", "ScheduleFiles", "Seed", "TimeLimit", "WeightsName"]

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print results as JSON, for machines.")]
Nodes: TypeAlias = Annotated[
    int | None, typer.Option("--nodes", "-n", help="Number of nodes.", metavar="N", min=2, show_default=False)
]
PlotFile: TypeAlias = Annotated[
    str | None, typer.Option("--plot", help="Also draw a figure (.png, .svg or .pdf).", metavar="FILE")
]
ScheduleFiles: TypeAlias = Annotated[
    list[str], typer.Argument(help="Schedule files; - is standard input.", metavar="FILE...", show_default=False)
]
Seed: TypeAlias = Annotated[int, typer.Option("--seed", help="Seed of everything random.", metavar="S", min=0)]
CertificateWidth: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--width",
        help="Of optimal weights: stop when (SLEM - bound)/(1 - SLEM) is at most this, between 0 and 1 (1e-6).",
        metavar="X",
        show_default=False,
    ),
]
TimeLimit: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        help="Of optimal weights and searches: stop after so many seconds with the best so far, as Ctrl-C does.",
        metavar="SECONDS",
        min=0.001,
    ),
]
WeightsName: TypeAlias = Annotated[
    str | None,
    typer.Option("--weights", help="How edges are weighted; see `topokit list weights`.", metavar="NAME"),
]
