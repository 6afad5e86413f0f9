"""Check what a schedule file says about the optimality of its weights, from nothing but the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from topokit.errors import ScheduleError
from topokit.kinds import Cyclic
from topokit.matrix import FloatArray, MixingMatrix
from topokit.optimal.certificate import Certificate, width
from topokit.optimal.problem import WeightProblem
from topokit.schedule import Schedule
from topokit.spectral import slem

__all__ = ["KEY", "Optimality", "check_optimality", "summary"]

KEY = "optimality"  # in the provenance
SEARCHED = ("network", "period")  # weights that were searched, with figures that no certificate proves
STOPPED = {
    "time": "; stopped when time was up",
    "interrupt": "; interrupted",
    "end": "; the solver could do no better",
}
HUGE = 1e6  # what no SLEM of a file can be
NARROW = 1e-6  # width that is near enough, however the solver ended
TOLERANCE = 1e-9  # on limits, bounds and claims


@dataclass(frozen=True)
class Optimality:
    """What the certificate of a schedule proves.

    Attributes
    ----------
    objective : {"fdla", "fmmc"}
        Among which weights: of any sign, or none negative.
    slem : float
        ||W - J||_2 of the schedule's matrix, computed anew.
    lower : float
        No weights within the limits have a smaller one; computed anew from the certificate.
    width : float
        (slem - lower)/(1 - slem).
    method : str
        How the weights were found.
    edges, unused : int
        Edges that could have been used, and how many of them have the weight 0.
    stopped : str
        Why the solver stopped: "width", "end", "time" or "interrupt".
    limits : str
        What else the weights had to keep, in words; empty for nothing.
    """

    objective: str
    slem: float
    lower: float
    width: float
    method: str
    edges: int
    unused: int
    limits: str
    stopped: str

    def sentence(self) -> str:
        """Say what is proved."""
        kind = "nonnegative weights" if self.objective == "fmmc" else "weights"
        shown = "0" if self.width < 1e-12 else f"{self.width:.2g}"
        limits = f" ({self.limits})" if self.limits else ""
        unused = f" ({self.unused} of them unused)" if self.unused else ""
        edges = f"this one edge{unused}" if self.edges == 1 else f"these {self.edges} edges{unused}"
        ended = "" if self.width < NARROW else STOPPED.get(self.stopped, "")
        return (
            f"proved: no {kind}{limits} on {edges} have a SLEM below {self.lower:.8g}; certificate width {shown} "
            f"({self.method}){ended}"
        )


def summary(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Give a provenance without the numbers of its certificate, for people and for short outputs.

    Examples
    --------
    >>> summary({"weights": "fdla", "optimality": {"lower": 0.5, "certificate": {"left": "..."}}})
    {'weights': 'fdla', 'optimality': {'lower': 0.5}}
    """
    stored = provenance.get(KEY)
    if not isinstance(stored, Mapping):
        return dict(provenance)
    return {**provenance, KEY: {key: value for key, value in stored.items() if key != "certificate"}}


def check_optimality(schedule: Schedule) -> Optimality | None:
    """Check the certificate in the provenance of a schedule.

    Returns
    -------
    Optimality or None
        None where the schedule has no certificate.

    Raises
    ------
    ScheduleError
        If the certificate is malformed, is about other weights, or proves less than the file claims.

    Examples
    --------
    >>> from topokit.designer import design
    >>> check_optimality(design("ring", 8, weights="fdla")).sentence()
    'proved: no weights on these 8 edges have a SLEM below 0.74452084; certificate width 0 (characters)'
    """
    stored = schedule.provenance.get(KEY)
    if stored is None or (isinstance(stored, Mapping) and stored.get("method") in SEARCHED):
        return None
    if not isinstance(stored, Mapping) or "certificate" not in stored:
        raise ScheduleError("the file claims optimal weights without a certificate: nothing proves it")
    if not isinstance(schedule.rule, Cyclic) or schedule.rule.period != 1:
        raise ScheduleError("the certificate of optimal weights belongs to one matrix, this schedule has more rounds")
    content = stored["certificate"]
    if not isinstance(content, Mapping):
        raise ScheduleError("the certificate is malformed: it is an object with edges, left and prices")
    certificate = Certificate.from_dict(schedule.nodes, content)
    problem = certificate.problem
    weights = _weights(schedule.rule.rounds[0], problem)
    if (excess := problem.excess(weights)) > TOLERANCE:
        raise ScheduleError(
            f"the certificate is about weights within limits that the schedule's weights leave by {excess:.3g}"
        )
    found = slem(schedule.rule.rounds[0])
    lower = min(certificate.bound(found), found)
    _compare("lower", stored, lower)
    _compare("slem", stored, found)
    return Optimality(
        problem.name,
        found,
        lower,
        width(found, lower),
        str(stored.get("method", "unknown method")),
        len(problem.edges),
        int((weights == 0).sum()),
        _limits(problem),
        str(stored.get("stopped", "")),
    )


def _compare(name: str, stored: Mapping[str, Any], found: float) -> None:
    claimed = stored.get(name)
    if isinstance(claimed, bool) or not isinstance(claimed, (int, float)) or abs(claimed) > HUGE:
        raise ScheduleError(f"the file gives no number for {name} of its optimal weights, got {claimed!r}")
    if name == "lower" and claimed > found + TOLERANCE:
        raise ScheduleError(
            f"the certificate is rejected: the file claims that no weights have a SLEM below {claimed:.10g}, but what "
            f"it holds proves no more than {found:.10g}"
        )
    if name == "slem" and abs(claimed - found) > TOLERANCE:
        raise ScheduleError(
            f"the file claims a SLEM of {claimed:.10g} for its optimal weights; its matrix has {found:.10g}"
        )


def _weights(W: MixingMatrix, problem: WeightProblem) -> FloatArray:
    """Read the weights of the certificate's edges off the matrix, and refuse others."""
    u, v = problem.edges.T
    n = problem.nodes
    beside = W.target != W.source
    code = W.target[beside].astype(np.int64) * n + W.source[beside]
    order = np.argsort(code)
    code, value = code[order], W.weight[beside][order]
    wanted = np.concatenate((v * n + u, u * n + v)) if not problem.directed else v * n + u
    if np.unique(wanted).size != wanted.size:
        raise ScheduleError("the certificate is malformed: it lists an edge twice")
    strange = np.setdiff1d(code, wanted)
    if strange.size:
        target, source = divmod(int(strange[0]), n)
        raise ScheduleError(f"the certificate is about a graph without the edge {source}-{target} of the schedule")
    place = np.searchsorted(code, wanted)
    place = np.minimum(place, max(0, code.size - 1))
    found = np.where(code[place] == wanted, value[place], 0.0) if code.size else np.zeros(wanted.size)
    if not problem.directed:
        first, second = found[: len(problem.edges)], found[len(problem.edges) :]
        if np.abs(first - second).max(initial=0) > TOLERANCE:
            raise ScheduleError("the certificate is about symmetric weights, which the schedule's are not")
        return first
    return found


def _limits(problem: WeightProblem) -> str:
    limits = []
    if problem.self_weights == "zero":
        limits.append("without self-loops")
    if problem.upper is not None:
        limits.append("within their bounds")
    return ", ".join(limits)
