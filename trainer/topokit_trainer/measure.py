"""Measuring the cluster that this world runs on: the network between its ranks, as the cost model wants it.

Every link is first measured alone, while nothing else uses the network cards of its two hosts; then under load, which
shows what hosts share: each host sending, receiving, and doing both, to several others at once; then all hosts at once.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

from topokit.errors import InputError
from topokit.matrix import FloatArray
from topokit.network import Host, Link, Network, message_seconds
from topokit.words import count
from topokit_trainer.config import TrainConfig
from topokit_trainer.probes import Flow, PairTime, Probes, lost_ranks
from topokit_trainer.world import World, open_world

__all__ = ["MeasureSettings", "Measurement", "measure", "pair_steps", "run_measurement"]

SECONDS = 0.2  # that the largest message takes, if there is time
LEAST_SECONDS = 0.005
LARGEST = 64e6  # bytes of a message, unless asked for
FAN = 8  # hosts that one host talks to at once under load
NOTICEABLE = 1.1  # times the predicted time: what all hosts together cannot do is blamed on what lies between them
DIGITS = 4

Pair = tuple[int, int]


@dataclass(frozen=True)
class MeasureSettings:
    """How to measure.

    Attributes
    ----------
    size : float or None
        Bytes of the largest message; None for what passes in 0.2 s, at most 64 MB.
    repeats : int
        How often each size is timed.
    time_limit : float
        Seconds that measuring may take; messages get smaller to fit. It gives up after twice as many.
    every_pair : bool
        Whether to measure all pairs of ranks, also where several share a host; otherwise one pair of ranks for each
        pair of hosts, and all inside a host.
    device, backend, timeout
        As in `TrainConfig`.
    """

    size: float | None = None
    repeats: int = 4
    time_limit: float = 300.0
    every_pair: bool = False
    device: str = "auto"
    backend: Literal["auto", "gloo", "nccl"] = "auto"
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1024:
            raise InputError(f"--size is {self.size:g} bytes; expected at least 1kB, so that a rate can be told")
        if self.repeats < 1:
            raise InputError(f"--repeats is {self.repeats}; expected at least 1")
        if not self.time_limit > 0:
            raise InputError(f"--time-limit is {self.time_limit}; expected seconds, above 0")


@dataclass(frozen=True)
class Measurement:
    """What was found.

    Attributes
    ----------
    network : Network
        One node for each rank.
    seconds : float
        That measuring took.
    notes : tuple of str
        What a reader should know about the figures.
    """

    network: Network
    seconds: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give everything as JSON values; what is unlimited is null."""

        def finite(values: dict[str, Any]) -> dict[str, Any]:
            return {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in values.items()}

        return {
            "nodes": self.network.nodes,
            "hosts": [finite(asdict(host)) | {"duplex": host.duplex} for host in self.network.hosts],
            "links": [finite(asdict(link)) for link in self.network.links],
            **finite({"fabric": self.network.fabric, "overhead": self.network.overhead}),
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


class _Place(NamedTuple):
    """Where a rank runs: ranks that agree in machine and network share a network card."""

    name: str
    machine: str
    network: str


def run_measurement(settings: MeasureSettings, path: str | Path | None, report: Callable[[str], None]) -> Measurement:
    """Join the ranks that the launcher started, measure, and write the links file on rank 0.

    Raises
    ------
    InputError
        If there is no second rank, or the file cannot be written.
    TopokitError
        If a rank is lost.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        raise InputError(
            "a network is measured by several ranks, and this process is alone; start it on every machine as: "
            "torchrun --nproc-per-node 8 -m topokit_cli measure --out links.csv"
        )
    config = TrainConfig(device=settings.device, backend=settings.backend, timeout=settings.timeout)
    with lost_ranks(), open_world(config) as world:
        with world.agreed():
            if world.rank == 0 and path is not None and not Path(path).parent.is_dir():
                raise InputError(f"cannot write {path}: the folder {Path(path).parent} does not exist")
        found = measure(world, settings, report)
        with world.agreed():
            if world.rank == 0 and path is not None:
                found.network.save(path)
        world.barrier()
    return found


def measure(world: World, settings: MeasureSettings, report: Callable[[str], None] = lambda line: None) -> Measurement:
    """Measure the network between the ranks of a world; every rank gets the result.

    Parameters
    ----------
    world : World
        Of at least two ranks.
    settings : MeasureSettings
    report : callable, optional
        Takes lines about the progress; it is called on rank 0.

    Raises
    ------
    InputError
        If the time limit is too short for so many ranks.
    """
    say = report if world.rank == 0 else (lambda line: None)
    with lost_ranks():
        hosts = _hosts(world.gather(_place()))
    every_pair = settings.every_pair or all(len(ranks) == 1 for ranks in hosts.values())
    steps = pair_steps(list(hosts.values()), every_pair)
    seconds = _affordable(len(steps), len(hosts), settings)
    size = LARGEST if settings.size is None else settings.size
    probes = Probes(world, settings.repeats, size)
    planned = _duration(len(steps), len(hosts), settings.repeats, seconds)
    say(f"{world.size} ranks on {count(len(hosts), 'host')}: about {planned:.0f} s, if messages do not run into --size")
    start = time.monotonic()
    probes.connect()
    alone = _measure_alone(world, probes, steps, seconds, max(10.0, 2 * settings.time_limit), say)
    links = _links(hosts, alone, every_pair)
    bare = Network(tuple(Host(name, tuple(ranks)) for name, ranks in hosts.items()), links)
    say("under load")
    loaded = _measure_hosts(bare, probes, seconds, size)
    fabric = _measure_fabric(loaded, probes, seconds, size)
    overhead = _measure_overhead(world.size, probes)
    notes = []
    if fabric < math.inf:
        notes.append(
            "all hosts at once are slower than their network cards: a shared switch, or processors, limit them together"
        )
    network = Network(loaded.hosts, loaded.links, _rate(fabric), _rounded(overhead))
    found: Measurement = world.first(Measurement(network, time.monotonic() - start, tuple(notes)))
    return found


def pair_steps(hosts: Sequence[Sequence[int]], every_pair: bool) -> list[list[Pair]]:
    """Order the pairs of ranks in steps, so that in each a host takes part in one pair at most.

    Host pairs follow the circle method: with H hosts, H - 1 rounds (H if H is odd) of disjoint pairs hold each once.

    Parameters
    ----------
    hosts : sequence of sequences of int
        The ranks on each host.
    every_pair : bool
        Whether to take all pairs of ranks of two hosts, or the first ranks for all.

    Returns
    -------
    list of list of (int, int)
        Ordered pairs (sender, receiver); every pair inside a host is among them.

    Examples
    --------
    >>> pair_steps([[0], [1], [2]], every_pair=True)
    [[(1, 2)], [(2, 1)], [(0, 2)], [(2, 0)], [(0, 1)], [(1, 0)]]
    """
    steps: list[list[Pair]] = []

    def add(sequences: Iterable[list[Pair]]) -> None:
        steps.extend([pair for pair in step if pair is not None] for step in zip_longest(*sequences))

    add([(a, b) for a in ranks for b in ranks if a != b] for ranks in hosts)
    seats = len(hosts) + len(hosts) % 2
    order = list(range(seats))
    for _ in range(seats - 1):
        matches = [(order[k], order[seats - 1 - k]) for k in range(seats // 2)]
        sequences = []
        for first, second in matches:
            if max(first, second) < len(hosts):
                low, high = (hosts[k] if every_pair else hosts[k][:1] for k in sorted((first, second)))
                sequences.append([pair for a in low for b in high for pair in ((a, b), (b, a))])
        add(sequences)
        order = [order[0], order[-1], *order[1:-1]]
    return steps


def _place() -> _Place:
    def first_line(path: str) -> str:
        try:
            return Path(path).read_text().strip()
        except OSError:
            return ""

    try:
        network = os.readlink("/proc/self/ns/net")
    except OSError:
        network = ""
    name = socket.gethostname().split(".")[0]
    return _Place(name, first_line("/proc/sys/kernel/random/boot_id") or name, network)


def _hosts(places: Sequence[_Place]) -> dict[str, list[int]]:
    """Give the ranks of each host under a name of its own."""
    groups: dict[tuple[str, str], list[int]] = {}
    for rank, place in enumerate(places):
        groups.setdefault((place.machine, place.network), []).append(rank)
    named: dict[str, list[int]] = {}
    for ranks in groups.values():
        plain = "".join(c if c.isalnum() or c in "-_" else "-" for c in places[ranks[0]].name) or "host"
        base = f"host-{plain}" if plain.isdecimal() or plain in ("host", "from", "fabric") else plain
        name, k = base, 2
        while name in named:
            name, k = f"{base}-{k}", k + 1
        named[name] = ranks
    return named


def _duration(steps: int, hosts: int, repeats: int, seconds: float) -> float:
    """Estimate the time of measuring: each pair looks for its size, then sends three; under load there are two."""
    alone = steps * (seconds * (1.75 * repeats + 1.7) + 0.02)
    loads = 4 * hosts + 2
    return alone + loads * seconds * (1.25 * repeats + 1) + 1


def _affordable(steps: int, hosts: int, settings: MeasureSettings) -> float:
    """Give the seconds that the largest message may take."""
    fixed = _duration(steps, hosts, settings.repeats, 0.0)
    each = _duration(steps, hosts, settings.repeats, 1.0) - fixed
    seconds = min(SECONDS, (settings.time_limit - fixed) / each)
    if seconds < LEAST_SECONDS:
        needed = _duration(steps, hosts, settings.repeats, LEAST_SECONDS)
        raise InputError(
            f"--time-limit is {settings.time_limit:g} s, and measuring {steps} steps takes at least {needed:.0f} s; "
            "allow more time or fewer --repeats"
        )
    return seconds


def _measure_alone(
    world: World,
    probes: Probes,
    steps: Sequence[Sequence[Pair]],
    seconds: float,
    limit: float,
    say: Callable[[str], None],
) -> dict[Pair, PairTime]:
    mine: dict[Pair, PairTime] = {}
    start = time.monotonic()
    for k, step in enumerate(steps):
        if k % max(1, len(steps) // 10) == 0:
            say(f"alone: step {k} of {len(steps)}")
        for sender, receiver in step:
            if world.rank == sender:
                mine[sender, receiver] = probes.pair(receiver, seconds)
            elif world.rank == receiver:
                probes.answer(sender)
        if world.first(time.monotonic() - start > limit):
            raise InputError(
                f"links are so slow that {limit:g} s are over after step {k + 1} of {len(steps)}; "
                "allow more time with --time-limit or start fewer ranks"
            )
    found: dict[Pair, PairTime] = {}
    for part in world.gather(mine):
        found.update(part)
    return found


def _links(hosts: dict[str, list[int]], alone: dict[Pair, PairTime], every_pair: bool) -> tuple[Link, ...]:
    home = {rank: name for name, ranks in hosts.items() for rank in ranks}
    links = []
    for (a, b), (bandwidth, latency) in sorted(alone.items()):
        shared = every_pair or home[a] == home[b]
        source, target = (a, b) if shared else (home[a], home[b])
        links.append(Link(source, target, _rate(bandwidth), _rounded(latency)))
    # Links between hosts before those inside them, each sorted: the file reads better.
    return tuple(sorted(links, key=lambda link: isinstance(link.source, int)))


def _measure_hosts(network: Network, probes: Probes, seconds: float, size: float) -> Network:
    """Find what each host sends, receives, does of both, and does inside, with several ranks at once."""
    hosts = []
    for k, host in enumerate(network.hosts):
        send = receive = both = inside = math.inf
        if len(network.hosts) > 1:
            out, into = _fan(network, k, seconds, size), _fan(network, k, seconds, size, inwards=True)
            # A card does at least what a single link through it did.
            send, receive = (max(probes.load(flows), _alone_rates(network, flows).max()) for flows in (out, into))
            both = max(probes.load([*out, *into]), send, receive)
            both = both if both < send + receive else math.inf
        if len(host.nodes) > 1:
            inner = _inside(network, k, seconds, size)
            inside = probes.load(inner)
            inside = inside if inside < _alone_rates(network, inner).sum() else math.inf
        hosts.append(Host(host.name, host.nodes, *map(_rate, (send, receive, both, inside))))
    return Network(tuple(hosts), network.links)


def _fan(network: Network, k: int, seconds: float, size: float, *, inwards: bool = False) -> list[Flow]:
    """Give flows of one host to others, or back, that together take about so long.

    Sizes follow the rates of the links, so that a slow peer does not hold up the others.
    """
    others = len(network.hosts) - 1
    step = max(1, others // FAN)
    peers = [(k + 1 + j * step) % (others + 1) for j in range(min(FAN, others))]
    own = network.hosts[k].nodes
    pairs: list[Pair] = []
    for j in range(max(len(peers), len(own))):
        theirs = network.hosts[peers[j % len(peers)]].nodes
        pair = own[j % len(own)], theirs[(j // len(peers)) % len(theirs)]
        pairs.append((pair[1], pair[0]) if inwards else pair)
    rates = network.link([a for a, _ in pairs], [b for _, b in pairs])[0]
    total = min(seconds * rates.max(), size)
    return [Flow(a, b, int(total * rate / rates.sum())) for (a, b), rate in zip(pairs, rates.tolist(), strict=True)]


def _inside(network: Network, k: int, seconds: float, size: float) -> list[Flow]:
    """Give flows of every node of a host to the next and the one before."""
    nodes = network.hosts[k].nodes
    pairs = sorted({(a, nodes[(j + o) % len(nodes)]) for j, a in enumerate(nodes) for o in (1, -1)})
    rates = network.link([a for a, _ in pairs], [b for _, b in pairs])[0]
    share = seconds / len(nodes)
    return [Flow(a, b, int(min(size, rate * share))) for (a, b), rate in zip(pairs, rates.tolist(), strict=True)]


def _alone_rates(network: Network, flows: Sequence[Flow]) -> FloatArray:
    """Give what the links of flows carry alone."""
    return network.link([flow.source for flow in flows], [flow.target for flow in flows])[0]


def _measure_fabric(network: Network, probes: Probes, seconds: float, size: float) -> float:
    """Find what all hosts together can send; infinite where that is what their network cards can."""
    if len(network.hosts) < 3:
        return math.inf
    flows = [flow for k in range(len(network.hosts)) for flow in _fan(network, k, seconds, size)]
    rate = probes.load(flows)
    sizes = [flow.size for flow in flows]
    predicted = message_seconds(network, [f.source for f in flows], [f.target for f in flows], sizes).transfer
    return rate if sum(sizes) / rate > NOTICEABLE * predicted else math.inf


def _measure_overhead(ranks: int, probes: Probes) -> float:
    """Find what each further message costs a rank, when all have several: a round of k peers has 2k messages a rank."""
    most = min(FAN, ranks - 1)
    if most < 2:
        return 0.0
    return max(0.0, (probes.small(most) - probes.small(1)) / (2 * (most - 1)))


def _rate(value: float) -> float:
    """Round a rate so that it has few digits in bits a second."""
    return _rounded(8 * value) / 8


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
