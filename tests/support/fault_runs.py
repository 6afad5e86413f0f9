"""What asynchronous runs leave, as tests of their faults read it while the runs go on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

__all__ = ["GRAPHS", "OPTIONS", "TARGET", "happenings", "last_step", "newest_snapshots", "victim_of"]

# Nodes sleep most of the time, so that the ranks of a small machine get along, and a run lasts as long as its faults.
OPTIONS = (
    *("--algorithm", "async-gossip", "--batch-size", 16, "--speeds", 0.05, "--gradients", "loop"),
    *("--eval-every", 100, "--lost-after", 2.5, "--device", "cpu"),
)
TARGET = 0.85  # accuracy on digits, far below what a run without faults reaches
GRAPHS = {4: "complete", 5: "ring", 6: "ring", 8: "hypercube"}


def victim_of(number: int, size: int) -> int:
    """Give the victim of a run: rank 0 in every third, else drawn at random."""
    return 0 if number % 3 == 0 else random.Random(number).randrange(size)


def whole_lines(path: Path) -> list[Any]:
    """Read JSON lines, without one that is being written."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def happenings(folder: Path, kind: str, rank: int) -> list[dict[str, Any]]:
    """Give what other ranks saw happen to one of them."""
    every = [h for path in (folder / "ranks").glob("*.jsonl") for h in whole_lines(path)]
    return [h for h in every if (h["kind"], h["rank"]) == (kind, rank) and h["by"] != rank]


def last_step(folder: Path) -> int:
    """Give the step that was evaluated last, -1 before the first."""
    rows = whole_lines(folder / "metrics.jsonl")
    return rows[-1]["step"] if rows else -1


def newest_snapshots(folder: Path) -> dict[int, dict[str, Any]]:
    """Give each rank's newest snapshot."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted((folder / "marks").glob("0*/rank-*.pt")):
        try:
            found[int(path.stem.removeprefix("rank-"))] = torch.load(path, weights_only=True)
        except FileNotFoundError:  # the run has just removed an old one
            continue
    return found
