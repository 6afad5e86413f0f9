"""``topokit compare``: schedules side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from topokit.errors import InputError
from topokit_cli.network_options import (
    Bandwidth,
    DuplexOption,
    Latency,
    LinksFile,
    ModelSize,
    NodesPerHost,
    read_network,
)
from topokit_cli.options import AsJson, CertificateWidth, Nodes, PlotFile, Seed, TimeLimit, WeightsName
from topokit_cli.output import out
from topokit_cli.parameters import read_parameters
from topokit_cli.registries import topologies
from topokit_cli.sources import check_folder, labelled, looks_like_a_file, read_schedule
from topokit_cli.tables import to_csv, to_latex
from topokit_cli.weight_options import weight_options

if TYPE_CHECKING:
    from topokit.comparison import Compared
    from topokit.network import Network
    from topokit.report import Report
    from topokit.schedule import Schedule

__all__ = ["compare"]


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Topologies, with parameters after colons (random-regular:degree=6), or schedule files.",
            metavar="NAME|FILE...",
            show_default=False,
        ),
    ],
    nodes: Nodes = None,
    weights: WeightsName = None,
    time_limit: TimeLimit = None,
    width: CertificateWidth = None,
    model_size: ModelSize = None,
    bandwidth: Bandwidth = None,
    latency: Latency = None,
    duplex: DuplexOption = None,
    nodes_per_host: NodesPerHost = None,
    links: LinksFile = None,
    seed: Seed = 0,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print results as CSV.")] = False,
    as_latex: Annotated[
        bool, typer.Option("--latex", help="Print results as a LaTeX table (package booktabs).")
    ] = False,
    plot: PlotFile = None,
) -> None:
    """Compare topologies and schedule files.

    One table over topologies at N nodes and schedule files, and with --plot one figure of their consensus. With a
    network (--bandwidth and its like, or --links) it predicts seconds, and shows the all-reduces that compete.

    \b
    Examples:
      topokit compare ring torus exponential one-peer-exponential --nodes 64
      topokit compare ring random-regular:degree=6 circulant:offsets=1,8 --nodes 64
      topokit compare ring star --nodes 16 --weights laplacian --csv
      topokit compare ring base-2 --nodes 24 --model-size 100MB --bandwidth 1Gbit/s --latency 50us
      topokit compare mine.json one-peer-exponential --nodes 12 --plot consensus.png
      topokit compare ring torus base-3 --nodes 36 --latex

    \b
    Columns that have something to say in no row are left out. What they mean:
      degree            most peers that a node sends to in a round
      period            rounds of a period; none where rounds are drawn
      gap/round         1 - contraction per round: the spectral gap, for one normal matrix
      contraction       factor on the worst consensus error over a period; of drawn rounds, the root of the
                        expected square in a round (and gap/round is 1 less that)
      exact             whether a period averages exactly, and how that is known
      eff. neighbours   nodes whose noise averages out at a node while it is remembered for 100 rounds
      1000x             rounds that shrink the consensus error 1000 times, at worst and simulated
      messages, bytes   sent by a node in a round, in the mean
      s/round           predicted seconds of a round; 1000x in s, until every error has shrunk 1000 times
      transient         iterations until the linear speed-up of D-SGD dominates with equal data, and with unequal
                        data (non-i.i.d.), all constants being 1: compare rows, not with a clock

    With --json, standard output is an array of the objects that `topokit analyze --json` prints; with a network each
    has a prediction, and all-reduces follow with the columns of --csv.
    """
    if as_json + as_csv + as_latex > 1:
        raise typer.BadParameter("give one of --json, --csv and --latex", param_hint="'--csv'")
    check_folder(plot)
    if plot is not None:
        from topokit.pictures.style import check_suffix

        check_suffix(plot)
    from topokit.analysis import analyze
    from topokit.comparison import columns_of

    options = weight_options(weights, time_limit, width)
    schedules = labelled([_find(name, nodes, weights, options, seed) for name in names], names)
    network = _network(schedules, model_size, links, bandwidth, latency, duplex, nodes_per_host)
    reports = {label: analyze(schedule, label, seed=seed) for label, schedule in schedules.items()}
    rows = _rows(schedules, reports, network, model_size)
    columns = columns_of(rows)
    cells = [{column.key: column.cell(row) for column in columns} for row in rows]
    if as_json:
        out.json([_object(row) for row in rows], indent=2)
    elif as_csv:
        out.data(to_csv([column.key for column in columns], cells))
    elif as_latex:
        out.data(to_latex([column.latex for column in columns], [list(row.values()) for row in cells]))
    else:
        out.table([column.heading for column in columns], [list(row.values()) for row in cells])
        for report in reports.values():
            for note in report.notes:
                out.note(f"{report.name}: {note}")
    if plot is not None:
        from topokit.pictures import plot_consensus, save_figure

        save_figure(plot_consensus(schedules, seed=seed), plot)
        out.note(f"wrote {plot}")


def _find(name: str, nodes: int | None, weights: str | None, options: dict[str, Any], seed: int) -> Schedule:
    from topokit.designer import design

    topology, *parameters = name.split(":")
    if parameters and looks_like_a_file(topology) and not topologies().knows(topology):
        raise InputError(f"{topology} is a file, which takes no parameters; leave {name[len(topology) :]} out")
    if looks_like_a_file(name) and not topologies().knows(topology):
        schedule = read_schedule(name)
        if nodes is not None and schedule.nodes != nodes:
            raise InputError(f"{name} has {schedule.nodes} nodes, but --nodes asks for {nodes}")
        return schedule
    entry, _ = topologies().resolve(topology)
    if nodes is None:
        raise typer.BadParameter(f"give the number of nodes for {topology}", param_hint="'--nodes' / '-n'")
    values = read_parameters(topology, parameters)
    if not entry.leaves_weights:
        return design(topology, nodes, seed=seed, **values)
    schedule = design(topology, nodes, weights=weights, weight_options=options, seed=seed, **values)
    if schedule.provenance.get("optimality", {}).get("stopped") == "interrupt":
        raise KeyboardInterrupt  # a table of weights that could be better would compare nothing
    return schedule


def _network(schedules: dict[str, Schedule], model_size: str | None, *options: Any) -> Network | None:
    """Read the network, which all schedules have to fit."""
    sizes = {schedule.nodes: label for label, schedule in schedules.items()}
    network = read_network(next(iter(sizes)), model_size, *options)
    if network is not None and len(sizes) > 1:
        (few, label), (many, other) = sorted(sizes.items())[:2]
        raise InputError(f"one network has one number of nodes, but {label} has {few} and {other} has {many}")
    return network


def _rows(
    schedules: dict[str, Schedule], reports: dict[str, Report], network: Network | None, model_size: str | None
) -> list[Compared]:
    from topokit.comparison import Compared, all_reduce
    from topokit.network import bytes_per_node, parse_size, predict

    if model_size is None:
        return [Compared(label, report) for label, report in reports.items()]
    size = parse_size(model_size, "the size of the model")
    rows = [
        Compared(
            label,
            report,
            None if network is None else predict(schedules[label], network, size, report=report),
            bytes_per_node(schedules[label], size).mean,
        )
        for label, report in reports.items()
    ]
    return rows if network is None else [*rows, *all_reduce(network.nodes, network, size)]


def _object(row: Compared) -> dict[str, Any]:
    if row.report is None:
        return dict(row.cells or {})
    cost = {} if row.prediction is None else {"prediction": row.prediction.to_dict()}
    return {**row.report.to_dict(), **cost}
