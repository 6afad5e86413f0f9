"""The effective number of neighbours: how many nodes' worth of gradient noise averages out at a node.

In the walk x <- W (sqrt(decay) x + noise) every node adds noise of variance 1 in every round, older noise fades, and
the rounds average it over nodes. Alone, a node would have the variance 1/(1 - decay); the effective number of
neighbours is by how much less it has, 1 for nodes that do not talk and n for exact averaging. Unlike the spectral gap
it says what a topology is worth *while* training: noise that takes longer to spread than to fade does not count, so
that a large ring and an infinite one are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from topokit.errors import InputError
from topokit.kinds import Cyclic, Drawn, Kind, Matchings, Pairwise, Sampled, Teleport
from topokit.kinds.samplers import decimal
from topokit.matrix import FloatArray, MatrixLike, MixingMatrix
from topokit.metrics.expectation import expected_contraction
from topokit.metrics.modes import squared_symbols
from topokit.metrics.neighbours import probes as estimates
from topokit.metrics.neighbours import walks
from topokit.metrics.neighbours.epidemic import epidemic_local_excess
from topokit.schedule import Schedule
from topokit.spectral import is_symmetric, spectrum

__all__ = ["DECAY", "EffectiveNeighbours", "effective_neighbours", "neighbours_by_decay"]

DECAY = 0.99
EIGENVALUE_LIMIT = 2000  # nodes up to which dense eigenvalues cost about a second
LYAPUNOV_LIMIT = 1000  # nodes up to which equations for covariances take some seconds
SHIFT_LIMIT = 4_000_000  # shifts times nodes, for the same
SUM_TOLERANCE = 1e-9  # on row sums

Method = Literal["closed form", "Fourier", "eigenvalues", "Lyapunov", "stochastic trace", "simulation"]


@dataclass(frozen=True)
class EffectiveNeighbours:
    """How many nodes' noise averages out at a node.

    Attributes
    ----------
    value : float
        1 (every node for itself) to n (exact averaging in every round); of rounds that are only row-stochastic less
        than n at best, and of weights that enlarge differences perhaps less than 1.
    decay : float
        Part of the variance that is left after a round; noise is remembered for 1/(1 - decay) rounds.
    method : {"closed form", "Fourier", "eigenvalues", "Lyapunov", "stochastic trace", "simulation"}
        Exactly, up to rounding: a formula, a Fourier transform or a decomposition, or a linear equation for the
        covariance. By random vectors: the trace of a function of the matrix, or products of the rounds themselves.
    interval : tuple of float or None
        Of the two methods with random vectors: where the true value is, with the probability `confidence`.
    confidence : float or None
    probes : int or None
        Number of independent probes, at least.
    """

    value: float
    decay: float
    method: Method
    interval: tuple[float, float] | None = None
    confidence: float | None = None
    probes: int | None = None

    def sentence(self) -> str:
        """Say the value and where it comes from.

        Examples
        --------
        >>> EffectiveNeighbours(13.0647, 0.99, "Fourier").sentence()
        'noise of the last 100 rounds averages out as over 13.06 nodes (by Fourier transform)'
        """
        how = {
            "closed form": "by a closed form",
            "Fourier": "by Fourier transform",
            "eigenvalues": "by eigenvalues",
            "Lyapunov": "by the Lyapunov equation",
            "stochastic trace": "by random vectors",
            "simulation": "by simulation",
        }[self.method]
        if self.interval is not None and self.confidence is not None:
            low, high = self.interval
            # Student's interval takes the probes for normal, which they are not quite: it is no certainty.
            how += f": {low:.4g} to {high:.4g}, Student's {100 * self.confidence:.4g}% interval"
        rounds = f"the last {1 / (1 - self.decay):.4g} rounds" if self.decay else "one round"
        return f"noise of {rounds} averages out as over {self.value:.4g} nodes ({how})"


def effective_neighbours(
    what: Schedule | Kind | MatrixLike,
    decay: float = DECAY,
    *,
    probes: int = 16,
    confidence: float = 0.99,
    seed: int = 0,
) -> EffectiveNeighbours:
    """Compute the effective number of neighbours of a schedule, or of one mixing matrix that is used in every round.

    Parameters
    ----------
    what : Schedule, Kind, MixingMatrix, ndarray or SciPy sparse array of shape (n, n)
        Rows sum to 1.
    decay : float, default 0.99
        Part of the variance that is left after a round, 0 to below 1. With SGD on a quadratic of curvature h and the
        step size s it is (1 - s h)^2: noise is remembered for 1/(1 - decay) rounds. The default remembers 100, long
        enough to tell a ring from a torus and a torus from a hypercube, short enough not to call all of them complete.
        Of `Pairwise` it belongs to a unit of time, not to an event: decay^(1 / sum of the rates) is left after one.
    probes : int, default 16
        Independent probes of the methods that use random vectors, at least 2.
    confidence : float, default 0.99
        Of the interval of these methods.
    seed : int, default 0
        Of the random vectors; rounds are those of the schedule.

    Returns
    -------
    EffectiveNeighbours

    Raises
    ------
    InputError
        If the walk is not what an algorithm does with such rounds (two copies, push-sum, push-pull, TELEPORTATION), has
        no stationary variance, or a number is out of range; or for `Pairwise` above 1,000 nodes.
    ConvergenceError
        If simulation would take minutes.

    Notes
    -----
    The value is n / ((1 - decay) tr C), C the covariance of the nodes after a round: for a symmetric matrix tr C is the
    sum of lambda^2 / (1 - decay lambda^2) over all eigenvalues, the 1 of the mean among them. Of a period, C is
    averaged over the rounds of the period; of rounds drawn at random, C is the expected covariance.

    Rounds that look the same from every node of a product of cycles (circulant ones, tori, hypercubes) take a Fourier
    transform at any size, as does the sampler "shift"; the samplers "matching", "groups", "epidemic" and
    "epidemic-local" have a closed form. Other matrices are decomposed up to 2,000 nodes if one and symmetric, else up
    to 1,000 nodes solved for by doubling, and other random rounds by Krylov iterations on covariances. Above, a
    symmetric matrix takes stochastic Lanczos quadrature, about 10 seconds for a million nodes of degree 4, and the rest
    is simulated. The interval of both is Student's, an approximation.

    References
    ----------
    .. [1] T. Vogels, H. Hendrikx, M. Jaggi, "Beyond spectral gap: the role of the topology in decentralized learning",
       NeurIPS 2022 (arXiv 2206.03093), section 4.

    Examples
    --------
    >>> from topokit import design
    >>> [round(effective_neighbours(design(name, 64)).value, 1) for name in ("ring", "torus", "hypercube", "complete")]
    [17.8, 50.2, 56.8, 64.0]
    >>> effective_neighbours(design("random-matching", 64)).method
    'closed form'
    """
    return neighbours_by_decay(what, [decay], probes=probes, confidence=confidence, seed=seed)[0]


def neighbours_by_decay(
    what: Schedule | Kind | MatrixLike,
    decays: Sequence[float],
    *,
    probes: int = 16,
    confidence: float = 0.99,
    seed: int = 0,
) -> tuple[EffectiveNeighbours, ...]:
    """Compute the effective numbers of neighbours for several decays, at little more than the price of one.

    Parameters and errors are those of `effective_neighbours`. Only what is solved by doubling or by GMRES (several or
    not symmetric rounds, not circulant) is solved for each decay anew.

    Examples
    --------
    The longer noise is remembered, the farther it spreads:

    >>> from topokit import design
    >>> found = neighbours_by_decay(design("ring", 64), [0, 0.9, 0.99, 0.999])
    >>> [round(answer.value, 1) for answer in found]
    [3.0, 6.6, 17.8, 44.7]
    """
    given = np.array(decays, dtype=np.float64).ravel()
    if not given.size or not ((given >= 0) & (given < 1)).all():
        raise InputError(f"a decay is a number from 0 to below 1, got {list(decays)}")
    if probes < 2:
        raise InputError(f"an interval needs at least 2 probes, got {probes}")
    if not 0 < confidence < 1:
        raise InputError(f"the confidence of an interval is between 0 and 1, got {confidence}")
    kind = _kind(what)
    rates = float(sum(map(float, kind.rates))) if isinstance(kind, Pairwise) else 1.0
    inner = given ** (1 / rates)
    settings = {"probes": probes, "confidence": confidence, "seed": seed}
    method, excess = _excess(kind, inner, settings)
    mean, low, high = (
        (excess.mean, excess.low, excess.high) if isinstance(excess, estimates.Sample) else (excess, excess, excess)
    )

    def number(k: int, of: FloatArray) -> float:
        return float(kind.nodes / (1 + (1 - inner[k]) * of[k]))

    return tuple(
        EffectiveNeighbours(number(k, mean), float(given[k]), method)
        if excess is mean
        else EffectiveNeighbours(
            number(k, mean), float(given[k]), method, (number(k, high), number(k, low)), confidence, probes
        )
        for k in range(given.size)
    )


def _kind(what: Schedule | Kind | MatrixLike) -> Kind:
    """Take the rounds, if the walk is what an algorithm does with them."""
    if isinstance(what, Schedule):
        kind = what.rule
    else:
        kind = what if isinstance(what, Kind) else Cyclic([MixingMatrix.from_matrix(what)])
    why = None
    if isinstance(kind, Teleport):
        why = "values travel with the tokens; ask for Cyclic(team.rounds) of one of its teams"
    elif kind.copies != 1:
        why = "every node keeps two values, and only the first ones are averaged"
    elif kind.mixing not in ("doubly-stochastic", "row-stochastic"):
        why = f"rounds of {kind.mixing} schedules are not applied to the values alone"
    if why is not None:
        raise InputError(f"the effective number of neighbours is not defined for this {kind.name} schedule: {why}")
    for t, W in enumerate(getattr(kind, "rounds", ())):
        sums = np.bincount(W.target, weights=W.weight, minlength=W.nodes)
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > SUM_TOLERANCE:
            raise InputError(f"row {worst} of round {t} sums to {sums[worst]:.12g}; expected 1")
    return kind


def _excess(kind: Kind, decays: FloatArray, settings: dict[str, Any]) -> tuple[Method, FloatArray | estimates.Sample]:
    """Compute the excess variance by the first method that the kind of schedule and its size allow."""
    if isinstance(kind, Cyclic):
        return _of_period(kind, decays, settings)
    if isinstance(kind, Drawn):
        found = _of_sampler(kind, decays)
        if found is not None:
            return found
    elif isinstance(kind, Pairwise):
        if kind.nodes > LYAPUNOV_LIMIT:
            raise InputError(
                f"the effective number of neighbours of pairwise averaging is computed up to {LYAPUNOV_LIMIT} nodes, "
                f"this schedule has {kind.nodes}"
            )
        return "Lyapunov", walks.of_pairs(kind, decays)
    elif isinstance(kind, Sampled):
        squares = squared_symbols(kind.rounds)
        if squares is not None:
            chances = np.array([float(p) for p in kind.probabilities])
            return "Fourier", walks.by_random_modes(chances @ squares, decays)
        if kind.nodes <= LYAPUNOV_LIMIT:
            return "Lyapunov", walks.of_sampled(kind, decays)
    elif isinstance(kind, Matchings) and kind.nodes <= LYAPUNOV_LIMIT:
        return "Lyapunov", walks.of_matchings(kind, decays)
    return "simulation", estimates.by_windows(kind.round, kind.nodes, decays, period=kind.period, **settings)


def _of_period(
    kind: Cyclic, decays: FloatArray, settings: dict[str, Any]
) -> tuple[Method, FloatArray | estimates.Sample]:
    modes = walks.by_modes(kind.rounds, decays)
    if modes is not None:
        return "Fourier", modes
    only = kind.rounds[0]
    symmetric = kind.period == 1 and is_symmetric(only)
    if symmetric and kind.nodes <= EIGENVALUE_LIMIT:
        return "eigenvalues", walks.by_eigenvalues(only, decays)
    if kind.nodes <= LYAPUNOV_LIMIT:
        return "Lyapunov", walks.by_smith_doubling(kind.rounds, decays)
    if symmetric:
        # Without negative weights no eigenvalue is beyond 1; with them, the norm has to say so.
        top = 1.0 if only.weight.min() >= 0 else max(1.0, spectrum(only).beta ** 2 * (1 + 1e-6))
        return "stochastic trace", estimates.by_quadrature(only, decays, top=top, **settings)
    return "simulation", estimates.by_windows(kind.round, kind.nodes, decays, period=kind.period, **settings)


def _of_sampler(kind: Drawn, decays: FloatArray) -> tuple[Method, FloatArray] | None:
    nodes, parameters = kind.nodes, kind.parameters
    name, shifts = kind.sampler.name, kind.parameters.get("shifts")
    if name in ("matching", "groups", "epidemic") or (name == "shift" and shifts is None):
        # All numberings are equally likely (or all shifts): E[W^T (I - J) W] is a multiple of I - J.
        factor = expected_contraction(kind)
        if factor is not None:
            return "closed form", (nodes - 1) * factor.value / (1 - decays * factor.value)
    if name == "epidemic-local":
        return "closed form", epidemic_local_excess(nodes, parameters["peers"], decays)
    if name == "shift" and shifts is not None:
        share = float(decimal(parameters["eta"])) * (nodes - 1) / nodes
        symbol = np.fft.fft(np.bincount(shifts, minlength=nodes) / len(shifts)).real[1:]
        return "Fourier", walks.by_random_modes(1 - 2 * share * (1 - share) * (1 - symbol), decays)
    different = nodes - 1 if shifts is None else len(set(shifts))
    if name == "shift-matching" and different * nodes <= SHIFT_LIMIT:
        return "Lyapunov", walks.of_shift_matching(nodes, decays, **parameters)
    return None
