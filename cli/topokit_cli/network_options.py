"""The options that describe a network, the same for every command that predicts seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from topokit.errors import InputError

if TYPE_CHECKING:
    from topokit.network import Network

__all__ = ["Bandwidth", "Duplex", "DuplexOption", "Latency", "LinksFile", "ModelSize", "NodesPerHost", "read_network"]


class Duplex(StrEnum):
    """Whether a network card sends and receives at full rate at the same time."""

    full = "full"
    half = "half"


Bandwidth: TypeAlias = Annotated[
    str | None,
    typer.Option("--bandwidth", help="What a host can send, and receive: 1Gbit/s, 100MB/s.", metavar="RATE"),
]
Latency: TypeAlias = Annotated[
    str | None, typer.Option("--latency", help="Of a message between hosts: 50us, 1ms.", metavar="TIME")
]
DuplexOption: TypeAlias = Annotated[
    Duplex | None, typer.Option("--duplex", help="Whether a host sends and receives at full rate at the same time.")
]
NodesPerHost: TypeAlias = Annotated[
    int | None,
    typer.Option("--nodes-per-host", help="Nodes that share a host and its network card.", metavar="G", min=1),
]
LinksFile: TypeAlias = Annotated[
    str | None,
    typer.Option("--links", help="A network that was measured (topokit measure) or written by hand.", metavar="FILE"),
]
ModelSize: TypeAlias = Annotated[
    str | None,
    typer.Option("--model-size", help="What a message holds, the parameters of a model: 100MB.", metavar="SIZE"),
]


def read_network(
    nodes: int,
    model_size: str | None,
    links: str | None,
    bandwidth: str | None,
    latency: str | None,
    duplex: Duplex | None,
    nodes_per_host: int | None,
) -> Network | None:
    """Make the network that the options describe; None where they describe none.

    Raises
    ------
    typer.BadParameter
        If options contradict each other, or one is missing.
    """
    from topokit.network import Network, parse_size
    from topokit.network.files import load

    details = {"--latency": latency, "--duplex": duplex, "--nodes-per-host": nodes_per_host}
    given = [name for name, value in details.items() if value is not None]
    if links is not None:
        if bandwidth is not None or given:
            option = "--bandwidth" if bandwidth is not None else given[0]
            raise typer.BadParameter("a links file says it all: leave it out", param_hint=f"'{option}'")
    elif bandwidth is None:
        if given:
            raise typer.BadParameter("give --bandwidth too, or a links file (--links)", param_hint=f"'{given[0]}'")
        return None
    if model_size is None:
        option = "--links" if bandwidth is None else "--bandwidth"
        raise typer.BadParameter("give --model-size too: seconds depend on it", param_hint=f"'{option}'")
    if parse_size(model_size, "the size of the model") <= 0:
        raise InputError("the size of the model must be more than nothing, for instance 100MB")
    if links is not None:
        return load(links, nodes=nodes)
    assert bandwidth is not None
    return Network.uniform(
        nodes,
        bandwidth,
        latency or 0.0,
        duplex="full" if duplex is None else duplex.value,
        nodes_per_host=nodes_per_host or 1,
    )
