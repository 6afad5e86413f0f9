"""What is left of a schedule when nodes are lost: weights for the others that keep their mean.

With L the living and d the lost nodes, the round W becomes the stochastic complement

    W' = W_LL + W_Ld (I - W_dd)^-1 W_dL

What the lost nodes would have handed on goes straight from those they listen to, to those who listen to them. As a
random walk: the walk of W, seen only while it is on living nodes. Rows and columns go on to sum to one, also where
messages go one way: weights put back on oneself would keep the rows, and lose the columns and with them the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from topokit.errors import InputError, ScheduleError
from topokit.faults import mixing_fault
from topokit.kinds import Cyclic, Matchings, Pairwise, Sampled
from topokit.matrix import INT64_MAX, IntArray, MixingMatrix
from topokit.schedule import Schedule

__all__ = ["Survivors", "stochastic_complement", "survivors"]

Weight: TypeAlias = Any  # a Fraction where weights are exact, else a float
Entries: TypeAlias = dict[int, dict[int, Weight]]

NEGLIGIBLE = 1e-12  # what rounding may leave of an entry that is zero
DRAWS = 256  # rounds of a sampler that are looked at for messages between the living


def stochastic_complement(matrix: MixingMatrix, lost: Iterable[int]) -> MixingMatrix:
    """Take nodes out of a round, so that those left keep their mean.

    Parameters
    ----------
    matrix : MixingMatrix
        Doubly stochastic.
    lost : iterable of int
        Nodes to take out, not all of them.

    Returns
    -------
    MixingMatrix
        On the other nodes, numbered anew in their order. Exact where the weights are.

    Raises
    ------
    InputError
        If a lost node is none or nobody is left, the matrix is not doubly stochastic, or (with negative weights only)
        the complement does not exist.

    Notes
    -----
    The lost nodes are taken out one at a time, which comes to the same. A node's 1 - w_dd is taken to be the sum of its
    other weights: with weights that are not negative nothing cancels, so the result has none either. A lost group that
    talks to nobody else leaves the others as they are.

    References
    ----------
    C. D. Meyer, Stochastic complementation, uncoupling Markov chains, and the theory of nearly reducible systems,
    SIAM Review 31, 1989.

    Examples
    --------
    In a one-peer round node 2 listens to node 1, which listens to node 0; without node 1 it takes over its neighbour:

    >>> half = Fraction(1, 2)
    >>> one_way = MixingMatrix.from_fractions(3, [0, 0, 1, 1, 2, 2], [0, 2, 0, 1, 1, 2], [half] * 6)
    >>> stochastic_complement(one_way, [1]).to_dense().tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    gone = _checked(matrix.nodes, lost)
    if not len(gone):
        return matrix
    if (fault := mixing_fault(matrix, "doubly-stochastic")) is not None:
        raise InputError(f"only doubly stochastic rounds go on without lost nodes; here {fault}")
    alive = np.ones(matrix.nodes, dtype=bool)
    alive[gone] = False
    stays = alive[matrix.target] & alive[matrix.source]
    return _with_added(matrix, alive, np.flatnonzero(stays), _handed_on(matrix, np.flatnonzero(~stays), gone))


def _checked(nodes: int, lost: Iterable[int]) -> IntArray:
    gone = np.unique(np.array(list(lost), dtype=np.int64))
    if len(gone) and not (gone[0] >= 0 and gone[-1] < nodes):
        wrong = int(gone[0] if gone[0] < 0 else gone[-1])
        raise InputError(f"there is no node {wrong} to lose; nodes are numbered 0 to {nodes - 1}")
    if len(gone) == nodes:
        raise InputError(f"all {nodes} nodes are lost; at least one has to be left")
    return gone


def _weight(matrix: MixingMatrix, k: int) -> Weight:
    if matrix.numerator is not None and matrix.denominator is not None:
        return Fraction(int(matrix.numerator[k]), int(matrix.denominator[k]))
    return float(matrix.weight[k])


