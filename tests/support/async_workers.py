"""Asynchronous training on real ranks in tests, and what it leaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from topokit.errors import TopokitError
from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, train
from topokit_trainer.telemetry import read_metrics

__all__ = ["Drowsy", "at_step", "eventually", "snapshots", "train_here"]


@dataclass(frozen=True)
class Drowsy:
    """Cross entropy that takes its time in training, asleep: so long take gradients however busy the machine is."""

    seconds: float

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Give the loss."""
        if torch.is_grad_enabled():
            time.sleep(self.seconds)
        return cross_entropy(outputs, targets)


def train_here(schedule: Schedule, config: TrainConfig, parts: dict[str, Any] | None = None) -> dict[str, Any]:
    """Train on this rank; give what it reported, and its evaluations or why there are none."""
    lines: list[str] = []
    try:
        result = train(schedule, config, report=lines.append, **(parts or {}))
    except TopokitError as error:
        return {"lines": lines, "error": str(error)}
    except KeyboardInterrupt:
        return {"lines": lines, "error": "interrupted"}
    average = torch.cat([value.double().reshape(-1) for value in result.model.state_dict().values()]).numpy()
    return {"lines": lines, "error": None, "metrics": result.metrics, "average": average}


def snapshots(out: Path, mark: int) -> dict[int, dict[str, Any]]:
    """Read the snapshots of a mark, by rank."""
    files = sorted((out / "marks" / f"{mark:08d}").glob("rank-*.pt"))
    return {int(file.stem.removeprefix("rank-")): torch.load(file, weights_only=True) for file in files}


def eventually(condition: Callable[[], Any], timeout: float = 60.0) -> Any:
    """Wait until a condition holds, and give what it gave."""
    limit = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < limit, f"not within {timeout:g} s"
        time.sleep(0.01)
    return found


def at_step(out: Path, step: int) -> bool:
    """Say whether a run has been evaluated at a step, or later."""
    path = out / "metrics.jsonl"
    rows = read_metrics(out) if path.exists() else []
    return bool(rows) and rows[-1]["step"] >= step
