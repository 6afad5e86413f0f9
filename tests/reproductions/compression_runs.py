"""Methods that send little, and the runs that compare them: accuracy against the bytes that a node sends.

Every method takes its learning rate from the same few, by the same rule: on one seed that is not used again, and for
each way of dealing the data, the one with which the nodes' models are best on average at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from training_runs import Result, Results, Run

EXPERIMENT = "compression"
RULE = "compression, choice of rates"
FIGURE = "node_accuracy_mean"  # what the learning rate is chosen by
MOMENTUM = {"momentum": 0.9, "nesterov": True}
# Consensus steps are what --consensus-step tuned finds for these compressors, on this ring and model.
SIGN_TOP_K = {"compressor": "top-k:0.2+sign", "consensus_step": "0.464"}
# With momentum 0.9 the same rate moves a model ten times as far: its squared threshold is a hundred times as high.
THRESHOLD = 40


@dataclass(frozen=True)
class Method:
    """A method by the name it has in tables, what it compresses with, and its settings besides the common ones.

    `curve` says whether it is in the pictures.
    """

    name: str
    algorithm: str
    compressor: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    curve: bool = True


ALONE = Method("no communication", "dsgd", options={"local_steps": 10**6}, curve=False)
D_SGD = Method("D-SGD", "dsgd")
SPARQ = Method(
    "SPARQ-SGD, H = 5",
    "sparq-sgd",
    "signs of the top 20 %",
    SIGN_TOP_K | {"local_steps": 5, "trigger": f"constant:{THRESHOLD}"},
)
SQUARM = Method(
    "SQuARM-SGD, H = 5",
    "squarm-sgd",
    "signs of the top 20 %",
    SIGN_TOP_K | {"momentum": 0.9, "local_steps": 5, "trigger": f"constant:{100 * THRESHOLD}"},
)
POWER = Method("PowerGossip, 1 iteration", "power-gossip", "rank 1", {"power_iterations": 1})
POWER_7 = Method(
    "PowerGossip, momentum, H = 5, 7 iterations",
    "power-gossip",
    "rank 1",
    MOMENTUM | {"power_iterations": 7, "local_steps": 5},
)
POWER_ALL = (POWER, POWER_7)

METHODS = (
    ALONE,
    D_SGD,
    Method("D-SGD, momentum", "dsgd", options=MOMENTUM),
    Method("D-SGD, H = 5", "dsgd", options={"local_steps": 5}),
    Method("D-SGD, momentum, H = 5", "dsgd", options=MOMENTUM | {"local_steps": 5}, curve=False),
    SPARQ,
    SQUARM,
    *POWER_ALL,
    Method("CHOCO-SGD, sign", "choco-sgd", "sign", {"compressor": "sign", "consensus_step": "1.0"}),
    Method("CHOCO-SGD, top-k", "choco-sgd", "top 1 %", {"compressor": "top-k:0.01", "consensus_step": "0.0464"}),
    Method(
        "CHOCO-SGD, qsgd", "choco-sgd", "7 levels, buckets of 64", {"compressor": "qsgd:7,64", "consensus_step": "1.0"}
    ),
)


@dataclass(frozen=True)
class Setting:
    """The size of the experiment; `deals` are the ways of dealing the data, by name."""

    nodes: int = 8
    steps: int = 1000
    every: int = 50
    rates: tuple[float, ...] = (0.04, 0.06, 0.1, 0.25, 0.6)
    hidden: int = 256
    batch_size: int = 16
    deals: tuple[str, ...] = ("iid", "dirichlet")
    extra_seed: int = 100
    data: str = "mnist"


FULL = Setting()
SMALL = Setting(nodes=4, steps=10, every=5, rates=(0.1,), hidden=4, batch_size=4, deals=("iid",), data="digits")


def run_of(method: Method, setting: Setting, deal: str, lr: float, seed: int) -> Run:
    """One run of a method, evaluated along the way."""
    return Run(
        experiment=EXPERIMENT,
        method=method.name,
        algorithm=method.algorithm,
        topology="ring",
        nodes=setting.nodes,
        steps=setting.steps,
        every=setting.every,
        lr=lr,
        batch_size=setting.batch_size,
        partition=deal,
        seed=seed,
        hidden=setting.hidden,
        data=setting.data,
        options={"lr_schedule": "cosine"} | method.options,
    )


def trials(setting: Setting = FULL, methods: Sequence[Method] = METHODS) -> list[Run]:
    """The runs that learning rates are chosen by: only their end is evaluated."""
    return [
        replace(run_of(method, setting, deal, lr, setting.extra_seed), experiment=RULE, every=setting.steps)
        for deal in setting.deals
        for method in methods
        for lr in setting.rates
    ]


def accuracy(result: Result, column: str) -> float:
    """The last accuracy in per cent; that of a run that diverged is nought."""
    value = result.last(column)
    return 100 * value if value <= 1 else 0.0


def chosen(results: Results, tried: Iterable[Run]) -> float | None:
    """The learning rate that was best, the smaller of two alike; None unless all of these runs have been done."""
    keys = {run.key: run.lr for run in tried}
    found = [(accuracy(results.found[key], FIGURE), -lr) for key, lr in keys.items() if key in results.found]
    return -max(found)[1] if found and len(found) == len(keys) else None


def plan(
    results: Results, seeds: Sequence[int], setting: Setting = FULL, methods: Sequence[Method] = METHODS
) -> list[Run]:
    """The runs at the chosen rates; none of a method whose rate has not been chosen yet."""
    tried = trials(setting, methods)
    planned = []
    for deal in setting.deals:
        for method in methods:
            lr = chosen(results, [run for run in tried if (run.method, run.partition) == (method.name, deal)])
            planned += [run_of(method, setting, deal, lr, seed) for seed in seeds if lr is not None]
    return planned