def _handed_on(matrix: MixingMatrix, places: IntArray, gone: IntArray) -> dict[tuple[int, int], Weight]:
    """Give what living nodes hear of living nodes through lost ones: {(target, source): weight}."""
    rows: Entries = {d: {} for d in gone.tolist()}  # of lost targets, by source
    columns: Entries = {d: {} for d in gone.tolist()}  # of lost sources, by target
    for k in places.tolist():
        target, source, weight = int(matrix.target[k]), int(matrix.source[k]), _weight(matrix, k)
        if target in rows and weight:
            rows[target][source] = weight
        if source in columns and weight:
            columns[source][target] = weight
    added: dict[tuple[int, int], Weight] = {}
    while rows:
        d, pivot = _next_out(rows)
        hears, heard = rows.pop(d), columns.pop(d)
        hears.pop(d, None)
        heard.pop(d, None)
        for source in hears:
            if source in columns:
                columns[source].pop(d, None)
        for target in heard:
            if target in rows:
                rows[target].pop(d, None)
        if pivot == 0:
            if any(abs(w) > NEGLIGIBLE for w in (*hears.values(), *heard.values())):
                raise InputError(f"node {d} cannot be taken out: its weights, some negative, cancel to exactly one")
            continue
        for target, out in heard.items():
            for source, into in hears.items():
                weight = out * into / pivot
                if target in rows:
                    rows[target][source] = rows[target].get(source, 0) + weight
                if source in columns:
                    columns[source][target] = columns[source].get(target, 0) + weight
                if target not in rows and source not in columns:
                    added[target, source] = added.get((target, source), 0) + weight
    return added


def _next_out(rows: Entries) -> tuple[int, Weight]:
    """Give the lost node with the largest 1 - w_dd (the sum of its other weights), and that."""
    pivots = {d: sum(weight for source, weight in hears.items() if source != d) for d, hears in rows.items()}
    d = max(pivots, key=lambda d: float(abs(pivots[d])))
    return d, pivots[d]


def _with_added(
    matrix: MixingMatrix, alive: NDArray[np.bool_], stays: IntArray, added: dict[tuple[int, int], Weight]
) -> MixingMatrix:
    """Add weights to the entries that stay, and number the living nodes anew."""
    nodes, number = int(alive.sum()), np.cumsum(alive) - 1
    target, source, weight = matrix.target[stays], matrix.source[stays], matrix.weight[stays].copy()
    numerator = None if matrix.numerator is None else matrix.numerator[stays]
    denominator = None if matrix.denominator is None else matrix.denominator[stays]
    # Entries are sorted by target and source, and so are their places in a matrix written out in full.
    keys, new = target * matrix.nodes + source, []
    for (row, column), more in added.items():
        k = int(np.searchsorted(keys, row * matrix.nodes + column))
        if k == len(keys) or keys[k] != row * matrix.nodes + column:
            new.append((row, column, more))
            continue
        total = more + _weight(matrix, int(stays[k]))
        weight[k] = float(total)
        if numerator is not None and denominator is not None and isinstance(total, Fraction):
            if max(abs(total.numerator), total.denominator) > INT64_MAX:
                numerator = None
            else:
                numerator[k], denominator[k] = total.numerator, total.denominator
    target = np.append(target, np.array([row for row, _, _ in new], dtype=np.int64))
    source = np.append(source, np.array([column for _, column, _ in new], dtype=np.int64))
    weight = np.append(weight, np.array([float(more) for _, _, more in new]))
    fractions = [more for _, _, more in new if isinstance(more, Fraction)]
    if any(max(abs(w.numerator), w.denominator) > INT64_MAX for w in fractions):
        numerator = None
    if numerator is not None and denominator is not None:
        numerator = np.append(numerator, np.array([w.numerator for w in fractions], dtype=np.int64))
        denominator = np.append(denominator, np.array([w.denominator for w in fractions], dtype=np.int64))
    keep = weight != 0
    return MixingMatrix.from_entries(
        nodes,
        number[target[keep]],
        number[source[keep]],
        weight[keep],
        numerator=None if numerator is None else numerator[keep],
        denominator=None if numerator is None or denominator is None else denominator[keep],
    )


