"""What ``topokit design --learn`` searches for: a graph within limits, or a sequence of rounds."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from topokit.errors import GraphError, InputError
from topokit_cli.output import out
from topokit_cli.weight_options import Ticker

if TYPE_CHECKING:
    from topokit.learned import LearnedSequence, Limits
    from topokit.matrix import Graph
    from topokit.network import Network
    from topokit.schedule import Schedule

__all__ = ["LearnOptions", "learned", "placed"]

FEW = 24  # nodes up to which a search is over before processes have started
SEQUENCE_SHARE = 0.5  # of the time, where a graph and a sequence are searched for


@dataclass(frozen=True)
class LearnOptions:
    """The options of a search, as given."""

    objective: str | None
    period: str | None
    max_degree: int | None
    edges: int | None
    min_edges: int | None
    nodes_per_host: int | None
    host_edges: int | None
    weights: str | None
    time_limit: float | None
    workers: int | None
    seed: int

    def require_none(self) -> None:
        """Refuse options that serve --learn alone."""
        given = {
            "--objective": self.objective,
            "--period": self.period,
            "--edges": self.edges,
            "--min-edges": self.min_edges,
            "--host-edges": self.host_edges,
            "--workers": self.workers,
        }
        for option, value in given.items():
            if value is not None:
                raise typer.BadParameter("it serves --learn alone: add --learn", param_hint=f"'{option}'")


def learned(
    nodes: int,
    options: LearnOptions,
    *,
    graph: Graph | None,
    network: Network | None,
    message_bytes: str | None,
    weight_options: dict[str, Any],
) -> Schedule:
    """Search, and make a schedule of what was found."""
    limits = _limits(nodes, options, graph, network)
    workers = options.workers or (1 if nodes <= FEW else os.cpu_count() or 1)
    if options.period is not None:
        return _sequence(limits, options, network, message_bytes)
    if network is None or options.objective not in (None, "seconds"):
        from topokit.learned import graph_schedule, learn

        objective = options.objective or _objective_of(options.weights)
        if objective == "seconds":
            raise typer.BadParameter(
                "seconds depend on a network: give --links FILE or --bandwidth, and --model-size",
                param_hint="'--objective'",
            )
        found = learn(
            limits, objective, seed=options.seed, time_limit=options.time_limit, workers=workers, progress=Ticker()
        )
        return graph_schedule(found, options.weights, weight_options=weight_options)
    assert message_bytes is not None
    return _on_network(limits, options, network, message_bytes, workers)


def _limits(nodes: int, options: LearnOptions, graph: Graph | None, network: Network | None) -> Limits:
    import numpy as np

    from topokit.learned import Limits

    allowed = None
    if graph is not None:
        if graph.is_directed():
            raise GraphError("a search is for exchanges, and this graph is directed: leave --directed out")
        allowed = [(min(pair), max(pair)) for pair in graph.edges if pair[0] != pair[1]]
    given = {"max_degree": options.max_degree, "edges": options.edges, "min_edges": options.min_edges}
    if network is not None:
        limits = Limits.of_network(network, allowed=allowed, host_edges=options.host_edges, **given)
    else:
        per_host = options.nodes_per_host
        if options.host_edges is not None and per_host is None:
            raise typer.BadParameter("hosts are not known: give --nodes-per-host too", param_hint="'--host-edges'")
        if per_host is not None and (nodes % per_host or options.host_edges is None):
            raise InputError(
                f"{nodes} nodes do not fill hosts of {per_host}; expected a divisor of {nodes}"
                if nodes % per_host
                else "--nodes-per-host serves --host-edges, or a network: give --host-edges, or --bandwidth"
            )
        hosts = None if per_host is None else np.arange(nodes) // per_host
        limits = Limits(nodes, allowed=allowed, hosts=hosts, host_edges=options.host_edges, **given)
    limits.require()
    return limits


def _objective_of(weights: str | None) -> str:
    """Give the objective that suits the weights asked for."""
    from topokit.learned import OBJECTIVES

    if weights == "auto":
        return "fmmc"
    return weights if weights in OBJECTIVES else "laplacian"


def _sequence(limits: Limits, options: LearnOptions, network: Network | None, message_bytes: str | None) -> Schedule:
    """Search for a sequence of rounds."""
    import math
    import re
    import time

    from topokit.learned import learn_sequence, sequence_schedule

    for option, value in (
        ("--objective", options.objective),
        ("--edges", options.edges),
        ("--min-edges", options.min_edges),
        ("--host-edges", options.host_edges),
    ):
        if value is not None:
            raise typer.BadParameter("a sequence of rounds has no such option: leave it out", param_hint=f"'{option}'")
    signs = _signs(options.weights)
    period = options.period
    if period != "auto" and not re.fullmatch("[1-9][0-9]*", period or ""):
        raise typer.BadParameter(f"it is a number of rounds or auto, got {period!r}", param_hint="'--period'")
    if network is not None and period != "auto":
        raise typer.BadParameter("on a network the search chooses the period: --period auto", param_hint="'--period'")
    deadline = math.inf if options.time_limit is None else time.monotonic() + options.time_limit
    if network is not None:
        found = _host_sequence(limits, options, network, message_bytes, deadline)
    else:
        found = learn_sequence(
            limits.nodes,
            degree=options.max_degree or 1,
            period=None if period == "auto" else int(period or 0),
            allowed=limits.pairs,
            nonnegative=signs,
            seed=options.seed,
            deadline=deadline,
            tell=Ticker(),
        )
    return sequence_schedule(found)


def _signs(weights: str | None) -> bool:
    """Say whether the weights of a sequence are to be nonnegative."""
    if weights not in (None, "fmmc", "fdla"):
        raise typer.BadParameter(
            "a sequence has weights of its own: fmmc for none negative (the default), fdla for any sign",
            param_hint="'--weights'",
        )
    return weights != "fdla"


def _host_sequence(
    limits: Limits, options: LearnOptions, network: Network, message_bytes: str | None, deadline: float
) -> LearnedSequence:
    from topokit.learned import host_sequence

    assert message_bytes is not None
    return host_sequence(
        network,
        message_bytes,
        degree=options.max_degree,
        allowed=limits.pairs,
        nonnegative=_signs(options.weights),
        seed=options.seed,
        deadline=deadline,
        tell=Ticker(),
    )


def _on_network(limits: Limits, options: LearnOptions, network: Network, message_bytes: str, workers: int) -> Schedule:
    """Search for one graph and for a sequence of rounds, and take what agrees sooner."""
    import math
    import time

    from topokit.learned import graph_schedule, learn_on_network, sequence_schedule
    from topokit.network import consensus_seconds

    half = None if options.time_limit is None else options.time_limit * SEQUENCE_SHARE
    graph = learn_on_network(
        network, message_bytes, limits, seed=options.seed, time_limit=half, workers=workers, progress=Ticker()
    )
    one = graph_schedule(graph, options.weights)
    # What limits the edges of one graph means nothing to rounds that differ, nor do most weights.
    fixed = any(value is not None for value in (options.edges, options.min_edges, options.host_edges))
    if graph.graph.stopped == "interrupt" or fixed or options.weights not in (None, "fmmc", "fdla"):
        return one
    try:
        deadline = math.inf if half is None else time.monotonic() + half
        sequence = _host_sequence(limits, options, network, message_bytes, deadline)
    except InputError as error:
        out.note(f"no sequence of rounds: {error}")
        return one
    assert sequence.seconds is not None
    seconds = consensus_seconds(one, network, message_bytes).worst_seconds or math.inf
    out.note(f"one graph: {seconds:.4g} s to shrink errors 1000 times; a sequence of rounds: {sequence.seconds:.4g} s")
    return sequence_schedule(sequence) if sequence.seconds < seconds else one


def placed(schedule: Schedule, network: Network, message_bytes: str, time_limit: float | None, seed: int) -> Schedule:
    """Give a schedule with its nodes numbered such that its rounds take the least time on a network."""
    import math
    import time

    from topokit.learned import place

    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    found = place(schedule, network, message_bytes, seed=seed, deadline=deadline, tell=Ticker())
    out.note(found.sentence())
    return found.relabelled(schedule)
