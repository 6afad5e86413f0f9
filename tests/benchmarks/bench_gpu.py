"""Virtual nodes on one device: samples per second against one model, and mixing against the rate of a copy.

    python tests/benchmarks/bench_gpu.py [--device cuda] [--nodes 16 64 256] [--batch 32] [--json]

Training: n nodes with a batch each, whole steps (fetch, forward, backward, optimizer, a round of a one-peer exponential
graph), against one model that takes the n batches in one step, without mixing. Mixing: a round has to read every row
that is needed once, and to write every row that changes once,

    bytes = (rows needed + rows changed) x columns x bytes of a value

and what is printed is its time over bytes / rate, with the rate at which the device copies the same rows (a copy reads
and writes each once). Both run in turns; figures are medians over the turns, ratios are taken within each turn.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench_virtual import MODELS, OneModel, synchronize
from torch.utils.data import TensorDataset

from topokit.designer import design
from topokit.matrix import MixingMatrix
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.exchange import plan_round

__all__ = ["GRAPHS", "Mixing", "Training", "bytes_to_move", "main", "measure_mixing", "measure_training"]

GRAPHS = ("ring", "one-peer-exponential", "exponential", "complete")


@dataclass(frozen=True)
class Training:
    """Steps of n nodes against steps of one model on as many samples."""

    model: str
    nodes: int
    batch: int
    engine: str
    samples_per_second: float
    samples_per_second_one: float
    time_over_one: float


@dataclass(frozen=True)
class Mixing:
    """One round of a graph against what its bytes take at the rate of a copy."""

    graph: str
    nodes: int
    columns: int
    bytes: int
    copy_gigabytes_per_second: float
    time_over_bytes_at_copy_rate: float


def measure_training(model: str, nodes: int, batch: int, device: str, repetitions: int, steps: int = 5) -> Training:
    """Let n nodes and one model take some steps in turn, each warmed up by a step of its own."""
    torch.manual_seed(0)
    samples = 4 * nodes * batch
    data = TensorDataset(torch.randn(samples, 1, 8, 8), torch.randint(0, 10, (samples,)))
    config = TrainConfig(lr=0.01, batch_size=batch, device=device, checkpoint_every=0)
    trainer = Trainer(design("one-peer-exponential", nodes), config, model=MODELS[model], data=(data, data))
    one = OneModel(MODELS[model], data, nodes * batch, device)
    subjects = {"nodes": lambda number: trainer.algorithm.step(trainer.nodes, number), "one": one.step}
    times: dict[str, list[float]] = {name: [] for name in subjects}
    number = 0
    for turn in range(repetitions + 1):  # the first warms up
        for name, step in subjects.items():
            for position in range(1 + steps):
                if position == 1:
                    synchronize(device)
                    start = time.perf_counter()
                step(number)
                number += 1
            synchronize(device)
            if turn:
                times[name].append((time.perf_counter() - start) / steps)
        trainer.nodes.losses.reset()
    ours, theirs = np.array(times["nodes"]), np.array(times["one"])
    total = nodes * batch
    engine = trainer.progress.engine
    return Training(
        model, nodes, batch, engine, total / median(ours), total / median(theirs), float(median(ours / theirs))
    )


def bytes_to_move(matrix: MixingMatrix, columns: int, size: int) -> int:
    """Bytes that a round has to read and write in any case, with values of so many bytes."""
    apart = (matrix.target != matrix.source) & (matrix.weight != 0)
    changed = np.unique(matrix.target[apart])
    needed = np.union1d(changed, matrix.source[apart])
    return (len(needed) + len(changed)) * columns * size


def measure_mixing(nodes: int, values: int, device: str, repetitions: int) -> list[Mixing]:
    """Mix a stack of so many float32 values by each graph, in turn with copies of it."""
    columns = max(values // nodes, 1)
    x = torch.randn(nodes, columns, generator=torch.Generator().manual_seed(0)).to(device)
    copied = torch.empty_like(x)

    def seconds(function: Callable[[], object]) -> float:
        synchronize(device)
        start = time.perf_counter()
        function()
        synchronize(device)
        return time.perf_counter() - start

    results = []
    for graph in GRAPHS:
        matrix = design(graph, nodes).round(0)
        operator = plan_round(matrix, rank=0, size=1).operator
        count = bytes_to_move(matrix, columns, x.element_size())
        rates, ratios = [], []
        for turn in range(repetitions + 1):  # the first warms up
            rate = 2 * x.numel() * x.element_size() / seconds(lambda: copied.copy_(x))
            ratio = seconds(lambda operator=operator: operator.mix_(x)) * rate / count
            if turn:
                rates.append(rate)
                ratios.append(ratio)
        results.append(Mixing(graph, nodes, columns, count, median(rates) / 1e9, median(ratios)))
    return results


def processor(device: str) -> str:
    """Name the hardware."""
    if device != "cpu":
        return torch.cuda.get_device_name(torch.device(device))
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


def main(arguments: list[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 ... or cpu (%(default)s)")
    parser.add_argument("--nodes", type=int, nargs="+", default=[16, 64, 256], help="virtual nodes (%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="samples of a node in a step (%(default)s)")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS), help="(%(default)s)")
    parser.add_argument(
        "--values", type=int, default=1 << 26, help="float32 values that are mixed, rows of all nodes (%(default)s)"
    )
    parser.add_argument("--repetitions", type=int, default=15, help="turns (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args(arguments)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(f"--device {given.device}: this machine or this PyTorch has no CUDA; --device cpu runs without")

    setting = {
        "device": processor(given.device),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    training = [
        measure_training(model, nodes, given.batch, given.device, given.repetitions)
        for model in given.models
        for nodes in given.nodes
    ]
    mixing = [
        row for nodes in given.nodes for row in measure_mixing(nodes, given.values, given.device, given.repetitions)
    ]
    if given.json:
        rows = {"training": [asdict(row) for row in training], "mixing": [asdict(row) for row in mixing]}
        print(json.dumps(setting | rows, indent=1))
        return
    print(f"{setting['device']}; torch {setting['torch']}; {setting['date']}")
    print("\nmodel  nodes  samples a node  engine  samples/s  one model, as many samples  time over one")
    for row in training:
        print(
            f"{row.model:5}  {row.nodes:5}  {row.batch:14}  {row.engine:6}  {row.samples_per_second:9.0f}  "
            f"{row.samples_per_second_one:26.0f}  {row.time_over_one:13.2f}"
        )
    print("\ngraph                 nodes    columns  MB to move  copy (GB/s)  time over bytes / copy rate")
    for round_ in mixing:
        print(
            f"{round_.graph:20}  {round_.nodes:5}  {round_.columns:9}  {round_.bytes / 1e6:10.1f}  "
            f"{round_.copy_gigabytes_per_second:11.1f}  {round_.time_over_bytes_at_copy_rate:27.2f}"
        )


if __name__ == "__main__":
    main()
