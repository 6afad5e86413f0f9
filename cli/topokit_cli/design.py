"""``topokit design``: from a name, a graph or nothing but a number of nodes to a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from topokit.errors import GraphError, InputError
from topokit_cli.active_option import active_parameter
from topokit_cli.design_report import check_limits, choice, describe, facts
from topokit_cli.learn import SEARCH_SHARE, LearnOptions, learned, placed
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
    learn: Annotated[
        bool, typer.Option("--learn", help="Search for the best graph within the limits, or sequence of rounds.")
    ] = False,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective",
            help="Of --learn: what is to be best, by default SLEM with --weights (laplacian if nothing is said), or "
            "seconds on a network; see `topokit list objectives`.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(
            "--period",
            help="Of --learn: a sequence of T rounds instead of one graph, or of as few as average exactly.",
            metavar="T|auto",
        ),
    ] = None,
    edges: Annotated[
        int | None, typer.Option("--edges", help="Of --learn: most edges of the graph.", metavar="M", min=1)
    ] = None,
    min_edges: Annotated[
        int | None, typer.Option("--min-edges", help="Of --learn: fewest edges of the graph.", metavar="M", min=1)
    ] = None,
    host_edges: Annotated[
        int | None,
        typer.Option(
            "--host-edges",
            help="Of --learn: most edges that leave a host (--nodes-per-host, --links).",
            metavar="E",
            min=0,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            help="Of --learn: processes that share the search; all cores if nothing is said. It finds the same.",
            metavar="P",
            min=1,
            show_default=False,
        ),
    ] = None,
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
    place: Annotated[
        bool,
        typer.Option(
            "--place", help="Number the nodes such that rounds take the least time on the network; write the placement."
        ),
    ] = False,
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

    With --learn, a search looks for the best connected graph within --max-degree, --edges, the edges of --graph and
    the like. Standard error tells the best so far, and what no graph can beat; Ctrl-C and --time-limit keep the best so
    far. Without a time limit, the result depends on nothing but the options, however many --workers there are. With
    --period it looks for a sequence of rounds, with --max-degree peers each (one if nothing is said). On a network, the
    fewest seconds until errors have shrunk 1000 times decide between one graph and sequences of rounds, whose weights
    are nonnegative unless --weights fdla allows any sign.

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
      topokit design --learn --nodes 10 --max-degree 3 -o learned.json
      topokit design --learn --graph cluster.csv --edges 8 -o learned.json
      topokit design --learn --nodes 6 --period auto -o sequence.json
      topokit design --learn --period auto -n 8 --model-size 10MB --bandwidth 1Gbit/s --nodes-per-host 4 -o hosts.json
      topokit design -t ring --nodes 8 --model-size 10MB --bandwidth 1Gbit/s --nodes-per-host 4 --place -o ring.json
      topokit design --graph links.csv --directed -o schedule.json
      topokit design --graph cluster.csv --topology matcha -p budget=0.5 -o schedule.json
      topokit design --topology teleportation --nodes 64 --active auto --iterations 20000 -o schedule.json
      topokit design --topology hypercube --nodes 16 -o - | topokit analyze -

    With --json, standard output is one object: name, kind, nodes, period, provenance, claims, hash, file, and where a
    topology was chosen best, why and ranking. With -o - the schedule itself is on standard output, and the rest on
    standard error.
    """
    _check_usage(topology, graph, weights, parameter, output, as_json, learn, directed)
    timed = learn or place
    options = weight_options(weights, None if timed else time_limit, width, max_weight, no_self_loops)
    searching = placing = time_limit
    if place and (learn or options) and time_limit is not None:
        searching, placing = SEARCH_SHARE * time_limit, (1 - SEARCH_SHARE) * time_limit
    if options and searching is not None and not learn:
        options["time_limit"] = searching
    wanted = LearnOptions(
        objective, period, max_degree, edges, min_edges, nodes_per_host, host_edges, weights, searching, workers, seed
    )
    if not learn:
        wanted.require_none()
    networked = (model_size or bandwidth or links) is not None
    if (topology or graph) is not None and networked and not (options or timed):
        raise typer.BadParameter(
            "a network decides between topologies, weights (--weights fdla, fmmc or auto) or placements (--place): "
            "leave --topology and --graph out, or ask `topokit compare`",
            param_hint=f"'{_network_option(bandwidth, links)}'",
        )
    if model_size is not None and bandwidth is None and links is None:
        raise typer.BadParameter("give --bandwidth or --links too", param_hint="'--model-size'")
    if place and not networked:
        raise typer.BadParameter(
            "places depend on a network: give --links FILE or --bandwidth, and --model-size", param_hint="'--place'"
        )

    parameter = [*parameter, *active_parameter(active, iterations, topology, nodes, parameter, seed)]
    own = None if graph is None else _read(graph, nodes, directed)
    size = nodes if own is None else own.number_of_nodes()
    if size is None:
        raise typer.BadParameter("give the number of nodes (or --graph FILE)", param_hint="'--nodes' / '-n'")
    hosts_alone = learn and bandwidth is None and links is None  # they limit the edges between them
    network = read_network(size, model_size, links, bandwidth, latency, duplex, None if hosts_alone else nodes_per_host)
    on_network = {} if network is None else {"network": network, "message_bytes": model_size}
    weighted = options | on_network if options and not timed else options
    recommendation = None
    if learn:
        schedule = learned(size, wanted, graph=own, network=network, message_bytes=model_size, weight_options=options)
    elif own is not None and topology is None:
        schedule = _from_graph(own, weights, weighted)
    elif own is not None and topology is not None:
        schedule = _on_graph(topology, own, read_parameters(topology, parameter), seed)
    elif topology is not None:
        from topokit.designer import design as design_topology

        parameters = read_parameters(topology, parameter)
        schedule = design_topology(topology, size, weights=weights, weight_options=weighted, seed=seed, **parameters)
    else:
        limits: dict[str, Any] = {"max_degree": max_degree, "undirected": undirected} | on_network
        recommendation = _recommend(size, limits, seed, as_json, output)
        schedule = _chosen(recommendation)
    interrupted = _interrupted(schedule)
    if place and network is not None and model_size is not None and not interrupted:
        schedule, interrupted = placed(schedule, network, model_size, placing, seed)
    _name_nodes(schedule)
    check_limits(schedule, max_degree, undirected)
    if as_json:
        out.json({**facts(schedule, output), **choice(recommendation)}, indent=2)
    elif recommendation is None:
        describe(schedule, as_note=output == "-")
    if output is not None:
        write_schedule(schedule, output)
    else:
        out.note("nothing is written: add -o FILE to keep the schedule")
    if interrupted:
        raise KeyboardInterrupt  # the best so far is written, and the exit status says that it could be better


