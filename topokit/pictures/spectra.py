"""Pictures of spectra: eigenvalues on the line or in the unit disc, singular values where these cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from topokit.circulant import circulant_row
from topokit.errors import InputError
from topokit.pictures.figures import (
    Schedules,
    even_columns,
    fitted,
    labelled,
    number_text,
    panels,
    require_few,
    require_nodes,
    whole_numbers,
)
from topokit.pictures.style import COLOURS, MUTED, styled
from topokit.schedule import Schedule
from topokit.spectral import is_normal, is_symmetric, period_product

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["SpectrumOfPeriod", "draw_spectrum", "no_spectrum", "plot_spectra", "spectrum_of_period"]

NOTHING = 1e-9  # a radius that is rounding noise
SAME = 1e-8  # values closer than this are one
MAX_STEMS = 90  # different values, above which they are counted in bins
BINS = 80
MAX_COUNTS = 9  # written above stems


@dataclass(frozen=True)
class SpectrumOfPeriod:
    """Values of the product of a period, W^(tau-1) ... W^(0), that say how it averages.

    Attributes
    ----------
    what : {"eigenvalues", "complex eigenvalues", "singular values"}
        Eigenvalues where the product is symmetric or at least normal; else the singular values of the product minus J.
    of : str
        What of, in words.
    values : ndarray, shape (n - 1,)
        Without the 1 that belongs to the mean, the largest first.
    """

    what: Literal["eigenvalues", "complex eigenvalues", "singular values"]
    of: str
    values: np.ndarray[Any, Any]

    @property
    def radius(self) -> float:
        """Largest modulus: the SLEM of the product where it is normal, else ||product - J||_2."""
        return float(np.abs(self.values).max(initial=0.0))

    @property
    def words(self) -> str:
        """What is shown, for a caption."""
        return f"{self.what} of {self.of}" + (", not normal" if self.what == "singular values" else "")


def plot_spectra(schedules: Schedules) -> Figure:
    """Plot the eigenvalues of each schedule's period, one panel a schedule.

    Parameters
    ----------
    schedules : Schedule, or mapping from label to Schedule
        Twelve at most, of 2,000 nodes at most.

    Returns
    -------
    matplotlib.figure.Figure
        Eigenvalues of the product of a period: on the line from -1 to 1 where it is symmetric, as stems as high as
        their multiplicity (bars that count them, where there are very many); in the complex plane where it is only
        normal, the larger the point the higher the multiplicity. The band (disc) reaches to their largest modulus, the
        eigenvalue 1 of the mean aside. Where the product is not normal, eigenvalues cannot be trusted, and the
        singular values of the product minus J are shown instead.

    Raises
    ------
    InputError
        If matplotlib is missing, there is nothing to plot, it is too much, or a schedule has no spectrum that says how
        it averages.
    """
    named = labelled(schedules)
    for label, schedule in named.items():
        if (why := no_spectrum(schedule)) is not None:
            raise InputError(f"{label} {why}")
        require_nodes(label, schedule.nodes, "spectra")
    require_few(len(named), "spectra")
    with styled():
        size = (4.6, 3.4) if len(named) == 1 else (3.4, 3.0)
        figure, grid = panels(len(named), even_columns(len(named)), *size)
        for axes, (label, schedule) in zip(grid, named.items(), strict=True):
            draw_spectrum(axes, spectrum_of_period(schedule))
            axes.set_title(fitted(label, size[0] - 0.5, 11), parse_math=False)
        return figure


def no_spectrum(schedule: Schedule) -> str | None:
    """Say why a schedule has no spectrum that could be drawn; None where it has one."""
    if schedule.period is None:
        return "draws its rounds at random: it has no one spectrum; its consensus can be plotted"
    if schedule.copies > 1:
        return "keeps two copies: it has no one spectrum; its rounds can be plotted"
    if schedule.mixing != "doubly-stochastic":
        return f"is {schedule.mixing}: no rate of averaging can be read from its spectrum; its rounds can be plotted"
    return None


def spectrum_of_period(schedule: Schedule) -> SpectrumOfPeriod:
    """Compute what `plot_spectra` shows.

    Examples
    --------
    >>> from topokit import design
    >>> spectrum_of_period(design("ring", 4)).values.round(6).tolist()
    [0.333333, 0.333333, -0.333333]
    """
    rounds, n = schedule.rounds, schedule.nodes
    of = "W" if schedule.period == 1 else f"the {schedule.period}-round period"
    product = period_product(rounds)
    symmetric = is_symmetric(product)
    if all(circulant_row(W) is not None for W in rounds):
        # The Fourier transform knows them to rounding, and at once.
        symbol = np.fft.fft(product[0])[1:]
        if symmetric:
            return SpectrumOfPeriod("eigenvalues", of, np.sort(symbol.real)[::-1])
        return SpectrumOfPeriod("complex eigenvalues", of, _by_size(symbol))
    if symmetric:
        return SpectrumOfPeriod("eigenvalues", of, _without_one(np.linalg.eigvalsh(product)[::-1]))
    if is_normal(product):
        return SpectrumOfPeriod("complex eigenvalues", of, _without_one(np.linalg.eigvals(product)))
    values = np.linalg.svd(product - 1 / n, compute_uv=False)
    return SpectrumOfPeriod("singular values", of, np.asarray(values[:-1]))


def _without_one(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Leave out the eigenvalue of the constant vector."""
    found = np.delete(values, np.abs(values - 1).argmin())
    return _by_size(found) if np.iscomplexobj(found) else found


