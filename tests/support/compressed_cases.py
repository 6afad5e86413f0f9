"""Runs of compressed gossip that tests look at from several sides, and the same runs by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from compressed import (
    DEFINITIONS,
    PIECES,
    SHAPES,
    ByHand,
    compressor_by_hand,
    config_of,
    numbering,
    trainer_of,
    with_own_draws,
)
from problems import Softmax, blobs
from workers import final_parameters

from topokit.designer import design
from topokit.kinds import Matchings, Sampled
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit_trainer import TrainConfig, Trainer

__all__ = ["CASES", "RING", "SCHEDULES", "by_hand", "by_name", "check_counts", "message_size"]

RING = design("ring", 4)
PATH = np.array([[0.6, 0.4, 0, 0], [0.4, 0.3, 0.3, 0], [0, 0.3, 0.5, 0.2], [0, 0, 0.2, 0.8]])
FORK = np.array([[0.4, 0.2, 0.2, 0.2], [0.2, 0.5, 0.3, 0], [0.2, 0.3, 0.5, 0], [0.2, 0, 0, 0.8]])
SCHEDULES = {
    "ring": RING,
    "star": design("star", 5),
    "torus": design("torus", 6),
    "one-peer-hypercube": design("one-peer-hypercube", 4),
    "matchings": Schedule.of(Matchings(4, [[(0, 1), (2, 3)], [(1, 2)], [(0, 3)]], [0.7, 0.4, 1], 0.3, seed=2)),
    "sampled": Schedule.of(Sampled(list(map(MixingMatrix.from_matrix, (PATH, FORK))), [0.6, 0.4], seed=3)),
}


def thresholds_of(trigger: str) -> Callable[[int], float] | None:
    """Give c_t by hand."""
    kind, _, numbers = trigger.partition(":")
    if kind == "none":
        return None
    c = [float(number) for number in numbers.split(",")]
    if kind == "constant":
        return lambda t: c[0]
    if kind == "step":
        return lambda t: c[0] + c[1] * (min(t, c[3] if len(c) > 3 else t) // c[2])
    return lambda t: c[0] * t ** c[1]


def reference_of(schedule: Schedule, config: TrainConfig, gamma: float) -> tuple[ByHand, Any]:
    """Give the run by hand, before its first step, and the batches of the real one."""
    plain = trainer_of(schedule, config_of(consensus_step="1", perturb=0, seed=config.seed))
    trainer = trainer_of(schedule, config)
    names = config.compressor in DEFINITIONS
    compress = (
        compressor_by_hand(config.compressor, PIECES if config.compress_by == "tensor" else [slice(0, None)])
        if names
        else with_own_draws(config.compressor, PIECES, SHAPES, config.seed)
    )
    run = ByHand(
        schedule,
        config,
        compress,
        gamma,
        final_parameters(trainer),
        final_parameters(plain)[0],
        numbering(schedule),
        thresholds_of(config.trigger),
    )
    return run, trainer.nodes.batches


def by_hand(
    schedule: Schedule,
    config: TrainConfig,
    gamma: float | None = None,
    etas: Callable[[int], float] | None = None,
) -> ByHand:
    """Run by hand, with the step size and the learning rates of the settings unless others are given."""
    run, batches = reference_of(schedule, config, float(config.consensus_step) if gamma is None else gamma)
    problem = Softmax(blobs())
    for t in range(config.steps):

        def gradients(X: np.ndarray, t: int = t) -> np.ndarray:
            return np.stack([problem.gradient(x, b) for x, b in zip(X, batches.indices(t), strict=True)])

        eta = config.lr if etas is None else etas(t)
        run.step(t, gradients, eta, nesterov=config.nesterov or config.algorithm == "squarm-sgd")
    return run


CASES = {
    "choco identity": ("ring", config_of(compressor="identity")),
    "choco top-k": ("torus", config_of(compressor="top-k:0.3", weight_decay=0.01)),
    "choco sign": ("one-peer-hypercube", config_of(compressor="sign", consensus_step="0.1")),
    "choco SignTopK": ("sampled", config_of(compressor="top-k:0.3+sign")),
    "choco qsgd": ("star", config_of(compressor="qsgd:4", seed=3)),
    "choco rand-k": ("matchings", config_of(compressor="rand-k:0.3")),
    "choco low rank": ("ring", config_of(compressor="low-rank:1")),
    "choco fp16": ("one-peer-hypercube", config_of(compressor="fp16")),
    "choco qsgd of top-k": ("ring", config_of(compressor="top-k:0.5+qsgd:2")),
    "choco whole models": ("ring", config_of(compressor="top-k:0.3", compress_by="model")),
    "choco heavy ball": ("ring", config_of(compressor="top-k:0.3", momentum=0.9)),
    "choco Nesterov": ("sampled", config_of(compressor="sign", momentum=0.9, nesterov=True, consensus_step="0.1")),
    "sparq local steps": ("torus", config_of("sparq-sgd", compressor="top-k:0.3+sign", local_steps=3)),
    "sparq constant": ("ring", config_of("sparq-sgd", compressor="top-k:0.3", trigger="constant:5")),
    "sparq step": (
        "one-peer-hypercube",
        config_of("sparq-sgd", compressor="top-k:0.3+sign", trigger="step:2,4,5,30", local_steps=3),
    ),
    "sparq power": ("star", config_of("sparq-sgd", compressor="qsgd:4", trigger="power:1,0.5", local_steps=3)),
    "sparq on matchings": ("matchings", config_of("sparq-sgd", compressor="rand-k:0.3", trigger="constant:8")),
    "squarm": ("ring", config_of("squarm-sgd", compressor="top-k:0.3+sign", weight_decay=0.01)),
    "squarm constant": (
        "torus",
        config_of("squarm-sgd", compressor="top-k:0.3+sign", trigger="constant:150", local_steps=3, weight_decay=0.01),
    ),
    "squarm step": (
        "sampled",
        config_of("squarm-sgd", compressor="sign", trigger="step:40,30,10", consensus_step="0.1"),
    ),
    "squarm power": ("one-peer-hypercube", config_of("squarm-sgd", compressor="identity", trigger="power:10,0.8")),
}


@cache
def by_name(name: str) -> ByHand:
    """Give one of the cases by hand; not to be changed."""
    place, config = CASES[name]
    return by_hand(SCHEDULES[place], config)


def message_size(trainer: Trainer) -> int:
    """Give the bytes of a packed model."""
    return trainer.algorithm.replicas.codec.size


def check_counts(
    run: ByHand, config: TrainConfig, final: dict[str, Any], size: int, nodes: int, ranks: int = 1
) -> None:
    """Compare what is counted with what was said by hand; a message of a run with a trigger has a byte more."""
    header = config.trigger != "none"
    assert final["messages_per_node"] == run.messages / nodes
    assert final["silent_per_node"] == run.silent / nodes
    assert final["bytes_sent_per_node"] == round((run.messages * (size + header) + run.silent * header) / nodes)
    assert final["bytes_packed_per_node"] == round((run.packed * (size + header) + run.packed_silent * header) / nodes)
    assert final["bytes_on_the_wire"] == run.wire(nodes // ranks, size, header)
