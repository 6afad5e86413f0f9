"""What ``topokit design --learn`` searches for: a graph within limits, or a sequence of rounds."""

from __future__ import annotations

import math
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace
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

__all__ = ["SEARCH_SHARE", "LearnOptions", "learned", "placed"]

FEW = 24  # nodes up to which a search is over before processes have started
BRIEF = 10.0  # seconds; within shorter limits, processes would spend much of their time on starting
SEARCH_SHARE = 0.8  # of the time, where optimal weights or places follow
SEQUENCE_SHARE = 0.5  # of the time, where a graph and a sequence are searched for
SEQUENCE_WEIGHTS = ("fmmc", "fdla")  # none negative, any sign
NAMES = {"edges": "--edges", "allowed": "--graph"}


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
    on_network = network is not None and options.objective in (None, "seconds")
    if on_network and options.max_degree == 1 and options.period is None:
        options = replace(options, period="auto", objective=None)  # pairs alone mix in rounds that differ
    one_graph = options.period is None and not on_network
    _check(options, network, weight_options, one_graph)
    try:
        limits = _limits(nodes, options, graph, network)
        if options.weights == "uniform" and limits.regular is None:
            raise InputError("uniform weights need a regular graph, which these limits do not promise")
        if one_graph:
            schedule = _one_graph(limits, options, weight_options)
        elif options.period is not None:
            schedule = _sequence(limits, options, network, message_bytes)
        else:
            assert network is not None
            assert message_bytes is not None
            schedule = _on_network(limits, options, network, message_bytes)
    except (GraphError, InputError) as error:
        raise type(error)(_by_options(str(error))) from None
    return schedule if graph is None else _with_names(schedule, graph)


def _check(options: LearnOptions, network: Network | None, weight_options: dict[str, Any], one_graph: bool) -> None:
    """Refuse options that do not go together, before anything is searched."""
    from topokit.learned import OBJECTIVES

    if options.objective is not None and options.objective not in (*OBJECTIVES, "seconds"):
        raise InputError(f"unknown objective {options.objective!r}; known: {', '.join(OBJECTIVES)}, seconds")
    if options.objective == "seconds" and network is None:
        raise typer.BadParameter(
            "seconds depend on a network: give --links FILE or --bandwidth, and --model-size",
            param_hint="'--objective'",
        )
    if options.weights == "given":
        raise typer.BadParameter("a learned graph carries no weights: name others", param_hint="'--weights'")
    if "width" in weight_options and not one_graph:
        raise typer.BadParameter(
            "it is for the smallest SLEM of one graph, not for --period or seconds on a network",
            param_hint="'--width'",
        )
    for name, option in (("upper", "--max-weight"), ("self_loops", "--no-self-loops")):
        if name in weight_options:
            raise typer.BadParameter(
                "the search knows nothing of such limits: leave it out",
                param_hint=f"'{option}'",
            )
    if options.period is not None:
        _check_sequence(options, network)
    if network is None and options.host_edges is not None and options.nodes_per_host is None:
        raise typer.BadParameter("hosts are not known: give --nodes-per-host too", param_hint="'--host-edges'")
    if network is None and options.nodes_per_host is not None and options.host_edges is None:
        raise typer.BadParameter("give --host-edges too, or a network (--bandwidth)", param_hint="'--nodes-per-host'")


def _check_sequence(options: LearnOptions, network: Network | None) -> None:
    given = {
        "--objective": options.objective,
        "--edges": options.edges,
        "--min-edges": options.min_edges,
        "--host-edges": options.host_edges,
        "--workers": options.workers,
    }
    for option, value in given.items():
        if value is not None:
            raise typer.BadParameter("a sequence of rounds has no such option: leave it out", param_hint=f"'{option}'")
    if options.weights not in (None, *SEQUENCE_WEIGHTS):
        raise typer.BadParameter(
            "a sequence has weights of its own: fmmc for none negative (the default), fdla for any sign",
            param_hint="'--weights'",
        )
    if options.period != "auto" and not re.fullmatch("[1-9][0-9]{0,5}", options.period or ""):
        raise typer.BadParameter(f"it is a number of rounds or auto, got {options.period!r}", param_hint="'--period'")
    if network is not None and options.period != "auto":
        raise typer.BadParameter("on a network the search chooses the period: --period auto", param_hint="'--period'")


