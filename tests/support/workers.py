"""What ranks do in tests; here, because processes can only be given functions of importable modules."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from breaking import break_off
from problems import blobs, linear
from torch.nn.functional import cross_entropy

from topokit.errors import InputError, TopokitError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer import world as worlds
from topokit_trainer.exchange import Exchange, plan_round
from topokit_trainer.measure import Measurement, MeasureSettings, run_measurement
from topokit_trainer.nodes import Nodes
from topokit_trainer.search import search_active
from topokit_trainer.world import open_world

__all__ = [
    "fail_in_round",
    "failing_setup",
    "final_parameters",
    "idle_while_others_work",
    "lose_a_rank",
    "measure_here",
    "mix_once",
    "search_here",
    "tokens_of_all",
    "train_all",
]


def final_parameters(trainer: Trainer) -> np.ndarray:
    """All parameters of this rank's nodes, shape (rows, parameters), in float64."""
    return torch.cat([s.detach().double() for s in trainer.nodes.stacks.stacks], dim=1).cpu().numpy()


def train_all(
    runs: list[tuple[Schedule, TrainConfig]], parts: dict[str, Any] | None = None, stop_after: int | None = None
) -> list[Any]:
    """Train several times in one world; give (final parameters, evaluations) of each.

    With `stop_after` a run breaks off, as if all ranks were killed, before the step of that number.
    """
    results = []
    with open_world(runs[0][1]) as world:
        for schedule, config in runs:
            trainer = Trainer(schedule, config, world, **(parts or {}))
            if stop_after is not None:
                break_off(trainer, stop_after)
                continue
            metrics = trainer.run().metrics
            results.append((final_parameters(trainer), metrics))
    return results


def tokens_of_all(runs: list[tuple[Schedule, TrainConfig]], parts: dict[str, Any]) -> list[Any]:
    """Train several times in one world; give (parameters by token, evaluations) of each."""
    results = []
    with open_world(runs[0][1]) as world:
        for schedule, config in runs:
            trainer = Trainer(schedule, config, world, **parts)
            metrics = trainer.run().metrics
            rows = final_parameters(trainer)
            results.append(({token: rows[row] for row, token in enumerate(trainer.nodes.keys)}, metrics))
    return results


def slow_cross_entropy(seconds: float) -> Any:
    """Give a loss that takes its time without using the processor."""

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            time.sleep(seconds)
        return cross_entropy(outputs, targets)

    return loss


def idle_while_others_work(schedule: Schedule, config: TrainConfig, seconds: float) -> tuple[float, float]:
    """Train with steps that take some seconds; give this rank's wall-clock and processor time."""
    with open_world(config) as world:
        trainer = Trainer(schedule, config, world, model=linear, data=blobs(), loss=slow_cross_entropy(seconds))
        wall, busy = time.perf_counter(), time.process_time()
        trainer.run()
        return time.perf_counter() - wall, time.process_time() - busy


def fail_in_round(schedule: Schedule, config: TrainConfig, round_number: int) -> str:
    """Train until the holder of the token in some round fails; give the message of this rank's error."""
    worlds.WAIT_SLICE = 0.5  # sleepers look up this often; the process is this test's own
    try:
        with open_world(config) as world:
            trainer = Trainer(schedule, config, world, model=linear, data=blobs())
            step = trainer.algorithm.step

            def failing(nodes: Nodes, number: int) -> None:
                if number == round_number and nodes.stacks.rows:
                    raise ValueError("out of order")
                step(nodes, number)

            trainer.algorithm.step = failing  # type: ignore[method-assign]
            trainer.run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def search_here(schedule: Schedule, config: TrainConfig) -> list[Any]:
    """Search for the number of active nodes; give the candidates."""
    with open_world(config) as world:
        return search_active(schedule, config, world, model=linear, data=blobs()).candidates


def mix_once(matrices: list[MixingMatrix], values: np.ndarray, overlapped: bool = False) -> list[np.ndarray]:
    """Mix this rank's rows of ``values`` (nodes, columns) once with each matrix, starting anew each time."""
    results = []
    with open_world(TrainConfig(device="cpu")) as world:
        exchange = Exchange(world)
        for matrix in matrices:
            plan = plan_round(matrix, world.rank, world.size)
            local = world.nodes_of(world.rank, matrix.nodes)
            x = torch.from_numpy(values[local.start : local.stop].copy())
            (received,) = exchange.start([(plan.route, [x])]).wait()
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
