"""The pictures of the page: drawn small enough for a phone, as vectors where these are not too long, else as pixels."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from topokit.errors import InputError
from topokit.page.tables import text
from topokit.pictures.consensus import no_consensus, plot_consensus
from topokit.pictures.figures import MAX_NODES
from topokit.pictures.rounds import Drawing, draw_round, drawing_words, prepare
from topokit.pictures.spectra import draw_spectrum, no_spectrum, spectrum_of_period
from topokit.pictures.style import figure_bytes, styled
from topokit.schedule import Schedule
from topokit.words import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Picture", "consensus_picture", "round_pictures", "spectrum_picture"]

WIDTH = 4.3  # inches: letters of 10 points are 10 pixels high on a phone
SMALL = 2.3
VECTORS = 400_000  # characters of one picture's share, above which pixels are shorter
MAX_EDGES_DRAWN = 1500


@dataclass(frozen=True)
class Picture:
    """One picture and its words.

    Attributes
    ----------
    source : str
        A ``data:`` address.
    width, height : int
        In CSS pixels.
    alternative : str
        What it shows, for those who do not see it.
    caption : str
    """

    source: str
    width: int
    height: int
    alternative: str
    caption: str

    def html(self, kind: str) -> str:
        """Give the figure element, of a class."""
        return (
            f'<figure class="{kind}"><img src="{self.source}" width="{self.width}" height="{self.height}" '
            f'alt="{text(self.alternative)}"><figcaption>{text(self.caption)}</figcaption></figure>'
        )


def round_pictures(schedule: Schedule, name: str) -> tuple[list[Picture], str]:
    """Draw the rounds, one picture each, and give a sentence that explains them all.

    Where they cannot be drawn, there are no pictures, and the sentence says why.
    """
    try:
        drawing = prepare(name, schedule, None)
    except InputError as error:
        return [], f"No picture of the rounds: {error}."
    several = len(drawing.rounds) > 1
    pictures = []
    for t, edges in zip(drawing.rounds, drawing.edges, strict=True):
        side = SMALL if several else WIDTH
        figure = _figure(side, side, partial(draw_round, drawing=drawing, edges=edges, side=side))
        sent = [count(len(edges.mutual), "exchange")] if len(edges.mutual) else []
        sent += [count(len(edges.oneway), "one-way message")] if len(edges.oneway) else []
        what = " and ".join(sent) or "nothing sent"
        label = f"Round {t}" if schedule.period != 1 else "Every round"
        alternative = f"{label} of {name}: {what} among {count(schedule.nodes, 'node')}, drawn {drawing.layout.words}."
        vectors = VECTORS // len(drawing.rounds) if edges.count <= MAX_EDGES_DRAWN else 0
        pictures.append(_picture(figure, alternative, f"{label}: {what}", vectors))
    return pictures, _sentence(schedule, drawing)


def _sentence(schedule: Schedule, drawing: Drawing) -> str:
    words = drawing_words([drawing])
    shown = len(drawing.rounds)
    if schedule.period is None:
        words += f" Shown are the first {shown} of the rounds that are drawn at random."
    elif schedule.period > shown:
        words += f" Shown are rounds 0 to {shown - 1} of {schedule.period}."
    return words


def spectrum_picture(schedule: Schedule, name: str) -> Picture | str:
    """Draw the spectrum; or say why there is none."""
    why = _reason(no_spectrum(schedule))
    if why is None and schedule.nodes > MAX_NODES:
        why = f"has {schedule.nodes} nodes; spectra are drawn up to {MAX_NODES}"
    if why is not None:
        return f"No spectrum: the schedule {why}."
    spectrum = spectrum_of_period(schedule)
    height = WIDTH if spectrum.what == "complex eigenvalues" else 3.2
    figure = _figure(WIDTH, height, partial(draw_spectrum, spectrum=spectrum), axis=True)
    where = {
        "eigenvalues": "on the line from -1 to 1; the band reaches to the largest modulus besides the 1 of the mean",
        "complex eigenvalues": "in the unit disc; the shaded disc reaches to the largest modulus besides the 1 of the "
        "mean",
        "singular values": "of the product minus J, because the eigenvalues of what is not normal cannot be trusted",
    }[spectrum.what]
    words = f"{spectrum.words[0].upper()}{spectrum.words[1:]}"
    alternative = f"{words} of {name}, {where}. Largest: {spectrum.radius:.4g}."
    return _picture(figure, alternative, f"{words}, {where}.", VECTORS)


def consensus_picture(schedules: Mapping[str, Schedule], seed: int) -> Picture | str:
    """Draw consensus curves of one or several schedules; or say why there are none."""
    shown = {label: schedule for label, schedule in schedules.items() if no_consensus(schedule) is None}
    if not shown:
        return f"No consensus curve: the schedule {_reason(no_consensus(next(iter(schedules.values()))))}."
    if max(schedule.nodes for schedule in shown.values()) > MAX_NODES:
        return f"No consensus curve: it is drawn up to {MAX_NODES} nodes."
    figure = plot_consensus(shown, seed=seed, width=WIDTH)
    figure.axes[0].set_title("", loc="left")
    names = ", ".join(shown)
    ends = "; ".join(_ends(figure))
    alternative = f"Consensus distance by round, relative to the start, of {names}. {ends}"
    caption = (
        "Consensus distance by round, relative to a random start: simulated, and dashed as predicted, where known."
    )
    if any(schedule.mixing == "column-stochastic" for schedule in shown.values()):
        caption += " Of push-sum, that of the ratios which the nodes hold."
    return _picture(figure, alternative, caption, VECTORS)


def _reason(why: str | None) -> str | None:
    """Leave out what else could be drawn: the page shows it."""
    return None if why is None else why.split(";")[0]


def _ends(figure: Figure) -> Iterator[str]:
    for line in figure.axes[0].lines:
        label = str(line.get_label())
        if not label.startswith("_"):
            heights = np.asarray(line.get_ydata(), dtype=np.float64)
            yield f"{label}: {heights[-1]:.2g} after {count(len(heights) - 1, 'round')}"


def _figure(width: float, height: float, draw: Callable[[Axes], None], *, axis: bool = False) -> Figure:
    with styled():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width, height))
        if axis:
            draw(figure.add_subplot())
        else:
            figure.set_layout_engine("none")
            draw(figure.add_axes((0, 0, 1, 1)))
        return figure


def _picture(figure: Figure, alternative: str, caption: str, vectors: int) -> Picture:
    width, height = (round(float(inches) * 96) for inches in figure.get_size_inches())
    kind, data = "svg+xml", figure_bytes(figure, "svg") if vectors else b""
    if not vectors or len(data) > vectors:
        pixels = figure_bytes(figure, "png")
        if not data or len(pixels) < len(data):
            kind, data = "png", pixels
    return Picture(f"data:image/{kind};base64,{b64encode(data).decode()}", width, height, alternative, caption)
