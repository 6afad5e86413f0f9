"""What happened to the ranks of a run: each writes down what it saw, and in the end it is put together."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Journal", "journals", "sentence"]

Happening = dict[str, Any]


class Journal:
    """One rank's own file, ``ranks/rank-00003.jsonl``, one happening a line.

    Parameters
    ----------
    out : Path
        Folder of the run.
    rank : int
    """

    def __init__(self, out: Path, rank: int) -> None:
        self.path, self.rank = out / "ranks" / f"rank-{rank:05d}.jsonl", rank

    def add(self, kind: str, rank: int, **details: Any) -> Happening:
        """Write down what was seen of a rank; give it back."""
        happening = {"time": round(time.time(), 3), "kind": kind, "rank": rank, "by": self.rank, **details}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(happening) + "\n")
        return happening


def journals(out: Path, window: float) -> list[Happening]:
    """Put together what all ranks wrote; what several saw of one rank within ``window`` seconds was one happening."""
    every: list[Happening] = []
    for path in sorted((out / "ranks").glob("rank-*.jsonl")):
        for line in path.read_text().splitlines():
            with suppress(ValueError):  # a line cut off by a crash
                every.append(json.loads(line))
    merged: list[Happening] = []
    for happening in sorted(every, key=lambda h: h["time"]):
        key = happening["kind"], happening["rank"]
        same = (m for m in reversed(merged) if (m["kind"], m["rank"]) == key)
        before = next((m for m in same if happening["time"] - m["time"] <= window), None)
        if before is None:
            merged.append(happening | {"by": [happening["by"]]})
        elif happening["by"] not in before["by"]:
            before["by"] = sorted([*before["by"], happening["by"]])
    return merged


def sentence(happening: Happening) -> str:
    """Say what happened in words.

    Examples
    --------
    >>> sentence({"kind": "lost", "rank": 3, "gradients": 412})
    'rank 3 was lost after 412 gradients'
    >>> sentence({"kind": "fetched", "rank": 3, "of": 2})
    'rank 3 goes on with the parameters of rank 2'
    """
    rank = happening["rank"]
    gradients = happening.get("gradients", 0)
    return {
        "lost": f"rank {rank} was lost after {gradients} gradients",
        "back": f"rank {rank} came back",
        "rejoined": f"rank {rank} was started again and came back",
        "left": f"rank {rank} left after {gradients} gradients",
        "fetched": f"rank {rank} goes on with the parameters of rank {happening.get('of')}",
        "kept": f"rank {rank} found nobody to give it newer parameters, and goes on with its own",
        "alone": f"rank {rank} hears of nobody, and goes on by itself",
    }.get(happening["kind"], f"rank {rank}: {happening['kind']}")
