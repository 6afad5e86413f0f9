"""Everything that is known about a mixing schedule or a mixing matrix, in one object.

`Report` says which number is which; the command line and the documentation use its words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

from topokit.averaging import AveragingProof, prove_exact_averaging, simulated_rounds, worst_case_rounds
from topokit.circulant import circulant_row
from topokit.errors import ConvergenceError, ScheduleError
from topokit.matrix import IntArray, MatrixLike, MixingMatrix
from topokit.schedule import Schedule
from topokit.schedule.claims import check_connected, negative_entry, sum_fault, symmetry_fault
from topokit.spectral import fiedler_value, period_contraction, spectrum

__all__ = ["Degree", "Report", "RoundReport", "analyze"]

ValueT = TypeVar("ValueT")

FACTOR = 1000

# Beyond these, what has no shortcut would take minutes: it is left out, and the report says so.
MAX_NODES_PROOF = 5000
MAX_SIMULATED_WORK = 5e9  # multiplications
SIMULATED_DIM = 64


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
        >>> from topokit.design import design
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
    >>> from topokit.design import design
    >>> report = analyze(design("one-peer-exponential", 12))
    >>> report.exact_averaging.status, round(report.contraction, 4), report.worst_case_rounds
    ('false', 0.2091, 19)
    """
    if isinstance(what, Schedule):
        rounds, digest = what.rounds, what.content_hash
    else:
        rounds, digest = (MixingMatrix.from_matrix(what),), None
        what = Schedule(nodes=rounds[0].nodes, rounds=rounds)  # unchecked: a matrix may be anything
    return _Analysis(what, seed).report(name or (what.name if digest else "matrix"), digest)


