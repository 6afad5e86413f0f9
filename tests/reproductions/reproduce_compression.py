"""Accuracy against the bytes that a node sends: compressed methods and D-SGD on MNIST, with virtual nodes on a ring.

``make reproduce-compression MNIST=FOLDER`` runs what the results file does not hold yet, first the runs that learning
rates are chosen by, then those at the chosen ones, and draws the tables and pictures of docs/reproductions.md from it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
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
from reproduce_training import PAGE, folder_of, replaced
from training_runs import DOCS, FIGURES, Results, markdown, perform_all

from topokit.errors import InputError
from topokit.pictures.style import save_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = DOCS / "compression-results.jsonl"
TARGET_NAME = "reproduce-compression"


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


def draw(results: Results, seeds: Sequence[int]) -> None:
    """Write tables and pictures into the documentation."""
    text = PAGE.read_text()
    for name, content in tables(results, seeds).items():
        text = replaced(text, name, content)
    PAGE.write_text(text)
    FIGURES.mkdir(exist_ok=True)
    for name, drawn in figures(results, seeds).items():
        with styled():
            save_figure(drawn, FIGURES / name)


def seeds_of(results: Results) -> list[int]:
    """The seeds that have been run at chosen rates."""
    return sorted({r.run["seed"] for r in results.found.values() if r.run["experiment"] == EXPERIMENT})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", default="", help="folder with files in MNIST format")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on (default: 3)")
    parser.add_argument("--processes", type=int, default=2, help="runs at the same time (default: 2)")
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="file that keeps what has been run; another than the documentation's leaves its tables and pictures alone",
    )
    parser.add_argument("--draw", action="store_true", help="run nothing, make tables and pictures of what there is")
    options = parser.parse_args(arguments)
    results = Results(options.results)
    failed: list[str] = []
    if not options.draw:
        try:
            folder = folder_of(options.mnist, TARGET_NAME)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

        def told(line: str) -> None:
            print(line, flush=True)

        for deal in FULL.deals:
            one = replace(FULL, deals=(deal,))
            failed += perform_all(trials(one), results, folder, options.processes, told)
            failed += perform_all(plan(results, range(options.seeds), one), results, folder, options.processes, told)
    seeds = seeds_of(results)
    for name, content in tables(results, seeds).items():
        print(f"\n{name}\n\n{content}")
    if seeds and options.results.resolve() == RESULTS:
        draw(results, seeds)
        print(f"\ntables and pictures are in {PAGE}")
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on with what is missing", file=sys.stderr)
        sys.exit(130)