def _by_options(message: str) -> str:
    """Call limits what the command line calls them."""
    message = re.sub(r"\b(max|min|host)_(degree|edges)\b", r"--\1-\2", message)
    return re.sub(r"\b(without|or) (edges|allowed)\b", lambda m: f"{m[1]} {NAMES[m[2]]}", message)


def _with_names(schedule: Schedule, graph: Graph) -> Schedule:
    """Keep the names of the nodes of a user's graph."""
    from topokit.designer import design_graph
    from topokit.schedule import Schedule

    labels = design_graph(graph, "metropolis-hastings").provenance.get("labels")
    if labels is None:
        return schedule
    said = {**schedule.provenance, "labels": labels}
    return Schedule.of(schedule.rule, provenance=said, claims=schedule.claims, placement=schedule.placement)


def _limits(nodes: int, options: LearnOptions, graph: Graph | None, network: Network | None) -> Limits:
    import numpy as np

    from topokit.learned import Limits

    allowed = None
    if graph is not None:
        if graph.is_directed():
            raise GraphError("a search is for exchanges, and this graph is directed: leave --directed out")
        allowed = [(min(pair), max(pair)) for pair in graph.edges if pair[0] != pair[1]]
    # Rounds of few peers each connect all nodes together.
    most = options.max_degree if options.period is None else None
    given = {"max_degree": most, "edges": options.edges, "min_edges": options.min_edges}
    if network is not None:
        limits = Limits.of_network(network, allowed=allowed, host_edges=options.host_edges, **given)
    else:
        per_host = options.nodes_per_host
        if per_host is not None and nodes % per_host:
            raise InputError(f"{nodes} nodes do not fill hosts of {per_host}; expected a divisor of {nodes}")
        hosts = None if per_host is None else np.arange(nodes) // per_host
        limits = Limits(nodes, allowed=allowed, hosts=hosts, host_edges=options.host_edges, **given)
    limits.require()
    return limits


def _one_graph(limits: Limits, options: LearnOptions, weight_options: dict[str, Any]) -> Schedule:
    """Search for the graph that serves an objective best."""
    from topokit.learned import graph_schedule, learn

    # Optimal weights of what was found take time, too.
    limit, share = options.time_limit, SEARCH_SHARE if weight_options else 1.0
    found = learn(
        limits,
        options.objective or _objective_of(options.weights),
        seed=options.seed,
        time_limit=None if limit is None else limit * share,
        workers=_workers(limits.nodes, options),
        progress=Ticker(),
    )
    if weight_options and limit is not None:
        weight_options = {**weight_options, "time_limit": limit * (1 - share)}
    return graph_schedule(found, options.weights, weight_options=weight_options)


def _objective_of(weights: str | None) -> str:
    """Give the objective that suits the weights asked for."""
    from topokit.learned import OBJECTIVES

    # On regular graphs, uniform weights are those of Metropolis-Hastings.
    same = {"auto": "fmmc", "uniform": "metropolis-hastings"}
    return weights if weights in OBJECTIVES else same.get(weights or "", "laplacian")


def _workers(nodes: int, options: LearnOptions) -> int:
    brief = options.time_limit is not None and options.time_limit < BRIEF
    return options.workers or (1 if nodes <= FEW or brief else os.cpu_count() or 1)


