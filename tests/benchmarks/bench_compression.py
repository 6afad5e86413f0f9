"""Seconds of a training step with compressed gossip, against D-SGD and DDP, on hosts with limited links.

Hosts are network namespaces of this machine (root is needed), one rank each, on a ring. All subjects train the same MLP
by the trainer itself, with little to compute (small batches), and take turns, so that what else the machine does hits
all of them; ratios are taken within each turn::

    python tests/benchmarks/bench_compression.py
    python tests/benchmarks/bench_compression.py --rates 50 --hosts 4 --only choco-sign --json

The hosts share the processors of this machine: see docs/benchmarks.md for what that does to the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.utils.data import TensorDataset

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from hosts import namespaces_allowed, network_hosts

from topokit.designer import design
from topokit.network import format_rate
from topokit_trainer import Data, TrainConfig, Trainer
from topokit_trainer.compression import Codec
from topokit_trainer.ddp import ReducedGradients
from topokit_trainer.exchange import Exchange, Messages
from topokit_trainer.mixing import MixingOperator
from topokit_trainer.nodes import Nodes
from topokit_trainer.world import World, open_world

__all__ = ["REFERENCE", "SUBJECTS", "Settings", "Stopwatch", "Subject", "compare", "mlp", "synthetic", "time_subjects"]

FEATURES, CLASSES = 784, 10
REFERENCE = "dsgd"
NAMES = {"sparq-sgd": "SPARQ-SGD", "squarm-sgd": "SQuARM-SGD"}


@dataclass(frozen=True)
class Subject:
    """What is timed.

    Attributes
    ----------
    name : str
        For tables.
    options : dict
        Of its `TrainConfig`.
    """

    name: str
    options: Mapping[str, Any]

    @property
    def links(self) -> int:
        """Links that a host sends on: both of the ring, or the one to the next host in a ring all-reduce."""
        return 1 if self.options["algorithm"] == "allreduce" else 2


def _choco(compressor: str, consensus_step: float) -> Subject:
    options = {"algorithm": "choco-sgd", "compressor": compressor, "consensus_step": str(consensus_step)}
    return Subject(f"CHOCO-SGD, {compressor}", options)


def _local(algorithm: str, compressor: str, consensus_step: float, trigger: str, **more: Any) -> Subject:
    own = {"algorithm": algorithm, "local_steps": 5, "trigger": trigger, **more}
    return Subject(
        f"{NAMES[algorithm]}, {compressor}, 5 local steps", {**_choco(compressor, consensus_step).options, **own}
    )


# Consensus steps are small enough for each compressor; seconds do not depend on them. SPARQ-SGD's threshold has its
# nodes silent in some rounds at the beginning of a run; SQuARM-SGD's has them always speak.
SUBJECTS: dict[str, Subject] = {
    REFERENCE: Subject("D-SGD", {"algorithm": "dsgd"}),
    "ddp": Subject("DDP", {"algorithm": "allreduce"}),
    "dsgd-5": Subject("D-SGD, 5 local steps", {"algorithm": "dsgd", "local_steps": 5}),
    "choco-bf16": _choco("bf16", 1.0),
    "choco-qsgd": _choco("qsgd:15", 0.3),
    "choco-sign": _choco("sign", 0.1),
    "choco-top-k": _choco("top-k:0.01+sign", 0.02),
    "sparq": _local("sparq-sgd", "sign", 0.1, "constant:300"),
    "squarm": _local("squarm-sgd", "top-k:0.01+sign", 0.02, "constant:1", momentum=0.9),
    "power-gossip": Subject("PowerGossip, rank 1", {"algorithm": "power-gossip"}),
}


@dataclass(frozen=True)
class Settings:
    """How much is trained and timed.

    Attributes
    ----------
    parameters : int
        Of the model, about.
    batch_size : int
        Samples of each host in a step.
    turns : int
        How often each subject is timed, after one turn that is not.
    turn_seconds : float
        What a turn should take: several rounds of what is quicker.
    """

    parameters: int = 5_000_000
    batch_size: int = 8
    turns: int = 5
    turn_seconds: float = 1.5


def mlp(parameters: int) -> nn.Module:
    """Give an MLP with two hidden layers of equal width and about so many parameters.

    Examples
    --------
    >>> sum(p.numel() for p in mlp(5_000_000).parameters())
    4999047
    """
    linear = FEATURES + CLASSES + 2
    width = max(1, (isqrt(linear**2 + 4 * parameters) - linear) // 2)
    return nn.Sequential(
        nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES)
    )


def synthetic(samples: int) -> Data:
    """Give normally distributed inputs, with labels that a linear map of them gives."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, FEATURES, generator=generator)
    y = (x @ torch.randn(FEATURES, CLASSES, generator=generator)).argmax(dim=1)
    return Data(TensorDataset(x, y), TensorDataset(x[:CLASSES], y[:CLASSES]))


