"""The cost model against a real network: seconds measured and predicted of gossip rounds and all-reduce.

Hosts are network namespaces of this machine with links of a given rate (root is needed). On them `topokit measure`
finds the network and writes the links file, and the file predicts what is then timed: rounds of gossip, one of
them by the trainer's own exchange, gloo's all-reduce, and one over a binary tree::

    python tests/benchmarks/bench_network.py
    python tests/benchmarks/bench_network.py --rates 200 --hosts 4 --json
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from hosts import namespaces_allowed, network_hosts

from topokit.designer import design
from topokit.network import Network, allreduce_seconds, format_rate, round_seconds
from topokit.network.messages import messages_of_matrix
from topokit.schedule import Schedule
from topokit_trainer.config import TrainConfig
from topokit_trainer.exchange import Exchange, plan_round
from topokit_trainer.measure import MeasureSettings, measure
from topokit_trainer.world import World, open_world

__all__ = ["Case", "compare", "measure_and_time"]

TOPOLOGIES = ("ring", "one-peer-exponential", "exponential", "torus", "complete")
TRAINER = "ring (trainer)"
REPEATS = 5
SETTINGS = MeasureSettings(time_limit=120.0, device="cpu")
MESSAGE_SECONDS = 0.25  # that one message takes on the slowest link


@dataclass(frozen=True)
class Case:
    """Hosts of given rates, in Mbit/s, and how many ranks run on each."""

    rates: tuple[float, ...]
    ranks_per_host: int = 1

    @property
    def name(self) -> str:
        low, high = min(self.rates), max(self.rates)
        rates = f"{high:g} Mbit/s" if low == high else f"{high:g} Mbit/s, one {low:g}"
        ranks = "" if self.ranks_per_host == 1 else f", {self.ranks_per_host} ranks each"
        return f"{len(self.rates)} hosts, {rates}{ranks}"

    @property
    def size(self) -> int:
        """Bytes of a message."""
        return int(min(self.rates) * 1e6 / 8 * MESSAGE_SECONDS / 4) * 4


def measure_and_time(
    schedules: Sequence[Schedule], size: int, settings: MeasureSettings
) -> tuple[Network, dict[str, list[float]], float]:
    """On a rank: measure the network, then time rounds and all-reduces of so many bytes."""
    with open_world(TrainConfig(device="cpu", timeout=120)) as world:
        found = measure(world, settings)
        times = {}
        for schedule in schedules:
            rounds = [_repeated(world, _messages(world, schedule, t, size)) for t in range(schedule.period)]
            times[schedule.provenance["topology"]] = [statistics.mean(column) for column in zip(*rounds, strict=True)]
        times[TRAINER] = _repeated(world, _exchange(world, schedules[0], 0, size))
        values = torch.zeros(size // 4)
        times["all-reduce (gloo)"] = _repeated(world, lambda: dist.all_reduce(values))
        times["all-reduce (tree)"] = _repeated(world, lambda: _tree_allreduce(world, values))
        return found.network, times, found.seconds


def _repeated(world: World, function: Callable[[], Any]) -> list[float]:
    """Time a function that all ranks call: the time of the slowest, several times."""
    function()  # memory is touched and connections are open afterwards
    times = []
    for _ in range(REPEATS):
        world.barrier()
        start = time.perf_counter()
        function()
        world.barrier()  # until the last is done
        times.append(time.perf_counter() - start)
    return [max(column) for column in zip(*world.gather(times), strict=True)]


def _messages(world: World, schedule: Schedule, t: int, size: int) -> Callable[[], Any]:
    """Give a function that sends and receives the messages of a round in memory that is there already."""
    sent = messages_of_matrix(schedule.round(t))
    peers_in, peers_out = (
        sent.source[sent.target == world.rank].tolist(),
        sent.target[sent.source == world.rank].tolist(),
    )
    outgoing, inbox = torch.zeros(size // 4), torch.zeros((len(peers_in), size // 4))
    operations = [dist.P2POp(dist.irecv, row, peer) for row, peer in zip(inbox, peers_in, strict=True)]
    operations += [dist.P2POp(dist.isend, outgoing, peer) for peer in peers_out]
    return lambda: _together(operations)


def _exchange(world: World, schedule: Schedule, t: int, size: int) -> Callable[[], Any]:
    exchange, plan = Exchange(world), plan_round(schedule.round(t), world.rank, world.size)
    stack = torch.zeros((1, size // 4))
    return lambda: exchange.start([(plan.route, [stack])]).wait()


def _tree_allreduce(world: World, values: torch.Tensor) -> None:
    parent = (world.rank - 1) // 2
    children = [c for c in (2 * world.rank + 1, 2 * world.rank + 2) if c < world.size]
    inbox = [torch.empty_like(values) for _ in children]
    _together([dist.P2POp(dist.irecv, box, child) for box, child in zip(inbox, children, strict=True)])
    for box in inbox:
        values += box
    if world.rank:
        dist.send(values, parent)
        dist.recv(values, parent)
    _together([dist.P2POp(dist.isend, values, child) for child in children])


def _together(operations: list[dist.P2POp]) -> None:
    for work in dist.batch_isend_irecv(operations) if operations else ():
        work.wait()


def compare(
    case: Case,
    topologies: Sequence[str] = TOPOLOGIES,
    *,
    size: int | None = None,
    settings: MeasureSettings = SETTINGS,
    timeout: float = 600.0,
) -> dict[str, Any]:
    """Measure a network, predict from the links file, and time.

    Returns
    -------
    dict
        ``rows`` of (what, measured seconds, predicted seconds, ratio), the ``network`` found, and what its links
        of each rate came to.
    """
    nodes, size = len(case.rates) * case.ranks_per_host, size or case.size
    schedules = [design(name, nodes) for name in topologies]
    with network_hosts([rate * 1e6 for rate in case.rates]) as hosts:
        results = hosts.run(
            measure_and_time, schedules, size, settings, ranks_per_host=case.ranks_per_host, timeout=timeout
        )
    network, times, seconds = results[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "links.csv")
        network.save(path)
        network = Network.load(path)
    predicted = {s.provenance["topology"]: round_seconds(s, network, size).seconds for s in schedules}
    predicted[TRAINER] = predicted[schedules[0].provenance["topology"]]
    predicted["all-reduce (gloo)"] = allreduce_seconds(network, size)
    predicted["all-reduce (tree)"] = allreduce_seconds(network, size, "tree")
    rows = []
    for what, measured in times.items():
        middle = statistics.median(measured)
        rows.append((what, middle, predicted[what], predicted[what] / middle))
    return {"case": case.name, "network": network, "rows": rows, "seconds": seconds}


def link_errors(case: Case, network: Network) -> list[float]:
    """Give for each pair of hosts the measured over the true rate of their link, the smaller of both ends'."""
    first = [host.nodes[0] for host in sorted(network.hosts, key=lambda host: host.nodes)]
    pairs = [(a, b) for a in range(len(first)) for b in range(len(first)) if a != b]
    rate = network.link([first[a] for a, _ in pairs], [first[b] for _, b in pairs])[0] * 8 / 1e6
    return [float(r) / min(case.rates[a], case.rates[b]) for r, (a, b) in zip(rate, pairs, strict=True)]


