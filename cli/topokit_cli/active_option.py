"""The option ``--active`` of ``topokit design``, which becomes a parameter of the topology."""

from __future__ import annotations

import re

import typer

from topokit_cli.output import out
from topokit_cli.parameters import read_parameters
from topokit_cli.registries import topologies

__all__ = ["active_parameter"]


def active_parameter(
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
