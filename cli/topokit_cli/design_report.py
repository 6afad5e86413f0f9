"""What ``topokit design`` says about a schedule, and the limits that it holds it to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from topokit.errors import InputError
from topokit_cli.output import out

if TYPE_CHECKING:
    from topokit.recommender import Recommendation
    from topokit.schedule import Schedule

__all__ = ["check_limits", "choice", "describe", "facts"]

DRAWN = 100  # rounds of a random schedule that are looked at


def check_limits(schedule: Schedule, max_degree: int | None, undirected: bool) -> None:
    """Refuse a schedule that breaks limits."""
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


def facts(schedule: Schedule, output: str | None) -> dict[str, Any]:
    """Give what --json prints of a schedule."""
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


def choice(recommendation: Recommendation | None) -> dict[str, Any]:
    """Give what --json prints of the ranking."""
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


def describe(schedule: Schedule, *, as_note: bool) -> None:
    """Say in a line or two what a schedule is."""
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
    search = schedule.provenance.get("search", {})
    if "summary" in search:
        (out.note if as_note else out.text)(f"learned: {search['summary']}")
