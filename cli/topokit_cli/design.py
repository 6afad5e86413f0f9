"""``topokit design``: from a name, a graph or nothing but a number of nodes to a schedule."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from topokit.errors import GraphError, InputError
from topokit_cli.network_options import (
    Bandwidth,
    DuplexOption,
    Latency,
    LinksFile,
    ModelSize,
    NodesPerHost,
    read_network,
)
from topokit_cli.options import AsJson, CertificateWidth, Nodes, Seed, TimeLimit, WeightsName
from topokit_cli.output import out
from topokit_cli.parameters import read_parameters
from topokit_cli.registries import topologies
from topokit_cli.sources import write_schedule
from topokit_cli.weight_options import weight_options

if TYPE_CHECKING:
    from topokit.matrix import Graph
    from topokit.recommender import Recommendation
    from topokit.schedule import Schedule

__all__ = ["design"]

DRAWN = 100  # rounds of a random schedule that are looked at


def design(
    nodes: Nodes = None,
    topology: Annotated[
        str | None,
        typer.Option("--topology", "-t", help="Take this one; see `topokit list topologies`.", metavar="NAME"),
    ] = None,
    graph: Annotated[
        str | None,
        typer.Option(
            "--graph",
            help="Take your own graph: edge list (.csv), .graphml, node-link .json, or SciPy adjacency (.npz).",
            metavar="FILE",
        ),
    ] = None,
    directed: Annotated[
        bool,
        typer.Option("--directed", help="Edges of a .csv graph go one way, source to target; other files say so."),
    ] = False,
    weights: WeightsName = None,
    time_limit: TimeLimit = None,
    width: CertificateWidth = None,
    max_weight: Annotated[
        float | None,
        typer.Option("--max-weight", help="Of optimal weights: most that an edge may weigh.", metavar="W", min=0),
    ] = None,
    no_self_loops: Annotated[
        bool, typer.Option("--no-self-loops", help="Of optimal weights: nodes keep nothing of their own value.")
    ] = False,
    parameter: Annotated[
        list[str],
        typer.Option(
            "--param",
            "-p",
            help="A parameter of the topology, for instance degree=4; may be repeated.",
            metavar="NAME=VALUE",
            show_default=False,
        ),
    ] = [],  # noqa: B006 (Typer copies it)
    active: Annotated[
        str | None,
        typer.Option(
            "--active",
            help="Of teleportation: how many nodes at once, or auto for the best bound (with --iterations).",
            metavar="K|auto",
        ),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", "-T", help="Length of the run, for --active auto.", metavar="T", min=1),
    ] = None,
    max_degree: Annotated[
        int | None,
        typer.Option("--max-degree", help="Most messages a node may send or receive in a round.", metavar="K", min=1),
    ] = None,
    undirected: Annotated[
        bool, typer.Option("--undirected", help="Exchanges only: every matrix must be symmetric.")
    ] = False,
    model_size: ModelSize = None,
    bandwidth: Bandwidth = None,
    latency: Latency = None,
    duplex: DuplexOption = None,
    nodes_per_host: NodesPerHost = None,
    links: LinksFile = None,
    seed: Seed = 0,
    output: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="Schedule file (.json, .json.gz or .npz); - writes to standard output.", metavar="FILE"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Design a mixing schedule.

    A named topology, or a graph of your own with weights (or as the base of matcha and pairwise). Without --topology
    and --graph, the topologies that exist for N nodes and fit the limits are ranked by the messages that its busiest
    node sends until every consensus error has shrunk 1000 times, or on a network (--bandwidth and its like, or --links)
    by the predicted seconds until then, and the best is taken; all-to-all exchanges come last, as an all-reduce does
    the same for less. In the ranking, messages are those that the busiest node sends until then.
    Without -o, nothing is written: the command only shows what it would do.

    The weights fdla (of any sign), fmmc (none negative) and auto are optimal: the schedule carries a certificate that
    none on the same edges have a much smaller SLEM, which `topokit analyze` checks again. While they are computed,
    standard error tells the best SLEM so far and the bound; Ctrl-C keeps the best so far. On a network, they agree in
    the fewest predicted seconds instead, on those of the edges that are worth their time; for a sequence of rounds,
    they make the product of a period small, and every round keeps its edges; --width, --max-weight and
    --no-self-loops are for the smallest SLEM of one graph alone.

    \b
    Examples:
      topokit design --nodes 16 -o schedule.json
      topokit design --nodes 12 --max-degree 2 --undirected
      topokit design --nodes 16 --model-size 100MB --bandwidth 1Gbit/s --nodes-per-host 4
      topokit design --topology base-3 --nodes 25 -o schedule.json
      topokit design --topology random-regular --nodes 64 -p degree=6 --seed 1 -o schedule.json
      topokit design --graph cluster.csv --weights laplacian -o schedule.json
      topokit design --graph cluster.csv --weights fdla --time-limit 60 -o schedule.json
      topokit design --graph cluster.csv --weights fmmc --model-size 100MB --bandwidth 1Gbit/s -o schedule.json
      topokit design --graph links.csv --directed -o schedule.json
      topokit design --graph cluster.csv --topology matcha -p budget=0.5 -o schedule.json
      topokit design --topology teleportation --nodes 64 --active auto --iterations 20000 -o schedule.json
      topokit design --topology hypercube --nodes 16 -o - | topokit analyze -

    With --json, standard output is one object: name, kind, nodes, period, provenance, claims, hash, file, and where a
    topology was chosen best, why and ranking. With -o - the schedule itself is on standard output, and the rest on
    standard error.
    """
    _check_usage(topology, graph, weights, parameter, output, as_json)
    options = weight_options(weights, time_limit, width, max_weight, no_self_loops)
    if (topology or graph) is not None and (model_size or bandwidth or links) is not None and not options:
        raise typer.BadParameter(
            "a network decides between topologies, or weights (--weights fdla, fmmc or auto): leave --topology and "
            "--graph out, or ask `topokit compare`",
            param_hint=f"'{_network_option(bandwidth, links)}'",
        )

    def network_of(size: int) -> dict[str, Any]:
        network = read_network(size, model_size, links, bandwidth, latency, duplex, nodes_per_host)
        return {} if network is None else {"network": network, "message_bytes": model_size}

    parameter = [*parameter, *_active(active, iterations, topology, nodes, parameter, seed)]
    recommendation = None
    if graph is not None and topology is None:
        own = _read(graph, nodes, directed)
        schedule = _from_graph(own, weights, options | (network_of(own.number_of_nodes()) if options else {}))
    elif graph is not None and topology is not None:
        schedule = _on_graph(topology, _read(graph, nodes, directed), read_parameters(topology, parameter), seed)
    else:
        if nodes is None:
            raise typer.BadParameter("give the number of nodes (or --graph FILE)", param_hint="'--nodes' / '-n'")
        if topology is not None:
            from topokit.designer import design as design_topology

            parameters = read_parameters(topology, parameter)
            options |= network_of(nodes) if options else {}
            schedule = design_topology(
                topology, nodes, weights=weights, weight_options=options, seed=seed, **parameters
            )
        else:
            limits: dict[str, Any] = {"max_degree": max_degree, "undirected": undirected} | network_of(nodes)
            recommendation = _recommend(nodes, limits, seed, as_json, output)
            schedule = _chosen(recommendation)
    _check_limits(schedule, max_degree, undirected)
    if as_json:
        out.json({**_facts(schedule, output), **_choice(recommendation)}, indent=2)
    elif recommendation is None:
        _describe(schedule, as_note=output == "-")
    if output is not None:
        write_schedule(schedule, output)
    else:
        out.note("nothing is written: add -o FILE to keep the schedule")
    if schedule.provenance.get("optimality", {}).get("stopped") == "interrupt":
        raise KeyboardInterrupt  # the best so far is written, and the exit status says that it could be better


