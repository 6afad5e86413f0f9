"""From a schedule or a matrix to a report: what is measured for which kind of schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np

from topokit.consensus import simulated_rounds
from topokit.errors import ScheduleError
from topokit.kinds import Cyclic, Kind, Teleport
from topokit.matrix import IntArray, MatrixLike, MixingMatrix
from topokit.measurements import FACTOR, Attempts, Measurements
from topokit.metrics.expectation import expected_contraction, why_not
from topokit.metrics.summary import on_graph, worth
from topokit.optimal.recheck import check_optimality
from topokit.proofs.push_pull import prove_push_pull
from topokit.report import Degree, Report, RoundReport
from topokit.schedule import Schedule
from topokit.schedule.claims import compute_claims
from topokit.spectral import Spectrum
from topokit.traffic import Traffic, traffic

__all__ = ["analyze"]

ROUNDING = 1e-13  # a norm of 1 is computed to about this
LARGE = 2000  # nodes, above which expectations without a formula are left out
ESTIMATED = 1000  # rounds drawn to estimate them
DRAWN = 100  # rounds that the figures of random schedules are taken from


def analyze(what: Schedule | MatrixLike, name: str | None = None, *, seed: int = 0) -> Report:
    """Analyse a mixing schedule, or one mixing matrix that is used in every round.

    Parameters
    ----------
    what : Schedule, MixingMatrix, ndarray or SciPy sparse array of shape (n, n)
        W[i, j] is the weight node i gives to what it receives from j; round 0 of a schedule acts first.
    name : str, optional
        What to call it; by default the name of the schedule.
    seed : int, default 0
        Seed of the simulated consensus.

    Returns
    -------
    Report
        `Report` says which number is which.

    Raises
    ------
    InputError
        If a matrix is not square or not finite.
    ScheduleError
        If the schedule's certificate of optimal weights does not hold.

    Notes
    -----
    Rates describe x <- W x with doubly stochastic W, and with two copies the first of them. Of others (push-sum,
    push-pull) the structure is reported, and what these algorithms make of it. Up to 1,000 nodes this takes a second
    or so; above, what has no shortcut (circulant or symmetric matrices) is computed by iterations that never form a
    product, or left out with a note.

    Examples
    --------
    >>> from topokit.designer import design
    >>> report = analyze(design("one-peer-exponential", 12))
    >>> report.exact_averaging.status, round(report.contraction, 4), report.worst_case_rounds
    ('false', 0.2091, 19)
    """
    if isinstance(what, Schedule):
        rule, title, digest = what.rule, name or what.name, what.content_hash
    else:
        rule, title, digest = Cyclic([MixingMatrix.from_matrix(what)]), name or "matrix", None
    facts = _of_period(rule, seed) if isinstance(rule, Cyclic) else _of_draws(rule, seed)
    if isinstance(what, Schedule) and what.unchecked:
        facts["notes"] += (f"claims that would take too long to check: {', '.join(what.unchecked)}",)
    if isinstance(what, Schedule):
        try:
            facts["optimality"] = check_optimality(what)
        except ScheduleError as error:
            raise ScheduleError(f"{title}: {error}") from None
        found = what.provenance.get("optimality")
        if facts["optimality"] is None and isinstance(found, Mapping) and "summary" in found:
            facts["notes"] += (f"weights, as the file says: {found['summary']}",)
        search = what.provenance.get("search")
        if isinstance(search, Mapping) and "summary" in search:
            facts["notes"] += (f"learned, as the file says: {search['summary']}",)
    return Report(
        name=title,
        nodes=rule.nodes,
        kind=rule.name,
        copies=rule.copies,
        mixing=rule.mixing,
        hash=digest,
        seed=seed,
        **facts,
    )


def _of_period(rule: Cyclic, seed: int) -> dict[str, Any]:
    measured = Measurements(rule)
    flows = [traffic(W, rule.copies) for W in rule.rounds]
    spectra = [measured.spectrum(W) for W in rule.rounds]
    reports = tuple(_round_report(flow, found) for flow, found in zip(flows, spectra, strict=True))
    proof = measured.proof()
    contraction, per_round = measured.contractions(proof)
    only = reports[0] if len(reports) == 1 else RoundReport(None, None, None, 0, 0, 0)
    if only.beta is not None and only.slem is None:
        measured.notes.append("the matrix is not normal: its eigenvalues cannot be computed reliably, so no SLEM")
    worst = measured.worst_case()
    messages = sum(entry.messages for entry in reports)
    return {
        "period": rule.period,
        "symmetric": "symmetric" not in measured.faults,
        "doubly_stochastic": "doubly_stochastic" not in measured.faults,
        "nonnegative": "nonnegative" not in measured.faults,
        "connected": "connected" not in measured.faults,
        "slem": only.slem,
        "spectral_gap": only.spectral_gap,
        "beta": only.beta,
        "spectrum": spectra[0] if len(spectra) == 1 else None,
        "fiedler_value": measured.fiedler(),
        "contraction": contraction,
        "contraction_per_round": per_round,
        "gap_per_round": None if per_round is None else _gap(per_round),
        "exact_averaging": proof,
        "exact_after": measured.exact_after(proof),
        "windows": measured.windows(proof),
        "push_pull": prove_push_pull(rule.rounds) if rule.mixing == "push-pull" else None,
        "perron": measured.perron(),
        **(worth(rule, measured.attempt, contraction=contraction) if measured.plain else {}),
        **(on_graph(rule, measured.attempt) if measured.plain and "connected" not in measured.faults else {}),
        "in_degree": _degrees([flow.in_degree for flow in flows]),
        "out_degree": _degrees([flow.out_degree for flow in flows]),
        "messages_per_period": messages,
        "messages_per_round": messages / rule.period,
        "messages_per_node_and_round": messages / rule.period / rule.nodes,
        "worst_case_rounds": worst,
        "simulated_rounds": measured.simulated(worst, proof, seed),
        "rounds": reports,
        "faults": measured.faults,
        "notes": tuple(dict.fromkeys(measured.notes)),
    }


def _gap(contraction: float) -> float:
    gap = 1 - contraction
    return 0.0 if abs(gap) < ROUNDING else gap


def _of_draws(rule: Kind, seed: int) -> dict[str, Any]:
    """Describe rounds drawn at random: by their rules where these say it, else by the first rounds."""
    attempt = Attempts()
    claims = compute_claims(rule)
    flows = [traffic(rule.round(t), rule.copies) for t in range(DRAWN)]
    messages = float(np.mean([rule.messages(t) for t in range(DRAWN)]))
    attempt.notes.append(f"peers and messages are those of rounds 0 to {DRAWN - 1}")
    expected = expected_contraction(rule, draws=ESTIMATED if rule.nodes <= LARGE else 0)
    if expected is None:
        attempt.notes.append(f"the expected contraction {why_not(rule)}")
    if isinstance(rule, Teleport):
        attempt.notes.append(
            "messages include the hand-overs; consensus is simulated among the tokens of the first team"
        )
    plain = rule.copies == 1 and rule.mixing == "doubly-stochastic" and not isinstance(rule, Teleport)
    return {
        "symmetric": claims.symmetric,
        "doubly_stochastic": claims.doubly_stochastic,
        "nonnegative": claims.nonnegative,
        "connected": True,
        "expectation": expected,
        **(worth(rule, attempt, contraction=None if expected is None else sqrt(expected.value)) if plain else {}),
        **(on_graph(rule, attempt) if plain else {}),
        "in_degree": _degrees([flow.in_degree for flow in flows]),
        "out_degree": _degrees([flow.out_degree for flow in flows]),
        "messages_per_round": messages,
        "messages_per_node_and_round": messages / rule.nodes,
        "simulated_rounds": simulated_rounds(rule, FACTOR, seed=seed),
        "notes": tuple(attempt.notes),
    }


def _round_report(flow: Traffic, found: Spectrum | None) -> RoundReport:
    slem, gap, beta = (None, None, None) if found is None else (found.slem, found.gap, found.beta)
    return RoundReport(slem, gap, beta, flow.messages, int(flow.in_degree.max()), int(flow.out_degree.max()))


def _degrees(degrees: Sequence[IntArray]) -> Degree:
    return Degree(max(int(d.max()) for d in degrees), float(np.mean([d.mean() for d in degrees])))
