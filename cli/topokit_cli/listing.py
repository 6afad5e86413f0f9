"""``topokit list``: the names that the other commands understand."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from topokit_cli.options import AsJson
from topokit_cli.output import out
from topokit_cli.registries import topologies, weightings

__all__ = ["list_names"]


class What(StrEnum):
    """What can be listed."""

    topologies = "topologies"
    weights = "weights"
    algorithms = "algorithms"
    datasets = "datasets"
    models = "models"


def list_names(
    what: Annotated[What, typer.Argument(help="What to list.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """List what can be named.

    Topologies, weights, algorithms, datasets and models, each with a line about it.

    \b
    Examples:
      topokit list topologies
      topokit list weights --json
      topokit list algorithms

    With --json, standard output is an array of objects with the keys name and summary, and more for topologies and
    weights (kind, parameters with their defaults, weights, directed, source, exact).
    """
    entries = _entries(what)
    if as_json:
        out.json(entries, indent=2)
        return
    width = max(len(entry["name"]) for entry in entries)
    for entry in entries:
        out.text(f"{entry['name']:<{width}}  {entry['summary']}")
        parameters = entry.get("parameters")
        if parameters:
            given = ", ".join(f"{name}={'auto' if value is None else value}" for name, value in parameters.items())
            out.text(f"{'':<{width}}  parameters: {given}")


def _entries(what: What) -> list[dict[str, Any]]:
    if what is What.topologies:
        return _topologies()
    if what is What.weights:
        return _weights()
    from topokit_trainer import catalog

    names = {What.algorithms: catalog.ALGORITHMS, What.datasets: catalog.DATASETS, What.models: catalog.MODELS}[what]
    return [{"name": name, "summary": summary} for name, summary in names.items()]


def _topologies() -> list[dict[str, Any]]:
    return [
        {
            "name": entry.name,
            "summary": entry.summary,
            "kind": entry.kind,
            "directed": entry.directed,
            "parameters": {name: value for name, value in entry.parameters.items() if name != "seed"},
            "weights": entry.weights if entry.kind == "static" else None,
            "source": entry.source,
        }
        for entry in topologies().values()
    ]


def _weights() -> list[dict[str, Any]]:
    return [
        {"name": entry.name, "summary": entry.summary, "exact": entry.exact, "source": entry.source}
        for entry in weightings().values()
    ]
