"""The same schedule with its nodes numbered anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from topokit.errors import InputError
from topokit.kinds import Cyclic, Kind, Matchings, Pairwise, Sampled
from topokit.matrix import IntArray, MixingMatrix
from topokit.optimal.certificate import Certificate
from topokit.optimal.recheck import KEY
from topokit.schedule import Place, Schedule

__all__ = ["checked_permutation", "renumbered", "require_renumberable"]


def renumbered(schedule: Schedule, permutation: ArrayLike, *, placement: Iterable[Place] | None = None) -> Schedule:
    """Give the schedule with its nodes numbered anew: node i becomes node ``permutation[i]``.

    Weights stay as exact as they are, except that a round with a null filter, whose irrational weights are defined by
    distances between node numbers, keeps them as rounded numbers: exact averaging is then seen, no longer proved, and
    not claimed.
    Certificates of optimal weights and names of nodes are numbered anew too. The provenance tells the old numbers,
    as ``order``: node r was node ``order[r]``.

    Parameters
    ----------
    schedule : Schedule
        Cyclic, sampled from a list, of matchings, or pairwise.
    permutation : array_like of int, shape (n,)
    placement : iterable of Place, optional
        Where the new nodes run. Default: where the old ones did.

    Raises
    ------
    InputError
        If it is no permutation, or the schedule draws its rounds by node number (a sampler, teleport).

    Examples
    --------
    >>> from topokit.designer import design
    >>> renumbered(design("path", 3), [1, 0, 2]).round(0).to_dense().round(3).tolist()
    [[0.333, 0.333, 0.333], [0.333, 0.667, 0.0], [0.333, 0.0, 0.667]]
    """
    new = checked_permutation(permutation, schedule.nodes)
    require_renumberable(schedule)
    order = np.argsort(new)
    rule = _rule(schedule.rule, new)
    provenance = dict(schedule.provenance) | {"order": order.tolist(), "of": schedule.content_hash}
    if isinstance(labels := provenance.get("labels"), list) and len(labels) == schedule.nodes:
        provenance["labels"] = [labels[k] for k in order.tolist()]
    stored = provenance.get(KEY)
    if isinstance(stored, dict) and "certificate" in stored:
        provenance[KEY] = stored | {"certificate": _certificate(schedule.nodes, stored["certificate"], new)}
    if placement is None and schedule.placement is not None:
        placement = [replace(place, node=int(new[place.node])) for place in schedule.placement]
    filters = [[W.filter for W in _rounds(of)] for of in (schedule.rule, rule)]
    claims = schedule.claims if filters[0] == filters[1] else None
    return Schedule.of(rule, provenance=provenance, claims=claims, placement=placement)


def checked_permutation(permutation: ArrayLike, nodes: int) -> IntArray:
    """Take a permutation of the nodes.

    Raises
    ------
    InputError

    Examples
    --------
    >>> checked_permutation([1, 0], 2)
    array([1, 0])
    """
    new = np.asarray(permutation)
    if new.shape != (nodes,) or not np.array_equal(np.sort(new), np.arange(nodes)):
        raise InputError(f"the permutation does not name each of the nodes 0 to {nodes - 1} once")
    return new.astype(np.int64)


def require_renumberable(schedule: Schedule) -> None:
    """Refuse schedules whose rounds are drawn by node number.

    Raises
    ------
    InputError
    """
    if not isinstance(schedule.rule, Cyclic | Sampled | Matchings | Pairwise):
        raise InputError(
            f"{schedule.name} draws its rounds by node number ({schedule.kind}), so that its nodes cannot be numbered "
            "anew; expected a period, rounds or matchings drawn from a list, or pairwise averaging"
        )


def _rounds(rule: Kind) -> tuple[MixingMatrix, ...]:
    return rule.rounds if isinstance(rule, Cyclic | Sampled) else ()


def _rule(rule: Kind, new: IntArray) -> Kind:
    result: Kind
    if isinstance(rule, Cyclic):
        rows = np.concatenate([new + copy * rule.nodes for copy in range(rule.copies)])
        result = Cyclic([_round(W, rows) for W in rule.rounds], copies=rule.copies, mixing=rule.mixing)
    elif isinstance(rule, Sampled):
        result = Sampled([_round(W, new) for W in rule.rounds], rule.probabilities, rule.seed, rule.mixing)
    elif isinstance(rule, Matchings):
        # Edges stay in their order, by which they are drawn.
        matchings = [new[edges].tolist() for edges in rule.matchings]
        result = Matchings(rule.nodes, matchings, rule.probabilities, rule.weight, rule.seed)
    else:
        assert isinstance(rule, Pairwise)
        result = Pairwise(rule.nodes, new[rule.edges].tolist(), rule.rates, rule.seed)
    if rule.remarks:
        result.remarks = rule.remarks
    return result


def _round(W: MixingMatrix, new: IntArray) -> MixingMatrix:
    if np.array_equal(new, np.arange(new.size)):
        return W
    return MixingMatrix.from_entries(
        W.nodes, new[W.target], new[W.source], W.weight, numerator=W.numerator, denominator=W.denominator
    )


def _certificate(nodes: int, content: dict[str, Any], new: IntArray) -> dict[str, Any]:
    old = Certificate.from_dict(nodes, content)
    edges = new[old.problem.edges]
    if not old.problem.directed:
        edges = np.sort(edges, axis=1)
    order = np.argsort(new)
    problem = replace(old.problem, edges=edges)
    return Certificate(problem, old.left[order], old.right[order], old.prices[order]).to_dict()
