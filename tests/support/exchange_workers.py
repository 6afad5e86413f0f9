"""What ranks do in the tests of rounds, waits and checkpoints; importable, because processes are given functions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from breaking import break_off
from workers import final_parameters

from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.exchange import Exchange, RoundPlan, Route, plan_round
from topokit_trainer.world import World, open_world

__all__ = ["exchange_rows", "local_rows", "mix_copies", "mix_here", "train_on", "wait_for_the_late"]

PATIENCE = 3.0  # seconds until the process group gives up
LATE = 5.0


def local_rows(world: World, nodes: int, copies: int) -> np.ndarray:
    """Rows of a rank in a matrix on copies * nodes rows: copy 0 of its nodes, then copy 1."""
    local = np.asarray(world.nodes_of(world.rank, nodes))
    return np.concatenate([copy * nodes + local for copy in range(copies)])


def mix_here(
    world: World, cases: list[tuple[MixingMatrix, int]], values: dict[int, np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """Mix with each (matrix, copies), all values of so many rows; give rows, their new values and the messages."""
    exchange, results = Exchange(world), []
    for matrix, copies in cases:
        plan: RoundPlan = plan_round(matrix, world.rank, world.size, copies)
        rows = local_rows(world, matrix.nodes // copies, copies)
        x = torch.from_numpy(values[matrix.nodes][rows])
        (received,) = exchange.start([(plan.route, [x])]).wait()
        plan.mix_(x, received)
        results.append((rows, x.numpy(), plan.messages))
    return results


def mix_copies(cases: list[tuple[MixingMatrix, int]], values: dict[int, np.ndarray]) -> list[Any]:
    """Mix on the ranks of this process's world."""
    with open_world(TrainConfig(device="cpu")) as world:
        return mix_here(world, cases, values)


def exchange_rows(routes: list[list[Route]]) -> tuple[list[list[np.ndarray | None]], list[int]]:
    """Send rows of three tensors of unlike shape and type by two routes in one phase, several times over.

    Row r of tensor k on rank p holds 1000 p + 100 k + r in round 0, and 0.5 more in each further round.
    """
    found, sent = [], []
    with open_world(TrainConfig(device="cpu")) as world:
        exchange = Exchange(world)
        first, second = routes[world.rank]
        for number in range(3):
            tensors = [
                (1000 * world.rank + 100 * k + 0.5 * number + torch.arange(3, dtype=torch.float64))
                .reshape(3, *(1,) * len(shape))
                .repeat(1, *shape)
                .to(dtype)
                for k, (shape, dtype) in enumerate(
                    (((4,), torch.float64), ((2, 3), torch.float32), ((1,), torch.float64))
                )
            ]
            received = exchange.start([(first, tensors[:2]), (second, tensors[2:])]).wait()
            found.append([None if r is None else r.numpy().copy() for r in received])
            sent.append(exchange.bytes_sent)
    return found, sent


def wait_for_the_late() -> dict[str, float]:
    """Wait for ranks that come later than the process group's time-out allows; give the seconds that it took."""
    seconds = {}
    with open_world(TrainConfig(device="cpu", timeout=PATIENCE)) as world:
        world.barrier()
        start = time.monotonic()
        if world.rank == 1:
            time.sleep(LATE)
        world.meet("late")
        seconds["meet"] = time.monotonic() - start
        assert world.gather(world.rank) == list(range(world.size))

        start = time.monotonic()
        if world.rank == 2:
            time.sleep(LATE)
            world.announce("word")
        elif world.rank == 0:
            world.await_word("word")
        seconds["word"] = time.monotonic() - start
        world.meet("after the word")

        # A name can be used again and again: no word is left over from the time before.
        counts = []
        for number in range(40):
            if world.rank == number % world.size:
                time.sleep(0.002)
            counts.append(int(world.store.add(f"round {number}", 1)))
            world.meet("again")
            assert world.store.add(f"round {number}", 0) == world.size
        assert len(set(counts)) > 1
        assert float(world.sum(torch.ones(1))) == world.size
    return seconds


def train_on(
    schedule: Schedule, config: TrainConfig, parts: dict[str, Any], stop: int | None = None
) -> tuple[np.ndarray, list[dict[str, Any]], int, float, int]:
    """Train, or go on; before step ``stop`` every rank gives up.

    Gives final parameters, evaluations, the first step, and bytes sent by a node and by this rank.
    """
    with open_world(config) as world:
        trainer = Trainer(schedule, config, world, **parts)
        begun = trainer.progress.step
        metrics: list[dict[str, Any]] = []
        if stop is None:
            metrics = trainer.run().metrics
        else:
            break_off(trainer, stop)
        nodes = trainer.nodes
        return final_parameters(trainer), metrics, begun, nodes.bytes_per_node, nodes.exchange.bytes_sent
