"""Which runs go by the clock on the wall."""

from __future__ import annotations

import os

from topokit.schedule import Schedule
from topokit_trainer.algorithms import algorithm_for
from topokit_trainer.config import TrainConfig

__all__ = ["on_real_clock"]


def on_real_clock(schedule: Schedule, config: TrainConfig, ranks: int | None = None) -> bool:
    """Say whether a run is one of real time: one node a rank, without rounds.

    Parameters
    ----------
    schedule, config : Schedule, TrainConfig
    ranks : int, optional
        What the environment says if not given.

    Examples
    --------
    >>> from topokit.designer import design
    >>> on_real_clock(design("pairwise", 4), TrainConfig(algorithm="ad-psgd"), ranks=4)
    True
    >>> on_real_clock(design("pairwise", 4), TrainConfig(algorithm="ad-psgd"), ranks=1)
    False
    """
    name = algorithm_for(schedule) if config.algorithm == "auto" else config.algorithm
    size = int(os.environ.get("WORLD_SIZE", "1")) if ranks is None else ranks
    return name in ("async-gossip", "ad-psgd") and (config.clock == "real" or (config.clock == "auto" and size > 1))
