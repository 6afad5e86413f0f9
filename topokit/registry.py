"""The registry: one entry for each topology and weighting, read by the command line, the docs and the tests.

A new family is one function with one decorator; everything that lists, designs, documents or tests families finds it
here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Generic, Literal, Protocol, TypeVar

from topokit.errors import GraphError, InputError
from topokit.matrix import Graph, MixingMatrix

__all__ = ["Topology", "Weighting", "TOPOLOGIES", "WEIGHTS", "topology", "weighting"]


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
class Topology:
    """One named family of communication topologies.

    Attributes
    ----------
    name : str
        Name on the command line, for instance ``"one-peer-exponential"``.
    kind : {"static", "sequence"}
        A static family builds a graph, which a weighting turns into a mixing matrix; a sequence builds the mixing
        matrices of one period itself.
    summary : str
        One line for lists.
    source : str
        Where the construction comes from.
    build : callable
        ``build(nodes, **parameters)``, giving a networkx graph or a tuple of `MixingMatrix`.
    obstacle : callable
        ``obstacle(nodes, **parameters)`` gives None where the family exists, else the reason why not ("needs a power
        of two").
    weights : str
        The weighting used when none is asked for (static families).
    directed : bool
        Whether messages go one way.
    """

    name: str
    kind: Literal["static", "sequence"]
    summary: str
    source: str
    build: Callable[..., Graph | tuple[MixingMatrix, ...]]
    obstacle: Callable[..., str | None] = _any_size
    weights: str = "metropolis-hastings"
    directed: bool = False

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters besides the number of nodes, with their defaults (`inspect.Parameter.empty` where required)."""
        signature = inspect.signature(self.build)
        return {name: p.default for name, p in signature.parameters.items() if name != "nodes"}

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
        raise GraphError(f"{self.name} {reason}, got {nodes}{hint}")

    def nearest(self, nodes: int, **parameters: Any) -> list[int]:
        """Give the nearest smaller and larger sizes at which the family exists (searched up to twice the size)."""
        below = next((m for m in range(nodes - 1, 1, -1) if self.obstacle(m, **parameters) is None), None)
        above = next((m for m in range(nodes + 1, 2 * max(nodes, 4)) if self.obstacle(m, **parameters) is None), None)
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
        ``build(graph, **parameters)``, giving a `MixingMatrix`.
    exact : bool
        Whether the weights are exact fractions.
    """

    name: str
    summary: str
    source: str
    build: Callable[..., MixingMatrix]
    exact: bool = True


TOPOLOGIES: Registry[Topology] = Registry("topology")
WEIGHTS: Registry[Weighting] = Registry("weighting")


def topology(name: str, kind: Literal["static", "sequence"], **attributes: Any) -> Callable[[BuilderT], BuilderT]:
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
