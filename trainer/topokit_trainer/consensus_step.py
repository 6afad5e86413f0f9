"""The consensus step size gamma of compressed gossip: from theory, or by a short run of gossip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

import numpy as np
import torch
from torch import Tensor

from topokit.errors import InputError
from topokit.matrix import MixingMatrix
from topokit.schedule import Schedule
from topokit.spectral import slem
from topokit_trainer.channels import ChannelPlans, Channels
from topokit_trainer.compression import Codec, CompressorFactory
from topokit_trainer.compression.codec import Key, Piece
from topokit_trainer.exchange import Exchange
from topokit_trainer.replicas import Replicas
from topokit_trainer.seeding import keyed_generator
from topokit_trainer.world import World

__all__ = ["STEPS", "squarm_step", "theoretical_step", "tuned_step"]

STEPS = tuple(float(f"{step:.3g}") for step in np.logspace(-3, 0, 19))
COARSE = 3  # every third of them is tried first, then those around the best
ROUNDS = (60, 400)  # of a trial, at least and at most
PATIENCE = 4  # times 1 / omega rounds are what a trial takes, within these
ALIKE = 0.7  # ratios of what is said above this are taken for chance
SAMPLE = 32  # vectors as large as the model, at most, of which it is looked at how much of them is said
TENSORS = 3  # of the model that take part in a trial run
NUMBERS = 1 << 16  # in a trial run, of all nodes
AGREED = 1e-5  # of the distance at the start: as close as rounding lets vectors come
WORSE = 10.0  # times the distance at the start: such a trial is given up


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
        If it has an eigenvalue of -1, or 1 more than once: the proof has no step size for such.

    Examples
    --------
    >>> from topokit.designer import design
    >>> round(theoretical_step(design("ring", 8).round(0), 0.1), 6)
    0.000899
    """
    least = float(np.linalg.eigvalsh(matrix.to_dense())[0])
    if (gap := 1 - slem(matrix)) < 1e-12:
        why = "has the eigenvalue -1; take tuned or a number" if least < 1e-12 - 1 else "leaves nodes unconnected"
        raise InputError(f"--consensus-step theory needs a spectral gap, and this mixing matrix {why}")
    return squarm_step(gap, 1 - least, omega)


def tuned_step(schedule: Schedule, channels: Channels, codec: Codec, make: CompressorFactory, seed: int) -> float:
    """Find the step size with which gossip alone brings random vectors closest together.

    The vectors have the form of the largest tensors of the model, made smaller. Where a compressor says less of the
    large ones at a time (low rank), the step size is smaller in proportion, as in theory. What a compressor leaves out
    it has said after some 1 / omega rounds, and only then do steps that are too large show: trials take several times
    as long.

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

    Returns
    -------
    float
        One of `STEPS`, or less.
    """
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # vectors are short: several threads would mostly wait for one another
        trial = _Trial(schedule, channels, codec, make, seed)
        coarse = trial.best_of(range(0, len(STEPS), COARSE))
        return STEPS[trial.best_of(range(coarse - COARSE + 1, coarse + COARSE))] * trial.scale
    finally:
        torch.set_num_threads(threads)


class _Trial:
    """Gossip of the same random vectors with one step size after the other.

    Attributes
    ----------
    rounds : int
        How many it takes.
    scale : float
        What the best of `STEPS` is to be multiplied with: less than 1 where the compressor says less of large tensors
        than of those in the trial, or too little for a trial.
    left : dict of int to float
        What the step sizes tried so far, by number, have left of the distance from the mean.
    """

    def __init__(
        self, schedule: Schedule, channels: Channels, codec: Codec, make: CompressorFactory, seed: int
    ) -> None:
        shapes = sorted((segment.shape for segment in codec.segments), key=torch.Size.numel)[-TENSORS:]
        pieces = _smaller(shapes, max(NUMBERS // (schedule.nodes * channels.count), 64 * TENSORS))
        self.codec = Codec(pieces, make, seed)
        generator = keyed_generator(seed, "consensus step")
        numbers = generator.standard_normal((schedule.nodes, pieces[-1].columns.stop), dtype=np.float32)
        self.start = torch.from_numpy(numbers)
        said = _shares_said(self.codec, self.start)
        large = Codec(_smaller(shapes, sum(map(torch.Size.numel, shapes))), make, seed)
        columns = large.segments[-1].columns.stop
        rows = generator.standard_normal((max(1, min(SAMPLE, NUMBERS // columns)), columns), dtype=np.float32)
        scale = min(
            said_of_large / said_of_small if 0 < said_of_large < ALIKE * said_of_small else 1.0
            for said_of_small, said_of_large in zip(said, _shares_said(large, torch.from_numpy(rows)), strict=True)
        )
        wanted = PATIENCE / max(min(said), 1e-6)
        self.rounds = int(np.clip(wanted, *ROUNDS))
        self.scale = scale * min(1.0, ROUNDS[1] / wanted)  # what a trial is too short to show
        self.plans = ChannelPlans(channels, schedule, World(), kept=self.rounds)
        self.left: dict[int, float] = {}

    def best_of(self, numbers: Iterable[int]) -> int:
        """Try steps that have not been tried yet; give the number of the best so far, the smaller of equals."""
        for number in set(numbers) & set(range(len(STEPS))) - self.left.keys():
            self.left[number] = self._distance_left(STEPS[number])
        return min(self.left, key=lambda number: (self.left[number], number))

    def _distance_left(self, gamma: float) -> float:
        replicas = Replicas(self.plans, self.codec, Exchange(World()), [torch.zeros(self.start.shape[1])], False)
        x, before, last = self.start.clone(), _distance(self.start), inf
        for t in range(1, self.rounds + 1):
            replicas.update([x], t - 1)
            x.add_(replicas.change(t - 1)[0], alpha=gamma)
            if t % (self.rounds // 6) == 0:
                left = _distance(x) / before
                # Of vectors that agree there is only rounding left, which goes up and down.
                if not (left < last or left < AGREED or t <= self.rounds // 2) or not left < WORSE:
                    return inf
                last = left
        return last


def _shares_said(codec: Codec, rows: Tensor) -> list[float]:
    """Give for each segment the share of the squares of some rows that its compressor says at once."""
    said = torch.zeros_like(rows)
    keys: list[Key] = [(row, 0, 0) for row in range(len(rows))]
    codec.add_([said], None, codec.encode([rows], keys), keys)
    shares = []
    for segment in codec.segments:
        part, rest = rows[:, segment.columns], (rows - said)[:, segment.columns]
        shares.append(float(1 - rest.square().sum() / part.square().sum()))
    return shares


def _distance(x: Tensor) -> float:
    return float((x - x.mean(0)).norm())


def _smaller(shapes: Sequence[torch.Size], room: int) -> list[Piece]:
    """Shrink the largest tensors, each side alike, until all have room together; put them side by side in one stack."""
    flat = [shape if len(shape) < 2 else torch.Size((shape[0], shape[1:].numel())) for shape in shapes]
    rooms, left = [0] * len(flat), room
    for done, number in enumerate(sorted(range(len(flat)), key=lambda number: flat[number].numel())):
        rooms[number] = min(flat[number].numel(), left // (len(flat) - done))
        left -= rooms[number]
    pieces, start = [], 0
    for shape, numbers in zip(flat, rooms, strict=True):
        factor = (numbers / shape.numel()) ** (1 / max(len(shape), 1))
        fewer = torch.Size(max(round(side * factor), min(side, 4)) for side in shape)
        pieces.append(Piece(0, slice(start, start + fewer.numel()), fewer, torch.float32))
        start += fewer.numel()
    return pieces
