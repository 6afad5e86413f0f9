"""A network: which node is on which host, what a host's network card carries, and what each link between nodes does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from topokit.errors import InputError
from topokit.matrix import FloatArray, IntArray
from topokit.network.quantities import parse_rate, parse_seconds

__all__ = ["Duplex", "End", "Host", "Link", "Network"]

Duplex = Literal["full", "half"]
End = int | str | None  # a node, all nodes of a host, or all nodes

RESERVED = {"host", "fabric", "from"}  # what the tables of a links file start with


@dataclass(frozen=True)
class Host:
    """A machine, and what the network card that its nodes share can carry. Rates are bytes a second.

    Attributes
    ----------
    name : str
    nodes : tuple of int
        The nodes on it.
    send, receive : float
        What all its nodes together can send to other hosts, and receive from them.
    both : float
        What they can send and receive at the same time, in sum; infinite for a full-duplex card, whose directions do
        not disturb each other.
    inside : float
        What all messages between its own nodes together can take; infinite where only their links limit them.
    """

    name: str
    nodes: tuple[int, ...]
    send: float = math.inf
    receive: float = math.inf
    both: float = math.inf
    inside: float = math.inf

    @property
    def duplex(self) -> Duplex:
        """Half if sending and receiving together are hardly faster than the faster of them alone."""
        return "half" if self.both < 1.25 * max(self.send, self.receive) else "full"


@dataclass(frozen=True)
class Link:
    """What a message from some nodes to some others meets, when nothing else is under way.

    Attributes
    ----------
    source, target : int, str or None
        A node, the name of a host for all its nodes, or None for all nodes.
    bandwidth : float
        Bytes a second.
    latency : float
        Seconds that a message takes on top of its bytes.
    """

    source: End
    target: End
    bandwidth: float
    latency: float = 0.0


class _Rows(NamedTuple):
    """Links that name the same kind of ends, by key."""

    source_kind: type
    target_kind: type
    keys: IntArray
    bandwidth: FloatArray
    latency: FloatArray


@dataclass(frozen=True)
class Network:
    """Hosts, the links between their nodes, and what limits them all.

    Parameters
    ----------
    hosts : tuple of Host
        Together they hold every node 0 to n - 1 once.
    links : tuple of Link
        For a pair of nodes the last link that fits it holds.
    fabric : float, default infinite
        Bytes a second that all hosts together can send to each other: the switch between them, say.
    overhead : float, default 0
        Seconds that a node is busy with each message of a round beyond its first, whether it sends or receives it.

    Raises
    ------
    InputError
        If a node is missing or on two hosts, a name is used twice, a rate is not above 0, or a link names a host or a
        node that is not there.

    Examples
    --------
    >>> network = Network.uniform(8, "1Gbit/s", "50us", nodes_per_host=4)
    >>> network.nodes, [host.nodes for host in network.hosts]
    (8, [(0, 1, 2, 3), (4, 5, 6, 7)])
    """

    hosts: tuple[Host, ...]
    links: tuple[Link, ...]
    fabric: float = math.inf
    overhead: float = 0.0

    def __post_init__(self) -> None:
        _check_hosts(self.hosts)
        for host in self.hosts:
            for what in ("send", "receive", "both", "inside"):
                _check_rate(getattr(host, what), f"the rate '{what}' of host {host.name}")
        _check_rate(self.fabric, "the rate of the fabric")
        if not 0 <= self.overhead < math.inf:
            raise InputError(f"the overhead is {self.overhead}; expected seconds, 0 or more")
        names = {host.name for host in self.hosts}
        for link in self.links:
            for end in (link.source, link.target):
                if isinstance(end, str) and end not in names:
                    raise InputError(f"a link names the host {end}, which is none of the {len(names)} hosts")
                if isinstance(end, int) and not 0 <= end < self.nodes:
                    raise InputError(f"a link names node {end}, but nodes are numbered 0 to {self.nodes - 1}")
            _check_rate(link.bandwidth, f"the bandwidth of the link {show_link(link)}")
            if not 0 <= link.latency < math.inf:
                raise InputError(
                    f"the latency of the link {show_link(link)} is {link.latency}; expected seconds, 0 or more"
                )

    @classmethod
    def uniform(
        cls,
        nodes: int,
        bandwidth: str | float,
        latency: str | float = 0.0,
        *,
        duplex: Duplex = "full",
        nodes_per_host: int = 1,
        inside_bandwidth: str | float = math.inf,
        inside_latency: str | float = 0.0,
    ) -> Network:
        """Make a network of equal hosts, each behind a network card of one rate.

        Parameters
        ----------
        nodes : int
            Number of nodes n.
        bandwidth : str or float
            What a host can send, and what it can receive: "1Gbit/s", or bytes a second.
        latency : str or float, default 0
            Of a message between two hosts: "50us", or seconds.
        duplex : {"full", "half"}
            Whether a host can send and receive at the same time at full rate, or shares one rate between both.
        nodes_per_host : int, default 1
            Nodes that share a host, by number: the first so many are on the first.
        inside_bandwidth, inside_latency : str or float, default infinite and 0
            Of each message between two nodes of one host.

        Raises
        ------
        InputError
            If a number makes no sense, or the nodes do not fill the hosts.

        Examples
        --------
        >>> network = Network.uniform(4, "1Gbit/s", "1ms", duplex="half")
        >>> network.hosts[0].both, network.link([0], [3])
        (125000000.0, (array([1.25e+08]), array([0.001])))
        """
        if nodes < 1:
            raise InputError(f"a network needs at least one node, got {nodes}")
        if nodes_per_host < 1 or nodes % nodes_per_host:
            raise InputError(f"{nodes} nodes do not fill hosts of {nodes_per_host}; expected a divisor of {nodes}")
        if duplex not in ("full", "half"):
            raise InputError(f"duplex is {duplex!r}; expected 'full' or 'half'")
        rate, delay = parse_rate(bandwidth), parse_seconds(latency)
        inner, inner_delay = parse_rate(inside_bandwidth, "the bandwidth inside"), parse_seconds(inside_latency)
        starts = range(0, nodes, nodes_per_host)
        both = rate if duplex == "half" else math.inf
        hosts = tuple(
            Host(f"host{k}", tuple(range(start, start + nodes_per_host)), rate, rate, both)
            for k, start in enumerate(starts)
        )
        links = [Link(None, None, rate, delay)]
        if nodes_per_host > 1:
            links += [Link(host.name, host.name, inner, inner_delay) for host in hosts]
        return cls(hosts, tuple(links))

    @classmethod
    def load(cls, path: str | Path, *, nodes: int | None = None) -> Network:
        """Read a links file; docs/network.md describes it.

        Parameters
        ----------
        path : str or Path
        nodes : int, optional
            Number of nodes that the network must have. It is needed where the file neither lists hosts nor names nodes.

        Raises
        ------
        InputError
            If the file cannot be read or is malformed; the message names the line.
        """
        from topokit.network.files import load

        return load(path, nodes=nodes)

    def save(self, path: str | Path) -> None:
        """Write a links file, from which `load` makes the same network.

        Raises
        ------
        InputError
            If the file cannot be written; an old file is left as it was.
        """
        from topokit.network.files import save

        save(self, path)

    @cached_property
    def nodes(self) -> int:
        """Number of nodes n."""
        return sum(len(host.nodes) for host in self.hosts)

    @cached_property
    def host_of(self) -> IntArray:
        """Index of the host of each node, shape (n,)."""
        result = np.empty(self.nodes, dtype=np.int64)
        for k, host in enumerate(self.hosts):
            result[list(host.nodes)] = k
        return result

    def link(self, source: ArrayLike, target: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Look up the links of pairs of nodes.

        Parameters
        ----------
        source, target : array_like of int, shape (m,)

        Returns
        -------
        bandwidth, latency : ndarray of float64, shape (m,)
            Bytes a second, and seconds; NaN where no link fits.
        """
        ends: dict[type, tuple[IntArray, IntArray]] = {
            int: (np.asarray(source, dtype=np.int64), np.asarray(target, dtype=np.int64))
        }
        ends[str] = (self.host_of[ends[int][0]], self.host_of[ends[int][1]])
        zeros = np.zeros_like(ends[int][0])
        ends[type(None)] = (zeros, zeros)
        bandwidth, latency = np.full(zeros.shape, np.nan), np.full(zeros.shape, np.nan)
        for rows in self._rows:
            wanted = ends[rows.source_kind][0] * self.nodes + ends[rows.target_kind][1]
            place = np.minimum(np.searchsorted(rows.keys, wanted), rows.keys.size - 1)
            hit = rows.keys[place] == wanted
            bandwidth[hit] = rows.bandwidth[place[hit]]
            latency[hit] = rows.latency[place[hit]]
        return bandwidth, latency

    @cached_property
    def _rows(self) -> tuple[_Rows, ...]:
        """Links in runs of the same kind of ends, in their order: within a run ends differ, so that order is free."""
        index = {host.name: k for k, host in enumerate(self.hosts)}

        def key(link: Link) -> int:
            source, target = (
                index[end] if isinstance(end, str) else 0 if end is None else end for end in (link.source, link.target)
            )
            return source * self.nodes + target

        runs = []
        for kinds, group in groupby(self.links, lambda link: (type(link.source), type(link.target))):
            links = {key(link): link for link in group}  # of two with the same ends the last stays
            keys = np.array(sorted(links), dtype=np.int64)
            values = np.array([(links[k].bandwidth, links[k].latency) for k in keys.tolist()])
            runs.append(_Rows(*kinds, keys, values[:, 0], values[:, 1]))
        return tuple(runs)