def _check_usage(
    topology: str | None,
    graph: str | None,
    weights: str | None,
    parameters: list[str],
    output: str | None,
    as_json: bool,
) -> None:
    if topology is not None and graph is not None and not topologies().resolve(topology)[0].takes_graph:
        takers = ", ".join(entry.name for entry in topologies().values() if entry.takes_graph)
        raise typer.BadParameter(
            f"only {takers} can be designed on a graph: give one of the two", param_hint="'--graph'"
        )
    if topology is not None and graph is not None and weights is not None:
        raise typer.BadParameter(f"{topology} brings its own weights: leave them out", param_hint="'--weights'")
    if topology is None and parameters:
        raise typer.BadParameter("parameters belong to a topology: give --topology", param_hint="'--param' / '-p'")
    if topology is None and graph is None and weights is not None:
        raise typer.BadParameter("weights belong to a topology: give --topology or --graph", param_hint="'--weights'")
    if as_json and output == "-":
        raise typer.BadParameter("--json and -o - both write to standard output: give one", param_hint="'--json'")


def _network_option(bandwidth: str | None, links: str | None) -> str:
    return "--links" if links is not None else "--bandwidth" if bandwidth is not None else "--model-size"


def _active(
    active: str | None,
    iterations: int | None,
    topology: str | None,
    nodes: int | None,
    parameters: list[str],
    seed: int,
) -> list[str]:
    """Turn --active into a parameter of the topology."""
    if active is None:
        if iterations is not None:
            raise typer.BadParameter("it serves --active auto alone", param_hint="'--iterations'")
        return []
    if topology != "teleportation":
        raise typer.BadParameter(
            "only teleportation has active nodes: --topology teleportation", param_hint="'--active'"
        )
    if active != "auto":
        if not re.fullmatch(r"[0-9]+(,[0-9]+)*", active):
            raise typer.BadParameter(
                f"it is a number such as 4, several such as 1,2,4, or auto; got {active!r}", param_hint="'--active'"
            )
        if any(re.match(r"\s*active\s*=", pair) for pair in parameters):
            raise typer.BadParameter("active is given twice, here and by -p", param_hint="'--active'")
        if iterations is not None:
            raise typer.BadParameter("it serves --active auto alone", param_hint="'--iterations'")
        return [f"active={active}"]
    if iterations is None:
        raise typer.BadParameter("the best number depends on --iterations T: give it", param_hint="'--active'")
    if nodes is None:
        raise typer.BadParameter("give the number of nodes", param_hint="'--nodes' / '-n'")
    from topokit.metrics.active_nodes import optimal_active_nodes

    inner = read_parameters(topology, parameters).get("inner", topologies()[topology].parameters["inner"])
    best = optimal_active_nodes(nodes, inner, iterations=iterations, seed=seed)
    for label, text in best.lines():
        out.note(f"{label}: {text}")
    out.note("`topokit active-nodes` takes your own constants, and other topologies among the active nodes")
    return [f"active={best.active}"]


