"""One-peer exponential rounds against the static exponential graph and a ring: accuracy, consensus and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training_runs import Results, Run, Spread, markdown

from topokit.pictures.style import line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "one-peer"
TOPOLOGIES = ("one-peer-exponential", "exponential", "ring")


@dataclass(frozen=True)
class Setting:
    nodes: int = 32
    partitions: tuple[str, ...] = ("iid", "sorted")
    steps: int = 1000
    every: int = 50
    lr: float = 0.1
    hidden: int = 16
    batch_size: int = 8
    data: str = "mnist"


FULL = Setting()
SMALL = Setting(nodes=8, steps=20, every=10, hidden=4, data="digits")


def plan(seeds: Sequence[int], setting: Setting = FULL) -> list[Run]:
    return [
        Run(
            experiment=EXPERIMENT,
            method=topology,
            algorithm="dsgd",
            topology=topology,
            nodes=setting.nodes,
            steps=setting.steps,
            every=setting.every,
            lr=setting.lr,
            batch_size=setting.batch_size,
            partition=partition,
            seed=seed,
            hidden=setting.hidden,
            data=setting.data,
        )
        for seed in seeds
        for partition in setting.partitions
        for topology in TOPOLOGIES
    ]


def table(results: Results, runs: Sequence[Run]) -> str:
    """After all iterations: accuracies in per cent, consensus distance, megabytes that a node has sent."""
    rows = []
    for partition in dict.fromkeys(run.partition for run in runs):
        for topology in TOPOLOGIES:
            done = results.of(run for run in runs if (run.partition, run.method) == (partition, topology))
            if not done:
                continue
            accuracy, nodes, worst = (
                Spread([100 * r.last(column) for r in done]).text(2)
                for column in ("accuracy", "node_accuracy_mean", "node_accuracy_worst")
            )
            consensus = Spread([r.last("consensus_distance") for r in done]).text(3)
            sent = f"{Spread([r.last('bytes_sent_per_node') / 1e6 for r in done]).mean:.1f}"
            rows.append([partition, topology, accuracy, nodes, worst, consensus, sent, str(len(done))])
    head = ["data", "topology", "averaged model, %", "nodes' models, %", "worst node, %", "consensus distance"]
    return markdown([*head, "MB sent by a node", "seeds"], rows)


def figure(results: Results, runs: Sequence[Run]) -> Figure:
    from matplotlib.figure import Figure

    partitions = list(dict.fromkeys(run.partition for run in runs))
    drawn = Figure(figsize=(8.5, 5.5))
    panels = drawn.subplots(2, len(partitions), squeeze=False)
    for across, partition in enumerate(partitions):
        for topology, style in zip(TOPOLOGIES, line_styles(len(TOPOLOGIES)), strict=True):
            done = results.of(run for run in runs if (run.partition, run.method) == (partition, topology))
            if not done:
                continue
            steps = done[0].columns["step"]
            for axes, column, scale in (
                (panels[0, across], "node_accuracy_mean", 100),
                (panels[1, across], "consensus_distance", 1),
            ):
                curves = zip(*(r.columns[column] for r in done), strict=True)
                mean = [Spread([scale * (value or 0.0) for value in values]).mean for values in curves]
                axes.plot(steps[1:], mean[1:], label=topology, **style)
        panels[0, across].set(title=f"{partition} data: accuracy of the nodes' models", ylabel="test accuracy, %")
        panels[1, across].set(title=f"{partition} data: consensus distance", xlabel="iteration", ylim=(0, None))
    panels[0, 0].legend(loc="lower right", fontsize=8)
    return drawn
