"""Which topology to take: every family that exists for a number of nodes, ranked by what consensus costs in messages.

The rule is simple on purpose. A node sends its messages one after the other, so that a round costs as much as its
busiest node has to send; the score is that number times the rounds that shrink every consensus error 1000 times: the
model sizes that the busiest node sends until the nodes agree. Where rounds are drawn at random, these are the rounds
that shrink the expected square of the error 1000^2 times. On a network that is known, the score is seconds instead:
these rounds, times the predicted seconds of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil, log
from typing import Any

from topokit.averaging import worst_case_rounds
from topokit.designer import design  # which fills the registry
from topokit.errors import ConvergenceError, GraphError, InputError
from topokit.network import Network, allreduce_seconds, round_seconds
from topokit.registry import TOPOLOGIES, Topology
from topokit.schedule import Schedule
from topokit.traffic import traffic
from topokit.words import count

__all__ = ["Candidate", "Recommendation", "recommend"]

FACTOR = 1000
MAX_PEERS = 4
MAX_PERIOD = 200  # rounds; what takes longer to average is not in the running
DRAWN = 20  # rounds of a random schedule that are looked at
MAX_COMPLETE = 300  # nodes; above, the complete graph is not built, as nothing about it is unknown


@dataclass(frozen=True)
class Candidate:
    """One family, and how it fares.

    Attributes
    ----------
    name : str
        Name of the topology.
    parameters : mapping
        Parameters it was built with, its seed included where it is random.
    ranked : bool
        Whether it fits the limits and was measured; `why` tells why not.
    why : str
        What speaks for it, or against it.
    schedule : Schedule or None
        The schedule itself, where it was built.
    period : int or None
        Number of rounds of a period; None where rounds are drawn at random.
    max_degree : int or None
        Most messages that a node sends in a round.
    rounds : int or None
        Rounds that shrink every consensus error 1000 times; the period, where that is exact; on average, where rounds
        are drawn at random.
    score : int or None
        ``max_degree * rounds``: messages that the busiest node sends until then. Less is better.
    seconds : float or None
        Predicted seconds until then, where a network was given.
    exact : bool or None
        Whether a period averages exactly.
    contraction : float or None
        ||period - J||_2.
    symmetric : bool or None
        Whether all messages are exchanges with equal weights.
    """

    name: str
    parameters: Mapping[str, Any]
    ranked: bool
    why: str
    schedule: Schedule | None = field(default=None, repr=False)
    period: int | None = None
    max_degree: int | None = None
    rounds: int | None = None
    score: int | None = None
    seconds: float | None = None
    exact: bool | None = None
    contraction: float | None = None
    symmetric: bool | None = None

    @property
    def label(self) -> str:
        """The name with the parameters that were chosen, for instance ``random-regular degree=4 seed=0``."""
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.parameters.items())])

    def to_dict(self) -> dict[str, Any]:
        """Give the candidate as JSON values: the attributes under their names, without the schedule."""
        names = (
            "name",
            "ranked",
            "why",
            "period",
            "max_degree",
            "rounds",
            "score",
            "seconds",
            "exact",
            "contraction",
            "symmetric",
        )
        return {"parameters": dict(self.parameters), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Recommendation:
    """Every family, best first, those that are out last.

    Attributes
    ----------
    nodes : int
    candidates : tuple of Candidate
    all_reduce : float or None
        Predicted seconds of a ring all-reduce of the same vector, where a network was given.
    """

    nodes: int
    candidates: tuple[Candidate, ...]
    all_reduce: float | None = None

    @property
    def best(self) -> Candidate | None:
        """The first candidate, or None where nothing fits the limits."""
        return next((c for c in self.candidates if c.ranked), None)

    def sentence(self) -> str:
        """Say what to take and why.

        Examples
        --------
        >>> print(recommend(12).sentence())
        base-2 needs the fewest messages until every error has shrunk 1000 times: 5 from the busiest node (1 a round, 5 rounds); it is exact after 5 rounds; next: two-level with 6
        """  # noqa: E501
        ranked = [c for c in self.candidates if c.ranked]
        if not ranked:
            return f"nothing fits: {self._way_out()}"
        best = ranked[0]
        if self.all_reduce is not None:
            return self._in_seconds(ranked)
        aside = min(c.score or 0 for c in ranked) < (best.score or 0)
        fewest = "the fewest messages of all but all-to-all exchanges" if aside else "the fewest messages"
        text = (
            f"{best.label} needs {fewest} until every error has shrunk {FACTOR} times: {best.score} from the "
            f"busiest node ({best.max_degree} a round, {count(best.rounds or 0, 'round')})"
        )
        if best.exact:
            text += f"; it is exact after {count(best.period or 0, 'round')}"
        if len(ranked) > 1:
            text += f"; next: {ranked[1].name} with {ranked[1].score}{_drawback(best, ranked[1])}"
        return text

    def _in_seconds(self, ranked: list[Candidate]) -> str:
        best, rounds = ranked[0], count(ranked[0].rounds or 0, "round")
        quickest = min(c.seconds for c in ranked if c.seconds is not None)
        aside = " of all but all-to-all exchanges" if quickest < (best.seconds or 0) else ""
        text = (
            f"{best.label} needs the least time{aside} until every error has shrunk {FACTOR} times: "
            f"{best.seconds or 0:.4g} s ({rounds} of {(best.seconds or 0) / (best.rounds or 1):.4g} s)"
        )
        if best.exact:
            text += f"; it is exact after {count(best.period or 0, 'round')}"
        if len(ranked) > 1:
            text += f"; next: {ranked[1].name} with {ranked[1].seconds or 0:.4g} s"
        per_round = (best.seconds or 0) / (best.rounds or 1)
        step = f"a step then waits {per_round:.4g} s for a round, or {self.all_reduce:.4g} s for a ring all-reduce"
        return f"{text}; training needs one round a step: {step}"

    def _way_out(self) -> str:
        degrees = [(c.max_degree, c.name) for c in self.candidates if c.max_degree is not None]
        if not degrees:
            return "; ".join(f"{c.name} {c.why}" for c in self.candidates)
        degree, name = min(degrees, key=lambda pair: pair[0])
        return f"the smallest degree among what exists for {count(self.nodes, 'node')} is {degree} ({name})"


def recommend(
    nodes: int,
    *,
    max_degree: int | None = None,
    undirected: bool = False,
    network: Network | None = None,
    message_bytes: str | float | None = None,
    seed: int = 0,
) -> Recommendation:
    """Rank every topology that exists for a number of nodes and fits the limits.

    Parameters
    ----------
    nodes : int
        Number of nodes, at least 2.
    max_degree : int, optional
        Most messages that a node may send, and receive, in a round.
    undirected : bool, default False
        Whether every message must be an exchange: all matrices symmetric.
    network : Network, optional
        Rank by predicted seconds on this network.
    message_bytes : str or float, optional
        Size of a message there, the parameters of a model: "100MB", or bytes.
    seed : int, default 0
        Seed of the random families.

    Returns
    -------
    Recommendation
        Ranked by ``score`` or ``seconds`` (see the module); among equals, exact averaging comes first, then symmetric
        matrices, then the shorter period. The complete graph of more than three nodes comes last: an all-reduce gives
        the same mean for 2(n-1)/n messages a node instead of n-1.

    Raises
    ------
    InputError
        If a number makes no sense.

    Examples
    --------
    >>> recommend(16).best.name
    'one-peer-hypercube'
    >>> recommend(12, max_degree=2, undirected=True).best.label
    'base-2'
    """
    if nodes < 2:
        raise InputError(f"a topology needs at least 2 nodes, got {nodes}")
    if max_degree is not None and max_degree < 1:
        raise InputError(f"max_degree must be at least 1, got {max_degree}: a node that sends nothing never agrees")
    if (network is None) != (message_bytes is None):
        raise InputError("seconds need both, a network and the size of a message")
    families = [entry for entry in TOPOLOGIES.values() if entry.ranked]
    tried = [_of_family(entry, nodes, max_degree, undirected, seed) for entry in families]
    if network is not None and message_bytes is not None:
        tried = [[_timed(candidate, network, message_bytes) for candidate in family] for family in tried]
    candidates = [min(family, key=lambda c: _order(c, nodes)) for family in tried]
    candidates.sort(key=lambda c: _order(c, nodes))
    return Recommendation(
        nodes,
        tuple(candidates),
        None if network is None or message_bytes is None else allreduce_seconds(network, message_bytes),
    )


def _timed(candidate: Candidate, network: Network, message_bytes: str | float) -> Candidate:
    if candidate.schedule is None or candidate.rounds is None:
        return candidate
    return replace(
        candidate, seconds=candidate.rounds * round_seconds(candidate.schedule, network, message_bytes).seconds
    )


def _order(candidate: Candidate, nodes: int) -> tuple[object, ...]:
    return (
        not candidate.ranked,
        candidate.ranked and _all_to_all(nodes, candidate.max_degree, candidate.rounds),
        candidate.seconds or 0.0,
        candidate.score or 0,
        not candidate.exact,
        not candidate.symmetric,
        candidate.period or 0,
        # Of two names for the same rounds, the plainer.
        candidate.name not in TOPOLOGIES,
        len(candidate.parameters),
    )


def _of_family(entry: Topology, nodes: int, max_degree: int | None, undirected: bool, seed: int) -> list[Candidate]:
    """Try the numbers of peers that a family leaves open."""
    parameters: dict[str, Any] = {"seed": seed} if "seed" in entry.parameters else {}
    if "degree" in entry.parameters:
        degree = _fitting_degree(entry, nodes, max_degree)
        parameters["degree"] = entry.parameters["degree"] if degree is None else degree
    if "peers" not in entry.parameters:
        return [_candidate(entry, nodes, parameters, max_degree, undirected)]
    least = int(entry.parameters["peers"])
    most = max(least, min(MAX_PEERS, MAX_PEERS if max_degree is None else max_degree))
    return [
        _candidate(entry, nodes, {**parameters, "peers": peers}, max_degree, undirected)
        for peers in range(least, most + 1)
    ]


def _candidate(
    entry: Topology, nodes: int, parameters: dict[str, Any], max_degree: int | None, undirected: bool
) -> Candidate:
    name = entry.label(parameters)
    fixed = () if entry.numbered is None else (entry.numbered.parameter,)
    shown = {key: value for key, value in parameters.items() if key not in fixed}

    def out(why: str, **facts: Any) -> Candidate:
        return Candidate(name, shown, False, why, **facts)

    obstacle = entry.obstacle(nodes, **parameters)
    if obstacle is not None:
        near = " or ".join(map(str, entry.nearest(nodes, **parameters)))
        return out(f"{obstacle}: {near} would do" if near else obstacle)
    promise = None if entry.promise is None else entry.promise(nodes, **parameters)
    if promise is not None and promise.period is not None and promise.period > MAX_PERIOD:
        return out(f"its period has {promise.period} rounds")
    try:
        facts = _facts(entry, name, nodes, shown)
    except (GraphError, ConvergenceError) as error:
        return out(str(error))
    schedule = facts["schedule"]
    if schedule is not None and (schedule.copies > 1 or schedule.mixing != "doubly-stochastic"):
        what = f"keeps {schedule.copies} copies of the model" if schedule.copies > 1 else f"is {schedule.mixing}"
        return out(f"{what}, which plain D-SGD cannot use", **facts)
    most, rounds = facts["max_degree"], facts["rounds"]
    if max_degree is not None and most > max_degree:
        return out(f"a node sends {count(most, 'message')} a round, more than {max_degree}", **facts)
    if undirected and not facts["symmetric"]:
        return out("its messages go one way, and exchanges were asked for", **facts)
    if rounds is None:
        known = facts["period"] is not None or schedule is None or schedule.claims.expected_contraction is not None
        return out("does not shrink every error" if known else "its expected contraction is not known", **facts)
    return Candidate(name, shown, True, _why(nodes, facts), score=rounds * most, **facts)


def _fitting_degree(entry: Topology, nodes: int, max_degree: int | None) -> int | None:
    """Give the largest degree up to the default that exists and fits the limit."""
    default = int(entry.parameters["degree"])
    most = default if max_degree is None else min(default, max_degree)
    return next((d for d in range(most, 1, -1) if entry.obstacle(nodes, degree=d) is None), None)


def _facts(entry: Topology, name: str, nodes: int, parameters: Mapping[str, Any]) -> dict[str, Any]:
    if entry.name == "complete" and nodes > MAX_COMPLETE:
        # Known without building its n(n - 1) messages.
        return dict(
            schedule=None, max_degree=nodes - 1, period=1, rounds=1, exact=True, contraction=0.0, symmetric=True
        )
    schedule = design(name, nodes, **parameters)
    return {
        "schedule": schedule,
        "period": schedule.period,
        "max_degree": _busiest(schedule),
        "rounds": _rounds_needed(schedule),
        "exact": schedule.claims.exact_averaging,
        "contraction": schedule.claims.period_contraction,
        "symmetric": schedule.claims.symmetric,
    }


def _busiest(schedule: Schedule) -> int:
    flows = [traffic(schedule.round(t), schedule.copies) for t in range(schedule.period or DRAWN)]
    return max(int(max(flow.in_degree.max(), flow.out_degree.max())) for flow in flows)


def _rounds_needed(schedule: Schedule) -> int | None:
    claims = schedule.claims
    if schedule.period is None:
        expected = claims.expected_contraction
        if expected is None or expected >= 1:
            return None
        return max(1, ceil(2 * log(FACTOR) / -log(expected))) if expected > 0 else 1
    if claims.exact_averaging:
        return schedule.period
    if schedule.copies > 1 or schedule.mixing != "doubly-stochastic":
        return None
    return worst_case_rounds(schedule.rounds, FACTOR)


def _why(nodes: int, facts: Mapping[str, Any]) -> str:
    rounds = count(facts["rounds"], "round")
    if facts["period"] is None:
        return f"on average {rounds} shrink errors {FACTOR} times (drawn at random)"
    after = count(facts["period"], "round")
    if facts["exact"]:
        if _all_to_all(nodes, facts["max_degree"], facts["rounds"]):
            return f"exact after 1 round, but an all-reduce is too, with {2 * (nodes - 1) / nodes:.3g} messages a node"
        return f"exact after {after}"
    if facts["contraction"] is None or facts["contraction"] > 1 - 1e-9:
        return f"{rounds} shrink every error {FACTOR} times"
    contraction = facts["contraction"]
    left = f"leaves {contraction:.4g} of the worst error"
    if contraction > 0.9999:
        left = f"takes {1 - contraction:.2g} off the worst error"
    return f"a round {left}" if facts["period"] == 1 else f"a period of {after} {left}"


def _all_to_all(nodes: int, max_degree: int | None, rounds: int | None) -> bool:
    return max_degree == nodes - 1 > 2 and rounds == 1


def _drawback(best: Candidate, second: Candidate) -> str:
    if second.score != best.score:
        return ""
    if best.exact and not second.exact:
        return " too, but not exact"
    if best.symmetric and not second.symmetric:
        return " too, but its messages go one way"
    return " too"
