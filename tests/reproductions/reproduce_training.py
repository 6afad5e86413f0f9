"""Training experiments on MNIST with virtual nodes, against published results and the theory.

``make reproduce-training MNIST=FOLDER`` runs what the results file does not hold yet, and draws the tables and pictures
of docs/reproductions.md from it:

a  twelve methods on data sorted by label: is the published order found again?
b  TELEPORTATION against D-SGD for 8 to 256 nodes
c  one-peer exponential rounds against the static exponential graph and a ring
d  the number of active nodes that the parallel search finds, against an exhaustive sweep
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import training_heterogeneity
import training_one_peer
import training_search
import training_teleportation
from results_page import Reproduction, command, parser, run
from training_runs import RESULTS, Result, Results, Run, markdown

from topokit.pictures.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENTS = {
    "a": training_heterogeneity,
    "b": training_teleportation,
    "c": training_one_peer,
    "d": training_search,
}


HETEROGENEITY = {
    "heterogeneity": training_heterogeneity.FULL,
    "heterogeneity-published-rate": training_heterogeneity.PUBLISHED_RATE,
}


def heterogeneous(planned: dict[str, list[Run]], setting: training_heterogeneity.Setting) -> list[Run]:
    """The runs of the first experiment that are at the learning rate of a setting."""
    return [run for run in planned.get("a", []) if run.lr == setting.lr]


def plans(wanted: str, seeds: Sequence[int]) -> dict[str, list[Run]]:
    """The runs of the experiments that are wanted, by letter."""
    planned = {letter: EXPERIMENTS[letter].plan(seeds) for letter in wanted}
    if "a" in planned:
        planned["a"] += training_heterogeneity.plan(seeds[:1], training_heterogeneity.PUBLISHED_RATE)
    return planned


def tables(results: Results, planned: dict[str, list[Run]]) -> dict[str, str]:
    """All tables that can be made of what has been run, by the name of their marks."""
    found: dict[str, str] = {}
    for name, setting in HETEROGENEITY.items():
        if lines := training_heterogeneity.lines(results, heterogeneous(planned, setting)):
            found[name] = training_heterogeneity.table(lines)
            if len(lines) == len(training_heterogeneity.METHODS):
                found[f"{name}-correlation"] = correlations(lines)
    if cells := training_teleportation.cells(results, planned.get("b", [])):
        found |= training_teleportation.tables(cells)
    if results.of(planned.get("c", [])):
        found["one-peer"] = training_one_peer.table(results, planned["c"])
    if losses := training_search.losses(results, planned.get("d", [])):
        found["search"] = training_search.table(losses)
    found["seconds"] = seconds(results, planned)
    return found


def correlations(lines: Sequence[training_heterogeneity.Line]) -> str:
    """The rank correlation of the twelve methods, and what it is with the other D2."""
    asked = training_heterogeneity.correlation(lines)
    other = training_heterogeneity.correlation(training_heterogeneity.with_damped_d2(lines))
    return (
        f"Spearman's rank correlation with the published order, twelve methods: **{asked:.2f}**. With D2 as it runs by "
        f"default, on (I + W)/2 and at a decaying rate, in the place of D2 at its limit: {other:.2f}."
    )


def seconds(results: Results, planned: dict[str, list[Run]]) -> str:
    """How much of each experiment has been run, when, and the seconds of its runs one after the other."""
    rows = []
    for letter, runs in planned.items():
        done: list[Result] = results.of(runs)
        if done:
            days = sorted({r.day for r in done})
            when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
            took = f"{sum(r.seconds for r in done):.0f}"
            rows.append([letter, EXPERIMENTS[letter].EXPERIMENT, f"{len(done)} of {len(runs)}", took, when])
    return markdown(["", "experiment", "runs", "seconds of the runs, summed up", "day"], rows)


def figures(results: Results, planned: dict[str, list[Run]]) -> dict[str, Figure]:
    """All pictures that can be drawn of what has been run, by file name."""
    found: dict[str, Figure] = {}
    with styled():
        if lines := training_heterogeneity.lines(results, heterogeneous(planned, training_heterogeneity.FULL)):
            found["training-heterogeneity.png"] = training_heterogeneity.figure(lines)
        if cells := training_teleportation.cells(results, planned.get("b", [])):
            found["training-teleportation.png"] = training_teleportation.figure(cells)
        if results.of(planned.get("c", [])):
            found["training-one-peer.png"] = training_one_peer.figure(results, planned["c"])
        if losses := training_search.losses(results, planned.get("d", [])):
            found["training-search.png"] = training_search.figure(losses)
    return found


REPRODUCTION = Reproduction(
    target="reproduce-training",
    results=RESULTS,
    stages=lambda results, seeds: staged("".join(EXPERIMENTS), seeds),
    seeds=lambda results: sorted({result.run["seed"] for result in results.found.values()}),
    tables=lambda results, seeds: tables(results, plans("".join(EXPERIMENTS), seeds)),
    figures=lambda results, seeds: figures(results, plans("".join(EXPERIMENTS), seeds)),
)


def staged(wanted: str, seeds: Sequence[int]) -> Iterator[list[Run]]:
    """The runs of the experiments that are wanted, each experiment announced."""
    for letter, runs in plans(wanted, seeds).items():
        print(f"{letter}: {EXPERIMENTS[letter].EXPERIMENT}", flush=True)
        yield runs


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(REPRODUCTION, __doc__)
    options.add_argument("--only", default="abcd", help="experiments to run, such as a or cd (default: abcd)")
    parsed = options.parse_args(arguments)
    wanted = parsed.only.replace(",", "")
    if not wanted or not set(wanted) <= set(EXPERIMENTS):
        options.error(f"--only takes letters of {''.join(EXPERIMENTS)}, got {parsed.only!r}")
    return run(replace(REPRODUCTION, stages=lambda results, seeds: staged(wanted, seeds)), parsed)


if __name__ == "__main__":
    command(main)
