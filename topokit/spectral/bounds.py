"""What a spectral result claims: a number, the bounds that it lies between, and how sure these are."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, log10

__all__ = ["NOT_NORMAL", "Bounds", "Spectrum", "digits_for", "put_together", "up_to_rounding"]

NOT_NORMAL = "W is not normal: its eigenvalues cannot be computed reliably; beta and the norm of a period can"
SMALL_GAP = 1e-3  # below it, 1 - SLEM has lost digits that the gap may have
ROUNDING = 1e-5  # relative to the gap: bounds that close are told as one number


@dataclass(frozen=True)
class Bounds:
    """Bounds on ||W - J||_2.

    Attributes
    ----------
    lower, upper : float
        The norm is at least, and at most, this.
    failure : float
        Probability, over the random start of an iteration, that a bound is wrong; 0 where both are proved.
    how_lower, how_upper : str
        How each side was obtained, in a phrase.
    """

    lower: float
    upper: float
    failure: float
    how_lower: str
    how_upper: str

    @property
    def how(self) -> tuple[str, str]:
        """Both phrases."""
        return self.how_lower, self.how_upper

    @property
    def width(self) -> float:
        """Distance of the bounds."""
        return self.upper - self.lower

    def words(self) -> str:
        """Say how the bounds were obtained.

        Examples
        --------
        >>> Bounds(0.5, 0.5, 0.0, "Fourier transform", "Fourier transform").words()
        'Fourier transform'
        >>> Bounds(0.5, 0.6, 1e-9, "a Rayleigh quotient", "412 steps").words()
        'below by a Rayleigh quotient, above by 412 steps, but for a probability of 1e-09'
        """
        if self.how_lower == self.how_upper:
            return self.how_lower
        doubt = f", but for a probability of {self.failure:.2g}" if self.failure else ""
        return f"below by {self.how_lower}, above by {self.how_upper}{doubt}"


def digits_for(gap: float, width: float) -> int:
    """Choose the number of decimals that show a gap, and the first digits of a width.

    Examples
    --------
    >>> digits_for(0.1, 1e-4), digits_for(3e-7, 1e-10)
    (6, 11)
    """
    smallest = min(abs(gap) / 1e3, width / 3 if width > 0 else 1.0)
    return min(max(6, ceil(-log10(max(smallest, 1e-17)))), 16)


@dataclass(frozen=True)
class Spectrum:
    """How fast one mixing matrix averages, and how that was found out.

    Attributes
    ----------
    slem : float or None
        Spectral radius of W - J; None where it cannot be computed reliably.
    gap : float or None
        1 - SLEM; where it is small, with an accuracy of its own, which subtraction would lose.
    beta : float
        ||W - J||_2.
    normal : bool
        Whether W commutes with its transpose; then SLEM = beta.
    method : {"circulant", "Fourier", "closed form", "dense", "Lanczos", "inertia", "components"}
        Fourier transform over one cycle, or over a product of cycles; a formula; a dense decomposition; Lanczos
        iterations; inverse iteration and signs of pivots; or the norm 1 of a graph that falls apart or swaps sides.
    residual : float or None
        Relative residual of the vector that an inverse iteration found.
    reason : str or None
        Why there is no SLEM, or why its bounds are wider than was asked for.
    bounds : Bounds
        Between which ||W - J||_2 lies, which for normal matrices is the SLEM.
    ends : tuple of float, or None
        Largest and smallest eigenvalue of W - J on the complement of the constant vector, where W is symmetric.
    """

    slem: float | None
    gap: float | None
    beta: float
    normal: bool
    method: str
    residual: float | None = None
    reason: str | None = None
    bounds: Bounds = field(kw_only=True)
    ends: tuple[float, float] | None = field(default=None, kw_only=True)

    @property
    def relative_width(self) -> float:
        """Distance of the bounds relative to that of the norm from 1; infinity where the norm may be 1."""
        if self.bounds.width == 0:
            return 0.0
        nearest = min(abs(1 - self.bounds.lower), abs(1 - self.bounds.upper))
        apart = (self.bounds.lower > 1) == (self.bounds.upper > 1)
        return self.bounds.width / nearest if apart and nearest > 0 else float("inf")

    def sentence(self) -> str:
        """Say it in one sentence.

        Examples
        --------
        >>> from topokit.spectral import spectrum
        >>> from topokit.topologies import ring_graph
        >>> from topokit.weights import uniform_weights
        >>> spectrum(uniform_weights(ring_graph(16))).sentence()
        'SLEM 0.949253: Fourier transform'
        """
        name = "beta" if self.slem is None else "SLEM"
        gap = 1 - self.beta
        rounding = self.bounds.width <= ROUNDING * max(abs(gap), ROUNDING)
        digits = digits_for(gap, 0.0 if rounding else self.bounds.width)
        low, high = (f"{value:.{digits}f}" for value in (self.bounds.lower, self.bounds.upper))
        number = f"{self.beta:.{digits}f}" if rounding else f"{low} to {high}"
        text = f"{name} {number}: {self.bounds.words()}"
        return f"{text}; {self.reason}" if self.reason else text


def put_together(
    norm: float,
    bounds: Bounds,
    normal: bool,
    method: str,
    *,
    gap: float | None = None,
    ends: tuple[float, float] | None = None,
    residual: float | None = None,
    reason: str | None = None,
) -> Spectrum:
    """Put a result together; the gap is taken as it is where subtraction would lose its digits."""
    if not normal:
        reason = NOT_NORMAL if reason is None else f"{NOT_NORMAL}; {reason}"
        return Spectrum(None, None, norm, normal, method, residual, reason, bounds=bounds)
    own = gap is not None and 0 < gap < SMALL_GAP
    return Spectrum(norm, gap if own else 1 - norm, norm, normal, method, residual, reason, bounds=bounds, ends=ends)


def up_to_rounding(norm: float, how: str, error: float) -> Bounds:
    """Widen a number by the rounding errors of the way it was computed."""
    return Bounds(max(norm - error, 0.0), norm + error, 0.0, how, how)
