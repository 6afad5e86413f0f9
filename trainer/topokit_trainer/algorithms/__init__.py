"""One file for each algorithm; `make_algorithm` finds it by name, `algorithm_for` the one that a schedule asks for."""

from __future__ import annotations

from collections.abc import Callable

from topokit.schedule import Schedule
from topokit_trainer.algorithms.ad_psgd import AdPsgd
from topokit_trainer.algorithms.allreduce import AllReduce
from topokit_trainer.algorithms.async_gossip import AsyncGossip
from topokit_trainer.algorithms.base import Algorithm
from topokit_trainer.algorithms.ceca import Ceca
from topokit_trainer.algorithms.compressed import CompressedGossip
from topokit_trainer.algorithms.dsgd import dsgd
from topokit_trainer.algorithms.exact_diffusion import ExactDiffusion
from topokit_trainer.algorithms.gradient_tracking import GradientTracking
from topokit_trainer.algorithms.local_sgd import LocalSgd
from topokit_trainer.algorithms.outer_momentum import OuterMomentum
from topokit_trainer.algorithms.power_gossip import PowerGossip
from topokit_trainer.algorithms.push_pull import PushPull
from topokit_trainer.algorithms.push_sum import PushSum
from topokit_trainer.algorithms.relay import Relay
from topokit_trainer.algorithms.teleportation import Teleportation
from topokit_trainer.config import TrainConfig

__all__ = ["Algorithm", "algorithm_for", "make_algorithm"]


def algorithm_for(schedule: Schedule) -> str:
    """Name the algorithm that a schedule asks for by its kind and its sums.

    Examples
    --------
    >>> from topokit.designer import design
    >>> [algorithm_for(design(name, 6)) for name in ("ring", "ceca-2p", "tree-push-pull", "pairwise")]
    ['dsgd', 'ceca', 'push-pull', 'async-gossip']
    """
    if schedule.kind == "pairwise":
        return "async-gossip"
    if schedule.kind == "teleport":
        return "teleportation"
    if schedule.mixing == "push-pull":
        return "push-pull"
    if schedule.copies == 2:
        return "ceca"
    return "push-sum" if schedule.mixing == "column-stochastic" else "dsgd"


def make_algorithm(config: TrainConfig) -> Algorithm:
    """Give the algorithm that the configuration names.

    Examples
    --------
    >>> make_algorithm(TrainConfig(algorithm="dsgd", order="awc", local_steps=4)).local_steps
    4
    """
    steps = config.local_steps
    made: dict[str, Callable[[], Algorithm]] = {
        "allreduce": AllReduce,
        "dsgd": lambda: dsgd(config),
        "gradient-tracking": GradientTracking,
        "exact-diffusion": ExactDiffusion,
        "push-sum": lambda: PushSum(steps),
        "ceca": Ceca,
        "push-pull": PushPull,
        "relay-sgd": lambda: Relay(steps),
        "choco-sgd": lambda: CompressedGossip(config),
        "sparq-sgd": lambda: CompressedGossip(config),
        "squarm-sgd": lambda: CompressedGossip(config),
        "power-gossip": lambda: PowerGossip(steps, config.low_rank, config.power_iterations, config.seed),
        "teleportation": lambda: Teleportation(steps, config.handover),
        "async-gossip": lambda: AsyncGossip(config),
        "ad-psgd": lambda: AdPsgd(config),
        "local-sgd": lambda: LocalSgd(steps),
    }
    algorithm = made[config.algorithm]()
    if config.outer_every == 0:
        return algorithm
    return OuterMomentum(algorithm, config.outer_every, config.outer_momentum, config.outer_lr)
