"""Everything that is known about a mixing schedule or a mixing matrix, in one object.

`Report` says which number is which; the command line and the documentation use its words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from topokit.averaging import AveragingProof
from topokit.matrix import IntArray, MatrixLike, MixingMatrix
from topokit.measurements import FACTOR, Measurements
from topokit.schedule import Schedule
from topokit.spectral import Spectrum

__all__ = ["Degree", "Report", "RoundReport", "analyze"]


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


@dataclass(frozen=True)
class Report:
    """What `analyze` found out; None where a number does not exist or was left out, for a reason given in `notes`.

    Attributes
    ----------
    name : str
    nodes : int
        Number of nodes n.
    period : int
        Number of rounds after which the schedule repeats, tau; 1 for a matrix.
    hash : str or None
        Content hash of the schedule.
    symmetric, doubly_stochastic, nonnegative : bool
        Whether every round is: W = W^T; rows and columns sum to 1; no weight is negative.
    connected : bool
        Whether every node hears of every other in the rounds of one period taken together, repeated.
    slem, spectral_gap, beta : float or None
        Of the matrix, where the period is one round: spectral radius of W - J, 1 - SLEM, and ||W - J||_2. None for
        several rounds, whose own numbers are in `rounds`.
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
    in_degree, out_degree : Degree
        Peers that a node receives from and sends to in a round.
    messages_per_period : int
        Point-to-point messages of all nodes in one period.
    messages_per_round : float
        The same per round, on average.
    messages_per_node_and_round : float
        The same per node and round, on average.
    worst_case_rounds : int or None
        Smallest t with ||W^(t-1) ... W^(0) - J||_2 <= 1/1000: the rounds that shrink every consensus error 1000 times.
    simulated_rounds : int or None
        Rounds until the consensus distance of random vectors (normal, seeded) has shrunk 1000 times.
    seed : int
        Seed of that simulation.
    rounds : tuple of RoundReport
        The rounds of the period.
    faults : mapping from str to str
        For ``symmetric``, ``doubly_stochastic``, ``nonnegative`` and ``connected``, where it is not: the first place.
    notes : tuple of str
        What was left out, and why.
    """

    name: str
    nodes: int
    period: int
    hash: str | None
    symmetric: bool
    doubly_stochastic: bool
    nonnegative: bool
    connected: bool
    slem: float | None
    spectral_gap: float | None
    beta: float | None
    fiedler_value: float | None
    contraction: float | None
    contraction_per_round: float | None
    gap_per_round: float | None
    exact_averaging: AveragingProof | None
    in_degree: Degree
    out_degree: Degree
    messages_per_period: int
    messages_per_round: float
    messages_per_node_and_round: float
    worst_case_rounds: int | None
    simulated_rounds: int | None
    seed: int
    rounds: tuple[RoundReport, ...]
    faults: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give the report as JSON values; the keys are stable.

        Returns
        -------
        dict
            The attributes of `Report` under their names, except: ``rounds_to_shrink`` holds ``factor`` (1000),
            ``worst_case``, ``simulated`` and ``seed``; ``messages`` holds ``per_period``, ``per_round`` and
            ``per_node_and_round``; ``exact_averaging`` holds ``status`` ("proved", "numerical" or "false"), ``rounds``,
            ``sentence``, ``witness`` (None, or ``target``, ``source``, ``value`` and ``expected``, exact values as
            text such as "1/8") and ``closed_form``.

        Examples
        --------
        >>> from topokit.designer import design
        >>> analyze(design("hypercube", 16)).to_dict()["rounds_to_shrink"]
        {'factor': 1000, 'worst_case': 14, 'simulated': 13, 'seed': 0}
        """
        values = asdict(self)
        values["exact_averaging"] = None if self.exact_averaging is None else _proof_values(self.exact_averaging)
        prefix = "messages_"
        values["messages"] = {key[len(prefix) :]: values.pop(key) for key in list(values) if key.startswith(prefix)}
        values["rounds_to_shrink"] = {
            "factor": FACTOR,
            "worst_case": values.pop("worst_case_rounds"),
            "simulated": values.pop("simulated_rounds"),
            "seed": values.pop("seed"),
        }
        for key in ("faults", "notes", "rounds"):  # the long list last, where a reader can stop
            values[key] = values.pop(key)
        values["notes"], values["rounds"] = list(self.notes), list(values["rounds"])
        return values

    def __str__(self) -> str:
        return "\n".join([self.name, *(f"  {label:<24}{text}" for label, text in self._lines())])

    def _lines(self) -> list[tuple[str, str]]:
        facts = [
            _is("doubly stochastic", self.doubly_stochastic),
            _is("nonnegative", self.nonnegative),
            _is("symmetric", self.symmetric),
            *([] if self.connected else ["not connected"]),
        ]
        lines = [
            ("nodes", str(self.nodes)),
            ("period", _count(self.period, "round")),
            ("weights", ", ".join(facts)),
        ]
        if self.exact_averaging is not None:
            lines.append(("exact averaging", self.exact_averaging.sentence()))
        if self.contraction is not None and self.contraction_per_round is not None:
            per_period = "" if self.period == 1 else f"{self.contraction:.4g} per period, "
            lines.append(("contraction", f"{per_period}{self.contraction_per_round:.4g} per round"))
        if self.spectral_gap is not None:
            lines.append(("spectral gap", f"{self.spectral_gap:.4g} (SLEM {self.slem:.4g}, beta {self.beta:.4g})"))
        elif self.beta is not None:
            lines.append(("beta", f"{self.beta:.4g} (not normal: no reliable SLEM)"))
        elif self.period > 1 and (betas := [r.beta for r in self.rounds if r.beta is not None]):
            lines.append(("beta of the rounds", _listed(betas)))
        if self.fiedler_value is not None:
            union = "" if self.period == 1 else " (all rounds together)"
            lines.append(("Fiedler value", f"{self.fiedler_value:.4g}{union}"))
        lines.append(("peers of a node", f"at most {_degree(self.in_degree)} in, {_degree(self.out_degree)} out"))
        per_node = f"{self.messages_per_node_and_round:.4g} per node and round"
        lines.append(("messages", f"{self.messages_per_round:.6g} a round, {per_node}"))
        if self.worst_case_rounds is not None or self.simulated_rounds is not None:
            worst = "unknown" if self.worst_case_rounds is None else str(self.worst_case_rounds)
            simulated = "" if self.simulated_rounds is None else f", {self.simulated_rounds} simulated"
            lines.append((f"rounds to shrink {FACTOR}x", f"{worst} at worst{simulated}"))
        return lines + [("note", note) for note in self.notes]


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

    Notes
    -----
    Rates describe x <- W x with doubly stochastic W. For others (push-sum) only the structure is reported. Up to 1,000
    nodes this takes a second or so; above, what has no shortcut (circulant or symmetric matrices) is computed by
    iterations that never form a product, or left out with a note.

    Examples
    --------
    >>> from topokit.designer import design
    >>> report = analyze(design("one-peer-exponential", 12))
    >>> report.exact_averaging.status, round(report.contraction, 4), report.worst_case_rounds
    ('false', 0.2091, 19)
    """
    if isinstance(what, Schedule):
        return _assemble(name or what.name, what.content_hash, what.rounds, seed)
    return _assemble(name or "matrix", None, (MixingMatrix.from_matrix(what),), seed)


def _assemble(name: str, digest: str | None, rounds: Sequence[MixingMatrix], seed: int) -> Report:
    measured = Measurements(rounds)
    reports = tuple(_round_report(W, measured.spectrum(W)) for W in rounds)
    proof = measured.proof()
    contraction, per_round = measured.contractions(proof)
    only = reports[0] if len(reports) == 1 else RoundReport(None, None, None, 0, 0, 0)
    if only.beta is not None and only.slem is None:
        measured.notes.append("the matrix is not normal: its eigenvalues cannot be computed reliably, so no SLEM")
    worst = measured.worst_case()
    messages = sum(entry.messages for entry in reports)
    return Report(
        name=name,
        nodes=measured.nodes,
        period=len(rounds),
        hash=digest,
        symmetric="symmetric" not in measured.faults,
        doubly_stochastic=measured.doubly_stochastic,
        nonnegative="nonnegative" not in measured.faults,
        connected="connected" not in measured.faults,
        slem=only.slem,
        spectral_gap=only.spectral_gap,
        beta=only.beta,
        fiedler_value=measured.fiedler(),
        contraction=contraction,
        contraction_per_round=per_round,
        gap_per_round=None if per_round is None else 1 - per_round,
        exact_averaging=proof,
        in_degree=_degrees([W.in_degree for W in rounds]),
        out_degree=_degrees([W.out_degree for W in rounds]),
        messages_per_period=messages,
        messages_per_round=messages / len(rounds),
        messages_per_node_and_round=messages / len(rounds) / measured.nodes,
        worst_case_rounds=worst,
        simulated_rounds=measured.simulated(worst, seed),
        seed=seed,
        rounds=reports,
        faults=measured.faults,
        notes=tuple(dict.fromkeys(measured.notes)),
    )


def _round_report(W: MixingMatrix, found: Spectrum | None) -> RoundReport:
    slem, gap, beta = (None, None, None) if found is None else (found.slem, found.gap, found.beta)
    return RoundReport(slem, gap, beta, W.messages, int(W.in_degree.max()), int(W.out_degree.max()))


def _degrees(degrees: Sequence[IntArray]) -> Degree:
    return Degree(max(int(d.max()) for d in degrees), float(np.mean([d.mean() for d in degrees])))


def _proof_values(proof: AveragingProof) -> dict[str, Any]:
    witness: dict[str, Any] | None = None
    if proof.witness is not None:
        value = proof.witness.value
        witness = {
            "target": proof.witness.target,
            "source": proof.witness.source,
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


def _is(what: str, holds: bool) -> str:
    return what if holds else f"not {what}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _degree(degree: Degree) -> str:
    return str(degree.max) if degree.mean == degree.max else f"{degree.max} (mean {degree.mean:.4g})"


def _listed(values: Sequence[float], most: int = 8) -> str:
    if len({f"{value:.4g}" for value in values}) == 1:
        return f"{values[0]:.4g} in every round"
    shown = ", ".join(f"{value:.4g}" for value in values[:most])
    return shown if len(values) <= most else f"{shown}, ... ({len(values)} rounds)"
