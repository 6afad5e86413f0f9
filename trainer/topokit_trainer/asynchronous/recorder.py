"""What an asynchronous run leaves besides its snapshots: one rank evaluates them, and sums the run up.

Which rank that is may change at any time: all that is known is in the folder of the run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from topokit.files import read_bytes, replacing, write_text
from topokit.schedule import Schedule
from topokit_trainer.asynchronous.journal import journals
from topokit_trainer.asynchronous.marks import Marks, Snapshot
from topokit_trainer.config import TrainConfig
from topokit_trainer.evaluation import Evaluator, averaged_state
from topokit_trainer.telemetry import Metrics, RunFolder, read_metrics

__all__ = ["Recorder"]


class Recorder:
    """Evaluates marks; all its methods take time that the rank's own gradients then do not get.

    Parameters
    ----------
    schedule, config : Schedule, TrainConfig
    out : Path
        Folder of the run.
    marks : Marks
    evaluator : Evaluator
        Of this rank; its averaged model is where the mean of the nodes goes.
    epoch : int
        Batches in an epoch of a node.
    """

    def __init__(
        self, schedule: Schedule, config: TrainConfig, out: Path, marks: Marks, evaluator: Evaluator, epoch: int
    ) -> None:
        self.schedule, self.config, self.out = schedule, config, out
        self.marks, self.evaluator, self.epoch = marks, evaluator, epoch
        self.folder = RunFolder(out)
        self._averaged = -1  # the mark whose mean is in the averaged model

    @property
    def finished(self) -> bool:
        """Whether the run has been summed up."""
        return (self.out / "summary.json").exists()

    def rows(self) -> list[Metrics]:
        """Give the evaluations so far, also those that another rank has made."""
        path = self.out / "metrics.jsonl"
        return read_metrics(self.out) if path.exists() else []

    def last(self) -> int:
        """Give the mark that was evaluated last, -1 before the first."""
        rows = self.rows()
        return rows[-1]["step"] if rows else -1

    def evaluate(self, mark: int, ranks: Sequence[int], size: int) -> Metrics | None:
        """Evaluate a mark and append the row; None where another rank has done so, or there is no snapshot yet.

        Parameters
        ----------
        mark : int
        ranks : sequence of int
            Whose nodes count: the living. One without a snapshot at this mark counts with its newest.
        size : int
            Number of ranks that the run was started with.
        """
        rows = self.rows()
        if rows and rows[-1]["step"] >= mark:
            return None
        row = self._row(mark, ranks, rows[-1] if rows else None)
        rows = self.rows()  # read again: this process may have been stopped for any time meanwhile
        if row is None or (rows and rows[-1]["step"] >= mark):
            return None
        path = self.out / "metrics.jsonl"
        if path.exists() and not read_bytes(path).endswith(b"\n"):
            write_text(path, "".join(json.dumps(r) + "\n" for r in rows))  # the writer before died over a line
        self.folder.rows = rows
        self.folder.add(row | {"ranks": size})
        self.marks.prune(self.config.keep_checkpoints, mark)
        return self.folder.rows[-1]

    def _row(self, mark: int, ranks: Sequence[int], before: Metrics | None) -> Metrics | None:
        mean, snapshots = self._mean(mark, ranks)
        if not snapshots:
            return None
        distance = self._distance(mark, [s["rank"] for s in snapshots], mean)
        loss, accuracy = self._measure_average()
        here = [s for s in snapshots if s["mark"] == mark] or snapshots
        # The clock of a rank that was started again has stood still meanwhile.
        seconds, gradients = max(s["seconds"] for s in here), sum(s["count"] for s in snapshots)
        samples = sum(s["train_count"] for s in here)
        since = seconds - before["seconds"] if before else 0.0
        steps = mark - before["step"] if before else 0
        losses, accuracies = [s["loss"] for s in snapshots], [s["accuracy"] for s in snapshots]
        averagings = sum(s["averagings"] for s in snapshots)
        return {
            "step": mark,
            "round": None,
            "epoch": mark / self.epoch,
            "train_loss": sum(s["train_total"] for s in here) / samples if samples else None,
            "loss": loss,
            "accuracy": accuracy,
            "node_loss_mean": sum(losses) / len(losses),
            "node_loss_worst": max(losses),
            "node_accuracy_mean": sum(accuracies) / len(accuracies),
            "node_accuracy_worst": min(accuracies),
            "consensus_distance": distance,
            "lr": here[0]["lr"],
            "contraction": None,
            "contraction_bound": None,
            "contraction_expected": None,
            "bytes_sent_per_node": round(sum(s["bytes"] for s in snapshots) / len(snapshots)),
            "bytes_on_the_wire": sum(s["bytes"] for s in snapshots),
            "seconds": seconds,
            "gradients_per_second": steps * self.schedule.nodes / since if since > 0 and steps else None,
            "averagings_per_gradient": averagings / gradients if gradients else None,
            "living": len(ranks),
        }

    def _snapshots(self, mark: int, ranks: Sequence[int]) -> Iterator[Snapshot]:
        """Give the snapshots one after the other: there is room for a single model."""
        for rank in sorted(ranks):
            if (snapshot := self.marks.at(rank, mark)) is not None:
                yield snapshot

    @torch.no_grad()
    def _mean(self, mark: int, ranks: Sequence[int]) -> tuple[list[Tensor], list[Snapshot]]:
        """Put the mean of the nodes into the averaged model; give it, and the figures of the snapshots."""
        device = self.evaluator.world.device
        sums: list[Tensor] = []
        buffers: dict[str, Tensor] = {}
        figures: list[Snapshot] = []
        for snapshot in self._snapshots(mark, ranks):
            figures.append({k: v for k, v in snapshot.items() if not isinstance(v, list | dict)})
            values = [x.to(device, torch.float64) for x in snapshot["x"]]
            sums = [a.add_(b) for a, b in zip(sums, values, strict=True)] if sums else values
            for name, value in snapshot["buffers"].items():
                wide = value.to(device, torch.float64) if value.is_floating_point() else value.to(device)
                known = buffers.get(name)
                both = wide if known is None else known + wide if wide.is_floating_point() else known.maximum(wide)
                buffers[name] = both
        count = max(1, len(figures))
        mean = [values / count for values in sums]
        means = {name: value / count if value.is_floating_point() else value for name, value in buffers.items()}
        if figures:
            self.evaluator.stacks.load_average(self.evaluator.average, mean, means)
            self._averaged = mark
        return mean, figures

    @torch.no_grad()
    def _distance(self, mark: int, ranks: Sequence[int], mean: Sequence[Tensor]) -> float:
        total, count = 0.0, 0
        for snapshot in self._snapshots(mark, ranks):
            count += 1
            for values, middle in zip(snapshot["x"], mean, strict=True):
                total += float((values.to(middle.device).double() - middle).square().sum())
        return math.sqrt(total / max(1, count))

    def _measure_average(self) -> tuple[float, float]:
        average = self.evaluator.average
        average.eval()
        loss, accuracy = self.evaluator.measure(lambda x: average(x).unsqueeze(0), rows=1)[0].tolist()
        return loss, accuracy

    def finish(self, ranks: Sequence[int], engine: str, gradients: Mapping[int, int], size: int, window: float) -> None:
        """Write the averaged model and, as the last, the summary.

        Parameters
        ----------
        ranks : sequence of int
            Whose nodes the averaged model is the mean of.
        engine : str
            The gradient engine, and why it was chosen.
        gradients : mapping of int to int
            Gradients of each rank, as last heard of.
        size : int
            Number of ranks.
        window : float
            Seconds within which several ranks see the same happening.
        """
        mark = self.config.steps
        if self._averaged != mark:
            self._mean(mark, ranks)
        with replacing(self.out / "averaged-model.pt") as file:
            torch.save(averaged_state(self.evaluator.average), file)
        newest = [self.marks.at(rank, mark) for rank in range(size)]
        summary: dict[str, Any] = {
            **self.rows()[-1],
            "finished": True,
            "engine": engine,
            "ranks": size,
            "gradients": [gradients.get(rank, 0) for rank in range(size)],
            "averagings": [snapshot["averagings"] if snapshot else 0 for snapshot in newest],
            "events": journals(self.out, window),
        }
        write_text(self.out / "summary.json", json.dumps(summary, indent=1, sort_keys=True) + "\n")

    def load_average(self) -> None:
        """Take the averaged model that the run left."""
        state = torch.load(self.out / "averaged-model.pt", map_location=self.evaluator.world.device, weights_only=True)
        self.evaluator.average.load_state_dict(state)