@dataclass
class Stopwatch:
    """Adds up what parts of a step take; a part within another counts for itself only.

    Attributes
    ----------
    wall, busy : dict of str to float
        Seconds of each part, by the clock and of the processor (of the thread that trains).
    """

    wall: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    busy: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _inner: list[list[float]] = field(default_factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        wall, busy = time.perf_counter(), time.thread_time()
        self._inner.append([0.0, 0.0])
        try:
            yield
        finally:
            took = [time.perf_counter() - wall, time.thread_time() - busy]
            within = self._inner.pop()
            self.wall[name] += took[0] - within[0]
            self.busy[name] += took[1] - within[1]
            if self._inner:
                self._inner[-1] = [sum(pair) for pair in zip(self._inner[-1], took, strict=True)]

    @contextmanager
    def watching(self, methods: Sequence[tuple[str, type, str]]) -> Iterator[None]:
        """Time methods of classes, wherever they are called, as parts of given names."""
        with ExitStack() as stack:
            for part, owner, method in methods:
                timed = self._timed(part, getattr(owner, method))
                stack.enter_context(mock.patch.object(owner, method, timed))
            yield

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(part):
                return function(*arguments, **options)

        return timed


REST = "rest"  # differences from replicas, norms; all products of PowerGossip
PARTS = (
    ("gradient", Nodes, "compute_gradients"),
    ("gradient", Nodes, "apply_gradients"),
    ("gradient", ReducedGradients, "__call__"),  # with the all-reduce that goes on meanwhile
    ("encode", Codec, "encode"),
    ("exchange", Exchange, "start"),
    ("exchange", Messages, "wait"),
    ("decode", Codec, "add_"),
    ("mix", MixingOperator, "mix_"),
    ("mix", MixingOperator, "correction"),
)


class Run:
    """One subject on one rank."""

    def __init__(self, subject: Subject, settings: Settings, world: World, data: Data, nodes: int) -> None:
        config = TrainConfig(
            lr=0.01,
            batch_size=settings.batch_size,
            device="cpu",
            gradients="loop",
            checkpoint_every=0,
            **subject.options,
        )
        # Whether SGD takes each number by itself is tried with several models in float64; here, the answer is known.
        with mock.patch("topokit_trainer.optimizers.is_elementwise", return_value=True):
            make = partial(mlp, settings.parameters)
            self.trainer = Trainer(design("ring", nodes), config, world, model=make, data=data)
        self.period, self.steps = config.local_steps, 0

    @property
    def sent(self) -> dict[str, float]:
        """What this rank has sent so far."""
        nodes = self.trainer.nodes
        counts = {"messages": nodes.counts.messages, "silent": nodes.counts.silent}
        return {"counted": nodes.exchange.bytes_sent, "interface": interface_bytes(), **counts}

    def take(self, periods: int) -> None:
        """Train on for some rounds, each with its local steps."""
        for _ in range(periods * self.period):
            self.trainer.algorithm.step(self.trainer.nodes, self.steps)
            self.steps += 1

    def timed(self, periods: int) -> dict[str, Any]:
        """Train on, and give what a step takes and sends."""
        watch, steps = Stopwatch(), periods * self.period
        before, busy = self.sent, time.process_time()
        with watch.watching(PARTS), watch.part(REST):
            self.take(periods)
        busy = time.process_time() - busy
        self.trainer.world.barrier()  # what was sent has left the host
        sent = {name: (value - before[name]) / steps for name, value in self.sent.items()}
        parts = {name: (watch.wall[name] / steps, watch.busy[name] / steps) for name in watch.wall}
        return {"seconds": sum(watch.wall.values()) / steps, "busy": busy / steps, "parts": parts, **sent}


def interface_bytes() -> int:
    """Give what this host's interfaces have sent so far, headers and all; what stays on the host does not count."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    fields = [line.replace(":", " ").split() for line in lines]
    return sum(int(words[9]) for words in fields if words[0] != "lo")


def time_subjects(names: Sequence[str], settings: Settings, nodes: int) -> list[dict[str, Any]]:
    """On a rank: let subjects train in turn; give a row for each, with what all ranks measured (on rank 0)."""
    with open_world(TrainConfig(device="cpu", timeout=600)) as world:
        data = synthetic(nodes * settings.batch_size * 8)
        runs = {name: Run(SUBJECTS[name], settings, world, data, nodes) for name in names}
        periods: dict[str, int] = {}
        turns: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in names}
        for name, run in runs.items():
            run.take(1)  # memory is touched and compiled code is there afterwards
            world.barrier()
            found = world.gather(run.timed(1))
            seconds = max(each["seconds"] for each in found) * run.period
            periods[name] = max(1, min(20, round(settings.turn_seconds / seconds)))
        for _ in range(settings.turns):
            for name, run in runs.items():
                if periods[name] > 1:
                    run.take(1)  # the first after a change of subject finds cold caches
                world.barrier()
                turns[name].append(world.gather(run.timed(periods[name])))
        memory = sum(world.gather(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)) * 1024
    if world.rank:
        return []
    return [{"memory": memory, **_row(name, turns[name], turns.get(REFERENCE))} for name in names]


def _row(
    name: str, turns: Sequence[Sequence[dict[str, Any]]], reference: Sequence[Sequence[dict[str, Any]]] | None
) -> dict[str, Any]:
    seconds = _slowest(turns)
    row: dict[str, Any] = {
        "subject": name,
        "seconds": statistics.median(seconds),
        "range": [min(seconds), max(seconds)],
    }
    if reference:
        row["faster"] = statistics.median(a / b for a, b in zip(_slowest(reference), seconds, strict=True))
    for what in ("busy", "counted", "interface", "messages", "silent"):
        row[what] = statistics.fmean(each[what] for ranks in turns for each in ranks)
    row["parts"] = {
        part: [
            statistics.median(statistics.fmean(each["parts"].get(part, (0, 0))[k] for each in ranks) for ranks in turns)
            for k in (0, 1)
        ]
        for part in dict.fromkeys([part for part, *_ in PARTS] + [REST])
    }
    return row


def _slowest(turns: Sequence[Sequence[dict[str, Any]]]) -> list[float]:
    return [max(each["seconds"] for each in ranks) for ranks in turns]


def compare(
    rate: float, hosts: int, names: Sequence[str] = tuple(SUBJECTS), settings: Settings | None = None
) -> list[dict[str, Any]]:
    """Time subjects on hosts whose links have some rate, in Mbit/s.

    Returns
    -------
    list of dict
        For each subject the ``seconds`` of a step, the slowest rank's (median over the turns) and their ``range``; how
        many times ``faster`` than D-SGD, within each turn; per rank and step, the seconds of the processor (``busy``),
        the bytes on the wire by the trainer's own count (``counted``) and by the host's interface, with headers
        (``interface``), ``messages`` and ``silent`` ones; and its ``parts``, by the clock and of the processor.
    """
    settings = settings or Settings()
    with network_hosts([rate * 1e6] * hosts) as up:
        return up.run(time_subjects, list(names), settings, hosts, timeout=1800.0)[0]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows for people."""
    lines = [
        f"{'':43} {'s a step':>9} {'min':>8} {'max':>8} {'faster':>7} {'kB a link':>10} {'on wire':>10} {'silent':>7} "
        f"{'cpu s':>7}"
    ]
    for row in rows:
        subject, low, high = SUBJECTS[row["subject"]], *row["range"]
        said = row["messages"] + row["silent"]
        silent = f"{row['silent'] / said:7.0%}" if said else " " * 7
        faster = f"{row['faster']:7.2f}" if "faster" in row else " " * 7
        lines.append(
            f"{subject.name:43} {row['seconds']:9.4f} {low:8.4f} {high:8.4f} {faster} "
            f"{row['counted'] / subject.links / 1e3:10.1f} {row['interface'] / subject.links / 1e3:10.1f} {silent} "
            f"{row['busy']:7.3f}"
        )
    parts = list(rows[0]["parts"])
    lines.append("\nmilliseconds of a step, of the processor in brackets")
    lines.append(f"{'':43} " + " ".join(f"{part:>16}" for part in parts))
    for row in rows:
        shown = [f"{1e3 * wall:.1f} ({1e3 * busy:.1f})" for wall, busy in (row["parts"][part] for part in parts)]
        lines.append(f"{SUBJECTS[row['subject']].name:43} " + " ".join(f"{text:>16}" for text in shown))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rates", "--rate", type=float, nargs="+", default=[50.0, 10_000.0], help="Mbit/s of the links (%(default)s)"
    )
    parser.add_argument("--hosts", type=int, default=8, help="number of hosts, at least 3 (%(default)s)")
    parser.add_argument("--parameters", type=int, default=Settings.parameters, help="of the model (%(default)s)")
    parser.add_argument("--turns", type=int, default=Settings.turns, help="how often each is timed (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(SUBJECTS), help="subjects to time besides D-SGD")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args(arguments)
    if options.hosts < 3 or options.turns < 1 or options.parameters < 1000:
        parser.error("it takes at least 3 hosts, 1 turn and 1000 parameters")
    if not namespaces_allowed():
        sys.exit("this machine or this user may not make network namespaces; run as root where iproute2 is installed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # takes the hosts down
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # namespaces have no name server, which PyTorch remarks on
    names = [name for name in SUBJECTS if options.only is None or name in (REFERENCE, *options.only)]
    settings = Settings(parameters=options.parameters, turns=options.turns)
    for rate in options.rates:
        before = os.getloadavg()[0]
        rows = compare(rate, options.hosts, names, settings)
        if options.json:
            print(json.dumps({"rate": rate, "hosts": options.hosts, "load": before, "rows": rows}), flush=True)
            continue
        print(
            f"{options.hosts} hosts, {format_rate(rate * 1e6 / 8)}, {options.parameters / 1e6:g} million parameters, "
            f"batches of {settings.batch_size}; {os.cpu_count()} cores, load {before:.1f} before; "
            f"{rows[0]['memory'] / 1e9:.1f} GB in all"
        )
        print(table(rows), flush=True)
        print()


if __name__ == "__main__":
    main()
