"""``topokit measure``: latency and bandwidth between the ranks of a cluster, as a links file."""

from __future__ import annotations

import os
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from topokit.errors import TopokitError
from topokit_cli.failures import BAD_INPUT
from topokit_cli.options import AsJson
from topokit_cli.output import out

if TYPE_CHECKING:
    from topokit_trainer.measure import Measurement

__all__ = ["measure"]


class Backend(StrEnum):
    """Backends of torch.distributed."""

    auto = "auto"
    gloo = "gloo"
    nccl = "nccl"


def measure(
    path: Annotated[str, typer.Option("--out", "-o", help="Links file to write (.csv).", metavar="FILE")] = "links.csv",
    size: Annotated[
        str | None,
        typer.Option("--size", help="Largest message; default: what passes in 0.2 s, up to 64MB.", metavar="SIZE"),
    ] = None,
    repeats: Annotated[int, typer.Option("--repeats", help="How often each size is timed.", metavar="R", min=1)] = 4,
    time_limit: Annotated[
        str,
        typer.Option("--time-limit", help="How long measuring may take; messages get smaller to fit.", metavar="TIME"),
    ] = "300s",
    every_pair: Annotated[
        bool,
        typer.Option(
            "--every-pair", help="Measure all pairs of ranks, not one for each pair of hosts that hold several."
        ),
    ] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", metavar="DEVICE")] = "auto",
    backend: Annotated[Backend, typer.Option("--backend", help="How ranks talk.")] = Backend.auto,
    timeout: Annotated[
        str, typer.Option("--timeout", help="How long a rank waits for another before it gives up.", metavar="TIME")
    ] = "60s",
    as_json: AsJson = False,
) -> None:
    """Measure the network between the ranks that torchrun started, and write a links file.

    \b
    Examples:
      torchrun --nproc-per-node 8 -m topokit_cli measure --out links.csv
      torchrun --nnodes 8 --rdzv-backend c10d --rdzv-endpoint host0:29500 -m topokit_cli measure

    Every link is measured alone, then what each host sends, receives, and does of both, then all hosts at once. With
    --json, standard output is one object: nodes, hosts, links, fabric, overhead, seconds and notes; rates are bytes a
    second, times seconds, and what is unlimited is null. Rank 0 alone prints and writes.
    """
    from topokit.network import parse_seconds, parse_size

    first = os.environ.get("RANK", "0") == "0"
    try:
        from topokit_trainer.measure import MeasureSettings, run_measurement

        settings = MeasureSettings(
            size=None if size is None else parse_size(size, "--size"),
            repeats=repeats,
            time_limit=parse_seconds(time_limit, "--time-limit"),
            every_pair=every_pair,
            device=device,
            backend=backend.value,
            timeout=parse_seconds(timeout, "--timeout"),
        )
        found = run_measurement(settings, path, out.note if first else lambda line: None)
    except TopokitError:
        if first:
            raise
        time.sleep(2)  # the launcher stops all ranks at the first that ends: let rank 0 speak
        raise typer.Exit(BAD_INPUT) from None
    if first:
        _show(found, as_json)
        out.note(f"wrote {path} after {found.seconds:.0f} s")


def _show(found: Measurement, as_json: bool) -> None:
    from topokit.network import format_rate, format_seconds

    if as_json:
        out.json(found.to_dict())
        return
    network = found.network
    rows = [(str(k.source), str(k.target), format_rate(k.bandwidth), format_seconds(k.latency)) for k in network.links]
    out.table(("from", "to", "bandwidth", "latency"), rows)
    out.text()
    out.table(
        ("host", "nodes", "send", "receive", "both", "inside", "duplex"),
        [
            (
                host.name,
                len(host.nodes),
                *(format_rate(rate) for rate in (host.send, host.receive, host.both, host.inside)),
                host.duplex if len(network.hosts) > 1 else "-",
            )
            for host in network.hosts
        ],
    )
    out.text()
    out.table(("fabric", "overhead"), [(format_rate(network.fabric), format_seconds(network.overhead))])
    for note in found.notes:
        out.note(note)
