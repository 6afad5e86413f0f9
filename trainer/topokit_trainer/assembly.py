"""From settings to nodes that can be trained: data, model, optimizer and gradient engine, put together on this rank."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from topokit.errors import InputError
from topokit.schedule import Schedule
from topokit_trainer.algorithms import Algorithm
from topokit_trainer.config import TrainConfig
from topokit_trainer.data import Data, NodeBatches, given_data, load_data
from topokit_trainer.evaluation import Evaluator
from topokit_trainer.gradients import GradientEngine, choose_engine
from topokit_trainer.models import ModelFactory, model_factory
from topokit_trainer.nodes import Nodes
from topokit_trainer.optimizers import (
    OptimizerFactory,
    SchedulerFactory,
    configured_optimizer,
    configured_scheduler,
    group_names,
    node_optimizer,
)
from topokit_trainer.seeding import keyed_seed
from topokit_trainer.stacks import LossFunction, NodeStacks, model_traits
from topokit_trainer.world import World

__all__ = ["Assembly", "Given", "assemble", "misplaced", "perturb"]


@dataclass(frozen=True)
class Given:
    """What a program gives instead of the configuration's; the attributes are those of `topokit_trainer.Trainer`."""

    data: Data | tuple[Any, Any] | Callable[[], Any] | None = None
    model: ModelFactory | None = None
    optimizer: OptimizerFactory | None = None
    scheduler: SchedulerFactory | None = None
    loss: LossFunction = functional.cross_entropy


@dataclass(frozen=True)
class Assembly:
    """The nodes of this rank, at their common starting point.

    Attributes
    ----------
    data : Data
    nodes : Nodes
    evaluator : Evaluator
    engine_for : callable
        Gives another gradient engine by name, and the reason for it.
    reason : str
        Why the engine in use was chosen.
    notes : tuple of str
        What a user should know of how the model is treated.
    """

    data: Data
    nodes: Nodes
    evaluator: Evaluator
    engine_for: Callable[[str], tuple[GradientEngine, str]]
    reason: str
    notes: tuple[str, ...]


def misplaced(schedule: Schedule, world: World) -> str | None:
    """Say which node runs on another rank than the schedule's placement has it on; None where all are in their places.

    One process that holds all nodes has no places to keep.

    Examples
    --------
    >>> from topokit import design
    >>> from topokit.schedule import Place
    >>> ring = design("ring", 4)
    >>> there = Schedule.of(ring.rule, placement=[Place(node=k, rank=k) for k in range(4)])
    >>> misplaced(there, World(size=4)) is None
    True
    >>> misplaced(there, World(size=2))
    'the schedule places node 1 on rank 1, and it runs on rank 0 of 2: its seconds were predicted for 4 ranks'
    """
    if schedule.placement is None or world.size == 1:
        return None
    wanted = {place.node: place.rank for place in schedule.placement if place.rank is not None}
    for rank in range(world.size):
        for node in world.nodes_of(rank, schedule.nodes):
            if wanted.get(node, rank) != rank:
                return (
                    f"the schedule places node {node} on rank {wanted[node]}, and it runs on rank {rank} of "
                    f"{world.size}: its seconds were predicted for {max(wanted.values()) + 1} ranks"
                )
    return None


def assemble(
    schedule: Schedule,
    config: TrainConfig,
    world: World,
    given: Given,
    algorithm: Algorithm,
    engine: str | None = None,
) -> Assembly:
    """Put together what the nodes of this rank need; waits for no other rank.

    Parameters
    ----------
    schedule, config, world : Schedule, TrainConfig, World
    given : Given
    algorithm : Algorithm
        Says how many rows and copies it needs, and refuses what it cannot work with.
    engine : str, optional
        The gradient engine to use, where a run goes on; default: the configuration's.

    Raises
    ------
    InputError
        When something does not fit together.
    """
    data = load_data(config) if given.data is None else given_data(given.data)
    make_optimizer = given.optimizer or configured_optimizer(config)
    make_scheduler = given.scheduler or configured_scheduler(config)
    local = world.nodes_of(world.rank, schedule.nodes)
    if world.rank == 0 and (doubt := misplaced(schedule, world)) is not None:
        warnings.warn(doubt, RuntimeWarning, stacklevel=2)
    amplification = schedule.provenance.get("search", {}).get("amplification", 1.0)
    if world.rank == 0 and amplification > 1 + 1e-9:
        warnings.warn(
            f"single rounds of this schedule enlarge errors up to {amplification:.3g}-fold, and what gradient steps "
            "add between them, too: it needs a smaller --lr, or nonnegative weights (design --learn --weights fmmc)",
            RuntimeWarning,
            stacklevel=2,
        )
    dtype = getattr(torch, config.dtype)
    batches = NodeBatches(data.train, schedule.nodes, local, config, world.device, dtype)
    rows = algorithm.capacity(schedule, local)
    first_batch = batches.of(local[:rows], [0] * rows)

    make_model = given.model or model_factory(config.model, data.sample_shape, data.classes)
    model = _fresh(make_model, config, world.device, dtype)
    try:
        traits = model_traits(model, first_batch[0][0])
    except (RuntimeError, TypeError, ValueError) as error:
        shape = tuple(first_batch[0].shape[1:])
        raise InputError(f"the model cannot take a batch of shape {shape}: {str(error).splitlines()[0]}") from error
    template = make_optimizer(model)
    groups, copies = group_names(model, template), algorithm.copies(schedule)
    stacks = NodeStacks(model, rows, groups, traits.changing_buffers, copies)
    optimizer = node_optimizer(stacks, make_optimizer, template, make_scheduler)
    algorithm.check(schedule, optimizer)

    def engine_for(name: str) -> tuple[GradientEngine, str]:
        return choose_engine(
            name,
            stacks,
            given.loss,
            traits,
            first_batch,
            seed=config.seed,
            keys=lambda: nodes.keys,
            closures=optimizer.needs_closure,
        )

    chosen, reason = engine_for(engine or config.gradients)
    nodes = Nodes(stacks, chosen, optimizer, batches, schedule, world, config.clip)
    evaluator = Evaluator(stacks, chosen, given.loss, data.test, world, dtype)
    notes = []
    if traits.changing_buffers:
        buffer = traits.changing_buffers[0]
        notes.append(f"each node keeps its own {buffer} (BatchNorm); the averaged model takes the mean")
    return Assembly(data, nodes, evaluator, engine_for, reason, tuple(notes))


def _fresh(make: ModelFactory, config: TrainConfig, device: torch.device, dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed_seed(config.seed, "model"))
        model = make()
    if not isinstance(model, nn.Module):
        raise InputError(f"the model factory gave {type(model).__name__}, not a torch module")
    if not any(p.requires_grad for p in model.parameters()):
        raise InputError("the model has no parameters to train")
    return model.to(device, dtype).train()


def perturb(nodes: Nodes, config: TrainConfig) -> None:
    """Add to each node's starting point the noise that the configuration asks for, drawn by node."""
    if not config.perturb:
        return
    for row, key in enumerate(nodes.keys):
        generator = torch.Generator().manual_seed(keyed_seed(config.seed, "perturb", key))
        for stack in nodes.parameters:
            noise = torch.randn(stack.shape[1], generator=generator, dtype=torch.float64) * config.perturb
            stack[row].add_(noise.to(stack.device, stack.dtype))
