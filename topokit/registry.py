"""The registry: one entry for each topology and weighting, read by the command line, the docs and the tests.

A new family is one function with one decorator; everything that lists, designs, documents or tests families finds it
here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from scipy import sparse

from topokit.adjacency import adjacency_of_edges
from topokit.errors import GraphError, InputError
from topokit.kinds import Kind
from topokit.matrix import Graph, IntArray, MixingMatrix

__all__ = ["Numbered", "Promise", "Topology", "Weighting", "TOPOLOGIES", "WEIGHTS", "topology", "weighting"]

MAX_TRIED = 500_000  # sizes; to find that none of them will do takes a second or so

Built: TypeAlias = "Graph | MixingMatrix | tuple[MixingMatrix, ...] | Kind"


class Optimised(Protocol):
    """Weights that come with a proof of how good they are."""

    @property
    def stopped(self) -> str:
        """Why the search ended; "interrupt" for Ctrl-C."""

    @property
    def matrix(self) -> MixingMatrix:
        """The mixing matrix."""

    def provenance(self) -> dict[str, Any]:
        """Give what a schedule file says about them."""

    def sentence(self) -> str:
        """Say how good they are."""


class _Entry(Protocol):
    @property
    def name(self) -> str: ...


EntryT = TypeVar("EntryT", bound=_Entry)
BuilderT = TypeVar("BuilderT", bound=Callable[..., Any])


class Registry(Mapping[str, EntryT], Generic[EntryT]):
    """Entries by name, in the order in which they were added.

    Parameters
    ----------
    what : str
        What an entry is called in messages, for instance ``"topology"``.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, EntryT] = {}

    def add(self, entry: EntryT) -> None:
        """Add an entry; a name can be taken once."""
        if entry.name in self._entries:
            raise InputError(f"a {self.what} named {entry.name!r} is registered already")
        self._entries[entry.name] = entry

    def __getitem__(self, name: str) -> EntryT:
        try:
            return self._entries[name]
        except KeyError:
            near = get_close_matches(name, self._entries, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self._entries)}"
            raise InputError(f"unknown {self.what} {name!r}; {hint}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _any_size(nodes: int, **_: Any) -> str | None:
    return None if nodes >= 2 else "needs at least 2 nodes"


@dataclass(frozen=True)
class Promise:
    """What a family promises for one number of nodes; the tests hold every family to it.

    Attributes
    ----------
    degree : int
        Most peers that a node receives from, or sends to, in a round.
    period : int or None
        Number of rounds after which the schedule repeats; None where rounds are drawn at random.
    exact : bool or None
        Whether a period averages exactly; None where nothing is promised.
    """

    degree: int
    period: int | None = 1
    exact: bool | None = None


@dataclass(frozen=True)
class Numbered:
    """Names such as ``base-3`` for a family with a parameter: ``base`` with ``peers=2``.

    Attributes
    ----------
    parameter : str
        The parameter that the number stands for.
    offset : int
        What to add to the parameter to get the number in the name.
    """

    parameter: str
    offset: int


@dataclass(frozen=True)
class Topology:
    """One named family of communication topologies.

    Attributes
    ----------
    name : str
        Name on the command line, for instance ``"one-peer-exponential"``.
    kind : {"static", "sequence", "random"}
        A static family is one round; a sequence is a period of rounds; a random family draws its rounds from a seed.
    summary : str
        One line for lists.
    source : str
        Where the construction comes from.
    build : callable
        ``build(nodes, **parameters)``, giving a networkx graph (static families that leave the weights to a
        weighting), a `MixingMatrix` (static families with weights of their own), a tuple of them (sequences), or a
        `topokit.kinds.Kind`.
    obstacle : callable
        ``obstacle(nodes, **parameters)`` gives None where the family exists, else the reason why not ("needs a power
        of two"); `build` calls `require`, which asks it.
    edges : callable or None
        ``edges(nodes, **parameters)`` gives the edges of a graph that exists as an array of shape (m, 2), each once;
        of a directed graph, (u, v) is the edge u -> v. `build` makes its networkx graph of them, `adjacency` a sparse
        matrix. None for families that are no graphs, and for small ones.
    weights : str or None
        The weighting used when none is asked for; None where the family brings its own weights.
    directed : bool
        Whether messages go one way.
    sizes, degree, period, exact : str
        For lists, in words and formulas of n and of the parameters: for which numbers of nodes it exists, most peers
        of a node in a round, rounds of a period, when a period averages exactly.
    promise : callable or None
        ``promise(nodes, **parameters)`` gives a `Promise`, which says the same in numbers.
    instead : tuple of str
        Names of families worth naming where this one does not exist.
    numbered : Numbered or None
        Whether names with a number stand for this family.
    takes_graph : bool
        Whether its parameter ``graph`` may be a graph of the user's own.
    ranked : bool
        Whether `topokit.recommend` considers it; False for curiosities and for special cases of another family.
    """

    name: str
    kind: Literal["static", "sequence", "random"]
    summary: str
    source: str
    build: Callable[..., Built]
    obstacle: Callable[..., str | None] = _any_size
    edges: Callable[..., IntArray] | None = None
    weights: str | None = "metropolis-hastings"
    directed: bool = False
    sizes: str = "any"
    degree: str = ""
    period: str = "1"
    exact: str = "no"
    promise: Callable[..., Promise] | None = None
    instead: tuple[str, ...] = ("base-2",)
    numbered: Numbered | None = None
    takes_graph: bool = False
    ranked: bool = True

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters besides the number of nodes, with their defaults (`inspect.Parameter.empty` where required)."""
        signature = inspect.signature(self.build)
        return {name: p.default for name, p in signature.parameters.items() if name != "nodes"}

    @property
    def leaves_weights(self) -> bool:
        """Whether it builds a graph and leaves the weights to a weighting."""
        return self.kind == "static" and self.weights is not None

    def adjacency(self, nodes: int, **parameters: Any) -> sparse.csr_array:
        """Build the adjacency matrix of a graph; of one with `edges`, no networkx graph is made on the way.

        Parameters
        ----------
        nodes : int
            Number of nodes.
        **parameters
            Those of `build`.

        Returns
        -------
        sparse array of int64, shape (nodes, nodes)
            A[u, v] = 1 if u sends to v.

        Raises
        ------
        InputError
            If the family is no graph that leaves its weights to a weighting.
        GraphError
            If it does not exist for this number of nodes.

        Examples
        --------
        >>> import topokit.topologies
        >>> TOPOLOGIES["path"].adjacency(3).toarray().tolist()
        [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
        """
        if not self.leaves_weights:
            raise InputError(f"{self.name} is no graph without weights: build gives its rounds")
        directed = self.directed or bool(parameters.get("directed"))
        if self.edges is None:
            graph: Any = self.build(nodes, **parameters)
            edges = np.array(graph.edges, dtype=np.int64).reshape(-1, 2)
        else:
            self.require(nodes, **parameters)
            edges = self.edges(nodes, **parameters)
        return adjacency_of_edges(nodes, edges, directed=directed)

    def label(self, parameters: Mapping[str, Any]) -> str:
        """Give the name, with its number where the family has names with one: ``base-3`` for ``peers=2``."""
        if self.numbered is None or self.numbered.parameter not in parameters:
            return self.name
        return f"{self.name}-{parameters[self.numbered.parameter] + self.numbered.offset}"

    def require(self, nodes: int, **parameters: Any) -> None:
        """Refuse sizes at which the family does not exist, naming the nearest that do.

        Raises
        ------
        GraphError
            With the reason and the nearest sizes below and above.
        """
        unknown = sorted(set(parameters) - set(self.parameters))
        if unknown:
            known = ", ".join(self.parameters) or "none"
            raise InputError(f"{self.name} has no parameter {unknown[0]!r}; its parameters: {known}")
        reason = self.obstacle(nodes, **parameters)
        if reason is None:
            return
        near = self.nearest(nodes, **parameters)
        hint = f": {' or '.join(map(str, near))} would do" if near else ""
        others = [name for name in self.instead if TOPOLOGIES.exists(name, nodes)] if nodes >= 2 else []
        if others:
            hint += f"{';' if near else ':'} {' and '.join(others)} exist{'s' if len(others) == 1 else ''} for {nodes}"
        raise GraphError(f"{self.name} {reason}, got {nodes}{hint}")

    def nearest(self, nodes: int, **parameters: Any) -> list[int]:
        """Give the nearest smaller and larger sizes at which the family exists (searched up to twice the size).

        Of more than a million nodes, half a million sizes are tried each way, and no more.
        """
        least, most = max(2, nodes - MAX_TRIED), min(2 * max(nodes, 4), nodes + MAX_TRIED)
        below = next((m for m in range(nodes - 1, least - 1, -1) if self.obstacle(m, **parameters) is None), None)
        above = next((m for m in range(nodes + 1, most) if self.obstacle(m, **parameters) is None), None)
        return [m for m in (below, above) if m is not None]


@dataclass(frozen=True)
class Weighting:
    """One way to give a graph mixing weights.

    Attributes
    ----------
    name : str
        Name on the command line, for instance ``"metropolis-hastings"``.
    summary : str
        One line for lists.
    source : str
        Where it comes from.
    build : callable
        ``build(graph, **parameters)``, giving a `MixingMatrix`; the graph is a networkx graph or a sparse adjacency
        matrix.
    exact : bool
        Whether the weights are exact fractions.
    mixing : {"doubly-stochastic", "column-stochastic"}
        Which sums are one: rows and columns, or columns alone (push-sum).
    optimise : callable or None
        ``optimise(graph, **options)`` gives the same matrix as `build` with a proof, and takes a time limit and the
        like; None for rules that are no optimisation.
    """

    name: str
    summary: str
    source: str
    build: Callable[..., MixingMatrix]
    exact: bool = True
    mixing: Literal["doubly-stochastic", "column-stochastic"] = "doubly-stochastic"
    optimise: Callable[..., Optimised] | None = None


class TopologyRegistry(Registry[Topology]):
    """The registry of topologies, which also knows names with a number: ``base-3`` is ``base`` with ``peers=2``."""

    def resolve(self, name: str) -> tuple[Topology, dict[str, Any]]:
        """Give the family that a name stands for, and the parameters that the name fixes.

        Raises
        ------
        InputError
            If there is no such family.

        Examples
        --------
        >>> import topokit.topologies
        >>> TOPOLOGIES.resolve("ring")[1], TOPOLOGIES.resolve("base-3")[1]
        ({}, {'peers': 2})
        """
        match = re.fullmatch(r"(.+)-([0-9]+)", name)
        if name not in self and match and match[1] in self:
            entry = self[match[1]]
            if (rule := entry.numbered) is not None:
                return entry, {rule.parameter: int(match[2]) - rule.offset}
        return self[name], {}

    def knows(self, name: str) -> bool:
        """Say whether a name stands for a family."""
        try:
            self.resolve(name)
        except InputError:
            return False
        return True

    def exists(self, name: str, nodes: int) -> bool:
        """Say whether a family exists for a number of nodes."""
        entry, parameters = self.resolve(name)
        return entry.obstacle(nodes, **parameters) is None


TOPOLOGIES = TopologyRegistry("topology")
WEIGHTS: Registry[Weighting] = Registry("weighting")


def topology(
    name: str, kind: Literal["static", "sequence", "random"], **attributes: Any
) -> Callable[[BuilderT], BuilderT]:
    """Register the decorated builder as a topology; the attributes are those of `Topology`."""

    def register(build: BuilderT) -> BuilderT:
        TOPOLOGIES.add(Topology(name=name, kind=kind, build=build, **attributes))
        return build

    return register


def weighting(name: str, **attributes: Any) -> Callable[[BuilderT], BuilderT]:
    """Register the decorated builder as a weighting; the attributes are those of `Weighting`."""

    def register(build: BuilderT) -> BuilderT:
        WEIGHTS.add(Weighting(name=name, build=build, **attributes))
        return build

    return register
