"""What ranks do in tests; here, because processes can only be given functions of importable modules."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from topokit.errors import InputError, TopokitError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.exchange import Exchange, plan_round
from topokit_trainer.measure import Measurement, MeasureSettings, run_measurement
from topokit_trainer.world import open_world

__all__ = ["failing_setup", "final_parameters", "lose_a_rank", "measure_here", "mix_once", "train_all"]


def final_parameters(trainer: Trainer) -> np.ndarray:
    """All parameters of this rank's nodes, shape (rows, parameters), in float64."""
    return torch.cat([s.detach().double() for s in trainer.nodes.stacks.stacks], dim=1).cpu().numpy()


def train_all(runs: list[tuple[Schedule, TrainConfig]], parts: dict[str, Any] | None = None) -> list[Any]:
    """Train several times in one world; give (final parameters, evaluations) of each."""
    results = []
    with open_world(runs[0][1]) as world:
        for schedule, config in runs:
            trainer = Trainer(schedule, config, world, **(parts or {}))
            metrics = trainer.run().metrics
            results.append((final_parameters(trainer), metrics))
    return results


def mix_once(matrices: list[MixingMatrix], values: np.ndarray, overlapped: bool = False) -> list[np.ndarray]:
    """Mix this rank's rows of ``values`` (nodes, columns) once with each matrix, starting anew each time."""
    results = []
    with open_world(TrainConfig(device="cpu")) as world:
        exchange = Exchange(world)
        for matrix in matrices:
            plan = plan_round(matrix, world.rank, world.size)
            local = world.nodes_of(world.rank, matrix.nodes)
            x = torch.from_numpy(values[local.start : local.stop].copy())
            (received,) = exchange.start(plan, [x]).wait()
            if overlapped:
                x += plan.operator.correction(x, received)
            else:
                plan.operator.mix_(x, received)
            results.append(x.numpy())
    return results


def failing_setup(folder: Path) -> str:
    """Train with data that only rank 1 cannot find; give the message of the error."""
    from topokit.designer import design

    config = TrainConfig(steps=1, device="cpu", timeout=20)
    with open_world(config) as world:
        try:
            mine = TrainConfig(steps=1, data="mnist", data_path=folder) if world.rank == 1 else config
            Trainer(design("ring", 4), mine, world)
        except InputError as error:
            return str(error)
    return "no error"


def measure_here(settings: MeasureSettings, path: Path | None = None) -> Measurement | str:
    """Measure the network between the ranks; give the message of an error."""
    try:
        return run_measurement(settings, path, lambda line: None)
    except TopokitError as error:
        return str(error)


def lose_a_rank(settings: MeasureSettings) -> Measurement | str:
    """Start to measure while rank 1 leaves; give the message of the error."""
    if int(os.environ["RANK"]) == 1:
        with open_world(TrainConfig(device="cpu")) as world:
            world.gather(None)  # agrees to begin
            return "left"
    return measure_here(settings)