def _interrupted(schedule: Schedule) -> bool:
    return "interrupt" in (schedule.provenance.get(part, {}).get("stopped") for part in ("optimality", "search"))


def _check_usage(
    topology: str | None,
    graph: str | None,
    weights: str | None,
    parameters: list[str],
    output: str | None,
    as_json: bool,
    learn: bool,
    directed: bool,
) -> None:
    if learn and topology is not None:
        raise typer.BadParameter("a learned graph is no named topology: give one of the two", param_hint="'--learn'")
    if topology is not None and graph is not None and not topologies().resolve(topology)[0].takes_graph:
        takers = ", ".join(entry.name for entry in topologies().values() if entry.takes_graph)
        raise typer.BadParameter(
            f"only {takers} can be designed on a graph: give one of the two", param_hint="'--graph'"
        )
    if topology is not None and graph is not None and weights is not None:
        raise typer.BadParameter(f"{topology} brings its own weights: leave them out", param_hint="'--weights'")
    if topology is None and parameters:
        raise typer.BadParameter("parameters belong to a topology: give --topology", param_hint="'--param' / '-p'")
    if topology is None and graph is None and weights is not None and not learn:
        raise typer.BadParameter("weights belong to a topology: give --topology or --graph", param_hint="'--weights'")
    if directed and graph is None:
        raise typer.BadParameter("it is about the edges of a graph: give --graph", param_hint="'--directed'")
    if as_json and output == "-":
        raise typer.BadParameter("--json and -o - both write to standard output: give one", param_hint="'--json'")


def _network_option(bandwidth: str | None, links: str | None) -> str:
    return "--links" if links is not None else "--bandwidth" if bandwidth is not None else "--model-size"


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

    return design_topology(topology, graph.number_of_nodes(), seed=seed, graph=graph, **parameters)


def _from_graph(graph: Graph, weights: str | None, options: dict[str, Any]) -> Schedule:
    from topokit.designer import design_graph

    return design_graph(graph, weights, weight_options=options)


def _name_nodes(schedule: Schedule) -> None:
    """Say which number each name of the user's graph was given."""
    labels = schedule.provenance.get("labels")
    if labels:
        shown = ", ".join(f"{node} = {label}" for node, label in enumerate(labels[:8]))
        out.note(f"nodes were numbered: {shown}{', ...' if len(labels) > 8 else ''} (all in provenance.labels)")


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