def _by_size(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values[np.argsort(-np.abs(values), kind="stable")]


def draw_spectrum(axes: Axes, spectrum: SpectrumOfPeriod) -> None:
    """Draw a spectrum into a panel, with its caption."""
    if spectrum.what == "complex eigenvalues":
        _draw_disc(axes, spectrum)
    else:
        _draw_line(axes, spectrum)
    axes.set_xlabel(f"{spectrum.words}\nlargest besides the 1: {number_text(spectrum.radius)}", fontsize=9)


def _draw_line(axes: Axes, spectrum: SpectrumOfPeriod) -> None:
    values = np.asarray(spectrum.values, dtype=np.float64)
    radius = spectrum.radius
    signed = spectrum.what == "eigenvalues"
    low, high = (min(-1.0, values.min(initial=0.0)) if signed else 0.0), max(1.0, values.max(initial=0.0))
    axes.axvspan(-radius if signed else 0.0, radius, color=COLOURS[0], alpha=0.10, linewidth=0)
    for end in ((-radius, radius) if signed else (radius,)) if radius > NOTHING else ():
        axes.axvline(end, color=COLOURS[0], linewidth=0.9, linestyle=(0, (4, 3)))
    for end in (-1, 1) if signed else (0, 1):
        axes.axvline(end, color=MUTED, linewidth=1.0)
    places, counts = _counted(values)
    if places.size <= MAX_STEMS:
        axes.vlines(places, 0, counts, color=COLOURS[0], linewidth=1.4 if places.size <= 20 else 0.8)
        size = float(np.clip(110 / max(places.size, 1), 2.5, 6))
        axes.plot(places, counts, "o", markersize=size, color=COLOURS[0])
        if places.size <= MAX_COUNTS:
            for place, count in zip(places, counts, strict=True):
                _write_count(axes, count, (place, count), (0.0, 6.0), "center")
        axes.set_ylabel("multiplicity")
    else:
        counts, edges = np.histogram(values, bins=BINS, range=(low, high))
        axes.stairs(counts, edges, fill=True, color=COLOURS[0])
        axes.set_ylabel(f"number in {number_text((high - low) / BINS)}")
    top = max(float(np.max(counts, initial=1)), 1.0)
    axes.plot([1], [1], "o", markersize=6, color=MUTED, fillstyle="none")
    axes.set_ylim(0, max(top * 1.18, 2.2))
    margin = 0.06 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(_fixed([-1, -0.5, 0, 0.5, 1] if signed else [0, 0.25, 0.5, 0.75, 1]))
    axes.yaxis.set_major_locator(whole_numbers(5))
    axes.grid(axis="x", visible=False)


def _draw_disc(axes: Axes, spectrum: SpectrumOfPeriod) -> None:
    from matplotlib.patches import Circle

    places, counts = _counted(spectrum.values)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=MUTED, linewidth=1.0))
    axes.add_patch(
        Circle((0, 0), spectrum.radius, facecolor=COLOURS[0], alpha=0.10, linewidth=0),
    )
    axes.add_patch(
        Circle((0, 0), spectrum.radius, fill=False, edgecolor=COLOURS[0], linewidth=0.9, linestyle=(0, (4, 3)))
    )
    # The area of a point says how many there are.
    size = float(np.clip(180 / max(places.size, 1), 2.0, 5))
    axes.scatter(places.real, places.imag, s=size**2 * counts, color=COLOURS[0], linewidths=0, alpha=0.85, zorder=3)
    crowded = np.abs(places[:, None] - places[None, :]) < 0.25
    if np.count_nonzero(counts > 1) <= MAX_COUNTS:
        for place, count, near in zip(places, counts, crowded, strict=True):
            if (counts[near] > 1).sum() == 1:
                away = 4 + size * float(count) ** 0.5 / 2
                _write_count(axes, count, (place.real, place.imag), (away, 0.0), "left")
    axes.plot([1], [0], "o", markersize=6, color=MUTED, fillstyle="none")
    axes.set_aspect("equal")
    reach = max(1.0, spectrum.radius) * 1.1
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_xticks([-1, 0, 1])
    axes.set_yticks([-1, 0, 1])


def _write_count(axes: Axes, count: int, at: tuple[float, float], away: tuple[float, float], side: str) -> None:
    if count > 1:
        axes.annotate(
            f"{count}×",
            at,
            away,
            textcoords="offset points",
            ha=side,
            va="bottom" if side == "center" else "center",
            fontsize=8,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.8, "linewidth": 0},
            zorder=4,
        )


def _counted(values: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.int64]]]:
    """Give different values with how often they occur, rounding apart."""
    left = values.astype(np.complex128)
    order = np.lexsort((left.imag, np.round(left.real / SAME)))
    left = left[order]
    places: list[Any] = []
    counts: list[int] = []
    for value in left:
        if places and abs(value - places[-1]) < 2 * SAME:
            counts[-1] += 1
        else:
            places.append(value)
            counts.append(1)
    found = np.array(places, dtype=np.complex128)
    return (found if np.iscomplexobj(values) else found.real), np.array(counts, dtype=np.int64)


def _fixed(ticks: list[float]) -> Any:
    from matplotlib.ticker import FixedLocator

    return FixedLocator(ticks)
