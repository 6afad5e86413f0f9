"""What the commands of the training experiments have in common: options, runs, and the page that keeps the tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_runs import DOCS, FIGURES, Results, Run, perform_all

from topokit.errors import InputError
from topokit.pictures.style import save_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PAGE", "Reproduction", "folder_of", "parser", "replaced", "run"]

PAGE = DOCS / "reproductions.md"


@dataclass(frozen=True)
class Reproduction:
    """An experiment: its runs, stage after stage, and what is drawn of them.

    Attributes
    ----------
    target : str
        The make target.
    results : Path
        The file of the documentation that keeps what has been run.
    stages : callable
        Gives lists of runs one after the other; a stage may read off the results what is to be run.
    seeds : callable
        Gives the seeds that have been run.
    tables, figures : callable
        Give tables (by the name of their marks) and pictures (by file name) of the results for some seeds.
    """

    target: str
    results: Path
    stages: Callable[[Results, Sequence[int]], Iterable[Sequence[Run]]]
    seeds: Callable[[Results], Sequence[int]]
    tables: Callable[[Results, Sequence[int]], Mapping[str, str]]
    figures: Callable[[Results, Sequence[int]], Mapping[str, Figure]]


def parser(experiment: Reproduction, text: str | None) -> argparse.ArgumentParser:
    """Give the options that all experiments have."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--mnist", default="", help="folder with files in MNIST format")
    made.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0 on (default: 3)")
    made.add_argument("--processes", type=int, default=2, help="runs at the same time (default: 2)")
    made.add_argument(
        "--results",
        type=Path,
        default=experiment.results,
        help="file that keeps what has been run; another than the documentation's leaves its tables and pictures alone",
    )
    made.add_argument("--draw", action="store_true", help="run nothing, make tables and pictures of what there is")
    return made


def run(experiment: Reproduction, options: argparse.Namespace) -> int:
    """Do what is missing, tell the tables, and draw them into the documentation; give the exit status."""
    results = Results(options.results)
    failed: list[str] = []
    if not options.draw:
        try:
            folder = folder_of(options.mnist, experiment.target)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        for runs in experiment.stages(results, range(options.seeds)):
            failed += perform_all(runs, results, folder, options.processes, lambda line: print(line, flush=True))
    seeds = experiment.seeds(results)
    made = experiment.tables(results, seeds)
    for name, content in made.items():
        print(f"\n{name}\n\n{content}")
    if seeds and options.results.resolve() == experiment.results:
        _draw(made, experiment.figures(results, seeds))
        print(f"\ntables and pictures are in {PAGE}")
    for line in failed:
        print(f"error: {line}", file=sys.stderr)
    return 1 if failed else 0


def command(main: Callable[[], int]) -> None:
    """Run a main function as a program; what an interruption leaves undone can be done later."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on with what is missing", file=sys.stderr)
        sys.exit(130)


def folder_of(path: str, target: str) -> Path:
    """Give the folder of MNIST.

    Raises
    ------
    InputError
        If there is none; the message names the make target.
    """
    if not path or not Path(path).is_dir():
        told = f"{path} is not a folder" if path else "MNIST is missing"
        raise InputError(f"{told}; give the folder that holds the files in MNIST format: make {target} MNIST=FOLDER")
    return Path(path).resolve()


def replaced(text: str, name: str, content: str, page: Any = PAGE) -> str:
    """Put a table between its two marks."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = text.partition(start)
    _, mark, after = rest.partition(end)
    if not (found and mark):
        raise SystemExit(f"{page} has no marks for {name}")
    return f"{before}{start}{content}\n{mark}{after}"


def _draw(tables: Mapping[str, str], figures: Mapping[str, Figure]) -> None:
    text = PAGE.read_text()
    for name, content in tables.items():
        text = replaced(text, name, content)
    PAGE.write_text(text)
    FIGURES.mkdir(exist_ok=True)
    for name, figure in figures.items():
        with styled():
            save_figure(figure, FIGURES / name)
