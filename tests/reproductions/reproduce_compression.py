"""Accuracy against the bytes that a node sends: compressed methods and D-SGD on MNIST, with virtual nodes on a ring.

``make reproduce-compression MNIST=FOLDER`` runs what the results file does not hold yet, first the runs that learning
rates are chosen by, then those at the chosen ones, and draws the tables and pictures of docs/reproductions.md from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from compression_runs import EXPERIMENT, FULL, RULE, Setting, plan, trials
from compression_tables import (
    SENT,
    TARGET,
    Claim,
    Lines,
    claims,
    claims_table,
    figure,
    lines,
    main_table,
    target_table,
    trial_table,
)
from results_page import Reproduction, command, parser, run
from training_runs import DOCS, Results, Run, markdown

from topokit.pictures.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = DOCS / "compression-results.jsonl"


def found_in(results: Results, seeds: Sequence[int], setting: Setting) -> dict[str, Lines]:
    """What has been run, by the way of dealing the data."""
    planned = plan(results, seeds, setting)
    found = {deal: lines(results, planned, deal) for deal in setting.deals}
    return {deal: some for deal, some in found.items() if some}


def all_claims(found: dict[str, Lines]) -> list[Claim]:
    return [claim for deal, some in found.items() for claim in claims(some, deal)]


def tables(results: Results, seeds: Sequence[int], setting: Setting = FULL) -> dict[str, str]:
    """All tables that can be made of what has been run, by the name of their marks."""
    made: dict[str, str] = {}
    found = found_in(results, seeds, setting)
    for deal, some in found.items():
        made[f"compression-{deal}"] = main_table(some)
        made[f"compression-{deal}-target"] = target_table(some, TARGET[deal])
    if found:
        made["compression-claims"] = claims_table(all_claims(found))
        made["compression-rates"] = trial_table(results, setting)
        made["compression-seconds"] = seconds(results)
    return made


def seconds(results: Results) -> str:
    """How many runs there are, when, and their seconds one after the other."""
    rows = []
    for name in (RULE, EXPERIMENT):
        done = [result for result in results.found.values() if result.run["experiment"] == name]
        days = sorted({result.day for result in done})
        rows.append([name, str(len(done)), f"{sum(r.seconds for r in done):.0f}", " to ".join(dict.fromkeys(days))])
    return markdown(["", "runs", "seconds of the runs, summed up", "day"], rows)


def figures(results: Results, seeds: Sequence[int], setting: Setting = FULL) -> dict[str, Figure]:
    """The pictures, by file name."""
    found = found_in(results, seeds, setting)
    with styled():
        return {
            "compression-bytes.png": figure(found, SENT),
            "compression-steps.png": figure(found, "step"),
        }


def seeds_of(results: Results) -> list[int]:
    """The seeds that have been run at chosen rates."""
    return sorted({r.run["seed"] for r in results.found.values() if r.run["experiment"] == EXPERIMENT})


def stages(results: Results, seeds: Sequence[int]) -> Iterator[list[Run]]:
    """First the runs that learning rates are chosen by, then those at the chosen ones."""
    for deal in FULL.deals:
        one = replace(FULL, deals=(deal,))
        yield trials(one)
        yield plan(results, seeds, one)


REPRODUCTION = Reproduction("reproduce-compression", RESULTS, stages, seeds_of, tables, figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(REPRODUCTION, parser(REPRODUCTION, __doc__).parse_args(arguments))


if __name__ == "__main__":
    command(main)
