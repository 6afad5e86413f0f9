"""Learned topologies with Laplacian and with Metropolis-Hastings weights against ring lattices, on MNIST.

``make reproduce-learned MNIST=FOLDER`` learns the graphs and does the runs that the results file does not hold yet, and
draws the tables and the picture of docs/reproductions.md from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from learned_graphs import Graphs
from learned_runs import FULL, Setting, planned
from learned_tables import claims, claims_table, correlation_table, figure, lines, spectra_table, training_table
from results_page import Reproduction, command, parser, run
from training_runs import DOCS, Results, Run

from topokit.pictures.style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = DOCS / "learned-results.jsonl"
PARTS = {"g": "learning the graphs", "t": "training on them"}


def tables(results: Results, seeds: Sequence[int], setting: Setting = FULL) -> dict[str, str]:
    """All tables that can be made of what has been run, by the name of their marks."""
    graphs = Graphs(results.path)
    made = {"learned-spectra": spectra_table(graphs, seeds, setting)} if graphs.found else {}
    found = lines(results, graphs, seeds, setting)
    if found:
        made["learned-claims"] = claims_table(claims(found), graphs, seeds)
        made["learned-training"] = training_table(found, graphs)
        made["learned-correlation"] = correlation_table(found, graphs)
    return made


def figures(results: Results, seeds: Sequence[int], setting: Setting = FULL) -> dict[str, Figure]:
    """The picture, by file name."""
    graphs = Graphs(results.path)
    found = lines(results, graphs, seeds, setting)
    with styled():
        return {"learned-accuracy.png": figure(found, graphs)} if found else {}


def staged(parts: str, results: Results, seeds: Sequence[int], setting: Setting = FULL) -> Iterator[list[Run]]:
    """First the graphs, then the runs on them, one seed after the other."""
    graphs = Graphs(results.path)
    for seed in seeds:
        if "g" in parts:
            graphs.search(setting.cases, [seed], lambda line: print(line, flush=True))
        if "t" in parts:
            yield list({run.key: run for _, _, run in planned(graphs, [seed], setting)}.values())


def seeds_of(results: Results) -> list[int]:
    """The seeds that graphs have been learned for."""
    return sorted({record["graph"]["seed"] for record in Graphs(results.path).found.values()})


REPRODUCTION = Reproduction("reproduce-learned", RESULTS, partial(staged, "gt"), seeds_of, tables, figures)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(REPRODUCTION, __doc__)
    parts = ", ".join(f"{letter}: {what}" for letter, what in PARTS.items())
    options.add_argument("--only", default="gt", choices=("g", "t", "gt"), help=f"{parts} (default: gt)")
    parsed = options.parse_args(arguments)
    return run(replace(REPRODUCTION, stages=partial(staged, parsed.only)), parsed)


if __name__ == "__main__":
    command(main)
