"""TELEPORTATION against D-SGD as nodes are added, on data dealt by Dirichlet draws, at the best of a few step sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training_runs import Result, Results, Run, Spread, markdown

from topokit.pictures.style import MUTED, line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "teleportation"
TARGET = 0.85


@dataclass(frozen=True)
class Method:
    name: str
    algorithm: str
    topology: str
    active: int = 0
    inner: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        return {"active": [self.active], "inner": self.inner} if self.active else {}


METHODS = (
    Method("ring, D-SGD", "dsgd", "ring"),
    Method("exponential, D-SGD", "dsgd", "exponential"),
    Method("TELEPORTATION, 4 on a ring", "teleportation", "teleportation", 4, "ring"),
    Method("TELEPORTATION, 8 on a ring", "teleportation", "teleportation", 8, "ring"),
    Method("TELEPORTATION, 8 on an exponential graph", "teleportation", "teleportation", 8, "exponential"),
)


@dataclass(frozen=True)
class Setting:
    sizes: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    rates: tuple[float, ...] = (0.3, 0.1, 0.03)
    steps: int = 500
    every: int = 20
    hidden: int = 16
    batch_size: int = 8
    test_every: int = 4
    data: str = "mnist"


FULL = Setting()
SMALL = Setting(sizes=(8, 9), rates=(0.3, 0.1), steps=20, every=10, hidden=4, data="digits")


def plan(seeds: Sequence[int], setting: Setting = FULL, methods: Sequence[Method] = METHODS) -> list[Run]:
    return [
        Run(
            experiment=EXPERIMENT,
            method=method.name,
            algorithm=method.algorithm,
            topology=method.topology,
            parameters=method.parameters,
            nodes=nodes,
            steps=setting.steps,
            every=setting.every,
            lr=lr,
            batch_size=setting.batch_size,
            partition="dirichlet",
            seed=seed,
            hidden=setting.hidden,
            test_every=setting.test_every,
            data=setting.data,
        )
        for seed in seeds
        for nodes in setting.sizes
        for method in methods
        for lr in setting.rates
    ]


@dataclass(frozen=True)
class Cell:
    """One method at one number of nodes.

    `steps` counts iterations until the models of the nodes (the tokens) have the target accuracy on average, at the
    step size where that is soonest; a seed that does not get there counts as all its iterations, and `missed` counts
    such seeds. The accuracies are those after all iterations, at the step size that is best for each.
    """

    steps: Spread
    missed: int
    steps_rate: float
    nodes: Spread
    nodes_rate: float
    averaged: Spread
    averaged_rate: float


def cell(results: Results, runs: Sequence[Run], target: float = TARGET) -> Cell | None:
    """Sum up the runs of one method at one number of nodes; None where there are none yet."""
    by_rate: dict[float, list[Result]] = {}
    for done in results.of(runs):
        by_rate.setdefault(done.run["lr"], []).append(done)
    if not by_rate:
        return None

    def steps(done: Sequence[Result]) -> tuple[Spread, int]:
        first = [r.first_step("node_accuracy_mean", lambda value: value >= target) for r in done]
        return Spread([min(f, r.run["steps"]) for f, r in zip(first, done, strict=True)]), first.count(float("inf"))

    def final(done: Sequence[Result], column: str) -> Spread:
        return Spread([100 * r.last(column) for r in done])

    soonest = min(by_rate, key=lambda rate: (steps(by_rate[rate])[0].mean, steps(by_rate[rate])[1]))
    nodes = max(by_rate, key=lambda rate: final(by_rate[rate], "node_accuracy_mean").mean)
    averaged = max(by_rate, key=lambda rate: final(by_rate[rate], "accuracy").mean)
    return Cell(
        *steps(by_rate[soonest]),
        soonest,
        final(by_rate[nodes], "node_accuracy_mean"),
        nodes,
        final(by_rate[averaged], "accuracy"),
        averaged,
    )


def cells(results: Results, runs: Sequence[Run], methods: Sequence[Method] = METHODS) -> dict[tuple[str, int], Cell]:
    """All that has been run, by method and number of nodes."""
    found = {}
    for method in methods:
        for nodes in sorted({run.nodes for run in runs}):
            summed = cell(results, [run for run in runs if run.method == method.name and run.nodes == nodes])
            if summed is not None:
                found[method.name, nodes] = summed
    return found


def tables(found: dict[tuple[str, int], Cell], steps: int = FULL.steps) -> dict[str, str]:
    """Iterations to the target, and accuracies of the nodes' models and of their mean."""
    sizes = sorted({nodes for _, nodes in found})
    names = list(dict.fromkeys(name for name, _ in found))

    def told(one: Cell) -> str:
        if one.missed == len(one.steps.values):
            return f"not in {steps}"
        few = f", {one.missed} not in {steps}" if one.missed else ""
        return f"{one.steps.text(0)}{few} ({one.steps_rate:g})"

    def laid_out(text: Callable[[Cell], str]) -> str:
        rows = [[name, *(text(found[name, n]) if (name, n) in found else "" for n in sizes)] for name in names]
        return markdown(["method", *(f"n = {n}" for n in sizes)], rows)

    return {
        "teleportation-steps": laid_out(told),
        "teleportation-nodes": laid_out(lambda one: f"{one.nodes.text(1)} ({one.nodes_rate:g})"),
        "teleportation-averaged": laid_out(lambda one: f"{one.averaged.text(1)} ({one.averaged_rate:g})"),
    }


def figure(found: dict[tuple[str, int], Cell], steps: int = FULL.steps) -> Figure:
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for name, _ in found))
    drawn = Figure(figsize=(9.5, 4))
    left, right = drawn.subplots(1, 2)
    for name, style in zip(names, line_styles(len(names)), strict=True):
        mine = {nodes: one for (of, nodes), one in found.items() if of == name}
        for axes, spreads in (
            (left, [one.steps for one in mine.values()]),
            (right, [one.nodes for one in mine.values()]),
        ):
            deviations = [spread.deviation for spread in spreads]
            axes.errorbar(list(mine), [spread.mean for spread in spreads], deviations, label=name, capsize=2, **style)
    left.axhline(steps, color=MUTED, linewidth=1, linestyle=":")
    left.set(title=f"Iterations to {100 * TARGET:.0f} % (dotted: not reached)", ylabel="iterations")
    right.set(title=f"Accuracy of the nodes' models after {steps} iterations", ylabel="test accuracy, %")
    sizes = sorted({nodes for _, nodes in found})
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.set_xlabel("nodes")
    right.legend(loc="lower left", fontsize=8)
    return drawn
