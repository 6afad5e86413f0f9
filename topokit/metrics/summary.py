"""The metrics that a report holds: what the rounds are worth in training, and what their graph is like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from topokit.errors import InputError
from topokit.kinds import Cyclic, Kind, Pairwise
from topokit.matrix import IntArray
from topokit.metrics.acid import acid_constants_of, natural_rates
from topokit.metrics.neighbours import EffectiveNeighbours, effective_neighbours
from topokit.metrics.resistance import effective_resistances
from topokit.metrics.transient import MixingTime, effective_mixing_time, transient_iterations
from topokit.spectral import is_symmetric

__all__ = ["ResistanceSummary", "on_graph", "worth"]

MAX_WORK = 2e9  # multiplications for resistances: some seconds

Attempt = Callable[[str, Callable[[], Any]], Any]


@dataclass(frozen=True)
class ResistanceSummary:
    """Effective resistances of a graph whose edges are resistors of 1, without the list of all edges.

    Attributes
    ----------
    largest : tuple of float
        Bounds of the largest resistance of an edge; twice the same number where it is exact up to rounding.
    mean : float or None
        Of the edges.
    kirchhoff : float or None
        Sum over all pairs of nodes; None where it is only estimated.
    method : str
        How they were found, see `topokit.metrics.resistance.Resistances`.
    sentence : str
        How far they can be trusted.
    """

    largest: tuple[float, float]
    mean: float | None
    kirchhoff: float | None
    method: str
    sentence: str


def worth(kind: Kind, attempt: Attempt, *, contraction: float | None) -> dict[str, Any]:
    """Measure what the rounds are worth in training.

    Parameters
    ----------
    kind : Kind
        Doubly stochastic rounds, one state a node.
    attempt : callable
        ``attempt(what, measure)`` gives what ``measure()`` gives, or None where that does not converge.
    contraction : float or None
        Of a period, ||W^(tau-1) ... W^(0) - J||_2, or the root of the expected square; None where it is not known.

    Returns
    -------
    dict
        ``effective_neighbours``, ``mixing_time`` and ``transient`` of a report.
    """
    mixing_time: MixingTime | None = None
    if contraction is not None:
        mixing_time = attempt("the effective mixing time", lambda: effective_mixing_time(kind, contraction=contraction))
    return {
        "effective_neighbours": attempt("the effective number of neighbours", lambda: _neighbours(kind)),
        "mixing_time": mixing_time,
        # The bound is about rounds, of which the events of pairwise averaging are none.
        "transient": None
        if mixing_time is None or isinstance(kind, Pairwise)
        else transient_iterations(kind.nodes, mixing_time.value),
    }


def _neighbours(kind: Kind) -> EffectiveNeighbours | None:
    try:
        return effective_neighbours(kind)
    except InputError:
        return None  # no stationary variance (negative weights), or too many pairs to be solved for


def on_graph(kind: Kind, attempt: Attempt) -> dict[str, Any]:
    """Measure the graph on which a schedule always is: of one symmetric matrix, or of pairwise averaging.

    Parameters are those of `worth`.

    Returns
    -------
    dict
        ``resistance`` (a `ResistanceSummary`) and ``acid`` of a report; nothing for schedules
        whose graph changes or is directed, or that talk over all edges at once with weights that are negative.
    """
    one_graph = isinstance(kind, Pairwise) or (
        isinstance(kind, Cyclic) and kind.period == 1 and kind.nodes > 1 and is_symmetric(kind.rounds[0])
    )
    if not one_graph:
        return {}
    if isinstance(kind, Cyclic) and (kind.rounds[0].weight[kind.rounds[0].target != kind.rounds[0].source] < 0).any():
        return {}
    nodes, edges, _ = natural_rates(kind)
    return {
        "resistance": attempt("the effective resistance", lambda: _resistance(nodes, edges)),
        "acid": attempt("the constants of A2CiD2", lambda: acid_constants_of(kind, max_work=MAX_WORK)),
    }


def _resistance(nodes: int, edges: IntArray) -> ResistanceSummary:
    found = effective_resistances(nodes, edges, max_work=MAX_WORK)
    return ResistanceSummary(
        found.largest_bounds, found.mean, found.kirchhoff if found.exact else None, found.method, found.sentence()
    )
