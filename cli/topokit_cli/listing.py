"""``topokit list``: the names that the other commands understand."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from topokit_cli.options import AsJson
from topokit_cli.output import out, show
from topokit_cli.parameters import described_parameters
from topokit_cli.registries import topologies, weightings

if TYPE_CHECKING:
    from topokit.registry import Topology

__all__ = ["list_names"]

OTHER_OBJECTIVES = {
    "fmmc": "the smallest SLEM of nonnegative symmetric weights on the graph",
    "fdla": "the smallest SLEM of all symmetric weights on the graph; weights may be negative",
    "seconds": "predicted seconds until errors have shrunk 1000 times on a network; rounds may differ",
}


class What(StrEnum):
    """What can be listed."""

    topologies = "topologies"
    weights = "weights"
    objectives = "objectives"
    algorithms = "algorithms"
    compressors = "compressors"
    datasets = "datasets"
    models = "models"


def list_names(
    what: Annotated[What, typer.Argument(help="What to list.", show_default=False)],
    name: Annotated[
        str | None, typer.Argument(help="Tell all about this one (topologies).", metavar="[NAME]", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what can be named.

    Topologies, weights, objectives of `topokit design --learn`, algorithms, compressors, datasets and models. Of
    topologies: the numbers of nodes n for which each exists (peers is the most neighbours of a node in a round, where a
    topology leaves the choice), its degree, its period, when a period averages exactly, whether messages go one way,
    and its source. With a name, everything about one.

    \b
    Examples:
      topokit list topologies
      topokit list topologies base
      topokit list weights --json
      topokit list objectives
      topokit list algorithms
      topokit list compressors

    Of algorithms: what each needs of a schedule, the models that a node keeps besides its parameters, gradient and
    optimizer's state, the models in each message that it sends (how many messages there are in a round, topokit analyze
    tells of the schedule), the options of topokit train that not all have a use for, and its source.

    Of compressors: how --compressor asks for each, its contraction (omega in E |x - C(x)|^2 <= (1 - omega) |x|^2, of d
    numbers), the bits it takes on the wire, and its source.

    With --json, standard output is an array of objects with the keys name and summary, and more for topologies and
    weights (kind, sizes, degree, period, exact, directed, parameters with their defaults, weights, source), for
    algorithms (needs, kept, kept_for, memory, sent, traffic, options, source) and for compressors (written,
    contraction, bits, source).
    """
    if name is not None and what is not What.topologies:
        raise typer.BadParameter("only topologies are described one by one", param_hint="'NAME'")
    entries = [_topology(topologies().resolve(name)[0])] if name is not None else _entries(what)
    if as_json:
        out.json(entries, indent=2)
    elif name is not None:
        _describe(entries[0])
    elif what is What.topologies:
        out.table(
            ["name", "exists for", "degree", "period", "exact", "directed", "source"],
            [
                [e["name"], e["sizes"], e["degree"], e["period"], e["exact"], e["directed"], e["source"]]
                for e in entries
            ],
        )
        out.note("topokit list topologies NAME tells what it is and its parameters")
    elif what is What.algorithms:
        labels = {"needs": "needs", "memory": "memory", "traffic": "bytes", "options": "options", "source": "source"}
        _tell(entries, labels)
        out.note("memory is what a node keeps besides its parameters, its gradient and the state of its optimizer")
    elif what is What.compressors:
        _tell(entries, {"written": "written", "contraction": "omega", "bits": "bits", "source": "source"})
    else:
        width = max(len(entry["name"]) for entry in entries)
        for entry in entries:
            out.text(f"{entry['name']:<{width}}  {entry['summary']}")


def _describe(entry: dict[str, Any]) -> None:
    labels = {
        "summary": "what it is",
        "sizes": "exists for",
        "degree": "degree",
        "period": "period",
        "exact": "exact averaging",
        "directed": "directed",
        "weights": "weights",
        "source": "source",
    }
    out.text(entry["name"])
    for key, label in labels.items():
        if entry[key] is not None:
            out.text(f"  {label:<16}{show(entry[key])}")
    if entry["also"]:
        out.text(f"  {'also named':<16}{entry['also']}")
    for name, text in entry["described"].items():
        value = "REQUIRED" if name in entry["required"] else entry["parameters"][name]
        out.text(f"  -p {name}={'...' if value is None else value}  {text}")


def _tell(entries: list[dict[str, Any]], labels: dict[str, str]) -> None:
    width = min(max(shutil.get_terminal_size().columns, 60), 120)
    for number, entry in enumerate(entries):
        if number:
            out.text()
        out.text(entry["name"])
        out.text(textwrap.fill(entry["summary"], width, initial_indent="  ", subsequent_indent="  "))
        for key, label in labels.items():
            text = ", ".join(entry[key]) if key == "options" else entry[key]
            if text:
                out.text(_paragraph(f"  {label:<9}", text, width))


def _paragraph(label: str, text: str, width: int) -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_on_hyphens=False,
        break_long_words=False,
    )


def _entries(what: What) -> list[dict[str, Any]]:
    if what is What.topologies:
        return _topologies()
    if what is What.weights:
        return _weights()
    if what is What.objectives:
        return _objectives()
    if what is What.algorithms:
        return _algorithms()
    from topokit_trainer import catalog

    if what is What.compressors:
        return [{"name": name, **asdict(facts)} for name, facts in catalog.COMPRESSORS.items()]
    names = {What.datasets: catalog.DATASETS, What.models: catalog.MODELS}[what]
    return [{"name": name, "summary": summary} for name, summary in names.items()]


def _topologies() -> list[dict[str, Any]]:
    kinds = ("static", "sequence", "random")
    return [_topology(entry) for entry in sorted(topologies().values(), key=lambda entry: kinds.index(entry.kind))]


def _topology(entry: Topology) -> dict[str, Any]:
    required = inspect.Parameter.empty
    parameters = {name: value for name, value in entry.parameters.items() if name != "seed"}
    numbered = entry.numbered
    return {
        "name": entry.name,
        "summary": entry.summary,
        "kind": entry.kind,
        "sizes": entry.sizes,
        "degree": entry.degree,
        "period": entry.period,
        "exact": entry.exact,
        "directed": entry.directed,
        "parameters": {name: None if value is required else value for name, value in parameters.items()},
        "required": [name for name, value in parameters.items() if value is required],
        "described": {name: text for name, text in described_parameters(entry.build).items() if name in parameters},
        "also": None if numbered is None else f"{entry.name}-<{numbered.parameter} + {numbered.offset}>",
        "random": "seed" in entry.parameters,
        "weights": entry.weights if entry.leaves_weights else None,
        "source": entry.source,
    }


def _weights() -> list[dict[str, Any]]:
    return [
        {"name": entry.name, "summary": entry.summary, "exact": entry.exact, "source": entry.source}
        for entry in weightings().values()
    ]


def _objectives() -> list[dict[str, Any]]:
    from topokit.learned.objectives import SPECTRAL

    summaries = {name: objective.summary for name, objective in SPECTRAL.items()} | OTHER_OBJECTIVES
    return [{"name": name, "summary": summary} for name, summary in summaries.items()]


def _algorithms() -> list[dict[str, Any]]:
    from topokit_trainer.catalog import ALGORITHMS
    from topokit_trainer.config import OWNERS, flag

    return [
        {
            "name": name,
            **asdict(facts),
            "options": [flag(option) for option, owners in OWNERS.items() if name in owners],
        }
        for name, facts in ALGORITHMS.items()
    ]
