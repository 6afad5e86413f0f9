"""Stragglers on purpose: a gradient that takes longer than it needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Literal

import torch

from topokit.errors import InputError
from topokit_trainer.asynchronous.events import speeds_of
from topokit_trainer.config import TrainConfig
from topokit_trainer.world import World

__all__ = ["Pace", "pace_of", "synchronous_pace"]

SIDE = 96  # of the matrices that burning multiplies: some ten microseconds a product, in one thread


class Pace:
    """A context around a gradient, which then takes 1 / speed times as long.

    Parameters
    ----------
    speed : float
        At most 1, which changes nothing.
    by : {"sleep", "burn"}
        How the time is lost: asleep, as one who waits for data, or with computing, as one whose processor is busy
        with other things.

    Raises
    ------
    InputError
        If the speed is above 1: nothing makes a gradient faster than it is.

    Examples
    --------
    >>> before = time.perf_counter()
    >>> with Pace(0.25, "sleep"):
    ...     time.sleep(0.01)
    >>> time.perf_counter() - before >= 0.04
    True
    """

    def __init__(self, speed: float = 1.0, by: Literal["sleep", "burn"] = "sleep") -> None:
        if speed > 1:
            raise InputError(
                f"--speeds has a node of speed {speed:g}; between ranks nodes can be slowed down only, to speeds of at "
                "most 1"
            )
        self.speed, self.by = speed, by
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.speed == 1 or error is not None:
            return
        until = self._started + (time.perf_counter() - self._started) / self.speed
        if self.by == "sleep":
            time.sleep(max(0.0, until - time.perf_counter()))
        else:
            _burn(until)


def _burn(until: float) -> None:
    """Compute until a time; in products of matrices, during which other threads of the process can run."""
    matrix = torch.zeros(SIDE, SIDE)
    product = torch.empty_like(matrix)
    while time.perf_counter() < until:
        torch.mm(matrix, matrix, out=product)


def pace_of(text: str, by: Literal["sleep", "burn"], nodes: int, local: Sequence[int]) -> Pace:
    """Give the pace of a rank: that of its node, or what its nodes would take one after the other.

    Raises
    ------
    InputError
        If a speed is above 1, or given to a node that there is not.

    Examples
    --------
    >>> pace_of("1,0:0.25", "sleep", nodes=4, local=[0, 1]).speed
    0.4
    """
    speeds = speeds_of(text, nodes).tolist()
    for speed in speeds:
        Pace(speed, by)  # all ranks refuse what one would
    return Pace(len(local) / sum(1 / speeds[node] for node in local), by) if local else Pace(1.0, by)


def synchronous_pace(config: TrainConfig, nodes: int, world: World) -> Pace:
    """Give the pace of this rank's gradients in a run in rounds.

    Raises
    ------
    InputError
        If there is only one process, where all nodes take their steps together; or as `pace_of`.
    """
    pace = pace_of(config.speeds, config.slow_by, nodes, world.nodes_of(world.rank, nodes))
    if world.size == 1 and min(speeds_of(config.speeds, nodes)) < 1:
        raise InputError(
            f"--speeds means nothing to {config.algorithm} in one process, whose nodes take their steps together; "
            "start several (--processes), or take async-gossip or ad-psgd"
        )
    return pace
