"""One file for each algorithm; `make_algorithm` finds it by name."""

from __future__ import annotations

from topokit_trainer.algorithms.allreduce import AllReduce
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.algorithms.dsgd import AdaptThenCombine, AdaptWithCombine
from topokit_trainer.config import TrainConfig

__all__ = ["AdaptThenCombine", "AdaptWithCombine", "Algorithm", "AllReduce", "make_algorithm"]


def make_algorithm(config: TrainConfig) -> Algorithm:
    """Give the algorithm that the configuration names.

    Examples
    --------
    >>> make_algorithm(TrainConfig(order="awc", local_steps=4)).local_steps
    4
    """
    if config.algorithm == "allreduce":
        return AllReduce()
    return (AdaptThenCombine if config.order == "atc" else AdaptWithCombine)(config.local_steps)
