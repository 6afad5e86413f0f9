"""``topokit export``: schedules for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from topokit.errors import InputError
from topokit_cli.output import out
from topokit_cli.rounds import parse_rounds
from topokit_cli.sources import read_schedule

__all__ = ["export"]

MAX_ROUNDS = 100_000


class Format(StrEnum):
    """What can be written."""

    graphml = "graphml"
    node_link = "node-link"
    npz = "npz"
    sendrecv = "sendrecv"
    schedule = "schedule"


def export(
    file: Annotated[
        str, typer.Argument(help="Schedule file; - is standard input.", metavar="FILE", show_default=False)
    ],
    to: Annotated[Format, typer.Option("--to", help="Format to write.", show_default=False)],
    output: Annotated[str, typer.Option("--out", "-o", help="File to write; - is standard output.", metavar="FILE")],
    rounds: Annotated[
        str | None,
        typer.Option(
            "--rounds",
            help="Rounds a to b-1, counted from 0 without end. Default: one period; needed where rounds are drawn.",
            metavar="A:B",
        ),
    ] = None,
) -> None:
    """Write a schedule for other programs.

    graphml and node-link (networkx JSON) hold the communication graph of one round, an edge from the node that sends
    to the node that receives with its weight; npz holds the mixing matrix of one round for SciPy; sendrecv holds, for
    every round and node, what it keeps, receives and sends. Where there are several rounds, these three write one
    file a round: out.0.graphml, out.1.graphml, ... schedule is a cyclic schedule file made of the rounds, also of one
    that draws them at random.

    \b
    Examples:
      topokit export schedule.json --to sendrecv -o lists.json
      topokit export schedule.json --to graphml -o round.graphml --rounds 2:3
      topokit export random.json --to schedule --rounds 0:200 -o fixed.json
      topokit export schedule.json --to sendrecv --rounds 0:100 -o - | jq '.rounds[0].nodes[0]'
    """
    from topokit.export import export as export_schedule
    from topokit.export import render

    chosen = None if rounds is None else parse_rounds(rounds)
    if chosen is not None and len(chosen) > MAX_ROUNDS:
        raise InputError(f"--rounds {rounds} are {len(chosen)} rounds; at most {MAX_ROUNDS} can be written at once")
    schedule = read_schedule(file)
    if output != "-":
        for path in export_schedule(schedule, to.value, Path(output), chosen):
            out.note(f"wrote {path}")
        return
    files = render(schedule, to.value, chosen)
    if len(files) > 1:
        raise InputError(
            f"{len(files)} rounds make {len(files)} {to.value} files, which do not fit standard output: "
            "choose one, for instance --rounds 0:1"
        )
    out.binary(next(iter(files.values())))
