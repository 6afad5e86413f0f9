"""One look for all figures, and saving them: colour-blind safe, legible in grey, the same bytes for the same data.

matplotlib is imported by the functions, so that importing topokit does not load it, and its global state is left
alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topokit.errors import InputError
from topokit.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "FAINT",
    "INK",
    "MUTED",
    "SUFFIXES",
    "check_suffix",
    "figure_bytes",
    "line_styles",
    "save_figure",
    "styled",
]

# Okabe and Ito's palette without its yellow, which is too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5B5B5B")
INK, MUTED, FAINT = "#222222", "#6E6E6E", "#DDDDDD"
# Colour alone does not tell lines apart for everyone, nor on paper: each has a mark of its own too.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

SUFFIXES = (".png", ".svg", ".pdf")
UNDATED: dict[str, Any] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}

RC: Any = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "legend.frameon": False,
    "svg.hashsalt": "topokit",
    "svg.fonttype": "path",
}


@contextmanager
def styled() -> Iterator[None]:
    """Use the look of topokit's figures while the block runs.

    Raises
    ------
    InputError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise InputError("plotting needs matplotlib, which is not installed: pip install 'topokit[plot]'") from None
    with matplotlib.rc_context(RC):
        yield


def line_styles(count: int) -> list[dict[str, Any]]:
    """Give the keywords for `count` lines that are to be told apart.

    Examples
    --------
    >>> line_styles(1)
    [{'color': '#0072B2', 'marker': 'o'}]
    """
    # Where the colours begin again, the marks do not: 49 lines differ.
    return [
        {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]}
        for k in range(count)
    ]


def check_suffix(path: str | Path) -> str:
    """Give the suffix of a figure's file name, in lower case.

    Raises
    ------
    InputError
        If it is none of ``.png``, ``.svg`` and ``.pdf``.

    Examples
    --------
    >>> check_suffix("curve.SVG")
    '.svg'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES[:-1]) + " or " + SUFFIXES[-1]
        raise InputError(f"cannot write a figure to {path}: the name must end in {known}")
    return suffix


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure at once, as PNG, SVG or PDF by the suffix of its name; the same figure gives the same bytes.

    Raises
    ------
    InputError
        If the suffix is another one, or the file cannot be written.
    """
    write_bytes(path, figure_bytes(figure, check_suffix(path)[1:]))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Give the content of the file of a figure; the same figure gives the same bytes.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    kind : {"png", "svg", "pdf"}
    """
    buffer = BytesIO()
    with styled(), warnings.catch_warnings():
        # Names may be written in letters that the font lacks: boxes say so well enough.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format=kind, metadata=UNDATED[kind])
    return buffer.getvalue()