def _read(path: str, nodes: int | None, directed: bool) -> Graph:
    from pathlib import Path

    from topokit.graph_files import read_graph

    graph = read_graph(path, directed=directed or None)
    graph.name = Path(path).stem
    found = graph.number_of_nodes()
    if nodes is not None and nodes != found:
        raise GraphError(f"{path} has {found} nodes, but --nodes asks for {nodes}: leave --nodes out, or give {found}")
    return graph


def _on_graph(topology: str, graph: Graph, parameters: dict[str, Any], seed: int) -> Schedule:
    from topokit.designer import design as design_topology

    return _named(design_topology(topology, graph.number_of_nodes(), seed=seed, graph=graph, **parameters))


def _from_graph(graph: Graph, weights: str | None, options: dict[str, Any]) -> Schedule:
    from topokit.designer import design_graph

    return _named(design_graph(graph, weights, weight_options=options))


def _named(schedule: Schedule) -> Schedule:
    """Say which number each name of the user's graph was given."""
    labels = schedule.provenance.get("labels")
    if labels:
        shown = ", ".join(f"{node} = {label}" for node, label in enumerate(labels[:8]))
        out.note(f"nodes were numbered: {shown}{', ...' if len(labels) > 8 else ''} (all in provenance.labels)")
    return schedule


