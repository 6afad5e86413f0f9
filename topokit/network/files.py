"""The links file: tables of hosts, of the fabric and of links in one CSV file that a person can write."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from topokit.errors import InputError
from topokit.files import read_bytes, write_text
from topokit.network.model import End, Host, Link, Network
from topokit.network.quantities import format_rate, format_seconds, parse_rate, parse_seconds

__all__ = ["dumps", "load", "loads", "save"]

HOSTS = ("host", "nodes", "send", "receive", "both", "inside")
FABRIC = ("fabric", "overhead")
LINKS = ("from", "to", "bandwidth", "latency")
REQUIRED = {"host": HOSTS[:2], "fabric": FABRIC[:1], "from": LINKS}
MOST_NODES = 1_000_000


def load(path: str | Path, *, nodes: int | None = None) -> Network:
    """Read a links file.

    Raises
    ------
    InputError
        If it cannot be read or is malformed; the message names the line.
    """
    return loads(read_bytes(path), str(path), nodes=nodes)


def save(network: Network, path: str | Path) -> None:
    """Write a links file at once.

    Raises
    ------
    InputError
        If the file cannot be written; an old file is left as it was.
    """
    write_text(path, dumps(network))


def loads(data: bytes | str, origin: str = "<string>", *, nodes: int | None = None) -> Network:
    r"""Read the text of a links file; `origin` names it in messages.

    Raises
    ------
    InputError
        If it is malformed; the message names the line.

    Examples
    --------
    >>> network = loads("from,to,bandwidth,latency\n*,*,1Gbit/s,1ms\n0,1,100Mbit/s,1ms\n", nodes=4)
    >>> [float(rate) for rate in network.link([0, 1], [1, 0])[0]], network.hosts[0].send
    ([12500000.0, 125000000.0], 125000000.0)
    """
    draft = _Draft(origin)
    draft.read(data)
    return draft.finish(nodes)


def dumps(network: Network) -> str:
    """Give the text of the links file.

    Examples
    --------
    >>> print(dumps(Network.uniform(2, "1Gbit/s", "50us", duplex="half")))
    host,nodes,send,receive,both,inside
    host0,0,1Gbit/s,1Gbit/s,1Gbit/s,inf
    host1,1,1Gbit/s,1Gbit/s,1Gbit/s,inf
    <BLANKLINE>
    from,to,bandwidth,latency
    *,*,1Gbit/s,50us
    <BLANKLINE>
    """
    tables = [[HOSTS, *(_host_cells(host) for host in network.hosts)]]
    if network.fabric < math.inf or network.overhead > 0:
        tables.append([FABRIC, (format_rate(network.fabric), format_seconds(network.overhead))])
    rows = [
        (_show(k.source), _show(k.target), format_rate(k.bandwidth), format_seconds(k.latency)) for k in network.links
    ]
    tables.append([LINKS, *rows])
    return "\n".join("".join(",".join(row) + "\n" for row in table) for table in tables)


def _host_cells(host: Host) -> tuple[str, ...]:
    return (host.name, _show_nodes(host.nodes), *map(format_rate, (host.send, host.receive, host.both, host.inside)))


def _show(end: End) -> str:
    return "*" if end is None else str(end)


def _show_nodes(nodes: Iterable[int]) -> str:
    runs: list[list[int]] = []
    for node in sorted(nodes):
        if runs and runs[-1][1] == node - 1:
            runs[-1][1] = node
        else:
            runs.append([node, node])
    return " ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


@dataclass
class _Draft:
    """The network while it is being read, with the lines on which things stand."""

    origin: str
    hosts: list[tuple[Host, dict[str, str]]] = field(default_factory=list)
    host_lines: dict[str, int] = field(default_factory=dict)
    node_lines: dict[int, int] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    link_lines: dict[tuple[End, End], int] = field(default_factory=dict)
    fabric: float = math.inf
    overhead: float = 0.0
    fabric_line: int | None = None
    tables: dict[str, int] = field(default_factory=dict)

    def fail(self, line: int | None, message: str) -> NoReturn:
        place = self.origin if line is None else f"{self.origin}: line {line}"
        raise InputError(f"{place}: {message}") from None

    @contextmanager
    def at(self, line: int) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self.fail(line, str(error))

    def read(self, data: bytes | str) -> None:
        columns: Sequence[str] = ()
        for line, cells in self._rows(data):
            if cells[0] in REQUIRED:
                columns = self._columns(line, cells)
            elif not columns:
                self.fail(
                    line, f"a table starts with its header, for instance {','.join(LINKS)}, not with {cells[0]!r}"
                )
            elif len(cells) > len(columns):
                self.fail(line, f"there are {len(cells)} cells under {len(columns)} columns ({', '.join(columns)})")
            else:
                named = dict(zip(columns, cells, strict=False))
                for name in REQUIRED[columns[0]]:
                    if not named.get(name):
                        self.fail(line, f"the column {name} is empty; expected a value")
                ROWS[columns[0]](self, line, named)
        if "from" not in self.tables:
            self.fail(None, f"there is no table of links in it; expected a line {','.join(LINKS)} and rows below it")
        if not self.links:
            self.fail(self.tables["from"], "the table of links is empty; expected rows such as *,*,1Gbit/s,50us")

    def _rows(self, data: bytes | str) -> Iterator[tuple[int, list[str]]]:
        try:
            text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        except UnicodeDecodeError as error:
            self.fail(None, f"it is not UTF-8 text (byte {error.start})")
        reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        try:
            for row in reader:
                cells = [cell.strip() for cell in row]
                if any(cells) and not cells[0].startswith("#"):
                    yield reader.line_num, cells
        except csv.Error as error:
            self.fail(reader.line_num, f"it is not CSV: {error}")

    def _columns(self, line: int, cells: list[str]) -> Sequence[str]:
        known = {"host": HOSTS, "fabric": FABRIC, "from": LINKS}[cells[0]]
        if cells[0] in self.tables:
            self.fail(line, f"there was a table that starts with {cells[0]} before, in line {self.tables[cells[0]]}")
        for name in cells:
            if name not in known:
                self.fail(line, f"there is no column {name!r} in this table; expected {', '.join(known)}")
            if cells.count(name) > 1:
                self.fail(line, f"the column {name} is named twice")
        for name in REQUIRED[cells[0]]:
            if name not in cells:
                self.fail(line, f"the column {name} is missing; expected {', '.join(known)}")
        self.tables[cells[0]] = line
        return cells

    def add_host(self, line: int, cells: Mapping[str, str]) -> None:
        name = cells["host"]
        if name in self.host_lines:
            self.fail(line, f"the host {name} was given before, in line {self.host_lines[name]}")
        self.host_lines[name] = line
        nodes: list[int] = []
        for part in cells["nodes"].split():
            nodes += self._node_range(line, part)
        for node in nodes:
            if node in self.node_lines:
                self.fail(line, f"node {node} was given before, in line {self.node_lines[node]}; expected one host")
            self.node_lines[node] = line
        self.hosts.append((Host(name, tuple(nodes)), {what: cells.get(what, "") for what in HOSTS[2:]}))
        with self.at(line):
            for what in HOSTS[2:]:
                if cells.get(what):
                    parse_rate(cells[what], f"the column {what}")

    def _node_range(self, line: int, part: str) -> range:
        first, dash, last = part.partition("-")
        bounds = (first, last if dash else first)
        if not all(text.isdecimal() and text.isascii() and len(text) < 10 for text in bounds):
            self.fail(line, f"nodes are {part!r}; expected numbers and ranges such as 0-3 or 0 4 8")
        low, high = map(int, bounds)
        if high < low:
            self.fail(line, f"the range of nodes {part} is empty; expected the smaller number first")
        if high >= MOST_NODES:
            self.fail(line, f"node {high} is beyond the {MOST_NODES} nodes that a links file can have")
        return range(low, high + 1)

    def add_fabric(self, line: int, cells: Mapping[str, str]) -> None:
        if self.fabric_line is not None:
            self.fail(line, f"there is a row for the fabric in line {self.fabric_line} already; expected one")
        self.fabric_line = line
        with self.at(line):
            self.fabric = parse_rate(cells["fabric"], "the column fabric")
            self.overhead = parse_seconds(cells.get("overhead") or 0.0, "the column overhead")

    def add_link(self, line: int, cells: Mapping[str, str]) -> None:
        ends = self._end(line, cells["from"]), self._end(line, cells["to"])
        if ends in self.link_lines:
            self.fail(line, f"the link {cells['from']},{cells['to']} was given before, in line {self.link_lines[ends]}")
        self.link_lines[ends] = line
        with self.at(line):
            bandwidth = parse_rate(cells["bandwidth"], "the column bandwidth")
            self.links.append(Link(*ends, bandwidth, parse_seconds(cells["latency"], "the column latency")))

    def _end(self, line: int, text: str) -> End:
        if text == "*":
            return None
        return self._node_range(line, text)[0] if text.isdecimal() else text

    def finish(self, nodes: int | None) -> Network:
        if not self.hosts:
            named = [end for link in self.links for end in (link.source, link.target) if isinstance(end, int)]
            if nodes is None and not named:
                self.fail(None, "it says nothing of the number of nodes; add a table host,nodes,send,receive")
            count = max(named, default=-1) + 1 if nodes is None else nodes
            self.hosts = [(Host(f"host{k}", (k,)), {}) for k in range(count)]
        total = sum(len(host.nodes) for host, _ in self.hosts)
        if nodes is not None and nodes != total:
            self.fail(None, f"it describes {total} nodes, and {nodes} are wanted")
        for (source, target), line in self.link_lines.items():
            for end in (source, target):
                self._check_end(end, total, line)
        for missing in (node for node in range(total) if self.node_lines and node not in self.node_lines):
            self.fail(
                None, f"node {missing} is on no host, but the hosts hold {total} nodes; expected 0 to {total - 1}"
            )
        try:
            bare = Network(tuple(host for host, _ in self.hosts), tuple(self.links), self.fabric, self.overhead)
            return replace(bare, hosts=tuple(self._with_rates(bare)))
        except InputError as error:
            self.fail(None, str(error))

    def _check_end(self, end: End, total: int, line: int) -> None:
        if isinstance(end, int) and end >= total:
            self.fail(line, f"there is no node {end}; nodes are numbered 0 to {total - 1}")
        if isinstance(end, str) and end not in self.host_lines:
            self.fail(line, f"there is no host {end} in the table of hosts; expected a host, the number of a node or *")

    def _with_rates(self, network: Network) -> Iterator[Host]:
        fastest: tuple[np.ndarray, np.ndarray] | None = None
        for k, (host, cells) in enumerate(self.hosts):
            rates = {what: parse_rate(text) if text else math.inf for what, text in cells.items()}
            if not cells.get("send") or not cells.get("receive"):
                if fastest is None:
                    fastest = _fastest_links(network)
                for what, rate in zip(("send", "receive"), fastest, strict=True):
                    if not cells.get(what):
                        rates[what] = float(rate[k])
            yield Host(host.name, host.nodes, **rates)


def _fastest_links(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Give for each host the bandwidth of its fastest link to another host, and from one; infinite without any."""
    send, receive = np.zeros(len(network.hosts)), np.zeros(len(network.hosts))
    everyone = np.arange(network.nodes)
    # What all nodes share needs no look at every pair.
    uniform = all(link.source is None and link.target is None for link in network.links)
    for node in everyone[:1] if uniform else everyone:
        apart = everyone[network.host_of != network.host_of[node]]
        bandwidth = np.nan_to_num(network.link(np.full(apart.shape, node), apart)[0], posinf=math.inf)
        k = network.host_of[node]
        send[k] = max(send[k], bandwidth.max(initial=0))
        np.maximum.at(receive, network.host_of[apart], bandwidth)
    if uniform:
        send[:] = receive[:] = send[network.host_of[0]]
    return np.where(send > 0, send, math.inf), np.where(receive > 0, receive, math.inf)


ROWS: dict[str, Callable[[_Draft, int, Mapping[str, str]], None]] = {
    "host": _Draft.add_host,
    "fabric": _Draft.add_fabric,
    "from": _Draft.add_link,
}
