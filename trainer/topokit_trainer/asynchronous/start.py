"""How an asynchronous run begins: what it can be, and whose folder it is."""

from __future__ import annotations

from pathlib import Path

import torch.distributed as dist

from topokit.errors import InputError, TopokitError
from topokit.kinds import Pairwise
from topokit.schedule import Schedule
from topokit_trainer.asynchronous.marks import Marks
from topokit_trainer.config import TrainConfig
from topokit_trainer.telemetry import RunFolder
from topokit_trainer.world import World

__all__ = ["check", "mean_rate", "neighbours", "open_folder"]

FOUND = "folder"  # key in the store: what rank 0 found in --out
REFUSED, RESUMED, NEW = "refused", "resumed", "new"


def check(schedule: Schedule, config: TrainConfig, world: World) -> Path:
    """Refuse what cannot be run in real time; give the folder of the run.

    Raises
    ------
    InputError
    """
    if world.size != schedule.nodes:
        are = "is 1 process" if world.size == 1 else f"are {world.size} processes"
        raise InputError(
            f"a real clock takes one process for each node: the schedule has {schedule.nodes} nodes, and there {are}; "
            f"start it with --processes {schedule.nodes}, or take --clock simulated"
        )
    if config.backend == "nccl":
        raise InputError("a real clock needs --backend gloo: its ranks average in pairs, each of which may break off")
    if config.out is None:
        raise InputError("a real clock needs --out, a folder that all ranks share")
    return config.out


def neighbours(schedule: Schedule, node: int) -> list[tuple[int, float]]:
    """Give the neighbours of a node, with the rates of their edges.

    Examples
    --------
    >>> from topokit.designer import design
    >>> neighbours(design("pairwise", 4), 0)
    [(1, 0.5), (3, 0.5)]
    """
    rule = schedule.rule
    if not isinstance(rule, Pairwise):
        raise InputError(f"a real clock takes a pairwise schedule; {schedule.name} is a {schedule.kind} schedule")
    edges = zip(rule.edges.tolist(), rule.rates, strict=True)
    return sorted((v if u == node else u, float(rate)) for (u, v), rate in edges if node in (u, v))


def mean_rate(schedule: Schedule) -> float:
    """Give the averagings that an average node is to take part in for each of its gradients.

    Examples
    --------
    >>> from topokit.designer import design
    >>> mean_rate(design("pairwise", 4, rate=2))
    2.0
    """
    return sum(rate for node in range(schedule.nodes) for _, rate in neighbours(schedule, node)) / schedule.nodes


def open_folder(schedule: Schedule, config: TrainConfig, world: World, marks: Marks, engine: str) -> bool:
    """Let rank 0 make the folder ready, once in a run however often ranks are started.

    Returns
    -------
    bool
        Whether a run goes on that is in the folder.

    Raises
    ------
    InputError
        If the folder holds another run, or this rank does not see what rank 0 sees.
    """
    store = world.store
    if store is None:
        raise TopokitError("a real clock needs ranks that a launcher has started")
    try:
        if world.rank == 0 and not store.check([FOUND]):
            store.set(FOUND, _prepare(schedule, config, marks, engine))
        found = store.get(FOUND).decode()
    except (dist.DistError, RuntimeError) as error:
        raise TopokitError(f"rank 0 did not come to the start: {str(error).splitlines()[0]}") from error
    word, _, rest = found.partition(" ")
    if word == REFUSED:
        raise InputError(rest)
    if rest != schedule.content_hash:
        raise InputError(
            f"rank {world.rank} has schedule {schedule.content_hash}, rank 0 has {rest}; give all ranks the same "
            "files, on a folder they share"
        )
    if not (marks.out / "config.json").exists():
        raise InputError(f"rank {world.rank} does not see what rank 0 wrote in --out {marks.out}: share the folder")
    return word == RESUMED


def _prepare(schedule: Schedule, config: TrainConfig, marks: Marks, engine: str) -> str:
    try:
        resumed = marks.begin(config.trajectory() | {"schedule": schedule.content_hash}, config.overwrite)
        RunFolder(marks.out).open(config, schedule, config.steps if resumed else 0, engine)
    except TopokitError as error:
        return f"{REFUSED} {error}"
    return f"{RESUMED if resumed else NEW} {schedule.content_hash}"
