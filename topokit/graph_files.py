"""A user's own graph from a file: edge-list CSV, GraphML, node-link JSON, or a SciPy ``.npz`` adjacency matrix.

Every reader comes down to the same list of labelled edges, which is checked and numbered in one place.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

import networkx as nx
import numpy as np

from topokit.errors import GraphError, InputError
from topokit.files import read_bytes
from topokit.matrix import Graph

__all__ = ["read_graph", "relabel"]

SOURCE_NAMES = {"source", "from", "src"}
TARGET_NAMES = {"target", "to", "dst"}


def read_graph(path: str | Path, *, directed: bool | None = None) -> Graph:
    r"""Read a graph; the suffix of the file name says how.

    ==============  ==================================================================================================
    suffix          content
    ==============  ==================================================================================================
    ``.csv``        one edge a line, ``source,target`` or ``source,target,weight``; a header line may name the columns
                    in any order and case (others are ignored, but Gephi's ``Type`` tells directed from undirected);
                    commas, semicolons or tabs; blank lines and lines that start with ``#`` are skipped
    ``.graphml``    GraphML
    ``.json``       networkx node-link data, edges under ``edges`` or, in older files, ``links``
    ``.npz``        a sparse adjacency matrix A written by `scipy.sparse.save_npz`: undirected if symmetric, else
                    A[u, v] is the edge u -> v
    ==============  ==================================================================================================

    Parameters
    ----------
    path : str or Path
        The file.
    directed : bool, optional
        Whether the edges of a CSV file go one way; the other formats say so themselves. Default: as the column
        ``Type`` says, else undirected.

    Returns
    -------
    networkx.Graph or networkx.DiGraph
        Nodes 0 to n - 1 (see `relabel`); edges carry ``weight`` where the file gives weights: a float, or a Fraction
        where it is written as one ("1/3"). An edge u -> v says that u sends to v.

    Raises
    ------
    GraphError
        Naming the file and the line or the edge: a file that cannot be read, an edge given twice or to a node that is
        not declared, a weight that is no number, no edges at all.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "triangle.csv")
    ...     _ = file.write_text("source,target\na,b\nb,c\nc,a\n")
    ...     graph = read_graph(file)
    >>> list(graph.edges), graph.nodes[2]
    ([(0, 1), (0, 2), (1, 2)], {'label': 'c'})
    """
    suffix = Path(path).suffix.lower()
    if suffix not in READERS:
        raise GraphError(f"{path}: the name of a graph file ends in {', '.join(READERS)}, not {suffix or 'nothing'!r}")
    if directed is not None and suffix != ".csv":
        raise GraphError(f"{path}: a {suffix} file says itself whether it is directed; leave the option out")
    try:
        data = read_bytes(path)
    except InputError as error:
        raise GraphError(str(error)) from None
    draft = _Draft(str(path), asked=directed, directed=bool(directed))
    READERS[suffix](draft, data)
    return draft.finish()


def relabel(graph: Graph) -> Graph:
    """Renumber the nodes 0 to n - 1, keeping the old names as node attribute ``label`` where they change.

    Integers keep their order, other names the order in which the graph lists them.

    Examples
    --------
    >>> graph = relabel(nx.Graph([(7, 3), (3, 9)]))
    >>> graph.edges(0), graph.nodes[1]
    (EdgeDataView([(0, 1), (0, 2)]), {'label': 7})
    """
    names: list[Any] = list(graph.nodes)
    if all(isinstance(name, int | np.integer) for name in names):
        names.sort()
    if names == list(range(len(names))):
        result: Graph = graph.__class__()
        result.add_nodes_from((name, graph.nodes[name]) for name in names)
    else:
        result = graph.__class__()
        result.add_nodes_from((i, {**graph.nodes[name], "label": name}) for i, name in enumerate(names))
    number = {name: i for i, name in enumerate(names)}
    result.add_edges_from((number[u], number[v], data) for u, v, data in graph.edges(data=True))
    return result


@dataclass
class _Draft:
    """The graph while it is being read: labels, and for each edge its data and where in the file it stands."""

    file: str
    asked: bool | None = None
    directed: bool = False
    declared: dict[Hashable, dict[str, Any]] = field(default_factory=dict)
    edges: dict[tuple[Hashable, Hashable], dict[str, Any]] = field(default_factory=dict)
    places: dict[tuple[Hashable, Hashable], str] = field(default_factory=dict)

    def fail(self, message: str) -> NoReturn:
        raise GraphError(f"{self.file}: {message}") from None

    def add_edge(self, u: Hashable, v: Hashable, place: str, weight: Any = None) -> None:
        """Add an edge, once; the weight may be text."""
        for key in ((u, v),) if self.directed else ((u, v), (v, u)):
            if key in self.edges:
                hint = "" if self.directed or key == (u, v) else " (an undirected edge goes both ways)"
                self.fail(f"{place}: the edge {u} - {v} was given before, in {self.places[key]}{hint}")
        self.declared.setdefault(u, {})
        self.declared.setdefault(v, {})
        self.places[u, v] = place
        self.edges[u, v] = {} if weight is None else {"weight": self._weight(weight, place)}

    def _weight(self, value: Any, place: str) -> Fraction | float:
        number: Fraction | float | None = None
        try:
            if isinstance(value, str) and "/" in value:
                number = Fraction(value.strip())
            elif not isinstance(value, bool):
                number = float(value)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            pass
        if number is None or not isfinite(number):
            self.fail(f"{place}: the weight {value!r} is not a finite number")
        return number

    def finish(self) -> Graph:
        if not self.edges:
            self.fail("there are no edges in it")
        graph: Graph = nx.DiGraph() if self.directed else nx.Graph()
        names = {name: name for name in self.declared}
        if all(isinstance(name, str) and _is_integer(name) for name in names):
            names = {name: int(str(name)) for name in names}
        graph.add_nodes_from((names[name], data) for name, data in self.declared.items())
        graph.add_edges_from((names[u], names[v], data) for (u, v), data in self.edges.items())
        return relabel(graph)


def _is_integer(text: str) -> bool:
    """Whether the text is an integer in the one way of writing it ("07" and "7" are different names)."""
    return text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 19 and str(int(text)) == text


def _read_csv(draft: _Draft, data: bytes) -> None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        draft.fail(f"it is not UTF-8 text (byte {error.start})")
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    delimiter = max(",;\t", key=first.count)
    columns: dict[str, int] | None = None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    seen = None if draft.asked is None else (draft.asked, "what was asked for")
    try:
        for row in reader:
            place = f"line {reader.line_num}"
            cells = [cell.strip() for cell in row]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if columns is None:
                columns = _header(cells)
                if columns is not None:
                    continue
                columns = {"source": 0, "target": 1, "weight": 2}
                if len(cells) > 3:
                    draft.fail(f"{place}: {len(cells)} columns without a header; an edge is source,target[,weight]")
            named = {name: cells[k] for name, k in columns.items() if k < len(cells) and cells[k]}
            if "source" not in named or "target" not in named:
                draft.fail(f"{place}: an edge needs source{delimiter}target[{delimiter}weight], found {row!r}")
            if "type" in named:
                kind = _edge_type(draft, named["type"], place)
                if seen is not None and seen[0] != kind:
                    draft.fail(
                        f"{place}: the edge is {named['type']!r}, but {seen[1]} is not; all edges are of one type"
                    )
                seen = (kind, place) if seen is None else seen
                draft.directed = kind
            draft.add_edge(named["source"], named["target"], place, named.get("weight"))
    except csv.Error as error:
        draft.fail(f"line {reader.line_num}: {error}")


def _header(cells: list[str]) -> dict[str, int] | None:
    """Find the columns if the line names them."""
    names = [cell.lower() for cell in cells]
    source = next((k for k, name in enumerate(names) if name in SOURCE_NAMES), None)
    target = next((k for k, name in enumerate(names) if name in TARGET_NAMES), None)
    if source is None or target is None:
        return None
    others: dict[str, int] = {name: names.index(name) for name in ("weight", "type") if name in names}
    return {"source": source, "target": target, **others}


def _edge_type(draft: _Draft, text: str, place: str) -> bool:
    if text.lower() not in ("directed", "undirected"):
        draft.fail(f"{place}: the type of an edge is Directed or Undirected, not {text!r}")
    return text.lower() == "directed"


def _read_graphml(draft: _Draft, data: bytes) -> None:
    from xml.etree.ElementTree import ParseError

    try:
        graph = nx.read_graphml(io.BytesIO(data), node_type=str)
    except ParseError as error:
        draft.fail(f"it is not well-formed XML: {error}")
    except (nx.NetworkXError, KeyError, ValueError, TypeError, AttributeError, StopIteration) as error:
        draft.fail(f"it is not a GraphML graph that can be used: {error or type(error).__name__}")
    draft.directed = graph.is_directed()
    draft.declared.update((node, dict(attributes)) for node, attributes in graph.nodes(data=True))
    for u, v, attributes in graph.edges(data=True):
        draft.add_edge(u, v, f"the edge {u} - {v}", attributes.get("weight"))


def _read_json(draft: _Draft, data: bytes) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                draft.fail(f"the key {key!r} is given twice in one object")
            result[key] = value
        return result

    try:
        document = json.loads(data, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        draft.fail(f"line {error.lineno}, column {error.colno}: it is not JSON: {error.msg}")
    except (UnicodeDecodeError, RecursionError) as error:
        draft.fail(f"it is not JSON: {error}")
    if not isinstance(document, dict) or not isinstance(document.get("nodes"), list):
        draft.fail("node-link data is an object with a list 'nodes' and a list 'edges'")
    if "edges" in document and "links" in document:
        draft.fail("it has both 'edges' and 'links'; keep one")
    key = "links" if "links" in document else "edges"
    if not isinstance(document.get(key), list):
        draft.fail("node-link data is an object with a list 'nodes' and a list 'edges'")
    draft.directed = document.get("directed", False)
    if not isinstance(draft.directed, bool):
        draft.fail(f"'directed' is true or false, not {draft.directed!r}")
    for k, node in enumerate(document["nodes"]):
        name = _end(draft, node, "id", f"nodes[{k}]")
        if name in draft.declared:
            draft.fail(f"nodes[{k}]: the node {name!r} is declared twice")
        draft.declared[name] = {attribute: value for attribute, value in node.items() if attribute != "id"}
    for k, edge in enumerate(document[key]):
        place = f"{key}[{k}]"
        u, v = (_end(draft, edge, end, place) for end in ("source", "target"))
        for end in (u, v):
            if end not in draft.declared:
                draft.fail(f"{place}: the edge {u} - {v} joins the node {end!r}, which 'nodes' does not declare")
        draft.add_edge(u, v, place, edge.get("weight"))


def _end(draft: _Draft, item: Any, key: str, place: str) -> Hashable:
    if not isinstance(item, dict) or key not in item:
        draft.fail(f"{place}: it needs a {key!r}")
    name = item[key]
    if isinstance(name, bool) or not isinstance(name, int | str):
        draft.fail(f"{place}: {key!r} is an integer or a text, not {name!r}")
    return name


def _read_npz(draft: _Draft, data: bytes) -> None:
    from zipfile import BadZipFile

    from scipy import sparse

    try:
        matrix: Any = sparse.coo_array(sparse.load_npz(io.BytesIO(data)))
    except (ValueError, KeyError, OSError, EOFError, BadZipFile, TypeError, IndexError, AttributeError):
        draft.fail("it is not a sparse matrix written by scipy.sparse.save_npz")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        draft.fail(f"an adjacency matrix is square, this one has shape {matrix.shape}")
    if matrix.dtype.kind not in "bifu":
        draft.fail(f"an adjacency matrix holds real numbers, this one {matrix.dtype}")
    csr = matrix.tocsr().astype(np.float64)
    csr.sum_duplicates()
    csr.eliminate_zeros()
    draft.directed = bool(np.abs((csr - csr.T).data).max(initial=0) > 0)
    draft.declared.update((i, {}) for i in range(csr.shape[0]))
    coo = csr.tocoo()
    weighted = bool((coo.data != 1).any())
    entries: Iterable[tuple[int, int, float]] = zip(
        coo.coords[0].tolist(), coo.coords[1].tolist(), coo.data.tolist(), strict=True
    )
    for u, v, weight in entries:
        if draft.directed or u <= v:
            draft.add_edge(u, v, f"entry ({u}, {v})", weight if weighted else None)


READERS: dict[str, Callable[[_Draft, bytes], None]] = {
    ".csv": _read_csv,
    ".graphml": _read_graphml,
    ".json": _read_json,
    ".npz": _read_npz,
}
