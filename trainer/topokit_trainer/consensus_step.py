"""The consensus step size gamma of compressed gossip: from theory, or by a short run of gossip."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit.spectral import slem
from topokit_trainer.channels import ChannelPlans, Channels
from topokit_trainer.compression import Codec, CompressorFactory
from topokit_trainer.compression.codec import Piece
from topokit_trainer.exchange import Exchange
from topokit_trainer.replicas import Replicas
from topokit_trainer.seeding import keyed_generator
from topokit_trainer.world import World

__all__ = ["STEPS", "squarm_step", "theoretical_step", "tuned_step"]

STEPS = tuple(float(f"{step:.3g}") for step in np.logspace(-3, 0, 19))
COARSE = 3  # every third of them is tried first, then those around the best
ROUNDS = 60
TENSORS = 3  # of the model that take part in a trial run
NUMBERS = 1 << 16  # in a trial run, of all nodes
WORSE = 100.0  # times the distance at the start: such a run is given up


def squarm_step(gap: float, beta: float, omega: float) -> float:
    """Give the consensus step size with which SQuARM-SGD is proved to converge.

    Parameters
    ----------
    gap : float
        Spectral gap of the mixing matrix, 1 - |lambda_2|.
    beta : float
        Its distance from the identity, ||I - W||_2.
    omega : float
        Contraction of the compressor.

    References
    ----------
    N. Singh et al., SQuARM-SGD, IEEE JSAIT 2021.

    Examples
    --------
    >>> round(squarm_step(0.195262, 4 / 3, 0.1), 6)
    0.000899
    """
    below = 64 * gap + gap**2 + 16 * beta**2 + 8 * gap * beta**2 - 16 * gap * omega
    return 2 * gap * omega / below


def theoretical_step(matrix: MixingMatrix, omega: float) -> float:
    """Give `squarm_step` for a symmetric mixing matrix.

    Raises
    ------
    InputError
        If it has an eigenvalue of -1: the proof has no step size for such.

    Examples
    --------
    >>> from topokit.designer import design
    >>> round(theoretical_step(design("ring", 8).round(0), 0.1), 6)
    0.000899
    """
    least = float(np.linalg.eigvalsh(matrix.to_dense())[0])
    if (gap := 1 - slem(matrix)) < 1e-12:
        raise InputError(
            f"--consensus-step theory needs a spectral gap, and this mixing matrix has the eigenvalue {least:.0f}; "
            "take tuned or a number"
        )
    return squarm_step(gap, 1 - least, omega)


def tuned_step(schedule: Schedule, channels: Channels, codec: Codec, make: CompressorFactory, seed: int) -> float:
    """Find the step size of `STEPS` with which gossip alone brings random vectors closest together.

    The vectors have the form of the largest tensors of the model, made smaller: compressors behave alike there.

    Parameters
    ----------
    schedule : Schedule
    channels : Channels
        Its channels.
    codec : Codec
        What the run packs models with.
    make : callable
        Makes compressors.
    seed : int
    """
    largest = sorted((segment.shape for segment in codec.segments), key=torch.Size.numel)[-TENSORS:]
    pieces = _smaller(largest, max(NUMBERS // (schedule.nodes * channels.count), 64 * TENSORS))
    plans = ChannelPlans(channels, schedule, World())
    small = Codec(pieces, make, seed)
    columns = pieces[-1].columns.stop
    generator = keyed_generator(seed, "consensus step")
    start = torch.from_numpy(generator.standard_normal((schedule.nodes, columns), dtype=np.float32))
    left: dict[int, float] = {}
    threads = torch.get_num_threads()

    def best_of(numbers: Iterable[int]) -> int:
        for number in set(numbers) & set(range(len(STEPS))) - left.keys():
            replicas = Replicas(plans, small, Exchange(World()), [torch.zeros(columns)], triggered=False)
            left[number] = _distance_left(start, replicas, STEPS[number])
        return min(left, key=lambda number: (left[number], number))

    try:
        torch.set_num_threads(1)  # vectors are short: several threads would mostly wait for one another
        coarse = best_of(range(0, len(STEPS), COARSE))
        return STEPS[best_of(range(coarse - COARSE + 1, coarse + COARSE))]
    finally:
        torch.set_num_threads(threads)


def _distance_left(start: Tensor, replicas: Replicas, gamma: float) -> float:
    """Gossip; give what is left of the distance from the mean."""
    x = start.clone()
    before = _distance(x)
    for t in range(ROUNDS):
        replicas.update([x], t)
        x.add_(replicas.change(t)[0], alpha=gamma)
        if t % 10 == 9 and not _distance(x) < WORSE * before:
            return float("inf")
    left = _distance(x)
    return left if isfinite(left) else float("inf")


def _distance(x: Tensor) -> float:
    return float((x - x.mean(0)).norm())


def _smaller(shapes: list[torch.Size], room: int) -> list[Piece]:
    """Shrink tensors, each side alike, until they have room together; put them side by side in one stack."""
    shapes = [shape if len(shape) < 2 else torch.Size((shape[0], shape[1:].numel())) for shape in shapes]
    factor = min(1.0, room / sum(shape.numel() for shape in shapes))
    pieces, start = [], 0
    for shape in shapes:
        fewer = torch.Size(max(round(side * factor ** (1 / len(shape))), min(side, 4)) for side in shape)
        pieces.append(Piece(0, slice(start, start + fewer.numel()), fewer, torch.float32))
        start += fewer.numel()
    return pieces