def _sequence(limits: Limits, options: LearnOptions, network: Network | None, message_bytes: str | None) -> Schedule:
    """Search for a sequence of rounds."""
    from topokit.learned import learn_sequence, sequence_schedule

    if network is not None and message_bytes is not None:
        return sequence_schedule(_host_sequence(limits, options, network, message_bytes, options.time_limit))
    found = learn_sequence(
        limits.nodes,
        degree=options.max_degree or 1,
        period=None if options.period == "auto" else int(options.period or 0),
        allowed=limits.pairs,
        nonnegative=options.weights != "fdla",
        seed=options.seed,
        deadline=_deadline(options.time_limit),
        tell=Ticker(),
    )
    return sequence_schedule(found)


def _host_sequence(
    limits: Limits, options: LearnOptions, network: Network, message_bytes: str, time_limit: float | None
) -> LearnedSequence:
    from topokit.learned import host_sequence

    return host_sequence(
        network,
        message_bytes,
        degree=options.max_degree,
        allowed=limits.pairs,
        nonnegative=options.weights != "fdla",
        seed=options.seed,
        deadline=_deadline(time_limit),
        tell=Ticker(),
    )


def _on_network(limits: Limits, options: LearnOptions, network: Network, message_bytes: str) -> Schedule:
    """Search for a sequence of rounds and for one graph, and take what agrees sooner."""
    from topokit.learned import graph_schedule, learn_on_network, sequence_schedule
    from topokit.network import allreduce_seconds, consensus_seconds

    # What limits the edges of one graph means nothing to rounds that differ, nor do most weights.
    fixed = any(value is not None for value in (options.edges, options.min_edges, options.host_edges))
    alone = fixed or options.weights not in (None, *SEQUENCE_WEIGHTS)
    begin, sequence = time.monotonic(), None
    if alone:
        out.note("limits on edges and such weights are for one graph: no sequence of rounds is tried")
    else:
        share = None if options.time_limit is None else options.time_limit * SEQUENCE_SHARE
        try:
            sequence = _host_sequence(limits, options, network, message_bytes, share)
        except InputError as error:
            out.note(f"no sequence of rounds: {error}")
    if sequence is not None and sequence.stopped == "interrupt":
        return sequence_schedule(sequence)
    left = None if options.time_limit is None else max(0.1, options.time_limit - (time.monotonic() - begin))
    workers = _workers(limits.nodes, options)
    try:
        graph = learn_on_network(
            network, message_bytes, limits, seed=options.seed, time_limit=left, workers=workers, progress=Ticker()
        )
    except KeyboardInterrupt:
        if sequence is None:
            raise
        return sequence_schedule(replace(sequence, stopped="interrupt"))
    one = graph_schedule(graph, options.weights)
    rounds = None if sequence is None else sequence.seconds
    if sequence is None or rounds is None:
        return one
    if graph.graph.stopped == "interrupt":
        sequence = replace(sequence, stopped="interrupt")
    seconds = consensus_seconds(one, network, message_bytes).worst_seconds or math.inf
    said = f"to shrink errors 1000 times: one graph {seconds:.4g} s, a sequence of rounds {rounds:.4g} s"
    with suppress(InputError):  # where links are missing, there is none
        said += f", a ring all-reduce {allreduce_seconds(network, message_bytes):.4g} s"
    out.note(said)
    return sequence_schedule(sequence) if rounds < seconds else one


def _deadline(time_limit: float | None) -> float:
    return math.inf if time_limit is None else time.monotonic() + time_limit


def placed(
    schedule: Schedule, network: Network, message_bytes: str, time_limit: float | None, seed: int
) -> tuple[Schedule, bool]:
    """Give a schedule with its nodes numbered such that its rounds take the least time on a network.

    Also whether Ctrl-C cut the search short.
    """
    from topokit.learned import place

    found = place(schedule, network, message_bytes, seed=seed, deadline=_deadline(time_limit), tell=Ticker())
    out.note(found.sentence())
    return found.relabelled(schedule), found.stopped == "interrupt"
