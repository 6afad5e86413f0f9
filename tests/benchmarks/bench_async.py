"""How fast the simulated clock is: events a second on a ring, against the gradients alone and one event at a time.

    python tests/benchmarks/bench_async.py [--nodes 64] [--events 100000] [--threads 2] [--only acid] [--json]

An event is a gradient of a node, on 16 samples of 784 values, or an averaging of a pair; the model has 102,727
parameters. Three ways through the same events, in turns, because machines are noisy:

- the trainer, as it is
- gradients alone: as many as the trainer computed, of all nodes at once, and nothing else
- one event at a time: for each node a model and an optimizer of its own, in a plain loop
"""

import argparse
import json
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from topokit.designer import design
from topokit_trainer import TrainConfig, Trainer
from topokit_trainer.asynchronous.dynamics import mix_
from topokit_trainer.models import mlp

LIMIT = 300.0  # seconds for 100,000 events
BATCH = 16
VARIANTS = {
    "gossip": {"algorithm": "async-gossip"},
    "acid": {"algorithm": "async-gossip", "acid": True, "momentum": 0.9, "weight_decay": 5e-4},
    "ad-psgd": {"algorithm": "ad-psgd", "momentum": 0.9, "weight_decay": 5e-4},
}
TURNS = 10


def model() -> nn.Module:
    """102,727 parameters on 28 x 28 images."""
    return mlp((1, 28, 28), 10, hidden=113)


def trainer_for(variant: str, nodes: int) -> Trainer:
    """Give a trainer on random images."""
    generator = torch.Generator().manual_seed(0)
    samples = nodes * BATCH * 8  # eight batches an epoch
    images = torch.randn(samples, 1, 28, 28, generator=generator)
    data = TensorDataset(images, torch.randint(0, 10, (samples,), generator=generator))
    config = TrainConfig(lr=0.01, batch_size=BATCH, device="cpu", checkpoint_every=0, **VARIANTS[variant])
    return Trainer(design("pairwise", nodes), config, model=model, data=(data, data))


@dataclass
class OneAtATime:
    """Every node a model, an optimizer and a second copy of its own; every event by itself."""

    trainer: Trainer
    models: list = field(default_factory=list)

    def __post_init__(self):
        config, count = self.trainer.config, self.trainer.schedule.nodes
        self.models = [model() for _ in range(count)]
        self.tilde = [[p.detach().clone() for p in one.parameters()] for one in self.models]
        self.optimizers = [
            torch.optim.SGD(one.parameters(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
            for one in self.models
        ]
        self.since, self.taken = np.zeros(count), [0] * count

    def unit(self, step):
        """Work off one unit of time; give the number of events."""
        algorithm = self.trainer.algorithm
        events = algorithm.clocks.events(step)
        for time_, i, j in zip(events.times.tolist(), events.node.tolist(), events.partner.tolist(), strict=True):
            self.mix(i, step + time_)
            if j >= 0:
                self.mix(j, step + time_)
                self.average(i, j)
            else:
                self.gradient(i)
        return len(events.times)

    def mix(self, node, now):
        dynamics = self.trainer.algorithm.dynamics
        if dynamics.accelerated:
            own = [p.detach() for p in self.models[node].parameters()]
            mix_(own, self.tilde[node], dynamics.share(now - self.since[node]))
            self.since[node] = now

    @torch.no_grad()
    def average(self, i, j):
        dynamics = self.trainer.algorithm.dynamics
        for k, (a, b) in enumerate(zip(self.models[i].parameters(), self.models[j].parameters(), strict=True)):
            m = a - b
            a.sub_(m, alpha=dynamics.alpha)
            b.add_(m, alpha=dynamics.alpha)
            if dynamics.accelerated:
                self.tilde[i][k].sub_(m, alpha=dynamics.alpha_tilde)
                self.tilde[j][k].add_(m, alpha=dynamics.alpha_tilde)

    def gradient(self, node):
        batches, one = self.trainer.nodes.batches, self.models[node]
        x, y = batches.of([node], [self.taken[node]])
        before = [p.detach().clone() for p in one.parameters()] if self.trainer.algorithm.dynamics.accelerated else []
        self.optimizers[node].zero_grad()
        functional.cross_entropy(one(x[0]), y[0]).backward()
        self.optimizers[node].step()
        for old, new, tilde in zip(before, one.parameters(), self.tilde[node], strict=False):
            tilde.add_(new.detach() - old)
        self.taken[node] += 1


def measure(variant: str, nodes: int, events: int) -> dict:
    """Time as many units as have so many events; the loops it is compared with take a few units in each turn."""
    trainer = trainer_for(variant, nodes)
    single, algorithm = OneAtATime(trainer), trainer.algorithm
    algorithm.step(trainer.nodes, 0)
    single.unit(0)
    before = algorithm.tally[:, 0].sum()
    units = max(TURNS, round(events / np.mean([len(algorithm.clocks.events(t).times) for t in range(200)])))
    trainer_seconds, single_seconds, alone_seconds, processor = [], [], [], 0.0
    done = single_done = number = 0
    for turn in np.array_split(np.arange(1, units + 1), TURNS):
        start, busy = time.perf_counter(), time.process_time()
        for step in turn.tolist():
            algorithm.step(trainer.nodes, step)
        trainer_seconds.append(time.perf_counter() - start)
        processor += time.process_time() - busy
        done += sum(len(algorithm.clocks.events(t).times) for t in turn.tolist())
        start = time.perf_counter()
        for step in turn[:3].tolist():
            single_done += single.unit(step)
        single_seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        kept = [g.clone() for g in trainer.nodes.stacks.gradients]
        for _ in range(3):
            trainer.nodes.engine(*trainer.nodes.batches(number), number)
            number += 1
        alone_seconds.append(time.perf_counter() - start)
        for gradient, values in zip(trainer.nodes.stacks.gradients, kept, strict=True):
            gradient.copy_(values)  # AD-PSGD's are under way
    gradients = int(algorithm.tally[:, 0].sum() - before)
    seconds = sum(trainer_seconds)
    alone = sum(alone_seconds) / (3 * TURNS * nodes)
    return {
        "variant": variant,
        "engine": trainer.progress.engine,
        "events": done,
        "gradients": gradients,
        "seconds": seconds,
        "processor_seconds": processor,  # of all threads
        "events_a_second": done / seconds,
        "over_gradients_alone": seconds / (alone * gradients),
        "faster_than_one_at_a_time": sum(single_seconds) / single_done * done / seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", choices=VARIANTS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    rows = [measure(name, given.nodes, given.events) for name in VARIANTS if given.only in (None, name)]
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{given.nodes} nodes on a ring, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("variant  engine   events  gradients  seconds  on processors  events/s  / gradients alone  one at a time /")
    for row in rows:
        print(
            f"{row['variant']:7}  {row['engine']:6}  {row['events']:7}  {row['gradients']:9}  {row['seconds']:7.1f}  "
            f"{row['processor_seconds']:13.1f}  {row['events_a_second']:8.0f}  {row['over_gradients_alone']:17.2f}  "
            f"{row['faster_than_one_at_a_time']:15.2f}"
        )
    print(f"limit: {LIMIT:.0f} s for 100,000 events")


if __name__ == "__main__":
    main()
