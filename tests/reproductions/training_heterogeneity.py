"""Twelve methods on data sorted by label, 24 nodes: is the published order found again?

The published figures are those of the result files of the B-ary tree push-pull experiments (You and Pu): MNIST, 60,000
training images, a small convolutional network, 13,000 iterations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import TYPE_CHECKING

from scipy.stats import spearmanr
from training_runs import Results, Run, Spread, markdown

from topokit.pictures.style import COLOURS, MUTED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "heterogeneity"


@dataclass(frozen=True)
class Method:
    name: str
    algorithm: str
    topology: str
    published: float | None
    weights: str | None = None
    decays: bool = True


METHODS = (
    Method("OD-EquiDyn, gradient tracking", "gradient-tracking", "od-equidyn", 92.12),
    Method("centralised", "allreduce", "complete", 91.94),
    Method("binary tree, push-pull", "push-pull", "tree-push-pull", 91.92),
    Method("static exponential, D-SGD", "dsgd", "exponential", 90.35),
    Method("ring, gradient tracking", "gradient-tracking", "ring", 89.44),
    Method("one-peer exponential, D-SGD", "dsgd", "one-peer-exponential", 87.82),
    Method("Base-3, D-SGD", "dsgd", "base-3", 87.23),
    Method("CECA-2P", "ceca", "ceca-2p", 86.90),
    Method("binary tree, RelaySGD", "relay-sgd", "tree", 80.80),
    Method("ring, D2, lr not decayed", "exact-diffusion", "ring-at-limit", 76.71, decays=False),
    Method("grid 4 x 6, D-SGD", "dsgd", "grid", 76.37, weights="metropolis-hastings"),
    Method("ring, D-SGD", "dsgd", "ring", 61.29),
    # Not published: D2 as it is run where nothing else is asked for, the ring mixed as (I + W)/2.
    Method("ring, D2 with (I + W)/2", "exact-diffusion", "ring", None),
)


@dataclass(frozen=True)
class Setting:
    nodes: int = 24
    steps: int = 2600
    start: int = 2000
    hidden: int = 32
    lr: float = 0.05
    batch_size: int = 8
    data: str = "mnist"


FULL = Setting()
# A small perceptron is hardly hurt at the published learning rate; one seed shows what becomes of the order there.
PUBLISHED_RATE = Setting(steps=6500, lr=0.01)
SMALL = Setting(nodes=6, steps=26, start=20, hidden=4, data="digits")


def plan(seeds: Sequence[int], setting: Setting = FULL, methods: Sequence[Method] = METHODS) -> list[Run]:
    part = setting.steps // 13
    return [
        Run(
            experiment=EXPERIMENT,
            method=method.name,
            algorithm=method.algorithm,
            topology=method.topology,
            weights=method.weights,
            nodes=setting.nodes,
            steps=setting.steps,
            every=part,
            lr=setting.lr,
            decay=(8 * part, 11 * part) if method.decays else (),
            batch_size=setting.batch_size,
            partition="sorted",
            seed=seed,
            hidden=setting.hidden,
            start=setting.start,
            data=setting.data,
        )
        for seed in seeds
        for method in methods
    ]


@dataclass(frozen=True)
class Line:
    """A method, its accuracy in per cent over the seeds, and the published one."""

    method: Method
    accuracy: Spread
    nodes: Spread
    consensus: Spread


def lines(results: Results, runs: Sequence[Run], methods: Sequence[Method] = METHODS) -> list[Line]:
    """What has been run of each method; methods without a run are left out."""
    found = []
    for method in methods:
        done = results.of(run for run in runs if run.method == method.name)
        if done:
            found.append(
                Line(
                    method,
                    Spread([100 * r.last("accuracy") for r in done]),
                    Spread([100 * r.last("node_accuracy_mean") for r in done]),
                    Spread([r.last("consensus_distance") for r in done]),
                )
            )
    return found


def correlation(found: Sequence[Line]) -> float:
    """Spearman's rank correlation of the accuracies with the published ones, where there are such."""
    pairs = [(line.accuracy.mean, line.method.published) for line in found if line.method.published is not None]
    return float(spearmanr([ours for ours, _ in pairs], [theirs for _, theirs in pairs]).statistic)


def with_damped_d2(found: Sequence[Line]) -> list[Line]:
    """The published methods, with D2 as it runs by default in place of D2 at its limit."""
    [damped] = [line for line in found if line.method.published is None]
    return [
        replace(damped, method=line.method) if line.method.algorithm == "exact-diffusion" else line
        for line in found
        if line.method.published is not None
    ]


def table(found: Sequence[Line]) -> str:
    published = [line for line in found if line.method.published is not None]
    ranked = sorted(published, key=lambda line: -line.accuracy.mean)
    return markdown(
        ["method", "published, %", "here, %", "rank published", "rank here", "seeds", "consensus distance"],
        [
            [
                line.method.name,
                "" if line.method.published is None else f"{line.method.published:.2f}",
                line.accuracy.text(2),
                str(published.index(line) + 1) if line in published else "",
                str(ranked.index(line) + 1) if line in published else "",
                str(len(line.accuracy.values)),
                f"{line.consensus.mean:.2g}",
            ]
            for line in found
        ],
    )


def figure(found: Sequence[Line]) -> Figure:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7, 4))
    axes = drawn.subplots()
    places = range(len(found))
    axes.plot(
        [nan if line.method.published is None else line.method.published for line in found],
        places,
        "o",
        color=MUTED,
        label="published",
    )
    for place, line in zip(places, found, strict=True):
        seeds = line.accuracy.values
        axes.plot(seeds, [place] * len(seeds), "|", color=COLOURS[0], markersize=9)
    axes.plot([line.accuracy.mean for line in found], places, "s", color=COLOURS[0], label="here: mean, and each seed")
    axes.set_yticks(places, [line.method.name for line in found])
    axes.invert_yaxis()
    axes.set(xlabel="test accuracy of the averaged model, %", title="Sorted by label, 24 nodes")
    axes.legend(loc="upper left")
    return drawn