def _recommend(nodes: int, limits: dict[str, Any], seed: int, as_json: bool, output: str | None) -> Recommendation:
    from topokit.recommender import recommend

    recommendation = recommend(nodes, seed=seed, **limits)
    if not as_json:
        as_note = output == "-" or recommendation.best is None
        timed = recommendation.all_reduce is not None
        columns = ["", "topology", "sends a round", "rounds", "messages", *(["seconds"] if timed else []), "symmetric"]
        out.table(
            [*columns, "why"],
            [
                [k if c.ranked else "out", c.label, c.max_degree, c.rounds, c.score]
                + ([c.seconds] if timed else [])
                + [c.symmetric, c.why]
                for k, c in enumerate(recommendation.candidates, start=1)
            ],
            as_note=as_note,
        )
        if recommendation.best is not None:
            (out.note if as_note else out.text)(recommendation.sentence())
    return recommendation


def _chosen(recommendation: Recommendation) -> Schedule:
    from topokit.designer import design as design_topology

    best = recommendation.best
    if best is None:
        raise InputError(recommendation.sentence())
    return best.schedule or design_topology(best.name, recommendation.nodes, **best.parameters)


def _check_limits(schedule: Schedule, max_degree: int | None, undirected: bool) -> None:
    most = _busiest(schedule)
    if max_degree is not None and most > max_degree:
        raise InputError(
            f"a node of {schedule.name} has {most} peers in a round, more than --max-degree {max_degree}: "
            f"raise it to {most}, or leave the topology out to see what fits"
        )
    if undirected and not schedule.claims.symmetric:
        raise InputError(
            f"{schedule.name} is not symmetric, and --undirected asks for exchanges only: "
            "leave the topology out to see what fits"
        )


def _facts(schedule: Schedule, output: str | None) -> dict[str, Any]:
    from topokit.optimal.recheck import summary

    return {
        "name": schedule.name,
        "kind": schedule.kind,
        "nodes": schedule.nodes,
        "period": schedule.period,
        "provenance": summary(schedule.provenance),
        "claims": schedule.claims.to_dict(),
        "hash": schedule.content_hash,
        "file": output,
    }


def _choice(recommendation: Recommendation | None) -> dict[str, Any]:
    if recommendation is None or recommendation.best is None:
        return {}
    return {
        "best": recommendation.best.name,
        "why": recommendation.sentence(),
        "all_reduce_seconds": recommendation.all_reduce,
        "ranking": [candidate.to_dict() for candidate in recommendation.candidates],
    }


def _busiest(schedule: Schedule) -> int:
    """Most messages that a node sends or receives in a round; of random schedules, in the first rounds."""
    from topokit.traffic import traffic

    rounds = range(DRAWN if schedule.period is None else schedule.period)
    flows = [traffic(schedule.round(t), schedule.copies) for t in rounds]
    return max(int(max(flow.in_degree.max(), flow.out_degree.max())) for flow in flows)


def _describe(schedule: Schedule, *, as_note: bool) -> None:
    from topokit.averaging import contraction_words
    from topokit.optimal.recheck import check_optimality
    from topokit.words import count

    claims = schedule.claims
    rounds = f"{schedule.kind} rounds drawn at random" if schedule.period is None else count(schedule.period, "round")
    text = f"{schedule.name}: {rounds}, a node sends at most {count(_busiest(schedule), 'message')} in each"
    if claims.exact_averaging and schedule.period is not None:
        text += f"; exact after {count(schedule.period, 'round')}"
    elif claims.period_contraction is not None:
        text += f"; {contraction_words(claims.period_contraction)}"
    elif claims.expected_contraction is not None:
        text += f"; a round contracts squared errors to {claims.expected_contraction:.4g} on average"
    if schedule.copies > 1:
        text += f"; a node keeps {schedule.copies} copies"
    if schedule.mixing != "doubly-stochastic":
        text += f"; {schedule.mixing}"
    (out.note if as_note else out.text)(text)
    optimality = schedule.provenance.get("optimality", {})
    proof = check_optimality(schedule)
    if proof is not None or "summary" in optimality:
        told = optimality["summary"] if proof is None else proof.sentence()
        (out.note if as_note else out.text)(f"optimal weights: {told}")
