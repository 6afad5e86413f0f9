"""A schedule designed for uneven hosts against named ones: seconds until all nodes agree, predicted and measured.

Hosts are network namespaces of this machine (root is needed), their network cards limited to different rates; inside a
host messages are fast. The links file is written from those rates; it designs the schedule and predicts seconds. Then
every rank holds a random vector, and ranks gossip by the trainer's own exchange and mixing::

    python tests/benchmarks/bench_hosts.py
    python tests/benchmarks/bench_hosts.py --rates 400 400 40 --ranks 4 --size 2MB --links links.csv
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from bench_network import _tree_allreduce
from hosts import Hosts, namespaces_allowed, network_hosts

from topokit.consensus import consensus_distance
from topokit.designer import design
from topokit.learned import place, sequence_schedule
from topokit.learned.sequences.host_sequences import HOST_STEPS, host_sequence
from topokit.matrix import FloatArray, MixingMatrix
from topokit.network import Host, Link, Network, allreduce_seconds, consensus_seconds, format_rate, parse_size
from topokit.schedule import Schedule
from topokit_trainer.config import TrainConfig
from topokit_trainer.exchange import Exchange, plan_round
from topokit_trainer.world import World, open_world

__all__ = ["Case", "Row", "compare", "links_of", "main", "schedules_for", "table"]

RATES = (200.0, 100.0, 50.0, 25.0)
DESIGNED = "designed"
NONNEGATIVE = "designed, nonnegative"
NAMED: dict[str, str] = {
    "ring": "ring",
    "exponential": "static exponential",
    "one-peer-exponential": "one-peer exponential",
    "torus": "torus",
    "two-level": "two-level, exponential between hosts",
    "two-level:one-peer": "two-level, one-peer exponential between hosts",
    "inner-outer-exponential": "inner-outer exponential",
    "base-2": "base-2",
}
PLACED = "one-peer exponential, placed"
ALLREDUCES = {"all-reduce (gloo's ring)": "ring", "all-reduce (tree)": "tree"}
FACTOR = 1000.0
PAYLOAD = 0.95  # of a rate, left by the headers of packets
SAMPLE = 64  # coordinates that are looked at
FLOAT32 = 1e-5  # of the errors at the start: what rounding may come to
TURNS = 5  # of what is fast


@dataclass(frozen=True)
class Case:
    """Hosts with network cards of given rates, in Mbit/s, ranks on each, and bytes of a message."""

    rates: tuple[float, ...] = RATES
    ranks: int = 8
    size: int = 1_000_000

    @property
    def nodes(self) -> int:
        """Ranks in all."""
        return len(self.rates) * self.ranks


class Inside(NamedTuple):
    """What a round costs between ranks of a host, all hosts at once: bytes a second of a host, and seconds."""

    rate: float
    latency: float


class Timed(NamedTuple):
    """Rounds of a schedule as they went: how many, their seconds in each turn, and the errors left of those before."""

    rounds: int
    seconds: list[float]
    left: float


class Row(NamedTuple):
    """A line of the table: `timed` of the `rounds` were timed in each of the `turns`; `measured` is their median."""

    name: str
    rounds: int
    per_round: float
    predicted: float
    measured: float
    turns: tuple[float, ...]
    timed: int
    left: float


def links_of(case: Case, inside: Inside) -> Network:
    """Write down what the network is: a host's card limits what it sends and receives, the slower of two a link."""
    rates = [rate * 1e6 / 8 * PAYLOAD for rate in case.rates]
    names = [f"host{k}" for k in range(len(rates))]
    hosts = tuple(
        Host(name, tuple(range(k * case.ranks, (k + 1) * case.ranks)), rate, rate, inside=inside.rate)
        for k, (name, rate) in enumerate(zip(names, rates, strict=True))
    )
    links = [
        Link(names[a], names[b], inside.rate if a == b else min(rates[a], rates[b]), inside.latency)
        for a in range(len(rates))
        for b in range(len(rates))
    ]
    return Network(hosts, tuple(links))


