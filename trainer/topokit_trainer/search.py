"""The search for the number of active nodes of TELEPORTATION, in the time of two runs.

Candidates 1, 2, 4, ... train side by side on disjoint nodes, all in one run; then all nodes are active in a second one.
Their numbers add up to at most n, so the first run is no more work than one of plain decentralized SGD. A candidate is
within a factor of two of every number up to half of n, which changes the bound on the error by a constant only.

References
----------
Y. Takezawa, S. U. Stich, Scalable decentralized learning with teleportation, ICLR 2025.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from topokit.designer import design
from topokit.errors import InputError, TopokitError
from topokit.files import write_text
from topokit.registry import TOPOLOGIES
from topokit.schedule import Schedule
from topokit.topologies.teleportation import search_plan
from topokit_trainer.config import TrainConfig
from topokit_trainer.telemetry import Metrics
from topokit_trainer.world import World

__all__ = ["Candidate", "SearchPlan", "SearchResult", "plan_search", "search_active"]


@dataclass(frozen=True)
class Candidate:
    """A number of active nodes, and what came of it.

    Attributes
    ----------
    active : int
        Number of active nodes k.
    loss, accuracy, consensus_distance : float or None
        Of its averaged model on the test set, and of its tokens, at the end; None where not finite.
    """

    active: int
    loss: float | None
    accuracy: float | None
    consensus_distance: float | None


@dataclass(frozen=True)
class SearchPlan:
    """The runs of a search.

    Attributes
    ----------
    nodes : int
    inner : str
        The topology among the active nodes.
    seed : int
    together : Schedule
        All candidates side by side.
    everyone : Schedule or None
        All nodes active; None where the topology does not exist for so many.
    """

    nodes: int
    inner: str
    seed: int
    together: Schedule
    everyone: Schedule | None

    def schedule(self, active: int) -> Schedule:
        """Give the schedule with one number of active nodes."""
        return design("teleportation", self.nodes, active=[active], inner=self.inner, seed=self.seed)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes
    ----------
    candidates : list of Candidate
        In order of k.
    best : Candidate
        The one with the least loss.
    schedule : Schedule
        With that number of active nodes.
    metrics : list of dict
        The evaluations of the run that it came from.
    """

    candidates: list[Candidate]
    best: Candidate
    schedule: Schedule
    metrics: list[Metrics]


def plan_search(schedule: Schedule) -> SearchPlan:
    """Work out the runs of a search from a teleport schedule, or from any named topology that tokens could use.

    Raises
    ------
    InputError
        If the schedule does not say by which topology the active nodes are to mix.

    Examples
    --------
    >>> plan = plan_search(design("ring", 12))
    >>> [team.active for team in plan.together.rule.teams], plan.everyone.rule.active
    ([1, 2, 4], 12)
    """
    name, parameters = schedule.provenance.get("topology"), dict(schedule.provenance.get("parameters") or {})
    usual = TOPOLOGIES[name].parameters if name and name in TOPOLOGIES else {}
    seed = int(schedule.provenance.get("seed") or 0)
    if name == "teleportation":
        name, parameters = parameters.get("inner", usual["inner"]), {}
    if name is None:
        raise InputError(
            f"--search-active needs a schedule that names its topology, and {schedule.name} does not; design one with "
            "--topology teleportation"
        )
    if own := [key for key, value in parameters.items() if value != usual.get(key)]:
        raise InputError(
            f"--search-active cannot give {name} its {' and '.join(own)} for other numbers of nodes; design a "
            "schedule with --topology teleportation --param inner=NAME"
        )
    n, weights = schedule.nodes, schedule.provenance.get("weights")
    if weights is not None and weights != design(name, n).provenance.get("weights"):
        raise InputError(
            f"--search-active takes {name} with its usual weights for other numbers of nodes, and {schedule.name} has "
            f"{weights} weights; design a schedule with --topology teleportation --param inner={name}"
        )
    together = design("teleportation", n, active=list(search_plan(n)), inner=name, seed=seed)
    everyone: Schedule | None
    try:
        everyone = design("teleportation", n, active=[n], inner=name, seed=seed)
    except InputError:
        everyone = None
    return SearchPlan(n, name, seed, together, everyone)


def search_active(
    schedule: Schedule,
    config: TrainConfig,
    world: World | None = None,
    report: Callable[[str], None] | None = None,
    **parts: Any,
) -> SearchResult:
    """Find the number of active nodes; under a launcher every rank calls this with the same arguments.

    Parameters
    ----------
    schedule : Schedule
        See `plan_search`.
    config : TrainConfig
        Of each of the two runs. Their folders ``together`` and ``everyone`` go into ``out``, beside ``search.json``,
        the schedule with the best number, and its averaged model.
    world : World, optional
    report : callable, optional
        Gets lines for people, on rank 0.
    **parts
        As for `topokit_trainer.train`.

    Notes
    -----
    The best candidate is the one whose averaged model has the least loss on the test set; that set is then no longer
    an independent test of the model.
    """
    from topokit_trainer.loop import Trainer

    world, say = world or World(), report or (lambda line: None)
    with world.agreed():
        plan = plan_search(schedule)
        if config.out and (config.out / "metrics.jsonl").exists():
            raise InputError(f"{config.out} holds a run of its own; give the search another --out")
    runs = {"together": plan.together} | ({"everyone": plan.everyone} if plan.everyone else {})
    metrics: dict[str, list[Metrics]] = {}
    for name, part in runs.items():
        if world.rank == 0:
            active = [str(team.active) for team in part.rule.teams]  # type: ignore[attr-defined]
            say(f"{' + '.join(active)} of {plan.nodes} nodes active, mixing by {plan.inner}")
        folder = config.out / name if config.out else None
        settings = replace(config, search_active=False, algorithm="teleportation", out=folder)
        metrics[name] = Trainer(part, settings, world, report=report, **parts).run().metrics
    if plan.everyone is None and world.rank == 0:
        say(f"note: {plan.inner} does not exist for all {plan.nodes} nodes, so that they were not all active at once")
    found = world.first({name: rows[-1] for name, rows in metrics.items() if rows})
    candidates = _candidates(plan, found)
    best = min(candidates, key=lambda c: inf if c.loss is None else c.loss)
    if best.loss is None:
        raise TopokitError("no candidate ended with a finite loss: a lower --lr or --clip may help")
    came_from = "everyone" if best.active == plan.nodes and "everyone" in found else "together"
    result = SearchResult(candidates, best, plan.schedule(best.active), metrics[came_from])
    if config.out and world.rank == 0:
        _write(config.out, plan, result, came_from)
    return result


def _candidates(plan: SearchPlan, found: dict[str, Metrics]) -> list[Candidate]:
    def candidate(active: int, row: Metrics) -> Candidate:
        return Candidate(active, row["loss"], row["accuracy"], row["consensus_distance"])

    teams = found["together"].get("teams") or {"k=1": found["together"]}
    result = [candidate(int(name.removeprefix("k=")), row) for name, row in teams.items()]
    if "everyone" in found and plan.nodes not in {c.active for c in result}:
        result.append(candidate(plan.nodes, found["everyone"]))
    return result


def _write(out: Path, plan: SearchPlan, result: SearchResult, came_from: str) -> None:
    result.schedule.save(out / "schedule.json")
    shutil.copyfile(out / came_from / "averaged-model.pt", out / "averaged-model.pt")
    content = {
        "nodes": plan.nodes,
        "inner": plan.inner,
        "best": result.best.active,
        "candidates": [asdict(candidate) for candidate in result.candidates],
    }
    write_text(out / "search.json", json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
