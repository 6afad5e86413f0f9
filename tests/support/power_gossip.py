"""PowerGossip by hand, link by link in NumPy, and runs to hold against it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from problems import CLASSES, FEATURES, blobs, settings
from torch import nn
from workers import final_parameters

from topokit.designer import design
from topokit.kinds import Matchings, Sampled
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.channels import Channels
from topokit_trainer.seeding import keyed_generator

__all__ = [
    "HIDDEN",
    "SCHEDULES",
    "STEPS",
    "ByHand",
    "Links",
    "blocks_of",
    "by_hand",
    "config_of",
    "network",
    "parts_of",
    "trainer_of",
    "watch",
]

Parts = list[np.ndarray]  # the parameters of a node
Blocks = dict[tuple[int, int, int], list[np.ndarray]]  # of a link and a matrix: to its right and to its left

STEPS, HIDDEN = 50, 7


def network() -> nn.Module:
    """Give two layers with biases."""
    return nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))


def sampled_rounds() -> Schedule:
    """Give rounds in which links are open together that have not been open equally often."""
    ring, path = (design(name, 4).round(0) for name in ("ring", "path"))
    pairs = MixingMatrix.from_matrix(np.kron(np.eye(2), np.full((2, 2), 0.5)))
    return Schedule.of(Sampled([ring, path, pairs], [0.3, 0.3, 0.4], seed=1))


SCHEDULES = {
    "ring": design("ring", 8),
    "hypercube": design("one-peer-hypercube", 8),
    "matchings": Schedule.of(Matchings(4, [[(0, 1), (2, 3)], [(1, 2)]], [0.7, 0.4], 0.5, seed=2)),
    "star": design("star", 4),
    "sampled": sampled_rounds(),
}


def config_of(rank: int = 1, iterations: int = 1, **changes: Any) -> TrainConfig:
    """Settings of a run with momentum and weight decay on data sorted by label."""
    usual = {"algorithm": "power-gossip", "steps": STEPS, "momentum": 0.9, "weight_decay": 0.01, "perturb": 0.1}
    usual |= {"lr": 0.05, "partition": "sorted", "low_rank": rank, "power_iterations": iterations}
    return settings(**(usual | changes))


def trainer_of(
    schedule: Schedule, config: TrainConfig, model: Callable[[], nn.Module] = network, **parts: Any
) -> Trainer:
    """Train on blobs, where nothing else is asked for."""
    return Trainer(schedule, config, model=model, **({"data": blobs(dtype=getattr(torch, config.dtype))} | parts))


def gradient(parameters: Parts, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Give that of the mean cross entropy: weights (HIDDEN, FEATURES), bias, weights (CLASSES, HIDDEN), bias."""
    first, shift, second, offset = parameters
    hidden = np.tanh(x @ first.T + shift)
    scores = hidden @ second.T + offset
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    error = (shares / shares.sum(axis=1, keepdims=True) - np.eye(CLASSES)[y]) / len(y)
    inner = error @ second * (1 - hidden**2)
    return inner.T @ x, inner.sum(axis=0), error.T @ hidden, error.sum(axis=0)