class _Analysis:
    """The measurements of one schedule; each may fail to converge, or be too expensive, and then leaves a note."""

    def __init__(self, schedule: Schedule, seed: int) -> None:
        self.rounds = schedule.rounds
        self.nodes = schedule.rounds[0].nodes
        self.seed = seed
        self.notes: list[str] = []
        self.faults = dict(_faults(self.rounds))
        self.doubly_stochastic = "doubly_stochastic" not in self.faults

    def report(self, name: str, digest: str | None) -> Report:
        reports = tuple(self.round_report(W) for W in self.rounds)
        proof = self.proof()
        contraction, per_round = self.contractions(proof)
        only = reports[0] if len(reports) == 1 else RoundReport(None, None, None, 0, 0, 0)
        if only.beta is not None and only.slem is None:
            self.notes.append("the matrix is not normal: its eigenvalues cannot be computed reliably, so no SLEM")
        messages = sum(entry.messages for entry in reports)
        worst = self.worst_case()
        return Report(
            name=name,
            nodes=self.nodes,
            period=len(self.rounds),
            hash=digest,
            symmetric="symmetric" not in self.faults,
            doubly_stochastic=self.doubly_stochastic,
            nonnegative="nonnegative" not in self.faults,
            connected="connected" not in self.faults,
            slem=only.slem,
            spectral_gap=only.spectral_gap,
            beta=only.beta,
            fiedler_value=self.fiedler(),
            contraction=contraction,
            contraction_per_round=per_round,
            gap_per_round=None if per_round is None else 1 - per_round,
            exact_averaging=proof,
            in_degree=_degrees([W.in_degree for W in self.rounds]),
            out_degree=_degrees([W.out_degree for W in self.rounds]),
            messages_per_period=messages,
            messages_per_round=messages / len(self.rounds),
            messages_per_node_and_round=messages / len(self.rounds) / self.nodes,
            worst_case_rounds=worst,
            simulated_rounds=self.simulated(worst),
            seed=self.seed,
            rounds=reports,
            faults=self.faults,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def round_report(self, W: MixingMatrix) -> RoundReport:
        most_in, most_out = int(W.in_degree.max()), int(W.out_degree.max())
        found = self.attempt("the spectrum of a round", lambda: spectrum(W)) if self.doubly_stochastic else None
        if found is None:
            return RoundReport(None, None, None, W.messages, most_in, most_out)
        return RoundReport(found.slem, found.gap, found.beta, W.messages, most_in, most_out)

    def proof(self) -> AveragingProof | None:
        if not self.doubly_stochastic:
            self.notes.append("some row or column does not sum to 1: rates of plain averaging do not apply")
            return None
        if self.nodes > MAX_NODES_PROOF and not self.circulant():
            self.notes.append(f"exact averaging is not examined above {MAX_NODES_PROOF} nodes")
            return None
        return self.attempt("exact averaging", lambda: prove_exact_averaging(self.rounds))

    def contractions(self, proof: AveragingProof | None) -> tuple[float | None, float | None]:
        if not self.doubly_stochastic:
            return None, None
        if proof is not None:
            contraction: float | None = proof.contraction
        else:
            contraction = self.attempt("the contraction of the period", lambda: period_contraction(self.rounds))
        if contraction is None:
            return None, None
        if proof is not None and proof.status != "false":
            return contraction, 0.0
        return contraction, contraction ** (1 / len(self.rounds))

    def worst_case(self) -> int | None:
        if not self.doubly_stochastic:
            return None
        worst = self.attempt("the worst case", lambda: worst_case_rounds(self.rounds, FACTOR))
        if worst is None:
            self.notes.append(f"no number of rounds that was tried shrinks every error {FACTOR} times")
        return worst

    def simulated(self, worst: int | None) -> int | None:
        if not self.doubly_stochastic:
            return None
        # Without a shortcut by modes every round is computed; the worst case bounds how many there are.
        shortcut = self.circulant() or (len(self.rounds) == 1 and self.nodes <= 1000)
        entries = sum(W.nonzeros for W in self.rounds) / len(self.rounds)
        if not shortcut and min(worst or 20_000, 20_000) * entries * SIMULATED_DIM > MAX_SIMULATED_WORK:
            self.notes.append("consensus is not simulated: it would take too many rounds at this size")
            return None
        return simulated_rounds(self.rounds, FACTOR, dim=SIMULATED_DIM, seed=self.seed)

    def fiedler(self) -> float | None:
        if self.nodes < 2:
            return None
        support = self.support()
        return self.attempt("the Fiedler value", lambda: fiedler_value(sparse.csr_array(support + support.T)))

    def support(self) -> sparse.csr_array:
        pattern = sum((abs(W.to_csr()) for W in self.rounds[1:]), start=abs(self.rounds[0].to_csr()))
        return sparse.csr_array(pattern)

    def circulant(self) -> bool:
        return all(circulant_row(W) is not None for W in self.rounds)

    def attempt(self, what: str, measure: Callable[[], ValueT]) -> ValueT | None:
        try:
            return measure()
        except ConvergenceError as error:
            self.notes.append(f"{what} is not known: {error}")
            return None


def _faults(rounds: Sequence[MixingMatrix]) -> Iterator[tuple[str, str]]:
    """Give the first place at which each property fails, for those that do."""
    for what, find in (
        ("symmetric", _asymmetry),
        ("doubly_stochastic", _wrong_sum),
        ("nonnegative", _negative),
    ):
        found = ((t, find(W)) for t, W in enumerate(rounds))
        first = next(((t, fault) for t, fault in found if fault is not None), None)
        if first is not None:
            yield what, f"in round {first[0]} {first[1]}"
    try:
        check_connected(rounds)
    except ScheduleError as error:
        yield "connected", str(error)


def _asymmetry(W: MixingMatrix) -> str | None:
    fault = symmetry_fault(W)
    return None if fault is None else "W[{0}, {1}] is {2} and W[{1}, {0}] is {3}".format(*fault)


def _wrong_sum(W: MixingMatrix) -> str | None:
    for axis in ("row", "column"):
        if (fault := sum_fault(W, axis)) is not None:
            return f"{axis} {fault[0]} sums to {fault[1]}"
    return None


def _negative(W: MixingMatrix) -> str | None:
    k = negative_entry(W)
    return None if k is None else f"W[{W.target[k]}, {W.source[k]}] is {W.weight[k]:.6g}"


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
