"""Checks of a report: the properties and limits that a user can ask for."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topokit.report import Report

__all__ = ["Property", "failures"]


class Property(StrEnum):
    """What ``--require`` can ask for."""

    exact = "exact"
    symmetric = "symmetric"
    doubly_stochastic = "doubly-stochastic"
    nonnegative = "nonnegative"
    connected = "connected"


def failures(
    report: Report,
    required: Sequence[Property] = (),
    *,
    min_gap: float | None = None,
    max_contraction: float | None = None,
) -> list[str]:
    """Name everything that was asked for and does not hold, with the number found.

    Examples
    --------
    >>> from topokit import analyze, design
    >>> failures(analyze(design("ring", 16)), min_gap=0.3)
    ['the gap per round is 0.05075, at least 0.3 was asked for']
    """
    found = [failure for what in dict.fromkeys(required) if (failure := _missing(report, what)) is not None]
    if min_gap is not None:
        gap = report.gap_per_round
        if report.expectation is not None:
            gap = 1 - sqrt(report.expectation.value)
        if gap is None:
            found.append(f"the gap per round is not known, at least {min_gap:g} was asked for")
        elif gap < min_gap:
            found.append(f"the gap per round is {gap:.4g}, at least {min_gap:g} was asked for")
    if max_contraction is not None:
        contraction = report.contraction
        if contraction is None:
            found.append(f"the contraction per period is not known, at most {max_contraction:g} was asked for")
        elif contraction > max_contraction:
            found.append(f"the contraction is {contraction:.4g} per period, at most {max_contraction:g} was asked for")
    return found


def _missing(report: Report, what: Property) -> str | None:
    if what is Property.exact:
        return _inexactness(report)
    holds = getattr(report, what.value.replace("-", "_"))
    name = what.value.replace("-", " ")
    if holds is None:
        return f"whether it is {name} depends on the draw"
    return None if holds else f"not {name}: {report.faults.get(what.value.replace('-', '_'), 'by its rules')}"


def _inexactness(report: Report) -> str | None:
    if report.exact_after is not None:
        return None
    if report.push_pull is not None:
        return None if report.push_pull.status == "proved" else report.push_pull.sentence()
    proof = report.exact_averaging
    if proof is None:
        why = "rounds drawn at random have no period" if report.period is None else "; ".join(report.notes)
        return f"exact averaging is not known: {why}"
    return proof.sentence() if proof.status == "false" else None