def parts_of(row: np.ndarray, shapes: list[Any]) -> Parts:
    """Give the parameters of a node by themselves."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(row, ends[:-1]), shapes, strict=True)]


class Links:
    """All links with their blocks."""

    def __init__(self, shapes: list[Any], rank: int, iterations: int, seed: int = 0) -> None:
        self.rank, self.iterations, self.seed = rank, iterations, seed
        matrices = [k for k, s in enumerate(shapes) if len(s) > 1 and min(s[0], int(np.prod(s[1:]))) > rank]
        self.number = {k: place for place, k in enumerate(matrices)}
        self.lengths = {k: (int(np.prod(shapes[k][1:])), shapes[k][0]) for k in matrices}  # to the right, to the left
        self.whole = [k for k in range(len(shapes)) if k not in matrices]
        self.blocks: Blocks = {}
        self.turns: dict[tuple[int, int], int] = {}
        self.numbers_sent = self.messages = 0

    def turned(self, first: np.ndarray, second: np.ndarray, old: np.ndarray) -> np.ndarray:
        """Gram-Schmidt of what two ends see; where only rounding errors are left of a column, an old one."""
        size = np.linalg.norm(first, axis=0).sum() + np.linalg.norm(second, axis=0).sum()
        basis = np.zeros((len(first), 0))
        for column in (second - first).T:
            for _ in range(2):
                column = column - basis @ (basis.T @ column)
            if np.linalg.norm(column) <= 64 * np.finfo(float).eps * size:
                others = old - basis @ (basis.T @ old)
                column = others[:, basis.shape[1]]
                for other in others.T if basis.size else ():
                    column = other if np.linalg.norm(other) > 2 * np.linalg.norm(column) else column
            basis = np.column_stack([basis, column / np.linalg.norm(column)])
        return basis

    def start(self, i: int, j: int, k: int) -> Parts:
        """Draw the first blocks of a link."""
        generator = keyed_generator(self.seed, "power gossip", i, j, self.number[k])
        drawn = [generator.standard_normal((self.rank, length)).T for length in self.lengths[k]]
        return [self.turned(np.zeros_like(columns), columns, columns) for columns in drawn]

    def round(self, X: list[Parts], W: np.ndarray) -> None:
        """Mix."""
        n = len(X)
        links = [(i, j) for i in range(n) for j in range(i + 1, n) if W[i, j] != 0]
        for k in self.whole:
            mixed = np.tensordot(W, np.stack([x[k] for x in X]), axes=1)
            self.numbers_sent += 2 * len(links) * X[0][k].size
            for x, new in zip(X, mixed, strict=True):
                x[k] = new
        for _ in range(self.iterations):
            change = [[np.zeros_like(part) for part in x] for x in X]
            for i, j in links:
                turn = self.turns.get((i, j), 0)
                self.turns[i, j] = turn + 1
                self.messages += 2 * bool(self.number or self.whole)
                for k in self.number:
                    first, second = (X[end][k].reshape(len(X[end][k]), -1) for end in (i, j))
                    if (i, j, k) not in self.blocks:
                        self.blocks[i, j, k] = self.start(i, j, k)
                    blocks, side = self.blocks[i, j, k], turn % 2
                    if side == 0:
                        seen = first @ blocks[0], second @ blocks[0]
                        update = (seen[1] - seen[0]) @ blocks[0].T
                    else:
                        seen = first.T @ blocks[1], second.T @ blocks[1]
                        update = blocks[1] @ (seen[1] - seen[0]).T
                    blocks[1 - side] = self.turned(*seen, blocks[1 - side])
                    self.numbers_sent += 2 * seen[0].size
                    update = update.reshape(X[i][k].shape)
                    change[i][k] += W[i, j] * update
                    change[j][k] -= W[i, j] * update
            for x, parts in zip(X, change, strict=True):
                for k in self.number:
                    x[k] = x[k] + parts[k]


class ByHand:
    """All nodes, with the momentum of PyTorch's SGD."""

    def __init__(self, schedule: Schedule, config: TrainConfig) -> None:
        trainer = trainer_of(schedule, config)
        self.schedule, self.config, self.batches = schedule, config, trainer.nodes.batches
        self.shapes = [slot.shape for slot in trainer.nodes.stacks.slots]
        self.data = [part.numpy() for part in blobs().train.tensors]
        self.rows = final_parameters(trainer)
        self.velocity = np.zeros_like(self.rows)
        self.links = Links(self.shapes, config.low_rank, config.power_iterations, config.seed)

    def step(self, number: int) -> None:
        """Descend and, after the local steps, mix."""
        config, (x, y) = self.config, self.data
        slopes = [
            np.concatenate([part.ravel() for part in gradient(parts_of(row, self.shapes), x[batch], y[batch])])
            for row, batch in zip(self.rows, self.batches.indices(number), strict=True)
        ]
        self.velocity = config.momentum * self.velocity + slopes + config.weight_decay * self.rows
        X = [parts_of(row, self.shapes) for row in self.rows - config.lr * self.velocity]
        if (number + 1) % config.local_steps == 0:
            self.links.round(X, self.schedule.round(number // config.local_steps).to_dense())
        self.rows = np.array([np.concatenate([part.ravel() for part in row]) for row in X])


def by_hand(schedule: Schedule, config: TrainConfig) -> tuple[np.ndarray, Links]:
    """Give the final models of all nodes, and what the links did."""
    run = ByHand(schedule, config)
    for number in range(config.steps):
        run.step(number)
    return run.rows, run.links


def watch(trainer: Trainer, look: Callable[[int, bool], None]) -> None:
    """Call a function before and after each step (and tell it which) of a trainer that has not run."""
    step = trainer.algorithm.step

    def watched(nodes: Any, number: int) -> None:
        look(number, False)
        step(nodes, number)
        look(number, True)

    trainer.algorithm.step = watched  # type: ignore[method-assign]


def blocks_of(trainer: Trainer, links: Links) -> tuple[list[Blocks], list[dict[tuple[int, int], int]]]:
    """Give the blocks and turns of the trainer's links, as those at hand name them, from both ends."""
    channels, states = Channels(trainer.schedule, apart=True), trainer.nodes.states
    sides = [states[name].tensors[0].numpy() for name in ("right", "left")]
    found: list[Blocks] = [{}, {}]
    turns: list[dict[tuple[int, int], int]] = [{}, {}]
    for i, j in links.turns:
        for end, (owner, other) in enumerate(((i, j), (j, i))):
            row = states["right"].rows[owner].start + int(channels.of(np.array([other]), np.array([owner]))[0])
            turns[end][i, j] = int(states["half steps"].tensors[0][row, 0])
            starts = [0, 0]
            for k in links.number:
                blocks = []
                for side, length in enumerate(links.lengths[k]):
                    stop = starts[side] + links.rank * length
                    blocks.append(sides[side][row, starts[side] : stop].reshape(links.rank, length).T.copy())
                    starts[side] = stop
                found[end][i, j, k] = blocks
    return found, turns