def schedules_for(
    network: Network, size: int, names: Sequence[str] = tuple(NAMED), steps: int = HOST_STEPS
) -> dict[str, Schedule]:
    """Design the schedules of the table: the learned ones for this network, the named ones for its number of nodes."""
    found = {}
    for name, nonnegative in ((DESIGNED, False), (NONNEGATIVE, True)):
        learned = host_sequence(network, size, nonnegative=nonnegative, steps=steps)
        found[name] = sequence_schedule(learned, name=name)
    hosts = len(network.hosts)
    for name in names:
        topology, _, outer = name.partition(":")
        more: dict[str, Any] = {"hosts": hosts} if topology in ("two-level", "inner-outer-exponential") else {}
        if outer:
            more["outer"] = "one-peer-exponential"
        found[NAMED[name]] = schedule = design(topology, network.nodes, **more)
        if name == "one-peer-exponential":
            found[PLACED] = place(schedule, network, size).relabelled(schedule)
    return found


def calibrate(case: Case) -> Inside:
    """On a rank: time what is not the network, pairs inside the hosts on all ranks at once, large messages and tiny."""
    pairs = [(node, node + 1) for node in range(case.nodes - 1) if node % case.ranks % 2 == 0 and case.ranks > 1]
    pairs = [(a, b) for a, b in pairs if a // case.ranks == b // case.ranks]
    with _world() as world:
        if not pairs:
            return Inside(math.inf, 0.0)
        matrix = _pairs_matrix(case.nodes, pairs)
        tiny, large = (
            min(_turn(world, Gossip(world, [matrix], values), 10)[0] for _ in range(TURNS)) / 10
            for values in (1, case.size // 4)
        )
    sent = case.ranks // 2 * 2 * case.size
    # Where messages are small, one takes as long as the other, and their difference is noise.
    return Inside(_rounded(sent * 8 / max(large - tiny, large / 10)) / 8, _rounded(tiny))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _pairs_matrix(nodes: int, pairs: Sequence[tuple[int, int]]) -> MixingMatrix:
    """Give the matrix by which pairs take their means, and all others keep what they have."""
    entries = {(i, i): Fraction(1) for i in range(nodes)}
    for a, b in pairs:
        entries.update(dict.fromkeys([(a, a), (a, b), (b, a), (b, b)], Fraction(1, 2)))
    target, source = zip(*entries, strict=True)
    return MixingMatrix.from_fractions(nodes, target, source, list(entries.values()))


class Gossip:
    """A rank's random vector, and the rounds that mix it with those of the others."""

    def __init__(self, world: World, rounds: Sequence[MixingMatrix], values: int) -> None:
        self.world, self.rounds = world, rounds
        self.plans = [plan_round(matrix, world.rank, world.size) for matrix in rounds]
        self.exchange = Exchange(world)
        self.random = torch.Generator().manual_seed(world.rank)
        self.vector = torch.empty((1, values))
        self.columns = torch.arange(0, values, max(1, values // SAMPLE))

    def start(self) -> None:
        """Draw the vector."""
        self.vector.normal_(generator=self.random)

    def run(self, count: int) -> None:
        """Gossip, from round 0 on; ranks wait for nobody but those who send to them."""
        for t in range(count):
            plan = self.plans[t % len(self.plans)]
            received = self.exchange.start([(plan.route, [self.vector])]).wait()[0]
            plan.mix_(self.vector, received)

    def sample(self) -> FloatArray:
        """Give some coordinates of all ranks' vectors."""
        return np.stack(self.world.gather(self.vector[0, self.columns].double().numpy()))

    def expected(self, sample: FloatArray, count: int) -> FloatArray:
        """Work out what becomes of the coordinates, with NumPy."""
        for t in range(count):
            sample = self.rounds[t % len(self.rounds)].to_csr() @ sample
        return sample


def _world() -> AbstractContextManager[World]:
    return open_world(TrainConfig(device="cpu", timeout=300))


def _turn(world: World, gossip: Gossip, count: int) -> tuple[float, float]:
    """Time rounds, all ranks from a common start to the end of the last; give the errors left of those before, too."""
    gossip.start()
    before = gossip.sample()
    seconds = _seconds(world, lambda: gossip.run(count))
    after = gossip.sample()
    spread = consensus_distance(before)
    off = np.abs(after - gossip.expected(before, count)).max()
    if off > FLOAT32 * spread:
        raise AssertionError(f"after {count} rounds, values are {off:.2g} off those that the matrices give")
    return seconds, consensus_distance(after) / spread


def _seconds(world: World, function: Callable[[], Any]) -> float:
    world.barrier()
    start = time.perf_counter()
    function()
    world.barrier()
    return time.perf_counter() - start


def time_all(schedules: Mapping[str, tuple[Schedule, int, int]], size: int, reduce_turns: int) -> dict[str, Timed]:
    """On a rank: time (schedule, rounds, turns) and the all-reduces, one after the other in each turn.

    Returns
    -------
    dict of str to Timed
        The same on all ranks, but for the seconds, which rank 0 knows as well as any: all end with a barrier.
    """
    with _world() as world:
        gossips = {name: Gossip(world, schedule.rule.rounds, size // 4) for name, (schedule, _, _) in schedules.items()}
        Gossip(world, next(iter(schedules.values()))[0].rule.rounds, 1).run(1)  # mixing is compiled when first used
        values = torch.zeros(size // 4)
        reduces = {
            name: (lambda: dist.all_reduce(values)) if how == "ring" else (lambda: _tree_allreduce(world, values))
            for name, how in ALLREDUCES.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in (*schedules, *reduces)}
        left: dict[str, float] = {}
        for turn in range(max(reduce_turns, *(wanted for _, _, wanted in schedules.values()))):
            for name, (_, count, wanted) in schedules.items():
                if turn < wanted:
                    found, left[name] = _turn(world, gossips[name], count)
                    seconds[name].append(found)
            for name, reduce in reduces.items():
                if turn < reduce_turns:
                    seconds[name].append(_seconds(world, reduce))
        counts = {name: count for name, (_, count, _) in schedules.items()}
        return {name: Timed(counts.get(name, 1), found, left.get(name, 0.0)) for name, found in seconds.items()}


def compare(
    case: Case,
    names: Sequence[str] = tuple(NAMED),
    *,
    inside: Inside | None = None,
    most_seconds: float = 25.0,
    turns: int = TURNS,
    links: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
    timeout: float = 1800.0,
) -> tuple[Network, list[Row]]:
    """Design schedules for hosts, predict the seconds in which they shrink every error 1000-fold, and time them.

    Parameters
    ----------
    case : Case
    names : sequence of str
        Keys of `NAMED`.
    inside : Inside, optional
        Timed where it is not given.
    most_seconds : float
        What one schedule may take, as predicted: of those that take longer, whole periods are timed, and the mean round
        counts for the rest; those that are faster are timed several times.
    turns : int
        How often, at most.
    links : Path, optional
        Where the links file is left.
    tell : callable
        Called with what happens.
    timeout : float
        Of all timings together, in seconds.

    Returns
    -------
    Network, list of Row
        Rows in order of the seconds measured.

    Raises
    ------
    AssertionError
        If values are not what the matrices give, or errors have not shrunk as they should.
    """
    with network_hosts([rate * 1e6 for rate in case.rates]) as hosts:
        inside = inside or _calibrated(hosts, case)
        network = _through_a_file(links_of(case, inside), links)
        tell(f"inside a host {format_rate(inside.rate)}, {1e3 * inside.latency:.1f} ms a message")
        schedules = schedules_for(network, case.size, names)
        for name in (DESIGNED, NONNEGATIVE):
            tell(f"{name}: {schedules[name].provenance['search']['summary']}")
        times = {name: consensus_seconds(schedule, network, case.size, FACTOR) for name, schedule in schedules.items()}
        wanted = {}
        for name, schedule in schedules.items():
            rounds, predicted = times[name].worst_rounds, times[name].worst_seconds
            if rounds is None or predicted is None:
                raise AssertionError(f"{name} does not average")
            period = schedule.period
            fitting = max(1, int(most_seconds / times[name].seconds_per_round / period)) * period
            wanted[name] = schedule, min(rounds, fitting), max(1, min(turns, int(most_seconds / predicted)))
        slowest = max(allreduce_seconds(network, case.size, how) for how in ("ring", "tree"))
        reduce_turns = max(1, min(turns, int(most_seconds / slowest)))
        timed = hosts.run(time_all, wanted, case.size, reduce_turns, ranks_per_host=case.ranks, timeout=timeout)[0]
    rows = []
    for name, found in timed.items():
        if name in ALLREDUCES:
            rounds, predicted = 1, allreduce_seconds(network, case.size, ALLREDUCES[name])
        else:
            rounds, predicted = times[name].worst_rounds, times[name].worst_seconds
        if found.rounds == rounds and found.left > 1 / FACTOR:
            raise AssertionError(f"{name}: {rounds} rounds left {found.left:.2g} of the errors")
        seconds = tuple(each * rounds / found.rounds for each in found.seconds)
        middle = statistics.median(seconds)
        rows.append(Row(name, rounds, predicted / rounds, predicted, middle, seconds, found.rounds, found.left))
    return network, sorted(rows, key=lambda row: row.measured)


def _calibrated(hosts: Hosts, case: Case) -> Inside:
    return Inside(*hosts.run(calibrate, case, ranks_per_host=case.ranks, timeout=300.0)[0])


def _through_a_file(network: Network, path: Path | None) -> Network:
    with tempfile.TemporaryDirectory() as folder:
        path = path or Path(folder, "links.csv")
        network.save(path)
        return Network.load(path)


def table(rows: Sequence[Row]) -> str:
    """Write rows for people."""
    designed = next(row for row in rows if row.name == DESIGNED)
    lines = [
        f"{'':47} {'rounds':>6} {'predicted s a round':>20} {'predicted s':>12} {'measured s':>11} {'range':>16} "
        f"{'over designed':>14} {'errors left':>12}  timed"
    ]
    for row in rows:
        spread = f"{min(row.turns):.2f} to {max(row.turns):.2f}"
        left = "" if row.name in ALLREDUCES else f"{row.left:.1e}"
        lines.append(
            f"{row.name:47} {row.rounds:6} {row.per_round:20.3f} {row.predicted:12.2f} {row.measured:11.2f} "
            f"{spread:>16} {row.measured / designed.measured:14.2f} {left:>12}  {len(row.turns)} x {row.timed} rounds"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rates", type=float, nargs="+", default=list(RATES), help="Mbit/s of each host's card (%(default)s)"
    )
    parser.add_argument("--ranks", type=int, default=Case.ranks, help="on each host (%(default)s)")
    parser.add_argument("--size", default="1MB", help="of a message (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(NAMED), default=list(NAMED), help="named schedules to time")
    parser.add_argument("--seconds", type=float, default=25.0, help="to time one schedule for (%(default)s)")
    parser.add_argument("--links", type=Path, help="leave the links file there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    if len(options.rates) < 2 or options.ranks < 2 or min(options.rates) <= 0 or options.seconds <= 0:
        parser.error("it takes at least 2 hosts of at least 2 ranks, rates above 0, and some seconds")
    if not namespaces_allowed():
        sys.exit("this machine or this user may not make network namespaces; run as root where iproute2 is installed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # takes the hosts down
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # namespaces have no name server, which PyTorch remarks on
    case = Case(tuple(options.rates), options.ranks, int(parse_size(options.size)) // 4 * 4)
    load = os.getloadavg()[0]

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    _, rows = compare(case, options.only, most_seconds=options.seconds, links=options.links, tell=tell)
    if options.json:
        shown = {"rates": case.rates, "ranks": case.ranks, "size": case.size, "load": load}
        print(json.dumps({**shown, "rows": [row._asdict() for row in rows]}))
        return
    rates = ", ".join(f"{rate:g}" for rate in case.rates)
    print(
        f"{len(case.rates)} hosts of {case.ranks} ranks, cards of {rates} Mbit/s, messages of {case.size / 1e6:g} MB; "
        f"{os.cpu_count()} cores, load {load:.1f} before"
    )
    print(table(rows))


if __name__ == "__main__":
    main()
