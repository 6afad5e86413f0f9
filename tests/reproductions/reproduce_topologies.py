"""The families side by side: degree, period, contraction and rounds of each, at several numbers of nodes.

``make reproduce-topologies`` computes the tables, compares them with the values known from the literature's
constructions, and writes them into docs/topologies.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from topokit.averaging import worst_case_rounds
from topokit.designer import design
from topokit.errors import GraphError
from topokit.matrix import MixingMatrix
from topokit.metrics import transient
from topokit.proofs.contraction import run_contraction
from topokit.registry import TOPOLOGIES
from topokit.schedule import Schedule
from topokit.spectral import beta
from topokit.topologies.equitopo import d_equistatic, u_equistatic
from topokit.traffic import traffic

DOCS = Path(__file__).parents[2] / "docs" / "topologies.md"

COMPARED = (
    "ring",
    "torus",
    "exponential",
    "one-peer-exponential",
    "base-2",
    "base-3",
    "base-4",
    "base-5",
    "ceca-2p",
)
COMPARED_AT = (8, 16, 24, 25, 32, 64, 100)
TIMED = (
    "ring",
    "torus",
    "star",
    "exponential",
    "one-peer-exponential",
    "base-2",
    "base-3",
    "base-4",
    "base-5",
    "od-equidyn",
)
TIMED_AT = (8, 16, 24, 25, 32, 64, 100, 128, 256)
DRAWN = ((64, 6), (64, 20), (300, 9), (300, 28))  # nodes and shifts: the degree of exponential, and the paper's rule
MOST_ROUNDS = 5000


@cache
def schedule_of(name: str, nodes: int) -> Schedule:
    return design(name, nodes)


@cache
def contraction(name: str, nodes: int) -> float:
    """||period - J||_2, 0 where exact averaging is proved (or true up to rounding)."""
    schedule = schedule_of(name, nodes)
    if schedule.claims.exact_averaging:
        return 0.0
    return run_contraction(schedule.rounds)


def comparison(name: str, nodes: int) -> tuple[int, int, float, int]:
    """Most peers in a round, rounds of a period, contraction of a period, rounds that shrink every error 1000 times."""
    schedule = schedule_of(name, nodes)
    degree = max(int(traffic(W, schedule.copies).in_degree.max()) for W in schedule.rounds)
    left = contraction(name, nodes)
    rounds = len(schedule.rounds) if left == 0 else worst_case_rounds(schedule.rounds, 1000)
    assert rounds is not None
    return degree, len(schedule.rounds), left, rounds


def effective_mixing_time(name: str, nodes: int) -> float:
    """h = tau / (1 - contraction^2); for random rounds 1 / (1 - expected squared contraction)."""
    return transient.effective_mixing_time(schedule_of(name, nodes)).value


def comparison_cell(name: str, nodes: int) -> str:
    degree, period, left, rounds = comparison(name, nodes)
    contracted = "0" if left == 0 else f"{left:.4f}" if left > 0.998 else f"{left:.3f}"
    shown = f">{MOST_ROUNDS}" if rounds > MOST_ROUNDS else str(rounds)
    return f"{degree}/{period}/{contracted.replace('0.', '.', 1) if left else '0'}/{shown}"


def time_cell(name: str, nodes: int) -> str:
    return f"{float(f'{effective_mixing_time(name, nodes):.3g}'):g}"


def drawn(family: Callable[..., MixingMatrix], nodes: int, shifts: int, tries: int, seeds: int) -> str:
    """Mean and largest ||W - J||_2 over seeds; 1 where the shifts drawn do not connect the nodes."""

    def norm(seed: int) -> float:
        try:
            return beta(family(nodes, shifts, tries=tries, seed=seed))
        except GraphError:
            return 1.0

    norms = [norm(seed) for seed in range(seeds)]
    return f"{sum(norms) / seeds:.3f}, {max(norms):.3f}"


def equistatic() -> str:
    """The heavy tail of a single set of shifts, and what is left of it in the best of 20 sets."""
    families = (d_equistatic, u_equistatic)
    columns = [(family, tries) for family in families for tries in (1, 20)]
    head = [
        f"{family.__name__[0].upper()}, {'one set' if tries == 1 else f'best of {tries}'}" for family, tries in columns
    ]
    lines = ["| n | shifts | " + " | ".join(head) + " |", "| --- " * (len(head) + 2) + "|"]
    for nodes, shifts in DRAWN:
        cells = [drawn(family, nodes, shifts, tries, 2000 // tries) for family, tries in columns]
        lines.append(f"| {nodes} | {shifts} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def table(names: tuple[str, ...], sizes: tuple[int, ...], cell) -> str:
    lines = ["| n | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    lines += [f"| {nodes} | " + " | ".join(cell(name, nodes) for name in names) + " |" for nodes in sizes]
    return "\n".join(lines)


def families() -> str:
    """The table of `topokit list topologies`, by kind."""
    head = ["name", "exists for", "degree", "period", "exact", "directed", "source"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for kind in ("static", "sequence", "random"):
        for entry in (entry for entry in TOPOLOGIES.values() if entry.kind == kind):
            directed = "yes" if entry.directed else "no"
            cells = [f"`{entry.name}`", entry.sizes, entry.degree, entry.period, entry.exact, directed, entry.source]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    return {
        "families": families(),
        "comparison": table(COMPARED, COMPARED_AT, comparison_cell),
        "mixing-time": table(TIMED, TIMED_AT, time_cell),
        "equistatic": equistatic(),
    }


def replaced(text: str, name: str, content: str) -> str:
    """Put a table between its two marks."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = text.partition(start)
    _, mark, after = rest.partition(end)
    if not mark:
        raise SystemExit(f"{DOCS} has no marks for the table {name}")
    return f"{before}{start}{content}\n{mark}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with docs/topologies.md instead of writing it")
    check = parser.parse_args().check
    old = text = DOCS.read_text()
    for name, content in tables().items():
        print(content, end="\n\n")
        text = replaced(text, name, content)
    if check and text != old:
        sys.exit(f"{DOCS} does not hold these tables")
    DOCS.write_text(text)


if __name__ == "__main__":
    main()
