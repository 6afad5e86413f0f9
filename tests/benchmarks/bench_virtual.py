"""How much virtual nodes cost: a step of 64 nodes against one model on the same total batch, and against a Python loop.

    python tests/benchmarks/bench_virtual.py [--nodes 64] [--device cpu] [--json]

All three do the whole step: fetch the batch, forward, backward, optimizer; the nodes also mix, one round of a one-peer
exponential graph (the loop over models does not mix at all). Each takes a few steps in turn; figures are medians over
the turns, and ratios are taken within each turn, because machines are noisy.
"""

import argparse
import json
import time
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from topokit.designer import design
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.models import cnn

STEPS = 3
LIMITS = {("mlp", 128): 1.6, ("mlp", 32): 2.6}


def mlp() -> nn.Module:
    """99,126 parameters on 8 x 8 images."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 256), nn.ReLU(), nn.Linear(256, 10)
    )


MODELS = {"mlp": mlp, "cnn": lambda: cnn((1, 8, 8), 10)}


class OneModel:
    """One model on the whole batch."""

    def __init__(self, make, data, total, device):
        self.model = make().to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.x, self.y = (t.to(device) for t in data.tensors)
        self.total = total

    def step(self, number):
        index = torch.arange(number, number + self.total) % len(self.x)
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(self.x[index]), self.y[index]).backward()
        self.optimizer.step()


def synchronize(device):
    """Wait for a GPU to finish."""
    if device != "cpu":
        torch.cuda.synchronize()


def measure(model, batch, nodes, device, repetitions):
    """Ratios of one step of all nodes to one model, and of a loop over models to one model."""
    torch.manual_seed(0)
    samples = nodes * batch * 8  # eight batches an epoch
    data = TensorDataset(torch.randn(samples, 1, 8, 8), torch.randint(0, 10, (samples,)))
    config = TrainConfig(lr=0.01, batch_size=batch, device=device, checkpoint_every=0)
    trainer = Trainer(design("one-peer-exponential", nodes), config, model=MODELS[model], data=(data, data))
    one = OneModel(MODELS[model], data, nodes * batch, device)
    many = [OneModel(MODELS[model], data, batch, device) for _ in range(nodes)]

    def loop(number):
        for single in many:
            single.step(number)

    subjects = {"nodes": lambda n: trainer.algorithm.step(trainer.nodes, n), "one": one.step, "loop": loop}
    times = {name: [] for name in subjects}
    number = 0
    for repetition in range(repetitions + 1):  # the first warms up
        for name, step in subjects.items():
            # Training takes one step after the other: the first after a change of subject finds cold caches.
            for position in range(1 + STEPS):
                if position == 1:
                    synchronize(device)
                    start = time.perf_counter()
                step(number)
                number += 1
            synchronize(device)
            if repetition:
                times[name].append((time.perf_counter() - start) / STEPS)
    trainer.nodes.losses.reset()
    nodes_, one_, loop_ = (np.array(times[name]) for name in ("nodes", "one", "loop"))
    return {
        "model": model,
        "batch": batch,
        "engine": trainer.progress.engine,
        "milliseconds_one": 1e3 * median(one_),
        "nodes_over_one": median(nodes_ / one_),
        "loop_over_one": median(loop_ / one_),
        "nodes_over_loop": median(nodes_ / loop_),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [
        measure(model, batch, given.nodes, given.device, given.repetitions)
        for model in MODELS
        for batch in (8, 32, 128)
    ]
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{given.nodes} nodes, {torch.get_num_threads()} threads, torch {torch.__version__}, {given.device}")
    print("model  batch  engine  one model (ms)  nodes/one  loop/one  nodes/loop  limit of nodes/one")
    for row in rows:
        limit = LIMITS.get((row["model"], row["batch"]), "")
        print(
            f"{row['model']:5}  {row['batch']:5}  {row['engine']:6}  {row['milliseconds_one']:14.2f}  "
            f"{row['nodes_over_one']:9.2f}  {row['loop_over_one']:8.2f}  {row['nodes_over_loop']:10.2f}  {limit}"
        )


if __name__ == "__main__":
    main()
