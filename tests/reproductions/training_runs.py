"""What a run of the training experiments is, how it is done, and the file that keeps what came of it.

A run is a plain record. Whatever has been run is a line of JSON in the results file, found again by the record: runs
that are there are not done again, so that an interrupted experiment goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cache, partial
from math import inf, prod
from pathlib import Path
from statistics import stdev
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import TensorDataset

from topokit.adjacency import adjacency_of_edges
from topokit.designer import design, design_graph
from topokit.errors import InputError
from topokit.matrix import IntArray
from topokit.schedule import Schedule
from topokit_trainer import Data, TrainConfig, train
from topokit_trainer.data import digits, mnist

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "training-results.jsonl"
FIGURES = DOCS / "figures"
KEPT = (
    "step",
    "loss",
    "accuracy",
    "node_accuracy_mean",
    "node_accuracy_worst",
    "consensus_distance",
    "bytes_sent_per_node",
)
# Kept where there is anything in them: what some methods tell besides.
KEPT_TOO = (
    "messages_per_node",
    "silent_per_node",
    "bytes_packed_per_node",
    "consensus_step",
    "averagings_per_gradient",
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run on virtual nodes.

    `topology` with `parameters` and `weights` names the schedule; `ring-at-limit` and `edges` are made here. `start`
    counts the central iterations, in batches of 8 at a learning rate of 4e-4, that all nodes begin with; `decay` names
    the iterations after which the learning rate falls to a tenth. Of the test set every `test_every`-th image is used.
    `options` are further fields of the configuration, or other values for those that `perform` sets.
    """

    experiment: str
    method: str
    algorithm: str
    topology: str
    nodes: int
    steps: int
    every: int
    lr: float
    batch_size: int
    partition: str
    seed: int
    hidden: int
    data: str = "mnist"
    parameters: dict[str, Any] = field(default_factory=dict)
    weights: str | None = None
    start: int = 0
    decay: tuple[int, ...] = ()
    test_every: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        record = asdict(self)
        if not self.options:
            del record["options"]  # results of runs that have none were written without
        return json.dumps(record, sort_keys=True)


@dataclass(frozen=True)
class Result:
    """What came of a run: its evaluations by column, the teams' if there are several, and the seconds it took."""

    run: dict[str, Any]
    columns: dict[str, list[float | None]]
    teams: dict[str, dict[str, list[float | None]]]
    notes: list[str]
    seconds: float
    day: str

    def last(self, column: str) -> float:
        value = self.columns[column][-1]
        return inf if value is None else value

    def first_step(self, column: str, reached: Callable[[float], bool]) -> float:
        """First iteration at which a column is as wanted, infinity if there is none."""
        found = (
            step
            for step, value in zip(self.columns["step"], self.columns[column], strict=True)
            if step is not None and value is not None and reached(value)
        )
        return next(found, inf)