def cases(rates: Sequence[float], hosts: int) -> list[Case]:
    """Give the cases of the table."""
    found = [Case((rate,) * hosts) for rate in rates]
    found.append(Case((200.0,) * (hosts // 2), ranks_per_host=2))
    found.append(Case((100.0, *(200.0,) * (hosts - 1))))
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[100, 200, 1000], help="Mbit/s (%(default)s)")
    parser.add_argument("--hosts", type=int, default=8, help="number of hosts (%(default)s)")
    parser.add_argument("--only", type=int, help="run one case, counted from 0")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    if not namespaces_allowed():
        sys.exit("this machine or this user may not make network namespaces; run as root where iproute2 is installed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # takes the hosts down
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # namespaces have no name server, which PyTorch remarks on
    wanted = cases(options.rates, options.hosts)
    for case in wanted if options.only is None else wanted[options.only : options.only + 1]:
        found = compare(case)
        network = found["network"]
        errors = link_errors(case, network)
        if options.json:
            ratios = {"link_over_rate": [min(errors), max(errors)], "rows": found["rows"]}
            print(json.dumps({"case": found["case"], **ratios}), flush=True)
            continue
        print(f"{found['case']}; messages of {case.size / 1e6:g} MB; measured in {found['seconds']:.0f} s")
        print(f"  links: {min(errors):.3f} to {max(errors):.3f} of the rate of their hosts")
        for host in network.hosts:
            shown = ", ".join(f"{what} {format_rate(getattr(host, what))}" for what in ("send", "receive", "both"))
            print(f"  {host.name}: {shown}")
        print(f"  fabric {format_rate(network.fabric)}")
        for what, measured, predicted, ratio in found["rows"]:
            print(f"  {what:22} measured {measured:7.3f} s  predicted {predicted:7.3f} s  ratio {ratio:.2f}")
        print(flush=True)


if __name__ == "__main__":
    main()
