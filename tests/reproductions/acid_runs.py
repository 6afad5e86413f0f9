"""A²CiD² against plain asynchronous gossip on rings, and on complete graphs, where it is to make no difference.

The paper's headline is that on a ring A²CiD² is worth twice the communication: with one averaging for each gradient it
is to reach the consensus and the accuracy of plain gossip with two. The paper trains with momentum 0.9; plain SGD is
tried besides, because what drives the nodes apart is different then: noise that each gradient draws anew, not a force
that lasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

from training_runs import Result, Results, Run, Spread, markdown

from topokit.pictures.style import line_styles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXPERIMENT = "acid"
FIGURES = ("consensus_distance", "accuracy", "node_accuracy_mean")


@dataclass(frozen=True)
class Method:
    """Gossip at a rate of averagings for each gradient, accelerated or not."""

    name: str
    rate: int
    acid: bool


ACID = Method("A²CiD², 1 averaging", 1, acid=True)
PLAIN = Method("gossip, 1 averaging", 1, acid=False)
TWICE = Method("gossip, 2 averagings", 2, acid=False)
METHODS = {"ring": (PLAIN, ACID, TWICE), "complete": (PLAIN, ACID)}


@dataclass(frozen=True)
class Setting:
    """What all runs have in common."""

    sizes: tuple[int, ...] = (16, 32, 64)
    deals: tuple[tuple[float, float, str], ...] = (  # momentum, learning rate, how data is dealt
        (0.9, 0.02, "iid"),
        (0.9, 0.02, "dirichlet"),
        (0.0, 0.1, "iid"),
    )
    steps: int = 400
    every: int = 20
    hidden: int = 32
    batch_size: int = 8
    data: str = "mnist"


FULL = Setting()
SMALL = Setting(sizes=(4,), deals=FULL.deals[::2], steps=12, every=4, hidden=4, data="digits")


def plan(seeds: Sequence[int], setting: Setting = FULL) -> list[Run]:
    return [
        Run(
            experiment=EXPERIMENT,
            method=method.name,
            algorithm="async-gossip",
            topology="pairwise",
            parameters={"graph": graph, "rate": method.rate},
            nodes=nodes,
            steps=setting.steps,
            every=setting.every,
            lr=lr,
            batch_size=setting.batch_size,
            partition=deal,
            seed=seed,
            hidden=setting.hidden,
            data=setting.data,
            options=_options(method, momentum),
        )
        for seed in seeds
        for momentum, lr, deal in setting.deals
        for graph, methods in METHODS.items()
        for nodes in setting.sizes
        for method in methods
    ]


def _options(method: Method, momentum: float) -> dict[str, Any]:
    return {"lr_schedule": "cosine", "momentum": momentum} | ({"acid": True} if method.acid else {})


@dataclass(frozen=True)
class Line:
    """One method on one graph: figures over the seeds.

    `consensus` is the mean over the second half of the run: a single moment is too noisy to compare.
    """

    graph: str
    nodes: int
    deal: str
    momentum: float
    method: str
    consensus: Spread
    accuracy: Spread
    models: Spread
    averagings: Spread


def lines(results: Results, runs: Sequence[Run]) -> list[Line]:
    """What has been run, method by method."""
    found: dict[tuple[str, int, str, float, str], list[Result]] = {}
    for run in runs:
        key = run.parameters["graph"], run.nodes, run.partition, run.options["momentum"], run.method
        for result in results.of([run]):
            found.setdefault(key, []).append(result)
    return [
        Line(
            *key,
            Spread([settled(r) for r in done]),
            Spread([100 * r.last("accuracy") for r in done]),
            Spread([100 * r.last("node_accuracy_mean") for r in done]),
            Spread([r.last("averagings_per_gradient") for r in done]),
        )
        for key, done in found.items()
    ]


def settled(result: Result) -> float:
    """Root mean square of the consensus distances in the second half of a run."""
    values = [value or 0.0 for value in result.columns["consensus_distance"]]
    half = values[len(values) // 2 :]
    return sqrt(sum(value**2 for value in half) / len(half))


def main_table(found: Sequence[Line]) -> str:
    rows = [
        [
            line.deal,
            f"{line.momentum:g}",
            line.graph,
            str(line.nodes),
            line.method,
            line.averagings.text(3),
            line.consensus.text(4),
            line.accuracy.text(2),
            line.models.text(2),
            str(len(line.accuracy.values)),
        ]
        for line in found
    ]
    head = [
        "data",
        "momentum",
        "graph",
        "n",
        "method",
        "averagings a gradient",
        "consensus distance",
        "averaged model, %",
    ]
    return markdown([*head, "nodes' models, %", "seeds"], rows)


@dataclass(frozen=True)
class Claim:
    """What is claimed of A²CiD² on one graph, and what came out.

    `ratio` is its consensus distance over that of the baseline; `behind` what it loses in accuracy (points, nodes'
    models), and `error` the standard error of that loss over the seeds.
    """

    graph: str
    nodes: int
    deal: str
    momentum: float
    ratio: float
    behind: float
    error: float

    @property
    def consensus_met(self) -> bool:
        return self.ratio <= 1.1

    @property
    def accuracy_met(self) -> bool:
        return self.behind <= self.error


def claims(found: Sequence[Line]) -> list[Claim]:
    """A²CiD² with one averaging against gossip with two on rings, and with one on complete graphs."""
    by = {(line.graph, line.nodes, line.deal, line.momentum, line.method): line for line in found}
    made = []
    for (*where, method), line in by.items():
        rival = by.get((*where, (TWICE if line.graph == "ring" else PLAIN).name))
        if method != ACID.name or rival is None:
            continue
        losses = Spread([a - b for a, b in zip(rival.models.values, line.models.values, strict=True)])
        error = losses.deviation / sqrt(len(losses.values))
        made.append(Claim(*where, line.consensus.mean / rival.consensus.mean, losses.mean, error))
    return made


def claims_table(made: Sequence[Claim]) -> str:
    rows = []
    for claim in made:
        rival = TWICE if claim.graph == "ring" else PLAIN
        rows.append(
            [
                claim.deal,
                f"{claim.momentum:g}",
                claim.graph,
                str(claim.nodes),
                rival.name,
                f"{claim.ratio:.3f}",
                "met" if claim.consensus_met else "**not met**",
                f"{-claim.behind:+.2f} ± {claim.error:.2f}",
                "met" if claim.accuracy_met else "**not met**",
            ]
        )
    head = [
        "data",
        "momentum",
        "graph",
        "n",
        "A²CiD², 1 averaging, against",
        "consensus distance, ratio",
        "at most 1.1",
    ]
    return markdown([*head, "nodes' models, points (± standard error)", "not worse by more than that error"], rows)


def figure(results: Results, runs: Sequence[Run]) -> Figure:
    """Consensus distance and accuracy of the largest ring over time, with momentum."""
    from matplotlib.figure import Figure

    deals = list(dict.fromkeys(run.partition for run in runs))
    largest, momentum = max(run.nodes for run in runs), max(run.options["momentum"] for run in runs)
    drawn = Figure(figsize=(8.5, 5.5))
    panels = drawn.subplots(2, len(deals), squeeze=False)
    for across, deal in enumerate(deals):
        for method, style in zip(METHODS["ring"], line_styles(len(METHODS["ring"])), strict=True):
            done = results.of(
                run
                for run in runs
                if (run.partition, run.nodes, run.method) == (deal, largest, method.name)
                and (run.parameters["graph"], run.options["momentum"]) == ("ring", momentum)
            )
            if not done:
                continue
            steps = done[0].columns["step"]
            for axes, column, scale in (
                (panels[0, across], "consensus_distance", 1),
                (panels[1, across], "node_accuracy_mean", 100),
            ):
                curves = zip(*(r.columns[column] for r in done), strict=True)
                mean = [Spread([scale * (value or 0.0) for value in values]).mean for values in curves]
                axes.plot(steps[1:], mean[1:], label=method.name, **style)
        panels[0, across].set(title=f"ring {largest}, {deal} data: consensus distance", ylim=(0, None))
        panels[1, across].set(
            title="accuracy of the nodes' models", ylabel="test accuracy, %", xlabel="time, gradients"
        )
    panels[0, 0].legend(loc="lower right", fontsize=8)
    return drawn
