"""A²CiD² with one averaging for each gradient against plain gossip with two, on rings of 16, 32 and 64 virtual nodes.

``make reproduce-acid MNIST=FOLDER`` runs what the results file does not hold yet, and draws the tables and the picture
of docs/reproductions.md from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from acid_runs import FULL, Setting, claims, claims_table, figure, lines, main_table, plan
from results_page import Reproduction, command, parser, run
from training_runs import DOCS, Results, Run

from topokit.pictures.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = DOCS / "acid-results.jsonl"


def tables(results: Results, seeds: Sequence[int], setting: Setting = FULL) -> dict[str, str]:
    """All tables that can be made of what has been run, by the name of their marks."""
    found = lines(results, plan(seeds, setting))
    return {"acid": main_table(found), "acid-claims": claims_table(claims(found))} if found else {}


def figures(results: Results, seeds: Sequence[int], setting: Setting = FULL) -> dict[str, Figure]:
    """The picture, by file name."""
    with styled():
        return {"acid-ring.png": figure(results, plan(seeds, setting))}


def stages(results: Results, seeds: Sequence[int]) -> Iterator[list[Run]]:
    """One seed after the other, so that there is something to compare early."""
    for seed in seeds:
        yield plan([seed])


def seeds_of(results: Results) -> list[int]:
    """The seeds that have been run."""
    return sorted({result.run["seed"] for result in results.found.values()})


REPRODUCTION = Reproduction("reproduce-acid", RESULTS, stages, seeds_of, tables, figures)


def main(arguments: Sequence[str] | None = None) -> int:
    return run(REPRODUCTION, parser(REPRODUCTION, __doc__).parse_args(arguments))


if __name__ == "__main__":
    command(main)