class Results:
    """The results file: one line a run; a line that an interruption cut short is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Result] = {}
        if not path.exists():
            return
        for line in path.read_text().splitlines():
            try:
                result = Result(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue
            self.found[json.dumps(result.run, sort_keys=True)] = result

    def of(self, runs: Iterable[Run]) -> list[Result]:
        """What there is of these runs."""
        return [self.found[run.key] for run in runs if run.key in self.found]

    def add(self, result: Result) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = self.path.read_text() if self.path.exists() else ""
        with self.path.open("a") as file:
            file.write(("\n" if text and not text.endswith("\n") else "") + json.dumps(asdict(result)) + "\n")
        self.found[json.dumps(result.run, sort_keys=True)] = result


@cache
def load(name: str, folder: Path | None, test_every: int) -> Data:
    """Images with the usual mean and deviation of MNIST taken out; the embedded digits for quick tests."""
    if name == "mnist" and folder is None:
        raise InputError("MNIST is missing: give the folder with its files")
    data = mnist(folder) if folder is not None and name == "mnist" else digits()

    def scaled(part: Any, every: int) -> TensorDataset:
        images, labels = part.tensors
        return TensorDataset((images[::every] - 0.1307) / 0.3081, labels[::every])

    return Data(scaled(data.train, 1), scaled(data.test, test_every))


def perceptron(data: Data, hidden: int) -> nn.Module:
    """One hidden ReLU layer; logistic regression where it has no units."""
    inputs = prod(data.sample_shape)
    if not hidden:
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, data.classes))
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, data.classes))


@cache
def centrally_trained(data: Data, hidden: int, seed: int, iterations: int) -> dict[str, Tensor]:
    """State of a model after iterations of one machine; two nodes with an all-reduce and 4 samples each are one."""
    config = TrainConfig(
        algorithm="allreduce",
        steps=iterations,
        eval_every=iterations,
        checkpoint_every=0,
        batch_size=4,
        lr=4e-4,
        seed=seed,
        gradients="vmap",
    )
    model = train(design("complete", 2), config, data=data, model=lambda: perceptron(data, hidden)).model
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def edges_in(text: str) -> IntArray:
    """Give the edges that a record tells as ``0-1 0-3``, shape (m, 2)."""
    return np.array([[int(end) for end in edge.split("-")] for edge in text.split()], dtype=np.int64)


def schedule_of(run: Run) -> Schedule:
    if run.topology == "ring-at-limit":
        # D2 needs eigenvalues above -1/3, where a ring of an even number of nodes with thirds stands: this is -0.33332.
        ring = nx.cycle_graph(run.nodes)
        nx.set_edge_attributes(ring, 0.33333, "weight")
        return design_graph(ring, "given", name=run.topology)
    if run.topology == "edges":
        edges = edges_in(run.parameters["edges"])
        return design_graph(adjacency_of_edges(run.nodes, edges), run.weights, name=run.topology)
    return design(run.topology, run.nodes, weights=run.weights, seed=run.seed, **run.parameters)


def perform(run: Run, folder: Path | None) -> Result:
    """Do one run, in this process."""
    torch.set_num_threads(1)
    data = load(run.data, folder, run.test_every)

    def model() -> nn.Module:
        made = perceptron(data, run.hidden)
        if run.start:
            made.load_state_dict(centrally_trained(data, run.hidden, run.seed, run.start))
        return made

    def scheduler(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.MultiStepLR(optimizer, list(run.decay))

    settings: dict[str, Any] = {
        "algorithm": run.algorithm,
        "steps": run.steps,
        "eval_every": run.every,
        "checkpoint_every": 0,
        "batch_size": run.batch_size,
        "lr": run.lr,
        "partition": run.partition,
        "alpha": 0.1,
        "seed": run.seed,
        "gradients": "vmap",
    }
    config = TrainConfig(**(settings | run.options))
    lines: list[str] = []
    started = time.perf_counter()
    result = train(
        schedule_of(run),
        config,
        data=data,
        model=model,
        scheduler=scheduler if run.decay else None,
        report=lines.append,
    )
    rows = result.metrics
    seconds = time.perf_counter() - started
    teams: dict[str, dict[str, list[float | None]]] = {
        team: {column: [rounded(row["teams"][team][column]) for row in rows] for column in ("loss", "accuracy")}
        for team in rows[-1].get("teams", {})
    }
    there = (*KEPT, *(column for column in KEPT_TOO if any(row.get(column) for row in rows)))
    return Result(
        run=json.loads(run.key),
        columns={column: [rounded(row[column]) for row in rows] for column in there},
        teams=teams,
        notes=[line for line in lines if line.startswith("note:")],
        seconds=round(seconds, 2),
        day=date.today().isoformat(),
    )


@dataclass(frozen=True)
class Spread:
    """Figures of several seeds, as mean and standard deviation."""

    values: Sequence[float]

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def deviation(self) -> float:
        return stdev(self.values) if len(self.values) > 1 else 0.0

    def text(self, digits: int) -> str:
        spread = f" ± {self.deviation:.{digits}f}" if len(self.values) > 1 else ""
        return f"{self.mean:.{digits}f}{spread}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def rounded(value: float | None) -> float | None:
    return None if value is None else value if isinstance(value, int) else float(f"{value:.5g}")


Outcome = tuple[Run, Callable[[], Result]]


def one_by_one(runs: Sequence[Run], folder: Path | None) -> Iterator[Outcome]:
    for run in runs:
        yield run, partial(perform, run, folder)


def side_by_side(runs: Sequence[Run], folder: Path | None, processes: int) -> Iterator[Outcome]:
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as executor:
        under_way = {executor.submit(perform, run, folder): run for run in runs}
        try:
            for done in as_completed(under_way):
                yield under_way[done], done.result
        finally:
            executor.shutdown(wait=False, cancel_futures=True)  # after an interruption nothing new is begun


def perform_all(
    runs: Sequence[Run], results: Results, folder: Path | None, processes: int, report: Callable[[str], None]
) -> list[str]:
    """Do the runs that the results file does not hold yet, several at once; give what went wrong, a line a run."""
    missing = [run for run in runs if run.key not in results.found]
    failed: list[str] = []
    outcomes = one_by_one(missing, folder) if processes == 1 else side_by_side(missing, folder, processes)
    for number, (run, outcome) in enumerate(outcomes, 1):
        what = f"{run.method}, n = {run.nodes}, {run.partition}, lr {run.lr:g}, seed {run.seed}"
        told = f"[{number}/{len(missing)}] {run.experiment} {what}"
        try:
            result = outcome()
        except InputError as error:
            failed.append(f"{told}: {error}")
            report(failed[-1])
            continue
        results.add(result)
        report(f"{told}: accuracy {result.last('accuracy'):.4f}, {result.seconds:.0f} s")
    return failed
