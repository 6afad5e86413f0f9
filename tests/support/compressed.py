"""Compressed gossip by hand: dense matrices, and for every pair of neighbours what one knows of the other.

    v = beta v + g,    y = x - eta (beta v + g)        (Nesterov; or y = x - eta v)
    q_i = C(y_i - hat x_i) where ||y_i - hat x_i||^2 > c_t eta^2, after every H steps
    hat x_i += q_i,    x_i = y_i + gamma sum_j w_ij (hat x_j - hat x_i)

hat x_i may be another one for each neighbour of i: pairs that meet in some rounds only know of one another what was
said in these. There are no channels here and no packed bytes; compressors are written from their definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from problems import CLASSES, FEATURES, blobs, linear, settings

from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.channels import Channels
from topokit_trainer.compression import make_compressor
from topokit_trainer.compression.codec import drawn_seeds

__all__ = [
    "ByHand",
    "Compress",
    "DEFINITIONS",
    "PIECES",
    "SHAPES",
    "compressor_by_hand",
    "config_of",
    "numbering",
    "trainer_of",
    "with_own_draws",
]

WEIGHT, BIAS = slice(0, CLASSES * FEATURES), slice(CLASSES * FEATURES, CLASSES * (FEATURES + 1))
PIECES, SHAPES = [WEIGHT, BIAS], [(CLASSES, FEATURES), (CLASSES,)]  # of the linear model

Compress = Callable[[np.ndarray, tuple[int, int, int]], np.ndarray]  # of a vector and (node, channel, round)


def config_of(algorithm: str = "choco-sgd", **changes: Any) -> TrainConfig:
    """Settings of a run of 50 steps, with momentum where it is needed."""
    usual = {"steps": 50, "lr": 0.05, "partition": "sorted", "perturb": 0.1, "consensus_step": "0.3"}
    if algorithm == "squarm-sgd":
        usual["momentum"] = 0.9
    return settings(**(usual | {"algorithm": algorithm} | changes))


def trainer_of(schedule: Schedule, config: TrainConfig, **parts: Any) -> Trainer:
    """Train the linear model on blobs, where nothing else is asked for."""
    usual = {"model": linear, "data": blobs(dtype=getattr(torch, config.dtype))}
    return Trainer(schedule, config, **(usual | parts))


def numbering(schedule: Schedule) -> Callable[[int, int], int]:
    """Give the channel by which a listener hears a speaker, as the trainer numbers them."""
    channels = Channels(schedule)

    @cache
    def channel(listener: int, speaker: int) -> int:
        return int(channels.of(np.array([listener]), np.array([speaker]))[0])

    return channel


def top_k(x: np.ndarray, fraction: float) -> np.ndarray:
    """Keep the fraction of largest absolute value, rounded up to a whole number."""
    kept = np.zeros_like(x)
    largest = np.argsort(-np.abs(x))[: int(np.ceil(round(fraction * x.size, 9)))]
    kept[largest] = x[largest]
    return kept


def sign(x: np.ndarray) -> np.ndarray:
    """Signs times the mean absolute value; the sign of zero is one."""
    return np.where(x >= 0, 1.0, -1.0) * np.abs(x).mean()


def sign_of_top_k(x: np.ndarray, fraction: float) -> np.ndarray:
    """SignTopK: zeros outside of the largest, and among them signs times their mean absolute value."""
    kept = top_k(x, fraction)
    places = np.flatnonzero(kept)
    kept[places] = sign(kept[places])
    return kept


DEFINITIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x.copy(),
    "sign": sign,
    "top-k:0.3": lambda x: top_k(x, 0.3),
    "top-k:0.3+sign": lambda x: sign_of_top_k(x, 0.3),
}


def compressor_by_hand(name: str, pieces: Sequence[slice]) -> Compress:
    """Give a compressor of vectors, each piece by itself, by its definition."""

    def compress(x: np.ndarray, key: tuple[int, int, int]) -> np.ndarray:
        return np.concatenate([DEFINITIONS[name](x[piece]) for piece in pieces])

    return compress


def with_own_draws(name: str, pieces: Sequence[slice], shapes: Sequence[tuple[int, ...]], seed: int) -> Compress:
    """Give what a random compressor makes of vectors, by its own draws; other tests say whether it is right."""
    made = [make_compressor(name)(shape, torch.float64) for shape in shapes]

    def compress(x: np.ndarray, key: tuple[int, int, int]) -> np.ndarray:
        parts = []
        for number, (piece, compressor) in enumerate(zip(pieces, made, strict=True)):
            draws = [drawn_seeds(seed, len(made), *key)[number]]
            packed = compressor.encode(torch.from_numpy(x[piece]).unsqueeze(0), draws)
            parts.append(compressor.decode(packed, draws)[0].numpy())
        return np.concatenate(parts)

    return compress


@dataclass
class ByHand:
    """A run, step by step.

    Attributes
    ----------
    X : ndarray, shape (n, d)
        Models.
    hats : ndarray, shape (n, n, d)
        ``hats[j, i]`` is what i knows of j, and j of what i knows.
    messages, silent, packed, packed_silent : int
        Messages to neighbours that carried something or nothing; the same with those of one channel counted once.
    between : dict of (int, int) to int
        For ranks of so many nodes (key 0) and messages that carried something or nothing (key 1), how many went from
        rank to rank: one for all listeners on a rank.
    spoke : list of int
        In each round, how many channels carried something.
    met : set of (int, int)
        Who has heard whom.
    """

    schedule: Schedule
    config: TrainConfig
    compress: Compress
    gamma: float
    X: np.ndarray
    common: np.ndarray
    channel: Callable[[int, int], int]  # of a listener and a speaker
    thresholds: Callable[[int], float] | None = None
    messages: int = 0
    silent: int = 0
    packed: int = 0
    packed_silent: int = 0
    between: dict[tuple[int, bool], int] = field(default_factory=dict)
    spoke: list[int] = field(default_factory=list)
    met: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin with what all nodes know: the model before any noise."""
        n = self.schedule.nodes
        self.X, self.velocity = self.X.copy(), np.zeros_like(self.X)
        self.hats = np.tile(self.common, (n, n, 1))

    def step(self, t: int, gradients: Callable[[np.ndarray], np.ndarray], eta: float, nesterov: bool) -> None:
        """Take step t with the gradients of all nodes at X."""
        beta = self.config.momentum
        G = gradients(self.X) + self.config.weight_decay * self.X
        self.velocity = beta * self.velocity + G
        self.X = self.X - eta * (G + beta * self.velocity if nesterov else self.velocity)
        if (t + 1) % self.config.local_steps == 0:
            self.gossip(t, eta)

    def gossip(self, t: int, eta: float) -> None:
        """Speak, and mix what is known."""
        number = (t + 1) // self.config.local_steps - 1
        W, said, meant = self.schedule.round(number).to_dense(), self.hats.copy(), {}
        pairs = [(i, j) for i, j in np.argwhere(W).tolist() if i != j]
        self.met.update(pairs)
        for i, j in pairs:
            moved = self.X[j] - self.hats[j, i]
            speaks = self.thresholds is None or moved @ moved > self.thresholds(t) * eta**2
            if speaks:
                said[j, i] += self.compress(moved, (j, self.channel(i, j), number))
            self.messages += speaks
            self.silent += not speaks
            meant.setdefault((j, self.channel(i, j)), []).append((i, bool(speaks)))
        self.hats = said
        change = np.zeros_like(self.X)
        for i, j in pairs:
            change[i] += W[i, j] * (self.hats[j, i] - self.hats[i, j])
        self.X = self.X + self.gamma * change
        self._count(list(meant.items()))

    def _count(self, meant: list[tuple[tuple[int, int], list[tuple[int, bool]]]]) -> None:
        for _, listeners in meant:
            assert len({speaks for _, speaks in listeners}) == 1  # all hear the same
        self.spoke.append(sum(listeners[0][1] for _, listeners in meant))
        self.packed += self.spoke[-1]
        self.packed_silent += len(meant) - self.spoke[-1]
        n = self.schedule.nodes
        for share in (k for k in range(1, n) if n % k == 0):
            for (j, _), listeners in meant:
                ranks = {i // share for i, _ in listeners} - {j // share}
                key = share, listeners[0][1]
                self.between[key] = self.between.get(key, 0) + len(ranks)

    def wire(self, share: int, size: int, header: int) -> int:
        """Give the bytes between ranks of ``share`` nodes each, for messages of some size and what heads all."""
        spoken, silent = (self.between.get((share, said), 0) for said in (True, False))
        return spoken * (size + header) + silent * header
