"""What all figures share: labelled schedules, grids of panels, and numbers as text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

from topokit.errors import InputError
from topokit.schedule import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MAX_NODES",
    "MAX_PANELS",
    "Schedules",
    "even_columns",
    "fitted",
    "labelled",
    "number_text",
    "panels",
    "require_few",
    "require_nodes",
    "whole_numbers",
]

MAX_PANELS = 12
MAX_NODES = 2000

Schedules = Schedule | Mapping[str, Schedule]


def labelled(schedules: Schedules) -> Mapping[str, Schedule]:
    """Take one schedule under its name, or several under the labels given.

    Raises
    ------
    InputError
        If there is none.
    """
    named = {schedules.name: schedules} if isinstance(schedules, Schedule) else schedules
    if not named:
        raise InputError("there is nothing to plot: no schedule was given")
    return named


def require_few(count: int, what: str) -> None:
    """Refuse more than a figure can hold.

    Raises
    ------
    InputError
    """
    if count > MAX_PANELS:
        raise InputError(f"{count} {what} do not fit one figure; draw at most {MAX_PANELS} together")


def require_nodes(label: str, nodes: int, what: str) -> None:
    """Refuse what would take minutes, and show nothing.

    Raises
    ------
    InputError
    """
    if nodes > MAX_NODES:
        raise InputError(f"{label} has {nodes} nodes; {what} are drawn up to {MAX_NODES}")


def panels(count: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure with `count` panels of the given size in inches."""
    from matplotlib.figure import Figure

    rows = ceil(count / columns)
    figure = Figure(figsize=(columns * width, rows * height))
    grid = figure.subplots(rows, columns, squeeze=False)
    found: list[Axes] = list(grid.ravel())
    for axes in found[count:]:
        axes.set_visible(False)
    return figure, found[:count]


def even_columns(count: int, most: int = 4) -> int:
    """Choose the number of columns that fills the last row best.

    Examples
    --------
    >>> [even_columns(count) for count in (1, 4, 5, 9)]  # five panels are 3 + 2, not 4 + 1
    [1, 4, 3, 3]
    """
    return ceil(count / ceil(count / most))


def fitted(text: str, inches: float, size: float, lines: int = 2) -> str:
    """Break a text into lines of at most so many inches at a font size, and cut it after the last one.

    Examples
    --------
    >>> fitted("one-peer-exponential-16", 1.2, 10).split()
    ['one-peer-', 'exponential-16']
    >>> fitted("x" * 30, 1, 10, lines=1)
    'xxxxxxxx...'
    """
    found = [""]
    # Break after spaces and joints; what is too long for a line, anywhere.
    for word in re.findall(r"[^\s\-_/]*[\s\-_/]*", " ".join(text.split())):
        pieces = [word] if _inches(word, size) <= inches else list(word)
        for piece in pieces:
            if _inches((found[-1] + piece).rstrip(), size) <= inches:
                found[-1] += piece
            else:
                found.append(piece)
    if len(found) > lines:
        last = found[lines - 1].rstrip()
        while last and _inches(last + "...", size) > inches:
            last = last[:-1]
        found = [*found[: lines - 1], last + "..."]
    return "\n".join(line.rstrip() for line in found)


def _inches(text: str, size: float) -> float:
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks
        return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72


def whole_numbers(ticks: int = 9) -> Any:
    """Give a locator of ticks at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=ticks, integer=True)


def number_text(value: float) -> str:
    """Write a number for a caption; what is rounding noise of 1 is 0.

    Examples
    --------
    >>> number_text(2 / 3), number_text(3e-17)
    ('0.6667', '0')
    """
    return "0" if abs(value) < 1e-12 else f"{value:.4g}"
