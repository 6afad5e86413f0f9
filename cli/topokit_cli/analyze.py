"""``topokit analyze``: everything that is known about a schedule, and checks that it meets what is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from topokit.errors import CheckError, InputError
from topokit_cli.checks import Property, failures
from topokit_cli.options import AsJson, PlotFile, ScheduleFiles, Seed
from topokit_cli.output import out
from topokit_cli.sources import check_folder, labelled, read_schedules

if TYPE_CHECKING:
    from topokit.schedule import Schedule

__all__ = ["analyze"]

LARGE = 20_000  # nodes from which on an analysis takes its time


def analyze(
    files: ScheduleFiles,
    require: Annotated[
        list[Property], typer.Option("--require", help="Fail unless this holds; may be repeated.", show_default=False)
    ] = [],  # noqa: B006 (Typer copies it)
    min_gap: Annotated[
        float | None,
        typer.Option("--min-gap", help="Fail if 1 - contraction per round is smaller.", metavar="X", min=0, max=1),
    ] = None,
    max_contraction: Annotated[
        float | None,
        typer.Option("--max-contraction", help="Fail if the contraction of a period is larger.", metavar="X", min=0),
    ] = None,
    without: Annotated[
        str | None,
        typer.Option(
            "--without", help="Analyse what is left when these nodes are lost (such as 3,5).", metavar="NODES"
        ),
    ] = None,
    plot: PlotFile = None,
    html: Annotated[
        str | None,
        typer.Option("--html", help="Also write one self-contained page with pictures.", metavar="FILE"),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Analyse mixing schedules.

    Exact averaging (proved, or refuted by a witness), spectra with their bounds, contraction, effective neighbours,
    mixing time and transient iterations, effective resistances and the constants of A2CiD2, degrees, messages, and the
    rounds that shrink the consensus error 1000 times.

    \b
    Examples:
      topokit analyze schedule.json
      topokit analyze schedule.json --require exact --require symmetric
      topokit analyze *.json --min-gap 0.3 --max-contraction 0.1
      topokit analyze schedule.json --json | jq .contraction
      topokit analyze schedule.json --html report.html
      topokit analyze schedule.json --without 3,5
      topokit design --nodes 24 -o - | topokit analyze - --plot spectrum.png

    With --json, standard output has one object a line for each file, in their order: name, nodes, kind, copies,
    mixing, period, hash, symmetric, doubly_stochastic, nonnegative, connected, slem, spectral_gap, beta, spectrum,
    fiedler_value, contraction, contraction_per_round, gap_per_round, exact_averaging, exact_after, windows,
    expected_contraction, expectation_method, expectation_interval, expectation_confidence, effective_neighbours,
    mixing_time, transient, resistance, acid, push_pull, perron, optimality, in_degree, out_degree, messages,
    rounds_to_shrink, faults, notes and rounds. Numbers that do not exist or were left out are null, and notes say why.

    \b
    The gap of --min-gap is 1 - contraction per round: the spectral gap of a schedule that is one symmetric (or
    other normal) matrix, for several rounds the mean rate of a period, and for rounds drawn at random 1 - the root of
    the expected square.
    If a check does not hold, the exit status is 3; the analysis is printed all the same.
    """
    from topokit.analysis import analyze as analyze_schedule
    from topokit.pictures.style import check_suffix

    for target in (plot, html):
        check_folder(target)
    if plot is not None:
        check_suffix(plot)
    schedules = read_schedules(files)
    if without is not None:
        lost = _nodes(without)
        schedules = [_without(schedule, lost) for schedule in schedules]
    if (most := max(schedule.nodes for schedule in schedules)) > LARGE:
        out.note(f"analysing {most} nodes, which may take minutes")
    reports = [analyze_schedule(s, label, seed=seed) for label, s in labelled(schedules, files).items()]
    for k, report in enumerate(reports):
        if as_json:
            out.json(report.to_dict())
        else:
            out.text(("\n" if k else "") + str(report))
    if plot is not None:
        from topokit.pictures import plot_spectra, save_figure

        save_figure(plot_spectra(labelled(schedules, files)), plot)
        out.note(f"wrote {plot}")
    if html is not None:
        from topokit.page import PageEntry, save_page

        named = zip(labelled(schedules, files).values(), reports, strict=True)
        save_page(html, [PageEntry(schedule, report) for schedule, report in named])
        out.note(f"wrote {html}")
    unmet = [
        f"{report.name}: {failure}"
        for report in reports
        for failure in failures(report, require, min_gap=min_gap, max_contraction=max_contraction)
    ]
    if unmet:
        raise CheckError("\n".join(unmet))


def _nodes(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise InputError(f"--without takes numbers of nodes with commas between them, got {text!r}") from None


def _without(schedule: Schedule, lost: list[int]) -> Schedule:
    from topokit.survivors import Survivors, survivors

    left = survivors(schedule, lost)
    out.note(Survivors(schedule, lost).sentence())
    return left