class Survivors:
    """The rounds of a schedule, as they go on without the nodes that are lost.

    Parameters
    ----------
    schedule : Schedule
        Of doubly stochastic rounds of one copy: cyclic, sampled, matchings or pairwise.
    lost : iterable of int

    Attributes
    ----------
    lost, living : tuple of int
        Nodes by their number in the schedule. Node ``living[i]`` is row i of the rounds that are left.
    nodes : int
        How many live.
    period : int or None
        As the schedule's.

    Raises
    ------
    InputError
        If the schedule is of another kind, a lost node is none, or nobody is left.

    Examples
    --------
    >>> from topokit.designer import design
    >>> left = Survivors(design("one-peer-exponential", 8), [3])
    >>> left.nodes, left.period, left.parts()
    (7, 3, [(0, 1, 2, 4, 5, 6, 7)])
    >>> Survivors(design("ring", 6), [0, 3]).parts()
    [(1, 2, 4, 5)]
    """

    def __init__(self, schedule: Schedule, lost: Iterable[int]) -> None:
        if schedule.mixing != "doubly-stochastic" or schedule.copies != 1 or schedule.kind == "teleport":
            raise InputError(
                f"only schedules of doubly stochastic rounds go on without lost nodes; {schedule.name} is a "
                f"{schedule.kind} schedule, {schedule.mixing}, of {schedule.copies} copies a node"
            )
        self.schedule = schedule
        gone = _checked(schedule.nodes, lost)
        self.lost: tuple[int, ...] = tuple(gone.tolist())
        self.living: tuple[int, ...] = tuple(np.delete(np.arange(schedule.nodes), gone).tolist())
        self.nodes, self.period = len(self.living), schedule.period
        self._made: dict[int, MixingMatrix] = {}

    def round(self, t: int) -> MixingMatrix:
        """Give the mixing matrix of round t on the living nodes."""
        if self.period is None:
            return stochastic_complement(self.schedule.round(t), self.lost)
        place = t % self.period
        if place not in self._made:
            self._made[place] = stochastic_complement(self.schedule.round(place), self.lost)
        return self._made[place]

    def parts(self) -> list[tuple[int, ...]]:
        """Give the groups of living nodes (by their number in the schedule) that go on to hear of each other.

        One group of all means that the living are connected. Of rounds that a sampler draws, the first 256 are looked
        at.
        """
        label = np.arange(self.nodes)
        for matrix in self._connections():
            pattern = (np.ones(matrix.nonzeros), (matrix.target, matrix.source))
            # Joined with what is known so far: of doubly stochastic rounds, whoever speaks to a group hears of it.
            chain = (np.ones(self.nodes), (np.arange(self.nodes), label))
            both = sparse.csr_array(pattern, shape=(self.nodes, self.nodes)) + sparse.csr_array(
                chain, shape=(self.nodes, self.nodes)
            )
            count, found = connected_components(both, directed=False)
            first = np.full(count, self.nodes)
            np.minimum.at(first, found, np.arange(self.nodes))
            label = first[found]
            if count == 1:
                break
        return [tuple(self.living[i] for i in np.flatnonzero(label == k).tolist()) for k in np.unique(label).tolist()]

    def _connections(self) -> Iterator[MixingMatrix]:
        rule = self.schedule.rule
        if isinstance(rule, Pairwise):
            kept = self._edges(rule)
            half = np.full(len(kept), 0.5)
            own = np.arange(self.nodes)
            yield MixingMatrix.from_entries(
                self.nodes,
                np.concatenate((kept[:, 0], kept[:, 1], own)),
                np.concatenate((kept[:, 1], kept[:, 0], own)),
                np.concatenate((half, half, np.ones(self.nodes))),
            )
        elif isinstance(rule, Cyclic):
            yield from (self.round(t) for t in range(len(rule.rounds)))
        elif isinstance(rule, Sampled | Matchings):
            # Matchings: the round in which all that can be are active, whose chains of messages are those of any other.
            yield from (stochastic_complement(matrix, self.lost) for matrix in rule.connections())
        else:
            yield from (self.round(t) for t in range(DRAWS))

    def _edges(self, rule: Pairwise) -> IntArray:
        number = np.full(self.schedule.nodes, -1)
        number[list(self.living)] = np.arange(self.nodes)
        both: IntArray = number[rule.edges]
        return both[(both >= 0).all(axis=1)]

    def sentence(self) -> str:
        """Say whether the living are still connected.

        Examples
        --------
        >>> from topokit.designer import design
        >>> print(Survivors(design("pairwise", 5, graph="path"), [2]).sentence())
        without node 2 the living are no longer connected: 0 and 1 | 3 and 4
        """
        parts, (last, *before) = self.parts(), reversed(self.lost or (-1,))
        if not self.lost:
            return "no node is lost"
        who = f"node {last}" if not before else f"nodes {', '.join(map(str, reversed(before)))} and {last}"
        if len(parts) == 1:
            return f"without {who} the living are still connected"
        return f"without {who} the living are no longer connected: {' | '.join(map(_shown, parts))}"