def show_link(link: Link) -> str:
    """Name a link in a message.

    Examples
    --------
    >>> show_link(Link(0, None, 1.0))
    'from 0 to *'
    """
    source, target = ("*" if end is None else end for end in (link.source, link.target))
    return f"from {source} to {target}"


def _check_rate(rate: float, what: str) -> None:
    if not rate > 0:
        raise InputError(f"{what} is {rate}; expected bytes a second, above 0")


def _check_hosts(hosts: Sequence[Host]) -> None:
    seen: dict[int, str] = {}
    names: set[str] = set()
    for host in hosts:
        if not _is_name(host.name):
            raise InputError(f"a host is called {host.name!r}; expected a name that is no number and no header")
        if host.name in names:
            raise InputError(f"two hosts are called {host.name}; expected different names")
        names.add(host.name)
        for node in host.nodes:
            if node in seen:
                raise InputError(f"node {node} is on host {seen[node]} and on host {host.name}; expected one host")
            seen[node] = host.name
    missing = _first_missing(seen)
    if missing is not None:
        raise InputError(f"node {missing} is on no host, but hosts hold {len(seen)} nodes; expected 0 to n - 1")
    if not seen:
        raise InputError("a network needs at least one node, and there is no host with one")


def _is_name(name: str) -> bool:
    plain = name.strip() == name and name.isprintable() and not set(name) & set(',"*#')
    return bool(name) and plain and not name.isdecimal() and name not in RESERVED


def _first_missing(nodes: Iterable[int]) -> int | None:
    present = set(nodes)
    return next((node for node in range(len(present)) if node not in present), None)
