"""Everything that is known about a mixing schedule, in one object, in words and as JSON.

`Report` says which number is which; the command line and the documentation use its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from math import inf
from typing import Any

from topokit.averaging import AveragingProof
from topokit.measurements import FACTOR
from topokit.metrics.acid import AcidConstants
from topokit.metrics.expectation import Expectation
from topokit.metrics.neighbours import EffectiveNeighbours
from topokit.metrics.summary import ResistanceSummary
from topokit.metrics.transient import MixingTime, Transient
from topokit.optimal.recheck import Optimality
from topokit.proofs.push_pull import PushPullProof
from topokit.proofs.windows import Windows
from topokit.spectral import Spectrum
from topokit.words import count, factor

CLOSE = 1e-5  # relative to the gap: bounds this close need no words

__all__ = ["Degree", "Report", "RoundReport"]


@dataclass(frozen=True)
class Degree:
    """Number of peers, the node itself not counted: the largest over nodes and rounds, and the mean over both."""

    max: int
    mean: float


@dataclass(frozen=True)
class RoundReport:
    """One round of a period.

    Attributes
    ----------
    slem : float or None
        Spectral radius of W - J; None where W is not normal (its eigenvalues cannot be trusted to floating point).
    spectral_gap : float or None
        1 - SLEM.
    beta : float or None
        ||W - J||_2, the factor on the worst consensus error in this round.
    messages : int
        Point-to-point messages: entries of W off its diagonal.
    max_in_degree, max_out_degree : int
        Most peers that a node receives from, and sends to.
    """

    slem: float | None
    spectral_gap: float | None
    beta: float | None
    messages: int
    max_in_degree: int
    max_out_degree: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `analyze` found out; None where a number does not exist or was left out, for a reason given in `notes`.

    Attributes
    ----------
    name : str
    nodes : int
        Number of nodes n.
    kind : str
        How rounds follow one another: cyclic, sampled, matchings, teleport or pairwise.
    copies : int
        Number of states that each node keeps.
    mixing : str
        Which sums of a round are one: doubly-stochastic, column-stochastic, row-stochastic or push-pull.
    period : int or None
        Number of rounds after which the schedule repeats, tau; 1 for a matrix. None where rounds are drawn at random.
    hash : str or None
        Content hash of the schedule.
    symmetric, doubly_stochastic, nonnegative : bool or None
        Whether every round is: W = W^T; rows and columns sum to 1; no weight is negative. None where that depends on
        the draw.
    connected : bool
        Whether every node hears of every other in the rounds of one period taken together, repeated.
    slem, spectral_gap, beta : float or None
        Of the matrix, where the period is one round: spectral radius of W - J, 1 - SLEM, and ||W - J||_2. None for
        several rounds, whose own numbers are in `rounds`.
    spectrum : Spectrum or None
        The same with the bounds that they lie between, and how these were found.
    fiedler_value : float or None
        Second smallest Laplacian eigenvalue of the union of the rounds' communication graphs, its edges undirected
        and unweighted.
    contraction : float or None
        ||W^(tau-1) ... W^(0) - J||_2: the factor on the worst consensus error over one period. 0 where exact averaging
        is proved.
    contraction_per_round : float or None
        Its tau-th root; 0 where the period is exact, proved or up to rounding (the root of rounding noise means
        nothing).
    gap_per_round : float or None
        1 - contraction_per_round. For one round with a normal matrix this is the spectral gap.
    exact_averaging : AveragingProof or None
        Whether the product of a period is J.
    exact_after : int or None
        Smallest number of rounds, from round 0 on, after which every node holds the average, proved.
    windows : Windows or None
        What a period's worth of rounds does if it starts elsewhere than at round 0 (periods of several rounds).
    expectation : Expectation or None
        Of rounds drawn at random: largest eigenvalue of E[W^T W] - J, the factor by which a round shrinks the expected
        squared distance to the average at least; by a closed form or by enumeration, or estimated, with an interval.
    effective_neighbours : EffectiveNeighbours or None
        How many nodes' noise averages out at a node while it is remembered for 100 rounds.
    mixing_time : MixingTime or None
        h = tau / p, the rounds of a period divided by what they take off the squared distance to the average.
    transient : Transient or None
        Iterations of D-SGD until its linear speed-up dominates, with all constants of the bound 1.
    resistance : ResistanceSummary or None
        Effective resistances of the graph, where the schedule is one symmetric matrix or pairwise averaging.
    acid : AcidConstants or None
        Constants and parameters of A²CiD² on the same graph: with the rates of the schedule, or such that a node
        averages once in a unit of time.
    push_pull : PushPullProof or None
        Of push-pull pairs: after how many rounds the pull and the push parts are exact.
    perron : tuple of float, or None
        Of one column-stochastic matrix: smallest and largest entry of n times its Perron vector, the weights that
        push-sum divides by in the end; 1 and 1 where rows sum to 1 too.
    optimality : Optimality or None
        What the certificate in the file proves about its weights, checked anew.
    in_degree, out_degree : Degree
        Peers that a node receives from and sends to in a round; of random schedules, in the first 100 rounds.
    messages_per_period : int or None
        Point-to-point messages of all nodes in one period.
    messages_per_round : float
        The same per round, on average (of random schedules: over the first 100).
    messages_per_node_and_round : float
        The same per node and round, on average.
    worst_case_rounds : int or None
        Smallest t with ||W^(t-1) ... W^(0) - J||_2 <= 1/1000: the rounds that shrink every consensus error 1000 times.
    simulated_rounds : int or None
        Rounds until the consensus distance of random vectors (normal, seeded) has shrunk 1000 times.
    seed : int
        Seed of that simulation.
    rounds : tuple of RoundReport
        The rounds of the period; empty where rounds are drawn at random.
    faults : mapping from str to str
        For ``symmetric``, ``doubly_stochastic``, ``nonnegative`` and ``connected``, where it is not: the first place.
    notes : tuple of str
        What was left out, and why.
    """

    name: str
    nodes: int
    kind: str
    copies: int
    mixing: str
    period: int | None = None
    hash: str | None
    symmetric: bool | None
    doubly_stochastic: bool | None
    nonnegative: bool | None
    connected: bool
    slem: float | None = None
    spectral_gap: float | None = None
    beta: float | None = None
    spectrum: Spectrum | None = None
    fiedler_value: float | None = None
    contraction: float | None = None
    contraction_per_round: float | None = None
    gap_per_round: float | None = None
    exact_averaging: AveragingProof | None = None
    exact_after: int | None = None
    windows: Windows | None = None
    expectation: Expectation | None = None
    effective_neighbours: EffectiveNeighbours | None = None
    mixing_time: MixingTime | None = None
    transient: Transient | None = None
    resistance: ResistanceSummary | None = None
    acid: AcidConstants | None = None
    push_pull: PushPullProof | None = None
    perron: tuple[float, float] | None = None
    optimality: Optimality | None = None
    in_degree: Degree
    out_degree: Degree
    messages_per_period: int | None = None
    messages_per_round: float
    messages_per_node_and_round: float
    worst_case_rounds: int | None = None
    simulated_rounds: int | None = None
    seed: int
    rounds: tuple[RoundReport, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def expected_contraction(self) -> float | None:
        """Value of the expectation."""
        return None if self.expectation is None else self.expectation.value

    def to_dict(self) -> dict[str, Any]:
        """Give the report as JSON values; the keys are stable.

        Returns
        -------
        dict
            The attributes of `Report` under their names, except: ``rounds_to_shrink`` holds ``factor`` (1000),
            ``worst_case``, ``simulated`` and ``seed``; ``messages`` holds ``per_period``, ``per_round`` and
            ``per_node_and_round``; ``exact_averaging`` holds ``status`` ("proved", "numerical" or "false"), ``rounds``,
            ``sentence``, ``witness`` (None, or ``target``, ``source``, ``value`` and ``expected``, exact values as
            text such as "1/8") and ``closed_form``; ``spectrum`` holds ``method``, ``lower``, ``upper``, ``failure``,
            ``how_lower``, ``how_upper``, ``ends`` and ``sentence``; ``resistance`` holds ``largest`` (two bounds),
            ``mean``, ``kirchhoff``, ``method`` and ``sentence``; the expectation is ``expected_contraction``, with
            ``expectation_method``, ``expectation_interval`` and ``expectation_confidence``. Infinity is None.

        Examples
        --------
        >>> from topokit import analyze, design
        >>> analyze(design("hypercube", 16)).to_dict()["rounds_to_shrink"]
        {'factor': 1000, 'worst_case': 14, 'simulated': 13, 'seed': 0}
        """
        values = asdict(self)
        values["exact_averaging"] = None if self.exact_averaging is None else _proof_values(self.exact_averaging)
        values["push_pull"] = None if self.push_pull is None else self.push_pull.to_dict()
        prefix = "messages_"
        values["messages"] = {key[len(prefix) :]: values.pop(key) for key in list(values) if key.startswith(prefix)}
        values["rounds_to_shrink"] = {
            "factor": FACTOR,
            "worst_case": values.pop("worst_case_rounds"),
            "simulated": values.pop("simulated_rounds"),
            "seed": values.pop("seed"),
        }
        values["spectrum"] = self.spectrum and {
            "method": self.spectrum.method,
            **asdict(self.spectrum.bounds),
            "ends": self.spectrum.ends,
            "sentence": self.spectrum.sentence(),
        }
        for key in ("faults", "notes", "rounds"):  # the long list last, where a reader can stop
            values[key] = values.pop(key)
        return {name: _plain(value) for name, value in _unfolded(values).items()}

    def __str__(self) -> str:
        return "\n".join([self.name, *(f"  {label:<24}{text}" for label, text in self.lines())])

    def lines(self) -> list[tuple[str, str]]:
        """Give what there is to say in words: pairs of a label and a text, notes last.

        Examples
        --------
        >>> from topokit import analyze, design
        >>> dict(analyze(design("hypercube", 16)).lines())["spectral gap"]
        '0.4 (SLEM 0.6, beta 0.6)'
        """
        lines = [
            ("nodes", str(self.nodes)),
            ("rounds", f"drawn at random ({self.kind})")
            if self.period is None
            else ("period", count(self.period, "round")),
            *([("copies", f"{self.copies} states a node")] if self.copies > 1 else []),
            ("weights", self._weights()),
            *self._averaging(),
            *self._rates(),
            *self._worth(),
            *self._graph(),
        ]
        lines.append(("peers of a node", f"at most {_degree(self.in_degree)} in, {_degree(self.out_degree)} out"))
        per_node = f"{self.messages_per_node_and_round:.4g} per node and round"
        lines.append(("messages", f"{self.messages_per_round:.6g} a round, {per_node}"))
        if self.worst_case_rounds is not None or self.simulated_rounds is not None:
            worst = "unknown" if self.worst_case_rounds is None else str(self.worst_case_rounds)
            counts = [] if self.period is None else [f"{worst} at worst"]
            counts += [] if self.simulated_rounds is None else [f"{self.simulated_rounds} simulated"]
            lines.append((f"rounds to shrink {FACTOR}x", ", ".join(counts)))
        return lines + [("note", note) for note in self.notes]

    def _weights(self) -> str:
        facts = [
            self.mixing.replace("-stochastic", " stochastic") if self.mixing != "doubly-stochastic" else "",
            _is("doubly stochastic", self.doubly_stochastic) if self.mixing == "doubly-stochastic" else "",
            _is("nonnegative", self.nonnegative),
            _is("symmetric", self.symmetric),
            "" if self.connected else "not connected",
        ]
        return ", ".join(fact for fact in facts if fact)

    def _averaging(self) -> list[tuple[str, str]]:
        lines = []
        if self.exact_averaging is not None:
            text = self.exact_averaging.sentence()
            if self.exact_averaging.status == "false" and self.exact_after is not None:
                text = f"exact after {count(self.exact_after, 'round')}, proved (not after a period: {text})"
            lines.append(("exact averaging", text))
        if self.windows is not None:
            lines.append(("started elsewhere", self.windows.sentence()))
        if self.push_pull is not None:
            lines.append(("push-pull", self.push_pull.sentence()))
        if self.perron is not None:
            low, high = self.perron
            lines.append(("push-sum weights", f"{low:.4g} to {high:.4g} in the end (n times the Perron vector)"))
        return lines

    def _rates(self) -> list[tuple[str, str]]:
        lines = []
        if self.contraction is not None and self.contraction_per_round is not None:
            per_period = "" if self.period == 1 else f"{factor(self.contraction)} per period, "
            lines.append(("contraction", f"{per_period}{factor(self.contraction_per_round)} per round"))
        if self.expectation is not None:
            lines.append(("expected contraction", self.expectation.sentence()))
        if self.spectral_gap is not None:
            sizes = f"SLEM {factor(self.slem or 0.0)}, beta {factor(self.beta or 0.0)}"
            lines.append(("spectral gap", f"{self.spectral_gap:.4g} ({sizes})"))
        elif self.beta is not None:
            lines.append(("beta", f"{factor(self.beta)} (not normal: no reliable SLEM)"))
        elif len(self.rounds) > 1 and (betas := [r.beta for r in self.rounds if r.beta is not None]):
            lines.append(("beta of the rounds", _listed(betas)))
        if self.optimality is not None:
            lines.append(("optimal weights", self.optimality.sentence()))
        if self.spectrum is not None and self.spectrum.bounds.width > CLOSE * max(1 - self.spectrum.beta, CLOSE):
            lines.append(("bounds", self.spectrum.sentence()))
        return lines

    def _worth(self) -> list[tuple[str, str]]:
        """Say what the rates mean for training."""
        lines = []
        if self.effective_neighbours is not None:
            lines.append(("effective neighbours", self.effective_neighbours.sentence()))
        if self.mixing_time is not None:
            lines.append(("effective mixing time", self.mixing_time.sentence().removeprefix("effective mixing time ")))
        if self.transient is not None:
            lines.append(("transient iterations", self.transient.sentence()))
        return lines

    def _graph(self) -> list[tuple[str, str]]:
        """Say what the graph is like, whatever the weights."""
        lines = []
        if self.fiedler_value is not None:
            union = "" if self.period == 1 else " (all rounds together)"
            lines.append(("Fiedler value", f"{self.fiedler_value:.4g}{union}"))
        if self.resistance is not None:
            lines.append(("resistance", self.resistance.sentence))
        if self.acid is not None:
            lines.append(("A2CiD2", self.acid.sentence()))
        return lines


def _unfolded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put the parts of the expectation in its place."""
    unfolded: dict[str, Any] = {}
    for name, value in values.items():
        if name == "expectation":
            found = value or {}
            unfolded["expected_contraction"] = found.get("value")
            unfolded |= {f"expectation_{key}": found.get(key) for key in ("method", "interval", "confidence")}
        else:
            unfolded[name] = value
    return unfolded


def _plain(value: Any) -> Any:
    """Turn tuples into lists, and infinity, which JSON does not know, into None."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return None if value in (inf, -inf) else value


def _proof_values(proof: AveragingProof) -> dict[str, Any]:
    witness: dict[str, Any] | None = None
    if proof.witness is not None:
        value = proof.witness.value
        witness = {
            "target": proof.witness.target,
            "source": proof.witness.source,
            "copy": proof.witness.copy,
            "value": str(value) if isinstance(value, Fraction) else value,
            "expected": str(proof.witness.expected),
        }
    return {
        "status": proof.status,
        "rounds": proof.period,
        "sentence": proof.sentence(),
        "witness": witness,
        "closed_form": proof.closed_form,
    }


def _is(what: str, holds: bool | None) -> str:
    return "" if holds is None else what if holds else f"not {what}"


def _degree(degree: Degree) -> str:
    return str(degree.max) if degree.mean == degree.max else f"{degree.max} (mean {degree.mean:.4g})"


def _listed(values: Sequence[float], most: int = 8) -> str:
    if len({factor(value) for value in values}) == 1:
        return f"{factor(values[0])} in every round"
    shown = ", ".join(factor(value) for value in values[:most])
    return shown if len(values) <= most else f"{shown}, ... ({len(values)} rounds)"
