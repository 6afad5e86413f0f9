"""What ranks do in the tests of compressed gossip; here, because processes are given functions of modules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from breaking import break_off
from workers import final_parameters

from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.algorithms import compressed
from topokit_trainer.compression import make_compressor
from topokit_trainer.world import World, open_world

__all__ = ["Result", "Run", "gossip_on"]


@dataclass(frozen=True)
class Run:
    """What to run.

    Attributes
    ----------
    stop : int or None
        Break off before this step.
    compressors : tuple of str
        Where given, the tensors of the model are packed by these, one after the other.
    found : tuple of float
        Where given, the consensus step sizes that the ranks find when they are to find the best.
    wander : bool
        Whether nodes take random steps instead of gradient steps, which is quick.
    """

    schedule: Schedule
    config: TrainConfig
    parts: dict[str, Any]
    stop: int | None = None
    compressors: tuple[str, ...] = ()
    found: tuple[float, ...] = ()
    wander: bool = False


@dataclass(frozen=True)
class Result:
    """What a rank has in the end: models of its nodes, evaluations, and replicas by node and channel."""

    models: np.ndarray
    metrics: list[dict[str, Any]]
    begun: int
    own: dict[tuple[int, int], bytes]
    heard: dict[tuple[int, int], bytes]


def gossip_on(runs: list[Run]) -> list[Result]:
    """Train several times in one world."""
    results = []
    with open_world(runs[0].config) as world:
        for run in runs:
            with _prepared(run, world):
                trainer = Trainer(run.schedule, run.config, world, **run.parts)
            results.append(_result(trainer, run))
    return results


def _result(trainer: Trainer, run: Run) -> Result:
    begun, metrics = trainer.progress.step, []
    if run.wander:
        _have_nodes_wander(trainer)
    if run.stop is None:
        metrics = trainer.run().metrics
    else:
        break_off(trainer, run.stop)
    replicas = trainer.algorithm.replicas  # type: ignore[attr-defined]
    rows = {replicas.plans.node_of(row): row for row in range(replicas.plans.rows)}
    places = {key: place for place, key in enumerate(replicas.plans.arriving)}
    own = {key: b"".join(t[row].numpy().tobytes() for t in replicas.own) for key, row in rows.items()}
    heard = {key: b"".join(t[place].numpy().tobytes() for t in replicas.heard) for key, place in places.items()}
    return Result(final_parameters(trainer), metrics, begun, own, heard)


@contextmanager
def _prepared(run: Run, world: World) -> Iterator[None]:
    def make_several(text: str) -> Any:
        made: list[str] = []

        def make(shape: Any, dtype: torch.dtype) -> Any:
            made.append(run.compressors[len(made) % len(run.compressors)])
            return make_compressor(made[-1])(shape, dtype)

        return make

    makes = make_several if run.compressors else make_compressor
    with patch.object(compressed, "make_compressor", makes):
        if not run.found:
            yield
            return
        with patch.object(compressed, "tuned_step", lambda *_: run.found[world.rank]):
            yield


def _have_nodes_wander(trainer: Trainer) -> None:
    nodes, lr = trainer.nodes, trainer.config.lr

    def descend(step: int) -> None:
        for row, key in enumerate(nodes.keys):
            generator = torch.Generator().manual_seed(1000 * step + key)
            for stack in nodes.parameters:
                stack[row].add_(torch.randn(stack.shape[1], generator=generator), alpha=lr)

    nodes.descend = descend  # type: ignore[method-assign]