def _shown(part: Sequence[int]) -> str:
    """Name nodes, the middle of a long list left out."""
    if len(part) > 8:
        return f"{part[0]}, {part[1]} ... {part[-1]} ({len(part)} nodes)"
    return " and ".join(filter(None, (", ".join(map(str, part[:-1])), str(part[-1]))))


def survivors(schedule: Schedule, lost: Iterable[int]) -> Schedule:
    """Give the schedule of the living, numbered anew in their order.

    A period becomes one of complements, rounds drawn from a list are drawn as before, pairs that a lost node belongs to
    are left out.

    Parameters
    ----------
    schedule : Schedule
    lost : iterable of int

    Raises
    ------
    InputError
        As `Survivors`; and for matchings and samplers, whose rounds without a node are drawn by no rule of a schedule
        file (`Survivors.round` gives them one by one).
    ScheduleError
        If the living are no longer connected.

    Examples
    --------
    >>> from topokit.designer import design
    >>> left = survivors(design("one-peer-exponential", 8), [3])
    >>> left.period, left.nodes, left.claims.doubly_stochastic
    (3, 7, True)
    """
    left = Survivors(schedule, lost)
    rule, provenance = schedule.rule, dict(schedule.provenance) | {"without": list(left.lost)}
    provenance.pop("optimality", None)  # of the weights before
    kept: Cyclic | Sampled | Pairwise
    if not left.lost:
        return schedule
    if len(left.parts()) > 1:
        raise ScheduleError(left.sentence())
    if isinstance(rule, Cyclic):
        kept = Cyclic([left.round(t) for t in range(len(rule.rounds))])
    elif isinstance(rule, Sampled):
        rounds = [stochastic_complement(matrix, left.lost) for matrix in rule.rounds]
        kept = Sampled(rounds, rule.probabilities, rule.seed)
    elif isinstance(rule, Pairwise):
        edges = left._edges(rule)
        rates = {tuple(edge): rate for edge, rate in zip(rule.edges.tolist(), rule.rates, strict=True)}
        old = [tuple(sorted((left.living[u], left.living[v]))) for u, v in edges.tolist()]
        kept = Pairwise(left.nodes, edges, [rates[edge] for edge in old], rule.seed)
    else:
        raise InputError(
            f"{schedule.name} draws its rounds ({schedule.kind}); without some nodes they follow no rule that a "
            "schedule has, and can only be had one by one"
        )
    return Schedule.of(kept, provenance=provenance)
