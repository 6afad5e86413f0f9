"""Figures of mixing schedules: spectra, consensus curves, and the rounds themselves; and all of them on one page.

Every ``plot`` function gives a matplotlib Figure, for a notebook or for `save_figure`. matplotlib is imported by the
functions, and its global state is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from topokit.pictures.consensus import plot_consensus
from topokit.pictures.rounds import plot_graph
from topokit.pictures.spectra import plot_spectra
from topokit.pictures.style import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from topokit.schedule import Schedule

__all__ = ["PLOTS", "plot_consensus", "plot_graph", "plot_spectra", "save_figure"]

PLOTS: dict[str, Callable[[Mapping[str, Schedule]], Figure]] = {
    "graph": plot_graph,
    "spectrum": plot_spectra,
    "consensus": plot_consensus,
}
