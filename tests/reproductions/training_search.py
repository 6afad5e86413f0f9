"""The number of active nodes that one parallel search finds, against all numbers tried one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from training_runs import Results, Run, Spread, markdown

from topokit.pictures.style import COLOURS
from topokit.topologies.teleportation import search_plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "search"


@dataclass(frozen=True)
class Setting:
    nodes: int = 32
    steps: int = 500
    every: int = 100
    lr: float = 0.1
    hidden: int = 16
    batch_size: int = 8
    data: str = "mnist"


FULL = Setting()
SMALL = Setting(nodes=8, steps=20, every=10, hidden=4, data="digits")


def plan(seeds: Sequence[int], setting: Setting = FULL) -> list[Run]:
    """Each seed's search (candidates side by side; k = n is a run of its own, also of the sweep), then the sweep."""
    teams = [list(search_plan(setting.nodes)), *([k] for k in range(1, setting.nodes + 1))]
    return [
        Run(
            experiment=EXPERIMENT,
            method="search" if len(team) > 1 else f"k={team[0]}",
            algorithm="teleportation",
            topology="teleportation",
            parameters={"active": team, "inner": "ring"},
            nodes=setting.nodes,
            steps=setting.steps,
            every=setting.every,
            lr=setting.lr,
            batch_size=setting.batch_size,
            partition="dirichlet",
            seed=seed,
            hidden=setting.hidden,
            data=setting.data,
        )
        for seed in seeds
        for team in teams
    ]


@dataclass(frozen=True)
class Losses:
    """Final losses of the averaged models by number of active nodes: in the search, and one by one."""

    searched: dict[int, float]
    swept: dict[int, float]

    @property
    def found(self) -> int:
        return min(self.searched, key=lambda k: self.searched[k])

    @property
    def best(self) -> int:
        return min(self.swept, key=lambda k: self.swept[k])

    @property
    def factor(self) -> float:
        return max(self.found / self.best, self.best / self.found)


def losses(results: Results, runs: Sequence[Run]) -> dict[int, Losses]:
    """By seed, for the seeds whose search and sweep are complete."""
    found = {}
    for seed in dict.fromkeys(run.seed for run in runs):
        mine = [run for run in runs if run.seed == seed]
        done = results.of(mine)
        if len(done) < len(mine):
            continue
        swept, searched = {}, {}
        for result in done:
            if result.teams:
                for team, columns in result.teams.items():
                    last = columns["loss"][-1]
                    searched[int(team.removeprefix("k="))] = inf if last is None else last
            else:
                swept[result.run["parameters"]["active"][0]] = result.last("loss")
        # The search is two runs: the candidates side by side, then k = n, which the sweep does as well.
        nodes = mine[0].nodes
        found[seed] = Losses(searched | {nodes: swept[nodes]}, swept)
    return found


def mean_losses(found: Sequence[Losses]) -> Losses:
    """The means over the seeds."""

    def mean(parts: Sequence[dict[int, float]]) -> dict[int, float]:
        return {k: Spread([part[k] for part in parts]).mean for k in sorted(parts[0])}

    return Losses(mean([one.searched for one in found]), mean([one.swept for one in found]))


def table(found: dict[int, Losses]) -> str:
    named = {f"seed {seed}": one for seed, one in found.items()}
    if len(found) > 1:
        named["mean of the seeds"] = mean_losses(list(found.values()))
    return markdown(
        ["", "k found", "its loss in the search", "its loss alone", "best k alone", "its loss", "factor"],
        [
            [
                name,
                str(one.found),
                f"{one.searched[one.found]:.4f}",
                f"{one.swept[one.found]:.4f}",
                str(one.best),
                f"{one.swept[one.best]:.4f}",
                f"{one.factor:.2f}",
            ]
            for name, one in named.items()
        ],
    )


def figure(found: dict[int, Losses]) -> Figure:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 4.5))
    axes = drawn.subplots()
    mean = mean_losses(list(found.values()))
    for one in found.values():
        axes.plot(list(one.swept), list(one.swept.values()), ".", color=COLOURS[0], alpha=0.4)
        axes.plot(list(one.searched), list(one.searched.values()), "s", color=COLOURS[1], alpha=0.4)
    axes.plot(list(mean.swept), list(mean.swept.values()), color=COLOURS[0], label="every k by itself")
    axes.plot(list(mean.searched), list(mean.searched.values()), color=COLOURS[1], label="candidates of the search")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set(title="Test loss by the number of active nodes", xlabel="active nodes k", ylabel="loss")
    ticks = sorted(mean.searched)
    axes.set_xticks(ticks, [str(k) for k in ticks])
    axes.legend()
    return drawn
