"""What the page says of a schedule in words: a verdict, key figures, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from topokit.errors import TopokitError
from topokit.report import Report
from topokit.schedule import Schedule
from topokit.words import count, factor

__all__ = ["command_again", "key_figures", "verdict"]

MAX_AGAIN = 2000  # nodes up to which the schedule is designed again, to see whether the command gives it
MAX_OPTIMISED = 200  # the same, where its weights are the result of an optimisation


def verdict(report: Report) -> str:
    """Say in a sentence or two how well a schedule averages, and at what price.

    Examples
    --------
    >>> from topokit import analyze, design
    >>> verdict(analyze(design("one-peer-exponential", 16)))
    'Exact: after 4 rounds every node holds the average, proved. A node sends to at most 1 other a round.'
    """
    most = report.out_degree.max
    return f"{_quality(report)} A node sends to at most {count(most, 'other')} a round."


def _quality(report: Report) -> str:
    proof = report.exact_averaging
    if proof is not None and proof.status == "proved":
        return (
            f"Exact: after {count(report.exact_after or proof.period, 'round')} every node holds the average, proved."
        )
    if proof is not None and proof.status == "numerical":
        return f"Exact up to rounding: after {count(proof.period, 'round')} every node holds the average."
    if report.exact_after is not None:
        return f"Exact: after {count(report.exact_after, 'round')} every node holds the average, proved."
    if report.push_pull is not None:
        return f"For push-pull methods: {report.push_pull.sentence()}."
    if report.contraction_per_round is not None:
        rate = f"Not exact: disagreement shrinks by the factor {report.contraction_per_round:.4g} a round"
        worst = report.worst_case_rounds
        return rate + (f", 1000 times in {count(worst, 'round')} at worst." if worst is not None else ".")
    if report.expected_contraction is not None:
        return (
            "Rounds are drawn at random: the expected squared disagreement shrinks at least by the factor "
            f"{report.expected_contraction:.4g} a round."
        )
    if report.period is None:
        return "Rounds are drawn at random."
    return "Rates of plain averaging do not apply to these weights."


def key_figures(report: Report) -> dict[str, str | None]:
    """Give the figures to see first, as labels and short texts; None for what does not exist."""
    proof = report.exact_averaging
    exact = report.exact_after or (proof.period if proof is not None and proof.status == "proved" else None)
    return {
        "nodes": str(report.nodes),
        "period": "random" if report.period is None else count(report.period, "round"),
        "exact after": None if exact is None else count(exact, "round"),
        "contraction per round": _number(report.contraction_per_round),
        "expected squared contraction": _number(report.expected_contraction),
        "spectral gap": _number(report.spectral_gap),
        "1000 times smaller, at worst": None
        if report.worst_case_rounds is None
        else count(report.worst_case_rounds, "round"),
        "1000 times smaller, simulated": None
        if report.simulated_rounds is None
        else count(report.simulated_rounds, "round"),
        "effective neighbours": None
        if report.effective_neighbours is None
        else _number(report.effective_neighbours.value),
        "peers a round": str(report.out_degree.max)
        if report.out_degree.max == report.in_degree.max
        else f"{report.in_degree.max} in, {report.out_degree.max} out",
        "messages per node and round": _number(report.messages_per_node_and_round),
    }


def _number(value: float | None) -> str | None:
    return None if value is None else factor(value)


def command_again(schedule: Schedule) -> str | None:
    """Give the command that designs the schedule again, if there is one and it does.

    Examples
    --------
    >>> from topokit import design
    >>> command_again(design("base-2", 25))
    'topokit design --topology base-2 --nodes 25 -o base-2-25.json'
    """
    from topokit.designer import design
    from topokit.registry import TOPOLOGIES

    provenance = schedule.provenance
    name, given, seed = (provenance.get(key) for key in ("topology", "parameters", "seed"))
    if not isinstance(name, str) or not isinstance(given, Mapping) or schedule.nodes > MAX_AGAIN:
        return None
    try:
        entry, preset = TOPOLOGIES.resolve(name)
        parameters = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items() if key not in preset}
        weights = provenance.get("weights") if entry.leaves_weights else None
        if "optimality" in provenance and schedule.nodes > MAX_OPTIMISED:
            return None
        arguments: dict[str, Any] = {"weights": weights, "seed": seed, **parameters}
        again = design(name, schedule.nodes, **arguments)
        if again.content_hash != schedule.content_hash:
            return None
    except (TopokitError, TypeError, ValueError):
        return None
    defaults = entry.parameters
    words = ["topokit", "design", "--topology", name, "--nodes", str(schedule.nodes)]
    if weights is not None and weights != entry.weights:
        words += ["--weights", str(weights)]
    for key, value in parameters.items():
        if value != defaults.get(key):
            words += ["-p", f"{key}={_typed(value)}"]
    if seed is not None:
        words += ["--seed", str(seed)]
    return shlex.join([*words, "-o", f"{schedule.name}.json"])


def _typed(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
