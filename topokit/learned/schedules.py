"""Schedules of what was learned, which say how it was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topokit import __version__
from topokit.designer import design_graph
from topokit.learned.graphs import LearnedGraph
from topokit.learned.on_network import NetworkGraph
from topokit.learned.sequences.learned_sequence import LearnedSequence
from topokit.schedule import Schedule

__all__ = ["graph_schedule", "sequence_schedule"]


def graph_schedule(
    found: LearnedGraph | NetworkGraph,
    weights: str | None = None,
    *,
    weight_options: Mapping[str, Any] | None = None,
    name: str = "learned",
) -> Schedule:
    """Make the schedule that repeats one round on a learned graph.

    Parameters
    ----------
    found : LearnedGraph or NetworkGraph
    weights : str, optional
        A name from `topokit.registry.WEIGHTS`; by default what suits the objective.
    weight_options : mapping, optional
        Of optimal weights; see `topokit.design`.
    name : str
        What to call the topology.

    Examples
    --------
    >>> from topokit.learned.graphs import learn
    >>> from topokit.learned.limits import Limits
    >>> schedule = graph_schedule(learn(Limits(6, max_degree=3), searches=1))
    >>> schedule.name, schedule.provenance["weights"], schedule.provenance["search"]["objective"]
    ('learned-6', 'laplacian', 'laplacian')
    """
    graph = found.graph if isinstance(found, NetworkGraph) else found
    schedule = design_graph(graph.adjacency, weights or found.weights, weight_options=weight_options, name=name)
    said = graph.provenance()
    if isinstance(found, NetworkGraph) and weights in (None, found.weights):
        said |= {"objective": "seconds", "value": found.seconds, "summary": found.sentence()}
    return _with_search(schedule, said)


def sequence_schedule(found: LearnedSequence, *, name: str = "learned-sequence") -> Schedule:
    """Make the schedule that repeats a learned sequence of rounds.

    Examples
    --------
    >>> from topokit.learned import learn_sequence
    >>> schedule = sequence_schedule(learn_sequence(6))
    >>> schedule.period, schedule.claims.exact_averaging
    (3, True)
    """
    schedule = Schedule.cyclic(found.rounds, provenance={"topology": name, "topokit": __version__})
    return _with_search(schedule, found.provenance())


def _with_search(schedule: Schedule, said: Mapping[str, Any]) -> Schedule:
    provenance = {**schedule.provenance, "search": {key: value for key, value in said.items() if value is not None}}
    return Schedule.of(schedule.rule, provenance=provenance, claims=schedule.claims, placement=schedule.placement)
