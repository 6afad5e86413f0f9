"""``topokit active-nodes``: how many nodes TELEPORTATION should have at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from topokit_cli.options import AsJson, Seed
from topokit_cli.output import out

if TYPE_CHECKING:
    from topokit.metrics.active_nodes import ActiveNodes

__all__ = ["active_nodes"]


def active_nodes(
    nodes: Annotated[int, typer.Option("--nodes", "-n", help="Number of nodes.", metavar="N", min=2)],
    iterations: Annotated[int, typer.Option("--iterations", "-T", help="Length of the run.", metavar="T", min=1)],
    inner: Annotated[
        list[str],
        typer.Option("--inner", help="Topology among the active nodes; may be repeated.", metavar="NAME"),
    ] = ["ring", "torus", "exponential", "one-peer-exponential", "base-2", "complete"],  # noqa: B006 (Typer copies it)
    smoothness: Annotated[float, typer.Option("--smoothness", help="L of the loss.", metavar="L")] = 1.0,
    initial_gap: Annotated[
        float, typer.Option("--initial-gap", help="Loss at the start above its minimum.", metavar="R")
    ] = 1.0,
    noise: Annotated[
        float, typer.Option("--noise", help="Standard deviation of a node's gradients.", metavar="SIGMA")
    ] = 1.0,
    heterogeneity: Annotated[
        float, typer.Option("--heterogeneity", help="Standard deviation of gradients between nodes.", metavar="ZETA")
    ] = 1.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Find the best number of active nodes for TELEPORTATION.

    For each topology among the active nodes: the number with the lowest bound on the gradient after T iterations, its
    closed form where there is one, how both grow, and what a search (1, 2, 4, ... at once, then all) would try.

    \b
    Examples:
      topokit active-nodes --nodes 64 --iterations 100000
      topokit active-nodes -n 256 -T 1000000 --inner ring --heterogeneity 3
      topokit active-nodes -n 25 -T 5000 --inner base-2 --json

    Take `best` where the run is made once, and the search where it may be made twice: it needs no constants.
    Constants of the bound are taken as 1, and L, R, SIGMA, ZETA are your guesses: a starting point for the search,
    not a verdict. With --json, standard output is an array with one object a topology: inner, nodes, iterations,
    active, bound, closed_form, growth, rate, search (together, alone and candidate), and counts, bounds and
    mixing_times of all numbers that were compared.
    """
    from topokit.metrics.active_nodes import optimal_active_nodes

    found = [
        optimal_active_nodes(
            nodes,
            name,
            iterations=iterations,
            smoothness=smoothness,
            initial_gap=initial_gap,
            noise=noise,
            heterogeneity=heterogeneity,
            seed=seed,
        )
        for name in inner
    ]
    if as_json:
        out.json([_object(best) for best in found], indent=2)
        return
    columns = ["inner", "best", "bound", "closed form", "best grows", "bound falls", "search", "best of these"]
    out.table(columns, [_row(best) for best in found])
    for best in found:
        for label, text in best.lines():
            if label == "note":
                out.note(f"{best.inner}: {text}")


def _row(best: ActiveNodes) -> list[Any]:
    together = ",".join(map(str, best.plan.together))
    search = together if best.plan.alone is None else f"{together} then {best.plan.alone}"
    return [best.inner, best.active, best.bound, best.closed_form, best.growth, best.rate, search, best.candidate]


def _object(best: ActiveNodes) -> dict[str, Any]:
    return {
        "inner": best.inner,
        "nodes": best.nodes,
        "iterations": best.iterations,
        "active": best.active,
        "bound": best.bound,
        "closed_form": best.closed_form,
        "growth": best.growth,
        "rate": best.rate,
        "search": {"together": list(best.plan.together), "alone": best.plan.alone, "candidate": best.candidate},
        "counts": best.counts.tolist(),
        "bounds": best.bounds.tolist(),
        "mixing_times": best.mixing_times.tolist(),
        "left_out": list(best.left_out),
    }
