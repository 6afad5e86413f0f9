"""What a run leaves in its folder while it goes on: configuration, schedule, metrics; and lines for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from topokit.errors import InputError
from topokit.files import read_bytes, write_text
from topokit.schedule import Schedule
from topokit_trainer.config import TrainConfig

__all__ = ["Metrics", "RunFolder", "describe", "read_metrics"]

Metrics = dict[str, Any]


class RunFolder:
    """The folder of a run; without one, metrics stay in memory.

    Parameters
    ----------
    path : Path or None
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.rows: list[Metrics] = []

    @property
    def metrics_file(self) -> Path | None:
        """One JSON object a line, one line an evaluation."""
        return None if self.path is None else self.path / "metrics.jsonl"

    def open(self, config: TrainConfig, schedule: Schedule, step: int, engine: str) -> None:
        """Prepare the folder for a run that stands at ``step``, with the engine it uses; drop later evaluations."""
        if self.path is None or self.metrics_file is None:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--out {self.path} cannot be made a folder: {error.strerror}") from error
        write_text(
            self.path / "config.json",
            json.dumps(config.to_dict() | {"engine": engine}, indent=1, sort_keys=True) + "\n",
        )
        schedule.save(self.path / "schedule.json")
        old = read_metrics(self.path) if step and self.metrics_file.exists() else []
        self.rows = [row for row in old if row["step"] <= step]
        self._rewrite()

    def take_back(self, step: int) -> None:
        """Forget evaluations at or after a step, which is evaluated again."""
        kept = [row for row in self.rows if row["step"] < step]
        if len(kept) < len(self.rows):
            self.rows = kept
            self._rewrite()

    def take_over(self, path: Path | None) -> None:
        """Go on with the evaluations in a folder that another rank has written to."""
        self.path = path
        if self.path is not None and self.metrics_file is not None and self.metrics_file.exists():
            self.rows = read_metrics(self.path)
            self._rewrite()  # without a last line that was cut off

    def _rewrite(self) -> None:
        if self.metrics_file is not None:
            write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in self.rows))

    def add(self, row: Metrics) -> None:
        """Append one evaluation; what is not finite becomes None, because JSON has no other word for it."""
        row = finite(row)
        self.rows.append(row)
        if self.metrics_file is not None:
            with self.metrics_file.open("a") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Replace numbers that are not finite by None, also those within dictionaries.

    Examples
    --------
    >>> finite({"loss": float("nan"), "teams": {"k=1": {"loss": 2.0}}})
    {'loss': None, 'teams': {'k=1': {'loss': 2.0}}}
    """
    if isinstance(value, dict):
        return {name: finite(v) for name, v in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value


def read_metrics(folder: Path) -> list[Metrics]:
    """Read the evaluations of a run; a last line cut off by a crash is left out.

    Raises
    ------
    InputError
        If the folder holds no metrics.
    """
    path = folder / "metrics.jsonl"
    if (folder / "search.json").exists():
        raise InputError(f"{folder} holds a search; its runs are {folder / 'together'} and {folder / 'everyone'}")
    if not path.exists():
        raise InputError(f"{folder} holds no run: {path} is missing")
    rows = []
    for line in read_bytes(path).decode().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def describe(row: Metrics) -> str:
    """Say the main figures of an evaluation in one line."""
    best = f"  best {row['best']}" if "best" in row else ""
    loss = "        " if row["train_loss"] is None else f"{row['train_loss']:8.4f}"
    return (
        f"step {row['step']:>6}  train loss {loss}  test loss {row['loss']:8.4f}  "
        f"accuracy {row['accuracy']:.4f} "
        f"(nodes {row['node_accuracy_mean']:.4f}, worst {row['node_accuracy_worst']:.4f})  "
        f"consensus {row['consensus_distance']:.3e}  {row['seconds']:7.1f} s{best}"
    )


Reporter = Callable[[str], None]
